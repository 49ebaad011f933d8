//! Directories that `RUN --mount=type=cache` keeps from one build to the next, below the store's `cache/mounts/`.
//!
//! A cache has a directory of its own, named by a digest of its id, so that no id is ever a path. Beside its tree lie a lock and a
//! ledger: what a process without privileges could not put on disk of the files in it, with paths relative to the tree. While a
//! command runs, these records are part of the ledger of its tree.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{FlockOperation, OFlags};

use crate::digest::Digest;
use crate::dockerfile::CacheSharing;
use crate::error::{At, Error, Result};
use crate::fs::Root;
use crate::fs::lock::Locked;
use crate::fs::make_dir::{PrivateDirs, make_dir, open_or_make};
use crate::fs::remove::remove_all;
use crate::fs::root::{below, c_name, open_dir_at};
use crate::fs::staged::Staged;
use crate::fs::stat::stat_fd;
use crate::progress::Control;
use crate::store::{KEPT_MOUNTS as ROOM, Store};
use crate::tree::Ledger;
use crate::tree::ledger::Record;

const OP: &str = "open cache mount";
/// The largest ledger that is read, in bytes.
const LEDGER_CAP: u64 = 1 << 30;
/// Most directories of one private cache: as many as commands use it at once.
const MOST_PRIVATE: u32 = 1_000;
/// How often a wait for a lock looks again.
const LOOK: Duration = Duration::from_millis(20);

/// The first content and metadata of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Birth {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A cache that a command uses. It is locked as long as this value is there.
#[derive(Debug)]
pub(super) struct CacheMount {
    dir: Dir,
    path: PathBuf,
    shown: Vec<u8>,
    /// The records it began with, by device and inode.
    before: Ledger,
    /// Whether a file says that the tree may be out of its place.
    marked: bool,
    _lock: Locked,
}

impl CacheMount {
    /// Opens the cache with an id, making it where it is missing: `fill` puts its first content into an empty directory. `alone`
    /// asks for a cache for itself alone, whatever the sharing.
    pub(super) fn open(
        store: &Store,
        id: &str,
        sharing: CacheSharing,
        alone: bool,
        birth: Birth,
        control: &Control,
        fill: &mut dyn FnMut(&Root) -> Result<Ledger>,
    ) -> Result<CacheMount> {
        let room = store.cache_room(ROOM)?;
        // Each user has caches of their own: the files of one may be closed to the other.
        let user = rustix::process::geteuid().as_raw();
        // And root without capabilities cannot use what root made.
        let bare = if user == 0 && !crate::fs::capabilities::owns_all() { " bare" } else { "" };
        let hex = Digest::of(format!("cache mount {user}{bare} {id}").as_bytes()).hex();
        let exclusive = alone || sharing != CacheSharing::Shared;
        let mut number = 0;
        loop {
            control.check(OP)?;
            let name = format!("{hex}-{number}");
            let shown = store.path(&format!("cache/{ROOM}/{name}"));
            match make_dir(&room, &c_name(name.as_bytes()).at(OP, &shown)?) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::io(OP, shown, error));
                }
                _ => {}
            }
            let dir = match room.open_dir(&name) {
                Ok(dir) => dir,
                // A prune took it away.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io(OP, shown, error)),
            };
            let lock = lock_file(&dir, "lock").at(OP, &shown)?;
            // The holder of the exclusive lock finds out whether the content has to be made.
            let whole = is_whole(&dir);
            let Some(lock) = Locked::try_new(lock, exclusive || !whole).at(OP, &shown)? else {
                match sharing {
                    CacheSharing::Private if number < MOST_PRIVATE => number += 1,
                    _ => std::thread::sleep(LOOK),
                }
                continue;
            };
            if !room.open_dir(&name).and_then(|again| same(&again, &dir)).unwrap_or(false) {
                continue;
            }
            let path = store.root_path().join("cache").join(ROOM).join(&name).join("tree");
            if !is_whole(&dir) {
                if !exclusive && whole {
                    continue;
                }
                make(&dir, &path, &shown, birth, fill)?;
            }
            if !exclusive && !whole {
                // Downgraded for others: content that is there is not made again.
                rustix::fs::flock(lock.file(), FlockOperation::LockShared).at(OP, &shown)?;
            }
            let before = read_ledger(&dir, &shown)?;
            let mut mount = CacheMount { dir, path, shown, before, marked: false, _lock: lock };
            if alone {
                mount.mark()?;
            }
            return Ok(mount);
        }
    }

    /// Returns where the tree is.
    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Says that the tree may be out of its place until [`CacheMount::leave`]: after a kill the cache is made anew.
    fn mark(&mut self) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true);
        open_or_make(&self.dir, "out", &options).at(OP, &self.shown)?;
        self.marked = true;
        Ok(())
    }

    /// Returns the ledger of its files, with paths relative to the tree.
    pub(super) fn records(&self) -> &Ledger {
        &self.before
    }

    /// Keeps what a command left: the records of a tree that showed the cache at this path.
    pub(super) fn leave(self, mut found: Vec<Record>, at: &[u8]) -> Result<()> {
        for record in &mut found {
            record.path = below(at, &record.path).unwrap_or_default().to_vec();
        }
        let mut after = Ledger::default();
        for record in &found {
            after.insert(record.clone());
        }
        if self.marked {
            self.dir.remove_file("out").at(OP, &self.shown)?;
        }
        if after.len() == self.before.len() && after.to_bytes() == self.before.to_bytes() {
            return Ok(());
        }
        // Another command may have used it at the same time: only what this one changed is put in.
        let lock = lock_file(&self.dir, "ledger.lock").at(OP, &self.shown)?;
        let _lock = Locked::wait(lock).at(OP, &self.shown)?;
        let mut now = read_ledger(&self.dir, &self.shown)?;
        for old in self.before.records() {
            if !after.has(old.dev, old.ino) {
                now.take(old.dev, old.ino);
            }
        }
        for record in found {
            now.insert(record);
        }
        write_ledger(&self.dir, &self.shown, &now)
    }
}

