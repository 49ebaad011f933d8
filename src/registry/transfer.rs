//! Transfers: what is shown of them, and several at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::event::{Event, StepId};
use crate::progress::{Control, Counters};
use crate::threads;

/// How many blobs travel at once.
pub(super) const AT_ONCE: usize = 3;
/// How often a transfer is heard of.
const BETWEEN_EVENTS: Duration = Duration::from_millis(100);

/// The progress of one blob: counters, and an event now and then.
pub(super) struct Progress {
    control: Control,
    step: StepId,
    digest: String,
    total: u64,
    /// The farthest that was counted: what travels again after a cut counts once.
    done: u64,
    told: Option<Instant>,
}

impl Progress {
    pub fn new(control: &Control, step: StepId, digest: String, total: u64) -> Progress {
        let control = control.clone();
        Progress { control, step, digest, total, done: 0, told: None }
    }

    /// The same, for several to report to.
    pub fn shared(control: &Control, step: StepId, digest: String, total: u64) -> Arc<Mutex<Progress>> {
        Arc::new(Mutex::new(Progress::new(control, step, digest, total)))
    }

    /// So many bytes of the blob have travelled.
    pub fn reach(&mut self, done: u64) {
        if done > self.done {
            Counters::add(&self.control.counters.bytes_read, done - self.done);
            self.done = done;
        }
        let due = self.told.is_none_or(|told| told.elapsed() >= BETWEEN_EVENTS) || done >= self.total;
        if due && self.control.events.wanted() {
            self.told = Some(Instant::now());
            let (step, digest, total) = (self.step, self.digest.clone(), self.total);
            self.control.events.send(Event::Transfer { step, digest, done, total });
        }
    }
}

/// Does something for each item, on as many as [`AT_ONCE`] threads. The first error ends it, once what has begun has ended.
pub(super) fn each<T: Send>(
    name: &str,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let queue: Mutex<VecDeque<T>> = Mutex::new(items.into_iter().collect());
    let threads = queue.lock().unwrap_or_else(PoisonError::into_inner).len().min(AT_ONCE);
    let first: Mutex<Option<crate::Error>> = Mutex::new(None);
    let run = || {
        while first.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            let Some(item) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return };
            if let Err(error) = work(item) {
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
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
