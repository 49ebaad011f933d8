//! Answering whether a suspect's content is the same.

use std::io;

use super::change::Change;
use crate::error::{At, Result};
use crate::fs::Root;
use crate::fs::root::{c_name, split};
use crate::tree::Snapshot;
use crate::tree::hash::hash_file_at;

fn hash(root: &Root, path: &[u8]) -> Result<[u8; 32]> {
    let (parent, name) = split(path);
    let hashed = || -> io::Result<[u8; 32]> {
        let dir = root.open_dir(parent)?;
        Ok(hash_file_at(&dir, &c_name(name)?, &mut Vec::new())?.0)
    };
    hashed().at("compare content", root.describe(path))
}

/// Compares a file of the new tree with the digest the old snapshot has of it. `None` where it has none.
pub fn same_as_digest(
    change: &Change,
    old_digest: Option<[u8; 32]>,
    new: &Snapshot,
    new_root: &Root,
) -> Result<Option<bool>> {
    let Some(expected) = old_digest else { return Ok(None) };
    Ok(Some(hash(new_root, &new.path(change.new))? == expected))
}

/// Compares the content of a path in two trees.
pub fn same_in_trees(
    change: &Change,
    old_root: &Root,
    new: &Snapshot,
    new_root: &Root,
) -> Result<Option<bool>> {
    let path = new.path(change.new);
    same_content((old_root, &path), (new_root, &path)).map(Some)
}

/// Compares the content of two files, each given by its root and the path below it.
pub fn same_content(a: (&Root, &[u8]), b: (&Root, &[u8])) -> Result<bool> {
    let open = |(root, path): (&Root, &[u8])| root.open_file(path).at("compare content", root.describe(path));
    let (left_fd, right_fd) = (open(a)?, open(b)?);
    let (mut left, mut right) = (vec![0u8; 128 * 1024], vec![0u8; 128 * 1024]);
    loop {
        let n = read_full(&left_fd, &mut left).at("compare content", a.0.describe(a.1))?;
        let m = read_full(&right_fd, &mut right).at("compare content", b.0.describe(b.1))?;
        if n != m || left[..n] != right[..m] {
            return Ok(false);
        }
        if n < left.len() {
            return Ok(true);
        }
    }
}

fn read_full(fd: &impl std::os::fd::AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(fd, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
