//! Trees: directories that were made from an image or committed to one, with what the store has of them.

use std::borrow::Cow;
use std::collections::HashSet;

use super::record::{self, Before, Found, TreeRecord, absolute};
use super::tree_id::TreeId;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Root;
use crate::hint::Hint;
use crate::store::{Binding, BindingFile, StagedFile, Store};
use crate::tree::{Ledger, OwnerSource, Owners, OwnersWanted, ScanOptions, Snapshot};

/// How long a helper is waited for that takes owners from the disk because its program was killed.
#[cfg(feature = "sandbox")]
const LAST_MOMENT: std::time::Duration = std::time::Duration::from_secs(2);

/// A directory with what the store has of it. Looked up once per operation, with [`Tree::open`].
///
/// A tree is bound in three steps: [`Tree::stage`] writes the large files, [`StagedTree::seal`] everything else that may fail
/// for lack of room, and [`SealedTree::publish`] puts all of it in place of what was there. What else has to happen, as
/// giving an image its name, belongs between the last two.
pub struct Tree<'a> {
    store: &'a Store,
    root: &'a Root,
    id: TreeId,
    /// The record and the device number of the tree when it was written.
    record: Option<(Binding, u64)>,
    image: Option<Digest>,
    reference: Option<String>,
    /// The owners of its files; the default for a tree that the store does not have.
    pub owners: Owners,
    /// The tree when it was bound. `None` for a tree that the store does not have, or when a crash came between the index
    /// and its record.
    pub index: Option<Snapshot>,
    becoming: Option<Digest>,
    spoiled: Option<String>,
    before: Option<Before>,
}

impl<'a> Tree<'a> {
    /// Looks a directory up in the store.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a damaged record, [`ErrorKind::InvalidArgument`] where the filesystem cannot say whether the
    /// record is that of this directory, [`ErrorKind::InUse`] when the tree is something between two images, because a checkout
    /// did not finish.
    pub fn open(store: &'a Store, root: &'a Root) -> Result<Self> {
        let tree = Tree::open_mended(store, root)?;
        match &tree.becoming {
            None => Ok(tree),
            Some(image) => {
                let message = format!("a checkout of {image} is under way in this tree, or did not finish");
                let tree = root.path().display().to_string();
                let hint = Hint::FinishCheckout { image: image.short(), tree };
                let error = Error::new(ErrorKind::InUse, "read tree record", message);
                Err(error.with_path(root.describe(b"")).with_hint(hint))
            }
        }
    }

    /// Does what [`Tree::open`] does for a tree that may be something between two images, because all of it is replaced.
    pub(super) fn open_mended(store: &'a Store, root: &'a Root) -> Result<Self> {
        let tree = Tree::open_unfinished(store, root)?;
        #[cfg(feature = "sandbox")]
        let tree = if tree.mend()? { Tree::open_unfinished(store, root)? } else { tree };
        Ok(tree)
    }

    /// Does what [`Tree::open_mended`] does for a tree in which a command may run.
    pub(crate) fn open_unfinished(store: &'a Store, root: &'a Root) -> Result<Self> {
        let id = TreeId::of(root)?;
        let found = record::find(store, root, id)?;
        Tree::read(store, root, id, found, id.is_certain())
    }

    fn read(
        store: &'a Store,
        root: &'a Root,
        id: TreeId,
        found: Option<Found>,
        certain: bool,
    ) -> Result<Self> {
        let (owners, index) = (Owners::default(), None);
        let (record, image, reference) = (None, None, None);
        let (becoming, spoiled, before) = (None, None, None);
        let mut tree =
            Tree { store, root, id, record, image, reference, owners, index, becoming, spoiled, before };
        let Some(Found { binding, config, device: then }) = found else { return Ok(tree) };
        let mut ledger = binding.ledger(&config)?;
        let record: TreeRecord = serde_json::from_value(config)
            .map_err(|error| binding.damaged(BindingFile::Config, &error.to_string()))?;
        if !certain && record.path != absolute(root.path()) && !is_same_directory(root, &record.path)? {
            // Either guess would give files the wrong owners without a word.
            let message = "cannot verify that this is the tree recorded in the store";
            return Err(Error::invalid("read tree record", message)
                .with_path(root.describe(b""))
                .with_hint(Hint::ForgetTree { path: record.path }));
        }
        // The index only saves time. What cannot be used is done without.
        let index = binding.open(BindingFile::Index)?.and_then(|file| Snapshot::map(file).ok());
        tree.index = index.filter(|index| index.checksum() == record.index);
        if then != id.device {
            ledger = ledger_on(&ledger, then, id.device);
            tree.index = tree.index.map(|index| index.renumbered(then, id.device));
        }
        let source = match record.owner_xattr {
            Some(attribute) => OwnerSource::Xattr(attribute.parse()?),
            None => OwnerSource::Nothing,
        };
        tree.owners = Owners { policy: record.owner.parse()?, source, ledger };
        (tree.image, tree.reference) = (Some(record.manifest), record.reference);
        (tree.becoming, tree.spoiled, tree.before) = (record.becoming, record.spoiled, record.before);
        tree.record = Some((binding, then));
        Ok(tree)
    }