fn lock_file(dir: &Dir, name: &str) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    open_or_make(dir, name, &options)
}

fn same(a: &Dir, b: &Dir) -> std::io::Result<bool> {
    let (a, b) = (stat_fd(a)?, stat_fd(b)?);
    Ok((a.dev, a.ino) == (b.dev, b.ino))
}

/// Returns whether the content was made, and is in its place.
fn is_whole(dir: &Dir) -> bool {
    let is = |name: &str| dir.symlink_metadata(name).is_ok();
    is("ledger") && is("tree") && !is("out")
}

/// Makes the tree of a cache. The ledger is written last: without one there is no cache.
fn make(
    dir: &Dir,
    path: &std::path::Path,
    shown: &[u8],
    birth: Birth,
    fill: &mut dyn FnMut(&Root) -> Result<Ledger>,
) -> Result<()> {
    const NAMES: [&str; 3] = ["ledger", "out", "tree"];
    for name in NAMES {
        let name = CString::new(name).map_err(|_| Error::invalid(OP, "a name with NUL"))?;
        remove_all(dir, &name).at(OP, shown)?;
    }
    PrivateDirs::default().make(dir, c"tree").at(OP, shown)?;
    let root = Root::from_fd(open_dir_at(dir, c"tree").at(OP, shown)?, path);
    let mut ledger = fill(&root)?;
    let Birth { mode, uid, gid } = birth;
    ledger.give(&root, Vec::new(), mode, (uid, gid)).at(OP, shown)?;
    write_ledger(dir, shown, &ledger)
}

fn read_ledger(dir: &Dir, shown: &[u8]) -> Result<Ledger> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let mut bytes = Vec::new();
    let file = dir.open_with("ledger", &options).at(OP, shown)?;
    file.take(LEDGER_CAP).read_to_end(&mut bytes).at(OP, shown)?;
    Ledger::from_bytes(&bytes)
        .map_err(|error| error.with_path(shown).with_hint("remove the cache: its content can be made again"))
}

fn write_ledger(dir: &Dir, shown: &[u8], ledger: &Ledger) -> Result<()> {
    let mut new = Staged::new(dir, dir, 0o600).at(OP, shown)?;
    std::io::Write::write_all(new.file(), &ledger.to_bytes()).at(OP, shown)?;
    new.replace(dir, "ledger").at(OP, shown)
}
