//! The sha256 of one file's content.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use sha2::{Digest as _, Sha256};

use crate::fs::Stat;
use crate::fs::root::open_file_at;
use crate::fs::stat::stat_fd;
use crate::progress::{Control, Share};

/// Reads the file `name` in `dir` and gives its sha256, with its metadata from after the reading. Adds to
/// [`Counters::bytes_read`](crate::Counters::bytes_read).
///
/// # Errors
/// Those of the system; an [`Error`](crate::Error) of kind [`Cancelled`](crate::ErrorKind::Cancelled) comes inside of one.
pub fn hash_file_at(
    dir: impl AsFd,
    name: &CStr,
    buffer: &mut Vec<u8>,
    control: &Control,
) -> io::Result<([u8; 32], Stat)> {
    hash_file(open_file_at(dir, name)?, buffer, control)
}

/// Does what [`hash_file_at`] does for an open file, from its beginning.
pub fn hash_file(fd: impl AsFd, buffer: &mut Vec<u8>, control: &Control) -> io::Result<([u8; 32], Stat)> {
    let mut offset = 0;
    buffer.resize(256 * 1024, 0);
    let share = Share::new(control, stat_fd(&fd)?.size);
    let mut hasher = Sha256::new();
    loop {
        control.check("read file")?;
        match rustix::io::pread(&fd, &mut buffer[..], offset) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(&buffer[..n]);
                offset += n as u64;
                share.add(n as u64);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((hasher.finalize().into(), stat_fd(&fd)?))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn reading_is_counted_and_can_be_cancelled() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a"), vec![0; 1_000_000]).unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        let control = Control::default();
        let (digest, stat) = hash_file_at(&dir, c"a", &mut Vec::new(), &control).unwrap();
        assert_eq!(digest, *crate::Digest::of(&vec![0; 1_000_000]).bytes());
        assert_eq!((stat.size, control.counters.bytes_read.load(Ordering::Relaxed)), (1_000_000, 1_000_000));
        control.cancel.cancel();
        let error = hash_file_at(&dir, c"a", &mut Vec::new(), &control).unwrap_err();
        assert_eq!(Error::io("hash", "a", error).kind(), ErrorKind::Cancelled);
    }
}
