//! A cloned tree: the same in every field, with the same changes, and no half of one after a failure.
#![allow(clippy::disallowed_methods)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use support::{Scratch, describe, is_root};
use treering::fs::Root;
use treering::image::{
    Base, CloneOptions, CommitOptions, DiffOptions, Tree, TreeDiff, UnpackOptions, clone, commit, diff_tree,
    owners_of, unpack,
};
use treering::layer::{LayerOptions, MtimePrecision};
use treering::store::Store;
use treering::tree::{OwnersWanted, Scan, scan};
use treering::{Control, ErrorKind};

fn options() -> CommitOptions {
    let layer = LayerOptions { precision: MtimePrecision::Nanoseconds, ..LayerOptions::default() };
    CommitOptions { created: Some(1_700_000_000), layer, ..CommitOptions::default() }
}

/// Describes a tree by the disk and its record in the store.
fn look(store: &Store, tree: &Path) -> Scan {
    let root = Root::open(tree).unwrap();
    let owners = owners_of(Some(store), &root, &OwnersWanted::default()).unwrap();
    scan(&root, &owners.scan_options(), &Control::default()).unwrap()
}

fn diff(store: &Store, tree: &Path) -> (TreeDiff, u64) {
    let control = Control::default();
    let diff = diff_tree(Some(store), tree, &Base::Auto, &DiffOptions::default(), &control).unwrap();
    (diff, control.counters.bytes_read.load(Ordering::Relaxed))
}

/// Returns the paths that changed, and why.
fn words(diff: &TreeDiff) -> Vec<String> {
    let line = |change: &treering::diff::Change| {
        format!(
            "{} {:?} {:?}",
            change.kind.letter(),
            diff.path(change).escape_ascii().to_string(),
            change.reasons
        )
    };
    diff.changes.iter().map(line).collect()
}

/// Clones `tree` to `new` and compares the two in every way there is.
fn check(store: &Store, tree: &Path, new: &Path) {
    let control = Control::default();
    let before = look(store, tree);
    let made = clone(store, tree, new, &CloneOptions::default(), &control).unwrap();
    assert_eq!(made.losses, vec![]);
    let after = look(store, new);
    assert_eq!(describe(&before.snapshot, Some(tree)), describe(&after.snapshot, Some(new)));
    assert_eq!(made.entries, u64::from(after.snapshot.len()) - 1);
    // What is on disk is the same, too, where this process may have it so.
    for index in 0..before.snapshot.len() {
        let path = before.snapshot.path(index);
        let path = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&path);
        let (a, b) =
            (tree.join(path).symlink_metadata().unwrap(), new.join(path).symlink_metadata().unwrap());
        assert_eq!((a.mode(), a.uid(), a.gid()), (b.mode(), b.uid(), b.gid()), "{path:?}");
        assert!(!a.is_file() || b.blocks() <= a.blocks() + 16, "{path:?}: holes were filled");
    }
    let ((old_diff, _), (new_diff, read)) = (diff(store, tree), diff(store, new));
    assert_eq!(words(&old_diff), words(&new_diff));
    // Nothing but what is in doubt in the original is read.
    let (_, as_original) = diff(store, tree);
    assert_eq!(read, as_original);
    // And the next commit of both is the same image.
    let one = commit(store, tree, None, &options(), &control).unwrap();
    let two = commit(store, new, None, &options(), &control).unwrap();
    assert_eq!(one.manifest, two.manifest);
    assert_eq!(words(&diff(store, new).0), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: support::cases(40), max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_clone_is_the_tree_in_every_field(
        first in support::edit::edits(40),
        second in support::edit::edits(15),
        third in support::edit::edits(10),
    ) {
        let scratch = Scratch::in_memory();
        let store = Store::open(scratch.join("store")).unwrap();
        let (tree, control) = (scratch.dir("tree"), Control::default());
        support::edit::run(&tree, &first);
        commit(&store, &tree, Some("app:v1"), &options(), &control).unwrap();
        // Of a tree that was committed, with changes since.
        support::edit::run(&tree, &second);
        check(&store, &tree, &scratch.join("one"));
        // Of a tree that was unpacked, with changes since; and of its clone.
        unpack(&store, "app:v1", &scratch.join("work"), &UnpackOptions::default(), &control).unwrap();
        support::edit::run(&scratch.join("work"), &third);
        check(&store, &scratch.join("work"), &scratch.join("two"));
        support::edit::run(&scratch.join("two"), &second);
        check(&store, &scratch.join("two"), &scratch.join("three"));
    }
}

