//! State that the threads of a decoder share, and the choice of what to do next.
//!
//! As when writing, every thread takes the task that is furthest downstream: hash decoded bytes, else decode,
//! else read more. A decoder without threads of its own runs the same tasks on the calling thread, one at a time,
//! whenever it has nothing to hand out.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libdeflater::Decompressor;
use zstd_safe::DCtx;

use super::limits::DecodeLimits;
use super::split::{Splitter, Unit};
use super::states::TarHasher;
use super::stream::Stream;
use super::{Compression, gzip, zstd};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::source::is_zero;
use crate::progress::Control;

/// A piece of the tar stream: at most 8 MiB (a zstd frame of ours), usually 1 MiB. Cheap to clone, so several threads
/// can write from it.
pub type Chunk = Arc<Vec<u8>>;

/// How much decoded data waits to be taken, and to be hashed, before decoding pauses.
const ROOM: usize = 4 << 20;
/// How much a streaming decoder puts into one chunk.
const CHUNK: usize = 1 << 20;

/// State that the threads share.
pub(super) struct Engine {
    state: Mutex<State>,
    /// Wakes threads that look for tasks.
    work: Condvar,
    /// Wakes the consumer.
    ready: Condvar,
    compression: Compression,
    limits: DecodeLimits,
    control: Control,
    /// How many pieces of input may be in flight.
    window: usize,
    /// How many decoded pieces may be alive before only the one that is wanted next is decoded.
    alive: usize,
    /// How many free chunks are kept, to be used again.
    spare: usize,
    /// Whether the output is hashed.
    hashing: bool,
}

/// Shared state, under one lock.
struct State {
    /// The input; absent while a thread reads from it, and after its end.
    splitter: Option<Box<Splitter>>,
    /// The input after its end.
    ended: Option<Box<Splitter>>,
    /// The streaming decoder, once one is needed; absent while a thread uses it.
    stream: Option<Box<Streaming>>,
    streaming: bool,
    /// The hash of the output; absent while a thread works on it, or if it is not wanted.
    hasher: Option<TarHasher>,
    /// Pieces in flight, in order; the first one is number `base`.
    slots: VecDeque<Slot>,
    base: u64,
    /// Decoded chunks on their way to the consumer, and to the hash.
    deliver: VecDeque<Chunk>,
    deliver_bytes: usize,
    unhashed: VecDeque<Chunk>,
    unhashed_bytes: usize,
    /// Bytes taken in and given out so far, and how many of the latter were chunks of zeros.
    consumed: u64,
    produced: u64,
    zeros: u64,
    /// The error that stands behind the last chunk in `deliver`.
    failure: Option<Error>,
    /// No more tasks: the consumer is gone, or something failed.
    stop: bool,
    /// Buffers to use again for input.
    spare: Vec<Vec<u8>>,
    /// Chunks handed out, until their buffer is used again: those that only stand here are free.
    lent: Vec<Chunk>,
}

/// A streaming decoder and the chunk it is filling.
struct Streaming {
    decoder: Stream,
    partial: Vec<u8>,
    filled: usize,
}

impl Streaming {
    fn is_full(&self) -> bool {
        self.filled == self.partial.len()
    }

    /// Returns the chunk so far.
    fn take(&mut self) -> Vec<u8> {
        let mut chunk = std::mem::take(&mut self.partial);
        chunk.truncate(std::mem::take(&mut self.filled));
        chunk
    }
}

/// A part of the stream that the streaming decoder takes.
struct Part {
    bytes: Vec<u8>,
    /// How much of it is taken.
    at: usize,
    /// The stream must be at an end behind it.
    last: bool,
}

/// A piece in flight.
enum Slot {
    /// To be decoded by any thread: the bytes, and the length of the content.
    Whole(Vec<u8>, usize),
    /// A thread is on it.
    Busy,
    /// Decoded, from so many bytes.
    Done(Vec<u8>, u64),
    /// To be decoded by the streaming decoder once it is the first one.
    Part(Part),
    /// The error that takes the place of everything from here on.
    Failed(Error),
}

/// A task, with what it needs taken out of the state.
enum Task {
    Hash(TarHasher, Chunk),
    Stream(Box<Streaming>, Part),
    Whole(u64, Vec<u8>, usize, Vec<u8>),
    Read(Box<Splitter>, Vec<u8>),
}

/// The result of a task.
enum Outcome {
    Hashed(TarHasher),
    /// With the part, how much of it was taken this time, and whether all that is in it came out.
    Streamed(Box<Streaming>, Part, u64, bool),
    /// With the piece, and its content.
    Decoded(u64, Vec<u8>, Vec<u8>),
    Read(Box<Splitter>, Option<Unit>),
}

