//! The bytes of a snapshot, in memory and on disk alike: a header, fixed-size records, an arena, a checksum.
//!
//! ```text
//! 0    header, 128 bytes: magic, version, counts, offsets, the clock of the scan, what decided the owners
//! 128  records, 128 bytes each: the root, then the children of each directory together, sorted by name
//!      digests, 32 bytes each: of contents, and of the layers that contents are in
//!      arena: names, link targets, packed extended attributes
//!      CRC-32 of everything before it, 4 bytes
//! ```
//! Numbers are little-endian. A record's directory always stands before it, so one pass validates a whole file, and
//! reading costs no parsing: a file is mapped and used as it is.

use std::collections::HashMap;

use super::entry::{Flags, Meta, NONE, Place, Xattrs};
use crate::error::{Error, Result};
use crate::fs::{Kind, Timestamp};

pub(super) const MAGIC: &[u8; 8] = b"TRSNAP\x00\x01";
pub(super) const HEADER: usize = 128;
pub(super) const RECORD: usize = 128;
const READ: &str = "read snapshot";

/// Offsets in a record of numbers that are read alone: decoding all of it for one costs more than a comparison does.
pub(super) const PARENT: usize = 8;
pub(super) const DEV: usize = 56;
pub(super) const LEADER: usize = 76;
pub(super) const TARGET: usize = 88;
pub(super) const CHILDREN: usize = 96;
pub(super) const XATTRS: usize = 104;
pub(super) const DIGEST: usize = 112;
pub(super) const PLACE: usize = 116;

/// Offsets in the header.
pub(super) const DIGEST_COUNT: usize = 16;
const CLOCK: usize = 32;
const SCANNED_BY: usize = 48;

/// Writes the checksum of bytes that were changed to their end, in place of the one that is there.
pub(super) fn seal(bytes: &mut [u8]) {
    let body = bytes.len() - 4;
    let crc = libdeflater::crc32(&bytes[..body]);
    put(bytes, body, &crc.to_le_bytes());
}

/// Writes the time up to which stat identities can be trusted into a header.
pub(super) fn set_clock(header: &mut [u8], clock: Timestamp) {
    put(header, CLOCK, &clock.secs.to_le_bytes());
    put(header, CLOCK + 8, &clock.nanos.to_le_bytes());
}

/// Writes into a header what decided the owners of a scan, see [`Snapshot::scanned_by`](super::Snapshot::scanned_by).
pub(super) fn set_scanned_by(header: &mut [u8], policy: u64) {
    put(header, SCANNED_BY, &policy.to_le_bytes());
}

/// Returns the number that [`set_scanned_by`] wrote.
pub(super) fn scanned_by(header: &[u8]) -> u64 {
    u64::from_le_bytes(*header[SCANNED_BY..].first_chunk().expect("inside of the header"))
}

