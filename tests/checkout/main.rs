//! A checkout is a fresh unpack in every field, wherever the tree comes from, and whatever stops it on the way.
#![allow(clippy::disallowed_methods)]

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use support::{Scratch, describe, is_root};
use treering::fs::Root;
use treering::image::{
    Base, CheckedOut, CheckoutOptions, CommitOptions, DiffOptions, EditOptions, Squash, Tree, UnpackOptions,
    checkout, commit, diff_image, diff_tree, edit, owners_of, unpack,
};
use treering::layer::{LayerOptions, MtimePrecision};
use treering::store::Store;
use treering::tree::{OwnersWanted, Snapshot, scan};
use treering::{Control, ErrorKind, Result};

fn options(nanoseconds: bool) -> CommitOptions {
    let precision = if nanoseconds { MtimePrecision::Nanoseconds } else { MtimePrecision::default() };
    let layer = LayerOptions { precision, ..LayerOptions::default() };
    CommitOptions { created: Some(1_700_000_000), layer, ..CommitOptions::default() }
}

/// Makes another line: an image that is built on nothing of the tree's before.
fn scratch_options(nanoseconds: bool) -> CommitOptions {
    CommitOptions { base: Base::Scratch, ..options(nanoseconds) }
}

fn go(store: &Store, image: &str, tree: &Path, discard: bool) -> Result<CheckedOut> {
    let options = CheckoutOptions { discard, ..CheckoutOptions::default() };
    checkout(store, image, tree, &options, &Control::default())
}

/// Describes a tree by the disk and its record in the store, with nothing taken from its index.
fn look(store: &Store, tree: &Path) -> Snapshot {
    let root = Root::open(tree).unwrap();
    let owners = owners_of(Some(store), &root, &OwnersWanted::default()).unwrap();
    scan(&root, &owners.scan_options(), &Control::default()).unwrap().snapshot
}

/// Checks that the tree is as a fresh unpack of the image is, and the store says the same of it.
fn same_as_fresh(store: &Store, image: &str, tree: &Path, fresh: &Path) {
    let _ = std::fs::remove_dir_all(fresh);
    unpack(store, image, fresh, &UnpackOptions::default(), &Control::default()).unwrap();
    let (here, there) = (look(store, tree), look(store, fresh));
    assert_eq!(describe(&here, Some(tree)), describe(&there, Some(fresh)));
    let (root, other) = (Root::open(tree).unwrap(), Root::open(fresh).unwrap());
    let (ours, theirs) = (Tree::open(store, &root).unwrap(), Tree::open(store, &other).unwrap());
    assert_eq!((ours.image(), &ours.owners.policy), (theirs.image(), &theirs.owners.policy));
    // The index is what a scan finds, all of it sure; the ledger is of files that are there.
    let (index, fresh_index) = (ours.index.as_ref().unwrap(), theirs.index.unwrap());
    assert_eq!(describe(index, Some(tree)), describe(&fresh_index, Some(fresh)));
    let flags = |list: &Snapshot| (0..list.len()).map(|at| list.meta(at).flags).collect::<Vec<_>>();
    assert_eq!(flags(index), flags(&fresh_index));
    let owners = owners_of(Some(store), &root, &OwnersWanted::default()).unwrap();
    let again = treering::tree::ScanOptions { previous: Some(index), ..owners.scan_options() };
    let again = scan(&root, &again, &Control::default()).unwrap();
    // A root that was renamed into its place has another ctime since.
    assert!(again.unchanged + 1 >= u64::from(index.len()), "nothing is read again");
    for record in ours.owners.ledger.records() {
        let at =
            here.lookup(&record.path).unwrap_or_else(|| panic!("{:?} is gone", record.path.escape_ascii()));
        assert_eq!((here.meta(at).dev, here.meta(at).ino), (record.dev, record.ino));
    }
    // No name outside of the tree, none too many inside.
    for at in 0..here.len() {
        if here.meta(at).kind == treering::fs::Kind::Directory {
            continue;
        }
        let path = tree.join(std::ffi::OsStr::from_bytes(&here.path(at)));
        let names = (0..here.len()).filter(|&other| here.leader(other) == here.leader(at)).count() as u64;
        assert_eq!(path.symlink_metadata().unwrap().nlink(), names, "{path:?}");
    }
    let diff =
        diff_tree(Some(store), tree, &Base::Auto, &DiffOptions::default(), &Control::default()).unwrap();
    assert!(diff.changes.is_empty(), "{:?}", diff.changes);
}

