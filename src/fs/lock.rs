//! Locks that end with a value: flock(2) on a file or directory.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};

/// A file or directory with a `flock` that ends with this value.
///
/// Closing the file would not be enough: a child forked meanwhile has a copy of the descriptor, until it starts its program or ends, and a
/// lock belongs to the open file that both share (flock(2)). Unlocking ends it for all copies.
#[derive(Debug)]
pub(crate) struct Locked<F: AsFd = File> {
    file: F,
    /// The process that took the lock: a forked child has a copy of this value and must not end what its parent holds.
    process: u32,
}

impl<F: AsFd> Locked<F> {
    /// Takes over a file that is locked.
    pub fn new(file: F) -> Locked<F> {
        Locked { file, process: std::process::id() }
    }

    /// Locks a file, `alone` or shared with others. `None` while another has it.
    pub fn try_new(file: F, alone: bool) -> io::Result<Option<Locked<F>>> {
        let how = match alone {
            true => FlockOperation::NonBlockingLockExclusive,
            false => FlockOperation::NonBlockingLockShared,
        };
        match retry_on_intr(|| rustix::fs::flock(&file, how)) {
            Ok(()) => Ok(Some(Locked::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Locks a file alone, and waits for that as long as another has it.
    #[cfg(feature = "sandbox")]
    pub fn wait(file: F) -> io::Result<Locked<F>> {
        retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
        Ok(Locked::new(file))
    }

    /// Returns the file.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Returns whether this process took the lock, rather than the one it was forked from.
    pub fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

impl<F: AsFd> Drop for Locked<F> {
    fn drop(&mut self) {
        if self.is_ours() {
            // Closing follows, which unlocks as well unless the descriptor was inherited.
            let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that was forked meanwhile has the descriptor until it ends: the lock is free all the same.
    #[test]
    fn a_lock_ends_though_a_copy_of_its_descriptor_stays_open() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::create(dir.path().join("lock")).unwrap();
        for alone in [true, false] {
            let lock = Locked::try_new(open(), alone).unwrap().unwrap();
            let copy = lock.file().try_clone().unwrap();
            assert!(Locked::try_new(open(), true).unwrap().is_none());
            drop(lock);
            assert!(Locked::try_new(open(), true).unwrap().is_some());
            drop(copy);
        }
    }

    /// A forked child has a copy of the value too.
    #[test]
    fn a_copy_in_a_child_ends_nothing() {
        let file = tempfile::tempfile().unwrap();
        let lock = Locked::try_new(file.try_clone().unwrap(), true).unwrap().unwrap();
        let mut child = Locked::new(file);
        child.process += 1;
        assert!(!child.is_ours());
        drop(child);
        let other =
            File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(lock.file()))).unwrap();
        assert!(Locked::try_new(other, true).unwrap().is_none());
    }
}
