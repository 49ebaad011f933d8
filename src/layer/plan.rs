//! Which tar entries a layer consists of, and at which offset each begins.
//!
//! All metadata is known after the scan, so every entry's place in the tar is a sum over the ones before it. That is what
//! lets any thread fill any part of the tar (see [`super::source`]).

use std::collections::HashMap;

use super::header::{BLOCK, EntryKind, HeaderEntry, MtimePrecision, header_len, write_header};
use super::whiteout;
use crate::diff::{Change, ChangeKind};
use crate::error::{Error, Result};
use crate::fs::root::push_name;
use crate::fs::{Kind, Timestamp};
use crate::hint::Hint;
use crate::tree::{NONE, Snapshot};

const WRITE: &str = "write layer";

/// Options of a layer that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerOptions {
    /// Whole seconds (the default, as most tools write) or nanoseconds.
    pub precision: MtimePrecision,
    /// No time stamp in the layer is later than this: seconds since 1970, as `SOURCE_DATE_EPOCH` gives them.
    pub clamp_mtime: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ItemKind {
    /// An entry of the new snapshot, with content if it is a file.
    Entry,
    /// A further name of a file that stands earlier in the layer; `index` is the further name.
    Link,
    /// A path of the old snapshot that is gone.
    Whiteout,
    /// A directory of the new snapshot that hides what is below.
    Opaque,
}

/// The header of a whiteout but for its path.
const EMPTY_FILE: HeaderEntry<'static> = HeaderEntry {
    path: b"",
    kind: EntryKind::File,
    mode: 0,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: (0, 0),
    link: b"",
    rdev: (0, 0),
    xattrs: &[],
};

/// A tar entry: its place, and what it is about.
#[derive(Debug, Clone, Copy)]
struct Item {
    offset: u64,
    index: u32,
    kind: ItemKind,
}

/// The entries of one layer, in order: byte order of paths, and a directory's whiteouts right after the directory.
pub struct LayerPlan<'a> {
    old: Option<&'a Snapshot>,
    new: &'a Snapshot,
    options: LayerOptions,
    items: Vec<Item>,
    /// For each group of hard links in the layer, by its leader in the snapshot: the first member in the layer.
    first_link: HashMap<u32, u32>,
    len: u64,
    content: u64,
}

/// An entry of the plan, as [`LayerPlan::entry`] gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// The offset of its header.
    pub offset: u64,
    /// The number of its file in the new snapshot if content follows the header, else [`NONE`].
    pub file: u32,
    /// The length of that content.
    pub size: u64,
}

