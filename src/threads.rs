//! Counts, names and starts threads.
//!
//! No operation depends on getting a thread: where the system refuses one, the threads that run do its work, the caller's
//! at the latest.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use crate::error::Result;

/// The most threads one operation starts, whatever it is asked for.
pub(crate) const MOST: usize = 64;

/// Returns the number of processors this process may use; 1 where that cannot be found out.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Returns the number of threads to start where `wanted` are asked for: 0 is one per processor, and never more than 64.
pub fn count(wanted: usize) -> usize {
    if wanted == 0 { processors().min(MOST) } else { wanted.min(MOST) }
}

/// Starts a thread that ends within a scope. The system shows at most 15 bytes of the name (pthread_setname_np(3)).
///
/// # Errors
/// The system's, when it grants no further thread. `work` is dropped then.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().name(name.into()).spawn_scoped(scope, work)
}

/// Starts a thread that may outlive its caller. See [`spawn`].
///
/// # Errors
/// The system's, when it grants no further thread. `work` is dropped then.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(work)
}

/// Locks a mutex. A thread that panicked while it held it has left nothing half done in what it guards.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a thread and returns its result. A panic there goes on here.
pub fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Gives each item to `work`, on this thread and on up to `count - 1` others, and returns the results in no particular order.
/// `state` makes what one thread keeps between its items.
///
/// # Errors
/// Those of `work`: after one, no further item is begun.
pub fn each<I: Sync, S, T: Send>(
    count: usize,
    name: &str,
    items: &[I],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let run = || -> Result<Vec<T>> {
        let (mut state, mut done) = (state(), Vec::new());
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = work(&mut state, item);
            done.push(result.inspect_err(|_| next.store(items.len(), Ordering::Relaxed))?);
        }
        Ok(done)
    };
    let parts = std::thread::scope(|scope| {
        let start = |_| spawn(scope, name, run).ok();
        let others: Vec<_> = (1..count.min(items.len())).map_while(start).collect();
        let mut parts = vec![run()];
        parts.extend(others.into_iter().map(join));
        parts
    });
    let mut all = Vec::with_capacity(items.len());
    for part in parts {
        all.append(&mut part?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn counts_are_capped_and_zero_is_one_per_processor() {
        assert_eq!([count(1), count(64), count(65), count(usize::MAX)], [1, 64, 64, 64]);
        assert_eq!(count(0), processors().min(64));
    }

    #[test]
    fn every_item_is_worked_on_once_and_an_error_ends_it() {
        let items: Vec<u32> = (0..1000).collect();
        for count in [0, 1, 4, 5000] {
            let seen = AtomicUsize::new(0);
            let work = |all: &mut u32, item: &u32| {
                *all += 1;
                seen.fetch_add(1, Ordering::Relaxed);
                match *item {
                    700.. if count == 4 => Err(Error::invalid("work", "too much")),
                    item => Ok((item, *all)),
                }
            };
            let done = each(count, "treering-each", &items, || 0, work);
            if count == 4 {
                assert_eq!(done.unwrap_err().message(), "too much");
                assert!((701..1000).contains(&seen.into_inner()), "some were never begun");
                continue;
            }
            let mut done = done.unwrap();
            done.sort_unstable();
            assert!(done.iter().map(|(item, _)| item).eq(&items));
            assert!(count > 1 || done.iter().all(|(item, all)| *all == item + 1), "one thread, one state");
        }
        assert!(each(4, "treering-each", &[], || (), |(), (): &()| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn threads_have_names_and_give_their_results_back() {
        let name = || std::thread::current().name().map(str::to_string);
        let scoped = std::thread::scope(|scope| join(spawn(scope, "treering-a", name).unwrap()));
        assert_eq!(scoped.as_deref(), Some("treering-a"));
        assert_eq!(start("treering-b", name).unwrap().join().unwrap().as_deref(), Some("treering-b"));
    }
}
