//! Counts, names and starts threads.
//!
//! No operation depends on getting a thread: where the system refuses one, the threads that run do its work, the caller's
//! at the latest.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// The most threads one operation starts, whatever it is asked for.
const MOST: usize = 64;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_capped_and_zero_is_one_per_processor() {
        assert_eq!([count(1), count(64), count(65), count(usize::MAX)], [1, 64, 64, 64]);
        assert_eq!(count(0), processors().min(64));
    }

    #[test]
    fn threads_have_names_and_give_their_results_back() {
        let name = || std::thread::current().name().map(str::to_string);
        let scoped = std::thread::scope(|scope| join(spawn(scope, "treering-a", name).unwrap()));
        assert_eq!(scoped.as_deref(), Some("treering-a"));
        assert_eq!(start("treering-b", name).unwrap().join().unwrap().as_deref(), Some("treering-b"));
    }
}
