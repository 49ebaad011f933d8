//! The memory that archives can make the reader hold: a few mebibytes, whatever they announce.
//!
//! Alone in its process, so that the peak the kernel counts is that of the reader.

use std::io::{self, Read};

use treering::ErrorKind;
use treering::layer::read::{LayerReader, ReadChunks, ReadLimits};

/// A beginning, and then the same block for ever.
struct Endless {
    head: io::Cursor<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.head.read(buffer)?;
        if len > 0 {
            return Ok(len);
        }
        for byte in &mut *buffer {
            *byte = self.block[self.at % self.block.len()];
            self.at += 1;
        }
        Ok(buffer.len())
    }
}

fn header(flag: u8, size: u64, magic: &[u8; 8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..4].copy_from_slice(b"name");
    for field in [100..107, 108..115, 116..123] {
        block[field].fill(b'0');
    }
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].fill(b'0');
    block[156] = flag;
    block[257..265].copy_from_slice(magic);
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

const USTAR: &[u8; 8] = b"ustar\x0000";
const HUGE: u64 = 0o77777777777;

fn pax(records: &str) -> Vec<u8> {
    let mut out = header(b'x', records.len() as u64, USTAR, |_| {});
    out.extend_from_slice(records.as_bytes());
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// Reads to the first error, and says what kind it is and how much was read until then.
fn read(head: Vec<u8>, block: &[u8]) -> (ErrorKind, u64) {
    let stream = Endless { head: io::Cursor::new(head), block: block.to_vec(), at: 0 };
    let mut reader = LayerReader::new(ReadChunks::new(stream), ReadLimits::default());
    loop {
        match reader.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the end of an endless archive"),
            Err(error) => return (error.kind(), reader.offset()),
        }
    }
}

/// Returns the most memory this process has had, in KiB.
#[allow(clippy::disallowed_methods)]
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Lets this process have no more address space than it has and a little: what would ask for more ends here and now.
#[allow(clippy::disallowed_methods)]
fn no_more_than(bytes: u64) {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split_whitespace().next().unwrap().parse().unwrap();
    let most = Some(pages * rustix::param::page_size() as u64 + bytes);
    let limit = rustix::process::Rlimit { current: most, maximum: most };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
}

#[test]
fn bombs_stay_small() {
    no_more_than(64 << 20);
    // Go CVE-2022-2879: records and names of gigabytes.
    for flag in *b"xgLK" {
        let (kind, offset) = read(header(flag, HUGE, USTAR, |_| {}), b"9");
        assert_eq!((kind, offset), (ErrorKind::Limit, 512));
        let (kind, offset) = read(header(flag, 1 << 20, USTAR, |_| {}), b"9");
        assert_eq!((kind, offset < 2 << 20), (ErrorKind::Corrupt, true));
    }
    // As many small records as there is room for: extended attributes, sparse regions. Both entries are read, and
    // what follows them is not a header.
    for (count, expected) in [(4096, ErrorKind::Corrupt), (30_000, ErrorKind::Limit)] {
        let many: String =
            (0..count).map(|number| format!("33 SCHILY.xattr.user.name{number:06}=\n")).collect();
        let (kind, offset) = read([pax(&many), header(b'0', 0, USTAR, |_| {})].concat(), b"x");
        assert_eq!((kind, offset > many.len() as u64), (expected, true));
    }
    let pairs =
        "23 GNU.sparse.offset=0\n25 GNU.sparse.numbytes=0\n".repeat(20_000) + "21 GNU.sparse.size=0\n";
    let (kind, offset) = read([pax(&pairs), header(b'0', 0, USTAR, |_| {})].concat(), b"x");
    assert_eq!((kind, offset > pairs.len() as u64 + 1024), (ErrorKind::Corrupt, true));
    // Go CVE-2025-58183 and CVE-2026-32288: sparse maps that never end.
    let version = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.realsize=0\n";
    let head = [pax(version), header(b'0', HUGE, USTAR, |_| {}), b"99999\n".to_vec()].concat();
    let (kind, offset) = read(head, b"0\n");
    assert_eq!((kind, offset < 2 << 20), (ErrorKind::Corrupt, true));
    let gnu = header(b'S', 0, b"ustar  \0", |block| {
        block[386..482].fill(b'0');
        block[482] = 1;
        block[483..494].fill(b'0');
    });
    let (kind, offset) = read(gnu, b"0");
    assert_eq!((kind, offset < 4 << 20), (ErrorKind::Limit, true));
    // More entries than there may be, each of which is nothing.
    let entry = header(b'0', 0, USTAR, |_| {});
    let limits = ReadLimits { max_entries: 300_000, ..ReadLimits::default() };
    let stream = Endless { head: io::Cursor::default(), block: entry, at: 0 };
    let mut reader = LayerReader::new(ReadChunks::new(stream), limits);
    let error = loop {
        if let Err(error) = reader.next_entry() {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Limit);

    let peak = peak();
    assert!(peak < 64 * 1024, "{peak} KiB");
}
