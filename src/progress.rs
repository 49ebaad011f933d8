//! Progress as plain counters to poll, and a token to cancel with, both from any thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;

/// Counts of what an operation has done so far, to be read from any thread at any time.
///
/// `bytes_read` and `bytes_total` are in one unit: bytes of input as they are where they are read. A file of a tree counts with its
/// size, a layer that is made with the size of its tar, a blob or an archive with its own size, compressed as it is, a transfer with
/// what travels. What has to be read twice counts twice. The total is complete as soon as all sizes are known, grows where an
/// operation finds more to do, and is behind `bytes_read` while a stream of unknown length is read. An operation that succeeds
/// ends with both equal; several operations with the same counters add up.
#[derive(Debug, Default)]
pub struct Counters {
    /// Entries of trees and tars, files of archives, and blobs of stores and registries that were handled.
    pub entries: AtomicU64,
    /// Bytes of input that were read.
    pub bytes_read: AtomicU64,
    /// Bytes written to the result: of blobs, archives or files.
    pub bytes_written: AtomicU64,
    /// Bytes of input that will have been read at the end, as far as is known; 0 while nothing is.
    pub bytes_total: AtomicU64,
    /// The announced size of a stream that the next operation is given.
    stream: AtomicU64,
}

impl Counters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Announces how many bytes the stream has that is passed to the next operation: to
    /// [`archive::load`](crate::archive::load()), [`archive::import`](crate::archive::import()),
    /// [`image::apply_layer`](crate::image::apply_layer) or a [`Decoder`](crate::compress::Decoder). Without it the total is
    /// unknown until the stream ends.
    pub fn expect_stream(&self, bytes: u64) {
        Counters::add(&self.bytes_total, bytes);
        self.stream.store(bytes, Ordering::Relaxed);
    }
}

/// A part of the bytes that an operation reads: announced in the total, counted while they are read, and settled when it is dropped, so
/// that the total never keeps bytes that were not read after all, or lacks some that were.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// Nothing is counted without.
    counters: Option<Arc<Counters>>,
    announced: AtomicU64,
    done: AtomicU64,
}

impl Share {
    /// Announces bytes; 0 where their number is not known.
    pub fn new(control: &Control, bytes: u64) -> Share {
        let share = Share::taking_over(control, bytes);
        Counters::add(&control.counters.bytes_total, bytes);
        share
    }

    /// Takes over what a caller announced for a stream, if any.
    pub fn of_stream(control: &Control) -> Share {
        let announced = control.counters.stream.swap(0, Ordering::Relaxed);
        Share::taking_over(control, announced)
    }

    /// Returns a share of what is counted elsewhere.
    pub fn uncounted() -> Share {
        Share::default()
    }

    fn taking_over(control: &Control, bytes: u64) -> Share {
        Share { counters: Some(control.counters.clone()), announced: bytes.into(), done: 0.into() }
    }

    /// Returns a share of its own for part of the announced bytes.
    pub fn split(&self, bytes: u64) -> Share {
        let less = |have: u64| Some(have.saturating_sub(bytes));
        // It never fails: the function always gives a value.
        let have = self.announced.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or(0);
        let part = have.min(bytes);
        Share { counters: self.counters.clone(), announced: part.into(), done: 0.into() }
    }

    /// Counts bytes that were read.
    pub fn add(&self, bytes: u64) {
        let Some(counters) = &self.counters else { return };
        Counters::add(&counters.bytes_read, bytes);
        Counters::add(&self.done, bytes);
    }

    /// Returns a reader that counts what is read through it.
    pub fn reader<R>(self, inner: R) -> Counted<R> {
        Counted { inner, share: self }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(counters) = &self.counters else { return };
        let (done, announced) = (*self.done.get_mut(), *self.announced.get_mut());
        // Wraps around for less, as the addition does.
        Counters::add(&counters.bytes_total, done.wrapping_sub(announced));
    }
}

/// A reader that counts.
pub(crate) struct Counted<R> {
    inner: R,
    share: Share,
}

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.share.add(n as u64);
        Ok(n)
    }
}

