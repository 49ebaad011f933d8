//! Descriptors by their numbers: another one for an open file, its path in /proc, and which of the first three a process was
//! started without.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Duplicates a descriptor by its number, as `/dev/fd/N` names it: the new one shares offset and flags such as O_APPEND.
///
/// # Errors
/// EBADF where no file is open under that number.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes any number; one that is no open descriptor is EBADF.
    let new = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if new < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made it, for this caller alone.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Returns the path of an open file in /proc, which leads to the file itself whatever its name is now (proc(5)).
pub(crate) fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Returns whether the process was started without this descriptor (0, 1 or 2). The standard library then opens /dev/null
/// under its number, and what is written there would be lost without an error.
///
/// Always false in a library that another program embeds: only the command looks, before anything else runs.
pub fn closed_at_start(number: RawFd) -> bool {
    #[cfg(feature = "cli")]
    return start::CLOSED.load(std::sync::atomic::Ordering::Relaxed) >> number & 1 != 0;
    #[cfg(not(feature = "cli"))]
    {
        let _ = number;
        false
    }
}

#[cfg(feature = "cli")]
mod start {
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Bits, one for each of the three.
    pub static CLOSED: AtomicU8 = AtomicU8::new(0);

    extern "C" fn look() {
        for number in 0..3 {
            // SAFETY: F_GETFD changes nothing and takes any number.
            if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
                CLOSED.fetch_or(1 << number, Ordering::Relaxed);
            }
        }
    }

    // SAFETY: the loader calls what stands in this section before `main`, with arguments that `look` does not take, which the C
    // calling convention allows; `look` uses neither the heap nor anything of the standard library that has to be set up.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_duplicate_shares_the_offset() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one").unwrap();
        let mut same = std::fs::File::from(duplicate(file.as_raw_fd()).unwrap());
        same.write_all(b"two").unwrap();
        let mut text = String::new();
        std::io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "onetwo");
        assert_eq!(duplicate(1 << 20).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
