//! Locks: leases that writers share and prune waits for, and the lock around `index.json`.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use super::layout::{Hold, Store};
use super::publish::open_regular;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::lock::Locked;
use crate::progress::Control;

/// A claim on the whole store: while any process holds one, [`Store::prune`] removes nothing and waits.
///
/// Hold it for moments only. An operation that takes longer uses a [`super::Pin`], which keeps prune from what it needs and
/// from nothing else. It is a shared `flock`, so it also ends with the process. A lease does not keep others from writing.
#[derive(Debug)]
#[must_use = "a lease ends when it is dropped"]
pub struct Lease {
    /// `None` where the store is held exclusively anyway.
    _file: Option<Locked>,
}

/// An exclusive lock, released on drop.
#[derive(Debug)]
pub(crate) struct Exclusive {
    _file: Locked,
}

/// Short, so that cancelling is prompt and waiters for `index.json` make progress.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// How long the lock around `index.json` is waited for. A process that holds it for longer was stopped, or hangs on a dead disk.
const INDEX_WAIT: Duration = Duration::from_secs(60);

impl Store {
    /// Takes a [`Lease`], waiting while a prune is at work (prune never waits for anything while it holds the lock).
    /// [`Store::lease_for`] can be cancelled meanwhile, and so can the one of a [`super::Pin`].
    pub fn lease(&self) -> Result<Lease> {
        self.lease_for(&self.control())
    }

    /// Does what [`Store::lease`] does, for an operation that can be cancelled.
    pub fn lease_for(&self, control: &Control) -> Result<Lease> {
        const OP: &str = "take lease";
        if matches!(self.1, Hold::Exclusive) {
            return Ok(Lease { _file: None });
        }
        let file = self.lock("lock", OP, |file| file.try_lock_shared(), None, control)?;
        Ok(Lease { _file: Some(file) })
    }

    /// Waits until no lease is left, at most `wait`; then [`ErrorKind::Busy`].
    pub(super) fn lock_all(&self, wait: Duration, control: &Control) -> Result<Exclusive> {
        self.lock("lock", "lock store", |file| file.try_lock(), Some(wait), control)
            .map(|file| Exclusive { _file: file })
    }

    /// Returns the lock around reading, changing and replacing `index.json`; held for milliseconds.
    pub(super) fn lock_index(&self) -> Result<Exclusive> {
        self.lock("index.lock", "lock index", |file| file.try_lock(), Some(INDEX_WAIT), &self.control())
            .map(|file| Exclusive { _file: file })
    }

    /// Takes another lock of the store that is held for moments.
    #[cfg(feature = "sandbox")]
    pub(super) fn lock_named(
        &self,
        name: &str,
        operation: &'static str,
        wait: Duration,
        control: &Control,
    ) -> Result<Exclusive> {
        self.lock(name, operation, |file| file.try_lock(), Some(wait), control)
            .map(|file| Exclusive { _file: file })
    }

    /// Tries until the lock is taken: a call that blocks in the kernel could be neither cancelled nor given up.
    ///
    /// Each lock is its own open file: threads of one process exclude one another as processes do.
    fn lock(
        &self,
        name: &str,
        operation: &'static str,
        take: impl Fn(&File) -> std::result::Result<(), TryLockError>,
        wait: Option<Duration>,
        control: &Control,
    ) -> Result<Locked> {
        let shown = self.path(name);
        let file = open_regular(&self.0.dir, name, &shown)?;
        let end = wait.and_then(|wait| Instant::now().checked_add(wait));
        let mut pause = Duration::from_micros(200);
        loop {
            match take(&file) {
                Ok(()) => return Ok(Locked::new(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(Error::io(operation, &shown, error)),
            }
            control.check(operation)?;
            if end.is_some_and(|end| Instant::now() >= end) {
                let message = "another process is writing to the store";
                return Err(Error::new(ErrorKind::Busy, operation, message)
                    .with_path(shown)
                    .with_hint("try again when it has finished"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_share_and_hold_prune_off() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let (one, two) = (store.lease().unwrap(), store.lease().unwrap());
        let control = Control::default();
        let busy = |store: &Store| store.lock_all(Duration::from_millis(20), &control).unwrap_err().kind();
        assert_eq!(busy(&store), ErrorKind::Busy);
        drop(one);
        assert_eq!(busy(&store), ErrorKind::Busy);
        drop(two);
        let _all = store.lock_all(Duration::ZERO, &control).unwrap();
    }

    /// A forked child has copies of all descriptors, and may live on doing nothing.
    #[test]
    fn a_lock_ends_although_a_copy_of_its_descriptor_stays_open() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let control = Control::default();
        let lease = store.lease().unwrap();
        let _copy = lease._file.as_ref().unwrap().file().try_clone().unwrap();
        drop(lease);
        let all = store.lock_all(Duration::ZERO, &control).unwrap();
        let _copy = all._file.file().try_clone().unwrap();
        drop(all);
        drop(store.lock_all(Duration::ZERO, &control).unwrap());
        let index = store.lock_index().unwrap();
        let _copy = index._file.file().try_clone().unwrap();
        drop(index);
        drop(store.lock_index().unwrap());
    }

    #[test]
    fn the_index_is_waited_for_until_cancelled() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let control = Control::default();
        let pin = store.pin(&control).unwrap();
        let _held = store.lock_index().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pin.untag(&"app".parse().unwrap()).unwrap_err().kind());
            std::thread::sleep(Duration::from_millis(20));
            control.cancel.cancel();
            assert_eq!(waiting.join().unwrap(), ErrorKind::Cancelled);
        });
    }

    #[test]
    fn a_lock_that_is_no_file_is_an_error() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        for lock in ["lock", "index.lock"] {
            let temp = tempfile::tempdir().unwrap();
            let store = Store::open(temp.path()).unwrap();
            std::fs::remove_file(temp.path().join(lock)).unwrap();
            mknodat(CWD, temp.path().join(lock), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            // Each of these would wait for a writer of the fifo.
            assert_eq!(Store::open(temp.path()).unwrap_err().kind(), ErrorKind::Corrupt, "{lock}");
            assert_eq!(
                store.untag(&"app".parse().unwrap()).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{lock}"
            );
        }
    }

    #[test]
    fn waiting_can_be_cancelled() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let control = Control::default();
        let long = Duration::from_secs(3600);
        let all = store.lock_all(Duration::ZERO, &control).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| store.lease_for(&control).unwrap_err().kind());
            control.cancel.cancel();
            assert_eq!(waiting.join().unwrap(), ErrorKind::Cancelled);
        });
        assert_eq!(store.lock_all(long, &control).unwrap_err().kind(), ErrorKind::Cancelled);
        drop(all);
        // An uncontended lock does not check for cancellation; the operation itself does soon enough.
        let _lease = store.lease_for(&control).unwrap();
    }
}
