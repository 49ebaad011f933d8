//! Changes between two snapshots: Docker's rules, reasons, hard links, and how far metadata is trusted.
#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;

use proptest::prelude::*;
use support::listing::{apply, edit, edits, listing};
use support::{Scratch, scan, sh};
use treering::Control;
use treering::diff::content::{same_as_digest, same_in_trees};
use treering::diff::{
    Change, ChangeKind, CompareMode, CompareOptions, Comparison, Reasons, Stat, compare, listed,
};
use treering::error::{ErrorKind, escape};
use treering::fs::{Kind, Root, Timestamp};
use treering::tree::builder::{Builder, Inode};
use treering::tree::{Flags, Meta, NONE, Snapshot};

/// A tree before and after a script.
struct Edited {
    scratch: Scratch,
    before: Snapshot,
    after: Snapshot,
}

impl Edited {
    fn tree(&self) -> PathBuf {
        self.scratch.join("t")
    }

    /// Returns the changes, settled by comparing with a copy of the tree as it was.
    fn changes(&self, options: &CompareOptions) -> Comparison<'_> {
        let mut comparison = compare(&self.before, &self.after, options);
        let (old, new) = (Root::open(self.scratch.join("copy")).unwrap(), Root::open(self.tree()).unwrap());
        comparison
            .settle(2, |change| same_in_trees(change, &old, &self.after, &new, &Control::default()))
            .unwrap();
        comparison
    }

    fn listed(&self) -> Vec<String> {
        lines(&self.changes(&CompareOptions::default()).changes, &self.before, &self.after)
    }
}

fn edited(before: &str, script: &str) -> Edited {
    let scratch = Scratch::new();
    let tree = scratch.dir("t");
    sh(&tree, before);
    let before = scan(&tree).snapshot;
    sh(scratch.path(), "cp -a t copy");
    sh(&tree, script);
    let after = scan(&tree).snapshot;
    Edited { scratch, before, after }
}

/// Returns `C path reason,reason`, in the order of the list.
fn lines(changes: &[Change], old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let line = |c: &Change| {
        let reasons = c.reasons.words().join(",");
        format!("{} {} {reasons}", c.kind.letter(), escape(&c.path(Some(old), new))).trim_end().to_string()
    };
    changes.iter().map(line).collect()
}

#[track_caller]
fn check(before: &str, script: &str, expected: &[&str]) {
    let list = edited(before, script).listed();
    assert_eq!(list, expected, "{script}");
}

#[test]
fn nothing_changed() {
    let e = edited("mkdir d; echo 1 >d/f; ln -s f d/l; ln d/f g", "cat d/f >/dev/null");
    assert!(e.changes(&CompareOptions::default()).is_empty());
    // Reading moves only the access time; nothing even had to be settled.
    assert!(compare(&e.before, &e.after, &CompareOptions::default()).is_empty());
}

#[test]
fn parents_are_listed_and_the_root_is_not() {
    const BEFORE: &str = "mkdir -p a/b c; echo 1 >a/b/f; echo 2 >c/g; touch -d @9 . a a/b c";
    check(BEFORE, "echo n >a/b/n; touch -d @9 a/b", &["C a parent", "C a/b parent", "A a/b/n"]);
    check(BEFORE, "rm c/g; touch -d @9 c", &["C c parent", "D c/g"]);
    check(BEFORE, "rm c/g", &["C c mtime", "D c/g"]);
    check(BEFORE, "echo n >n; touch -d @9 .", &["A n"]);
    // The root's own attributes are another matter: they are in the list, for the layer.
    check(BEFORE, "chmod 700 .", &["C  mode"]);
    // What changed in place counts for the directories above it too.
    check(BEFORE, "echo 22 >c/g", &["C c parent", "C c/g content,mtime"]);
}

#[test]
fn a_deleted_tree_is_listed_once_and_an_added_one_in_full() {
    const BEFORE: &str = "mkdir -p a/b/c x; echo 1 >a/b/c/f; echo 2 >a/g; touch -d @9 . a";
    check(BEFORE, "rm -r a/b; touch -d @9 a", &["C a parent", "D a/b"]);
    check(BEFORE, "rm -r a; touch -d @9 .", &["D a"]);
    let all = ["A n", "A n-o", "A n/m", "A n/m/f", "A n/m/g", "A n0"];
    check(BEFORE, "mkdir -p n/m; echo 1 >n/m/f; echo 2 >n/m/g; echo 3 >n-o; echo 4 >n0; touch -d @9 .", &all);
    check(BEFORE, "mv a n; touch -d @9 .", &["D a", "A n", "A n/b", "A n/b/c", "A n/b/c/f", "A n/g"]);
}

