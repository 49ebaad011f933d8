//! Caps on what an input can make the program read, nest or keep.

use crate::error::{Error, Result};

/// Caps for documents read from a store, an archive or a registry, and for what the store keeps to save time. The defaults are
/// those of the threat model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest JSON document (index, manifest, configuration), in bytes. Default 4 MiB.
    pub json_bytes: u64,
    /// The deepest nesting of arrays and objects in a JSON document. Default 64, at most 127.
    pub json_depth: usize,
    /// How many indexes may lie inside one another, counting `index.json` as the first. Default 4.
    pub index_depth: usize,
    /// How many layers one image may have. Default 512.
    pub layers: usize,
    /// The largest blob a writer accepts, in bytes. Default: no cap.
    pub blob_bytes: u64,
    /// The cap on records of builds, with the blobs that only these need, in bytes. A build that has ended lets go of those
    /// not used for longest. The trees that its commands ran in have a limit of their own, of as much. Default 20 GiB.
    pub cache_bytes: u64,
    /// Whether an index of each layer is kept beside its blob, with which a file is read without decoding the layer from its start.
    /// It takes at most 1% of the blob ([`Usage::index_bytes`](super::Usage::index_bytes) has the sum). Without it none is made;
    /// those that are there are used. Default: yes.
    pub layer_indexes: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            json_bytes: 4 << 20,
            json_depth: 64,
            index_depth: 4,
            layers: 512,
            blob_bytes: u64::MAX,
            cache_bytes: 20 << 30,
            layer_indexes: true,
        }
    }
}

impl Limits {
    /// Refuses a document of `size` bytes when it is over [`Limits::json_bytes`].
    pub(crate) fn check_json(
        &self,
        operation: &'static str,
        name: impl AsRef<[u8]>,
        size: u64,
    ) -> Result<()> {
        if size > self.json_bytes {
            let message = format!("the document has {size} bytes, more than the cap of {}", self.json_bytes);
            return Err(Error::limit(operation, message).with_path(name));
        }
        Ok(())
    }
}
