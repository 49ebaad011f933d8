//! What ties a directory to the image it was made from or committed to.
//!
//! A tree is known by device, inode and birth of its root directory, so it may be renamed but not confused with another.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::whose::Whose;
use crate::digest::Digest;
use crate::error::{At, Error, Result};
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
    /// Where the tree was last; for people.
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
    let stat = stat_fd(root).at("identify tree", root.describe(b""))?;
    let generation = generation(root, c".", &stat).at("identify tree", root.describe(b""))?;
    Ok(format!("{:x}-{:x}-{generation:x}", stat.dev, stat.ino))
}

/// Whether two keys are of one tree: the same inode in the same life, each as far as its writer could tell.
pub(super) fn same_tree(a: &str, b: &str) -> bool {
    let split = |key: &str| {
        let (inode, generation) = key.rsplit_once('-')?;
        Some((inode.to_string(), u64::from_str_radix(generation, 16).ok()?))
    };
    match (split(a), split(b)) {
        (Some((a, life)), Some((b, other))) => a == b && same_life(life, other),
        _ => false,
    }
}

/// The key of the tree's record, if the store has one: written perhaps where less could be told about the root.
fn known_key(store: &Store, root: &Root) -> Result<Option<String>> {
    let key = tree_key(root)?;
    if store.find_tree(&key)?.is_some() {
        return Ok(Some(key));
    }
    Ok(store.trees()?.into_iter().find(|other| same_tree(&key, other)))
}

/// What the store knows of a tree, if anything.
pub fn find(store: &Store, root: &Root) -> Result<Option<BoundTree>> {
    let Some(key) = known_key(store, root)? else { return Ok(None) };
    let Some(binding) = store.find_tree(&key)? else { return Ok(None) };
    let Some(config) = binding.read(BindingFile::Config, 1 << 20)? else { return Ok(None) };
    let record: Record = serde_json::from_slice(&config)
        .map_err(|error| damaged(root, "its record does not parse").with_source(error))?;
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
    index: Option<&Snapshot>,
) -> Result<()> {
    let binding = store.bind_tree(&known_key(store, root)?.map_or_else(|| tree_key(root), Ok)?)?;
    if !whose.ledger.is_empty() {
        binding.replace(BindingFile::Ledger, &whose.ledger.to_bytes())?;
    }
    if let Some(index) = index {
        binding.replace(BindingFile::Index, index.as_bytes())?;
    }
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
        // Where there is none, one from before is not used, as after a crash.
        index: index.map_or(0, Snapshot::checksum),
    };
    let bytes = serde_json::to_vec(&record)
        .map_err(|error| Error::new(crate::ErrorKind::Internal, "write tree record", error.to_string()))?;
    binding.replace(BindingFile::Config, &bytes)
}

/// An absolute path as text, for people; no part of any lookup.
fn absolute(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let bytes = path.as_os_str().as_bytes();
    let (_, name) = split(bytes);
    crate::error::escape(if name.is_empty() { b"/" } else { bytes })
}