/// A record, decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub name: (u32, u16),
    pub parent: u32,
    pub meta: Meta,
    /// The first entry, in path order, of those that share this file; the entry itself when it is alone.
    pub leader: u32,
    pub target: (u32, u32),
    pub children: (u32, u32),
    /// Offset and length of the packed attributes in the arena.
    pub xattrs: (u32, u32),
    /// Number of the content digest plus one, 0 for none.
    pub digest: u32,
    /// Where the content is: the number of the layer's DiffID among the digests plus one, 0 for none, and the block of its tar.
    pub place: (u32, u64),
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Record {
    pub fn encode(&self) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        let m = &self.meta;
        put(&mut out, 0, &self.name.0.to_le_bytes());
        put(&mut out, 4, &self.name.1.to_le_bytes());
        out[6] = m.kind as u8;
        out[7] = m.flags.bits();
        put(&mut out, PARENT, &self.parent.to_le_bytes());
        put(&mut out, 12, &m.mode.to_le_bytes());
        put(&mut out, 16, &m.uid.to_le_bytes());
        put(&mut out, 20, &m.gid.to_le_bytes());
        put(&mut out, 24, &m.size.to_le_bytes());
        put(&mut out, 32, &m.mtime.secs.to_le_bytes());
        put(&mut out, 40, &m.mtime.nanos.to_le_bytes());
        put(&mut out, 44, &m.ctime.nanos.to_le_bytes());
        put(&mut out, 48, &m.ctime.secs.to_le_bytes());
        put(&mut out, DEV, &m.dev.to_le_bytes());
        put(&mut out, 64, &m.ino.to_le_bytes());
        put(&mut out, 72, &m.nlink.to_le_bytes());
        put(&mut out, LEADER, &self.leader.to_le_bytes());
        put(&mut out, 80, &m.rdev.0.to_le_bytes());
        put(&mut out, 84, &m.rdev.1.to_le_bytes());
        put(&mut out, TARGET, &self.target.0.to_le_bytes());
        put(&mut out, TARGET + 4, &self.target.1.to_le_bytes());
        put(&mut out, CHILDREN, &self.children.0.to_le_bytes());
        put(&mut out, CHILDREN + 4, &self.children.1.to_le_bytes());
        put(&mut out, XATTRS, &self.xattrs.0.to_le_bytes());
        put(&mut out, XATTRS + 4, &self.xattrs.1.to_le_bytes());
        put(&mut out, DIGEST, &self.digest.to_le_bytes());
        put(&mut out, PLACE, &self.place.0.to_le_bytes());
        put(&mut out, PLACE + 4, &self.place.1.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8; RECORD]) -> Option<Record> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        Some(Record {
            name: (u32_at(0), u16_at(4)),
            parent: u32_at(PARENT),
            meta: Meta {
                kind: Kind::from_u8(bytes[6])?,
                flags: Flags::from_bits_truncate(bytes[7]),
                mode: u16_at(12),
                uid: u32_at(16),
                gid: u32_at(20),
                size: u64_at(24),
                mtime: Timestamp::new(u64_at(32) as i64, u32_at(40)),
                ctime: Timestamp::new(u64_at(48) as i64, u32_at(44)),
                dev: u64_at(DEV),
                ino: u64_at(64),
                nlink: u32_at(72),
                rdev: (u32_at(80), u32_at(84)),
            },
            leader: u32_at(LEADER),
            target: (u32_at(TARGET), u32_at(TARGET + 4)),
            children: (u32_at(CHILDREN), u32_at(CHILDREN + 4)),
            xattrs: (u32_at(XATTRS), u32_at(XATTRS + 4)),
            digest: u32_at(DIGEST),
            place: (u32_at(PLACE), u64_at(PLACE + 4)),
        })
    }
}

/// The offsets of the parts of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub count: u32,
    pub digests: usize,
    pub digest_count: u32,
    pub arena: usize,
    pub arena_len: usize,
    pub clock: Timestamp,
}

/// Grows the bytes of a snapshot. Records go in their final order: the root, then directory by directory.
#[derive(Debug)]
pub(super) struct Writer {
    /// Room for the header, then the records: in the end the rest goes behind them, and the larger part is not copied.
    bytes: Vec<u8>,
    arena: Vec<u8>,
    digests: Vec<[u8; 32]>,
    layers: HashMap<[u8; 32], u32>,
    sets: HashMap<Vec<u8>, (u32, u32)>,
    /// See [`set_scanned_by`]; 0 for a list that no scan made.
    pub scanned_by: u64,
}

impl Writer {
    pub fn with_capacity(entries: usize) -> Writer {
        // Names are some 20 bytes on average; memory that is not touched costs nothing.
        let mut bytes = Vec::with_capacity(HEADER + entries * (RECORD + 32));
        bytes.resize(HEADER, 0);
        Writer {
            bytes,
            arena: Vec::new(),
            digests: Vec::new(),
            layers: HashMap::new(),
            sets: HashMap::new(),
            scanned_by: 0,
        }
    }

    fn record(&self, index: u32) -> Record {
        let at = HEADER + index as usize * RECORD;
        let bytes = self.bytes[at..at + RECORD].try_into().expect("128 bytes");
        Record::decode(bytes).expect("encoded here")
    }

