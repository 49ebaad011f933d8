//! Output of the writer, whole and damaged.

use proptest::prelude::*;

use super::*;
use crate::layer::header::{HeaderEntry, header_len, write_header};

fn path() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|byte| if matches!(byte, 0 | b'/') { b'x' } else { byte });
    let component = proptest::collection::vec(byte, 1..60)
        .prop_filter("dots", |component| !matches!(&component[..], b"." | b".."));
    proptest::collection::vec(component, 1..8).prop_map(|components| components.join(&b'/'))
}

fn entry() -> impl Strategy<Value = (TarEntry, Vec<u8>)> {
    let kind = prop_oneof![
        4 => Just(EntryKind::File),
        2 => Just(EntryKind::Directory),
        1 => Just(EntryKind::Symlink),
        1 => Just(EntryKind::Hardlink),
        1 => Just(EntryKind::CharDevice),
        1 => Just(EntryKind::BlockDevice),
        1 => Just(EntryKind::Fifo),
    ];
    let id = || prop_oneof![0..3000u32, 2_097_150..2_097_155u32, 0..u32::MAX];
    let seconds = prop_oneof![-10..10i64, 0..1i64 << 34, i64::MIN + 1..i64::MAX];
    let nanoseconds = prop_oneof![Just(0), 0..1_000_000_000u32, (0..10u32).prop_map(|n| n * 100_000_000)];
    let name = "(user|trusted|security)\\.[a-z\\.\u{e9}]{1,20}";
    let xattrs = proptest::collection::btree_map(
        name.prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..200),
        0..3,
    );
    let meta = (0..0o10000u32, id(), id(), seconds, nanoseconds);
    let content = proptest::collection::vec(any::<u8>(), 0..1500);
    let device = (0..1u32 << 21, 0..1u32 << 21);
    (path(), path(), kind, meta, xattrs, content, device).prop_map(
        |(path, link, kind, (mode, uid, gid, seconds, nanoseconds), xattrs, content, device)| {
            let content = if kind == EntryKind::File { content } else { Vec::new() };
            let link = match kind {
                EntryKind::Hardlink if link == path => b"other".to_vec(),
                EntryKind::Hardlink | EntryKind::Symlink => link,
                _ => Vec::new(),
            };
            let entry = TarEntry {
                path,
                kind,
                mode,
                uid,
                gid,
                size: content.len() as u64,
                mtime: (seconds, nanoseconds),
                link,
                rdev: if kind.is_device() { device } else { (0, 0) },
                xattrs: xattrs.into_iter().collect(),
                lost: Vec::new(),
            };
            (entry, content)
        },
    )
}

pub(super) fn write(entries: &Entries, precision: MtimePrecision) -> Vec<u8> {
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
        let before = out.len();
        write_header(&header, precision, &mut out).unwrap();
        assert_eq!((out.len() - before) as u64, header_len(&header, precision).unwrap());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec(entry(), 0..6), chunk in 1..5000usize) {
        let bytes = write(&entries, MtimePrecision::Nanoseconds);
        prop_assert_eq!(&read_in(&bytes, chunk, &ReadLimits::default()).unwrap(), &entries);
        // Written again it is the same archive, and without nanoseconds it is the same but for those.
        prop_assert_eq!(write(&entries, MtimePrecision::Nanoseconds), bytes);
        let mut whole = entries;
        for (entry, _) in &mut whole {
            entry.mtime.1 = 0;
        }
        let bytes = write(&whole, MtimePrecision::Seconds);
        prop_assert_eq!(read_in(&bytes, chunk, &ReadLimits::default()).unwrap(), whole);
    }

    #[test]
    fn damage_never_panics(
        entries in proptest::collection::vec(entry(), 1..4),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        fix in any::<bool>(),
    ) {
        let mut bytes = write(&entries, MtimePrecision::Nanoseconds);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if fix {
            // Let damage get past the checksum.
            for block in bytes.chunks_exact_mut(512) {
                if &block[257..262] == b"ustar" {
                    block[148..156].fill(b' ');
                    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
        }
        let _ = read_in(&bytes, 700, &ReadLimits::default());
    }
}
