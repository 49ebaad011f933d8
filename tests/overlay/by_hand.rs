//! Decoding overlayfs upper directories written by hand: what no kernel here wrote, or what none should.

use std::os::unix::ffi::OsStrExt;

use crate::decode::{decode, listed, read};
use support::{Scratch, sh};
use treering::ErrorKind;
use treering::diff::{ChangeKind, OverlayDiff};

/// Makes two lower directories and an upper one without a mount, all attributes in the `user.` namespace. `None` where the
/// filesystem of the scratch directory has none.
fn by_hand(script: &str) -> Option<(Scratch, treering::Result<OverlayDiff>)> {
    let scratch = Scratch::new();
    sh(scratch.path(), "mkdir u l1 l2");
    if rustix::fs::setxattr(scratch.join("u"), "user.t", b"", rustix::fs::XattrFlags::empty()).is_err() {
        support::tools::missing("PART", "overlay", "no user attributes on this filesystem");
        return None;
    }
    // mark FILE NAME VALUE
    sh(scratch.path(), &format!("mark() {{ setfattr -h -n user.overlay.$2 -v \"$3\" $1; }}\n{script}"));
    let diff = decode(&scratch.join("u"), &[scratch.join("l1"), scratch.join("l2")]);
    Some((scratch, diff))
}

fn list_by_hand(script: &str) -> Option<Vec<String>> {
    by_hand(script).map(|(_, diff)| listed(&diff.unwrap()))
}

#[test]
fn whiteouts_without_devices() {
    let script = "mkdir -p l2/d u/d; echo 1 >l2/d/a; echo 2 >l2/d/b; echo 3 >l1/c; touch -d @9 l2/d u/d
        mark u/d opaque x; : >u/d/a; mark u/d/a whiteout ''; : >u/d/none; mark u/d/none whiteout ''
        : >u/c; mark u/c whiteout ''; echo full >u/e; mark u/e whiteout ''; touch -d @9 u/d";
    let Some(list) = list_by_hand(script) else { return };
    assert_eq!(list, ["D c", "C d", "D d/a", "A e"]);
}

#[test]
fn marks_of_lower_directories_count() {
    // l1 hides l2/d/a, replaces l2/o, and shows l2/from as to.
    let script = "mkdir -p l2/d l1/d l2/o l1/o l2/from/deep l1/to u/d u/o u/to/deep
        echo 1 >l2/d/a; echo 2 >l2/d/b; : >l1/d/a; mark l1/d/a whiteout ''; mark l1/d opaque x
        echo 3 >l2/o/c; mark l1/o opaque y; echo 4 >l2/from/f; echo 5 >l2/from/deep/g; mark l1/to redirect from
        : >l1/from; mark l1/from whiteout ''
        : >u/d/a; mark u/d/a whiteout ''; : >u/d/b; mark u/d/b whiteout ''
        : >u/o/c; mark u/o/c whiteout ''
        : >u/to/f; mark u/to/f whiteout ''; : >u/to/deep/g; mark u/to/deep/g whiteout ''
        touch -d @9 l1/d u/d l1/o u/o l1/to u/to l2/from/deep u/to/deep";
    let Some(list) = list_by_hand(script) else { return };
    assert_eq!(list, ["C d", "D d/b", "C to", "C to/deep", "D to/deep/g", "D to/f"]);
}

#[test]
fn redirects_may_be_names_or_paths() {
    let script = "mkdir -p l2/a/b/c l1/a/b u/x/y u/z; echo 1 >l2/a/b/c/f; echo 2 >l1/a/b/g; mkdir u/a
        : >u/a/b; mark u/a/b whiteout ''; mark u/x/y redirect /a/b; mark u/z redirect a; touch -d @9 l1/a u/a";
    let Some((_scratch, diff)) = by_hand(script) else { return };
    let diff = diff.unwrap();
    let expected = [
        "C a",
        "D a/b",
        "A x",
        "A x/y",
        "A x/y/c",
        "A x/y/c/f",
        "A x/y/g",
        "A z",
        "A z/b",
        "A z/b/c",
        "A z/b/c/f",
        "A z/b/g",
    ];
    assert_eq!(listed(&diff), expected);
    let content = |path: &[u8]| {
        let (root, below) = diff.sources.locate(&diff.upper, diff.upper.lookup(path).unwrap());
        String::from_utf8(read(root, &below)).unwrap()
    };
    assert_eq!((&content(b"x/y/c/f")[..], &content(b"z/b/g")[..]), ("1\n", "2\n"));
}

#[test]
fn metacopies_have_their_content_below() {
    let script = "mkdir -p l2/d u/e; echo content >l2/d/f; echo same >l2/s; touch -d @9 l2/s
        truncate -s 8 l1/m u/e/g; mark l1/m metacopy ''; mark l1/m redirect /d/f
        truncate -s 8 u/m; mark u/m metacopy ''; chmod 600 u/m
        mark u/e/g metacopy ''; mark u/e/g redirect /m
        truncate -s 5 u/s; mark u/s metacopy ''; touch -d @9 u/s";
    let Some((_scratch, diff)) = by_hand(script) else { return };
    let diff = diff.unwrap();
    assert_eq!(listed(&diff), ["A e", "A e/g", "C m"]);
    for path in [&b"m"[..], b"e/g"] {
        let index = diff.upper.lookup(path).unwrap();
        let (root, below) = diff.sources.locate(&diff.upper, index);
        assert_eq!((&below[..], &read(root, &below)[..]), (&b"d/f"[..], &b"content\n"[..]));
        assert!(diff.sources.is_borrowed(index));
        assert_eq!(diff.sources.layer(index), 2);
    }
}

