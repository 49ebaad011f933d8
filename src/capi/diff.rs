//! Comparisons, and their changes.

use std::ffi::c_char;
use std::sync::{Arc, Mutex};

use super::arguments::{Bytes, Out, Text, paths};
use super::control::{running, treering_control};
use super::diff_options::treering_diff_options;
use super::error::treering_error;
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::report::{Report, hand_over, treering_report};
use super::snapshot::{shared, treering_snapshot};
use super::status::{treering_slice, treering_status};
use super::store::treering_store;
use super::structures::{Given, Items, Plain, Record};
use super::walk::{Paths, alone};
use crate::diff::{Change, ChangeKind, CompareOptions, Reasons, compare, listed};
use crate::error::Error;
use crate::fs::Root;
use crate::image::{TreeDiff, diff_image, diff_overlay, diff_root, diff_roots};
use crate::layer::Files;
use crate::tree::{NONE, Skipped, Snapshot};

/// The changes from one tree to another. Owned by the caller, freed with treering_diff_free(). Any number of threads may use
/// it at once, except for treering_diff_next() and treering_diff_rewind(), which serve one thread at a time: a call while
/// another thread is in one is TREERING_BUSY.
pub struct treering_diff {
    _opaque: (),
}
noun!(treering_diff, Diff);

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum treering_change_kind {
    /// The path is new: `A`.
    TREERING_CHANGE_ADDED = 1,
    /// The path was changed: `C`.
    TREERING_CHANGE_CHANGED = 2,
    /// The path is gone, with all below it: `D`.
    TREERING_CHANGE_DELETED = 3,
}

impl From<ChangeKind> for treering_change_kind {
    fn from(kind: ChangeKind) -> treering_change_kind {
        match kind {
            ChangeKind::Added => Self::TREERING_CHANGE_ADDED,
            ChangeKind::Changed => Self::TREERING_CHANGE_CHANGED,
            ChangeKind::Deleted => Self::TREERING_CHANGE_DELETED,
        }
    }
}

/// It is another kind of file.
pub const TREERING_REASON_TYPE: u32 = 1;
/// The content is different.
pub const TREERING_REASON_CONTENT: u32 = 2;
/// The permission bits are different.
pub const TREERING_REASON_MODE: u32 = 4;
/// The owner or the group is different.
pub const TREERING_REASON_OWNER: u32 = 8;
/// The time of the last change of content is different.
pub const TREERING_REASON_MTIME: u32 = 16;
/// The extended attributes (ACLs and capabilities among them) are different.
pub const TREERING_REASON_XATTRS: u32 = 32;
/// The symbolic link leads elsewhere.
pub const TREERING_REASON_TARGET: u32 = 64;
/// The device has other numbers.
pub const TREERING_REASON_DEVICE: u32 = 128;
/// The file is hard-linked with other files than before.
pub const TREERING_REASON_LINKS: u32 = 256;
/// Nothing but an entry in the directory was added or deleted.
pub const TREERING_REASON_PARENT: u32 = 512;
/// The inode was touched and the content could not be compared, so it is taken for changed.
pub const TREERING_REASON_SUSPECT: u32 = 1024;
/// Stands for "no entry" where an entry's number is expected.
pub const TREERING_NO_ENTRY: u32 = u32::MAX;

const _: () = assert!(
    Reasons::SUSPECT.bits() as u32 == TREERING_REASON_SUSPECT
        && Reasons::PARENT.bits() as u32 == TREERING_REASON_PARENT
        && Reasons::LINKS.bits() as u32 == TREERING_REASON_LINKS
        && Reasons::DEVICE.bits() as u32 == TREERING_REASON_DEVICE
        && Reasons::TARGET.bits() as u32 == TREERING_REASON_TARGET
        && Reasons::XATTRS.bits() as u32 == TREERING_REASON_XATTRS
        && Reasons::MTIME.bits() as u32 == TREERING_REASON_MTIME
        && Reasons::OWNER.bits() as u32 == TREERING_REASON_OWNER
        && Reasons::MODE.bits() as u32 == TREERING_REASON_MODE
        && Reasons::CONTENT.bits() as u32 == TREERING_REASON_CONTENT
        && Reasons::TYPE.bits() as u32 == TREERING_REASON_TYPE
        && NONE == TREERING_NO_ENTRY
);

