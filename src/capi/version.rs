//! Versions, and what this machine can do.

use std::ffi::c_char;

use serde_json::json;

use super::arguments::Out;
use super::bytes::{self, treering_bytes};
use super::error::treering_error;
use super::guard::give;
use super::handle;
use super::status::treering_status;
use super::store::treering_store;
use crate::info::info;

/// The number of the binary interface this header describes. It grows with every change that breaks programs compiled
/// before; before 1.0 that may happen with every minor version of the library.
pub const TREERING_ABI_VERSION: u32 = 2;

/// Returns the number of the binary interface of the library that is loaded. A program compares it with
/// TREERING_ABI_VERSION, which it was compiled with, and does not go on when they differ. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn treering_abi_version() -> u32 {
    TREERING_ABI_VERSION
}

/// Returns the version of the library, `MAJOR.MINOR.PATCH`. Static, never freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn treering_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Reports what this machine can do, found out by trying, and what the store holds, as a JSON object with `version`, `abi`,
/// `platform`, `kernel`, `uid`, `processors`, `abilities` (each with `works` and `remark`) and, with a store, `store`.
///
/// Leaves nothing behind. Any thread.
///
/// @param store a store, to probe its filesystem; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_info(
    store: *const treering_store,
    out: *mut *mut treering_bytes,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let store = handle::maybe(store, "store")?;
        let mut object = info(store.as_deref())?.to_json();
        object.insert("abi".into(), json!(TREERING_ABI_VERSION));
        bytes::json(&object)
    })
}