/// The place of an error in the order of pieces.
#[derive(Clone, Copy)]
enum Blame {
    Now,
    Front,
    Piece(u64),
    Back,
}

/// Buffers and hashers of one thread, made when first needed.
#[derive(Default)]
pub(super) struct Worker {
    inflate: Option<Decompressor>,
    zstd: Option<DCtx<'static>>,
}

/// The sums when all is decoded.
pub(super) struct Totals {
    pub(super) splitter: Splitter,
    pub(super) hasher: Option<TarHasher>,
    pub(super) produced: u64,
}

impl Engine {
    pub(super) fn new(
        splitter: Splitter,
        hasher: Option<TarHasher>,
        limits: DecodeLimits,
        threads: usize,
        control: Control,
    ) -> Self {
        // Frames of ours are large, and threads that write files from them keep them long.
        let (window, alive, spare) = match splitter.compression() {
            Compression::Zstd => (threads.max(1), threads + 1, threads + 1),
            _ => (2 * threads + 4, usize::MAX, threads + 4),
        };
        Engine {
            compression: splitter.compression(),
            limits,
            control,
            window,
            alive,
            spare,
            hashing: hasher.is_some(),
            work: Condvar::new(),
            ready: Condvar::new(),
            state: Mutex::new(State {
                splitter: Some(Box::new(splitter)),
                ended: None,
                stream: None,
                streaming: false,
                hasher,
                slots: VecDeque::new(),
                base: 0,
                deliver: VecDeque::new(),
                deliver_bytes: 0,
                unhashed: VecDeque::new(),
                unhashed_bytes: 0,
                consumed: 0,
                produced: 0,
                zeros: 0,
                failure: None,
                stop: false,
                spare: Vec::new(),
                lent: Vec::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a thread: takes tasks until there will be none.
    pub(super) fn work(&self) {
        let mut worker = Worker::default();
        let mut state = self.lock();
        loop {
            if state.stop || state.finished(self) {
                return;
            }
            match state.pick(self) {
                Some(task) => {
                    drop(state);
                    state = self.perform(task, &mut worker);
                    self.work.notify_all();
                    self.ready.notify_one();
                }
                None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Ends all work as soon as possible.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.work.notify_all();
    }

    /// Returns the next chunk; `None` at the end. With `worker` the calling thread does the work itself.
    pub(super) fn next(&self, mut worker: Option<&mut Worker>) -> Result<Option<Chunk>> {
        let mut state = self.lock();
        loop {
            self.control.check("read layer")?;
            if let Some(chunk) = state.deliver.pop_front() {
                state.deliver_bytes -= chunk.len();
                state.settle(self);
                drop(state);
                self.work.notify_all();
                return Ok(Some(chunk));
            }
            if let Some(error) = state.failure.take() {
                return Err(error);
            }
            if state.stop {
                return Err(Error::corrupt("read layer", "reading failed before"));
            }
            if state.drained() {
                return Ok(None);
            }
            state = self.advance(state, &mut worker);
        }
    }

    /// Returns what is left once [`next`](Self::next) has come to the end and the hash is complete.
    pub(super) fn totals(&self, mut worker: Option<&mut Worker>) -> Result<Totals> {
        let mut state = self.lock();
        while !state.finished(self) {
            self.control.check("read layer")?;
            state = self.advance(state, &mut worker);
        }
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        let splitter = state.ended.take().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "read layer", "the end was reached and the input is not there")
        })?;
        Ok(Totals { splitter: *splitter, hasher: state.hasher.take(), produced: state.produced })
    }

    /// Does one task, or waits for the threads to do some.
    fn advance<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        worker: &mut Option<&mut Worker>,
    ) -> MutexGuard<'a, State> {
        match worker {
            Some(worker) => match state.pick(self) {
                Some(task) => {
                    drop(state);
                    self.perform(task, worker)
                }
                None => {
                    state.fail(Error::new(ErrorKind::Internal, "read layer", "nothing left to do"));
                    state
                }
            },
            // Not forever: a thread may be inside a read that never returns, and cancelling must still work.
            None => {
                let patience = Duration::from_millis(100);
                self.ready.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Does a task and puts its outcome into the state, which comes back locked.
    fn perform(&self, task: Task, worker: &mut Worker) -> MutexGuard<'_, State> {
        let blame = match &task {
            Task::Hash(..) => Blame::Now,
            Task::Stream(..) => Blame::Front,
            Task::Whole(index, ..) => Blame::Piece(*index),
            Task::Read(..) => Blame::Back,
        };
        // A panic (of the reader, most likely) must not leave the consumer waiting.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.control.check("read layer")?;
            self.run(task, worker)
        }))
        .unwrap_or_else(|panic| Err(Error::defect("read layer", &*panic)));
        let mut state = self.lock();
        match outcome {
            Ok(outcome) => {
                if let Err(error) = state.put_back(self, outcome) {
                    state.fail(error);
                }
            }
            Err(error) => match blame {
                Blame::Now => state.fail(error),
                Blame::Back => state.slots.push_back(Slot::Failed(error)),
                Blame::Front => state.slots[0] = Slot::Failed(error),
                Blame::Piece(index) => {
                    let at = (index - state.base) as usize;
                    state.slots[at] = Slot::Failed(error);
                }
            },
        }
        state.settle(self);
        state
    }

