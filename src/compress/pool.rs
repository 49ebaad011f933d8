//! Writing a layer: one pool of threads that fills, hashes, compresses and writes pieces of the tar stream.
//!
//! There is no thread per stage. Every thread takes the task that is furthest downstream: write the next piece,
//! else hash the next piece, else compress the oldest filled piece, else fill a new one. So memory is freed as
//! early as possible, two cores are as busy as sixty-four, and one thread alone needs no special case. Writing
//! and hashing happen strictly in order; nothing about the result depends on scheduling.

use std::collections::VecDeque;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use sha2::{Digest as _, Sha256};

use super::Compression;
use super::index::LayerIndex;
use super::profile::{Encoder, Profile};
use super::restart::Shared;
use super::states::TarHasher;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::source::{Filled, TarSource};
use crate::progress::{Control, Counters, Share};
use crate::threads;

/// A layer that was written: its two digests and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// The digest of the tar stream, which the image config lists as `diff_id`.
    pub diff_id: Digest,
    /// The length of the tar stream.
    pub diff_size: u64,
    /// The digest of the blob, which the manifest's descriptor names.
    pub digest: Digest,
    /// The length of the blob.
    pub size: u64,
}

/// Compresses the tar stream of `source` into `out` and takes both digests, all in one pass.
///
/// `threads` threads work in all, the calling one included; the bytes written are the same for any number.
/// At most `threads + 2` pieces of 8 MiB (zstd) or `2 * threads + 4` of 1 MiB are in memory at once. `out` gets whole
/// pieces in order, from changing threads, and is not flushed.
///
/// The first error in stream order comes back, whichever thread met it; then `out` holds a useless prefix.
pub fn write<S: TarSource>(
    source: &S,
    profile: &Profile,
    threads: usize,
    out: &mut (dyn Write + Send),
    control: &Control,
) -> Result<Written> {
    write_noted(source, profile, threads, out, control).map(|(written, _)| written)
}

/// Does what [`write`] does, and gives the points where decoding may begin.
pub(crate) fn write_noted<S: TarSource>(
    source: &S,
    profile: &Profile,
    threads: usize,
    out: &mut (dyn Write + Send),
    control: &Control,
) -> Result<(Written, LayerIndex)> {
    let size = source.len();
    let chunk = profile.chunk_size() as u64;
    // An empty stream still becomes one piece, since zero bytes are neither a gzip file nor a zstd frame.
    let chunks = match profile.compression() {
        Compression::None => size.div_ceil(chunk),
        _ => size.div_ceil(chunk).max(1),
    };
    let threads = threads.clamp(1, usize::try_from(chunks).unwrap_or(usize::MAX).clamp(1, threads::MOST));
    let pool = Pool {
        source,
        profile,
        control,
        share: Share::new(control, size),
        size,
        chunks,
        window: in_flight(threads, profile.chunk_size()),
        zero: OnceLock::new(),
        state: Mutex::new(State {
            pieces: VecDeque::new(),
            written: 0,
            hashed: 0,
            filled: 0,
            sink: Some(Sink { out, hasher: Sha256::new(), size: 0 }),
            hasher: Some(TarHasher::noting()),
            raw: Vec::new(),
            packed: Vec::new(),
            failure: None,
        }),
        wake: Condvar::new(),
        points: Shared::default(),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system refuses another thread, those that run do the work.
            if threads::spawn(scope, "treering-write", || pool.work()).is_err() {
                break;
            }
        }
        pool.work();
    });
    pool.finish()
}

/// Returns how many pieces may be in memory: enough that no thread waits for a slower one, and few of the large ones.
fn in_flight(threads: usize, chunk: usize) -> usize {
    if chunk > 1 << 20 { threads + 2 } else { 2 * threads + 4 }
}

/// State that the threads share.
struct Pool<'a, S> {
    source: &'a S,
    profile: &'a Profile,
    control: &'a Control,
    share: Share,
    size: u64,
    chunks: u64,
    window: usize,
    /// The compressed form of a full piece of zeros, once one has been met.
    zero: OnceLock<Arc<Vec<u8>>>,
    state: Mutex<State<'a>>,
    wake: Condvar,
    /// Points where decoding may begin: every piece stands alone.
    points: Shared,
}

