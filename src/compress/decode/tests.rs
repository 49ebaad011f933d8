//! Tests of the decoder: input of other tools, input no tool should make, and what callers do in the middle of it.

use std::io::{self, Read, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::testing::{self, Memory};
use super::super::{Compression, DecodeLimits, DecodeOptions, Decoded, Decoder, Profile, write};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::progress::Control;

/// Returns a blob in our own format.
fn ours(compression: Compression, data: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    let profile = Profile::new(compression, Some(1).filter(|_| compression != Compression::None)).unwrap();
    write(&Memory::new(data.to_vec()), &profile, 2, &mut blob, &Control::default()).unwrap();
    blob
}

/// Makes one gzip member with every optional field.
fn foreign_gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .extra(&b"AB\x02\x00xy"[..])
        .filename("layer.tar")
        .comment("made elsewhere")
        .mtime(1)
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Makes one gzip member that is flushed after every so many bytes, as tools that compress on several threads do.
fn flushed_gzip(data: &[u8], every: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for piece in data.chunks(every) {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

/// Makes one zstd frame of unknown content size, as a streaming encoder does.
fn foreign_zstd(data: &[u8]) -> Vec<u8> {
    let mut context = zstd_safe::CCtx::create();
    context.set_parameter(zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(data.len()) + 1024);
    let mut target = zstd_safe::OutBuffer::around(&mut out);
    let mut source = zstd_safe::InBuffer::around(data);
    while source.pos() < data.len() {
        context.compress_stream(&mut target, &mut source).unwrap();
    }
    while context.end_stream(&mut target).unwrap() > 0 {}
    out
}

fn options(threads: usize) -> DecodeOptions {
    DecodeOptions { threads, ..DecodeOptions::default() }
}

fn decode_with(blob: &[u8], options: DecodeOptions) -> Result<(Vec<u8>, Decoded)> {
    let input = Box::new(io::Cursor::new(blob.to_vec()));
    let mut decoder = Decoder::new(input, options, Control::default())?;
    let mut out = Vec::new();
    while let Some(chunk) = decoder.next_chunk()? {
        assert!(!chunk.is_empty() && chunk.len() <= 8 << 20);
        out.extend_from_slice(&chunk);
    }
    Ok((out, decoder.finish()?))
}

fn kind(blob: &[u8], threads: usize) -> ErrorKind {
    decode_with(blob, options(threads)).map(|_| ()).unwrap_err().kind()
}

/// Decodes on no, two and eight threads, and checks everything that can be.
fn expect(blob: &[u8], compression: Compression, data: &[u8]) {
    for threads in [1, 2, 8] {
        let (out, decoded) = decode_with(blob, options(threads)).unwrap();
        assert!(out == data, "{compression} on {threads}: {} of {} bytes", out.len(), data.len());
        let all = Decoded {
            compression,
            digest: Some(Digest::of(blob)),
            size: blob.len() as u64,
            diff_id: Some(Digest::of(data)),
            diff_size: data.len() as u64,
        };
        assert_eq!(decoded, all);
    }
}

#[test]
fn what_we_write_we_read() {
    for length in [0, 1, 511, 512, 1 << 20, (1 << 20) + 1, (21 << 20) + 7] {
        let data = testing::mixture(length);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            expect(&ours(compression, &data), compression, &data);
        }
    }
}

#[test]
fn what_others_write_we_read() {
    for length in [0, 1, 70_000, (5 << 20) + 3] {
        let data = testing::mixture(length);
        expect(&foreign_gzip(&data), Compression::Gzip, &data);
        expect(&foreign_zstd(&data), Compression::Zstd, &data);
        for every in [1 << 20, 50_000, length / 2 + 1] {
            expect(&flushed_gzip(&data, every), Compression::Gzip, &data);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Pieces of every kind and length, each flushed or not, at any level: also stored, with what looks like flushes in it.
    #[test]
    fn flushed_anywhere_it_is_the_same(
        level in 0..=9_u32,
        pieces in proptest::collection::vec((0..5_u8, 0..200_000_usize, proptest::bool::ANY), 0..12),
    ) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        let mut data = Vec::new();
        for (kind, length, flush) in pieces {
            let piece = match kind {
                0 => testing::text(length),
                1 => testing::binary(length),
                2 => testing::noise(length),
                3 => vec![0; 20 * length],
                _ => b"\x01\x10\0\xef\xff\0\0\xff\xff\0\0\0\xff\xff".repeat(length / 20),
            };
            encoder.write_all(&piece).unwrap();
            if flush {
                encoder.flush().unwrap();
            }
            data.extend_from_slice(&piece);
        }
        let blob = encoder.finish().unwrap();
        for threads in [1, 2] {
            let (out, decoded) = decode_with(&blob, options(threads)).unwrap();
            proptest::prop_assert!(out == data);
            proptest::prop_assert_eq!(decoded.diff_id, Some(Digest::of(&data)));
        }
    }
}

#[test]
fn members_and_frames_of_all_makes_mix() {
    let data = testing::mixture(3 << 20);
    let twice = [&data[..], &data[..]].concat();
    let four = [&twice[..], &twice[..]].concat();
    let (a, b) = (ours(Compression::Gzip, &data), foreign_gzip(&data));
    expect(&[&a[..], &b].concat(), Compression::Gzip, &twice);
    expect(&[&b[..], &a, &b, &a].concat(), Compression::Gzip, &four);
    let c = flushed_gzip(&data, 100_000);
    expect(&[&c[..], &c, &a, &b].concat(), Compression::Gzip, &four);
    let (a, b) = (ours(Compression::Zstd, &data), foreign_zstd(&data));
    let skip = b"\x5e\x2a\x4d\x18\x03\0\0\0abc";
    expect(&[&a[..], skip, &b].concat(), Compression::Zstd, &twice);
    expect(&[&skip[..], &b, &a, skip, skip, &b, &a, skip].concat(), Compression::Zstd, &four);
    expect(&skip[..], Compression::Zstd, b"");
}

#[test]
fn input_in_drops_is_the_same_input() {
    struct Drops(io::Cursor<Vec<u8>>, usize);
    impl Read for Drops {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(7) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = buf.len().min(self.1 % 3 + 1);
            self.0.read(&mut buf[..count])
        }
    }
    let data = testing::mixture(40_000);
    let skip = b"\x5e\x2a\x4d\x18\x03\0\0\0abc".to_vec();
    for blob in [
        ours(Compression::None, &data),
        ours(Compression::Gzip, &data),
        [skip, ours(Compression::Zstd, &data)].concat(),
        foreign_gzip(&data),
        flushed_gzip(&data, 5000),
        foreign_zstd(&data),
    ] {
        for threads in [1, 2] {
            let input = Box::new(Drops(io::Cursor::new(blob.clone()), 0));
            let mut decoder = Decoder::new(input, options(threads), Control::default()).unwrap();
            let mut out = Vec::new();
            decoder.read_to_end(&mut out).unwrap();
            assert!(out == data);
            assert_eq!(decoder.finish().unwrap().digest, Some(Digest::of(&blob)));
        }
    }
}

#[test]
fn zeros_may_follow_gzip_and_nothing_else_may() {
    let data = testing::text(200_000);
    for blob in [ours(Compression::Gzip, &data), foreign_gzip(&data), flushed_gzip(&data, 5000)] {
        for zeros in [1, 511, 700_000] {
            let padded = [&blob[..], &vec![0; zeros]].concat();
            expect(&padded, Compression::Gzip, &data);
            let garbage = [&padded[..], b"x"].concat();
            assert_eq!(kind(&garbage, 1), ErrorKind::Corrupt);
        }
        for garbage in [&b"garbage"[..], b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x07", b"\x1f\x8b\x08\xff"] {
            let blob = [&blob[..], garbage].concat();
            assert_eq!(kind(&blob, 1), ErrorKind::Corrupt);
            assert_eq!(kind(&blob, 2), ErrorKind::Corrupt);
        }
    }
    for blob in [ours(Compression::Zstd, &data), foreign_zstd(&data)] {
        for garbage in [&b"garbage"[..], b"\0", b"\0\0\0\0\0\0\0\0", b"\x28", b"\x28\xb5\x2f\xfd"] {
            let blob = [&blob[..], garbage].concat();
            assert_eq!(kind(&blob, 1), ErrorKind::Corrupt, "{garbage:?}");
            assert_eq!(kind(&blob, 2), ErrorKind::Corrupt);
        }
    }
}

#[test]
fn truncation_is_found_at_every_offset() {
    let data = testing::mixture(6000);
    for blob in [
        ours(Compression::Gzip, &data),
        ours(Compression::Zstd, &data),
        foreign_gzip(&data),
        flushed_gzip(&data, 1000),
        foreign_zstd(&data),
        [ours(Compression::Zstd, &data), b"\x5e\x2a\x4d\x18\x03\0\0\0abc".to_vec()].concat(),
    ] {
        let whole = if blob.ends_with(b"abc") { blob.len() - 11 } else { blob.len() };
        for end in (4..blob.len()).filter(|&end| end != whole) {
            let e = decode_with(&blob[..end], options(1)).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{e:?} cut at {end} of {} {:?}", blob.len(), &blob[..8]);
        }
        assert_eq!(kind(&blob[..blob.len() - 3], 2), ErrorKind::Corrupt);
    }
    // Across pieces: everything decoded before the cut comes out first.
    let data = testing::mixture(19 << 20);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let blob = ours(compression, &data);
        for cut in [1, 9, 1000, blob.len() / 3, blob.len() / 2, blob.len() - 40] {
            let input = Box::new(io::Cursor::new(blob[..blob.len() - cut].to_vec()));
            let mut decoder = Decoder::new(input, options(3), Control::default()).unwrap();
            let mut out = Vec::new();
            let error = loop {
                match decoder.next_chunk() {
                    Ok(Some(chunk)) => out.extend_from_slice(&chunk),
                    Ok(None) => panic!("the cut at {cut} was not seen"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(data.starts_with(&out));
            assert!(decoder.next_chunk().is_err() && decoder.finish().is_err(), "an error stays");
        }
    }
}

#[test]
fn flipped_bits_are_found_or_do_not_matter() {
    let data = testing::text(30_000);
    let flushed = flushed_gzip(&data, 9000);
    for blob in [ours(Compression::Gzip, &data), foreign_gzip(&data), flushed, foreign_zstd(&data)] {
        for at in (0..blob.len()).step_by(7) {
            let mut bad = blob.clone();
            bad[at] ^= 0x10;
            // Bits of names and times do not matter; bits of the magic number make it another format.
            if let Ok((out, decoded)) = decode_with(&bad, options(1))
                && decoded.compression != Compression::None
            {
                assert!(out == data, "a flipped bit at {at} changed the content");
            }
        }
    }
}

#[test]
fn a_million_empty_members_need_no_stack_and_no_memory() {
    let member = {
        let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.finish().unwrap()
    };
    let our_member = ours(Compression::Gzip, b"");
    let our_frame = ours(Compression::Zstd, b"");
    let run = move || {
        for (blob, count) in [(member, 1_000_000), (our_member, 100_000), (our_frame, 100_000)] {
            let blob = blob.repeat(count);
            let (out, decoded) = decode_with(&blob, options(1)).unwrap();
            assert!(out.is_empty());
            assert_eq!(decoded.size, blob.len() as u64);
        }
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_window_beyond_the_limit_is_refused_before_it_is_allocated() {
    // A frame header with a window of 2^31 and no content size, then an empty last block.
    let huge = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00";
    assert_eq!(kind(huge, 1), ErrorKind::Limit);
    assert_eq!(kind(huge, 2), ErrorKind::Limit);
    // 2^27 is what everyone allows.
    let large = b"\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00";
    assert!(decode_with(large, options(1)).unwrap().0.is_empty());
    // A single segment of 2^40 bytes is a window of that size too.
    let single = b"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\x01\0\0\x01\x00\x00";
    assert_eq!(kind(single, 1), ErrorKind::Limit);
}

#[test]
fn a_dictionary_is_refused() {
    let frame = b"\x28\xb5\x2f\xfd\x21\x07\x00\x01\x00\x00";
    assert_eq!(kind(frame, 1), ErrorKind::Unsupported);
}

#[test]
fn lies_about_sizes_are_found() {
    let data = testing::text(100_000);
    let frame = ours(Compression::Zstd, &data);
    // The content size is four bytes wide here, right behind magic number and descriptor.
    for size in [0_u32, 99_999, 100_001, 8 << 20, u32::MAX] {
        let mut lie = frame.clone();
        assert_eq!(lie[4] >> 6, 2);
        lie[5..9].copy_from_slice(&size.to_le_bytes());
        assert!(matches!(kind(&lie, 2), ErrorKind::Corrupt | ErrorKind::Limit), "{size}");
    }
    let member = ours(Compression::Gzip, &data);
    for size in [0_u32, 28, 29, 100, member.len() as u32 - 1, member.len() as u32 + 1, 1 << 20, u32::MAX] {
        let mut lie = member.clone();
        lie[16..20].copy_from_slice(&size.to_le_bytes());
        // The size is ours alone: where it cannot be true the member still is a good gzip member.
        match decode_with(&lie, options(2)) {
            Ok((out, _)) => assert!(out == data),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
    }
}

#[test]
fn bombs_stop_at_the_limits() {
    // Not zeros, or it would count as a sparse file.
    let bomb = vec![b'A'; 8 << 20];
    let limits = DecodeLimits { ratio: 100, ratio_floor: 1 << 20, ..DecodeLimits::default() };
    for blob in [
        ours(Compression::Gzip, &bomb),
        ours(Compression::Zstd, &bomb),
        foreign_gzip(&bomb),
        flushed_gzip(&bomb, 1 << 20),
        foreign_zstd(&bomb),
    ] {
        for threads in [1, 2] {
            let error = decode_with(&blob, DecodeOptions { limits: limits.clone(), ..options(threads) });
            assert_eq!(error.map(|_| ()).unwrap_err().kind(), ErrorKind::Limit);
            // Below the floor there is no limit.
            decode_with(&blob, options(threads)).unwrap();
        }
    }
    let max = DecodeLimits { max_output: 1_000_000, ..DecodeLimits::default() };
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let blob = ours(compression, &vec![0; 1_000_001]);
        let error = decode_with(&blob, DecodeOptions { limits: max.clone(), ..options(2) });
        assert_eq!(error.map(|_| ()).unwrap_err().kind(), ErrorKind::Limit);
        let blob = ours(compression, &vec![0; 1_000_000]);
        decode_with(&blob, DecodeOptions { limits: max.clone(), ..options(2) }).unwrap();
    }
}

#[test]
fn our_own_sparse_layers_are_not_bombs() {
    let mut data = vec![0; 96 << 20];
    data.extend(testing::text(5000));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let blob = ours(compression, &data);
        let (out, _) = decode_with(&blob, options(2)).unwrap();
        assert!(out == data);
    }
}

/// A reader that counts its life, to see that no thread keeps it.
struct Counted(io::Cursor<Vec<u8>>, Arc<AtomicUsize>);

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn dropping_early_stops_the_threads() {
    let data = testing::mixture(33 << 20);
    for blob in [
        ours(Compression::None, &data),
        ours(Compression::Gzip, &data),
        ours(Compression::Zstd, &data),
        foreign_gzip(&data),
        flushed_gzip(&data, 1 << 20),
        foreign_zstd(&data),
    ] {
        for threads in [1, 2, 8] {
            for chunks in 0..4 {
                let drops = Arc::new(AtomicUsize::new(0));
                let input = Box::new(Counted(io::Cursor::new(blob.clone()), Arc::clone(&drops)));
                let mut decoder = Decoder::new(input, options(threads), Control::default()).unwrap();
                for _ in 0..chunks {
                    decoder.next_chunk().unwrap();
                }
                drop(decoder);
                assert_eq!(drops.load(Ordering::SeqCst), 1);
            }
        }
    }
}

#[test]
fn errors_and_panics_of_the_reader_come_back_behind_what_was_read() {
    struct Breaks(io::Cursor<Vec<u8>>, bool);
    impl Read for Breaks {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 if self.1 => panic!("the reader is broken"),
                0 => Err(io::Error::from_raw_os_error(libc::EIO)),
                count => Ok(count),
            }
        }
    }
    let data = testing::mixture(5 << 20);
    for blob in [
        ours(Compression::None, &data),
        ours(Compression::Gzip, &data),
        ours(Compression::Zstd, &data),
        foreign_gzip(&data),
        flushed_gzip(&data, 1 << 20),
        foreign_zstd(&data),
    ] {
        for threads in [1, 2] {
            for (panics, expected) in [(false, ErrorKind::Io), (true, ErrorKind::Internal)] {
                let input = Box::new(Breaks(io::Cursor::new(blob.clone()), panics));
                let decoder = Decoder::new(input, options(threads), Control::default()).unwrap();
                assert_eq!(decoder.finish().unwrap_err().kind(), expected);
            }
        }
    }
}

/// A thread of the decoder sits in the read, and must have left it before the decoder is gone.
#[test]
fn cancelling_works_while_the_input_hangs() {
    let (from, mut to) = io::pipe().unwrap();
    to.write_all(&[b'x'; 512]).unwrap();
    let control = Control::default();
    let input = crate::fs::input::Input::new(from, control.cancel.clone());
    let mut decoder = Decoder::new(Box::new(input), options(2), control.clone()).unwrap();
    let cancel = control.cancel.clone();
    let thread = std::thread::spawn(move || cancel.cancel());
    assert_eq!(decoder.next_chunk().unwrap_err().kind(), ErrorKind::Cancelled);
    thread.join().unwrap();
    drop(decoder);
    drop(to);
}

/// Skippable frames of a stream without end, and a count of the reads.
struct Skippable {
    size: u32,
    at: usize,
    reads: usize,
    cancel_at: usize,
    control: Control,
}

impl Read for Skippable {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.reads == self.cancel_at {
            self.control.cancel.cancel();
        }
        let header = [&b"\x50\x2a\x4d\x18"[..], &self.size.to_le_bytes()].concat();
        buf.fill(0);
        for (i, byte) in header.iter().enumerate() {
            let length = self.size as usize + 8;
            let first = (i + length - self.at % length) % length;
            buf.iter_mut().skip(first).step_by(length).for_each(|place| *place = *byte);
        }
        self.at += buf.len();
        Ok(buf.len())
    }
}

#[test]
fn what_is_skipped_ends_when_cancelled_and_at_a_limit() {
    for (size, cancel_at, expected) in [
        (u32::MAX, 100, ErrorKind::Cancelled),
        (1000, 100, ErrorKind::Cancelled),
        (u32::MAX, 0, ErrorKind::Limit),
    ] {
        for threads in [1, 2] {
            let control = Control::default();
            let input = Skippable { size, at: 0, reads: 0, cancel_at, control: control.clone() };
            let options = DecodeOptions { hash_input: false, ..options(threads) };
            let mut decoder = Decoder::new(Box::new(input), options, control).unwrap();
            assert_eq!(decoder.next_chunk().unwrap_err().kind(), expected, "{size} {threads}");
        }
    }
    // Behind more than one piece of it, the content is what it was.
    let mut blob = vec![0; 8 + (5 << 20)];
    blob[..8].copy_from_slice(b"\x50\x2a\x4d\x18\0\0\x50\0");
    for frame in [ours(Compression::Zstd, b"content"), foreign_zstd(b"content")] {
        let blob = [&blob[..], &frame].concat();
        for threads in [1, 2] {
            let (out, decoded) = decode_with(&blob, options(threads)).unwrap();
            assert_eq!((&out[..], decoded.size), (&b"content"[..], blob.len() as u64));
        }
    }
}

#[test]
fn digests_nobody_wants_are_not_taken() {
    let data = testing::text(100_000);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let blob = ours(compression, &data);
        for (hash_input, hash_output) in [(false, false), (true, false), (false, true)] {
            let (_, decoded) =
                decode_with(&blob, DecodeOptions { hash_input, hash_output, ..options(2) }).unwrap();
            assert_eq!(decoded.digest, hash_input.then(|| Digest::of(&blob)));
            assert_eq!(decoded.diff_id, hash_output.then(|| Digest::of(&data)));
            assert_eq!((decoded.size, decoded.diff_size), (blob.len() as u64, data.len() as u64));
        }
    }
}

#[test]
fn what_cannot_be_read_is_unsupported() {
    assert_eq!(kind(b"\xfd7zXZ\0\0\x04", 1), ErrorKind::Unsupported);
}

#[test]
fn reading_and_taking_chunks_mix() {
    let data = testing::mixture(3 << 20);
    let blob = ours(Compression::Gzip, &data);
    let mut decoder = Decoder::new(Box::new(io::Cursor::new(blob)), options(2), Control::default()).unwrap();
    let mut out = vec![0; 100];
    decoder.read_exact(&mut out).unwrap();
    while let Some(chunk) = decoder.next_chunk().unwrap() {
        out.extend_from_slice(&chunk);
    }
    assert!(out == data);
}

#[test]
fn a_slow_reader_is_not_read_from_once_cancelled() {
    /// Gives a few bytes at a time, and cancels.
    struct Dribbles(usize, Vec<u8>, Control);
    impl Read for Dribbles {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                10 => self.2.cancel.cancel(),
                11.. => panic!("read from after it was cancelled"),
                _ => {}
            }
            let len = buf.len().min(100).min(self.1.len());
            buf[..len].copy_from_slice(&self.1.drain(..len).collect::<Vec<_>>());
            Ok(len)
        }
    }
    let content: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for input in [content.clone(), ours(Compression::Gzip, &content), ours(Compression::Zstd, &content)] {
        for threads in [1, 2] {
            let control = Control::default();
            let input = Box::new(Dribbles(0, input.clone(), control.clone()));
            let mut decoder = Decoder::new(input, options(threads), control).unwrap();
            assert_eq!(decoder.next_chunk().unwrap_err().kind(), ErrorKind::Cancelled);
        }
    }
}
