//! `user.rootlesscontainers`: a protocol buffer with user and group (github.com/rootless-containers/proto).
//!
//! `message Resource { uint32 uid = 1; uint32 gid = 2; }`, in proto3: a number that is not there is 0. The highest number
//! leaves that half as it is. A file of 0:0 has no attribute at all, as PRoot and umoci do it.

use super::Claim;
use crate::tree::entry::Meta;

/// "As it is", see chown(2).
const UNCHANGED: u32 = u32::MAX;

/// A field's number and the wire type 0, which is a number of variable length.
const UID: u8 = 1 << 3;
const GID: u8 = 2 << 3;

pub(super) fn parse(value: &[u8]) -> Result<Claim, String> {
    let (mut uid, mut gid) = (None, None);
    let mut rest = value;
    while let [tag, after @ ..] = rest {
        let (number, after) = varint(after).ok_or("a number is cut short or too large")?;
        let field = match *tag {
            UID => &mut uid,
            GID => &mut gid,
            // A later version of the format might say something here that must not be passed over.
            other => return Err(format!("unknown field {other:#04x}")),
        };
        if field.replace(number).is_some() {
            return Err("a field stands there twice".into());
        }
        rest = after;
    }
    let chosen = |id: Option<u32>| Some(id.unwrap_or(0)).filter(|&id| id != UNCHANGED);
    Ok(Claim { uid: chosen(uid), gid: chosen(gid), mode: None, kind: None, rdev: (0, 0) })
}

pub(super) fn format(meta: &Meta) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (tag, mut number) in [(UID, meta.uid), (GID, meta.gid)] {
        if number == 0 {
            continue;
        }
        out.push(tag);
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
    (!out.is_empty()).then_some(out)
}

/// Returns a number of 32 bits in groups of seven, the lowest first; all but the last byte have the high bit.
fn varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0u64;
    for (i, &byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((number.try_into().ok()?, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_protocol_buffers() {
        let owner = |uid, gid| Meta { uid, gid, ..Meta::directory() };
        let claim = |uid, gid| Claim { uid, gid, mode: None, kind: None, rdev: (0, 0) };
        assert_eq!(format(&owner(0, 0)), None);
        // The bytes are what `protoc --encode` prints.
        let table: [(u32, u32, &[u8]); 4] = [
            (1, 2, b"\x08\x01\x10\x02"),
            (0, 127, b"\x10\x7f"),
            (300, 0, b"\x08\xac\x02"),
            (4_294_967_294, 65_534, b"\x08\xfe\xff\xff\xff\x0f\x10\xfe\xff\x03"),
        ];
        for (uid, gid, bytes) in table {
            assert_eq!(format(&owner(uid, gid)).as_deref(), Some(bytes));
            assert_eq!(parse(bytes), Ok(claim(Some(uid), Some(gid))));
        }
        assert_eq!(parse(b""), Ok(claim(Some(0), Some(0))));
        // The order of fields is free, and the highest number leaves an id alone.
        assert_eq!(parse(b"\x10\x02\x08\x01"), Ok(claim(Some(1), Some(2))));
        assert_eq!(parse(b"\x08\xff\xff\xff\xff\x0f\x10\x02"), Ok(claim(None, Some(2))));
        assert_eq!(parse(b"\x10\xff\xff\xff\xff\x0f\x08\xff\xff\xff\xff\x0f"), Ok(claim(None, None)));
    }

    #[test]
    fn what_is_anything_else_is_refused() {
        let cases: [&[u8]; 9] = [
            b"\x08",
            b"\x08\x80",
            b"\x08\x80\x80\x80\x80\x10",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x08\x01\x08\x01",
            b"\x18\x01",
            b"\x0a\x01\x00",
            b"\x00\x01",
            b"0:0",
        ];
        for bytes in cases {
            assert!(parse(bytes).is_err(), "{bytes:x?} parsed");
        }
        assert!(parse(&[0x80; 65536]).is_err());
    }
}
