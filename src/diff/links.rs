//! Hard links in a comparison.
//!
//! A layer can only say which of its own entries are the same file. So when the set of names of a file changed, or any
//! of them did, all its names go into the layer together; and when files that were one are no longer, they do too.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::change::{Change, ChangeKind, Reasons};
use crate::fs::Kind;
use crate::tree::walk::Pair;
use crate::tree::{NONE, Snapshot};

/// Marks the members of every hard link group that is not what it was. `pairs` are the paths that stand in both
/// snapshots and have more than one name in either.
pub(super) fn mark(old: &Snapshot, new: &Snapshot, pairs: &[Pair], changes: &mut Vec<Change>) {
    let mut status: HashMap<u32, usize> = HashMap::new();
    let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (at, change) in changes.iter().enumerate() {
        if change.new != NONE {
            let meta = new.meta(change.new);
            if meta.kind != Kind::Directory {
                // Also with one name left: it may have had more before.
                status.insert(change.new, at);
                if change.kind == ChangeKind::Added && meta.nlink > 1 {
                    groups.entry(new.leader(change.new)).or_default().push(change.new);
                }
            }
        }
    }
    let pairs = pairs.iter().filter(|pair| new.meta(pair.new).kind != Kind::Directory);
    let mut old_of: HashMap<u32, u32> = HashMap::new();
    let mut split: BTreeMap<u32, Vec<Pair>> = BTreeMap::new();
    for &pair in pairs {
        old_of.insert(pair.new, pair.old);
        groups.entry(new.leader(pair.new)).or_default().push(pair.new);
        // A change other than a suspect one gives the path a new inode in the layer anyway.
        let kept = status.get(&pair.new).is_none_or(|&at| changes[at].reasons == Reasons::SUSPECT);
        if kept && old.meta(pair.old).kind == new.meta(pair.new).kind {
            split.entry(old.leader(pair.old)).or_default().push(pair);
        }
    }
    // The groups that go out, by their leaders, and those of them that have other names than they had.
    let mut out: BTreeSet<u32> = BTreeSet::new();
    let mut other: BTreeSet<u32> = BTreeSet::new();
    for (&leader, members) in groups.iter().filter(|(_, members)| members.len() > 1) {
        let old_leader = |index: &u32| old_of.get(index).map(|&old_index| old.leader(old_index));
        let first = old_leader(&members[0]);
        let differs = first.is_none() || members.iter().any(|index| old_leader(index) != first);
        let changed = members
            .iter()
            .any(|index| status.get(index).is_some_and(|&at| changes[at].reasons != Reasons::SUSPECT));
        if differs || changed {
            out.insert(leader);
        }
        if differs {
            other.insert(leader);
        }
    }
    // Of what was one file, one part may stay the file it is in the layers below: the one with the first name.
    for members in split.values() {
        let mut stays = None;
        for leader in members.iter().map(|pair| new.leader(pair.new)) {
            if !out.contains(&leader) && *stays.get_or_insert(leader) != leader {
                out.insert(leader);
                other.insert(leader);
            }
        }
    }
    let marked: BTreeSet<u32> = out.iter().flat_map(|leader| &groups[leader]).copied().collect();
    let mut fresh = Vec::new();
    for index in marked {
        match status.get(&index) {
            Some(&at) if changes[at].kind == ChangeKind::Changed => {
                changes[at].reasons.set(Reasons::LINKS, other.contains(&new.leader(index)));
            }
            Some(_) => {}
            None => fresh.push(Change {
                kind: ChangeKind::Changed,
                reasons: Reasons::LINKS,
                old: old_of.get(&index).copied().unwrap_or(NONE),
                new: index,
                opaque: false,
            }),
        }
    }
    if !fresh.is_empty() {
        changes.extend(fresh);
        sort(old, new, changes);
    }
}

/// Puts changes in byte order of their paths.
pub(super) fn sort(old: &Snapshot, new: &Snapshot, changes: &mut [Change]) {
    changes.sort_by_cached_key(|change| change.path(Some(old), new));
}
