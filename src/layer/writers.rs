//! Threads that create files while the layer is still being read.
//!
//! What is in one queue happens in order. Where layers are applied, each directory belongs to one queue: a name may come more than
//! once, and two threads never wait for the same directory's lock in the kernel. A checkout makes each name once, and spreads those of one
//! directory. Queues are bounded in entries and bytes: memory does not grow with the layer.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::create::{Made, Privileges, Wanted, create_file, finish_file, make_special};
use super::keep::keep;
use super::read::Data;
use super::source::is_zero;
use crate::error::{At, Error, Result};
use crate::fs::Kind;
use crate::fs::remove::unlink;
use crate::progress::{Control, Counters};
use crate::threads;
use crate::tree::Meta;

/// More threads than this only wait for each other in the filesystem.
const MOST_WRITERS: usize = 4;
/// The most entries one queue holds; each may keep a directory descriptor open.
const QUEUE_ENTRIES: usize = 96;
/// The most bytes of content one queue holds.
const QUEUE_BYTES: usize = 3 * 1024 * 1024;
/// The most entries a thread takes from its queue at once, and how many bytes are enough.
const BATCH_ENTRIES: usize = 16;
const BATCH_BYTES: usize = 1024 * 1024;
/// Zero runs of this length in large files become holes again.
pub(super) const HOLE: usize = 64 * 1024;

/// An entry to make.
pub(super) struct Job {
    pub node: u32,
    pub dir: Arc<OwnedFd>,
    pub name: CString,
    pub wanted: Wanted,
    /// Whether something of this name is there and has to go first.
    pub replaces: bool,
    /// The file that is there and stays if it has the content, for one that is handed over whole.
    pub keeps: Option<Meta>,
    /// The path for messages.
    pub path: Vec<u8>,
}

/// A piece of work in a queue: a whole entry, or a part of a large file.
pub(super) enum Piece {
    Whole(Box<Job>, Vec<Data>),
    Begin(Box<Job>),
    More(Data),
    End,
}

impl Piece {
    fn bytes(&self) -> usize {
        let len = |data: &Data| match data {
            Data::Bytes(slice) => slice.range.len(),
            Data::Hole(_) => 0,
        };
        match self {
            Piece::Whole(_, data) => data.iter().map(len).sum(),
            Piece::More(data) => len(data),
            _ => 0,
        }
    }
}

/// The result of a job.
pub(super) struct Done {
    pub node: u32,
    pub made: Made,
    /// This is one more name of a file: there is no new record of it, and the one that there is holds.
    pub linked: bool,
    /// It was there, with the right content.
    pub kept: bool,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    bytes: usize,
    busy: bool,
    closed: bool,
    done: Vec<Done>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

/// Runs `work` beside threads that create files: 0 is one per processor, and four are the most. They have ended when this
/// returns.
///
/// # Errors
/// That of `work`; [`crate::ErrorKind::Limit`] when the system grants no thread at all.
pub(super) fn with_writers<T>(
    wanted: usize,
    rights: Privileges,
    control: &Control,
    work: impl FnOnce(&Arc<Writers>) -> Result<T>,
) -> Result<T> {
    std::thread::scope(|scope| {
        // There are as many queues as threads, and how many those are is only known when they have started.
        let mut started = Vec::new();
        for number in 0..threads::count(wanted).min(MOST_WRITERS) {
            let (give, take) = std::sync::mpsc::channel::<Arc<Writers>>();
            let write = move || {
                if let Ok(writers) = take.recv() {
                    writers.work(number);
                }
            };
            match threads::spawn(scope, "treering-apply", write) {
                Ok(_) => started.push(give),
                // The threads that started do the work.
                Err(_) if number > 0 => break,
                Err(error) => return Err(no_thread(error)),
            }
        }
        let writers = Arc::new(Writers::new(started.len(), rights, control));
        debug_assert_eq!(writers.threads(), started.len());
        // The threads must end however this goes, or the scope never would.
        let guard = Abandon(&writers);
        for give in started {
            // It waits for nothing else.
            let _ = give.send(Arc::clone(&writers));
        }
        let result = work(&writers);
        if result.is_ok() {
            std::mem::forget(guard);
            writers.close();
        }
        result
    })
}

fn no_thread(error: io::Error) -> Error {
    Error::limit("start thread", "the system refuses another thread")
        .with_hint("raise the limit on processes (ulimit -u), or that of the container")
        .with_source(error)
}

struct Abandon<'a>(&'a Writers);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The queues, one for each thread that runs [`Writers::work`].
pub(super) struct Writers {
    queues: Vec<Queue>,
    queue_entries: usize,
    failed: AtomicBool,
    error: Mutex<Option<Error>>,
    rights: Privileges,
    control: Control,
}