#[test]
fn a_path_that_is_something_else_now_is_one_change() {
    const BEFORE: &str = "mkdir -p d/e; echo 1 >d/e/f; echo 2 >f; ln -s x l; touch -d @9 .";
    check(BEFORE, "rm -r d; echo 1 >d; touch -d @9 .", &["C d type"]);
    check(BEFORE, "rm f; mkdir f; echo 1 >f/n; touch -d @9 .", &["C f type", "A f/n"]);
    check(BEFORE, "rm l; mkfifo l; touch -d @9 .", &["C l type"]);
    check(BEFORE, "rm -r d; ln -s f d; touch -d @9 .", &["C d type"]);
}

#[test]
fn every_attribute_has_its_reason() {
    const BEFORE: &str = "mkdir d; echo 1 >f; chmod 644 f; ln -s x l; touch -h -d @9 l; touch -d @9 . d f";
    check(BEFORE, "touch -d @10 d", &["C d mtime"]);
    check(BEFORE, "touch -d @9.5 f; touch -d @8 d", &["C d mtime"]);
    check(BEFORE, "chmod 4755 f; chmod 1777 d", &["C d mode", "C f mode"]);
    check(BEFORE, "ln -sfn y l; touch -h -d @9 l; touch -d @9 .", &["C l target"]);
    check(BEFORE, "setfattr -n user.t -v 1 f; setfattr -n user.t -v '' d", &["C d xattrs", "C f xattrs"]);
    check("echo 1 >f; setfattr -n user.t -v 1 f", "setfattr -n user.t -v 2 f", &["C f xattrs"]);
    check("echo 1 >f; setfattr -n user.t -v 1 f", "setfattr -x user.t f", &["C f xattrs"]);
    check(BEFORE, "echo 11 >f; touch -d @9 f; chmod 600 f", &["C f content,mode"]);
    if support::is_root() {
        check(BEFORE, "chown 5:6 f; chown -h 7 l", &["C f owner", "C l owner"]);
        check(
            "mknod c c 1 3; touch -d @9 . c",
            "rm c; mknod c c 1 5; touch -d @9 . c; mknod b b 1 5; touch -d @9 .",
            &["A b", "C c device"],
        );
    }
}

/// Same size, same mtime: only the ctime is another.
const STEALTHY: &str = "touch -r f ../ref; echo X >f; touch -r ../ref f";

#[test]
fn an_edit_that_restores_size_and_mtime_is_found_by_its_content() {
    let e = edited(
        "echo 1 >f; echo 2 >g; : >empty",
        &format!("{STEALTHY}; chmod 600 g; chmod 644 g; touch -r empty empty"),
    );
    let list = |changes: &[Change]| lines(changes, &e.before, &e.after);
    let unsettled = compare(&e.before, &e.after, &CompareOptions::default());
    assert_eq!(list(&unsettled.changes), ["C f suspect", "C g suspect"]);
    assert_eq!(e.listed(), ["C f content"]);
    // What cannot be decided stays a change.
    let mut untold = compare(&e.before, &e.after, &CompareOptions::default());
    untold.settle(0, |_| Ok(None)).unwrap();
    assert_eq!(list(&untold.changes), ["C f suspect", "C g suspect"]);
    // An answer that cannot be had is an error, once, from whichever thread.
    let fail = |_: &Change| Err(treering::Error::corrupt("compare content", "no"));
    let error = compare(&e.before, &e.after, &CompareOptions::default()).settle(2, fail).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // By digest, as for a layer someone else made.
    let root = Root::open(e.tree()).unwrap();
    let digest = |text: &str| {
        let hex = treering::Digest::of(text.as_bytes()).to_string();
        let hex = hex.rsplit(':').next().unwrap().to_string();
        let byte = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
        std::array::from_fn::<u8, 32, _>(byte)
    };
    let mut by_digest = compare(&e.before, &e.after, &CompareOptions::default());
    by_digest
        .settle(1, |c| {
            let text = if e.before.path(c.old) == b"f" { "1\n" } else { "2\n" };
            same_as_digest(c, Some(digest(text)), &e.after, &root, &Control::default())
        })
        .unwrap();
    assert_eq!(list(&by_digest.changes), ["C f content"]);
}

