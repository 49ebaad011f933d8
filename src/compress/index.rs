//! The index of a blob: where decoding may begin, and by what the parts of its tar are checked.
//!
//! It only saves time: where it is not there, or does not lead to what the DiffID stands for, the blob is read from its start. The
//! checksum in it is for damage. Where the files are is not in it but in the list of an image. Format, numbers in LEB128 but where another form is named:
//!
//! ```text
//! "treeidx2"   u32 CRC-32 of what follows, little-endian
//! blob size    compression (u8: 0 none, 1 gzip, 2 zstd)
//! points       their number; for each: input and output since the one before, 255 (u8) for the start of a frame or member, or
//!              the bits (u8), the length of the window and the window as a zstd frame
//! states       the size of the tar, the bytes between two states of the hash of the tar, their number, and 32 bytes for each
//! ```

use libdeflater::Crc;

use super::Compression;
use super::number::{put, take};
use super::restart::{Inside, Restart, Restarts};
use super::states::States;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = LayerIndex::MAGIC;
/// The first bytes of an index of any version.
const ANY: &[u8] = b"treeidx";
const DECODE: &str = "read layer index";
/// An index may always have as much, however small its blob: one block of a disk.
const LEAST: u64 = 4096;
/// How much of its blob an index may take is one part in so many.
const SHARE: u64 = 100;
/// No index is longer, and none is read that is.
pub(crate) const INDEX_MAX: u64 = 64 << 20;
/// The marker of a point without a window.
const START: u8 = 255;

/// The index of one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerIndex {
    /// The size of the blob, in bytes.
    pub size: u64,
    /// Points where decoding may begin.
    pub restarts: Restarts,
    /// States by which parts of the tar are checked.
    pub states: States,
}

impl LayerIndex {
    /// The first bytes of an index of this version.
    pub(crate) const MAGIC: &[u8; 8] = b"treeidx2";

    /// Returns the bytes an index may take of a blob of so many: 1 %, and never less than 4 KiB.
    pub fn cap(size: u64) -> u64 {
        (size / SHARE).clamp(LEAST, INDEX_MAX)
    }

    /// Returns the index of a tar that is not compressed, in memory.
    pub(crate) fn of_tar(tar: &[u8]) -> LayerIndex {
        LayerIndex::of_plain(tar.len() as u64, States::of(tar))
    }

    /// Returns the index of a tar that is not compressed and has these states.
    pub(crate) fn of_plain(size: u64, states: States) -> LayerIndex {
        LayerIndex { size, restarts: Restarts::plain(), states }
    }

    /// Returns the index as bytes, at most `cap` of them: points and states are dropped until it fits.
    pub fn encode(&self, cap: u64) -> Vec<u8> {
        let (mut restarts, mut states) = (self.restarts.clone(), self.states.clone());
        loop {
            let bytes = encode(self.size, &restarts, &states);
            // One point in two for as long as there are windows, then one state in two: so no part of it takes all the room.
            if bytes.len() as u64 <= cap || !(restarts.thin() || states.thin()) {
                return bytes;
            }
        }
    }

    /// Returns whether anything can be checked by it without reading all of the layer.
    pub(crate) fn is_usable(&self) -> bool {
        self.states.is_usable()
    }

    /// Returns whether bytes are an index that another version of this program wrote.
    pub(crate) fn is_of_another_version(bytes: &[u8]) -> bool {
        bytes.starts_with(ANY) && !bytes.starts_with(MAGIC)
    }

    /// Reads what [`encode`](Self::encode) gave, for a blob of this size.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when it is damaged or belongs to another blob.
    pub fn decode(bytes: &[u8], size: u64) -> Result<LayerIndex> {
        let wrong = |message: &'static str| Error::corrupt(DECODE, message);
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("not an index of this version"))?;
        let (sum, mut rest) = rest.split_first_chunk().ok_or_else(|| wrong("it is cut off"))?;
        let mut crc = Crc::new();
        crc.update(rest);
        if crc.sum() != u32::from_le_bytes(*sum) {
            return Err(wrong("its checksum is wrong"));
        }
        let rest = &mut rest;
        let restarts =
            decode(rest, size).ok_or_else(|| wrong("its points are damaged, or another blob's"))?;
        let states = decode_states(rest).ok_or_else(|| wrong("its states are damaged"))?;
        match rest.is_empty() {
            true => Ok(LayerIndex { size, restarts, states }),
            false => Err(wrong("something follows its end")),
        }
    }
}

fn encode(size: u64, restarts: &Restarts, states: &States) -> Vec<u8> {
    let mut body = Vec::new();
    put(&mut body, size);
    body.push(match restarts.compression {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Zstd => 2,
    });
    put(&mut body, restarts.points.len() as u64);
    let mut before = (0, 0);
    for Restart { input, output, inside } in &restarts.points {
        put(&mut body, input - before.0);
        put(&mut body, output - before.1);
        before = (*input, *output);
        match inside {
            None => body.push(START),
            Some(Inside { bits, window }) => {
                body.push(*bits);
                put(&mut body, window.len() as u64);
                body.extend_from_slice(window);
            }
        }
    }
    put(&mut body, states.size);
    put(&mut body, states.span);
    put(&mut body, states.list.len() as u64);
    body.extend_from_slice(states.list.as_flattened());
    let mut crc = Crc::new();
    crc.update(&body);
    [&MAGIC[..], &crc.sum().to_le_bytes(), &body].concat()
}

