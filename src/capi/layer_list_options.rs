//! Options of listing a layer.

use std::sync::Mutex;

use super::arguments::{Out, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::compress::DecodeLimits;
use crate::layer::ListOptions;

/// How much a layer that is listed may ask for. Setters and use are safe from any thread.
pub struct treering_layer_list_options {
    _opaque: (),
}
noun!(treering_layer_list_options, Mutex<Listing>);

/// How a layer is listed.
#[derive(Clone, Default)]
pub struct Listing {
    pub(super) list: ListOptions,
    pub(super) decode: DecodeLimits,
}

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_list_options_new(
    out: *mut *mut treering_layer_list_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_layer_list_options_free(
    options: *mut treering_layer_list_options,
) -> treering_status {
    handle::free(options)
}

/// How many bytes all files of the layer may have when written out, holes included. 1 TiB by default; beyond 256 GiB of the
/// layer itself only where this says so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_list_options_set_max_bytes(
    options: *mut treering_layer_list_options,
    max_bytes: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.list.limits.max_bytes = max_bytes;
        options.decode.max_output = DecodeLimits::default().max_output.max(max_bytes);
        Ok(())
    })
}

/// How many entries the layer may have. Ten million by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_list_options_set_max_entries(
    options: *mut treering_layer_list_options,
    max_entries: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.list.limits.max_entries = max_entries;
        Ok(())
    })
}

/// How many times larger than its blob the layer may get, beyond 64 MiB and zeros not counted. 1000 by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_list_options_set_max_ratio(
    options: *mut treering_layer_list_options,
    max_ratio: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.decode.ratio = max_ratio;
        Ok(())
    })
}

/// How many bytes of memory the list may take: a small layer can hold names and attributes for far more. 1 GiB by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_list_options_set_max_memory(
    options: *mut treering_layer_list_options,
    max_memory: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.list.max_memory = max_memory;
        Ok(())
    })
}
