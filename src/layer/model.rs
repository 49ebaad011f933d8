//! The effect of a layer's entries on a tree, decided in memory.
//!
//! Every decision (where a path leads, what an entry replaces, what a whiteout removes) is taken here, on the list of
//! what is in the tree, and never by asking the disk. What has to happen on disk follows through [`Disk`]; without a
//! disk the same code merges entry lists.

use std::collections::HashSet;

use super::header::{EntryKind, MAX_COMPONENT};
use super::read::{ReadLimits, TarEntry};
use super::whiteout::{self, Strictness, Whiteout};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Kind, Timestamp};
use crate::tree::builder::{Builder, Inode, ROOT};
use crate::tree::{Flags, Meta, Xattrs};

const APPLY: &str = "apply layer";

/// The disk that decisions are carried out on. Each call comes before the model is changed by a removal and after it is
/// changed by an addition, so that `tree.path(node)` always is the path in question.
pub(crate) trait Disk {
    /// Adds a directory, with the permissions it needs to be filled; its metadata follows at the end.
    fn make_directory(&mut self, tree: &Builder, node: u32) -> Result<()>;
    /// Notes that a directory's metadata or list of names changed.
    fn touch_directory(&mut self, tree: &Builder, node: u32) -> Result<()>;
    /// Removes the node, with all it holds. `fresh` when this layer put it (or something in it) there.
    fn remove(&mut self, tree: &Builder, node: u32, fresh: bool) -> Result<()>;
    /// Adds a file, link or device. `replaces` when something of this name, not a directory and not of this layer, is still
    /// there and has to go first.
    fn make(&mut self, tree: &Builder, node: u32, replaces: bool) -> Result<()>;
    /// Adds one more name for a file that is there, with `replaces` as in [`make`](Self::make).
    fn link(&mut self, tree: &Builder, node: u32, existing: u32, replaces: bool) -> Result<()>;
}

/// No disk: only the list matters.
pub(crate) struct NoDisk;

impl Disk for NoDisk {
    fn make_directory(&mut self, _: &Builder, _: u32) -> Result<()> {
        Ok(())
    }
    fn touch_directory(&mut self, _: &Builder, _: u32) -> Result<()> {
        Ok(())
    }
    fn remove(&mut self, _: &Builder, _: u32, _: bool) -> Result<()> {
        Ok(())
    }
    fn make(&mut self, _: &Builder, _: u32, _: bool) -> Result<()> {
        Ok(())
    }
    fn link(&mut self, _: &Builder, _: u32, _: u32, _: bool) -> Result<()> {
        Ok(())
    }
}

/// A tree as layers change it.
#[derive(Debug)]
pub(crate) struct Model {
    pub tree: Builder,
    /// The layer that put each node there (or, for a directory, last spoke of it); 0 for what was there before.
    layer_of: Vec<u32>,
    /// The layer that last took everything older out of each directory. What is below such a directory is that layer's
    /// own, or leads to what is: there is nothing to look for a second time.
    purged_by: Vec<u32>,
    layer: u32,
    strictness: Strictness,
    max_entries: u64,
    max_held: u64,
    /// Bytes of names, targets and attributes, those of what was removed included: they are held, too. So are the paths
    /// in the ledger and in the list of what is lost.
    held: u64,
}

impl Model {
    /// Returns a model of a tree as it is before the first layer.
    pub fn new(tree: Builder, strictness: Strictness, limits: &ReadLimits) -> Model {
        let layer_of = vec![0; tree.node_count()];
        let purged_by = layer_of.clone();
        let (max_entries, max_held) = (limits.max_entries, limits.max_held);
        Model { tree, layer_of, purged_by, layer: 0, strictness, max_entries, max_held, held: 0 }
    }

    /// Begins the next layer: whiteouts in it apply to everything before it.
    pub fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// Counts bytes that are kept in memory until the end, for the entry of this path.
    pub fn hold(&mut self, bytes: usize, path: &[u8]) -> Result<()> {
        self.held = self.held.saturating_add(bytes as u64);
        if self.held > self.max_held {
            let message = format!("names and attributes of more than {} bytes", self.max_held);
            return Err(Error::limit(APPLY, message).with_path(path));
        }
        Ok(())
    }

