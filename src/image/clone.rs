//! Copying a tree together with its record in the store.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::tree::{Tree, scan_options};
use crate::Digest;
use crate::error::{At, Error, Result};
use crate::fs::Root;
use crate::fs::root::parent_of;
use crate::fs::staged_dir::StagedDir;
use crate::fs::stat::stat_fd;
use crate::layer::Loss;
use crate::progress::Control;
use crate::store::Store;
use crate::tree::clone::{Copy, clone_tree};
use crate::tree::ownership::Ownership;
use crate::tree::scan::{Scan, Skipped, scan};
use crate::tree::walk::{Descend, Walk2};
use crate::tree::{Meta, NONE, Owners, ScanOptions, Snapshot};

const CLONE: &str = "clone tree";

/// Options of a clone.
#[derive(Debug, Clone, Default)]
pub struct CloneOptions {
    /// Threads; 0 for one per processor.
    pub threads: usize,
    /// Make everything durable before returning: the files before the clone gets its place (syncfs(2)), and then its name
    /// there.
    pub sync: bool,
}

/// A tree that was cloned.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Cloned {
    /// The digest of the manifest of the image that both trees are bound to.
    pub manifest: Digest,
    /// How many entries the clone has, its root not counted.
    pub entries: u64,
    /// How many of them are in the ledger.
    pub in_ledger: u64,
    /// Entries of the tree that are not in the clone: sockets, and the store if it is in the tree.
    pub skipped: Vec<Skipped>,
    /// Attributes that could not be kept.
    pub losses: Vec<Loss>,
}

/// Copies a tree that was unpacked or committed to `new`, which must not exist or be an empty directory: files, links,
/// permissions, owners, attributes and times; blocks are shared where the filesystem can. What changed in the tree since it
/// was unpacked or committed is changed in the clone as well, and the next commit or comparison of the clone finds just that
/// without reading the rest. Owners and attributes that the disk cannot hold are in the store for both.
///
/// The clone is made beside `new` and renamed into place: after an error or a crash there is no half of one.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] when the store has no record of the tree, [`crate::ErrorKind::Changed`] when something
/// changes in it meanwhile, [`crate::ErrorKind::InvalidArgument`] when `new` lies in the tree.
pub fn clone(
    store: &Store,
    tree: impl AsRef<Path>,
    new: impl AsRef<Path>,
    options: &CloneOptions,
    control: &Control,
) -> Result<Cloned> {
    let (tree, new) = (tree.as_ref(), new.as_ref());
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let from = Root::open(tree)?;
    let mut bound = Tree::open(store, &from)?;
    let Some(&manifest) = bound.image() else {
        let message = "the store has no record of this tree";
        return Err(Error::not_found(CLONE, message)
            .with_path(from.describe(b""))
            .with_hint("no image was unpacked to it or committed from it: cp -a copies all there is of it"));
    };
    refuse_inside(&from, new)?;
    // The record of the tree may go or change meanwhile; that of the clone needs the image.
    pin.add(&[manifest])?;
    let index = bound.index.take();
    let owners = &bound.owners;
    let scan_options = ScanOptions {
        threads: options.threads,
        previous: index.as_ref(),
        ..scan_options(owners, Some(store))?
    };
    let Scan { snapshot, skipped, .. } = scan(&from, &scan_options, control)?;
    let mut place = StagedDir::prepare(store, new, CLONE)?;
    let names = snapshot.children(0).map(|at| snapshot.name(at).to_vec()).collect::<Vec<_>>();
    place.made(names);
    let ownership = Ownership { policy: &owners.policy, ledger: None, source: &owners.source };
    let made =
        clone_tree(&snapshot, &from, place.root(), &ownership, options.threads, control).and_then(|copy| {
            if options.sync {
                rustix::fs::syncfs(place.root()).at(CLONE, place.root().describe(b""))?;
            }
            let Copy { stats, ledger, lost, clock } = copy;
            let index = index.map(|index| {
                let same = unchanged(&index, &snapshot);
                index.identified(clock, |at| stats.get(same[at as usize] as usize).map(Meta::from_stat))
            });
            let owners = Owners { policy: owners.policy.clone(), source: owners.source.clone(), ledger };
            // Before the clone has its place: one without a record in the store would have lost its owners.
            let copy = Tree::open(store, place.root())?;
            let key = copy.bind_copy(manifest, bound.reference(), &owners, index.as_ref())?;
            Ok((key, owners.ledger.len() as u64, lost))
        });
    let (key, in_ledger, lost) = match made {
        Ok(made) => made,
        Err(error) => {
            place.discard();
            return Err(error);
        }
    };
    let parent = place.publish().inspect_err(|_| {
        // The clone is gone again; its record, if it stays, is one of those that prune forgets.
        let _ = store.unbind(&key);
    })?;
    if let Some(parent) = parent.filter(|_| options.sync) {
        rustix::fs::fsync(&parent).at(CLONE, parent.describe(b""))?;
    }
    let loss = |(at, attribute, reason)| Loss { path: snapshot.path(at).into(), attribute, reason };
    Ok(Cloned {
        manifest,
        entries: snapshot.len() as u64 - 1,
        in_ledger,
        skipped,
        losses: lost.into_iter().map(loss).collect(),
    })
}

/// Returns for each entry of the index of a tree its number in a scan of the tree if it is untouched since, else [`NONE`].
pub(super) fn unchanged(index: &Snapshot, scan: &Snapshot) -> Vec<u32> {
    let mut same = vec![NONE; index.len() as usize];
    let root = std::iter::once((0, 0));
    let pairs = Walk2::new(Some(index), Some(scan), Descend::New).map(|pair| (pair.old, pair.new));
    for (old, new) in root.chain(pairs) {
        if old != NONE && new != NONE && index.meta(old).same_identity(&scan.meta(new)) {
            same[old as usize] = new;
        }
    }
    same
}

/// Refuses a place inside of the tree: a clone that is part of what it was cloned from would be part of the next commit.
fn refuse_inside(tree: &Root, new: &Path) -> Result<()> {
    let shown = new.as_os_str().as_bytes();
    let stat = stat_fd(tree).at(CLONE, tree.describe(b""))?;
    let parent = parent_of(new);
    // By what is there, not by the words of the path: links lead anywhere.
    let mut at = Root::open(parent)?;
    loop {
        let here = stat_fd(&at).at(CLONE, shown)?;
        if (here.dev, here.ino) == (stat.dev, stat.ino) {
            return Err(Error::invalid(CLONE, "the clone would be inside of the tree")
                .with_path(shown)
                .with_hint("name a directory outside of it"));
        }
        let above = at.open_parent().at(CLONE, shown)?;
        let there = stat_fd(&above).at(CLONE, shown)?;
        if (there.dev, there.ino) == (here.dev, here.ino) {
            return Ok(());
        }
        at = Root::from_fd(above, parent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_place_inside_of_the_tree_is_seen_by_whatever_path() {
        let temp = tempfile::tempdir().unwrap();
        let inside = temp.path().join("tree/a/b");
        std::fs::create_dir_all(&inside).unwrap();
        std::os::unix::fs::symlink("tree/a", temp.path().join("link")).unwrap();
        let tree = Root::open(temp.path().join("tree")).unwrap();
        for (new, refused) in
            [("tree/new", true), ("tree/a/b/new", true), ("link/new", true), ("new", false), ("link", false)]
        {
            let result = refuse_inside(&tree, &temp.path().join(new));
            assert_eq!(result.is_err(), refused, "{new}");
            assert!(result.err().is_none_or(|error| error.kind() == ErrorKind::InvalidArgument));
        }
    }
}