/// A changed path.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_change {
    /// The path, components joined by `/`, without a leading one. Any bytes but NUL.
    pub path: *const u8,
    /// The bytes in `path`.
    pub path_len: usize,
    /// The kind of the change.
    pub kind: treering_change_kind,
    /// Why it counts as changed: TREERING_REASON_* or-ed together; 0 for what was added or deleted.
    pub reasons: u32,
    /// Its number in the old snapshot, TREERING_NO_ENTRY for what was added.
    pub old_index: u32,
    /// Its number in the new snapshot, TREERING_NO_ENTRY for what was deleted.
    pub new_index: u32,
    /// A directory that hides everything the layers below have in it.
    pub opaque: bool,
}
impl Plain for treering_change {}

/// Changes in numbers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_diff_stat_result {
    /// Paths added.
    pub added: u64,
    /// Paths changed.
    pub changed: u64,
    /// Paths deleted (a deleted directory counts once).
    pub deleted: u64,
    /// Bytes in the added and changed regular files.
    pub bytes: u64,
}
impl Plain for treering_diff_stat_result {}

/// Changes, what they lie between, and where the content is.
pub struct Diff {
    pub(super) old: Option<Arc<Snapshot>>,
    pub(super) new: Arc<Snapshot>,
    pub(super) changes: Vec<Change>,
    /// Which of them are listed.
    listed: Vec<u32>,
    /// The content of the new tree's files, if it is at hand: a layer can be written then.
    pub(super) files: Option<Box<dyn Content>>,
    cursor: Mutex<Cursor>,
}

/// Content of files that threads share.
pub(super) trait Content: Files + Send {}
impl<T: Files + Send> Content for T {}

#[derive(Default)]
struct Cursor {
    at: usize,
    paths: Paths,
}

impl Diff {
    fn new(
        old: Option<Arc<Snapshot>>,
        new: Arc<Snapshot>,
        changes: Vec<Change>,
        files: Option<Box<dyn Content>>,
    ) -> Diff {
        let listed = listed(&changes, old.as_deref(), &new);
        Diff { old, new, listed, changes, files, cursor: Mutex::default() }
    }

    fn of_tree(diff: TreeDiff, files: Option<Box<dyn Content>>) -> (Diff, Vec<Skipped>) {
        let made = Diff::new(diff.old.map(Arc::new), Arc::new(diff.new), diff.changes, files);
        (made, diff.skipped)
    }
}

/// Compares a directory with its base: what `docker diff` shows of a container.
///
/// @param store where the base is and what is known of the tree; NULL for none, everything is new then.
/// @param base `auto` (also for NULL), `scratch` or a reference, as treering_commit_options has it.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param report receives what cannot be in a layer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_tree(
    store: *const treering_store,
    tree: *const u8,
    tree_len: usize,
    base: *const c_char,
    options: *const treering_diff_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_diff,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (tree, base, options, out, report, err) = unsafe {
        (
            Bytes::new(tree, tree_len),
            Text::new(base),
            Given::new(options, options_size),
            Out::new(out),
            Out::new(report),
            Out::new(err),
        )
    };
    give(err, out, || {
        let store = handle::maybe(store, "store")?;
        let tree = Root::open(tree.path("tree")?)?;
        let base = base.parse("base")?.unwrap_or_default();
        let options = options.read()?;
        let diff = diff_root(store.as_deref(), &tree, &base, &options, &*running(control)?)?;
        // The content of what the tree is to become is in the layers of its base.
        let files = if options.reverse { None } else { Some(Box::new(tree) as Box<dyn Content>) };
        let (diff, skipped) = Diff::of_tree(diff, files);
        hand_over(report, Report::skipped(skipped));
        Ok(diff)
    })
}

