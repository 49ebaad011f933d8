//! Images out of images: what stays, what is read, and what the history says.
#![allow(clippy::disallowed_methods)]

mod platforms;

use std::io::{Cursor, Read};
use std::path::Path;

use proptest::prelude::*;
use support::{Scratch, describe, sh};
use treering::compress::{Compression, Profile};
use treering::diff::all_added;
use treering::fs::Root;
use treering::image::{
    Base, CommitOptions, EditOptions, Edited, Image, ImageFiles, LayerSource, Squash, UnpackOptions, commit,
    contents, edit, unpack, write_layer,
};
use treering::layer::{LayerOptions, MtimePrecision};
use treering::store::{FsckLevel, PruneOptions, Store};
use treering::tree::{OwnerPolicy, ScanOptions, scan};
use treering::{Control, Digest, ErrorKind};

fn control() -> Control {
    Control::default()
}

fn nanoseconds() -> LayerOptions {
    LayerOptions { precision: MtimePrecision::Nanoseconds, ..LayerOptions::default() }
}

/// Commits with a row of history that says what was done.
fn ring(store: &Store, tree: &Path, name: &str, options: CommitOptions) -> Image {
    let options = CommitOptions { created: Some(1_700_000_000), layer: nanoseconds(), ..options };
    commit(store, tree, Some(name), &options, &control()).unwrap();
    Image::open(store, name, None).unwrap()
}

/// Makes three layers and a row without one: what is made, changed, hard-linked and removed.
fn three(store: &Store, scratch: &Scratch) -> Image {
    let tree = scratch.dir("tree");
    sh(
        &tree,
        "mkdir -p etc usr/bin; echo one >etc/one; seq 9999 >usr/bin/tool; ln usr/bin/tool usr/bin/alias; ln -s one etc/link",
    );
    let author = Some("Ada".to_string());
    let changes = vec!["ENV PATH=/bin BASE=1".to_string(), "CMD [\"sh\"]".to_string()];
    ring(store, &tree, "app:1", CommitOptions { author, changes, ..CommitOptions::default() });
    sh(&tree, "echo two >etc/two; rm etc/link; head -c 9000000 /dev/zero >etc/zeros; seq 100 >var");
    ring(store, &tree, "app:2", CommitOptions::default());
    ring(
        store,
        &tree,
        "app:2e",
        CommitOptions { changes: vec!["USER me".into()], ..CommitOptions::default() },
    );
    sh(
        &tree,
        "rm -r usr/bin; mkdir usr/bin; echo new >usr/bin/tool; chmod 700 etc/two; rm var; mkdir var; echo in >var/in",
    );
    ring(store, &tree, "app:3", CommitOptions::default())
}

fn run(store: &Store, image: &str, name: &str, options: EditOptions) -> treering::Result<Edited> {
    edit(store, image, Some(name), Vec::new(), &EditOptions { created: Some(1), ..options }, &control())
}

fn open(store: &Store, name: &str) -> Image {
    Image::open(store, name, None).unwrap()
}

fn diff_ids(image: &Image) -> Vec<Digest> {
    image.layers().iter().map(|layer| layer.diff_id).collect()
}

/// Returns the rows of the history, oldest first, and whether there is a layer.
fn rows(image: &Image) -> Vec<(String, bool)> {
    let rows = image.config().history().iter();
    rows.map(|row| (row.created_by.clone().unwrap_or_default(), !row.empty_layer)).collect()
}

fn listing(store: &Store, name: &str) -> std::collections::BTreeMap<String, String> {
    describe(&contents(store, &open(store, name), &control()).unwrap(), None)
}

/// Returns a layer that was made of a directory.
fn layer_of(dir: &Path, compression: Compression) -> Vec<u8> {
    let root = Root::open(dir).unwrap();
    let options = ScanOptions { owner: &OwnerPolicy::Root, ..ScanOptions::default() };
    let found = scan(&root, &options, &control()).unwrap();
    let changes = all_added(&found.snapshot);
    let source = LayerSource { changes: &changes, old: None, new: &found.snapshot, files: Some(&root) };
    let mut out = Vec::new();
    let profile = Profile::new(compression, None).unwrap();
    write_layer(source, nanoseconds(), &profile, 2, &mut out, &control()).unwrap();
    out
}

