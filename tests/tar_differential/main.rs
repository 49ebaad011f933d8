//! The strict reader beside GNU tar, bsdtar, Python and Go: the same entries, or an error.
//!
//! python3 and GNU tar must be there; bsdtar and Go take part where they are installed, and in CI.
#![allow(clippy::disallowed_methods)]

mod corpus;
mod damage;
mod oracles;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use corpus::{Corpus, RAW, corpus};
use oracles::{Except, NONE, compare, go, installed, ours, python, run};
use treering::layer::header::{EntryKind, HeaderEntry, MtimePrecision, write_header};

#[test]
fn archives_of_gnu_tar_are_read_alike() {
    let out = tempfile::tempdir().unwrap();
    let mut archives = Vec::new();
    let mut make = |corpus: &Corpus, options: &[&str]| {
        let path = out.path().join(format!("{}{}.tar", archives.len(), options.concat()));
        corpus.tar("tar", options, &path);
        // libarchive requires UTF-8 names in PAX headers; no other reader and no writer minds.
        let bsdtar = corpus.at(OsStr::from_bytes(RAW)).exists() && options.contains(&"--format=pax");
        archives.push((path.clone(), Except { bsdtar, ..NONE }));
        path
    };
    make(&corpus(), &["--format=v7"]);
    make(&corpus().medium(), &["--format=ustar"]);
    make(&corpus().odd(), &["--format=ustar"]);
    let all = corpus().medium().long().odd();
    for format in ["--format=oldgnu", "--format=gnu", "--format=pax"] {
        make(&all, &[format]);
        make(&all, &[format, "--numeric-owner", "--owner=:3000000", "--group=:3000001"]);
    }
    make(&all, &["--format=pax", "--pax-option=globexthdr.name=g,comment=c"]);
    let exact = make(&all, &["--format=pax", "--xattrs", "--owner=:3000000", "--group=:3000001"]);
    let sparse = corpus().long().sparse();
    for format in ["--format=gnu", "--format=oldgnu"] {
        make(&sparse, &[format, "--sparse"]);
    }
    for version in ["0.0", "0.1", "1.0"] {
        make(&sparse, &["--format=pax", "--sparse", &format!("--sparse-version={version}")]);
    }
    let refused = compare(&archives);
    assert!(refused.is_empty(), "{refused:#?}");

    let entries = ours(&exact).unwrap();
    let find = |name: &[u8]| &entries.iter().find(|(entry, _)| entry.path == name).unwrap().0;
    assert_eq!(find(b"old").mtime, (-2, 500_000_000));
    assert_eq!((find(b"old").uid, find(b"old").gid), (3_000_000, 3_000_001));
    if all.xattrs {
        let xattrs = [(b"user.e".to_vec(), b"".to_vec()), (b"user.t".to_vec(), b"a\0\n=b".to_vec())];
        assert_eq!(find(b"dir/small").xattrs, xattrs);
    }
}

