//! Profiles: everything that decides the bytes of a compressed layer, under one name.

use std::fmt;

use super::Compression;
use super::gzip::MemberEncoder;
use super::zstd::FrameEncoder;
use crate::error::{Error, ErrorKind, Result};

/// The settings that decide a layer's compressed bytes: the format, the level, where the stream is cut and the encoder's
/// version, under an id such as `zstd-3/1`.
///
/// The bytes of a profile never change: the same tar stream gives the same blob on every machine, with every
/// number of threads and in every later release. The last part of the id is the revision; a release in which the encoder
/// or its parameters give other bytes has another revision. Tests compare the digests of known output, so an encoder that changes
/// underneath cannot go unnoticed.
///
/// ```
/// use treering::compress::{Compression, Profile};
/// let profile = Profile::new(Compression::Zstd, None)?;
/// assert_eq!(profile.id(), "zstd-3/1");
/// assert!(Profile::new(Compression::Gzip, Some(40)).is_err());
/// # Ok::<(), treering::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    compression: Compression,
    level: i32,
    chunk: usize,
    id: String,
}

/// The revision of all present profiles: libzstd 1.5.7 and libdeflate 1.26 with the parameters in this module.
const REVISION: u32 = 1;

impl Profile {
    /// Returns the profile of a compression and a level; no level means the default one.
    ///
    /// | compression | levels | default |
    /// | --- | --- | --- |
    /// | none | none | none |
    /// | gzip | 1 to 12 (libdeflate's scale) | 5: about the size of `gzip -6` |
    /// | zstd | 1 to 19 | 3 |
    ///
    /// Above level 15 zstd needs up to 100 MB for each thread.
    pub fn new(compression: Compression, level: Option<i32>) -> Result<Self> {
        let (range, default, chunk) = match compression {
            Compression::None => (0..=0, 0, 1 << 20),
            Compression::Gzip => (1..=12, 5, super::gzip::CHUNK),
            Compression::Zstd => (1..=19, 3, super::zstd::CHUNK),
        };
        let level = level.unwrap_or(default);
        if !range.contains(&level) {
            let message = match compression {
                Compression::None => format!("level {level}: without compression there are no levels"),
                _ => format!("level {level}: {compression} levels are {} to {}", range.start(), range.end()),
            };
            return Err(Error::invalid("choose compression", message));
        }
        let id = match compression {
            Compression::None => format!("none/{REVISION}"),
            _ => format!("{compression}-{level}/{REVISION}"),
        };
        Ok(Profile { compression, level, chunk, id })
    }

    /// Returns the compression.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns the level on the encoder's own scale; 0 without compression.
    pub fn level(&self) -> i32 {
        self.level
    }

    /// Returns how many bytes of tar go into one piece (a zstd frame, a gzip member).
    pub fn chunk_size(&self) -> usize {
        self.chunk
    }

    /// Returns the name of the format, for records: two blobs made from the same tar under the same id are equal.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the media type of a layer made with this profile.
    pub fn media_type(&self) -> &'static str {
        self.compression.media_type()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// An encoder that one thread compresses pieces with.
pub(super) enum Encoder {
    Gzip(Box<MemberEncoder>),
    Zstd(FrameEncoder),
}

impl Encoder {
    /// Returns an encoder for pieces of this profile.
    pub(super) fn new(profile: &Profile) -> Result<Self> {
        Ok(match profile.compression {
            Compression::None => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "compress layer",
                    "there is nothing to compress",
                ));
            }
            Compression::Gzip => Encoder::Gzip(Box::new(MemberEncoder::new(profile.level)?)),
            Compression::Zstd => Encoder::Zstd(FrameEncoder::new(profile.level)?),
        })
    }

    /// Replaces `out` with the compressed form of `input`, which depends on nothing but `input` and the profile.
    pub(super) fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self {
            Encoder::Gzip(encoder) => encoder.encode(input, out),
            Encoder::Zstd(encoder) => encoder.encode(input, out),
        }
    }
}

impl Default for Profile {
    /// Returns gzip at its default level: every tool that handles images reads it.
    fn default() -> Self {
        Profile::new(Compression::Gzip, None).expect("the default level is a level")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing::{self, Memory};
    use crate::compress::write;
    use crate::progress::Control;

    #[test]
    fn ids_name_format_level_and_revision() {
        assert_eq!(Profile::new(Compression::None, None).unwrap().id(), "none/1");
        assert_eq!(Profile::new(Compression::Gzip, Some(9)).unwrap().to_string(), "gzip-9/1");
        assert_eq!(Profile::new(Compression::Zstd, Some(19)).unwrap().id(), "zstd-19/1");
    }

    #[test]
    fn the_bytes_of_a_profile_never_change() {
        // If this fails because an encoder was updated, the new bytes need a new revision.
        let known = [
            ("gzip-1/1", 427_975, "1e0a350077c9"),
            ("gzip-5/1", 399_811, "17bca831a816"),
            ("gzip-9/1", 383_209, "27039ec68d91"),
            ("zstd-1/1", 2_522_295, "27c8007d9851"),
            ("zstd-3/1", 2_549_980, "54176de5ec5c"),
            ("zstd-9/1", 2_723_827, "c88f0b3cc2cc"),
        ];
        let mut found = Vec::new();
        for (compression, level) in [
            (Compression::Gzip, 1),
            (Compression::Gzip, 5),
            (Compression::Gzip, 9),
            (Compression::Zstd, 1),
            (Compression::Zstd, 3),
            (Compression::Zstd, 9),
        ] {
            let profile = Profile::new(compression, Some(level)).unwrap();
            let mut data = testing::mixture(profile.chunk_size());
            data.extend(testing::binary(300_000));
            let source = Memory::new(data);
            let mut blob = Vec::new();
            let written = write(&source, &profile, 2, &mut blob, &Control::default()).unwrap();
            found.push((profile.id().to_string(), written.size, written.digest.short()));
        }
        assert_eq!(
            found,
            known.map(|(id, size, digest): (&str, u64, &str)| (id.into(), size, digest.into()))
        );
    }

    #[test]
    fn levels_out_of_range_are_refused() {
        for (compression, level) in [
            (Compression::None, 1),
            (Compression::Gzip, 0),
            (Compression::Gzip, 13),
            (Compression::Zstd, 0),
            (Compression::Zstd, 20),
            (Compression::Zstd, -5),
        ] {
            let error = Profile::new(compression, Some(level)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}
