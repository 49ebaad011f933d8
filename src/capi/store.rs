//! The store: opening, checking, pruning, usage.

use std::sync::Mutex;
use std::time::Duration;

use super::arguments::{Bytes, Out, Plain, Record, Text, chosen, give, guard, set};
use super::bytes::{self, treering_bytes};
use super::control::{running, treering_control};
use super::error::treering_error;
use super::handle::{self, noun};
use super::status::treering_status;
use super::store_options::treering_store_options;
use crate::error::{Error, Result};
use crate::image::{TidyOptions, tidy};
use crate::store::{FsckLevel, Store};

/// An open store: an OCI image layout and what treering keeps beside it. Any number of threads may use it at once, and any
/// number of processes may have the same store open. Images, snapshots and diffs made from it do not need it to stay open.
pub struct treering_store {
    _opaque: (),
}
noun!(treering_store, Store);

/// What treering_store_prune() shall do. Setters and use are safe from any thread.
pub struct treering_prune_options {
    _opaque: (),
}
noun!(treering_prune_options, Mutex<TidyOptions>);

/// What a check of a store found.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_fsck_result {
    /// How many problems there are; 0 for a sound store.
    pub problems: u64,
    /// How many blobs were looked at.
    pub blobs: u64,
    /// How many bytes were hashed.
    pub bytes: u64,
}
impl Plain for treering_fsck_result {}

/// What a prune removed, or would remove.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_prune_result {
    /// Nameless images whose entry went.
    pub nameless: u64,
    /// Blobs that went.
    pub blobs: u64,
    /// DiffIDs whose relations went, and ChainIDs whose entry list went.
    pub layers: u64,
    /// Files that dead writers had left.
    pub litter: u64,
    /// The bytes all of it took on disk.
    pub bytes: u64,
    /// Names that were taken away.
    pub untagged: u64,
    /// Trees that were forgotten.
    pub forgotten: u64,
}
impl Plain for treering_prune_result {}

/// Opens the store at a path, creating whatever is missing; the directory gets mode 0700.
///
/// Errors: TREERING_INVALID_ARGUMENT when the directory holds something else, TREERING_PERMISSION_DENIED when it is readable
/// by others and belongs to somebody else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_open(
    path: *const u8,
    path_len: usize,
    out: *mut *mut treering_store,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, out, err) = unsafe { (Bytes::new(path, path_len), Out::new(out), Out::new(err)) };
    give(err, out, || Store::open(path.path("path")?))
}

/// treering_store_open() with options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_open_with(
    path: *const u8,
    path_len: usize,
    options: *const treering_store_options,
    out: *mut *mut treering_store,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, out, err) = unsafe { (Bytes::new(path, path_len), Out::new(out), Out::new(err)) };
    give(err, out, || Store::open_with(path.path("path")?, chosen(options)?))
}

/// Opens the user's store: `$TREERING_ROOT`, else `$XDG_DATA_HOME/treering`, else `$HOME/.local/share/treering`. Reads the
/// environment: no other thread may change it meanwhile (setenv(3)).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_open_default(
    out: *mut *mut treering_store,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, Store::open_default)
}

/// Closes a store. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already. A call that is using it on
/// another thread goes on undisturbed.
#[unsafe(no_mangle)]
pub extern "C" fn treering_store_free(store: *mut treering_store) -> treering_status {
    handle::free(store)
}

/// The root directory of a store, as an absolute path; lives as long as the store. NULL when `store` is no store.
///
/// @param len receives the number of bytes; may be NULL. No NUL stands behind them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_path(store: *const treering_store, len: *mut usize) -> *const u8 {
    // SAFETY: the header's contract for pointers.
    let len = unsafe { Out::new(len) };
    let store = handle::get(store, "store").ok();
    let path = store.as_ref().map(|store| store.root_path().as_os_str().as_encoded_bytes());
    if let Some(place) = len.place() {
        place.write(path.map_or(0, <[u8]>::len));
    }
    path.map_or(std::ptr::null(), <[u8]>::as_ptr)
}

