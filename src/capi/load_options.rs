//! Options of loading an archive.

use std::ffi::c_char;
use std::sync::Mutex;

use super::arguments::{Out, Text, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::archive::LoadOptions;

/// How an archive is loaded. Setters and use are safe from any thread.
pub struct treering_load_options {
    _opaque: (),
}
noun!(treering_load_options, Mutex<LoadOptions>);

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_load_options_new(
    out: *mut *mut treering_load_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_load_options_free(options: *mut treering_load_options) -> treering_status {
    handle::free(options)
}

/// What happens to the names in the archive.
///
/// @param names `keep` (also for NULL), the default: a name that stands for another image in the store is an error; `move`: it
/// is moved, as `docker load` does; `ignore`: images get no names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_load_options_set_names(
    options: *mut treering_load_options,
    names: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (names, err) = unsafe { (Text::new(names), Out::new(err)) };
    set(err, options, |options| {
        options.names = names.optional("names")?.map(str::parse).transpose()?.unwrap_or_default();
        Ok(())
    })
}

/// How many bytes the archive, and each layer in it, may have uncompressed. 1 TiB by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_load_options_set_max_bytes(
    options: *mut treering_load_options,
    max_bytes: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.limits.max_bytes = max_bytes;
        options.decode.max_output = max_bytes;
        Ok(())
    })
}

/// How many entries the archive may have. 100,000 by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_load_options_set_max_entries(
    options: *mut treering_load_options,
    max_entries: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.limits.max_entries = max_entries;
        Ok(())
    })
}
