//! Records of trees on disk that were made from images: their configuration, snapshot index and ledger.

use std::fs::File;
use std::io::Write;

use cap_std::fs::Dir;
use serde_json::Value;

use super::layout::Store;
use super::pin::Need;
use super::publish::{self, Durability};
use crate::error::{At, Error, Found, Result};
#[cfg(feature = "sandbox")]
use crate::fs::lock::Locked;
#[cfg(feature = "sandbox")]
use crate::fs::make_dir::open_or_make;
use crate::fs::staged::Staged;
use crate::tree::Ledger;

/// The largest ledger that is read: a million entries fit.
const LEDGER_CAP: u64 = 1 << 30;

/// The files of a [`Binding`], all opaque to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingFile {
    /// `config.json`: what the tree was made from. Every string in it that is a digest keeps that blob, and what it
    /// refers to, from being pruned.
    Config,
    /// `index`: the snapshot.
    Index,
    /// `ledger`: ownership that is not on disk, a [`Ledger`]. A number called `ledger` in `config.json` says how many files
    /// the ledger had when that was written: when it is not 0, there must be one.
    Ledger,
    /// `journal`: changes of the ledger since it was written, by commands that run in the tree, see
    /// [`crate::tree::journal`]. Locked by the process that runs them.
    Journal,
}

impl BindingFile {
    fn name(self) -> &'static str {
        match self {
            BindingFile::Config => "config.json",
            BindingFile::Index => "index",
            BindingFile::Ledger => "ledger",
            BindingFile::Journal => "journal",
        }
    }
}

/// The store's record of one tree.
#[derive(Debug)]
pub struct Binding {
    key: String,
    dir: Dir,
    store: Store,
}

impl Store {
    /// Opens the record of a tree, making it when there is none.
    ///
    /// `key` names the tree: 1 to 200 letters, digits, `.`, `_`, `-`, not starting with a dot or a dash
    /// (`DEV-INODE-BIRTH`, or the name of a container).
    pub fn bind_tree(&self, key: &str) -> Result<Binding> {
        const OP: &str = "bind tree";
        check_key(OP, key)?;
        self.need(Need::Tree(key.into()))?;
        let _lease = self.lease()?;
        loop {
            if let Some(binding) = self.find_tree(key)? {
                return Ok(binding);
            }
            if publish::make_dir(&self.0.containers, key).at(OP, self.path(&format!("containers/{key}")))? {
                publish::sync_dir(&self.0.containers, self.path("containers"))?;
            }
        }
    }

    /// Writes a file that becomes one of a record with [`StagedFile::publish`].
    pub(crate) fn stage_record(&self, bytes: &[u8]) -> Result<StagedFile> {
        const OP: &str = "write file";
        let (tmp, shown) = (&self.0.tmp, self.path("tmp"));
        // Where it has a name, prune must not see it before it is locked; writing may take long.
        let lease = self.lease()?;
        let mut staged = Staged::new(tmp, tmp, 0o666).at(OP, &shown)?;
        publish::claim(staged.file(), tmp).at(OP, &shown)?;
        drop(lease);
        staged.file().write_all(bytes).at(OP, &shown)?;
        publish::set_mode(staged.file()).at(OP, &shown)?;
        staged.file().sync_all().at(OP, &shown)?;
        Ok(StagedFile { staged, shown })
    }

    /// Opens the record of a tree; `None` when there is none.
    pub fn find_tree(&self, key: &str) -> Result<Option<Binding>> {
        const OP: &str = "find tree";
        check_key(OP, key)?;
        let dir = self.0.containers.open_dir(key).found();
        let dir = dir.at(OP, self.path(&format!("containers/{key}")))?;
        Ok(dir.map(|dir| Binding { key: key.into(), dir, store: self.clone() }))
    }

    /// Forgets a tree: its record goes in one step, whatever else lies in it included. The tree itself is not touched
    /// unless it lies there. [`crate::ErrorKind::NotFound`] when there is no record.
    pub fn unbind(&self, key: &str) -> Result<()> {
        let _lease = self.lease()?;
        self.forget(key)
    }

