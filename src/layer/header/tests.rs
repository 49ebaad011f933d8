use super::*;

fn entry<'a>(path: &'a [u8], kind: EntryKind) -> HeaderEntry<'a> {
    HeaderEntry {
        path,
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: (0, 0),
        link: if kind == EntryKind::Symlink || kind == EntryKind::Hardlink { b"target" } else { b"" },
        rdev: (0, 0),
        xattrs: &[],
    }
}

fn written(entry: &HeaderEntry<'_>) -> Vec<u8> {
    let mut out = vec![0xaa; 7];
    write_header(entry, MtimePrecision::Nanoseconds, &mut out).unwrap();
    let out = out.split_off(7);
    assert_eq!(out.len() as u64, header_len(entry, MtimePrecision::Nanoseconds).unwrap());
    out
}

#[test]
fn a_plain_file_is_one_known_block() {
    let mut file = entry(b"bin/true", EntryKind::File);
    file.mode = 0o100755;
    file.uid = 1000;
    file.size = 12345;
    file.mtime = (1_700_000_000, 0);
    let block = written(&file);
    let mut expected = vec![0; 512];
    expected[..8].copy_from_slice(b"bin/true");
    expected[100..108].copy_from_slice(b"0000755\0");
    expected[108..116].copy_from_slice(b"0001750\0");
    expected[116..124].copy_from_slice(b"0000000\0");
    expected[124..136].copy_from_slice(b"00000030071\0");
    expected[136..148].copy_from_slice(b"14524770400\0");
    expected[148..156].copy_from_slice(b"010537\0 ");
    expected[156] = b'0';
    expected[257..265].copy_from_slice(b"ustar\x0000");
    expected[329..337].copy_from_slice(b"0000000\0");
    expected[337..345].copy_from_slice(b"0000000\0");
    let sum: u32 =
        expected.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { 32 } else { b.into() }).sum();
    expected[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    assert_eq!(block, expected);
}

#[test]
fn a_pax_header_stands_only_where_ustar_has_no_room() {
    let long_name = [b'n'; 101];
    let split = [&[b'p'; 155][..], b"/", &[b'n'; 100]].concat();
    let split_directory = [&[b'p'; 155][..], b"/", &[b'n'; 99]].concat();
    let too_long = [&[b'p'; 155][..], b"/", &[b'n'; 101]].concat();
    let prefix_too_long = [&[b'p'; 156][..], b"/", &[b'n'; 50]].concat();
    use EntryKind::{Directory, File};
    let table: &[(&[u8], EntryKind, bool)] = &[
        (&[b'n'; 100], File, false),
        (&[b'n'; 100], Directory, true),
        (&[b'n'; 99], Directory, false),
        (&long_name, File, true),
        (&split, File, false),
        (&split, Directory, true),
        (&split_directory, Directory, false),
        (&too_long, File, true),
        (&prefix_too_long, File, true),
        (b"", Directory, false),
        (b".", Directory, false),
        (b"\xff\xfe", File, false),
    ];
    for &(path, kind, pax) in table {
        let out = written(&entry(path, kind));
        assert_eq!(out[156] == b'x', pax, "{}", path.escape_ascii());
        assert_eq!(out.len() > 512, pax);
    }
    assert_eq!(&written(&entry(b"", Directory))[..3], b"./\0");
}

#[test]
fn numbers_at_the_edge_of_ustar() {
    let pax = |change: &dyn Fn(&mut HeaderEntry<'_>)| {
        let mut file = entry(b"f", EntryKind::File);
        change(&mut file);
        let out = written(&file);
        let text = out[..out.len() - 512].to_vec();
        (out[156] == b'x').then(|| {
            let body = &text[512..];
            let end = body.iter().position(|&byte| byte == 0).unwrap_or(body.len());
            String::from_utf8(body[..end].to_vec()).unwrap()
        })
    };
    assert_eq!(pax(&|f| f.size = 0o77777777777), None);
    assert_eq!(pax(&|f| f.size = 0o100000000000).unwrap(), "19 size=8589934592\n");
    assert_eq!(pax(&|f| f.uid = 2097151), None);
    assert_eq!(pax(&|f| f.uid = 2097152).unwrap(), "15 uid=2097152\n");
    assert_eq!(pax(&|f| f.gid = 4294967294).unwrap(), "18 gid=4294967294\n");
    assert_eq!(pax(&|f| f.mtime = (0o77777777777, 0)), None);
    assert_eq!(pax(&|f| f.mtime = (0o100000000000, 0)).unwrap(), "20 mtime=8589934592\n");
    assert_eq!(pax(&|f| f.mtime = (-1, 0)).unwrap(), "12 mtime=-1\n");
    assert_eq!(pax(&|f| f.mtime = (-2, 500_000_000)).unwrap(), "14 mtime=-1.5\n");
    assert_eq!(pax(&|f| f.mtime = (5, 120_000_000)).unwrap(), "14 mtime=5.12\n");
    let mut file = entry(b"f", EntryKind::File);
    file.mtime = (5, 120_000_000);
    assert_eq!(header_len(&file, MtimePrecision::Seconds).unwrap(), 512);
    file.mtime = (-2, 500_000_000);
    let mut out = Vec::new();
    write_header(&file, MtimePrecision::Seconds, &mut out).unwrap();
    assert!(out[512..].starts_with(b"12 mtime=-2\n"));
}