    /// Returns whether the store has a record of the tree.
    pub fn is_bound(&self) -> bool {
        self.record.is_some()
    }

    /// Returns the manifest of the image that the tree is bound to.
    pub fn image(&self) -> Option<&Digest> {
        self.image.as_ref()
    }

    /// Returns the reference of that image when the tree was bound.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// Returns the manifest of the image that a checkout which did not finish was making of the tree.
    pub(super) fn becoming(&self) -> Option<&Digest> {
        self.becoming.as_ref()
    }

    /// Returns the image that the tree was bound to before.
    pub(super) fn before(&self) -> Option<&Before> {
        self.before.as_ref()
    }

    /// Returns the image before, for a tree that is bound to `manifest` after this.
    pub(super) fn before_next(&self, manifest: &Digest) -> Option<Before> {
        match self.image {
            Some(image) if image != *manifest => Some(Before::new(&image, self.reference.clone())),
            _ => self.before.clone(),
        }
    }

    /// Gives a tree that takes the place of another the image before of that one.
    pub(super) fn after(mut self, before: Option<&Before>) -> Self {
        self.before = before.cloned().or(self.before);
        self
    }

    /// Writes down that a bound tree is being made into another image: until it is bound it is something in between. What the
    /// record has of the image until now stays.
    pub(super) fn begin(&self, image: Digest) -> Result<()> {
        self.note(|record| record.becoming = Some(image))
    }

    /// Writes down that a bound tree is not to be committed as it is, and why. A checkout makes it whole.
    #[cfg(feature = "sandbox")]
    pub(crate) fn spoil(&self, reason: &str) -> Result<()> {
        self.note(|record| record.spoiled = Some(reason.to_string()))
    }

    /// Refuses a tree that a command left in the midst of its work because it was stopped.
    pub(super) fn check_whole(&self, operation: &'static str) -> Result<()> {
        let Some(reason) = &self.spoiled else { return Ok(()) };
        let message = format!("a command in this tree was stopped: {reason}");
        Err(Error::new(ErrorKind::InUse, operation, message)
            .with_path(self.root.describe(b""))
            .with_hint("check an image out into it, discarding the changes of that command"))
    }

