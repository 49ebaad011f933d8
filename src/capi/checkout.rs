//! From a directory to another image, in place.

use std::ffi::c_char;

use super::arguments::{Bytes, Out, Text};
use super::checkout_options::treering_checkout_options;
use super::control::{running, treering_control};
use super::diff::{TREERING_NO_ENTRY, treering_change};
use super::error::treering_error;
use super::guard::guard;
use super::handle::{self, noun};
use super::report::{Report, copy_list, hand_over, treering_report};
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::structures::{Given, Items, Plain, Record};
use crate::diff::ChangeKind;
use crate::image::CheckedOut;

/// A list of changed paths, in byte order. Owned by the caller, freed with treering_changes_free(). Never changes, so any number
/// of threads may read it at once.
pub struct treering_changes {
    _opaque: (),
}
noun!(treering_changes, Vec<(ChangeKind, Vec<u8>)>);

/// A directory that was checked out.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_checkout_result {
    /// The digest of the manifest of the image that the directory now is, or would be.
    pub manifest: treering_digest,
    /// How many entries were made, or got another content.
    pub written: u64,
    /// How many entries stayed and got other metadata, or names.
    pub updated: u64,
    /// How many entries were removed, those below a removed directory counted.
    pub removed: u64,
    /// How many entries were left as they were, the root counted.
    pub kept: u64,
    /// For how many entries the store keeps what the disk did not take.
    pub in_ledger: u64,
    /// How many notes the report has: what neither took.
    pub losses: u64,
}
impl Plain for treering_checkout_result {}

/// Gives the caller what a checkout made.
pub(super) fn hand_over_checkout(
    made: CheckedOut,
    out: &Record<'_, treering_checkout_result>,
    changes: Out<'_, *mut treering_changes>,
    report: Out<'_, *mut treering_report>,
) {
    out.write(&treering_checkout_result {
        manifest: (&made.manifest).into(),
        written: made.written,
        updated: made.updated,
        removed: made.removed,
        kept: made.kept,
        in_ledger: made.in_ledger,
        losses: made.losses.len() as u64,
    });
    if let Some(place) = changes.place() {
        place.write(handle::make(made.changes));
    }
    hand_over(report, Report::losses(made.losses));
}

/// Makes a directory what an image says, in place: only what differs is touched. The directory came from whatever image; an empty
/// or missing one is unpacked to. It is bound to the image then, so that the next commit or comparison is one with it.
///
/// After an error treering_commit() and the comparisons refuse the directory until another checkout, of any image, has
/// finished.
///
/// Errors: TREERING_IN_USE when the directory has changes that are in no image, of which the message lists the first, and
/// `discard` is not set; TREERING_NOT_FOUND when the store has no record of the directory; TREERING_UNSUPPORTED when
/// something is mounted in it; TREERING_BUSY when another checkout or commit is at work in it; TREERING_LOSS where asked
/// for.
///
/// @param reference the image, as treering_refs_resolve() finds it; `-` for the one the directory was before its present one.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_checkout_result).
/// @param changes receives the paths that are, or would be, different; empty when the directory was empty. May be NULL.
/// @param report receives what was lost; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_checkout(
    store: *const treering_store,
    reference: *const c_char,
    dir: *const u8,
    dir_len: usize,
    options: *const treering_checkout_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_checkout_result,
    out_size: usize,
    changes: *mut *mut treering_changes,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, dir, options, out, changes, report, err) = unsafe {
        (
            Text::new(reference),
            Bytes::new(dir, dir_len),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(changes),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let store = handle::get(store, "store")?;
        let (reference, dir) = (reference.required("reference")?, dir.path("dir")?);
        let made = crate::image::checkout(&store, reference, dir, &options.read()?, &*running(control)?)?;
        hand_over_checkout(made, &out, changes, report);
        Ok(())
    })
}

/// Returns how many paths there are; 0 when `changes` is no such list.
#[unsafe(no_mangle)]
pub extern "C" fn treering_changes_len(changes: *const treering_changes) -> usize {
    handle::get(changes, "changes").map_or(0, |changes| changes.len())
}

/// Copies paths out, with `kind`; all other members are zero or TREERING_NO_ENTRY.
///
/// @param first the number of the first path wanted, from 0.
/// @param out room for `max` changes; their paths live as long as the list.
/// @param change_size sizeof(treering_change).
/// @param n receives how many were written; 0 behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_changes_get(
    changes: *const treering_changes,
    first: usize,
    out: *mut treering_change,
    change_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, change_size, max), Out::new(n), Out::new(err)) };
    guard(err, || {
        let changes = handle::get(changes, "changes")?;
        copy_list(&changes, first, out, n, |(kind, path)| treering_change {
            path: path.as_ptr(),
            path_len: path.len(),
            kind: (*kind).into(),
            reasons: 0,
            old_index: TREERING_NO_ENTRY,
            new_index: TREERING_NO_ENTRY,
            opaque: false,
        })
    })
}

/// Frees a list of changes. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_changes_free(changes: *mut treering_changes) -> treering_status {
    handle::free(changes)
}
