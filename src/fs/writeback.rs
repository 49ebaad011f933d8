//! Asking the kernel to write early what will be synced later.

use std::os::fd::{AsFd, AsRawFd};

/// How much is written between two calls of [`start`] on one file.
pub const STRIDE: u64 = 16 << 20;

/// Starts writing a range of a file to its disk, and does not wait for it: the `fsync` at the end then finds little left
/// to do (`sync_file_range(2)`). Only a hint: without it the file is as safe, so what goes wrong here is not an error.
pub fn start(file: impl AsFd, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the call takes no pointer; the descriptor is open for as long as the borrow.
    unsafe {
        libc::sync_file_range(file.as_fd().as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}
