//! Decoding overlayfs upper directories, against what the kernel shows of them where it lets us mount.
#![allow(clippy::disallowed_methods)]

mod common;
#[path = "common/edits.rs"]
mod edits;
#[path = "common/overlay.rs"]
mod helpers;
#[path = "common/tools.rs"]
mod tools;

use std::path::{Path, PathBuf};

use common::{Scratch, scan, sh};
use edits::{Listing, apply, edit, edits, listing};
use helpers::{decode, listed, read};
use proptest::prelude::*;
use treering::diff::{CompareOptions, OverlayDiff, Reasons, compare};
use treering::error::escape;
use treering::fs::Root;
use treering::tree::Snapshot;

/// The paths and kinds of the changes. Which part of a file's names is called changed when they are parted is a choice.
fn listed_but_links(diff: &OverlayDiff) -> Vec<String> {
    let list = diff.changes.iter().filter(|c| c.new != 0 && c.reasons != Reasons::LINKS);
    list.map(|c| format!("{} {}", c.kind.letter(), escape(&c.path(Some(&diff.lower), &diff.upper)))).collect()
}

fn applied(old: &Listing, diff: &OverlayDiff) -> Listing {
    apply(old, &diff.changes, (&diff.lower, &diff.upper), |index| {
        let (root, below) = diff.sources.locate(&diff.upper, index);
        read(root, &below)
    })
}

/// Runs this test again in a mount namespace of its own, with a user namespace where we are not root. Gives `false` in
/// the outer process, which then has nothing left to do.
fn in_mount_namespace(test: &str) -> bool {
    const INSIDE: &str = "TREERING_IN_MOUNT_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let flags = if common::is_root() { "-m" } else { "-Urm" };
    static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let allowed = ALLOWED.get_or_init(|| {
        let scratch = Scratch::new();
        let probe = "mount -t tmpfs none . && cd \"$PWD\" && mkdir l u w m \
                     && mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr m";
        let out = std::process::Command::new("unshare")
            .args([flags, "sh", "-c", probe])
            .current_dir(scratch.path())
            .output();
        out.is_ok_and(|out| out.status.success())
    });
    if !allowed {
        tools::missing("PART", "overlay_kernel", "this machine does not let us mount an overlay");
        return false;
    }
    let out = std::process::Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{}\n{}", text(&out.stdout), text(&out.stderr));
    assert!(text(&out.stdout).contains("1 passed"), "{}", text(&out.stdout));
    false
}

/// A tmpfs with a stack of layers on it.
struct Stacked {
    base: PathBuf,
    /// The layers, lowest first.
    layers: Vec<PathBuf>,
    options: String,
}

impl Stacked {
    fn new(base: &Path, options: &str) -> Stacked {
        sh(base, "mount -t tmpfs none . && cd \"$PWD\" && mkdir m l0");
        Stacked { base: base.into(), layers: vec![base.join("l0")], options: options.into() }
    }

    fn merged(&self) -> PathBuf {
        self.base.join("m")
    }

    /// The layers from the top, as a mount has them.
    fn lowers(&self) -> Vec<PathBuf> {
        self.layers.iter().rev().cloned().collect()
    }

    fn mount(&self, upper: &str) {
        let lowers: Vec<String> =
            self.lowers().iter().map(|path| path.file_name().unwrap().to_str().unwrap().into()).collect();
        let lowers = lowers.join(":");
        let options = &self.options;
        sh(
            &self.base,
            &format!(
                "mkdir -p {upper} {upper}.w; mount -t overlay overlay -o lowerdir={lowers},upperdir={upper},workdir={upper}.w{options} m"
            ),
        );
    }

    fn unmount(&self) {
        sh(&self.base, "umount m");
    }
}

impl Drop for Stacked {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.merged()).output();
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.base).output();
    }
}

