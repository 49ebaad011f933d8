//! Locks: leases that writers share and prune waits for, and the lock around `index.json`.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use cap_std::fs::OpenOptions;

use super::layout::Store;
use crate::error::{At, Error, ErrorKind, Result};
use crate::progress::Control;

/// A writer's claim on the whole store: while any process holds one, [`Store::prune`] removes nothing.
///
/// Take it before the first blob of an image is written (or found to be there already) and drop it after the image is
/// tagged. Readers that open several blobs of one image one after another want one too. It is a shared `flock`, so
/// it also ends with the process. A lease does not keep others from writing.
#[derive(Debug)]
#[must_use = "a lease ends when it is dropped"]
pub struct Lease {
    _file: File,
}

/// An exclusive lock, released on drop.
#[derive(Debug)]
pub(super) struct Exclusive {
    _file: File,
}

/// Short enough for whoever cancels, and for the many who wait for `index.json` at once.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// How long the lock around `index.json` is waited for. Whoever holds it for longer was stopped, or hangs on a dead disk.
const INDEX_WAIT: Duration = Duration::from_secs(60);

impl Store {
    /// Takes a [`Lease`], waiting while a prune is at work (prune never waits for anything while it holds the lock).
    /// [`Store::lease_for`] can be cancelled meanwhile.
    pub fn lease(&self) -> Result<Lease> {
        self.lease_for(&Control::default())
    }

    /// [`Store::lease`] for an operation that can be cancelled.
    pub fn lease_for(&self, control: &Control) -> Result<Lease> {
        const OP: &str = "take lease";
        self.lock("lock", OP, |file| file.try_lock_shared(), None, control).map(|file| Lease { _file: file })
    }

    /// Waits until no lease is left, at most `wait`; then [`ErrorKind::Busy`].
    pub(super) fn lock_all(&self, wait: Duration, control: &Control) -> Result<Exclusive> {
        self.lock("lock", "lock store", |file| file.try_lock(), Some(wait), control)
            .map(|file| Exclusive { _file: file })
    }

    /// The lock around reading, changing and replacing `index.json`; held for milliseconds.
    pub(super) fn lock_index(&self) -> Result<Exclusive> {
        let (wait, control) = (Some(INDEX_WAIT), Control::default());
        self.lock("index.lock", "lock index", |file| file.try_lock(), wait, &control)
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
    ) -> Result<File> {
        let file =
            self.0.dir.open_with(name, OpenOptions::new().read(true)).at("open lock", name)?.into_std();
        let end = wait.and_then(|wait| Instant::now().checked_add(wait));
        let mut pause = Duration::from_micros(200);
        loop {
            match take(&file) {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(Error::io(operation, name, error)),
            }
            control.check(operation)?;
            if end.is_some_and(|end| Instant::now() >= end) {
                let message = "another process is writing to the store";
                return Err(Error::new(ErrorKind::Busy, operation, message)
                    .with_path(name)
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

    #[test]
    fn whoever_waits_can_be_cancelled() {
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
        // Who need not wait is not asked; the operation itself asks soon enough.
        let _lease = store.lease_for(&control).unwrap();
    }
}
