//! What changed in a directory since the image it comes from, or since whatever else it is compared with.

use std::path::Path;

use super::contents::contents;
use super::open::Image;
use super::platform::Platform;
use super::tree::{Tree, owners_of, scan_options};
use crate::diff::overlay::OverlayOptions;
use crate::diff::{Change, CompareMode, CompareOptions, Reasons, Sources, Stat, all_added, compare, content};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Root;
use crate::progress::Control;
use crate::store::{Pin, Store};
use crate::tree::scan::{MOUNT_POINT, Skipped, scan};
use crate::tree::{OwnerPolicy, OwnerSource, Owners, Scan, ScanOptions, Snapshot};

/// What a tree is compared with, and a commit built on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Base {
    /// The image the directory was unpacked from or last committed to; nothing when the store does not know it.
    #[default]
    Auto,
    /// Nothing: everything is new.
    Scratch,
    /// This image.
    Image(String),
}

impl std::str::FromStr for Base {
    type Err = Error;

    /// `auto`, `scratch`, or the reference of an image.
    fn from_str(text: &str) -> Result<Base> {
        Ok(match text {
            "auto" => Base::Auto,
            "scratch" => Base::Scratch,
            "" => return Err(Error::invalid("read base", "expected auto, scratch or an image")),
            image => Base::Image(image.to_string()),
        })
    }
}

/// How a directory is compared.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// Whose the files are; `None` for what the tree was bound with, else 0:0. For an overlay's upper directory: what a
    /// lower one was bound with if that is not 0:0, else [`OwnerPolicy::as_seen`].
    pub owner: Option<OwnerPolicy>,
    /// Another tool's record of owners to go by; `None` for the one the tree was bound with, else none.
    pub owner_from: Option<OwnerSource>,
    /// How far metadata is trusted.
    pub compare: CompareMode,
    /// Compare time stamps to the nanosecond even where one side has whole seconds.
    pub exact_times: bool,
    /// Take times from this second on for this second (seconds since 1970), as a layer with clamped times has them.
    pub clamp_mtime: Option<i64>,
    /// Which platform of a multi-platform base.
    pub platform: Option<Platform>,
    /// Do not look below mount points.
    pub one_file_system: bool,
    /// Threads; 0 for one per processor.
    pub threads: usize,
}

impl DiffOptions {
    fn compare_options(&self) -> CompareOptions {
        CompareOptions { mode: self.compare, exact_times: self.exact_times, clamp_mtime: self.clamp_mtime }
    }
}

/// The changes from one snapshot to another, with both.
#[derive(Debug)]
pub struct TreeDiff {
    /// What was compared with; `None` for nothing, so that everything is added.
    pub old: Option<Snapshot>,
    /// What is there now.
    pub new: Snapshot,
    /// The changes, in byte order of their paths.
    pub changes: Vec<Change>,
    /// What is in the directory and cannot be in a layer.
    pub skipped: Vec<Skipped>,
}

impl TreeDiff {
    /// The path of a change, without a leading slash.
    pub fn path(&self, change: &Change) -> Vec<u8> {
        change.path(self.old.as_ref(), &self.new)
    }

    /// The changes that `docker diff` would list, see [`listed`](crate::diff::listed).
    pub fn listed(&self) -> impl Iterator<Item = &Change> {
        let numbers = crate::diff::listed(&self.changes, self.old.as_ref(), &self.new);
        numbers.into_iter().map(|number| &self.changes[number as usize])
    }

    /// The changes in numbers.
    pub fn stat(&self) -> Stat {
        Stat::of(&self.changes, self.old.as_ref(), &self.new)
    }
}

/// A directory compared with its base, and what a commit needs besides.
pub(super) struct Examined {
    pub diff: TreeDiff,
    pub base: Option<Image>,
    pub owners: Owners,
    pub owners_replaced: u64,
}

fn pin(store: Option<&Store>, control: &Control) -> Result<Option<Pin>> {
    store.map(|store| store.pin(control)).transpose()
}

/// Opens the image a tree is bound to. It need not be in the index: its name may have moved on, and the record keeps it.
pub(super) fn open_bound(store: &Store, manifest: &Digest, platform: Option<&Platform>) -> Result<Image> {
    let image = store.describe_manifest(manifest).and_then(|it| Image::from_descriptor(store, &it, platform));
    image.map_err(|error| {
        error.with_hint("the tree's base is not usable: name one with --base IMAGE or --base scratch")
    })
}

