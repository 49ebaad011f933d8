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
    let open = |root: &Root| root.open_file(&path).at("compare content", root.describe(&path));
    let (a, b) = (open(old_root)?, open(new_root)?);
    let (mut left, mut right) = (vec![0u8; 128 * 1024], vec![0u8; 128 * 1024]);
    loop {
        let n = read_full(&a, &mut left).at("compare content", old_root.describe(&path))?;
        let m = read_full(&b, &mut right).at("compare content", new_root.describe(&path))?;
        if n != m || left[..n] != right[..m] {
            return Ok(Some(false));
        }
        if n < left.len() {
            return Ok(Some(true));
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
