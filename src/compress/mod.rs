//! Compression and decompression of layers, deterministic for any number of threads.
//!
//! A layer is cut at fixed offsets and every piece is compressed on its own: zstd as independent frames, gzip as
//! independent members. Both are plain concatenation, which every reader of either format accepts, so pieces can
//! be made by any thread in any order ([`write()`]) and taken apart again by several threads ([`Decoder`]). A
//! [`Profile`] pins everything that decides the bytes.

#![forbid(unsafe_code)]

mod decode;
mod engine;
mod flushed;
mod foreign;
mod gzip;
mod index;
mod limits;
mod number;
mod pool;
mod profile;
mod restart;
mod seek;
mod split;
mod states;
mod stream;
#[cfg(test)]
mod testing;
mod verified;
mod zstd;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::media_type::{OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD};

pub use decode::{DecodeOptions, Decoded, Decoder};
pub use engine::Chunk;
pub(crate) use foreign::{Archive, foreign_name};
pub use index::LayerIndex;
pub use limits::DecodeLimits;
pub(crate) use pool::write_noted;
pub use pool::{Written, write};
pub use profile::Profile;
pub use restart::{Restarts, Resumed};
pub use seek::EntryReader;
pub use states::States;
pub(crate) use states::TarHasher;
pub use verified::Verified;

/// The compression of a layer's tar stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// The tar stream as it is.
    None,
    /// gzip (RFC 1952): readable by everything that handles images.
    Gzip,
    /// zstd (RFC 8878): smaller and several times faster; needs Docker 23, containerd 1.5 or podman 2.
    Zstd,
}

impl Compression {
    /// Returns the name as options and `--json` spell it: `none`, `gzip` or `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }

    /// Returns the media type of an OCI layer compressed this way (image-spec, layer.md).
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::None => OCI_LAYER,
            Compression::Gzip => OCI_LAYER_GZIP,
            Compression::Zstd => OCI_LAYER_ZSTD,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Compression::None),
            "gzip" => Ok(Compression::Gzip),
            "zstd" => Ok(Compression::Zstd),
            _ => Err(Error::invalid("read compression", "expected none, gzip or zstd").with_path(text)),
        }
    }
}

/// Returns how a stream that starts with these bytes is compressed. Whatever is not known counts as uncompressed;
/// [`detect_supported`] also recognises what treering cannot read.
///
/// Give it 512 bytes where there are as many: a name in a tar may begin like a compressed stream, and a whole header, with
/// the magic of tar and the right checksum, says that it is one. The answer comes from the bytes alone: media types in the
/// wild are often wrong. (A gzip header that is made to pass for that of a tar gets its maker nothing: a layer is held to
/// its DiffID.)
pub fn detect(first_bytes: &[u8]) -> Compression {
    match first_bytes {
        _ if is_tar(first_bytes) => Compression::None,
        [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame may come first (RFC 8878, 3.1.2).
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Does what [`detect`] does, but an [`ErrorKind::Unsupported`] error names a compression that treering does not read (xz,
/// bzip2, lz4, lzip, compress), instead of letting it pass for a broken tar stream.
pub fn detect_supported(first_bytes: &[u8]) -> Result<Compression> {
    let known = detect(first_bytes);
    if known != Compression::None || is_tar(first_bytes) {
        return Ok(known);
    }
    let name = match (foreign_name(first_bytes), first_bytes) {
        (Some(name), _) => name,
        (None, [0x04, 0x22, 0x4d, 0x18, ..]) => "lz4",
        (None, [b'L', b'Z', b'I', b'P', 1, ..]) => "lzip",
        (None, [0x1f, 0x9d, ..]) => "compress",
        _ => return Ok(Compression::None),
    };
    Err(Error::new(ErrorKind::Unsupported, "read layer", format!("{name} compression is not supported"))
        .with_hint(match name {
            "compress" => "send it decompressed: `uncompress -c FILE` writes it to standard output".into(),
            program => format!("send it decompressed: `{program} -dc FILE` writes it to standard output"),
        }))
}

/// Returns whether this begins with the header of a tar.
fn is_tar(first_bytes: &[u8]) -> bool {
    first_bytes.get(257..262) == Some(b"ustar")
        && first_bytes.first_chunk().is_some_and(crate::layer::read::is_header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(compression.to_string().parse::<Compression>().unwrap(), compression);
        }
        assert_eq!("xz".parse::<Compression>().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn magic_numbers_decide() {
        assert_eq!(detect(b"\x1f\x8b\x08\0"), Compression::Gzip);
        assert_eq!(detect(b"\x28\xb5\x2f\xfd"), Compression::Zstd);
        assert_eq!(detect(b"\x5a\x2a\x4d\x18"), Compression::Zstd);
        assert_eq!(detect(b""), Compression::None);
        assert_eq!(detect(b"etc/"), Compression::None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (magic, name) in [
            (&b"\xfd7zXZ\0\0"[..], "xz"),
            (b"BZh91AY&SY", "bzip2"),
            (b"\x04\x22\x4d\x18", "lz4"),
            (b"LZIP\x01", "lzip"),
        ] {
            let error = detect_supported(magic).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().starts_with(name), "{error}");
        }
        // A tar archive with such a name as its first entry is a tar archive.
        for name in
            [&b"BZh91AY&SY"[..], b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"P*M\x18", b"\xfd7zXZ", b"LZIP\x01"]
        {
            let mut tar = vec![0; 512];
            tar[..name.len()].copy_from_slice(name);
            tar[257..265].copy_from_slice(b"ustar\x0000");
            tar[148..156].fill(b' ');
            let sum: u32 = tar.iter().map(|&byte| u32::from(byte)).sum();
            assert!(detect_supported(&tar).ok() != Some(Compression::None), "no checksum yet: {name:?}");
            tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert_eq!(detect_supported(&tar).unwrap(), Compression::None, "{name:?}");
        }
    }
}
