//! Where the decoding of a blob may begin, besides at its start.
//!
//! A zstd frame and a gzip member stand alone: their offsets are enough. Inside a gzip member decoding may begin at the boundary
//! of any deflate block, given the 32 KiB of content before it, to which the block may refer (RFC 1951, section 2), and how many
//! bits of the byte before it belong to it. [`Collector`] notes such points while a [`Decoder`](super::Decoder) works, [`Resumed`]
//! decodes from one of them. Nothing here checks the content:
//! [`Verified`](super::Verified) does.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use libdeflater::Decompressor;

use super::flushed::WINDOW;
use super::gzip::{HEADER, content_size, decode_member, member_size};
use super::stream::{Gunzip, Stream, Unzstd};
use super::{Compression, DecodeLimits};
use crate::error::{At, Error, Result};

/// Content between two points that need no window.
const SPAN: u64 = 1 << 20;
/// Content between two points with a window, which take about 12 KiB each: decoding that much takes some 15 ms.
const WINDOW_SPAN: u64 = 6 << 20;
/// How much memory the windows may take before every second one is dropped.
const WINDOWS_MAX: usize = 16 << 20;
/// How many points there may be before every second one is dropped.
const POINTS_MAX: usize = 100_000;
/// How many bytes of a blob are read at once.
const READ: usize = 64 << 10;

/// A point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Restart {
    /// The offset in the blob of the first byte that is not used up before the point.
    pub(super) input: u64,
    /// The offset in the tar stream.
    pub(super) output: u64,
    /// The state inside a gzip member; `None` where a frame or member begins.
    pub(super) inside: Option<Inside>,
}

/// The state to begin with inside a gzip member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inside {
    /// How many bits of the byte before [`Restart::input`] belong to the block, 0 to 7: the upper ones.
    pub(super) bits: u8,
    /// The content before the point, as a zstd frame.
    pub(super) window: Vec<u8>,
}

/// The points of one blob, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restarts {
    pub(super) compression: Compression,
    pub(super) points: Vec<Restart>,
}

impl Restarts {
    /// Returns the points of a blob that is not compressed: every offset.
    pub(super) fn plain() -> Restarts {
        Restarts { compression: Compression::None, points: Vec::new() }
    }

    /// Returns the last point that is not behind an offset in the tar stream; `None` for the start of the blob.
    fn before(&self, offset: u64) -> Option<&Restart> {
        let behind = self.points.partition_point(|point| point.output <= offset);
        behind.checked_sub(1).map(|last| &self.points[last])
    }

    /// Returns where decoding begins that has to reach an offset in the tar stream.
    pub fn start(&self, offset: u64) -> u64 {
        match self.compression {
            Compression::None => offset,
            _ => self.before(offset).map_or(0, |point| point.output),
        }
    }

    /// Drops every second point that has a window, or where there is none, every second point. Returns whether any went.
    pub(super) fn thin(&mut self) -> bool {
        thin(&mut self.points)
    }
}

fn thin(points: &mut Vec<Restart>) -> bool {
    let windows = points.iter().any(|point| point.inside.is_some());
    let before = points.len();
    let mut odd = false;
    points.retain(|point| {
        if windows && point.inside.is_none() {
            return true;
        }
        odd = !odd;
        !odd
    });
    points.len() < before
}

/// Notes points while a blob is decoded.
#[derive(Debug, Default)]
pub(super) struct Collector {
    points: Vec<Restart>,
    windows: usize,
    /// By how many powers of two the spans have grown.
    grown: u32,
}

impl Collector {
    fn due(&self, output: u64, span: u64) -> bool {
        let last = self.points.last().map_or(0, |point| point.output);
        output.saturating_sub(last) >= span << self.grown.min(24)
    }

    fn push(&mut self, point: Restart) {
        self.windows += point.inside.as_ref().map_or(0, |inside| inside.window.len());
        self.points.push(point);
        if self.windows > WINDOWS_MAX || self.points.len() > POINTS_MAX {
            thin(&mut self.points);
            let windows = self.points.iter().filter_map(|point| point.inside.as_ref());
            self.windows = windows.map(|inside| inside.window.len()).sum();
            self.grown += 1;
        }
    }
}

