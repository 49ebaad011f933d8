//! What ties a directory to the image it was made from or committed to.
//!
//! A tree is known by device, inode and birth of its root directory, so it may be renamed but not confused with another.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::whose::Whose;
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Root;
use crate::fs::generation::{generation, same_life};
use crate::fs::root::split;
use crate::fs::stat::stat_fd;
use crate::store::{BindingFile, Store};
use crate::tree::{Ledger, OwnerPolicy, OwnerSource, Snapshot};

/// The largest ledger or record of a tree that is read: a million entries fit.
const CAP: u64 = 1 << 30;

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

/// The name of a tree in the store: device, inode and generation of its root.
pub fn tree_key(root: &Root) -> Result<String> {
    Ok(identify(root)?.0)
}

/// The name of a tree, and whether another directory cannot come to have it: not so where the filesystem tells nothing of
/// the lives of an inode number.
fn identify(root: &Root) -> Result<(String, bool)> {
    let stat = stat_fd(root).at("identify tree", root.describe(b""))?;
    let generation = generation(root, c".", &stat).at("identify tree", root.describe(b""))?;
    Ok((format!("{:x}-{:x}-{generation:x}", stat.dev, stat.ino), generation != 0))
}

/// Whether the tree with this key is at the path of its record. One that cannot be looked at may be there.
pub(super) fn is_at(path: &str, key: &str) -> Result<bool> {
    match Root::open(path) {
        Ok(root) => Ok(same_tree(&tree_key(&root)?, key)),
        Err(error) => Ok(error.kind() != ErrorKind::NotFound || path.contains('\\')),
    }
}

/// Whether two keys are of one tree: the same inode in the same life, each as far as its writer could tell.
fn same_tree(a: &str, b: &str) -> bool {
    let split = |key: &str| {
        let (inode, generation) = key.rsplit_once('-')?;
        Some((inode.to_string(), u64::from_str_radix(generation, 16).ok()?))
    };
    match (split(a), split(b)) {
        (Some((a, life)), Some((b, other))) => a == b && same_life(life, other),
        _ => false,
    }
}

/// The key of a tree's record, if the store has one: written perhaps where less could be told about the root.
fn known_key(store: &Store, key: &str) -> Result<Option<String>> {
    if store.find_tree(key)?.is_some() {
        return Ok(Some(key.into()));
    }
    Ok(store.trees()?.into_iter().find(|other| same_tree(key, other)))
}

/// What the store knows of a tree, if anything.
pub fn find(store: &Store, root: &Root) -> Result<Option<BoundTree>> {
    let (key, certain) = identify(root)?;
    match known_key(store, &key)? {
        Some(key) => find_as(store, root, &key, certain),
        None => Ok(None),
    }
}

fn find_as(store: &Store, root: &Root, key: &str, certain: bool) -> Result<Option<BoundTree>> {
    let Some(binding) = store.find_tree(key)? else { return Ok(None) };
    let Some(config) = binding.read(BindingFile::Config, 1 << 20)? else { return Ok(None) };
    let record: Record = serde_json::from_slice(&config)
        .map_err(|error| damaged(root, "its record does not parse").with_source(error))?;
    if !certain && record.path != absolute(root.path()) && !is_at(&record.path, key)? {
        // Either guess would give files the wrong owners without a word.
        let message =
            "this filesystem does not tell whether it is the tree that the store knows, or another one";
        return Err(Error::invalid("read tree record", message).with_path(root.describe(b"")).with_hint(
            format!("move it back to {}, or forget that tree with treering prune --trees", record.path),
        ));
    }
    // The index only saves time. What cannot be used is done without.
    let index = binding.open(BindingFile::Index)?.and_then(|file| Snapshot::map(file).ok());
    let index = index.filter(|index| index.checksum() == record.index);
    let ledger = match binding.read(BindingFile::Ledger, CAP)? {
        Some(bytes) => Ledger::from_bytes(&bytes)?,
        None => Ledger::default(),
    };
    Ok(Some(BoundTree {
        manifest: record.manifest,
        reference: record.reference,
        owner: record.owner.parse()?,
        owner_from: record
            .owner_xattr
            .map_or(Ok(OwnerSource::Nothing), |x| x.parse().map(OwnerSource::Xattr))?,
        index,
        ledger,
    }))
}

fn damaged(root: &Root, what: &str) -> Error {
    Error::corrupt("read tree record", format!("what the store keeps about this tree is not usable: {what}"))
        .with_path(root.describe(b""))
        .with_hint("name the base yourself with --base IMAGE or --base scratch")
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
    let record = Record {
        path: absolute(root.path()),
        manifest,
        reference: reference.map(String::from),
        owner: whose.owner.to_string(),
        owner_xattr: match whose.owner_from {
            OwnerSource::Xattr(attribute) => Some(attribute.to_string()),
            OwnerSource::Nothing | OwnerSource::Fakeroot(_) => None,
        },
        // Where there is none, one from before is not used, as after a crash.
        index: index.map_or(0, Snapshot::checksum),
    };
    let record = serde_json::to_vec(&record)
        .map_err(|error| Error::new(ErrorKind::Internal, "write tree record", error.to_string()))?;
    let key = tree_key(root)?;
    let binding = store.bind_tree(&known_key(store, &key)?.unwrap_or(key))?;
    let ledger = match index {
        Some(index) => without_dead(&whose.ledger, index),
        None => Cow::Borrowed(&whose.ledger),
    };
    let ledger = match ledger.is_empty() {
        true => None,
        false => Some(binding.stage(BindingFile::Ledger, &ledger.to_bytes())?),
    };
    let index = index.map(|index| binding.stage(BindingFile::Index, index.as_bytes())).transpose()?;
    let record = binding.stage(BindingFile::Config, &record)?;
    meanwhile()?;
    match ledger {
        Some(ledger) => ledger.publish()?,
        // One that was left by a tree with the same key would count as this one's.
        None => binding.remove(BindingFile::Ledger)?,
    }
    if let Some(index) = index {
        index.publish()?;
    }
    record.publish()
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
            mode: 0o644,
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
    }

    #[test]
    fn a_tree_that_cannot_be_told_from_another_is_known_where_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path().join("store")).unwrap();
        let (path, moved) = (temp.path().join("tree"), temp.path().join("moved"));
        std::fs::create_dir(&path).unwrap();
        let root = Root::open(&path).unwrap();
        let key = tree_key(&root).unwrap();
        let whose = Whose::default();
        let snapshot = scan(&root, &whose.scan_options(), &Control::default()).unwrap().snapshot;
        bind(&store, &root, Digest::of(b"manifest"), None, &whose, Some(&snapshot), || Ok(())).unwrap();
        // By another way to the same directory.
        std::os::unix::fs::symlink("tree", temp.path().join("link")).unwrap();
        for way in ["tree", "link", "tree/."] {
            let root = Root::open(temp.path().join(way)).unwrap();
            assert!(find_as(&store, &root, &key, false).unwrap().is_some(), "{way}");
        }
        std::fs::rename(&path, &moved).unwrap();
        let root = Root::open(&moved).unwrap();
        assert!(find_as(&store, &root, &key, true).unwrap().is_some(), "a tree may be renamed");
        let error = find_as(&store, &root, &key, false).unwrap_err();
        assert!(error.hint().unwrap().contains("prune --trees"), "{error}");
    }
}
