//! One change, and why it is one.

use crate::tree::{NONE, Snapshot};

/// What happened to a path, in Docker's words and letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The path is new.
    Added,
    /// Something about the path is different.
    Changed,
    /// The path is gone, with all below it.
    Deleted,
}

impl ChangeKind {
    /// The letter `docker diff` prints: `A`, `C` or `D`.
    pub fn letter(self) -> char {
        match self {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        }
    }

    /// The lower-case word for `--json`.
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Changed => "changed",
            ChangeKind::Deleted => "deleted",
        }
    }
}

bitflags::bitflags! {
    /// Why a path counts as changed.
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
    /// The reasons as lower-case words, in a fixed order.
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

/// One changed path, by its numbers in the old and the new snapshot.
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
    /// The directory hides everything the layers below have in it (an overlay's opaque directory whose lower layers
    /// are not at hand).
    pub opaque: bool,
}

impl Change {
    /// The path of the change, without a leading slash; empty for the root.
    pub fn path(&self, old: Option<&Snapshot>, new: &Snapshot) -> Vec<u8> {
        match (self.new, old) {
            (NONE, Some(old)) => old.path(self.old),
            (NONE, None) => Vec::new(),
            (index, _) => new.path(index),
        }
    }
}

/// Changes in numbers, as `diff --stat` prints them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// Counts a list of changes; the root itself is not counted.
    pub fn of(changes: &[Change], new: &Snapshot) -> Stat {
        let mut stat = Stat::default();
        for change in changes.iter().filter(|c| c.new != 0) {
            match change.kind {
                ChangeKind::Added => stat.added += 1,
                ChangeKind::Changed => stat.changed += 1,
                ChangeKind::Deleted => stat.deleted += 1,
            }
            if change.new != NONE && new.leader(change.new) == change.new {
                stat.bytes += new.meta(change.new).size;
            }
        }
        stat
    }
}
