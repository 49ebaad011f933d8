//! What builds remember: records of steps, lists of contexts, and small files of images. All of it lies in the store's `cache/`
//! and can be made again.

use std::fs::File;
use std::io::Read;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::fs::staged::Staged;
use crate::store::{LayerInfo, Store};

const OP: &str = "build cache";
/// Largest record, in bytes.
const MAX_RECORD: u64 = 1 << 20;

/// What a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The layer; `None` when the step changed nothing in the tree.
    pub(super) layer: Option<LayerInfo>,
    /// When the step was carried out, in seconds since 1970.
    pub(super) created: i64,
}

/// One directory below `cache/`.
#[derive(Debug)]
pub(super) struct Room(Dir);

impl Room {
    pub(super) fn open(store: &Store, name: &str) -> Result<Room> {
        let cache = store.dir().open_dir("cache").at(OP, "cache")?;
        match cache.create_dir(name) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(OP, format!("cache/{name}"), error));
            }
            _ => {}
        }
        cache.open_dir(name).map(Room).at(OP, format!("cache/{name}"))
    }

    /// Opens a file; `None` when there is none, or none that can be read.
    pub(super) fn open_file(&self, key: &Digest) -> Option<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let file = self.0.open_with(key.hex(), &options).ok()?;
        file.metadata().ok().filter(|metadata| metadata.is_file())?;
        Some(file.into_std())
    }

    /// Reads a file of at most `cap` bytes; `None` when there is none, or none that can be read.
    pub(super) fn read(&self, key: &Digest, cap: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(key)?.take(cap + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= cap).then_some(bytes)
    }

    /// Writes a file, replacing the one that is there. It is not synced: it only saves time.
    pub(super) fn write(&self, key: &Digest, bytes: &[u8]) -> Result<()> {
        use std::io::Write;
        let shown = key.hex();
        let mut new = Staged::new(&self.0, &self.0, 0o600).at(OP, &shown)?;
        new.file().write_all(bytes).at(OP, &shown)?;
        new.replace(&self.0, &shown).at(OP, &shown)
    }
}

/// Records of steps.
#[derive(Debug)]
pub(super) struct Cache {
    store: Store,
    room: Room,
}

impl Cache {
    pub(super) fn open(store: &Store) -> Result<Cache> {
        Ok(Cache { store: store.clone(), room: Room::open(store, "steps")? })
    }

    /// The record of a step, if its layer still is in the store.
    pub(super) fn get(&self, key: &Digest) -> Result<Option<Record>> {
        let record = self.room.read(key, MAX_RECORD);
        let record = record.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        match record.as_ref().and_then(|record| record.layer.as_ref()) {
            Some(layer) if !self.store.has_blob(&layer.digest)? => Ok(None),
            _ => Ok(record),
        }
    }

    pub(super) fn put(&self, key: &Digest, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record)
            .map_err(|error| Error::corrupt(OP, "a record cannot be written").with_source(error))?;
        self.room.write(key, &bytes)
    }
}
