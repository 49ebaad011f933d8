//! From an image to another one, without a directory.

use std::ffi::c_char;

use super::arguments::{Out, Text};
use super::control::{control_of, running, treering_control};
use super::edit_options::{Editing, treering_edit_options};
use super::error::treering_error;
use super::guard::guard;
use super::handle;
use super::status::{treering_digest, treering_status};
use super::store::treering_store;
use super::stream::{open_input, treering_input};
use super::structures::{Given, Plain, Record};
use crate::error::Result;

/// The result of an edit.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_edit_result {
    /// The digest of the manifest.
    pub manifest: treering_digest,
    /// The image id: the digest of the configuration.
    pub image_id: treering_digest,
    /// How many layers the image has.
    pub layers: u64,
    /// Whether layers were squashed to one.
    pub has_squashed: bool,
    /// The digest of that layer's tar stream; empty without one.
    pub squashed_diff_id: treering_digest,
    /// The digest of that layer's blob; empty without one.
    pub squashed_digest: treering_digest,
    /// The length of that layer's tar stream, in bytes.
    pub squashed_diff_size: u64,
    /// The length of that layer's blob, in bytes.
    pub squashed_size: u64,
}
impl Plain for treering_edit_result {}

/// Makes an image out of another one, without a directory: other layers, another base, another configuration. Layers that stay are not read.
/// The old image stays as it is, and nothing has a name after an error.
///
/// Errors: TREERING_INVALID_ARGUMENT when there are fewer layers than are to go, and when the image is not built on the base that is to be
/// replaced; TREERING_LIMIT for an appended layer beyond the caps.
///
/// @param reference the image, as treering_refs_resolve() finds it.
/// @param name the name of the new image; NULL for none.
/// @param options NULL for the defaults: the image gets a name more.
/// @param control may be NULL.
/// @param out_size sizeof(treering_edit_result).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_edit(
    store: *const treering_store,
    reference: *const c_char,
    name: *const c_char,
    options: *const treering_edit_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_edit_result,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (reference, name, options, out, err) = unsafe {
        (
            Text::new(reference),
            Text::new(name),
            Given::new(options, options_size),
            Record::new(out, out_size),
            Out::new(err),
        )
    };
    guard(err, || {
        let out = out.required("out")?;
        let store = handle::get(store, "store")?;
        let (reference, name) = (reference.required("reference")?, name.optional("name")?);
        let Editing { options, append } = options.read()?;
        let reading = control_of(control)?;
        // SAFETY: the header's contract for callbacks.
        let open = |one: &treering_input| unsafe { open_input(one, "append", &reading) };
        let append = append.iter().map(open).collect::<Result<_>>()?;
        let made = crate::image::edit(&store, reference, name, append, &options, &*running(control)?)?;
        let squashed = made.squashed.as_ref();
        out.write(&treering_edit_result {
            manifest: (&made.manifest).into(),
            image_id: (&made.image_id).into(),
            layers: made.layers as u64,
            has_squashed: squashed.is_some(),
            squashed_diff_id: squashed.map_or(treering_digest::NONE, |layer| (&layer.diff_id).into()),
            squashed_digest: squashed.map_or(treering_digest::NONE, |layer| (&layer.digest).into()),
            squashed_diff_size: squashed.map_or(0, |layer| layer.diff_size),
            squashed_size: squashed.map_or(0, |layer| layer.size),
        });
        Ok(())
    })
}
