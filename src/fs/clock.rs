//! The clock of the filesystem a tree is on, which is the only clock its timestamps may be compared with.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::stat::{Timestamp, stat_fd};

/// How coarse a kernel's timestamps can be: one tick at 100 Hz, the slowest supported configuration.
pub const TICK_NANOS: u32 = 10_000_000;

/// Reads the time as the filesystem would stamp it now.
///
/// An unnamed file (`O_TMPFILE`) is asked where the filesystem allows one: nothing in the tree changes by it. Otherwise
/// (read-only, not ours to write) the kernel's coarse clock answers, which is what local filesystems stamp with.
pub fn now(dir: impl AsFd) -> io::Result<Timestamp> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::openat(dir, c".", flags, Mode::RUSR) {
        return Ok(stat_fd(&fd)?.ctime);
    }
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills in.
    if unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Timestamp::new(now.tv_sec, now.tv_nsec as u32))
}

/// How often a wait looks at the clock, and how many times at most: some three ticks.
const LOOK: Duration = Duration::from_millis(4);
const LOOKS: u32 = 8;

/// Waits until the filesystem's clock has moved past `newest` by a tick, at most three ticks.
pub fn wait_past(dir: impl AsFd, newest: Timestamp) -> io::Result<Timestamp> {
    let mut at = now(&dir)?;
    for _ in 0..LOOKS {
        if at.minus_nanos(TICK_NANOS) > newest {
            break;
        }
        std::thread::sleep(LOOK);
        at = now(&dir)?;
    }
    Ok(at)
}

/// Returns the moment from which on `newest` is more than a tick ago: now, or one that [`wait_for`] waits for, so that other work can
/// be done until then. A time that is farther ahead is of a clock that was set back: no wait would help, and it is now.
pub fn past(dir: impl AsFd, newest: Timestamp) -> io::Result<Timestamp> {
    let now = now(dir)?;
    let past = newest.plus_nanos(TICK_NANOS + 1);
    Ok(if past <= now || past.minus_nanos(2 * TICK_NANOS) > now { now } else { past })
}

/// Waits until the filesystem's clock shows a moment that [`past`] gave. Returns false when it does not come, because the clock is set
/// back meanwhile.
pub fn wait_for(dir: impl AsFd, moment: Timestamp) -> io::Result<bool> {
    for _ in 0..LOOKS {
        if now(&dir)? >= moment {
            return Ok(true);
        }
        std::thread::sleep(LOOK);
    }
    Ok(now(dir)? >= moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_waited_for_that_a_clock_can_reach() {
        let dir = std::fs::File::open(std::env::temp_dir()).unwrap();
        let stamped = now(&dir).unwrap();
        let clear = past(&dir, stamped).unwrap();
        assert!(clear.minus_nanos(TICK_NANOS) > stamped);
        assert!(wait_for(&dir, clear).unwrap());
        assert!(now(&dir).unwrap() >= clear);
        // What is long ago is waited for by no one, and what is far ahead neither.
        let now_or_later = |newest| past(&dir, newest).unwrap();
        for other in [Timestamp::default(), Timestamp::new(stamped.secs + 1000, 0)] {
            let moment = now_or_later(other);
            assert!(moment >= clear && moment.secs < stamped.secs + 1000, "{moment:?}");
        }
        assert!(!wait_for(&dir, Timestamp::new(stamped.secs + 1000, 0)).unwrap());
    }
}
