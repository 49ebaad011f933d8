//! Any bytes as a compressed layer. One thread and several give the same bytes, digests and verdict; the output
//! never passes its limit; both digests are those of all input and all output. What is read as gzip is what a streaming
//! decoder reads.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use treering::compress::{Compression, DecodeLimits, DecodeOptions, Decoded, Decoder};
use treering::{Digest, Result};

const MOST: u64 = 4 << 20;

fn decode(input: &[u8], threads: usize) -> Result<(Vec<u8>, Decoded)> {
    let limits = DecodeLimits { max_output: MOST, zstd_window: 1 << 20, ..DecodeLimits::default() };
    let options = DecodeOptions { threads, limits, ..DecodeOptions::default() };
    let mut decoder =
        Decoder::new(Box::new(std::io::Cursor::new(input.to_vec())), options, Default::default())?;
    let mut out = Vec::new();
    while let Some(chunk) = decoder.next_chunk()? {
        assert!(!chunk.is_empty());
        out.extend_from_slice(&chunk);
        assert!(out.len() as u64 <= MOST);
    }
    Ok((out, decoder.finish()?))
}

fuzz_target!(|input: &[u8]| {
    let one = decode(input, 1);
    let two = decode(input, 3);
    match (one, two) {
        (Ok((bytes, decoded)), Ok(other)) => {
            assert_eq!((&bytes, &decoded), (&other.0, &other.1));
            assert_eq!((decoded.size, decoded.digest), (input.len() as u64, Some(Digest::of(input))));
            assert_eq!((decoded.diff_size, decoded.diff_id), (bytes.len() as u64, Some(Digest::of(&bytes))));
            if decoded.compression == Compression::Gzip {
                let mut streamed = Vec::new();
                // Zeros behind the last member are an error to it, after everything came out.
                let _ = flate2::read::MultiGzDecoder::new(input).take(MOST).read_to_end(&mut streamed);
                assert!(streamed == bytes);
            }
        }
        (Err(one), Err(two)) => assert_eq!(one.kind(), two.kind()),
        (one, two) => panic!("one thread says {one:?}, three say {two:?}"),
    }
});
