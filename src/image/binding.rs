//! What ties a directory to the image it was made from or committed to.
//!
//! A tree is known by device, inode and birth of its root directory, so it may be renamed but not confused with another.
//! Filesystems get another device number when they are mounted again; a tree is then known by the rest and its path.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::whose::Whose;
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Root;
use crate::fs::generation::{generation, same_life};
use crate::fs::root::split;
use crate::fs::stat::stat_fd;
use crate::store::{Binding, BindingFile, StagedFile, Store};
use crate::tree::{Ledger, OwnerPolicy, OwnerSource, Snapshot};

/// The record of one tree, as `config.json` beside its index and ledger holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    /// Where the tree was last; for people, and where nothing better tells trees apart.
    path: String,
    /// The manifest the index describes.
    manifest: Digest,
    /// The reference it was known by; for people.
    reference: Option<String>,
    /// The owner policy the index was made with.
    owner: String,
    /// The attribute that holds owners in this tree, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner_xattr: Option<String>,
    /// The checksum of the index this record goes with; another index is of another moment and is not used.
    index: u32,
    /// How many files the ledger knows.
    #[serde(default)]
    ledger: usize,
}

/// A tree's image, index and ledger.
#[derive(Debug)]
pub struct BoundTree {
    /// The manifest the index describes.
    pub manifest: Digest,
    /// The reference the image was known by when the tree was bound.
    pub reference: Option<String>,
    /// The owner policy the index was made with.
    pub owner: OwnerPolicy,
    /// The record of owners it was made by; never a save file of fakeroot, which is in the ledger.
    pub owner_from: OwnerSource,
    /// The tree as it was then; `None` when a crash came between the index and its record.
    pub index: Option<Snapshot>,
    /// What the disk did not take.
    pub ledger: Ledger,
}

impl BoundTree {
    /// Whose its files are.
    pub fn into_whose(self) -> Whose {
        Whose { owner: self.owner, owner_from: self.owner_from, ledger: self.ledger }
    }
}

/// What tells trees apart, and makes the names of their records in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TreeId {
    /// The device of its root.
    pub device: u64,
    inode: u64,
    /// The generation of that inode, 0 where the filesystem tells nothing of its lives.
    life: u64,
}

impl TreeId {
    /// Of the directory that is open.
    pub fn of(root: &Root) -> Result<TreeId> {
        let stat = stat_fd(root).at("identify tree", root.describe(b""))?;
        let life = generation(root, c".", &stat).at("identify tree", root.describe(b""))?;
        Ok(TreeId { device: stat.dev, inode: stat.ino, life })
    }

    /// Of a record, unless somebody else gave it its name.
    pub fn parse(key: &str) -> Option<TreeId> {
        let mut parts = key.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        let id = TreeId { device: parts.next()??, inode: parts.next()??, life: parts.next()?? };
        parts.next().is_none().then_some(id)
    }

    fn key(self) -> String {
        format!("{:x}-{:x}-{:x}", self.device, self.inode, self.life)
    }

    /// Whether another directory cannot come to have the same.
    fn is_certain(self) -> bool {
        self.life != 0
    }

    /// Whether both are the same inode in the same life, each as far as its writer could tell, whatever number the device
    /// has.
    pub fn same_inode(self, other: TreeId) -> bool {
        self.inode == other.inode && same_life(self.life, other.life)
    }

    fn same(self, other: TreeId) -> bool {
        self.device == other.device && self.same_inode(other)
    }
}

/// The name of a tree in the store: device, inode and generation of its root.
pub fn tree_key(root: &Root) -> Result<String> {
    Ok(TreeId::of(root)?.key())
}

/// What the `config.json` of a record says, with the record; `None` when there is none, or no whole one.
pub(super) fn record(store: &Store, key: &str) -> Result<Option<(Binding, Value)>> {
    let Some(binding) = store.find_tree(key)? else { return Ok(None) };
    Ok(binding.config()?.map(|config| (binding, config)))
}

/// The record of a tree, with what its `config.json` says and the device it was on then.
struct Found {
    binding: Binding,
    config: Value,
    device: u64,
}

