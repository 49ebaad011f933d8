//! Inflating piece by piece where the writer flushed.
//!
//! Tools that compress on several threads (pigz; pgzip, and with it podman, buildah and umoci) flush between the pieces: an
//! empty stored block brings the stream to a byte boundary, and ends in `00 00 ff ff` (RFC 1951, 3.2.3 and 3.2.4). What lies
//! between two flushes libdeflate decodes in one call, in two thirds of the time that a streaming decoder takes.
//!
//! libdeflate takes only a whole stream. So each piece gets two stored blocks of ours: one before it holds the window, for
//! the piece to refer to, and the last one, behind it, a seal. The four bytes may also be anything else, in the middle of a
//! block. Then the block goes on into the seal, and cannot come out as the seal: its bytes are random and unknown to what
//! made the layer.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use libdeflater::{DecompressionError, Decompressor};
use memchr::memmem;

/// The bytes that end a flush.
const FLUSH: [u8; 4] = [0, 0, 0xff, 0xff];
/// How far back a stream can refer.
pub(super) const WINDOW: usize = 32 << 10;
/// The length of a stored block's header, at a byte boundary.
pub(super) const STORED: usize = 5;
/// A piece shorter than this waits for the next one: each costs a copy of the window. Zeros by the MiB are no shorter.
const PIECE_MIN: usize = 1000;
/// Pieces of pgzip are 1 MiB of content, and hardly longer where it does not compress.
const PIECE_MAX: usize = 2 << 20;
/// How often a piece is tried, and how much longer it must be for the next try: the four bytes are in compressed data about
/// once in 4 GiB, and now and then in what is stored as it is, where they come in swarms. So a layer made to deceive takes
/// less than three times as long as by streaming.
const TRIES: u32 = 4;
const TRY_AGAIN: usize = 64 << 10;
/// The most content of a piece.
const CONTENT_MAX: usize = 4 << 20;
const SEAL: usize = 16;

/// Decodes one deflate stream as long as it has flushes.
pub(super) struct Flushed {
    inflate: Decompressor,
    /// A stored block with the window, then bytes of the stream from `begin`, which is the boundary of a block.
    input: Vec<u8>,
    begin: usize,
    /// Up to where there is no flush, but for those that were tried.
    searched: usize,
    /// How often that was.
    tries: u32,
    /// How long the piece must be at least.
    least: usize,
    /// The window, and what a piece gave.
    output: Vec<u8>,
    /// The part of it that waits to be taken.
    ready: Range<usize>,
    seal: [u8; STORED + SEAL],
}

/// The next step of decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// There is output to take, or more input is needed.
    More,
    /// From here on the stream is for a streaming decoder, see [`Flushed::leave`].
    Leave,
}

/// Returns the header of a stored block, where the bits before it are used up (RFC 1951, 3.2.4).
pub(super) fn stored(last: bool, length: u16) -> [u8; STORED] {
    let ([a, b], [c, d]) = (length.to_le_bytes(), (!length).to_le_bytes());
    [u8::from(last), a, b, c, d]
}

impl Flushed {
    /// Returns a decoder at the beginning of a stream.
    pub(super) fn new() -> Self {
        let mut seal = [0; STORED + SEAL];
        seal[..STORED].copy_from_slice(&stored(true, SEAL as u16));
        for part in seal[STORED..].chunks_mut(8) {
            part.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
        }
        Flushed {
            inflate: Decompressor::new(),
            input: stored(false, 0).to_vec(),
            begin: STORED,
            searched: STORED,
            tries: 0,
            least: PIECE_MIN,
            // Fresh zeros cost nothing until they are used, and few pieces use all.
            output: vec![0; WINDOW + CONTENT_MAX + SEAL],
            ready: 0..0,
            seal,
        }
    }

