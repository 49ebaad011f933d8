//! The tree every stage is measured on: the same files on every machine, or a real tree named by TREERING_BENCH_TREE.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use treering::Control;
use treering::diff::{Change, ChangeKind, Reasons};
use treering::fs::Root;
use treering::tree::{NONE, OwnerPolicy, ScanOptions, Snapshot};

/// Returns a temporary directory, on tmpfs where there is one: the stages are measured, not a disk.
pub fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("treering-bench-").tempdir_in(base).expect("a temporary directory")
}

/// Returns the tree to measure, made below `dir` unless the environment names one: 200 directories of 50 files, 64 MB.
pub fn tree(dir: &Path) -> PathBuf {
    if let Some(tree) = std::env::var_os("TREERING_BENCH_TREE") {
        return tree.into();
    }
    let tree = dir.join("tree");
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        // xorshift64: enough for content that neither vanishes nor resists compression altogether.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for d in 0..200 {
        let dir = tree.join(format!("dir{d:03}/sub"));
        std::fs::create_dir_all(&dir).expect("a directory");
        for f in 0..50 {
            let len = 512 + (next() % 12_000) as usize;
            let content: Vec<u8> =
                (0..len).map(|i| if i % 3 == 0 { (next() >> 32) as u8 & 0x3f } else { b'a' }).collect();
            std::fs::write(dir.join(format!("file{f:02}")), content).expect("a file");
        }
    }
    tree
}

/// Returns a scan with the owners on disk.
pub fn scan(root: &Root, threads: usize, previous: Option<&Snapshot>) -> Snapshot {
    let options = ScanOptions { threads, owner: &OwnerPolicy::Keep, previous, ..ScanOptions::default() };
    treering::tree::scan(root, &options, &Control::default()).expect("a scan").snapshot
}

/// Lists everything as an addition: a first layer.
pub fn all_added(new: &Snapshot) -> Vec<Change> {
    std::iter::once(0)
        .chain(new.walk())
        .map(|new| Change {
            kind: ChangeKind::Added,
            reasons: Reasons::empty(),
            old: NONE,
            new,
            opaque: false,
        })
        .collect()
}

/// Returns the bytes of file content in a snapshot.
pub fn content(snapshot: &Snapshot) -> u64 {
    snapshot.walk().map(|index| snapshot.meta(index).size).sum()
}
