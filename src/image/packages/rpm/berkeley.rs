//! rpm's database in a hash of Berkeley DB (`dbinc/db_page.h` of its sources): pairs of key and header on pages of a fixed size, in the
//! byte order of the machine that wrote them.

use std::borrow::Cow;

use super::{Take, bytes_at};

/// The number by which a hash begins, behind 12 bytes.
const MAGIC: u32 = 0x0006_1561;
/// The length of what a page has before its data, in bytes.
const PAGE_HEADER: usize = 26;
/// Types of pages.
const UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const SORTED: u8 = 13;
/// Types of what is on the page, and of what is on pages of its own.
const HERE: u8 = 1;
const ELSEWHERE: u8 = 3;

/// Reads the headers, in the order of the pages.
pub(super) fn each_header(file: &[u8], take: &mut Take<'_>) -> Option<()> {
    let mut database = Database::new(file)?;
    for number in 1..=database.u32(file, 32)? {
        let page = database.page(number)?;
        if ![UNSORTED, SORTED].contains(&page[25]) {
            continue;
        }
        for pair in 0..database.u16(page, 20)? / 2 {
            let key = database.item(page, 2 * pair)?;
            // The entry of key 0 has the last key.
            if key != [HERE, 0, 0, 0, 0] {
                let item = database.item(page, 2 * pair + 1)?;
                take(&database.content(item)?)?;
            }
        }
    }
    Some(())
}

struct Database<'a> {
    file: &'a [u8],
    is_big_endian: bool,
    page_size: usize,
    /// How many bytes of headers may still be read.
    left: usize,
}

impl<'a> Database<'a> {
    fn new(file: &'a [u8]) -> Option<Database<'a>> {
        let magic = bytes_at(file, 12)?;
        let is_big_endian = match (u32::from_be_bytes(magic), u32::from_le_bytes(magic)) {
            (MAGIC, _) => true,
            (_, MAGIC) => false,
            _ => return None,
        };
        let mut database = Database { file, is_big_endian, page_size: 0, left: file.len() };
        database.page_size = database.u32(file, 20)? as usize;
        let is_encrypted = *file.get(24)? != 0;
        let fits = database.page_size.is_power_of_two() && (512..=65536).contains(&database.page_size);
        (fits && !is_encrypted).then_some(database)
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let bytes = bytes_at(bytes, at)?;
        Some(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }.into())
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes_at(bytes, at)?;
        Some(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn page(&self, number: u32) -> Option<&'a [u8]> {
        self.file.get((number as usize).checked_mul(self.page_size)?..)?.get(..self.page_size)
    }

    /// Returns an item of a page: its type, and what belongs to that. Items grow down from the page's end.
    fn item(&self, page: &'a [u8], index: usize) -> Option<&'a [u8]> {
        let start = self.u16(page, PAGE_HEADER + 2 * index)?;
        let end = match index {
            0 => self.page_size,
            _ => self.u16(page, PAGE_HEADER + 2 * (index - 1))?,
        };
        page.get(start..end)
    }

    fn content(&mut self, item: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let (kind, here) = item.split_first()?;
        if *kind == HERE {
            self.left = self.left.checked_sub(here.len())?;
            return Some(here.into());
        }
        if *kind != ELSEWHERE {
            return None;
        }
        let size = self.u32(item, 8)? as usize;
        self.left = self.left.checked_sub(size)?;
        let mut next = self.u32(item, 4)?;
        let mut out = Vec::new();
        while out.len() < size {
            let page = self.page(next)?;
            let length = self.u16(page, 22)?;
            if page[25] != OVERFLOW || length == 0 || length > size - out.len() {
                return None;
            }
            out.extend(page.get(PAGE_HEADER..)?.get(..length)?);
            next = self.u32(page, 16)?;
        }
        Some(out.into())
    }
}
