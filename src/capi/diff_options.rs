//! Options of a comparison.

use std::ffi::c_char;
use std::sync::Mutex;

use super::arguments::{Bytes, Out, Text, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use crate::image::DiffOptions;
use crate::tree::OwnerSource;

/// How trees are compared. Setters and use are safe from any thread.
pub struct treering_diff_options {
    _opaque: (),
}
noun!(treering_diff_options, Mutex<DiffOptions>);

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_options_new(
    out: *mut *mut treering_diff_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_diff_options_free(options: *mut treering_diff_options) -> treering_status {
    handle::free(options)
}

/// How many threads to use; 0, the default, for one per processor. The result does not depend on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_options_set_threads(
    options: *mut treering_diff_options,
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

/// Whose the files are.
///
/// @param owner `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`; NULL, the default, for what the tree is known
/// with in the store, else `root`; for treering_diff_overlay(), for those on disk when root compares.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_options_set_owner(
    options: *mut treering_diff_options,
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
pub unsafe extern "C" fn treering_diff_options_set_owner_from(
    options: *mut treering_diff_options,
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

/// How far metadata is trusted.
///
/// @param compare `auto` (the default, also for NULL) trusts device, inode, ctime and the like, and compares the content
/// of everything else whose metadata agrees; `metadata` trusts size and times alone; `content` trusts nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_options_set_compare(
    options: *mut treering_diff_options,
    compare: *const c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (compare, err) = unsafe { (Text::new(compare), Out::new(err)) };
    set(err, options, |options| {
        options.compare = compare.optional("compare")?.map(str::parse).transpose()?.unwrap_or_default();
        Ok(())
    })
}

/// Take times that agree in the second for different when one of them has no fraction. Off by default: layers usually
/// carry whole seconds. treering_diff_trees() always does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_options_set_exact_times(
    options: *mut treering_diff_options,
    exact_times: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.exact_times = exact_times;
        Ok(())
    })
}

/// Which platform of a multi-platform base. This machine's by default.
///
/// @param platform `os/arch[/variant]`; NULL for the default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_options_set_platform(
    options: *mut treering_diff_options,
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

/// Do not look below mount points: a mount point counts as an empty directory. Off by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_diff_options_set_one_file_system(
    options: *mut treering_diff_options,
    one_file_system: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.one_file_system = one_file_system;
        Ok(())
    })
}
