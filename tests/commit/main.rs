//! From a directory to an image and back: what is kept, what is refused, and what a crash leaves.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{Scratch, describe, is_root, sh};
use treering::archive::{self, Format};
use treering::compress::{Compression, Profile};
use treering::diff::{ChangeKind, all_added};
use treering::fs::{Kind, Root, Timestamp};
use treering::image::{
    Base, CommitOptions, Committed, DiffOptions, History, Image, LayerApplyOptions, LayerSource,
    ManifestOptions, NewConfig, OCI_CONFIG, OCI_MANIFEST, TidyOptions, UnpackOptions, apply_layer, chain_ids,
    commit, contents, diff_image, diff_tree, new_config, new_manifest, tidy, unpack, write_layer,
};
use treering::layer::{LayerOptions, LayerPlan, LayerTar};
use treering::store::{
    BindingFile, FsckLevel, Limits, ProblemKind, PruneOptions, Reference, Store, descriptor,
};
use treering::tree::builder::{Builder, Inode, ROOT};
use treering::tree::{Meta, OwnerPolicy, OwnersWanted, ScanOptions, Xattrs, scan};
use treering::{Control, Digest, ErrorKind};

fn control() -> Control {
    Control::default()
}

fn options() -> CommitOptions {
    CommitOptions { created: Some(1_700_000_000), ..CommitOptions::default() }
}

fn commit_as(store: &Store, tree: &Path, name: &str) -> Committed {
    commit(store, tree, Some(name), &options(), &control()).unwrap()
}

fn changes(store: &Store, tree: &Path, base: &Base) -> Vec<String> {
    let diff = diff_tree(Some(store), tree, base, &DiffOptions::default(), &control()).unwrap();
    diff.listed()
        .map(|change| format!("{} /{}", change.kind.letter(), treering::error::escape(&diff.path(change))))
        .collect()
}

fn whole(store: &Store) {
    let report = store.fsck(FsckLevel::Bytes, &control()).unwrap();
    // What a killed writer left lying about is no damage; the next prune takes it.
    let real: Vec<_> = report.problems.iter().filter(|problem| problem.kind != ProblemKind::Stray).collect();
    assert!(real.is_empty(), "{real:?}");
}

#[test]
fn a_tree_grows_ring_by_ring() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(&tree, "mkdir -p etc bin; echo one >etc/conf; echo sh >bin/sh; chmod 755 bin/sh; ln -s sh bin/dash");
    let first = commit(
        &store,
        &tree,
        Some("app:v1"),
        &CommitOptions {
            author: Some("me".into()),
            message: Some("First".into()),
            changes: vec!["CMD [\"/bin/sh\"]".into(), "ENV A=1".into()],
            ..options()
        },
        &control(),
    )
    .unwrap();
    assert_eq!(first.stat.added, 5);
    // Nothing happened: the next image has the same layers.
    let same = commit_as(&store, &tree, "app:same");
    assert!(same.layer.is_none());
    sh(&tree, "echo two >etc/conf; rm bin/dash; mkdir var; echo x >var/log");
    assert_eq!(
        changes(&store, &tree, &Base::Auto),
        ["C /bin", "D /bin/dash", "C /etc", "C /etc/conf", "A /var", "A /var/log"]
    );
    let second = commit_as(&store, &tree, "app:v2");
    assert_eq!((second.stat.added, second.stat.changed, second.stat.deleted), (2, 3, 1));
    let image = Image::open(&store, "app:v2", None).unwrap();
    assert_eq!(image.layers().len(), 2);
    assert_eq!(image.config().run().cmd.as_deref(), Some(&["/bin/sh".to_string()][..]));
    assert_eq!(image.config().history().len(), 3);
    assert_eq!(image.config().author(), None, "who made the base did not make this one");

    let copy = scratch.join("copy");
    unpack(&store, "app:v2", &copy, &UnpackOptions::default(), &control()).unwrap();
    sh(scratch.path(), "diff -r tree copy; test ! -e copy/bin/dash");
    assert_eq!(changes(&store, &copy, &Base::Auto), Vec::<String>::new());
    // Someone else's view: no index, only the layers.
    assert_eq!(changes(&store, &copy, &Base::Image("app:v2".into())), Vec::<String>::new());
    assert_eq!(changes(&store, &copy, &Base::Image("app:v1".into())).len(), 6);

    let squashed =
        commit(&store, &tree, Some("app:one"), &CommitOptions { squash: true, ..options() }, &control())
            .unwrap();
    let image = Image::open(&store, "app:one", None).unwrap();
    assert_eq!((image.layers().len(), image.config().history().len()), (1, 1));
    assert_eq!(image.config().run().env.as_deref(), Some(&["A=1".to_string()][..]));
    assert_eq!(squashed.layer.unwrap().diff_id, image.layers()[0].diff_id);
    whole(&store);
}

#[test]
fn an_edit_within_the_same_tick_is_seen() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    let file = tree.join("f");
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    for round in 0..30u8 {
        std::fs::write(&file, [b'a' + round % 2; 100]).unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let made = commit_as(&store, &tree, &format!("app:r{round}"));
        assert!(made.layer.is_some(), "round {round}: same size, same mtime, other bytes");
    }
}

#[test]
fn content_is_compared_where_only_it_can_decide() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(&tree, "for i in 1 2 3 4; do echo content $i >$i; done; mkdir d; touch -d @1500000000 1 2 3 4 d .");
    commit_as(&store, &tree, "app:v1");
    // Every inode is touched, one content is other.
    sh(&tree, "chmod 600 1 2 3; chmod 644 1 2 3; printf 'CONTENT 3\\n' >3; touch -d @1500000000 3");
    assert_eq!(changes(&store, &tree, &Base::Auto), ["C /3"]);
    let metadata = DiffOptions { compare: treering::diff::CompareMode::Metadata, ..DiffOptions::default() };
    let blind = diff_tree(Some(&store), &tree, &Base::Auto, &metadata, &control()).unwrap();
    assert_eq!(blind.listed().count(), 0);
}

