//! Changing permission bits without following a symbolic link.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::descriptors::proc_path;

const SYS_FCHMODAT2: libc::c_long = 452;

/// Probes for `fchmodat2(2)`, by a call without a usable descriptor.
pub(super) fn probe() -> io::Result<()> {
    // SAFETY: the name is a constant; no descriptor, so no file, is named.
    let result = unsafe { libc::syscall(SYS_FCHMODAT2, -1, c"x".as_ptr(), 0, libc::AT_SYMLINK_NOFOLLOW) };
    debug_assert_eq!(result, -1);
    there(io::Error::last_os_error())
}

/// Returns whether the system has a call that failed for want of a usable descriptor: then the error is EBADF.
pub(super) fn there(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::EBADF) { Ok(()) } else { Err(error) }
}

/// Sets the permission bits of `name` in `dir`. A symbolic link is an error: it has no bits of its own.
pub fn chmod_at(dir: impl AsFd, name: &CStr, mode: u32) -> io::Result<()> {
    let dir = dir.as_fd();
    // SAFETY: `name` lives through the call, which writes nothing to this memory.
    let result = unsafe {
        libc::syscall(
            SYS_FCHMODAT2,
            dir.as_raw_fd(),
            name.as_ptr(),
            mode as libc::c_uint,
            libc::AT_SYMLINK_NOFOLLOW,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
        return Err(error);
    }
    // Before Linux 6.6: hold the file itself by an O_PATH descriptor, then change it through /proc.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    if super::stat::stat_fd(&fd)?.kind == super::stat::Kind::Symlink {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    Ok(rustix::fs::chmodat(rustix::fs::CWD, proc_path(&fd), Mode::from_raw_mode(mode), AtFlags::empty())?)
}
