//! The tar stream of a blob from some place on, of which nothing is given that was not checked.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::index::LayerIndex;
use super::restart::Resumed;
use super::{Chunk, DecodeLimits};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::layer::read::ChunkStream;

const READ: &str = "read layer";

/// The tar stream of a blob from some place on, in pieces. Each is compared with the states of its index before it is given, and the
/// last one with the DiffID: what a wrong index or a damaged blob leads to is an error.
pub struct Verified {
    resumed: Resumed,
    index: Arc<LayerIndex>,
    diff_id: Digest,
    at: u64,
    /// The last piece; its memory is used again once nothing reads in it.
    last: Option<Chunk>,
}

impl Verified {
    /// Starts at the last place not behind `offset` from which pieces can be checked, and gives its offset in the tar.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where the index says so or decoding fails, and those of reading.
    pub fn open(
        blob: File,
        index: &Arc<LayerIndex>,
        diff_id: Digest,
        offset: u64,
        limits: &DecodeLimits,
    ) -> Result<(Verified, u64)> {
        let begin = index.states.floor(offset);
        let (mut resumed, from) = Resumed::open(blob, &index.restarts, begin, limits)?;
        let before = io::copy(&mut (&mut resumed).take(begin - from), &mut io::sink()).at(READ, "")?;
        if before != begin - from {
            return Err(Error::corrupt(READ, "the layer ends before the place that its index has"));
        }
        let index = Arc::clone(index);
        Ok((Verified { resumed, index, diff_id, at: begin, last: None }, begin))
    }
}

impl ChunkStream for Verified {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let length = self.index.states.length(self.at) as usize;
        if length == 0 {
            return Ok(None);
        }
        let mut chunk = self.last.take().filter(|last| Arc::strong_count(last) == 1).unwrap_or_default();
        let piece = Arc::make_mut(&mut chunk);
        piece.resize(length, 0);
        match self.resumed.read_exact(piece) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Error::corrupt(READ, "the layer is shorter than its index says"));
            }
            read => read.at(READ, "")?,
        }
        if !self.index.states.check(self.at, piece, &self.diff_id) {
            return Err(Error::corrupt(
                READ,
                "the layer is not what its index says, or what its DiffID does",
            ));
        }
        self.at += length as u64;
        self.last = Some(Arc::clone(&chunk));
        Ok(Some(chunk))
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("at", &self.at).finish_non_exhaustive()
    }
}