/// A [`Collector`] that the parts of a decoder share.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Collector>>);

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Collector) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that a frame or member begins, if the last point is far enough away.
    pub(super) fn start(&self, input: u64, output: u64) {
        self.with(|it| {
            if it.due(output, SPAN) {
                it.push(Restart { input, output, inside: None });
            }
        });
    }

    /// Returns whether a point with a window is due.
    pub(super) fn wants_window(&self, output: u64) -> bool {
        self.with(|it| it.due(output, WINDOW_SPAN))
    }

    /// Notes the boundary of a block.
    pub(super) fn inside(&self, input: u64, output: u64, bits: u8, window: &[u8]) {
        let mut packed = Vec::with_capacity(zstd_safe::compress_bound(window.len()));
        if zstd_safe::compress(&mut packed, window, 1).is_ok() {
            let inside = Some(Inside { bits, window: packed });
            self.with(|it| it.push(Restart { input, output, inside }));
        }
    }

    /// Returns the points so far.
    pub(super) fn take(&self, compression: Compression) -> Restarts {
        Restarts { compression, points: self.with(|it| std::mem::take(&mut it.points)) }
    }
}

/// The tar stream of a blob from some point on, decoded on the calling thread.
pub struct Resumed {
    blob: File,
    /// `None` for a blob that is not compressed.
    stream: Option<Stream>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    eof: bool,
    done: bool,
    members: Members,
}

/// Members of our own, decoded whole: that takes half the time, and they say how long they are.
#[derive(Default)]
struct Members {
    inflate: Option<Decompressor>,
    content: Vec<u8>,
    /// How much of the content was given.
    given: usize,
}

impl Members {
    /// Gives what is left of the content of the last one.
    fn take(&mut self, out: &mut [u8]) -> usize {
        let left = &self.content[self.given..];
        let count = left.len().min(out.len());
        out[..count].copy_from_slice(&left[..count]);
        self.given += count;
        count
    }

    fn decode(&mut self, member: &[u8], size: usize) -> Result<()> {
        let inflate = self.inflate.get_or_insert_with(Decompressor::new);
        self.given = 0;
        decode_member(inflate, member, size, &mut self.content)
    }
}

impl Resumed {
    /// Starts at the last point that is not behind `offset`, and gives that point's offset in the tar stream.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for a point that cannot be one, and those of reading.
    pub fn open(blob: File, restarts: &Restarts, offset: u64, limits: &DecodeLimits) -> Result<(Self, u64)> {
        const OP: &str = "read layer";
        let mut resumed = Resumed {
            blob,
            stream: None,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            eof: false,
            done: false,
            members: Members::default(),
        };
        if restarts.compression == Compression::None {
            resumed.blob.seek(SeekFrom::Start(offset)).at(OP, "")?;
            return Ok((resumed, offset));
        }
        let point = restarts.before(offset);
        let (input, output) = point.map_or((0, 0), |point| (point.input, point.output));
        let inside = point.and_then(|point| point.inside.as_ref());
        let shared = inside.map_or(0, |inside| u64::from(inside.bits > 0));
        let seek = input.checked_sub(shared).ok_or_else(|| Error::corrupt(OP, "no such point"))?;
        resumed.blob.seek(SeekFrom::Start(seek)).at(OP, "")?;
        resumed.stream = Some(match (restarts.compression, inside) {
            (Compression::Zstd, _) => Stream::Zstd(Unzstd::new(point.is_some(), limits)?),
            (_, None) => Stream::Gzip(Box::new(Gunzip::resumed_at_member(point.is_some()))),
            (_, Some(inside)) => {
                let mut byte = [0];
                if shared > 0 {
                    resumed.blob.read_exact(&mut byte).at(OP, "")?;
                }
                let mut window = Vec::with_capacity(WINDOW);
                zstd_safe::decompress(&mut window, &inside.window)
                    .map_err(|_| Error::corrupt(OP, "the window of a point cannot be decoded"))?;
                Stream::Gzip(Box::new(Gunzip::resumed_inside(inside.bits, byte[0], &window)?))
            }
        });
        Ok((resumed, output))
    }

    /// Reads more of the blob, until `wanted` bytes are at hand or all.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.buffer.resize(wanted.max(READ).max(self.end), 0);
        while self.end < wanted && !self.eof {
            match self.blob.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => self.eof = true,
                count => self.end += count?,
            }
        }
        Ok(())
    }

    /// Decodes the next member as a whole, where it is one of our own.
    fn whole_member(&mut self) -> io::Result<bool> {
        match &self.stream {
            Some(Stream::Gzip(stream)) if stream.is_between_members() => {}
            _ => return Ok(false),
        }
        self.fill(HEADER)?;
        let Some(length) = member_size(&self.buffer[self.start..self.end]) else { return Ok(false) };
        self.fill(length)?;
        let Some(member) = self.buffer.get(self.start..self.end).and_then(|all| all.get(..length)) else {
            return Ok(false);
        };
        let Some(size) = content_size(member) else { return Ok(false) };
        self.members.decode(member, size)?;
        self.start += length;
        if let Some(Stream::Gzip(stream)) = &mut self.stream {
            stream.skip_member();
        }
        Ok(true)
    }
}