/// The kernel stamps a mapping when it first writes to a page, and not again before that page was written back. What is
/// stored in between no time shows.
#[test]
fn a_mapping_that_is_written_over_a_commit_is_seen_by_content() {
    if !tool("python3", Command::new("python3").arg("--version")) {
        return;
    }
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(&tree, "head -c 8192 /dev/zero >mapped");
    let script = "import mmap, sys
file = open('mapped', 'r+b'); held = mmap.mmap(file.fileno(), 0)
for line in sys.stdin:
    held[int(line)] = 65; print('stored', flush=True)";
    let mut python = Command::new("python3");
    python.args(["-c", script]).current_dir(&tree);
    python.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut python = python.spawn().unwrap();
    let (mut say, hear) = (python.stdin.take().unwrap(), python.stdout.take().unwrap());
    let mut hear = BufReader::new(hear).lines();
    let mut store_at = |place: u32| {
        writeln!(say, "{place}").unwrap();
        assert_eq!(hear.next().unwrap().unwrap(), "stored");
    };
    store_at(100);
    commit_as(&store, &tree, "app:v1");
    store_at(200);
    let content = DiffOptions { compare: treering::diff::CompareMode::Content, ..DiffOptions::default() };
    let diff = diff_tree(Some(&store), &tree, &Base::Auto, &content, &control()).unwrap();
    assert_eq!(diff.listed().count(), 1);
    let options = CommitOptions { compare: treering::diff::CompareMode::Content, ..options() };
    commit(&store, &tree, Some("app:v2"), &options, &control()).unwrap();
    unpack(&store, "app:v2", &scratch.join("copy"), &UnpackOptions::default(), &control()).unwrap();
    sh(scratch.path(), "cmp tree/mapped copy/mapped");
    drop(say);
    python.wait().unwrap();
}

/// Names are bytes: nothing folds case, composes letters or has device names.
#[test]
fn names_that_are_the_same_only_elsewhere_stay_apart() {
    use std::os::unix::ffi::OsStrExt;
    let names: [&[u8]; 16] = [
        b"A",
        b"a",
        "\u{df}".as_bytes(),
        b"ss",
        "SS".as_bytes(),
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        b"\xe9",
        "COM\u{b9}".as_bytes(),
        b"COM1",
        b"nul",
        "i".as_bytes(),
        "\u{130}".as_bytes(),
        "\u{131}".as_bytes(),
        b"K",
        "\u{212a}".as_bytes(),
    ];
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    for name in names {
        std::fs::write(tree.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let made = commit_as(&store, &tree, "app:v1");
    assert_eq!(made.stat.added, names.len() as u64);
    let copy = scratch.join("copy");
    unpack(&store, "app:v1", &copy, &UnpackOptions::default(), &control()).unwrap();
    for name in names {
        assert_eq!(std::fs::read(copy.join(std::ffi::OsStr::from_bytes(name))).unwrap(), name);
    }
    assert_eq!(changes(&store, &copy, &Base::Auto), Vec::<String>::new());
    sh(&copy, "rm A ss");
    assert_eq!(changes(&store, &copy, &Base::Auto), ["D /A", "D /ss"]);
    commit_as(&store, &copy, "app:v2");
    unpack(&store, "app:v2", &scratch.join("again"), &UnpackOptions::default(), &control()).unwrap();
    assert_eq!(std::fs::read_dir(scratch.join("again")).unwrap().count(), names.len() - 2);
}

/// Returns an image with everything in it that only root can put on disk, made without a disk.
fn hard_image(store: &Store, name: &str) -> Digest {
    let meta = |kind, mode, uid, gid| Meta {
        kind,
        mode,
        uid,
        gid,
        mtime: Timestamp::new(1_234_567_890, 0),
        ..Meta::directory()
    };
    let mut tree = Builder::new(Inode::new(meta(Kind::Directory, 0o755, 0, 0)));
    let put = |tree: &mut Builder,
               dir: u32,
               name: &str,
               meta: Meta,
               xattrs: &[(&str, &[u8])],
               target: &str| {
        let inode =
            Inode { meta, target: target.into(), xattrs: Xattrs::pack(xattrs), digest: None, place: None };
        tree.insert(dir, name.as_bytes(), inode)
    };
    let caps: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let t = &mut tree;
    let bin = put(t, ROOT, "bin", meta(Kind::Directory, 0o755, 0, 0), &[], "");
    put(t, bin, "su", meta(Kind::File, 0o4755, 0, 0), &[], "");
    put(t, bin, "ping", meta(Kind::File, 0o755, 0, 0), &[("security.capability", caps)], "");
    let agent = put(t, bin, "agent", meta(Kind::File, 0o2755, 0, 104), &[("user.note", b"\0x\xff")], "");
    t.link(bin, b"agent2", agent);
    put(t, bin, "locked", meta(Kind::File, 0o000, 5, 6), &[], "");
    let dev = put(t, ROOT, "dev", meta(Kind::Directory, 0o555, 0, 0), &[], "");
    put(t, dev, "null", Meta { rdev: (1, 3), ..meta(Kind::CharDevice, 0o666, 0, 0) }, &[], "");
    put(t, dev, "loop0", Meta { rdev: (7, 0), ..meta(Kind::BlockDevice, 0o660, 0, 6) }, &[], "");
    put(t, dev, "pipe", meta(Kind::Fifo, 0o640, 33, 44), &[], "");
    let var = put(t, ROOT, "var", meta(Kind::Directory, 0o2775, 8, 50), &[], "");
    put(t, var, "mail", meta(Kind::Symlink, 0o777, 12, 13), &[], "spool/mail");
    put(t, var, "tmp", meta(Kind::Directory, 0o1777, 0, 0), &[], "");
    put(t, var, "closed", meta(Kind::Directory, 0o000, 1234, 1234), &[], "");
    put(t, var, "trusted", meta(Kind::File, 0o644, 0, 0), &[("trusted.x", b"y")], "");
    let snapshot = tree.finish(None).unwrap();
    let here = Root::open("/").unwrap();
    let added = treering::diff::all_added(&snapshot);
    let plan = LayerPlan::new(&added, None, &snapshot, LayerOptions::default()).unwrap();
    let profile = Profile::new(Compression::None, None).unwrap();
    let mut blob = store.blob_writer().unwrap();
    let written =
        treering::compress::write(&LayerTar::new(plan, &here), &profile, 2, &mut blob, &control()).unwrap();
    let layer = blob.finish(None).unwrap();
    let (layers, history) = ([written.diff_id], [History::default()]);
    let config =
        new_config(&NewConfig { layers: &layers, history: &history, ..NewConfig::default() }).unwrap();
    let config = store.put_blob(&config).unwrap();
    let layer = descriptor(profile.compression().media_type(), &layer);
    let manifest =
        new_manifest(&descriptor(OCI_CONFIG, &config), &[layer], &ManifestOptions::default()).unwrap();
    let manifest = store.put_blob(&manifest).unwrap();
    store.tag(&Reference::parse(name).unwrap(), &descriptor(OCI_MANIFEST, &manifest)).unwrap();
    written.diff_id
}

#[test]
fn what_only_root_can_own_survives_every_unpacking() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let diff_id = hard_image(&store, "hard:v1");
    let tree = scratch.join("tree");
    let unpacked = unpack(&store, "hard:v1", &tree, &UnpackOptions::default(), &control()).unwrap();
    assert_eq!(unpacked.losses, vec![]);
    if !is_root() {
        assert!(unpacked.in_ledger > 5, "{} in the ledger", unpacked.in_ledger);
        let mode = std::fs::metadata(tree.join("bin/su")).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o7000,
            0,
            "no setuid for us"
        );
    }
    assert_eq!(changes(&store, &tree, &Base::Auto), Vec::<String>::new());
    assert_eq!(changes(&store, &tree, &Base::Image("hard:v1".into())), Vec::<String>::new());
    // From scratch, the same bytes that root's layer had.
    let again = commit(
        &store,
        &tree,
        Some("hard:again"),
        &CommitOptions { base: Base::Scratch, ..options() },
        &control(),
    )
    .unwrap();
    assert_eq!(again.layer.unwrap().diff_id, diff_id);

    // The user's word counts over the ledger's: a chmod, a new file under an old name, a device that became a file.
    sh(&tree, "chmod 711 bin/su; rm bin/agent; echo new >bin/agent");
    let listed = changes(&store, &tree, &Base::Auto);
    assert_eq!(listed, ["C /bin", "C /bin/agent", "C /bin/su"]);
    commit_as(&store, &tree, "hard:v2");
    let copy = scratch.join("copy");
    unpack(&store, "hard:v2", &copy, &UnpackOptions::default(), &control()).unwrap();
    let entry = |path: &Path| -> BTreeMap<String, String> {
        let diff =
            diff_tree(Some(&store), path, &Base::Scratch, &DiffOptions::default(), &control()).unwrap();
        describe(&diff.new, None)
    };
    let at = entry(&copy);
    assert!(at["bin/su"].starts_with("file 711 0:0"), "{}", at["bin/su"]);
    assert!(
        at["bin/agent"].starts_with("file 6") && at["bin/agent"].contains(" 0:0 4 "),
        "{}",
        at["bin/agent"]
    );
    assert!(at["bin/agent2"].starts_with("file 2755 0:104"), "{}", at["bin/agent2"]);
    assert!(at["dev/null"].starts_with("character device 666 0:0"), "{}", at["dev/null"]);
    whole(&store);
}