/// Returns a tree of an image with owners, devices, setuid bits, capabilities and ACLs, for any user.
fn exact(scratch: &Scratch) -> Store {
    let store = Store::open(scratch.join("store")).unwrap();
    let python = r#"
import struct, tarfile
tar = tarfile.open("image.tar", "w", format=tarfile.PAX_FORMAT)
def add(name, type=tarfile.REGTYPE, mode=0o644, uid=0, gid=0, data=b"", **more):
    import io
    info = tarfile.TarInfo(name); info.type = type; info.mode = mode; info.uid = uid; info.gid = gid
    info.mtime = 1000000000.25; info.size = len(data)
    for key, value in more.items(): setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data) if data else None)
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in
    [(1, 6, 0xffffffff), (2, 7, 1234), (4, 4, 0xffffffff), (16, 7, 0xffffffff), (32, 4, 0xffffffff)])
cap = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
x = lambda name, value: {"pax_headers": {"SCHILY.xattr." + name: value.decode("utf-8", "surrogateescape")}}
add("su", mode=0o4755, uid=5, gid=6, data=b"suid")
add("nine", mode=0o600, uid=1000, gid=9, data=b"x")
add("null", type=tarfile.CHRTYPE, mode=0o666, uid=7, devmajor=1, devminor=3)
add("whiteout-like", type=tarfile.CHRTYPE, mode=0o600, devmajor=0, devminor=0)
add("pipe", type=tarfile.FIFOTYPE, mode=0o620, gid=5)
add("hidden", type=tarfile.DIRTYPE, mode=0o000, uid=3, gid=3)
add("hidden/f", mode=0o000, uid=3, gid=3, data=b"secret")
add("tmp", type=tarfile.DIRTYPE, mode=0o1777)
add("link", type=tarfile.SYMTYPE, mode=0o777, uid=8, gid=8, linkname="su")
add("twice", type=tarfile.LNKTYPE, linkname="su")
add("ping", mode=0o755, data=b"ping", **x("security.capability", cap))
add("acl", mode=0o674, data=b"acl", **x("system.posix_acl_access", acl))
add("attr", mode=0o444, data=b"attr", **x("user.note", b"one"))
add("trusted", mode=0o444, data=b"attr", **x("trusted.note", b"two"))
tar.close()
"#;
    std::fs::write(scratch.join("make.py"), python).unwrap();
    support::sh(scratch.path(), "PYTHONUTF8=1 python3 make.py");
    let input = Box::new(std::fs::File::open(scratch.join("image.tar")).unwrap());
    let reference = &treering::store::Reference::parse("app:v1").unwrap();
    treering::archive::import(&store, input, Some(reference), &Default::default(), &Control::default())
        .unwrap();
    store
}

#[test]
fn owners_devices_and_capabilities_are_those_of_the_image() {
    let scratch = Scratch::new();
    let store = exact(&scratch);
    let (work, new, control) = (scratch.join("work"), scratch.join("new"), Control::default());
    unpack(&store, "app:v1", &work, &UnpackOptions::default(), &control).unwrap();
    // On disk before, and through the ledger: a chmod since counts in the clone as well.
    support::sh(&work, "chmod 600 acl; echo more >>nine; touch fresh; ln fresh again");
    let known = look(&store, &work).snapshot;
    let su = known.meta(known.lookup(b"su").unwrap());
    assert_eq!((su.mode, su.uid, su.gid), (0o4755, 5, 6));
    check(&store, &work, &new);
    let in_ledger = |tree: &Path| {
        let root = Root::open(tree).unwrap();
        let owners = Tree::open(&store, &root).unwrap().owners;
        let mut paths: Vec<Vec<u8>> = owners.ledger.records().map(|record| record.path.clone()).collect();
        paths.sort();
        paths
    };
    assert_eq!(in_ledger(&work), in_ledger(&new));
    assert_eq!(in_ledger(&new).len() > 5, !is_root());
}

