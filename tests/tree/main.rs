//! Scanning trees into snapshots.
#![allow(clippy::disallowed_methods)]

use std::os::unix::ffi::OsStrExt;

use support::{Scratch, describe, scan, scan_with, sh};
use treering::ErrorKind;
use treering::fs::Kind;
use treering::tree::{Flags, OwnerPolicy, ScanOptions, Snapshot};

#[test]
fn paths_come_in_byte_order() {
    let scratch = Scratch::new();
    sh(
        scratch.path(),
        "mkdir -p t/a/x t/a-b/y t/a.c t/ab 't/a!' t/a/x-1; touch t/a/x/1 t/a-b/y/2 t/a/z t/a.c/q t/ab/k 't/a!/e' t/a0",
    );
    let scan = scan(&scratch.join("t"));
    let paths: Vec<Vec<u8>> = scan.snapshot.walk().map(|i| scan.snapshot.path(i)).collect();
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(paths, sorted);
    assert_eq!(paths.len(), 15);
    for path in &paths {
        let index = scan.snapshot.lookup(path).unwrap();
        assert_eq!(&scan.snapshot.path(index), path);
    }
    assert_eq!(scan.snapshot.lookup(b"a/none"), None);
}

#[test]
fn a_scan_says_what_find_says() {
    let scratch = Scratch::new();
    sh(
        scratch.path(),
        "mkdir t; cp -a /etc/ssl t/ 2>/dev/null || true; mkdir -p t/d/e; echo hello >t/d/f; ln t/d/f t/d/e/g; ln -s ../f t/d/e/l
         mkfifo t/p; chmod 4755 t/d/f; chmod 1777 t/d; touch -d '2001-02-03 04:05:06.789' t/d/e/old; truncate -s 1G t/sparse
         find t -mindepth 1 -printf '%P\\0%y %m %U:%G %s %T@ %l %n\\0' >list",
    );
    let list = std::fs::read(scratch.join("list")).unwrap();
    let fields: Vec<&[u8]> = list.split(|&c| c == 0).filter(|f| !f.is_empty()).collect();
    let scan = scan(&scratch.join("t"));
    let snapshot = &scan.snapshot;
    let mut seen = 0;
    for pair in fields.chunks(2) {
        let index = snapshot.lookup(pair[0]).unwrap_or_else(|| panic!("{:?} missing", pair[0]));
        let m = snapshot.meta(index);
        let kind = match m.kind {
            Kind::File => 'f',
            Kind::Directory => 'd',
            Kind::Symlink => 'l',
            Kind::Fifo => 'p',
            _ => '?',
        };
        let ours = format!(
            "{kind} {:o} {}:{} {} {}.{:09}0 {} {}",
            m.mode,
            m.uid,
            m.gid,
            m.size,
            m.mtime.secs,
            m.mtime.nanos,
            String::from_utf8_lossy(snapshot.link_target(index)),
            m.nlink
        );
        let theirs = String::from_utf8_lossy(pair[1]).to_string();
        // find prints the size of directories and links, which no layer keeps.
        let strip = |s: &str| {
            let mut parts: Vec<String> = s.split(' ').map(String::from).collect();
            if parts[0] != "f" {
                parts[3] = "-".into();
            }
            parts.join(" ")
        };
        assert_eq!(strip(&ours), strip(&theirs), "{}", String::from_utf8_lossy(pair[0]));
        seen += 1;
    }
    assert_eq!(seen as u32 + 1, snapshot.len());
}

#[test]
fn hard_links_are_led_by_their_first_path() {
    let scratch = Scratch::new();
    sh(
        scratch.path(),
        "mkdir -p t/z t/b; echo x >t/z/1; ln t/z/1 t/b/2; ln t/z/1 t/c; echo x >outside; ln outside t/alone",
    );
    let scan = scan(&scratch.join("t"));
    let s = &scan.snapshot;
    let leader = |path: &[u8]| s.path(s.leader(s.lookup(path).unwrap()));
    assert_eq!(leader(b"z/1"), b"b/2");
    assert_eq!(leader(b"c"), b"b/2");
    assert_eq!(leader(b"alone"), b"alone");
}

