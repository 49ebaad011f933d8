//! Directories that change places with something else, a hundred thousand times, while they are read: what comes out is
//! what was there, or an error, and never what lies outside the tree. (For writing and removing, see `layers.rs`.)

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};
use support::{Scratch, canary, sh};
use treering::compress::{Compression, Profile};
use treering::diff::CompareMode;
use treering::fs::Root;
use treering::image::{Base, CommitOptions, DiffOptions, commit, diff_tree};
use treering::layer::TarSource;
use treering::layer::{LayerOptions, LayerPlan, LayerTar};
use treering::store::Store;
use treering::tree::{OwnerPolicy, ScanOptions, Snapshot};
use treering::{Control, ErrorKind};

const ROUNDS: u64 = 100_000;
/// As long as one kind of reading is given at most, on a machine that is slow at renaming.
const PATIENCE: Duration = Duration::from_secs(30);

/// A tree with directories `a` and `a/b` that have a double outside, with the same names and other content.
struct Field {
    scratch: Scratch,
    tree: PathBuf,
    before: Vec<String>,
}

impl Field {
    fn new() -> Field {
        let scratch = Scratch::in_memory();
        let tree = scratch.dir("tree");
        sh(
            &tree,
            "mkdir -p a/b/c; for i in 1 2 3 4 5 6 7 8 9; do echo inside-$i >a/b/f$i; echo inside >a/b/c/g$i; done; echo t >z",
        );
        let outside = scratch.dir("outside");
        sh(
            &outside,
            "mkdir -p b/c; for i in 1 2 3 4 5 6 7 8 9; do echo SECRET-$i >b/f$i; echo SECRET >b/c/g$i; done
             echo SECRET >only-outside; cp -a b/. .; find . -type f -exec touch -r ../tree/z {} +",
        );
        // What takes the place of `a` and of `a/b`.
        sh(&scratch.dir("links"), "ln -s ../outside a; ln -s ../../outside/b b");
        let before = canary(&outside);
        Field { scratch, tree, before }
    }

    fn outside(&self) -> PathBuf {
        self.scratch.join("outside")
    }

    /// Runs `read` again and again while another thread exchanges directories for links out of the tree, and once with each
    /// link in its place throughout. `read` says whether it met with the change.
    fn race(&self, what: &str, mut read: impl FnMut() -> bool) {
        let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
        let (mut whole, mut failed) = (0, 0);
        let pairs = [
            (self.tree.join("a"), self.scratch.join("links/a")),
            (self.tree.join("a/b"), self.scratch.join("links/b")),
        ];
        let swap = |pair: &(PathBuf, PathBuf)| {
            rustix::fs::renameat_with(CWD, &pair.0, CWD, &pair.1, RenameFlags::EXCHANGE).unwrap();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for pair in &pairs {
                        swap(pair);
                        swap(pair);
                    }
                    rounds.fetch_add(4, Ordering::Relaxed);
                    // A moment of rest now and then: else no reading would ever come through.
                    if rounds.load(Ordering::Relaxed) % 64 == 0 {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                }
            });
            let stop = Stop(&stop);
            let start = Instant::now();
            while rounds.load(Ordering::Relaxed) < ROUNDS && start.elapsed() < PATIENCE {
                match read() {
                    true => failed += 1,
                    false => whole += 1,
                }
            }
            drop(stop);
        });
        let rounds = rounds.into_inner();
        eprintln!("{what}: {rounds} exchanges, {whole} whole, {failed} met with one");
        // How often the two met is for the machine to say. That meeting is noticed, and leads nowhere, is not.
        for pair in &pairs {
            swap(pair);
            assert!(read(), "{what}: {} is a link and nobody noticed", pair.0.display());
            swap(pair);
        }
        assert_eq!(canary(&self.outside()), self.before, "{what}");
    }
}

/// Ends the other thread also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn scan(root: &Root, previous: Option<&Snapshot>) -> treering::Result<Snapshot> {
    let options = ScanOptions { threads: 2, owner: &OwnerPolicy::Keep, previous, ..ScanOptions::default() };
    treering::tree::scan(root, &options, &Control::default()).map(|scan| scan.snapshot)
}

