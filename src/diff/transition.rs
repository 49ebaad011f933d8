//! The transition of a tree to what another list says: a comparison turned around, and made exact.
//!
//! A directory that both have stays. A file stays where it already is, with the names it should have; it gets the metadata
//! that it lacks, and is made anew only if its content is another one. What has another type goes first.

use std::collections::{HashMap, HashSet};

use super::change::Reasons;
use super::compare::{CompareMode, CompareOptions, reasons};
use crate::fs::Kind;
use crate::tree::scan::kept_xattr;
use crate::tree::walk::{Descend, Pair, Walk2};
use crate::tree::{Flags, NONE, Snapshot};

/// The state of a file that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// It is right.
    Right,
    /// Its content is, or may be: it gets its metadata, and then its content is compared.
    Check {
        /// Whether its metadata differs.
        metadata: bool,
    },
    /// Its metadata differs, and nothing is known of its content: that is compared when the content that is wanted is at hand, and the file
    /// gets its metadata then, or is made anew.
    Compare,
}

/// Files up to this size are compared with content that is in memory anyway, larger ones by their digests.
pub(crate) const COMPARED: u64 = 256 * 1024;

/// A file of the tree to be, with all its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileStep {
    /// Its first name, in the list that is wanted.
    pub leader: u32,
    /// All its names in path order, the first one first, each with what is in its place now.
    pub names: Vec<Pair>,
    /// The present place of the file, if it is there: one of `names`.
    pub stays: Option<(Pair, Stay)>,
}

impl FileStep {
    /// Returns the names that have to be made once the file is in one place: where it stays, or under its first name, made
    /// anew.
    pub fn missing<'a>(&'a self, now: &'a Snapshot, stays: Option<Pair>) -> impl Iterator<Item = Pair> + 'a {
        let inode = |at: u32| (now.meta(at).dev, now.meta(at).ino);
        self.names.iter().copied().filter(move |name| match stays {
            Some(place) => *name != place && (name.old == NONE || inode(name.old) != inode(place.old)),
            None => name.new != self.leader,
        })
    }
}

/// All that has to happen. `old` is the number in the list of the tree as it is, `new` in the one that is wanted.
#[derive(Debug, Default)]
pub(crate) struct Transition {
    /// Entries that go, with all below them: their numbers in the tree as it is, in path order.
    pub removed: Vec<u32>,
    /// Directories to be made, those above before those below.
    pub directories: Vec<u32>,
    /// Directories that stay and get other metadata.
    pub touched: Vec<Pair>,
    /// The files for which anything is to do.
    pub files: Vec<FileStep>,
    /// For each entry that is wanted: where it is now and stays untouched, else [`NONE`].
    pub kept: Vec<u32>,
}

impl Transition {
    /// Compares the tree as it is with what is wanted. `same` returns whether two files of one size have the same content; `None` where
    /// that is not known.
    pub fn new(now: &Snapshot, wanted: &Snapshot, same: impl Fn(Pair) -> Option<bool>) -> Transition {
        let mut out = Transition { kept: vec![NONE; wanted.len() as usize], ..Transition::default() };
        let mut there = vec![NONE; wanted.len() as usize];
        let root = Pair { old: 0, new: 0 };
        for pair in std::iter::once(root).chain(Walk2::new(Some(now), Some(wanted), Descend::New)) {
            if pair.new == NONE {
                out.removed.push(pair.old);
                continue;
            }
            let directory = wanted.meta(pair.new).kind == Kind::Directory;
            if pair.old != NONE {
                let (old, new) = (now.meta(pair.old).kind, wanted.meta(pair.new).kind);
                if old == new && directory {
                    there[pair.new as usize] = pair.old;
                    match differ(now, wanted, pair) {
                        true => out.touched.push(pair),
                        false => out.kept[pair.new as usize] = pair.old,
                    }
                    continue;
                }
                if old == Kind::Directory || directory {
                    out.removed.push(pair.old);
                } else {
                    there[pair.new as usize] = pair.old;
                }
            }
            if directory {
                out.directories.push(pair.new);
            }
        }
        // Numbers go directory by directory, those above before those below.
        out.directories.sort_unstable();
        out.files(now, wanted, &there, same);
        out
    }