    /// Does what [`Store::unbind`] does, under the lease of the caller.
    pub(super) fn forget(&self, key: &str) -> Result<()> {
        const OP: &str = "unbind tree";
        check_key(OP, key)?;
        let rooms = &*self.0;
        let trash = publish::random_name();
        rooms.containers.rename(key, &rooms.tmp, &trash).at(OP, self.path(&format!("containers/{key}")))?;
        publish::sync_dir(&rooms.containers, self.path("containers"))?;
        publish::remove_dir(&rooms.tmp, &trash, self.path(&format!("containers/{key}")))
    }

    /// Returns the keys of all trees with a record, sorted.
    pub fn trees(&self) -> Result<Vec<String>> {
        const OP: &str = "list trees";
        let mut out = Vec::new();
        for entry in self.0.containers.entries().at(OP, self.path("containers"))? {
            let name = entry.at(OP, self.path("containers"))?.file_name();
            out.extend(name.to_str().filter(|name| check_key(OP, name).is_ok()).map(String::from));
        }
        out.sort();
        Ok(out)
    }
}

impl Binding {
    /// Returns the key it was opened with.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the directory of the record. Not part of the stable interface.
    #[doc(hidden)]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Opens a file of the record; `None` when it is not there.
    pub fn open(&self, file: BindingFile) -> Result<Option<File>> {
        publish::open_regular(&self.dir, file.name(), self.shown(file)).found()
    }

    /// Reads a file of at most `cap` bytes; `None` when it is not there.
    pub fn read(&self, file: BindingFile, cap: u64) -> Result<Option<Vec<u8>>> {
        publish::read_capped(&self.dir, file.name(), self.shown(file), cap).found()
    }

    /// Replaces a file, atomically and durably.
    pub fn replace(&self, file: BindingFile, bytes: &[u8]) -> Result<()> {
        self.replace_with(file, |out| out.write_all(bytes).at("write file", self.shown(file)))
    }

    /// Does what [`Binding::replace`] does, for content written piece by piece. When `fill` fails, the old file stays.
    pub fn replace_with(
        &self,
        file: BindingFile,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let _lease = self.store.lease()?;
        publish::replace_with(&self.dir, file.name(), self.shown(file), Durability::Full, fill)
    }

    /// Removes a file; it is fine when it is not there.
    pub fn remove(&self, file: BindingFile) -> Result<()> {
        match self.dir.remove_file(file.name()).found().at("remove file", self.shown(file))? {
            Some(()) => publish::sync_dir(&self.dir, self.shown(file)),
            None => Ok(()),
        }
    }

    /// Returns what `config.json` holds; `None` when it was not written yet.
    pub(crate) fn config(&self) -> Result<Option<Value>> {
        let limits = self.store.limits();
        let Some(bytes) = self.read(BindingFile::Config, limits.json_bytes)? else { return Ok(None) };
        let value = super::json::parse_file(&bytes, self.shown(BindingFile::Config), limits);
        value.map(Some).map_err(|error| self.damaged(BindingFile::Config, error.message()))
    }

    /// Returns the ledger that goes with a configuration.
    pub(crate) fn ledger(&self, config: &Value) -> Result<Ledger> {
        let expected = config.get("ledger").and_then(Value::as_u64).unwrap_or(0);
        let mut ledger = match self.read(BindingFile::Ledger, LEDGER_CAP)? {
            // One that is newer than the configuration is of a commit that was cut short, and as good.
            Some(bytes) => Ledger::from_bytes(&bytes)
                .map_err(|error| self.damaged(BindingFile::Ledger, error.message()))?,
            None if expected == 0 => Ledger::default(),
            None => {
                let what = format!(
                    "it is missing, with the owners and kinds of {expected} files that the disk cannot hold"
                );
                return Err(self.damaged(BindingFile::Ledger, &what));
            }
        };
        // What a command has changed that still runs, or that was killed with all that watched it.
        if let Some(mut journal) = self.open(BindingFile::Journal)? {
            crate::tree::journal::replay(&mut journal, &mut ledger)
                .map_err(|error| self.damaged(BindingFile::Journal, error.message()))?;
        }
        Ok(ledger)
    }

