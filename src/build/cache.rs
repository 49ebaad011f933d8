//! The cache of builds: records of steps (`store::cache` keeps them), lists of contexts, and small files of images. All of
//! it lies in the store's `cache/` and can be made again.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::options::BuildOptions;
use super::remote::{Gone, Remotes};

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::fs::staged::Staged;
use crate::image::Layer;
use crate::progress::Control;
use crate::store::{CacheRecord, Claim, LayerInfo, Pin, Store, adopt};
use crate::threads::{self, lock};

const OP: &str = "build cache";

/// The result of a step, as the cache keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The layer; `None` when the step changed nothing in the tree.
    pub(super) layer: Option<LayerInfo>,
    /// When the step was carried out, in seconds since 1970.
    pub(super) created: i64,
}

/// A directory below `cache/`.
#[derive(Debug)]
pub(super) struct Room {
    dir: Dir,
    /// Where it is, for messages.
    path: PathBuf,
}

impl Room {
    pub(super) fn open(store: &Store, name: &str) -> Result<Room> {
        let path = store.root_path().join("cache").join(name);
        Ok(Room { dir: store.cache_room(name)?, path })
    }

    /// Opens a file; `None` when there is none, or none that can be read.
    pub(super) fn open_file(&self, key: &Digest) -> Option<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let file = self.dir.open_with(key.hex(), &options).ok()?;
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
        let name = key.hex();
        let path = self.path.join(&name);
        let shown = path.as_os_str().as_encoded_bytes();
        let mut new = Staged::new(&self.dir, &self.dir, 0o600).at(OP, shown)?;
        adopt(new.file(), &self.dir).at(OP, shown)?;
        new.file().write_all(bytes).at(OP, shown)?;
        new.replace(&self.dir, &name).at(OP, shown)
    }
}

/// An entry of the cache, found by its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Entry {
    /// The key of a step: what it made.
    Step(Record),
    /// The key of a copy by what it is copied from: what goes in, as the key of the step has it.
    Inputs {
        /// As `copy::Inputs::key` says.
        inputs: Value,
    },
}

impl Entry {
    /// Returns the layer that it is worth nothing without.
    pub(super) fn layer(&self) -> Option<&LayerInfo> {
        match self {
            Entry::Step(record) => record.layer.as_ref(),
            Entry::Inputs { .. } => None,
        }
    }
}

/// A guard that lets the thread that fetches ahead end.
struct Ends<'a>(&'a Mutex<Option<Sender<Digest>>>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}

/// Records of steps: those of the store, and those that other machines have.
#[derive(Debug)]
pub(super) struct Cache<'a> {
    pin: &'a Pin,
    remotes: Remotes<'a>,
    /// The way to the thread that fetches layers which are needed in any case, see [`Cache::while_fetching`].
    ahead: Mutex<Option<Sender<Digest>>>,
    /// The entries that this build found or made.
    used: Mutex<Vec<(Digest, Entry)>>,
}

