//! apply(diff(A, B), A) = B, with all metadata.
#![allow(clippy::disallowed_methods)]

use std::path::Path;

use proptest::prelude::*;
use support::{Scratch, describe, scan, scan_with};
use treering::Control;
use treering::diff::{Change, ChangeKind, CompareOptions, Reasons, compare, content};
use treering::fs::Root;
use treering::layer::TarSource;
use treering::layer::read::ReadChunks;
use treering::layer::{Applied, ApplyOptions, LayerOptions, LayerPlan, LayerTar, MtimePrecision, Target};
use treering::tree::{Ledger, NONE, OwnerPolicy, ScanOptions, Snapshot};

/// Returns all bytes of a layer, filled in pieces of an awkward size.
fn bytes_of(tar: &LayerTar<'_>, piece: usize) -> Vec<u8> {
    let mut out = vec![0xa5; tar.len() as usize];
    let mut worker = tar.worker();
    let len = out.len();
    // Back to front: no part may depend on the one before it.
    for start in (0..len).step_by(piece).rev() {
        tar.fill(&mut worker, start as u64, &mut out[start..(start + piece).min(len)]).unwrap();
    }
    out
}

fn layer(old: Option<&Snapshot>, new: &Snapshot, changes: &[Change], root: &Path) -> Vec<u8> {
    let options = LayerOptions { precision: MtimePrecision::Nanoseconds, clamp_mtime: None };
    let plan = LayerPlan::new(changes, old, new, options).unwrap();
    let root = Root::open(root).unwrap();
    bytes_of(&LayerTar::new(plan, &root), 7919)
}

fn everything(new: &Snapshot) -> Vec<Change> {
    std::iter::once(0)
        .chain(new.walk())
        .map(|index| Change {
            kind: ChangeKind::Added,
            reasons: Reasons::empty(),
            old: NONE,
            new: index,
            opaque: false,
        })
        .collect()
}

fn apply(layers: &[&[u8]], dir: &Path) -> Applied {
    let root = Root::open(dir).unwrap();
    let mut target = Target::empty(&root, ApplyOptions::default()).unwrap();
    for layer in layers {
        target
            .apply(ReadChunks::with_size(std::io::Cursor::new(layer.to_vec()), 4096), &Control::default())
            .unwrap();
    }
    target.finish().unwrap()
}

/// Compares two trees as the round trip must keep them: owners too where we may set them.
fn same(left: &Snapshot, left_root: &Path, right: &Snapshot, right_root: &Path) {
    let left = describe(left, Some(left_root));
    let right = describe(right, Some(right_root));
    for (path, line) in &left {
        assert_eq!(Some(line), right.get(path), "{path}");
    }
    assert_eq!(left.len(), right.len());
}

fn policy() -> OwnerPolicy {
    if support::is_root() { OwnerPolicy::Keep } else { OwnerPolicy::Root }
}

fn scan_as(path: &Path, ledger: Option<&Ledger>, previous: Option<&Snapshot>) -> treering::tree::Scan {
    scan_with(path, &ScanOptions { owner: &policy(), ledger, previous, ..ScanOptions::default() })
}