    fn fresh(&self, node: u32) -> bool {
        self.layer_of[node as usize] == self.layer
    }

    fn mark(&mut self, node: u32) {
        if self.layer_of.len() < self.tree.node_count() {
            self.layer_of.resize(self.tree.node_count(), 0);
            self.purged_by.resize(self.tree.node_count(), 0);
        }
        self.layer_of[node as usize] = self.layer;
    }

    fn purged(&self, directory: u32) -> bool {
        self.purged_by[directory as usize] == self.layer
    }

    /// Returns whether this layer put anything into the subtree.
    fn any_fresh(&self, node: u32) -> bool {
        let mut todo = vec![node];
        while let Some(node) = todo.pop() {
            if self.fresh(node) {
                return true;
            }
            if self.purged(node) {
                // What is left in it is there for the sake of something fresh.
                if self.tree.children(node).next().is_some() {
                    return true;
                }
                continue;
            }
            todo.extend(self.tree.children(node).map(|(_, child)| child));
        }
        false
    }

    /// Applies one entry. Returns the node of the file if content of it follows.
    pub fn entry(&mut self, entry: &TarEntry, disk: &mut dyn Disk) -> Result<Option<u32>> {
        if self.tree.node_count() as u64 > self.max_entries {
            let message = format!("the tree has more than {} entries", self.max_entries);
            return Err(Error::limit(APPLY, message).with_path(&entry.path));
        }
        let attributes: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.hold(entry.path.len() + entry.link.len() + attributes, &entry.path)?;
        let path = &entry.path[..];
        let (parent, name) = crate::fs::root::split(path);
        match whiteout::classify(path, entry.kind, entry.size, self.strictness)? {
            Whiteout::None => {}
            Whiteout::AufsMetadata => return Ok(None),
            Whiteout::Remove(gone) => {
                if let Some(directory) = self.existing_directory(parent)
                    && let Some(node) = self.tree.child(directory, gone)
                {
                    self.purge(node, disk)?;
                    disk.touch_directory(&self.tree, directory)?;
                }
                return Ok(None);
            }
            Whiteout::Opaque => {
                if let Some(directory) = self.existing_directory(parent) {
                    self.purge_below(directory, disk)?;
                    disk.touch_directory(&self.tree, directory)?;
                }
                return Ok(None);
            }
        }
        if path.is_empty() {
            return self.root(entry, disk).map(|()| None);
        }
        let directory = self.directory(parent, path, disk)?;
        // By way of a symbolic link a short path is one of a deep directory, and it is that one that is kept.
        self.hold(self.tree.path_len(directory).saturating_sub(parent.len()), path)?;
        let existing = self.tree.child(directory, name);
        if entry.kind == EntryKind::Hardlink {
            return self.hard_link(entry, directory, name, existing, disk).map(|()| None);
        }
        let inode = inode_of(entry);
        if entry.kind == EntryKind::Directory {
            match existing.filter(|&node| self.tree.kind(node) == Kind::Directory) {
                // "If the path is a directory in both, replace its attributes" (layer.md, "Changeset over existing files").
                Some(node) => {
                    *self.tree.inode_mut(node) = keep_identity(inode, self.tree.inode(node));
                    self.mark(node);
                    disk.touch_directory(&self.tree, node)?;
                }
                None => {
                    if let Some(node) = existing {
                        self.remove(node, disk)?;
                    }
                    let node = self.tree.insert(directory, name, inode);
                    self.mark(node);
                    disk.make_directory(&self.tree, node)?;
                    disk.touch_directory(&self.tree, directory)?;
                }
            }
            return Ok(None);
        }
        let replaces = self.clear_the_way(existing, disk)?;
        let node = self.tree.insert(directory, name, inode);
        self.mark(node);
        disk.touch_directory(&self.tree, directory)?;
        disk.make(&self.tree, node, replaces)?;
        Ok((entry.kind == EntryKind::File && entry.size > 0).then_some(node))
    }

