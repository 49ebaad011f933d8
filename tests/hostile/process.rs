//! Layers where the process has little: space, descriptors, threads, stack, rights. Either it works, or it is an error
//! that says what is missing; never a hang, and nothing outside the tree moves.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use support::arena::{Arena, in_child, is_child, stream};
use support::tar::{Entry, dir, file, hardlink, symlink};
use support::{Scratch, is_root};
use treering::archive::{Format, LoadOptions, load, save};
use treering::compress::{Compression, Profile};
use treering::fs::Root;
use treering::image::{CommitOptions, commit};
use treering::layer::read::{ChunkStream, ReadLimits};
use treering::layer::{ApplyOptions, Target};
use treering::store::Store;
use treering::{Control, ErrorKind};

fn limit(resource: Resource, n: u64) {
    setrlimit(resource, Rlimit { current: Some(n), maximum: Some(n) }).unwrap();
}

/// Returns whether this machine lets us have a user and mount namespace.
fn namespaces(test: &str) -> bool {
    let unshare = std::process::Command::new("unshare").args(["-Urm", "true"]).output();
    let works = unshare.is_ok_and(|out| out.status.success());
    if !works {
        support::tools::missing("PART", test, "no user namespaces here");
    }
    works
}

/// Runs on a stack where recursion by depth would not survive.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn names_beyond_path_max() {
    on_a_small_stack(|| {
        let arena = Arena::new();
        let name = "n".repeat(255);
        let deep = vec![name.as_str(); 40].join("/");
        let layer = vec![
            file(format!("{deep}/f"), "deep"),
            symlink("s", &name),
            file(format!("s/{}/g", vec![name.as_str(); 39].join("/")), "also"),
            hardlink(format!("{deep}/h"), format!("{deep}/f")),
            // CVE-2025-4517: what is too long to be resolved by the kernel was taken not to be a link.
            symlink(format!("{deep}/up"), "../".repeat(60)),
            file(format!("{deep}/up/new"), "!"),
            file(format!("{deep}/.wh.zz"), ""),
        ];
        let applied = arena.apply(&[layer, vec![file(format!("{deep}/.wh.f"), "")]]).unwrap();
        let seen = support::arena::scan_applied(&arena.tree, &applied);
        assert_eq!(support::describe(&applied.snapshot, None), support::describe(&seen, None));
        assert!(seen.lookup(b"new").is_some() && seen.lookup(format!("{deep}/g").as_bytes()).is_some());
        assert!(seen.lookup(format!("{deep}/f").as_bytes()).is_none());
        arena.check();
    });
}

#[test]
fn a_chain_of_thousands() {
    on_a_small_stack(|| {
        let arena = Arena::within(Scratch::in_memory());
        let deep = ["d"; 5000].join("/");
        let start = Instant::now();
        let applied = arena.apply(&[vec![file(format!("{deep}/f"), "x"), dir(&deep).mode(0o700)]]).unwrap();
        let seen = support::arena::scan_applied(&arena.tree, &applied);
        assert_eq!(applied.snapshot.len(), seen.len());
        let again = support::arena::apply_to(&arena.tree, &[vec![file(format!("{deep}/g"), "x")]]).unwrap();
        assert_eq!(again.snapshot.len(), seen.len() + 1);
        let gone = support::arena::apply_to(&arena.tree, &[vec![file(".wh.d", "")]]).unwrap();
        assert_eq!(gone.snapshot.len(), 1);
        assert_eq!(std::fs::read_dir(&arena.tree).unwrap().count(), 0);
        // By the square of the depth it would be minutes.
        assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
        arena.check();
    });
}

#[test]
fn removing_takes_time_by_the_number_of_entries() {
    let scratch = Scratch::in_memory();
    for i in 0..12_000 {
        std::fs::create_dir_all(scratch.join(&format!("t/{i}/d"))).unwrap();
    }
    let start = Instant::now();
    treering::fs::remove::remove_all(std::fs::File::open(scratch.path()).unwrap(), c"t").unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(!scratch.join("t").exists());
}

/// A layer may say a hundred thousand times that what is below goes: it is looked for once.
#[test]
fn whiteouts_cost_by_their_number() {
    let arena = Arena::within(Scratch::in_memory());
    let deep = ["c"; 3000].join("/");
    let mut upper: Vec<Entry> = (0..15_000).map(|i| hardlink(format!("d/{i}"), "t")).collect();
    upper.push(file(format!("{deep}/new"), "x"));
    for _ in 0..45_000 {
        upper.extend([
            file("d/.wh..wh..opq", ""),
            file(".wh.d", ""),
            file("c/.wh..wh..opq", ""),
            file(".wh.c", ""),
        ]);
    }
    let lower = vec![file("t", "x"), dir("d/gone"), dir(&deep), file("c/c/gone", "x"), dir("c/e/f")];
    let start = Instant::now();
    let applied = arena.apply(&[lower, upper]).unwrap();
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(applied.snapshot.len(), 1 + 1 + 1 + 15_000 + 3000 + 1);
    let seen = support::arena::scan_applied(&arena.tree, &applied);
    assert_eq!(support::describe(&applied.snapshot, None), support::describe(&seen, None));
}