/// Shared state: pieces done and in flight, and the right to do what must happen in order.
struct State<'a> {
    /// The pieces in flight; the first one has the index `written`, unless it is only waiting for its hash.
    pieces: VecDeque<Piece>,
    /// How many pieces have left `pieces`.
    written: u64,
    /// How many pieces the DiffID covers.
    hashed: u64,
    /// How many pieces have been handed out to be filled.
    filled: u64,
    /// The output; absent while a thread writes.
    sink: Option<Sink<'a>>,
    /// The DiffID so far; absent while a thread hashes.
    hasher: Option<TarHasher>,
    /// Buffers to use again, the one that was used last first: it is still in the cache.
    raw: Vec<Vec<u8>>,
    packed: Vec<Vec<u8>>,
    /// The error that is earliest in the stream so far.
    failure: Option<(u64, Error)>,
}

/// A piece of the stream on its way.
struct Piece {
    /// Its tar bytes, from when they are filled until they are hashed and compressed.
    raw: Option<Arc<Vec<u8>>>,
    zero: bool,
    packed: Packed,
}

/// The compressed form of a piece.
enum Packed {
    /// The piece is not filled.
    Absent,
    /// The piece is filled and not being compressed.
    Wanted,
    /// A thread compresses it.
    Busy,
    /// Ready to be written.
    Ready(Arc<Vec<u8>>),
    /// A thread writes it, or it is written.
    Gone,
    /// Written, and only its hash is missing.
    Written,
}

/// The sink of the compressed bytes.
struct Sink<'a> {
    out: &'a mut (dyn Write + Send),
    hasher: Sha256,
    size: u64,
}

/// A task, with what it needs taken out of the state.
enum Task<'a> {
    Write(Sink<'a>, u64, Arc<Vec<u8>>),
    Hash(TarHasher, u64, Arc<Vec<u8>>),
    Compress(u64, Arc<Vec<u8>>, bool, Vec<u8>),
    Fill(u64, Vec<u8>),
}

impl Task<'_> {
    /// Returns the piece this is about.
    fn index(&self) -> u64 {
        match self {
            Task::Write(_, index, _)
            | Task::Hash(_, index, _)
            | Task::Compress(index, ..)
            | Task::Fill(index, _) => *index,
        }
    }
}

/// The result of a task, to be put back into the state.
enum Outcome<'a> {
    Written(Sink<'a>, u64, Option<Vec<u8>>),
    Hashed(TarHasher, u64),
    Compressed(u64, Arc<Vec<u8>>),
    Filled(u64, Arc<Vec<u8>>, bool),
}

/// Buffers of one thread.
struct Worker<W> {
    source: Option<W>,
    encoder: Option<Encoder>,
}