/// Opens the image that a tree is compared with, if there is one.
fn open_base(
    store: Option<&Store>,
    tree: Option<&Tree<'_>>,
    base: &Base,
    platform: Option<&Platform>,
) -> Result<Option<Image>> {
    match (base, store) {
        (Base::Scratch, _) => Ok(None),
        (Base::Image(reference), Some(store)) => Image::open(store, reference, platform).map(Some),
        (Base::Image(_), None) => Err(Error::invalid("open image", "no store to find it in")),
        (Base::Auto, Some(store)) => {
            tree.and_then(Tree::image).map(|image| open_bound(store, image, platform)).transpose()
        }
        (Base::Auto, None) => Ok(None),
    }
}

/// Scans a directory and compares it with its base. `tree` is what the store has of the directory; its index and its owners
/// are taken out of it. The store is that of a pin: prune must not come between the record and the layers of its image.
pub(super) fn examine(
    store: Option<&Store>,
    root: &Root,
    tree: Option<&mut Tree<'_>>,
    base: &Base,
    options: &DiffOptions,
    control: &Control,
) -> Result<Examined> {
    let base = open_base(store, tree.as_deref(), base, options.platform.as_ref())?;
    let (bound_to, index, known) = match tree {
        Some(tree) => (tree.image().copied(), tree.index.take(), std::mem::take(&mut tree.owners)),
        None => (None, None, Owners::default()),
    };
    let as_known = (known.policy.clone(), known.source.clone());
    let mut owners = known.with(options.owner.clone(), options.owner_from.clone());
    // An index made under another policy, or from another source, has other owners in it.
    let index = index.filter(|_| as_known == (owners.policy.clone(), owners.source.clone()));
    let previous = index.as_ref().filter(|_| options.compare != CompareMode::Content);
    let scan_options = ScanOptions {
        threads: options.threads,
        previous,
        one_file_system: options.one_file_system,
        ..scan_options(&owners, store)?
    };
    let Scan { snapshot: new, skipped, owners_replaced, learned, .. } = scan(root, &scan_options, control)?;
    owners.learn(learned);
    let Some(image) = base else {
        let diff = TreeDiff { old: None, changes: all_added(&new), new, skipped };
        return Ok(Examined { diff, base: None, owners, owners_replaced });
    };
    let own_index = bound_to == Some(*image.digest());
    let (old, listed) = match index.filter(|_| own_index) {
        Some(index) => (index, false),
        None => (contents(image.store(), &image, control)?, true),
    };
    let mut comparison = compare(&old, &new, &options.compare_options());
    comparison.unseen(&mount_points(&skipped));
    if comparison.changes.iter().any(|change| change.reasons.contains(Reasons::SUSPECT)) {
        // Digests of the base's files: only now, because making the list reads all its layers.
        let digests = if listed { None } else { Some(contents(image.store(), &image, control)?) };
        comparison.settle(options.threads, |change| {
            let known = old.digest(change.old).or_else(|| {
                let list = digests.as_ref()?;
                list.digest(list.lookup(&old.path(change.old))?)
            });
            control.check("compare content")?;
            content::same_as_digest(change, known, &new, root, control)
        })?;
    }
    let changes = comparison.changes;
    let diff = TreeDiff { old: Some(old), new, changes, skipped };
    Ok(Examined { diff, base: Some(image), owners, owners_replaced })
}

/// The directories a scan did not look into.
pub(super) fn mount_points(skipped: &[Skipped]) -> Vec<Vec<u8>> {
    skipped
        .iter()
        .filter(|skipped| skipped.reason == MOUNT_POINT)
        .map(|skipped| skipped.path.clone())
        .collect()
}

/// Compares a directory with its base: what `docker diff` shows of a container. Without a store there is no base, and
/// everything is new.
pub fn diff_tree(
    store: Option<&Store>,
    tree: &Path,
    base: &Base,
    options: &DiffOptions,
    control: &Control,
) -> Result<TreeDiff> {
    diff_root(store, &Root::open(tree)?, base, options, control)
}

/// The same for a directory that is open already: whoever reads its files afterwards reads the ones that were compared.
pub fn diff_root(
    store: Option<&Store>,
    tree: &Root,
    base: &Base,
    options: &DiffOptions,
    control: &Control,
) -> Result<TreeDiff> {
    let pin = pin(store, control)?;
    let store = pin.as_deref();
    let mut known = store.map(|store| Tree::open(store, tree)).transpose()?;
    Ok(examine(store, tree, known.as_mut(), base, options, control)?.diff)
}

/// Compares two directories, reading the content of files whose metadata agrees.
pub fn diff_trees(
    store: Option<&Store>,
    old: &Path,
    new: &Path,
    options: &DiffOptions,
    control: &Control,
) -> Result<TreeDiff> {
    diff_roots(store, &Root::open(old)?, &Root::open(new)?, options, control)
}