fn whole(store: &Store) {
    let report = store.fsck(FsckLevel::Bytes, &control()).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

/// Makes the blobs of layers impossible to read, and possible again when it is dropped: a directory is in the place of each.
struct Unreadable(Vec<std::path::PathBuf>);

impl Unreadable {
    fn new(store: &Path, layers: &[treering::image::Layer]) -> Unreadable {
        let path = |layer: &treering::image::Layer| store.join("oci/blobs/sha256").join(layer.digest.hex());
        let mut paths: Vec<_> = layers.iter().map(path).collect();
        paths.sort();
        paths.dedup();
        for path in &paths {
            std::fs::rename(path, path.with_extension("aside")).unwrap();
            std::fs::create_dir(path).unwrap();
        }
        Unreadable(paths)
    }
}

impl Drop for Unreadable {
    fn drop(&mut self) {
        for path in &self.0 {
            std::fs::remove_dir(path).unwrap();
            std::fs::rename(path.with_extension("aside"), path).unwrap();
        }
    }
}

#[test]
fn a_new_configuration_keeps_the_layers_and_reads_none() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let old = three(&store, &scratch);
    let options = EditOptions {
        changes: vec!["ENV BASE=2 MORE=$PATH".into(), "CMD [\"app\"]".into()],
        labels: vec![("tier".into(), "web \"x\" $y".into()), ("a".into(), "b".into())],
        annotations: vec![("note".into(), "n".into())],
        author: Some("Bob".into()),
        message: Some("Why".into()),
        ..EditOptions::default()
    };
    let unreadable = Unreadable::new(&scratch.join("store"), old.layers());
    let made = run(&store, "app:3", "app:config", options.clone()).unwrap();
    drop(unreadable);
    let image = open(&store, "app:config");
    assert_eq!((*image.digest(), *image.id(), made.layers), (made.manifest, made.image_id, 3));
    assert_eq!(diff_ids(&image), diff_ids(&old));
    assert_eq!(image.config().author(), Some("Bob"));
    assert_eq!(image.config().created(), Some("1970-01-01T00:00:01Z"));
    assert_eq!(image.config().run().env.as_deref().unwrap(), ["PATH=/bin", "BASE=2", "MORE=/bin"]);
    assert_eq!(image.config().run().user.as_deref(), Some("me"));
    assert_eq!(image.config().run().labels.as_ref().unwrap()["tier"], "web \"x\" $y");
    assert_eq!(image.annotations().collect::<Vec<_>>(), [("note", "n")]);
    let (before, after) = (old.config().history(), image.config().history());
    assert_eq!(after[..before.len()], *before);
    let [row] = &after[before.len()..] else { panic!("{after:?}") };
    assert!(row.empty_layer && row.comment.as_deref() == Some("Why"), "{row:?}");
    let said = row.created_by.as_deref().unwrap();
    assert!(
        said.starts_with("treering edit -c ENV BASE=2 MORE=$PATH -c CMD") && said.contains("--label a=b"),
        "{said}"
    );
    // Annotations and the author stay; the same again is the same.
    run(
        &store,
        "app:config",
        "app:next",
        EditOptions { annotations: vec![("more".into(), "m".into())], ..EditOptions::default() },
    )
    .unwrap();
    let next = open(&store, "app:next");
    assert_eq!(next.annotations().collect::<Vec<_>>(), [("more", "m"), ("note", "n")]);
    assert_eq!(next.config().author(), Some("Bob"));
    assert_eq!(run(&store, "app:3", "app:again", options).unwrap().manifest, made.manifest);
    whole(&store);
}

#[test]
fn nothing_asked_is_a_name_more() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let old = three(&store, &scratch);
    let made =
        edit(&store, "app:3", Some("app:same"), Vec::new(), &EditOptions::default(), &control()).unwrap();
    assert_eq!((made.manifest, made.image_id), (*old.digest(), *old.id()));
    assert_eq!(open(&store, "app:same").digest(), old.digest());
}