/// Turns whiteouts that are devices into the form that needs no device.
fn as_xattrs(dir: &Path, prefix: &str) {
    use rustix::fs::{XattrFlags, setxattr};
    let mut any = false;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            as_xattrs(&entry.path(), prefix);
        } else if std::os::unix::fs::FileTypeExt::is_char_device(&kind) {
            std::fs::remove_file(entry.path()).unwrap();
            std::fs::write(entry.path(), "").unwrap();
            setxattr(entry.path(), format!("{prefix}whiteout"), b"", XattrFlags::empty()).unwrap();
            any = true;
        }
    }
    if any {
        // An opaque directory stays one; nothing shows through it that would need a whiteout.
        let _ = setxattr(dir, format!("{prefix}opaque"), b"x", XattrFlags::CREATE);
    }
}

/// Grows a stack of layers by random edits through the kernel's overlay, and decodes each as the kernel shows it.
fn follows_the_kernel(test: &str, options: &'static str) {
    if !in_mount_namespace(test) {
        return;
    }
    let prefix = if options.contains("userxattr") { "user.overlay." } else { "trusted.overlay." };
    // PROPTEST_CASES asks for more.
    let cases = std::env::var("PROPTEST_CASES").map_or(24, |n| n.parse().unwrap());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let rounds = proptest::collection::vec((edits(1..12), any::<bool>()), 1..4);
    proptest!(config, |(first in edits(5..25), rounds in rounds)| {
        let scratch = Scratch::new();
        let mut stacked = Stacked::new(&scratch.dir("s"), options);
        first.iter().for_each(|e| edit(&stacked.layers[0], e));
        for (round, (edits, convert)) in rounds.iter().enumerate() {
            let name = format!("l{}", round + 1);
            stacked.mount(&name);
            let merged = stacked.merged();
            let before = scan(&merged).snapshot;
            let content = |s: &Snapshot, i: u32| read(&Root::open(&merged).unwrap(), &s.path(i));
            let old = listing(&before, |i| content(&before, i));
            edits.iter().for_each(|e| edit(&merged, e));
            stacked.unmount();
            let upper = stacked.base.join(&name);
            let diff = decode(&upper, &stacked.lowers()).unwrap();
            stacked.mount(&name);
            let after = scan(&merged).snapshot;
            let new = listing(&after, |i| content(&after, i));
            prop_assert_eq!(&applied(&old, &diff), &new);
            // The list is the one that comparing the two mounted views gives.
            let mut comparison = compare(&before, &after, &CompareOptions::default());
            comparison.settle(1, |change| {
                let (a, b) = (before.path(change.old), after.path(change.new));
                Ok(Some(old[&a].0 == new[&b].0))
            }).unwrap();
            let expected: Vec<String> = comparison.changes.iter().filter(|c| c.new != 0 && c.reasons != Reasons::LINKS)
                .map(|c| format!("{} {}", c.kind.letter(), escape(&c.path(Some(&before), &after)))).collect();
            prop_assert_eq!(listed_but_links(&diff), expected);
            stacked.unmount();
            if *convert {
                as_xattrs(&upper, prefix);
                let again = decode(&upper, &stacked.lowers()).unwrap();
                let again = applied(&old, &again);
                prop_assert!(again.keys().eq(new.keys()));
            }
            stacked.layers.push(upper);
        }
    });
}

/// Edits a stack of one lower directory through the kernel and gives what is decoded.
fn edited(options: &str, lower: &str, script: &str) -> (Vec<String>, Vec<String>) {
    let scratch = Scratch::new();
    let stacked = Stacked::new(&scratch.dir("s"), options);
    sh(&stacked.layers[0], lower);
    stacked.mount("u");
    let merged = stacked.merged();
    let before = scan(&merged).snapshot;
    let content = |s: &Snapshot, i: u32| read(&Root::open(&merged).unwrap(), &s.path(i));
    let old = listing(&before, |i| content(&before, i));
    sh(&merged, script);
    let upper = stacked.base.join("u");
    stacked.unmount();
    let diff = decode(&upper, &stacked.lowers()).unwrap();
    stacked.mount("u");
    let after = scan(&merged).snapshot;
    assert_eq!(applied(&old, &diff), listing(&after, |i| content(&after, i)));
    let marks = sh(
        &upper,
        "getfattr -Rhd -m 'overlay' . 2>/dev/null | grep -o '^[a-z.]*overlay[a-z.]*' | sort -u || true",
    );
    (listed(&diff), marks.lines().map(String::from).collect())
}