fn inodes(path: &Path) -> Vec<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut todo = vec![path.to_path_buf()];
    let mut out = Vec::new();
    while let Some(path) = todo.pop() {
        out.push(path.symlink_metadata().unwrap().ino());
        if path.symlink_metadata().unwrap().is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    out
}

#[test]
fn swap_race_of_scans() {
    let field = Field::new();
    let root = Root::open(&field.tree).unwrap();
    let outside = inodes(&field.outside());
    let quiet = scan(&root, None).unwrap();
    for previous in [None, Some(&quiet)] {
        let what = if previous.is_some() { "incremental scan" } else { "scan" };
        field.race(what, || match scan(&root, previous) {
            Ok(seen) => {
                for index in seen.walk() {
                    let (path, meta) = (seen.path(index), seen.meta(index));
                    assert!(!outside.contains(&meta.ino), "{}", path.escape_ascii());
                }
                // A link in the place of `a` or `a/b` is how the tree was at that moment.
                seen.len() != quiet.len()
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
                true
            }
        });
    }
}

fn bytes(tar: &LayerTar<'_>, piece: usize) -> treering::Result<Vec<u8>> {
    let mut worker = tar.worker();
    let mut out = vec![0; tar.len() as usize];
    let mut offset = 0;
    for part in out.chunks_mut(piece) {
        tar.fill(&mut worker, offset, part)?;
        offset += part.len() as u64;
    }
    Ok(out)
}

#[test]
fn swap_race_of_layers() {
    let field = Field::new();
    let root = Root::open(&field.tree).unwrap();
    let snapshot = scan(&root, None).unwrap();
    let empty = support::scan(&field.scratch.dir("empty")).snapshot;
    let changes = treering::diff::compare(&empty, &snapshot, &Default::default()).changes;
    let plan = LayerPlan::new(&changes, Some(&empty), &snapshot, LayerOptions::default()).unwrap();
    let tar = LayerTar::new(plan, &root);
    let quiet = bytes(&tar, 4096).unwrap();
    assert!(quiet.windows(8).any(|part| part == b"inside-9"));
    let mut piece = 512;
    field.race("layer", || {
        piece = if piece > 64 * 1024 { 512 } else { piece * 2 };
        match bytes(&tar, piece) {
            Ok(bytes) => {
                assert!(bytes == quiet, "the layer holds something else than the tree");
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
                assert!(
                    error
                        .path()
                        .is_some_and(|path| path.starts_with(field.tree.as_os_str().as_encoded_bytes()))
                );
                true
            }
        }
    });
}

#[test]
fn swap_race_of_diffs_and_commits() {
    let field = Field::new();
    let store = Store::open(field.scratch.join("store")).unwrap();
    let options = CommitOptions {
        base: Base::Scratch,
        owners: OwnerPolicy::Keep.into(),
        profile: Profile::new(Compression::None, None).unwrap(),
        created: Some(1_700_000_000),
        ..CommitOptions::default()
    };
    let control = Control::default();
    let quiet = commit(&store, &field.tree, Some("base:v1"), &options, &control).unwrap();
    // Every file's content is compared with what the image has of it.
    let base = Base::Image("base:v1".into());
    let content = DiffOptions { compare: CompareMode::Content, ..DiffOptions::default() };
    field.race("diff", || match diff_tree(Some(&store), &field.tree, &base, &content, &control) {
        Ok(diff) => {
            for change in diff.listed() {
                // With a link in a directory's place, that is what changed, and what was below is gone.
                let path = diff.path(change);
                let known = [&b"a"[..], b"a/b"].contains(&&path[..]) || change.kind.letter() == 'D';
                assert!(known, "{} {}", change.kind.letter(), path.escape_ascii());
            }
            diff.listed().count() > 0
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
            true
        }
    });
    let mut layers = std::collections::HashSet::new();
    field.race("commit", || match commit(&store, &field.tree, Some("raced:v1"), &options, &control) {
        Ok(committed) => {
            let layer = committed.layer.unwrap();
            layers.insert(layer.digest);
            layer.digest != quiet.layer.as_ref().unwrap().digest
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
            true
        }
    });
    for layer in layers {
        let blob = std::fs::read(field.scratch.join("store/oci/blobs/sha256").join(layer.hex())).unwrap();
        assert!(!blob.windows(6).any(|part| part == b"SECRET"), "{layer} holds what is outside");
    }
}
