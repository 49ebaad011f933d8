//! One header block as data: POSIX ustar, GNU and v7 (POSIX pax, "ustar Interchange Format"; GNU tar manual,
//! "Basic Tar Format").

use crate::layer::fault::{Fault, Parsed};
use crate::layer::header::BLOCK;

/// The format of a header, from magic and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Before POSIX: no magic, no prefix, no device numbers.
    V7,
    /// `ustar\0`: has a prefix.
    Ustar,
    /// `ustar  \0`: times and sparse regions where ustar has its prefix.
    Gnu,
}

/// A header block with verified checksum and magic.
#[derive(Debug)]
pub(super) struct Block<'a> {
    bytes: &'a [u8; BLOCK],
    pub(super) format: Format,
}

impl<'a> Block<'a> {
    pub(super) fn parse(bytes: &'a [u8; BLOCK]) -> Parsed<Self> {
        verify_checksum(bytes)?;
        // The magic decides: layers that Go or Maven wrote have another version behind that of ustar.
        let format = match &bytes[257..265] {
            [b'u', b's', b't', b'a', b'r', 0, ..] => Format::Ustar,
            b"ustar  \0" => Format::Gnu,
            [0, 0, 0, 0, 0, 0, 0, 0] => Format::V7,
            _ => return Err(Fault::unsupported("the magic of a header is not that of ustar, GNU or v7 tar")),
        };
        // star's own format has other fields in the space of the prefix, and readers differ about it.
        if format == Format::Ustar && &bytes[508..] == b"tar\0" {
            return Err(Fault::unsupported("this is star's own (xstar) format"));
        }
        // A number that this entry does not use stops Go and Python all the same.
        for field in [100..108, 108..116, 116..124, 124..136, 136..148] {
            number(&bytes[field])?;
        }
        if format != Format::V7 {
            number(&bytes[329..337])?;
            number(&bytes[337..345])?;
        }
        if (format, bytes[156]) == (Format::Gnu, b'S') {
            number(&bytes[345..357])?;
            number(&bytes[357..369])?;
        }
        // Only POSIX headers have a prefix. Python takes one from any header but that of a sparse file, Go before 1.8
        // wrote one where GNU tar keeps times, and libarchive takes sparse regions and a real size from any GNU header.
        // Times are what GNU tar and Go write: as many digits as fit.
        let times = [345..357, 357..369].map(|field| is_time(&bytes[field])) == [true, true];
        let stray: &[u8] = match (format, bytes[156]) {
            (Format::Ustar, _) | (Format::Gnu, b'S') => &[],
            (Format::Gnu, _) if times => &bytes[369..495],
            (Format::Gnu, _) => &bytes[345..495],
            (Format::V7, _) => &bytes[345..500],
        };
        if *stray != [0; BLOCK][..stray.len()] {
            return Err(Fault::corrupt(
                "a header has bytes where only other headers have a prefix or sparse regions",
            ));
        }
        Ok(Block { bytes, format })
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.bytes[156]
    }

    /// Returns the name field up to its first NUL; all 100 bytes may be used.
    pub(super) fn name(&self) -> &'a [u8] {
        text(&self.bytes[..100])
    }

    pub(super) fn link(&self) -> &'a [u8] {
        text(&self.bytes[157..257])
    }

    /// Returns the prefix, which only POSIX headers have.
    pub(super) fn prefix(&self) -> &'a [u8] {
        if self.format == Format::Ustar { text(&self.bytes[345..500]) } else { &[] }
    }

    pub(super) fn mode(&self) -> Parsed<u32> {
        Ok((unsigned(&self.bytes[100..108], "mode")? & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Parsed<u64> {
        unsigned(&self.bytes[108..116], "uid")
    }

    pub(super) fn gid(&self) -> Parsed<u64> {
        unsigned(&self.bytes[116..124], "gid")
    }

    pub(super) fn size(&self) -> Parsed<u64> {
        unsigned(&self.bytes[124..136], "size")
    }

    pub(super) fn mtime(&self) -> Parsed<i64> {
        number(&self.bytes[136..148])
    }

    /// Returns major and minor device number.
    pub(super) fn device(&self) -> Parsed<(u64, u64)> {
        if self.format == Format::V7 {
            return Err(Fault::corrupt("a v7 header has no device numbers"));
        }
        Ok((
            unsigned(&self.bytes[329..337], "major number")?,
            unsigned(&self.bytes[337..345], "minor number")?,
        ))
    }

    /// Returns the four sparse regions in a GNU header, whether more follow, and the real size.
    pub(super) fn gnu_sparse(&self) -> Parsed<(&'a [u8], bool, u64)> {
        Ok((&self.bytes[386..482], self.bytes[482] != 0, unsigned(&self.bytes[483..495], "real size")?))
    }
}

/// Returns whether the field of an access or change time is empty, or full of what can only be a time.
fn is_time(field: &[u8]) -> bool {
    let Some((&last, digits)) = field.split_last() else { return false };
    let octal = matches!(last, 0 | b' ') && digits.iter().all(|digit| matches!(digit, b'0'..=b'7'));
    octal || field.iter().all(|&byte| byte == 0) || field[0] & 0x80 != 0 && base256(field).is_ok()
}

fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&byte| byte == 0).unwrap_or(field.len())]
}