#[test]
fn a_moved_file_brings_the_names_it_has_elsewhere() {
    if !common::is_root() || !in_mount_namespace("a_moved_file_brings_the_names_it_has_elsewhere") {
        return;
    }
    let (list, marks) =
        edited(",redirect_dir=on", "mkdir -p d/e x; echo 1 >d/e/f; ln d/e/f x/g; echo 2 >x/h", "mv d m");
    assert_eq!(list, ["D d", "A m", "A m/e", "A m/e/f", "C x", "C x/g"]);
    assert!(marks.contains(&"trusted.overlay.redirect".into()), "{marks:?}");
}

#[test]
fn a_file_in_the_index_shows_under_all_its_names() {
    if !common::is_root() || !in_mount_namespace("a_file_in_the_index_shows_under_all_its_names") {
        return;
    }
    let (list, marks) = edited(
        ",index=on,redirect_dir=on",
        "mkdir -p d x/y; echo 1 >d/f; ln d/f x/y/g; ln d/f i; mkdir z; ln d/f z/k",
        "echo 2 >>x/y/g; mv z w",
    );
    assert_eq!(list, ["C d", "C d/f", "C i", "A w", "A w/k", "C x", "C x/y", "C x/y/g", "D z"]);
    assert!(marks.contains(&"trusted.overlay.nlink".into()), "{marks:?}");
}

#[test]
fn what_was_only_copied_up_is_no_change() {
    if !in_mount_namespace("what_was_only_copied_up_is_no_change") {
        return;
    }
    let lower = "mkdir -p d/e d/k; echo 1 >d/e/f; echo 2 >d/g; echo 3 >d/k/l; touch -d @99 d d/e d/k";
    let script = "for f in d/e/f d/g; do : >>$f; done";
    assert_eq!(edited(",userxattr", lower, script).0, [] as [&str; 0]);
    assert_eq!(
        edited(",userxattr", lower, ": >>d/g; echo n >d/e/n; touch -d @99 d/e").0,
        ["C d", "C d/e", "A d/e/n"]
    );
    assert_eq!(edited(",userxattr", lower, "rm d/k/l; touch -d @99 d/k").0, ["C d", "C d/k", "D d/k/l"]);
    // The same size and time: only the content tells.
    let script = "echo X >d/g.new; touch -r d/g d/g.new; mv d/g.new d/g; touch -d @99 d";
    assert_eq!(edited(",userxattr", lower, script).0, ["C d", "C d/g"]);
}

#[test]
fn a_directory_made_anew_deletes_each_lower_name() {
    if !in_mount_namespace("a_directory_made_anew_deletes_each_lower_name") {
        return;
    }
    let lower =
        "mkdir -p d/e/f d/g; echo 1 >d/1; echo 2 >d/2; echo 3 >d/e/3; echo 4 >d/e/f/4; touch -d @99 d/e";
    let (list, marks) = edited(",userxattr", lower, "rm -r d; mkdir -p d/e; echo 1 >d/1; touch -d @99 d/e");
    assert_eq!(list, ["C d", "C d/1", "D d/2", "C d/e", "D d/e/3", "D d/e/f", "D d/g"]);
    assert!(marks.contains(&"user.overlay.opaque".into()), "{marks:?}");
}

#[test]
fn decodes_what_the_kernel_shows() {
    follows_the_kernel("decodes_what_the_kernel_shows", ",userxattr");
}

#[test]
fn decodes_what_the_kernel_shows_with_trusted_marks() {
    if common::is_root() {
        follows_the_kernel("decodes_what_the_kernel_shows_with_trusted_marks", "");
    }
}

#[test]
fn decodes_redirects() {
    if common::is_root() {
        follows_the_kernel("decodes_redirects", ",redirect_dir=on");
    }
}

#[test]
fn decodes_metacopies() {
    if common::is_root() {
        follows_the_kernel("decodes_metacopies", ",redirect_dir=on,metacopy=on");
    }
}

#[test]
fn decodes_indexed_hard_links() {
    if common::is_root() {
        follows_the_kernel("decodes_indexed_hard_links", ",index=on,redirect_dir=on,metacopy=on");
    }
}