#[test]
fn archives_of_bsdtar_are_read_alike() {
    if !installed("bsdtar") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let mut archives = Vec::new();
    let sets = [
        ("v7", corpus()),
        ("ustar", corpus().medium()),
        ("gnutar", corpus().medium().sparse()),
        ("pax", corpus().medium().long().odd().sparse()),
    ];
    for (format, corpus) in sets {
        let path = out.path().join(format!("{format}.tar"));
        corpus.tar("bsdtar", &["--format", format], &path);
        archives.push((path, NONE));
    }
    let refused = compare(&archives);
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn archives_of_python_are_read_alike() {
    let out = tempfile::tempdir().unwrap();
    let script = r#"
import sys, tarfile, io
for number, form in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
    with tarfile.open(sys.argv[1] + '/%d.tar' % number, 'w', format=form, encoding='utf-8', errors='surrogateescape',
                      pax_headers={'comment': 'x'} if form == tarfile.PAX_FORMAT else None) as tar:
        def add(name, kind=tarfile.REGTYPE, data=b'', **more):
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(data)
            for key, value in more.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
        add('./', tarfile.DIRTYPE, mode=0o755)
        add('a', data=b'hello', mtime=1.5, uid=5, gid=6)
        add('dir', tarfile.DIRTYPE, mode=0o755)
        add('dir/b', data=b'x' * 1000)
        add('p' * 100 + '/' + 'q' * 90, data=b'split')
        add('dir/link', tarfile.SYMTYPE, linkname='../a')
        add('dir/hard', tarfile.LNKTYPE, linkname='a')
        add('contiguous', tarfile.CONTTYPE, data=b'abc')
        add('old', tarfile.AREGTYPE, data=b'abc')
        add('caf\u00e9', data=b'utf-8')
        add('raw\udcff', data=b'raw')
        if form != tarfile.USTAR_FORMAT:
            add('n' * 200 + '/' + 'm' * 250, data=b'long', uid=2**31, gid=2**32 - 2)
            add('long', tarfile.SYMTYPE, linkname='t/' * 150)
"#;
    python(script, &[out.path()]);
    let archives: Vec<_> = (0..3).map(|number| (out.path().join(format!("{number}.tar")), NONE)).collect();
    let refused = compare(&archives);
    assert!(refused.is_empty(), "{refused:#?}");
}

/// What Docker, BuildKit and most others write.
#[test]
fn archives_of_go_are_read_alike() {
    let Some(go) = go() else { return };
    let out = tempfile::tempdir().unwrap();
    run(Command::new(go).arg("-write").arg(out.path()));
    let archives: Vec<_> =
        ["ustar", "pax", "gnu"].iter().map(|name| (out.path().join(format!("{name}.tar")), NONE)).collect();
    let refused = compare(&archives);
    assert!(refused.is_empty(), "{refused:#?}");
    let entries = ours(&archives[1].0).unwrap();
    let find = |name: &[u8]| &entries.iter().find(|(entry, _)| entry.path == name).unwrap().0;
    assert_eq!(find(b"time").mtime, (-5, 250_000_000));
    assert_eq!(find(b"cap").xattrs, [(b"security.capability".to_vec(), b"\x01\0\0\x02\n=".to_vec())]);
}

/// Every order of up to four headers that we accept, GNU tar, Python and Go read as we do.
#[test]
fn orders_of_headers_are_read_alike_or_refused() {
    let out = tempfile::tempdir().unwrap();
    let script = r#"
import sys, itertools
def block(name, flag, body):
    head = bytearray(512)
    def put(at, data): head[at:at + len(data)] = data
    put(0, name); put(100, b'0000644\0'); put(108, b'0000000\0'); put(116, b'0000000\0')
    put(124, b'%011o\0' % len(body)); put(136, b'00000000144\0'); put(148, b' ' * 8); put(156, flag)
    put(257, b'ustar\x0000'); put(148, b'%06o\0 ' % sum(head))
    return bytes(head) + body + bytes(-len(body) % 512)
def part(kind, at):
    if kind == 'x': return block(b'x', b'x', b'12 mtime=%d\n' % (10 + at) + b'9 size=5\n')
    if kind == 'P': return block(b'x', b'x', b'13 path=pax%d\n' % at)
    if kind == 'g': return block(b'g', b'g', b'13 comment=%d\n' % at)
    if kind == 'L': return block(b'././@LongLink', b'L', b'long%d\0' % at)
    if kind == 'K': return block(b'././@LongLink', b'K', b'link%d\0' % at)
    return block(b'short%d' % at, b'0', b'hello')
for size in range(1, 5):
    for order in itertools.product('xPgLKf', repeat=size):
        with open('%s/%s.tar' % (sys.argv[1], ''.join(order)), 'wb') as out:
            out.write(b''.join(part(kind, at) for at, kind in enumerate(order)) + bytes(1024))
"#;
    python(script, &[out.path()]);
    // libarchive gives up at headers before an entry that are not in the order it likes.
    // Python requires an entry after a global header.
    let except = |path: &Path| Except { python: path.to_string_lossy().ends_with("g.tar"), bsdtar: true };
    let paths = fs::read_dir(out.path()).unwrap().map(|item| item.unwrap().path());
    let mut archives: Vec<_> = paths.map(|path| (path.clone(), except(&path))).collect();
    archives.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(archives.len(), 6 + 36 + 216 + 1296);
    let refused = compare(&archives);
    // An entry may have one each of x (or P), L and K before it, but not P and L; a g stands between entries.
    assert_eq!(archives.len() - refused.len(), 160);
}

#[test]
fn others_read_what_we_write() {
    let long = [&b"p/".repeat(150)[..], &[b'n'; 200]].concat();
    let target = b"t/".repeat(100);
    let plain = HeaderEntry {
        path: b"file",
        kind: EntryKind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: (1_700_000_000, 123_000_000),
        link: b"",
        rdev: (0, 0),
        xattrs: &[],
    };
    let split = [&[b'd'; 120][..], b"/", &[b'e'; 90]].concat();
    let directory = [&[b'd'; 120][..], b"/", &[b'f'; 60]].concat();
    let entries = [
        HeaderEntry { path: b"", kind: EntryKind::Directory, mode: 0o755, ..plain },
        HeaderEntry { size: 5, mode: 0o4755, uid: 1000, gid: 100, ..plain },
        HeaderEntry { path: &split, size: 512, mtime: (-2, 500_000_000), ..plain },
        HeaderEntry { path: &directory, kind: EntryKind::Directory, mode: 0o700, ..plain },
        HeaderEntry { path: &long, size: 513, uid: 3_000_000, gid: u32::MAX - 1, ..plain },
        HeaderEntry { path: b"raw\xff\nname", size: 1, ..plain },
        HeaderEntry { path: b"link", kind: EntryKind::Symlink, mode: 0o777, link: &target, ..plain },
        HeaderEntry { path: b"hard", kind: EntryKind::Hardlink, link: &long, ..plain },
        HeaderEntry { path: b"fifo", kind: EntryKind::Fifo, mtime: (1 << 34, 0), ..plain },
        HeaderEntry { path: b"x", size: 3, xattrs: &[(b"user.b", b"\0\n=\xff"), (b"user.a", b"")], ..plain },
    ];
    let out = tempfile::tempdir().unwrap();
    let mut archives = Vec::new();
    for precision in [MtimePrecision::Seconds, MtimePrecision::Nanoseconds] {
        let mut bytes = Vec::new();
        for entry in &entries {
            write_header(entry, precision, &mut bytes).unwrap();
            bytes.resize(bytes.len() + entry.size as usize, b'c');
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        let path = out.path().join(format!("{precision:?}.tar"));
        fs::write(&path, bytes).unwrap();
        archives.push((path, NONE));
    }
    let refused = compare(&archives);
    assert!(refused.is_empty(), "{refused:#?}");

    // Times and attributes, as GNU tar puts them on files.
    let root = tempfile::tempdir().unwrap();
    let xattrs = corpus().xattrs;
    let mut command = Command::new("tar");
    command
        .args(["--no-same-owner", "--warning=no-timestamp", "-xf"])
        .arg(&archives[1].0)
        .arg("-C")
        .arg(root.path());
    if xattrs {
        command.arg("--xattrs");
    }
    run(&mut command);
    let time = |path: &[u8]| {
        let meta = root.path().join(OsStr::from_bytes(path)).metadata().unwrap();
        (meta.mtime(), meta.mtime_nsec())
    };
    assert_eq!(time(&split), (-2, 500_000_000));
    assert_eq!(time(b"file"), (1_700_000_000, 123_000_000));
    assert_eq!(root.path().join("hard").metadata().unwrap().nlink(), 2);
    if xattrs {
        let script = "import os,sys; f=sys.argv[1]; print(os.getxattr(f,'user.b').hex(), len(os.getxattr(f,'user.a')))";
        assert_eq!(python(script, &[root.path().join("x")]), b"000a3dff 0\n");
    }
}
