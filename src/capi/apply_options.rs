//! Options of applying layers.

use std::ffi::c_char;
use std::sync::Mutex;

use super::arguments::{Out, Text, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::compress::DecodeLimits;
use crate::image::UnpackOptions;
use crate::layer::whiteout::Strictness;

/// How layers are put into a directory, by treering_unpack() and treering_layer_apply_fd(). Setters and use are safe from
/// any thread.
pub struct treering_apply_options {
    _opaque: (),
}
noun!(treering_apply_options, Mutex<UnpackOptions>);

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_new(
    out: *mut *mut treering_apply_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_apply_options_free(options: *mut treering_apply_options) -> treering_status {
    handle::free(options)
}

/// How many threads create files; 0, the default, for one per processor; at most four either way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_set_threads(
    options: *mut treering_apply_options,
    threads: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.apply.threads = threads;
        Ok(())
    })
}

/// Make it an error, TREERING_LOSS, when an attribute can be kept neither on disk nor in the ledger. Off by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_set_deny_loss(
    options: *mut treering_apply_options,
    deny_loss: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.apply.deny_loss = deny_loss;
        Ok(())
    })
}

/// Also write owners into an extended attribute that other tools read.
///
/// @param attribute `rootlesscontainers` for `user.rootlesscontainers` (PRoot, umoci) or `override-stat` for
/// `user.containers.override_stat` (fuse-overlayfs, containers/storage); NULL, the default, for none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_set_owner_xattr(
    options: *mut treering_apply_options,
    attribute: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (attribute, err) = unsafe { (Text::new(attribute), Out::new(err)) };
    set(err, options, |options| {
        options.apply.owner_xattr = attribute.optional("attribute")?.map(str::parse).transpose()?;
        Ok(())
    })
}

/// Take whiteouts as containerd does, which the specification forbids and old tools wrote. Off by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_set_lenient(
    options: *mut treering_apply_options,
    lenient: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.apply.strictness = if lenient { Strictness::Lenient } else { Strictness::Strict };
        Ok(())
    })
}

/// How many bytes all files of one layer may have when written out, holes included. 1 TiB by default; beyond 256 GiB of a
/// layer itself only where this says so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_set_max_bytes(
    options: *mut treering_apply_options,
    max_bytes: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.apply.limits.max_bytes = max_bytes;
        options.decode.max_output = DecodeLimits::default().max_output.max(max_bytes);
        Ok(())
    })
}

/// How many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted. 1000 by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_set_max_ratio(
    options: *mut treering_apply_options,
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

/// How many entries one layer may have. Ten million by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_set_max_entries(
    options: *mut treering_apply_options,
    max_entries: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.apply.limits.max_entries = max_entries;
        Ok(())
    })
}

/// Make everything durable before treering_unpack() returns: the files (syncfs(2)), and then the name of the directory. Off
/// by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_set_sync(
    options: *mut treering_apply_options,
    sync: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.sync = sync;
        Ok(())
    })
}

/// Which platform of a multi-platform image treering_unpack() takes. This machine's by default.
///
/// @param platform `os/arch[/variant]`; NULL for the default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_apply_options_set_platform(
    options: *mut treering_apply_options,
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