#[test]
fn layers_that_are_dropped_go_with_their_rows_and_no_others() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let old = three(&store, &scratch);
    let unreadable = Unreadable::new(&scratch.join("store"), old.layers());
    let drop_last = |count| EditOptions { drop_last: count, ..EditOptions::default() };
    run(&store, "app:3", "app:less", drop_last(2)).unwrap();
    let too_many = run(&store, "app:3", "app:none", drop_last(4)).unwrap_err();
    drop(unreadable);
    let image = open(&store, "app:less");
    assert_eq!(diff_ids(&image), diff_ids(&old)[..1]);
    let said = rows(&image);
    // The row of `USER me` stays, for the user does.
    assert_eq!(said.iter().map(|row| row.1).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(said[..1], rows(&old)[..1]);
    assert_eq!(said[1], rows(&old)[2]);
    assert_eq!(said[2].0, "treering edit --drop-last 2");
    assert_eq!(image.config().run().user.as_deref(), Some("me"));
    assert_eq!(listing(&store, "app:less"), listing(&store, "app:1"));
    assert_eq!(too_many.kind(), ErrorKind::InvalidArgument);
    assert!(too_many.to_string().contains("the image has 3"), "{too_many}");
    assert!(store.resolve("app:none").is_err());
}

#[test]
fn squashed_it_is_the_same_tree_in_one_layer() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let old = three(&store, &scratch);
    let made =
        run(&store, "app:3", "app:one", EditOptions { squash: Some(Squash::All), ..EditOptions::default() });
    let made = made.unwrap();
    let image = open(&store, "app:one");
    assert_eq!(diff_ids(&image), [made.squashed.unwrap().diff_id]);
    assert_eq!(listing(&store, "app:one"), listing(&store, "app:3"));
    let said = rows(&image);
    assert_eq!((said.len(), said[0].1, said[1].1), (2, false, true), "{said:?}");
    let short: Vec<String> = diff_ids(&old).iter().map(Digest::short).collect();
    assert_eq!(said[1].0, format!("treering edit --squash 3 ({})", short.join(", ")));
    // It is the layer that a commit of the tree writes.
    let tree = scratch.join("copy");
    unpack(&store, "app:3", &tree, &UnpackOptions::default(), &control()).unwrap();
    let options = CommitOptions { squash: true, layer: nanoseconds(), ..CommitOptions::default() };
    let committed = commit(&store, &tree, None, &options, &control()).unwrap();
    assert_eq!(committed.layer.unwrap().digest, made.squashed.unwrap().digest);
    // Another encoding, the same tar, whatever the number of threads.
    let profile = Profile::new(Compression::Zstd, None).unwrap();
    let options = EditOptions { squash: Some(Squash::All), profile, threads: 1, ..EditOptions::default() };
    let zstd = run(&store, "app:3", "app:zstd", options).unwrap();
    assert_eq!(zstd.squashed.unwrap().diff_id, made.squashed.unwrap().diff_id);
    assert!(open(&store, "app:zstd").layers()[0].descriptor.media_type().to_string().ends_with("+zstd"));
    whole(&store);
}

