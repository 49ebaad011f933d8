//! From an image to a directory.

use std::ffi::c_char;

use super::apply_options::treering_apply_options;
use super::arguments::{Bytes, Out, Text};
use super::control::{running, treering_control};
use super::error::treering_error;
use super::guard::guard;
use super::handle;
use super::report::{Report, hand_over, treering_report};
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::structures::{Given, Plain, Record};
use crate::image::Unpacked;

/// The result of an unpack.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_unpack_result {
    /// The digest of the image's manifest.
    pub manifest: treering_digest,
    /// How many entries the tree has, its root not counted.
    pub entries: u64,
    /// For how many of them the store keeps what the disk did not take.
    pub in_ledger: u64,
    /// How many notes the report has: what neither took.
    pub losses: u64,
}
impl Plain for treering_unpack_result {}

impl From<&Unpacked> for treering_unpack_result {
    fn from(made: &Unpacked) -> treering_unpack_result {
        treering_unpack_result {
            manifest: (&made.manifest).into(),
            entries: made.entries,
            in_ledger: made.in_ledger,
            losses: made.losses.len() as u64,
        }
    }
}

/// Unpacks an image: its tree becomes a directory, which must not exist or be empty. The directory is bound to the image in
/// the store, so that treering_commit() and treering_diff_tree() find it. After an error there is no half-unpacked tree.
///
/// Errors: TREERING_NOT_FOUND, TREERING_ALREADY_EXISTS, TREERING_CORRUPT when a layer is not what the image says,
/// TREERING_LOSS where asked for, whatever writing can meet.
///
/// @param reference the image, as treering_refs_resolve() finds it.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_unpack_result).
/// @param report receives what was lost; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_unpack(
    store: *const treering_store,
    reference: *const c_char,
    dir: *const u8,
    dir_len: usize,
    options: *const treering_apply_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_unpack_result,
    out_size: usize,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, dir, options, out, report, err) = unsafe {
        (
            Text::new(reference),
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
        let reference = reference.required("reference")?;
        let made =
            crate::image::unpack(&store, reference, dir.path("dir")?, &options.read()?, &*running(control)?)?;
        out.write(&(&made).into());
        hand_over(report, Report::losses(made.losses));
        Ok(())
    })
}
