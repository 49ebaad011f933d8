//! Reading single entries out of a blob, by their places.

use std::fs::File;

use super::DecodeLimits;
use super::restart::{Restarts, Resumed};
use crate::error::{Error, Result};
use crate::layer::EntryKind;
use crate::layer::read::{LayerReader, ReadChunks, ReadLimits};

/// How much is decoded at once.
const CHUNK: usize = 256 << 10;

/// A reader of entries of one blob. Entries that are asked for in the order of the tar are reached in one pass, in which each
/// piece is decoded once, and pieces that nothing is asked of are not decoded.
pub struct EntryReader<'a> {
    open: &'a dyn Fn() -> Result<File>,
    restarts: &'a Restarts,
    limits: &'a DecodeLimits,
    /// The layer from some point on, and the offset of that.
    reader: Option<(LayerReader<ReadChunks<Resumed>>, u64)>,
}

impl<'a> EntryReader<'a> {
    /// A reader of the blob that `open` opens.
    pub fn new(open: &'a dyn Fn() -> Result<File>, restarts: &'a Restarts, limits: &'a DecodeLimits) -> Self {
        EntryReader { open, restarts, limits, reader: None }
    }

    /// The content of the file whose entry begins at `offset` of the tar, and its size: what is read next from the reader.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when there is no such entry. The index may be wrong, or the blob.
    pub fn file_at(&mut self, offset: u64) -> Result<(&mut LayerReader<ReadChunks<Resumed>>, u64)> {
        let start = self.restarts.start(offset);
        let ready = self.reader.take().filter(|(reader, begin)| {
            let at = begin + reader.offset();
            at <= offset && at >= start && !reader.is_over()
        });
        let (mut reader, begin) = match ready {
            Some(ready) => ready,
            None => {
                let (resumed, begin) = Resumed::open((self.open)()?, self.restarts, offset, self.limits)?;
                let limits = ReadLimits { max_bytes: u64::MAX, ..ReadLimits::default() };
                (LayerReader::new(ReadChunks::with_size(resumed, CHUNK), limits), begin)
            }
        };
        reader.skip_to(offset - begin)?;
        let entry = reader.next_entry()?;
        match entry.filter(|entry| entry.kind == EntryKind::File) {
            Some(entry) => Ok((&mut self.reader.insert((reader, begin)).0, entry.size)),
            None => Err(Error::corrupt("read layer", "there is no file at the place the index has")),
        }
    }
}