#[test]
fn attributes_are_sorted_and_given_once() {
    let mut file = entry(b"f", EntryKind::File);
    let xattrs: [(&[u8], &[u8]); 3] =
        [(b"user.b", b"\0\n="), (b"security.capability", b"\x01"), (b"user.a", b"")];
    file.xattrs = &xattrs;
    let out = written(&file);
    let mut body = Vec::new();
    pax::append_record(b"SCHILY.xattr.security.capability", b"\x01", &mut body);
    pax::append_record(b"SCHILY.xattr.user.a", b"", &mut body);
    pax::append_record(b"SCHILY.xattr.user.b", b"\0\n=", &mut body);
    assert_eq!(&out[512..512 + body.len()], body);
    assert_eq!(out.len(), 512 * 3);
    let mut other_order = xattrs;
    other_order.reverse();
    file.xattrs = &other_order;
    assert_eq!(written(&file), out);
    let twice: [(&[u8], &[u8]); 2] = [(b"user.a", b"1"), (b"user.a", b"1")];
    file.xattrs = &twice;
    assert!(write_header(&file, MtimePrecision::Seconds, &mut Vec::new()).is_err());
}

#[test]
fn what_no_header_can_say_is_refused_and_named() {
    let refused = |entry: HeaderEntry<'_>| {
        let mut out = Vec::new();
        let error = write_header(&entry, MtimePrecision::Nanoseconds, &mut out).unwrap_err();
        assert_eq!(header_len(&entry, MtimePrecision::Nanoseconds).unwrap_err().kind(), error.kind());
        assert_eq!(error.path().unwrap_or_default(), entry.path);
        assert!(out.is_empty());
        error.kind()
    };
    use EntryKind::*;
    for path in [&b"/a"[..], b"a/", b"a//b", b"./a", b"a/.", b"..", b"a/../b", b"a\0b"] {
        assert_eq!(refused(entry(path, File)), ErrorKind::InvalidArgument);
        let mut link = entry(b"l", Hardlink);
        link.link = path;
        assert_eq!(refused(link), ErrorKind::InvalidArgument);
    }
    for kind in [File, Symlink, Hardlink, CharDevice, BlockDevice, Fifo] {
        refused(entry(b"", kind));
        refused(entry(b".", kind));
    }
    assert_eq!(refused(entry(&[b'a'; 256], File)), ErrorKind::Limit);
    let deep = b"a/".repeat(40_000);
    assert_eq!(refused(entry(&deep[..deep.len() - 1], File)), ErrorKind::Limit);
    let long = vec![b'a'; MAX_PATH + 1];
    refused(HeaderEntry { link: &long, ..entry(b"l", Symlink) });
    refused(HeaderEntry { link: b"", ..entry(b"l", Symlink) });
    refused(HeaderEntry { link: b"a\0", ..entry(b"l", Symlink) });
    refused(HeaderEntry { link: b"l", ..entry(b"l", Hardlink) });
    refused(HeaderEntry { link: b"", ..entry(b"l", Hardlink) });
    refused(HeaderEntry { size: 1, ..entry(b"d", Directory) });
    refused(HeaderEntry { size: 1 << 63, ..entry(b"f", File) });
    refused(HeaderEntry { uid: u32::MAX, ..entry(b"f", File) });
    refused(HeaderEntry { gid: u32::MAX, ..entry(b"f", File) });
    refused(HeaderEntry { mtime: (0, 1_000_000_000), ..entry(b"f", File) });
    refused(HeaderEntry { mtime: (i64::MIN, 0), ..entry(b"f", File) });
    assert_eq!(
        refused(HeaderEntry { rdev: (1 << 21, 0), ..entry(b"c", CharDevice) }),
        ErrorKind::Unsupported
    );
    for name in [&b""[..], b"user.a=b", b"user.a\0", b"user.a\n", b"user.a%3D", b"user.a%25", &[b'u'; 256]] {
        refused(HeaderEntry { xattrs: &[(name, b"")], ..entry(b"f", File) });
    }
    let value = vec![0; MAX_XATTR_VALUE + 1];
    assert_eq!(
        refused(HeaderEntry { xattrs: &[(b"user.a", &value)], ..entry(b"f", File) }),
        ErrorKind::Limit
    );
    let value = vec![0; MAX_XATTR_VALUE];
    let names: Vec<String> = (0..17).map(|i| format!("user.{i}")).collect();
    let many: Vec<(&[u8], &[u8])> = names.iter().map(|name| (name.as_bytes(), &value[..])).collect();
    assert_eq!(refused(HeaderEntry { xattrs: &many, ..entry(b"f", File) }), ErrorKind::Limit);
}
