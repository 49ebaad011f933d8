//! Reading a layer: any compression in, tar bytes and both digests out.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::Compression;
use super::engine::{Chunk, Engine, Worker};
use super::index::LayerIndex;
use super::limits::DecodeLimits;
use super::restart::Shared;
use super::split::Splitter;
use super::states::{States, TarHasher};
use crate::digest::Digest;
use crate::error::Result;
use crate::progress::{Control, Share};
use crate::threads;

/// Options of decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// How many threads the decoder has of its own, besides the one that takes the chunks; at most 64. With 0 or 1 it has
    /// none and works on the calling thread.
    pub threads: usize,
    /// Caps on what the input may ask for.
    pub limits: DecodeLimits,
    /// Whether to take the digest of the input, which is the blob's.
    pub hash_input: bool,
    /// Whether to take the digest of the output, which is the DiffID.
    pub hash_output: bool,
    /// Whether to note where decoding may begin another time, for [`Decoder::finish_noted`]. The digest of the output is taken for it
    /// in any case; the rest costs about 1 % of the time.
    pub restarts: bool,
}

impl Default for DecodeOptions {
    /// Returns one thread for each core (at most 16), default limits, both digests.
    fn default() -> Self {
        DecodeOptions {
            threads: threads::processors().min(16),
            limits: DecodeLimits::default(),
            hash_input: true,
            hash_output: true,
            restarts: false,
        }
    }
}

impl DecodeOptions {
    /// Returns the defaults, with this many threads where it is not 0; at most 64.
    pub fn with_threads(threads: usize) -> Self {
        let default = Self::default();
        match threads {
            0 => default,
            _ => DecodeOptions { threads: threads::count(threads), ..default },
        }
    }
}

/// Digests and sizes of what a [`Decoder`] has read, complete at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decoded {
    /// How the input was compressed.
    pub compression: Compression,
    /// The digest of all of the input, if [`DecodeOptions::hash_input`] asked for it.
    pub digest: Option<Digest>,
    /// The length of all of the input.
    pub size: u64,
    /// The digest of all of the output, if [`DecodeOptions::hash_output`] asked for it.
    pub diff_id: Option<Digest>,
    /// The length of all of the output.
    pub diff_size: u64,
}

/// Decodes a layer of any supported compression, on several threads, with both digests taken on the way.
///
/// Takes gzip files of any number of members (zeros behind the last one are allowed, anything else is not), zstd files of
/// any number of frames (skippable ones are skipped, dictionaries are refused), and plain data. What
/// [`write`](super::write()) made is decoded in parallel.
///
/// Nothing here trusts the data, but digests are for the caller to compare, after [`finish`](Self::finish).
///
/// Dropping it waits for a read of the input that is under way. Of a descriptor that may have nothing to give, make an
/// [`Input`](crate::fs::input::Input), which gives up when the operation is cancelled.
///
/// ```
/// use std::io::Read;
/// use treering::compress::{Compression, DecodeOptions, Decoder};
/// let mut decoder = Decoder::new(Box::new(&b"plain bytes"[..]), DecodeOptions::default(), Default::default())?;
/// let mut text = String::new();
/// decoder.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "plain bytes");
/// let decoded = decoder.finish()?;
/// assert_eq!((decoded.compression, decoded.size), (Compression::None, 11));
/// # Ok::<(), treering::Error>(())
/// ```
pub struct Decoder {
    engine: Arc<Engine>,
    threads: Vec<JoinHandle<()>>,
    /// For work on the calling thread, when there are no others.
    worker: Option<Worker>,
    compression: Compression,
    options: DecodeOptions,
    /// The chunk that `read` is in, and how much of it was read.
    current: Option<(Chunk, usize)>,
    points: Option<Shared>,
}

impl Decoder {
    /// Starts to decode `input`, of which enough is read here to see how it is compressed. What is read of it is added to
    /// [`Counters::bytes_read`](crate::Counters::bytes_read).
    pub fn new(input: Box<dyn Read + Send>, options: DecodeOptions, control: Control) -> Result<Self> {
        let share = Share::of_stream(&control);
        Decoder::counting(input, options, control, share)
    }

