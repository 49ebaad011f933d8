//! Changes in a directory since the image it comes from, or since whatever else it is compared with.

use std::collections::HashMap;
use std::path::Path;

use super::contents::entries;
use super::open::Image;
use super::platform::Platform;
use super::read::ImageFiles;
use super::tree::{Tree, owners_of, scan_options};
use crate::diff::overlay::OverlayOptions;
use crate::diff::{
    Change, CompareMode, CompareOptions, Reasons, Sources, Stat, all_added, compare, content, exclude,
};
use crate::digest::Digest;
use crate::dockerfile::Ignore;
use crate::error::{Error, Result};
use crate::fs::Root;
use crate::hint::Hint;
use crate::progress::Control;
use crate::store::{Pin, Store};
use crate::tree::builder::{Builder, Inode};
use crate::tree::scan::{MOUNT_POINT, Skipped, scan};
use crate::tree::{
    Flags, Meta, NONE, OwnerPolicy, OwnerSource, Owners, OwnersWanted, Scan, ScanOptions, Snapshot,
};

/// The base that a tree is compared with, and a commit built on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Base {
    /// The image the directory was unpacked from or last committed to; nothing when the store has no record of it.
    #[default]
    Auto,
    /// Nothing: everything is new.
    Scratch,
    /// This image.
    Image(String),
}

impl std::str::FromStr for Base {
    type Err = Error;

    /// Reads `auto`, `scratch`, or the reference of an image.
    fn from_str(text: &str) -> Result<Base> {
        Ok(match text {
            "auto" => Base::Auto,
            "scratch" => Base::Scratch,
            "" => return Err(Error::invalid("read base", "expected auto, scratch or an image")),
            image => Base::Image(image.to_string()),
        })
    }
}

/// Options of a comparison.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// The owners of the files; by default those the tree was bound with, else 0:0. For an overlay's upper directory: the
    /// policy that a lower one was bound with if that is not 0:0, else [`OwnerPolicy::as_seen`]. A file that was copied up has
    /// the owner that the ledger of a lower directory has of it, where the disk has the same.
    pub owners: OwnersWanted,
    /// How far metadata is trusted.
    pub compare: CompareMode,
    /// Compare time stamps to the nanosecond even where one side has whole seconds.
    pub exact_times: bool,
    /// Take times from this second on for this second (seconds since 1970), as a layer with clamped times has them.
    pub clamp_mtime: Option<i64>,
    /// Which platform of a multi-platform base.
    pub platform: Option<Platform>,
    /// Let times say nothing: what differs in its time alone is compared by its content. For a fresh copy, as out of a version
    /// control system, all of which has new times.
    pub ignore_times: bool,
    /// Paths that are left out, see [`excludes`](super::excludes): they count as unchanged.
    pub exclude: Ignore,
    /// Do not look at what is mounted: a mount point counts as unchanged.
    pub one_file_system: bool,
    /// Give all reasons of a change: the content of a file is compared also where its time says already that it changed.
    pub all_reasons: bool,
    /// Turn the sides around: the changes that make the tree into its base.
    pub reverse: bool,
    /// Threads; 0 for one per processor.
    pub threads: usize,
}

impl DiffOptions {
    fn compare_options(&self) -> CompareOptions {
        CompareOptions {
            mode: self.compare,
            exact_times: self.exact_times,
            clamp_mtime: self.clamp_mtime,
            all_reasons: self.all_reasons,
            ignore_times: self.ignore_times,
        }
    }
}

/// The changes from one snapshot to another, with both.
#[derive(Debug)]
pub struct TreeDiff {
    /// The list that was compared with; `None` for nothing, so that everything is added.
    pub old: Option<Snapshot>,
    /// The list of the newer side.
    pub new: Snapshot,
    /// The changes, in byte order of their paths.
    pub changes: Vec<Change>,
    /// Entries of the directory that cannot be in a layer.
    pub skipped: Vec<Skipped>,
}

impl TreeDiff {
    /// Returns the path of a change, without a leading slash.
    pub fn path(&self, change: &Change) -> Vec<u8> {
        change.path(self.old.as_ref(), &self.new)
    }

    /// Returns the changes that `docker diff` would list, see [`listed`](crate::diff::listed).
    pub fn listed(&self) -> impl Iterator<Item = &Change> {
        let numbers = crate::diff::listed(&self.changes, self.old.as_ref(), &self.new);
        numbers.into_iter().map(|number| &self.changes[number as usize])
    }

