use std::sync::Arc;

mod sparse;
mod written;

use super::*;
use crate::error::ErrorKind;
use crate::layer::header::MtimePrecision;
use crate::layer::pax::append_record;
use written::write;

/// A header made by hand, so that it can be wrong.
#[derive(Clone)]
struct Raw([u8; 512]);

impl Raw {
    fn new(name: &[u8], flag: u8, size: u64) -> Self {
        let block = Raw([0; 512]);
        let block = block.put(0, name).put(100, b"0000644\0").put(108, b"0001750\0").put(116, b"0001750\0");
        let block = block.put(124, format!("{size:011o}\0").as_bytes()).put(136, b"00000000144\0");
        block.put(156, &[flag]).put(257, b"ustar\x0000")
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn gnu(self) -> Self {
        self.put(257, b"ustar  \0")
    }

    /// Returns it with the right checksum and content.
    fn with(&self, content: &[u8]) -> Vec<u8> {
        let mut block = self.0;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut out = block.to_vec();
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    fn done(&self) -> Vec<u8> {
        self.with(b"")
    }
}

fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
    Raw::new(name, b'0', content.len() as u64).with(content)
}

/// Returns a header of any kind that takes a body.
fn special(flag: u8, body: &[u8]) -> Vec<u8> {
    Raw::new(b"special", flag, body.len() as u64).with(body)
}

fn pax(flag: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (keyword, value) in records {
        append_record(keyword.as_bytes(), value.as_bytes(), &mut body);
    }
    special(flag, &body)
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = parts.concat();
    out.resize(out.len() + 1024, 0);
    out
}

type Entries = Vec<(TarEntry, Vec<u8>)>;

fn read_in(bytes: &[u8], chunk: usize, limits: &ReadLimits) -> Result<Entries> {
    let mut reader = LayerReader::new(ReadChunks::with_size(bytes, chunk), limits.clone());
    let mut out = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let content = reader.read_content(1 << 20)?;
        assert_eq!(content.len() as u64, entry.size);
        out.push((entry, content));
    }
    assert_eq!(reader.offset(), bytes.len() as u64, "the end was not read");
    assert!(reader.next_entry()?.is_none());
    reader.finish()?;
    Ok(out)
}