/// Checks a store without changing it. What is wrong with the store is no error of this call: look at
/// treering_fsck_result::problems.
///
/// @param level `structure`, `reachability` (and structure) or `bytes` (and both); NULL for `bytes`.
/// @param control may be NULL.
/// @param out_size sizeof(treering_fsck_result).
/// @param json receives the whole report: `problems` (each `kind`, `subject`, `message`), `blobs`, `bytes`; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_fsck(
    store: *const treering_store,
    level: *const std::ffi::c_char,
    control: *const treering_control,
    out: *mut treering_fsck_result,
    out_size: usize,
    json: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (level, out, json, err) =
        unsafe { (Text::new(level), Record::new(out, out_size), Out::new(json), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let level = match level.optional("level")? {
            None | Some("bytes") => FsckLevel::Bytes,
            Some("reachability") => FsckLevel::Reachability,
            Some("structure") => FsckLevel::Structure,
            Some(other) => {
                let message = "expected structure, reachability or bytes";
                return Err(Error::invalid("read level", message).with_path(other));
            }
        };
        let report = handle::get(store, "store")?.fsck(level, &*running(control)?)?;
        document(json, || bytes::json(&report))?;
        out.write(&treering_fsck_result {
            problems: report.problems.len() as u64,
            blobs: report.blobs,
            bytes: report.bytes,
        });
        Ok(())
    })
}

/// Writes a document where one is wanted.
pub(super) fn document(
    out: Out<'_, *mut treering_bytes>,
    make: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<()> {
    if let Some(place) = out.place() {
        place.write(handle::make(make()?));
    }
    Ok(())
}

/// Options with their defaults: not a dry run, nameless images go, 10 seconds of patience.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_prune_options_new(
    out: *mut *mut treering_prune_options,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Mutex::default()))
}

/// Frees options. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_prune_options_free(options: *mut treering_prune_options) -> treering_status {
    handle::free(options)
}

/// Only report what would go.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_prune_options_set_dry_run(
    options: *mut treering_prune_options,
    dry_run: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.prune.dry_run = dry_run;
        Ok(())
    })
}

/// Whether images without a name go too. On by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_prune_options_set_nameless(
    options: *mut treering_prune_options,
    nameless: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.prune.nameless = nameless;
        Ok(())
    })
}

/// Whether the names of images that no tree was made from go first, and with them these images. Off by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_prune_options_set_unused_names(
    options: *mut treering_prune_options,
    unused_names: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.unused_names = unused_names;
        Ok(())
    })
}

/// Whether trees are forgotten that are not where they were unpacked or last committed, with the owners and devices that
/// the disk could not hold. Off by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_prune_options_set_lost_trees(
    options: *mut treering_prune_options,
    lost_trees: bool,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.lost_trees = lost_trees;
        Ok(())
    })
}

/// Keeps a blob and what it refers to, besides everything that is named or that a tree was made from. May be called again
/// for more.
///
/// @param digest `sha256:` and 64 hex digits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_prune_options_add_keep(
    options: *mut treering_prune_options,
    digest: *const std::ffi::c_char,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (digest, err) = unsafe { (Text::new(digest), Out::new(err)) };
    set(err, options, |options| {
        options.prune.keep.push(digest.parse("digest")?);
        Ok(())
    })
}

/// How long to wait for writers to finish before giving up with TREERING_BUSY, in milliseconds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_prune_options_set_wait(
    options: *mut treering_prune_options,
    milliseconds: u64,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let err = unsafe { Out::new(err) };
    set(err, options, |options| {
        options.prune.wait = Duration::from_millis(milliseconds);
        Ok(())
    })
}

/// Removes what nothing needs: blobs no image and no tree refers to, and temporary files of dead writers. Nothing a live
/// writer needs can go.
///
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_prune_result).
/// @param json receives what went: `nameless`, `blobs`, `layers` (lists of digests), `litter`, `bytes`, `untagged` (names),
/// `forgotten` (where trees were); may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_prune(
    store: *const treering_store,
    options: *const treering_prune_options,
    control: *const treering_control,
    out: *mut treering_prune_result,
    out_size: usize,
    json: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, json, err) = unsafe { (Record::new(out, out_size), Out::new(json), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let store = handle::get(store, "store")?;
        let report = tidy(&store, &chosen(options)?, &*running(control)?)?;
        document(json, || bytes::json(&report))?;
        let pruned = &report.pruned;
        out.write(&treering_prune_result {
            nameless: pruned.nameless.len() as u64,
            blobs: pruned.blobs.len() as u64,
            layers: pruned.layers.len() as u64,
            litter: pruned.litter,
            bytes: pruned.bytes,
            untagged: report.untagged.len() as u64,
            forgotten: report.forgotten.len() as u64,
        });
        Ok(())
    })
}

/// What takes the space, as a JSON object: `images` (each `names`, `digest`, `size`, `shared`, `unique`, `layers`), `blobs`,
/// `blob_bytes`, `reclaimable`, `trees`, `layer_bytes`, `tmp_bytes`. Sizes are in bytes.
///
/// @param control may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_usage(
    store: *const treering_store,
    control: *const treering_control,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || bytes::json(&handle::get(store, "store")?.usage(&*running(control)?)?))
}
