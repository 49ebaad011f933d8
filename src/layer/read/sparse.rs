//! Sparse files: the regions that have content, in the four ways GNU tar has written them (GNU tar manual, "Storing
//! Sparse Files"). A layer SHOULD NOT have them (image-spec, layer.md, "File Types"); old ones do.

use super::ReadLimits;
use super::block::unsigned;
use crate::layer::fault::{Fault, Parsed};
use crate::layer::pax::{self, name, twice};

/// A part of a file that has content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The keywords `GNU.sparse.*` of one header.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SparseKeys {
    major: Option<u64>,
    minor: Option<u64>,
    name: Option<Vec<u8>>,
    real: Option<u64>,
    count: Option<u64>,
    map: Option<Vec<Region>>,
    pairs: Vec<Region>,
    offset: Option<u64>,
}

/// The place of the map of a sparse file.
#[derive(Debug)]
pub(super) enum Map {
    /// In the header.
    Known(Vec<Region>),
    /// Before the content (version 1.0).
    InContent,
}

/// The result of the keywords of one header.
#[derive(Debug)]
pub(super) struct SparseFile {
    /// The name of the file; its header then has a made-up one.
    pub(super) name: Option<Vec<u8>>,
    pub(super) real: u64,
    pub(super) map: Map,
}

impl SparseKeys {
    pub(super) fn record(&mut self, keyword: &[u8], value: &[u8], limits: &ReadLimits) -> Parsed<()> {
        let setting = match keyword {
            b"major" => &mut self.major,
            b"minor" => &mut self.minor,
            b"realsize" | b"size" => &mut self.real,
            b"numblocks" => &mut self.count,
            b"name" if self.name.is_some() => return Err(twice(b"GNU.sparse.name")),
            b"name" => {
                self.name = Some(name(b"GNU.sparse.name", value)?);
                return Ok(());
            }
            b"map" if self.map.is_some() => return Err(twice(b"GNU.sparse.map")),
            b"map" => {
                self.map = Some(numbers_to_regions(value, limits)?);
                return Ok(());
            }
            // Version 0.0 repeats these two, in turn.
            b"offset" => &mut self.offset,
            b"numbytes" => {
                let len = pax::parse_decimal(value)?;
                let offset = self.offset.take();
                let offset =
                    offset.ok_or_else(|| Fault::corrupt("a sparse region has a length and no offset"))?;
                return push(&mut self.pairs, Region { offset, len }, limits);
            }
            _ => return Err(Fault::unsupported("unknown GNU.sparse keyword")),
        };
        if setting.replace(pax::parse_decimal(value)?).is_some() {
            return Err(Fault::corrupt("a GNU.sparse keyword is given twice"));
        }
        Ok(())
    }

    pub(super) fn resolve(self) -> Parsed<SparseFile> {
        let real = self.real.ok_or_else(|| Fault::corrupt("a sparse file has no real size"))?;
        if self.offset.is_some() {
            return Err(Fault::corrupt("a sparse region has an offset and no length"));
        }
        let map = match ((self.major, self.minor), self.map, self.pairs) {
            ((Some(1), Some(0)), None, pairs) if pairs.is_empty() && self.count.is_none() => Map::InContent,
            ((Some(0), Some(1)) | (None, None), Some(map), pairs) if pairs.is_empty() => Map::Known(map),
            ((Some(0), Some(0)) | (None, None), None, pairs) if !pairs.is_empty() => Map::Known(pairs),
            _ => return Err(Fault::unsupported("a sparse file is of no version GNU tar wrote")),
        };
        if let (Map::Known(map), Some(count)) = (&map, self.count)
            && map.len() as u64 != count
        {
            return Err(Fault::corrupt("a sparse file has another number of regions than it says"));
        }
        Ok(SparseFile { name: self.name, real, map })
    }
}

fn push(map: &mut Vec<Region>, region: Region, limits: &ReadLimits) -> Parsed<()> {
    if map.len() >= limits.max_sparse_regions {
        return Err(Fault::limit(format!(
            "a sparse file has more than {} regions",
            limits.max_sparse_regions
        )));
    }
    map.push(region);
    Ok(())
}

