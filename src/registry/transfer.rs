//! Transfers: what is shown of them, and several at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::event::{Event, StepId};
use crate::progress::{Cancel, Control, Share};
use crate::threads::{self, lock};

/// How many blobs travel at once.
pub(super) const AT_ONCE: usize = 3;
/// How many small ones do: these wait for answers and for the disk, and need no memory to speak of.
pub(super) const SMALL_AT_ONCE: usize = 8;
/// How large a small one is, in bytes.
pub(super) const SMALL: u64 = 1 << 20;
/// How often a transfer is reported.
const BETWEEN_EVENTS: Duration = Duration::from_millis(100);

/// The progress of one blob: counters, and an event now and then.
pub(super) struct Progress {
    control: Control,
    share: Share,
    step: StepId,
    digest: String,
    total: u64,
    /// The farthest that was counted: what travels again after a cut counts once.
    done: u64,
    reported: Option<Instant>,
}

impl Progress {
    /// Starts the progress of a blob, with its share of what was announced.
    pub fn new(control: &Control, share: Share, step: StepId, digest: String, total: u64) -> Progress {
        let control = control.clone();
        Progress { control, share, step, digest, total, done: 0, reported: None }
    }

    /// Returns the same, for several to report to.
    pub fn shared(
        control: &Control,
        share: Share,
        step: StepId,
        digest: String,
        total: u64,
    ) -> Arc<Mutex<Progress>> {
        Arc::new(Mutex::new(Progress::new(control, share, step, digest, total)))
    }

    /// Reports that so many bytes of the blob have travelled.
    pub fn reach(&mut self, done: u64) {
        if done > self.done {
            self.share.add(done - self.done);
            self.done = done;
        }
        let due =
            self.reported.is_none_or(|reported| reported.elapsed() >= BETWEEN_EVENTS) || done >= self.total;
        if due && self.control.events.wanted() {
            self.reported = Some(Instant::now());
            let (step, digest, total) = (self.step, self.digest.clone(), self.total);
            self.control.events.send(Event::Transfer { step, digest, done, total });
        }
    }
}

/// Runs an operation with the events that say when it begins and how it ends. `size` is how many bytes travelled.
pub(super) fn announced<T>(
    control: &Control,
    text: String,
    size: impl FnOnce(&T) -> u64,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let began = Instant::now();
    let (stage, place) = (String::new(), (0, 0));
    control.events.send(Event::Started { step: 0, stage, place, text, location: None });
    let result = work();
    control.events.send(match &result {
        Ok(done) => Event::Finished { step: 0, took: began.elapsed(), size: size(done) },
        Err(error) => Event::Failed { step: 0, message: error.to_string() },
    });
    result
}

/// Does something for each item, on as many as [`AT_ONCE`] threads. The first error ends it, and cancels `parts` for what has begun.
pub(super) fn each<T: Send>(
    name: &str,
    parts: &Cancel,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    each_of(name, AT_ONCE, parts, items, work)
}

/// Does what [`each`] does on as many threads as are said.
pub(super) fn each_of<T: Send>(
    name: &str,
    at_once: usize,
    parts: &Cancel,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let queue: Mutex<VecDeque<T>> = Mutex::new(items.into_iter().collect());
    let threads = lock(&queue).len().min(at_once);
    let first: Mutex<Option<crate::Error>> = Mutex::new(None);
    let run = || {
        while lock(&first).is_none() {
            let Some(item) = lock(&queue).pop_front() else { return };
            if let Err(error) = work(item) {
                // Before the others are cancelled: theirs would say less.
                lock(&first).get_or_insert(error);
                parts.cancel();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where no thread is to be had, this one does it all.
            let _ = threads::spawn(scope, &format!("treering-{name}"), run);
        }
        run();
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
