//! Layers made to reach what is outside the tree: nothing there may move, whatever comes of the layer.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

use support::arena::{Arena, apply, apply_to, stream};
use support::tar::{Entry, device, dir, fifo, file, hardlink, symlink};
use support::{Scratch, canary, is_root};
use treering::fs::Root;
use treering::layer::{ApplyOptions, Target};
use treering::tree::Ledger;
use treering::{Control, ErrorKind};

#[test]
fn root_entry() {
    for name in ["", ".", "/", "./", "./.", "//", "a/..", "/..", ".."] {
        for entry in [symlink(name, "/tmp"), hardlink(name, "a"), file(name, ""), fifo(name), file(name, "x")]
        {
            let arena = Arena::new();
            let error = arena.apply(&[vec![dir("a"), entry.clone()], vec![file("f", "x")]]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{entry:?}: {error}");
            assert!(!arena.tree.join("f").exists());
            arena.check();
        }
        if !name.contains("..") {
            let arena = Arena::new();
            arena.apply(&[vec![dir(name).mode(0o711), file("f", "x")]]).unwrap();
            assert_eq!(arena.tree.metadata().unwrap().mode() & 0o7777, 0o711);
            arena.check();
        }
    }
}

/// The shapes of containerd's TestBreakouts and of the advisories since: what happens inside is said for each, `None` for
/// an error. `OUT` stands for the absolute path of the directory outside.
#[test]
fn breakouts() {
    let ok = |path: &'static str| Some(path);
    let cases: Vec<(&str, Vec<Entry>, Option<&str>)> = vec![
        ("symlink absolute, child", vec![symlink("x", "OUT"), file("x/new", "!")], ok("x/new")),
        ("symlink absolute, overwrite", vec![symlink("x", "OUT"), file("x/f", "!")], ok("x/f")),
        (
            "symlink relative, child",
            vec![dir("d"), symlink("d/x", "../../canary"), file("d/x/f", "!")],
            ok("canary/f"),
        ),
        ("symlink to ..", vec![symlink("x", ".."), file("x/new", "!")], ok("new")),
        ("symlink to /", vec![symlink("x", "/"), file("x/new", "!")], ok("new")),
        ("symlink to . and up", vec![symlink("x", "./../."), file("x/new", "!")], ok("new")),
        ("symlink, dir through it", vec![symlink("x", "../canary"), dir("x/d").mode(0o777)], ok("canary/d")),
        ("symlink, then a directory of the name", vec![symlink("x", "OUT"), dir("x").mode(0o777)], ok("x")),
        ("symlink, then a file of the name", vec![symlink("x", "OUT/f"), file("x", "!")], ok("x")),
        ("symlink, then a fifo of the name", vec![symlink("x", "OUT/f"), fifo("x")], ok("x")),
        ("symlink to a file, child", vec![symlink("x", "OUT/f"), file("x/y", "!")], ok("x/y")),
        ("symlink chain", vec![symlink("a", "b"), symlink("b", "OUT"), file("a/f", "!")], ok("b/f")),
        (
            "symlink through symlink",
            vec![symlink("a", ".."), symlink("a/b", "OUT"), file("b/f", "!")],
            ok("b/f"),
        ),
        ("symlink loop", vec![symlink("a", "b"), symlink("b", "a"), file("a/f", "!")], None),
        ("symlink to itself", vec![symlink("a", "a"), file("a/f", "!")], None),
        (
            "two symlinks, each inside",
            vec![dir("a/b"), symlink("a/b/up", "../.."), symlink("x", "a/b/up/.."), file("x/new", "!")],
            ok("new"),
        ),
        ("proc", vec![symlink("x", "/proc/self/cwd"), file("x/new", "!")], ok("x/new")),
        ("hardlink outside", vec![hardlink("x", "OUT/f")], None),
        ("hardlink up", vec![hardlink("x", "../canary/f")], None),
        ("hardlink through symlink", vec![symlink("s", "OUT"), hardlink("x", "s/f")], None),
        ("hardlink through symlink up", vec![symlink("s", ".."), hardlink("x", "s/canary/f")], None),
        (
            "hardlink to a symlink, write",
            vec![symlink("s", "OUT/f"), hardlink("x", "s"), file("x", "!")],
            ok("x"),
        ),
        (
            "hardlink to a symlink, child",
            vec![symlink("s", "OUT"), hardlink("x", "s"), file("x/f", "!")],
            ok("s/f"),
        ),
        (
            "hardlink name below symlink",
            vec![file("t", "t"), symlink("s", "OUT"), hardlink("s/f", "t")],
            ok("s/f"),
        ),
        ("hardlink to what is not there yet", vec![hardlink("x", "y"), file("y", "")], None),
        ("hardlink to a directory", vec![dir("d"), hardlink("x", "d")], None),
        ("hardlink to the root", vec![hardlink("x", "/")], None),
        ("dot dot", vec![file("../new", "!")], None),
        ("dot dot inside", vec![dir("a"), file("a/../../new", "!")], None),
        ("dot dot at the end", vec![dir("a"), dir("a/..")], None),
        ("absolute", vec![file("/new", "!")], ok("new")),
        ("absolute, many slashes", vec![file("//..//new", "!")], None),
        ("file below a file", vec![file("a", ""), file("a/b", "!")], None),
        ("dir, symlink, child", vec![dir("a"), symlink("a", "OUT"), file("a/f", "!")], ok("a/f")),
        ("symlink, dir, child", vec![symlink("a", "OUT"), dir("a"), file("a/f", "!")], ok("a/f")),
        ("device through symlink", vec![symlink("a", "OUT"), device("a/null", b'3', (1, 3))], ok("a/null")),
        ("whiteout through symlink", vec![symlink("a", "OUT"), file("a/.wh.f", "")], ok("a")),
        ("opaque through symlink", vec![symlink("a", "OUT"), file("a/.wh..wh..opq", "")], ok("a")),
        ("whiteout up", vec![file("../.wh.canary", "")], None),
        ("whiteout name in a link target", vec![symlink("a", ".wh.b/c"), file("a/f", "")], None),
    ];
    for (name, entries, expected) in cases {
        // In one layer, in one each, and in one apply each.
        for split in 0..3 {
            let arena = Arena::new();
            let out = arena.outside.to_str().unwrap();
            let entries: Vec<Entry> = entries
                .iter()
                .map(|e| {
                    let link = String::from_utf8(e.link.clone()).unwrap().replace("OUT", out);
                    Entry { link: link.into_bytes(), ..e.clone() }
                })
                .collect();
            let result = match split {
                0 => arena.apply(&[entries]).map(drop),
                1 => arena.apply(&entries.into_iter().map(|e| vec![e]).collect::<Vec<_>>()).map(drop),
                _ => arena.apply_one_by_one(&entries),
            };
            arena.check();
            match (result, expected) {
                (Ok(()), Some(path)) => {
                    let in_root = arena.tree.join(path).symlink_metadata().is_ok()
                        || arena.tree.join(&out[1..]).symlink_metadata().is_ok()
                        || arena.tree.join("proc/self/cwd/new").exists();
                    assert!(in_root, "{name}: {path} is not there");
                }
                (Err(error), None) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InvalidArgument),
                        "{name}: {error}"
                    );
                }
                (result, _) => panic!("{name} (split {split}): {result:?}"),
            }
        }
    }
}

