//! Directories of containers: what is in them is the containers' own affair; here is how they come, are locked and go.
//!
//! ```text
//! boxes/lock           held exclusively while a box is made, named or removed: moments
//! boxes/BOX/lock       held exclusively by the process that works in the box or runs a command in it
//! boxes/BOX/rootfs     the tree
//! boxes/BOX/...        small files, each replaced atomically
//! ```
//!
//! A box with a file called [`CONFIG`] is a container; one with [`POOLED`] is a spare tree; any other with a free lock was
//! left by a killed process, and goes when the next one is made.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use super::layout::Store;
use super::lease::Exclusive;
use super::publish::{self, Durability};
use crate::error::{At, Error, ErrorKind, Found, Result};
use crate::fs::lock::Locked;
use crate::fs::make_dir::open_or_make;
use crate::progress::Control;

/// The room of all boxes.
const ROOM: &str = "boxes";
const LOCK: &str = "lock";
/// The file that makes a box a container.
pub(crate) const CONFIG: &str = "config.json";
/// The file that makes a box a spare tree.
pub(crate) const POOLED: &str = "pooled.json";
/// The largest small file that is read, in bytes.
const CAP: u64 = 16 << 20;
/// How long the room is waited for. A process that holds it longer was stopped.
const ROOM_WAIT: Duration = Duration::from_secs(60);
/// How long one box is waited for: a look at it holds it for an instant.
const BOX_WAIT: Duration = Duration::from_millis(300);

/// All boxes of a store.
pub(crate) struct Boxes {
    store: Store,
    dir: Dir,
}

impl Store {
    /// Opens the room of boxes, making it where it is missing; `None` where it is missing and `make` is not set.
    pub(crate) fn boxes(&self, make: bool) -> Result<Option<Boxes>> {
        const OP: &str = "open containers";
        let shown = self.path(ROOM);
        if make && publish::make_dir(&self.0.dir, ROOM).at(OP, &shown)? {
            publish::sync_dir(&self.0.dir, &shown)?;
        }
        let Some(dir) = self.0.dir.open_dir(ROOM).found().at(OP, &shown)? else { return Ok(None) };
        if make {
            lock_file(&dir).at("lock container", self.path(&format!("{ROOM}/{LOCK}")))?;
        }
        Ok(Some(Boxes { store: self.clone(), dir }))
    }
}

impl Boxes {
    /// Takes the lock of the room.
    pub fn lock(&self) -> Result<Exclusive> {
        self.store.lock_named(&format!("{ROOM}/{LOCK}"), "lock containers", ROOM_WAIT, &Control::default())
    }

    /// Returns the names of all boxes, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let shown = self.store.path(ROOM);
        let mut out = Vec::new();
        for entry in self.dir.entries().at("list containers", &shown)? {
            let name = entry.at("list containers", &shown)?.file_name();
            out.extend(name.to_str().filter(|name| publish::is_leftover(name)).map(String::from));
        }
        out.sort();
        Ok(out)
    }

    /// Opens a box; `None` when it is gone.
    pub fn open(&self, name: &str) -> Result<Option<Slot>> {
        if !publish::is_leftover(name) {
            return Ok(None);
        }
        let shown = self.store.path(&format!("{ROOM}/{name}"));
        let dir = self.dir.open_dir(name).found().at("open container", shown)?;
        Ok(dir.map(|dir| Slot { store: self.store.clone(), name: name.into(), dir }))
    }

    /// Makes a box, locked by this process. The caller holds the room.
    pub fn make(&self, _room: &Exclusive) -> Result<(Slot, Locked)> {
        const OP: &str = "make container";
        loop {
            let name = publish::random_name();
            if publish::make_dir(&self.dir, &name).at(OP, self.store.path(ROOM))? {
                let Some(slot) = self.open(&name)? else { continue };
                let lock = slot.try_lock()?.ok_or_else(|| slot.busy(OP))?;
                return Ok((slot, lock));
            }
        }
    }

    /// Removes a box with all that is in it. The caller holds its lock.
    pub fn remove(&self, slot: &Slot, lock: Locked) -> Result<()> {
        // What makes it a container goes first: a kill in between leaves a box that the next one to look removes.
        slot.remove(CONFIG)?;
        slot.remove(POOLED)?;
        let result = publish::remove_dir(&self.dir, &slot.name, &slot.shown(""));
        drop(lock);
        result
    }

    /// Returns the boxes that killed processes left, locked. The caller holds the room.
    pub fn abandoned(&self, _room: &Exclusive) -> Result<Vec<(Slot, Locked)>> {
        let mut out = Vec::new();
        for name in self.names()? {
            let Some(slot) = self.open(&name)? else { continue };
            if slot.has(CONFIG)? || slot.has(POOLED)? {
                continue;
            }
            if let Some(lock) = slot.try_lock()? {
                out.push((slot, lock));
            }
        }
        Ok(out)
    }
}

