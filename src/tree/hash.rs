//! The sha256 of one file's content.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use sha2::{Digest as _, Sha256};

use crate::fs::root::open_file_at;
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Stat};

/// Reads the file `name` in `dir` and gives its sha256, with its metadata from after the reading.
pub fn hash_file_at(dir: impl AsFd, name: &CStr, buffer: &mut Vec<u8>) -> io::Result<([u8; 32], Stat)> {
    let fd = open_file_at(dir, name)?;
    if stat_fd(&fd)?.kind != Kind::File {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file any more"));
    }
    buffer.resize(256 * 1024, 0);
    let mut hasher = Sha256::new();
    loop {
        match rustix::io::read(&fd, &mut buffer[..]) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((hasher.finalize().into(), stat_fd(&fd)?))
}