#[test]
fn the_last_layers_become_one_and_those_below_are_not_read() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let old = three(&store, &scratch);
    // What the layers contain is in the store from the first look on.
    listing(&store, "app:3");
    listing(&store, "app:1");
    let unreadable = Unreadable::new(&scratch.join("store"), &old.layers()[..1]);
    let options =
        EditOptions { squash: Some(Squash::Last(2)), message: Some("less".into()), ..EditOptions::default() };
    let made = run(&store, "app:3", "app:two", options.clone()).unwrap();
    drop(unreadable);
    let image = open(&store, "app:two");
    assert_eq!(diff_ids(&image), [diff_ids(&old)[0], made.squashed.unwrap().diff_id]);
    assert_eq!(image.layers()[0].digest, old.layers()[0].digest);
    assert_eq!(listing(&store, "app:two"), listing(&store, "app:3"));
    assert_eq!(rows(&image).iter().map(|row| row.1).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(image.config().history()[2].comment.as_deref(), Some("less"));
    let files = ImageFiles::open(&store, &image, &control()).unwrap();
    let zeros = files.resolve("etc/zeros").unwrap();
    assert_eq!(files.read(zeros, 1 << 30, &control()).unwrap(), vec![0; 9_000_000]);
    assert_eq!(run(&store, "app:3", "app:again", options).unwrap().manifest, made.manifest);
    for count in [0, 4] {
        let options = EditOptions { squash: Some(Squash::Last(count)), ..EditOptions::default() };
        assert_eq!(run(&store, "app:3", "app:x", options).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    whole(&store);
}

#[test]
fn a_hard_link_to_a_file_below_is_kept_when_layers_are_squashed() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let tree = scratch.dir("tree");
    sh(&tree, "echo base >file");
    ring(&store, &tree, "app:1", CommitOptions::default());
    sh(&tree, "ln file linked");
    ring(&store, &tree, "app:2", CommitOptions::default());
    sh(&tree, "echo x >other");
    ring(&store, &tree, "app:3", CommitOptions::default());
    run(&store, "app:3", "app:s", EditOptions { squash: Some(Squash::Last(2)), ..EditOptions::default() })
        .unwrap();
    assert_eq!(listing(&store, "app:s"), listing(&store, "app:3"));
}

#[test]
fn layers_are_appended_byte_for_byte() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let old = three(&store, &scratch);
    let more = scratch.dir("more");
    sh(&more, "mkdir etc; echo appended >etc/one; seq 2000 >numbers");
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let layer = layer_of(&more, compression);
        let unreadable = Unreadable::new(&scratch.join("store"), old.layers());
        let options =
            EditOptions { message: Some("on top".into()), created: Some(5), ..EditOptions::default() };
        let append: Vec<Box<dyn Read + Send>> =
            vec![Box::new(Cursor::new(layer.clone())), Box::new(Cursor::new(layer.clone()))];
        let made = edit(&store, "app:3", Some("app:more"), append, &options, &control()).unwrap();
        drop(unreadable);
        let image = open(&store, "app:more");
        assert_eq!(image.layers().len(), 5);
        assert_eq!(image.layers()[4].digest, Digest::of(&layer));
        assert_eq!(image.layers()[4].diff_id, made.appended[1].diff_id);
        assert!(image.layers()[4].descriptor.media_type().to_string() == compression.media_type());
        let said = rows(&image);
        let short = made.appended[0].diff_id.short();
        assert_eq!(said[said.len() - 1], (format!("treering edit --append {short}"), true));
        assert_eq!(image.config().history()[said.len() - 1].comment.as_deref(), Some("on top"));
        assert_eq!(image.config().history()[said.len() - 2].comment, None);
        let files = ImageFiles::open(&store, &image, &control()).unwrap();
        let read = |path: &str| files.read(files.resolve(path).unwrap(), 1 << 20, &control()).unwrap();
        assert_eq!((read("etc/one"), read("etc/two")), (b"appended\n".to_vec(), b"two\n".to_vec()));
    }
    whole(&store);
}

#[test]
fn what_is_no_whole_layer_is_not_appended() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    three(&store, &scratch);
    let more = scratch.dir("more");
    sh(&more, "seq 2000 >numbers");
    let layer = layer_of(&more, Compression::None);
    let gzip = layer_of(&more, Compression::Gzip);
    let mut whiteout = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(3);
    header.set_mode(0o644);
    whiteout.append_data(&mut header, ".wh.etc", &b"abc"[..]).unwrap();
    let cases: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("no tar", vec![b'x'; 2048]),
        ("cut", layer[..4096].to_vec()),
        ("cut gzip", gzip[..gzip.len() - 20].to_vec()),
        ("a whiteout with content", whiteout.into_inner().unwrap()),
        ("bzip2", b"BZh91AY&SY".to_vec()),
    ];
    let blobs = || scratch.join("store/oci/blobs/sha256").read_dir().unwrap().count();
    let before = blobs();
    for (what, bytes) in cases {
        let append: Vec<Box<dyn Read + Send>> = vec![Box::new(Cursor::new(bytes))];
        let failed = edit(&store, "app:3", Some("app:bad"), append, &EditOptions::default(), &control());
        assert!(failed.is_err(), "{what}");
        assert!(store.resolve("app:bad").is_err(), "{what}");
        assert_eq!(blobs(), before, "{what}");
    }
}