#[test]
fn sparse_bomb() {
    let bomb = |real: &str| {
        let sparse = file("bomb", "x".repeat(512))
            .pax("GNU.sparse.major", "0")
            .pax("GNU.sparse.minor", "1")
            .pax("GNU.sparse.name", "bomb")
            .pax("GNU.sparse.map", "0,512")
            .pax("GNU.sparse.size", real);
        let arena = Arena::new();
        let root = Root::open(&arena.tree).unwrap();
        let limits = ReadLimits { max_bytes: 1 << 30, ..ReadLimits::default() };
        let options = ApplyOptions { limits, ..ApplyOptions::default() };
        let mut target = Target::empty(&root, options).unwrap();
        let result = target.apply(stream(&[sparse]), &Control::default()).map(drop);
        arena.check();
        (result, arena)
    };
    for real in ["1073741825", "9223372036854775807"] {
        let (result, arena) = bomb(real);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Limit, "{real}");
        assert!(!arena.tree.join("bomb").exists());
    }
    for real in ["9223372036854775808", "18446744073709551616", "-1"] {
        assert!(bomb(real).0.is_err(), "{real}");
    }
    let (result, arena) = bomb("1000000000");
    result.unwrap();
    let meta = arena.tree.join("bomb").metadata().unwrap();
    assert_eq!(meta.len(), 1_000_000_000);
    assert!(meta.blocks() < 1000);
}

/// Names and attributes are held until the tree is complete, those of what was replaced, too; a layer that packs well can
/// bring them by the gigabyte.
#[test]
fn names_and_attributes_are_held_to_a_limit() {
    let limits = ReadLimits { max_held: 1 << 20, ..ReadLimits::default() };
    let options = ApplyOptions { limits, ..ApplyOptions::default() };
    let big = |i: usize| file(format!("f{i}"), "").xattr("user.big", vec![b'v'; 60_000]);
    let again = |_| file("one", "").xattr("user.big", vec![b'v'; 60_000]);
    let links = |i: usize| symlink(format!("l{i}"), "t".repeat(4000));
    // What is lost is reported by name, for each path: many names, and a path that is long without the entry saying so.
    let lossy = |i: usize| {
        let entry = file(format!("{}/{i}", format!("{}/", "p".repeat(250)).repeat(6)), "");
        (0..100).fold(entry, |entry, n| entry.xattr(&format!("user.overlay.{n}"), "v"))
    };
    let deep = format!("{}/", "d".repeat(250)).repeat(16);
    let through = |i: usize| if i == 0 { symlink("l", &deep) } else { file(format!("l/{i}"), "") };
    let layers: [Vec<Entry>; 5] = [
        (0..20).map(big).collect(),
        (0..20).map(again).collect(),
        (0..300).map(links).collect(),
        (0..120).map(lossy).collect(),
        (0..400).map(through).collect(),
    ];
    for layer in layers {
        let arena = Arena::new();
        let root = Root::open(&arena.tree).unwrap();
        let mut target = Target::empty(&root, options.clone()).unwrap();
        // Over several layers as within one.
        let (first, second) = layer.split_at(layer.len() / 2);
        target.apply(stream(first), &Control::default()).unwrap();
        let error = target.apply(stream(second), &Control::default()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        arena.check();
    }
}

#[test]
fn no_space() {
    if is_child() {
        let full = std::env::var_os("TREERING_FULL").unwrap();
        let tree = Path::new(&full);
        for layer in [
            vec![file("big", vec![b'x'; 4 << 20])],
            (0..64).map(|i| file(format!("d{i}/f"), vec![b'x'; 60_000])).collect(),
            (0..5000).map(|i| dir(format!("d{i}"))).collect(),
            (0..5000).map(|i| file(format!("f{i}"), "")).collect(),
        ] {
            let error = support::arena::apply(tree, &[layer]).unwrap_err();
            let source = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<std::io::Error>());
            assert_eq!(source.and_then(|e| e.raw_os_error()), Some(libc_enospc()), "{error}");
            for entry in std::fs::read_dir(tree).unwrap() {
                let name = std::ffi::CString::new(entry.unwrap().file_name().as_encoded_bytes()).unwrap();
                treering::fs::remove::remove_all(std::fs::File::open(tree).unwrap(), &name).unwrap();
            }
        }
        return;
    }
    if !namespaces("no_space") {
        return;
    }
    let scratch = Scratch::new();
    let dir = scratch.dir("full");
    let script = format!(
        "TREERING_FULL={0} unshare -Urm sh -euc 'mount -t tmpfs -o size=1m,nr_inodes=1000 none {0}; exec $RUN'",
        dir.display()
    );
    in_child("process::no_space", &script);
}