fn check(first: &[support::edit::Edit], second: &[support::edit::Edit]) {
    let scratch = Scratch::new();
    let tree = scratch.dir("tree");
    support::edit::run(&tree, first);
    let a = scan_as(&tree, None, None).snapshot;
    let layer_a = layer(None, &a, &everything(&a), &tree);

    let at_a = scratch.dir("a");
    let applied = apply(&[&layer_a], &at_a);
    assert_eq!(applied.losses, vec![]);
    let ledger_a = applied.ledger.clone();
    let again = scan_as(&at_a, Some(&applied.ledger), Some(&applied.snapshot));
    same(&a, &tree, &again.snapshot, &at_a);
    // The list made while applying is the list a scan makes, and nothing in it is in doubt.
    same(&applied.snapshot, &at_a, &again.snapshot, &at_a);
    let exact = CompareOptions { exact_times: true, ..CompareOptions::default() };
    assert_eq!(compare(&applied.snapshot, &again.snapshot, &exact).changes, vec![]);
    assert_eq!(again.unchanged, again.snapshot.len() as u64);

    support::edit::run(&tree, second);
    let b = scan_as(&tree, None, Some(&a)).snapshot;
    let mut comparison = compare(&a, &b, &exact);
    let tree_root = Root::open(&tree).unwrap();
    comparison
        .settle(2, |change| {
            content::same_as_digest(change, a.digest(change.old), &b, &tree_root, &Control::default())
        })
        .unwrap();
    let layer_b = layer(Some(&a), &b, &comparison.changes, &tree);
    let at_b = scratch.dir("b");
    let applied = apply(&[&layer_a, &layer_b], &at_b);
    let again = scan_as(&at_b, Some(&applied.ledger), None);
    same(&b, &tree, &again.snapshot, &at_b);
    same(&applied.snapshot, &at_b, &again.snapshot, &at_b);
    assert_eq!(compare(&applied.snapshot, &again.snapshot, &exact).changes, vec![]);

    // The same layer on the tree that is already there, as a scan finds it.
    let root = Root::open(&at_a).unwrap();
    let here = scan_as(&at_a, Some(&ledger_a), None).snapshot;
    let mut target = Target::existing(&root, &here, ledger_a, ApplyOptions::default());
    let chunks = ReadChunks::with_size(std::io::Cursor::new(layer_b), 4096);
    target.apply(chunks, &Control::default()).unwrap();
    let applied = target.finish().unwrap();
    let again = scan_as(&at_a, Some(&applied.ledger), None);
    same(&b, &tree, &again.snapshot, &at_a);
    same(&applied.snapshot, &at_a, &again.snapshot, &at_a);
    assert_eq!(compare(&applied.snapshot, &again.snapshot, &exact).changes, vec![]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: support::cases(60), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn applying_the_difference_gives_the_new_tree(first in support::edit::edits(40), second in support::edit::edits(30)) {
        check(&first, &second);
    }
}

#[test]
fn the_same_tar_whatever_the_pieces() {
    let scratch = Scratch::new();
    support::sh(
        scratch.path(),
        "mkdir -p t/d; for i in $(seq 300); do head -c $((i * 37)) /dev/zero | tr '\\0' x >t/d/$i; done; truncate -s 3M t/hole; printf end >>t/hole",
    );
    let snapshot = scan(&scratch.join("t")).snapshot;
    let root = Root::open(scratch.join("t")).unwrap();
    let plan = || LayerPlan::new(&everything(&snapshot), None, &snapshot, LayerOptions::default()).unwrap();
    let whole = bytes_of(&LayerTar::new(plan(), &root), usize::MAX / 2);
    for piece in [1000, 512, 4096, 65536, 1 << 20] {
        assert!(whole == bytes_of(&LayerTar::new(plan(), &root), piece), "pieces of {piece}");
    }
    std::fs::write(scratch.join("layer.tar"), &whole).unwrap();
    // GNU tar reads it to the same tree.
    support::sh(scratch.path(), "mkdir out && tar -C out -xpf layer.tar && diff -r t out");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let scratch = Scratch::new();
    let cases = [
        "echo longer >>t/f",
        ": >t/f",
        "rm t/f",
        "rm t/f; mkdir t/f",
        "rm t/f; ln -s /etc/passwd t/f",
        "cp t/f t/g; mv t/g t/f",
    ];
    for script in cases {
        support::sh(scratch.path(), "rm -rf t; mkdir t; echo content >t/f");
        let snapshot = scan(&scratch.join("t")).snapshot;
        let root = Root::open(scratch.join("t")).unwrap();
        let plan = LayerPlan::new(&everything(&snapshot), None, &snapshot, LayerOptions::default()).unwrap();
        let tar = LayerTar::new(plan, &root);
        support::sh(scratch.path(), script);
        let mut buffer = vec![0; tar.len() as usize];
        let error = tar.fill(&mut tar.worker(), 0, &mut buffer).unwrap_err();
        assert_eq!(error.kind(), treering::ErrorKind::Changed, "{script}: {error}");
        assert!(error.path().unwrap().ends_with(b"/t/f"), "{script}: {error}");
    }
}

#[test]
fn names_and_devices_that_would_delete_are_refused() {
    let scratch = Scratch::new();
    support::sh(scratch.path(), "mkdir -p t/d; echo x >t/d/.wh.x");
    let snapshot = scan(&scratch.join("t")).snapshot;
    let error =
        LayerPlan::new(&everything(&snapshot), None, &snapshot, LayerOptions::default()).err().unwrap();
    assert_eq!(error.path(), Some(&b"d/.wh.x"[..]));
    assert!(error.hint().is_some());
}