impl Writers {
    pub fn new(threads: usize, rights: Privileges, control: &Control) -> Writers {
        // With few descriptors to be had, few may wait: with four threads, a tenth each leaves room for the rest.
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let descriptors = descriptors.map_or(usize::MAX, |n| n as usize);
        Writers {
            queue_entries: (descriptors / 10).clamp(1, QUEUE_ENTRIES),
            queues: (0..threads.max(1)).map(|_| Queue::default()).collect(),
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
            rights,
            control: control.clone(),
        }
    }

    pub fn threads(&self) -> usize {
        self.queues.len()
    }

    /// Returns which queue goes with a number: of a directory, or of a group of entries.
    pub fn queue_of(&self, number: u32) -> usize {
        // Neighbours on different threads: numbers are given in order.
        number as usize % self.queues.len()
    }

    /// Hands a piece to a thread, waiting while its queue is full.
    pub fn push(&self, queue: usize, piece: Piece) -> Result<()> {
        let queue = &self.queues[queue];
        let mut state = queue.state.lock().expect("no holder panics");
        while (state.pieces.len() >= self.queue_entries || state.bytes >= QUEUE_BYTES) && !self.has_failed() {
            state = queue.changed.wait(state).expect("no holder panics");
        }
        if self.has_failed() {
            drop(state);
            return Err(self.take_error());
        }
        // The thread sleeps only while there is nothing to take.
        let asleep = state.pieces.is_empty();
        state.bytes += piece.bytes();
        state.pieces.push_back(piece);
        drop(state);
        if asleep {
            queue.changed.notify_all();
        }
        Ok(())
    }

    /// Waits until everything handed over is done, and gives what became of it.
    pub fn drain(&self) -> Result<Vec<Done>> {
        let mut all = Vec::new();
        for queue in &self.queues {
            let mut state = queue.state.lock().expect("no holder panics");
            while (state.busy || !state.pieces.is_empty()) && !self.has_failed() {
                state = queue.changed.wait(state).expect("no holder panics");
            }
            all.append(&mut state.done);
        }
        if self.has_failed() { Err(self.take_error()) } else { Ok(all) }
    }

    /// Returns what is done so far, without waiting.
    pub fn collect(&self) -> Vec<Done> {
        let take = |queue: &Queue| std::mem::take(&mut queue.state.lock().expect("no holder panics").done);
        self.queues.iter().flat_map(take).collect()
    }

    /// Lets the threads end once their queues are empty; at once after a failure.
    pub fn close(&self) {
        for queue in &self.queues {
            queue.state.lock().expect("no holder panics").closed = true;
            queue.changed.notify_all();
        }
    }