#[test]
fn marks_that_mean_nothing_are_errors() {
    let scripts = [
        ("mkdir u/a; mark u/a redirect ../../etc", ErrorKind::Corrupt, "u/a"),
        ("mkdir u/a; mark u/a redirect /../../etc", ErrorKind::Corrupt, "u/a"),
        ("mkdir u/a; mark u/a redirect ''", ErrorKind::Corrupt, "u/a"),
        ("mkdir u/a l1/a l2/a; mark l1/a redirect b//c", ErrorKind::Corrupt, "l1/a"),
        (": >u/a; mark u/a metacopy ''", ErrorKind::NotFound, "u/a"),
        ("mkdir l1/a; : >u/a; mark u/a metacopy ''", ErrorKind::NotFound, "u/a"),
        (": >l2/f; mark l2/f metacopy ''; : >u/f; mark u/f metacopy ''", ErrorKind::NotFound, "l2/f"),
    ];
    for (script, kind, path) in scripts {
        let Some((scratch, diff)) = by_hand(script) else { return };
        let error = diff.expect_err(script);
        assert_eq!(error.kind(), kind, "{script}: {error}");
        assert_eq!(error.path(), Some(scratch.join(path).as_os_str().as_bytes()), "{script}");
    }
}

#[test]
fn a_link_in_a_lower_directory_leads_nowhere() {
    let script =
        "mkdir secret; echo 1 >secret/key; ln -s ../secret l2/out; mkdir u/out u/in; mark u/in redirect /out
        mkdir u/deep; mark u/deep redirect /out/sub; ln -s ../secret/key l2/key; truncate -s 2 u/key2";
    let Some(list) = list_by_hand(script) else { return };
    assert_eq!(list, ["A deep", "A in", "A key2", "C out"]);
}

#[test]
fn without_lower_directories_opaque_stays_opaque() {
    let script = "mkdir -p u/o u/d/e; mark u/o opaque y; echo 1 >u/o/f; : >u/d/e/gone; mark u/d/e/gone whiteout ''; ln u/o/f u/g";
    let Some((scratch, _)) = by_hand(script) else { return };
    let diff = decode(&scratch.join("u"), &[]).unwrap();
    assert_eq!(listed(&diff), ["C d", "C d/e", "D d/e/gone", "A g", "A o opaque", "A o/f"]);
    for script in ["mkdir u/a; mark u/a redirect b", ": >u/a; mark u/a metacopy ''"] {
        let Some((scratch, _)) = by_hand(script) else { return };
        assert_eq!(decode(&scratch.join("u"), &[]).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_socket_hides_what_is_below_and_is_reported() {
    let scratch = Scratch::new();
    sh(scratch.path(), "mkdir -p l/d u/d; echo 1 >l/d/s; touch -d @9 l/d");
    let _socket = std::os::unix::net::UnixListener::bind(scratch.join("u/d/s")).unwrap();
    sh(scratch.path(), "touch -d @9 u/d");
    let diff = decode(&scratch.join("u"), &[scratch.join("l")]).unwrap();
    assert_eq!(listed(&diff), ["C d", "D d/s"]);
    assert_eq!(diff.skipped.len(), 1);
    assert_eq!(diff.skipped[0].path, b"d/s");
}

#[test]
fn user_attributes_in_a_trusted_mount_are_no_marks() {
    let script = "mkdir -p l2/d u/d u/p; echo 1 >l2/d/f; mark u/d opaque y; setfattr -n trusted.overlay.impure -v y u/p; touch -d @9 l2/d u/d";
    if !support::is_root() {
        return;
    }
    let Some(list) = list_by_hand(script) else { return };
    assert_eq!(list, ["A p"]);
}

#[test]
fn directories_may_be_nested_deeper_than_any_path() {
    let scratch = Scratch::new();
    let (upper, lower) = (scratch.dir("u"), scratch.dir("l"));
    for dir in [&upper, &lower] {
        let mut at: std::os::fd::OwnedFd = std::fs::File::open(dir).unwrap().into();
        for _ in 0..600 {
            rustix::fs::mkdirat(&at, "deep-down", 0o755.into()).unwrap();
            at = treering::fs::root::open_dir_at(&at, c"deep-down").unwrap();
            let time = rustix::fs::Timespec { tv_sec: 9, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            rustix::fs::futimens(&at, &times).unwrap();
        }
        if dir == &upper {
            rustix::fs::mkdirat(&at, "new", 0o755.into()).unwrap();
        }
    }
    let lowers = [lower];
    let thread = std::thread::Builder::new().stack_size(256 * 1024);
    let diff = thread.spawn(move || decode(&upper, &lowers).unwrap()).unwrap().join().unwrap();
    assert_eq!(diff.changes.last().unwrap().kind, ChangeKind::Added);
    assert!(diff.changes.last().unwrap().path(Some(&diff.lower), &diff.upper).ends_with(b"/deep-down/new"));
}
