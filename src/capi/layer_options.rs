//! Options of writing a layer.

use std::ffi::c_char;
use std::sync::Mutex;

use super::arguments::{Out, Text, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::compress::Profile;
use crate::layer::{LayerOptions, MtimePrecision};

/// How a layer is written. Setters and use are safe from any thread.
pub struct treering_layer_options {
    _opaque: (),
}
noun!(treering_layer_options, Mutex<Writing>);

/// How a layer is written.
#[derive(Clone, Default)]
pub struct Writing {
    pub(super) profile: Profile,
    pub(super) layer: LayerOptions,
    pub(super) threads: usize,
}

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_options_new(
    out: *mut *mut treering_layer_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_layer_options_free(options: *mut treering_layer_options) -> treering_status {
    handle::free(options)
}

/// How the layer is compressed.
///
/// @param compression `none`, `gzip` or `zstd`; NULL for `gzip`, the default.
/// @param level 1 to 12 for gzip, 1 to 19 for zstd; 0 for the default one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_options_set_compression(
    options: *mut treering_layer_options,
    compression: *const c_char,
    level: i32,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (compression, err) = unsafe { (Text::new(compression), Out::new(err)) };
    set(err, options, |options| {
        let compression = compression.optional("compression")?.unwrap_or("gzip").parse()?;
        options.profile = Profile::new(compression, (level != 0).then_some(level))?;
        Ok(())
    })
}

/// Write time stamps with nanoseconds. Off by default: whole seconds, as most tools write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_options_set_nanoseconds(
    options: *mut treering_layer_options,
    nanoseconds: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.layer.precision =
            if nanoseconds { MtimePrecision::Nanoseconds } else { MtimePrecision::Seconds };
        Ok(())
    })
}

/// No time stamp in the layer is later than this, as SOURCE_DATE_EPOCH gives it. No limit by default.
///
/// @param seconds since 1970.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_options_set_clamp_mtime(
    options: *mut treering_layer_options,
    seconds: i64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.layer.clamp_mtime = Some(seconds);
        Ok(())
    })
}

/// How many threads to use; 0, the default, for one per processor. The result does not depend on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_layer_options_set_threads(
    options: *mut treering_layer_options,
    threads: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.threads = threads;
        Ok(())
    })
}
