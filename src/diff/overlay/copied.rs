//! Owners of files that were copied up.
//!
//! The ledger names inodes, and a copy has another one. What the ledger has of the lower file holds for its copy as far as
//! the disk has the same there: where the owner or the mode on the disk is another, it was changed through the mount.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use super::lookup::{Found, Layers, attributes};
use super::marks::Marks;
use super::{DECODE, OverlayOptions};
use crate::error::{At, Result};
use crate::fs::generation::handle_part;
use crate::fs::root::{c_name, split};
use crate::fs::stat::stat_at;
use crate::fs::{Kind, Stat};
use crate::tree::builder::Inode;
use crate::tree::ledger::Record;
use crate::tree::ownership::Ownership;
use crate::tree::{Ledger, Meta, Snapshot, Xattrs};

impl Layers<'_> {
    /// Returns whether anything is recorded that a copied file could have.
    pub fn has_records(&self) -> bool {
        self.roots.len() > 1 && self.options.ledger.is_some_and(|ledger| !ledger.is_empty())
    }

    /// Gives an upper entry what the ledger has of the lower file that it was copied from. `below` is what the lower layers have at
    /// its place.
    pub fn inherit(
        &self,
        upper: &Snapshot,
        index: u32,
        marks: &Marks,
        below: Option<&Found>,
        inode: &mut Inode,
    ) -> Result<()> {
        let (directory, name, stat) = self.upper_entry(upper, index)?;
        let Some((before, record)) = self.copied_from(&stat, marks, below)? else { return Ok(()) };
        if before.kind != stat.kind || (before.uid, before.gid) != (stat.uid, stat.gid) {
            return Ok(());
        }
        // Settled once more, as if the record were of the copy.
        let generation = record.generation;
        let mut ledger = Ledger::default();
        ledger.insert(Record { dev: stat.dev, ino: stat.ino, ..record.clone() });
        let shown = || self.roots[0].describe(&upper.path(index));
        let attributes = attributes(&directory, &name, shown)?;
        let pairs = attributes.iter().map(|(name, value)| (&name[..], &value[..]));
        let mut xattrs = Xattrs::pack(&Marks::take(pairs, self.counted, self.options.all_xattrs).1);
        let (meta, found) = (&mut inode.meta, Meta::from_stat(&stat));
        (meta.kind, meta.mode, meta.rdev) = (found.kind, found.mode, found.rdev);
        (meta.uid, meta.gid) = (found.uid, found.gid);
        let OverlayOptions { owner: policy, owner_from: source, .. } = *self.options;
        Ownership { policy, ledger: Some(&ledger), source }
            .settle(DECODE, &stat, meta, &mut xattrs, || Ok(generation))
            .map_err(|error| error.with_path(shown()))?;
        inode.xattrs = xattrs;
        Ok(())
    }

    /// Returns the lower file that an upper one was copied from, if the ledger has it.
    fn copied_from(
        &self,
        stat: &Stat,
        marks: &Marks,
        below: Option<&Found>,
    ) -> Result<Option<(Stat, &Record)>> {
        if let Some(found) = below {
            let handle = match marks.origin {
                Some(_) => handle_part(self.generation(found)?),
                None => None,
            };
            let copied = match (marks.origin.zip(handle), stat.kind) {
                // A directory in place of one that was removed is opaque.
                (_, Kind::Directory) => !marks.opaque,
                (Some((origin, handle)), _) => origin == handle,
                // A copy of a file of several names, and of what carries no attributes, has no mark.
                (None, _) => marks.copied || (stat.size, stat.mtime) == (found.stat.size, found.stat.mtime),
            };
            if copied {
                return Ok(self.record(found)?.map(|record| (found.stat, record)));
            }
        }
        // It was moved.
        let Some(origin) = marks.origin else { return Ok(None) };
        let records = self.options.ledger.into_iter().flat_map(|ledger| ledger.records());
        for record in records.filter(|record| handle_part(record.generation) == Some(origin)) {
            let stats = self.roots[1..].iter().filter_map(|root| {
                let (parent, name) = split(&record.path);
                stat_at(root.open_dir(parent).ok()?, &c_name(name).ok()?).ok()
            });
            for before in stats {
                if (before.dev, before.ino) == (record.dev, record.ino) {
                    return Ok(Some((before, record)));
                }
            }
        }
        Ok(None)
    }

    /// Returns an upper entry as the disk has it: its directory, its name there, and its stat.
    pub fn upper_entry(&self, upper: &Snapshot, index: u32) -> Result<(OwnedFd, CString, Stat)> {
        let path = upper.path(index);
        let (parent, name) = split(&path);
        let root = &self.roots[0];
        let directory = root.open_dir(parent).at(DECODE, root.describe(parent))?;
        let name = match name.is_empty() {
            true => c".".to_owned(),
            false => c_name(name).at(DECODE, root.describe(&path))?,
        };
        let stat = stat_at(&directory, &name).at(DECODE, root.describe(&path))?;
        Ok((directory, name, stat))
    }
}
