//! Walking through a snapshot.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use super::arguments::Out;
use super::error::treering_error;
use super::guard::{give, guard};
use super::handle::{self, noun};
use super::snapshot::{entry, shared, treering_entry, treering_snapshot};
use super::status::treering_status;
use super::structures::Items;
use crate::error::{Error, ErrorKind, Result};
use crate::tree::Snapshot;

/// Iterates over the entries of a snapshot in byte order of their paths, the root first, or over those of a directory of an
/// image. One thread at a time: a call while
/// another thread is in one is TREERING_BUSY. It keeps what it needs of the snapshot alive.
pub struct treering_walk {
    _opaque: (),
}
noun!(treering_walk, Mutex<Walk>);

/// The state of a walk.
pub struct Walk {
    snapshot: Arc<Snapshot>,
    order: Vec<u32>,
    at: usize,
    paths: Paths,
}

impl Walk {
    /// Returns a walk over these entries, in this order.
    pub(super) fn new(snapshot: Arc<Snapshot>, order: Vec<u32>) -> Walk {
        Walk { snapshot, order, at: 0, paths: Paths::default() }
    }
}

/// The paths of the elements handed out last, one after the other.
#[derive(Default)]
pub(super) struct Paths {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Paths {
    /// Forgets all paths.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds the path that `push` appends.
    pub fn add(&mut self, push: impl FnOnce(&mut Vec<u8>)) {
        push(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Returns path number `i`.
    pub fn get(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }
}

/// Locks an iterator: it serves one thread at a time.
pub(super) fn alone<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => {
            let message = "another thread is using it at this moment";
            Err(Error::new(ErrorKind::Busy, "iterate", message))
        }
    }
}

/// Starts a walk over a snapshot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_snapshot_walk(
    snapshot: *const treering_snapshot,
    out: *mut *mut treering_walk,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, err) = unsafe { (Out::new(out), Out::new(err)) };
    give(err, out, || {
        let snapshot = shared(snapshot, "snapshot")?;
        let order = std::iter::once(0).chain(snapshot.walk()).collect();
        Ok(Mutex::new(Walk::new(snapshot, order)))
    })
}

/// Gives the next entries.
///
/// @param out room for `max` entries; their paths live until the next call with this walk, their targets as long as it.
/// @param entry_size sizeof(treering_entry).
/// @param n receives how many were written; 0 at the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_walk_next(
    walk: *mut treering_walk,
    out: *mut treering_entry,
    entry_size: usize,
    max: usize,
    n: *mut usize,
    err: *mut *mut treering_error,
) -> treering_status {
    // SAFETY: the header's contract for pointers.
    let (out, n, err) = unsafe { (Items::new(out, entry_size, max), Out::new(n), Out::new(err)) };
    guard(err, || {
        out.check("out")?;
        let n = n.required("n")?;
        let walk = handle::get(walk, "walk")?;
        let Walk { snapshot, order, at, paths } = &mut *alone(&walk)?;
        let part = &order[*at..order.len().min(at.saturating_add(out.room()))];
        paths.clear();
        for &index in part {
            paths.add(|to| snapshot.push_path(index, to));
        }
        for (i, &index) in part.iter().enumerate() {
            out.write(i, &entry(snapshot, index, paths.get(i)));
        }
        *at += part.len();
        n.write(part.len());
        Ok(())
    })
}

/// Frees a walk. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_walk_free(walk: *mut treering_walk) -> treering_status {
    handle::free(walk)
}
