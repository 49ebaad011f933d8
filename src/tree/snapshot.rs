//! The list of everything in a tree at one moment.

use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::codec::{self, HEADER, RECORD, Record, Shape, Writer};
use super::entry::{Flags, Meta, NONE, Place, Xattrs};
use crate::error::{At, Result};
use crate::fs::map::Map;
use crate::fs::root::read_file;
use crate::fs::{Timestamp, output};
use crate::progress::Cancel;

/// A snapshot of a tree, or the entry list of a layer. Entries are numbered; number 0 is the root directory, and the
/// children of a directory are numbered one after the other, sorted by the bytes of their names.
///
/// The bytes in memory are the bytes on disk: the store's own are mapped and used as they are.
#[derive(Debug)]
pub struct Snapshot {
    data: Data,
    shape: Shape,
}

#[derive(Debug)]
enum Data {
    Owned(Vec<u8>),
    Mapped(Map),
}

impl Snapshot {
    /// Checks and takes the bytes of a snapshot. [`crate::ErrorKind::Corrupt`] when they are not one.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Snapshot> {
        let shape = codec::validate(&bytes)?;
        Ok(Snapshot { data: Data::Owned(bytes), shape })
    }

    /// Maps and checks a snapshot that the store keeps: those files are private to it and never changed in place.
    pub(crate) fn map(file: impl AsFd) -> Result<Snapshot> {
        let map = Map::new(file).at("read snapshot", "")?;
        let shape = codec::validate(&map)?;
        Ok(Snapshot { data: Data::Mapped(map), shape })
    }

    /// Reads and checks the snapshot saved at an ambient path. It is not mapped: the file may be changed by others.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] when it is no regular file, [`crate::ErrorKind::Corrupt`] when it is no snapshot.
    pub fn load(path: impl AsRef<Path>) -> Result<Snapshot> {
        let path = path.as_ref();
        let shown = path.as_os_str().as_bytes();
        let bytes = read_file(path).at("open snapshot", shown)?;
        Snapshot::from_bytes(bytes).map_err(|error| error.with_path(shown))
    }

    /// Saves the snapshot at an ambient path: a regular file appears, or is replaced, once all is written, and keeps its mode. A link is
    /// followed; a pipe or a device, and an open file by its name in `/dev/fd`, is written to as it is.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        const SAVE: &str = "save snapshot";
        let path = path.as_ref();
        let shown = path.as_os_str().as_bytes();
        output::write_path(path, SAVE, &Cancel::default(), |out| {
            out.write_all(self.as_bytes()).at(SAVE, shown)
        })
    }

    pub(super) fn from_writer(writer: Writer, clock: Timestamp) -> Snapshot {
        let (data, shape) = writer.finish(clock);
        debug_assert!(codec::validate(&data).is_ok(), "a snapshot built here is valid");
        Snapshot { data: Data::Owned(data), shape }
    }

    /// Returns the bytes, as they are saved.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.data {
            Data::Owned(bytes) => bytes,
            Data::Mapped(map) => map,
        }
    }

    /// Returns the checksum the bytes end with: two snapshots with different ones are different.
    pub fn checksum(&self) -> u32 {
        let bytes = self.as_bytes();
        u32::from_le_bytes(bytes[bytes.len() - 4..].try_into().expect("4 bytes"))
    }

    /// Returns the number of entries, the root included.
    pub fn len(&self) -> u32 {
        self.shape.count
    }

    /// Returns false: there always is a root.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Returns the filesystem's clock when the scan began, or when the tree was complete if it was unpacked. What was
    /// stamped later, or within the tick before, proves nothing by its time stamps alone.
    pub fn clock(&self) -> Timestamp {
        self.shape.clock
    }

    /// Returns what decided owners and attributes when the tree was scanned: the same number for the same policy, source and set of
    /// attributes, see [`ScanOptions::fingerprint`](super::ScanOptions::fingerprint). 0 for a list that no scan made.
    pub fn scanned_by(&self) -> u64 {
        codec::scanned_by(self.as_bytes())
    }

    fn arena(&self, (at, len): (u32, u32)) -> &[u8] {
        let start = self.shape.arena + at as usize;
        &self.as_bytes()[start..start + len as usize]
    }

    pub(super) fn record(&self, index: u32) -> Record {
        let at = HEADER + index as usize * RECORD;
        let bytes = self.as_bytes()[at..at + RECORD].try_into().expect("128 bytes");
        Record::decode(bytes).expect("checked when the snapshot was taken in")
    }

    /// Returns two numbers of a record.
    fn pair(&self, index: u32, at: usize) -> (u32, u32) {
        let at = HEADER + index as usize * RECORD + at;
        let [a, b, c, d, e, f, g, h] = *self.as_bytes()[at..].first_chunk().expect("inside of a record");
        (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
    }

    /// Returns the metadata of an entry. Like every accessor: panics when `index` is not below [`len`](Self::len).
    pub fn meta(&self, index: u32) -> Meta {
        self.record(index).meta
    }

    /// Returns the name of an entry, without its directory; empty for the root.
    pub fn name(&self, index: u32) -> &[u8] {
        let at = HEADER + index as usize * RECORD;
        let r = &self.as_bytes()[at..at + 6];
        let offset = u32::from_le_bytes([r[0], r[1], r[2], r[3]]);
        self.arena((offset, u16::from_le_bytes([r[4], r[5]]) as u32))
    }

    /// Returns the directory an entry is in; the root is in itself.
    pub fn parent(&self, index: u32) -> u32 {
        self.pair(index, codec::PARENT).0
    }

    /// Returns the entries in a directory; empty for everything else.
    pub fn children(&self, index: u32) -> Range<u32> {
        let (start, count) = self.pair(index, codec::CHILDREN);
        start..start + count
    }

    /// Returns the target of a symbolic link; empty for everything else.
    pub fn link_target(&self, index: u32) -> &[u8] {
        self.arena(self.pair(index, codec::TARGET))
    }

    /// Returns the extended attributes of an entry, sorted by name.
    pub fn xattrs(&self, index: u32) -> Xattrs<'_> {
        Xattrs(self.arena(self.pair(index, codec::XATTRS)))
    }

    /// Returns the sha256 of a file's content, where it was taken.
    pub fn digest(&self, index: u32) -> Option<[u8; 32]> {
        let number = self.pair(index, codec::DIGEST).0;
        let at = self.shape.digests + (number as usize).checked_sub(1)? * 32;
        Some(self.as_bytes()[at..at + 32].try_into().expect("32 bytes"))
    }

    /// Returns the place of a file's content, where it came out of a layer.
    pub fn place(&self, index: u32) -> Option<Place> {
        let (number, low) = self.pair(index, codec::PLACE);
        let high = self.pair(index, codec::PLACE + 4).1;
        let at = self.shape.digests + (number as usize).checked_sub(1)? * 32;
        let layer = self.as_bytes()[at..at + 32].try_into().expect("32 bytes");
        Some(Place { layer, block: u64::from(high) << 32 | u64::from(low) })
    }

    /// Returns whether a file here and one of another list have the same content: they do when it is out of the same place, and
    /// when it has the same digest. `None` where that is not known.
    pub fn same_content(&self, index: u32, other: &Snapshot, there: u32) -> Option<bool> {
        if self.place(index).is_some_and(|place| other.place(there) == Some(place)) {
            return Some(true);
        }
        Some(self.digest(index)? == other.digest(there)?)
    }

    /// Returns the first entry, in path order, of those that are the same file; the entry itself when it is alone.
    pub fn leader(&self, index: u32) -> u32 {
        self.pair(index, codec::LEADER).0
    }

    /// Appends the path of an entry to `out`: components joined by `/`, nothing for the root.
    pub fn push_path(&self, index: u32, out: &mut Vec<u8>) {
        let start = out.len();
        let mut at = index;
        // Components are found from the end; reversing bytes twice puts them in order without a list.
        while at != 0 {
            if out.len() > start {
                out.push(b'/');
            }
            let from = out.len();
            out.extend_from_slice(self.name(at));
            out[from..].reverse();
            at = self.parent(at);
        }
        out[start..].reverse();
    }

    /// Returns the path of an entry: components joined by `/`, empty for the root.
    pub fn path(&self, index: u32) -> Vec<u8> {
        let mut out = Vec::new();
        self.push_path(index, &mut out);
        out
    }

    /// Returns the entry called `name` in a directory.
    pub fn child(&self, directory: u32, name: &[u8]) -> Option<u32> {
        let Range { start: mut low, end: mut high } = self.children(directory);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// Returns the entry at `path` (components joined by `/`), without following symbolic links. Slashes at its ends and
    /// several in a row count for nothing; nothing stands for the root.
    pub fn lookup(&self, path: &[u8]) -> Option<u32> {
        path.split(|&c| c == b'/')
            .filter(|name| !name.is_empty())
            .try_fold(0, |directory, name| self.child(directory, name))
    }

    /// Returns the number of digests stored.
    pub fn digest_count(&self) -> u32 {
        self.shape.digest_count
    }

    /// Returns the bytes of names, link targets and attributes together.
    pub fn arena_len(&self) -> usize {
        self.shape.arena_len
    }

    /// Returns a copy in which the device with the number `then` has the number `now`.
    pub(crate) fn renumbered(&self, then: u64, now: u64) -> Snapshot {
        const DEV: Range<usize> = codec::DEV..codec::DEV + 8;
        let mut bytes = self.as_bytes().to_vec();
        for record in bytes[HEADER..self.shape.digests].chunks_exact_mut(RECORD) {
            if record[DEV] == then.to_le_bytes() {
                record[DEV].copy_from_slice(&now.to_le_bytes());
            }
        }
        codec::seal(&mut bytes);
        Snapshot { data: Data::Owned(bytes), shape: self.shape }
    }

    /// Returns a copy with digests of contents: of each entry the one that `digest` gives, else the one it has.
    pub(crate) fn with_digests(&self, digest: impl Fn(u32) -> Option<[u8; 32]>) -> Snapshot {
        let with = (0..self.len()).filter_map(|index| Some((index, digest(index)?)));
        let (with, more): (Vec<u32>, Vec<[u8; 32]>) = with.unzip();
        let first = self.shape.digest_count + 1;
        self.extended(&more, |records| {
            for (number, index) in (first..).zip(with) {
                let at = HEADER + index as usize * RECORD + codec::DIGEST;
                records[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
        })
    }

    /// Returns a copy with places of contents in one layer: of each entry in the block that `block` gives, else where it was.
    pub(crate) fn with_places(&self, layer: &[u8; 32], block: impl Fn(u32) -> Option<u64>) -> Snapshot {
        let number = self.shape.digest_count + 1;
        self.extended(&[*layer], |records| {
            for (index, block) in (0..self.len()).filter_map(|index| Some((index, block(index)?))) {
                let at = HEADER + index as usize * RECORD + codec::PLACE;
                records[at..at + 4].copy_from_slice(&number.to_le_bytes());
                records[at + 4..at + 12].copy_from_slice(&block.to_le_bytes());
            }
        })
    }

    /// Returns the list of one layer that has all of these entries: without identities on a disk and without digests, with times as `time` gives
    /// them, and contents in the block of the layer that `block` gives for them.
    pub(crate) fn as_layer_list(
        &self,
        layer: &[u8; 32],
        time: impl Fn(Timestamp) -> Timestamp,
        block: impl Fn(u32) -> Option<u64>,
    ) -> Snapshot {
        let mut names = vec![0u32; self.len() as usize];
        (0..self.len()).for_each(|index| names[self.leader(index) as usize] += 1);
        let mut out = self.as_bytes()[..HEADER].to_vec();
        out.reserve(self.as_bytes().len());
        codec::set_clock(&mut out, Timestamp::default());
        codec::set_scanned_by(&mut out, 0);
        out[codec::DIGEST_COUNT..codec::DIGEST_COUNT + 4].copy_from_slice(&1u32.to_le_bytes());
        for index in 0..self.len() {
            let mut record = self.record(index);
            let leader = self.leader(index);
            let meta = &mut record.meta;
            (meta.flags, meta.mtime, meta.ctime) = (Flags::empty(), time(meta.mtime), Timestamp::default());
            (meta.dev, meta.ino, meta.nlink) = (0, leader as u64 + 1, names[leader as usize]);
            (record.digest, record.place) = (0, block(index).map_or((0, 0), |block| (1, block)));
            out.extend_from_slice(&record.encode());
        }
        out.extend_from_slice(layer);
        let shape = Shape { digest_count: 1, arena: out.len(), clock: Timestamp::default(), ..self.shape };
        out.extend_from_slice(&self.as_bytes()[self.shape.arena..]);
        codec::seal(&mut out);
        debug_assert!(codec::validate(&out).is_ok(), "a list of the same entries is valid");
        Snapshot { data: Data::Owned(out), shape }
    }

    /// Returns a copy with more digests. `change` gets the header, the records and the digests that are there.
    fn extended(&self, more: &[[u8; 32]], change: impl FnOnce(&mut [u8])) -> Snapshot {
        const COUNT: Range<usize> = codec::DIGEST_COUNT..codec::DIGEST_COUNT + 4;
        let (bytes, arena) = (self.as_bytes(), self.shape.arena);
        let mut out = bytes[..arena].to_vec();
        change(&mut out);
        let digest_count = self.shape.digest_count + more.len() as u32;
        out[COUNT].copy_from_slice(&digest_count.to_le_bytes());
        out.extend_from_slice(more.as_flattened());
        let shape = Shape { digest_count, arena: out.len(), ..self.shape };
        out.extend_from_slice(&bytes[arena..]);
        codec::seal(&mut out);
        debug_assert!(codec::validate(&out).is_ok(), "a list with more digests is valid");
        Snapshot { data: Data::Owned(out), shape }
    }

    /// Makes the same list for a tree on disk: each entry gets the stat identity that `found` gives, or none, so that it is
    /// compared by all that is known of it. Nothing found was stamped within a tick of `clock`.
    pub(crate) fn identified(&self, clock: Timestamp, found: impl Fn(u32) -> Option<Meta>) -> Snapshot {
        let mut bytes = self.as_bytes().to_vec();
        codec::set_clock(&mut bytes, clock);
        for index in 0..self.len() {
            let mut record = self.record(index);
            let meta = &mut record.meta;
            match found(index) {
                Some(found) => {
                    (meta.dev, meta.ino, meta.nlink) = (found.dev, found.ino, found.nlink);
                    (meta.mtime, meta.ctime) = (found.mtime, found.ctime);
                    meta.flags.remove(Flags::RACY);
                    meta.flags.set(Flags::LEFT_OUT, found.flags.contains(Flags::LEFT_OUT));
                }
                None => (meta.dev, meta.ino, meta.ctime) = (0, 0, Timestamp::default()),
            }
            bytes[HEADER + index as usize * RECORD..][..RECORD].copy_from_slice(&record.encode());
        }
        codec::seal(&mut bytes);
        Snapshot { data: Data::Owned(bytes), shape: Shape { clock, ..self.shape } }
    }

    /// Returns whether an entry number stands for an entry.
    pub fn contains(&self, index: u32) -> bool {
        index != NONE && index < self.len()
    }
}
