//! rpm's database in SQLite: the rows of the table `Packages` (sqlite.org/fileformat2.html).

use std::borrow::Cow;

use super::{Take, bytes_at};

pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";
/// How deep a tree of pages may be, which is SQLite's own limit.
const MAX_DEPTH: u32 = 20;
/// Before the first page's tree, in bytes.
const FILE_HEADER: usize = 100;
/// Kinds of pages of a table.
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;

/// Reads the headers: the second column of each row.
pub(super) fn each_header(file: &[u8], take: &mut Take<'_>) -> Option<()> {
    let mut database = Database::new(file)?;
    let mut root = None;
    // The first page has the schema: type, name, table, root, statement.
    database.each_row(1, MAX_DEPTH, &mut |row| {
        if column(row, 0)?.1 == b"table" && column(row, 1)?.1 == b"Packages" {
            root = Some(number(column(row, 3)?)?);
        }
        Some(())
    })?;
    database.each_row(root?, MAX_DEPTH, &mut |row| take(column(row, 1)?.1))
}

struct Database<'a> {
    file: &'a [u8],
    page_size: usize,
    /// Bytes of each page that hold data.
    usable: usize,
    /// How many pages of trees may still be read.
    pages: usize,
    /// How many bytes of rows may still be read.
    bytes: usize,
}

impl<'a> Database<'a> {
    fn new(file: &'a [u8]) -> Option<Database<'a>> {
        let page_size = match u16::from_be_bytes(bytes_at(file, 16)?) {
            1 => 65536,
            size => usize::from(size),
        };
        let usable = page_size.checked_sub(usize::from(*file.get(20)?))?;
        let fits = page_size.is_power_of_two() && usable >= 480;
        let pages = file.len() / page_size.max(1);
        fits.then_some(Database { file, page_size, usable, pages, bytes: file.len() })
    }

    fn page(&self, number: u32) -> Option<&'a [u8]> {
        let start = (number as usize).checked_sub(1)?.checked_mul(self.page_size)?;
        self.file.get(start..)?.get(..self.page_size)
    }

    /// Reads the rows of a tree of pages.
    fn each_row(&mut self, number: u32, depth: u32, take: &mut Take<'_>) -> Option<()> {
        self.pages = self.pages.checked_sub(1)?;
        let page = self.page(number)?;
        let at = if number == 1 { FILE_HEADER } else { 0 };
        let kind = page[at];
        let count = usize::from(u16::from_be_bytes(bytes_at(page, at + 3)?));
        let places = at + if kind == INTERIOR { 12 } else { 8 };
        for cell in 0..count {
            let cell = page.get(usize::from(u16::from_be_bytes(bytes_at(page, places + 2 * cell)?))..)?;
            match kind {
                INTERIOR => {
                    self.each_row(u32::from_be_bytes(bytes_at(cell, 0)?), depth.checked_sub(1)?, take)?;
                }
                LEAF => take(&self.row(cell)?)?,
                _ => return None,
            }
        }
        match kind {
            INTERIOR => {
                self.each_row(u32::from_be_bytes(bytes_at(page, at + 8)?), depth.checked_sub(1)?, take)
            }
            LEAF => Some(()),
            _ => None,
        }
    }

    /// Returns a row, which may go on in other pages.
    fn row(&mut self, cell: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let (size, cell) = varint(cell)?;
        let (_, cell) = varint(cell)?;
        let size = usize::try_from(size).ok()?;
        self.bytes = self.bytes.checked_sub(size)?;
        let most = self.usable - 35;
        if size <= most {
            return Some(cell.get(..size)?.into());
        }
        // "Cell payload overflow pages": as much stays here as lets the last page be full, or the least.
        let least = (self.usable - 12) * 32 / 255 - 23;
        let full = least + (size - least) % (self.usable - 4);
        let (here, rest) = cell.split_at_checked(if full <= most { full } else { least })?;
        let mut row = here.to_vec();
        let mut next = u32::from_be_bytes(bytes_at(rest, 0)?);
        while row.len() < size {
            let page = self.page(next)?;
            row.extend(&page[4..self.usable.min(4 + size - row.len())]);
            next = u32::from_be_bytes(bytes_at(page, 0)?);
        }
        Some(row.into())
    }
}

/// Returns the type and the bytes of a column.
fn column(row: &[u8], wanted: usize) -> Option<(u64, &[u8])> {
    let (length, rest) = varint(row)?;
    let length = usize::try_from(length).ok()?;
    let mut types = row.get(row.len() - rest.len()..length)?;
    let mut at = length;
    for _ in 0..wanted {
        let (kind, rest) = varint(types)?;
        at = at.checked_add(width(kind)?)?;
        types = rest;
    }
    let (kind, _) = varint(types)?;
    Some((kind, row.get(at..)?.get(..width(kind)?)?))
}

/// Returns how many bytes a value of a type has.
fn width(kind: u64) -> Option<usize> {
    Some(match kind {
        0 | 8 | 9 => 0,
        1..=4 => usize::try_from(kind).ok()?,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        _ => usize::try_from((kind - 12) / 2).ok()?,
    })
}

/// Returns the number of a page.
fn number((kind, bytes): (u64, &[u8])) -> Option<u32> {
    match kind {
        9 => Some(1),
        1..=6 => u32::try_from(bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte))).ok(),
        _ => None,
    }
}

/// Reads a number of 1 to 9 bytes. Returns it with what follows.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        if at == 8 {
            return Some((number << 8 | u64::from(*byte), &bytes[9..]));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        assert_eq!(varint(b"\x7f!"), Some((127, &b"!"[..])));
        assert_eq!(varint(b"\x81\x00"), Some((128, &b""[..])));
        assert_eq!(varint(&[0xff; 10]), Some((u64::MAX, &[0xff][..])));
        assert_eq!(varint(&[0xff; 8]), None);
        assert_eq!(
            (number((3, b"\x01\0\0")), number((9, b"")), number((6, &[1; 8]))),
            (Some(65536), Some(1), None)
        );
    }
}
