//! The store: opening, checking, pruning, usage.

use std::path::Path;

use super::arguments::{Bytes, Out, Text};
use super::bytes::{self, treering_bytes};
use super::control::{running, treering_control};
use super::error::treering_error;
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::prune_options::treering_prune_options;
use super::status::treering_status;
use super::store_options::treering_store_options;
use super::structures::{Given, Plain, Record};
use crate::error::Result;
use crate::image::tidy;
use crate::store::{FsckLevel, Store};

/// An open store: an OCI image layout and what treering keeps beside it. Any number of threads may use it at once, and any
/// number of processes may have the same store open. Images, snapshots and diffs made from it do not need it to stay open.
pub struct treering_store {
    _opaque: (),
}
noun!(treering_store, Store);

/// The result of a check of a store.
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

/// The result of a prune: what it removed, or would remove.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_prune_result {
    /// Untagged images that lost their entry.
    pub images: u64,
    /// Blobs that went.
    pub blobs: u64,
    /// DiffIDs that lost their relations, and ChainIDs that lost their entry list.
    pub layers: u64,
    /// Files that dead writers had left.
    pub leftovers: u64,
    /// The bytes all of it took on disk.
    pub bytes: u64,
    /// Names that were taken away.
    pub untagged: u64,
    /// Trees that were forgotten.
    pub forgotten: u64,
    /// Records of build steps that went.
    pub records: u64,
}
impl Plain for treering_prune_result {}

/// Opens the store at a path, creating whatever is missing; the directory gets mode 0700.
///
/// Errors: TREERING_INVALID_ARGUMENT when the directory holds something else, TREERING_PERMISSION_DENIED when it is readable
/// by others and belongs to another user.
///
/// @param options NULL for the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_open(
    path: *const u8,
    path_len: usize,
    options: *const treering_store_options,
    options_size: usize,
    out: *mut *mut treering_store,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, options, out, err) = unsafe {
        (Bytes::new(path, path_len), Given::new(options, options_size), Out::new(out), Out::new(err))
    };
    give(err, out, || Store::open_with(path.path("path")?, options.read()?))
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

/// Returns the root directory of a store, as an absolute path; lives as long as the store. NULL when `store` is no store.
///
/// @param len receives the number of bytes; may be NULL. No NUL stands behind them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_path(store: *const treering_store, len: *mut usize) -> *const u8 {
    // SAFETY: the header's contract for pointers.
    path_of(store, unsafe { Out::new(len) }, Store::root_path)
}

/// Returns the OCI image layout of a store, as an absolute path; lives as long as the store. NULL when `store` is no store.
/// Other tools read it as it is and must not write to it, since they take none of the store's locks.
///
/// @param len receives the number of bytes; may be NULL. No NUL stands behind them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_layout(store: *const treering_store, len: *mut usize) -> *const u8 {
    // SAFETY: the header's contract for pointers.
    path_of(store, unsafe { Out::new(len) }, Store::layout)
}

/// Returns the bytes of a path that a store has, and gives their number to `len`.
fn path_of(store: *const treering_store, len: Out<usize>, path: fn(&Store) -> &Path) -> *const u8 {
    let store = handle::get(store, "store").ok();
    let path = store.as_ref().map(|store| path(store).as_os_str().as_encoded_bytes());
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
        let level = level.parse("level")?.unwrap_or(FsckLevel::Bytes);
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

/// Removes what nothing needs: blobs no image and no tree refers to, and temporary files of dead writers. Nothing a live
/// writer needs can go.
///
/// @param options NULL for the defaults.
/// @param control may be NULL.
/// @param out_size sizeof(treering_prune_result).
/// @param json receives what went: `images`, `blobs`, `layers` (lists of digests), `records`, `leftovers`, `bytes`, `untagged` (names),
/// `forgotten` (where trees were); may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_store_prune(
    store: *const treering_store,
    options: *const treering_prune_options,
    options_size: usize,
    control: *const treering_control,
    out: *mut treering_prune_result,
    out_size: usize,
    json: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (options, out, json, err) = unsafe {
        (Given::new(options, options_size), Record::new(out, out_size), Out::new(json), Out::new(err))
    };
    guard(err, || {
        let out = out.required("out")?;
        let store = handle::get(store, "store")?;
        let report = tidy(&store, &options.read()?, &*running(control)?)?;
        document(json, || bytes::json(&report))?;
        let pruned = &report.pruned;
        out.write(&treering_prune_result {
            images: pruned.images.len() as u64,
            blobs: pruned.blobs.len() as u64,
            layers: pruned.layers.len() as u64,
            leftovers: pruned.leftovers,
            bytes: pruned.bytes,
            untagged: report.untagged.len() as u64,
            forgotten: report.forgotten.len() as u64,
            records: pruned.records,
        });
        Ok(())
    })
}

/// Reports what takes the space, as a JSON object: `images` (each `names`, `digest`, `size`, `shared`, `unique`, `layers`),
/// `blobs`, `blob_bytes`, `reclaimable`, `trees`, `layer_bytes` (of which `index_bytes`), `cache_records`, `cache_bytes`,
/// `tmp_bytes`. Sizes are in bytes.
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
