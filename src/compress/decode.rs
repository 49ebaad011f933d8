//! Reading a layer: any compression in, tar bytes and both digests out.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::Compression;
use super::engine::{Engine, Tools};
use super::restart::{Restarts, Shared};
use super::split::Splitter;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Control;
use crate::threads;

/// A piece of the tar stream: at most 8 MiB (a zstd frame of ours), usually 1 MiB. Cheap to clone, so several threads
/// can write from it.
pub type Chunk = Arc<Vec<u8>>;

/// What an input may ask for at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeLimits {
    /// How many times larger than the input the output may get, beyond `ratio_floor`. Chunks of nothing but zeros
    /// are not counted: sparse files compress without bound.
    pub ratio: u64,
    /// As long as the output is shorter than this, its ratio does not matter.
    pub ratio_floor: u64,
    /// How long the output may get.
    pub max_output: u64,
    /// The largest window a zstd stream may use, which is memory we would allocate; rounded down to a power of two.
    pub zstd_window: u64,
}

impl Default for DecodeLimits {
    /// A ratio of 1000 beyond 64 MiB, 256 GiB in all, windows of 128 MiB (what `zstd -d` allows).
    fn default() -> Self {
        DecodeLimits { ratio: 1000, ratio_floor: 64 << 20, max_output: 256 << 30, zstd_window: 128 << 20 }
    }
}

impl DecodeLimits {
    /// Refuses what is beyond the limits.
    pub(super) fn check(&self, consumed: u64, produced: u64, zeros: u64) -> Result<()> {
        if produced > self.max_output {
            let message = format!("the layer is longer than {} bytes", self.max_output);
            return Err(Error::limit("decompress layer", message).with_hint(
                "raise the limit on its bytes (max_bytes in the libraries) if you trust this image",
            ));
        }
        let counted = produced - zeros;
        if counted > self.ratio_floor && counted > consumed.saturating_mul(self.ratio) {
            let message = format!("the layer grows to more than {} times its compressed size", self.ratio);
            return Err(Error::limit("decompress layer", message)
                .with_hint("if you trust it, raise the limit (--max-ratio) or decompress it first"));
        }
        Ok(())
    }
}

/// How to decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// How many threads the decoder has of its own, besides the one that takes the chunks; at most 64. With 0 or 1 it has
    /// none and works on the calling thread.
    pub threads: usize,
    /// What the input may ask for.
    pub limits: DecodeLimits,
    /// Whether to take the digest of the input, which is the blob's.
    pub hash_input: bool,
    /// Whether to take the digest of the output, which is the DiffID.
    pub hash_output: bool,
    /// Whether to note where decoding may begin another time, for [`Decoder::finish_noted`]. Costs about 1 % of the time.
    pub restarts: bool,
}

impl Default for DecodeOptions {
    /// One thread for each core (at most 16), default limits, both digests.
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
    /// The defaults, with this many threads where it is not 0; at most 64.
    pub fn with_threads(threads: usize) -> Self {
        let default = Self::default();
        match threads {
            0 => default,
            _ => DecodeOptions { threads: threads::count(threads), ..default },
        }
    }
}

/// What a [`Decoder`] has read, told at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    tools: Option<Tools>,
    compression: Compression,
    options: DecodeOptions,
    /// The chunk that `read` is in, and how much of it was read.
    current: Option<(Chunk, usize)>,
    points: Option<Shared>,
}

impl Decoder {
    /// Starts to decode `input`, of which enough is read here to see how it is compressed.
    pub fn new(input: Box<dyn Read + Send>, options: DecodeOptions, control: Control) -> Result<Self> {
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
        let engine = Arc::new(Engine::new(splitter, hashing, options.limits.clone(), count, control));
        let mut started = Vec::new();
        for _ in 0..count {
            let engine = Arc::clone(&engine);
            // Where the system refuses another thread, those that run do the work, or else the caller.
            match threads::start("treering-read", move || engine.work()) {
                Ok(thread) => started.push(thread),
                Err(_) => break,
            }
        }
        let tools = started.is_empty().then(Tools::default);
        Ok(Decoder { engine, threads: started, tools, compression, options, current: None, points })
    }

    /// How the input is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The next piece of the tar stream; nothing at the end. Never an empty piece.
    ///
    /// Adds to [`Counters::bytes_read`](crate::Counters::bytes_read).
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if let Some((chunk, at)) = self.current.take()
            && at < chunk.len()
        {
            return Ok(Some(if at == 0 { chunk } else { Arc::new(chunk[at..].to_vec()) }));
        }
        self.engine.next(self.tools.as_mut())
    }

    /// As [`finish`](Self::finish), with the points from which decoding may begin another time: none but the start unless
    /// [`DecodeOptions::restarts`] asked for them.
    pub fn finish_noted(self) -> Result<(Decoded, Restarts)> {
        let (points, compression) = (self.points.clone().unwrap_or_default(), self.compression);
        let decoded = self.finish()?;
        Ok((decoded, points.take(compression)))
    }

    /// Reads the rest of the input, and says what all of it was. An error anywhere in the input comes out here at the latest.
    pub fn finish(mut self) -> Result<Decoded> {
        while self.next_chunk()?.is_some() {}
        let totals = self.engine.totals(self.tools.as_mut())?;
        let (size, digest) = totals.splitter.finish();
        let output = totals.hasher.map(|hasher| {
            use sha2::Digest as _;
            Digest::from_bytes(hasher.finalize().into())
        });
        let plain = self.compression == Compression::None;
        Ok(Decoded {
            compression: self.compression,
            digest: if plain { output.filter(|_| self.options.hash_input) } else { digest },
            size,
            diff_id: output.filter(|_| self.options.hash_output),
            diff_size: totals.produced,
        })
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
            self.current = self.engine.next(self.tools.as_mut())?.map(|chunk| (chunk, 0));
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
            // Panics inside were already turned into errors; there is nobody left to tell about others.
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
