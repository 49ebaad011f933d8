//! A file mapped read-only into memory.

use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

use super::stat::stat_fd;

/// The bytes of a file, mapped privately and read-only.
///
/// Only for files that are replaced by rename and never changed in place (the store's indexes are): a file cut short
/// under a mapping would raise SIGBUS in the reader. So nothing outside this crate can make one.
#[derive(Debug)]
pub struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is read-only and owned by this value alone.
unsafe impl Send for Map {}
// SAFETY: shared reads of read-only memory need no synchronisation.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the whole of `file`, which must be one of the store's own.
    pub(crate) fn new(file: impl AsFd) -> io::Result<Map> {
        let len = usize::try_from(stat_fd(&file)?.size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if len == 0 {
            return Ok(Map { start: NonNull::dangling(), len });
        }
        // SAFETY: a fresh private mapping chosen by the kernel aliases nothing of ours.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0)?
        };
        Ok(Map { start: NonNull::new(start.cast()).ok_or(io::ErrorKind::Other)?, len })
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is valid for `len` bytes until drop (or dangling with length 0), and nothing writes to it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: this is exactly the range mapped in `new`, and no reference to it outlives `self`.
            let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}