impl<'a> Cache<'a> {
    pub(super) fn open(
        pin: &'a Pin,
        options: &'a BuildOptions,
        control: &'a Control,
        gone: &'a Gone,
    ) -> Result<Cache<'a>> {
        let remotes = Remotes::open(options, control, gone)?;
        Ok(Cache { pin, remotes, ahead: Mutex::default(), used: Mutex::default() })
    }

    fn use_of(&self, key: &Digest, entry: &Entry) {
        lock(&self.used).push((*key, entry.clone()));
    }

    fn used(&self) -> Vec<(Digest, Entry)> {
        let mut seen = HashSet::new();
        let mut used = lock(&self.used).clone();
        used.retain(|(key, _)| seen.insert(*key));
        // Stages are built at once: what is exported is the same in whatever order they came to their steps.
        used.sort_by_key(|(key, _)| *key);
        used
    }

    /// Returns the record of a step: of the store, if it has its layer, else of another machine. The layer is there then.
    pub(super) fn get(&self, key: &Digest) -> Result<Option<Record>> {
        Ok(match self.entry(key)? {
            Some(Entry::Step(record)) => Some(record),
            _ => None,
        })
    }

    /// Does what [`Cache::get`] does, in the store alone: another build may have written the record since.
    pub(super) fn get_again(&self, key: &Digest) -> Result<Option<Record>> {
        Ok(match self.local(key)? {
            Some(Entry::Step(record)) => Some(record),
            _ => None,
        })
    }

    /// Returns the inputs of a copy from a source that is identified by its layers.
    pub(super) fn inputs(&self, key: &Digest) -> Result<Option<Value>> {
        Ok(match self.entry(key)? {
            Some(Entry::Inputs { inputs }) => Some(inputs),
            _ => None,
        })
    }

    fn local(&self, key: &Digest) -> Result<Option<Entry>> {
        let Some(CacheRecord { blobs, value }) = self.pin.cache_record(key)? else { return Ok(None) };
        let entry = serde_json::from_slice::<Entry>(&value).ok();
        // A layer that the record does not keep may be gone at any time.
        let entry = entry.filter(|entry| entry.layer().is_none_or(|layer| blobs.contains(&layer.digest)));
        entry.iter().for_each(|entry| self.use_of(key, entry));
        Ok(entry)
    }

    fn entry(&self, key: &Digest) -> Result<Option<Entry>> {
        if let Some(entry) = self.local(key)? {
            return Ok(Some(entry));
        }
        let Some((source, entry)) = self.remotes.find(key)? else { return Ok(None) };
        match &entry {
            Entry::Step(record) if record.layer.is_some() => self.remotes.note(source, key, record),
            entry => self.write(key, entry)?,
        }
        self.use_of(key, &entry);
        Ok(Some(entry))
    }

    pub(super) fn put(&self, key: &Digest, record: &Record) -> Result<()> {
        self.keep(key, Entry::Step(record.clone()))
    }

    /// Remembers what goes into a copy.
    pub(super) fn put_inputs(&self, key: &Digest, inputs: &Value) -> Result<()> {
        self.keep(key, Entry::Inputs { inputs: inputs.clone() })
    }

    fn keep(&self, key: &Digest, entry: Entry) -> Result<()> {
        self.write(key, &entry)?;
        self.use_of(key, &entry);
        Ok(())
    }

    fn write(&self, key: &Digest, entry: &Entry) -> Result<()> {
        let value = serde_json::to_vec(entry)
            .map_err(|error| Error::corrupt(OP, "a record cannot be written").with_source(error))?;
        let blobs = entry.layer().iter().map(|layer| layer.digest).collect();
        self.pin.put_cache_record(key, &CacheRecord { blobs, value })
    }

    /// Claims a step that is going to be carried out, see [`Store::claim_step`].
    pub(super) fn claim(&self, key: &Digest, control: &Control) -> Result<Claim> {
        self.pin.claim_step(key, control)
    }

    /// Makes sure that the store has these layers: those that a record of another machine named are fetched now.
    pub(super) fn fetch(&self, layers: &[Layer]) -> Result<()> {
        let digests: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
        self.fetch_each(&digests)
    }

    fn fetch_each(&self, digests: &[Digest]) -> Result<()> {
        if !self.remotes.has(digests) {
            return Ok(());
        }
        self.pin.settle();
        for (key, record) in self.remotes.fetch(self.pin, digests)? {
            self.write(&key, &Entry::Step(record))?;
        }
        Ok(())
    }

    /// Does `work`, while another thread fetches the layers that [`Cache::expect`] names meanwhile.
    pub(super) fn while_fetching<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.remotes.is_empty() {
            return work();
        }
        let (sender, expected) = channel();
        *lock(&self.ahead) = Some(sender);
        std::thread::scope(|scope| {
            // However the work ends, the thread does then.
            let _end = Ends(&self.ahead);
            // Then the first lookup asks in any case, and until then nothing else uses the network.
            let is_empty = self.pin.has_no_cache_records();
            let fetch = move || {
                if is_empty {
                    self.remotes.ask_ahead();
                }
                while let Ok(first) = expected.recv() {
                    let digests: Vec<Digest> = std::iter::once(first).chain(expected.try_iter()).collect();
                    // One that is still missing is fetched once more when it is needed, and the error is reported then.
                    let _ = self.fetch_each(&digests);
                }
            };
            // Where no thread is to be had, all are fetched when they are needed.
            let _ = threads::spawn(scope, "treering-cache", fetch);
            work()
        })
    }

    /// Says that the image will have this layer.
    pub(super) fn expect(&self, layer: &Digest) {
        if let Some(ahead) = &*lock(&self.ahead) {
            // Without the thread it is fetched when it is needed.
            let _ = ahead.send(*layer);
        }
    }

    /// Sends what this build found or made to where the options say. `own` are the keys of the image's own steps.
    pub(super) fn export(&self, own: &[Digest]) -> Result<()> {
        self.remotes.export(self.pin, &self.used(), own)
    }

    /// Returns the annotation with the records of the image's own steps, if it is to have one.
    pub(super) fn inline(&self, own: &[Digest]) -> Result<Option<(String, String)>> {
        self.remotes.inline(&self.used(), own)
    }
}