#[test]
fn another_base_takes_the_place_of_the_old_one() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let base = scratch.dir("base");
    sh(&base, "mkdir etc; echo 12 >etc/version; echo old >etc/only-old");
    let env = |text: &str| vec![format!("ENV {text}"), "CMD [\"sh\"]".to_string()];
    ring(
        &store,
        &base,
        "debian:12",
        CommitOptions { changes: env("JAVA=11.0.5 PATH=/bin"), ..CommitOptions::default() },
    );
    let app = scratch.dir("app");
    sh(&app, "mkdir etc; echo 12 >etc/version; echo old >etc/only-old; echo app >app");
    sh(
        scratch.path(),
        "touch -r base/etc/version app/etc/version; touch -r base/etc/only-old app/etc/only-old; touch -r base/etc app/etc",
    );
    let options = CommitOptions {
        base: Base::Image("debian:12".into()),
        changes: vec!["ENV APP=1".into(), "ENTRYPOINT [\"/app\"]".into()],
        ..CommitOptions::default()
    };
    let old = ring(&store, &app, "app:1", options);
    assert_eq!(old.layers().len(), 2);
    sh(&base, "echo 13 >etc/version; rm etc/only-old; echo new >etc/only-new");
    let options = CommitOptions {
        base: Base::Scratch,
        changes: env("JAVA=11.0.6 PATH=/bin"),
        ..CommitOptions::default()
    };
    ring(&store, &base, "debian:13", options);
    sh(&base, "echo patch >etc/patch");
    let patched = ring(&store, &base, "debian:13p", CommitOptions::default());
    let all: Vec<_> = old.layers().iter().chain(patched.layers()).cloned().collect();
    let unreadable = Unreadable::new(&scratch.join("store"), &all);
    let rebase = |old: &str, new: &str| EditOptions {
        rebase: Some((old.into(), new.into())),
        ..EditOptions::default()
    };
    run(&store, "app:1", "app:2", rebase("debian:12", "debian:13p")).unwrap();
    let wrong = run(&store, "app:1", "app:3", rebase("debian:13", "debian:12")).unwrap_err();
    let longer = run(&store, "debian:12", "app:3", rebase("app:1", "debian:13")).unwrap_err();
    drop(unreadable);
    let image = open(&store, "app:2");
    assert_eq!(diff_ids(&image), [diff_ids(&patched), diff_ids(&old)[1..].to_vec()].concat());
    assert_eq!(image.config().run().env.as_deref().unwrap(), ["JAVA=11.0.6", "PATH=/bin", "APP=1"]);
    assert_eq!(image.config().run().entrypoint.as_deref().unwrap(), ["/app"]);
    let (said, theirs) = (rows(&image), rows(&patched));
    assert_eq!(said[..2], theirs[..]);
    assert_eq!(said[2], rows(&old)[1]);
    assert_eq!(said[3], ("treering edit --rebase debian:12 debian:13p".to_string(), false));
    let annotations: Vec<_> = image.annotations().collect();
    let digest = patched.digest().to_string();
    assert_eq!(
        annotations,
        [
            ("org.opencontainers.image.base.digest", digest.as_str()),
            ("org.opencontainers.image.base.name", "debian:13p")
        ]
    );
    let there = listing(&store, "app:2");
    assert!(
        there.contains_key("app") && there.contains_key("etc/patch") && !there.contains_key("etc/only-old")
    );
    assert_eq!(wrong.kind(), ErrorKind::InvalidArgument);
    assert!(wrong.to_string().contains("not built on the old base"), "{wrong}");
    assert!(wrong.hint().is_some());
    assert_eq!(longer.kind(), ErrorKind::InvalidArgument);
    whole(&store);
}

