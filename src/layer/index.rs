//! Where the files of a layer are in its tar, found by their content.
//!
//! Content is the key, not the path: what a path leads to is decided by all layers together, the digest of a file by nothing but
//! the file, and whoever reads one by its place has the digest to compare with. So a wrong place costs time and nothing else.

use std::collections::HashSet;

use super::fault::{Fault, Parsed};
use super::header::BLOCK;

/// More files than this in one layer are not noted.
const MOST: usize = 2_000_000;
/// Bytes of a digest that are kept: enough that two files of one layer seldom share them.
const KEY: usize = 4;
/// What of a digest is kept.
pub type Key = [u8; KEY];

/// The places of a layer's files, in the order of the tar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The first bytes of a digest, and the block of the tar where the first header of the entry is.
    list: Vec<(Key, u64)>,
    /// Whether files are missing, because there were too many.
    partial: bool,
}

/// Takes down places while a layer is read.
#[derive(Debug, Default)]
pub struct PlacesBuilder {
    places: Places,
    seen: HashSet<[u8; 32]>,
}

impl PlacesBuilder {
    /// Notes a file with content: its digest, and the offset in the tar of the first header of its entry. Call it in the order
    /// of the tar. Of equal files the first is kept.
    pub fn note(&mut self, digest: &[u8; 32], offset: u64) {
        if self.places.list.len() >= MOST || !offset.is_multiple_of(BLOCK as u64) {
            self.places.partial = true;
        } else if self.seen.insert(*digest) {
            self.places.list.push((key(digest), offset / BLOCK as u64));
        }
    }

    /// The places.
    pub fn finish(self) -> Places {
        self.places
    }
}

impl Places {
    /// No places, of a layer that has files.
    pub fn partial() -> Places {
        Places { list: Vec::new(), partial: true }
    }

    /// Whether a file that is not found here may be in the layer all the same.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The offsets in the tar of entries that may have this content; almost always one or none.
    pub fn find(&self, digest: &[u8; 32]) -> impl Iterator<Item = u64> {
        let key = key(digest);
        self.list.iter().filter(move |(have, _)| *have == key).map(|(_, block)| block * BLOCK as u64)
    }

    /// Every key with its offset, in the order of the tar.
    pub fn iter(&self) -> impl Iterator<Item = (Key, u64)> {
        self.list.iter().map(|(key, block)| (*key, block * BLOCK as u64))
    }

    /// Appends the places to `out`: a byte that says whether they are partial, their number, and for each the blocks since the
    /// one before (numbers in LEB128) and the start of the digest.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.partial));
        put(out, self.list.len() as u64);
        let mut before = 0;
        for (key, block) in &self.list {
            put(out, block - before);
            before = *block;
            out.extend_from_slice(key);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and takes it off `bytes`.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Parsed<Places> {
        let wrong = || Fault::corrupt("the places of an index are damaged");
        let (&partial, rest) = bytes.split_first().ok_or_else(wrong)?;
        *bytes = rest;
        let count = take(bytes).filter(|&count| count <= MOST as u64).ok_or_else(wrong)?;
        if partial > 1 || count > bytes.len() as u64 / (KEY as u64 + 1) {
            return Err(wrong());
        }
        let mut list = Vec::with_capacity(count as usize);
        let mut block: u64 = 0;
        for _ in 0..count {
            let step = take(bytes).ok_or_else(wrong)?;
            block = block.checked_add(step).filter(|&it| it <= u64::MAX / BLOCK as u64).ok_or_else(wrong)?;
            let (key, rest) = bytes.split_first_chunk().ok_or_else(wrong)?;
            list.push((*key, block));
            *bytes = rest;
        }
        Ok(Places { list, partial: partial == 1 })
    }
}

/// Returns what of a digest is kept.
pub fn key(digest: &[u8; 32]) -> Key {
    let mut key = [0; KEY];
    key.copy_from_slice(&digest[..KEY]);
    key
}

/// Appends a number in LEB128.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes such a number off `bytes`.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put(&mut out, number);
            let mut bytes = &out[..];
            assert_eq!(take(&mut bytes), Some(number));
            assert!(bytes.is_empty());
            assert_eq!(take(&mut &out[..out.len() - 1]), None);
        }
        assert_eq!(take(&mut &[0xff; 10][..]), None);
    }

    #[test]
    fn places_come_back_and_equal_files_are_kept_once() {
        let mut builder = PlacesBuilder::default();
        builder.note(&[1; 32], 512);
        builder.note(&[2; 32], 10 << 30);
        builder.note(&[1; 32], 11 << 30);
        let places = builder.finish();
        assert_eq!((places.len(), places.is_partial()), (2, false));
        assert_eq!(places.find(&[2; 32]).collect::<Vec<_>>(), [10 << 30]);
        assert_eq!(places.find(&[3; 32]).count(), 0);
        let mut out = Vec::new();
        places.encode(&mut out);
        out.push(9);
        let mut bytes = &out[..];
        assert_eq!(Places::decode(&mut bytes).unwrap(), places);
        assert_eq!(bytes, [9]);
        for end in 0..out.len() - 1 {
            assert!(Places::decode(&mut &out[..end]).is_err());
        }
    }
}
