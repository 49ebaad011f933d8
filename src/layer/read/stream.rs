//! Streams of decompressed chunks, and a cursor over one that gives slices without copying.

use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::layer::header::BLOCK;

/// A stream of chunks of any size, such as a decompressor on another thread gives them.
pub trait ChunkStream {
    /// Returns the next chunk, or `None` at the end. Chunks may be empty.
    fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>>;

    /// Passes over what comes next without giving it, `most` bytes at most. Returns how many bytes it passed over: none, for a stream that
    /// can give only what it has.
    fn skip(&mut self, _most: u64) -> u64 {
        0
    }
}

impl<S: ChunkStream + ?Sized> ChunkStream for &mut S {
    fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
        (**self).next_chunk()
    }

    fn skip(&mut self, most: u64) -> u64 {
        (**self).skip(most)
    }
}

impl<S: ChunkStream + ?Sized> ChunkStream for Box<S> {
    fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
        (**self).next_chunk()
    }

    fn skip(&mut self, most: u64) -> u64 {
        (**self).skip(most)
    }
}

/// Chunks from any reader. A chunk that is free again is filled rather than allocated anew.
#[derive(Debug)]
pub struct ReadChunks<R> {
    reader: R,
    size: usize,
    spare: Option<Arc<Vec<u8>>>,
}

impl<R: Read> ReadChunks<R> {
    /// Returns chunks of 256 KiB.
    pub fn new(reader: R) -> Self {
        Self::with_size(reader, 256 * 1024)
    }

    /// Returns chunks of at most `size` bytes.
    pub fn with_size(reader: R, size: usize) -> Self {
        ReadChunks { reader, size: size.max(1), spare: None }
    }

    /// Returns the reader.
    pub fn into_inner(self) -> R {
        self.reader
    }
}

impl<R: Read> ChunkStream for ReadChunks<R> {
    fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
        let mut chunk = self.spare.take().filter(|spare| Arc::strong_count(spare) == 1).unwrap_or_default();
        // It is held here alone: it is new, or the count was one and only this could have cloned it.
        let buffer = Arc::make_mut(&mut chunk);
        buffer.resize(self.size, 0);
        let read = loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read layer", "", error)),
                Ok(read) => break read,
            }
        };
        if read == 0 {
            return Ok(None);
        }
        buffer.truncate(read);
        self.spare = Some(Arc::clone(&chunk));
        Ok(Some(chunk))
    }
}

/// A part of a chunk of the stream. Cloning it copies no content.
#[derive(Debug, Clone)]
pub struct Slice {
    /// The chunk the bytes are in.
    pub chunk: Arc<Vec<u8>>,
    /// Their place in the chunk.
    pub range: Range<usize>,
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.chunk[self.range.clone()]
    }
}

/// How many zeros may follow the end of an archive. Writers fill up their last record: 10 KiB where nothing else is asked
/// for, and never more than the 16 MiB a tape can have (the length of a SCSI block has 24 bits).
pub(super) const MAX_TAIL: u64 = 16 << 20;

/// The bytes that follow the end of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing to speak of.
    Over,
    /// Bytes other than zeros.
    Content,
    /// Zeros without end.
    Long,
}

/// A position in the stream.
#[derive(Debug)]
pub(super) struct Cursor<S> {
    stream: S,
    chunk: Option<Arc<Vec<u8>>>,
    at: usize,
    /// Bytes before the position, counted from the start of the stream.
    pub(super) offset: u64,
}

impl<S: ChunkStream> Cursor<S> {
    pub(super) fn new(stream: S) -> Self {
        Cursor { stream, chunk: None, at: 0, offset: 0 }
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// Returns the bytes of the current chunk from here on; empty only at the end of the stream.
    fn here(&mut self) -> Result<&[u8]> {
        while self.chunk.as_ref().is_none_or(|chunk| chunk.len() == self.at) {
            // Let go first, so that the source can fill the same chunk again.
            self.chunk = None;
            self.at = 0;
            match self.stream.next_chunk()? {
                Some(chunk) => self.chunk = Some(chunk),
                None => return Ok(&[]),
            }
        }
        Ok(self.chunk.as_ref().map_or(&[], |chunk| &chunk[self.at..]))
    }

    fn advance(&mut self, len: usize) {
        self.at += len;
        self.offset += len as u64;
    }

    /// Fills `buffer` as far as the stream goes and says how far that was.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let here = self.here()?;
            if here.is_empty() {
                break;
            }
            let len = here.len().min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&here[..len]);
            self.advance(len);
            filled += len;
        }
        Ok(filled)
    }

    /// Returns the next block, or how many bytes are left if there is no whole one.
    pub(super) fn block(&mut self) -> Result<std::result::Result<[u8; BLOCK], usize>> {
        let mut block = [0; BLOCK];
        let filled = self.fill(&mut block)?;
        Ok(if filled == BLOCK { Ok(block) } else { Err(filled) })
    }

    /// Returns the next bytes of content, at most `most` of them; `None` at the end of the stream.
    pub(super) fn slice(&mut self, most: u64) -> Result<Option<Slice>> {
        let here = self.here()?.len();
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(here);
        if len == 0 {
            return Ok(None);
        }
        let chunk = self.chunk.as_ref().map(Arc::clone).unwrap_or_default();
        let range = self.at..self.at + len;
        self.advance(len);
        Ok(Some(Slice { chunk, range }))
    }

    /// Passes over `len` bytes; false if the stream ends before.
    pub(super) fn skip(&mut self, mut len: u64) -> Result<bool> {
        while len > 0 {
            if self.chunk.as_ref().is_none_or(|chunk| chunk.len() == self.at) {
                let passed = self.stream.skip(len);
                self.offset += passed;
                len -= passed;
                if len == 0 {
                    break;
                }
            }
            let here = self.here()?.len();
            if here == 0 {
                return Ok(false);
            }
            let step = usize::try_from(len).unwrap_or(usize::MAX).min(here);
            self.advance(step);
            len -= step as u64;
        }
        Ok(true)
    }

    /// Passes over `len` bytes, which must be zero; false if they are not, or not there.
    pub(super) fn skip_zeros(&mut self, len: usize) -> Result<bool> {
        let mut bytes = [0; BLOCK];
        let bytes = &mut bytes[..len];
        Ok(self.fill(bytes)? == len && bytes.iter().all(|&byte| byte == 0))
    }

    /// Reads to the end of the stream, or as far as it is what it may be: with `zeros`, a record's padding.
    pub(super) fn drain(&mut self, zeros: bool) -> Result<Tail> {
        let mut padding = 0;
        loop {
            let here = self.here()?;
            let len = here.len();
            if len == 0 {
                return Ok(Tail::Over);
            }
            if zeros && here.iter().any(|&byte| byte != 0) {
                return Ok(Tail::Content);
            }
            padding += len as u64;
            if zeros && padding > MAX_TAIL {
                return Ok(Tail::Long);
            }
            self.advance(len);
        }
    }
}
