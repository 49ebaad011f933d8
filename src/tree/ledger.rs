//! The ledger: what an unprivileged process could not put on disk, kept beside the tree and merged into every scan.
//!
//! An entry is found by device and inode number together with a generation, because inode numbers are used again as soon
//! as a file is deleted. The permissions that were on the disk when the entry was written are kept too: where they are others now
//! (a `chmod`), those on the disk count.
//!
//! On disk: magic `TRLEDGR` and a version byte, the number of entries, the entries, and a CRC-32 of it all. Numbers are
//! little-endian, byte strings carry their length.

use std::collections::HashMap;
use std::io;

use super::entry::Xattrs;
use super::interchange::can_stand_for;
use crate::error::{Error, Result};
use crate::fs::generation::same_life;
use crate::fs::{Kind, Stat};

const MAGIC: &[u8; 8] = b"TRLEDGR\x01";
const READ: &str = "read ledger";

/// The owner, mode, device and attributes that a file should have and the disk did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The path of the file when this was written. For people, and for finding it again in a copy of the tree.
    pub path: Vec<u8>,
    /// The device it is on.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
    /// The generation of the inode, see [`crate::fs::generation`]: it distinguishes files that had the number one after the other.
    pub generation: u64,
    /// The permission bits the disk was given.
    pub disk_mode: u16,
    /// The kind of the file (a device stands on disk as an empty file).
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u16,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// A device's numbers.
    pub rdev: (u32, u32),
    /// Packed attributes that the disk did not take, see [`Xattrs::pack`].
    pub xattrs: Vec<u8>,
}

impl Record {
    /// Appends the bytes of this record, as ledgers and journals hold it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for n in [self.dev, self.ino, self.generation] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        for n in [self.uid, self.gid, self.rdev.0, self.rdev.1] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&self.disk_mode.to_le_bytes());
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.push(self.kind as u8);
        for bytes in [&self.path, &self.xattrs] {
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }

    /// Takes a record from the front of `rest`. The error is what is wrong with it.
    pub(super) fn decode(rest: &mut &[u8]) -> std::result::Result<Record, &'static str> {
        let mut take = |n: usize| rest.split_off(..n).ok_or("cut short");
        let u64_of = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("8 bytes"));
        let u32_of = |b: &[u8]| u32::from_le_bytes(b.try_into().expect("4 bytes"));
        let u16_of = |b: &[u8]| u16::from_le_bytes(b.try_into().expect("2 bytes"));
        let (dev, ino, generation) = (u64_of(take(8)?), u64_of(take(8)?), u64_of(take(8)?));
        let (uid, gid) = (u32_of(take(4)?), u32_of(take(4)?));
        let rdev = (u32_of(take(4)?), u32_of(take(4)?));
        let (disk_mode, mode) = (u16_of(take(2)?), u16_of(take(2)?));
        let kind = Kind::from_u8(take(1)?[0]).ok_or("unknown kind")?;
        let len = u32_of(take(4)?) as usize;
        let path = take(len)?.to_vec();
        let len = u32_of(take(4)?) as usize;
        let xattrs = take(len)?.to_vec();
        Xattrs::checked(&xattrs).ok_or("attributes")?;
        Ok(Record { path, dev, ino, generation, disk_mode, kind, mode, uid, gid, rdev, xattrs })
    }
}

/// The entries of one tree.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    records: HashMap<(u64, u64), Record>,
}

impl Ledger {
    /// Returns how many files it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether it has none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Records a file, in place of the record of its inode if there is one.
    pub fn insert(&mut self, record: Record) {
        self.records.insert((record.dev, record.ino), record);
    }

    /// Takes out the record of an inode.
    pub fn take(&mut self, dev: u64, ino: u64) -> Option<Record> {
        self.records.remove(&(dev, ino))
    }

    /// Returns whether there is a record of an inode number, of whatever generation.
    pub fn has(&self, dev: u64, ino: u64) -> bool {
        self.records.contains_key(&(dev, ino))
    }

    /// Returns all records, in no particular order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Returns the record of the file with this stat, if it is still the same one. `generation` is called only if there is a record of
    /// the inode number.
    pub fn get(
        &self,
        stat: &Stat,
        generation: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<Option<&Record>> {
        let Some(record) = self.records.get(&(stat.dev, stat.ino)) else { return Ok(None) };
        let same = can_stand_for(stat, record.kind) && same_life(record.generation, generation()?);
        Ok(same.then_some(record))
    }

    /// Returns the bytes, as they are saved; sorted by path, so that equal ledgers have equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut records: Vec<&Record> = self.records.values().collect();
        records.sort_by(|a, b| (&a.path, a.dev, a.ino).cmp(&(&b.path, b.dev, b.ino)));
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&(records.len() as u64).to_le_bytes());
        for record in records {
            record.encode(&mut out);
        }
        let crc = libdeflater::crc32(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. [`crate::ErrorKind::Corrupt`] when it is anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Ledger> {
        let bad = |what: &str| Error::corrupt(READ, format!("not a usable ledger: {what}"));
        let body = bytes.len().checked_sub(4).ok_or_else(|| bad("too short"))?;
        let (body, crc) = bytes.split_at(body);
        if !body.starts_with(MAGIC) {
            return Err(bad("wrong magic or version"));
        }
        if libdeflater::crc32(body).to_le_bytes() != crc {
            return Err(bad("the checksum does not match"));
        }
        let mut rest = &body[MAGIC.len()..];
        let count = rest.split_off(..8).ok_or_else(|| bad("cut short"))?;
        let count = u64::from_le_bytes(count.try_into().expect("8 bytes"));
        let mut ledger = Ledger::default();
        for _ in 0..count {
            ledger.insert(Record::decode(&mut rest).map_err(bad)?);
        }
        if !rest.is_empty() {
            return Err(bad("bytes left over"));
        }
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Timestamp;

    fn record(ino: u64) -> Record {
        Record {
            path: b"dev/\xffnull".to_vec(),
            dev: 5,
            ino,
            generation: 77,
            disk_mode: 0o600,
            kind: Kind::CharDevice,
            mode: 0o666,
            uid: 0,
            gid: 6,
            rdev: (1, 3),
            xattrs: Xattrs::pack(&[(b"trusted.x", b"\0\xff")]),
        }
    }

    #[test]
    fn bytes_round_trip_and_damage_is_seen() {
        let mut ledger = Ledger::default();
        ledger.insert(record(1));
        ledger.insert(record(2));
        let bytes = ledger.to_bytes();
        assert_eq!(Ledger::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Ledger::from_bytes(&damaged).is_err(), "damage at {at} not seen");
            assert!(Ledger::from_bytes(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn another_life_of_the_inode_is_another_file() {
        let mut ledger = Ledger::default();
        ledger.insert(record(1));
        let mut stat = Stat {
            kind: Kind::File,
            mode: 0o600,
            uid: 1000,
            gid: 1000,
            size: 0,
            blocks: 0,
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            btime: None,
            dev: 5,
            ino: 1,
            nlink: 1,
            rdev: (0, 0),
            mounted: None,
        };
        assert!(ledger.get(&stat, || Ok(77)).unwrap().is_some());
        assert!(ledger.get(&stat, || Ok(78)).unwrap().is_none());
        assert!(ledger.get(&stat, || Err(io::ErrorKind::Other.into())).is_err());
        stat.size = 1;
        assert!(ledger.get(&stat, || Ok(77)).unwrap().is_none(), "a placeholder with content is a file");
    }
}
