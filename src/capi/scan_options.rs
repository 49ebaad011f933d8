//! Options of a scan.

use std::ffi::c_char;
use std::sync::Arc;

use super::arguments::{Text, source};
use super::handle;
use super::snapshot::{shared, treering_snapshot};
use super::status::treering_slice;
use super::store::treering_store;
use super::structures::Options;
use crate::error::Result;
use crate::store::Store;
use crate::tree::{OwnerPolicy, OwnerSource, Snapshot};

/// How treering_snapshot_scan() works.
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
}

/// Options of a scan.
pub struct Scanning {
    pub(super) threads: usize,
    pub(super) owner: Option<OwnerPolicy>,
    pub(super) owner_from: Option<OwnerSource>,
    pub(super) store: Option<Arc<Store>>,
    pub(super) previous: Option<Arc<Snapshot>>,
    pub(super) one_file_system: bool,
    pub(super) all_xattrs: bool,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_scan_options {
    type Value = Scanning;

    unsafe fn read(&self) -> Result<Scanning> {
        // SAFETY: the caller's contract.
        let (owner, owner_from) =
            unsafe { (Text::new(self.owner).parse("owner")?, source(self.owner_from)?) };
        let previous = (!self.previous.is_null()).then(|| shared(self.previous, "previous")).transpose()?;
        Ok(Scanning {
            threads: self.threads,
            owner,
            owner_from,
            store: handle::maybe(self.store, "store")?,
            previous,
            one_file_system: self.one_file_system,
            all_xattrs: self.all_xattrs,
        })
    }
}