#[test]
fn an_entry_that_is_refused_leaves_nothing() {
    for path in ["../x", "made/../../x", "made/../x", "a/.wh.", "made/.wh..", ".wh.x/made"] {
        let arena = Arena::new();
        assert!(arena.apply(&[vec![file(path, "")]]).is_err(), "{path}");
        assert_eq!(std::fs::read_dir(&arena.tree).unwrap().count(), 0, "{path}");
        arena.check();
    }
}

/// Three symbolic links, each to every place a link can lead to and up, and a file written through all of them.
#[test]
fn symlink_pairs() {
    let targets = ["..", "../..", "a/..", "b/../..", "c/../../canary", "/", ".", "d/up", "../canary"];
    let arena = Arena::new();
    std::thread::scope(|scope| {
        for worker in 0..16 {
            let arena = &arena;
            scope.spawn(move || {
                for case in (worker..targets.len().pow(3)).step_by(16) {
                    let target = |n: usize| targets[case / targets.len().pow(n as u32) % targets.len()];
                    let tree = arena.scratch.dir(&format!("tree{case}"));
                    let layer = vec![
                        dir("d/e"),
                        symlink("d/up", "../.."),
                        symlink("a", target(0)),
                        symlink("b", target(1)),
                        symlink("d/e/c", target(2)),
                        symlink("c", "d/e/c"),
                        file("a/b/c/f", "!"),
                        file("c/b/a/canary/f", "!"),
                    ];
                    let _ = apply(&tree, &[layer]);
                }
            });
        }
    });
    arena.check();
}

