//! The directories above a change.
//!
//! `docker diff` lists every directory on the way to something that changed, the root excepted, and puts them into the
//! layer: a tool that unpacks it then has their permissions at hand (moby, pkg/archive, `addChanges`).

use std::collections::HashSet;

use super::change::{Change, ChangeKind, Reasons};
use crate::tree::{NONE, Snapshot};

/// Brings the entries for directories above changes up to date: those with nothing below any more go, missing ones come.
/// The order stays byte order of paths.
pub(super) fn list(old: &Snapshot, new: &Snapshot, changes: &mut Vec<Change>) {
    changes.retain(|change| change.reasons != Reasons::PARENT);
    let mut listed: HashSet<u32> =
        changes.iter().map(|change| change.new).filter(|&new| new != NONE).collect();
    let mut above = Vec::new();
    for change in changes.iter().filter(|change| change.new != 0) {
        let mut at = match change.new {
            // The directory is still there: of a directory that is gone only the directory itself is a change.
            NONE => new.lookup(&old.path(old.parent(change.old))).unwrap_or(0),
            index => new.parent(index),
        };
        // A directory that is listed already brings those above it by itself.
        while at != 0 && listed.insert(at) {
            above.push(at);
            at = new.parent(at);
        }
    }
    if above.is_empty() {
        return;
    }
    let parent = |index: u32| {
        let path = new.path(index);
        let old = old.lookup(&path).unwrap_or(NONE);
        let reasons = Reasons::PARENT;
        (path, Change { kind: ChangeKind::Changed, reasons, old, new: index, opaque: false })
    };
    let mut keyed: Vec<(Vec<u8>, Change)> = above.into_iter().map(parent).collect();
    keyed.extend(changes.drain(..).map(|change| (change.path(Some(old), new), change)));
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    changes.extend(keyed.into_iter().map(|(_, change)| change));
}