    /// Returns the changes in numbers.
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
    /// Whether the scan looked at everything, and is an index of the tree.
    pub whole: bool,
}

fn pin(store: Option<&Store>, control: &Control) -> Result<Option<Pin>> {
    store.map(|store| store.pin(control)).transpose()
}

/// Opens the image a tree is bound to. It need not be in the index: its name may have moved on, and the record keeps it.
pub(super) fn open_bound(store: &Store, manifest: &Digest, platform: Option<&Platform>) -> Result<Image> {
    let image = store.describe_manifest(manifest).and_then(|it| Image::from_descriptor(store, &it, platform));
    image.map_err(|error| error.with_hint(Hint::NameBase))
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
    let_in(root, store)?;
    let base = open_base(store, tree.as_deref(), base, options.platform.as_ref())?;
    let (bound_to, index, known) = match tree {
        Some(tree) => (tree.image().copied(), tree.index.take(), std::mem::take(&mut tree.owners)),
        None => (None, None, Owners::default()),
    };
    let as_known = (known.policy.clone(), known.source.clone());
    let mut owners = known.with(&options.owners);
    // An index made under another policy, or from another source, has other owners in it.
    let index = index.filter(|_| as_known == (owners.policy.clone(), owners.source.clone()));
    let previous = index.as_ref().filter(|_| options.compare != CompareMode::Content);
    let scan_options = ScanOptions {
        threads: options.threads,
        previous,
        one_file_system: options.one_file_system,
        exclude: Some(&options.exclude),
        ..scan_options(&owners, store)?
    };
    let scan = scan(root, &scan_options, control)?;
    let whole = scan.excluded == 0 && mount_points(&scan.skipped).is_empty();
    let Scan { snapshot: new, skipped, owners_replaced, learned, .. } = scan;
    owners.learn(learned);
    if options.reverse {
        let (diff, base) = reversed(base, new, skipped, root, options, control)?;
        return Ok(Examined { diff, base, owners, owners_replaced, whole });
    }
    let Some(image) = base else {
        let diff = TreeDiff { old: None, changes: all_added(&new), new, skipped };
        return Ok(Examined { diff, base: None, owners, owners_replaced, whole });
    };
    let own_index = bound_to == Some(*image.digest());
    let (old, listed) = match index.filter(|_| own_index) {
        Some(index) => (index, false),
        None => (entries(image.store(), &image, control)?, true),
    };
    let mut comparison = compare(&old, &new, &options.compare_options());
    comparison.exclude(&options.exclude);
    let suspect = |change: &&Change| change.reasons.contains(Reasons::SUSPECT);
    if comparison.changes.iter().any(|change| suspect(&change)) {
        // Digests of the base's files: only now, because the first time that may read its layers.
        let suspects: Vec<u32> = comparison.changes.iter().filter(suspect).map(|change| change.old).collect();
        let digests = base_digests(&image, &old, listed, &suspects, control)?;
        comparison.settle(options.threads, |change| {
            control.check("compare content")?;
            content::same_as_digest(change, digests.get(&change.old).copied(), &new, root, control)
        })?;
    }
    let changes = comparison.changes;
    let diff = TreeDiff { old: Some(old), new, changes, skipped };
    Ok(Examined { diff, base: Some(image), owners, owners_replaced, whole })
}

/// Lets files of the caller's own be read that it may not read, once what killed processes left of that is put back. Without a
/// store nothing keeps account of it.
#[doc(hidden)]
pub fn let_in(root: &Root, store: Option<&Store>) -> Result<()> {
    if let Some(store) = store {
        store.mend()?;
        root.unlock(store.mender());
    }
    Ok(())
}

/// Returns the changes from a directory to its base; without one, all of it is gone.
fn reversed(
    base: Option<Image>,
    tree: Snapshot,
    skipped: Vec<Skipped>,
    root: &Root,
    options: &DiffOptions,
    control: &Control,
) -> Result<(TreeDiff, Option<Image>)> {
    let list = match &base {
        Some(image) => entries(image.store(), image, control)?,
        None => Builder::new(Inode::new(Meta::directory())).finish(None)?,
    };
    let mut comparison = compare(&tree, &list, &options.compare_options());
    comparison.changes.retain(|change| !is_hidden(&tree, &list, change));
    comparison.exclude(&options.exclude);
    let suspect = |change: &&Change| change.reasons.contains(Reasons::SUSPECT);
    let suspects: Vec<u32> = comparison.changes.iter().filter(suspect).map(|change| change.new).collect();
    let digests = match &base {
        Some(image) => base_digests(image, &list, true, &suspects, control)?,
        None => HashMap::new(),
    };
    comparison.settle(options.threads, |change| {
        control.check("compare content")?;
        content::has_digest(change.old, digests.get(&change.new).copied(), &tree, root, control)
    })?;
    let changes = comparison.changes;
    Ok((TreeDiff { old: Some(tree), new: list, changes, skipped }, base))
}

