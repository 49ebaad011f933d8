//! Reading a compressed stream and cutting it where it can be decoded in parallel.
//!
//! Our own members and frames say how long they are, so they are cut out whole. The first thing that does not
//! look like ours turns the rest into one stream, which is decoded in order; nothing is refused here.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::restart::Shared;
use super::stream::Notes;
use super::zstd::{self, Front};
use super::{Compression, gzip};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Control;

/// How much is read at once, and how much of a stream is handed to its decoder at once.
const READ: usize = 256 << 10;
/// How much of an uncompressed stream is one piece.
const PLAIN: usize = 1 << 20;
/// How much may be in skippable frames, all together. Real ones hold tables of contents.
const SKIPPED_MAX: u64 = 1 << 30;

/// A piece of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Not compressed; nothing at all where something was skipped.
    Plain(Vec<u8>),
    /// A member or frame of its own, and the length of its content.
    Whole(Vec<u8>, usize),
    /// A part of a stream that is decoded in order.
    Part(Vec<u8>),
    /// The end of that stream.
    End,
}

/// The input, cut into pieces.
pub(super) struct Splitter {
    reader: Box<dyn Read + Send>,
    control: Control,
    hasher: Option<Sha256>,
    size: u64,
    compression: Compression,
    /// The buffer: bytes that were read and not handed out are `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    eof: bool,
    mode: Mode,
    /// Whether complete members or frames were cut out.
    begun: bool,
    /// How much was skipped.
    skipped: u64,
    /// How much content the members and frames that were cut out have.
    content: u64,
    /// The offset in the input of the stream that is decoded in order.
    streamed: Option<u64>,
    points: Option<Shared>,
}

/// The kind of the next bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Tar.
    Plain,
    /// The front of a member or frame.
    Front,
    /// Blocks of a frame: the offset of the next block from the frame's start, and what its header said.
    Blocks { at: usize, content: usize, checksum: bool },
    /// The rest of a frame to skip.
    Skip(u64),
    /// A stream of any shape.
    Stream,
    /// Nothing.
    End,
}

