//! Options of a scan.

use std::ffi::c_char;
use std::sync::Arc;

use super::arguments::{exclude, owners};
use super::handle;
use super::snapshot::{shared, treering_snapshot};
use super::status::treering_slice;
use super::store::treering_store;
use super::structures::Options;
use crate::dockerfile::Ignore;
use crate::error::Result;
use crate::store::Store;
use crate::tree::{OwnersWanted, Snapshot};

/// Options of treering_snapshot_scan().
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_scan_options {
    /// Owner of the files: `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`. NULL for what the store has for the
    /// tree, else `root`.
    pub owner: *const c_char,
    /// Record of owners to go by, as in treering_commit_options.
    pub owner_from: treering_slice,
    /// Store that may have what the disk could not hold of this tree (owners, devices, attributes). NULL for none.
    pub store: *const treering_store,
    /// Snapshot of the same tree from before, taken with the same owner, source and store: what has not changed since is taken
    /// from it, unread. NULL for none.
    pub previous: *const treering_snapshot,
    /// Leave out what is mounted below the root: a mount point stays, as an empty directory.
    pub one_file_system: bool,
    /// Keep extended attributes that no layer carries (SELinux labels, IMA and EVM signatures, overlayfs marks).
    pub all_xattrs: bool,
    /// Number of threads; 0 for one per processor.
    pub threads: usize,
    /// Patterns of paths to leave out, as in a .dockerignore; the last one that matches decides, `!` takes in again.
    pub exclude: *const *const c_char,
    /// Number of `exclude`.
    pub exclude_len: usize,
    /// File of such patterns, one a line, which count before `exclude`. Empty for none.
    pub ignore_file: treering_slice,
}

/// Options of a scan.
pub struct Scanning {
    pub(super) threads: usize,
    pub(super) owners: OwnersWanted,
    pub(super) store: Option<Arc<Store>>,
    pub(super) previous: Option<Arc<Snapshot>>,
    pub(super) one_file_system: bool,
    pub(super) all_xattrs: bool,
    pub(super) exclude: Ignore,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_scan_options {
    type Value = Scanning;

    unsafe fn read(&self) -> Result<Scanning> {
        // SAFETY: the caller's contract.
        let owners = unsafe { owners(self.owner, self.owner_from) }?;
        // SAFETY: the caller's contract.
        let exclude = unsafe { exclude(self.exclude, self.exclude_len, self.ignore_file) }?;
        let previous = (!self.previous.is_null()).then(|| shared(self.previous, "previous")).transpose()?;
        Ok(Scanning {
            threads: self.threads,
            owners,
            store: handle::maybe(self.store, "store")?,
            previous,
            one_file_system: self.one_file_system,
            all_xattrs: self.all_xattrs,
            exclude,
        })
    }
}
