//! Progress as plain counters that anyone may poll, and a cancel token that works from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;

/// What an operation has done so far. Read them from any thread, as often as you like.
#[derive(Debug, Default)]
pub struct Counters {
    /// Filesystem or tar entries handled.
    pub entries: AtomicU64,
    /// Bytes of content read (uncompressed).
    pub bytes_read: AtomicU64,
    /// Bytes written to the result (compressed, or into files).
    pub bytes_written: AtomicU64,
    /// Bytes of content that will be read in all; 0 while unknown.
    pub bytes_total: AtomicU64,
}

impl Counters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// A token that cancels an operation from any thread. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub struct Cancel(
    // 0 to go on, `CANCELLED`, or after how many looks a test wants a panic.
    Arc<AtomicU64>,
);

const CANCELLED: u64 = u64::MAX;

impl Cancel {
    /// Asks every operation that holds this token to stop with [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(CANCELLED, Ordering::Relaxed);
    }

    /// An error of kind [`ErrorKind::Cancelled`] once [`Cancel::cancel`] was called.
    pub fn check(&self, operation: &'static str) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            CANCELLED => Err(Error::new(ErrorKind::Cancelled, operation, "cancelled by the caller")),
            _ => self.count_down(operation),
        }
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CANCELLED
    }

    /// A hook for tests: the `look`-th [`Cancel::check`] from now on, counted from 1 and on whatever thread, panics as a defect
    /// would. Not part of the stable interface.
    #[doc(hidden)]
    pub fn panic_at(&self, look: u64) {
        self.0.store(look.min(CANCELLED - 1), Ordering::Relaxed);
    }

    #[cold]
    fn count_down(&self, operation: &'static str) -> Result<()> {
        let less = |left| (left != 0 && left != CANCELLED).then(|| left - 1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(1) => {
                let thread = std::thread::current();
                panic!(
                    "a test wanted a panic: {operation}, thread {}",
                    thread.name().unwrap_or("without a name")
                )
            }
            Ok(_) => Ok(()),
            // Another thread was faster.
            Err(_) => self.check(operation),
        }
    }
}

/// What every long operation takes: counters, events and a token to cancel with. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// What has been done so far.
    pub counters: Arc<Counters>,
    /// Stops the operation.
    pub cancel: Cancel,
    /// Receives what happens; by default nothing does.
    pub events: Events,
}

impl Control {
    /// An error of kind [`ErrorKind::Cancelled`] once the token was cancelled. Cheap: call it per entry and chunk.
    pub fn check(&self, operation: &'static str) -> Result<()> {
        self.cancel.check(operation)
    }
}