#[test]
fn meta_no_follow() {
    let late = [
        dir("x").mode(0o777).owner(7, 7).xattr("user.a", "b"),
        dir("x").mode(0o6777).xattr(
            "system.posix_acl_default",
            b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x07\0\xff\xff\xff\xff\x20\0\x07\0\xff\xff\xff\xff",
        ),
        file("x", "").mode(0o777).owner(7, 7).xattr("user.a", "b"),
        symlink("x", "OUT/d").owner(7, 7).mode(0o777).xattr("trusted.a", "b"),
        hardlink("x", "f").mode(0o777).owner(7, 7),
    ];
    for target in ["../canary", "../canary/f", "OUT", "OUT/f"] {
        for entry in &late {
            let arena = Arena::new();
            let target = target.replace("OUT", arena.outside.to_str().unwrap());
            // Before: the directory that is to be finished at the end is replaced by the link, too.
            let layer = vec![
                file("f", "f"),
                dir("x").mode(0o777).mtime(5),
                file("x/in", ""),
                symlink("x", &target).mode(0o777).mtime(7).owner(9, 9).xattr("user.q", "1"),
            ];
            let _ = arena.apply(std::slice::from_ref(&layer)).unwrap();
            arena.check();
            let arena = Arena::new();
            let mut layer = layer;
            layer.push(entry.clone());
            let _ = arena.apply(&[layer]);
            arena.check();
        }
    }
}

#[test]
fn rewriting_a_path_leaves_the_other_names_alone() {
    // The other name is outside: as a blob in a store would be.
    for entry in [
        file("shared", "new"),
        file("shared", "").mode(0o777),
        symlink("shared", "t"),
        hardlink("shared", "t"),
        fifo("shared"),
        dir("shared"),
        file(".wh.shared", ""),
    ] {
        let arena = Arena::new();
        arena.apply(&[vec![file("t", "t")]]).unwrap();
        let blob = arena.scratch.join("blob");
        std::fs::write(&blob, "blob").unwrap();
        std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::hard_link(&blob, arena.tree.join("shared")).unwrap();
        let before = blob.metadata().unwrap();
        apply_to(&arena.tree, &[vec![entry.clone()]]).unwrap();
        let after = blob.metadata().unwrap();
        assert_eq!(std::fs::read(&blob).unwrap(), b"blob", "{entry:?}");
        assert_eq!(
            (after.mode(), after.uid(), after.mtime(), after.nlink()),
            (before.mode(), before.uid(), before.mtime(), 1)
        );
        arena.check();
    }
    // A chain inside: each rewritten name leaves the rest, in one layer and in the next.
    for split in [false, true] {
        let arena = Arena::new();
        let first = vec![file("a", "one"), hardlink("b", "a"), hardlink("c", "b"), hardlink("d/e", "c")];
        let second = vec![
            file("a", "two"),
            hardlink("f", "b"),
            file("b", "three"),
            hardlink("g", "a"),
            file(".wh.zzz", ""),
        ];
        let layers = if split { vec![first, second] } else { vec![[first, second].concat()] };
        arena.apply(&layers).unwrap();
        for (name, content) in
            [("a", "two"), ("g", "two"), ("b", "three"), ("c", "one"), ("d/e", "one"), ("f", "one")]
        {
            assert_eq!(std::fs::read_to_string(arena.tree.join(name)).unwrap(), content, "{name}");
        }
        arena.check();
    }
}

