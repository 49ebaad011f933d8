//! Bytes that the library made: JSON documents.

use std::sync::Arc;

use super::handle::{self, noun};
use super::status::treering_status;
use crate::error::Result;

/// Bytes made by the library, such as a JSON document; a NUL stands behind them. Owned by the caller, freed with
/// treering_bytes_free(). Never changes, so any number of threads may read it at once.
pub struct treering_bytes {
    _opaque: (),
}
noun!(treering_bytes, Vec<u8>);

/// Takes bytes over.
pub(super) fn owned(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(0);
    bytes
}

/// Returns a JSON document.
pub(super) fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    crate::store::json_to_bytes(value).map(owned)
}

fn get(bytes: *const treering_bytes) -> Option<Arc<Vec<u8>>> {
    handle::get(bytes, "bytes").ok()
}

/// Frees bytes. NULL is fine. TREERING_INVALID_ARGUMENT when they are none, or were freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_bytes_free(bytes: *mut treering_bytes) -> treering_status {
    handle::free(bytes)
}

/// Returns the first byte; lives as long as `bytes`. NULL when `bytes` is no such object.
#[unsafe(no_mangle)]
pub extern "C" fn treering_bytes_data(bytes: *const treering_bytes) -> *const u8 {
    get(bytes).map_or(std::ptr::null(), |bytes| bytes.as_ptr())
}

/// Returns how many bytes there are, the NUL behind them not counted; 0 when `bytes` is no such object.
#[unsafe(no_mangle)]
pub extern "C" fn treering_bytes_len(bytes: *const treering_bytes) -> usize {
    get(bytes).map_or(0, |bytes| bytes.len() - 1)
}
