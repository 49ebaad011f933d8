//! Options of listing a layer.

use super::structures::{Options, cap};
use crate::compress::DecodeLimits;
use crate::error::Result;
use crate::layer::ListOptions;

/// Caps on what a layer that is listed may ask for.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_layer_list_options {
    /// Most bytes that all files of the layer may have when written out, holes included. 0 for 1 TiB; more than 256 GiB of the
    /// layer itself only where this allows it.
    pub max_bytes: u64,
    /// Most entries that the layer may have. 0 for ten million.
    pub max_entries: u64,
    /// How many times larger than its blob the layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
    pub max_ratio: u64,
    /// Most bytes of memory that the list may take: a small layer can hold names and attributes for far more. 0 for 1 GiB.
    pub max_memory: u64,
}

/// Options of a listing, checked.
#[derive(Clone, Default)]
pub struct Listing {
    pub(super) list: ListOptions,
    pub(super) decode: DecodeLimits,
}

// SAFETY: `repr(C)`, of numbers.
unsafe impl Options for treering_layer_list_options {
    type Value = Listing;

    unsafe fn read(&self) -> Result<Listing> {
        let mut options = Listing::default();
        cap(self.max_bytes, |max| {
            options.list.limits.max_bytes = max;
            options.decode.max_output = DecodeLimits::default().max_output.max(max);
        });
        cap(self.max_entries, |max| options.list.limits.max_entries = max);
        cap(self.max_ratio, |max| options.decode.ratio = max);
        cap(self.max_memory, |max| options.list.max_memory = max);
        Ok(options)
    }
}