fn libc_enospc() -> i32 {
    rustix::io::Errno::NOSPC.raw_os_error()
}

#[test]
fn files_too_large_for_the_process() {
    if is_child() {
        limit(Resource::Fsize, 64 * 1024);
        for data in [vec![b'x'; 100_000], vec![b'x'; 1 << 20], vec![0; 1 << 20]] {
            let arena = Arena::new();
            let error = arena.apply(&[vec![file("f", data)]]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            assert!(error.path().unwrap().ends_with(b"f"), "{error}");
        }
        return;
    }
    // The signal that comes with the limit ends a process, and a library leaves signals alone: this is how it is in a host
    // that ignores it, as Python and the command do (unpacking_with_little_leaves_nothing, tests/command/attack.rs).
    in_child("process::files_too_large_for_the_process", "trap '' XFSZ; exec $RUN");
}

#[test]
fn few_descriptors() {
    if is_child() {
        let arena = Arena::within(Scratch::in_memory());
        let layer: Vec<Entry> = (0..3000).map(|i| file(format!("d{i}/e/f"), "x")).collect();
        limit(Resource::Nofile, 256);
        let root = Root::open(&arena.tree).unwrap();
        let options = ApplyOptions { threads: 4, ..ApplyOptions::default() };
        let mut target = Target::empty(&root, options).unwrap();
        target.apply(stream(&layer), &Control::default()).unwrap();
        target.finish().unwrap();
        // Far too few is an error, soon.
        let arena = Arena::within(Scratch::in_memory());
        limit(Resource::Nofile, 12);
        let layer: Vec<Entry> = (0..300).map(|i| file(format!("d{i}/e/f"), "x")).collect();
        let error = arena.apply(&[layer]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        return;
    }
    in_child("process::few_descriptors", "exec $RUN");
}

#[test]
fn no_threads() {
    if is_child() {
        let arena = Arena::new();
        limit(Resource::Nproc, 1);
        let error = arena.apply(&[vec![file("f", "x")]]).unwrap_err();
        assert_eq!((error.kind(), error.hint().is_some()), (ErrorKind::Limit, true), "{error}");
        // Everything else is done by the thread there is.
        let (scratch, control) = (Scratch::new(), Control::default());
        std::fs::write(scratch.dir("tree").join("f"), vec![b'x'; 3 << 20]).unwrap();
        let (from, to) = (scratch.join("from"), scratch.join("to"));
        let (from, to) = (Store::open(from).unwrap(), Store::open(to).unwrap());
        let profile = Profile::new(Compression::None, None).unwrap();
        let options = CommitOptions { profile, ..CommitOptions::default() };
        let made = commit(&from, &scratch.join("tree"), Some("app:v1"), &options, &control).unwrap();
        let mut archive = Vec::new();
        save(&from, &["app:v1".into()], Format::OciArchive, &mut archive, &control).unwrap();
        let input = Box::new(std::io::Cursor::new(archive));
        let loaded = load(&to, input, &LoadOptions::default(), &control).unwrap();
        assert_eq!(loaded[0].manifest, made.manifest);
        arena.check();
        return;
    }
    // Root has no such limit.
    let script = if is_root() {
        "cp $(echo $RUN | cut -d' ' -f1) $COPY; exec timeout 60 setpriv --reuid 65534 --regid 65534 --clear-groups $COPY ${RUN#* }"
    } else {
        "exec timeout 60 $RUN"
    };
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    in_child("process::no_threads", &format!("COPY={}; {script}", scratch.join("run").display()));
}

#[test]
fn umask_says_nothing() {
    const ENTRIES: [(&str, u32); 4] = [("wide", 0o777), ("plain", 0o644), ("su", 0o4755), ("none", 0)];
    if is_child() {
        let arena = Arena::new();
        let umask = std::env::var("TREERING_UMASK").unwrap();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(u32::from_str_radix(&umask, 8).unwrap()));
        let mut layer: Vec<Entry> =
            vec![dir("open").mode(0o777), dir("closed").mode(0o700), dir("sticky").mode(0o1777)];
        layer.extend(ENTRIES.map(|(name, mode)| file(name, "x").mode(mode)));
        layer.push(file("implicit/f", "x"));
        layer.push(support::tar::fifo("pipe").mode(0o622));
        arena.apply(&[layer]).unwrap();
        let mode = |path: &str| arena.tree.join(path).symlink_metadata().unwrap().mode() & 0o7777;
        for (name, wanted) in ENTRIES {
            let on_disk = if is_root() { wanted } else { wanted & 0o777 | 0o600 };
            assert_eq!(mode(name), on_disk, "{name}");
        }
        assert_eq!((mode("open"), mode("closed"), mode("sticky")), (0o777, 0o700, 0o1777));
        assert_eq!((mode("implicit"), mode("")), (0o755, 0o755));
        assert_eq!(mode("pipe"), 0o622);
        return;
    }
    for umask in ["000", "022", "077", "777"] {
        in_child("process::umask_says_nothing", &format!("export TREERING_UMASK={umask}; exec $RUN"));
    }
}

/// While a layer is being applied its directories are closed to all others, whatever the umask.
#[test]
fn directories_are_closed_until_the_end() {
    if !is_child() {
        return in_child("process::directories_are_closed_until_the_end", "umask 000; exec $RUN");
    }
    struct Look<'a>(Option<std::sync::Arc<Vec<u8>>>, &'a Path);
    impl ChunkStream for Look<'_> {
        fn next_chunk(&mut self) -> treering::Result<Option<std::sync::Arc<Vec<u8>>>> {
            if self.0.is_none() {
                for name in ["d", "i", "i/j"] {
                    assert_eq!(self.1.join(name).metadata().unwrap().mode() & 0o7777, 0o700, "{name}");
                }
            }
            Ok(self.0.take())
        }
    }
    let arena = Arena::new();
    let mut tar = support::tar::tar(&[dir("d").mode(0o777), file("i/j/f", "")]);
    // The end of the archive comes after the last look.
    tar.truncate(tar.len() - 1024);
    let root = Root::open(&arena.tree).unwrap();
    let mut target = Target::empty(&root, ApplyOptions::default()).unwrap();
    target.apply(Look(Some(std::sync::Arc::new(tar)), &arena.tree), &Control::default()).unwrap();
    target.finish().unwrap();
    assert_eq!(arena.tree.join("d").metadata().unwrap().mode() & 0o7777, 0o777);
}