/// A token that cancels an operation from any thread. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    /// 0 to go on, `CANCELLED`, or the number of checks after which a test has one panic.
    state: Arc<AtomicU64>,
    /// The token of the operation that this one is part of.
    whole: Option<Arc<Cancel>>,
}

const CANCELLED: u64 = u64::MAX;

impl Cancel {
    /// Asks every operation that holds this token to stop with [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.state.store(CANCELLED, Ordering::Relaxed);
    }

    /// Returns a token for the parts of an operation: it is cancelled with this one, or alone, when one of the parts failed.
    pub(crate) fn for_parts(&self) -> Cancel {
        Cancel { state: Arc::default(), whole: Some(Arc::new(self.clone())) }
    }

    /// Gives an error of kind [`ErrorKind::Cancelled`] once [`Cancel::cancel`] was called.
    pub fn check(&self, operation: &'static str) -> Result<()> {
        self.whole.as_ref().map_or(Ok(()), |whole| whole.check(operation))?;
        match self.state.load(Ordering::Relaxed) {
            0 => Ok(()),
            CANCELLED => {
                let message = match self.whole {
                    None => "cancelled by the caller",
                    Some(_) => "stopped, as another part failed",
                };
                Err(Error::new(ErrorKind::Cancelled, operation, message))
            }
            _ => self.count_down(operation),
        }
    }

    /// Returns whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Relaxed) == CANCELLED
            || self.whole.as_ref().is_some_and(|whole| whole.is_cancelled())
    }

    /// Sets a hook for tests: the `look`-th [`Cancel::check`] from now on, counted from 1 and on any thread, panics as a defect
    /// would. Not part of the stable interface.
    #[doc(hidden)]
    pub fn panic_at(&self, look: u64) {
        self.state.store(look.min(CANCELLED - 1), Ordering::Relaxed);
    }

    #[cold]
    fn count_down(&self, operation: &'static str) -> Result<()> {
        let less = |left| (left != 0 && left != CANCELLED).then(|| left - 1);
        match self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
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

/// The controls of a long operation: counters, events and a token to cancel with. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// The counts of what has been done so far.
    pub counters: Arc<Counters>,
    /// Stops the operation.
    pub cancel: Cancel,
    /// Receives what happens; by default nothing does.
    pub events: Events,
}

impl Control {
    /// Gives an error of kind [`ErrorKind::Cancelled`] once the token was cancelled. Cheap: call it per entry and chunk.
    pub fn check(&self, operation: &'static str) -> Result<()> {
        self.cancel.check(operation)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn state(control: &Control) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&control.counters.bytes_read), load(&control.counters.bytes_total))
    }

    #[test]
    fn parts_are_cancelled_with_the_whole_or_alone() {
        let whole = Cancel::default();
        let parts = whole.for_parts();
        parts.check("x").unwrap();
        parts.cancel();
        assert!(parts.clone().is_cancelled() && parts.check("x").is_err());
        assert!(!whole.is_cancelled() && whole.check("x").is_ok());
        let others = whole.for_parts();
        whole.cancel();
        assert!(others.is_cancelled());
        assert_eq!(others.check("x").unwrap_err().message(), "cancelled by the caller");
    }

    #[test]
    fn shares_end_at_what_was_read() {
        let control = Control::default();
        let whole = Share::new(&control, 100);
        let first = whole.split(60);
        first.add(60);
        assert_eq!(state(&control), (60, 100));
        drop(first);
        // More than was announced, and less.
        let second = whole.split(60);
        second.add(45);
        drop(second);
        assert_eq!(state(&control), (105, 105));
        drop(Share::new(&control, 1000));
        drop(whole);
        assert_eq!(state(&control), (105, 105));
    }

    #[test]
    fn a_stream_counts_as_it_was_announced() {
        let control = Control::default();
        control.counters.expect_stream(10);
        let mut text = String::new();
        let mut reader = Share::of_stream(&control).reader(&b"0123456789"[..]);
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(state(&control), (10, 10));
        drop(reader);
        // The announcement is for one stream alone.
        Share::of_stream(&control).reader(&b"01"[..]).read_to_string(&mut text).unwrap();
        assert_eq!(state(&control), (12, 12));
    }
}
