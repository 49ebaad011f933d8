//! Resolves owner, mode and kind of an entry from records other than the disk.

use std::io;

use super::entry::{Meta, Xattrs};
use super::interchange::OwnerSource;
use super::ledger::{Ledger, Record};
use super::owner::OwnerPolicy;
use crate::error::{At, Error, Result};
use crate::fs::{Kind, Stat};

/// The sources of an owner. The record of another tool comes first, then the ledger; the policy is for files that neither has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ownership<'a> {
    pub policy: &'a OwnerPolicy,
    pub ledger: Option<&'a Ledger>,
    pub source: &'a OwnerSource,
}

/// The result of settling.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// The policy gave another owner than the disk has.
    pub replaced: bool,
    /// The file stands for a socket. No layer has any; `meta` says what is on disk.
    pub socket: bool,
    /// The record to write into the ledger so that it holds without the source, its path empty.
    pub learned: Option<Record>,
}

impl Ownership<'_> {
    /// Completes what the disk has of an entry: `meta` and its packed attributes. `generation` is called only where a record needs it.
    /// Errors name no path.
    pub fn settle(
        &self,
        operation: &'static str,
        stat: &Stat,
        meta: &mut Meta,
        xattrs: &mut Vec<u8>,
        generation: impl Fn() -> io::Result<u64>,
    ) -> Result<Settled> {
        let mut settled = Settled::default();
        let claim = self.source.claim(stat, xattrs)?;
        let record = match self.ledger {
            Some(ledger) => ledger.get(stat, &generation).at("identify file", "")?,
            None => None,
        };
        match record {
            Some(record) => {
                meta.kind = record.kind;
                if stat.mode == record.disk_mode {
                    meta.mode = record.mode;
                }
                (meta.uid, meta.gid, meta.rdev) = (record.uid, record.gid, record.rdev);
                if !record.xattrs.is_empty() {
                    *xattrs = merge(Xattrs(xattrs), Xattrs(&record.xattrs));
                }
            }
            None if claim.is_some_and(|claim| claim.uid.is_some() && claim.gid.is_some()) => {}
            None => {
                let owner = self.policy.apply(stat.uid, stat.gid).ok_or_else(|| {
                    let message = format!("owner {}:{} is outside the id map", stat.uid, stat.gid);
                    Error::invalid(operation, message)
                })?;
                settled.replaced = owner != (stat.uid, stat.gid);
                (meta.uid, meta.gid) = owner;
            }
        }
        let Some(claim) = claim else { return Ok(settled) };
        meta.uid = claim.uid.unwrap_or(meta.uid);
        meta.gid = claim.gid.unwrap_or(meta.gid);
        match claim.kind {
            Some(Kind::Socket) => return Ok(Settled { socket: true, ..settled }),
            Some(kind) => (meta.kind, meta.rdev) = (kind, claim.rdev),
            None => {}
        }
        // The permissions of a link mean nothing and are the same everywhere.
        if let Some(mode) = claim.mode
            && meta.kind != Kind::Symlink
        {
            meta.mode = mode;
        }
        if self.source.moves_unseen() {
            settled.learned = Some(Record {
                path: Vec::new(),
                dev: stat.dev,
                ino: stat.ino,
                generation: generation().at("identify file", "")?,
                disk_mode: stat.mode,
                kind: meta.kind,
                mode: meta.mode,
                uid: meta.uid,
                gid: meta.gid,
                rdev: meta.rdev,
                xattrs: record.map(|record| record.xattrs.clone()).unwrap_or_default(),
            });
        }
        Ok(settled)
    }
}

/// Returns the disk's attributes with the ledger's over them.
fn merge(disk: Xattrs<'_>, ledger: Xattrs<'_>) -> Vec<u8> {
    let mut pairs: Vec<(&[u8], &[u8])> =
        disk.into_iter().filter(|(name, _)| ledger.get(name).is_none()).collect();
    pairs.extend(ledger);
    pairs.sort();
    Xattrs::pack(&pairs)
}