#[test]
fn cancelled_at_any_point() {
    let layer: Vec<Entry> = (0..400)
        .flat_map(|i| {
            [
                file(format!("d{i}/f"), vec![b'x'; 20_000]),
                hardlink(format!("d{i}/l"), format!("d{i}/f")),
                file(format!("d{i}/f"), vec![b'y'; if i % 50 == 0 { 2 << 20 } else { 9 }]),
            ]
        })
        .collect();
    /// Hands out a layer in pieces, and cancels before the one with this number.
    struct CancelAt<'a>(std::iter::Enumerate<std::slice::Chunks<'a, u8>>, usize, treering::Cancel);
    impl ChunkStream for CancelAt<'_> {
        fn next_chunk(&mut self) -> treering::Result<Option<std::sync::Arc<Vec<u8>>>> {
            let next = self.0.next();
            if next.is_some_and(|(number, _)| number == self.1) {
                self.2.cancel();
            }
            Ok(next.map(|(_, piece)| std::sync::Arc::new(piece.to_vec())))
        }
    }
    const PIECES: usize = 12;
    let tar = support::tar::tar(&layer);
    let piece = tar.len().div_ceil(PIECES);
    for at in 0..PIECES {
        let arena = Arena::new();
        let control = Control::default();
        let root = Root::open(&arena.tree).unwrap();
        let mut target = Target::empty(&root, ApplyOptions::default()).unwrap();
        let chunks = CancelAt(tar.chunks(piece).enumerate(), at, control.cancel.clone());
        let error = target.apply(chunks, &control).err().expect("it was cancelled before its end");
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        arena.check();
    }
    // Also once the layers are there and only the directories are to be finished.
    let arena = Arena::new();
    let root = Root::open(&arena.tree).unwrap();
    let mut target = Target::empty(&root, ApplyOptions::default()).unwrap();
    let control = Control::default();
    target.apply(stream(&layer), &control).unwrap();
    control.cancel.cancel();
    assert_eq!(target.finish().unwrap_err().kind(), ErrorKind::Cancelled);
}

