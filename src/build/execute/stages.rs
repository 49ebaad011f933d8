//! Stages at once: what each waits for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::OP;
use crate::build::state::State;
use crate::error::Result;
use crate::progress::Control;
use crate::threads::{self, lock};

/// Most stages that are built at once. Only commands need a processor each.
const MOST: usize = 16;
/// How often a wait looks at the cancel token.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// The results of stages, for other stages to wait for.
#[derive(Debug)]
pub(super) struct States {
    done: Mutex<Vec<Option<State>>>,
    /// Which of them a thread has taken to build.
    taken: Mutex<Vec<bool>>,
    came: Condvar,
}

impl States {
    /// Makes an empty set, with those `taken` that are planned.
    pub(super) fn new(stages: usize, planned: &[usize]) -> States {
        let mut taken = vec![false; stages];
        planned.iter().for_each(|&at| taken[at] = true);
        States { done: Mutex::new(vec![None; stages]), taken: Mutex::new(taken), came: Condvar::new() }
    }

    /// Claims a stage that no thread builds yet.
    pub(super) fn take(&self, at: usize) -> bool {
        !std::mem::replace(&mut lock(&self.taken)[at], true)
    }

    pub(super) fn put(&self, at: usize, state: State) {
        lock(&self.done)[at] = Some(state);
        self.came.notify_all();
    }

    #[cfg(feature = "sandbox")]
    pub(super) fn is_done(&self, at: usize) -> bool {
        lock(&self.done)[at].is_some()
    }

    /// Waits for a stage.
    pub(super) fn wait(&self, at: usize, control: &Control) -> Result<State> {
        let mut done = lock(&self.done);
        loop {
            if let Some(state) = &done[at] {
                return Ok(state.clone());
            }
            control.check(OP)?;
            done = self.came.wait_timeout(done, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A guard that cancels the other stages when one panics.
struct EndsAll<'a>(&'a Control);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel.cancel();
        }
    }
}

/// Calls `build` for every stage of `order`, several at once, each begun in that order. The first error cancels the others, and is
/// the result.
///
/// A stage waits for earlier ones only, so the earliest one that is not done always goes on.
pub(super) fn each(
    order: &[usize],
    control: &Control,
    build: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let work = || {
        let _ends_all = EndsAll(control);
        while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = control.check(OP).and_then(|()| build(*at)) {
                lock(&failed).get_or_insert(error);
                control.cancel.cancel();
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = (1..order.len().min(MOST))
            .map_while(|_| threads::spawn(scope, "treering-stage", work).ok())
            .collect();
        work();
        started.into_iter().for_each(threads::join);
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
