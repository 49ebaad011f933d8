//! Decoding of streams that others made, in order and in pieces: any gzip file, any zstd file.

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Crc;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::flushed::{Flushed, Next, STORED, WINDOW};
use super::zstd::decode_error;
use super::{Compression, DecodeLimits};
use crate::error::{Error, ErrorKind, Result};

/// A streaming decoder.
pub(super) enum Stream {
    Gzip(Box<Gunzip>),
    Zstd(Unzstd),
}

impl Stream {
    /// A decoder for the rest of a stream, of which `begun` says that complete members or frames came before.
    pub(super) fn new(compression: Compression, begun: bool, limits: &DecodeLimits) -> Result<Self> {
        Ok(match compression {
            Compression::Zstd => Stream::Zstd(Unzstd::new(begun, limits)?),
            _ => Stream::Gzip(Box::new(Gunzip::new(begun))),
        })
    }

    /// Decodes from `input` into `out` until one of them is used up, and says how much of each. When `out` is full
    /// there may be more to come even from an empty input. Everything has come once it was `last` and `out` is not full.
    pub(super) fn feed(&mut self, input: &[u8], last: bool, out: &mut [u8]) -> Result<(usize, usize)> {
        match self {
            Stream::Gzip(stream) => stream.feed(input, last, out),
            Stream::Zstd(stream) => stream.feed(input, out),
        }
    }

    /// Says whether the stream may end here.
    pub(super) fn finish(&self) -> Result<()> {
        let complete = match self {
            Stream::Gzip(stream) => stream.complete(),
            Stream::Zstd(stream) => stream.complete,
        };
        if complete { Ok(()) } else { Err(Error::corrupt("decompress layer", "the data ends too early")) }
    }
}

fn corrupt(message: &str) -> Error {
    Error::corrupt("decompress layer", format!("gzip: {message}"))
}

/// A gzip file: members one after the other, then possibly zeros (as tapes and block devices leave them). This
/// never recurses and keeps nothing of a header, so neither a million members nor an endless name cost memory.
pub(super) struct Gunzip {
    inflate: Decompress,
    /// What inflates instead as long as it can.
    flushed: Option<Box<Flushed>>,
    /// Input that came before the next, and how much of it is taken.
    backlog: (Vec<u8>, usize),
    place: Place,
    /// The fixed part of a header, or a trailer, as far as it has come.
    fixed: [u8; 10],
    sum: Sum,
    begun: bool,
}

/// What the trailer of a member says of its content.
struct Sum {
    crc: Crc,
    /// Modulo 2^32.
    length: u32,
}

impl Sum {
    fn new() -> Self {
        Sum { crc: Crc::new(), length: 0 }
    }

    fn add(&mut self, content: &[u8]) {
        self.crc.update(content);
        self.length = self.length.wrapping_add(content.len() as u32);
    }
}

/// Where in the file the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the first ten bytes of a header.
    Header(usize),
    /// In the optional fields, whose flags are left to do.
    Fields(u8),
    /// In the length of the extra field.
    ExtraLength(u8, usize),
    /// In something of known length that does not matter.
    Skip(u8, usize),
    /// In a name or a comment, up to its zero byte.
    Text(u8),
    /// In the compressed data.
    Body,
    /// In the checksum and the length.
    Trailer(usize),
    /// In zeros behind the last member.
    Padding,
}

const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

impl Gunzip {
    fn new(begun: bool) -> Self {
        Gunzip {
            inflate: Decompress::new(false),
            // Of the first member only: files of many are cut too small for it to pay.
            flushed: (!begun).then(|| Box::new(Flushed::new())),
            backlog: (Vec::new(), 0),
            place: Place::Header(0),
            fixed: [0; 10],
            sum: Sum::new(),
            begun,
        }
    }

    fn complete(&self) -> bool {
        self.begun && matches!(self.place, Place::Header(0) | Place::Padding)
    }

    fn feed(&mut self, input: &[u8], last: bool, out: &mut [u8]) -> Result<(usize, usize)> {
        let (mut at, mut filled) = (0, 0);
        while filled < out.len() {
            if self.place == Place::Body
                && let Some(flushed) = &mut self.flushed
            {
                let given = flushed.take(&mut out[filled..]);
                self.sum.add(&out[filled..filled + given]);
                filled += given;
                if given > 0 {
                    continue;
                }
                let (taken, next) = flushed.add(&input[at..]);
                at += taken;
                if next == Next::Leave || last && taken == 0 {
                    self.leave_flushed()?;
                } else if taken == 0 {
                    break;
                }
            } else if self.backlog.1 < self.backlog.0.len() {
                let (bytes, begin) = std::mem::take(&mut self.backlog);
                let (taken, given) = self.stream(&bytes[begin..], &mut out[filled..])?;
                filled += given;
                self.backlog = (bytes, begin + taken);
                if (taken, given) == (0, 0) {
                    break;
                }
            } else {
                self.backlog = (Vec::new(), 0);
                let (taken, given) = self.stream(&input[at..], &mut out[filled..])?;
                at += taken;
                filled += given;
                if (taken, given) == (0, 0) || at == input.len() && self.flushed.is_none() {
                    break;
                }
            }
        }
        Ok((at, filled))
    }

    /// Goes on with the streaming decoder, which has to be told the window first.
    fn leave_flushed(&mut self) -> Result<()> {
        let Some(flushed) = self.flushed.take() else { return Ok(()) };
        let (window, rest) = flushed.leave();
        let mut known = vec![0; WINDOW + 1];
        let status = self.inflate.decompress(&window, &mut known, FlushDecompress::None);
        if status.is_err() || self.inflate.total_out() as usize + STORED != window.len() {
            return Err(Error::new(
                ErrorKind::Internal,
                "decompress layer",
                "gzip: the window was not taken",
            ));
        }
        self.backlog = (rest, 0);
        Ok(())
    }