impl Splitter {
    /// Reads enough of `reader` to see how it is compressed.
    pub(super) fn new(reader: Box<dyn Read + Send>, control: Control) -> Result<Self> {
        let mut splitter = Splitter {
            reader,
            control,
            hasher: None,
            size: 0,
            compression: Compression::None,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            eof: false,
            mode: Mode::Front,
            begun: false,
            skipped: 0,
            content: 0,
            streamed: None,
            points: None,
        };
        splitter.read_to(512)?;
        splitter.compression = super::detect_supported(splitter.rest())?;
        if splitter.compression == Compression::None {
            splitter.mode = Mode::Plain;
        }
        Ok(splitter)
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Takes the digest of all that is read, from the first byte.
    pub(super) fn hash(&mut self) {
        let mut hasher = Sha256::new();
        hasher.update(self.rest());
        self.hasher = Some(hasher);
    }

    /// Notes from now on where decoding may begin.
    pub(super) fn collect(&mut self, points: Shared) {
        self.points = Some(points);
    }

    /// Returns what the decoder of the stream has to begin its own notes with, if there are to be any.
    pub(super) fn notes(&self) -> Option<Notes> {
        let (points, input) = (self.points.clone()?, self.streamed?);
        Some(Notes { points, input, output: self.content })
    }

    /// Notes a member or frame that is cut out whole: where it began, and its content.
    fn note(&mut self, size: usize, content: usize) {
        if let Some(points) = &self.points {
            let begin = self.size - (self.end - self.start) as u64 - size as u64;
            points.start(begin, self.content);
        }
        self.content += content as u64;
    }

    /// Returns whether complete members or frames came before the stream.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    /// Returns the length and digest of all that was read.
    pub(super) fn finish(self) -> (u64, Option<Digest>) {
        (self.size, self.hasher.map(|hasher| Digest::from_bytes(hasher.finalize().into())))
    }

    /// Returns the next piece; `None` at the end. `spare` is a buffer to use again.
    pub(super) fn next(&mut self, mut spare: Vec<u8>) -> Result<Option<Unit>> {
        if self.mode == Mode::Plain {
            return self.plain(spare);
        }
        spare.clear();
        loop {
            match self.mode {
                Mode::Plain => return self.plain(spare),
                Mode::Stream => {
                    self.read_to(READ)?;
                    self.streamed.get_or_insert(self.size - (self.end - self.start) as u64);
                    spare.extend_from_slice(self.take(READ));
                    if spare.is_empty() {
                        self.mode = Mode::End;
                        return Ok(Some(Unit::End));
                    }
                    return Ok(Some(Unit::Part(spare)));
                }
                Mode::End => return Ok(None),
                Mode::Skip(left) => {
                    self.read_to(left.min(READ as u64) as usize)?;
                    let taken = self.take(usize::try_from(left).unwrap_or(usize::MAX)).len() as u64;
                    self.mode = match left - taken {
                        0 => Mode::Front,
                        // Truncated: the stream decoder says so.
                        _ if taken == 0 => {
                            self.begun = false;
                            Mode::Stream
                        }
                        left => Mode::Skip(left),
                    };
                    // However little comes out, cancelling is checked from time to time.
                    let before = self.skipped;
                    self.skipped += taken;
                    if self.skipped > SKIPPED_MAX {
                        let message = format!("more than {SKIPPED_MAX} bytes are in frames to be skipped");
                        return Err(Error::limit("read layer", message));
                    }
                    if before / PLAIN as u64 != self.skipped / PLAIN as u64 {
                        return Ok(Some(Unit::Plain(spare)));
                    }
                }
                Mode::Front => {
                    self.read_to(gzip::HEADER)?;
                    if self.rest().is_empty() && self.begun {
                        self.mode = Mode::End;
                    } else if self.compression == Compression::Gzip {
                        if let Some(unit) = self.member(&mut spare)? {
                            return Ok(Some(unit));
                        }
                        self.mode = Mode::Stream;
                    } else {
                        self.mode = match zstd::front(self.rest()) {
                            Front::Frame { blocks, content, checksum } => {
                                Mode::Blocks { at: blocks, content, checksum }
                            }
                            Front::Skippable(size) => {
                                self.begun = true;
                                Mode::Skip(size)
                            }
                            Front::Unknown | Front::Other => Mode::Stream,
                        };
                    }
                }
                Mode::Blocks { at, content, checksum } => {
                    if let Some(frame) = self.frame(at, checksum, &mut spare)? {
                        self.mode = Mode::Front;
                        self.begun = true;
                        self.note(frame.len(), content);
                        return Ok(Some(Unit::Whole(frame, content)));
                    }
                    self.mode = Mode::Stream;
                }
            }
        }
    }

    /// Returns the next piece of an uncompressed stream, read into its place at once.
    fn plain(&mut self, mut piece: Vec<u8>) -> Result<Option<Unit>> {
        // A piece that was used before has this length and is not filled with zeros first.
        piece.resize(PLAIN, 0);
        let begun = self.take(PLAIN);
        let mut filled = begun.len();
        piece[..filled].copy_from_slice(begun);
        while filled < PLAIN && !self.eof {
            filled += self.read(&mut piece[filled..])?;
        }
        piece.truncate(filled);
        Ok((!piece.is_empty()).then_some(Unit::Plain(piece)))
    }

    /// Cuts out one of our gzip members.
    fn member(&mut self, spare: &mut Vec<u8>) -> Result<Option<Unit>> {
        let Some(size) = gzip::member_size(self.rest()) else { return Ok(None) };
        self.read_to(size)?;
        let Some(member) = self.rest().get(..size) else { return Ok(None) };
        let Some(content) = gzip::content_size(member) else { return Ok(None) };
        spare.extend_from_slice(member);
        self.start += size;
        self.begun = true;
        self.note(size, content);
        Ok(Some(Unit::Whole(std::mem::take(spare), content)))
    }

    /// Cuts out a zstd frame, following its blocks.
    fn frame(&mut self, mut at: usize, checksum: bool, spare: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
        let end = loop {
            self.read_to(at + 3)?;
            let Some((next, last)) = zstd::block(self.rest(), at) else { return Ok(None) };
            if last {
                break next + if checksum { 4 } else { 0 };
            }
            if next > zstd::FRAME_MAX {
                return Ok(None);
            }
            at = next;
        };
        self.read_to(end)?;
        let Some(frame) = self.rest().get(..end) else { return Ok(None) };
        spare.extend_from_slice(frame);
        self.start += end;
        Ok(Some(std::mem::take(spare)))
    }

    /// Returns the bytes that were read and not handed out.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes up to `max` bytes of what is read.
    fn take(&mut self, max: usize) -> &[u8] {
        let start = self.start;
        self.start = self.end.min(start.saturating_add(max));
        &self.buffer[start..self.start]
    }

    /// Reads until `wanted` bytes are there, or all.
    fn read_to(&mut self, wanted: usize) -> Result<()> {
        while self.end - self.start < wanted && !self.eof {
            // Moving the rest down costs little: it is less than a piece, and a read follows.
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            let target = wanted.max(self.end + READ / 4).max(READ);
            if self.buffer.len() < target {
                self.buffer.resize(target, 0);
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = self.read(&mut buffer[self.end..]);
            self.buffer = buffer;
            self.end += read?;
        }
        Ok(())
    }

    /// Reads once, and returns how many bytes came: 0 at the end alone.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = loop {
            // Before each read, since a slow reader takes minutes to fill a piece.
            self.control.check("read layer")?;
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| Error::io("read layer", "input", error))?,
            }
        };
        self.eof = count == 0;
        self.size += count as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}