/// The record of a tree. It may have been written where less could be told about the root, or before the filesystem got
/// another device number: then it is that of the same inode in the same life, at the same path. The path keeps apart
/// copies of one filesystem.
fn known(store: &Store, root: &Root, id: TreeId) -> Result<Option<Found>> {
    if let Some((binding, config)) = record(store, &id.key())? {
        return Ok(Some(Found { binding, config, device: id.device }));
    }
    let others = store.trees()?.into_iter().filter_map(|key| Some((TreeId::parse(&key)?, key)));
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        others.filter(|(other, _)| id.same_inode(*other)).partition(|(other, _)| id.same(*other));
    for (_, key) in here {
        if let Some((binding, config)) = record(store, &key)? {
            return Ok(Some(Found { binding, config, device: id.device }));
        }
    }
    // Where nothing tells the lives of an inode number apart, only the device number is left to go by.
    if !id.is_certain() {
        return Ok(None);
    }
    let path = json!(absolute(root.path()));
    for (other, key) in elsewhere {
        if let Some((binding, config)) = record(store, &key)?.filter(|(_, it)| it.get("path") == Some(&path))
        {
            return Ok(Some(Found { binding, config, device: other.device }));
        }
    }
    Ok(None)
}

/// What the store knows of a tree, if anything.
pub fn find(store: &Store, root: &Root) -> Result<Option<BoundTree>> {
    let id = TreeId::of(root)?;
    let found = known(store, root, id)?;
    found.map(|found| read(root, found, id.device, id.is_certain())).transpose()
}

fn read(root: &Root, found: Found, device: u64, certain: bool) -> Result<BoundTree> {
    let Found { binding, config, device: then } = found;
    let mut ledger = binding.ledger(&config)?;
    let record: Record = serde_json::from_value(config)
        .map_err(|error| binding.damaged(BindingFile::Config, &error.to_string()))?;
    if !certain && record.path != absolute(root.path()) && !is_same_directory(root, &record.path)? {
        // Either guess would give files the wrong owners without a word.
        let message =
            "this filesystem does not tell whether it is the tree that the store knows, or another one";
        return Err(Error::invalid("read tree record", message).with_path(root.describe(b"")).with_hint(
            format!("move it back to {}, or forget that tree with treering prune --trees", record.path),
        ));
    }
    // The index only saves time. What cannot be used is done without.
    let index = binding.open(BindingFile::Index)?.and_then(|file| Snapshot::map(file).ok());
    let mut index = index.filter(|index| index.checksum() == record.index);
    if then != device {
        ledger = ledger_on(&ledger, then, device);
        index = index.map(|index| index.renumbered(then, device));
    }
    Ok(BoundTree {
        manifest: record.manifest,
        reference: record.reference,
        owner: record.owner.parse()?,
        owner_from: record
            .owner_xattr
            .map_or(Ok(OwnerSource::Nothing), |x| x.parse().map(OwnerSource::Xattr))?,
        index,
        ledger,
    })
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

/// When the store does not know `tree`, but another directory that was at its path: the image that one was bound to. A
/// directory that was removed and made anew, or copied back, is another one.
pub fn known_before(store: &Store, tree: &Path) -> Result<Option<String>> {
    let root = Root::open(tree)?;
    if known(store, &root, TreeId::of(&root)?)?.is_some() {
        return Ok(None);
    }
    let path = json!(absolute(root.path()));
    for other in store.trees()? {
        let Some((_, config)) = record(store, &other)? else { continue };
        if config.get("path") == Some(&path) {
            let text = |name: &str| config.get(name).and_then(Value::as_str).map(String::from);
            return Ok(text("reference").or_else(|| text("manifest")));
        }
    }
    Ok(None)
}

/// Writes down what the disk does not hold of a tree that the store knows; the rest of its record stays.
pub fn replace_ledger(store: &Store, root: &Root, ledger: &Ledger) -> Result<()> {
    match known(store, root, TreeId::of(root)?)? {
        Some(found) => found.binding.replace(BindingFile::Ledger, &ledger.to_bytes()),
        None => {
            let error = Error::not_found("write tree record", "the store does not know this tree");
            Err(error.with_path(root.describe(b"")))
        }
    }
}

/// Writes down what a tree is now, and does `meanwhile` what else has to happen: a commit gives the image its name.
///
/// Everything that takes room is written before, and only then do `meanwhile` and the new files take effect. So an error
/// leaves the old record and the old name. A kill right after `meanwhile` leaves the new name and the old record, which
/// is still true of the tree: the next commit finds the same changes once more, on the image the tree was made from. The
/// other order would leave a tree whose changes are in an image that nobody can name.
///
/// Whichever image the record tells of, prune keeps, named or not: the record is read as a reference to it.
///
/// The ledger goes first: its entries name inodes and hold for the old record as well. The record goes last and names
/// the index it goes with, so that a crash in between costs time and nothing else.
pub fn bind(
    store: &Store,
    root: &Root,
    manifest: Digest,
    reference: Option<&str>,
    whose: &Whose,
    index: Option<&Snapshot>,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let ledger = index.map_or(Cow::Borrowed(&whose.ledger), |index| without_dead(&whose.ledger, index));
    bind_with(store, root, manifest, reference, whose, (&ledger, index), meanwhile)
}

/// Does what [`bind`] does for a copy of a tree: all of its ledger is of files that are there, also of those that the index,
/// which is of the moment when the original was bound, does not have.
pub(super) fn bind_copy(
    store: &Store,
    root: &Root,
    manifest: Digest,
    reference: Option<&str>,
    whose: &Whose,
    index: Option<&Snapshot>,
) -> Result<()> {
    bind_with(store, root, manifest, reference, whose, (&whose.ledger, index), || Ok(()))
}

fn bind_with(
    store: &Store,
    root: &Root,
    manifest: Digest,
    reference: Option<&str>,
    whose: &Whose,
    (ledger, index): (&Ledger, Option<&Snapshot>),
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let id = TreeId::of(root)?;
    // One whose device had another number is made anew: its files are of that number.
    let (same, old) = match known(store, root, id)? {
        Some(found) if found.device == id.device => (Some(found.binding), None),
        found => (None, found),
    };
    let binding = match same {
        Some(binding) => binding,
        None => store.bind_tree(&id.key())?,
    };
    stage_files(&binding, ledger, index)?.bind(root, manifest, reference, whose, meanwhile)?;
    old.map_or(Ok(()), |old| store.unbind(old.binding.key()))
}

/// The record of a tree that has one which [`bind`] would go on with.
pub fn existing(store: &Store, root: &Root) -> Result<Option<Binding>> {
    let id = TreeId::of(root)?;
    let found = known(store, root, id)?.filter(|found| found.device == id.device);
    Ok(found.map(|found| found.binding))
}

/// The large files of a record, on the disk and not yet in their places.
pub struct StagedRecord<'a> {
    binding: &'a Binding,
    ledger: Option<StagedFile<'a>>,
    index: Option<StagedFile<'a>>,
    /// What the record says of them.
    index_checksum: u32,
    ledger_len: usize,
}

