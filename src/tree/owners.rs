//! The owners of a tree's files, from the sources that are not the disk.

use super::interchange::OwnerSource;
use super::ledger::{Ledger, Record};
use super::owner::OwnerPolicy;
use super::scan::ScanOptions;

/// The records that decide the owner of an entry besides the disk.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    /// For files that neither the ledger nor the source has.
    pub policy: OwnerPolicy,
    /// Another tool's record of owners.
    pub source: OwnerSource,
    /// The ledger: what the disk did not take.
    pub ledger: Ledger,
}

/// The part of [`Owners`] that options can set. A member that is `None` stays as the tree was bound, else at its default.
#[derive(Debug, Clone, Default)]
pub struct OwnersWanted {
    /// The owner of files that neither the ledger nor the source has.
    pub policy: Option<OwnerPolicy>,
    /// Another tool's record of owners.
    pub source: Option<OwnerSource>,
}

impl From<OwnerPolicy> for OwnersWanted {
    fn from(policy: OwnerPolicy) -> OwnersWanted {
        OwnersWanted { policy: Some(policy), source: None }
    }
}

impl Owners {
    /// Replaces the policy and the source by those that are set.
    pub fn with(self, wanted: &OwnersWanted) -> Owners {
        Owners {
            policy: wanted.policy.clone().unwrap_or(self.policy),
            source: wanted.source.clone().unwrap_or(self.source),
            ledger: self.ledger,
        }
    }

    /// Returns the options of a scan by these owners, everything else being the default.
    pub fn scan_options(&self) -> ScanOptions<'_> {
        ScanOptions {
            owner: &self.policy,
            owner_from: &self.source,
            ledger: Some(&self.ledger),
            ..ScanOptions::default()
        }
    }

    /// Takes over the records that a scan learned, see [`Scan::learned`](super::Scan::learned): a save file of fakeroot is not needed
    /// again.
    pub fn learn(&mut self, learned: Vec<Record>) {
        if let OwnerSource::Fakeroot(_) = self.source {
            self.source = OwnerSource::Nothing;
        }
        for record in learned {
            self.ledger.insert(record);
        }
    }
}
