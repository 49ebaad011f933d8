//! Long operations beside a prune: it waits for none of them and takes nothing from them.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use treering::archive::{ExportOptions, ExportSource, Format, LoadOptions, NamePolicy, export, load, save};
use treering::image::{CommitOptions, TidyOptions, UnpackOptions, commit, tidy, unpack};
use treering::store::{PruneOptions, Store};
use treering::{Control, Digest, ErrorKind};

use crate::world::{child, problems};

/// Prunes. The store's lease may be held for a moment, and not until an operation that stands still ends.
fn prune(store: &Store) -> usize {
    let options = PruneOptions { wait: Duration::from_secs(30), ..PruneOptions::default() };
    store.prune(&options, &Control::default()).unwrap().blobs.len()
}

/// Commits a tree with a file too large for the memory of a load as `app:1`.
fn committed(store: &Store, tree: &Path) {
    std::fs::create_dir_all(tree).unwrap();
    let noise: Vec<u8> = (0..40_000u32).flat_map(|it| *Digest::of(&it.to_le_bytes()).bytes()).collect();
    std::fs::write(tree.join("noise"), noise).unwrap();
    commit(store, tree, Some("app:1"), &CommitOptions::default(), &Control::default()).unwrap();
}

/// Stops in the middle of a stream until it is let go on.
struct Halting<T> {
    inner: T,
    left: usize,
    arrived: Sender<()>,
    go_on: Receiver<()>,
}

impl<T> Halting<T> {
    fn pass(&mut self, n: usize) {
        if self.left > 0 && self.left <= n {
            self.arrived.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
        self.left = self.left.saturating_sub(n);
    }
}

impl<T: Read> Read for Halting<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.pass(n);
        Ok(n)
    }
}

impl<T: Write> Write for Halting<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.pass(buffer.len());
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Runs an operation on a stream that stops after `left` bytes, and something else then.
fn beside<T: Send, R: Send, M>(
    (inner, left): (T, usize),
    operation: impl FnOnce(Halting<T>) -> R + Send,
    meanwhile: impl FnOnce() -> M,
) -> (R, M) {
    let (arrived, waits) = channel();
    let (let_go, go_on) = channel();
    let stream = Halting { inner, left, arrived, go_on };
    std::thread::scope(|scope| {
        // Dropped where anything panics: the operation ends, and the test with it.
        let let_go = let_go;
        let running = scope.spawn(move || operation(stream));
        waits.recv().unwrap();
        // The operation stands still: whatever waited for its end would never return.
        let done = meanwhile();
        let_go.send(()).unwrap();
        (running.join().unwrap(), done)
    })
}

fn saved(store: &Store, out: &mut (dyn Write + Send)) -> treering::Result<()> {
    save(store, &["app:1".into()], Format::OciArchive, out, &Control::default())
}

#[test]
fn a_load_keeps_what_it_has_written_so_far() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path().join("store")).unwrap();
    committed(&store, &temp.path().join("tree"));
    let mut archive = Vec::new();
    saved(&store, &mut archive).unwrap();
    let other = Store::open(temp.path().join("other")).unwrap();
    other.put_blob(b"unneeded").unwrap();
    // Near the end: the layer may be in the store already, and no document leads to it.
    let left = archive.len() - 3000;
    let operation = |input: Halting<_>| {
        load(&other, Box::new(input), &LoadOptions::default(), &Control::default()).map(|it| it.len())
    };
    let (loaded, pruned) = beside((Cursor::new(archive), left), operation, || prune(&other));
    assert_eq!((loaded.unwrap(), pruned), (1, 1));
    assert!(problems(&other).is_empty());
    assert_eq!(prune(&other), 0);
}

#[test]
fn a_save_and_an_export_keep_an_image_that_loses_its_name_meanwhile() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path().join("store")).unwrap();
    committed(&store, &temp.path().join("tree"));
    store.unbind(&store.trees().unwrap()[0]).unwrap();
    let mut whole = Vec::new();
    saved(&store, &mut whole).unwrap();
    let again = |out: &[u8]| {
        let names = LoadOptions { names: NamePolicy::Move, ..LoadOptions::default() };
        load(&store, Box::new(Cursor::new(out.to_vec())), &names, &Control::default()).unwrap();
    };
    let vanish = || {
        store.untag(&"app:1".parse().unwrap()).unwrap();
        prune(&store)
    };
    let operation = |mut out: Halting<Vec<u8>>| saved(&store, &mut out).map(|()| out.inner);
    let (out, pruned) = beside((Vec::new(), 100_000), operation, vanish);
    assert_eq!(pruned, 0, "it is being saved");
    assert_eq!(out.unwrap(), whole);
    assert_eq!(prune(&store), 3, "it was saved");

    again(&whole);
    let operation = |mut out: Halting<Vec<u8>>| {
        let source = ExportSource::Image("app:1");
        export(&store, source, &ExportOptions::default(), &mut out, &Control::default())
    };
    let (out, pruned) = beside((Vec::new(), 100_000), operation, vanish);
    out.unwrap();
    assert_eq!((pruned, prune(&store)), (0, 3));
}