#[test]
fn sockets_and_the_store_stay_behind_and_are_said_to() {
    let scratch = Scratch::new();
    let tree = scratch.dir("tree");
    let store = Store::open(tree.join("store")).unwrap();
    std::fs::write(tree.join("f"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("s")).unwrap();
    commit(&store, &tree, Some("app:v1"), &options(), &Control::default()).unwrap();
    let made =
        clone(&store, &tree, &scratch.join("new"), &CloneOptions::default(), &Control::default()).unwrap();
    let skipped: Vec<(&[u8], &str)> = made.skipped.iter().map(|one| (&one.path[..], one.reason)).collect();
    assert_eq!(skipped, [(&b"s"[..], "socket"), (b"store", "the image store itself")]);
    assert_eq!(support::sh(scratch.path(), "ls -A new"), "f\n");
    assert_eq!(words(&diff(&store, &scratch.join("new")).0), words(&diff(&store, &tree).0));
}

#[test]
fn what_cannot_be_cloned_is_an_error_and_leaves_nothing() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let (tree, control) = (scratch.dir("tree"), Control::default());
    std::fs::write(tree.join("f"), vec![1; 100_000]).unwrap();
    let go = |new: &str, control: &Control| {
        clone(&store, &tree, &scratch.join(new), &CloneOptions::default(), control)
            .map_err(|error| error.kind())
    };
    assert_eq!(go("new", &control).unwrap_err(), ErrorKind::NotFound);
    commit(&store, &tree, Some("app:v1"), &options(), &control).unwrap();
    assert_eq!(go("tree/new", &control).unwrap_err(), ErrorKind::InvalidArgument);
    std::fs::create_dir(scratch.join("full")).unwrap();
    std::fs::write(scratch.join("full/x"), "").unwrap();
    assert_eq!(go("full", &control).unwrap_err(), ErrorKind::AlreadyExists);
    let cancelled = Control::default();
    cancelled.cancel.cancel();
    assert_eq!(go("new", &cancelled).unwrap_err(), ErrorKind::Cancelled);
    assert_eq!(support::sh(scratch.path(), "ls -A"), "full\nstore\ntree\n");
    assert_eq!(store.trees().unwrap().len(), 1);
    go("new", &control).unwrap();
    assert_eq!(store.trees().unwrap().len(), 2);
}

/// A file that is written to, and a directory that is swapped for a link, while a large one is being cloned.
#[test]
fn a_tree_that_changes_meanwhile_is_an_error_or_a_clone_of_one_moment() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let (tree, outside) = (scratch.dir("tree"), scratch.dir("outside"));
    for i in 0..300 {
        std::fs::create_dir(tree.join(format!("d{i}"))).unwrap();
        std::fs::write(tree.join(format!("d{i}/f")), "inside").unwrap();
        std::fs::create_dir(outside.join(format!("d{i}"))).unwrap();
    }
    std::fs::write(outside.join("f"), "outside").unwrap();
    commit(&store, &tree, Some("app:v1"), &options(), &Control::default()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut made, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                i = (i + 7) % 300;
                let (dir, aside) = (tree.join(format!("d{i}")), tree.join("aside"));
                std::fs::rename(&dir, &aside).unwrap();
                std::os::unix::fs::symlink(&outside, &dir).unwrap();
                std::fs::remove_file(&dir).unwrap();
                std::fs::rename(&aside, &dir).unwrap();
            }
        });
        for round in 0..40 {
            let new = scratch.join(&format!("new{round}"));
            match clone(&store, &tree, &new, &CloneOptions::default(), &Control::default()) {
                Ok(_) => made += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
                    refused += 1;
                    assert!(!new.exists());
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(refused > 0, "{made} made, {refused} refused");
    assert_eq!(support::sh(scratch.path(), "grep -rl outside new* || true"), "");
    assert_eq!(support::sh(scratch.path(), "ls -A | grep unpacking || true"), "");
}

/// Killed at every system call of the kinds that change something: there is a whole clone with its record, or none.
#[test]
fn killed_at_any_step_there_is_a_whole_clone_or_none() {
    let strace =
        Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no usable strace");
        return;
    }
    let scratch = Scratch::new();
    let store = exact(&scratch);
    unpack(&store, "app:v1", &scratch.join("work"), &UnpackOptions::default(), &Control::default()).unwrap();
    let expected = describe(&look(&store, &scratch.join("work")).snapshot, None);
    let (mut kills, new) = (0, scratch.join("new"));
    for call in ["openat", "mkdirat", "linkat", "fchmod", "utimensat", "rename,renameat,renameat2", "fsync"] {
        for when in (1..).step_by(if call == "openat" { 17 } else { 3 }) {
            let mut command = Command::new("strace");
            command.args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("inject={call}:signal=KILL:when={when}"),
            ]);
            command.arg(support::program()).args(["-q", "--threads=1", "clone", "work", "new"]);
            command.env("TREERING_ROOT", scratch.join("store")).current_dir(scratch.path());
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            if new.exists() {
                assert_eq!(describe(&look(&store, &new).snapshot, None), expected, "{call} {when}");
                assert_eq!(words(&diff(&store, &new).0), Vec::<String>::new(), "{call} {when}");
                support::sh(scratch.path(), "chmod -R u+rwx new; rm -rf new");
            }
            treering::image::tidy(&store, &Default::default(), &Control::default()).unwrap();
            assert_eq!(support::sh(scratch.path(), "ls -A | grep unpacking || true"), "", "{call} {when}");
            if status.success() {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 20, "only {kills}");
}