/// Returns the digests of contents of some entries of an image, given by their numbers in its list, or else in an index of a
/// tree of it. Those that are not known are made.
fn base_digests(
    image: &Image,
    list: &Snapshot,
    listed: bool,
    wanted: &[u32],
    control: &Control,
) -> Result<HashMap<u32, [u8; 32]>> {
    let known = |entry: &u32| Some((*entry, list.digest(*entry)?));
    let mut digests: HashMap<u32, [u8; 32]> = wanted.iter().filter_map(known).collect();
    let missing = || wanted.iter().filter(|entry| list.digest(**entry).is_none());
    if missing().next().is_none() {
        return Ok(digests);
    }
    let files = ImageFiles::open(image.store(), image, control)?;
    let number = |entry: u32| if listed { Some(entry) } else { files.list().lookup(&list.path(entry)) };
    let numbers: Vec<(u32, u32)> = missing().filter_map(|&entry| Some((entry, number(entry)?))).collect();
    let made = files.digests(&numbers.iter().map(|(_, number)| *number).collect::<Vec<_>>(), control)?;
    digests.extend(numbers.iter().filter_map(|(entry, number)| Some((*entry, *made.get(number)?))));
    Ok(digests)
}

/// Returns whether something is mounted in the directory over what a change is of.
fn is_hidden(tree: &Snapshot, list: &Snapshot, change: &Change) -> bool {
    let unseen = |index: u32| tree.meta(index).flags.contains(Flags::UNSEEN);
    if change.new == NONE || change.old != NONE {
        return change.old != NONE && unseen(change.old);
    }
    let mut at = change.new;
    while at != 0 {
        at = list.parent(at);
        if tree.lookup(&list.path(at)).is_some_and(unseen) {
            return true;
        }
    }
    false
}

/// Returns what a scan did not look at.
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
    tree: impl AsRef<Path>,
    base: &Base,
    options: &DiffOptions,
    control: &Control,
) -> Result<TreeDiff> {
    let tree = tree.as_ref();
    diff_root(store, &Root::open(tree)?, base, options, control)
}

/// Does what [`diff_tree`] does for a directory that is open already, so that files read afterwards are the ones that were
/// compared.
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

/// Compares two directories, reading the content of files with the same metadata.
pub fn diff_trees(
    store: Option<&Store>,
    old: impl AsRef<Path>,
    new: impl AsRef<Path>,
    options: &DiffOptions,
    control: &Control,
) -> Result<TreeDiff> {
    let (old, new) = (old.as_ref(), new.as_ref());
    diff_roots(store, &Root::open(old)?, &Root::open(new)?, options, control)
}

/// Returns the same for two directories that are open already, see [`diff_root`].
pub fn diff_roots(
    store: Option<&Store>,
    old_root: &Root,
    new_root: &Root,
    options: &DiffOptions,
    control: &Control,
) -> Result<TreeDiff> {
    let pin = pin(store, control)?;
    let store = pin.as_deref();
    let_in(old_root, store)?;
    let_in(new_root, store)?;
    let scan_one = |root: &Root| -> Result<Scan> {
        let owners = owners_of(store, root, &options.owners)?;
        let scan_options = ScanOptions {
            threads: options.threads,
            one_file_system: options.one_file_system,
            exclude: Some(&options.exclude),
            ..scan_options(&owners, store)?
        };
        scan(root, &scan_options, control)
    };
    let (old, new) = (scan_one(old_root)?, scan_one(new_root)?);
    let (old, skipped, new) = (old.snapshot, new.skipped, new.snapshot);
    let mut comparison = compare(&old, &new, &options.compare_options());
    comparison.exclude(&options.exclude);
    comparison.settle(options.threads, |change| {
        content::same_in_scans(change, (&old, old_root), (&new, new_root), control)
    })?;
    let changes = comparison.changes;
    Ok(TreeDiff { old: Some(old), new, changes, skipped })
}

