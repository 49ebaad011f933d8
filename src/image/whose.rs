//! Whose the files of a directory are: what the caller says, else what the store knows of the directory.

use std::os::unix::ffi::OsStrExt;

use super::binding::{self, BoundTree};
use crate::error::{At, Result};
use crate::fs::Root;
use crate::fs::stat::stat_fd;
use crate::store::Store;
use crate::tree::ledger::Record;
use crate::tree::{Ledger, OwnerPolicy, OwnerSource, ScanOptions};

/// All that a scan has to know besides the disk.
#[derive(Debug, Clone, Default)]
pub struct Whose {
    /// For files that neither the ledger nor the source knows.
    pub owner: OwnerPolicy,
    /// Another tool's record of owners.
    pub owner_from: OwnerSource,
    /// What the disk did not take.
    pub ledger: Ledger,
}

impl Whose {
    /// For a directory that the store may know. What is `None` is as the directory was bound, else the default.
    pub fn find(
        store: Option<&Store>,
        root: &Root,
        owner: Option<OwnerPolicy>,
        owner_from: Option<OwnerSource>,
    ) -> Result<Whose> {
        let bound = match store {
            Some(store) => binding::find(store, root)?,
            None => None,
        };
        let known = bound.map(BoundTree::into_whose).unwrap_or_default();
        Ok(known.unless(owner, owner_from))
    }

    /// The same but for what is given.
    pub fn unless(self, owner: Option<OwnerPolicy>, owner_from: Option<OwnerSource>) -> Whose {
        Whose {
            owner: owner.unwrap_or(self.owner),
            owner_from: owner_from.unwrap_or(self.owner_from),
            ledger: self.ledger,
        }
    }

    /// Options of a scan by it, everything else being the default.
    pub fn scan_options(&self) -> ScanOptions<'_> {
        ScanOptions {
            owner: &self.owner,
            owner_from: &self.owner_from,
            ledger: Some(&self.ledger),
            ..ScanOptions::default()
        }
    }

    /// The same for a tree that a store may stand in: the store is no part of it.
    pub fn scan_options_beside(&self, store: Option<&Store>) -> Result<ScanOptions<'_>> {
        let stat =
            store.map(|store| stat_fd(store.dir()).at("scan tree", store.root_path().as_os_str().as_bytes()));
        let leave_out = stat.transpose()?.map(|stat| (stat.dev, stat.ino));
        Ok(ScanOptions { leave_out, ..self.scan_options() })
    }

    /// Takes over what a scan learned, see [`crate::tree::Scan::learned`]: a save file of fakeroot is not needed again.
    pub(super) fn learn(&mut self, learned: Vec<Record>) {
        if let OwnerSource::Fakeroot(_) = self.owner_from {
            self.owner_from = OwnerSource::Nothing;
        }
        for record in learned {
            self.ledger.insert(record);
        }
    }
}
