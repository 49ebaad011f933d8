//! Letting go of more than [`Store::prune`] does by itself: names no tree was made from, and records of trees that are gone.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::binding::{same_tree, tree_key};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::fs::Root;
use crate::progress::Control;
use crate::store::{BindingFile, PruneOptions, PruneReport, Reference, Store, descriptor_digest};

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

/// The names of images that no tree was made from, or last committed as.
pub fn unused_names(store: &Store) -> Result<Vec<Reference>> {
    let used: HashSet<Digest> = store.digests_of_trees()?.into_iter().collect();
    let mut unused = Vec::new();
    for entry in store.entries()? {
        let Some(name) = entry.name.clone() else { continue };
        if descriptor_digest(&entry.descriptor).is_err() {
            continue;
        }
        let images = store.identities(std::slice::from_ref(&entry))?;
        if !images.iter().any(|image| used.contains(&image.manifest)) {
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
        let there = match Root::open(path) {
            Ok(root) => same_tree(&tree_key(&root)?, &key),
            // One that cannot be looked at may be there.
            Err(error) => error.kind() != ErrorKind::NotFound || path.contains('\\'),
        };
        if !there {
            lost.push(LostTree { path: path.into(), key });
        }
    }
    Ok(lost)
}

/// What the store knows of a tree.
fn record(store: &Store, key: &str) -> Result<Option<Map<String, Value>>> {
    let Some(binding) = store.find_tree(key)? else { return Ok(None) };
    let Some(config) = binding.read(BindingFile::Config, CAP)? else { return Ok(None) };
    Ok(serde_json::from_slice(&config).ok())
}
