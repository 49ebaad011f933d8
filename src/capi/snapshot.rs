//! Snapshots: taking, saving, loading, looking things up.

use std::sync::Arc;

use super::arguments::{Bytes, Out, bad};
use super::error::treering_error;
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::report::copy_list;
use super::status::treering_status;
use super::structures::{Items, Plain, Record};
use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::layer::header::EntryKind;
use crate::tree::Snapshot;

/// The sorted list of everything in a tree at one moment. Owned by the caller, freed with treering_snapshot_free(). Never
/// changes, so any number of threads may use it at once.
///
/// Entries are numbered; number 0 is the root directory.
pub struct treering_snapshot {
    _opaque: (),
}
noun!(treering_snapshot, Arc<Snapshot>);

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum treering_file_kind {
    /// A regular file.
    TREERING_FILE = 1,
    /// A directory.
    TREERING_DIRECTORY = 2,
    /// A symbolic link.
    TREERING_SYMLINK = 3,
    /// A character device.
    TREERING_CHAR_DEVICE = 4,
    /// A block device.
    TREERING_BLOCK_DEVICE = 5,
    /// A named pipe.
    TREERING_FIFO = 6,
    /// A socket.
    TREERING_SOCKET = 7,
    /// Another name for an earlier entry. Only in a treering_layer_list: in a tree, see treering_entry::leader.
    TREERING_HARDLINK = 8,
}

impl From<EntryKind> for treering_file_kind {
    fn from(kind: EntryKind) -> treering_file_kind {
        match kind {
            EntryKind::File => Self::TREERING_FILE,
            EntryKind::Directory => Self::TREERING_DIRECTORY,
            EntryKind::Symlink => Self::TREERING_SYMLINK,
            EntryKind::Hardlink => Self::TREERING_HARDLINK,
            EntryKind::CharDevice => Self::TREERING_CHAR_DEVICE,
            EntryKind::BlockDevice => Self::TREERING_BLOCK_DEVICE,
            EntryKind::Fifo => Self::TREERING_FIFO,
        }
    }
}

impl From<Kind> for treering_file_kind {
    fn from(kind: Kind) -> treering_file_kind {
        match kind {
            Kind::File => Self::TREERING_FILE,
            Kind::Directory => Self::TREERING_DIRECTORY,
            Kind::Symlink => Self::TREERING_SYMLINK,
            Kind::CharDevice => Self::TREERING_CHAR_DEVICE,
            Kind::BlockDevice => Self::TREERING_BLOCK_DEVICE,
            Kind::Fifo => Self::TREERING_FIFO,
            Kind::Socket => Self::TREERING_SOCKET,
        }
    }
}

/// An entry of a snapshot.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_entry {
    /// The path, components joined by `/`, without a leading one; empty for the root. Any bytes but NUL. How long it lives
    /// is said where the entry comes from.
    pub path: *const u8,
    /// The bytes in `path`.
    pub path_len: usize,
    /// The target of a symbolic link, else empty. Lives as long as the snapshot.
    pub target: *const u8,
    /// The bytes in `target`.
    pub target_len: usize,
    /// The length of a regular file in bytes; 0 for everything else.
    pub size: u64,
    /// Last change of content: seconds since 1970.
    pub mtime_secs: i64,
    /// Last change of content: nanoseconds to add, 0 to 999999999.
    pub mtime_nanos: u32,
    /// The kind of the entry.
    pub kind: treering_file_kind,
    /// Permission bits with setuid, setgid and sticky: 0 to 07777.
    pub mode: u32,
    /// Owner, as a layer would have it.
    pub uid: u32,
    /// Group, as a layer would have it.
    pub gid: u32,
    /// Major number of a device.
    pub rdev_major: u32,
    /// Minor number of a device.
    pub rdev_minor: u32,
    /// How many names the file has, inside the tree or out of it.
    pub nlink: u32,
    /// The number of the entry in its snapshot.
    pub index: u32,
    /// The number of the directory it is in; the root is in itself.
    pub parent: u32,
    /// The number of the first entry, in path order, of those that are the same file (hard links); its own when it is alone.
    pub leader: u32,
    /// How many extended attributes it has, see treering_snapshot_xattrs().
    pub xattrs: u32,
    /// Whether `digest` is known.
    pub has_digest: bool,
    /// The sha256 of the content, where it was taken.
    pub digest: [u8; 32],
}
impl Plain for treering_entry {}

/// An extended attribute. The pointers live as long as the snapshot or list it is from.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_xattr {
    /// The name.
    pub name: *const u8,
    /// The bytes in `name`.
    pub name_len: usize,
    /// The value.
    pub value: *const u8,
    /// The bytes in `value`.
    pub value_len: usize,
}
impl Plain for treering_xattr {}

/// Returns an extended attribute as a C structure.
pub(super) fn xattr(name: &[u8], value: &[u8]) -> treering_xattr {
    treering_xattr {
        name: name.as_ptr(),
        name_len: name.len(),
        value: value.as_ptr(),
        value_len: value.len(),
    }
}

