//! One change, and why it is one.

use std::collections::HashSet;

use crate::tree::{NONE, Snapshot};

/// The kind of a change, in Docker's words and letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The path is new.
    Added,
    /// The path was changed.
    Changed,
    /// The path is gone, with all below it.
    Deleted,
}

impl ChangeKind {
    /// Returns the letter `docker diff` prints: `A`, `C` or `D`.
    pub fn letter(self) -> char {
        match self {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        }
    }

    /// Returns the lower-case word for `--json`.
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Changed => "changed",
            ChangeKind::Deleted => "deleted",
        }
    }
}

bitflags::bitflags! {
    /// The reasons why a path counts as changed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
    pub struct Reasons: u16 {
        /// It is another kind of file.
        const TYPE = 1;
        /// The content is different (the size is, or the bytes were compared).
        const CONTENT = 1 << 1;
        /// The permission bits are different.
        const MODE = 1 << 2;
        /// The owner or the group is different.
        const OWNER = 1 << 3;
        /// The time of the last change of content is different.
        const MTIME = 1 << 4;
        /// The extended attributes (ACLs and capabilities among them) are different.
        const XATTRS = 1 << 5;
        /// The symbolic link leads elsewhere.
        const TARGET = 1 << 6;
        /// The device has other numbers.
        const DEVICE = 1 << 7;
        /// The file is hard-linked with other files than before.
        const LINKS = 1 << 8;
        /// Nothing but something below the directory changed.
        const PARENT = 1 << 9;
        /// The inode was touched and the content could not be compared, so it is taken for changed.
        const SUSPECT = 1 << 10;
    }
}

impl Reasons {
    /// Returns the reasons as lower-case words, in a fixed order.
    pub fn words(self) -> Vec<&'static str> {
        self.iter_names()
            .map(|(name, _)| match name {
                "TYPE" => "type",
                "CONTENT" => "content",
                "MODE" => "mode",
                "OWNER" => "owner",
                "MTIME" => "mtime",
                "XATTRS" => "xattrs",
                "TARGET" => "target",
                "DEVICE" => "device",
                "LINKS" => "links",
                "PARENT" => "parent",
                _ => "suspect",
            })
            .collect()
    }
}

/// A changed path, by its numbers in the old and the new snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Added, changed or deleted.
    pub kind: ChangeKind,
    /// Why; empty for what was added or deleted.
    pub reasons: Reasons,
    /// The entry in the old snapshot, [`NONE`] for what was added.
    pub old: u32,
    /// The entry in the new snapshot, [`NONE`] for what was deleted.
    pub new: u32,
    /// The directory hides everything the layers below have in it (an overlay's opaque directory when its lower layers are
    /// not at hand).
    pub opaque: bool,
}

impl Change {
    /// Returns the path of the change, without a leading slash; empty for the root.
    pub fn path(&self, old: Option<&Snapshot>, new: &Snapshot) -> Vec<u8> {
        match (self.new, old) {
            (NONE, Some(old)) => old.path(self.old),
            (NONE, None) => Vec::new(),
            (index, _) => new.path(index),
        }
    }
}

/// Returns everything in a snapshot as additions, the root first: the changes from nothing.
pub fn all_added(new: &Snapshot) -> Vec<Change> {
    let added = |index| Change {
        kind: ChangeKind::Added,
        reasons: Reasons::empty(),
        old: NONE,
        new: index,
        opaque: false,
    };
    std::iter::once(0).chain(new.walk()).map(added).collect()
}

/// Returns the numbers of those changes that `docker diff` would list: all but the root's own, and but those of a file that
/// only gained another name. A layer holds all names of such a file; the new one alone is a change.
pub fn listed(changes: &[Change], old: Option<&Snapshot>, new: &Snapshot) -> Vec<u32> {
    let gained: HashSet<u32> = changes
        .iter()
        .filter(|change| change.kind == ChangeKind::Added && new.meta(change.new).nlink > 1)
        .map(|change| new.leader(change.new))
        .collect();
    let only_gained =
        |change: &Change| change.reasons == Reasons::LINKS && gained.contains(&new.leader(change.new));
    let numbers = |list: &dyn Fn(&Change) -> bool| {
        let numbered = (0..).zip(changes).filter(|(_, change)| change.new != 0 && list(change));
        numbered.map(|(number, _)| number).collect()
    };
    if !changes.iter().any(only_gained) {
        return numbers(&|_| true);
    }
    // The directories above such names are listed for the sake of other changes only.
    let mut above: HashSet<Vec<u8>> = HashSet::new();
    for change in changes.iter().filter(|change| change.reasons != Reasons::PARENT && !only_gained(change)) {
        let mut path = change.path(old, new);
        while let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            path.truncate(slash);
            if !above.insert(path.clone()) {
                break;
            }
        }
    }
    numbers(&|change| match change.reasons {
        Reasons::PARENT => above.contains(&change.path(old, new)),
        _ => !only_gained(change),
    })
}

/// Changes in numbers, as `diff --stat` prints them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stat {
    /// Paths added.
    pub added: u64,
    /// Paths changed.
    pub changed: u64,
    /// Paths deleted (a deleted directory counts once).
    pub deleted: u64,
    /// Bytes in the added and changed regular files.
    pub bytes: u64,
}

impl Stat {
    /// Counts the changes that are [`listed`].
    pub fn of(changes: &[Change], old: Option<&Snapshot>, new: &Snapshot) -> Stat {
        let mut stat = Stat::default();
        let mut files = HashSet::new();
        for change in listed(changes, old, new).into_iter().map(|number| &changes[number as usize]) {
            match change.kind {
                ChangeKind::Added => stat.added += 1,
                ChangeKind::Changed => stat.changed += 1,
                ChangeKind::Deleted => stat.deleted += 1,
            }
            if change.new != NONE && files.insert(new.leader(change.new)) {
                stat.bytes += new.meta(change.new).size;
            }
        }
        stat
    }
}
