//! Any bytes as the index of a layer: it is refused, or comes back as it was; and wherever it leads, what is read by it is what the tar has
//! there, or an error.
#![no_main]

use std::io::{Seek, Write};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use treering::Digest;
use treering::compress::{DecodeLimits, EntryReader, LayerIndex};

/// Returns the files in the tar.
fn files() -> [(&'static str, Vec<u8>); 2] {
    [("a", vec![b'x'; 1000]), ("b", (0..600_000u32).map(|n| (n / 7) as u8).collect())]
}

/// Returns a tar of two files.
fn tar() -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in files() {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        for field in [100..107, 108..115, 116..123, 136..147] {
            header[field].fill(b'0');
        }
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(&content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// Returns the tar, plain or as gzip.
fn blob(tar: &[u8], plain: bool) -> Vec<u8> {
    if plain {
        return tar.to_vec();
    }
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(tar).unwrap();
    out.finish().unwrap()
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = b"treeidx2\0\0\0\0".to_vec();
    bytes.extend_from_slice(input);
    let mut crc = flate2::Crc::new();
    crc.update(input);
    bytes[8..12].copy_from_slice(&crc.sum().to_le_bytes());
    let tar = tar();
    let (blob, diff_id) = (blob(&tar, input.len() % 2 == 0), Digest::of(&tar));
    // The size comes first.
    let size = input.first().map_or(0, |&byte| u64::from(byte & 0x7f)).max(blob.len() as u64);
    for size in [size, u64::from(input.first().copied().unwrap_or(0))] {
        let Ok(index) = LayerIndex::decode(&bytes, size) else { continue };
        let again = index.encode(u64::MAX);
        assert_eq!(LayerIndex::decode(&again, size).unwrap(), index);
        assert!(index.encode(100).len() <= again.len());
        let open = || {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&blob).unwrap();
            file.rewind().unwrap();
            Ok(file)
        };
        let limits = DecodeLimits::default();
        let index = Arc::new(index);
        let mut reader = EntryReader::new(&open, &index, diff_id, &limits);
        for (place, (_, expected)) in [0, 1536].into_iter().zip(files()) {
            if let Ok((content, _)) = reader.file_at(place) {
                let _ = content.read_content(1 << 20).map(|content| assert!(content == expected));
            }
        }
    }
});