/// Images A and B of one line, C of another.
fn three(scratch: &Scratch, edits: [&[support::edit::Edit]; 3], nanoseconds: bool) -> Store {
    let store = Store::open(scratch.join("store")).unwrap();
    let (one, other, control) = (scratch.dir("one"), scratch.dir("other"), Control::default());
    support::edit::run(&one, edits[0]);
    // An empty directory is unpacked to, and would be another one.
    std::fs::write(one.join("stays"), "stays").unwrap();
    commit(&store, &one, Some("app:a"), &options(nanoseconds), &control).unwrap();
    support::edit::run(&one, edits[1]);
    commit(&store, &one, Some("app:b"), &options(nanoseconds), &control).unwrap();
    support::edit::run(&other, edits[2]);
    std::fs::write(other.join("stays"), "other").unwrap();
    commit(&store, &other, Some("app:c"), &scratch_options(nanoseconds), &control).unwrap();
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: support::cases(20), max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn from_any_image_to_any_other(
        first in support::edit::edits(40),
        second in support::edit::edits(20),
        third in support::edit::edits(40),
        dirt in prop::collection::vec(support::edit::edits(12), 6),
        way in prop::collection::vec(0..3usize, 6),
        nanoseconds in any::<bool>(),
    ) {
        let scratch = Scratch::in_memory();
        let store = three(&scratch, [&first, &second, &third], nanoseconds);
        let (tree, fresh) = (scratch.join("work"), scratch.join("fresh"));
        unpack(&store, "app:a", &tree, &UnpackOptions::default(), &Control::default()).unwrap();
        for (&to, dirt) in way.iter().zip(&dirt) {
            let image = ["app:a", "app:b", "app:c"][to];
            go(&store, image, &tree, false).unwrap();
            same_as_fresh(&store, image, &tree, &fresh);
            support::edit::run(&tree, dirt);
            // Whether anything changed is what a comparison says.
            let diff = diff_tree(Some(&store), &tree, &Base::Auto, &DiffOptions::default(), &Control::default()).unwrap();
            // One that was emptied is unpacked to.
            let empty = tree.read_dir().unwrap().next().is_none();
            match go(&store, image, &tree, false) {
                Ok(_) => assert!(diff.changes.is_empty() || empty, "{:?}", diff.changes),
                Err(error) => {
                    assert!(!diff.changes.is_empty(), "{error}");
                    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
                }
            }
            let to = ["app:a", "app:b", "app:c"][(to + dirt.len()) % 3];
            go(&store, to, &tree, true).unwrap();
            same_as_fresh(&store, to, &tree, &fresh);
        }
        // A tree that was committed, not unpacked: with files as they were, and no longer by a policy.
        go(&store, "app:c", &scratch.join("one"), false).unwrap();
        same_as_fresh(&store, "app:c", &scratch.join("one"), &fresh);
        go(&store, "-", &scratch.join("one"), false).unwrap();
        same_as_fresh(&store, "app:b", &scratch.join("one"), &fresh);
    }

    #[test]
    fn thirty_checkouts_are_the_last_one(
        first in support::edit::edits(40),
        second in support::edit::edits(20),
        third in support::edit::edits(40),
        way in prop::collection::vec(0..3usize, 30),
    ) {
        let scratch = Scratch::in_memory();
        let store = three(&scratch, [&first, &second, &third], true);
        let tree = scratch.join("work");
        for &to in &way {
            go(&store, ["app:a", "app:b", "app:c"][to], &tree, false).unwrap();
        }
        same_as_fresh(&store, ["app:a", "app:b", "app:c"][way[29]], &tree, &scratch.join("fresh"));
    }
}

/// Returns a world of two images with a bit of everything: types that change, links made and broken, owners, devices, holes.
fn two(scratch: &Scratch) -> Store {
    let store = Store::open(scratch.join("store")).unwrap();
    let (tree, control) = (scratch.dir("one"), Control::default());
    support::sh(
        &tree,
        "mkdir -p d/e gone/deep; echo a >d/a; ln d/a d/b; echo kept >kept; ln -s d link; mkfifo pipe; echo x >type
         truncate -s 3M hole; printf end >>hole; head -c 400000 /dev/zero | tr '\\0' q >large; chmod 4755 d/a
         echo deep >gone/deep/f; touch empty",
    );
    commit(&store, &tree, Some("app:a"), &options(true), &control).unwrap();
    support::sh(
        &tree,
        "rm -r gone type pipe link; mkdir type; echo in >type/in; ln -s kept link; echo was >pipe; rm d/b; echo b >d/b
         ln kept twin; head -c 500000 /dev/zero | tr '\\0' r >large; chmod 600 d/a; mkdir -p new/er; echo n >new/er/n; rm empty",
    );
    commit(&store, &tree, Some("app:b"), &options(true), &control).unwrap();
    store
}