    fn run(&self, task: Task, worker: &mut Worker) -> Result<Outcome> {
        match task {
            Task::Hash(mut hasher, chunk) => {
                hasher.update(&chunk[..]);
                Ok(Outcome::Hashed(hasher))
            }
            Task::Stream(mut streaming, mut part) => {
                let Streaming { decoder, partial, filled } = &mut *streaming;
                let (taken, given) = decoder.feed(&part.bytes[part.at..], part.last, partial, *filled)?;
                *filled += given;
                part.at += taken;
                let used_up = part.at == part.bytes.len() && !streaming.is_full();
                if used_up && part.last {
                    streaming.decoder.finish()?;
                }
                Ok(Outcome::Streamed(streaming, part, taken as u64, used_up))
            }
            Task::Whole(index, piece, size, mut out) => {
                if self.compression == Compression::Gzip {
                    let inflate = worker.inflate.get_or_insert_default();
                    gzip::decode_member(inflate, &piece, size, &mut out)?;
                } else {
                    let context = worker.zstd.get_or_insert_with(DCtx::create);
                    zstd::decode_frame(context, &piece, size, &mut out)?;
                }
                Ok(Outcome::Decoded(index, piece, out))
            }
            Task::Read(mut splitter, spare) => {
                let unit = splitter.next(spare)?;
                Ok(Outcome::Read(splitter, unit))
            }
        }
    }
}

impl State {
    /// Returns whether the consumer has everything.
    fn drained(&self) -> bool {
        self.ended.is_some() && self.slots.is_empty() && self.deliver.is_empty()
    }

    /// Returns whether there is nothing left to do at all.
    fn finished(&self, engine: &Engine) -> bool {
        self.stop
            || self.ended.is_some()
                && self.slots.is_empty()
                && self.unhashed.is_empty()
                && self.hasher.is_some() == engine.hashing
    }

    /// Returns whether decoded data has somewhere to go.
    fn has_room(&self) -> bool {
        self.deliver_bytes < ROOM && self.unhashed_bytes < ROOM
    }