    /// Takes what is decoded, as much as `out` holds.
    pub(super) fn take(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.ready.len());
        out[..count].copy_from_slice(&self.output[self.ready.start..][..count]);
        self.ready.start += count;
        count
    }

    /// Returns the window and how much waits to be taken, where what was taken in ends at the boundary of a block.
    pub(super) fn boundary(&self) -> Option<(&[u8], u64)> {
        let there = self.input.len() == self.begin && self.begin > STORED;
        there.then(|| (&self.input[STORED..self.begin], self.ready.len() as u64))
    }

    /// Takes input up to the next flush and decodes the piece that ends there. Says how much was taken. Only when there is
    /// nothing left to take.
    pub(super) fn add(&mut self, bytes: &[u8]) -> (usize, Next) {
        // Not much at once: what comes behind a flush is copied again.
        let bytes = &bytes[..bytes.len().min(WINDOW)];
        let before = self.input.len();
        self.input.extend_from_slice(bytes);
        let from = self.searched.saturating_sub(FLUSH.len() - 1).max(self.begin);
        for at in memmem::find_iter(&self.input[from..], &FLUSH) {
            let end = from + at + FLUSH.len();
            if end <= self.searched || end - self.begin < self.least {
                continue;
            }
            self.input.truncate(end);
            return (end - before, self.decode());
        }
        self.searched = self.input.len();
        let next = if self.input.len() - self.begin > PIECE_MAX { Next::Leave } else { Next::More };
        (bytes.len(), next)
    }

    /// Decodes the piece that `input` holds, if it is one.
    fn decode(&mut self) -> Next {
        let end = self.input.len();
        self.input.extend_from_slice(&self.seal);
        let decoded = self.inflate.deflate_decompress(&self.input, &mut self.output);
        self.input.truncate(end);
        let (header, seal) = self.seal.split_at(STORED);
        let content = match &decoded {
            Ok(length) => self.output[..*length].strip_suffix(seal),
            // It may still be one where the next flush is.
            Err(DecompressionError::BadData) => {
                self.searched = end;
                self.tries += 1;
                self.least = end - self.begin + TRY_AGAIN;
                return if self.tries == TRIES { Next::Leave } else { Next::More };
            }
            Err(DecompressionError::InsufficientSpace) => return Next::Leave,
        };
        // Without the seal the stream ended in this piece. With its header as well, the seal came out of a stored block that
        // was cut 21 bytes before its end. Neither is decoded here.
        let Some(content) = content.filter(|content| !content.ends_with(header)) else { return Next::Leave };
        let window = &content[content.len().saturating_sub(WINDOW)..];
        self.ready = self.begin - STORED..content.len();
        self.input.clear();
        self.input.extend_from_slice(&stored(false, window.len() as u16));
        self.input.extend_from_slice(window);
        self.begin = self.input.len();
        self.searched = self.begin;
        self.tries = 0;
        self.least = PIECE_MIN;
        Next::More
    }

    /// Returns what a streaming decoder needs to go on: a stored block with the window, and the input that is not decoded.
    pub(super) fn leave(mut self) -> (Vec<u8>, Vec<u8>) {
        let rest = self.input.split_off(self.begin);
        (self.input, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing;

    /// Returns a deflate stream that is flushed after every so many bytes.
    fn deflate(data: &[u8], every: usize, level: u32) -> Vec<u8> {
        let mut deflate = flate2::Compress::new(flate2::Compression::new(level), false);
        let mut out = Vec::with_capacity(2 * data.len() + 1000);
        for piece in data.chunks(every) {
            let before = deflate.total_in();
            while deflate.total_in() - before < piece.len() as u64 {
                let at = (deflate.total_in() - before) as usize;
                deflate.compress_vec(&piece[at..], &mut out, flate2::FlushCompress::Sync).unwrap();
            }
        }
        deflate.compress_vec(&[], &mut out, flate2::FlushCompress::Finish).unwrap();
        out
    }

    /// Returns what comes out before the streaming decoder has to go on, and what is left for it.
    fn decode(stream: &[u8], step: usize) -> (Vec<u8>, Vec<u8>) {
        let mut flushed = Flushed::new();
        let (mut out, mut at) = (Vec::new(), 0);
        let mut part = vec![0; 300_000];
        loop {
            loop {
                match flushed.take(&mut part) {
                    0 => break,
                    count => out.extend_from_slice(&part[..count]),
                }
            }
            let (taken, next) = flushed.add(&stream[at..stream.len().min(at + step)]);
            at += taken;
            if next == Next::Leave || at == stream.len() && flushed.ready.is_empty() {
                let (window, rest) = flushed.leave();
                let known = &out[out.len().saturating_sub(WINDOW)..];
                assert!(window[..STORED] == stored(false, known.len() as u16) && window[STORED..] == *known);
                return (out, [&rest, &stream[at..]].concat());
            }
        }
    }

    #[test]
    fn what_was_flushed_is_decoded_to_the_last_flush() {
        for data in [testing::text(3 << 20), testing::binary(3 << 20), vec![0; 8 << 20]] {
            for every in [1 << 20, 128 << 10, 70_001] {
                let stream = deflate(&data, every, 1);
                for step in [1 << 18, 4099] {
                    let (out, rest) = decode(&stream, step);
                    assert!(data.starts_with(&out), "every {every}, {step} at a time");
                    // The last piece ends with the stream.
                    assert!(data.len() - out.len() <= 2 * every, "{} of {}", out.len(), data.len());
                    assert!(rest.len() < stream.len() / 2);
                }
            }
        }
    }

    #[test]
    fn flushes_that_are_none_are_passed_over() {
        // Stored as it is, and full of what looks like flushes.
        let mut data = testing::noise(2 << 20);
        for at in [5_000, 5_004, 5_009, 200_000, 1_100_000] {
            data[at..at + 4].copy_from_slice(&FLUSH);
        }
        let stream = deflate(&data, 300_000, 0);
        let seen = memmem::find_iter(&stream, &FLUSH).count();
        assert!(seen >= 5 + data.len() / 300_000, "{seen}");
        let (out, _) = decode(&stream, 1 << 18);
        assert!(data.starts_with(&out) && out.len() >= 1_200_000, "{}", out.len());
    }

    #[test]
    fn a_block_cut_just_before_its_end_is_no_piece() {
        // The last block is stored, and the false flush so far from its end that the seal, or a part of it, would fit.
        for last in [false, true] {
            for behind in 0..64 {
                let mut data = testing::text(PIECE_MIN);
                data.extend_from_slice(&FLUSH);
                let block = data.len() + behind;
                data.extend(testing::noise(behind));
                let stream = [&stored(last, block as u16)[..], &data].concat();
                let (out, rest) = decode(&stream, 1 << 18);
                // With nothing behind it a block ends there, flushed or not.
                if behind == 0 && !last {
                    assert!(out == data && rest.is_empty());
                } else {
                    assert!(out.is_empty() && rest == stream, "{behind} bytes behind: {}", out.len());
                }
            }
        }
    }

    /// Returns what a streaming decoder makes of a stream, up to where it ends or is wrong, and whether it is.
    fn streamed(stream: &[u8]) -> (Vec<u8>, bool) {
        let mut inflate = flate2::Decompress::new(false);
        let mut out = Vec::new();
        loop {
            out.reserve(1 << 20);
            let before = (inflate.total_in(), inflate.total_out());
            let rest = &stream[inflate.total_in() as usize..];
            match inflate.decompress_vec(rest, &mut out, flate2::FlushDecompress::None) {
                Err(_) => return (out, true),
                Ok(flate2::Status::StreamEnd) => return (out, false),
                Ok(_) if before == (inflate.total_in(), inflate.total_out()) => return (out, false),
                Ok(_) => {}
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]
        /// No sum is checked here, so this is what a stream could be made to do that has the right one.
        #[test]
        fn however_a_stream_is_damaged_it_gives_what_streaming_gives(
            (level, kind) in (0..=9_u32, 0..4_u8),
            every in 1000..40_000_usize,
            flips in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..8_u8), 0..4),
            put in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..3_usize), 0..4),
        ) {
            let data = match kind {
                0 => testing::text(120_000),
                1 => testing::binary(120_000),
                2 => testing::noise(120_000),
                _ => testing::mixture(120_000),
            };
            let mut stream = deflate(&data, every, level);
            for (at, bit) in flips {
                *at.get_mut(&mut stream) ^= 1 << bit;
            }
            for (at, what) in put {
                let what = [FLUSH.to_vec(), stored(false, 0).to_vec(), stored(true, 21).to_vec()][what].clone();
                let at = at.index(stream.len() - 10);
                stream[at..at + what.len()].copy_from_slice(&what);
            }
            let (out, _) = decode(&stream, 1 << 18);
            let (all, wrong) = streamed(&stream);
            proptest::prop_assert!(all.starts_with(&out) || wrong && out.starts_with(&all));
        }
    }

    #[test]
    fn what_is_too_long_is_left_to_others() {
        let data = testing::noise(PIECE_MAX + 100_000);
        let (out, rest) = decode(&deflate(&data, data.len(), 1), 1 << 18);
        assert!(out.is_empty() && rest.len() > PIECE_MAX);
        let data = vec![0; CONTENT_MAX + 2 * WINDOW];
        let (out, _) = decode(&deflate(&data, data.len(), 1), 1 << 18);
        assert!(out.is_empty());
    }
}