/// Returns the map of version 0.1: offsets and lengths in turn, separated by commas.
fn numbers_to_regions(text: &[u8], limits: &ReadLimits) -> Parsed<Vec<Region>> {
    let mut map = Vec::new();
    let mut numbers = text.split(|&byte| byte == b',');
    while let Some(offset) = numbers.next() {
        let len = numbers.next().ok_or_else(|| Fault::corrupt("a sparse map has an offset and no length"))?;
        let region = Region { offset: pax::parse_decimal(offset)?, len: pax::parse_decimal(len)? };
        push(&mut map, region, limits)?;
    }
    Ok(map)
}

/// Adds the regions of a GNU header or an extension block: 12 bytes of offset, 12 of length each. An empty one ends
/// the map; false after it.
pub(super) fn gnu_regions(fields: &[u8], map: &mut Vec<Region>, limits: &ReadLimits) -> Parsed<bool> {
    let mut fields = fields.chunks_exact(24);
    for field in fields.by_ref() {
        if field[0] == 0 {
            if field.iter().chain(fields.flatten()).any(|&byte| byte != 0) {
                return Err(Fault::corrupt("a sparse map goes on after its end"));
            }
            return Ok(false);
        }
        let region = Region {
            offset: unsigned(&field[..12], "offset of a sparse region")?,
            len: unsigned(&field[12..], "length of a sparse region")?,
        };
        push(map, region, limits)?;
    }
    Ok(true)
}

/// Checks that the regions follow one another inside the file and hold just what is stored.
pub(super) fn check(map: &[Region], real: u64, stored: u64) -> Parsed<()> {
    let mut end = 0u64;
    let mut content = 0u64;
    for region in map {
        let next = region.offset.checked_add(region.len).filter(|&next| region.offset >= end && next <= real);
        end = next.ok_or_else(|| Fault::corrupt("the regions of a sparse file overlap or leave the file"))?;
        content += region.len;
    }
    if content != stored {
        return Err(Fault::corrupt("the regions of a sparse file are not as long as its content"));
    }
    Ok(())
}

/// The map at the start of the content in version 1.0, fed block by block: a count, then offsets and lengths, each
/// number on a line of its own.
#[derive(Debug, Default)]
pub(super) struct MapParser {
    number: u64,
    digits: u32,
    /// Regions still to come; `None` before the count is known.
    left: Option<u64>,
    offset: Option<u64>,
    map: Vec<Region>,
}

impl MapParser {
    /// Takes the next block; the map once it is complete. The rest of its last block is padding.
    pub(super) fn feed(&mut self, block: &[u8], limits: &ReadLimits) -> Parsed<Option<Vec<Region>>> {
        for &byte in block {
            if self.left == Some(0) {
                break;
            }
            match byte {
                b'0'..=b'9' if self.digits < 18 => {
                    self.number = self.number * 10 + u64::from(byte - b'0');
                    self.digits += 1;
                }
                b'\n' if self.digits > 0 => {
                    let number = std::mem::take(&mut self.number);
                    self.digits = 0;
                    self.number(number, limits)?;
                }
                _ => return Err(Fault::corrupt("a sparse map is not lines of decimal numbers")),
            }
        }
        Ok((self.left == Some(0)).then(|| std::mem::take(&mut self.map)))
    }