/// The same for two directories that are open already, see [`diff_root`].
pub fn diff_roots(
    store: Option<&Store>,
    old_root: &Root,
    new_root: &Root,
    options: &DiffOptions,
    control: &Control,
) -> Result<TreeDiff> {
    let pin = pin(store, control)?;
    let store = pin.as_deref();
    let scan_one = |root: &Root| -> Result<Scan> {
        let owners = owners_of(store, root, options.owner.clone(), options.owner_from.clone())?;
        let scan_options = ScanOptions {
            threads: options.threads,
            one_file_system: options.one_file_system,
            ..scan_options(&owners, store)?
        };
        scan(root, &scan_options, control)
    };
    let (old, new) = (scan_one(old_root)?, scan_one(new_root)?);
    let (old, skipped, new) = (old.snapshot, new.skipped, new.snapshot);
    // Two directories are quiet at best: every time counts.
    let compare_options = CompareOptions { mode: options.compare, exact_times: true, clamp_mtime: None };
    let mut comparison = compare(&old, &new, &compare_options);
    comparison.unseen(&mount_points(&skipped));
    comparison.settle(options.threads, |change| {
        content::same_in_scans(change, (&old, old_root), (&new, new_root), control)
    })?;
    let changes = comparison.changes;
    Ok(TreeDiff { old: Some(old), new, changes, skipped })
}

/// Compares two snapshots by what they hold. Where only content could tell, the entry counts as changed, with
/// [`Reasons::SUSPECT`].
pub fn diff_snapshots(old: Snapshot, new: Snapshot, options: &DiffOptions) -> TreeDiff {
    let changes = compare(&old, &new, &options.compare_options()).changes;
    TreeDiff { old: Some(old), new, changes, skipped: Vec::new() }
}

/// Compares two images by their layers' entries and the digests of their files.
pub fn diff_image(
    store: &Store,
    old: Option<&str>,
    new: &str,
    options: &DiffOptions,
    control: &Control,
) -> Result<TreeDiff> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let list = |reference: &str| -> Result<Snapshot> {
        contents(store, &Image::open(store, reference, options.platform.as_ref())?, control)
    };
    let new = list(new)?;
    let Some(old) = old else {
        return Ok(TreeDiff { old: None, changes: all_added(&new), new, skipped: Vec::new() });
    };
    Ok(diff_snapshots(list(old)?, new, options))
}

/// An overlay's upper directory compared with its lower ones, and what is needed to write its layer.
pub struct OverlayDiff {
    /// The changes. Their old side is what the lower directories have at the paths that the upper one touches.
    pub diff: TreeDiff,
    /// Where the content of the new side is.
    pub files: Sources,
    /// How many entries got another owner than they have on disk, by the owner policy.
    pub owners_replaced: u64,
}

/// Decodes an overlay's upper directory.
pub(super) fn overlay(
    store: Option<&Store>,
    upper: &Root,
    lowers: &[std::path::PathBuf],
    options: &DiffOptions,
    control: &Control,
) -> Result<OverlayDiff> {
    let lowers: Vec<Root> = lowers.iter().map(Root::open).collect::<Result<_>>()?;
    let owner = match &options.owner {
        Some(owner) => owner.clone(),
        None => overlay_owner(store, &lowers)?,
    };
    let overlay_options = OverlayOptions {
        threads: options.threads,
        owner: &owner,
        owner_from: &options.owner_from.clone().unwrap_or_default(),
        compare: options.compare_options(),
        ..OverlayOptions::default()
    };
    let found = crate::diff::overlay::overlay(upper, &lowers, &overlay_options, control)?;
    let diff =
        TreeDiff { old: Some(found.lower), new: found.upper, changes: found.changes, skipped: found.skipped };
    Ok(OverlayDiff { diff, files: found.sources, owners_replaced: found.owners_replaced })
}

/// Whose the files of an overlay are when nobody says so. That a lower directory is bound with 0:0 says nothing: a plain
/// directory is, by default, and what was done through the mount has owners of its own.
fn overlay_owner(store: Option<&Store>, lowers: &[Root]) -> Result<OwnerPolicy> {
    for lower in lowers {
        let policy = store.map(|store| Tree::open(store, lower)).transpose()?.map(|tree| tree.owners.policy);
        if let Some(policy) = policy.filter(|policy| *policy != OwnerPolicy::Root) {
            return Ok(policy);
        }
    }
    Ok(OwnerPolicy::as_seen())
}

/// What an overlay's upper directory changes over its lower directories (topmost first), found without mounting it and
/// without looking at anything the upper directory does not touch. The store is for what it knows of the owners.
pub fn diff_overlay(
    store: Option<&Store>,
    upper: &Path,
    lowers: &[std::path::PathBuf],
    options: &DiffOptions,
    control: &Control,
) -> Result<OverlayDiff> {
    overlay(store, &Root::open(upper)?, lowers, options, control)
}