#[test]
fn the_store_keeps_what_a_single_layer_brings() {
    let scratch = Scratch::new();
    let (tree, work) = (scratch.dir("tree"), scratch.join("work"));
    std::fs::write(tree.join("old"), "old").unwrap();
    let store = Store::open(scratch.join("store")).unwrap();
    commit_as(&store, &tree, "app:1");
    unpack(&store, "app:1", &work, &UnpackOptions::default(), &control()).unwrap();
    std::fs::write(tree.join("new"), "new").unwrap();

    let root = Root::open(&tree).unwrap();
    let owner = "12:34".parse().unwrap();
    let new = scan(&root, &ScanOptions { owner: &owner, ..ScanOptions::default() }, &control()).unwrap();
    let changes = all_added(&new.snapshot);
    let source = LayerSource { changes: &changes, old: None, new: &new.snapshot, files: Some(&root) };
    let write = |source| {
        let (mut layer, profile) = (Vec::new(), Profile::default());
        write_layer(source, LayerOptions::default(), &profile, 1, &mut layer, &control()).map(|_| layer)
    };
    let layer = write(source).unwrap();
    let nowhere = LayerSource { files: None, ..source };
    assert_eq!(write(nowhere).unwrap_err().kind(), ErrorKind::Unsupported);

    let apply = |store, dir: &Path| {
        let input = Box::new(std::io::Cursor::new(layer.clone()));
        apply_layer(store, input, dir, &LayerApplyOptions::default(), &control()).unwrap()
    };
    assert_eq!(apply(Some(&store), &work).unkept, 0);
    let diff = diff_tree(Some(&store), &work, &Base::Auto, &DiffOptions::default(), &control()).unwrap();
    for name in ["old", "new"] {
        let meta = diff.new.meta(diff.new.lookup(name.as_bytes()).unwrap());
        assert_eq!((meta.uid, meta.gid), (12, 34), "{name}");
    }
    // A directory without a record is made, and what the disk does not take handed back.
    let made = apply(Some(&store), &scratch.join("made"));
    assert_eq!(made.unkept, made.applied.ledger.len() as u64);
    assert_eq!(made.unkept == 0, is_root());
}

/// Where it is asked for, no change and nothing new to say is the same image.
#[test]
fn an_unchanged_tree_is_the_same_image() {
    let scratch = Scratch::new();
    let (store, tree) = (Store::open(scratch.join("store")).unwrap(), scratch.join("tree"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("f"), "x").unwrap();
    let fixed = CommitOptions { created: Some(1_700_000_000), ..CommitOptions::default() };
    let asked = CommitOptions { only_if_changed: true, ..CommitOptions::default() };
    let again = |options: &CommitOptions, name: &str| {
        let made = commit(&store, &tree, Some(name), options, &control()).unwrap();
        assert_eq!(Image::open(&store, name, None).unwrap().digest(), &made.manifest);
        made
    };
    let first = again(&fixed, "app:1");
    let same = again(&asked, "app:2");
    assert_eq!((same.manifest, same.image_id), (first.manifest, first.image_id));
    assert!(same.layer.is_none());
    let message = CommitOptions { message: Some("new".into()), ..asked.clone() };
    assert_ne!(again(&message, "app:3").image_id, first.image_id);
    assert_ne!(again(&CommitOptions::default(), "app:4").image_id, first.image_id, "as Docker has it");
    std::fs::write(tree.join("f"), "changed").unwrap();
    assert!(again(&asked, "app:5").layer.is_some());
}

/// What would be written is compared: clamped times with clamped ones, and fractions where they are written.
#[test]
fn times_are_compared_as_they_would_be_written() {
    let scratch = Scratch::new();
    let (store, tree) = (Store::open(scratch.join("store")).unwrap(), scratch.join("tree"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("f"), "x").unwrap();
    let clamp = LayerOptions { clamp_mtime: Some(1_000_000), ..LayerOptions::default() };
    let clamped = CommitOptions { layer: clamp, created: Some(1_000_000), ..CommitOptions::default() };
    commit(&store, &tree, Some("day:1"), &clamped, &control()).unwrap();
    let copy = scratch.join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("f"), "x").unwrap();
    let base = Base::Image("day:1".into());
    let made =
        commit(&store, &copy, None, &CommitOptions { base: base.clone(), ..clamped }, &control()).unwrap();
    assert!(made.layer.is_none(), "{:?}", made.stat);

    let precision = treering::layer::MtimePrecision::Nanoseconds;
    let exact = LayerOptions { precision, ..LayerOptions::default() };
    let exact = CommitOptions { layer: exact, ..CommitOptions::default() };
    let set = |nanos: u32| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, nanos);
        std::fs::File::options().write(true).open(tree.join("f")).unwrap().set_modified(time).unwrap();
    };
    set(0);
    commit(&store, &tree, Some("app:1"), &exact, &control()).unwrap();
    set(500_000_000);
    let made = commit(&store, &tree, Some("app:2"), &exact, &control()).unwrap();
    assert_eq!(made.stat.changed, 1, "{:?}", made.stat);
}

