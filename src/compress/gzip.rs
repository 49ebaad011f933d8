//! gzip members (RFC 1952): making our own, and decoding them whole.
//!
//! Our members say in an extra field how long they are, so that a reader can separate members without
//! decoding them. Every gzip reader skips extra fields it has no use for.

use libdeflater::{CompressionLvl, Compressor, Crc, DecompressionError, Decompressor};

use crate::error::{Error, ErrorKind, Result};

/// How many bytes of tar go into one member: the window is 32 KiB, so cutting here costs about 0.1% of size.
pub(super) const CHUNK: usize = 1 << 20;

/// The length of our member header.
pub(super) const HEADER: usize = 20;
/// CRC-32 and length modulo 2^32.
pub(super) const FOOTER: usize = 8;
/// No member of ours is longer: what does not compress is stored, at 5 bytes for each 64 KiB.
pub(super) const MEMBER_MAX: usize = CHUNK + CHUNK / 1024 + 1024;

/// The header before the member's length: deflate, an extra field, no time, no host system, and in the extra field (8
/// bytes) one subfield `TR` (4 bytes).
const PREFIX: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 8, 0, b'T', b'R', 4, 0];

/// Makes members.
pub(super) struct MemberEncoder {
    deflate: Compressor,
}

impl MemberEncoder {
    pub(super) fn new(level: i32) -> Result<Self> {
        let level = CompressionLvl::new(level)
            .map_err(|_| Error::invalid("choose compression", "no such gzip level"))?;
        Ok(MemberEncoder { deflate: Compressor::new(level) })
    }

    /// Replaces `out` with the member that holds `input`.
    pub(super) fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.resize(HEADER + self.deflate.deflate_compress_bound(input.len()) + FOOTER, 0);
        let body = self
            .deflate
            .deflate_compress(input, &mut out[HEADER..])
            .map_err(|error| Error::new(ErrorKind::Internal, "compress layer", error.to_string()))?;
        let size = HEADER + body + FOOTER;
        out[..16].copy_from_slice(&PREFIX);
        out[16..HEADER].copy_from_slice(&(size as u32).to_le_bytes());
        let mut crc = Crc::new();
        crc.update(input);
        out[HEADER + body..HEADER + body + 4].copy_from_slice(&crc.sum().to_le_bytes());
        out[HEADER + body + 4..size].copy_from_slice(&(input.len() as u32).to_le_bytes());
        out.truncate(size);
        Ok(())
    }
}

/// Returns the length of the member that starts with `header`, if it is one of ours.
pub(super) fn member_size(header: &[u8]) -> Option<usize> {
    let size = header.strip_prefix(&PREFIX)?.first_chunk::<4>()?;
    let size = u32::from_le_bytes(*size) as usize;
    (HEADER + FOOTER + 1..=MEMBER_MAX).contains(&size).then_some(size)
}

/// Returns the uncompressed length that a whole member claims, if it is one of ours.
pub(super) fn content_size(member: &[u8]) -> Option<usize> {
    let size = u32::from_le_bytes(*member.last_chunk::<4>()?) as usize;
    (size <= CHUNK).then_some(size)
}

/// Replaces `out` with the content of one of our members.
///
/// Checked twice: the checksum that follows the deflate stream, and the one at the end of the member. A member
/// that ends before its stated length would otherwise hide bytes that another reader decodes.
pub(super) fn decode_member(
    inflate: &mut Decompressor,
    member: &[u8],
    size: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let corrupt = |message: &str| Error::corrupt("decompress layer", format!("gzip: {message}"));
    out.resize(size, 0);
    match inflate.gzip_decompress(member, out) {
        Ok(length) if length == size => {}
        Ok(_) => return Err(corrupt("a member is shorter than it says")),
        Err(DecompressionError::InsufficientSpace) => {
            return Err(corrupt("a member is longer than it says"));
        }
        Err(DecompressionError::BadData) => return Err(corrupt("invalid data or a wrong checksum")),
    }
    let mut crc = Crc::new();
    crc.update(out);
    let end = member.len() - FOOTER;
    if member[end..end + 4] != crc.sum().to_le_bytes() {
        return Err(corrupt("a member ends before its stated length"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::compress::testing;

    #[test]
    fn a_member_reads_like_any_gzip_file() {
        for level in [1, 5, 12] {
            let mut encoder = MemberEncoder::new(level).unwrap();
            for length in [0, 1, 100, 70_000, CHUNK] {
                for data in [testing::text(length), testing::noise(length), vec![0; length]] {
                    let mut member = Vec::new();
                    encoder.encode(&data, &mut member).unwrap();
                    assert!(member.len() <= MEMBER_MAX);
                    assert_eq!(member_size(&member), Some(member.len()));
                    assert_eq!(content_size(&member), Some(length));
                    let mut back = Vec::new();
                    flate2::read::GzDecoder::new(&member[..]).read_to_end(&mut back).unwrap();
                    assert!(back == data, "level {level} length {length}");
                    decode_member(&mut Decompressor::new(), &member, length, &mut back).unwrap();
                    assert!(back == data);
                }
            }
        }
    }

    #[test]
    fn a_member_that_hides_bytes_is_refused() {
        let mut encoder = MemberEncoder::new(5).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        encoder.encode(b"seen by both", &mut first).unwrap();
        encoder.encode(b"hidden bytes", &mut second).unwrap();
        // The first member claims the second one as its own.
        let total = first.len() + second.len();
        first.extend_from_slice(&second);
        first[16..20].copy_from_slice(&(total as u32).to_le_bytes());
        let error = decode_member(&mut Decompressor::new(), &first, 12, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn foreign_members_are_not_taken_for_ours() {
        let mut member = Vec::new();
        MemberEncoder::new(5).unwrap().encode(b"x", &mut member).unwrap();
        for at in 0..16 {
            let mut other = member.clone();
            other[at] ^= 1;
            assert_eq!(member_size(&other), None);
        }
        assert_eq!(member_size(&member[..19]), None);
        member[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(member_size(&member), None);
    }
}