impl<'a> LayerPlan<'a> {
    /// Plans the layer that turns `old` into `new`.
    ///
    /// # Errors
    /// A `.wh.` name or a 0:0 character device among the changes: unpacked elsewhere, both would delete files.
    pub fn new(
        changes: &[Change],
        old: Option<&'a Snapshot>,
        new: &'a Snapshot,
        options: LayerOptions,
    ) -> Result<LayerPlan<'a>> {
        let mut plan = LayerPlan {
            old,
            new,
            options,
            items: Vec::new(),
            first_link: HashMap::new(),
            len: 0,
            content: 0,
        };
        // Whiteouts stand in front of everything else in their directory (image-spec, layer.md, "Whiteouts").
        let mut gone: HashMap<u32, Vec<u32>> = HashMap::new();
        for change in changes.iter().filter(|change| change.kind == ChangeKind::Deleted) {
            let old = old.ok_or_else(|| Error::invalid(WRITE, "a deletion without a base to delete from"))?;
            let parent = new.lookup(&old.path(old.parent(change.old))).unwrap_or(0);
            gone.entry(parent).or_default().push(change.old);
        }
        let root_changes = changes.first().is_some_and(|change| change.new == 0);
        if !root_changes {
            plan.whiteouts(&mut gone, 0)?;
        }
        for change in changes {
            if change.new == NONE {
                continue;
            }
            plan.check_name(change.new)?;
            let meta = new.meta(change.new);
            let leader = new.leader(change.new);
            if meta.nlink > 1 && meta.kind != Kind::Directory {
                if let Some(&first) = plan.first_link.get(&leader) {
                    debug_assert_ne!(first, change.new);
                    plan.push(change.new, ItemKind::Link)?;
                    continue;
                }
                plan.first_link.insert(leader, change.new);
            }
            plan.push(change.new, ItemKind::Entry)?;
            if meta.kind == Kind::Directory {
                if change.opaque {
                    plan.push(change.new, ItemKind::Opaque)?;
                }
                plan.whiteouts(&mut gone, change.new)?;
            }
        }
        // The rest is in directories that did not change themselves. A scan never finds that, since a name that goes changes its
        // directory; a list that was put together otherwise may have it.
        let mut rest: Vec<u32> = gone.keys().copied().collect();
        rest.sort_unstable();
        for directory in rest {
            plan.whiteouts(&mut gone, directory)?;
        }
        Ok(plan)
    }

    /// Returns the blocks of the tar in which contents are, by the leaders of the files in the new snapshot.
    pub(crate) fn places(&self) -> HashMap<u32, u64> {
        let has_content = |item: &&Item| {
            let meta = self.new.meta(item.index);
            item.kind == ItemKind::Entry && meta.kind == Kind::File && meta.size > 0
        };
        let block = |item: &Item| (self.new.leader(item.index), item.offset / BLOCK as u64);
        self.items.iter().filter(has_content).map(block).collect()
    }

    fn whiteouts(&mut self, gone: &mut HashMap<u32, Vec<u32>>, directory: u32) -> Result<()> {
        for index in gone.remove(&directory).unwrap_or_default() {
            self.push(index, ItemKind::Whiteout)?;
        }
        Ok(())
    }

    fn check_name(&self, index: u32) -> Result<()> {
        if self.new.name(index).starts_with(whiteout::PREFIX) {
            let message = "names that begin with .wh. mark deletions in a layer and cannot be part of one";
            return Err(Error::invalid(WRITE, message)
                .with_path(self.new.path(index))
                .with_hint(Hint::RenameOrCommitUpper));
        }
        let meta = self.new.meta(index);
        if meta.kind == Kind::CharDevice && meta.rdev == (0, 0) {
            let message =
                "a 0:0 character device marks a deletion on overlayfs and cannot be part of a layer";
            return Err(Error::invalid(WRITE, message)
                .with_path(self.new.path(index))
                .with_hint(Hint::CommitUpper));
        }
        Ok(())
    }

    fn push(&mut self, index: u32, kind: ItemKind) -> Result<()> {
        let item = Item { offset: self.len, index, kind };
        let (header, size) =
            self.with_header(&item, |entry, precision| Ok((header_len(entry, precision)?, entry.size)))?;
        self.len = self
            .len
            .checked_add(header)
            .and_then(|len| len.checked_add(size.checked_next_multiple_of(BLOCK as u64)?))
            .ok_or_else(|| Error::limit(WRITE, "the layer would be larger than 2^64 bytes"))?;
        self.content += size;
        self.items.push(item);
        Ok(())
    }

    /// Builds the header entry of an item and gives it to `f`.
    fn with_header<T>(
        &self,
        item: &Item,
        f: impl FnOnce(&HeaderEntry<'_>, MtimePrecision) -> Result<T>,
    ) -> Result<T> {
        let (mut path, mut link) = (Vec::with_capacity(128), Vec::new());
        let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
        let entry = match item.kind {
            ItemKind::Whiteout => {
                let old = self.old.expect("a whiteout comes from a base");
                old.push_path(old.parent(item.index), &mut path);
                push_name(&mut path, &whiteout::marker(old.name(item.index))?);
                HeaderEntry { path: &path, ..EMPTY_FILE }
            }
            ItemKind::Opaque => {
                self.new.push_path(item.index, &mut path);
                push_name(&mut path, whiteout::OPAQUE);
                HeaderEntry { path: &path, ..EMPTY_FILE }
            }
            ItemKind::Entry | ItemKind::Link => {
                let meta = self.new.meta(item.index);
                let linked = item.kind == ItemKind::Link;
                self.new.push_path(item.index, &mut path);
                let kind = if linked {
                    self.new.push_path(self.first_link[&self.new.leader(item.index)], &mut link);
                    EntryKind::Hardlink
                } else {
                    link.extend_from_slice(self.new.link_target(item.index));
                    pairs.extend(self.new.xattrs(item.index));
                    EntryKind::of(meta.kind).ok_or_else(|| {
                        Error::invalid(WRITE, "a socket cannot be part of a layer").with_path(&path)
                    })?
                };
                HeaderEntry {
                    path: &path,
                    kind,
                    mode: meta.mode.into(),
                    uid: meta.uid,
                    gid: meta.gid,
                    size: if linked { 0 } else { meta.size },
                    mtime: self.clamped(meta.mtime),
                    link: &link,
                    rdev: meta.rdev,
                    xattrs: &pairs,
                }
            }
        };
        f(&entry, self.options.precision)
    }

    /// Returns the time that an entry has in the layer for one that its file has.
    pub(crate) fn written_time(&self, time: Timestamp) -> Timestamp {
        let (secs, nanos) = self.clamped(time);
        Timestamp::new(secs, if self.options.precision == MtimePrecision::Nanoseconds { nanos } else { 0 })
    }

    fn clamped(&self, time: Timestamp) -> (i64, u32) {
        match self.options.clamp_mtime {
            Some(clamp) if time.secs >= clamp => (clamp, 0),
            _ => (time.secs, time.nanos),
        }
    }

    /// Returns the length of the tar without its end-of-archive blocks.
    pub(super) fn entries_len(&self) -> u64 {
        self.len
    }

    /// Returns how many tar entries the layer has. 0 means that nothing changed.
    pub fn entry_count(&self) -> usize {
        self.items.len()
    }

    /// Returns the bytes of file content in the layer.
    pub fn content_len(&self) -> u64 {
        self.content
    }

    /// Returns the snapshot the layer leads to.
    pub(super) fn snapshot(&self) -> &'a Snapshot {
        self.new
    }

    /// Returns the number of the entry that covers `offset`.
    pub(super) fn entry_at(&self, offset: u64) -> usize {
        self.items.partition_point(|item| item.offset <= offset).saturating_sub(1)
    }

    /// Returns where entry number `i` is, with its header's bytes put into `header`. `None` behind the last.
    pub(super) fn entry(&self, i: usize, header: &mut Vec<u8>) -> Result<Option<Placed>> {
        let Some(item) = self.items.get(i) else { return Ok(None) };
        header.clear();
        let size = self.with_header(item, |entry, precision| {
            write_header(entry, precision, header)?;
            Ok(entry.size)
        })?;
        let file = if size > 0 { item.index } else { NONE };
        Ok(Some(Placed { offset: item.offset, file, size }))
    }
}
