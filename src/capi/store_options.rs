//! Options of opening a store.

use super::structures::{Options, cap};
use crate::error::Result;
use crate::store::Limits;

/// Caps on what the content of a store may ask for, TREERING_LIMIT where it asks for more; and what the store keeps to save time.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_store_options {
    /// Most bytes that an index, manifest or configuration may have. 0 for 4 MiB.
    pub max_document_bytes: u64,
    /// How deep arrays and objects may be nested in one of those: 127 at most. 0 for 64.
    pub max_document_depth: usize,
    /// How many indexes may lie inside one another, `index.json` counted. 0 for 4.
    pub max_index_depth: usize,
    /// Most layers that an image may have. 0 for 512.
    pub max_layers: usize,
    /// Most bytes that a blob that is written may have. 0 for no cap.
    pub max_blob_bytes: u64,
    /// Most bytes that records of builds may take with the layers that nothing else needs, before a build lets go of those not
    /// used for longest. 0 for 20 GiB.
    pub max_cache_bytes: u64,
    /// Makes no indexes of layers, which take at most 1% of their blobs and have files read without the layer before them. Those
    /// that are there are used.
    pub no_layer_index: bool,
}

// SAFETY: `repr(C)`, of numbers and bools.
unsafe impl Options for treering_store_options {
    type Value = Limits;

    unsafe fn read(&self) -> Result<Limits> {
        let mut limits = Limits::default();
        cap(self.max_document_bytes, |max| limits.json_bytes = max);
        cap(self.max_document_depth, |max| limits.json_depth = max);
        cap(self.max_index_depth, |max| limits.index_depth = max);
        cap(self.max_layers, |max| limits.layers = max);
        cap(self.max_blob_bytes, |max| limits.blob_bytes = max);
        cap(self.max_cache_bytes, |max| limits.cache_bytes = max);
        limits.layer_indexes = !self.no_layer_index;
        Ok(limits)
    }
}
