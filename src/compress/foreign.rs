//! Archives as they come from elsewhere: in xz or bzip2 as well, in which no layer of an image is.

use std::io::{self, BufReader, Cursor, ErrorKind as Io, Read};

use bzip2::read::MultiBzDecoder;
use lzma_rust2::XzReader;

use super::{DecodeLimits, DecodeOptions, Decoder};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::source::is_zero;
use crate::progress::{Control, Share};

const OP: &str = "read archive";
/// How many bytes are read to see how an input is compressed.
const HEAD: usize = 512;
/// Memory of the decoder of xz besides the dictionary, in KiB.
const BESIDE_DICTIONARY: u64 = 1 << 10;

/// An input that is a tar, compressed or not.
pub(crate) struct Archive {
    input: Box<dyn Read + Send>,
    share: Share,
    foreign: bool,
}

impl Archive {
    /// Reads enough of an input to see how it is compressed. What is read of it is added to the counters.
    pub(crate) fn open(
        mut input: Box<dyn Read + Send>,
        limits: &DecodeLimits,
        control: &Control,
    ) -> Result<Archive> {
        let mut head = vec![0; HEAD];
        let mut filled = 0;
        while filled < HEAD {
            // Before each read, since one may be slow: after a cancellation the input is not read any more.
            control.check(OP)?;
            match input.read(&mut head[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(error) => return Err(Error::io(OP, "input", error)),
            }
        }
        head.truncate(filled);
        let name = foreign(&head);
        let whole = Box::new(Cursor::new(head).chain(input));
        let share = Share::of_stream(control);
        let Some(name) = name else { return Ok(Archive { input: whole, share, foreign: false }) };
        let counted = Counted { input: Box::new(share.reader(whole)), count: 0 };
        let memory = u32::try_from((limits.zstd_window >> 10) + BESIDE_DICTIONARY).unwrap_or(u32::MAX);
        let inner = match name {
            Name::Xz => Inner::Xz(Box::new(XzReader::new_mem_limit(BufReader::new(counted), true, memory))),
            Name::Bzip2 => Inner::Bzip2(MultiBzDecoder::new(counted)),
        };
        let input = Foreign { name, inner, limits: limits.clone(), produced: 0, zeros: 0 };
        Ok(Archive { input: Box::new(input), share: Share::uncounted(), foreign: true })
    }

    /// Returns whether it is compressed as no layer may be.
    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Returns its bytes, decoded where it is foreign, and the share that counts them.
    pub(crate) fn into_parts(self) -> (Box<dyn Read + Send>, Share) {
        (self.input, self.share)
    }

    /// Starts to decode it. Digests of the input are those of what is inside of xz and bzip2.
    pub(crate) fn decoder(self, options: DecodeOptions, control: Control) -> Result<Decoder> {
        Decoder::counting(self.input, options, control, self.share)
    }
}

/// Returns the name of the compression that an input begins with, if it is xz or bzip2.
pub(crate) fn foreign_name(head: &[u8]) -> Option<&'static str> {
    foreign(head).map(Name::text)
}

fn foreign(head: &[u8]) -> Option<Name> {
    match head {
        _ if super::is_tar(head) => None,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Name::Xz),
        // A block, or the end of a stream without one.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Some(Name::Bzip2),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy)]
enum Name {
    Xz,
    Bzip2,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Xz => "xz",
            Name::Bzip2 => "bzip2",
        }
    }
}

/// An input, and how much was read of it.
struct Counted {
    input: Box<dyn Read + Send>,
    count: u64,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(out)?;
        self.count += n as u64;
        Ok(n)
    }
}

enum Inner {
    Xz(Box<XzReader<BufReader<Counted>>>),
    Bzip2(MultiBzDecoder<Counted>),
}

/// The content of xz or bzip2, within the limits.
struct Foreign {
    name: Name,
    inner: Inner,
    limits: DecodeLimits,
    produced: u64,
    zeros: u64,
}

impl Foreign {
    /// Returns the error for a fault of the input; errors of reading it stay what they are.
    fn explain(&self, error: io::Error) -> Error {
        let name = self.name.text();
        match error.kind() {
            Io::OutOfMemory => {
                let most = self.limits.zstd_window >> 20;
                Error::limit(OP, format!("the {name} stream takes more than {most} MiB of memory"))
            }
            Io::UnexpectedEof => Error::corrupt(OP, format!("the {name} stream is cut short")),
            Io::Unsupported => Error::new(ErrorKind::Unsupported, OP, format!("{name}: {error}"))
                .with_hint(format!("send it decompressed: `{name} -dc FILE` writes it to standard output")),
            Io::InvalidData | Io::InvalidInput => Error::corrupt(OP, format!("{name}: {error}")),
            _ => Error::io(OP, "input", error),
        }
    }
}

impl Read for Foreign {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (read, consumed) = match &mut self.inner {
            Inner::Xz(reader) => (reader.read(out), reader.inner().get_ref().count),
            Inner::Bzip2(reader) => (reader.read(out), reader.get_ref().count),
        };
        let n = match read {
            Ok(n) => n,
            Err(error) if error.kind() == Io::Interrupted => return Err(error),
            Err(error) => return Err(self.explain(error).into()),
        };
        self.produced += n as u64;
        if is_zero(&out[..n]) {
            self.zeros += n as u64;
        }
        self.limits.check(consumed, self.produced, self.zeros)?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'some text\n' | xz` and `| bzip2 -1`.
    const XZ: &[u8] =
        b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\tsome text\n\0\0\0";

    fn decode(bytes: Vec<u8>, limits: &DecodeLimits) -> Result<Vec<u8>> {
        let control = Control::default();
        let archive = Archive::open(Box::new(Cursor::new(bytes)), limits, &control)?;
        assert!(archive.is_foreign());
        let options = DecodeOptions { limits: limits.clone(), ..DecodeOptions::default() };
        let mut decoder = archive.decoder(options, control)?;
        let mut out = Vec::new();
        decoder.read_to_end(&mut out).map_err(|error| Error::io("test", "", error))?;
        decoder.finish()?;
        Ok(out)
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast()).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn streams_one_behind_the_other_are_read_and_what_is_cut_is_an_error() {
        let limits = DecodeLimits::default();
        let (a, b) = (bzip2(&[7; 300_000]), bzip2(b"end"));
        let whole = decode([&a[..], &b].concat(), &limits).unwrap();
        assert_eq!((whole.len(), &whole[300_000..]), (300_003, &b"end"[..]));
        for cut in [10, a.len() / 2, a.len() - 1, a.len() + 5] {
            let error = decode([&a[..], &b].concat()[..cut].to_vec(), &limits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{cut}: {error}");
        }
        let error = decode(XZ.to_vec(), &limits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }

    #[test]
    fn limits_hold() {
        let noise: Vec<u8> = (0..200_000u32).map(|i| i.to_le_bytes()[0] | 1).collect();
        let packed = bzip2(&noise);
        let most = DecodeLimits { max_output: 100_000, ..DecodeLimits::default() };
        assert_eq!(decode(packed.clone(), &most).unwrap_err().kind(), ErrorKind::Limit);
        let ratio = DecodeLimits { ratio: 2, ratio_floor: 1000, ..DecodeLimits::default() };
        assert_eq!(decode(packed, &ratio).unwrap_err().kind(), ErrorKind::Limit);
        // The dictionary that a header asks for is not taken where it is too large: 8 MiB here.
        let window = DecodeLimits { zstd_window: 1 << 20, ..DecodeLimits::default() };
        let error = decode(XZ.to_vec(), &window).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    }
}