    fn number(&mut self, number: u64, limits: &ReadLimits) -> Parsed<()> {
        let Some(left) = &mut self.left else {
            if number > limits.max_sparse_regions as u64 {
                return Err(Fault::limit(format!("a sparse file has {number} regions")));
            }
            self.left = Some(number);
            return Ok(());
        };
        match self.offset.take() {
            None => self.offset = Some(number),
            Some(offset) => {
                *left -= 1;
                self.map.push(Region { offset, len: number });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(records: &[(&str, &str)]) -> Parsed<SparseFile> {
        let limits = ReadLimits { max_sparse_regions: 3, ..ReadLimits::default() };
        let mut keys = SparseKeys::default();
        for (keyword, value) in records {
            keys.record(keyword.as_bytes(), value.as_bytes(), &limits)?;
        }
        keys.resolve()
    }

    #[test]
    fn all_versions_resolve() {
        let regions = [Region { offset: 0, len: 5 }, Region { offset: 10, len: 0 }];
        for records in [
            &[
                ("size", "10"),
                ("numblocks", "2"),
                ("offset", "0"),
                ("numbytes", "5"),
                ("offset", "10"),
                ("numbytes", "0"),
            ][..],
            &[("name", "f"), ("size", "10"), ("numblocks", "2"), ("map", "0,5,10,0")],
            &[("major", "0"), ("minor", "1"), ("realsize", "10"), ("map", "0,5,10,0")],
        ] {
            match resolve(records).unwrap() {
                SparseFile { real: 10, map: Map::Known(map), .. } => assert_eq!(map, regions),
                other => panic!("{other:?}"),
            }
        }
        let v1 = resolve(&[("major", "1"), ("minor", "0"), ("name", "f"), ("realsize", "10")]).unwrap();
        assert!(matches!(v1.map, Map::InContent));
    }

    #[test]
    fn broken_keywords_are_errors() {
        for records in [
            &[("size", "10")][..],
            &[("map", "0,5")],
            &[("size", "10"), ("map", "0,5,6")],
            &[("size", "10"), ("map", "")],
            &[("size", "10"), ("map", "0,-5")],
            &[("size", "10"), ("map", "0,1,2,1,4,1,6,1")],
            &[("size", "10"), ("map", "0,5"), ("map", "0,5")],
            &[("size", "10"), ("realsize", "10"), ("map", "0,5")],
            &[("size", "10"), ("numblocks", "2"), ("map", "0,5")],
            &[("size", "10"), ("numbytes", "5"), ("offset", "0")],
            &[("size", "10"), ("offset", "0"), ("offset", "0"), ("numbytes", "5")],
            &[("size", "10"), ("offset", "0")],
            &[("size", "10"), ("map", "0,5"), ("offset", "0"), ("numbytes", "5")],
            &[("major", "1"), ("minor", "0"), ("realsize", "10"), ("map", "0,5")],
            &[("major", "1"), ("minor", "1"), ("realsize", "10")],
            &[("major", "2"), ("minor", "0"), ("realsize", "10")],
            &[("major", "1"), ("realsize", "10")],
            &[("name", ""), ("size", "10"), ("map", "0,5")],
        ] {
            assert!(resolve(records).is_err(), "{records:?}");
        }
    }

    #[test]
    fn regions_must_fit_the_file_and_the_content() {
        let map = |pairs: &[(u64, u64)]| -> Vec<Region> {
            pairs.iter().map(|&(offset, len)| Region { offset, len }).collect()
        };
        assert!(check(&map(&[]), 0, 0).is_ok());
        assert!(check(&map(&[]), 1 << 60, 0).is_ok());
        assert!(check(&map(&[(0, 5), (5, 5), (10, 0)]), 10, 10).is_ok());
        assert!(check(&map(&[(0, 5), (4, 5)]), 10, 10).is_err());
        assert!(check(&map(&[(5, 5), (0, 5)]), 10, 10).is_err());
        assert!(check(&map(&[(0, 11)]), 10, 11).is_err());
        assert!(check(&map(&[(11, 0)]), 10, 0).is_err());
        assert!(check(&map(&[(u64::MAX, 2)]), 10, 2).is_err());
        assert!(check(&map(&[(0, 5)]), 10, 6).is_err());
    }

    #[test]
    fn the_map_in_the_content_may_span_blocks() {
        let limits = ReadLimits::default();
        let mut text = b"100\n".to_vec();
        for i in 0..100 {
            text.extend_from_slice(format!("{}\n{}\n", i * 1000, 7).as_bytes());
        }
        text.resize(text.len().next_multiple_of(512), 0);
        let mut parser = MapParser::default();
        let mut blocks = text.chunks(512).peekable();
        let map = loop {
            let block = blocks.next().unwrap();
            if let Some(map) = parser.feed(block, &limits).unwrap() {
                break map;
            }
        };
        assert!(blocks.peek().is_none());
        assert_eq!(map.len(), 100);
        assert_eq!(map[99], Region { offset: 99_000, len: 7 });
        for bad in
            [&b"\n"[..], b"-1\n", b"1\n\n", b" 1\n", b"100001\n", b"1\n0\n9999999999999999999\n", b"1\0"]
        {
            assert!(MapParser::default().feed(bad, &limits).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn gnu_regions_end_at_the_first_empty_one() {
        let limits = ReadLimits::default();
        let mut fields = b"00000000000\x0000000000005\0".to_vec();
        fields.extend_from_slice(b"00000001000\x0000000000000\0");
        fields.resize(96, 0);
        let mut map = Vec::new();
        assert!(!gnu_regions(&fields, &mut map, &limits).unwrap());
        assert_eq!(map, [Region { offset: 0, len: 5 }, Region { offset: 512, len: 0 }]);
        fields[72] = b'1';
        assert!(gnu_regions(&fields, &mut Vec::new(), &limits).is_err());
    }
}