/// Opens the file to lock in a box, or in the room of all of them.
fn lock_file(dir: &Dir) -> std::io::Result<File> {
    let file = publish::open_or_make(dir, LOCK)?;
    publish::adopt(&file, dir)?;
    Ok(file)
}

/// A box.
#[derive(Debug)]
pub(crate) struct Slot {
    store: Store,
    name: String,
    dir: Dir,
}

impl Slot {
    /// Returns its name among the boxes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Returns the path of its tree.
    pub fn rootfs(&self) -> PathBuf {
        self.store.root_path().join(ROOM).join(&self.name).join("rootfs")
    }

    /// Returns a name in it, as messages have it.
    pub fn shown(&self, file: &str) -> Vec<u8> {
        self.store.path(&format!("{ROOM}/{}/{file}", self.name))
    }

    fn busy(&self, operation: &'static str) -> Error {
        Error::new(ErrorKind::Busy, operation, "another process is at work in this container")
            .with_path(self.shown(""))
    }

    /// Takes its lock; `None` when another process has it.
    pub fn try_lock(&self) -> Result<Option<Locked>> {
        const OP: &str = "lock container";
        // The box may have been removed while it was open here.
        let Some(file) = lock_file(&self.dir).found().at(OP, self.shown(LOCK))? else { return Ok(None) };
        Locked::try_new(file, true).at(OP, self.shown(LOCK))
    }

    /// Takes its lock, waiting a moment for readers; [`ErrorKind::Busy`] when another process has it.
    pub fn lock(&self, operation: &'static str) -> Result<Locked> {
        let end = Instant::now() + BOX_WAIT;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if Instant::now() >= end {
                return Err(self.busy(operation));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns whether it has a file of this name.
    pub fn has(&self, file: &str) -> Result<bool> {
        let meta = self.dir.symlink_metadata(file).found().at("look for file", self.shown(file))?;
        Ok(meta.is_some())
    }

    /// Reads a small file; `None` when it is not there.
    pub fn read(&self, file: &str) -> Result<Option<Vec<u8>>> {
        publish::read_capped(&self.dir, file, self.shown(file), CAP).found()
    }

    /// Replaces a small file, atomically and durably.
    pub fn replace(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let _lease = self.store.lease()?;
        publish::replace(&self.dir, file, &self.shown(file), bytes, Durability::Full)
    }

    /// Replaces a small file, atomically; a power loss may bring the old one back.
    pub fn replace_cached(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let _lease = self.store.lease()?;
        publish::replace(&self.dir, file, &self.shown(file), bytes, Durability::Content)
    }

    /// Opens a file for appending, emptied first where `anew` says so.
    pub fn append(&self, file: &str, anew: bool) -> Result<File> {
        const OP: &str = "open log";
        let mut options = OpenOptions::new();
        options.read(true).create(true).mode(publish::FILE_MODE);
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        match anew {
            true => options.write(true).truncate(true),
            false => options.append(true),
        };
        let opened = open_or_make(&self.dir, file, &options).at(OP, self.shown(file))?;
        publish::adopt(&opened, &self.dir).at(OP, self.shown(file))?;
        Ok(opened)
    }

    /// Opens a file for reading; `None` when it is not there.
    pub fn open_file(&self, file: &str) -> Result<Option<File>> {
        publish::open_regular(&self.dir, file, self.shown(file)).found()
    }

    /// Gives a file another name, in place of what has it.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.dir.rename(from, &self.dir, to).at("rename file", self.shown(from))
    }

    /// Removes a file; it is fine when it is not there.
    pub fn remove(&self, file: &str) -> Result<()> {
        self.dir.remove_file(file).found().at("remove file", self.shown(file)).map(drop)
    }
}
