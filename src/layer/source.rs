//! A tar stream that any thread can produce from any offset.

use crate::error::Result;

/// What a [`TarSource::fill`] call put into its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// Bytes of any value.
    Data,
    /// Only zero bytes (holes of sparse files): the compressor may know the answer already.
    Zero,
}

/// A byte stream whose length is known and whose every part can be produced on its own, in any order and from
/// several threads at once. This is what makes a layer's bytes independent of the number of threads.
pub trait TarSource: Sync {
    /// What one thread keeps between calls (an open directory, a scratch buffer).
    type Worker: Send;

    /// The length of the whole stream in bytes.
    fn len(&self) -> u64;

    /// Whether the stream has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// State for one more thread.
    fn worker(&self) -> Self::Worker;

    /// Fills all of `buf` with the bytes at `offset..offset + buf.len()`. The caller never asks beyond [`len`](Self::len).
    fn fill(&self, worker: &mut Self::Worker, offset: u64, buf: &mut [u8]) -> Result<Filled>;
}
