//! Walking one snapshot, or two side by side, in byte order of paths.
//!
//! Byte order of whole paths is not the order of a depth-first walk: `a-b` stands between `a` and `a/x`, because `-` is
//! smaller than `/`. So a directory met on the way waits, and its contents come just before the first sibling with a name
//! that is greater than the directory's name followed by `/`.

use std::cmp::Ordering;
use std::ops::Range;

use super::entry::NONE;
use super::snapshot::Snapshot;
use crate::fs::Kind;

/// Compares `name` with `directory` followed by `/`.
fn compare_with_contents(name: &[u8], directory: &[u8]) -> Ordering {
    let common = name.len().min(directory.len());
    name[..common].cmp(&directory[..common]).then_with(|| match name.get(directory.len()) {
        Some(next) => next.cmp(&b'/').then(Ordering::Greater),
        None => Ordering::Less,
    })
}

/// A step of a walk over two snapshots: the entry's number in the old one and in the new one, [`NONE`] where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The number in the old snapshot.
    pub old: u32,
    /// The number in the new snapshot.
    pub new: u32,
}

/// Which directories a walk over two snapshots goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descend {
    /// All, also those that only the old snapshot has.
    All,
    /// Those that the new snapshot has: what is gone is gone as a whole.
    New,
}

struct Frame {
    old: Range<u32>,
    new: Range<u32>,
    /// The index of the first waiting subdirectory of this directory.
    waiting: usize,
}

/// Walks two snapshots side by side. The roots themselves are not among the steps.
pub struct Walk2<'a> {
    old: Option<&'a Snapshot>,
    new: Option<&'a Snapshot>,
    descend: Descend,
    frames: Vec<Frame>,
    waiting: Vec<Pair>,
}

impl<'a> Walk2<'a> {
    /// Returns a walk over both; either may be missing.
    pub fn new(old: Option<&'a Snapshot>, new: Option<&'a Snapshot>, descend: Descend) -> Walk2<'a> {
        let range = |snapshot: Option<&Snapshot>| snapshot.map_or(0..0, |s| s.children(0));
        let frame = Frame { old: range(old), new: range(new), waiting: 0 };
        Walk2 { old, new, descend, frames: vec![frame], waiting: Vec::new() }
    }

    fn name_of(&self, pair: Pair) -> &'a [u8] {
        match (self.new, self.old) {
            (Some(new), _) if pair.new != NONE => new.name(pair.new),
            (_, Some(old)) => old.name(pair.old),
            _ => unreachable!("an entry stands in one of the snapshots"),
        }
    }

    fn children(snapshot: Option<&Snapshot>, index: u32) -> Range<u32> {
        match snapshot {
            Some(snapshot) if index != NONE => snapshot.children(index),
            _ => 0..0,
        }
    }
}

impl Iterator for Walk2<'_> {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        loop {
            let frame = self.frames.last()?;
            let old = frame.old.clone().next().unwrap_or(NONE);
            let new = frame.new.clone().next().unwrap_or(NONE);
            let step = match (old, new) {
                (NONE, NONE) => None,
                (NONE, new) => Some(Pair { old: NONE, new }),
                (old, NONE) => Some(Pair { old, new: NONE }),
                (old, new) => {
                    let (o, n) = (self.old?.name(old), self.new?.name(new));
                    Some(match o.cmp(n) {
                        Ordering::Less => Pair { old, new: NONE },
                        Ordering::Greater => Pair { old: NONE, new },
                        Ordering::Equal => Pair { old, new },
                    })
                }
            };
            if self.waiting.len() > frame.waiting {
                let directory = *self.waiting.last()?;
                let now = step.is_none_or(|step| {
                    compare_with_contents(self.name_of(step), self.name_of(directory)) == Ordering::Greater
                });
                if now {
                    self.waiting.pop();
                    let mut old = Self::children(self.old, directory.old);
                    let new = Self::children(self.new, directory.new);
                    if self.descend == Descend::New {
                        let goes_on = directory.new != NONE
                            && self.new.is_some_and(|new| new.meta(directory.new).kind == Kind::Directory);
                        if !goes_on {
                            old = 0..0;
                        }
                    }
                    self.frames.push(Frame { old, new, waiting: self.waiting.len() });
                    continue;
                }
            }
            let Some(step) = step else {
                self.frames.pop();
                continue;
            };
            let frame = self.frames.last_mut()?;
            if step.old != NONE {
                frame.old.start += 1;
            }
            if step.new != NONE {
                frame.new.start += 1;
            }
            let has = |snapshot: Option<&Snapshot>, index: u32| !Self::children(snapshot, index).is_empty();
            if has(self.new, step.new)
                || (has(self.old, step.old) && (self.descend == Descend::All || step.new != NONE))
            {
                self.waiting.push(step);
            }
            return Some(step);
        }
    }
}