impl Read for Resumed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.stream.is_none() {
            return self.blob.read(out);
        }
        while !self.done && !out.is_empty() {
            match self.members.take(out) {
                0 if self.whole_member()? => continue,
                0 => {}
                given => return Ok(given),
            }
            if self.start == self.end && !self.eof {
                self.fill(1)?;
            }
            let Some(stream) = &mut self.stream else { break };
            let (taken, given) = stream.feed(&self.buffer[self.start..self.end], self.eof, out, 0)?;
            self.start += taken;
            if given > 0 {
                return Ok(given);
            }
            if self.eof && taken == 0 {
                stream.finish()?;
                self.done = true;
            }
        }
        Ok(0)
    }
}

/// Blocks without content that together end so many bits, 1 to 7, behind the beginning of their last byte: what follows them may
/// begin there. The last byte has zeros in the bits above.
pub(super) fn padding(bits: u8) -> Vec<u8> {
    let mut out = Bits::default();
    if bits % 2 == 1 {
        // With codes of its own (RFC 1951, 3.2.7), 93 bits long: of the codes for lengths, 0 has one bit, 1 and 18 have two.
        out.push(0b100, 3);
        out.push(0, 5);
        out.push(0, 5);
        out.push(14, 4);
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
            out.push(
                match symbol {
                    0 => 1,
                    1 | 18 => 2,
                    _ => 0,
                },
                3,
            );
        }
        // 138 and 118 lengths of zero, one for the end of the block, zero for the one distance code there must be.
        out.push(0b11, 2);
        out.push(138 - 11, 7);
        out.push(0b11, 2);
        out.push(118 - 11, 7);
        out.push(0b01, 2);
        out.push(0, 1);
        // The end of the block.
        out.push(0, 1);
    }
    while out.count % 8 != u32::from(bits) % 8 {
        // With fixed codes: the end of the block has seven zeros.
        out.push(0b010, 3);
        out.push(0, 7);
    }
    out.bytes
}