    /// Returns the most urgent task that can be done now, downstream first.
    fn pick(&mut self, engine: &Engine) -> Option<Task> {
        if self.stop {
            return None;
        }
        if !self.unhashed.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            let chunk = self.unhashed.pop_front().expect("checked above");
            self.unhashed_bytes -= chunk.len();
            return Some(Task::Hash(hasher, chunk));
        }
        if self.has_room()
            && matches!(self.slots.front(), Some(Slot::Part(_)))
            && let Some(mut streaming) = self.stream.take()
            && let Slot::Part(part) = std::mem::replace(&mut self.slots[0], Slot::Busy)
        {
            if streaming.partial.is_empty() {
                streaming.partial = self.buffer(CHUNK);
                streaming.partial.resize(CHUNK, 0);
            }
            return Some(Task::Stream(streaming, part));
        }
        let whole = self.slots.iter().position(|slot| matches!(slot, Slot::Whole(..)));
        if let Some(i) = whole
            // What the consumer takes next is decoded however many chunks it holds on to: it may need them all.
            && (i == 0 && self.deliver.is_empty() || self.alive() < engine.alive)
            && let Slot::Whole(piece, size) = std::mem::replace(&mut self.slots[i], Slot::Busy)
        {
            let buffer = self.buffer(size);
            return Some(Task::Whole(self.base + i as u64, piece, size, buffer));
        }
        if self.slots.len() < engine.window
            && let Some(splitter) = self.splitter.take()
        {
            // Uncompressed, what is read is what is handed out.
            let spare = match engine.compression {
                Compression::None => self.buffer(0),
                _ => self.spare.pop().unwrap_or_default(),
            };
            return Some(Task::Read(splitter, spare));
        }
        None
    }

    fn put_back(&mut self, engine: &Engine, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Hashed(hasher) => self.hasher = Some(hasher),
            Outcome::Streamed(mut streaming, part, taken, used_up) => {
                self.consumed += taken;
                let ended = used_up && part.last;
                let chunk = if streaming.is_full() || ended { streaming.take() } else { Vec::new() };
                self.stream = Some(streaming).filter(|_| !ended);
                if used_up {
                    self.slots.pop_front();
                    self.base += 1;
                    self.spare.push(part.bytes);
                } else {
                    self.slots[0] = Slot::Part(part);
                }
                self.emit(engine, chunk)?;
            }
            Outcome::Decoded(index, piece, content) => {
                let at = (index - self.base) as usize;
                self.slots[at] = Slot::Done(content, piece.len() as u64);
                self.spare.push(piece);
            }
            Outcome::Read(splitter, None) => self.ended = Some(splitter),
            Outcome::Read(splitter, Some(unit)) => {
                let streamed = matches!(unit, Unit::Part(_) | Unit::End);
                if streamed && !std::mem::replace(&mut self.streaming, true) {
                    let mut decoder = Stream::new(engine.compression, splitter.begun(), &engine.limits)?;
                    if let Some(notes) = splitter.notes() {
                        decoder.collect(notes);
                    }
                    self.stream = Some(Box::new(Streaming { decoder, partial: Vec::new(), filled: 0 }));
                }
                self.slots.push_back(match unit {
                    Unit::Plain(bytes) => {
                        let length = bytes.len() as u64;
                        Slot::Done(bytes, length)
                    }
                    Unit::Whole(bytes, size) => Slot::Whole(bytes, size),
                    Unit::Part(bytes) => Slot::Part(Part { bytes, at: 0, last: false }),
                    Unit::End => Slot::Part(Part { bytes: Vec::new(), at: 0, last: true }),
                });
                self.splitter = Some(splitter);
            }
        }
        Ok(())
    }

    /// Moves what is decoded, in order, to where the consumer and the hash find it.
    fn settle(&mut self, engine: &Engine) {
        while self.failure.is_none() && self.has_room() {
            match self.slots.front() {
                Some(Slot::Done(..) | Slot::Failed(_)) => {}
                _ => return,
            }
            self.base += 1;
            let settled = match self.slots.pop_front() {
                Some(Slot::Done(content, consumed)) => {
                    self.consumed += consumed;
                    self.emit(engine, content)
                }
                Some(Slot::Failed(error)) => Err(error),
                _ => Ok(()),
            };
            if let Err(error) = settled {
                self.fail(error);
            }
        }
    }

    /// Hands out a chunk, if the limits allow it.
    fn emit(&mut self, engine: &Engine, content: Vec<u8>) -> Result<()> {
        if content.is_empty() {
            return Ok(());
        }
        let length = content.len() as u64;
        self.produced += length;
        // Sparse files compress without bound and are common; only `max_output` bounds zeros.
        if is_zero(&content) {
            self.zeros += length;
        }
        engine.limits.check(self.consumed, self.produced, self.zeros)?;
        let chunk = Arc::new(content);
        if engine.hashing {
            self.unhashed_bytes += chunk.len();
            self.unhashed.push_back(Arc::clone(&chunk));
        }
        self.lent.push(Arc::clone(&chunk));
        let mut free = 0;
        self.lent.retain(|lent| {
            free += usize::from(is_free(lent));
            free <= engine.spare || !is_free(lent)
        });
        self.deliver_bytes += chunk.len();
        self.deliver.push_back(chunk);
        Ok(())
    }

    /// Returns how many pieces are decoded, or being decoded, and not yet let go of.
    fn alive(&self) -> usize {
        let here = self.slots.iter().filter(|slot| matches!(slot, Slot::Busy | Slot::Done(..))).count();
        here + self.lent.iter().filter(|chunk| !is_free(chunk)).count()
    }

    /// Returns a buffer (of any content) for at least `size` bytes of output, used before if possible: fresh memory costs
    /// page faults, which would be a tenth of the work.
    fn buffer(&mut self, size: usize) -> Vec<u8> {
        let free = |chunk: &Chunk| is_free(chunk) && chunk.capacity() >= size;
        if let Some(at) = self.lent.iter().position(free)
            && let Some(buffer) = Arc::into_inner(self.lent.swap_remove(at))
        {
            return buffer;
        }
        // One that is too small goes, so that there are not more of them than there were in use at once.
        if let Some(at) = self.lent.iter().position(is_free) {
            self.lent.swap_remove(at);
        }
        Vec::with_capacity(size)
    }

    fn fail(&mut self, error: Error) {
        if self.failure.is_none() {
            self.failure = Some(error);
        }
        self.stop = true;
    }
}

/// Returns whether a chunk is held here alone.
fn is_free(chunk: &Chunk) -> bool {
    Arc::strong_count(chunk) == 1
}