/// Compares two directories, reading the content of files with the same metadata.
///
/// @param store what is known of the trees; may be NULL.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param report receives what cannot be in a layer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_trees(
    store: *const treering_store,
    before: *const u8,
    before_len: usize,
    after: *const u8,
    after_len: usize,
    options: *const treering_diff_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_diff,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (old, new, options, out, report, err) = unsafe {
        (
            Bytes::new(before, before_len),
            Bytes::new(after, after_len),
            Given::new(options, options_size),
            Out::new(out),
            Out::new(report),
            Out::new(err),
        )
    };
    give(err, out, || {
        let store = handle::maybe(store, "store")?;
        let (old, new) = (Root::open(old.path("before")?)?, Root::open(new.path("after")?)?);
        let diff = diff_roots(store.as_deref(), &old, &new, &options.read()?, &*running(control)?)?;
        let (diff, skipped) = Diff::of_tree(diff, Some(Box::new(new)));
        hand_over(report, Report::skipped(skipped));
        Ok(diff)
    })
}

/// Compares two snapshots by what they hold. Where only content could decide, the entry counts as changed, with
/// TREERING_REASON_SUSPECT.
///
/// @param before NULL for nothing: everything is added then.
/// @param tree the directory `after` is of, from which a layer can then be written; (NULL, 0) for none.
/// @param options NULL for the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_snapshots(
    before: *const treering_snapshot,
    after: *const treering_snapshot,
    tree: *const u8,
    tree_len: usize,
    options: *const treering_diff_options,
    options_size: usize,
    out: *mut *mut treering_diff,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (tree, options, out, err) = unsafe {
        (Bytes::new(tree, tree_len), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || {
        let old = if before.is_null() { None } else { Some(shared(before, "before")?) };
        let new = shared(after, "after")?;
        let options = options.read()?;
        let compare_options = CompareOptions {
            mode: options.compare,
            exact_times: options.exact_times,
            clamp_mtime: None,
            all_reasons: true,
            ignore_times: options.ignore_times,
        };
        let changes = match &old {
            Some(old) => {
                let mut comparison = compare(old, &new, &compare_options);
                comparison.exclude(&options.exclude);
                comparison.changes
            }
            None => crate::diff::all_added(&new),
        };
        let files = match tree.bytes("tree")? {
            [] => None,
            _ => Some(Box::new(Root::open(tree.path("tree")?)?) as Box<dyn Content>),
        };
        Ok(Diff::new(old, new, changes, files))
    })
}

/// Compares two images by their layers' entries and the digests of their files.
///
/// @param before the reference of an image; NULL for nothing: everything is added then.
/// @param after the reference of an image.
/// @param options NULL for the defaults.
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_images(
    store: *const treering_store,
    before: *const c_char,
    after: *const c_char,
    options: *const treering_diff_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_diff,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (old, new, options, out, err) = unsafe {
        (Text::new(before), Text::new(after), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || {
        let store = handle::get(store, "store")?;
        let (old, new) = (old.optional("before")?, new.required("after")?);
        let diff = diff_image(&store, old, new, &options.read()?, &*running(control)?)?;
        Ok(Diff::of_tree(diff, None).0)
    })
}

/// Compares an overlay's upper directory with its lower directories, without mounting it.
///
/// @param store what is known of the owners in the lower directories; may be NULL.
/// @param lowers the lower directories, topmost first; with none, everything in the upper one counts as added.
/// @param options NULL for the defaults; the base's platform and the like do not matter here. Owners are by default those
/// on disk for root, and `root` for anybody else.
/// @param control may be NULL.
/// @param report receives what cannot be in a layer; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_overlay(
    store: *const treering_store,
    upper: *const u8,
    upper_len: usize,
    lowers: *const treering_slice,
    lowers_len: usize,
    options: *const treering_diff_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut *mut treering_diff,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (upper, options, out, report, err) = unsafe {
        (
            Bytes::new(upper, upper_len),
            Given::new(options, options_size),
            Out::new(out),
            Out::new(report),
            Out::new(err),
        )
    };
    give(err, out, || {
        // SAFETY: the header's contract for pointers.
        let lowers = unsafe { paths(lowers, lowers_len, "lowers") }?;
        let store = handle::maybe(store, "store")?;
        let (upper, control) = (upper.path("upper")?, running(control)?);
        let found = diff_overlay(store.as_deref(), upper, &lowers, &options.read()?, &control)?;
        let (diff, skipped) = Diff::of_tree(found.diff, Some(Box::new(found.files)));
        hand_over(report, Report::skipped(skipped));
        Ok(diff)
    })
}

