//! Letting go of more than [`Store::prune`] does by itself: names no tree was made from, and records of trees that are gone.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::record;
use super::tree_id::TreeId;
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::fs::Root;
use crate::progress::Control;
use crate::store::{PruneOptions, PruneReport, Reference, Removals, Store, descriptor_digest};

/// Options of [`tidy`].
#[derive(Debug, Clone, Default)]
pub struct TidyOptions {
    /// Also take away the names of images that no tree was made from, so that these go too.
    pub unused_names: bool,
    /// Also forget trees that are not where they were unpacked or last committed, with the owners the disk could not hold.
    pub lost_trees: bool,
    /// The rest, `dry_run` for all of it.
    pub prune: PruneOptions,
}

/// The result of [`tidy`]: what it removed, or would remove.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct TidyReport {
    /// The report of the prune.
    #[serde(flatten)]
    pub pruned: PruneReport,
    /// The names that went.
    pub untagged: Vec<String>,
    /// The paths of trees that the store forgot; bytes that are no text are escaped.
    pub forgotten: Vec<String>,
}

/// A tree that is not where it was.
#[derive(Debug, Clone)]
pub struct LostTree {
    /// Its name in the store, for [`Store::unbind`].
    pub key: String,
    /// The path that it had last; bytes that are no text are escaped.
    pub path: String,
}

/// Prunes a store, and lets go of what was asked for. [`Store::prune`] says what can fail.
///
/// All of it happens while the store is held, beside operations that go on: the trees and images that these need stay.
pub fn tidy(store: &Store, options: &TidyOptions, control: &Control) -> Result<TidyReport> {
    let (mut untagged, mut forgotten) = (Vec::new(), Vec::new());
    let pruned = store.prune_with(&options.prune, control, |held| {
        let mut removals = Removals::default();
        if options.lost_trees {
            for tree in lost_trees(held)? {
                control.check("prune")?;
                // It is just being unpacked, and has its record before its place.
                if held.needs_tree(&tree.key) {
                    continue;
                }
                removals.trees.push(tree.key);
                forgotten.push(tree.path);
            }
        }
        if options.unused_names {
            let of_a_tree = |key: &str| !removals.trees.iter().any(|gone| gone == key);
            let names = names_but_of(held, of_a_tree, |manifest| held.needs_image(manifest))?;
            untagged.extend(names.iter().map(ToString::to_string));
            removals.names.extend(names);
        }
        Ok(removals)
    })?;
    Ok(TidyReport { pruned, untagged, forgotten })
}

/// Returns how many trees are not where they were last, and the bytes that nothing else keeps from being pruned.
pub fn held_by_lost_trees(store: &Store, control: &Control) -> Result<(u64, u64)> {
    let lost: Vec<String> = lost_trees(store)?.into_iter().map(|tree| tree.key).collect();
    Ok((lost.len() as u64, store.held_by(&lost, control)?))
}

/// Returns the names of images that no tree was made from, or last committed as.
pub fn unused_names(store: &Store) -> Result<Vec<Reference>> {
    names_but_of(store, |_| true, |_| false)
}

/// Returns the names of images that none of these trees was made from and no running operation needs.
fn names_but_of(
    store: &Store,
    trees: impl Fn(&str) -> bool,
    needed: impl Fn(&Digest) -> bool,
) -> Result<Vec<Reference>> {
    let used: HashSet<Digest> = store.digests_of_trees(trees)?.into_iter().collect();
    let mut unused = Vec::new();
    for entry in store.entries()? {
        let Some(name) = entry.name.clone() else { continue };
        if descriptor_digest(&entry.descriptor).map_or(true, |digest| needed(&digest)) {
            continue;
        }
        let images = store.identities(std::slice::from_ref(&entry))?;
        if !images.iter().any(|image| used.contains(&image.manifest) || needed(&image.manifest)) {
            unused.push(name);
        }
    }
    Ok(unused)
}

/// Returns the trees that are not where they were last.
pub fn lost_trees(store: &Store) -> Result<Vec<LostTree>> {
    let mut lost = Vec::new();
    for key in store.trees()? {
        let Some((_, config)) = record::read(store, &key)? else { continue };
        let Some(path) = config.get("path").and_then(Value::as_str) else { continue };
        // A path with a backslash is escaped, perhaps: such a tree may be there.
        if !path.contains('\\') && is_gone(&key, path)? {
            lost.push(LostTree { path: path.into(), key });
        }
    }
    Ok(lost)
}

/// Returns whether a tree is gone for good. One that cannot be looked at may be there; and so may one with its filesystem
/// not mounted: then what is at its path, or is the nearest directory above, lies on another device than the tree did.
fn is_gone(key: &str, path: &str) -> Result<bool> {
    let Some(then) = TreeId::parse(key) else { return Ok(false) };
    for (above, dir) in Path::new(path).ancestors().enumerate() {
        let root = match Root::open(dir) {
            Ok(root) => root,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(_) => return Ok(false),
        };
        let now = TreeId::of(&root)?;
        return Ok(now.device == then.device && !(above == 0 && now.same_inode(then)));
    }
    Ok(false)
}