impl Snapshot {
    /// Returns all entries but the root, in byte order of their paths.
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(self)
    }
}

/// Walks one snapshot; gives entry numbers.
pub struct Walk<'a>(Walk2<'a>);

impl<'a> Walk<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Walk<'a> {
        Walk(Walk2::new(None, Some(snapshot), Descend::All))
    }
}

impl Iterator for Walk<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.next().map(|pair| pair.new)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::tree::Meta;
    use crate::tree::builder::{Builder, Inode, ROOT};

    /// Returns a tree of directories with files where a path ends in no directory.
    fn tree(paths: &[(Vec<Vec<u8>>, bool)]) -> Snapshot {
        let mut builder = Builder::new(Inode::new(Meta::directory()));
        for (names, is_file) in paths {
            let mut at = ROOT;
            for (i, name) in names.iter().enumerate() {
                let file = *is_file && i + 1 == names.len();
                at = match builder.child(at, name) {
                    Some(node) if file || builder.kind(node) == Kind::Directory => node,
                    _ => {
                        let kind = if file { Kind::File } else { Kind::Directory };
                        builder.insert(at, name, Inode::new(Meta { kind, ..Meta::directory() }))
                    }
                };
            }
        }
        builder.finish(None).unwrap()
    }

    /// Names with an order that turns on bytes just below and just above `/`, and on being each other's beginnings.
    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(
                prop_oneof![Just(b'a'), Just(b'.'), Just(b'0'), Just(b'-'), Just(1u8), Just(0xff)],
                1..4
            )
            .prop_filter("no name at all", |name| name != b"." && name != b".."),
            Just(b"a".to_vec()),
        ]
    }

    fn paths() -> impl Strategy<Value = Vec<(Vec<Vec<u8>>, bool)>> {
        proptest::collection::vec((proptest::collection::vec(name(), 1..5), any::<bool>()), 0..12)
    }

    fn all(snapshot: &Snapshot) -> BTreeMap<Vec<u8>, u32> {
        (1..snapshot.len()).map(|index| (snapshot.path(index), index)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn steps_are_the_sorted_paths_of_both(old in paths(), new in paths()) {
            let (old, new) = (tree(&old), tree(&new));
            let (old_paths, new_paths) = (all(&old), all(&new));
            let number = |paths: &BTreeMap<Vec<u8>, u32>, path: &[u8]| paths.get(path).copied().unwrap_or(NONE);
            let union: BTreeSet<&Vec<u8>> = old_paths.keys().chain(new_paths.keys()).collect();
            let pair = |path: &Vec<u8>| Pair { old: number(&old_paths, path), new: number(&new_paths, path) };
            let expected: Vec<Pair> = union.iter().map(|path| pair(path)).collect();
            let steps: Vec<Pair> = Walk2::new(Some(&old), Some(&new), Descend::All).collect();
            prop_assert_eq!(steps, expected);
            // What is below something that is gone, or is no directory any more, is no step of its own.
            let parent_stays = |path: &Vec<u8>| match path.iter().rposition(|&c| c == b'/') {
                Some(at) => new_paths.get(&path[..at]).is_some_and(|&i| new.meta(i).kind == Kind::Directory),
                None => true,
            };
            let expected: Vec<Pair> =
                union.iter().filter(|path| parent_stays(path)).map(|path| pair(path)).collect();
            let steps: Vec<Pair> = Walk2::new(Some(&old), Some(&new), Descend::New).collect();
            prop_assert_eq!(steps, expected);
            prop_assert_eq!(new.walk().collect::<Vec<_>>(), new_paths.values().copied().collect::<Vec<_>>());
            let alone: Vec<u32> = Walk2::new(Some(&old), None, Descend::All).map(|pair| pair.old).collect();
            prop_assert_eq!(alone, old_paths.values().copied().collect::<Vec<_>>());
        }
    }
}