    /// Goes through the file by streaming, up to the next data that [`Flushed`] is for.
    fn stream(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize)> {
        let (mut at, mut filled) = (0, 0);
        loop {
            if self.place == Place::Body {
                if filled == out.len() || self.flushed.is_some() {
                    return Ok((at, filled));
                }
                let (taken, given) = self.inflate_into(&input[at..], &mut out[filled..])?;
                at += taken;
                filled += given;
                if self.place == Place::Body {
                    return Ok((at, filled));
                }
                continue;
            }
            if let Place::Fields(flags) = self.place {
                self.place = Self::field(flags);
                continue;
            }
            let Some(&byte) = input.get(at) else { return Ok((at, filled)) };
            at += 1;
            self.step(byte)?;
        }
    }

    /// Inflates, as much as one call does.
    ///
    /// Into a slice, not into the spare capacity of a vector: the binding would fill all of that with zeros
    /// before every call, which makes a small member as expensive as a large one.
    fn inflate_into(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize)> {
        let (in_before, out_before) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, out, FlushDecompress::None)
            .map_err(|_| corrupt("invalid compressed data"))?;
        let taken = (self.inflate.total_in() - in_before) as usize;
        let given = (self.inflate.total_out() - out_before) as usize;
        self.sum.add(&out[..given]);
        if status == Status::StreamEnd {
            self.place = Place::Trailer(0);
        }
        Ok((taken, given))
    }

    /// The next optional field, in the order of RFC 1952.
    fn field(flags: u8) -> Place {
        match flags {
            _ if flags & EXTRA != 0 => Place::ExtraLength(flags & !EXTRA, 0),
            _ if flags & NAME != 0 => Place::Text(flags & !NAME),
            _ if flags & COMMENT != 0 => Place::Text(flags & !COMMENT),
            _ if flags & HEADER_CRC != 0 => Place::Skip(flags & !HEADER_CRC, 2),
            _ => Place::Body,
        }
    }

    /// Takes one byte outside of the compressed data.
    fn step(&mut self, byte: u8) -> Result<()> {
        self.place = match self.place {
            Place::Header(0) if byte == 0 && self.begun => Place::Padding,
            Place::Header(n) => {
                self.fixed[n] = byte;
                match (n, byte) {
                    (0, 0x1f) | (1, 0x8b) => {}
                    (0 | 1, _) if self.begun => {
                        return Err(corrupt("garbage behind the last member"));
                    }
                    (0 | 1, _) => return Err(corrupt("not gzip data")),
                    (2, 8) => {}
                    (2, _) => return Err(corrupt("unknown compression method")),
                    (3, flags) if flags & 0xe0 != 0 => return Err(corrupt("reserved flags are set")),
                    _ => {}
                }
                match n {
                    9 => {
                        self.inflate.reset(false);
                        self.sum = Sum::new();
                        Place::Fields(self.fixed[3])
                    }
                    _ => Place::Header(n + 1),
                }
            }
            Place::ExtraLength(flags, 0) => Place::ExtraLength(flags, 0x100 | usize::from(byte)),
            Place::ExtraLength(flags, low) => match (low & 0xff) | usize::from(byte) << 8 {
                0 => Place::Fields(flags),
                length => Place::Skip(flags, length),
            },
            Place::Skip(flags, 1) => Place::Fields(flags),
            Place::Skip(flags, left) => Place::Skip(flags, left - 1),
            Place::Text(flags) if byte == 0 => Place::Fields(flags),
            Place::Text(flags) => Place::Text(flags),
            Place::Trailer(n) => {
                self.fixed[n] = byte;
                if n == 7 {
                    if self.fixed[..4] != self.sum.crc.sum().to_le_bytes() {
                        return Err(corrupt("wrong checksum"));
                    }
                    if self.fixed[4..8] != self.sum.length.to_le_bytes() {
                        return Err(corrupt("wrong length"));
                    }
                    self.begun = true;
                    Place::Header(0)
                } else {
                    Place::Trailer(n + 1)
                }
            }
            Place::Padding if byte == 0 => Place::Padding,
            Place::Padding => return Err(corrupt("garbage behind the last member")),
            Place::Fields(_) | Place::Body => unreachable!("these take no single byte"),
        };
        Ok(())
    }
}

/// A zstd file: frames one after the other. libzstd skips skippable ones by itself.
pub(super) struct Unzstd {
    context: DCtx<'static>,
    complete: bool,
}

impl Unzstd {
    fn new(begun: bool, limits: &DecodeLimits) -> Result<Self> {
        let mut context = DCtx::try_create()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "decompress layer", "zstd: out of memory"))?;
        // A window is allocated before the first byte comes out, so this is a cap on memory.
        let window = limits.zstd_window.clamp(1 << 10, 1 << 31).ilog2();
        context.set_parameter(DParameter::WindowLogMax(window)).map_err(decode_error)?;
        Ok(Unzstd { context, complete: begun })
    }

    fn feed(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize)> {
        let mut source = InBuffer::around(input);
        let mut target = OutBuffer::around(out);
        while target.pos() < target.capacity() {
            // Between frames, a call without input would count as the start of another frame.
            if self.complete && source.pos() == input.len() {
                break;
            }
            let before = (source.pos(), target.pos());
            let hint = self.context.decompress_stream(&mut target, &mut source).map_err(decode_error)?;
            self.complete = hint == 0;
            if (source.pos(), target.pos()) == before {
                break;
            }
        }
        Ok((source.pos(), target.pos()))
    }
}
