//! Answering whether a suspect's content is the same.

use std::io;
use std::os::fd::AsFd;

use super::change::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::root::was_replaced;
use crate::fs::stat::stat_fd;
use crate::fs::{Root, Stat};
use crate::progress::{Control, Share};
use crate::tree::hash::hash_file;
use crate::tree::{Flags, Meta, Snapshot};

const COMPARE: &str = "compare content";

fn changed(root: &Root, path: &[u8]) -> Error {
    let message = "the file changed, vanished or was replaced while the tree was compared";
    Error::new(ErrorKind::Changed, COMPARE, message).with_path(root.describe(path))
}

/// Explains an error of reading: what was scanned a moment ago and cannot be read now has changed, and is not missing.
fn explain(error: io::Error, root: &Root, path: &[u8]) -> Error {
    if was_replaced(&error) {
        return changed(root, path).with_source(error);
    }
    Error::io(COMPARE, root.describe(path), error)
}

fn hash(root: &Root, path: &[u8], control: &Control) -> io::Result<([u8; 32], Stat)> {
    let (digest, stat) = hash_file(root.open_file(path)?, &mut Vec::new(), control)?;
    Ok((digest, root.as_scanned(stat)))
}

/// Compares a file of the new tree with the digest the old snapshot has of it. `None` where it has none.
///
/// # Errors
/// [`ErrorKind::Changed`] when the file is not the one the snapshot has any more.
pub fn same_as_digest(
    change: &Change,
    old_digest: Option<[u8; 32]>,
    new: &Snapshot,
    new_root: &Root,
    control: &Control,
) -> Result<Option<bool>> {
    has_digest(change.new, old_digest, new, new_root, control)
}

/// Compares one file of a tree that was scanned a moment ago with a digest, as [`same_as_digest`] does.
pub(crate) fn has_digest(
    index: u32,
    expected: Option<[u8; 32]>,
    scanned: &Snapshot,
    root: &Root,
    control: &Control,
) -> Result<Option<bool>> {
    let Some(expected) = expected else { return Ok(None) };
    // What is as the index of the tree has it has the content that the index has.
    let sure = !scanned.meta(index).flags.contains(Flags::RACY);
    if let Some(digest) = scanned.digest(index).filter(|_| sure) {
        return Ok(Some(digest == expected));
    }
    let path = scanned.path(index);
    let (digest, stat) = hash(root, &path, control).map_err(|error| explain(error, root, &path))?;
    if !scanned.meta(index).is_as_in(&stat) {
        return Err(changed(root, &path));
    }
    Ok(Some(digest == expected))
}

/// Reads a file that was scanned a moment ago. `None` where it cannot be read, or is not what was scanned any more.
pub(crate) fn digest_of(index: u32, scanned: &Snapshot, root: &Root, control: &Control) -> Option<[u8; 32]> {
    let (digest, stat) = hash(root, &scanned.path(index), control).ok()?;
    scanned.meta(index).is_as_in(&stat).then_some(digest)
}

/// Compares the content of a path in two trees. The old one may be a copy of what the old snapshot was made of.
///
/// # Errors
/// [`ErrorKind::Changed`] when the new file is not the one the snapshot has any more.
pub fn same_in_trees(
    change: &Change,
    old_root: &Root,
    new: &Snapshot,
    new_root: &Root,
    control: &Control,
) -> Result<Option<bool>> {
    let path = new.path(change.new);
    compare((old_root, &path, None), (new_root, &path, Some(&new.meta(change.new))), control).map(Some)
}

/// Compares the content of a path in two trees that were both scanned a moment ago.
pub(crate) fn same_in_scans(
    change: &Change,
    (old, old_root): (&Snapshot, &Root),
    (new, new_root): (&Snapshot, &Root),
    control: &Control,
) -> Result<Option<bool>> {
    let path = new.path(change.new);
    let (left, right) = (old.meta(change.old), new.meta(change.new));
    compare((old_root, &path, Some(&left)), (new_root, &path, Some(&right)), control).map(Some)
}

/// Compares the content of two files, each given by its root and the path below it.
pub fn same_content(a: (&Root, &[u8]), b: (&Root, &[u8]), control: &Control) -> Result<bool> {
    compare((a.0, a.1, None), (b.0, b.1, None), control)
}

/// A root, a path below it, and what is known of the file there.
type Side<'a> = (&'a Root, &'a [u8], Option<&'a Meta>);

fn compare(a: Side<'_>, b: Side<'_>, control: &Control) -> Result<bool> {
    let open = |(root, path, _): Side<'_>| {
        let opened = root.open_file(path).and_then(|fd| Ok((stat_fd(&fd)?, fd)));
        opened.map_err(|error| explain(error, root, path))
    };
    let ((left_before, left_fd), (right_before, right_fd)) = (open(a)?, open(b)?);
    let share = Share::new(control, left_before.size.saturating_add(right_before.size));
    let (mut left, mut right) = (vec![0u8; 128 * 1024], vec![0u8; 128 * 1024]);
    let mut offset = 0;
    let same = loop {
        control.check(COMPARE)?;
        let n = read_full(&left_fd, &mut left, offset).map_err(|error| explain(error, a.0, a.1))?;
        let m = read_full(&right_fd, &mut right, offset).map_err(|error| explain(error, b.0, b.1))?;
        offset += n as u64;
        share.add((n + m) as u64);
        if n != m || left[..n] != right[..m] {
            break false;
        }
        if n < left.len() {
            break true;
        }
    };
    let whole = |(root, path, meta): Side<'_>, fd, before: &Stat| {
        let after = stat_fd(fd).map_err(|error| explain(error, root, path))?;
        let scanned = root.as_scanned(after);
        let quiet = (after.size, after.ctime) == (before.size, before.ctime);
        match quiet && meta.is_none_or(|meta| meta.is_as_in(&scanned)) {
            true => Ok(()),
            false => Err(changed(root, path)),
        }
    };
    whole(a, &left_fd, &left_before)?;
    whole(b, &right_fd, &right_before)?;
    Ok(same)
}

/// Reads by offset: a descriptor may be shared.
fn read_full(fd: &impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