#[test]
fn modes_trust_more_or_less() {
    let e = edited("echo 1 >f; echo 2 >g", STEALTHY);
    let list = |mode| {
        let options = CompareOptions { mode, ..CompareOptions::default() };
        lines(&compare(&e.before, &e.after, &options).changes, &e.before, &e.after)
    };
    assert_eq!(list(CompareMode::Metadata), [] as [&str; 0]);
    assert_eq!(list(CompareMode::Auto), ["C f suspect"]);
    assert_eq!(list(CompareMode::Content), ["C f suspect", "C g suspect"]);
    for (text, mode) in
        [("auto", CompareMode::Auto), ("metadata", CompareMode::Metadata), ("content", CompareMode::Content)]
    {
        assert_eq!(text.parse::<CompareMode>().unwrap(), mode);
    }
    assert!("fast".parse::<CompareMode>().is_err());
}

#[test]
fn whole_seconds_are_the_same_as_any_fraction_unless_asked() {
    let time = |nanos| {
        let mut builder = Builder::new(Inode::new(Meta::directory()));
        let meta = Meta { kind: Kind::File, mtime: Timestamp::new(9, nanos), ..Meta::directory() };
        builder.insert(0, b"f", Inode::new(meta));
        builder.finish(None).unwrap()
    };
    let reasons = |a, b, exact_times| {
        let options = CompareOptions { exact_times, ..CompareOptions::default() };
        compare(&time(a), &time(b), &options).changes.first().map(|c| c.reasons)
    };
    assert_eq!(reasons(0, 5, false), None);
    assert_eq!(reasons(5, 0, false), None);
    assert_eq!(reasons(0, 5, true), Some(Reasons::MTIME));
    assert_eq!(reasons(4, 5, false), Some(Reasons::MTIME));
    assert_eq!(reasons(5, 5, true), None);
}

#[test]
fn a_racy_entry_is_trusted_by_its_digest_alone() {
    // A scan by a clock that stood still since the file was written: the time stamps prove nothing.
    let scratch = Scratch::new();
    let tree = scratch.dir("t");
    sh(&tree, "echo 1 >f");
    // Past the tick of the clock in which it was written, the scan itself finds no doubt.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let fresh = scan(&tree).snapshot;
    let racy = |digest: Option<[u8; 32]>| {
        let mut builder = Builder::from_snapshot(&fresh);
        let node = builder.child(0, b"f").unwrap();
        builder.inode_mut(node).digest = digest;
        let snapshot = builder.finish(Some(fresh.meta(1).ctime)).unwrap();
        assert!(snapshot.meta(1).flags.contains(Flags::RACY));
        snapshot
    };
    let trusted = |digest| {
        let mut builder = Builder::from_snapshot(&fresh);
        builder.inode_mut(1).digest = digest;
        let later = Timestamp::new(fresh.clock().secs + 1, 0);
        builder.finish(Some(later)).unwrap()
    };
    let reasons = |old: &Snapshot, new: &Snapshot| {
        compare(old, new, &CompareOptions::default()).changes.iter().map(|c| c.reasons).next()
    };
    let (a, b) = (Some([1; 32]), Some([2; 32]));
    assert_eq!(reasons(&fresh, &fresh), None);
    assert_eq!(reasons(&racy(None), &fresh), Some(Reasons::SUSPECT));
    assert_eq!(reasons(&racy(a), &trusted(a)), None);
    assert_eq!(reasons(&racy(a), &trusted(b)), Some(Reasons::CONTENT));
    assert_eq!(
        reasons(&racy(a), &racy(a)),
        Some(Reasons::SUSPECT),
        "a racy digest may be of what was before"
    );
}

#[test]
fn stat_counts_each_file_once() {
    let e = edited(
        "mkdir d; echo 1 >d/f; echo 2 >g; touch -d @9 .",
        "rm -r d; echo 333 >g; echo 4444 >h; ln h i; mkdir n; chmod 700 .",
    );
    let changes = e.changes(&CompareOptions::default()).changes;
    assert_eq!(
        Stat::of(&changes, Some(&e.before), &e.after),
        Stat { added: 3, changed: 1, deleted: 1, bytes: 4 + 5 }
    );
    assert!(changes.iter().any(|c| c.new == 0 && c.kind == ChangeKind::Changed));
    let deleted = changes.iter().find(|c| c.kind == ChangeKind::Deleted).unwrap();
    assert_eq!((deleted.new, deleted.path(Some(&e.before), &e.after)), (NONE, b"d".to_vec()));
    assert_eq!(deleted.path(None, &e.after), b"");
}

