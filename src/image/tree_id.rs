//! The identity of a tree: device, inode and birth of its root directory, so that it may be renamed and is not confused with
//! another. Filesystems get another device number when they are mounted again; a tree is then found by the rest and its path.

use crate::error::{At, Result};
use crate::fs::Root;
use crate::fs::generation::{generation, same_life};
use crate::fs::stat::stat_fd;

/// The identity of a tree, and the name of its record in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TreeId {
    /// The device of its root.
    pub device: u64,
    pub(super) inode: u64,
    /// The generation of that inode; 0 where the filesystem has none.
    pub(super) life: u64,
}

impl TreeId {
    /// Returns the identity of an open directory.
    pub fn of(root: &Root) -> Result<TreeId> {
        let stat = stat_fd(root).at("identify tree", root.describe(b""))?;
        let life = generation(root, c".", &stat).at("identify tree", root.describe(b""))?;
        Ok(TreeId { device: stat.dev, inode: stat.ino, life })
    }

    /// Parses the name of a record; `None` for one of another kind.
    pub fn parse(key: &str) -> Option<TreeId> {
        let mut parts = key.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        let id = TreeId { device: parts.next()??, inode: parts.next()??, life: parts.next()?? };
        parts.next().is_none().then_some(id)
    }

    /// Returns the name of the tree's record in the store.
    pub fn key(self) -> String {
        format!("{:x}-{:x}-{:x}", self.device, self.inode, self.life)
    }

    /// Returns whether another directory cannot come to have the same.
    pub fn is_certain(self) -> bool {
        self.life != 0
    }

    /// Returns whether both are the same inode in the same life, as far as either has a generation, whatever number the
    /// device has.
    pub fn same_inode(self, other: TreeId) -> bool {
        self.inode == other.inode && same_life(self.life, other.life)
    }

    /// Returns whether both are the same directory.
    pub fn same(self, other: TreeId) -> bool {
        self.device == other.device && self.same_inode(other)
    }
}
