//! A tree with something beside it that must not move.

use std::path::{Path, PathBuf};
use std::process::Command;

use treering::Control;
use treering::fs::Root;
use treering::layer::read::ReadChunks;
use treering::layer::{Applied, ApplyOptions, Target};
use treering::tree::{OwnerPolicy, ScanOptions, Snapshot};

use crate::tar::{self, Entry};
use crate::{Scratch, canary, is_root, scan_with};

pub struct Arena {
    pub scratch: Scratch,
    pub tree: PathBuf,
    pub outside: PathBuf,
    before: Vec<String>,
}

impl Arena {
    pub fn new() -> Arena {
        Self::within(Scratch::new())
    }

    pub fn within(scratch: Scratch) -> Arena {
        let (tree, outside) = (scratch.dir("tree"), scratch.dir("canary"));
        let script =
            "mkdir d; echo secret >f; echo x >g; ln f d/l; ln -s f s; mkfifo p; chmod 600 f; chmod 711 d
            touch -d 2001-02-03 f d; chmod 751 .";
        crate::sh(&outside, script);
        let _ = rustix::fs::setxattr(&outside, "user.canary", b"1", rustix::fs::XattrFlags::empty());
        let before = canary(&outside);
        Arena { scratch, tree, outside, before }
    }

    /// Checks that nothing outside moved.
    pub fn check(&self) {
        assert_eq!(self.before, canary(&self.outside));
    }

    pub fn apply(&self, layers: &[Vec<Entry>]) -> treering::Result<Applied> {
        apply(&self.tree, layers)
    }

    /// Applies each entry by an apply of its own, onto what a scan finds.
    pub fn apply_one_by_one(&self, entries: &[Entry]) -> treering::Result<()> {
        entries.iter().try_for_each(|entry| apply_to(&self.tree, &[vec![entry.clone()]]).map(drop))
    }
}

pub fn stream(entries: &[Entry]) -> ReadChunks<std::io::Cursor<Vec<u8>>> {
    ReadChunks::with_size(std::io::Cursor::new(tar::tar(entries)), 64 * 1024)
}

fn run(mut target: Target<'_>, layers: &[Vec<Entry>]) -> treering::Result<Applied> {
    for layer in layers {
        target.apply(stream(layer), &Control::default())?;
    }
    target.finish()
}

pub fn apply(tree: &Path, layers: &[Vec<Entry>]) -> treering::Result<Applied> {
    let root = Root::open(tree).unwrap();
    run(Target::empty(&root, ApplyOptions::default())?, layers)
}

/// Applies to whatever is there.
pub fn apply_to(tree: &Path, layers: &[Vec<Entry>]) -> treering::Result<Applied> {
    let root = Root::open(tree)?;
    let owner = if is_root() { OwnerPolicy::Keep } else { OwnerPolicy::Root };
    let options = ScanOptions { owner: &owner, ..ScanOptions::default() };
    let before = treering::tree::scan(&root, &options, &Control::default())?.snapshot;
    run(Target::existing(&root, &before, Default::default(), ApplyOptions::default()), layers)
}

pub fn scan_applied(tree: &Path, applied: &Applied) -> Snapshot {
    let options =
        ScanOptions { owner: &applied.owner, ledger: Some(&applied.ledger), ..ScanOptions::default() };
    scan_with(tree, &options).snapshot
}

const CHILD: &str = "TREERING_HOSTILE_CHILD";

/// Returns whether this process was started by [`in_child`].
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the named test (`module::name`) once more in a process of its own, by a shell script in which `$RUN` is that test.
pub fn in_child(test: &str, script: &str) {
    let exe = std::env::current_exe().unwrap();
    let run = format!("{} --exact {test} --nocapture --test-threads=1", exe.display());
    let out = Command::new("sh").arg("-euc").arg(script).env(CHILD, "1").env("RUN", run).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{}\n{text}\n{said}", out.status);
    let name = test.rsplit(':').next().unwrap();
    said.lines().filter(|line| line.starts_with(name)).for_each(|line| eprintln!("{line}"));
}

/// Applies one layer given as bytes.
pub fn apply_bytes(tree: &Path, tar: &[u8]) -> treering::Result<Applied> {
    let root = Root::open(tree).unwrap();
    let mut target = Target::empty(&root, ApplyOptions::default())?;
    target.apply(ReadChunks::new(std::io::Cursor::new(tar)), &Control::default())?;
    target.finish()
}