#[test]
fn names_need_not_be_text_and_sockets_are_reported() {
    let scratch = Scratch::new();
    let dir = scratch.dir("t");
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9\xff\n");
    std::fs::write(dir.join(name), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("sock")).unwrap();
    let scan = scan(&dir);
    assert!(scan.snapshot.lookup(b"caf\xe9\xff\n").is_some());
    assert!(scan.snapshot.lookup(b"sock").is_none());
    assert_eq!(scan.skipped.len(), 1);
    assert_eq!((&scan.skipped[0].path[..], scan.skipped[0].reason), (&b"sock"[..], "socket"));
}

/// A socket is no entry, so nothing in the list has it: its directory is listed again, changed or not.
#[test]
fn what_was_left_out_is_reported_by_every_scan() {
    let scratch = Scratch::new();
    let dir = scratch.dir("t/a/b");
    sh(scratch.path(), "mkdir t/plain; echo x >t/plain/f; echo x >t/a/f; echo x >t/a/b/f");
    let deep = std::os::unix::net::UnixListener::bind(dir.join("sock")).unwrap();
    let top = std::os::unix::net::UnixListener::bind(scratch.join("t/sock")).unwrap();
    let skipped = |scan: &treering::tree::Scan| -> Vec<Vec<u8>> {
        scan.skipped.iter().map(|skipped| skipped.path.clone()).collect()
    };
    let mut last = scan(&scratch.join("t"));
    for round in 0..3 {
        assert_eq!(skipped(&last), [&b"a/b/sock"[..], b"sock"]);
        // Once more through the bytes on disk.
        let previous = Snapshot::from_bytes(last.snapshot.as_bytes().to_vec()).unwrap();
        let options =
            ScanOptions { owner: &OwnerPolicy::Keep, previous: Some(&previous), ..ScanOptions::default() };
        last = scan_with(&scratch.join("t"), &options);
        // The first scan may have begun within a tick of the directories' changes, and says so.
        assert!(round == 0 || last.unchanged == last.snapshot.len() as u64);
    }
    drop((deep, top));
    std::fs::remove_file(dir.join("sock")).unwrap();
    let options =
        ScanOptions { owner: &OwnerPolicy::Keep, previous: Some(&last.snapshot), ..ScanOptions::default() };
    assert_eq!(skipped(&scan_with(&scratch.join("t"), &options)), [b"sock"]);
}

/// Four times the depth is four times the work, on the way down and, from the last of many side branches, on the way up.
#[test]
fn depth_costs_by_the_level() {
    let time = |levels: usize| {
        let scratch = Scratch::in_memory();
        let dir = scratch.dir("t");
        let mut at: std::os::fd::OwnedFd = std::fs::File::open(&dir).unwrap().into();
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, "d", 0o755.into()).unwrap();
            rustix::fs::mkdirat(&at, "e", 0o755.into()).unwrap();
            at = treering::fs::root::open_dir_at(&at, c"d").unwrap();
        }
        let options = ScanOptions { threads: 1, owner: &OwnerPolicy::Keep, ..ScanOptions::default() };
        let once = || {
            let start = std::time::Instant::now();
            assert_eq!(scan_with(&dir, &options).snapshot.len() as usize, 1 + 2 * levels);
            start.elapsed()
        };
        (0..3).map(|_| once()).min().unwrap()
    };
    let (few, many) = (time(4_000), time(16_000));
    assert!(many < few * 9 + std::time::Duration::from_millis(200), "{few:?} for 4,000, {many:?} for 16,000");
}