/// Bits packed as deflate has them, the lowest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, width: u32) {
        for bit in 0..width {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> bit & 1) as u8) << (self.count % 8);
            }
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::compress::testing::{self, Memory};
    use crate::compress::{DecodeOptions, Decoder, Profile, write};
    use crate::progress::Control;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// Returns the points of a blob, once it has been decoded to `data`.
    fn points(blob: &[u8], data: &[u8], threads: usize) -> Restarts {
        let options = DecodeOptions { restarts: true, threads, ..DecodeOptions::default() };
        let mut decoder =
            Decoder::new(Box::new(io::Cursor::new(blob.to_vec())), options, Control::default()).unwrap();
        let mut out = Vec::new();
        decoder.read_to_end(&mut out).unwrap();
        assert!(out == data, "decoding itself");
        decoder.finish_noted().unwrap().1.unwrap().restarts
    }

    /// Decodes from every point to the end.
    fn check(blob: &[u8], data: &[u8], restarts: &Restarts) {
        for at in 0..=restarts.points.len() {
            let offset = at.checked_sub(1).map_or(0, |at| restarts.points[at].output);
            let (mut resumed, begin) =
                Resumed::open(file(blob), restarts, offset, &DecodeLimits::default()).unwrap();
            assert_eq!(begin, offset);
            // To the end from the last few points alone, which takes long in a debug build.
            let most = if at + 2 > restarts.points.len() { u64::MAX } else { 300_000 };
            let mut out = Vec::new();
            (&mut resumed).take(most).read_to_end(&mut out).unwrap();
            let expected = &data[offset as usize..];
            let length = usize::try_from(most).unwrap_or(usize::MAX).min(expected.len());
            assert!(out == expected[..length], "point {at} at {offset}");
        }
    }

    fn gzip(data: &[u8], every: usize, level: u32) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        for piece in data.chunks(every) {
            out.write_all(piece).unwrap();
            if every < data.len() {
                out.flush().unwrap();
            }
        }
        out.finish().unwrap()
    }

    fn data() -> Vec<u8> {
        static DATA: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let made = DATA.get_or_init(|| {
            let mut data = testing::text(9 << 20);
            data.extend(testing::binary(7 << 20));
            data.extend(testing::noise(2 << 20));
            data.extend(testing::text(2 << 20));
            data
        });
        made.clone()
    }

    #[test]
    fn every_point_of_our_own_blobs_leads_to_the_same_content() {
        let data = data();
        for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
            let mut blob = Vec::new();
            let profile = Profile::new(compression, None).unwrap();
            write(&Memory::new(data.clone()), &profile, 2, &mut blob, &Control::default()).unwrap();
            let restarts = points(&blob, &data, 2);
            let least = match compression {
                Compression::None => 0,
                Compression::Zstd => 2,
                Compression::Gzip => 19,
            };
            assert!(restarts.points.len() >= least && restarts.points.iter().all(|it| it.inside.is_none()));
            assert_eq!(points(&blob, &data, 0), restarts);
            check(&blob, &data, &restarts);
        }
    }

    #[test]
    fn every_point_inside_gzip_leads_to_the_same_content() {
        let data = data();
        for (every, level) in [(data.len(), 6), (data.len(), 1), (1 << 20, 6), (300_000, 9), (data.len(), 0)]
        {
            let blob = gzip(&data, every, level);
            let restarts = points(&blob, &data, 1);
            let mut offsets: Vec<u64> = restarts.points.iter().map(|point| point.output).collect();
            offsets.push(data.len() as u64);
            let gaps = offsets.windows(2).map(|two| two[1] - two[0]);
            assert!(gaps.max().unwrap() < 2 * WINDOW_SPAN, "every {every}: {offsets:?}");
            check(&blob, &data, &restarts);
        }
        // Points inside and between members.
        let blob = [gzip(&data, data.len(), 6), gzip(&data, data.len(), 1), vec![0; 1000]].concat();
        let twice = [&data[..], &data].concat();
        check(&blob, &twice, &points(&blob, &twice, 1));
    }

    #[test]
    fn foreign_zstd_frames_are_points() {
        let data = data();
        let mut blob = Vec::new();
        for piece in data.chunks(3_000_000) {
            let mut encoder = zstd_safe::CCtx::create();
            let mut frame = Vec::with_capacity(zstd_safe::compress_bound(piece.len()));
            encoder.set_parameter(zstd_safe::CParameter::ContentSizeFlag(false)).unwrap();
            encoder.compress2(&mut frame, piece).unwrap();
            blob.extend(frame);
        }
        let restarts = points(&blob, &data, 1);
        assert_eq!(restarts.points.len(), data.len().div_ceil(3_000_000));
        check(&blob, &data, &restarts);
    }

    #[test]
    fn a_stream_may_begin_at_any_bit() {
        let data = testing::text(50_000);
        let mut deflate = flate2::Compress::new(flate2::Compression::new(6), false);
        let mut stream = Vec::with_capacity(60_000);
        deflate.compress_vec(&data, &mut stream, flate2::FlushCompress::Finish).unwrap();
        for bits in 1..8_u8 {
            let mut feed = padding(bits);
            let mut carry = feed.pop().unwrap();
            assert_eq!(carry >> bits, 0);
            for byte in stream.iter().chain(&[0]) {
                feed.push(carry | byte << bits);
                carry = byte >> (8 - bits);
            }
            let mut inflate = zlib_rs::Inflate::new(false, 15);
            let mut out = vec![0; data.len() + 1];
            inflate.decompress(&feed, &mut out, zlib_rs::InflateFlush::NoFlush).unwrap();
            assert!(inflate.total_out() as usize == data.len() && out[..data.len()] == data, "{bits} bits");
        }
    }

    #[test]
    fn thinning_drops_windows_first_and_every_point_in_the_end() {
        let inside = |window: bool| window.then(|| Inside { bits: 0, window: Vec::new() });
        let points = (1..=8).map(|n| Restart { input: n, output: n, inside: inside(n % 2 == 0) }).collect();
        let mut restarts = Restarts { compression: Compression::Gzip, points };
        let left = |it: &Restarts| it.points.iter().map(|point| point.output).collect::<Vec<_>>();
        assert!(restarts.thin());
        assert_eq!(left(&restarts), [1, 3, 4, 5, 7, 8]);
        while restarts.thin() {}
        assert!(restarts.points.is_empty());
    }
}