/// A directory on the way is exchanged with a link to the outside as fast as can be, all through apply and removal.
#[test]
fn swap_race() {
    let arena = Arena::new();
    let layer: Vec<Entry> = (0..60)
        .flat_map(|i| {
            [
                dir("a/b").mode(0o777).owner(3, 3),
                file(format!("a/b/f{i}"), "!"),
                file("a/b/f", "!").mode(0o777),
                hardlink(format!("a/b/l{i}"), format!("a/b/f{i}")),
                fifo(format!("a/b/p{i}")),
                dir(format!("a/b/d{}", i % 7)).mode(0o777).xattr("user.a", "b"),
                file("a/b/.wh.g", ""),
            ]
        })
        .collect();
    let (mut done, mut failed, mut swaps) = (0, 0, 0u64);
    let start = std::time::Instant::now();
    while (start.elapsed().as_secs() < 6 || swaps < 100_000 || failed == 0) && start.elapsed().as_secs() < 60
    {
        let tree = arena.scratch.dir("race");
        let spare = arena.scratch.dir("spare");
        for level in ["a", "b"] {
            std::os::unix::fs::symlink(&arena.outside, spare.join(level)).unwrap();
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let mut swaps = 0;
                while !stop.load(Ordering::Relaxed) {
                    for (inside, link) in
                        [(tree.join("a"), spare.join("a")), (tree.join("a/b"), spare.join("b"))]
                    {
                        let exchange = rustix::fs::RenameFlags::EXCHANGE;
                        for _ in 0..2 {
                            let done = rustix::fs::renameat_with(
                                rustix::fs::CWD,
                                &inside,
                                rustix::fs::CWD,
                                &link,
                                exchange,
                            );
                            swaps += u64::from(done.is_ok());
                        }
                    }
                }
                swaps
            });
            for _ in 0..3 {
                match apply_to(&tree, &[vec![dir("a/b")], layer.clone()]) {
                    Ok(_) => done += 1,
                    Err(_) => failed += 1,
                }
            }
            let parent = std::fs::File::open(arena.scratch.path()).unwrap();
            let _ = treering::fs::remove::remove_all(&parent, c"race");
            stop.store(true, Ordering::Relaxed);
            swaps += swapper.join().unwrap();
        });
        support::sh(arena.scratch.path(), "rm -rf race spare");
    }
    arena.check();
    eprintln!("{done} applied, {failed} failed, {swaps} exchanges");
    assert!(failed > 0 && swaps >= 100_000, "nothing was raced: {done} {failed} {swaps}");
}

#[test]
fn devices_and_setuid_without_root_are_written_down() {
    let arena = Arena::new();
    let layer = vec![
        file("su", "x").mode(0o6755).owner(5, 6),
        device("null", b'3', (1, 3)).mode(0o666),
        device("sda", b'4', (8, 0)).mode(0o660).owner(0, 6),
        fifo("pipe").mode(0o622),
        dir("sgid").mode(0o2755),
        dir("closed").mode(0),
        file("closed/f", "x").mode(0),
        symlink("l", "x").owner(9, 9),
        file("cap", "x").xattr("security.capability", CAPABILITY),
    ];
    let applied = arena.apply(&[layer]).unwrap();
    assert_eq!(applied.losses, vec![]);
    let seen = support::arena::scan_applied(&arena.tree, &applied);
    assert_eq!(support::describe(&applied.snapshot, None), support::describe(&seen, None));
    let meta = |path: &str| seen.meta(seen.lookup(path.as_bytes()).unwrap());
    let owner = |path: &str| (meta(path).uid, meta(path).gid);
    assert_eq!((meta("su").mode, owner("su")), (0o6755, (5, 6)));
    assert_eq!((meta("null").kind, meta("null").rdev), (treering::fs::Kind::CharDevice, (1, 3)));
    assert_eq!((meta("sda").kind, meta("sda").rdev), (treering::fs::Kind::BlockDevice, (8, 0)));
    assert_eq!((meta("pipe").kind, meta("pipe").mode), (treering::fs::Kind::Fifo, 0o622));
    assert_eq!((meta("sgid").mode, meta("closed").mode, meta("closed/f").mode), (0o2755, 0, 0));
    assert_eq!(owner("l"), (9, 9));
    assert!(seen.xattrs(seen.lookup(b"cap").unwrap()).get(b"security.capability").is_some());
    if !is_root() {
        for path in ["su", "sgid", "null", "sda"] {
            assert_eq!(arena.tree.join(path).metadata().unwrap().mode() & 0o6000, 0, "{path}");
        }
    }
    arena.check();
}