/// Does over and over what one worker does. Nothing but the tree leads to what it makes, since all names are removed at once.
pub fn work_forever(root: &Path, arg: &str) {
    let store = Store::open(root.join("store")).unwrap();
    let control = Control::default();
    for round in 0u64.. {
        let archive = std::fs::File::open(root.join("app.tar")).unwrap();
        let names = LoadOptions { names: NamePolicy::Move, ..LoadOptions::default() };
        load(&store, Box::new(archive), &names, &control).unwrap();
        let tree = root.join(format!("tree-{arg}-{round}"));
        match unpack(&store, "app:1", &tree, &UnpackOptions::default(), &control) {
            Ok(_) => {}
            // The name went before it was looked up.
            Err(error) if error.kind() == ErrorKind::NotFound && error.operation() == "find image" => {
                continue;
            }
            Err(error) => panic!("unpack: {error}"),
        }
        std::fs::write(tree.join("new"), format!("{arg} {round}")).unwrap();
        let options = CommitOptions::default();
        let made =
            commit(&store, &tree, None, &options, &control).unwrap_or_else(|it| panic!("commit: {it}"));
        let id = made.manifest.to_string();
        save(&store, &[id], Format::OciArchive, &mut io::sink(), &control)
            .unwrap_or_else(|it| panic!("save: {it}"));
        std::fs::remove_dir_all(&tree).unwrap();
        println!("done {arg}-{round}");
        io::stdout().flush().unwrap();
    }
}

/// Workers load, unpack, commit and save, and are killed at any moment; another process prunes all the while, names and
/// lost trees included. No worker ever misses anything, and in the end nothing is left.
#[test]
fn workers_and_prunes_and_kills() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    let store = Store::open(root.join("store")).unwrap();
    committed(&store, &root.join("tree"));
    saved(&store, &mut std::fs::File::create(root.join("app.tar")).unwrap()).unwrap();
    std::fs::remove_dir_all(root.join("tree")).unwrap();
    let prune = PruneOptions { wait: Duration::from_secs(60), ..PruneOptions::default() };
    let everything = TidyOptions { unused_names: true, lost_trees: true, prune };
    let (mut rounds, mut pruned) = (0, 0);
    for wave in 0..60u64 {
        // On a machine with other work to do it takes longer waves until a worker gets round once.
        if wave >= 6 && rounds > 0 {
            break;
        }
        let mut workers: Vec<_> =
            (0..3).map(|i| child("work-forever", root, &format!("{wave}-{i}")).spawn().unwrap()).collect();
        let end = Instant::now() + Duration::from_millis(1200 + 170 * wave);
        while Instant::now() < end {
            pruned += tidy(&store, &everything, &Control::default()).unwrap().pruned.blobs.len();
            std::thread::sleep(Duration::from_millis(20));
        }
        for worker in &mut workers {
            assert!(worker.try_wait().unwrap().is_none(), "{}", {
                let mut said = String::new();
                worker.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                said
            });
            worker.kill().unwrap();
            worker.wait().unwrap();
            let out = BufReader::new(worker.stdout.take().unwrap());
            rounds += out.lines().map_while(Result::ok).filter(|line| line.starts_with("done")).count();
        }
        assert!(problems(&store).is_empty(), "{:?}", problems(&store));
    }
    assert!(rounds > 0 && pruned > 0, "{rounds} rounds, {pruned} blobs");
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("tree-") {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    tidy(&store, &everything, &Control::default()).unwrap();
    let left = |below: &str| std::fs::read_dir(root.join("store").join(below)).unwrap().count();
    for below in ["oci/blobs/sha256", "pins", "tmp", "containers", "layers"] {
        assert_eq!(left(below), 0, "{below}");
    }
    let names = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().contains(".unpacking-")));
}
