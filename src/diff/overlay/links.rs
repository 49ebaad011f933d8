//! Names of a file that are not in the upper directory although it changes what they are.
//!
//! There are two ways for that. A directory with a redirect moves lower files, and a file with another name elsewhere
//! stays one file with it. And with `index=on`, a file copied up under one name is what its other lower names show too.
//! Nothing but looking through the lower directories finds those names, so it is done only when there must be some.

use std::collections::{BTreeSet, HashMap};

use super::lookup::{Layers, Place, Search, Stack, View};
use super::{Decoder, entry};
use crate::diff::change::{Change, ChangeKind, Reasons};
use crate::error::Result;
use crate::fs::Kind;
use crate::fs::generation::handle_part;
use crate::fs::root::{push_name, split};
use crate::tree::builder;
use crate::tree::{NONE, Snapshot};

/// Returns the upper files that stand for all names of a lower one: the handle of that one, and their leader's number.
pub(super) fn indexed(layers: &Layers<'_>, upper: &Snapshot) -> HashMap<u64, u32> {
    let files = (1..upper.len()).filter(|&index| upper.meta(index).kind != Kind::Directory);
    let marked = files.filter(|&index| !upper.xattrs(index).is_empty());
    marked
        .filter_map(|index| {
            let (marks, _) = entry(layers, upper, index);
            Some((marks.origin.filter(|_| marks.indexed)?, upper.leader(index)))
        })
        .collect()
}

/// Marks files that were copied up away from names they had: those names show the lower file still, and are not in
/// either list. Names outside the lower directories cannot be distinguished from them and count too.
pub(super) fn mark_left_behind(lower: &Snapshot, upper: &Snapshot, changes: &mut Vec<Change>) {
    let mut seen: HashMap<u32, u32> = HashMap::new();
    for index in lower.walk() {
        *seen.entry(lower.leader(index)).or_default() += 1;
    }
    let at: HashMap<u32, usize> = changes.iter().enumerate().map(|(at, change)| (change.new, at)).collect();
    let mut fresh = Vec::new();
    for old in lower.walk() {
        let before = lower.meta(old);
        if before.kind == Kind::Directory || before.nlink <= seen[&lower.leader(old)] {
            continue;
        }
        let Some(new) = upper.lookup(&lower.path(old)) else { continue };
        let now = upper.meta(new);
        if now.kind != before.kind || (now.dev, now.ino) == (before.dev, before.ino) {
            continue;
        }
        match at.get(&new) {
            Some(&at) => changes[at].reasons |= Reasons::LINKS,
            None => fresh.push(Change {
                kind: ChangeKind::Changed,
                reasons: Reasons::LINKS,
                old,
                new,
                opaque: false,
            }),
        }
    }
    if !fresh.is_empty() {
        changes.extend(fresh);
        crate::diff::links::sort(lower, upper, changes);
        // Where nothing else changed in their directories, those are not listed yet.
        crate::diff::parents::list(lower, upper, changes);
    }
}

/// A directory of the lower view, and what of the merged view is at the same path.
struct Both {
    path: Vec<u8>,
    old: Vec<Place>,
    new: Vec<Place>,
    upper: u32,
}

impl Decoder<'_> {
    /// Returns the upper file a lower one is shown as, if it is an indexed one.
    pub(super) fn indexed_as(&self, view: &View) -> Result<Option<u32>> {
        if self.indexed.is_empty() || view.top().stat.nlink < 2 || view.kind() == Kind::Directory {
            return Ok(None);
        }
        let origin = handle_part(self.layers.generation(view.top())?);
        Ok(origin.and_then(|origin| self.indexed.get(&origin).copied()))
    }

    /// Adds the names of moved and of indexed files that stand where nothing else was looked at.
    pub(super) fn complete_links(&mut self) -> Result<()> {
        let moved: HashMap<(u64, u64), u32> = (self.new.linked.iter())
            .filter(|(_, node)| {
                let node = **node;
                self.new.builder.names(node) < self.new.builder.inode(node).meta.nlink
            })
            .map(|(&key, &node)| (key, node))
            .collect();
        if !moved.is_empty() || !self.indexed.is_empty() {
            let root = self.layers.root_stack();
            let mut work = vec![Both { path: Vec::new(), old: root.clone(), new: root, upper: 0 }];
            while let Some(both) = work.pop() {
                self.control.check(super::DECODE)?;
                self.search(both, &moved, &mut work)?;
            }
        }
        for (directory, name, leader) in std::mem::take(&mut self.names_of_indexed) {
            if let Some(&node) = self.leaders.get(&leader) {
                self.new.link_elsewhere(directory, &name, node);
            }
        }
        Ok(())
    }

    fn search(&mut self, both: Both, moved: &HashMap<(u64, u64), u32>, work: &mut Vec<Both>) -> Result<()> {
        let (old, new) = (Stack::new(both.old), Stack::new(both.new));
        let mut names = BTreeSet::new();
        self.layers.names(&old, &mut names)?;
        for name in &names {
            let Some(before) = self.layers.lookup(&old, Search::any(name))? else { continue };
            let child = match both.upper {
                NONE => None,
                index => self.upper.child(index, name),
            };
            let mut path = both.path.clone();
            push_name(&mut path, name);
            if let Some(index) = child {
                if before.kind() == Kind::Directory && self.upper.meta(index).kind == Kind::Directory {
                    let new = self.below_directory(index, name, &new)?;
                    work.push(Both { path, old: before.stack(), new, upper: index });
                }
                continue;
            }
            let Some(now) = self.layers.lookup(&new, Search::any(name))? else { continue };
            if now.top().place != before.top().place {
                continue;
            }
            if now.kind() == Kind::Directory {
                work.push(Both { path, old: before.stack(), new: now.stack(), upper: NONE });
                continue;
            }
            let stat = &now.top().stat;
            let shown = self.indexed_as(&now)?;
            let moved = moved.get(&(stat.dev, stat.ino)).filter(|_| stat.nlink > 1).copied();
            if shown.is_none() && moved.is_none() {
                continue;
            }
            let (parent, name) = split(&path);
            let (old_parent, new_parent) = self.ensure(parent)?;
            self.old.add_lower(&self.layers, old_parent, name, &before)?;
            match (shown, moved) {
                (Some(leader), _) => self.names_of_indexed.push((new_parent, name.to_vec(), leader)),
                (None, Some(node)) => self.new.link_elsewhere(new_parent, name, node),
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Puts a directory that is the same in both views, and those above it, into both trees.
    fn ensure(&mut self, path: &[u8]) -> Result<(u32, u32)> {
        let (mut old, mut new) = (builder::ROOT, builder::ROOT);
        let mut stack = Stack::new(self.layers.root_stack());
        for name in path.split(|&c| c == b'/').filter(|name| !name.is_empty()) {
            let Some(view) = self.layers.lookup(&stack, Search::any(name))? else { break };
            old = match self.old.builder.child(old, name) {
                Some(node) => node,
                None => self.old.add_lower(&self.layers, old, name, &view)?,
            };
            new = match self.new.builder.child(new, name) {
                Some(node) => node,
                None => self.new.add_lower(&self.layers, new, name, &view)?,
            };
            stack = Stack::new(view.stack());
        }
        Ok((old, new))
    }
}