/// Reads in chunks of several sizes, which must not matter.
fn read(bytes: &[u8]) -> Result<Entries> {
    let limits = ReadLimits::default();
    let whole = read_in(bytes, 1 << 20, &limits);
    for chunk in [7, 512, 1000] {
        let again = read_in(bytes, chunk, &limits);
        match (&whole, &again) {
            (Ok(a), Ok(b)) => assert_eq!(a, b),
            (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
            _ => panic!("chunks of {chunk} bytes change the result: {whole:?} {again:?}"),
        }
    }
    whole
}

fn refused(bytes: &[u8]) -> Error {
    match read(bytes) {
        Err(error) => error,
        Ok(entries) => panic!("read {entries:?}"),
    }
}

fn names(entries: &Entries) -> Vec<&[u8]> {
    entries.iter().map(|(entry, _)| &entry.path[..]).collect()
}

#[test]
fn ordinary_archives_are_read() {
    let bytes = archive(&[
        Raw::new(b"./", b'5', 0).done(),
        Raw::new(b"bin/", b'5', 0).put(100, b"0004755\0").done(),
        file(b"./bin/true", b"content"),
        Raw::new(b"bin/link", b'2', 0).put(157, b"../x//y/").done(),
        Raw::new(b"bin/hard", b'1', 0).put(157, b"./bin/true").done(),
        Raw::new(b"/dev/null", b'3', 0).put(329, b"0000001\0").put(337, b"0000003\0").done(),
        Raw::new(b"fifo", b'6', 0).done(),
        Raw::new(b"n", b'0', 0).put(345, b"prefix/p").done(),
        Raw::new(b"contiguous", b'7', 3).with(b"abc"),
        Raw::new(b"old/", 0, 0).put(257, &[0; 8]).done(),
        Raw::new(b"old/file", 0, 3).put(257, &[0; 8]).put(500, b"garbage").with(b"abc"),
        Raw::new(b"old/gnu", b'0', 0).gnu().done(),
    ]);
    let entries = read(&bytes).unwrap();
    let paths: [&[u8]; 12] = [
        b"",
        b"bin",
        b"bin/true",
        b"bin/link",
        b"bin/hard",
        b"dev/null",
        b"fifo",
        b"prefix/p/n",
        b"contiguous",
        b"old",
        b"old/file",
        b"old/gnu",
    ];
    assert_eq!(names(&entries), paths);
    assert_eq!((entries[1].0.mode, entries[1].0.kind), (0o4755, EntryKind::Directory));
    assert_eq!(entries[2].1, b"content");
    assert_eq!((entries[2].0.uid, entries[2].0.gid, entries[2].0.mtime), (1000, 1000, (100, 0)));
    assert_eq!(entries[3].0.link, b"../x//y/");
    assert_eq!((entries[4].0.kind, &entries[4].0.link[..]), (EntryKind::Hardlink, &b"bin/true"[..]));
    assert_eq!((entries[5].0.kind, entries[5].0.rdev), (EntryKind::CharDevice, (1, 3)));
    assert_eq!(entries[9].0.kind, EntryKind::Directory);
}

#[test]
fn content_is_not_copied() {
    let bytes = archive(&[file(b"f", &[b'x'; 10_000])]);
    struct One(Option<Arc<Vec<u8>>>);
    impl ChunkStream for One {
        fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
            Ok(self.0.take())
        }
    }
    let chunk = Arc::new(bytes);
    let mut reader = LayerReader::new(One(Some(chunk.clone())), ReadLimits::default());
    reader.next_entry().unwrap().unwrap();
    let Some(Data::Bytes(slice)) = reader.next_data().unwrap() else { panic!() };
    assert!(Arc::ptr_eq(&slice.chunk, &chunk));
    assert_eq!(slice.range, 512..10_512);
    assert!(reader.next_data().unwrap().is_none());
    assert!(reader.next_entry().unwrap().is_none());
}

/// CVE-2025-62518 and CVE-2026-33055: the size is in one header and not, or otherwise, in the other.
#[test]
fn the_pax_size_wins_or_contradicts() {
    let nested = archive(&[file(b"hidden", b"evil")]);
    let size = nested.len().to_string();
    let smuggled = archive(&[
        pax(b'x', &[("size", &size)]),
        Raw::new(b"outer", b'0', 0).with(&nested),
        file(b"after", b""),
    ]);
    let entries = read(&smuggled).unwrap();
    assert_eq!(names(&entries), [&b"outer"[..], b"after"]);
    assert_eq!(entries[0].1, nested);
    for (in_header, in_pax) in [(512, 0), (512, 1024), (1, 512), (0o77777777777, 512)] {
        let bytes = archive(&[
            pax(b'x', &[("size", &in_pax.to_string())]),
            Raw::new(b"f", b'0', in_header).with(&[0; 512]),
        ]);
        refused(&bytes);
    }
}