/// Compares two snapshots by what they hold. Where only content could decide, the entry counts as changed, with
/// [`Reasons::SUSPECT`].
pub fn diff_snapshots(old: Snapshot, new: Snapshot, options: &DiffOptions) -> TreeDiff {
    let mut comparison = compare(&old, &new, &options.compare_options());
    comparison.exclude(&options.exclude);
    let changes = comparison.changes;
    TreeDiff { old: Some(old), new, changes, skipped: Vec::new() }
}

/// Compares two images by their layers' entries. The content of two files is the same when it comes from the same place of the same layer;
/// where it is from elsewhere and all else is equal, both files are read.
pub fn diff_image(
    store: &Store,
    old: Option<&str>,
    new: &str,
    options: &DiffOptions,
    control: &Control,
) -> Result<TreeDiff> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let open =
        |reference: &str| -> Result<Image> { Image::open(store, reference, options.platform.as_ref()) };
    let new_image = open(new)?;
    let new = entries(store, &new_image, control)?;
    let Some(old) = old else {
        return Ok(TreeDiff { old: None, changes: all_added(&new), new, skipped: Vec::new() });
    };
    let old_image = open(old)?;
    let old = entries(store, &old_image, control)?;
    let mut comparison = compare(&old, &new, &options.compare_options());
    comparison.exclude(&options.exclude);
    let suspect = |change: &&Change| change.reasons.contains(Reasons::SUSPECT);
    let (old_ones, new_ones): (Vec<u32>, Vec<u32>) =
        comparison.changes.iter().filter(suspect).map(|change| (change.old, change.new)).unzip();
    if !old_ones.is_empty() {
        let before = base_digests(&old_image, &old, true, &old_ones, control)?;
        let after = base_digests(&new_image, &new, true, &new_ones, control)?;
        comparison.settle(options.threads, |change| {
            let both = before.get(&change.old).zip(after.get(&change.new));
            Ok(both.map(|(before, after)| before == after))
        })?;
    }
    let changes = comparison.changes;
    Ok(TreeDiff { old: Some(old), new, changes, skipped: Vec::new() })
}

/// An overlay's upper directory compared with its lower ones, and what is needed to write its layer.
pub struct OverlayDiff {
    /// The changes. Their old side is what the lower directories have at the paths that the upper one touches.
    pub diff: TreeDiff,
    /// The content of the new side.
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
    let_in(upper, store)?;
    let owners = overlay_owners(store, &lowers)?.with(&options.owners);
    let overlay_options = OverlayOptions {
        threads: options.threads,
        owner: &owners.policy,
        owner_from: &owners.source,
        ledger: Some(&owners.ledger),
        compare: options.compare_options(),
        ..OverlayOptions::default()
    };
    let found = crate::diff::overlay::overlay(upper, &lowers, &overlay_options, control)?;
    let mut changes = found.changes;
    exclude(&mut changes, &found.lower, &found.upper, &options.exclude);
    let diff = TreeDiff { old: Some(found.lower), new: found.upper, changes, skipped: found.skipped };
    Ok(OverlayDiff { diff, files: found.sources, owners_replaced: found.owners_replaced })
}

/// Returns the owners of an overlay: the ledgers of its lower directories, and the first source and policy that one of them is
/// bound with. That it is bound with 0:0 says nothing: a plain directory is, by default, and what was done through the mount
/// has owners of its own.
fn overlay_owners(store: Option<&Store>, lowers: &[Root]) -> Result<Owners> {
    let mut owners = Owners { policy: OwnerPolicy::Root, ..Owners::default() };
    for lower in lowers {
        let Some(known) = store.map(|store| Tree::open(store, lower)).transpose()? else { continue };
        let known = known.owners;
        if owners.policy == OwnerPolicy::Root {
            owners.policy = known.policy;
        }
        if matches!(owners.source, OwnerSource::Nothing) {
            owners.source = known.source;
        }
        for record in known.ledger.records() {
            owners.ledger.insert(record.clone());
        }
    }
    if owners.policy == OwnerPolicy::Root {
        owners.policy = OwnerPolicy::as_seen();
    }
    Ok(owners)
}

/// Compares an overlay's upper directory with its lower directories (topmost first), without mounting it and without
/// looking at anything the upper directory does not touch. The store has the owners.
pub fn diff_overlay(
    store: Option<&Store>,
    upper: impl AsRef<Path>,
    lowers: &[std::path::PathBuf],
    options: &DiffOptions,
    control: &Control,
) -> Result<OverlayDiff> {
    let upper = upper.as_ref();
    overlay(store, &Root::open(upper)?, lowers, options, control)
}