#[test]
fn words_and_letters_are_fixed() {
    let words = [
        "type", "content", "mode", "owner", "mtime", "xattrs", "target", "device", "links", "parent",
        "suspect",
    ];
    assert_eq!(Reasons::all().words(), words);
    let kinds = [ChangeKind::Added, ChangeKind::Changed, ChangeKind::Deleted];
    assert_eq!(kinds.map(|k| (k.letter(), k.name())), [('A', "added"), ('C', "changed"), ('D', "deleted")]);
}

#[test]
fn a_file_that_gains_a_name_goes_out_with_all_its_names() {
    let before = "echo 1 >a; echo 2 >c; touch -d @9 .";
    check(before, "ln a b; touch -d @9 .", &["C a links", "A b"]);
    let before = "echo 1 >b; ln b d; echo 2 >c; touch -d @9 .";
    check(before, "ln b a; touch -d @9 .", &["A a", "C b links", "C d links"]);
}

#[test]
fn of_a_file_that_gains_a_name_only_that_is_listed() {
    let before = "mkdir d n; echo 1 >d/a; touch -d @9 . d d/a n";
    let shown = |script: &str| {
        let e = edited(before, script);
        let changes = e.changes(&CompareOptions::default()).changes;
        let numbers = listed(&changes, Some(&e.before), &e.after);
        let shown: Vec<Change> = numbers.into_iter().map(|number| changes[number as usize]).collect();
        let stat = Stat::of(&changes, Some(&e.before), &e.after);
        assert_eq!((stat.added + stat.changed + stat.deleted) as usize, shown.len(), "{script}");
        lines(&shown, &e.before, &e.after)
    };
    // What is above the old name did not change either.
    assert_eq!(shown("ln d/a n/b; touch -d @9 n"), ["C n parent", "A n/b"]);
    assert_eq!(
        shown("ln d/a n/b; touch -d @9 n; echo 2 >d/c; touch -d @9 d"),
        ["C d parent", "A d/c", "C n parent", "A n/b"]
    );
    assert_eq!(shown("ln d/a d/b; touch -d @9 d"), ["C d parent", "A d/b"]);
    assert_eq!(
        shown("ln d/a n/b; chmod 600 d/a; touch -d @9 n"),
        ["C d parent", "C d/a mode,links", "C n parent", "A n/b"]
    );
    // Where old names part, that is all there is to say.
    let before = "echo 1 >a; ln a b; touch -d @9 a .";
    let e = edited(before, "cp -p b n; mv n b; touch -d @9 .");
    let changes = e.changes(&CompareOptions::default()).changes;
    assert_eq!(listed(&changes, Some(&e.before), &e.after).len(), 1);
}

#[test]
fn a_file_that_loses_a_name_stays_where_it_is() {
    check("echo 1 >a; ln a b; ln a c; touch -d @9 .", "rm b; touch -d @9 .", &["D b"]);
    check("echo 1 >a; ln a b; touch -d @9 .", "rm a; touch -d @9 .", &["D a"]);
    check("echo 1 >a; ln a b; touch -d @9 .", "mv a z; touch -d @9 .", &["D a", "C b links", "A z"]);
}

#[test]
fn a_changed_file_goes_out_with_all_its_names() {
    check("echo 1 >a; ln a b", "echo 22 >b", &["C a content,mtime", "C b content,mtime"]);
    check("echo 1 >a; ln a b", "chmod 600 a", &["C a mode", "C b mode"]);
    let before = "echo 1 >f; ln f g";
    check(before, STEALTHY, &["C f content", "C g content"]);
    check(before, "chmod 600 f; chmod 644 f", &[]);
}