/// RUSTSEC-2026-0112 and -0145: to which entry does an `x` belong that stands before an `L`? Every order of up to four
/// headers, in which every kind of header says something that only its owner may get.
#[test]
fn every_order_of_headers_means_one_thing() {
    let part = |kind: u8, at: usize| match kind {
        b'x' => pax(b'x', &[("size", "5"), ("mtime", &format!("{at}.5"))]),
        b'g' => pax(b'g', &[("uid", &format!("{}", 7000 + at)), ("comment", "c")]),
        b'L' => special(b'L', format!("long{at}\0").as_bytes()),
        b'K' => special(b'K', format!("link{at}\0").as_bytes()),
        _ => Raw::new(format!("short{at}").as_bytes(), b'0', 5).with(b"hello"),
    };
    let kinds = b"xgLKf";
    let mut checked = 0;
    for len in 1..=4 {
        for index in 0..kinds.len().pow(len) {
            let order: Vec<u8> = (0..len).map(|i| kinds[index / kinds.len().pow(i) % kinds.len()]).collect();
            let parts: Vec<_> = order.iter().enumerate().map(|(at, &kind)| part(kind, at)).collect();

            // Computes what it must mean, in another way than the reader does.
            let mut expected = Some(Vec::new());
            let (mut uid, mut before) = (1000, Vec::new());
            for (at, &kind) in order.iter().enumerate() {
                let Some(list) = &mut expected else { break };
                match kind {
                    b'g' if before.is_empty() => uid = 7000 + at as u32,
                    b'f' => {
                        let find = |kind| before.iter().find(|(k, _)| *k == kind).map(|(_, at)| *at);
                        let name = find(b'L').map_or(format!("short{at}"), |at| format!("long{at}"));
                        let mtime = find(b'x').map_or((100, 0), |at| (at as i64, 500_000_000));
                        list.push((name.into_bytes(), uid, mtime));
                        before.clear();
                    }
                    b'g' => expected = None,
                    _ if before.iter().any(|(k, _)| *k == kind) => expected = None,
                    _ => before.push((kind, at)),
                }
            }
            if !before.is_empty() {
                expected = None;
            }

            let got = read(&archive(&parts)).ok().map(|entries| {
                entries.into_iter().map(|(entry, _)| (entry.path, entry.uid, entry.mtime)).collect::<Vec<_>>()
            });
            assert_eq!(got, expected, "{}", order.escape_ascii());
            checked += 1;
        }
    }
    assert_eq!(checked, 5 + 25 + 125 + 625);
}

#[test]
fn two_headers_that_name_an_entry_must_agree() {
    let name = |gnu: &str, pax_path: &str| {
        archive(&[special(b'L', gnu.as_bytes()), pax(b'x', &[("path", pax_path)]), file(b"short", b"")])
    };
    assert_eq!(names(&read(&name("same\0", "same")).unwrap()), [b"same"]);
    refused(&name("one\0", "two"));
    let link = |gnu: &str, pax_link: &str| {
        archive(&[
            pax(b'x', &[("linkpath", pax_link)]),
            special(b'K', gnu.as_bytes()),
            Raw::new(b"l", b'2', 0).put(157, b"short").done(),
        ])
    };
    assert_eq!(read(&link("same\0", "same")).unwrap()[0].0.link, b"same");
    refused(&link("one\0", "two"));
    for bad in [&b""[..], b"\0", b"a\0b", b"a\0b\0"] {
        refused(&archive(&[special(b'L', bad), file(b"short", b"")]));
        refused(&archive(&[special(b'K', bad), Raw::new(b"l", b'2', 0).done()]));
    }
    // By one name a directory, by the other a file: old readers decide by the short one.
    let both = |long: &[u8], short: &[u8]| archive(&[special(b'L', long), Raw::new(short, 0, 0).done()]);
    refused(&both(b"long/", b"short"));
    refused(&both(b"long", b"short/"));
    assert_eq!(read(&both(b"long/", b"short/")).unwrap()[0].0.kind, EntryKind::Directory);
}

#[test]
fn global_headers_hold_until_taken_back() {
    let bytes = archive(&[
        pax(b'g', &[("comment", "52ea5af2b3a3c9d45f3a4e8d1b0c"), ("uid", "5"), ("mtime", "1.5")]),
        file(b"a", b""),
        pax(b'x', &[("uid", "")]),
        file(b"b", b""),
        pax(b'x', &[("uid", "6")]),
        file(b"c", b""),
        pax(b'g', &[("uid", ""), ("gid", "9")]),
        file(b"d", b""),
    ]);
    let got: Vec<_> = read(&bytes).unwrap().iter().map(|(e, _)| (e.uid, e.gid, e.mtime)).collect();
    let time = (1, 500_000_000);
    assert_eq!(got, [(5, 1000, time), (1000, 1000, time), (6, 1000, time), (1000, 9, time)]);
    refused(&archive(&[pax(b'g', &[("path", "a")]), file(b"b", b"")]));
    refused(&archive(&[special(b'g', b"not a record"), file(b"b", b"")]));
    assert_eq!(read(&archive(&[pax(b'g', &[("comment", "empty")])])).unwrap().len(), 0);
}

