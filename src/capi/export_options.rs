//! Options of an export.

use std::ffi::c_char;
use std::sync::Mutex;

use super::arguments::{Bytes, Out, Text, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::archive::ExportOptions;
use crate::layer::MtimePrecision;
use crate::tree::OwnerSource;

/// How an image or a directory becomes one tar. Setters and use are safe from any thread.
pub struct treering_export_options {
    _opaque: (),
}
noun!(treering_export_options, Mutex<ExportOptions>);

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_export_options_new(
    out: *mut *mut treering_export_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_export_options_free(options: *mut treering_export_options) -> treering_status {
    handle::free(options)
}

/// Which platform of a multi-platform image. This machine's by default.
///
/// @param platform `os/arch[/variant]`; NULL for the default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_export_options_set_platform(
    options: *mut treering_export_options,
    platform: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (platform, err) = unsafe { (Text::new(platform), Out::new(err)) };
    set(err, options, |options| {
        options.platform = platform.optional("platform")?.map(str::parse).transpose()?;
        Ok(())
    })
}

/// Whose the files are.
///
/// @param owner `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`; NULL, the default, for what the tree is known
/// with in the store, else `root`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_export_options_set_owner(
    options: *mut treering_export_options,
    owner: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (owner, err) = unsafe { (Text::new(owner), Out::new(err)) };
    set(err, options, |options| {
        options.owner = owner.optional("owner")?.map(str::parse).transpose()?;
        Ok(())
    })
}

/// Whose record of owners to go by. What it says counts for more than the owner set and what the store knows.
///
/// @param source `none`; `rootlesscontainers` or `override-stat` for the extended attribute `user.rootlesscontainers` or
/// `user.containers.override_stat`, which then is no attribute of the file; `fakeroot:FILE` for what `fakeroot -s FILE`
/// saved, which is read at once. NULL, the default, for what the tree is known with in the store, else `none`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_export_options_set_owner_from(
    options: *mut treering_export_options,
    source: *const u8,
    source_len: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (source, err) = unsafe { (Bytes::new(source, source_len), Out::new(err)) };
    set(err, options, |options| {
        options.owner_from = source.optional_path("source")?.map(OwnerSource::parse).transpose()?;
        Ok(())
    })
}

/// Write time stamps with nanoseconds. Off by default: whole seconds, as most tools write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_export_options_set_nanoseconds(
    options: *mut treering_export_options,
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

/// No time stamp in the tar is later than this, as SOURCE_DATE_EPOCH gives it. No limit by default.
///
/// @param seconds since 1970.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_export_options_set_clamp_mtime(
    options: *mut treering_export_options,
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
pub unsafe extern "C" fn treering_export_options_set_threads(
    options: *mut treering_export_options,
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
