//! Options of a scan.

use std::ffi::c_char;
use std::sync::{Arc, Mutex};

use super::arguments::{Bytes, Out, Text, give, set};
use super::error::treering_error;
use super::handle::{self, noun};
use super::snapshot::{shared, treering_snapshot};
use super::status::treering_status;
use super::store::treering_store;
use crate::store::Store;
use crate::tree::{OwnerPolicy, OwnerSource, Snapshot};

/// How treering_snapshot_scan() works. Setters and use are safe from any thread.
pub struct treering_scan_options {
    _opaque: (),
}
noun!(treering_scan_options, Mutex<Scanning>);

/// Options of a scan.
#[derive(Clone, Default)]
pub struct Scanning {
    pub(super) threads: usize,
    pub(super) owner: Option<OwnerPolicy>,
    pub(super) owner_from: Option<OwnerSource>,
    pub(super) store: Option<Store>,
    pub(super) previous: Option<Arc<Snapshot>>,
    pub(super) one_file_system: bool,
    pub(super) all_xattrs: bool,
}

/// Options with their defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_scan_options_new(
    out: *mut *mut treering_scan_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_scan_options_free(options: *mut treering_scan_options) -> treering_status {
    handle::free(options)
}

/// How many threads to use; 0, the default, for one per processor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_scan_options_set_threads(
    options: *mut treering_scan_options,
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
/// with in the store, else `root`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_scan_options_set_owner(
    options: *mut treering_scan_options,
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
pub unsafe extern "C" fn treering_scan_options_set_owner_from(
    options: *mut treering_scan_options,
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

/// The store that may know what the disk could not hold of this tree (owners, devices, attributes); NULL, the default, for
/// none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_scan_options_set_store(
    options: *mut treering_scan_options,
    store: *const treering_store,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.store = handle::maybe(store, "store")?.map(|store| Store::clone(&store));
        Ok(())
    })
}

/// A snapshot of the same tree from before, taken with the same owner, source and store: what has not changed since is taken from
/// it, unread. NULL, the default, for none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_scan_options_set_previous(
    options: *mut treering_scan_options,
    previous: *const treering_snapshot,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.previous = if previous.is_null() { None } else { Some(shared(previous, "previous")?) };
        Ok(())
    })
}

/// Leave out what is mounted below the root: a mount point stays, as an empty directory. Off by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_scan_options_set_one_file_system(
    options: *mut treering_scan_options,
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

/// Keep extended attributes that no layer carries (SELinux labels, IMA and EVM signatures, overlayfs marks). Off by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_scan_options_set_all_xattrs(
    options: *mut treering_scan_options,
    all_xattrs: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.all_xattrs = all_xattrs;
        Ok(())
    })
}
