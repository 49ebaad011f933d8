//! Reading single entries out of a blob, by their places.

use std::fs::File;
use std::sync::Arc;

use super::index::LayerIndex;
use super::{DecodeLimits, Verified};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::EntryKind;
use crate::layer::read::{LayerReader, ReadLimits};

/// A reader of entries of one blob. Entries that are asked for in the order of the tar are reached in one pass, in which each
/// piece is decoded once, and pieces that nothing is asked of are not decoded.
pub struct EntryReader<'a> {
    open: &'a dyn Fn() -> Result<File>,
    index: &'a Arc<LayerIndex>,
    diff_id: Digest,
    limits: &'a DecodeLimits,
    /// The layer from some point on, and the offset of that.
    reader: Option<(LayerReader<Verified>, u64)>,
}

impl<'a> EntryReader<'a> {
    /// Returns a reader of the blob that `open` opens, in which there is a tar with this DiffID.
    pub fn new(
        open: &'a dyn Fn() -> Result<File>,
        index: &'a Arc<LayerIndex>,
        diff_id: Digest,
        limits: &'a DecodeLimits,
    ) -> Self {
        EntryReader { open, index, diff_id, limits, reader: None }
    }

    /// Returns the content of the file with its entry at `offset` of the tar, and its size: what is read next from the
    /// reader, and was checked.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when there is no such entry, or what is there is not the tar's. The index may
    /// be wrong, or the blob.
    pub fn file_at(&mut self, offset: u64) -> Result<(&mut LayerReader<Verified>, u64)> {
        let start = self.index.restarts.start(offset).min(self.index.states.floor(offset));
        let ready = self.reader.take().filter(|(reader, begin)| {
            let at = begin + reader.offset();
            at <= offset && at >= start && !reader.is_over()
        });
        let (mut reader, begin) = match ready {
            Some(ready) => ready,
            None => {
                let blob = (self.open)()?;
                let (verified, begin) = Verified::open(blob, self.index, self.diff_id, offset, self.limits)?;
                let limits = ReadLimits { max_bytes: u64::MAX, ..ReadLimits::default() };
                (LayerReader::new(verified, limits), begin)
            }
        };
        reader.skip_to(offset - begin)?;
        let entry = reader.next_entry()?;
        match entry.filter(|entry| entry.kind == EntryKind::File) {
            Some(entry) => Ok((&mut self.reader.insert((reader, begin)).0, entry.size)),
            None => Err(Error::corrupt("read layer", "there is no file at the place the list has")),
        }
    }
}