#[test]
fn the_thread_count_changes_no_digest() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(
        &tree,
        "for d in a b c d; do mkdir $d; for i in $(seq 40); do seq $i 9000 >$d/$i; done; done; truncate -s 5M hole",
    );
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let digest = |threads| {
            let options = CommitOptions {
                threads,
                base: Base::Scratch,
                profile: Profile::new(compression, None).unwrap(),
                ..options()
            };
            commit(&store, &tree, Some("t:t"), &options, &control()).unwrap().layer.unwrap().digest
        };
        let one = digest(1);
        assert_eq!(one, digest(2), "{compression}");
        assert_eq!(one, digest(8), "{compression}");
    }
}

#[test]
fn source_date_epoch_clamps_every_time() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(&tree, "echo x >new; echo y >old; touch -d @1000 old; touch new .");
    let clamped = CommitOptions {
        layer: LayerOptions { clamp_mtime: Some(5000), ..LayerOptions::default() },
        created: Some(5000),
        ..options()
    };
    let first = commit(&store, &tree, Some("a:1"), &clamped, &control()).unwrap();
    sh(&tree, "touch new .");
    let again =
        commit(&store, &tree, Some("a:2"), &CommitOptions { base: Base::Scratch, ..clamped }, &control())
            .unwrap();
    assert_eq!(first.manifest, again.manifest);
    let out = scratch.join("out");
    unpack(&store, "a:1", &out, &UnpackOptions::default(), &control()).unwrap();
    assert_eq!(sh(&out, "stat -c '%n %Y' new old .").trim(), "new 5000\nold 1000\n. 5000");
}

