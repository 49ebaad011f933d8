//! Sparse files, honest and hostile.

use super::*;

#[test]
fn sparse_files_of_every_version() {
    let content = b"helloworld";
    let mut expected = vec![0; 20_000];
    expected[512..517].copy_from_slice(b"hello");
    expected[19_000..19_005].copy_from_slice(b"world");
    let old = Raw::new(b"old", b'S', 10)
        .gnu()
        .put(386, b"00000001000\x0000000000005\0")
        .put(410, b"00000045070\x0000000000005\0")
        .put(434, b"00000047040\x0000000000000\0")
        .put(483, b"00000047040\0")
        .with(content);
    let mut extension = vec![0; 512];
    extension[..24].copy_from_slice(b"00000045070\x0000000000005\0");
    extension[24..48].copy_from_slice(b"00000047040\x0000000000000\0");
    let mut extended = Raw::new(b"extended", b'S', 10)
        .gnu()
        .put(386, b"00000001000\x0000000000002\0")
        .put(410, b"00000001002\x0000000000001\0")
        .put(434, b"00000001003\x0000000000001\0")
        .put(458, b"00000001004\x0000000000001\0")
        .put(482, b"\x01")
        .put(483, b"00000047040\0")
        .with(&extension);
    extended.extend_from_slice(content);
    extended.resize(extended.len().next_multiple_of(512), 0);
    let v0_0 = [
        pax(
            b'x',
            &[
                ("GNU.sparse.size", "20000"),
                ("GNU.sparse.numblocks", "2"),
                ("GNU.sparse.offset", "512"),
                ("GNU.sparse.numbytes", "5"),
                ("GNU.sparse.offset", "19000"),
                ("GNU.sparse.numbytes", "5"),
            ],
        ),
        file(b"v0.0", content),
    ]
    .concat();
    let v0_1 = [
        pax(
            b'x',
            &[
                ("GNU.sparse.name", "v0.1"),
                ("GNU.sparse.size", "20000"),
                ("GNU.sparse.numblocks", "2"),
                ("GNU.sparse.map", "512,5,19000,5"),
            ],
        ),
        file(b"GNUSparseFile.1/v0.1", content),
    ]
    .concat();
    let v1_0 = [
        pax(
            b'x',
            &[
                ("path", "GNUSparseFile.1/v1.0"),
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "v1.0"),
                ("GNU.sparse.realsize", "20000"),
            ],
        ),
        file(b"short", &[&b"3\n512\n5\n19000\n5\n20000\n0\n"[..], &[0; 488], content].concat()),
    ]
    .concat();
    let bytes = archive(&[old, extended, v0_0, v0_1, v1_0, file(b"after", b"x")]);
    let entries = read(&bytes).unwrap();
    assert_eq!(names(&entries), [&b"old"[..], b"extended", b"v0.0", b"v0.1", b"v1.0", b"after"]);
    for (entry, content) in &entries[..5] {
        assert_eq!(content, &expected, "{}", entry.path.escape_ascii());
    }
    // Nothing of a sparse file that is passed over leaks into the next entry.
    let mut reader = LayerReader::new(ReadChunks::with_size(&bytes[..], 100), ReadLimits::default());
    let mut count = 0;
    while reader.next_entry().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 6);
}

/// Go CVE-2025-58183 and CVE-2026-32288: millions of regions, and files of eight exbibytes in one kibibyte.
#[test]
fn sparse_bombs_do_not_go_off() {
    let realsize = |size: &str| {
        archive(&[
            pax(b'x', &[("GNU.sparse.size", size), ("GNU.sparse.map", "0,5")]),
            file(b"bomb", b"hello"),
        ])
    };
    assert_eq!(refused(&realsize("9223372036854775807")).kind(), ErrorKind::Limit);
    refused(&realsize("9223372036854775808"));
    refused(&realsize("4"));

    let regions = |count: usize| {
        let map = ["0,0"].repeat(count).join(",");
        archive(&[pax(b'x', &[("GNU.sparse.size", "5"), ("GNU.sparse.map", &map)]), file(b"bomb", b"")])
    };
    assert_eq!(read(&regions(100_000)).unwrap().len(), 1);
    assert_eq!(refused(&regions(100_001)).kind(), ErrorKind::Limit);

    /// An archive that never ends its sparse map.
    struct Endless(u64);
    let endless = |head: Vec<u8>, block: Vec<u8>| {
        struct Chunks(Vec<u8>, Vec<u8>, Endless);
        impl ChunkStream for Chunks {
            fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
                self.2.0 += 1;
                let body = self.1.clone();
                Ok(Some(Arc::new(if self.2.0 == 1 { std::mem::take(&mut self.0) } else { body })))
            }
        }
        let mut reader = LayerReader::new(Chunks(head, block, Endless(0)), ReadLimits::default());
        let error = reader.next_entry().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(reader.offset() < 4 << 20);
    };
    let mut extension = b"00000000000\x0000000000000\0".repeat(21);
    extension.resize(512, 1);
    let fields = b"00000000000\x0000000000000\0".repeat(4);
    endless(Raw::new(b"old", b'S', 0).gnu().put(386, &fields).put(482, b"\x01").done(), extension);
    let v1 = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "0")];
    let head = [pax(b'x', &v1), Raw::new(b"f", b'0', 1 << 32).done(), b"99999999\n".to_vec()].concat();
    endless(head, vec![b'\n'; 512]);
}

#[test]
fn sparse_files_that_contradict_themselves() {
    let sparse = |records: &[(&str, &str)], flag: u8, content: &[u8]| {
        archive(&[pax(b'x', records), Raw::new(b"f", flag, content.len() as u64).gnu().with(content)])
    };
    refused(&sparse(&[("GNU.sparse.size", "10"), ("GNU.sparse.map", "0,5")], b'0', b"four"));
    refused(&sparse(&[("GNU.sparse.size", "10"), ("GNU.sparse.map", "0,5")], b'0', b"sixsix"));
    refused(&sparse(&[("GNU.sparse.size", "10"), ("GNU.sparse.map", "0,5,3,0")], b'0', b"fives"));
    refused(&sparse(&[("GNU.sparse.size", "10"), ("GNU.sparse.map", "0,0")], b'5', b""));
    refused(&sparse(&[("GNU.sparse.size", "10"), ("GNU.sparse.map", "0,0")], b'S', b""));
    refused(&sparse(&[("size", "0")], b'S', b""));
    let v1 = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "5")];
    for content in [&b""[..], b"0\n", b"1\n0\n5\n", &[b'1'; 512], &[&b"1\n0\n5\n"[..], &[0; 506]].concat()] {
        refused(&sparse(&v1, b'0', content));
    }
    refused(&archive(&[Raw::new(b"f", b'S', 0).done()]));
}