    fn files(
        &mut self,
        now: &Snapshot,
        wanted: &Snapshot,
        there: &[u32],
        same: impl Fn(Pair) -> Option<bool>,
    ) {
        let mut groups: HashMap<u32, Vec<u32>> = HashMap::new();
        for at in 1..wanted.len() {
            if wanted.leader(at) != at {
                groups.entry(wanted.leader(at)).or_default().push(at);
            }
        }
        // How many names each file with several has in the tree: more than these are outside.
        let mut names_of: HashMap<(u64, u64), u32> = HashMap::new();
        for at in 1..now.len() {
            let meta = now.meta(at);
            if meta.nlink > 1 && meta.kind != Kind::Directory {
                *names_of.entry((meta.dev, meta.ino)).or_default() += 1;
            }
        }
        let mut taken: HashSet<(u64, u64)> = HashSet::new();
        for leader in 1..wanted.len() {
            if wanted.meta(leader).kind == Kind::Directory || wanted.leader(leader) != leader {
                continue;
            }
            let pair = |at: u32| Pair { old: there[at as usize], new: at };
            let mut names = vec![pair(leader)];
            if let Some(more) = groups.get(&leader) {
                let mut more: Vec<(Vec<u8>, u32)> = more.iter().map(|&at| (wanted.path(at), at)).collect();
                more.sort();
                names.extend(more.into_iter().map(|(_, at)| pair(at)));
            }
            let found = names.iter().filter(|name| name.old != NONE).find_map(|&name| {
                let meta = now.meta(name.old);
                let shared = meta.nlink > 1;
                if shared && taken.contains(&(meta.dev, meta.ino)) {
                    return None;
                }
                // A name outside of the tree would see whatever is done to the file.
                let outside = shared && names_of.get(&(meta.dev, meta.ino)) != Some(&meta.nlink);
                let alone = !shared && names.len() == 1;
                let stay = stay(now, wanted, name, alone, &same)?;
                if outside && stay != Stay::Right {
                    return None;
                }
                if shared {
                    taken.insert((meta.dev, meta.ino));
                }
                Some((name, stay))
            });
            let step = FileStep { leader, names, stays: found };
            if let Some((place, Stay::Right)) = step.stays {
                let meta = now.meta(place.old);
                let in_tree = names_of.get(&(meta.dev, meta.ino)).copied().unwrap_or(1);
                // A name that goes or comes is to be seen in the file's ctime, and in the list.
                if step.missing(now, Some(place)).next().is_none() && in_tree as usize == step.names.len() {
                    for name in &step.names {
                        self.kept[name.new as usize] = name.old;
                    }
                    continue;
                }
            }
            self.files.push(step);
        }
    }

    /// Returns whether the tree is what is wanted already.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.directories.is_empty()
            && self.touched.is_empty()
            && self.files.is_empty()
    }
}

/// Returns whether a file can stay where it is; `alone` says that it has one name, and should have one.
fn stay(
    now: &Snapshot,
    wanted: &Snapshot,
    pair: Pair,
    alone: bool,
    same: impl Fn(Pair) -> Option<bool>,
) -> Option<Stay> {
    let (old, new) = (now.meta(pair.old), wanted.meta(pair.new));
    if old.kind != new.kind || old.size != new.size {
        return None;
    }
    let metadata = differ(now, wanted, pair);
    if new.kind != Kind::File || new.size == 0 {
        // Made anew in a moment.
        return (!metadata).then_some(Stay::Right);
    }
    match same(pair).filter(|_| !old.flags.contains(Flags::RACY)) {
        Some(false) => None,
        Some(true) if !metadata => Some(Stay::Right),
        None if metadata && alone && new.size <= COMPARED => Some(Stay::Compare),
        _ => Some(Stay::Check { metadata }),
    }
}

/// Returns whether anything but content is different between two entries of the same kind. Attributes that are not kept on
/// disk do not count.
fn differ(now: &Snapshot, wanted: &Snapshot, pair: Pair) -> bool {
    let options =
        CompareOptions { mode: CompareMode::Metadata, exact_times: true, ..CompareOptions::default() };
    let mut found = reasons(now, wanted, pair, &options) - Reasons::CONTENT;
    if found.contains(Reasons::XATTRS) {
        let kept = |list: &Snapshot, at: u32| -> Vec<(Vec<u8>, Vec<u8>)> {
            let pairs = list.xattrs(at).into_iter().filter(|(name, _)| kept_xattr(name));
            pairs.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
        };
        found.set(Reasons::XATTRS, kept(now, pair.old) != kept(wanted, pair.new));
    }
    !found.is_empty()
}
