//! Trees: directories that were made from an image or committed to one, with what the store has of them.

use std::borrow::Cow;
use std::collections::HashSet;

use super::record::{self, Before, Found, TreeRecord, absolute};
use super::tree_id::TreeId;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Root;
use crate::store::{Binding, BindingFile, StagedFile, Store};
use crate::tree::{Ledger, OwnerSource, Owners, ScanOptions, Snapshot};

/// A directory with what the store has of it. Looked up once per operation, with [`Tree::open`].
///
/// A tree is bound in three steps: [`Tree::stage`] writes the large files, [`StagedTree::seal`] everything else that may fail
/// for want of room, and [`SealedTree::publish`] puts all of it in place of what was there. What else has to happen, as giving
/// an image its name, belongs between the last two.
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
        let tree = Tree::open_unfinished(store, root)?;
        match &tree.becoming {
            None => Ok(tree),
            Some(image) => {
                let message = format!("a checkout of {image} is under way in this tree, or did not finish");
                let hint =
                    format!("treering checkout {} {} finishes it", image.short(), root.path().display());
                let error = Error::new(ErrorKind::InUse, "read tree record", message);
                Err(error.with_path(root.describe(b"")).with_hint(hint))
            }
        }
    }

    /// Does what [`Tree::open`] does for a tree that may be something between two images.
    pub(super) fn open_unfinished(store: &'a Store, root: &'a Root) -> Result<Self> {
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
        let (record, image, reference, becoming, before) = (None, None, None, None, None);
        let mut tree = Tree { store, root, id, record, image, reference, owners, index, becoming, before };
        let Some(Found { binding, config, device: then }) = found else { return Ok(tree) };
        let mut ledger = binding.ledger(&config)?;
        let record: TreeRecord = serde_json::from_value(config)
            .map_err(|error| binding.damaged(BindingFile::Config, &error.to_string()))?;
        if !certain && record.path != absolute(root.path()) && !is_same_directory(root, &record.path)? {
            // Either guess would give files the wrong owners without a word.
            let message = "cannot verify that this is the tree recorded in the store";
            return Err(Error::invalid("read tree record", message).with_path(root.describe(b"")).with_hint(
                format!("move it back to {}, or forget that tree with treering prune --trees", record.path),
            ));
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
        (tree.becoming, tree.before) = (record.becoming, record.before);
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

    /// Writes down that a bound tree is being made into another image: until it is bound it is something in between. What the
    /// record has of the image until now stays.
    pub(super) fn begin(&self, image: Digest) -> Result<()> {
        let missing = || Error::not_found("write tree record", "the store does not know this tree");
        let (binding, _) = self.record.as_ref().ok_or_else(missing)?;
        let config = binding.config()?.ok_or_else(missing)?;
        let mut record: TreeRecord = serde_json::from_value(config)
            .map_err(|error| binding.damaged(BindingFile::Config, &error.to_string()))?;
        record.becoming = Some(image);
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

    /// Opens and locks the journal of a bound tree's ledger, see [`Binding::journal`]; `None` for a tree that is not bound.
    #[cfg(feature = "sandbox")]
    pub(crate) fn journal(&self) -> Result<Option<std::fs::File>> {
        self.record.as_ref().map(|(binding, _)| binding.journal()).transpose()
    }

    /// Replaces the ledger of a bound tree; the rest of its record stays.
    pub fn replace_ledger(&self, ledger: &Ledger) -> Result<()> {
        match &self.record {
            Some((binding, _)) => binding.replace(BindingFile::Ledger, &ledger.to_bytes()),
            None => {
                let error = Error::not_found("write tree record", "the store does not know this tree");
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

    /// The record, unless the device had another number when it was written: that one is replaced by a new one.
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
            before: match tree.image {
                Some(image) if image != manifest => Some(Before::new(&image, tree.reference.clone())),
                _ => tree.before.clone(),
            },
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

/// Returns the owners of a directory: those a caller gives, else those it was bound with, else the default.
pub fn owners_of(
    store: Option<&Store>,
    root: &Root,
    policy: Option<crate::tree::OwnerPolicy>,
    source: Option<OwnerSource>,
) -> Result<Owners> {
    let known = match store {
        Some(store) => Tree::open(store, root)?.owners,
        None => Owners::default(),
    };
    Ok(known.with(policy, source))
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

/// Whether a path leads to the directory that is open.
fn is_same_directory(root: &Root, path: &str) -> Result<bool> {
    match Root::open(path) {
        Ok(other) => Ok(TreeId::of(&other)? == TreeId::of(root)?),
        Err(_) => Ok(false),
    }
}

/// A ledger whose device has another number now.
fn ledger_on(ledger: &Ledger, then: u64, now: u64) -> Ledger {
    let mut out = Ledger::default();
    for record in ledger.records() {
        let dev = if record.dev == then { now } else { record.dev };
        out.insert(crate::tree::ledger::Record { dev, ..record.clone() });
    }
    out
}

/// The ledger without files that are gone: their inode numbers are for others to use. What lies on another device, or may
/// be hidden by one that is mounted over it, stays.
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
mod tests {
    use super::*;
    use crate::fs::Kind;
    use crate::fs::generation::generation;
    use crate::image::{Base, CommitOptions, DiffOptions, commit, diff_tree, lost_trees};
    use crate::progress::Control;
    use crate::tree::ledger;
    use crate::tree::scan::scan;

    fn record_of(root: &Root, name: &[u8], ino_offset: u64) -> ledger::Record {
        let name = crate::fs::root::c_name(name).unwrap();
        let stat = crate::fs::stat::stat_at(root, &name).unwrap();
        ledger::Record {
            path: name.to_bytes().to_vec(),
            dev: stat.dev,
            ino: stat.ino + ino_offset,
            generation: generation(root, &name, &stat).unwrap(),
            disk_mode: stat.mode,
            kind: Kind::File,
            mode: 0o4755,
            uid: 7,
            gid: 8,
            rdev: (0, 0),
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn the_ledger_is_that_of_the_tree_as_it_is_now() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path().join("store")).unwrap();
        let path = temp.path().join("tree");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), "x").unwrap();
        let root = Root::open(&path).unwrap();
        let mut owners = Owners::default();
        owners.ledger.insert(record_of(&root, b"file", 0));
        owners.ledger.insert(record_of(&root, b"file", 1 << 40));
        let snapshot = scan(&root, &owners.scan_options(), &Control::default()).unwrap().snapshot;
        let open = || Tree::open(&store, &root).unwrap();
        let manifest = Digest::of(b"manifest");
        let seal = |owners: &Owners| {
            let tree = open();
            tree.stage(owners, Some(&snapshot)).unwrap().seal(&tree, manifest, None).unwrap()
        };
        let known = || Some(open()).filter(Tree::is_bound).map(|tree| tree.owners.ledger.len());
        drop(seal(&owners));
        assert_eq!(known(), None, "nothing took effect");
        let key = seal(&owners).publish().unwrap();
        assert_eq!(known(), Some(1), "the file that is gone went");
        assert_eq!((store.trees().unwrap(), open().image()), (vec![key], Some(&manifest)));
        drop(seal(&Owners::default()));
        assert_eq!(known(), Some(1));
        open().bind(manifest, None, &Owners::default(), Some(&snapshot)).unwrap();
        assert_eq!(known(), Some(0), "what was known of another life is no longer there");
        open().replace_ledger(&owners.ledger).unwrap();
        assert_eq!(known(), Some(2));
        assert!(
            std::fs::read_dir(temp.path().join("store/tmp")).unwrap().next().is_none(),
            "nothing is left"
        );
    }

    #[test]
    fn a_tree_that_cannot_be_told_from_another_is_known_where_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path().join("store")).unwrap();
        let (path, moved) = (temp.path().join("tree"), temp.path().join("moved"));
        std::fs::create_dir(&path).unwrap();
        let root = Root::open(&path).unwrap();
        let id = TreeId::of(&root).unwrap();
        assert_eq!(TreeId::parse(&id.key()), Some(id));
        let owners = Owners::default();
        let snapshot = scan(&root, &owners.scan_options(), &Control::default()).unwrap().snapshot;
        let tree = Tree::open(&store, &root).unwrap();
        tree.bind(Digest::of(b"manifest"), None, &owners, Some(&snapshot)).unwrap();
        let read = |root: &Root, certain: bool| {
            let found = record::find(&store, root, id).unwrap();
            assert!(found.is_some());
            Tree::read(&store, root, id, found, certain).map(drop)
        };
        // By another way to the same directory.
        std::os::unix::fs::symlink("tree", temp.path().join("link")).unwrap();
        for way in ["tree", "link", "tree/."] {
            let root = Root::open(temp.path().join(way)).unwrap();
            assert!(read(&root, false).is_ok(), "{way}");
        }
        std::fs::rename(&path, &moved).unwrap();
        let root = Root::open(&moved).unwrap();
        assert!(read(&root, true).is_ok(), "a tree may be renamed");
        let error = read(&root, false).unwrap_err();
        assert!(error.hint().unwrap().contains("prune --trees"), "{error}");
    }

    /// The filesystem of a tree is mounted again and has another device number: here the record says so, since only root
    /// can mount. Whose a file is comes from the ledger alone, and the scan reads no file again.
    #[test]
    fn a_tree_is_known_when_its_device_has_another_number() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path().join("store")).unwrap();
        let tree = temp.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("f"), "content").unwrap();
        let (control, options) = (Control::default(), CommitOptions::default());
        commit(&store, &tree, Some("app:v1"), &options, &control).unwrap();
        let root = Root::open(&tree).unwrap();
        let mut bound = Tree::open(&store, &root).unwrap();
        bound.owners.ledger.insert(record_of(&root, b"f", 0));
        let image = *bound.image().unwrap();
        bound.bind(image, Some("app:v1"), &bound.owners, bound.index.as_ref()).unwrap();
        std::fs::write(tree.join("f"), "changed").unwrap();
        commit(&store, &tree, Some("app:v2"), &options, &control).unwrap();

        // The record as another device number would have made it.
        let id = TreeId::of(&root).unwrap();
        let (dev, key) = (id.device, id.key());
        let other = TreeId { device: dev + 1, ..id }.key();
        let bound = Tree::open(&store, &root).unwrap();
        let index = bound.index.as_ref().unwrap().renumbered(dev, dev + 1);
        let containers = temp.path().join("store/containers");
        let config = containers.join(&key).join("config.json");
        let mut record: TreeRecord = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        record.index = index.checksum();
        std::fs::write(&config, serde_json::to_vec(&record).unwrap()).unwrap();
        std::fs::write(containers.join(&key).join("index"), index.as_bytes()).unwrap();
        let ledger = ledger_on(&bound.owners.ledger, dev, dev + 1);
        std::fs::write(containers.join(&key).join("ledger"), ledger.to_bytes()).unwrap();
        std::fs::rename(containers.join(&key), containers.join(&other)).unwrap();

        let diff = || diff_tree(Some(&store), &tree, &Base::Auto, &DiffOptions::default(), &control).unwrap();
        let owner = |diff: &crate::image::TreeDiff| {
            let file = diff.new.meta(diff.new.lookup(b"f").unwrap());
            (file.mode, file.uid, file.gid)
        };
        assert!(diff().changes.is_empty());
        assert_eq!(owner(&diff()), (0o4755, 7, 8), "by the index");
        std::fs::write(tree.join("f"), "once more").unwrap();
        assert_eq!((diff().changes.len(), owner(&diff())), (1, (0o4755, 7, 8)), "by the ledger");
        assert_eq!(Tree::open(&store, &root).unwrap().former_image().unwrap(), None);
        assert!(lost_trees(&store).unwrap().is_empty());
        assert!(commit(&store, &tree, Some("app:v3"), &options, &control).is_ok());
        assert_eq!(store.trees().unwrap(), [key]);
        // At another path it would be a copy.
        std::fs::rename(containers.join(&store.trees().unwrap()[0]), containers.join(&other)).unwrap();
        std::fs::rename(&tree, temp.path().join("copy")).unwrap();
        let copy = Root::open(temp.path().join("copy")).unwrap();
        assert!(!Tree::open(&store, &copy).unwrap().is_bound());
        // A filesystem that is not mounted: nothing lies at the path, and what lies above is on another device.
        assert!(lost_trees(&store).unwrap().is_empty());
        std::fs::rename(containers.join(&other), containers.join(TreeId::of(&root).unwrap().key())).unwrap();
        assert_eq!(lost_trees(&store).unwrap().len(), 1);
    }
}