/// CVE-2021-29136 and its kind: an entry that replaces the root.
#[test]
fn the_root_is_a_directory_or_an_error() {
    for name in [&b""[..], b".", b"/", b"./", b"./.", b"//", b"/./"] {
        let entries = read(&archive(&[Raw::new(name, b'5', 0).done()])).unwrap();
        assert_eq!((&entries[0].0.path[..], entries[0].0.kind), (&b""[..], EntryKind::Directory));
        for flag in b"0123467SLK" {
            let entry = Raw::new(name, *flag, 0).put(157, b"target").gnu().done();
            refused(&archive(&[entry]));
        }
    }
    for name in [&b".."[..], b"../a", b"a/..", b"a/../b", b"/..", b"/../a", b"a/../../b", b"./.."] {
        for flag in b"0\x0012345" {
            refused(&archive(&[Raw::new(name, *flag, 0).put(157, b"target").done()]));
        }
        let link = Raw::new(b"l", b'1', 0).put(157, name).done();
        refused(&archive(&[link]));
    }
    for target in [&b""[..], b".", b"/", b"./", b"a/", b"a/.", b"l", b"./l"] {
        refused(&archive(&[Raw::new(b"l", b'1', 0).put(157, target).done()]));
    }
    refused(&archive(&[Raw::new(b"l", b'2', 0).done()]));
    for flag in b"0123467" {
        refused(&archive(&[Raw::new(b"a/", *flag, 0).put(157, b"target").done()]));
        refused(&archive(&[Raw::new(b"a/.", *flag, 0).put(157, b"target").done()]));
    }
}

#[test]
fn only_files_have_content() {
    for flag in b"123456" {
        let entry = Raw::new(b"e", *flag, 512).put(157, b"target");
        // Some writers give a hard link the size of its file.
        if *flag == b'1' {
            let two = archive(&[entry.done(), file(b"f", b"x")]);
            assert_eq!(read(&two).unwrap().iter().map(|(entry, _)| entry.size).collect::<Vec<_>>(), [0, 1]);
            refused(&archive(&[entry.with(b"content"), file(b"f", b"x")]));
            refused(&archive(&[entry.with(&[0; 512]), file(b"f", b"x")]));
        } else {
            refused(&archive(&[entry.with(&[0; 512])]));
            refused(&archive(&[entry.done()]));
        }
        let pax_size = archive(&[
            pax(b'x', &[("size", "512")]),
            Raw::new(b"e", *flag, 0).put(157, b"target").with(&[0; 512]),
        ]);
        refused(&pax_size);
    }
    refused(&archive(&[Raw::new(b"d/", 0, 512).with(&[0; 512])]));
}

#[test]
fn types_without_use_and_types_without_a_name() {
    for flag in 0..=255u8 {
        if b"01234567xgLKS\0".contains(&flag) {
            continue;
        }
        let error = refused(&archive(&[Raw::new(b"e", flag, 0).done()]));
        assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Corrupt));
        assert_eq!(error.path(), Some(&b"e"[..]));
    }
}