/// To overlayfs a 0:0 character device is a deletion. In an image it is a device like others: nothing is deleted, and what
/// is on disk deletes nothing when the tree becomes a layer of an overlay, for any user of the unpack.
#[test]
fn a_device_that_means_deletion_is_never_made() {
    let arena = Arena::new();
    let layers = [
        vec![file("f", "x"), dir("d"), file("d/g", "x")],
        vec![device("f", b'3', (0, 0)).mode(0o640).owner(5, 6)],
    ];
    let applied = arena.apply(&layers).unwrap();
    assert_eq!(applied.losses, vec![]);
    let on_disk = arena.tree.join("f").symlink_metadata().unwrap();
    assert!(on_disk.is_file() && on_disk.len() == 0, "{on_disk:?}");
    let seen = support::arena::scan_applied(&arena.tree, &applied);
    assert_eq!(support::describe(&applied.snapshot, None), support::describe(&seen, None));
    let f = seen.meta(seen.lookup(b"f").unwrap());
    assert_eq!((f.kind, f.rdev, f.mode), (treering::fs::Kind::CharDevice, (0, 0), 0o640));
    assert_eq!((f.uid, f.gid), (5, 6));
    // A block device of that number is nothing to overlayfs, and root makes it.
    let block = Arena::new();
    block.apply(&[vec![device("b", b'4', (0, 0))]]).unwrap();
    if is_root() {
        use std::os::unix::fs::FileTypeExt;
        assert!(block.tree.join("b").symlink_metadata().unwrap().file_type().is_block_device());
    }
    arena.check();
}