/// Checks the checksum: the sum of all bytes, its own field taken as spaces. Old tars summed signed bytes.
pub(super) fn verify_checksum(bytes: &[u8; BLOCK]) -> Parsed<()> {
    let field = &bytes[148..156];
    let stored = number(field)?;
    let sum = |bytes: &[u8]| i64::from(bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>());
    let unsigned = sum(bytes) - sum(field) + 8 * 32;
    if stored == unsigned {
        return Ok(());
    }
    let negative = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte >= 0x80).count() as i64;
    if stored == unsigned - 256 * (negative(bytes) - negative(field)) {
        return Ok(());
    }
    Err(Fault::corrupt("the checksum of a header is wrong, or this is not a tar archive"))
}

pub(super) fn unsigned(field: &[u8], what: &'static str) -> Parsed<u64> {
    u64::try_from(number(field)?).map_err(|_| Fault::corrupt(format!("the {what} is negative")))
}

/// Returns a numeric field: spaces, octal digits, then spaces up to its end or a NUL, behind which nothing counts (POSIX,
/// and as every reader has it); or base-256, two's complement, announced by a first byte of 0x80 or 0xff (GNU). A field
/// with no digits at all is zero.
fn number(field: &[u8]) -> Parsed<i64> {
    if field[0] & 0x80 != 0 {
        return base256(field);
    }
    let start = field.iter().position(|&byte| byte != b' ').unwrap_or(field.len());
    let digits = field[start..].iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let rest = &field[start + digits..];
    let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    if !rest[..end].iter().all(|&byte| byte == b' ')
        || (digits == 0 && rest.iter().any(|byte| !matches!(byte, 0 | b' ')))
    {
        return Err(Fault::corrupt("a number in a header is not octal"));
    }
    // Twelve digits at most: this cannot overflow.
    Ok(field[start..start + digits].iter().fold(0, |number, digit| number << 3 | i64::from(digit - b'0')))
}

fn base256(field: &[u8]) -> Parsed<i64> {
    let fill = match field[0] {
        0x80 => 0,
        0xff => 0xff,
        _ => return Err(Fault::corrupt("a base-256 number is too large")),
    };
    let (head, tail) = field[1..].split_at(field.len().saturating_sub(9));
    if head.iter().any(|&byte| byte != fill) {
        return Err(Fault::corrupt("a base-256 number is too large"));
    }
    let start = if fill == 0 { 0 } else { -1i64 };
    let number = tail.iter().fold(start, |number, &byte| number << 8 | i64::from(byte));
    if (number < 0) != (fill != 0) {
        return Err(Fault::corrupt("a base-256 number is too large"));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_notation() {
        let table: &[(&[u8], i64)] = &[
            (b"0000644\0", 0o644),
            (b"0000644 ", 0o644),
            (b"00000644", 0o644),
            (b"   644 \0", 0o644),
            (b"644\0\0\0\0\0", 0o644),
            (b"644     ", 0o644),
            (b"644\x00644\0", 0o644),
            (b"  644 \0\x07", 0o644),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"        ", 0),
            (b"77777777", 0o77777777),
            (b"777777777777", 0o777777777777),
            (b"\x80\0\0\0\0\0\x01\0", 256),
            (b"\x80\0\0\0\0\0\0\0\0\0\0\x01", 1),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", i64::MAX),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", -1),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", i64::MIN),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
        ];
        for (field, value) in table {
            assert_eq!(number(field).unwrap(), *value, "{}", field.escape_ascii());
        }
        let bad: &[&[u8]] = &[
            b"0000648\0",
            b"-000644\0",
            b"+000644\0",
            b"0x00644\0",
            b"\x00000644\0",
            b"644 \x07\0\0\0",
            b"64 4    ",
            b"abc\0\0\0\0\0",
            b"\x81\0\0\0\0\0\0\0",
            b"\xbf\0\0\0\0\0\0\0",
            b"\xfe\xff\xff\xff\xff\xff\xff\xff",
            b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
            b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
            b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"\xff\xff\xff\xfe\x80\0\0\0\0\0\0\0",
            b"\t000644\0",
        ];
        for field in bad {
            assert!(number(field).is_err(), "{}", field.escape_ascii());
        }
        assert!(unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "size").is_err());
    }
}
