//! Locks: leases that writers share and prune waits for, and the lock around `index.json`.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use cap_std::fs::OpenOptions;

use super::layout::Store;
use crate::error::{At, Error, ErrorKind, Result};

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

impl Store {
    /// Takes a [`Lease`], waiting while a prune is at work (prune never waits for anything while it holds the lock).
    pub fn lease(&self) -> Result<Lease> {
        let file = self.open_lock("lock")?;
        retry(|| file.lock_shared()).at("take lease", "lock")?;
        Ok(Lease { _file: file })
    }

    /// Waits until no lease is left, at most `wait`; then [`ErrorKind::Busy`].
    pub(super) fn lock_all(&self, wait: Duration) -> Result<Exclusive> {
        let file = self.open_lock("lock")?;
        let end = Instant::now().checked_add(wait);
        let mut pause = Duration::from_millis(1);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Exclusive { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(Error::io("lock store", "lock", error)),
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                let message = "another process is writing to the store";
                return Err(Error::new(ErrorKind::Busy, "lock store", message)
                    .with_path("lock")
                    .with_hint("try again when it has finished"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// The lock around reading, changing and replacing `index.json`; held for milliseconds.
    pub(super) fn lock_index(&self) -> Result<Exclusive> {
        let file = self.open_lock("index.lock")?;
        retry(|| file.lock()).at("lock index", "index.lock")?;
        Ok(Exclusive { _file: file })
    }

    /// Each lock is its own open file: threads of one process exclude one another as processes do.
    fn open_lock(&self, name: &str) -> Result<File> {
        let file = self.0.dir.open_with(name, OpenOptions::new().read(true)).at("open lock", name)?;
        Ok(file.into_std())
    }
}

fn retry(mut call: impl FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
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
        let busy = |store: &Store| store.lock_all(Duration::from_millis(20)).unwrap_err().kind();
        assert_eq!(busy(&store), ErrorKind::Busy);
        drop(one);
        assert_eq!(busy(&store), ErrorKind::Busy);
        drop(two);
        let _all = store.lock_all(Duration::ZERO).unwrap();
    }
}