    /// Changes the record of a bound tree.
    fn note(&self, change: impl FnOnce(&mut TreeRecord)) -> Result<()> {
        let missing = || Error::not_found("write tree record", "the store has no record of this tree");
        let (binding, _) = self.record.as_ref().ok_or_else(missing)?;
        let config = binding.config()?.ok_or_else(missing)?;
        let mut record: TreeRecord = serde_json::from_value(config)
            .map_err(|error| binding.damaged(BindingFile::Config, &error.to_string()))?;
        change(&mut record);
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| Error::new(ErrorKind::Internal, "write tree record", error.to_string()))?;
        binding.replace(BindingFile::Config, &bytes)
    }

    /// Returns the image of another directory that was at the path of this one, which is not bound: a directory that was
    /// removed and made anew, or copied back, is another one.
    pub fn former_image(&self) -> Result<Option<String>> {
        match self.is_bound() {
            true => Ok(None),
            false => record::image_of_path(self.store, self.root),
        }
    }

    /// Forgets the tree at a path, whether it is still there or not: what the store has of it goes.
    #[cfg(feature = "sandbox")]
    pub(crate) fn forget(store: &Store, path: &std::path::Path) -> Result<()> {
        let mut keys = Vec::new();
        match Root::open(path) {
            Ok(root) => {
                let id = TreeId::of(&root)?;
                // So that what a killed command left can be removed.
                if let Ok(tree) = Tree::open_unfinished(store, &root) {
                    tree.mend()?;
                }
                keys.extend(record::find(store, &root, id)?.map(|found| found.binding.key().to_string()));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => keys = record::keys_of_path(store, path)?,
            Err(error) => return Err(error),
        }
        for key in keys {
            match store.unbind(&key) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Opens and locks the journal of a bound tree's ledger, see [`Binding::journal`]; `None` for a tree that is not bound.
    #[cfg(feature = "sandbox")]
    pub(crate) fn journal(&self) -> Result<Option<crate::fs::lock::Locked>> {
        self.record.as_ref().map(|(binding, _)| binding.journal()).transpose()
    }

    /// Undoes what a command did to the tree for its own time, if a kill left that; whether there was anything.
    #[cfg(feature = "sandbox")]
    pub(crate) fn mend(&self) -> Result<bool> {
        use crate::sandbox::Left;
        let Some((binding, _)) = &self.record else { return Ok(false) };
        let Some(journal) = binding.open(BindingFile::Journal)? else { return Ok(false) };
        if Left::read(&journal)?.is_nothing() {
            return Ok(false);
        }
        let end = std::time::Instant::now() + LAST_MOMENT;
        let locked = loop {
            match binding.journal() {
                Ok(locked) => break locked,
                // A command runs: what it needs is there, and its end undoes it.
                Err(error) if error.kind() == ErrorKind::Busy && !Left::read(&journal)?.is_lent() => {
                    return Ok(false);
                }
                // Or a helper that lost its program is at its end.
                Err(error) if error.kind() == ErrorKind::Busy && std::time::Instant::now() < end => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                Err(error) if error.kind() == ErrorKind::Busy => {
                    return Err(crate::sandbox::in_use(self.root));
                }
                Err(error) => return Err(error),
            }
        };
        let left = Left::read(locked.file())?;
        left.undo(self.root, &self.owners.ledger, locked.file())?;
        Ok(true)
    }

    /// Replaces the ledger of a bound tree; the rest of its record stays.
    pub fn replace_ledger(&self, ledger: &Ledger) -> Result<()> {
        match &self.record {
            Some((binding, _)) => binding.replace(BindingFile::Ledger, &ledger.to_bytes()),
            None => {
                let error = Error::not_found("write tree record", "the store has no record of this tree");
                Err(error.with_path(self.root.describe(b"")))
            }
        }
    }

    /// Writes the tree as it is now, and what the disk does not hold of it, beside what the record has. Files that the index
    /// does not have leave the ledger. Without an index the next scan reads everything.
    pub fn stage(&self, owners: &Owners, index: Option<&Snapshot>) -> Result<StagedTree> {
        match index {
            Some(index) => self.stage_files(owners, &without_dead(&owners.ledger, index), Some(index)),
            None => self.stage_files(owners, &owners.ledger, None),
        }
    }

    fn stage_files(&self, owners: &Owners, ledger: &Ledger, index: Option<&Snapshot>) -> Result<StagedTree> {
        let stage = |bytes: &[u8]| self.store.stage_record(bytes);
        let there = match self.own_record() {
            Some(binding) => binding.open(BindingFile::Ledger)?.is_some(),
            None => match self.store.find_tree(&self.id.key())? {
                Some(binding) => binding.open(BindingFile::Ledger)?.is_some(),
                None => false,
            },
        };
        Ok(StagedTree {
            // An empty one only where another one would count as this tree's.
            ledger: match ledger.is_empty() && !there {
                true => None,
                false => Some(stage(&ledger.to_bytes())?),
            },
            index: index.map(|index| stage(index.as_bytes())).transpose()?,
            owner: owners.policy.to_string(),
            owner_xattr: match owners.source {
                OwnerSource::Xattr(attribute) => Some(attribute.to_string()),
                OwnerSource::Nothing | OwnerSource::Fakeroot(_) => None,
            },
            // Where there is none, one from before is not used, as after a crash.
            index_checksum: index.map_or(0, Snapshot::checksum),
            ledger_len: ledger.len(),
        })
    }

    /// Binds the tree to an image in one go, and returns the key of its record.
    pub fn bind(
        &self,
        manifest: Digest,
        reference: Option<&str>,
        owners: &Owners,
        index: Option<&Snapshot>,
    ) -> Result<String> {
        self.stage(owners, index)?.seal(self, manifest, reference)?.publish()
    }

    /// Binds a copy of a tree: all of its ledger is of files that are there, also of those that the index, which is of the
    /// moment when the original was bound, does not have.
    pub(super) fn bind_copy(
        &self,
        manifest: Digest,
        reference: Option<&str>,
        owners: &Owners,
        index: Option<&Snapshot>,
    ) -> Result<String> {
        self.stage_files(owners, &owners.ledger, index)?.seal(self, manifest, reference)?.publish()
    }

    /// Returns the record, unless the device had another number when it was written: that one is replaced by a new one.
    fn own_record(&self) -> Option<&Binding> {
        self.record.as_ref().filter(|(_, device)| *device == self.id.device).map(|(binding, _)| binding)
    }
}

/// The large files of a record, on the disk and not yet in their places. Dropped, it leaves nothing behind.
pub struct StagedTree {
    ledger: Option<StagedFile>,
    index: Option<StagedFile>,
    owner: String,
    owner_xattr: Option<String>,
    index_checksum: u32,
    ledger_len: usize,
}

impl StagedTree {
    /// Writes all that is missing of the record of `tree`, so that only renames are left to do.
    pub fn seal(self, tree: &Tree<'_>, manifest: Digest, reference: Option<&str>) -> Result<SealedTree> {
        let record = TreeRecord {
            path: absolute(tree.root.path()),
            manifest,
            reference: reference.map(String::from),
            owner: self.owner,
            owner_xattr: self.owner_xattr,
            index: self.index_checksum,
            ledger: self.ledger_len,
            becoming: None,
            spoiled: None,
            before: tree.before_next(&manifest),
        };
        let record = serde_json::to_vec(&record)
            .map_err(|error| Error::new(ErrorKind::Internal, "write tree record", error.to_string()))?;
        let mut files = Vec::new();
        // The ledger goes first: its entries name inodes and hold for the old record as well. The record goes last and names
        // the index it goes with, so that a crash in between costs time and nothing else.
        files.extend(self.ledger.map(|file| (BindingFile::Ledger, file)));
        files.extend(self.index.map(|file| (BindingFile::Index, file)));
        files.push((BindingFile::Config, tree.store.stage_record(&record)?));
        for (_, file) in &mut files {
            file.name()?;
        }
        let binding = tree.store.bind_tree(tree.own_record().map_or(tree.id.key().as_str(), Binding::key))?;
        let outdated = match (&tree.record, tree.own_record()) {
            (Some((old, _)), None) => Some((tree.store.clone(), old.key().to_string())),
            _ => None,
        };
        Ok(SealedTree { binding, files, outdated })
    }
}

/// A record that is whole but for the names of its files. Dropped, it leaves the old record as it was.
pub struct SealedTree {
    binding: Binding,
    files: Vec<(BindingFile, StagedFile)>,
    /// A record under an old device number.
    outdated: Option<(Store, String)>,
}

impl SealedTree {
    /// Puts the record in place of the old one, and returns its key. Prune keeps the image that it names, named or not.
    ///
    /// A kill before the end leaves the old record, which is still true of the tree: the next commit finds the same changes
    /// once more, on the image the tree was made from.
    pub fn publish(self) -> Result<String> {
        for (name, file) in self.files {
            file.publish(&self.binding, name)?;
        }
        if let Some((store, key)) = self.outdated {
            store.unbind(&key)?;
        }
        Ok(self.binding.key().to_string())
    }
}

/// Returns the owners of a directory: those that are given, else those it was bound with, else the default.
pub fn owners_of(store: Option<&Store>, root: &Root, wanted: &OwnersWanted) -> Result<Owners> {
    let known = match store {
        Some(store) => Tree::open(store, root)?.owners,
        None => Owners::default(),
    };
    Ok(known.with(wanted))
}

/// Returns the options of a scan of a tree that a store may stand in: the store is no part of it.
pub fn scan_options<'a>(owners: &'a Owners, store: Option<&Store>) -> Result<ScanOptions<'a>> {
    use crate::error::At;
    use std::os::unix::ffi::OsStrExt;
    let stat = store.map(|store| {
        crate::fs::stat::stat_fd(store.dir()).at("scan tree", store.root_path().as_os_str().as_bytes())
    });
    let leave_out = stat.transpose()?.map(|stat| (stat.dev, stat.ino));
    Ok(ScanOptions { leave_out, ..owners.scan_options() })
}