    /// Does what [`Decoder::new`] does for an input that is part of what was announced.
    pub(crate) fn counting(
        input: Box<dyn Read + Send>,
        options: DecodeOptions,
        control: Control,
        share: Share,
    ) -> Result<Self> {
        let input = Box::new(share.reader(input));
        let mut splitter = Splitter::new(input, control.clone())?;
        let compression = splitter.compression();
        // Uncompressed, both digests are the same, and only one is taken: that of the output, on another thread.
        let plain = compression == Compression::None;
        if options.hash_input && !plain {
            splitter.hash();
        }
        let points = options.restarts.then(Shared::default);
        if let Some(points) = points.clone() {
            splitter.collect(points);
        }
        let hashing = options.hash_output || plain && options.hash_input;
        let count = if options.threads > 1 { threads::count(options.threads) } else { 0 };
        let hasher = match options.restarts {
            true => Some(TarHasher::noting()),
            false => hashing.then(TarHasher::new),
        };
        let engine = Arc::new(Engine::new(splitter, hasher, options.limits.clone(), count, control));
        let mut started = Vec::new();
        for _ in 0..count {
            let engine = Arc::clone(&engine);
            // Where the system refuses another thread, those that run do the work, or else the caller.
            match threads::start("treering-read", move || engine.work()) {
                Ok(thread) => started.push(thread),
                Err(_) => break,
            }
        }
        let worker = started.is_empty().then(Worker::default);
        Ok(Decoder { engine, threads: started, worker, compression, options, current: None, points })
    }

    /// Returns how the input is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns the next piece of the tar stream, which is never empty; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if let Some((chunk, at)) = self.current.take()
            && at < chunk.len()
        {
            return Ok(Some(if at == 0 { chunk } else { Arc::new(chunk[at..].to_vec()) }));
        }
        self.engine.next(self.worker.as_mut())
    }

    /// Does what [`finish`](Self::finish) does, and gives the index if [`DecodeOptions::restarts`] asked for it: with it
    /// decoding may begin at other places another time.
    pub fn finish_noted(self) -> Result<(Decoded, Option<LayerIndex>)> {
        let (points, compression) = (self.points.clone(), self.compression);
        let (decoded, states) = self.end()?;
        let index = points.zip(states).map(|(points, states)| {
            let restarts = points.take(compression);
            LayerIndex { size: decoded.size, restarts, states }
        });
        Ok((decoded, index))
    }

    /// Reads the rest of the input, and returns digests and sizes of all of it. An error anywhere in the input comes out here at the
    /// latest.
    pub fn finish(self) -> Result<Decoded> {
        Ok(self.end()?.0)
    }

    fn end(mut self) -> Result<(Decoded, Option<States>)> {
        while self.next_chunk()?.is_some() {}
        let totals = self.engine.totals(self.worker.as_mut())?;
        let (size, digest) = totals.splitter.finish();
        let (output, states) = totals.hasher.map(TarHasher::finish).unzip();
        let plain = self.compression == Compression::None;
        let decoded = Decoded {
            compression: self.compression,
            digest: if plain { output.filter(|_| self.options.hash_input) } else { digest },
            size,
            diff_id: output.filter(|_| self.options.hash_output),
            diff_size: totals.produced,
        };
        Ok((decoded, states.flatten()))
    }
}

impl Read for Decoder {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.current.as_ref().is_none_or(|(chunk, at)| *at == chunk.len()) {
            // Let go of the old one first, so that its memory can be used for the new one.
            self.current = None;
            self.current = self.engine.next(self.worker.as_mut())?.map(|chunk| (chunk, 0));
        }
        let Some((chunk, at)) = &mut self.current else { return Ok(0) };
        let count = buf.len().min(chunk.len() - *at);
        buf[..count].copy_from_slice(&chunk[*at..*at + count]);
        *at += count;
        Ok(count)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.engine.stop();
        for thread in self.threads.drain(..) {
            // Panics inside were already turned into errors; a drop reports no others.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("compression", &self.compression)
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
