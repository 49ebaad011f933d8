//! Reading from a descriptor on which nothing may arrive for long.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::progress::Cancel;

/// How long a cancelled read goes on at most, in milliseconds.
const PATIENCE: libc::c_int = 100;

/// A descriptor's content, read as it comes: waiting for more ends when the operation is cancelled. Whether the descriptor
/// blocks makes no difference.
///
/// Where several processes read from one pipe, one of them can take what another was about to read, and that one waits as
/// any reader does.
#[derive(Debug)]
pub struct Input {
    file: File,
    cancel: Cancel,
}

impl Input {
    /// Returns a reader of `fd` that `cancel` ends.
    pub fn new(fd: impl Into<OwnedFd>, cancel: Cancel) -> Input {
        Input { file: File::from(fd.into()), cancel }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.cancel.check("read input")?;
            let mut ready = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry of ours, which the call fills in; the descriptor is open as long as `self`.
            match unsafe { libc::poll(&raw mut ready, 1, PATIENCE) } {
                0 => continue,
                ..0 => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    error => return Err(error),
                },
                _ => {}
            }
            match self.file.read(buffer) {
                // Another process took it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn waiting_ends_with_data_with_the_end_and_when_cancelled() {
        for flags in [OFlags::empty(), OFlags::NONBLOCK] {
            let (from, mut to) = io::pipe().unwrap();
            fcntl_setfl(&from, flags).unwrap();
            let cancel = Cancel::default();
            let mut input = Input::new(from, cancel.clone());
            let mut buffer = [0; 10];
            to.write_all(b"abc").unwrap();
            assert_eq!(input.read(&mut buffer).unwrap(), 3);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    to.write_all(b"de").unwrap();
                    drop(to);
                });
                let mut rest = Vec::new();
                input.read_to_end(&mut rest).unwrap();
                assert_eq!(rest, b"de");
            });

            let (from, _to) = io::pipe().unwrap();
            fcntl_setfl(&from, flags).unwrap();
            let mut input = Input::new(from, cancel.clone());
            std::thread::scope(|scope| {
                scope.spawn(|| cancel.cancel());
                let error = Error::io("read", "", input.read(&mut buffer).unwrap_err());
                assert_eq!(error.kind(), ErrorKind::Cancelled);
            });
        }
    }
}