fn usable_strace() -> bool {
    let strace =
        Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let usable = strace.is_ok_and(|status| status.success());
    if !usable {
        eprintln!("skipped: no usable strace");
    }
    usable
}

/// Stops it at every system call that changes something, by a kill or an error: the tree is the old image or the new one,
/// or it is refused by name until the next checkout, which makes it whole.
fn the_next_checkout_makes_it_whole(fault: &str, calls: &[&str]) {
    if !usable_strace() {
        return;
    }
    let scratch = Scratch::in_memory();
    let store = two(&scratch);
    let (tree, fresh) = (scratch.join("work"), scratch.join("fresh"));
    unpack(&store, "app:a", &tree, &UnpackOptions::default(), &Control::default()).unwrap();
    let expected = ["app:a", "app:b"].map(|image| {
        let dir = scratch.join("expected");
        let _ = std::fs::remove_dir_all(&dir);
        unpack(&store, image, &dir, &UnpackOptions::default(), &Control::default()).unwrap();
        (image, describe(&look(&store, &dir), Some(&dir)))
    });
    let (mut refused, mut stops) = (0, 0);
    // By an error at other calls than by a kill.
    let first = if fault.starts_with("signal") { 1 } else { 3 };
    let mut at = "app:a";
    for call in calls {
        for (round, when) in support::stops(first).enumerate() {
            assert!(when < 20_000, "{call} has no end");
            let to = if at == "app:a" { "app:b" } else { "app:a" };
            let mut command = Command::new("strace");
            let inject = format!("inject={call}:{fault}:when={when}");
            command.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject]);
            command.arg(support::program());
            command.args(["-q", "--threads=1", "checkout", "--discard", to, "work"]);
            command.env("TREERING_ROOT", scratch.join("store")).current_dir(scratch.path());
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            let what = format!("{call} {fault} {when}");
            let diff =
                diff_tree(Some(&store), &tree, &Base::Auto, &DiffOptions::default(), &Control::default());
            match diff {
                // Before the first change, or after the last one.
                Ok(diff) => assert!(diff.changes.is_empty(), "{what}: {:?}", diff.changes),
                Err(error) => {
                    assert!(!status.success(), "{what}: {error}");
                    assert_eq!(error.kind(), ErrorKind::InUse, "{what}: {error}");
                    assert!(error.message().contains("checkout"), "{what}: {error}");
                    let error = commit(&store, &tree, Some("app:x"), &options(true), &Control::default())
                        .unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InUse, "{what}: {error}");
                    refused += 1;
                }
            }
            // It is finished, or another image is gone to: no local change is in the way of that.
            let to = if round.is_multiple_of(3) { at } else { to };
            at = to;
            go(&store, to, &tree, false).unwrap_or_else(|error| panic!("{what}: {error}"));
            // Index and ledger once in a while: that takes as long as all the rest.
            match stops % 8 {
                0 => same_as_fresh(&store, to, &tree, &fresh),
                _ => {
                    let there = describe(&look(&store, &tree), Some(&tree));
                    let (_, wanted) = expected.iter().find(|(image, _)| *image == to).unwrap();
                    assert_eq!(there, *wanted, "{what}");
                }
            }
            if status.success() {
                break;
            }
            stops += 1;
        }
    }
    assert!(stops > 6 && refused > 3, "{stops} stops by {fault}, {refused} of them on the way");
}

/// Calls that make names and take them away.
const NAMES: [&str; 7] =
    ["unlinkat", "mkdirat", "linkat", "symlinkat", "mknodat", "rename,renameat,renameat2", "fsync,fdatasync"];
/// Calls about what files hold and are. One that strace does not name (`?`) is left out.
const FILES: [&str; 10] = [
    "openat",
    "openat2",
    "pwrite64",
    "write",
    "fchmod,fchmodat,?fchmodat2",
    "fchown,fchownat",
    "setxattr,lsetxattr,fsetxattr,fremovexattr",
    "utimensat",
    "ftruncate",
    "flock",
];