/// Modes come out as the layers have them, whatever 64 threads of one process are doing at the same time: there is nothing
/// in the process, such as the umask, that one could take from under another.
#[test]
fn modes_are_the_same_from_64_threads() {
    if !is_child() {
        return in_child("process::modes_are_the_same_from_64_threads", "umask 027; exec $RUN");
    }
    let modes: Vec<u32> = (0..0o1000).chain([0o1777, 0o2755, 0o4755]).collect();
    let layer: Vec<Entry> = modes
        .iter()
        .flat_map(|&mode| [file(format!("f{mode:o}"), "x").mode(mode), dir(format!("d{mode:o}")).mode(mode)])
        .collect();
    let scratch = Scratch::in_memory();
    std::thread::scope(|scope| {
        for number in 0..64 {
            let (scratch, layer, modes) = (&scratch, &layer, &modes);
            scope.spawn(move || {
                let tree = scratch.dir(&format!("t{number}"));
                let applied = support::arena::apply(&tree, std::slice::from_ref(layer)).unwrap();
                let seen = support::arena::scan_applied(&tree, &applied);
                for &mode in modes {
                    for (name, least) in [(format!("f{mode:o}"), 0o600), (format!("d{mode:o}"), 0o700)] {
                        assert_eq!(seen.meta(seen.lookup(name.as_bytes()).unwrap()).mode as u32, mode);
                        let on_disk = tree.join(&name).symlink_metadata().unwrap().mode() & 0o7777;
                        let sticky = if least == 0o700 { 0o1777 } else { 0o777 };
                        assert_eq!(on_disk, if is_root() { mode } else { mode & sticky | least }, "{name}");
                    }
                }
            });
        }
    });
}

/// A stream that fails in the middle, while the writers are busy and while they have nothing to do.
#[test]
fn the_stream_fails_at_any_point() {
    struct Fails(Vec<u8>, usize, usize);
    impl ChunkStream for Fails {
        fn next_chunk(&mut self) -> treering::Result<Option<std::sync::Arc<Vec<u8>>>> {
            if self.1 >= self.2 {
                return Err(treering::Error::new(ErrorKind::Unsupported, "test", "the stream failed"));
            }
            let end = (self.1 + 4096).min(self.2);
            let chunk = self.0[self.1..end].to_vec();
            self.1 = end;
            Ok(Some(std::sync::Arc::new(chunk)))
        }
    }
    let tar = support::tar::tar(&[
        file("a", vec![b'x'; 300_000]),
        hardlink("b", "a"),
        file("a", "y"),
        dir("d"),
        file("d/f", "z"),
    ]);
    for at in (0..tar.len() - 1024).step_by(7000) {
        let arena = Arena::new();
        let root = Root::open(&arena.tree).unwrap();
        let mut target = Target::empty(&root, ApplyOptions::default()).unwrap();
        let error = target.apply(Fails(tar.clone(), 0, at), &Control::default()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        // And the end of the stream inside an entry is an error of the reader's.
        if at > 0 && at < 300_000 {
            assert!(support::arena::apply_bytes(&arena.scratch.dir("cut"), &tar[..at]).is_err(), "{at}");
        }
    }
}

/// In a user namespace that lacks an image's users, a file cannot have its owner: it must not be setuid to another.
#[test]
fn setuid_only_to_the_owner_it_should_have() {
    if is_child() {
        let arena = Arena::new();
        let layer = vec![
            file("su", "x").mode(0o6755).owner(77, 77),
            file("own", "x").mode(0o4755),
            dir("sg").mode(0o2755).owner(0, 77),
            support::tar::device("null", b'3', (1, 3)),
        ];
        let applied = arena.apply(&[layer]).unwrap();
        assert_eq!(applied.losses, vec![]);
        let mode = |path: &str| arena.tree.join(path).metadata().unwrap().mode() & 0o7777;
        assert_eq!((mode("su"), mode("own"), mode("sg")), (0o755, 0o4755, 0o755));
        let seen = support::arena::scan_applied(&arena.tree, &applied);
        let su = seen.meta(seen.lookup(b"su").unwrap());
        assert_eq!((su.mode, su.uid, su.gid), (0o6755, 77, 77));
        let null = seen.meta(seen.lookup(b"null").unwrap());
        assert_eq!((null.kind, null.rdev), (treering::fs::Kind::CharDevice, (1, 3)));
        assert_eq!(support::describe(&applied.snapshot, None), support::describe(&seen, None));
        arena.check();
        return;
    }
    if namespaces("setuid_only_to_the_owner_it_should_have") {
        in_child("process::setuid_only_to_the_owner_it_should_have", "exec unshare -Ur $RUN");
    }
}
