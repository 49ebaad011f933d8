//! Records of trees: where they are in the store, and how the one of a directory is found.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tree_id::TreeId;
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::Root;
use crate::fs::root::split;
use crate::store::{Binding, Store};

/// The record of one tree, as `config.json` beside its index and ledger holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TreeRecord {
    /// The path that the tree had last; for people, and to distinguish trees where nothing better does.
    pub path: String,
    /// The manifest the index describes.
    pub manifest: Digest,
    /// The reference of the image when the tree was bound; for people.
    pub reference: Option<String>,
    /// The owner policy the index was made with.
    pub owner: String,
    /// The attribute that holds owners in this tree, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_xattr: Option<String>,
    /// The checksum of the index this record goes with; another index is of another moment and is not used.
    pub index: u32,
    /// How many files the ledger has.
    #[serde(default)]
    pub ledger: usize,
    /// The manifest of the image that the tree is being made into, while it is something in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub becoming: Option<Digest>,
    /// The reason why the tree is not to be committed as it is: a command in it was refused in the midst of its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoiled: Option<String>,
    /// The image before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

/// The image that a tree was bound to before. It may be pruned: no string here is a digest as prune reads them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// The digest of its manifest without the algorithm, which is sha256.
    hex: String,
    /// The reference of the image when the tree was bound; for people.
    pub reference: Option<String>,
}

impl Before {
    /// Returns the image with this manifest.
    pub fn new(manifest: &Digest, reference: Option<String>) -> Before {
        Before { hex: manifest.hex(), reference }
    }

    /// Returns the digest of its manifest, as a reference.
    pub fn image(&self) -> String {
        format!("sha256:{}", self.hex)
    }
}

/// Reads the `config.json` of a record; `None` when there is none, or no whole one.
pub(super) fn read(store: &Store, key: &str) -> Result<Option<(Binding, Value)>> {
    let Some(binding) = store.find_tree(key)? else { return Ok(None) };
    Ok(binding.config()?.map(|config| (binding, config)))
}

/// A record that was found, with its `config.json` and the device the tree was on then.
pub(super) struct Found {
    pub binding: Binding,
    pub config: Value,
    pub device: u64,
}

/// Finds the record of a tree. It may have been written where the root had no generation, or before the filesystem got
/// another device number: then it is that of the same inode in the same life, at the same path. The path keeps apart
/// copies of one filesystem.
pub(super) fn find(store: &Store, root: &Root, id: TreeId) -> Result<Option<Found>> {
    if let Some((binding, config)) = read(store, &id.key())? {
        return Ok(Some(Found { binding, config, device: id.device }));
    }
    let others = store.trees()?.into_iter().filter_map(|key| Some((TreeId::parse(&key)?, key)));
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        others.filter(|(other, _)| id.same_inode(*other)).partition(|(other, _)| id.same(*other));
    for (_, key) in here {
        if let Some((binding, config)) = read(store, &key)? {
            return Ok(Some(Found { binding, config, device: id.device }));
        }
    }
    // Where nothing distinguishes the lives of an inode number, only the device number is left to go by.
    if !id.is_certain() {
        return Ok(None);
    }
    let path = json!(absolute(root.path()));
    for (other, key) in elsewhere {
        if let Some((binding, config)) = read(store, &key)?.filter(|(_, it)| it.get("path") == Some(&path)) {
            return Ok(Some(Found { binding, config, device: other.device }));
        }
    }
    Ok(None)
}

/// Returns the image of another directory that was at the path of this one.
pub(super) fn image_of_path(store: &Store, root: &Root) -> Result<Option<String>> {
    let path = json!(absolute(root.path()));
    for key in store.trees()? {
        let Some((_, config)) = read(store, &key)? else { continue };
        if config.get("path") == Some(&path) {
            let text = |name: &str| config.get(name).and_then(Value::as_str).map(String::from);
            return Ok(text("reference").or_else(|| text("manifest")));
        }
    }
    Ok(None)
}

/// Returns the keys of the records of trees that were last at a path.
#[cfg(feature = "sandbox")]
pub(super) fn keys_of_path(store: &Store, path: &Path) -> Result<Vec<String>> {
    let path = json!(absolute(path));
    let mut out = Vec::new();
    for key in store.trees()? {
        let Some((_, config)) = read(store, &key)? else { continue };
        if config.get("path") == Some(&path) {
            out.push(key);
        }
    }
    Ok(out)
}

/// Returns an absolute path as text.
pub(super) fn absolute(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let bytes = path.as_os_str().as_bytes();
    let (_, name) = split(bytes);
    crate::error::escape(if name.is_empty() { b"/" } else { bytes })
}
