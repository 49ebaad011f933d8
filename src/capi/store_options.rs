//! Options of opening a store.

use std::sync::Mutex;

use super::arguments::{Out, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::store::Limits;

/// How much what is in a store may ask for: TREERING_LIMIT where it asks for more. Setters and use are safe from any thread.
pub struct treering_store_options {
    _opaque: (),
}
noun!(treering_store_options, Mutex<Limits>);

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_options_new(
    out: *mut *mut treering_store_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_store_options_free(options: *mut treering_store_options) -> treering_status {
    handle::free(options)
}

/// How many bytes an index, manifest or configuration may have. 4 MiB by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_options_set_max_document_bytes(
    options: *mut treering_store_options,
    max_document_bytes: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.json_bytes = max_document_bytes;
        Ok(())
    })
}

/// How deep arrays and objects may be nested in one of those. 64 by default, 127 at most.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_options_set_max_document_depth(
    options: *mut treering_store_options,
    max_document_depth: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.json_depth = max_document_depth;
        Ok(())
    })
}

/// How many indexes may lie inside one another, `index.json` counted. 4 by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_options_set_max_index_depth(
    options: *mut treering_store_options,
    max_index_depth: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.index_depth = max_index_depth;
        Ok(())
    })
}

/// How many layers an image may have. 512 by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_options_set_max_layers(
    options: *mut treering_store_options,
    max_layers: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.layers = max_layers;
        Ok(())
    })
}

/// How many bytes a blob that is written may have. There is no cap by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_options_set_max_blob_bytes(
    options: *mut treering_store_options,
    max_blob_bytes: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.blob_bytes = max_blob_bytes;
        Ok(())
    })
}
