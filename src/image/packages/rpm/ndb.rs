//! rpm's own database (rpm's `lib/backend/ndb/rpmpkg.c`): pages of slots, and the headers that they point to, in blocks of 16 bytes.
//! Numbers are little-endian.

use super::{Take, bytes_at};

pub(super) const MAGIC: &[u8] = b"RpmP";
/// Of a slot, and of a block, in bytes.
const SIZE: usize = 16;
const SLOTS_OF_A_PAGE: usize = 4096 / SIZE;
/// The file's header is in the place of so many slots.
const FIRST_SLOT: usize = 2;
/// Before and after a header in its blocks, in bytes.
const BEFORE: usize = 16;
const AFTER: usize = 12;

/// Reads the headers, in the order of their slots.
pub(super) fn each_header(file: &[u8], take: &mut Take<'_>) -> Option<()> {
    let number = |at: usize| bytes_at(file, at).map(u32::from_le_bytes);
    if number(4)? != 0 {
        return None;
    }
    let slots = (number(12)? as usize).checked_mul(SLOTS_OF_A_PAGE)?;
    let mut left = file.len();
    for slot in FIRST_SLOT..slots {
        let at = slot * SIZE;
        if !file.get(at..)?.starts_with(b"Slot") {
            return None;
        }
        let (package, block, blocks) = (number(at + 4)?, number(at + 8)?, number(at + 12)? as usize);
        if block == 0 {
            continue;
        }
        let place = (block as usize).checked_mul(SIZE)?;
        if !file.get(place..)?.starts_with(b"BlbS") || number(place + 4)? != package {
            return None;
        }
        let length = number(place + 12)? as usize;
        if length.checked_add(BEFORE + AFTER)? > blocks.checked_mul(SIZE)? {
            return None;
        }
        left = left.checked_sub(length)?;
        take(file.get(place + BEFORE..)?.get(..length)?)?;
    }
    Some(())
}