    fn root(&mut self, entry: &TarEntry, disk: &mut dyn Disk) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Err(Error::corrupt(APPLY, "the root of a tree can only be a directory").with_path("/"));
        }
        *self.tree.inode_mut(ROOT) = keep_identity(inode_of(entry), self.tree.inode(ROOT));
        self.mark(ROOT);
        disk.touch_directory(&self.tree, ROOT)
    }

    fn hard_link(
        &mut self,
        entry: &TarEntry,
        directory: u32,
        name: &[u8],
        existing: Option<u32>,
        disk: &mut dyn Disk,
    ) -> Result<()> {
        let refuse = |message: String| Error::corrupt(APPLY, message).with_path(&entry.path);
        let shown = crate::error::escape(&entry.link);
        let missing = || refuse(format!("a hard link to {shown}, which is not there"));
        let (parent, last) = crate::fs::root::split(&entry.link);
        // The last component is not followed: the link joins the symbolic link itself, as linkat(2) does.
        let at = self.existing_directory(parent).ok_or_else(missing)?;
        let target = self.tree.child(at, last).ok_or_else(missing)?;
        if self.tree.kind(target) == Kind::Directory {
            return Err(refuse(format!("a hard link to {shown}, which is a directory")));
        }
        if let Some(node) = existing {
            if node == target {
                return Err(refuse("a hard link that joins itself".to_string()));
            }
            if self.tree.same_inode(node, target) {
                // It is this layer's all the same: a whiteout in it must not take the name away.
                self.mark(node);
                return Ok(());
            }
            let mut above = directory_chain(&self.tree, target);
            if above.any(|directory| directory == node) {
                return Err(refuse(format!("a hard link that would replace the directory {shown} is in")));
            }
        }
        let replaces = self.clear_the_way(existing, disk)?;
        let node = self.tree.link(directory, name, target);
        self.mark(node);
        disk.touch_directory(&self.tree, directory)?;
        disk.link(&self.tree, node, target, replaces)
    }

    /// Makes room for something that is not a directory. Returns whether the disk still has something of that name to replace.
    fn clear_the_way(&mut self, existing: Option<u32>, disk: &mut dyn Disk) -> Result<bool> {
        let Some(node) = existing else { return Ok(false) };
        if self.tree.kind(node) == Kind::Directory || self.fresh(node) {
            self.remove(node, disk)?;
            return Ok(false);
        }
        self.tree.remove(node);
        Ok(true)
    }

    fn remove(&mut self, node: u32, disk: &mut dyn Disk) -> Result<()> {
        disk.remove(&self.tree, node, self.any_fresh(node))?;
        self.tree.remove(node);
        Ok(())
    }

    /// Removes what earlier layers have at a node; what this layer put there stays, with the directories above it.
    fn purge(&mut self, node: u32, disk: &mut dyn Disk) -> Result<()> {
        if self.any_fresh(node) {
            return self.purge_below(node, disk);
        }
        disk.remove(&self.tree, node, false)?;
        self.tree.remove(node);
        Ok(())
    }

    /// Removes what earlier layers have in a directory, as [`purge`](Self::purge) does. Each node is visited once for every layer,
    /// however many whiteouts the layer has: a hostile one could have one for each of its entries.
    fn purge_below(&mut self, top: u32, disk: &mut dyn Disk) -> Result<()> {
        if self.purged(top) {
            return Ok(());
        }
        // Directories before what is in them; so, from the end, what is in them before they are judged.
        let mut order = vec![top];
        let mut at = 0;
        while let Some(&node) = order.get(at) {
            if !self.purged(node) {
                order.extend(self.tree.children(node).map(|(_, child)| child));
            }
            at += 1;
        }
        let mut stays = HashSet::from([top]);
        for &node in order[1..].iter().rev() {
            let leads_on = self.purged(node) && self.tree.children(node).next().is_some();
            if self.fresh(node) || leads_on || stays.contains(&node) {
                stays.insert(node);
                stays.insert(self.tree.parent(node));
            }
        }
        for node in order {
            if stays.contains(&node) {
                self.purged_by[node as usize] = self.layer;
            } else if node != top && self.purged_by[self.tree.parent(node) as usize] == self.layer {
                // Its directory stays, so it is the topmost of what goes; the rest of `order` is below such a one.
                let directory = self.tree.parent(node);
                disk.remove(&self.tree, node, false)?;
                self.tree.remove(node);
                disk.touch_directory(&self.tree, directory)?;
            }
        }
        Ok(())
    }

    /// Returns the directory a path leads to, if all of it is there.
    fn existing_directory(&self, path: &[u8]) -> Option<u32> {
        let (directory, missing) = self.tree.resolve(path).ok()?;
        missing.is_empty().then_some(directory)
    }

    /// Returns the directory a path leads to, with what is missing of it made: 0755, owned by root, dated 1970.
    fn directory(&mut self, parent: &[u8], path: &[u8], disk: &mut dyn Disk) -> Result<u32> {
        let (mut directory, missing) = self.tree.resolve(parent).map_err(|error| {
            Error::new(ErrorKind::Corrupt, APPLY, error.message().to_string()).with_path(path)
        })?;
        let missing: Vec<Vec<u8>> = missing.into_iter().map(<[u8]>::to_vec).collect();
        for name in missing {
            if name == b".." || name.len() > MAX_COMPONENT {
                let message = "a symbolic link on the way leads to a place that does not exist";
                return Err(Error::corrupt(APPLY, message).with_path(path));
            }
            if self.strictness == Strictness::Strict && name.starts_with(whiteout::PREFIX) {
                let message = "a symbolic link on the way has the name of a whiteout in its target";
                return Err(Error::corrupt(APPLY, message).with_path(path));
            }
            let mut meta = Meta::directory();
            meta.flags = Flags::IMPLICIT;
            let node = self.tree.insert(directory, &name, Inode::new(meta));
            self.mark(node);
            disk.make_directory(&self.tree, node)?;
            disk.touch_directory(&self.tree, directory)?;
            directory = node;
        }
        Ok(directory)
    }
}