#[test]
fn everything_at_once_is_done_in_its_order() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    let old = three(&store, &scratch);
    let more = scratch.dir("more");
    sh(&more, "echo appended >appended");
    let append: Vec<Box<dyn Read + Send>> = vec![Box::new(Cursor::new(layer_of(&more, Compression::Gzip)))];
    let options = EditOptions {
        drop_last: 1,
        squash: Some(Squash::Last(2)),
        changes: vec!["LABEL a=1 b=1".into()],
        labels: vec![("b".into(), "2".into())],
        created: Some(7),
        ..EditOptions::default()
    };
    let made = edit(&store, "app:3", Some("app:all"), append, &options, &control()).unwrap();
    let image = open(&store, "app:all");
    assert_eq!(diff_ids(&image), [diff_ids(&old)[0], made.squashed.unwrap().diff_id]);
    let mut expected = listing(&store, "app:2");
    let there = listing(&store, "app:all");
    assert!(there.contains_key("appended"));
    expected.retain(|path, _| !path.is_empty());
    assert!(expected.iter().all(|(path, line)| there.get(path) == Some(line)), "{expected:#?} {there:#?}");
    let labels = image.config().run().labels.clone().unwrap();
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("1", "2"));
}

#[test]
fn what_an_edit_needs_is_not_pruned_and_what_it_left_is() {
    let scratch = Scratch::new();
    let store = Store::open(scratch.join("store")).unwrap();
    three(&store, &scratch);
    run(&store, "app:3", "app:one", EditOptions { squash: Some(Squash::All), ..EditOptions::default() })
        .unwrap();
    for name in ["app:1", "app:2", "app:2e", "app:3"] {
        store.untag(&name.parse().unwrap()).unwrap();
    }
    std::fs::remove_dir_all(scratch.join("tree")).unwrap();
    treering::image::tidy(
        &store,
        &treering::image::TidyOptions {
            lost_trees: true,
            prune: PruneOptions::default(),
            ..Default::default()
        },
        &control(),
    )
    .unwrap();
    // One layer, one configuration, one manifest.
    assert_eq!(scratch.join("store/oci/blobs/sha256").read_dir().unwrap().count(), 3);
    unpack(&store, "app:one", &scratch.join("out"), &UnpackOptions::default(), &control()).unwrap();
    sh(&scratch.join("out"), "test \"$(cat usr/bin/tool)\" = new");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the layers do to each other, and however many of them become one, the tree is the same.
    #[test]
    fn any_layers_may_be_squashed(
        steps in prop::collection::vec(support::edit::edits(25), 4),
        count in 1..5usize,
        nanoseconds in any::<bool>(),
    ) {
        let scratch = Scratch::in_memory();
        let store = Store::open(scratch.join("store")).unwrap();
        let tree = scratch.dir("tree");
        std::fs::write(tree.join("stays"), "stays").unwrap();
        let precision = if nanoseconds { MtimePrecision::Nanoseconds } else { MtimePrecision::default() };
        for edits in &steps {
            support::edit::run(&tree, edits);
            let layer = LayerOptions { precision, ..LayerOptions::default() };
            let options = CommitOptions { created: Some(1), layer, ..CommitOptions::default() };
            commit(&store, &tree, Some("app:v"), &options, &control()).unwrap();
        }
        let layers = open(&store, "app:v").layers().len();
        let count = count.min(layers);
        let options = EditOptions { squash: Some(Squash::Last(count)), ..EditOptions::default() };
        run(&store, "app:v", "app:s", options).unwrap();
        assert_eq!(open(&store, "app:s").layers().len(), layers - count + 1);
        assert_eq!(listing(&store, "app:s"), listing(&store, "app:v"));
        let (one, other) = (scratch.join("one"), scratch.join("other"));
        unpack(&store, "app:v", &one, &UnpackOptions::default(), &control()).unwrap();
        unpack(&store, "app:s", &other, &UnpackOptions::default(), &control()).unwrap();
        let look = |path: &Path| {
            let root = Root::open(path).unwrap();
            let owners = treering::image::owners_of(Some(&store), &root, &Default::default()).unwrap();
            describe(&scan(&root, &owners.scan_options(), &control()).unwrap().snapshot, Some(path))
        };
        assert_eq!(look(&one), look(&other));
    }
}
