//! A checkout is a fresh unpack in every field, wherever the tree comes from, and whatever stops it on the way.

mod common;
#[path = "common/edit.rs"]
mod edit;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Scratch, describe, is_root};
use proptest::prelude::*;
use treering::fs::Root;
use treering::image::{
    Base, CheckedOut, CheckoutOptions, CommitOptions, DiffOptions, UnpackOptions, Whose, binding, checkout,
    commit, diff_tree, unpack,
};
use treering::layer::{LayerOptions, MtimePrecision};
use treering::store::Store;
use treering::tree::{Snapshot, scan};
use treering::{Control, ErrorKind, Result};

fn options(nanoseconds: bool) -> CommitOptions {
    let precision = if nanoseconds { MtimePrecision::Nanoseconds } else { MtimePrecision::default() };
    let layer = LayerOptions { precision, ..LayerOptions::default() };
    CommitOptions { created: Some(1_700_000_000), layer, ..CommitOptions::default() }
}

/// Another line: an image that is built on nothing of the tree's before.
fn scratch_options(nanoseconds: bool) -> CommitOptions {
    CommitOptions { base: Base::Scratch, ..options(nanoseconds) }
}

fn go(store: &Store, image: &str, tree: &Path, discard: bool) -> Result<CheckedOut> {
    let options = CheckoutOptions { discard, ..CheckoutOptions::default() };
    checkout(store, image, tree, &options, &Control::default())
}

/// What is in a tree by all that the store knows of it, with nothing taken from its index.
fn look(store: &Store, tree: &Path) -> Snapshot {
    let root = Root::open(tree).unwrap();
    let whose = Whose::find(Some(store), &root, None, None).unwrap();
    scan(&root, &whose.scan_options(), &Control::default()).unwrap().snapshot
}

/// The tree is as a fresh unpack of the image is, and the store says the same of it.
fn same_as_fresh(store: &Store, image: &str, tree: &Path, fresh: &Path) {
    let _ = std::fs::remove_dir_all(fresh);
    unpack(store, image, fresh, &UnpackOptions::default(), &Control::default()).unwrap();
    let (here, there) = (look(store, tree), look(store, fresh));
    assert_eq!(describe(&here, Some(tree)), describe(&there, Some(fresh)));
    let bound = |tree: &Path| binding::find(store, &Root::open(tree).unwrap()).unwrap().unwrap();
    let (ours, theirs) = (bound(tree), bound(fresh));
    assert_eq!((ours.manifest, ours.owner.clone()), (theirs.manifest, theirs.owner));
    // The index is what a scan finds, all of it sure; the ledger is of files that are there.
    let (index, fresh_index) = (ours.index.unwrap(), theirs.index.unwrap());
    assert_eq!(describe(&index, Some(tree)), describe(&fresh_index, Some(fresh)));
    let flags = |list: &Snapshot| (0..list.len()).map(|at| list.meta(at).flags).collect::<Vec<_>>();
    assert_eq!(flags(&index), flags(&fresh_index));
    let root = Root::open(tree).unwrap();
    let whose = Whose::find(Some(store), &root, None, None).unwrap();
    let again = treering::tree::ScanOptions { previous: Some(&index), ..whose.scan_options() };
    let again = scan(&root, &again, &Control::default()).unwrap();
    // A root that was renamed into its place has another ctime since.
    assert!(again.unchanged + 1 >= u64::from(index.len()), "nothing is read again");
    for record in ours.ledger.records() {
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
fn three(scratch: &Scratch, edits: [&[edit::Edit]; 3], nanoseconds: bool) -> Store {
    let store = Store::open(scratch.join("store")).unwrap();
    let (one, other, control) = (scratch.dir("one"), scratch.dir("other"), Control::default());
    edit::run(&one, edits[0]);
    // An empty directory is unpacked to, and would be another one.
    std::fs::write(one.join("stays"), "stays").unwrap();
    commit(&store, &one, Some("app:a"), &options(nanoseconds), &control).unwrap();
    edit::run(&one, edits[1]);
    commit(&store, &one, Some("app:b"), &options(nanoseconds), &control).unwrap();
    edit::run(&other, edits[2]);
    commit(&store, &other, Some("app:c"), &scratch_options(nanoseconds), &control).unwrap();
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn from_any_image_to_any_other(
        first in edit::edits(40),
        second in edit::edits(20),
        third in edit::edits(40),
        dirt in prop::collection::vec(edit::edits(12), 6),
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
            edit::run(&tree, dirt);
            // Whether anything changed is what a comparison says.
            let diff = diff_tree(Some(&store), &tree, &Base::Auto, &DiffOptions::default(), &Control::default()).unwrap();
            match go(&store, image, &tree, false) {
                Ok(_) => assert!(diff.changes.is_empty(), "{:?}", diff.changes),
                Err(error) => {
                    assert!(!diff.changes.is_empty(), "{error}");
                    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
                }
            }
            let to = ["app:a", "app:b", "app:c"][(to + dirt.len()) % 3];
            go(&store, to, &tree, true).unwrap();
            same_as_fresh(&store, to, &tree, &fresh);
        }
        // A tree that was committed, not unpacked: whose files are as they were, and no longer by a policy.
        go(&store, "app:c", &scratch.join("one"), false).unwrap();
        same_as_fresh(&store, "app:c", &scratch.join("one"), &fresh);
        go(&store, "-", &scratch.join("one"), false).unwrap();
        same_as_fresh(&store, "app:b", &scratch.join("one"), &fresh);
    }

    #[test]
    fn thirty_checkouts_are_the_last_one(
        first in edit::edits(40),
        second in edit::edits(20),
        third in edit::edits(40),
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
