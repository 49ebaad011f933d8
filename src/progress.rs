//! Progress as plain counters that anyone may poll, and a cancel token that works from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

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
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks every operation that holds this token to stop with [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error of kind [`ErrorKind::Cancelled`] once [`Cancel::cancel`] was called.
    pub fn check(&self, operation: &'static str) -> Result<()> {
        match self.is_cancelled() {
            true => Err(Error::new(ErrorKind::Cancelled, operation, "cancelled by the caller")),
            false => Ok(()),
        }
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The two together, as every long operation takes them. Cloning shares both.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// What has been done so far.
    pub counters: Arc<Counters>,
    /// Stops the operation.
    pub cancel: Cancel,
}

impl Control {
    /// An error of kind [`ErrorKind::Cancelled`] once the token was cancelled. Cheap: call it per entry and chunk.
    pub fn check(&self, operation: &'static str) -> Result<()> {
        self.cancel.check(operation)
    }
}