    /// Opens the journal for appending, making it where there is none, and locks it until the value ends: one process at a
    /// time runs commands in a tree. [`crate::ErrorKind::Busy`] when another one does.
    #[cfg(feature = "sandbox")]
    pub(crate) fn journal(&self) -> Result<Locked> {
        const OP: &str = "lock tree";
        let shown = self.shown(BindingFile::Journal);
        let mut options = cap_std::fs::OpenOptions::new();
        options.read(true).append(true).create(true);
        cap_std::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = open_or_make(&self.dir, BindingFile::Journal.name(), &options).at(OP, &shown)?;
        match Locked::try_new(file, true).at(OP, &shown)? {
            Some(locked) => Ok(locked),
            None => {
                Err(Error::new(crate::ErrorKind::Busy, OP, "a command runs in this tree").with_path(shown))
            }
        }
    }

    /// Checks that the record can be used.
    pub(super) fn check(&self) -> Result<()> {
        match self.config()? {
            Some(config) => self.ledger(&config).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Returns a record that cannot be used.
    pub(crate) fn damaged(&self, file: BindingFile, what: &str) -> Error {
        let dir = self.store.root_path().join("containers").join(&self.key);
        Error::corrupt("read tree record", format!("the record of a tree is damaged: {what}"))
            .with_path(self.shown(file))
            .with_hint(format!(
                "restore a copy, or remove {}: the store then has no record of the tree, nor of owners that are not on the disk",
                dir.display()
            ))
    }

    fn shown(&self, file: BindingFile) -> Vec<u8> {
        self.store.path(&format!("containers/{}/{}", self.key, file.name()))
    }
}

/// A file for a [`Binding`] that is on the disk and not yet in its place. Dropped, it leaves nothing behind.
pub(crate) struct StagedFile {
    staged: Staged,
    /// The directory it is in, as messages have it.
    shown: Vec<u8>,
}

impl StagedFile {
    /// Gives it a temporary name: a lack of room shows here.
    pub fn name(&mut self) -> Result<()> {
        self.staged.name().at("write file", &self.shown).map(drop)
    }

    /// Puts it in place of the old one.
    pub fn publish(self, binding: &Binding, file: BindingFile) -> Result<()> {
        let shown = binding.shown(file);
        self.staged.replace(&binding.dir, file.name()).at("write file", &shown)?;
        publish::sync_dir(&binding.dir, &shown)
    }
}

fn check_key(operation: &'static str, key: &str) -> Result<()> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if key.is_empty() || key.len() > 200 || key.starts_with(['.', '-']) || !key.bytes().all(ok) {
        let message = "a name holds 1 to 200 letters, digits, . _ - and starts with none of . -";
        return Err(Error::invalid(operation, message).with_path(key));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_replaced_and_forgotten() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        assert!(store.find_tree("1-2-3").unwrap().is_none());
        let binding = store.bind_tree("1-2-3").unwrap();
        assert_eq!(binding.read(BindingFile::Ledger, 10).unwrap(), None);
        binding.replace(BindingFile::Ledger, b"one").unwrap();
        store.bind_tree("1-2-3").unwrap().replace(BindingFile::Ledger, b"two").unwrap();
        assert_eq!(binding.read(BindingFile::Ledger, 10).unwrap().unwrap(), b"two");
        assert!(binding.replace_with(BindingFile::Ledger, |_| Err(Error::invalid("x", "no"))).is_err());
        assert_eq!(binding.read(BindingFile::Ledger, 10).unwrap().unwrap(), b"two");
        binding.remove(BindingFile::Ledger).unwrap();
        binding.remove(BindingFile::Ledger).unwrap();
        assert!(binding.open(BindingFile::Ledger).unwrap().is_none());
        store.bind_tree("web").unwrap();
        assert_eq!(store.trees().unwrap(), ["1-2-3", "web"]);
        store.unbind("1-2-3").unwrap();
        assert_eq!(store.unbind("1-2-3").unwrap_err().kind(), crate::ErrorKind::NotFound);
        assert_eq!(store.trees().unwrap(), ["web"]);
        for key in ["", ".", "..", "a/b", "-x", "a\0b", &"x".repeat(201)] {
            assert!(store.bind_tree(key).is_err(), "{key:?}");
        }
    }
}
