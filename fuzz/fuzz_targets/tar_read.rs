//! Any bytes as an archive. The reader must not panic, must stay within its limits, and what it reads must not
//! depend on how the bytes are cut into chunks. Whatever it accepts, it accepts again after it was written anew.
//!
//! Checksums are put right first: no fuzzer finds one by chance.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treering::Result;
use treering::layer::header::{EntryKind, HeaderEntry, MAX_METADATA, MtimePrecision, write_header};
use treering::layer::read::{Data, LayerReader, ReadChunks, ReadLimits, TarEntry};

const MOST: u64 = 1 << 16;

fn read(bytes: &[u8], chunk: usize) -> Result<Vec<(TarEntry, Vec<u8>)>> {
    let limits =
        ReadLimits { max_entries: 1000, max_bytes: MOST, max_sparse_regions: 1000, ..ReadLimits::default() };
    let mut reader = LayerReader::new(ReadChunks::with_size(bytes, chunk), limits);
    let mut out = Vec::new();
    let mut total = 0;
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        while let Some(data) = reader.next_data()? {
            match data {
                Data::Bytes(bytes) => content.extend_from_slice(&bytes),
                Data::Hole(len) => content.resize(content.len() + len as usize, 0),
            }
        }
        assert_eq!(content.len() as u64, entry.size);
        total += entry.size;
        assert!(total <= MOST);
        check(&entry);
        out.push((entry, content));
    }
    assert_eq!(reader.offset(), bytes.len() as u64);
    Ok(out)
}

fn check(entry: &TarEntry) {
    let clean = |path: &[u8]| {
        path.split(|&byte| byte == b'/')
            .all(|part| !matches!(part, b"" | b"." | b"..") && part.len() <= 255 && !part.contains(&0))
    };
    assert!(entry.path.is_empty() && entry.kind == EntryKind::Directory || clean(&entry.path));
    match entry.kind {
        EntryKind::Hardlink => assert!(clean(&entry.link) && entry.link != entry.path),
        EntryKind::Symlink => assert!(!entry.link.is_empty() && !entry.link.contains(&0)),
        _ => assert!(entry.link.is_empty()),
    }
    assert!(entry.size == 0 || entry.kind == EntryKind::File);
    assert!(entry.mode <= 0o7777 && entry.mtime.1 < 1_000_000_000);
    assert!(entry.uid != u32::MAX && entry.gid != u32::MAX);
    assert!(entry.xattrs.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

/// Returns the canonical form of what was read; `None` where it has none (device numbers over 21 bits, or more metadata
/// than one header may have once it is spelled out).
fn write(entries: &[(TarEntry, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (entry, content) in entries {
        let xattrs: Vec<_> = entry.xattrs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let header = HeaderEntry {
            path: &entry.path,
            kind: entry.kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size,
            mtime: entry.mtime,
            link: &entry.link,
            rdev: entry.rdev,
            xattrs: &xattrs,
        };
        let spelled: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        let spelled = spelled + entry.path.len() + entry.link.len() + 256;
        if entry.rdev.0.max(entry.rdev.1) > 0o7777777 || spelled > MAX_METADATA || entry.mtime.0 == i64::MIN {
            return None;
        }
        write_header(&header, MtimePrecision::Nanoseconds, &mut out).expect("what was read can be written");
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    Some(out)
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        // A block that looks like a header: a checksum field of digits, or none yet.
        if block[148..156].iter().all(|byte| matches!(byte, 0 | b' ' | b'0'..=b'7')) && block != [0; 512] {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let whole = read(&bytes, 1 << 20);
    for chunk in [61, 512] {
        match (&whole, read(&bytes, chunk)) {
            (Ok(one), Ok(two)) => assert_eq!(one, &two),
            (Err(one), Err(two)) => assert_eq!(one.to_string(), two.to_string()),
            (one, two) => panic!("{one:?} in one chunk, {two:?} in chunks of {chunk}"),
        }
    }
    if let Some(again) = whole.as_ref().ok().and_then(|entries| write(entries)) {
        assert_eq!(whole.as_ref().ok(), read(&again, 4096).ok().as_ref());
    }
});