#[test]
fn names_that_part_or_meet() {
    let before = "echo 1 >a; ln a b; ln a c; touch -d @9 a .";
    // A new file of the same content under one name, with everything else the same.
    check(before, "cp -p c n; mv n c; touch -d @9 .", &["C c links"]);
    check(before, "cp -p b n; mv n b; ln -f b c; touch -d @9 .", &["C b links", "C c links"]);
    check(before, "cp -p a n; mv n a; touch -d @9 .", &["C b links", "C c links"]);
    check(before, "echo 22 >n; mv n b; touch -d @9 .", &["C b content,mtime"]);
    let before = "echo 1 >a; cp -p a b; touch -d @9 a b .";
    check(before, "ln -f a b; touch -d @9 .", &["C a links", "C b links"]);
    let before = "echo 1 >a; ln a b; cp -p a c; ln c d; touch -d @9 a c .";
    check(before, "ln -f a c; touch -d @9 .", &["C a links", "C b links", "C c links"]);
    check(
        before,
        "ln -f a x; ln -f c a; mv x c; touch -d @9 .",
        &["C a links", "C b links", "C c links", "C d links"],
    );
}

#[test]
fn names_outside_the_tree_make_no_links_inside() {
    check("echo 1 >a; echo 2 >b; touch -d @9 .", "ln a ../out", &[]);
    check("ln ../copy/none x 2>/dev/null || echo 1 >x; ln x ../o; touch -d @9 .", "rm ../o", &[]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(support::cases(100)) })]

    /// The old tree with the changes applied is the new tree; nothing is listed without a reason; a tree compared with
    /// its copy, where no identity holds, gives the same.
    #[test]
    fn the_changes_lead_from_the_old_tree_to_the_new(first in edits(5..30), second in edits(1..15), in_copy in any::<bool>()) {
        let scratch = Scratch::new();
        let (tree, copy) = (scratch.dir("t"), scratch.join("copy"));
        first.iter().for_each(|e| edit(&tree, e));
        let before = scan(&tree).snapshot;
        sh(scratch.path(), "cp -a t copy");
        let (old_tree, new_tree) = if in_copy { (&tree, &copy) } else { (&copy, &tree) };
        second.iter().for_each(|e| edit(new_tree, e));
        let after = scan(new_tree).snapshot;
        let (old_root, new_root) = (Root::open(old_tree).unwrap(), Root::open(new_tree).unwrap());
        let mut comparison = compare(&before, &after, &CompareOptions::default());
        comparison.settle(2, |change| same_in_trees(change, &old_root, &after, &new_root, &Control::default())).unwrap();
        let content = |root: &Root, path: &[u8]| {
            let mut out = Vec::new();
            std::io::Read::read_to_end(&mut std::fs::File::from(root.open_file(path).unwrap()), &mut out).unwrap();
            out
        };
        let old = listing(&before, |i| content(&old_root, &before.path(i)));
        let new = listing(&after, |i| content(&new_root, &after.path(i)));
        let applied = apply(&old, &comparison.changes, (&before, &after), |i| content(&new_root, &after.path(i)));
        prop_assert_eq!(&applied, &new);
        let paths: Vec<Vec<u8>> = comparison.changes.iter().map(|c| c.path(Some(&before), &after)).collect();
        prop_assert!(paths.is_sorted_by(|a, b| a < b), "{:?}", paths);
        for (change, path) in comparison.changes.iter().zip(&paths) {
            match change.kind {
                ChangeKind::Added => prop_assert!(!old.contains_key(path) && change.reasons.is_empty()),
                ChangeKind::Deleted => prop_assert!(!new.contains_key(path) && change.reasons.is_empty()),
                ChangeKind::Changed => {
                    let only_about_others = Reasons::PARENT | Reasons::LINKS;
                    let itself = !(change.reasons - only_about_others).is_empty();
                    prop_assert_eq!(itself, old[path].0 != new[path].0, "{}", escape(path));
                    prop_assert!(!change.reasons.is_empty() && !change.reasons.contains(Reasons::SUSPECT));
                }
            }
        }
    }
}

#[test]
fn reading_content_is_counted_and_can_be_cancelled() {
    use treering::diff::content::same_content;
    let scratch = Scratch::new();
    sh(scratch.path(), "truncate -s 1000000 a b");
    let root = Root::open(scratch.path()).unwrap();
    let read = |control: &Control| same_content((&root, b"a"), (&root, b"b"), control);
    let control = Control::default();
    assert!(read(&control).unwrap());
    assert_eq!(control.counters.bytes_read.load(std::sync::atomic::Ordering::Relaxed), 2_000_000);
    control.cancel.cancel();
    assert_eq!(read(&control).unwrap_err().kind(), ErrorKind::Cancelled);
}