#[test]
fn paths_may_be_longer_than_any_call_takes() {
    let scratch = Scratch::new();
    let dir = scratch.dir("t");
    let long = "n".repeat(255);
    let mut at: std::os::fd::OwnedFd = std::fs::File::open(&dir).unwrap().into();
    for _ in 0..40 {
        rustix::fs::mkdirat(&at, long.as_str(), 0o755.into()).unwrap();
        at = treering::fs::root::open_dir_at(&at, &std::ffi::CString::new(long.as_str()).unwrap()).unwrap();
    }
    let mut at: std::os::fd::OwnedFd = std::fs::File::open(&dir).unwrap().into();
    for i in 0..5000 {
        rustix::fs::mkdirat(&at, "d", 0o755.into()).unwrap();
        if i % 7 == 0 {
            rustix::fs::mkdirat(&at, "e", 0o755.into()).unwrap();
        }
        at = treering::fs::root::open_dir_at(&at, c"d").unwrap();
    }
    // Every thread gets by with a small stack.
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(move || {
            let found = scan(&dir);
            let snapshot = found.snapshot;
            assert_eq!(snapshot.len(), 1 + 40 + 5000 + 5000_u32.div_ceil(7));
            let longest = snapshot.walk().map(|i| snapshot.path(i).len()).max().unwrap();
            assert_eq!(longest, 40 * 256 - 1);
            let again = scan_with(
                &dir,
                &ScanOptions {
                    owner: &OwnerPolicy::Keep,
                    previous: Some(&snapshot),
                    ..ScanOptions::default()
                },
            );
            assert_eq!(again.snapshot.len(), snapshot.len());
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_second_scan_takes_what_has_not_changed_from_the_first() {
    let scratch = Scratch::new();
    sh(
        scratch.path(),
        "mkdir -p t/a/b t/c; for i in 1 2 3 4 5 6 7 8 9; do echo $i >t/a/$i; echo $i >t/a/b/$i; done; setfattr -n user.x -v y t/a/1 || true",
    );
    let first = scan(&scratch.join("t"));
    let options = |previous| ScanOptions { owner: &OwnerPolicy::Keep, previous, ..ScanOptions::default() };
    // The first may have begun within a tick of the tree's making, and says so.
    let first = scan_with(&scratch.join("t"), &options(Some(&first.snapshot)));
    let second = scan_with(&scratch.join("t"), &options(Some(&first.snapshot)));
    assert_eq!(second.unchanged, second.snapshot.len() as u64);
    assert_eq!(describe(&first.snapshot, None), describe(&second.snapshot, None));
    // The same length, the same mtime: only the ctime differs.
    sh(scratch.path(), "touch -r t/a/5 ref; echo X >t/a/5; touch -r ref t/a/5; rm t/a/b/3; echo n >t/c/new");
    let third = scan_with(&scratch.join("t"), &options(Some(&second.snapshot)));
    assert!(third.snapshot.lookup(b"a/b/3").is_none());
    assert!(third.snapshot.lookup(b"c/new").is_some());
    let index = third.snapshot.lookup(b"a/5").unwrap();
    let before = second.snapshot.meta(second.snapshot.lookup(b"a/5").unwrap());
    assert!(!before.same_identity(&third.snapshot.meta(index)));
    let fresh = scan(&scratch.join("t"));
    assert_eq!(describe(&fresh.snapshot, None), describe(&third.snapshot, None));
}

#[test]
fn saved_snapshots_load_and_damage_is_an_error() {
    let scratch = Scratch::new();
    sh(scratch.path(), "mkdir -p t/a; echo x >t/a/f; ln -s f t/a/l");
    let first = scan(&scratch.join("t")).snapshot;
    let file = scratch.join("index");
    first.save(&file).unwrap();
    let loaded = Snapshot::load(&file).unwrap();
    assert_eq!(loaded.as_bytes(), first.as_bytes());
    // Shortening the file afterwards takes nothing away from us, and a pipe is no file to wait for.
    sh(scratch.path(), ": >index; mkfifo pipe");
    assert_eq!(loaded.as_bytes(), first.as_bytes());
    assert_eq!(Snapshot::load(&file).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(Snapshot::load(scratch.join("pipe")).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let bytes = first.as_bytes().to_vec();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        assert!(Snapshot::from_bytes(damaged).is_err(), "damage at {at}");
    }
    // Damage with a matching checksum must not lead to a panic either.
    for at in 0..bytes.len() - 4 {
        for flip in [1u8, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let body = damaged.len() - 4;
            let crc = libdeflater::crc32(&damaged[..body]).to_le_bytes();
            damaged[body..].copy_from_slice(&crc);
            if let Ok(snapshot) = Snapshot::from_bytes(damaged) {
                for index in 0..snapshot.len() {
                    let _ = (
                        snapshot.path(index),
                        snapshot.xattrs(index).into_iter().count(),
                        snapshot.digest(index),
                    );
                }
                assert!(snapshot.walk().count() < 100);
            }
        }
    }
}

#[test]
fn an_entry_is_led_by_one_of_its_kind() {
    let scratch = Scratch::new();
    sh(scratch.path(), "mkdir t t/a; echo x >t/b; ln t/b t/c; ln -s x t/d");
    let snapshot = scan(&scratch.join("t")).snapshot;
    let at = |path: &str| snapshot.lookup(path.as_bytes()).unwrap();
    // The sole reason to be refused is the leader: the first case is what it was.
    let cases = [("c", "b", true), ("b", "c", false), ("d", "b", false), ("b", "a", false), ("a", "", false)];
    for (entry, leader, valid) in cases {
        let mut bytes = snapshot.as_bytes().to_vec();
        let leader = snapshot.lookup(leader.as_bytes()).unwrap();
        let place = 128 + at(entry) as usize * 128 + 76;
        bytes[place..place + 4].copy_from_slice(&leader.to_le_bytes());
        let body = bytes.len() - 4;
        let crc = libdeflater::crc32(&bytes[..body]).to_le_bytes();
        bytes[body..].copy_from_slice(&crc);
        assert_eq!(Snapshot::from_bytes(bytes).is_ok(), valid, "{entry}");
    }
}

#[test]
fn the_thread_count_changes_nothing() {
    let scratch = Scratch::new();
    sh(
        scratch.path(),
        "mkdir t; for d in 1 2 3 4 5 6 7 8; do mkdir -p t/$d/x/y; for f in 1 2 3; do echo $d$f >t/$d/x/y/$f; done; done",
    );
    let bytes = |threads| {
        let options = ScanOptions { threads, owner: &OwnerPolicy::Keep, ..ScanOptions::default() };
        describe(&scan_with(&scratch.join("t"), &options).snapshot, None)
    };
    assert_eq!(bytes(1), bytes(2));
    assert_eq!(bytes(1), bytes(8));
}

/// The longest tick of a supported kernel's clock, at 100 Hz.
const TICK_NANOS: u32 = 10_000_000;

#[test]
fn what_was_stamped_as_the_scan_began_is_looked_at_again() {
    let scratch = Scratch::new();
    let tree = scratch.dir("t");
    std::fs::write(tree.join("old"), "old").unwrap();
    let mut fresh = 0;
    for round in 0..200 {
        std::fs::write(tree.join(format!("{round}")), "new").unwrap();
        let found = scan(&tree);
        let snapshot = &found.snapshot;
        let root = snapshot.meta(0);
        // A name may have come after the directory was read, under the same stamp.
        let in_doubt = root.ctime >= snapshot.clock().minus_nanos(TICK_NANOS);
        assert_eq!(root.flags.contains(Flags::RACY), in_doubt);
        // Files were looked at again, a tick later.
        let file = snapshot.lookup(format!("{round}").as_bytes()).unwrap();
        assert!(!snapshot.meta(file).flags.contains(Flags::RACY));
        assert!(snapshot.digest(file).is_none(), "nothing happened to it, so it need not be read");
        fresh += usize::from(in_doubt);
        if fresh == 3 {
            return;
        }
    }
    panic!("{fresh} of 200 scans began within a tick of a change");
}