/// Frees a diff. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_diff_free(diff: *mut treering_diff) -> treering_status {
    handle::free(diff)
}

/// Returns how many changes there are; 0 when `diff` is no diff.
#[unsafe(no_mangle)]
pub extern "C" fn treering_diff_len(diff: *const treering_diff) -> usize {
    handle::get(diff, "diff").map_or(0, |diff| diff.listed.len())
}

/// Gives the next changes, in byte order of their paths. Neither the root itself is among them, nor the old names of a file
/// that only gained one, as `docker diff` has it; a layer holds them.
///
/// @param out room for `max` changes; their paths live until the next call of this function with this diff.
/// @param change_size sizeof(treering_change).
/// @param n receives how many were written; 0 at the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_next(
    diff: *mut treering_diff,
    out: *mut treering_change,
    change_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, change_size, max), Out::new(n), Out::new(err)) };
    guard(err, || {
        out.check("out")?;
        let n = n.required("n")?;
        let diff = handle::get(diff, "diff")?;
        let Cursor { at, paths } = &mut *alone(&diff.cursor)?;
        let end = diff.listed.len().min(at.saturating_add(out.room()));
        let part = || diff.listed[*at..end].iter().map(|&index| &diff.changes[index as usize]);
        paths.clear();
        for change in part() {
            paths.add(|to| match (change.new, &diff.old) {
                (NONE, Some(old)) => old.push_path(change.old, to),
                (NONE, None) => {}
                (index, _) => diff.new.push_path(index, to),
            });
        }
        for (i, change) in part().enumerate() {
            let path = paths.get(i);
            out.write(
                i,
                &treering_change {
                    path: path.as_ptr(),
                    path_len: path.len(),
                    kind: change.kind.into(),
                    reasons: change.reasons.bits().into(),
                    old_index: change.old,
                    new_index: change.new,
                    opaque: change.opaque,
                },
            );
        }
        n.write(end - *at);
        *at = end;
        Ok(())
    })
}

/// Starts again: the next call of treering_diff_next() gives the first changes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_rewind(
    diff: *mut treering_diff,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    guard(err, || {
        alone(&handle::get(diff, "diff")?.cursor)?.at = 0;
        Ok(())
    })
}

/// Gives the changes in numbers.
///
/// @param out_size sizeof(treering_diff_stat_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_stat(
    diff: *const treering_diff,
    out: *mut treering_diff_stat_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let diff = handle::get(diff, "diff")?;
        let stat = crate::diff::Stat::of(&diff.changes, diff.old.as_deref(), &diff.new);
        let crate::diff::Stat { added, changed, deleted, bytes } = stat;
        out.write(&treering_diff_stat_result { added, changed, deleted, bytes });
        Ok(())
    })
}

/// Gives the snapshot that was compared with, as a handle of its own. TREERING_NOT_FOUND when it was nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_old_snapshot(
    diff: *const treering_diff,
    out: *mut *mut treering_snapshot,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let old = handle::get(diff, "diff")?.old.clone();
        old.ok_or_else(|| Error::not_found("get snapshot", "the tree was compared with nothing"))
    })
}

/// Gives the snapshot of the newer tree, as a handle of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_new_snapshot(
    diff: *const treering_diff,
    out: *mut *mut treering_snapshot,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(handle::get(diff, "diff")?.new.clone()))
}
