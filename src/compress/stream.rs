//! Decoding of streams that others made, in order and in pieces: any gzip file, any zstd file.

use libdeflater::Crc;
use zlib_rs::{Inflate, InflateFlush, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::flushed::{Flushed, Next, STORED, WINDOW};
use super::restart::{self, Shared};
use super::zstd::decode_error;
use super::{Compression, DecodeLimits};
use crate::error::{Error, ErrorKind, Result};

/// A streaming decoder.
pub(super) enum Stream {
    Gzip(Box<Gunzip>),
    Zstd(Unzstd),
}

impl Stream {
    /// Returns a decoder for the rest of a stream, of which `begun` says that complete members or frames came before.
    pub(super) fn new(compression: Compression, begun: bool, limits: &DecodeLimits) -> Result<Self> {
        Ok(match compression {
            Compression::Zstd => Stream::Zstd(Unzstd::new(begun, limits)?),
            _ => Stream::Gzip(Box::new(Gunzip::new(begun))),
        })
    }

    /// Notes from now on where decoding may begin.
    pub(super) fn collect(&mut self, notes: Notes) {
        match self {
            Stream::Gzip(stream) => stream.notes = Some(notes),
            Stream::Zstd(stream) => stream.notes = Some(notes),
        }
    }

    /// Decodes from `input` into `out`, of which `filled` bytes are content already, until one of them is used up. Gives how much
    /// of each. When `out` is full there may be more to come even from an empty input. Everything has come once it was `last` and
    /// `out` is not full.
    pub(super) fn feed(
        &mut self,
        input: &[u8],
        last: bool,
        out: &mut [u8],
        filled: usize,
    ) -> Result<(usize, usize)> {
        match self {
            Stream::Gzip(stream) => stream.feed(input, last, out, filled),
            Stream::Zstd(stream) => stream.feed(input, &mut out[filled..]),
        }
    }

    /// Checks that the stream may end here.
    pub(super) fn finish(&self) -> Result<()> {
        let complete = match self {
            Stream::Gzip(stream) => stream.complete(),
            Stream::Zstd(stream) => stream.complete,
        };
        if complete { Ok(()) } else { Err(Error::corrupt("decompress layer", "the data ends too early")) }
    }
}

/// The position of a streaming decoder, from which decoding can begin another time.
pub(super) struct Notes {
    /// The receiver of the points.
    pub(super) points: Shared,
    /// The offset in the blob of what is fed next.
    pub(super) input: u64,
    /// The offset in the tar stream of what comes out next.
    pub(super) output: u64,
}

fn corrupt(message: &str) -> Error {
    Error::corrupt("decompress layer", format!("gzip: {message}"))
}

/// A gzip file: members one after the other, then possibly zeros (as tapes and block devices leave them). This
/// never recurses and keeps nothing of a header, so neither a million members nor an endless name cost memory.
pub(super) struct Gunzip {
    inflate: Inflate,
    /// A faster decoder that inflates as long as it can.
    flushed: Option<Box<Flushed>>,
    /// Input that came before the next, and how much of it is taken.
    backlog: (Vec<u8>, usize),
    place: Place,
    /// The fixed part of a header, or a trailer, as far as it has come.
    fixed: [u8; 10],
    sum: Sum,
    begun: bool,
    /// Whether the trailer of this member is not compared, since decoding began inside it.
    unchecked: bool,
    notes: Option<Notes>,
    /// Tries where in a byte a block begins.
    trial: Option<Inflate>,
}

/// The trailer of a member: checksum and length of its content.
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

/// The place in the file of the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the first ten bytes of a header.
    Header(usize),
    /// In the optional fields, of which these flags are left to do.
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

const WINDOW_BITS: u8 = 15;
/// How much input a trial gets, how much of its output is compared, and the least that proves anything.
const TRIAL_IN: usize = 8 << 10;
const TRIAL_OUT: usize = 4 << 10;
const TRIAL_LEAST: usize = 64;

const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

impl Gunzip {
    fn new(begun: bool) -> Self {
        Gunzip {
            inflate: Inflate::new(false, WINDOW_BITS),
            // Of the first member only: files of many are cut too small for it to pay.
            flushed: (!begun).then(|| Box::new(Flushed::new())),
            backlog: (Vec::new(), 0),
            place: Place::Header(0),
            fixed: [0; 10],
            sum: Sum::new(),
            begun,
            unchecked: false,
            notes: None,
            trial: None,
        }
    }

    /// Returns a decoder at the beginning of a member, of which `begun` says that it is not the first. It decodes no
    /// further than asked.
    pub(super) fn resumed_at_member(begun: bool) -> Self {
        Gunzip { flushed: None, ..Gunzip::new(begun) }
    }

    /// Returns a decoder at a block inside a member, given the content before it, and the byte before it with as many of
    /// its upper bits as belong to the block.
    pub(super) fn resumed_inside(bits: u8, byte: u8, window: &[u8]) -> Result<Self> {
        let mut new = Gunzip { place: Place::Body, unchecked: true, ..Gunzip::resumed_at_member(true) };
        prime(&mut new.inflate, window)?;
        new.backlog = (lead(bits, byte), 0);
        Ok(new)
    }

    /// Returns whether the next byte is the first one of a member, if there is one.
    pub(super) fn is_between_members(&self) -> bool {
        self.place == Place::Header(0) && self.backlog.1 == self.backlog.0.len()
    }

    /// Says that a whole member was decoded elsewhere.
    pub(super) fn skip_member(&mut self) {
        self.begun = true;
    }

    fn complete(&self) -> bool {
        self.begun && matches!(self.place, Place::Header(0) | Place::Padding)
    }

    fn feed(&mut self, input: &[u8], last: bool, out: &mut [u8], filled: usize) -> Result<(usize, usize)> {
        let (mut at, mut to) = (0, filled);
        while to < out.len() {
            if self.place == Place::Body
                && let Some(flushed) = &mut self.flushed
            {
                let given = flushed.take(&mut out[to..]);
                self.sum.add(&out[to..to + given]);
                to += given;
                if given > 0 {
                    continue;
                }
                let (taken, next) = flushed.add(&input[at..]);
                at += taken;
                if let (Some(notes), Some((window, ready))) = (&self.notes, flushed.boundary()) {
                    let output = notes.output + (to - filled) as u64 + ready;
                    if notes.points.wants_window(output) {
                        notes.points.inside(notes.input + at as u64, output, 0, window);
                    }
                }
                if next == Next::Leave || last && taken == 0 {
                    self.leave_flushed()?;
                } else if taken == 0 {
                    break;
                }
            } else if self.backlog.1 < self.backlog.0.len() {
                let (bytes, begin) = std::mem::take(&mut self.backlog);
                let before = (bytes.len() - begin) as u64;
                let here = (at as u64).wrapping_sub(before);
                let (taken, given) = self.stream(&bytes[begin..], here, out, to, filled)?;
                to += given;
                self.backlog = (bytes, begin + taken);
                if (taken, given) == (0, 0) {
                    break;
                }
            } else {
                self.backlog = (Vec::new(), 0);
                let (taken, given) = self.stream(&input[at..], at as u64, out, to, filled)?;
                at += taken;
                to += given;
                if (taken, given) == (0, 0) || at == input.len() && self.flushed.is_none() {
                    break;
                }
            }
        }
        if let Some(notes) = &mut self.notes {
            notes.input += at as u64;
            notes.output += (to - filled) as u64;
        }
        Ok((at, to - filled))
    }

    /// Goes on with the streaming decoder, which needs the window first.
    fn leave_flushed(&mut self) -> Result<()> {
        let Some(flushed) = self.flushed.take() else { return Ok(()) };
        let (window, rest) = flushed.leave();
        prime(&mut self.inflate, &window[STORED..])?;
        self.backlog = (rest, 0);
        Ok(())
    }

    /// Goes through the file by streaming, up to the next data that [`Flushed`] is for. `here` is where the input begins, counted
    /// from what is fed now; `out` is filled up to `filled`, and was up to `before` when the feeding began.
    fn stream(
        &mut self,
        input: &[u8],
        here: u64,
        out: &mut [u8],
        filled: usize,
        before: usize,
    ) -> Result<(usize, usize)> {
        let (mut at, mut to) = (0, filled);
        loop {
            if self.place == Place::Body {
                if to == out.len() || self.flushed.is_some() {
                    return Ok((at, to - filled));
                }
                let due = |notes: &Notes| notes.points.wants_window(notes.output + (to - before) as u64);
                if to >= WINDOW && self.notes.as_ref().is_some_and(due) {
                    // Up to the end of the block; from there on it is another block, or another call.
                    let (taken, given) =
                        self.inflate_into(&input[at..], &mut out[to..], InflateFlush::Block)?;
                    at += taken;
                    to += given;
                    if self.place == Place::Body {
                        if at == input.len() || to == out.len() {
                            return Ok((at, to - filled));
                        }
                        let begin = (at, to);
                        let (taken, given) =
                            self.inflate_into(&input[at..], &mut out[to..], InflateFlush::NoFlush)?;
                        at += taken;
                        to += given;
                        self.note_block(input, begin.0, here, &out[..to], begin.1, before);
                        if self.place == Place::Body {
                            return Ok((at, to - filled));
                        }
                    }
                    continue;
                }
                let (taken, given) =
                    self.inflate_into(&input[at..], &mut out[to..], InflateFlush::NoFlush)?;
                at += taken;
                to += given;
                if self.place == Place::Body {
                    return Ok((at, to - filled));
                }
                continue;
            }
            if let Place::Fields(flags) = self.place {
                self.place = Self::field(flags);
                continue;
            }
            let Some(&byte) = input.get(at) else { return Ok((at, to - filled)) };
            at += 1;
            let trailer = matches!(self.place, Place::Trailer(_));
            self.step(byte)?;
            if trailer
                && self.place == Place::Header(0)
                && let Some(notes) = &self.notes
            {
                let input = notes.input.wrapping_add(here).wrapping_add(at as u64);
                notes.points.start(input, notes.output + (to - before) as u64);
            }
        }
    }

    /// Notes that a block begins in or behind the byte before `input[begin]`, and its content at `out[content]`. The decoder does
    /// not give away how many bits of that byte are the block's, so each number is tried, and compared with what came out.
    fn note_block(
        &mut self,
        input: &[u8],
        begin: usize,
        here: u64,
        out: &[u8],
        content: usize,
        before: usize,
    ) {
        let (Some(notes), Some(&byte)) = (&self.notes, begin.checked_sub(1).and_then(|at| input.get(at)))
        else {
            return;
        };
        let known = &out[content..out.len().min(content + TRIAL_OUT)];
        if known.len() < TRIAL_LEAST {
            return;
        }
        let window = &out[content - WINDOW..content];
        let rest = &input[begin..input.len().min(begin + TRIAL_IN)];
        let trial = self.trial.get_or_insert_with(|| Inflate::new(false, WINDOW_BITS));
        let mut came = [0; TRIAL_OUT];
        for bits in 0..8 {
            trial.reset(false);
            if prime(trial, window).is_err() {
                return;
            }
            let feed = [&lead(bits, byte)[..], rest].concat();
            let ended = trial.decompress(&feed, &mut came, InflateFlush::NoFlush).is_err();
            let length = (trial.total_out() as usize).min(known.len());
            if !ended && length >= TRIAL_LEAST && came[..length] == known[..length] {
                let input = notes.input.wrapping_add(here).wrapping_add(begin as u64);
                let output = notes.output + (content - before) as u64;
                notes.points.inside(input, output, bits, window);
                return;
            }
        }
    }

    /// Inflates, as much as one call does.
    ///
    /// Into a slice, not into the spare capacity of a vector: the binding would fill all of that with zeros
    /// before every call, which makes a small member as expensive as a large one.
    fn inflate_into(&mut self, input: &[u8], out: &mut [u8], flush: InflateFlush) -> Result<(usize, usize)> {
        let (in_before, out_before) = (self.inflate.total_in(), self.inflate.total_out());
        let status =
            self.inflate.decompress(input, out, flush).map_err(|_| corrupt("invalid compressed data"))?;
        let taken = (self.inflate.total_in() - in_before) as usize;
        let given = (self.inflate.total_out() - out_before) as usize;
        self.sum.add(&out[..given]);
        if status == Status::StreamEnd {
            self.place = Place::Trailer(0);
        }
        Ok((taken, given))
    }

    /// Returns the next optional field, in the order of RFC 1952.
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
                    let unchecked = std::mem::take(&mut self.unchecked);
                    if !unchecked && self.fixed[..4] != self.sum.crc.sum().to_le_bytes() {
                        return Err(corrupt("wrong checksum"));
                    }
                    if !unchecked && self.fixed[4..8] != self.sum.length.to_le_bytes() {
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

/// Gives a decoder of raw deflate data the content before it.
fn prime(inflate: &mut Inflate, window: &[u8]) -> Result<()> {
    if window.is_empty() {
        return Ok(());
    }
    inflate
        .set_dictionary(window)
        .map(drop)
        .map_err(|_| Error::new(ErrorKind::Internal, "decompress layer", "gzip: the window was not taken"))
}

/// Returns what has to come before the next byte of a deflate stream when so many upper bits of `byte` belong to the block that begins.
fn lead(bits: u8, byte: u8) -> Vec<u8> {
    let used = 8 - bits.clamp(0, 7);
    let mut lead = if used == 8 { Vec::new() } else { restart::padding(used) };
    if let Some(last) = lead.last_mut() {
        *last |= byte >> used << used;
    }
    lead
}

/// A zstd file: frames one after the other. libzstd skips skippable ones by itself.
pub(super) struct Unzstd {
    context: DCtx<'static>,
    complete: bool,
    notes: Option<Notes>,
}

impl Unzstd {
    pub(super) fn new(begun: bool, limits: &DecodeLimits) -> Result<Self> {
        let mut context = DCtx::try_create()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "decompress layer", "zstd: out of memory"))?;
        // A window is allocated before the first byte comes out, so this is a cap on memory.
        let window = limits.zstd_window.clamp(1 << 10, 1 << 31).ilog2();
        context.set_parameter(DParameter::WindowLogMax(window)).map_err(decode_error)?;
        Ok(Unzstd { context, complete: begun, notes: None })
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
            if self.complete
                && let Some(notes) = &self.notes
            {
                notes.points.start(notes.input + source.pos() as u64, notes.output + target.pos() as u64);
            }
            if (source.pos(), target.pos()) == before {
                break;
            }
        }
        if let Some(notes) = &mut self.notes {
            notes.input += source.pos() as u64;
            notes.output += target.pos() as u64;
        }
        Ok((source.pos(), target.pos()))
    }
}