impl<'a, S: TarSource> Pool<'a, S> {
    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        // Nothing that can panic runs under the lock, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes tasks until all are done or one has failed.
    fn work(&self) {
        let mut worker = Worker { source: None, encoder: None };
        while let Some(task) = self.next() {
            let index = task.index();
            // A panic in a source must not leave the other threads waiting for a piece that never comes.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                self.control.check("write layer")?;
                self.run(task, &mut worker)
            }))
            .unwrap_or_else(|panic| Err(Error::defect("write layer", &*panic)));
            let mut state = self.lock();
            match outcome {
                Ok(outcome) => state.put_back(outcome, self.profile.compression()),
                Err(error) => state.fail(index, error),
            }
            drop(state);
            self.wake.notify_all();
        }
    }

    /// Waits for the most urgent task; `None` when there will be none.
    fn next(&self) -> Option<Task<'a>> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() || state.written == self.chunks {
                return None;
            }
            if let Some(task) = state.pick(self) {
                return Some(task);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the length of a piece's tar bytes.
    fn length(&self, index: u64) -> usize {
        let chunk = self.profile.chunk_size() as u64;
        (self.size - index * chunk).min(chunk) as usize
    }

    fn run(&self, task: Task<'a>, worker: &mut Worker<S::Worker>) -> Result<Outcome<'a>> {
        match task {
            Task::Write(mut sink, index, packed) => {
                // Uncompressed, the blob's digest is the DiffID.
                if self.profile.compression() != Compression::None {
                    sink.hasher.update(&packed[..]);
                }
                sink.out.write_all(&packed).map_err(|error| Error::io("write layer", "output", error))?;
                if self.profile.compression() != Compression::None {
                    self.points.start(sink.size, index * self.profile.chunk_size() as u64);
                }
                sink.size += packed.len() as u64;
                Counters::add(&self.control.counters.bytes_written, packed.len() as u64);
                // Not ours to reuse if it is the known form of zeros, or the tar bytes themselves.
                Ok(Outcome::Written(sink, index, Arc::into_inner(packed)))
            }
            Task::Hash(mut hasher, index, raw) => {
                hasher.update(&raw[..]);
                Ok(Outcome::Hashed(hasher, index))
            }
            Task::Compress(index, raw, zero, mut packed) => {
                if worker.encoder.is_none() {
                    worker.encoder = Some(Encoder::new(self.profile)?);
                }
                let encoder = worker.encoder.as_mut().expect("made above");
                let full = raw.len() == self.profile.chunk_size();
                if let (true, true, Some(known)) = (zero, full, self.zero.get()) {
                    return Ok(Outcome::Compressed(index, Arc::clone(known)));
                }
                encoder.encode(&raw, &mut packed)?;
                let packed = Arc::new(packed);
                if zero && full {
                    // The first thread to come: encoding is a pure function, so all would store the same.
                    let _ = self.zero.set(Arc::clone(&packed));
                }
                Ok(Outcome::Compressed(index, packed))
            }
            Task::Fill(index, mut raw) => {
                let length = self.length(index);
                raw.resize(length, 0);
                let offset = index * self.profile.chunk_size() as u64;
                let mut filled = Filled::Data;
                if length > 0 {
                    let source = worker.source.get_or_insert_with(|| self.source.worker());
                    filled = self.source.fill(source, offset, &mut raw)?;
                }
                self.share.add(length as u64);
                Ok(Outcome::Filled(index, Arc::new(raw), filled == Filled::Zero))
            }
        }
    }

    /// Returns the result, once all threads are gone.
    fn finish(self) -> Result<(Written, LayerIndex)> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, error)) = state.failure {
            return Err(error);
        }
        let (Some(sink), Some(hasher)) = (state.sink, state.hasher) else {
            return Err(Error::new(ErrorKind::Internal, "write layer", "a piece was lost"));
        };
        let (diff_id, states) = hasher.finish();
        let digest = match self.profile.compression() {
            Compression::None => diff_id,
            _ => Digest::from_bytes(sink.hasher.finalize().into()),
        };
        let written = Written { diff_id, diff_size: self.size, digest, size: sink.size };
        let restarts = self.points.take(self.profile.compression());
        let states = states.unwrap_or_else(|| unreachable!("they were asked for"));
        Ok((written, LayerIndex { size: sink.size, restarts, states }))
    }
}

