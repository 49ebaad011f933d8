//! Walking a tree in parallel into a [`Snapshot`].
//!
//! Each directory is one task: read its names, `statx` each, list extended attributes. With a previous snapshot, a
//! directory with an unchanged stat identity is not read again, and an entry with an unchanged identity keeps what was
//! known of it, attributes included: the inode's ctime moves whenever any of it does, and cannot be set back.

mod assemble;
mod open_dir;
mod worker;
mod xattrs;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, Mutex};

use super::interchange::OwnerSource;
use super::ledger::{Ledger, Record};
use super::owner::OwnerPolicy;
use super::snapshot::Snapshot;
use crate::digest::Digest;
use crate::dockerfile::Ignore;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::root::was_replaced;
use crate::fs::stat::stat_fd;
use crate::fs::{Root, clock};
use crate::progress::Control;
use crate::threads;
use assemble::{Clock, assemble};
use worker::{Found, Queue, Shared, Worker};

pub(crate) use xattrs::read as read_xattrs;

const SCAN: &str = "scan tree";

/// How many directory descriptors one scan may keep open for the directories below them. A directory beyond that is
/// reached again from the nearest open one above it.
const OPEN_DIRECTORIES: usize = 256;

/// Options of a scan.
#[derive(Debug, Clone, Copy)]
pub struct ScanOptions<'a> {
    /// Threads to use; 0 for one per processor, at most 64 either way.
    pub threads: usize,
    /// The owners of files that neither the ledger nor the source has.
    pub owner: &'a OwnerPolicy,
    /// Another tool's record of owners to go by.
    pub owner_from: &'a OwnerSource,
    /// The ledger: what the disk could not hold.
    pub ledger: Option<&'a Ledger>,
    /// A snapshot of the same tree from before, taken with the same ledger: what has not changed since is taken from it. One
    /// that was taken by another policy or source counts for nothing, see [`ScanOptions::suits`].
    pub previous: Option<&'a Snapshot>,
    /// Leave out what is mounted below the root: a mount point stays, as an empty directory.
    pub one_file_system: bool,
    /// A directory that is no part of the tree though it may be in it, by device and inode: the store that images of the tree
    /// go to.
    pub leave_out: Option<(u64, u64)>,
    /// Paths that are no part of the tree: they are neither listed nor looked at, and no report has them.
    pub exclude: Option<&'a Ignore>,
    /// Keep also the extended attributes that only the host's own security modules use, see [`kept_xattr`]. Off for layers.
    pub all_xattrs: bool,
}

impl Default for ScanOptions<'_> {
    fn default() -> Self {
        ScanOptions {
            threads: 0,
            owner: &OwnerPolicy::Root,
            owner_from: &OwnerSource::Nothing,
            ledger: None,
            previous: None,
            one_file_system: false,
            leave_out: None,
            exclude: None,
            all_xattrs: false,
        }
    }
}

impl ScanOptions<'_> {
    /// Returns a number for what decides owners and attributes of a scan besides the ledger, never 0.
    pub fn fingerprint(&self) -> u64 {
        let source = match self.owner_from {
            OwnerSource::Nothing => String::new(),
            OwnerSource::Xattr(attribute) => attribute.to_string(),
            OwnerSource::Fakeroot(_) => "fakeroot".into(),
        };
        let text = format!("{}\n{source}\n{}", self.owner, self.all_xattrs);
        u64::from_le_bytes(*Digest::of(text.as_bytes()).bytes().first_chunk().expect("32 bytes")) | 1
    }

    /// Returns whether a snapshot from before can be used: it was made by the same policy and source, or by no scan.
    pub fn suits(&self, previous: &Snapshot) -> bool {
        !self.owner_from.moves_unseen() && [0, self.fingerprint()].contains(&previous.scanned_by())
    }
}

/// The reason why there is nothing below a mount point, see [`ScanOptions::one_file_system`].
pub(crate) const MOUNT_POINT: &str = "contents of a mount point";

/// An entry of the tree that is not in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// Its path.
    #[serde(serialize_with = "crate::error::as_text")]
    pub path: Vec<u8>,
    /// Why it was left out, in plain words.
    pub reason: &'static str,
}

