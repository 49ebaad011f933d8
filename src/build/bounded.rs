//! Programs that fill a directory, and are ended when there is too much in it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::fs::dirents::Names;
use crate::fs::root::{open_dir_at, open_given};
use crate::fs::stat::stat_at;
use crate::progress::Cancel;
use crate::threads;

/// How often the directory is looked at, at most.
const OFTEN: Duration = Duration::from_millis(200);
/// How deep directories are followed.
const MAX_DEPTH: usize = 256;

/// Does work that fills a directory. When that has more than `cap` bytes, the work is cancelled, and the error says so.
pub(super) fn bounded<T>(
    operation: &'static str,
    dir: &Path,
    cap: u64,
    cancel: &Cancel,
    work: impl FnOnce(&Cancel) -> Result<T>,
) -> Result<T> {
    if cap == u64::MAX {
        return work(cancel);
    }
    let part = cancel.for_parts();
    let is_over = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        let (part, is_over) = (&part, &is_over);
        let watch = move || {
            let mut pause = OFTEN;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(pause) {
                let began = Instant::now();
                if has_more(dir, cap) {
                    is_over.store(true, Ordering::Relaxed);
                    part.cancel();
                    return;
                }
                // A large directory is looked at less often.
                pause = OFTEN.max(began.elapsed() * 10);
            }
        };
        // Without a thread what comes out is looked at alone.
        let watch = threads::spawn(scope, "treering-watch", watch);
        let result = work(part);
        drop(end);
        drop(watch.map(threads::join));
        result
    });
    if is_over.load(Ordering::Relaxed) || has_more(dir, cap) {
        return Err(Error::limit(operation, format!("more than {cap} bytes came")));
    }
    result
}

/// Returns whether files below a directory have more than `cap` bytes together. What vanishes meanwhile has none.
fn has_more(dir: &Path, cap: u64) -> bool {
    let mut sum = 0;
    let Ok(dir) = open_given(dir) else { return false };
    let mut todo = vec![(std::os::fd::OwnedFd::from(dir), 0)];
    while let Some((dir, depth)) = todo.pop() {
        let mut names = Names::default();
        if names.read(&dir).is_err() {
            continue;
        }
        for at in 0..names.len() {
            let Ok(stat) = stat_at(&dir, names.get(at)) else { continue };
            match stat.kind {
                Kind::File => sum += stat.size,
                Kind::Directory if depth < MAX_DEPTH => {
                    todo.extend(open_dir_at(&dir, names.get(at)).ok().map(|below| (below, depth + 1)));
                }
                _ => {}
            }
            if sum > cap {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn what_writes_without_end_is_cancelled_and_what_fits_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |most: usize| {
            let below = dir.path().join("a/b");
            move |cancel: &Cancel| -> Result<usize> {
                std::fs::create_dir_all(&below).unwrap();
                for number in 0..most {
                    cancel.check("write")?;
                    std::fs::write(below.join(number.to_string()), vec![7; 1 << 16]).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(most)
            }
        };
        let cancel = Cancel::default();
        assert_eq!(bounded("t", dir.path(), 1 << 20, &cancel, write(4)).unwrap(), 4);
        let began = Instant::now();
        let error = bounded("t", dir.path(), 1 << 20, &cancel, write(100_000)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(began.elapsed() < Duration::from_secs(60));
        // What came is too much, however fast it came; and the caller's own token is not touched.
        assert_eq!(bounded("t", dir.path(), 10, &cancel, |_| Ok(())).unwrap_err().kind(), ErrorKind::Limit);
        assert!(!cancel.is_cancelled());
        cancel.cancel();
        let error = bounded("t", dir.path(), u64::MAX - 1, &cancel, write(4)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }
}