    /// Returns the path of a record pushed before: components joined by `/`, empty for the root.
    pub fn path(&self, index: u32) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = index;
        while at != 0 {
            let record = self.record(at);
            names.push(&self.arena[record.name.0 as usize..][..record.name.1 as usize]);
            at = record.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Returns the metadata of a record pushed before.
    pub fn meta(&self, index: u32) -> Meta {
        self.record(index).meta
    }

    /// Returns the packed attributes of a record pushed before.
    pub fn xattrs(&self, index: u32) -> &[u8] {
        let (at, length) = self.record(index).xattrs;
        &self.arena[at as usize..][..length as usize]
    }

    pub fn len(&self) -> u32 {
        ((self.bytes.len() - HEADER) / RECORD) as u32
    }

    /// Puts bytes into the arena.
    pub fn store(&mut self, bytes: &[u8]) -> Result<u32> {
        let at = u32::try_from(self.arena.len());
        match at {
            Ok(at) if self.arena.len() + bytes.len() <= u32::MAX as usize => {
                self.arena.extend_from_slice(bytes);
                Ok(at)
            }
            _ => Err(Error::limit("build snapshot", "names and attributes exceed 4 GiB")),
        }
    }

    /// Puts packed attributes into the arena, once for all entries that have the same ones.
    pub fn store_xattrs(&mut self, packed: &[u8]) -> Result<(u32, u32)> {
        if packed.is_empty() {
            return Ok((0, 0));
        }
        if let Some(&at) = self.sets.get(packed) {
            return Ok(at);
        }
        let at = (self.store(packed)?, packed.len() as u32);
        self.sets.insert(packed.to_vec(), at);
        Ok(at)
    }

    pub fn store_digest(&mut self, digest: Option<[u8; 32]>) -> u32 {
        match digest {
            Some(digest) => {
                self.digests.push(digest);
                self.digests.len() as u32
            }
            None => 0,
        }
    }

    /// Puts the place of a content into the form that a record has it in; the DiffID of a layer is stored once.
    pub fn store_place(&mut self, place: Option<Place>) -> (u32, u64) {
        let Some(Place { layer, block }) = place else { return (0, 0) };
        let digests = &mut self.digests;
        let number = *self.layers.entry(layer).or_insert_with(|| {
            digests.push(layer);
            digests.len() as u32
        });
        (number, block)
    }

    /// Appends one record.
    pub fn push(&mut self, record: &Record) -> Result<u32> {
        let index = self.len();
        if index == NONE - 1 {
            return Err(Error::limit("build snapshot", "more than 4 billion entries"));
        }
        self.bytes.extend_from_slice(&record.encode());
        Ok(index)
    }

    fn patch(&mut self, index: u32, at: usize, bytes: &[u8]) {
        put(&mut self.bytes, HEADER + index as usize * RECORD + at, bytes);
    }

    pub fn set_children(&mut self, index: u32, start: u32, count: u32) {
        self.patch(index, CHILDREN, &start.to_le_bytes());
        self.patch(index, CHILDREN + 4, &count.to_le_bytes());
    }

    pub fn set_leader(&mut self, index: u32, leader: u32) {
        self.patch(index, LEADER, &leader.to_le_bytes());
    }

    pub fn set_flags(&mut self, index: u32, flags: Flags) {
        self.patch(index, 7, &[flags.bits()]);
    }

    pub fn set_digest(&mut self, index: u32, digest: [u8; 32]) {
        let number = self.store_digest(Some(digest));
        self.patch(index, DIGEST, &number.to_le_bytes());
    }

    /// Puts the parts together.
    pub fn finish(self, clock: Timestamp) -> (Vec<u8>, Shape) {
        let count = self.len();
        let mut out = self.bytes;
        let digests = out.len();
        let arena = digests + self.digests.len() * 32;
        out.reserve_exact(arena + self.arena.len() + 4 - digests);
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &(RECORD as u32).to_le_bytes());
        put(&mut out, 12, &count.to_le_bytes());
        put(&mut out, DIGEST_COUNT, &(self.digests.len() as u32).to_le_bytes());
        put(&mut out, 24, &(self.arena.len() as u64).to_le_bytes());
        set_clock(&mut out, clock);
        set_scanned_by(&mut out, self.scanned_by);
        for digest in &self.digests {
            out.extend_from_slice(digest);
        }
        out.extend_from_slice(&self.arena);
        out.extend_from_slice(&[0; 4]);
        seal(&mut out);
        let digest_count = self.digests.len() as u32;
        (out, Shape { count, digests, digest_count, arena, arena_len: self.arena.len(), clock })
    }
}