/// Writes what a tree is now, and what the disk does not hold of it, beside what the record has.
pub fn stage<'a>(binding: &'a Binding, whose: &Whose, index: Option<&Snapshot>) -> Result<StagedRecord<'a>> {
    let ledger = match index {
        Some(index) => without_dead(&whose.ledger, index),
        None => Cow::Borrowed(&whose.ledger),
    };
    stage_files(binding, &ledger, index)
}

fn stage_files<'a>(
    binding: &'a Binding,
    ledger: &Ledger,
    index: Option<&Snapshot>,
) -> Result<StagedRecord<'a>> {
    let ledger_len = ledger.len();
    // An empty one only where another one would count as this tree's.
    let ledger = match ledger.is_empty() && binding.open(BindingFile::Ledger)?.is_none() {
        true => None,
        false => Some(binding.stage(BindingFile::Ledger, &ledger.to_bytes())?),
    };
    // Where there is none, one from before is not used, as after a crash.
    let index_checksum = index.map_or(0, Snapshot::checksum);
    let index = index.map(|index| binding.stage(BindingFile::Index, index.as_bytes())).transpose()?;
    Ok(StagedRecord { binding, ledger, index, index_checksum, ledger_len })
}

impl StagedRecord<'_> {
    /// What [`bind`] does, with this.
    pub fn bind(
        self,
        root: &Root,
        manifest: Digest,
        reference: Option<&str>,
        whose: &Whose,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let record = Record {
            path: absolute(root.path()),
            manifest,
            reference: reference.map(String::from),
            owner: whose.owner.to_string(),
            owner_xattr: match whose.owner_from {
                OwnerSource::Xattr(attribute) => Some(attribute.to_string()),
                OwnerSource::Nothing | OwnerSource::Fakeroot(_) => None,
            },
            index: self.index_checksum,
            ledger: self.ledger_len,
        };
        let record = serde_json::to_vec(&record)
            .map_err(|error| Error::new(ErrorKind::Internal, "write tree record", error.to_string()))?;
        let record = self.binding.stage(BindingFile::Config, &record)?;
        meanwhile()?;
        if let Some(ledger) = self.ledger {
            ledger.publish()?;
        }
        if let Some(index) = self.index {
            index.publish()?;
        }
        record.publish()
    }
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