/// The result of a scan.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scan {
    /// The list of the tree.
    pub snapshot: Snapshot,
    /// Entries that cannot be part of a layer and were left out: sockets, mount points when asked to stay on one
    /// filesystem, and [`ScanOptions::leave_out`].
    pub skipped: Vec<Skipped>,
    /// How many entries have owners other than the policy gave them.
    pub owners_replaced: u64,
    /// Records of the source that the filesystem lacks: with these in its ledger, in this order, the tree is the same
    /// without the source. From a save file of fakeroot only.
    pub learned: Vec<Record>,
    /// How many entries kept what the previous snapshot has of them.
    pub unchanged: u64,
    /// How many entries [`ScanOptions::exclude`] left out; what is below a directory among them is not counted.
    pub excluded: u64,
}

/// Returns whether a layer carries this attribute. SELinux labels, IMA and EVM signatures, NFS ACLs and overlayfs's own
/// marks belong to the machine and the mount a tree happens to be on, not to its content.
pub fn kept_xattr(name: &[u8]) -> bool {
    !matches!(name, b"security.selinux" | b"security.ima" | b"security.evm" | b"system.nfs4_acl")
        && !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
}

/// Walks the tree below `root`.
///
/// # Errors
/// Anything that cannot be read is an error that names it; nothing is left out silently.
pub fn scan(root: &Root, options: &ScanOptions<'_>, control: &Control) -> Result<Scan> {
    let began = clock::now(root).at(SCAN, root.describe(b""))?;
    let root_stat = stat_fd(root).at(SCAN, root.describe(b""))?;
    let options = ScanOptions {
        threads: threads::count(options.threads),
        previous: options.previous.filter(|previous| options.suits(previous)),
        exclude: options.exclude.filter(|exclude| !exclude.is_empty()),
        ..*options
    };
    let shared = Shared {
        root,
        options,
        control,
        queue: Mutex::new(Queue { tasks: Vec::new(), pending: 0, failed: None }),
        wake: Condvar::new(),
        directories: AtomicUsize::new(1),
        open: Arc::new(AtomicUsize::new(0)),
        root_dev: root_stat.dev,
    };
    let mut first = Worker::new(&shared);
    let root_raw = first.root_entry(&root_stat)?;
    let count = options.threads;
    let mut found: Vec<Found> = std::thread::scope(|scope| {
        let work = || {
            let mut worker = Worker::new(&shared);
            worker.run();
            worker.found
        };
        // Where no more threads are to be had, those that are do the work.
        let spawn = |_| threads::spawn(scope, "treering-scan", work).ok();
        let handles: Vec<_> = (1..count).map_while(spawn).collect();
        first.run();
        let mut found = vec![first.found];
        found.extend(handles.into_iter().map(threads::join));
        found
    });
    if let Some(error) = shared.queue.lock().expect("no thread is left").failed.take() {
        return Err(error);
    }
    let newest =
        found.iter().flat_map(|f| &f.entries).map(|e| e.meta.ctime).fold(root_raw.meta.ctime, Ord::max);
    // An entry that was stamped within a tick of the beginning may have been changed after it was read and bear the same stamp. A
    // tick later `assemble` reads it again: any change after that gets a later stamp.
    let mut now = began;
    if newest >= began.minus_nanos(clock::TICK_NANOS) {
        now = clock::now(root).at(SCAN, root.describe(b""))?;
        // A stamp of the future, by another machine's clock: waiting does not help.
        if newest <= now {
            now = clock::wait_past(root, newest).at(SCAN, root.describe(b""))?;
        }
    }
    let mut scan = assemble(root_raw, &found, Clock { began, now }, &mut Worker::new(&shared))?;
    for part in &mut found {
        scan.skipped.append(&mut part.skipped);
        scan.owners_replaced += part.owners_replaced;
        scan.unchanged += part.unchanged;
        scan.excluded += part.excluded;
        scan.learned.append(&mut part.learned);
    }
    // A ledger keeps the last record of an inode: in this order that is the one with the first of its names.
    scan.learned.sort_by(|a, b| b.path.cmp(&a.path));
    scan.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scan)
}

/// Returns the error for a name that was listed a moment ago and is gone: the tree changed during the scan.
pub(crate) fn vanished(error: std::io::Error, operation: &'static str, path: Vec<u8>) -> Error {
    if !was_replaced(&error) {
        return Error::io(operation, path, error);
    }
    replaced(operation, path).with_source(error)
}

pub(crate) fn replaced(operation: &'static str, path: Vec<u8>) -> Error {
    let message = "it changed, vanished or was replaced while the tree was scanned";
    Error::new(ErrorKind::Changed, operation, message).with_path(path)
}