/// Returns whether an entry's leader is one: of the same kind, and without a leader itself. A directory has one name only.
fn leads(data: &[u8], count: u32, index: u32, record: &Record) -> bool {
    if record.leader == index {
        return true;
    }
    if record.leader >= count || record.meta.kind == Kind::Directory {
        return false;
    }
    let leader = &data[HEADER + record.leader as usize * RECORD..][..RECORD];
    leader[6] == record.meta.kind as u8 && leader[LEADER..LEADER + 4] == record.leader.to_le_bytes()
}

/// Checks everything that later accesses rely on, so that they cannot fail: checksum, ranges, the order of parents.
pub(super) fn validate(data: &[u8]) -> Result<Shape> {
    let bad = |what: &str| Error::corrupt(READ, format!("not a usable snapshot: {what}"));
    if data.len() < HEADER + 4 || &data[..8] != MAGIC {
        return Err(bad("wrong magic or version"));
    }
    let body = data.len() - 4;
    let crc = u32::from_le_bytes(data[body..].try_into().expect("4 bytes"));
    if libdeflater::crc32(&data[..body]) != crc {
        return Err(bad("the checksum does not match"));
    }
    let u32_at = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("4 bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().expect("8 bytes"));
    let (count, digest_count, arena_len) = (u32_at(12), u32_at(DIGEST_COUNT), u64_at(24));
    // In 64 bits no sum of these overflows; and sums that come to the length of the data are no larger than it.
    let digests = HEADER as u64 + count as u64 * RECORD as u64;
    let arena = digests + digest_count as u64 * 32;
    if u32_at(8) != RECORD as u32 || count == 0 || arena.checked_add(arena_len) != Some(body as u64) {
        return Err(bad("the sizes do not add up"));
    }
    let (digests, arena) = (digests as usize, arena as usize);
    let clock = Timestamp::new(u64_at(CLOCK) as i64, u32_at(CLOCK + 8));
    let arena_len = arena_len as usize;
    let arena_bytes = &data[arena..arena + arena_len];
    let range = |at: u32, len: u32| arena_bytes.get(at as usize..at as usize + len as usize);
    let mut next_child = 1u32;
    for (index, bytes) in data[HEADER..digests].chunks_exact(RECORD).enumerate() {
        let index = index as u32;
        let record =
            Record::decode(bytes.try_into().expect("128 bytes")).ok_or_else(|| bad("unknown kind"))?;
        let name = range(record.name.0, record.name.1 as u32).ok_or_else(|| bad("a name out of range"))?;
        let (start, children) = record.children;
        let sound = if index == 0 {
            record.meta.kind == Kind::Directory && name.is_empty()
        } else {
            record.parent < index && !name.is_empty() && !name.contains(&b'/') && !name.contains(&0)
        };
        let target =
            range(record.target.0, record.target.1).ok_or_else(|| bad("a link target out of range"))?;
        let packed = range(record.xattrs.0, record.xattrs.1).ok_or_else(|| bad("attributes out of range"))?;
        if !sound
            || name == b"."
            || name == b".."
            || target.contains(&0)
            || Xattrs::checked(packed).is_none()
            || record.digest > digest_count
            || record.place.0 > digest_count
            || !leads(data, count, index, &record)
            || (record.meta.kind != Kind::Directory && children != 0)
        {
            return Err(bad("an inconsistent record"));
        }
        // Directories claim their children in the order they stand, with nothing left over or claimed twice.
        if children > 0 {
            let end = start.checked_add(children).filter(|&end| end <= count);
            if start != next_child || start <= index || end.is_none() {
                return Err(bad("children out of order"));
            }
            next_child = start + children;
            let mut previous: Option<&[u8]> = None;
            for child in start..start + children {
                let at = HEADER + child as usize * RECORD;
                let r = &data[at..at + RECORD];
                let offset = u32::from_le_bytes(r[0..4].try_into().expect("4 bytes"));
                let len = u16::from_le_bytes([r[4], r[5]]);
                let parent = u32::from_le_bytes(r[PARENT..PARENT + 4].try_into().expect("4 bytes"));
                let name = range(offset, len as u32).ok_or_else(|| bad("a name out of range"))?;
                if parent != index || previous.is_some_and(|p| p >= name) {
                    return Err(bad("names out of order"));
                }
                previous = Some(name);
            }
        }
    }
    if next_child != count {
        return Err(bad("entries without a directory"));
    }
    Ok(Shape { count, digests, digest_count, arena, arena_len, clock })
}
