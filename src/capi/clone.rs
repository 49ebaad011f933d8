//! From a tree to another one that is the same.

use super::arguments::{Bytes, Out};
use super::clone_options::treering_clone_options;
use super::control::{running, treering_control};
use super::error::treering_error;
use super::guard::guard;
use super::handle;
use super::report::{Report, hand_over, treering_report};
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::structures::{Given, Plain, Record};

/// A tree that was copied.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_clone_result {
    /// The digest of the manifest of the image that both trees are bound to.
    pub manifest: treering_digest,
    /// How many entries the copy has, its root not counted.
    pub entries: u64,
    /// For how many of them the store keeps what the disk did not take.
    pub in_ledger: u64,
    /// How many notes the report has: what was left out (sockets) and what was lost.
    pub notes: u64,
}
impl Plain for treering_clone_result {}

/// Copies a directory that was unpacked or committed, with its owners and its record in the store, to one that must not
/// exist or be empty: owners, image and changes are the same, and the next commit or comparison of the copy reads only what
/// changes. Blocks are shared where the filesystem can. After an error there is no half of a copy.
///
/// Errors: TREERING_NOT_FOUND when the store has no record of the tree, TREERING_CHANGED when something changes in it
/// meanwhile.
///
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_clone_result).
/// @param report receives what was left out or lost; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_clone(
    store: *const treering_store,
    tree: *const u8,
    tree_len: usize,
    dir: *const u8,
    dir_len: usize,
    options: *const treering_clone_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_clone_result,
    out_size: usize,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (tree, dir, options, out, report, err) = unsafe {
        (
            Bytes::new(tree, tree_len),
            Bytes::new(dir, dir_len),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let store = handle::get(store, "store")?;
        let (tree, dir) = (tree.path("tree")?, dir.path("dir")?);
        let made = crate::image::clone(&store, tree, dir, &options.read()?, &*running(control)?)?;
        let notes = Report::skipped(made.skipped).and(Report::losses(made.losses));
        out.write(&treering_clone_result {
            manifest: (&made.manifest).into(),
            entries: made.entries,
            in_ledger: made.in_ledger,
            notes: notes.len() as u64,
        });
        hand_over(report, notes);
        Ok(())
    })
}
