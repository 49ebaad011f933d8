//! Letting go of more than [`Store::prune`] does by itself: names no tree was made from, and records of trees that are gone.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::binding::{key_parts, tree_key};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::fs::Root;
use crate::progress::Control;
use crate::store::{
    BindingFile, DocumentKind, PruneOptions, PruneReport, Reference, Store, descriptor_digest,
};

/// The largest record of a tree that is read.
const CAP: u64 = 1 << 20;

/// What [`tidy`] shall do.
#[derive(Debug, Clone, Default)]
pub struct TidyOptions {
    /// Also take away the names of images that no tree was made from, so that these go too.
    pub unused_names: bool,
    /// Also forget trees that are not where they were unpacked or last committed, with the owners the disk could not hold.
    pub lost_trees: bool,
    /// The rest, `dry_run` for all of it.
    pub prune: PruneOptions,
}

/// What [`tidy`] removed, or would remove.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TidyReport {
    /// What was pruned. A dry run does not count what only the names and trees below need.
    #[serde(flatten)]
    pub pruned: PruneReport,
    /// The names that went.
    pub untagged: Vec<String>,
    /// Where the trees were that the store forgot; bytes that are no text are escaped.
    pub forgotten: Vec<String>,
}

/// A tree that is not where it was.
#[derive(Debug, Clone)]
pub struct LostTree {
    /// Its name in the store, for [`Store::unbind`].
    pub key: String,
    /// Where it was last; bytes that are no text are escaped.
    pub path: String,
}

/// Prunes a store, after what was asked for went. [`Store::prune`] says what can fail.
pub fn tidy(store: &Store, options: &TidyOptions, control: &Control) -> Result<TidyReport> {
    let mut report = TidyReport::default();
    let real = !options.prune.dry_run;
    // Where the list of images cannot be read, nothing goes at all.
    store.entries()?;
    if options.lost_trees {
        for tree in lost_trees(store)? {
            control.check("prune")?;
            if real {
                store.unbind(&tree.key)?;
            }
            report.forgotten.push(tree.path);
        }
    }
    if options.unused_names {
        for name in unused_names(store)? {
            control.check("prune")?;
            if real {
                store.untag(&name)?;
            }
            report.untagged.push(name.to_string());
        }
    }
    report.pruned = store.prune(&options.prune, control)?;
    Ok(report)
}

/// How many trees are not where they were last, and the bytes that nothing else keeps from being pruned.
pub fn held_by_lost_trees(store: &Store, control: &Control) -> Result<(u64, u64)> {
    let lost: Vec<String> = lost_trees(store)?.into_iter().map(|tree| tree.key).collect();
    Ok((lost.len() as u64, store.held_by(&lost, control)?))
}

/// The names of images that no tree was made from, or last committed as.
pub fn unused_names(store: &Store) -> Result<Vec<Reference>> {
    let used: HashSet<Digest> = store.digests_of_trees()?.into_iter().collect();
    let mut unused = Vec::new();
    for entry in store.entries()? {
        let Some(name) = entry.name else { continue };
        let Ok(digest) = descriptor_digest(&entry.descriptor) else { continue };
        let document = store.read_document(&entry.descriptor).ok();
        let platforms = document.filter(|it| it.kind() == DocumentKind::Index);
        let platforms = platforms.iter().flat_map(|index| index.manifests().iter().map(descriptor_digest));
        if !std::iter::once(Ok(digest)).chain(platforms).flatten().any(|digest| used.contains(&digest)) {
            unused.push(name);
        }
    }
    Ok(unused)
}

/// The trees that are not where they were last.
pub fn lost_trees(store: &Store) -> Result<Vec<LostTree>> {
    let mut lost = Vec::new();
    for key in store.trees()? {
        let Some(record) = record(store, &key)? else { continue };
        let Some(path) = record.get("path").and_then(Value::as_str) else { continue };
        // A path with a backslash is escaped, perhaps: such a tree may be there.
        if !path.contains('\\') && is_gone(&key, path)? {
            lost.push(LostTree { path: path.into(), key });
        }
    }
    Ok(lost)
}

/// Whether a tree is gone for good. One that cannot be looked at may be there; and so may one whose filesystem is not
/// mounted: then what is at its path, or is the nearest directory above, lies on another device than the tree did.
fn is_gone(key: &str, path: &str) -> Result<bool> {
    let Some((device, same)) = key_parts(key) else { return Ok(false) };
    for (above, dir) in Path::new(path).ancestors().enumerate() {
        let root = match Root::open(dir) {
            Ok(root) => root,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(_) => return Ok(false),
        };
        let now = tree_key(&root)?;
        let (now, rest) = key_parts(&now).expect("made of these parts");
        return Ok(now == device && !(above == 0 && rest == same));
    }
    Ok(false)
}

/// What the store knows of a tree.
fn record(store: &Store, key: &str) -> Result<Option<Map<String, Value>>> {
    let Some(binding) = store.find_tree(key)? else { return Ok(None) };
    let Some(config) = binding.read(BindingFile::Config, CAP)? else { return Ok(None) };
    Ok(serde_json::from_slice(&config).ok())
}