#[test]
fn what_cannot_be_committed_is_an_error_and_nothing_is_published() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(&tree, "echo x >fine; mkdir d; echo x >d/.wh.fine");
    let refused = |kind: ErrorKind, path: &str| {
        let error = commit(&store, &tree, Some("bad:v1"), &options(), &control()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(treering::error::escape(error.path().unwrap()).ends_with(path), "{error}");
        assert!(error.hint().is_some(), "{error}");
        assert!(store.refs().unwrap().is_empty());
        whole(&store);
    };
    refused(ErrorKind::InvalidArgument, "d/.wh.fine");
    sh(&tree, "rm d/.wh.fine");
    if is_root() {
        sh(&tree, "mknod d/zero c 0 0");
        refused(ErrorKind::InvalidArgument, "d/zero");
        sh(&tree, "rm d/zero");
    } else {
        // A file of one's own would be read.
        sh(&tree, "mkdir d/secret; chmod 000 d/secret");
        refused(ErrorKind::PermissionDenied, "d/secret");
        sh(&tree, "rmdir d/secret");
    }
    let cancelled = control();
    cancelled.cancel.cancel();
    let error = commit(&store, &tree, Some("bad:v1"), &options(), &cancelled).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let untagged = commit(&store, &tree, Some("UPPER CASE"), &options(), &control()).unwrap_err();
    assert_eq!(untagged.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn unpacking_leaves_all_or_nothing() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(&tree, "for i in $(seq 50); do seq $i 2000 >$i; done");
    let made = commit_as(&store, &tree, "app:v1");
    // A directory with something in it stays as it is.
    let full = scratch.dir("full");
    sh(&full, "echo mine >file");
    let error = unpack(&store, "app:v1", &full, &UnpackOptions::default(), &control()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    // An empty one is filled.
    let empty = scratch.dir("empty");
    unpack(&store, "app:v1", &empty, &UnpackOptions::default(), &control()).unwrap();
    // A blob that is not what its name says never becomes a tree.
    let blob = scratch.join("store/oci/blobs/sha256").join(made.layer.unwrap().digest.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    sh(scratch.path(), &format!("chmod u+w {}", blob.display()));
    std::fs::write(&blob, bytes).unwrap();
    let out = scratch.join("out");
    let error = unpack(&store, "app:v1", &out, &UnpackOptions::default(), &control()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error}");
    assert!(!out.exists());
    let left = sh(scratch.path(), "ls -A");
    assert!(!left.contains("unpacking"), "{left}");
}

/// Plays the part of a process that the tests below start.
#[test]
fn unpack_role() {
    let Some(dir) = std::env::var_os("TREERING_TEST_UNPACK_IN").map(PathBuf::from) else { return };
    let store = Store::open(dir.join("store")).unwrap();
    let options = UnpackOptions { sync: true, ..UnpackOptions::default() };
    unpack(&store, "app:v1", &dir.join("target"), &options, &control()).unwrap();
    assert_eq!(changes(&store, &dir.join("target"), &Base::Auto), Vec::<String>::new());
}

/// Returns the program and its arguments that unpack into `target`, and a store with an image beside it.
fn unpacking(scratch: &Scratch) -> [String; 5] {
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(&tree, "echo content >f; mkdir d");
    commit_as(&store, &tree, "app:v1");
    let exe = std::env::current_exe().unwrap().display().to_string();
    [exe, "unpack_role".into(), "--exact".into(), "--nocapture".into(), "--test-threads=1".into()]
}

#[test]
fn a_mount_point_or_a_link_is_filled_where_it_is() {
    let mut ways = vec![(false, "mkdir real; ln -s real target", "test -L target; cat real/f")];
    if tool("unshare", Command::new("unshare").args(["-Urm", "true"])) {
        ways.push((true, "mkdir target; mount -t tmpfs none target", "mountpoint -q target; cat target/f"));
        ways.push((true, "mkdir target; mount --bind target target", "mountpoint -q target; cat target/f"));
    }
    for (namespace, before, after) in ways {
        let scratch = Scratch::new();
        let run = unpacking(&scratch).join(" ");
        let script = format!("{before}; {run} >log || {{ cat log; exit 1; }}; {after}; ls -A");
        let mut command = Command::new(if namespace { "unshare" } else { "sh" });
        if namespace {
            command.args(["-Urm", "sh"]);
        }
        command.args(["-euc", &script]).current_dir(scratch.path());
        let out = command.env("TREERING_TEST_UNPACK_IN", scratch.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{before}: {said}{}", String::from_utf8_lossy(&out.stderr));
        assert!(said.starts_with("content\n") && !said.contains("unpacking"), "{before}: {said}");
    }
}

/// By a link to a directory, which is filled where it is: nothing of a failed unpack stays, and of two at once one fails.
#[test]
fn a_directory_filled_in_place_holds_one_image_or_nothing() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    for name in ["one", "two"] {
        let tree = scratch.join(name);
        std::fs::create_dir_all(tree.join(name)).unwrap();
        for number in 0..50 {
            std::fs::write(tree.join(name).join(number.to_string()), name).unwrap();
        }
        commit(&store, &tree, Some(name), &CommitOptions::default(), &control()).unwrap();
    }
    std::fs::write(scratch.join("one/second"), vec![7; 1 << 20]).unwrap();
    commit(&store, &scratch.join("one"), Some("bad"), &CommitOptions::default(), &control()).unwrap();
    let layer = Image::open(&store, "bad", None).unwrap().layers()[1].digest;
    let blob = scratch.join(&format!("store/oci/blobs/sha256/{}", layer.hex()));
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, bytes).unwrap();

    let (real, link) = (scratch.join("real"), scratch.join("link"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    let names = || {
        let entries = std::fs::read_dir(&real).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let unpack = |name: &str| unpack(&store, name, &link, &UnpackOptions::default(), &control()).map(drop);
    assert_eq!(unpack("bad").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(names(), [""; 0]);
    for _ in 0..20 {
        let results = std::thread::scope(|scope| {
            let threads =
                ["one", "two"].map(|name| scope.spawn(|| unpack(name).map_err(|error| error.kind())));
            threads.map(|thread| thread.join().unwrap())
        });
        let won = results.iter().position(|result| result.is_ok()).expect("one of them is first");
        let lost = results[1 - won].unwrap_err();
        assert!([ErrorKind::Busy, ErrorKind::AlreadyExists].contains(&lost), "{lost:?}");
        assert_eq!(names(), [["one", "two"][won]]);
        std::fs::remove_dir_all(real.join(["one", "two"][won])).unwrap();
    }
}

#[test]
fn what_is_unpacked_with_sync_has_its_name_for_good() {
    if !tool("strace", Command::new("strace").args(["-qq", "-o", "/dev/null", "true"])) {
        return;
    }
    let scratch = Scratch::new();
    let run = unpacking(&scratch);
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-o", "trace", "-e", "trace=syncfs,fsync,renameat,renameat2"]);
    command.args(run).current_dir(scratch.path());
    let out = command.env("TREERING_TEST_UNPACK_IN", scratch.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    let trace = std::fs::read_to_string(scratch.join("trace")).unwrap();
    let at =
        |wanted: &dyn Fn(&str) -> bool| trace.lines().position(wanted).unwrap_or_else(|| panic!("{trace}"));
    let files = at(&|line| line.contains("syncfs("));
    let renamed = at(&|line| line.contains("rename") && line.contains("unpacking"));
    let parent = format!("<{}>", scratch.path().canonicalize().unwrap().display());
    let named = at(&|line| line.contains("fsync(") && line.contains(&parent));
    assert!(files < renamed && renamed < named, "{trace}");
}

/// Plays the part of a process that [`kills`] and [`full_disk`] start.
#[test]
fn child_role() {
    let Some(dir) = std::env::var_os("TREERING_TEST_COMMIT_IN").map(PathBuf::from) else { return };
    let result = Store::open(dir.join("store"))
        .and_then(|store| commit(&store, &dir.join("tree"), Some("app:new"), &options(), &control()));
    match result {
        Ok(_) => {
            // For an injector that makes writes fail, which would include the one to standard output.
            let _ = std::fs::create_dir(dir.join("committed"));
            println!("ROLE committed");
        }
        Err(error) => println!("ROLE failed {} {error}", error.kind().name()),
    }
}

fn child(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child_role", "--exact", "--nocapture", "--test-threads=1"])
        .env("TREERING_TEST_COMMIT_IN", dir);
    command
}

/// Returns whether a tool is there; in CI it has to be.
fn tool(name: &str, works: &mut Command) -> bool {
    let there = works.output().is_ok_and(|out| out.status.success());
    if !there {
        println!("SKIP-TOOL {name}: missing or not allowed here");
        assert!(std::env::var_os("CI").is_none(), "{name} is needed in CI");
    }
    there
}

#[test]
fn killed_at_any_step_a_commit_leaves_old_or_new() {
    if !tool("strace", Command::new("strace").args(["-qq", "-o", "/dev/null", "true"])) {
        return;
    }
    // strace counts each call by itself.
    const CALLS: [&str; 13] = [
        "write",
        "fsync",
        "fdatasync",
        "rename",
        "renameat",
        "renameat2",
        "linkat",
        "unlinkat",
        "mkdirat",
        "fchmod",
        "openat",
        "openat2",
        "flock",
    ];
    let scratch = Scratch::new();
    let tree = scratch.dir("tree");
    sh(&tree, "for i in $(seq 30); do seq $i 4000 >$i; done");
    let old = {
        let store = Store::open(scratch.join("store")).unwrap();
        commit_as(&store, &tree, "app:old").manifest
    };
    sh(&tree, "seq 9 9999 >5; rm 6; echo new >31");
    sh(scratch.path(), "cp -a store pristine");
    let mut kills = 0;
    for call in CALLS {
        // The first opens are the loader's and the test runner's.
        let first = if call == "openat" { 20 } else { 1 };
        // Until there is no such call any more and the commit goes through.
        for when in support::stops(first) {
            assert!(when < 2000, "{call} has no end");
            if !killed_at(&scratch, call, when, &old.to_string()) {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 40, "only {kills} places to be killed at");
}

/// Kills a commit at the `when`-th call of one kind. Whether there was such a call.
fn killed_at(scratch: &Scratch, call: &str, when: usize, old: &str) -> bool {
    sh(scratch.path(), "rm -rf store; cp -a pristine store");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={when}")]);
    let inner = child(scratch.path());
    command.arg(inner.get_program()).args(inner.get_args());
    command.env("TREERING_TEST_COMMIT_IN", scratch.path());
    let out = command.output().unwrap();
    let survived = String::from_utf8_lossy(&out.stdout).contains("test result: ok");
    let store = Store::open(scratch.join("store")).unwrap();
    whole(&store);
    let names: BTreeMap<String, String> = store
        .refs()
        .unwrap()
        .iter()
        .map(|r| (r.name.to_string(), r.descriptor.digest().to_string()))
        .collect();
    assert_eq!(names["app:old"], old, "killed at {call} {when}");
    assert!(names.len() <= 2, "{names:?}");
    if let Some(new) = names.get("app:new") {
        assert_eq!(Image::open(&store, new, None).unwrap().layers().len(), 2);
    }
    // And the next commit goes through: with the change, or with nothing left to do when the first one got that far.
    let made = commit_as(&store, &scratch.join("tree"), "app:next");
    store.prune(&PruneOptions::default(), &control()).unwrap();
    assert_eq!(store.fsck(FsckLevel::Bytes, &control()).unwrap().problems.len(), 0, "after prune");
    let layers = Image::open(&store, "app:next", None).unwrap().layers().len();
    assert_eq!(layers, 2, "killed at {call} {when}: {made:?}");
    !survived
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let allowed = tool("unshare", Command::new("unshare").args(["-Urm", "true"]));
    if !allowed {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.dir("tree");
    std::fs::create_dir(scratch.join("store")).unwrap();
    let mut state = 1u32;
    let noise: Vec<u8> = (0..300_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    std::fs::write(tree.join("noise"), noise).unwrap();
    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=700 none store
         {exe} child_role --exact --nocapture --test-threads=1 | grep ROLE
         find store -type f ! -name lock | sort
         rm tree/noise; echo small >tree/small
         {exe} child_role --exact --nocapture --test-threads=1 | grep ROLE",
        exe = exe.display()
    );
    let out = Command::new("unshare")
        .args(["-Urm", "sh", "-euc", &script])
        .current_dir(scratch.path())
        .env("TREERING_TEST_COMMIT_IN", scratch.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).to_string();
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].contains("ROLE failed no-space"), "{said}");
    assert!(lines[lines.len() - 1].contains("ROLE committed"), "{said}");
    let between = &lines[1..lines.len() - 1];
    assert!(between.iter().all(|file| !file.contains("/blobs/sha256/") && !file.contains("/tmp/")), "{said}");
}

/// What an image contains is read once; prune keeps the list for as long as an image has that stack of layers.
#[test]
fn prune_keeps_the_lists_of_live_images() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    for (name, file) in [("app:v1", "one"), ("app:v2", "two"), ("app:v3", "three")] {
        std::fs::write(tree.join(file), file).unwrap();
        commit_as(&store, &tree, name);
        diff_image(&store, None, name, &DiffOptions::default(), &control()).unwrap();
    }
    let chains = |name: &str| {
        let image = Image::open(&store, name, None).unwrap();
        chain_ids(&image.layers().iter().map(|layer| layer.diff_id).collect::<Vec<_>>())
    };
    let three: [Digest; 3] = chains("app:v3").try_into().unwrap();
    let kept = || three.map(|chain| store.open_chain_list(&chain).unwrap().is_some());
    let prune = || store.prune(&PruneOptions::default(), &control()).unwrap();
    assert_eq!(prune().layers, []);
    assert_eq!(kept(), [true; 3]);
    // The tree itself is bound to the third image.
    store.untag(&"app:v1".parse().unwrap()).unwrap();
    store.untag(&"app:v3".parse().unwrap()).unwrap();
    store.unbind(&store.trees().unwrap()[0]).unwrap();
    assert!(prune().layers.contains(&three[2]));
    assert_eq!(kept(), [true, true, false]);
}

/// Trees that are gone are looked for while no process unpacks: one that is being unpacked has a record and no place yet.
#[test]
fn lost_trees_go_while_nobody_writes() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    commit_as(&store, &tree, "app");
    std::fs::rename(&tree, scratch.join("elsewhere")).unwrap();
    let prune = PruneOptions { wait: Duration::ZERO, ..PruneOptions::default() };
    let options = TidyOptions { lost_trees: true, unused_names: true, prune };
    let lease = store.lease().unwrap();
    assert_eq!(tidy(&store, &options, &control()).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!((store.trees().unwrap().len(), store.refs().unwrap().len()), (1, 1));
    drop(lease);
    let mut dry = options.clone();
    dry.prune.dry_run = true;
    let would = tidy(&store, &dry, &control()).unwrap();
    assert_eq!((store.trees().unwrap().len(), store.refs().unwrap().len()), (1, 1));
    let did = tidy(&store, &options, &control()).unwrap();
    // A dry run reports all of it, also what only the tree and the name needed.
    assert_eq!((&would.pruned.blobs, &would.untagged), (&did.pruned.blobs, &did.untagged));
    assert_eq!(would.forgotten, did.forgotten);
    assert_eq!((did.pruned.blobs.len(), did.forgotten.len(), did.untagged.len()), (3, 1, 1));
    assert_eq!((store.trees().unwrap().len(), store.refs().unwrap().len()), (0, 0));
}

/// A tree of an image that lost its name to another one, or never had one, still grows from it.
#[test]
fn a_tree_keeps_its_base_without_a_name() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let trees = ["one", "two"].map(|name| {
        let tree = scratch.dir(name);
        std::fs::write(tree.join(name), name).unwrap();
        commit_as(&store, &tree, "app");
        tree
    });
    store.prune(&PruneOptions::default(), &control()).unwrap();
    std::fs::write(trees[0].join("more"), "more").unwrap();
    assert_eq!(changes(&store, &trees[0], &Base::Auto), ["A /more"]);
    commit(&store, &trees[0], None, &options(), &control()).unwrap();
    store.prune(&PruneOptions::default(), &control()).unwrap();
    commit_as(&store, &trees[0], "grown");
    assert_eq!(Image::open(&store, "grown", None).unwrap().layers().len(), 2);
}

/// A commit that fails for lack of space has neither moved the name nor changed what the tree is bound to.
#[test]
fn a_commit_that_fails_leaves_its_name_where_it_was() {
    if !tool("strace", Command::new("strace").args(["-qq", "-o", "/dev/null", "true"])) {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.dir("tree");
    std::fs::write(tree.join("file"), "one").unwrap();
    let store = Store::open(scratch.join("store")).unwrap();
    commit_as(&store, &tree, "app:new");
    let state = || {
        let key = &store.trees().unwrap()[0];
        let record = store.find_tree(key).unwrap().unwrap();
        let config = record.read(BindingFile::Config, 1 << 20).unwrap();
        (std::fs::read(scratch.join("store/oci/index.json")).unwrap(), config)
    };
    std::fs::write(tree.join("file"), "changed").unwrap();
    let mut before = state();
    let trace = scratch.join("trace").to_str().unwrap().to_string();
    let mut failed = 0;
    for when in 1.. {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", &trace, "-e", "trace=write"]);
        command.args(["-e", &format!("inject=write:error=ENOSPC:when={when}")]);
        let inner = child(scratch.path());
        command.arg(inner.get_program()).args(inner.get_args());
        command.env("TREERING_TEST_COMMIT_IN", scratch.path());
        let said = String::from_utf8_lossy(&command.output().unwrap().stdout).to_string();
        let done = scratch.join("committed").exists();
        assert_eq!(done, before != state(), "write {when}: {said}");
        if !std::fs::read_to_string(&trace).unwrap().contains("INJECTED") {
            assert!(done && failed > 5, "{failed} writes of {when} only");
            return;
        }
        // A write that is no part of the image, its pin for one, may fail and be done without.
        if done {
            std::fs::remove_dir(scratch.join("committed")).unwrap();
            std::fs::write(tree.join("file"), format!("changed again, {when}")).unwrap();
            before = state();
        }
        failed += u64::from(!done);
    }
}

/// An operation that needs something of the store waits for a prune to end, and can be cancelled meanwhile.
#[test]
fn readers_and_writers_wait_for_a_prune() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    commit_as(&store, &tree, "app");
    let image = Image::open(&store, "app", None).unwrap();
    // What is cached already must not be what keeps the lease from being needed.
    contents(&store, &image, &control()).unwrap();
    let cancelled = control();
    cancelled.cancel.cancel();
    let options = DiffOptions::default();
    type Operation<'a> = Box<dyn Fn() -> treering::Result<()> + 'a>;
    let operations: [(&str, Operation); 8] = [
        ("contents", Box::new(|| contents(&store, &image, &cancelled).map(drop))),
        ("diff_image", Box::new(|| diff_image(&store, None, "app", &options, &cancelled).map(drop))),
        ("diff_tree", {
            Box::new(|| diff_tree(Some(&store), &tree, &Base::Auto, &options, &cancelled).map(drop))
        }),
        ("commit", {
            Box::new(|| commit(&store, &tree, None, &CommitOptions::default(), &cancelled).map(drop))
        }),
        ("unpack", {
            let to = scratch.join("new");
            let store = &store;
            let cancelled = &cancelled;
            Box::new(move || unpack(store, "app", &to, &UnpackOptions::default(), cancelled).map(drop))
        }),
        ("save", {
            let images = ["app".to_string()];
            let (store, cancelled) = (&store, &cancelled);
            Box::new(move || {
                archive::save(store, &images, Format::OciArchive, &mut std::io::sink(), cancelled)
            })
        }),
        ("usage", Box::new(|| store.usage(&cancelled).map(drop))),
        ("fsck", Box::new(|| store.fsck(FsckLevel::Structure, &cancelled).map(drop))),
    ];
    // What prune holds.
    let lock = std::fs::File::open(scratch.join("store/lock")).unwrap();
    lock.lock().unwrap();
    for (what, operation) in operations {
        let error = operation().unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Cancelled, "take lease"), "{what}");
    }
}

#[test]
fn owners_follow_the_policy() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(&tree, "echo x >f");
    if is_root() {
        sh(&tree, "chown 12:34 f");
    }
    let disk = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let disk = if is_root() { (12, 34) } else { disk };
    let cases = [
        (None, (0, 0)),
        (Some(OwnerPolicy::Keep), disk),
        (Some(OwnerPolicy::Fixed(7, 8)), (7, 8)),
        (
            Some(format!("map:100:{}:1,200:{}:1", disk.0, disk.1).parse().unwrap()),
            (100, if disk.0 == disk.1 { 100 } else { 200 }),
        ),
    ];
    for (owner, expected) in cases {
        // The root directory has its own owner, which a map must cover too.
        if is_root() && matches!(owner, Some(OwnerPolicy::Map(_))) {
            sh(&tree, "chown 12:34 .");
        }
        let owners = OwnersWanted { policy: owner, source: None };
        let options = DiffOptions { owners, ..DiffOptions::default() };
        let diff = diff_tree(Some(&store), &tree, &Base::Scratch, &options, &control()).unwrap();
        let meta = diff.new.meta(diff.new.lookup(b"f").unwrap());
        assert_eq!((meta.uid, meta.gid), expected);
        assert!(diff.changes.iter().all(|change| change.kind == ChangeKind::Added));
    }
}

/// An image that could not be read again would leave the store stuck: nothing of it may be published.
#[test]
fn an_image_over_the_caps_is_not_made() {
    let scratch = Scratch::new();
    let limits = |layers, json_bytes| {
        let mut limits = Limits::default();
        (limits.layers, limits.json_bytes) = (layers, json_bytes);
        Store::open_with(scratch.join("store"), limits).unwrap()
    };
    let tree = scratch.dir("tree");
    let store = limits(2, 3000);
    for round in ["one", "two"] {
        sh(&tree, &format!("echo {round} >{round}"));
        commit_as(&store, &tree, "app:v1");
    }
    sh(&tree, "echo three >three");
    let long = "x".repeat(3000);
    let cases = [
        ("layers", options()),
        ("the document", CommitOptions { message: Some(long.clone()), squash: true, ..options() }),
        ("the document", CommitOptions { annotations: vec![("a".into(), long)], squash: true, ..options() }),
    ];
    let before = store.entries().unwrap().len();
    for (what, options) in cases {
        let error = commit(&store, &tree, Some("app:v2"), &options, &control()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.hint() == Some(&treering::Hint::Squash), "{error}");
        assert_eq!(store.entries().unwrap().len(), before);
    }
    // A change of the configuration alone needs no layer, and squashing makes room.
    store.prune(&PruneOptions::default(), &control()).unwrap();
    whole(&store);
    commit(&store, &tree, Some("app:v2"), &CommitOptions { squash: true, ..options() }, &control()).unwrap();
    whole(&store);
}

/// The tar of a layer may begin with any name, that of a compressed stream included.
#[test]
fn a_name_that_begins_like_a_compressed_stream() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new();
    for (number, name) in [&b"\x1f\x8b\x08"[..], b"P*M\x18", b"BZh91AY&SY"].into_iter().enumerate() {
        let store = Store::open(scratch.join(&format!("store{number}"))).unwrap();
        let tree = scratch.dir(&format!("tree{number}"));
        sh(&tree, "echo base >base; touch -d @1000000000 .");
        commit_as(&store, &tree, "app:v1");
        std::fs::write(tree.join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
        // The new name is to be the first one in its layer.
        sh(&tree, "touch -d @1000000000 .");
        let profile = Profile::new(Compression::None, None).unwrap();
        commit(&store, &tree, Some("app:v2"), &CommitOptions { profile, ..options() }, &control()).unwrap();
        let out = scratch.join(&format!("out{number}"));
        unpack(&store, "app:v2", &out, &UnpackOptions::default(), &control()).unwrap();
        assert_eq!(std::fs::read(out.join(std::ffi::OsStr::from_bytes(name))).unwrap(), b"x");
    }
}

/// A layer is read as it is stored, as a tar, and entry by entry with its content; the end is where damage is found.
#[test]
fn layers_are_streams() {
    use std::io::Read;
    use treering::layer::read::ReadLimits;
    let scratch = Scratch::new();
    let (store, tree) = (Store::open(scratch.join("store")).unwrap(), scratch.join("tree"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("a"), "first").unwrap();
    std::fs::write(tree.join("b"), vec![7; 300_000]).unwrap();
    commit(&store, &tree, Some("app:1"), &CommitOptions::default(), &control()).unwrap();
    let image = Image::open(&store, "app:1", None).unwrap();
    let layer = &image.layers()[0];
    let mut bytes = Vec::new();
    layer.open(&store).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes), layer.digest);
    let mut tar = Vec::new();
    layer.open_tar(&store, &control()).unwrap().read_to_end(&mut tar).unwrap();
    assert_eq!(Digest::of(&tar), layer.diff_id);
    let read = |whole: bool| -> treering::Result<Vec<(String, usize)>> {
        let mut files = layer.files(&store, ReadLimits::default(), &control())?;
        let mut found = Vec::new();
        while let Some(entry) = files.next_entry()? {
            let mut content = vec![0; 3];
            let count = files.read(&mut content).unwrap();
            content.truncate(count);
            if whole {
                files.read_to_end(&mut content).unwrap();
            }
            found.push((String::from_utf8(entry.path).unwrap(), content.len()));
        }
        assert_eq!(files.read(&mut [0]).unwrap(), 0);
        Ok(found)
    };
    let expect = |a, b| vec![(String::new(), 0), ("a".into(), a), ("b".into(), b)];
    assert_eq!(read(true).unwrap(), expect(5, 300_000));
    assert_eq!(read(false).unwrap(), expect(3, 3), "what is not read is passed over");

    let blob = scratch.join("store/oci/blobs/sha256").join(layer.digest.hex());
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, &bytes).unwrap();
    let error = layer.open(&store).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(treering::Error::io("read", "", error).kind(), ErrorKind::Corrupt);
    assert_eq!(read(true).unwrap_err().kind(), ErrorKind::Corrupt);
    let error = layer.open_tar(&store, &control()).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(treering::Error::io("read", "", error).kind(), ErrorKind::Corrupt);
}

/// What a commit keeps of the entries of an image is what is read out of its layer.
#[test]
fn the_list_that_a_commit_keeps_is_that_of_its_layer() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(
        &tree,
        "mkdir -p a/b c; echo one >a/one; ln a/one c/two; ln a/one a/b/three; : >c/empty; ln -s ../a/one c/link; mkfifo c/pipe
         head -c 300000 /dev/urandom >a/b/large; truncate -s 5M c/hole; chmod 4755 a/one; chmod 1777 c; echo x >other; ln other ../outside
         touch -d '2001-02-03 04:05:06.789' a/one; touch -d '2033-02-03 04:05:06.789' c/empty; touch -d @-5.5 other; echo y >\"a/new
line\"",
    );
    let _ = std::fs::File::open(tree.join("other"))
        .map(|file| rustix::fs::fsetxattr(&file, "user.note", b"kept", rustix::fs::XattrFlags::empty()));
    let exact =
        LayerOptions { precision: treering::layer::MtimePrecision::Nanoseconds, ..LayerOptions::default() };
    let clamped = LayerOptions { clamp_mtime: Some(1_700_000_000), ..LayerOptions::default() };
    let plain = CommitOptions { base: Base::Scratch, ..options() };
    for (number, commit_options) in [
        plain.clone(),
        CommitOptions { layer: exact, ..plain.clone() },
        CommitOptions {
            layer: clamped,
            profile: Profile::new(Compression::Zstd, None).unwrap(),
            ..plain.clone()
        },
        CommitOptions {
            threads: 1,
            profile: Profile::new(Compression::None, None).unwrap(),
            ..plain.clone()
        },
        CommitOptions { squash: true, base: Base::Image("app:v0".into()), ..options() },
        CommitOptions { base: Base::Image("small:1".into()), ..options() },
        CommitOptions { base: Base::Image("small:1".into()), threads: 1, ..options() },
    ]
    .into_iter()
    .enumerate()
    {
        if number == 5 {
            let small = scratch.dir("small");
            sh(&small, "mkdir a; echo before >a/gone");
            commit(&store, &small, Some("small:1"), &plain, &control()).unwrap();
        }
        let name = format!("app:v{number}");
        commit(&store, &tree, Some(&name), &commit_options, &control()).unwrap();
        let image = Image::open(&store, &name, None).unwrap();
        let lists = || -> Vec<PathBuf> {
            let dirs = std::fs::read_dir(scratch.join("store/layers")).unwrap();
            dirs.map(|dir| dir.unwrap().path().join("list")).filter(|list| list.exists()).collect()
        };
        assert!(!lists().is_empty(), "{number}: a list is kept");
        let read = || treering::image::entries(&store, &image, &control()).unwrap();
        let kept = read();
        lists().iter().for_each(|list| std::fs::remove_file(list).unwrap());
        let again = read();
        let describe = |list: &treering::tree::Snapshot| -> Vec<String> {
            let one = |at: u32| {
                let meta = Meta { ino: 0, ..list.meta(at) };
                let (leader, xattrs) =
                    (list.path(list.leader(at)), list.xattrs(at).into_iter().collect::<Vec<_>>());
                let rest = (list.link_target(at).to_vec(), list.place(at), list.digest(at));
                format!("{:?} {meta:?} {leader:?} {xattrs:?} {rest:?}", list.path(at))
            };
            (0..list.len()).map(one).collect()
        };
        assert_eq!(describe(&kept), describe(&again), "{number}");
        assert_eq!(kept.clock(), again.clock());
        assert_eq!(kept.scanned_by(), again.scanned_by());
        assert_eq!(kept.digest_count(), again.digest_count(), "{number}");
    }
}