    /// Makes every thread stop without finishing what is queued.
    pub fn abandon(&self) {
        self.failed.store(true, Ordering::Release);
        self.close();
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn take_error(&self) -> Error {
        let error = self.error.lock().expect("no holder panics").take();
        error.unwrap_or_else(|| Error::new(crate::ErrorKind::Internal, "apply layer", "a writer stopped"))
    }

    fn fail(&self, error: Error) {
        self.error.lock().expect("no holder panics").get_or_insert(error);
        self.failed.store(true, Ordering::Release);
        for queue in &self.queues {
            drop(queue.state.lock().expect("no holder panics"));
            queue.changed.notify_all();
        }
    }

    /// Runs one thread until [`close`](Self::close).
    pub fn work(&self, number: usize) {
        let queue = &self.queues[number];
        let mut open: Option<OpenFile> = None;
        let mut buffer = Vec::new();
        let mut done = Vec::new();
        let mut batch = Vec::new();
        loop {
            {
                let mut state = queue.state.lock().expect("no holder panics");
                state.done.append(&mut done);
                state.busy = false;
                if state.pieces.is_empty() {
                    queue.changed.notify_all();
                }
                while state.pieces.is_empty() && !state.closed && !self.has_failed() {
                    state = queue.changed.wait(state).expect("no holder panics");
                }
                if self.has_failed() || state.pieces.is_empty() {
                    return;
                }
                // A few at a time: fewer locks, and still soon visible to the other side. Of large pieces one: each holds
                // the chunk it is in.
                let mut bytes = 0;
                while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
                    let Some(piece) = state.pieces.pop_front() else { break };
                    bytes += piece.bytes();
                    batch.push(piece);
                }
                state.bytes -= bytes;
                state.busy = true;
                // The thread that fills the queue is woken when half of it is free: waking it for every piece costs more than
                // making a small file.
                let room = state.pieces.len() <= self.queue_entries / 2 && state.bytes <= QUEUE_BYTES / 2;
                drop(state);
                if room {
                    queue.changed.notify_all();
                }
            }
            for piece in batch.drain(..) {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    self.piece(piece, &mut open, &mut buffer)
                }));
                match result {
                    Ok(Ok(Some(finished))) => done.push(finished),
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => return self.fail(error),
                    Err(panic) => {
                        return self.fail(Error::defect("apply layer", &*panic));
                    }
                }
            }
        }
    }

    fn piece(&self, piece: Piece, open: &mut Option<OpenFile>, buffer: &mut Vec<u8>) -> Result<Option<Done>> {
        match piece {
            Piece::Whole(job, data) => {
                self.control.check("apply layer")?;
                if let Some(found) = &job.keeps
                    && let Some(made) = keep(&job, found, &data, buffer, self.rights)?
                {
                    return Ok(Some(Done { kept: true, ..done(&job, made) }));
                }
                if job.replaces {
                    unlink(&*job.dir, &job.name).at("replace file", &job.path)?;
                }
                if job.wanted.meta.kind != Kind::File {
                    let made = make_special(job.dir.as_fd(), &job.name, &job.wanted, self.rights)
                        .at("create file", &job.path)?;
                    return Ok(Some(done(&job, made)));
                }
                let mut file = OpenFile::create(job, self.rights)?;
                for data in &data {
                    file.write(data, false)?;
                }
                self.finish(file).map(Some)
            }
            Piece::Begin(job) => {
                if job.replaces {
                    unlink(&*job.dir, &job.name).at("replace file", &job.path)?;
                }
                *open = Some(OpenFile::create(job, self.rights)?);
                Ok(None)
            }
            Piece::More(data) => {
                self.control.check("apply layer")?;
                open.as_mut().expect("a file was begun").write(&data, true)?;
                Ok(None)
            }
            Piece::End => {
                let file = open.take().expect("a file was begun");
                self.finish(file).map(Some)
            }
        }
    }

    fn finish(&self, file: OpenFile) -> Result<Done> {
        let OpenFile { job, fd, at, end } = file;
        let shown = &job.path;
        if at != end {
            // The file ends in a hole.
            rustix::fs::ftruncate(&fd, at).at("write file", shown)?;
        }
        let made =
            finish_file(job.dir.as_fd(), &job.name, &fd, &job.wanted, self.rights).at("write file", shown)?;
        Counters::add(&self.control.counters.bytes_written, at);
        Ok(done(&job, made))
    }
}

fn done(job: &Job, made: Made) -> Done {
    Done { node: job.node, made, linked: false, kept: false }
}

struct OpenFile {
    job: Box<Job>,
    fd: OwnedFd,
    /// How far the content goes so far, and how far the file does.
    at: u64,
    end: u64,
}

impl OpenFile {
    fn create(job: Box<Job>, rights: Privileges) -> Result<OpenFile> {
        let fd = create_file(&*job.dir, &job.name, &job.wanted, rights).at("create file", &job.path)?;
        Ok(OpenFile { job, fd, at: 0, end: 0 })
    }

    fn write(&mut self, data: &Data, holes: bool) -> Result<()> {
        let slice = match data {
            Data::Hole(len) => {
                self.at += len;
                return Ok(());
            }
            Data::Bytes(slice) => &slice.chunk[slice.range.clone()],
        };
        if !holes {
            return self.put(slice);
        }
        for part in slice.chunks(HOLE) {
            if part.len() == HOLE && is_zero(part) {
                self.at += part.len() as u64;
            } else {
                self.put(part)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.fd, bytes, self.at) {
                Ok(n) => {
                    bytes = &bytes[n..];
                    self.at += n as u64;
                    self.end = self.at;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io("write file", &self.job.path, error)),
            }
        }
        Ok(())
    }
}
