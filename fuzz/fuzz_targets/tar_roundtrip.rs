//! Any entry that can be written is read back as it was, from as many bytes as were announced; writing it twice
//! gives the same bytes.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use treering::layer::header::{EntryKind, HeaderEntry, MtimePrecision, header_len, write_header};
use treering::layer::read::{LayerReader, ReadChunks, ReadLimits};

#[derive(Debug, Arbitrary)]
struct Input {
    path: Vec<u8>,
    repeat: u8,
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    content: Vec<u8>,
    mtime: (i64, u32),
    link: Vec<u8>,
    rdev: (u32, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    exact: bool,
}

fuzz_target!(|input: Input| {
    let kinds = [
        EntryKind::File,
        EntryKind::Directory,
        EntryKind::Symlink,
        EntryKind::Hardlink,
        EntryKind::CharDevice,
        EntryKind::BlockDevice,
        EntryKind::Fifo,
    ];
    let kind = kinds[input.kind as usize % kinds.len()];
    // Long paths are beyond what a fuzzer tries by itself.
    let path = vec![&input.path[..]; 1 + input.repeat as usize].join(&b'/');
    let xattrs: Vec<_> = input.xattrs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let content = if kind == EntryKind::File { &input.content[..] } else { &[] };
    let precision = if input.exact { MtimePrecision::Nanoseconds } else { MtimePrecision::Seconds };
    let entry = HeaderEntry {
        path: &path,
        kind,
        mode: input.mode,
        uid: input.uid,
        gid: input.gid,
        size: content.len() as u64,
        mtime: (input.mtime.0, input.mtime.1 % 1_000_000_000),
        link: &input.link,
        rdev: input.rdev,
        xattrs: &xattrs,
    };
    let mut bytes = Vec::new();
    let Ok(()) = write_header(&entry, precision, &mut bytes) else {
        assert!(bytes.is_empty());
        return;
    };
    assert_eq!(bytes.len() as u64, header_len(&entry, precision).unwrap());
    let mut again = Vec::new();
    write_header(&entry, precision, &mut again).unwrap();
    assert_eq!(bytes, again);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);

    let mut reader = LayerReader::new(ReadChunks::with_size(&bytes[..], 700), ReadLimits::default());
    let got = reader.next_entry().unwrap().unwrap();
    assert_eq!(got.path, if path == b"." { &b""[..] } else { &path[..] });
    assert_eq!((got.kind, got.mode, got.uid, got.gid), (kind, entry.mode & 0o7777, entry.uid, entry.gid));
    assert_eq!(got.mtime, (entry.mtime.0, if input.exact { entry.mtime.1 } else { 0 }));
    if matches!(kind, EntryKind::Symlink | EntryKind::Hardlink) {
        assert_eq!(got.link, input.link);
    }
    if kind.is_device() {
        assert_eq!(got.rdev, input.rdev);
    }
    let mut sorted = input.xattrs.clone();
    sorted.sort();
    assert_eq!(got.xattrs, sorted);
    assert_eq!(reader.read_content(usize::MAX).unwrap(), content);
    assert!(reader.next_entry().unwrap().is_none());
});
