//! Files that are there already, compared with the content that they should have.

use std::os::fd::{AsFd, OwnedFd};

use super::create::{Made, Privileges, finish_existing};
use super::read::Data;
use super::source::is_zero;
use super::writers::Job;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::root::{open_file_at, was_replaced};
use crate::fs::stat::stat_fd;
use crate::tree::Meta;

const KEEP: &str = "check out";
/// How much of a file is read first: most files that differ do so in their beginning.
const HEAD: usize = 4096;
/// How much is read at once after that.
const PIECE: usize = 64 * 1024;

/// Returns the error for a file that another process is at work on.
pub(super) fn changed(path: &[u8]) -> Error {
    let message = "it changed, vanished or was replaced while the tree was checked out";
    Error::new(ErrorKind::Changed, KEEP, message).with_path(path)
}

/// Gives a file that is there the metadata that it should have, where it has the content. `None` when that is another one or cannot be
/// read: the file is to be made anew then.
pub(super) fn keep(
    job: &Job,
    found: &Meta,
    data: &[Data],
    buffer: &mut Vec<u8>,
    rights: Privileges,
) -> Result<Option<Made>> {
    let shown = &job.path;
    let fd = match open_file_at(&*job.dir, &job.name) {
        Ok(fd) => fd,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) if was_replaced(&error) => return Err(changed(shown).with_source(error)),
        Err(error) => return Err(Error::io(KEEP, shown, error)),
    };
    if !found.is_as_in(&stat_fd(&fd).at(KEEP, shown)?) {
        return Err(changed(shown));
    }
    if !has(&fd, data, buffer, shown)? {
        return Ok(None);
    }
    let made =
        finish_existing(job.dir.as_fd(), &job.name, &fd, &job.wanted, rights).at("set metadata", shown)?;
    // What was written to it before its time was set shows in its content alone.
    let same = has(&fd, data, buffer, shown)?;
    let after = stat_fd(&fd).at(KEEP, shown)?;
    if !same || (after.mtime, after.ctime, after.size) != (made.stat.mtime, made.stat.ctime, made.stat.size) {
        return Err(changed(shown));
    }
    Ok(Some(made))
}

/// Compares a file with content, from the beginning to the first difference.
fn has(fd: &OwnedFd, data: &[Data], buffer: &mut Vec<u8>, shown: &[u8]) -> Result<bool> {
    let mut at = 0;
    let mut most = HEAD;
    for data in data {
        let (length, bytes) = match data {
            Data::Bytes(slice) => (slice.range.len(), Some(&slice.chunk[slice.range.clone()])),
            Data::Hole(length) => (*length as usize, None),
        };
        let mut done = 0;
        while done < length {
            let wanted = (length - done).min(most);
            if buffer.len() < wanted {
                buffer.resize(PIECE, 0);
            }
            let got = match rustix::io::pread(fd, &mut buffer[..wanted], at) {
                Err(rustix::io::Errno::INTR) => continue,
                got => got.at("read file", shown)?,
            };
            let same = match bytes {
                Some(bytes) => buffer[..got] == bytes[done..done + got],
                None => is_zero(&buffer[..got]),
            };
            if got == 0 || !same {
                return Ok(false);
            }
            (done, at, most) = (done + got, at + got as u64, PIECE);
        }
    }
    Ok(true)
}
