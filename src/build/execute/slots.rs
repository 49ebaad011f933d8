//! How many commands run at once.

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, PoisonError};

use super::OP;
use super::stages::LOOK;
use crate::error::Result;
use crate::progress::Control;
use crate::threads::{self, lock};

/// Places for commands that run at once.
#[derive(Debug)]
pub(super) struct Slots {
    free: Mutex<usize>,
    came: Condvar,
}

/// A place for a command, as long as this value is there.
#[derive(Debug)]
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    /// Makes so many; one per processor for 0.
    pub(super) fn new(most: usize) -> Slots {
        let most = NonZeroUsize::new(most).map_or_else(threads::processors, NonZeroUsize::get);
        Slots { free: Mutex::new(most), came: Condvar::new() }
    }

    /// Waits for one that is free.
    pub(super) fn take(&self, control: &Control) -> Result<Slot<'_>> {
        let mut free = lock(&self.free);
        loop {
            control.check(OP)?;
            if *free > 0 {
                *free -= 1;
                return Ok(Slot(self));
            }
            free = self.came.wait_timeout(free, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.came.notify_one();
    }
}