/// What other writers do for names that leave no room for the prefix: the whiteout is longer than any name on disk.
#[test]
fn whiteouts_of_the_longest_names() {
    for length in [251, 252, 255] {
        let name = "n".repeat(length);
        let arena = Arena::new();
        arena
            .apply(&[vec![file(&name, "x"), file("d/f", "x")], vec![file(format!(".wh.{name}"), "")]])
            .unwrap();
        assert_eq!(treering_paths(&arena), ["d", "d/f"], "{length}");
        let strange = format!("d/.wh.{name}");
        let more = [vec![file(strange, "")], vec![file(format!("nowhere/.wh.{name}"), "")]];
        apply_to(&arena.tree, &more).unwrap();
        assert_eq!(treering_paths(&arena), ["d", "d/f"], "{length}");
        arena.check();
    }
    let arena = Arena::new();
    for path in [format!(".wh.{}", "n".repeat(256)), "n".repeat(256), format!("{}/f", "n".repeat(256))] {
        let error = arena.apply(&[vec![file(path, "")]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    }
}

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Attributes that mean something to overlayfs, to fuse-overlayfs or to a store are an image's word about itself, if that.
#[test]
fn attributes_of_an_image_are_not_taken_for_our_own() {
    let arena = Arena::new();
    let layer = vec![
        dir("d").xattr("trusted.overlay.opaque", "y").xattr("user.overlay.opaque", "y"),
        file("f", "x").xattr("user.overlay.redirect", "/etc").xattr("trusted.overlay.whiteout", "y"),
        file("r", "x").xattr("user.rootlesscontainers", b"\x08\x01\x10\x02"),
        file("c", "x").xattr("security.capability", CAPABILITY).owner(1, 1),
        file("s", "x").xattr("security.selinux", "system_u:object_r:etc_t:s0"),
        file("t", "x").xattr("trusted.treering", "own").xattr("user.treering", "own"),
    ];
    let applied = arena.apply(&[layer]).unwrap();
    let lost: Vec<_> =
        applied.losses.iter().map(|l| String::from_utf8(l.attribute.clone()).unwrap()).collect();
    for name in [
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "user.overlay.redirect",
        "trusted.overlay.whiteout",
        "security.selinux",
    ] {
        assert!(lost.iter().any(|l| l == name), "{name} went unsaid: {lost:?}");
    }
    let seen = support::arena::scan_applied(&arena.tree, &applied);
    let attributes = |path: &str| -> Vec<Vec<u8>> {
        seen.xattrs(seen.lookup(path.as_bytes()).unwrap()).into_iter().map(|(n, _)| n.to_vec()).collect()
    };
    assert_eq!(attributes("d"), Vec::<Vec<u8>>::new());
    assert_eq!(attributes("f"), Vec::<Vec<u8>>::new());
    assert_eq!(attributes("r"), vec![b"user.rootlesscontainers".to_vec()]);
    assert_eq!(attributes("t"), vec![b"trusted.treering".to_vec(), b"user.treering".to_vec()]);
    assert_eq!(attributes("c"), vec![b"security.capability".to_vec()]);
    // fuse-overlayfs reads an owner from that attribute; we do not.
    let r = seen.meta(seen.lookup(b"r").unwrap());
    assert_eq!((r.uid, r.gid), (0, 0));
    arena.check();
}

#[test]
fn whiteouts() {
    let lower = || {
        vec![
            dir("d/sub"),
            file("d/sub/f", "x"),
            file("d/f", "x"),
            file("t", "t"),
            symlink("link", "d"),
            symlink("dead", "nowhere/at/all"),
            symlink("out", "../canary"),
        ]
    };
    let run = |upper: Vec<Entry>| {
        let arena = Arena::new();
        let result = arena.apply(&[lower(), upper]).map(drop);
        arena.check();
        let mut left: Vec<String> = treering_paths(&arena);
        left.sort();
        (result, left.join(" "))
    };
    let gives = |upper: Vec<Entry>, expected: &str| {
        let (result, left) = run(upper);
        result.unwrap();
        assert_eq!(left, expected);
    };
    let all = "d d/f d/sub d/sub/f dead link out t";
    for bad in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh...", ".wh.d/x"] {
        assert_eq!(run(vec![file(bad, "")]).0.unwrap_err().kind(), ErrorKind::Corrupt, "{bad}");
    }
    for bad in [
        file(".wh.d", "x"),
        dir(".wh.d"),
        symlink(".wh.d", "x"),
        fifo(".wh.d"),
        hardlink(".wh.d", "t"),
        dir(".wh..wh..opq"),
    ] {
        assert_eq!(run(vec![bad]).0.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    gives(vec![file(".wh.link", "")], "d d/f d/sub d/sub/f dead out t");
    gives(vec![file(".wh.out", "")], "d d/f d/sub d/sub/f dead link t");
    gives(vec![file("link/.wh.f", "")], "d d/sub d/sub/f dead link out t");
    gives(vec![file("out/.wh.f", "")], all);
    gives(vec![file("out/.wh..wh..opq", "")], all);
    gives(vec![file("dead/.wh.f", "")], all);
    gives(vec![file("missing/.wh.f", ""), file(".wh.missing", ""), file("t/.wh.f", "")], all);
    gives(vec![file(".wh..wh.aufs", "x"), dir(".wh..wh.plnk"), file(".wh..wh.plnk/f", "x")], all);
    gives(vec![file("t", "new"), file(".wh.t", "")], all);
    gives(vec![file(".wh.t", ""), file("t", "new")], all);
    // Opaque: lower layers only, wherever it stands.
    gives(vec![file("d/.wh..wh..opq", ""), file("d/new", "")], "d d/new dead link out t");
    gives(vec![file("d/new", ""), file("d/.wh..wh..opq", "")], "d d/new dead link out t");
    gives(vec![file("d/sub/new", ""), file("d/.wh..wh..opq", "")], "d d/sub d/sub/new dead link out t");
    gives(vec![file(".wh..wh..opq", "")], "");
    gives(vec![file("d/x", ""), file(".wh.d", "")], "d d/x dead link out t");
    gives(
        vec![hardlink("d/f", "t"), file("d/.wh.f", ""), file(".wh.t", "")],
        "d d/f d/sub d/sub/f dead link out",
    );
    gives(vec![file(".wh.d", ""), symlink("d", "../canary"), file("d/.wh.f", "")], "d dead link out t");
}

fn treering_paths(arena: &Arena) -> Vec<String> {
    let snapshot = support::scan(&arena.tree).snapshot;
    snapshot.walk().map(|index| String::from_utf8(snapshot.path(index)).unwrap()).collect()
}

/// An inode number lives on in the next file, and a ledger must not give that file its predecessor's owner.
#[test]
fn the_ledger_speaks_of_what_is_there() {
    // A directory keeps its inode when a layer replaces its attributes.
    let arena = Arena::new();
    arena.apply(&[vec![dir("d").owner(5, 5).mode(0o2750), file("f", "x").owner(5, 5)]]).unwrap();
    let first = apply_to(&arena.tree, &[vec![dir("d").owner(5, 5).mode(0o2750), file("f", "y").owner(5, 5)]])
        .unwrap();
    let root = Root::open(&arena.tree).unwrap();
    let mut target = Target::existing(&root, &first.snapshot, first.ledger, ApplyOptions::default());
    target.apply(stream(&[dir("d").mode(0o755), file("f", "x")]), &Control::default()).unwrap();
    let second = target.finish().unwrap();
    let seen = support::arena::scan_applied(&arena.tree, &second);
    assert_eq!(support::describe(&second.snapshot, None), support::describe(&seen, None));
    let d = seen.meta(seen.lookup(b"d").unwrap());
    assert_eq!((d.uid, d.mode), (0, 0o755));
    assert_eq!(second.ledger.len(), 0);

    // Names that went are not in the ledger; a file that lost its first name is, under the one it has.
    let arena = Arena::new();
    let mut layer = Vec::new();
    for i in 0..300 {
        layer.push(file(format!("f{i}"), "x").owner(5, 5).mode(0o4755).xattr("trusted.a", "b"));
        layer.push(file(format!("f{i}"), "x"));
    }
    layer.extend([file("a", "x").owner(7, 7), hardlink("b", "a"), file("a", "y")]);
    let applied = arena.apply(&[layer]).unwrap();
    let seen = support::arena::scan_applied(&arena.tree, &applied);
    assert_eq!(support::describe(&applied.snapshot, None), support::describe(&seen, None));
    assert!(applied.ledger.len() <= 1, "{}", applied.ledger.len());
    if !is_root() {
        assert_eq!(applied.ledger.records().next().unwrap().path, b"b");
    }
}

/// What is put into a directory must be as the layer says, not as the directory would have it.
#[test]
fn nothing_is_inherited() {
    let arena = Arena::new();
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x07\0\x05\0\0\0\x04\0\x05\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    if is_root() {
        std::os::unix::fs::chown(&arena.tree, Some(0), Some(50)).unwrap();
    }
    std::fs::set_permissions(&arena.tree, std::fs::Permissions::from_mode(0o2755)).unwrap();
    let set =
        rustix::fs::setxattr(&arena.tree, "system.posix_acl_default", acl, rustix::fs::XattrFlags::empty());
    if let Err(error) = set {
        eprintln!("nothing_is_inherited: no ACLs here: {error}");
    }
    let layer = vec![
        dir("d"),
        file("d/f", "x"),
        file("c", "x").xattr("security.capability", CAPABILITY),
        fifo("p"),
        symlink("l", "x"),
    ];
    let applied = arena.apply(&[layer]).unwrap();
    assert_eq!(applied.losses, vec![]);
    let seen = support::arena::scan_applied(&arena.tree, &applied);
    assert_eq!(support::describe(&applied.snapshot, None), support::describe(&seen, None));
    assert!(seen.xattrs(seen.lookup(b"c").unwrap()).get(b"security.capability").is_some());
    for index in seen.walk() {
        assert!(!seen.xattrs(index).into_iter().any(|(name, _)| name.starts_with(b"system.")));
        assert_eq!(seen.meta(index).gid, 0);
    }
    // A default ACL or setgid bit that is the image's own is there again in the end, and is not inherited before.
    let own = dir("own").mode(0o2755).owner(0, 60).xattr("system.posix_acl_default", acl);
    let layers = [vec![own], vec![file("own/f", "x"), dir("own/d")]];
    apply_to(&arena.tree, &layers[..1]).unwrap();
    let before = rustix::fs::getxattr(arena.tree.join("own"), "system.posix_acl_default", &mut [0u8; 256]);
    apply_to(&arena.tree, &layers[1..]).unwrap();
    let after = rustix::fs::getxattr(arena.tree.join("own"), "system.posix_acl_default", &mut [0u8; 256]);
    assert_eq!(before, after);
    let f = arena.tree.join("own/f");
    assert!(rustix::fs::getxattr(&f, "system.posix_acl_access", &mut [0u8; 256]).is_err());
    if is_root() {
        assert_eq!(f.metadata().unwrap().gid(), 0);
        assert_eq!(arena.tree.join("own").metadata().unwrap().mode() & 0o7777, 0o2755);
    }
    arena.check();
}

#[test]
fn the_target_must_be_empty_or_known() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("f"), "x").unwrap();
    let root = Root::open(scratch.path()).unwrap();
    let before = canary(scratch.path());
    let error = Target::empty(&root, ApplyOptions::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    // What is there and not in the list is not overwritten.
    std::fs::create_dir(scratch.join("t")).unwrap();
    let tree = Root::open(scratch.join("t")).unwrap();
    let empty = support::scan(&scratch.join("t")).snapshot;
    std::fs::write(scratch.join("t/f"), "late").unwrap();
    let mut target = Target::existing(&tree, &empty, Ledger::default(), ApplyOptions::default());
    assert!(target.apply(stream(&[file("f", "x")]), &Control::default()).is_err());
    assert_eq!(std::fs::read(scratch.join("t/f")).unwrap(), b"late");
    assert_eq!(before.len() + 2, canary(scratch.path()).len());
}