/// Returns the directories above a node, the root last.
fn directory_chain(tree: &Builder, node: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(tree.parent(node)), |&at| (at != ROOT).then(|| tree.parent(at)))
}

/// Puts a directory's new attributes on the inode it already has.
fn keep_identity(new: Inode, old: &Inode) -> Inode {
    let mut new = new;
    (new.meta.dev, new.meta.ino, new.meta.ctime, new.meta.nlink) =
        (old.meta.dev, old.meta.ino, old.meta.ctime, old.meta.nlink);
    new
}

fn inode_of(entry: &TarEntry) -> Inode {
    let kind = match entry.kind {
        EntryKind::File | EntryKind::Hardlink => Kind::File,
        EntryKind::Directory => Kind::Directory,
        EntryKind::Symlink => Kind::Symlink,
        EntryKind::CharDevice => Kind::CharDevice,
        EntryKind::BlockDevice => Kind::BlockDevice,
        EntryKind::Fifo => Kind::Fifo,
    };
    let mut pairs: Vec<(&[u8], &[u8])> = entry.xattrs.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    pairs.sort();
    Inode {
        meta: Meta {
            kind,
            flags: Flags::empty(),
            // A symbolic link has no permissions of its own; Linux shows all of them.
            mode: if kind == Kind::Symlink { 0o777 } else { (entry.mode & 0o7777) as u16 },
            uid: entry.uid,
            gid: entry.gid,
            size: if kind == Kind::File { entry.size } else { 0 },
            mtime: Timestamp::new(entry.mtime.0, entry.mtime.1),
            rdev: if entry.kind.is_device() { entry.rdev } else { (0, 0) },
            ctime: Timestamp::default(),
            dev: 0,
            ino: 0,
            nlink: 1,
        },
        target: if kind == Kind::Symlink { entry.link.clone() } else { Vec::new() },
        xattrs: Xattrs::pack(&pairs),
        digest: None,
        place: None,
    }
}