#[test]
fn headers_that_are_not_what_they_claim() {
    let good = Raw::new(b"f", b'0', 0);
    let mut wrong_sum = good.done();
    wrong_sum[0] = b'g';
    refused(&archive(&[wrong_sum]));
    for (at, bytes) in [
        (257, &b"ustar 00"[..]),
        (257, b"USTAR\x0000"),
        (257, b"\0\0\0\0\0\x0000"),
        (508, b"tar\0"),
        (100, b"rw-r--r-"),
        (108, b"-000001\0"),
        (116, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        (108, b"\x80\0\0\0\xff\xff\xff\xff"),
        (108, b"\x80\0\0\x01\0\0\0\0"),
        (124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\0"),
        (124, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        (124, b"-0000000001\0"),
        (124, b"0000000000x\0"),
        (136, b"yesterday\0\0\0"),
    ] {
        refused(&archive(&[good.clone().put(at, bytes).done()]));
    }
    // Go before 1.8 took the times of a GNU header for a prefix, Python takes what v7 has there for one.
    for stray in [&b"prefix"[..], b"00000000001\0"] {
        refused(&archive(&[good.clone().put(257, &[0; 8]).put(345, stray).done()]));
    }
    for stray in [&b"prefix"[..], b"17\0", b"00000000001x", b"00000000001\x0000000000001/a"] {
        refused(&archive(&[good.clone().gnu().put(345, stray).done()]));
    }
    // libarchive takes the real size, and the regions, of a sparse file from any GNU header.
    refused(&archive(&[Raw::new(b"f", b'0', 512).gnu().put(483, b"00000000001\0").with(&[0; 512])]));
    refused(&archive(&[Raw::new(b"f", b'0', 512).gnu().put(386, b"00000000001\0").with(&[0; 512])]));
    // Numbers without a use: of a header before an entry, or with a PAX record in its place.
    refused(&archive(&[Raw::new(b"l", b'L', 5).put(108, b"x").with(b"long\0"), file(b"f", b"")]));
    refused(&archive(&[pax(b'x', &[("mtime", "1")]), good.clone().put(136, b"x").done()]));
    refused(&archive(&[good.clone().put(329, b"x").done()]));
    // Python reads names and records on into the padding.
    refused(&archive(&[Raw::new(b"l", b'L', 2).with(b"lo\0ng"), file(b"f", b"")]));
    refused(&archive(&[Raw::new(b"l", b'L', 2).with(b"long"), file(b"f", b"")]));
    refused(&archive(&[Raw::new(b"x", b'x', 0).with(b"11 path=ab\n"), file(b"f", b"")]));
    let negative_time = good.clone().put(136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe").done();
    assert_eq!(read(&archive(&[negative_time])).unwrap()[0].0.mtime, (-2, 0));
    let device = Raw::new(b"c", b'3', 0);
    refused(&archive(&[device.clone().put(257, &[0; 8]).done()]));
    refused(&archive(&[device.clone().put(329, b"x").done()]));
    let big =
        archive(&[pax(b'x', &[("SCHILY.devmajor", "3000000"), ("SCHILY.devminor", "5")]), device.done()]);
    assert_eq!(read(&big).unwrap()[0].0.rdev, (3_000_000, 5));
    // Old tars summed signed bytes.
    let mut signed = Raw::new(b"f\xff\xfe", b'0', 0).done();
    signed[148..156].fill(b' ');
    let sum: i32 = signed[..512].iter().map(|&byte| i32::from(byte as i8)).sum();
    signed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(names(&read(&archive(&[signed])).unwrap()), [b"f\xff\xfe"]);
}

#[test]
fn the_magic_decides_and_the_version_does_not() {
    for version in [&b"00"[..], b" \0", b"\0\0", b"01"] {
        let entry = Raw::new(b"n", b'0', 1).put(263, version).put(345, b"prefix").with(b"x");
        assert_eq!(names(&read(&archive(&[entry])).unwrap()), [b"prefix/n"], "{}", version.escape_ascii());
    }
}

#[test]
fn gnu_headers_may_have_times_where_others_have_a_prefix() {
    let good = Raw::new(b"f", b'0', 1).gnu();
    for (accessed, changed) in [
        (&b"14000000000\0"[..], &b"14000000001\0"[..]),
        (b"14000000000 ", b"\0"),
        (b"\0", b"14000000001\0"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", b"\x80\0\0\0\0\0\0\x01\0\0\0\0"),
    ] {
        let bytes = archive(&[good.clone().put(345, accessed).put(357, changed).with(b"x")]);
        let entries = read(&bytes).unwrap();
        assert_eq!((names(&entries), entries[0].0.mtime), (vec![&b"f"[..]], (100, 0)));
    }
}

#[test]
fn headers_that_repeat_themselves_are_one() {
    let twice = |one: Vec<u8>, other: Vec<u8>| archive(&[one, other, file(b"short", b"x")]);
    let x = |path: &str| pax(b'x', &[("path", path), ("uid", "7")]);
    assert_eq!(names(&read(&twice(x("a"), x("a"))).unwrap()), [b"a"]);
    refused(&twice(x("a"), x("b")));
    refused(&twice(x("a"), pax(b'x', &[("path", "a")])));
    let long = |name: &[u8]| special(b'L', name);
    assert_eq!(names(&read(&twice(long(b"a\0"), long(b"a\0"))).unwrap()), [b"a"]);
    refused(&twice(long(b"a\0"), long(b"b\0")));
}

/// libarchive writes what the group may, and not what the mask allows, into the mode.
#[test]
fn with_an_acl_the_mode_has_its_mask() {
    let with = |acl: &str, mode: &[u8]| {
        let acl = pax(b'x', &[("SCHILY.acl.access", acl)]);
        let entries = read(&archive(&[acl, Raw::new(b"f", b'0', 0).put(100, mode).done()])).unwrap();
        entries[0].0.mode
    };
    let named = "user::rw-,group::r--,other::r--,user:joe:rwx:1234,mask::rwx";
    assert_eq!(with(named, b"0004644\0"), 0o4674);
    assert_eq!(with(&named.replace("mask::rwx", "mask::---"), b"0000664\0"), 0o604);
    assert_eq!(with("user::rw-,group::r--,other::r--", b"0000644\0"), 0o644);
}

#[test]
fn where_no_digest_is_compared_an_archive_says_where_it_ends() {
    let limits = ReadLimits { require_end: true, ..ReadLimits::default() };
    let one = file(b"f", b"x");
    assert_eq!(read_in(&archive(std::slice::from_ref(&one)), 512, &limits).unwrap().len(), 1);
    for cut in [&one[..], b""] {
        assert_eq!(read_in(cut, 512, &limits).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(read_in(cut, 512, &ReadLimits::default()).is_ok());
    }
}

#[test]
fn archives_end_as_archives_end() {
    let one = file(b"f", b"x");
    let with = |tail: &[u8]| read(&[&one[..], tail].concat());
    for zeros in [0, 512, 1024, 1025, 1536, 10240, 20_000] {
        assert_eq!(with(&vec![0; zeros]).unwrap().len(), 1, "{zeros}");
    }
    for bad in [1, 100, 511, 513, 700, 1023] {
        assert!(with(&vec![0; bad]).is_err(), "{bad}");
    }
    let garbage = [&[0; 1024][..], b"garbage"].concat();
    assert!(with(&garbage).is_err());
    let second = [&[0; 1024][..], &archive(&[file(b"g", b"")])].concat();
    assert!(with(&second).is_err());
    assert!(with(&[&[0; 512][..], &file(b"g", b"")].concat()).is_err());
    assert!(with(b"garbage").is_err());
    assert_eq!(read(b"").unwrap().len(), 0);
    let lenient = ReadLimits { zero_tail: false, ..ReadLimits::default() };
    assert_eq!(read_in(&[&one[..], &second].concat(), 100, &lenient).unwrap().len(), 1);
    for pending in [pax(b'x', &[("mtime", "1")]), special(b'L', b"l\0"), special(b'K', b"l\0")] {
        assert!(with(&pending).is_err());
        assert!(with(&[&pending[..], &[0; 1024]].concat()).is_err());
    }
}

#[test]
fn an_archive_cut_anywhere_is_an_error_or_a_shorter_archive() {
    let parts = [
        pax(b'x', &[("path", "a/long/name"), ("SCHILY.xattr.user.a", "b")]),
        file(b"a", &[1; 700]),
        special(b'L', b"long\0"),
        file(b"b", b"x"),
        pax(b'x', &[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9000")]),
        file(b"sparse", &[&b"1\n8000\n5\n"[..], &[0; 503], b"hello"].concat()),
    ];
    let bytes = archive(&parts);
    let ends = [
        0,
        parts[..2].concat().len(),
        parts[..4].concat().len(),
        parts.concat().len(),
        parts.concat().len() + 512,
        bytes.len(),
    ];
    for len in 0..=bytes.len() {
        let result = read_in(&bytes[..len], 333, &ReadLimits::default());
        assert_eq!(result.is_ok(), ends.contains(&len), "{len}: {result:?}");
    }
    let entries = read(&bytes).unwrap();
    assert_eq!(names(&entries), [&b"a/long/name"[..], b"long", b"sparse"]);
    assert_eq!(entries[2].1[8000..8006], *b"hello\0");
}

#[test]
fn after_an_error_there_is_nothing_but_errors() {
    let bytes = archive(&[file(b"a", b"x"), Raw::new(b"b", b'?', 0).done(), file(b"c", b"")]);
    let mut reader = LayerReader::new(ReadChunks::new(&bytes[..]), ReadLimits::default());
    assert!(reader.next_entry().unwrap().is_some());
    assert!(reader.next_entry().is_err());
    assert!(reader.next_entry().is_err());
    assert!(reader.next_data().is_err());
    assert!(reader.finish().is_err());

    struct Broken;
    impl ChunkStream for Broken {
        fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
            Err(Error::new(ErrorKind::Cancelled, "decompress", "cancelled by the caller"))
        }
    }
    let error = LayerReader::new(Broken, ReadLimits::default()).next_entry().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn limits_are_errors_that_say_so() {
    let limited = |bytes: &[u8], limits: ReadLimits| {
        let error = read_in(bytes, 4096, &limits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    };
    let normal = ReadLimits::default;
    let three = archive(&[file(b"a", b"12345"), file(b"b", b"12345"), file(b"c", b"")]);
    limited(&three, ReadLimits { max_entries: 2, ..normal() });
    limited(&three, ReadLimits { max_bytes: 9, ..normal() });
    assert!(read_in(&three, 4096, &ReadLimits { max_entries: 3, max_bytes: 10, ..normal() }).is_ok());
    let globals = archive(&[pax(b'g', &[("comment", "c")]), pax(b'g', &[("comment", "c")]), file(b"a", b"")]);
    limited(&globals, ReadLimits { max_entries: 2, ..normal() });

    let path = "a/".repeat(40_000);
    limited(&archive(&[pax(b'x', &[("path", &path)]), Raw::new(b"d/", b'5', 0).done()]), normal());
    limited(&archive(&[special(b'L', path.as_bytes()), Raw::new(b"d/", b'5', 0).done()]), normal());
    limited(&archive(&[special(b'K', path.as_bytes()), Raw::new(b"l", b'2', 0).done()]), normal());
    limited(&archive(&[pax(b'x', &[("path", &"n".repeat(256))]), file(b"f", b"")]), normal());
    let value = "v".repeat(64 * 1024 + 1);
    limited(&archive(&[pax(b'x', &[("SCHILY.xattr.user.a", &value)]), file(b"f", b"")]), normal());

    // Refused by what the header announces, before there is anything to hold.
    for flag in *b"xgLK" {
        limited(&Raw::new(b"giant", flag, 0o77777777777).done(), normal());
        limited(&Raw::new(b"giant", flag, 1024 * 1024 + 1).done(), normal());
    }
    let half = "v".repeat(600 * 1024);
    let halves =
        archive(&[special(b'L', half.as_bytes()), pax(b'x', &[("comment", &half)]), file(b"f", b"")]);
    limited(&halves, normal());

    // The longest directory that can be written can be read.
    let longest = [&b"a/".repeat(header::MAX_PATH / 2 - 1)[..], b"bb"].concat();
    let entry = TarEntry { path: longest, kind: EntryKind::Directory, ..read(&three).unwrap()[0].0.clone() };
    let longest = vec![(TarEntry { size: 0, ..entry }, Vec::new())];
    assert_eq!(read(&write(&longest, MtimePrecision::Seconds)).unwrap(), longest);

    let mut reader = LayerReader::new(ReadChunks::new(&three[..]), normal());
    reader.next_entry().unwrap();
    assert_eq!(reader.read_content(4).unwrap_err().kind(), ErrorKind::Limit);
}
