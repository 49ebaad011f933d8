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

/// Waits until the filesystem's clock has moved past `newest` by a tick, at most three ticks.
pub fn wait_past(dir: impl AsFd, newest: Timestamp) -> io::Result<Timestamp> {
    let mut at = now(&dir)?;
    for _ in 0..8 {
        if at.minus_nanos(TICK_NANOS) > newest {
            break;
        }
        std::thread::sleep(Duration::from_millis(4));
        at = now(&dir)?;
    }
    Ok(at)
}
