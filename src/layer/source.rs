//! A tar stream that any thread can produce from any offset.

use crate::error::Result;

/// The content that a [`TarSource::fill`] call put into its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// Bytes of any value.
    Data,
    /// Only zero bytes (holes of sparse files): the compressor may have the answer already.
    Zero,
}

/// Returns whether there are only zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|&byte| byte == 0)
}

/// A byte stream of known length, every part of which can be produced on its own, in any order and from several threads at
/// once. This is what makes a layer's bytes independent of the number of threads.
pub trait TarSource: Sync {
    /// State that one thread keeps between calls (an open directory, a scratch buffer).
    type Worker: Send;

    /// Returns the length of the whole stream in bytes.
    fn len(&self) -> u64;

    /// Returns whether the stream has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the state of one more thread.
    fn worker(&self) -> Self::Worker;

    /// Fills all of `buf` with the bytes at `offset..offset + buf.len()`. The caller never asks beyond [`len`](Self::len).
    fn fill(&self, worker: &mut Self::Worker, offset: u64, buf: &mut [u8]) -> Result<Filled>;
}
