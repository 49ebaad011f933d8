//! From a directory to an image.

use std::ffi::c_char;

use super::arguments::{Bytes, Out, Text};
use super::commit_options::treering_commit_options;
use super::control::{running, treering_control};
use super::error::treering_error;
use super::guard::guard;
use super::handle;
use super::report::{Report, hand_over, treering_report};
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::structures::{Given, Plain, Record};
use crate::image::Committed;

/// The result of a commit or an import.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_commit_result {
    /// The digest of the manifest.
    pub manifest: treering_digest,
    /// The image id: the digest of the configuration.
    pub image_id: treering_digest,
    /// Whether there is a new layer; there is none when nothing changed and only the configuration is new.
    pub has_layer: bool,
    /// The digest of the new layer's tar stream; empty without one.
    pub layer_diff_id: treering_digest,
    /// The digest of the new layer's blob; empty without one.
    pub layer_digest: treering_digest,
    /// The length of the new layer's tar stream, in bytes.
    pub layer_diff_size: u64,
    /// The length of the new layer's blob, in bytes.
    pub layer_size: u64,
    /// Paths added.
    pub added: u64,
    /// Paths changed.
    pub changed: u64,
    /// Paths deleted (a deleted directory counts once).
    pub deleted: u64,
    /// Bytes in the added and changed regular files.
    pub bytes: u64,
    /// How many notes the report has: what is in the directory and cannot be in a layer.
    pub skipped: u64,
    /// How many entries got another owner than they have on disk, by the owner policy.
    pub owners_replaced: u64,
}
impl Plain for treering_commit_result {}

impl From<&Committed> for treering_commit_result {
    fn from(made: &Committed) -> treering_commit_result {
        let layer = made.layer.as_ref();
        treering_commit_result {
            manifest: (&made.manifest).into(),
            image_id: (&made.image_id).into(),
            has_layer: layer.is_some(),
            layer_diff_id: layer.map_or(treering_digest::NONE, |layer| (&layer.diff_id).into()),
            layer_digest: layer.map_or(treering_digest::NONE, |layer| (&layer.digest).into()),
            layer_diff_size: layer.map_or(0, |layer| layer.diff_size),
            layer_size: layer.map_or(0, |layer| layer.size),
            added: made.stat.added,
            changed: made.stat.changed,
            deleted: made.stat.deleted,
            bytes: made.stat.bytes,
            skipped: made.skipped.len() as u64,
            owners_replaced: made.owners_replaced,
        }
    }
}

/// Commits a directory: compares it with its base, writes what changed as a layer, and a configuration and manifest for base
/// and layer together. The directory is then bound to the new image, so that the next commit or comparison reads only what
/// changed since. Nothing is visible in the store before everything is there; an error leaves it as it was.
///
/// Errors: TREERING_CHANGED when a file changes while it is read; everything reading and writing can meet.
///
/// @param reference the name the image gets; NULL for none.
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_commit_result).
/// @param report receives what was left out; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_commit(
    store: *const treering_store,
    tree: *const u8,
    tree_len: usize,
    reference: *const c_char,
    options: *const treering_commit_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_commit_result,
    out_size: usize,
    report: *mut *mut treering_report,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (tree, reference, options, out, report, err) = unsafe {
        (
            Bytes::new(tree, tree_len),
            Text::new(reference),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(report),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let store = handle::get(store, "store")?;
        let reference = reference.optional("reference")?;
        let made = crate::image::commit(
            &store,
            tree.path("tree")?,
            reference,
            &options.read()?,
            &*running(control)?,
        )?;
        out.write(&(&made).into());
        hand_over(report, Report::skipped(made.skipped));
        Ok(())
    })
}