/// An absolute path as text.
fn absolute(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let bytes = path.as_os_str().as_bytes();
    let (_, name) = split(bytes);
    crate::error::escape(if name.is_empty() { b"/" } else { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Kind;
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
        let mut whose = Whose::default();
        whose.ledger.insert(record_of(&root, b"file", 0));
        whose.ledger.insert(record_of(&root, b"file", 1 << 40));
        let snapshot = scan(&root, &whose.scan_options(), &Control::default()).unwrap().snapshot;
        let bind = |whose: &Whose, meanwhile: &dyn Fn() -> Result<()>| {
            bind(&store, &root, Digest::of(b"manifest"), None, whose, Some(&snapshot), meanwhile)
        };
        let known = || find(&store, &root).unwrap().map(|bound| bound.ledger.len());
        let fails = || Err(Error::invalid("name image", "no"));
        assert!(bind(&whose, &fails).is_err());
        assert_eq!(known(), None, "nothing took effect");
        bind(&whose, &|| Ok(())).unwrap();
        assert_eq!(known(), Some(1), "the file that is gone went");
        assert!(bind(&Whose::default(), &fails).is_err());
        assert_eq!(known(), Some(1));
        bind(&Whose::default(), &|| Ok(())).unwrap();
        assert_eq!(known(), Some(0), "what was known of another life is no longer there");
        replace_ledger(&store, &root, &whose.ledger).unwrap();
        assert_eq!(known(), Some(2));
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
        let whose = Whose::default();
        let snapshot = scan(&root, &whose.scan_options(), &Control::default()).unwrap().snapshot;
        bind(&store, &root, Digest::of(b"manifest"), None, &whose, Some(&snapshot), || Ok(())).unwrap();
        let read = |root: &Root, certain: bool| {
            super::read(root, known(&store, root, id).unwrap().unwrap(), id.device, certain)
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
        let bound = find(&store, &root).unwrap().unwrap();
        let mut whose = Whose { owner: bound.owner, owner_from: bound.owner_from, ledger: bound.ledger };
        whose.ledger.insert(record_of(&root, b"f", 0));
        bind(&store, &root, bound.manifest, Some("app:v1"), &whose, bound.index.as_ref(), || Ok(())).unwrap();
        std::fs::write(tree.join("f"), "changed").unwrap();
        commit(&store, &tree, Some("app:v2"), &options, &control).unwrap();

        // The record as another device number would have made it.
        let id = TreeId::of(&root).unwrap();
        let (dev, key) = (id.device, id.key());
        let other = TreeId { device: dev + 1, ..id }.key();
        let bound = find(&store, &root).unwrap().unwrap();
        let index = bound.index.unwrap().renumbered(dev, dev + 1);
        let containers = temp.path().join("store/containers");
        let config = containers.join(&key).join("config.json");
        let mut record: Record = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        record.index = index.checksum();
        std::fs::write(&config, serde_json::to_vec(&record).unwrap()).unwrap();
        std::fs::write(containers.join(&key).join("index"), index.as_bytes()).unwrap();
        let ledger = ledger_on(&bound.ledger, dev, dev + 1);
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
        assert_eq!(known_before(&store, &tree).unwrap(), None);
        assert!(lost_trees(&store).unwrap().is_empty());
        assert!(commit(&store, &tree, Some("app:v3"), &options, &control).is_ok());
        assert_eq!(store.trees().unwrap(), [key]);
        // At another path it would be a copy.
        std::fs::rename(containers.join(&store.trees().unwrap()[0]), containers.join(&other)).unwrap();
        std::fs::rename(&tree, temp.path().join("copy")).unwrap();
        assert!(find(&store, &Root::open(temp.path().join("copy")).unwrap()).unwrap().is_none());
        // A filesystem that is not mounted: nothing lies at the path, and what lies above is on another device.
        assert!(lost_trees(&store).unwrap().is_empty());
        std::fs::rename(containers.join(&other), containers.join(tree_key(&root).unwrap())).unwrap();
        assert_eq!(lost_trees(&store).unwrap().len(), 1);
    }
}