/// Returns whether a path leads to the directory that is open.
fn is_same_directory(root: &Root, path: &str) -> Result<bool> {
    match Root::open(path) {
        Ok(other) => Ok(TreeId::of(&other)? == TreeId::of(root)?),
        Err(_) => Ok(false),
    }
}

/// Returns a ledger for the number that its device has now.
fn ledger_on(ledger: &Ledger, then: u64, now: u64) -> Ledger {
    let mut out = Ledger::default();
    for record in ledger.records() {
        let dev = if record.dev == then { now } else { record.dev };
        out.insert(crate::tree::ledger::Record { dev, ..record.clone() });
    }
    out
}

/// Returns the ledger without files that are gone: their inode numbers are for others to use. What lies on another device,
/// or may be hidden by one that is mounted over it, stays.
fn without_dead<'a>(ledger: &'a Ledger, index: &Snapshot) -> Cow<'a, Ledger> {
    let mut dead: HashSet<(u64, u64)> = ledger.records().map(|record| (record.dev, record.ino)).collect();
    let device = index.meta(0).dev;
    for at in 0..index.len() {
        let meta = index.meta(at);
        if meta.dev != device {
            return Cow::Borrowed(ledger);
        }
        dead.remove(&(meta.dev, meta.ino));
    }
    if dead.is_empty() {
        return Cow::Borrowed(ledger);
    }
    let mut alive = ledger.clone();
    for (dev, ino) in dead {
        alive.take(dev, ino);
    }
    Cow::Owned(alive)
}

#[cfg(test)]
mod tests;
