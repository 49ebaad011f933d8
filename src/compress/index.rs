//! The index of a blob: where decoding may begin, and where the files are.
//!
//! It only saves time. What is read by it has to be compared with a digest that comes from elsewhere; the checksum in it is for
//! damage, not for malice. Format, numbers in LEB128 but where another form is named:
//!
//! ```text
//! "treeidx1"   u32 CRC-32 of what follows, little-endian
//! blob size    compression (u8: 0 none, 1 gzip, 2 zstd)
//! points       their number; for each: input and output since the one before, 255 (u8) for the start of a frame or member, or
//!              the bits (u8), the length of the window and the window as a zstd frame
//! places       see layer/index.rs
//! ```

use libdeflater::Crc;

use super::Compression;
use super::restart::{Inside, Restart, Restarts};
use crate::error::{Error, Result};
use crate::layer::index::{Places, put, take};

const MAGIC: &[u8; 8] = b"treeidx1";
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
    /// Where decoding may begin.
    pub restarts: Restarts,
    /// Where the files are in the tar.
    pub places: Places,
}

impl LayerIndex {
    /// The bytes an index may take of a blob of so many: 1 %, and never less than 4 KiB.
    pub fn cap(size: u64) -> u64 {
        (size / SHARE).clamp(LEAST, INDEX_MAX)
    }

    /// The index as bytes, at most `cap` of them. Points are dropped until it fits. Without room for the places the index says
    /// that there are files it does not know.
    pub fn encode(&self, cap: u64) -> Vec<u8> {
        let mut places = Vec::new();
        self.places.encode(&mut places);
        let mut restarts = self.restarts.clone();
        loop {
            let bytes = encode(self.size, &restarts, &places);
            if bytes.len() as u64 <= cap {
                return bytes;
            }
            if !restarts.thin() {
                let mut none = Vec::new();
                Places::partial().encode(&mut none);
                return encode(self.size, &restarts, &none);
            }
        }
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
        let places = Places::decode(rest).map_err(|fault| Error::corrupt(DECODE, fault.message))?;
        match rest.is_empty() {
            true => Ok(LayerIndex { size, restarts, places }),
            false => Err(wrong("something follows its end")),
        }
    }
}

fn encode(size: u64, restarts: &Restarts, places: &[u8]) -> Vec<u8> {
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
    body.extend_from_slice(places);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::index::PlacesBuilder;

    fn sample() -> LayerIndex {
        let inside = |bits, length| Some(Inside { bits, window: vec![7; length] });
        let points = vec![
            Restart { input: 10, output: 100, inside: None },
            Restart { input: 300, output: 7000, inside: inside(3, 500) },
            Restart { input: 5000, output: 1 << 40, inside: inside(0, 400) },
        ];
        let mut places = PlacesBuilder::default();
        for n in 0..20 {
            places.note(&[n; 32], u64::from(n) * 1024);
        }
        let restarts = Restarts { compression: Compression::Gzip, points };
        LayerIndex { size: 6000, restarts, places: places.finish() }
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
        assert_eq!((fewer.restarts.points.len(), fewer.places.len()), (2, 20));
        let none = LayerIndex::decode(&index.encode(300), 6000).unwrap();
        assert!(none.restarts.points.iter().all(|point| point.inside.is_none()) && none.places.len() == 20);
        let none = LayerIndex::decode(&index.encode(50), 6000).unwrap();
        assert!(none.restarts.points.is_empty() && none.places.is_empty() && none.places.is_partial());
        assert_eq!([LayerIndex::cap(0), LayerIndex::cap(5_000_000)], [4096, 50_000]);
    }
}