fn decode(bytes: &mut &[u8], size: u64) -> Option<Restarts> {
    let byte = |bytes: &mut &[u8]| {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(first)
    };
    if take(bytes)? != size {
        return None;
    }
    let compression = match byte(bytes)? {
        0 => Compression::None,
        1 => Compression::Gzip,
        2 => Compression::Zstd,
        _ => return None,
    };
    let count = take(bytes)?;
    if count > bytes.len() as u64 / 3 {
        return None;
    }
    let mut points = Vec::with_capacity(count as usize);
    let (mut input, mut output) = (0u64, 0u64);
    for _ in 0..count {
        input = input.checked_add(take(bytes)?).filter(|&input| input <= size)?;
        output = output.checked_add(take(bytes)?)?;
        let inside = match byte(bytes)? {
            START => None,
            bits @ 0..8 if compression == Compression::Gzip => {
                let length = usize::try_from(take(bytes)?).ok()?;
                let (window, rest) = bytes.split_at_checked(length)?;
                *bytes = rest;
                Some(Inside { bits, window: window.to_vec() })
            }
            _ => return None,
        };
        points.push(Restart { input, output, inside });
    }
    Some(Restarts { compression, points })
}

fn decode_states(bytes: &mut &[u8]) -> Option<States> {
    let (size, span, count) = (take(bytes)?, take(bytes)?, take(bytes)?);
    // Every state lies in the tar, where a block ends, and less than a span is behind the last.
    let end = span.checked_mul(count).filter(|&end| end <= size && size - end < span);
    if !span.is_multiple_of(64) || end.is_none() {
        return None;
    }
    let (list, rest) = bytes.split_at_checked(usize::try_from(count.checked_mul(32)?).ok()?)?;
    *bytes = rest;
    Some(States { span, list: list.as_chunks().0.to_vec(), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LayerIndex {
        let inside = |bits, length| Some(Inside { bits, window: vec![7; length] });
        let points = vec![
            Restart { input: 10, output: 100, inside: None },
            Restart { input: 300, output: 7000, inside: inside(3, 500) },
            Restart { input: 5000, output: 1 << 40, inside: inside(0, 400) },
        ];
        let restarts = Restarts { compression: Compression::Gzip, points };
        let states =
            States { span: 256 << 10, list: (0..20).map(|n| [n; 32]).collect(), size: (5 << 20) + 1000 };
        LayerIndex { size: 6000, restarts, states }
    }

    #[test]
    fn an_index_comes_back() {
        let index = sample();
        let bytes = index.encode(u64::MAX);
        assert_eq!(LayerIndex::decode(&bytes, 6000).unwrap(), index);
        assert!(LayerIndex::decode(&bytes, 6001).is_err());
        for end in 0..bytes.len() {
            assert!(LayerIndex::decode(&bytes[..end], 6000).is_err());
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(LayerIndex::decode(&bytes, 6000).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_windows_first() {
        let index = sample();
        let all = index.encode(u64::MAX).len() as u64;
        let fewer = LayerIndex::decode(&index.encode(all - 1), 6000).unwrap();
        assert_eq!((fewer.restarts.points.len(), fewer.states.list.len()), (2, 20));
        let none = LayerIndex::decode(&index.encode(700), 6000).unwrap();
        assert!(none.restarts.points.iter().all(|point| point.inside.is_none()));
        assert_eq!((none.states.list.len(), none.states.span), (20, 256 << 10));
        let half = LayerIndex::decode(&index.encode(400), 6000).unwrap();
        assert!(half.restarts.points.is_empty());
        assert_eq!((half.states.list.len(), half.states.span), (10, 512 << 10));
        assert_eq!(half.states.list[0], [1; 32]);
        let none = LayerIndex::decode(&index.encode(50), 6000).unwrap();
        assert!(none.states.list.is_empty() && none.is_usable());
        assert_eq!([LayerIndex::cap(0), LayerIndex::cap(5_000_000)], [4096, 50_000]);
    }

    #[test]
    fn states_that_no_tar_has_are_refused() {
        for (size, span) in [
            (6 << 20, 0),
            (0, 0),
            (2000, 100),
            (1 << 20, 256 << 10),
            (u64::MAX, 256 << 10),
            (u64::MAX, u64::MAX - 63),
        ] {
            let index = sample();
            let states = States { span, size, ..index.states.clone() };
            let bytes = LayerIndex { states, ..index }.encode(u64::MAX);
            assert!(LayerIndex::decode(&bytes, 6000).is_err(), "{size} {span}");
        }
        let other = [&b"treeidx1"[..], &sample().encode(u64::MAX)[8..]].concat();
        assert!(LayerIndex::decode(&other, 6000).is_err() && LayerIndex::is_of_another_version(&other));
        assert!(!LayerIndex::is_of_another_version(&sample().encode(u64::MAX)));
    }
}