impl<'a> State<'a> {
    /// Returns the most urgent task that can be done now, downstream first.
    fn pick<S: TarSource>(&mut self, pool: &Pool<'a, S>) -> Option<Task<'a>> {
        // Pieces that are written but not hashed may stand in front of the one to write.
        let gone = self.pieces.iter().take_while(|piece| matches!(piece.packed, Packed::Written)).count();
        if self.sink.is_some()
            && let Some(piece) = self.pieces.get_mut(gone)
            && let Packed::Ready(_) = piece.packed
        {
            let Packed::Ready(packed) = std::mem::replace(&mut piece.packed, Packed::Gone) else {
                unreachable!("matched above");
            };
            let sink = self.sink.take().expect("checked above");
            return Some(Task::Write(sink, self.written + gone as u64, packed));
        }
        let unhashed = (self.hashed - self.written) as usize;
        if self.hasher.is_some()
            && let Some(Piece { raw: Some(raw), .. }) = self.pieces.get(unhashed)
        {
            let raw = Arc::clone(raw);
            let hasher = self.hasher.take().expect("checked above");
            return Some(Task::Hash(hasher, self.hashed, raw));
        }
        for (i, piece) in self.pieces.iter_mut().enumerate() {
            if let (Packed::Wanted, Some(raw)) = (&piece.packed, &piece.raw) {
                piece.packed = Packed::Busy;
                let packed = self.packed.pop().unwrap_or_default();
                return Some(Task::Compress(self.written + i as u64, Arc::clone(raw), piece.zero, packed));
            }
        }
        if self.filled < pool.chunks && self.pieces.len() < pool.window {
            self.pieces.push_back(Piece { raw: None, zero: false, packed: Packed::Absent });
            self.filled += 1;
            return Some(Task::Fill(self.filled - 1, self.raw.pop().unwrap_or_default()));
        }
        None
    }

    fn put_back(&mut self, outcome: Outcome<'a>, compression: Compression) {
        match outcome {
            Outcome::Written(sink, index, packed) => {
                self.sink = Some(sink);
                self.piece(index).packed = Packed::Written;
                self.release_raw(index);
                match compression {
                    Compression::None => self.raw.extend(packed),
                    _ => self.packed.extend(packed),
                }
            }
            Outcome::Hashed(hasher, index) => {
                self.hasher = Some(hasher);
                self.hashed = index + 1;
                self.release_raw(index);
            }
            Outcome::Compressed(index, packed) => {
                self.piece(index).packed = Packed::Ready(packed);
                self.release_raw(index);
            }
            Outcome::Filled(index, raw, zero) => {
                let piece = self.piece(index);
                piece.zero = zero;
                piece.packed = match compression {
                    Compression::None => Packed::Ready(Arc::clone(&raw)),
                    _ => Packed::Wanted,
                };
                piece.raw = Some(raw);
            }
        }
        while self.written < self.hashed
            && matches!(self.pieces.front(), Some(Piece { packed: Packed::Written, .. }))
        {
            self.pieces.pop_front();
            self.written += 1;
        }
    }

    fn piece(&mut self, index: u64) -> &mut Piece {
        &mut self.pieces[(index - self.written) as usize]
    }

    /// Takes the tar bytes of a piece back once they are not needed.
    fn release_raw(&mut self, index: u64) {
        let hashed = self.hashed > index;
        let piece = self.piece(index);
        if hashed
            && matches!(piece.packed, Packed::Ready(_) | Packed::Gone | Packed::Written)
            && let Some(raw) = piece.raw.take()
        {
            self.raw.extend(Arc::into_inner(raw));
        }
    }

    /// Keeps the error that is earliest in the stream. Pieces are handed out in order, so once every thread has
    /// stopped that is the error a single thread would have met.
    fn fail(&mut self, index: u64, error: Error) {
        if self.failure.as_ref().is_none_or(|(first, _)| index < *first) {
            self.failure = Some((index, error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::compress::testing::{self, Memory};

    fn profiles() -> [Profile; 3] {
        [Compression::None, Compression::Gzip, Compression::Zstd].map(|c| Profile::new(c, None).unwrap())
    }

    /// Decodes with other libraries than the ones that encoded.
    fn decode(compression: Compression, blob: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match compression {
            Compression::None => out.extend_from_slice(blob),
            Compression::Gzip => {
                flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut out).unwrap();
            }
            Compression::Zstd => {
                let mut context = zstd_safe::DCtx::create();
                let mut input = zstd_safe::InBuffer::around(blob);
                while input.pos() < blob.len() {
                    let mut part = Vec::with_capacity(1 << 16);
                    let mut target = zstd_safe::OutBuffer::around(&mut part);
                    context.decompress_stream(&mut target, &mut input).unwrap();
                    out.extend_from_slice(&part);
                }
            }
        }
        out
    }

    #[test]
    fn bytes_do_not_depend_on_threads_and_read_back() {
        for profile in profiles() {
            let chunk = profile.chunk_size();
            for length in [0, 1, chunk - 1, chunk, chunk + 1, 5 * chunk / 2, 6 * chunk] {
                let source = Memory::new(testing::mixture(length));
                let mut first: Option<(Vec<u8>, Written)> = None;
                for threads in [1, 2, 8] {
                    let control = Control::default();
                    let mut blob = Vec::new();
                    let written = write(&source, &profile, threads, &mut blob, &control).unwrap();
                    assert_eq!(written.diff_id, Digest::of(&source.data));
                    assert_eq!(written.digest, Digest::of(&blob));
                    assert_eq!((written.diff_size, written.size), (length as u64, blob.len() as u64));
                    assert_eq!(control.counters.bytes_read.load(Ordering::Relaxed), written.diff_size);
                    assert_eq!(control.counters.bytes_written.load(Ordering::Relaxed), written.size);
                    let first = first.get_or_insert_with(|| (blob.clone(), written));
                    assert!(first.0 == blob && first.1 == written, "{profile} {threads}");
                }
                let (blob, _) = first.unwrap();
                assert!(decode(profile.compression(), &blob) == source.data, "{profile} {length}");
            }
        }
    }

    #[test]
    fn buffers_are_used_again() {
        /// Counts the buffers that are new: those are cleared.
        struct Counting(u64, AtomicUsize);
        impl TarSource for Counting {
            type Worker = ();
            fn len(&self) -> u64 {
                self.0
            }
            fn worker(&self) {}
            fn fill(&self, _: &mut (), _: u64, buf: &mut [u8]) -> Result<Filled> {
                self.1.fetch_add(usize::from(buf[0] == 0), Ordering::Relaxed);
                buf.fill(b'x');
                Ok(Filled::Data)
            }
        }
        for profile in profiles() {
            let (threads, chunks) = (2, 60);
            let source = Counting((chunks * profile.chunk_size()) as u64, AtomicUsize::new(0));
            write(&source, &profile, threads, &mut Vec::new(), &Control::default()).unwrap();
            let made = source.1.into_inner();
            assert!(
                made <= in_flight(threads, profile.chunk_size()),
                "{profile}: {made} of {chunks} are new"
            );
        }
    }

    #[test]
    fn zeros_said_to_be_zeros_give_the_same_bytes_as_zeros_found_out() {
        struct Shy(Memory);
        impl TarSource for Shy {
            type Worker = ();
            fn len(&self) -> u64 {
                self.0.len()
            }
            fn worker(&self) {}
            fn fill(&self, worker: &mut (), offset: u64, buf: &mut [u8]) -> Result<Filled> {
                self.0.fill(worker, offset, buf).map(|_| Filled::Data)
            }
        }
        for profile in profiles() {
            let data = vec![0; 3 * profile.chunk_size() + 5];
            let (mut known, mut found) = (Vec::new(), Vec::new());
            write(&Memory::new(data.clone()), &profile, 2, &mut known, &Control::default()).unwrap();
            write(&Shy(Memory::new(data)), &profile, 2, &mut found, &Control::default()).unwrap();
            assert!(known == found);
        }
    }

    #[test]
    fn the_first_error_in_stream_order_comes_back() {
        for profile in profiles() {
            let chunk = profile.chunk_size() as u64;
            for threads in [1, 2, 8] {
                let source = Memory::hooked(vec![0; 12 * chunk as usize], move |offset| {
                    match offset / chunk {
                        5 => {
                            // Late, so that the later ones fail earlier.
                            std::thread::sleep(std::time::Duration::from_millis(20));
                            Err(Error::corrupt("read file", "the fifth"))
                        }
                        index if index > 5 => Err(Error::corrupt("read file", "a later one")),
                        _ => Ok(()),
                    }
                });
                let error =
                    write(&source, &profile, threads, &mut io::sink(), &Control::default()).unwrap_err();
                assert_eq!(error.message(), "the fifth");
            }
        }
    }

    #[test]
    fn a_panic_in_the_source_is_an_internal_error() {
        let profile = Profile::new(Compression::Zstd, Some(1)).unwrap();
        for threads in [1, 4] {
            let chunk = profile.chunk_size() as u64;
            let source = Memory::hooked(vec![0; 6 * chunk as usize], move |offset| {
                assert!(offset / chunk != 3, "the source is broken");
                Ok(())
            });
            let error = write(&source, &profile, threads, &mut io::sink(), &Control::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert!(error.message().contains("the source is broken"));
        }
    }

    #[test]
    fn a_failing_output_stops_everything() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for profile in profiles() {
            for threads in [1, 2, 8] {
                static FILLED: AtomicUsize = AtomicUsize::new(0);
                FILLED.store(0, Ordering::Relaxed);
                let chunks = 100;
                let source = Memory::hooked(vec![0; chunks * (1 << 20)], |_| {
                    FILLED.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
                let error = write(&source, &profile, threads, &mut Full, &Control::default()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NoSpace);
                assert!(FILLED.load(Ordering::Relaxed) <= in_flight(threads, 1));
            }
        }
    }

    #[test]
    fn cancelling_stops_everything() {
        for profile in profiles() {
            for threads in [1, 3] {
                let control = Control::default();
                let cancel = control.cancel.clone();
                let chunk = profile.chunk_size();
                let source = Memory::hooked(vec![0; 20 * chunk], move |offset| {
                    if offset / chunk as u64 == 3 {
                        cancel.cancel();
                    }
                    Ok(())
                });
                let error = write(&source, &profile, threads, &mut io::sink(), &control).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Cancelled);
            }
        }
    }
}