#[test]
fn killed_at_any_name_the_next_checkout_makes_it_whole() {
    the_next_checkout_makes_it_whole("signal=KILL", &NAMES);
}

#[test]
fn killed_at_any_file_the_next_checkout_makes_it_whole() {
    the_next_checkout_makes_it_whole("signal=KILL", &FILES);
}

#[test]
fn failing_at_any_name_the_next_checkout_makes_it_whole() {
    the_next_checkout_makes_it_whole("error=ENOSPC", &NAMES);
}

#[test]
fn failing_at_any_file_the_next_checkout_makes_it_whole() {
    the_next_checkout_makes_it_whole("error=ENOSPC", &FILES);
}

/// Another thread works in the tree while it is checked out: the result is the image, or an error and then the image; a change that came
/// in between is seen. Nothing outside of the tree is touched.
#[test]
fn a_tree_that_is_changed_meanwhile_leads_nowhere() {
    let scratch = Scratch::in_memory();
    let store = Store::open(scratch.join("store")).unwrap();
    let (one, outside, tree) = (scratch.dir("one"), scratch.dir("outside"), scratch.join("work"));
    let control = Control::default();
    for i in 0..60 {
        std::fs::create_dir(one.join(format!("d{i}"))).unwrap();
        std::fs::write(one.join(format!("d{i}/f")), "first").unwrap();
        std::fs::create_dir(outside.join(format!("d{i}"))).unwrap();
    }
    std::fs::write(outside.join("f"), "outside").unwrap();
    commit(&store, &one, Some("app:a"), &options(true), &control).unwrap();
    support::sh(&one, "for d in d*; do echo other >$d/f; echo new >$d/g; done; chmod 700 d1* d2*");
    commit(&store, &one, Some("app:b"), &options(true), &control).unwrap();
    unpack(&store, "app:a", &tree, &UnpackOptions::default(), &control).unwrap();
    let before = support::canary(&outside);
    let stop = AtomicBool::new(false);
    let (mut done, mut changed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                i = (i + 7) % 60;
                let (dir, aside) = (tree.join(format!("d{i}")), tree.join("aside"));
                // It may be gone, or just being made.
                if std::fs::rename(&dir, &aside).is_ok() {
                    let _ = std::os::unix::fs::symlink(&outside, &dir);
                    std::thread::yield_now();
                    let _ = std::fs::remove_file(&dir);
                    let _ = std::fs::rename(&aside, &dir);
                }
                if i % 3 == 0 {
                    let _ = std::fs::write(dir.join("f"), "mine!");
                }
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        for round in 0..60 {
            match go(&store, ["app:a", "app:b"][round % 2], &tree, true) {
                Ok(_) => done += 1,
                Err(error) => {
                    let kinds =
                        [ErrorKind::Changed, ErrorKind::AlreadyExists, ErrorKind::Io, ErrorKind::NotFound];
                    assert!(kinds.contains(&error.kind()), "{error}");
                    changed += 1;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(changed > 0, "{done} done, {changed} refused");
    assert_eq!(support::canary(&outside), before);
    go(&store, "app:a", &tree, true).unwrap();
    same_as_fresh(&store, "app:a", &tree, &scratch.join("fresh"));
}

/// After a checkout every file has the content that the index says it has: one that was written to meanwhile shows in the next
/// comparison.
#[test]
fn a_file_written_meanwhile_is_never_taken_for_the_images() {
    let scratch = Scratch::in_memory();
    let store = Store::open(scratch.join("store")).unwrap();
    let (one, tree, control) = (scratch.dir("one"), scratch.join("work"), Control::default());
    for i in 0..40 {
        std::fs::write(one.join(format!("f{i}")), vec![b'a'; 20_000]).unwrap();
    }
    commit(&store, &one, Some("app:a"), &options(true), &control).unwrap();
    support::sh(&one, "chmod 600 f*; touch -d @1000000000.5 f*");
    commit(&store, &one, Some("app:b"), &options(true), &control).unwrap();
    unpack(&store, "app:a", &tree, &UnpackOptions::default(), &control).unwrap();
    let stop = AtomicBool::new(false);
    let mut clean = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                i = (i + 1) % 40;
                let path = tree.join(format!("f{i}"));
                if let Ok(file) = std::fs::OpenOptions::new().write(true).open(path) {
                    let _ = std::os::unix::fs::FileExt::write_at(&file, b"b", 10_000);
                }
            }
        });
        for round in 0..60 {
            if go(&store, ["app:a", "app:b"][round % 2], &tree, true).is_ok() {
                // Everything that is not the image's is a change now.
                let diff =
                    diff_tree(Some(&store), &tree, &Base::Auto, &DiffOptions::default(), &Control::default());
                let Ok(diff) = diff else { continue };
                let changed: Vec<Vec<u8>> = diff.changes.iter().map(|change| diff.path(change)).collect();
                for i in 0..40 {
                    let name = format!("f{i}");
                    let at = diff.new.lookup(name.as_bytes()).unwrap();
                    let m = tree.join(&name).symlink_metadata().unwrap();
                    let quiet = (m.ctime(), m.ctime_nsec() as u32)
                        == (diff.new.meta(at).ctime.secs, diff.new.meta(at).ctime.nanos);
                    let content = std::fs::read(tree.join(&name)).unwrap();
                    let still = tree.join(&name).symlink_metadata().unwrap().ctime_nsec() == m.ctime_nsec();
                    if quiet && still && content.contains(&b'b') {
                        assert!(
                            changed.contains(&name.clone().into_bytes()),
                            "{name} is taken for the image's"
                        );
                    }
                }
                clean += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    eprintln!("{clean} checkouts were not disturbed");
    go(&store, "app:b", &tree, true).unwrap();
    same_as_fresh(&store, "app:b", &tree, &scratch.join("fresh"));
}

#[test]
fn what_stands_in_the_way_is_said() {
    let scratch = Scratch::new();
    let store = two(&scratch);
    let (tree, control) = (scratch.join("work"), Control::default());
    // Missing and empty: an unpack.
    assert!(go(&store, "app:a", &tree, false).unwrap().written > 5);
    same_as_fresh(&store, "app:a", &tree, &scratch.join("fresh"));
    let error = go(&store, "-", &tree, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    support::sh(&tree, "for i in 1 2 3 4 5 6 7; do echo $i >n$i; done");
    let error = go(&store, "app:b", &tree, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.message().ends_with("A /n1, A /n2, A /n3, A /n4, A /n5, and 2 more"), "{error}");
    assert_eq!(error.hint(), Some(&treering::Hint::CommitOrDiscard));
    // A dry run changes nothing and says all of it.
    let before = support::canary(&tree);
    let dry = CheckoutOptions { discard: true, dry_run: true, ..CheckoutOptions::default() };
    let dry = checkout(&store, "app:b", &tree, &dry, &control).unwrap();
    assert_eq!(support::canary(&tree), before);
    let made = go(&store, "app:b", &tree, true).unwrap();
    assert_eq!((dry.changes, dry.removed, dry.kept), (made.changes, made.removed, made.kept));
    same_as_fresh(&store, "app:b", &tree, &scratch.join("fresh"));
    // Nothing to do is nothing done.
    let root = tree.symlink_metadata().unwrap();
    let made = go(&store, "app:b", &tree, false).unwrap();
    assert_eq!((made.written, made.updated, made.removed), (0, 0, 0));
    assert_eq!(tree.symlink_metadata().unwrap().ctime_nsec(), root.ctime_nsec());
    // A directory of another user.
    let other = scratch.dir("other");
    std::fs::write(other.join("mine"), "mine").unwrap();
    assert_eq!(go(&store, "app:a", &other, true).unwrap_err().kind(), ErrorKind::NotFound);
    // A socket stays, unless the image has something there.
    let _stays = std::os::unix::net::UnixListener::bind(tree.join("s")).unwrap();
    let _goes = std::os::unix::net::UnixListener::bind(tree.join("empty")).unwrap();
    go(&store, "app:a", &tree, true).unwrap();
    assert!(tree.join("s").exists() && tree.join("empty").metadata().unwrap().is_file());
    let again = diff_tree(Some(&store), &tree, &Base::Auto, &DiffOptions::default(), &control).unwrap();
    assert_eq!((again.changes.len(), again.skipped.len()), (0, 1), "{:?}", again.changes);
    std::fs::remove_file(tree.join("s")).unwrap();
    // A name outside of the tree keeps its file.
    std::fs::hard_link(tree.join("d/a"), scratch.join("outside")).unwrap();
    let before = scratch.join("outside").symlink_metadata().unwrap();
    go(&store, "app:b", &tree, true).unwrap();
    let after = scratch.join("outside").symlink_metadata().unwrap();
    assert_eq!((before.ino(), before.mode(), before.mtime()), (after.ino(), after.mode(), after.mtime()));
    assert!(is_root() || after.uid() == before.uid());
    same_as_fresh(&store, "app:b", &tree, &scratch.join("fresh"));
}

#[test]
fn an_emptied_tree_goes_back_to_the_image_before() {
    let scratch = Scratch::new();
    let store = two(&scratch);
    let (tree, fresh, control) = (scratch.join("one"), scratch.join("fresh"), Control::default());
    let empty = || support::sh(&tree, "find . -mindepth 1 -delete");
    // The same image again: the one before it stays.
    empty();
    go(&store, "app:b", &tree, false).unwrap();
    go(&store, "-", &tree, false).unwrap();
    same_as_fresh(&store, "app:a", &tree, &fresh);
    // Another one.
    empty();
    go(&store, "app:b", &tree, false).unwrap();
    go(&store, "-", &tree, false).unwrap();
    same_as_fresh(&store, "app:a", &tree, &fresh);
    // An empty one goes back as well, and has the name.
    empty();
    go(&store, "-", &tree, false).unwrap();
    same_as_fresh(&store, "app:b", &tree, &fresh);
    let root = Root::open(&tree).unwrap();
    assert_eq!(Tree::open(&store, &root).unwrap().reference(), Some("app:b"));
    // One that has no entries.
    empty();
    commit(&store, &tree, Some("app:empty"), &options(true), &control).unwrap();
    go(&store, "app:b", &tree, false).unwrap();
    go(&store, "-", &tree, false).unwrap();
    same_as_fresh(&store, "app:empty", &tree, &fresh);
    go(&store, "-", &tree, false).unwrap();
    same_as_fresh(&store, "app:b", &tree, &fresh);
}

/// Through a link the directory itself is filled: its record is that of what was there.
#[test]
fn a_half_made_tree_that_was_emptied_is_made_anew() {
    if !usable_strace() {
        return;
    }
    let scratch = Scratch::new();
    let store = two(&scratch);
    let (tree, fresh) = (scratch.join("link"), scratch.join("fresh"));
    std::os::unix::fs::symlink(scratch.join("one"), &tree).unwrap();
    let base = |tree: &Path| {
        diff_tree(Some(&store), tree, &Base::Auto, &DiffOptions::default(), &Control::default())
    };
    let stopped = support::stops(1).take(200).any(|when| {
        let inject = format!("inject=unlinkat:signal=KILL:when={when}");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject]).arg(support::program());
        command.args(["-q", "--threads=1", "checkout", "--discard", "app:a", "link"]);
        command.env("TREERING_ROOT", scratch.join("store")).current_dir(scratch.path());
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        base(&tree).is_err_and(|error| error.kind() == ErrorKind::InUse)
    });
    assert!(stopped, "no kill left it half made");
    support::sh(&tree, "find . -mindepth 1 -delete");
    go(&store, "app:a", &tree, false).unwrap();
    same_as_fresh(&store, "app:a", &tree, &fresh);
    go(&store, "-", &tree, false).unwrap();
    same_as_fresh(&store, "app:b", &tree, &fresh);
}

/// A store that stands in the tree is not removed with what it stands in.
#[test]
fn a_store_in_the_tree_stays() {
    let scratch = Scratch::new();
    let tree = scratch.dir("tree");
    let control = Control::default();
    std::fs::create_dir_all(tree.join("var")).unwrap();
    let store = Store::open(tree.join("var/store")).unwrap();
    std::fs::write(tree.join("f"), "x").unwrap();
    commit(&store, &tree, Some("app:a"), &options(true), &control).unwrap();
    std::fs::write(tree.join("g"), "y").unwrap();
    commit(&store, &tree, Some("app:b"), &options(true), &control).unwrap();
    go(&store, "app:a", &tree, false).unwrap();
    assert!(!tree.join("g").exists() && tree.join("var/store").exists());
    let other = scratch.dir("other");
    std::fs::write(other.join("o"), "o").unwrap();
    commit(&store, &other, Some("other:a"), &options(true), &control).unwrap();
    let error = go(&store, "other:a", &tree, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    go(&store, "app:b", &tree, false).unwrap();
    store.fsck(treering::store::FsckLevel::Bytes, &control).unwrap();
}

/// A disk that is full in the midst of it: the error says so, the tree is refused by name, and with more room the next checkout
/// makes it whole.
#[test]
fn a_full_disk_leaves_a_tree_that_the_next_checkout_finishes() {
    const VARIABLE: &str = "TREERING_FULL_CHECKOUT";
    const NAME: &str = "a_full_disk_leaves_a_tree_that_the_next_checkout_finishes";
    if let Some(dir) = std::env::var_os(VARIABLE) {
        let (dir, control) = (Path::new(&dir), Control::default());
        let store = Store::open(dir.join("store")).unwrap();
        let (tree, small) = (dir.join("small/work"), dir.join("small"));
        unpack(&store, "app:a", &tree, &UnpackOptions::default(), &control).unwrap();
        std::fs::write(small.join("other"), vec![1; 4 << 20]).unwrap();
        let error = go(&store, "app:b", &tree, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        let refused =
            diff_tree(Some(&store), &tree, &Base::Auto, &DiffOptions::default(), &control).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InUse, "{refused}");
        let refused = commit(&store, &tree, Some("app:x"), &options(true), &control).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InUse, "{refused}");
        // Back needs no more room than there was.
        go(&store, "app:a", &tree, false).unwrap();
        same_as_fresh(&store, "app:a", &tree, &dir.join("fresh"));
        assert_eq!(go(&store, "app:b", &tree, false).unwrap_err().kind(), ErrorKind::NoSpace);
        std::fs::remove_file(small.join("other")).unwrap();
        go(&store, "app:b", &tree, false).unwrap();
        same_as_fresh(&store, "app:b", &tree, &dir.join("fresh"));
        return;
    }
    let namespaces = Command::new("unshare").args(["-Urm", "true"]).output();
    if !namespaces.is_ok_and(|out| out.status.success()) {
        support::tools::missing("PART", NAME, "no user namespaces here");
        return;
    }
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let one = scratch.dir("one");
    support::sh(&one, "seq 90000 >large; mkdir d; for i in $(seq 50); do echo $i >d/$i; done");
    commit(&store, &one, Some("app:a"), &options(true), &Control::default()).unwrap();
    support::sh(
        &one,
        "rm d/1; mkdir e; for i in $(seq 60); do seq 9000 >e/$i; done; echo x >>large; chmod 700 d",
    );
    commit(&store, &one, Some("app:b"), &options(true), &Control::default()).unwrap();
    let small = scratch.dir("small");
    let run = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=6m none {}; exec {} --exact {NAME} --nocapture",
        small.display(),
        run.display()
    );
    let mut child = Command::new("unshare");
    let out = child.args(["-Urm", "sh", "-euc", &script]).env(VARIABLE, scratch.path()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
}

/// Whatever is in the index of a layer, what comes out of the layer is what the image says.
#[test]
fn a_checkout_by_a_hostile_index_is_the_image() {
    let scratch = Scratch::in_memory();
    let store = two(&scratch);
    let (tree, fresh) = (scratch.join("work"), scratch.join("fresh"));
    unpack(&store, "app:a", &tree, &UnpackOptions::default(), &Control::default()).unwrap();
    go(&store, "app:b", &tree, false).unwrap();
    go(&store, "app:a", &tree, false).unwrap();
    let indexes: Vec<_> = scratch
        .join("store/layers")
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().as_bytes().starts_with(b"index-"))
        .collect();
    assert_eq!(indexes.len(), 2);
    let mut targets = ["app:b", "app:a"].into_iter().cycle();
    for path in &indexes {
        let right = std::fs::read(path).unwrap();
        let mut check = |bytes: &[u8], what: &str| {
            std::fs::write(path, bytes).unwrap();
            let to = targets.next().unwrap();
            go(&store, to, &tree, false).unwrap_or_else(|error| panic!("{what}: {error}"));
            same_as_fresh(&store, to, &tree, &fresh);
        };
        // The checksum is no protection: it is made anew.
        for at in 12..right.len() {
            let mut bytes = right.clone();
            bytes[at] ^= [1, 0x80, 0xff][at % 3];
            let mut crc = flate2::Crc::new();
            crc.update(&bytes[12..]);
            bytes[8..12].copy_from_slice(&crc.sum().to_le_bytes());
            check(&bytes, &format!("byte {at}"));
        }
        check(&right[..right.len() / 2], "cut");
        check(b"", "empty");
        check(&right, "right again");
    }
}

/// Contents of other layers have other places. Only reading them says that they are the same.
#[test]
fn between_images_of_other_layers_only_what_differs_is_written() {
    let scratch = Scratch::in_memory();
    let (store, control) = (two(&scratch), Control::default());
    let (tree, fresh) = (scratch.join("work"), scratch.join("fresh"));
    let squash = EditOptions { squash: Some(Squash::All), ..EditOptions::default() };
    edit(&store, "app:b", Some("app:squashed"), Vec::new(), &squash, &control).unwrap();
    let differ = |one: &str, other: &str| {
        let diff = diff_image(&store, Some(one), other, &DiffOptions::default(), &control).unwrap();
        diff.changes.iter().map(|change| (diff.path(change), change.reasons)).collect::<Vec<_>>()
    };
    assert_eq!(differ("app:b", "app:squashed"), [], "no other content");
    unpack(&store, "app:b", &tree, &UnpackOptions::default(), &control).unwrap();
    let inodes = |list: Snapshot| (0..list.len()).map(|at| list.meta(at).ino).collect::<Vec<_>>();
    let before = inodes(look(&store, &tree));
    for to in ["app:squashed", "app:b", "app:squashed"] {
        let done = go(&store, to, &tree, false).unwrap();
        assert_eq!((done.written, done.updated, done.removed), (0, 0, 0), "{to}: {:?}", done.changes);
        assert_eq!(inodes(look(&store, &tree)), before, "{to}");
        same_as_fresh(&store, to, &tree, &fresh);
    }
    // A content of the same length, with the same time: nothing but reading it finds that.
    let write =
        "t=$(stat -c %y large); printf s | dd of=large conv=notrunc status=none bs=1; touch -d \"$t\" large";
    support::sh(&tree, write);
    commit(&store, &tree, Some("app:other"), &scratch_options(true), &control).unwrap();
    assert_eq!(differ("app:b", "app:other"), [(b"large".to_vec(), treering::diff::Reasons::CONTENT)]);
    for (to, byte) in [("app:b", b'r'), ("app:other", b's'), ("app:squashed", b'r')] {
        let done = go(&store, to, &tree, false).unwrap();
        assert_eq!((done.written, done.updated, done.removed), (1, 0, 0), "{to}: {:?}", done.changes);
        assert_eq!(std::fs::read(tree.join("large")).unwrap()[0], byte, "{to}");
        same_as_fresh(&store, to, &tree, &fresh);
    }
}

#[test]
fn a_file_with_another_time_stays_if_it_has_the_content() {
    let scratch = Scratch::in_memory();
    let (store, control) = (Store::open(scratch.join("store")).unwrap(), Control::default());
    let (tree, fresh) = (scratch.dir("tree"), scratch.join("fresh"));
    let names = ["same", "other", "late", "zeros", "large"];
    support::sh(
        &tree,
        "echo abc >same; echo abc >other; yes | head -c 200000 >late; head -c 200000 /dev/zero >zeros;
         yes | head -c 300000 >large; chmod 600 *; touch -d @1000000000 *",
    );
    commit(&store, &tree, Some("app:a"), &scratch_options(false), &control).unwrap();
    // The same sizes, and another time of each; what differs does so in its first byte, or in its last ones.
    support::sh(
        &tree,
        "echo xbc >other; printf xx | dd of=late bs=1 seek=199998 conv=notrunc status=none; touch -d @1000000001 *
         chmod 640 same",
    );
    commit(&store, &tree, Some("app:b"), &scratch_options(false), &control).unwrap();
    let inodes = || names.map(|name| tree.join(name).symlink_metadata().unwrap().ino());
    for to in ["app:a", "app:b", "app:a"] {
        let before = inodes();
        let done = go(&store, to, &tree, false).unwrap();
        // The directory may have another time as well.
        assert_eq!((done.written, done.updated.clamp(3, 4), done.removed), (2, done.updated, 0), "{to}");
        let after = inodes();
        for (at, name) in names.iter().enumerate() {
            let stays = !["other", "late"].contains(name);
            // A number may be given again.
            assert!(!stays || before[at] == after[at], "{to}: {name}");
        }
        same_as_fresh(&store, to, &tree, &fresh);
    }
}
