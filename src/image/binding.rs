//! What ties a directory to the image it was made from or committed to.
//!
//! A tree is known by device, inode and birth of its root directory, so it may be renamed but not confused with another.
//! Filesystems get another device number when they are mounted again; a tree is then known by the rest and its path.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::whose::Whose;
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::fs::Root;
use crate::fs::generation::generation;
use crate::fs::root::split;
use crate::fs::stat::stat_fd;
use crate::store::{Binding, BindingFile, Store};
use crate::tree::{Ledger, OwnerPolicy, OwnerSource, Snapshot};

/// The record of one tree, as `config.json` beside its index and ledger holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    /// Where the tree was last.
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

/// The name of a tree in the store: device, inode and generation of its root.
pub fn tree_key(root: &Root) -> Result<String> {
    let stat = stat_fd(root).at("identify tree", root.describe(b""))?;
    Ok(format!("{:x}-{:x}-{:x}", stat.dev, stat.ino, generation(root, c".", &stat)))
}

/// The parts of a tree's name: its device number, and what stays the same when its filesystem is mounted again.
pub fn key_parts(key: &str) -> Option<(u64, &str)> {
    let (device, rest) = key.split_once('-')?;
    Some((u64::from_str_radix(device, 16).ok()?, rest))
}

/// The record of a tree, and what its `config.json` says.
type Found = (Binding, Value);

fn record(store: &Store, key: &str) -> Result<Option<Found>> {
    let Some(binding) = store.find_tree(key)? else { return Ok(None) };
    Ok(binding.config()?.map(|config| (binding, config)))
}

/// The record of a tree from before its filesystem got another device number: of the same inode in the same life of it,
/// at the same path. The path keeps apart copies of one filesystem.
fn renumbered(store: &Store, root: &Root, key: &str) -> Result<Option<Found>> {
    // Where nothing tells the lives of an inode number apart, only the device number is left to go by.
    let Some((_, rest)) = key_parts(key).filter(|(_, rest)| !rest.ends_with("-0")) else { return Ok(None) };
    let path = absolute(root.path());
    for other in store.trees()? {
        if other == key || key_parts(&other).is_none_or(|(_, same)| same != rest) {
            continue;
        }
        let found = record(store, &other)?;
        if found.as_ref().is_some_and(|(_, config)| config.get("path") == Some(&json!(path))) {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What the store knows of a tree, if anything.
pub fn find(store: &Store, root: &Root) -> Result<Option<BoundTree>> {
    let key = tree_key(root)?;
    let found = match record(store, &key)? {
        None => renumbered(store, root, &key)?,
        found => found,
    };
    let Some((binding, config)) = found else { return Ok(None) };
    let mut ledger = binding.ledger(&config)?;
    let record: Record = serde_json::from_value(config)
        .map_err(|error| binding.damaged(BindingFile::Config, &error.to_string()))?;
    // The index only saves time. What cannot be used is done without.
    let index = binding.open(BindingFile::Index)?.and_then(|file| Snapshot::map(file).ok());
    let mut index = index.filter(|index| index.checksum() == record.index);
    if let (Some((then, _)), Some((now, _))) = (key_parts(binding.key()), key_parts(&key))
        && then != now
    {
        ledger = ledger_on(&ledger, then, now);
        index = index.map(|index| index.renumbered(then, now));
    }
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
    let key = tree_key(&root)?;
    if record(store, &key)?.is_some() || renumbered(store, &root, &key)?.is_some() {
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

/// Writes down what a tree is now.
///
/// The ledger goes first: its entries name inodes and hold for the old record as well. The record goes last and names
/// the index it goes with, so that a crash in between costs time and nothing else.
pub fn bind(
    store: &Store,
    root: &Root,
    manifest: Digest,
    reference: Option<&str>,
    whose: &Whose,
    index: &Snapshot,
) -> Result<()> {
    let key = tree_key(root)?;
    let before = match store.find_tree(&key)? {
        Some(_) => None,
        None => renumbered(store, root, &key)?,
    };
    let binding = store.bind_tree(&key)?;
    if !whose.ledger.is_empty() {
        binding.replace(BindingFile::Ledger, &whose.ledger.to_bytes())?;
    }
    binding.replace(BindingFile::Index, index.as_bytes())?;
    let path = absolute(root.path());
    let record = Record {
        path,
        manifest,
        reference: reference.map(String::from),
        owner: whose.owner.to_string(),
        owner_xattr: match whose.owner_from {
            OwnerSource::Xattr(attribute) => Some(attribute.to_string()),
            OwnerSource::Nothing | OwnerSource::Fakeroot(_) => None,
        },
        index: index.checksum(),
        ledger: whose.ledger.len(),
    };
    let bytes = serde_json::to_vec(&record)
        .map_err(|error| Error::new(crate::ErrorKind::Internal, "write tree record", error.to_string()))?;
    binding.replace(BindingFile::Config, &bytes)?;
    match before {
        Some((before, _)) => store.unbind(before.key()),
        None => Ok(()),
    }
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
    use crate::Control;
    use crate::fs::Kind;
    use crate::fs::stat::stat_at;
    use crate::image::{Base, CommitOptions, DiffOptions, commit, diff_tree};
    use crate::tree::ledger;

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
        let stat = stat_at(&root, c"f").unwrap();
        let mut whose = Whose { owner: bound.owner, owner_from: bound.owner_from, ledger: bound.ledger };
        whose.ledger.insert(ledger::Record {
            path: b"f".to_vec(),
            dev: stat.dev,
            ino: stat.ino,
            generation: generation(&root, c"f", &stat),
            disk_mode: stat.mode,
            kind: Kind::File,
            mode: 0o4755,
            uid: 7,
            gid: 8,
            rdev: (0, 0),
            xattrs: Vec::new(),
        });
        bind(&store, &root, bound.manifest, Some("app:v1"), &whose, &bound.index.unwrap()).unwrap();
        std::fs::write(tree.join("f"), "changed").unwrap();
        commit(&store, &tree, Some("app:v2"), &options, &control).unwrap();

        // The record as another device number would have made it.
        let key = tree_key(&root).unwrap();
        let (dev, rest) = key_parts(&key).unwrap();
        let other = format!("{:x}-{rest}", dev + 1);
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
        assert!(crate::image::lost_trees(&store).unwrap().is_empty());
        assert!(commit(&store, &tree, Some("app:v3"), &options, &control).is_ok());
        assert_eq!(store.trees().unwrap(), [key]);
        // At another path it would be a copy.
        std::fs::rename(containers.join(&store.trees().unwrap()[0]), containers.join(&other)).unwrap();
        std::fs::rename(&tree, temp.path().join("copy")).unwrap();
        assert!(find(&store, &Root::open(temp.path().join("copy")).unwrap()).unwrap().is_none());
        // A filesystem that is not mounted: nothing lies at the path, and what lies above is on another device.
        assert!(crate::image::lost_trees(&store).unwrap().is_empty());
        std::fs::rename(containers.join(&other), containers.join(&tree_key(&root).unwrap())).unwrap();
        assert_eq!(crate::image::lost_trees(&store).unwrap().len(), 1);
    }
}