/// Returns an entry as a C structure.
pub(super) fn entry(snapshot: &Snapshot, index: u32, path: &[u8]) -> treering_entry {
    let meta = snapshot.meta(index);
    let target = snapshot.link_target(index);
    let digest = snapshot.digest(index);
    treering_entry {
        path: path.as_ptr(),
        path_len: path.len(),
        target: target.as_ptr(),
        target_len: target.len(),
        size: meta.size,
        mtime_secs: meta.mtime.secs,
        mtime_nanos: meta.mtime.nanos,
        kind: meta.kind.into(),
        mode: meta.mode.into(),
        uid: meta.uid,
        gid: meta.gid,
        rdev_major: meta.rdev.0,
        rdev_minor: meta.rdev.1,
        nlink: meta.nlink,
        index,
        parent: snapshot.parent(index),
        leader: snapshot.leader(index),
        xattrs: snapshot.xattrs(index).into_iter().count() as u32,
        has_digest: digest.is_some(),
        digest: digest.unwrap_or_default(),
    }
}

/// Returns the snapshot behind a handle.
pub(super) fn shared(handle: *const treering_snapshot, argument: &str) -> Result<Arc<Snapshot>> {
    Ok(Arc::clone(&*handle::get(handle, argument)?))
}

/// Loads a snapshot that was saved: the file is read whole. TREERING_CORRUPT when it is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_snapshot_load(
    path: *const u8,
    path_len: usize,
    out: *mut *mut treering_snapshot,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, out, err) = unsafe { (Bytes::new(path, path_len), Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Arc::new(Snapshot::load(path.path("path")?)?)))
}

/// Makes a snapshot out of the bytes that treering_snapshot_bytes() gave of one. They are copied. TREERING_CORRUPT when
/// they are none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_snapshot_from_bytes(
    data: *const u8,
    len: usize,
    out: *mut *mut treering_snapshot,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (data, out, err) = unsafe { (Bytes::new(data, len), Out::new(out), Out::new(err)) };
    give(err, out, || Ok(Arc::new(Snapshot::from_bytes(data.bytes("data")?.to_vec())?)))
}

/// Saves a snapshot. A regular file appears, or is replaced, once all is written: a crash leaves the old file or the new one, and the new
/// one has the mode of the old one. A link is followed; a pipe or a device, and an open file by its name in /dev/fd, is written to as it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_snapshot_save(
    snapshot: *const treering_snapshot,
    path: *const u8,
    path_len: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, err) = unsafe { (Bytes::new(path, path_len), Out::new(err)) };
    guard(err, || shared(snapshot, "snapshot")?.save(path.path("path")?))
}

/// Frees a snapshot. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already. Walks and diffs made from
/// it stay usable.
#[unsafe(no_mangle)]
pub extern "C" fn treering_snapshot_free(snapshot: *mut treering_snapshot) -> treering_status {
    handle::free(snapshot)
}

/// Returns how many entries it has, the root included; 0 when `snapshot` is no snapshot.
#[unsafe(no_mangle)]
pub extern "C" fn treering_snapshot_len(snapshot: *const treering_snapshot) -> u32 {
    shared(snapshot, "snapshot").map_or(0, |snapshot| snapshot.len())
}

/// Returns the bytes as they are saved; they live as long as the snapshot. NULL when `snapshot` is no snapshot.
///
/// @param len receives the number of bytes; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_snapshot_bytes(
    snapshot: *const treering_snapshot,
    len: *mut usize,
) -> *const u8 {
    // SAFETY: the header's contract for pointers.
    let len = unsafe { Out::new(len) };
    let snapshot = shared(snapshot, "snapshot").ok();
    let bytes = snapshot.as_ref().map(|snapshot| snapshot.as_bytes());
    if let Some(place) = len.place() {
        place.write(bytes.map_or(0, <[u8]>::len));
    }
    bytes.map_or(std::ptr::null(), <[u8]>::as_ptr)
}

/// Finds the entry at a path, without following symbolic links. TREERING_NOT_FOUND when there is none.
///
/// @param path below the root, components joined by slashes; slashes at its ends and several in a row count for nothing. Empty
/// (NULL, 0) for the root itself. treering_entry::path is this very pointer.
/// @param out_size sizeof(treering_entry).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_snapshot_lookup(
    snapshot: *const treering_snapshot,
    path: *const u8,
    path_len: usize,
    out: *mut treering_entry,
    out_size: usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (path, out, err) = unsafe { (Bytes::new(path, path_len), Record::new(out, out_size), Out::new(err)) };
    guard(err, || {
        let out = out.required("out")?;
        let snapshot = shared(snapshot, "snapshot")?;
        let path = path.bytes("path")?;
        let index = snapshot.lookup(path).ok_or_else(|| {
            Error::not_found("look up entry", "the snapshot has nothing at this path").with_path(path)
        })?;
        out.write(&entry(&snapshot, index, path));
        Ok(())
    })
}

/// Copies extended attributes of an entry out, sorted by name.
///
/// @param index the number of the entry; TREERING_INVALID_ARGUMENT when it has none of this number.
/// @param first the number of the first attribute wanted, from 0.
/// @param out room for `max` attributes.
/// @param xattr_size sizeof(treering_xattr).
/// @param n receives how many were written; 0 behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_snapshot_xattrs(
    snapshot: *const treering_snapshot,
    index: u32,
    first: usize,
    out: *mut treering_xattr,
    xattr_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, xattr_size, max), Out::new(n), Out::new(err)) };
    guard(err, || {
        let snapshot = shared(snapshot, "snapshot")?;
        if !snapshot.contains(index) {
            return Err(bad(format!("the snapshot has no entry number {index}")));
        }
        let all: Vec<_> = snapshot.xattrs(index).into_iter().collect();
        copy_list(&all, first, out, n, |(name, value)| xattr(name, value))
    })
}
