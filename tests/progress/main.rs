//! Progress: whatever an operation does, it ends with as many bytes read as its total says, and with entries counted.
#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Scratch, sh};
use treering::archive::{
    CopyTarget, ExportOptions, ExportSource, Format, ImportOptions, LoadOptions, NamePolicy, TreeFiles,
    copy_in, copy_out, export, import, load, save,
};
use treering::build::{BuildOptions, ContextSource, DockerfileSource, build};
use treering::compress::{Compression, DecodeOptions, Decoder, Profile};
use treering::diff::{Change, CompareMode};
use treering::image::{
    Base, CheckoutOptions, CloneOptions, CommitOptions, DiffOptions, EditOptions, ImageFiles,
    LayerApplyOptions, Squash, UnpackOptions, apply_layer, checkout, clone, commit, contents, diff_tree,
    diff_trees, edit, unpack,
};
use treering::layer::ListOptions;
use treering::store::{FsckLevel, Reference, Store};
use treering::tree::{ScanOptions, scan};
use treering::{Control, fs::Root};

struct World {
    scratch: Scratch,
    store: Store,
}

impl World {
    fn new() -> World {
        let scratch = Scratch::new();
        sh(
            scratch.path(),
            "mkdir -p t/d t/e; head -c 3000000 /dev/urandom >t/d/large; echo a >t/a; ln -s a t/link; ln t/a t/e/hard
             truncate -s 5M t/hole; cp -r t u; echo other >u/a; head -c 2000000 /dev/urandom >u/d/more; rm u/link",
        );
        let store = Store::open(scratch.join("store")).unwrap();
        World { scratch, store }
    }

    /// Returns one with the images `app:1` and `app:2` of the tree `t`.
    fn with_images() -> World {
        let world = World::new();
        world.commit("t", "app:1", &Control::default());
        sh(&world.at("t"), "head -c 100000 /dev/urandom >d/small; rm link");
        world.commit("t", "app:2", &Control::default());
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn commit(&self, tree: &str, name: &str, control: &Control) {
        commit(&self.store, &self.at(tree), Some(name), &CommitOptions::default(), control).unwrap();
    }
}

/// Does something, looks at the counters meanwhile and at its end, and gives the total.
fn ends_at_its_total(what: &str, work: impl FnOnce(&Control)) -> u64 {
    let (total, entries) = total_and_entries(what, work);
    assert!(entries > 0, "{what}: no entries");
    total
}

/// Does the same, and gives how many entries there were: a build, which has events for its steps, counts none, nor does a single file.
fn total_and_entries(what: &str, work: impl FnOnce(&Control)) -> (u64, u64) {
    let control = Control::default();
    let over = AtomicBool::new(false);
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    /// Set where the work panics as well.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut before = 0;
            while !over.load(Ordering::Relaxed) {
                let read = load(&control.counters.bytes_read);
                assert!(read >= before, "{what}: what was read became less");
                before = read;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let _over = Over(&over);
        work(&control);
    });
    let (read, total) = (load(&control.counters.bytes_read), load(&control.counters.bytes_total));
    assert_eq!(read, total, "{what}");
    (total, load(&control.counters.entries))
}

/// Returns the size that is announced before an operation has read any of it.
fn size(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

#[test]
fn trees_and_images() {
    let world = World::new();
    let store = &world.store;
    let tar = ends_at_its_total("commit", |control| world.commit("t", "app:1", control));
    assert!((8_242_880..8_300_000).contains(&tar), "the tar of the layer: {tar}");
    sh(&world.at("t"), "echo new >>a; head -c 100000 /dev/urandom >d/small; touch d/large");
    let more = ends_at_its_total("commit again", |control| world.commit("t", "app:2", control));
    assert!(more > 100_000, "{more}");
    let image = treering::image::Image::open(store, "app:2", None).unwrap();
    let blobs: u64 = image.layers().iter().map(|layer| layer.size).sum();
    let read = ends_at_its_total("unpack", |control| {
        unpack(store, "app:2", &world.at("out"), &UnpackOptions::default(), control).unwrap();
    });
    assert_eq!(read, blobs);
    ends_at_its_total("diff of a tree", |control| {
        let options = DiffOptions { compare: CompareMode::Content, ..DiffOptions::default() };
        diff_tree(Some(store), &world.at("out"), &Base::Auto, &options, control).unwrap();
    });
    ends_at_its_total("diff of trees", |control| {
        let options = DiffOptions { compare: CompareMode::Content, ..DiffOptions::default() };
        diff_trees(Some(store), &world.at("t"), &world.at("u"), &options, control).unwrap();
    });
    ends_at_its_total("checkout", |control| {
        checkout(store, "app:1", &world.at("out"), &CheckoutOptions::default(), control).unwrap();
    });
    ends_at_its_total("clone", |control| {
        clone(store, &world.at("out"), &world.at("cloned"), &CloneOptions::default(), control).unwrap();
    });
    ends_at_its_total("scan", |control| {
        scan(&Root::open(world.at("u")).unwrap(), &ScanOptions::default(), control).unwrap();
    });
    // Another store, from which the lists go that a load leaves.
    sh(world.scratch.path(), "cp -r store/oci oci");
    let other = Store::open(world.at("other")).unwrap();
    let archive = treering::archive::open_layout(&world.at("oci")).unwrap();
    ends_at_its_total("load of a layout", |control| {
        load(&other, archive, &LoadOptions::default(), control).unwrap();
    });
    sh(world.scratch.path(), "rm -r other/layers/*");
    let read = ends_at_its_total("contents", |control| {
        let image = treering::image::Image::open(&other, "app:2", None).unwrap();
        contents(&other, &image, control).unwrap();
    });
    // The layers for the list, and each file for its digest.
    let files =
        sh(&world.at("t"), "find . -type f -printf '%i %s\\n' | sort -u | awk '{n += $2} END {print n}'");
    assert_eq!(read, blobs + files.trim().parse::<u64>().unwrap());
    let all: u64 = std::fs::read_dir(world.at("store/oci/blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    let read = ends_at_its_total("fsck", |control| {
        assert!(store.fsck(FsckLevel::Bytes, control).unwrap().problems.is_empty());
    });
    assert_eq!(read, all);
}

#[test]
fn archives() {
    let world = World::new();
    let store = &world.store;
    world.commit("t", "app:1", &Control::default());
    for (format, name) in [(Format::OciArchive, "oci.tar"), (Format::DockerArchive, "docker.tar")] {
        ends_at_its_total(&format!("save {name}"), |control| {
            let mut out = File::create(world.at(name)).unwrap();
            save(store, &["app:1".into()], format, &mut out, control).unwrap();
        });
        for announced in [true, false] {
            let other = Store::open(world.at(&format!("{name}-{announced}"))).unwrap();
            let file = File::open(world.at(name)).unwrap();
            let read = ends_at_its_total(&format!("load {name}"), |control| {
                if announced {
                    control.counters.expect_stream(size(&world.at(name)));
                    assert_eq!(control.counters.bytes_total.load(Ordering::Relaxed), size(&world.at(name)));
                }
                let options = LoadOptions { names: NamePolicy::Keep, ..LoadOptions::default() };
                load(&other, Box::new(file), &options, control).unwrap();
            });
            // All of the archive, and its layers once more where they are compressed and decoded.
            assert!(read >= size(&world.at(name)), "{name}: {read}");
        }
    }
    ends_at_its_total("export", |control| {
        let mut out = File::create(world.at("flat.tar")).unwrap();
        export(store, ExportSource::Image("app:1"), &ExportOptions::default(), &mut out, control).unwrap();
    });
    ends_at_its_total("export of a tree", |control| {
        let mut out = File::create(world.at("tree.tar")).unwrap();
        export(store, ExportSource::Tree(&world.at("u")), &ExportOptions::default(), &mut out, control)
            .unwrap();
    });
    for profile in [None, Some(Profile::new(Compression::Zstd, None).unwrap())] {
        for announced in [true, false] {
            let name: Reference = "flat:1".parse().unwrap();
            let again = profile.is_some();
            let read = ends_at_its_total("import", |control| {
                if announced {
                    control.counters.expect_stream(size(&world.at("flat.tar")));
                }
                let file = File::open(world.at("flat.tar")).unwrap();
                let options = ImportOptions { profile: profile.clone(), ..ImportOptions::default() };
                import(store, Box::new(file), Some(&name), &options, control).unwrap();
            });
            assert_eq!(read, size(&world.at("flat.tar")) * if again { 2 } else { 1 });
        }
    }
}

#[test]
fn layers() {
    use treering::image::LayerSource;
    use treering::layer::LayerOptions;
    let world = World::new();
    let store = &world.store;
    world.commit("t", "app:1", &Control::default());
    let image = treering::image::Image::open(store, "app:1", None).unwrap();
    let blob = world.at(&format!("store/oci/blobs/sha256/{}", image.layers()[0].digest.hex()));
    for announced in [true, false] {
        let read = ends_at_its_total("apply", |control| {
            if announced {
                control.counters.expect_stream(size(&blob));
            }
            let (input, dir) = (File::open(&blob).unwrap(), world.at(&format!("applied-{announced}")));
            apply_layer(None, Box::new(input), &dir, &LayerApplyOptions::default(), control).unwrap();
        });
        assert_eq!(read, size(&blob));
    }
    let tar = ends_at_its_total("write", |control| {
        let diff =
            diff_trees(None, &world.at("t"), &world.at("u"), &DiffOptions::default(), control).unwrap();
        let root = Root::open(world.at("u")).unwrap();
        let changes: &[Change] = &diff.changes;
        let source = LayerSource { changes, old: diff.old.as_ref(), new: &diff.new, files: Some(&root) };
        let (options, profile) = (LayerOptions::default(), Profile::default());
        treering::image::write_layer(source, options, &profile, 0, &mut std::io::sink(), control).unwrap();
    });
    assert!(tar > 2_000_000, "{tar}");
}

#[test]
fn overlays() {
    let world = World::with_images();
    let store = &world.store;
    // An upper directory that has nothing that only an overlay has.
    sh(
        world.scratch.path(),
        "mkdir -p upper/d; head -c 1000000 /dev/urandom >upper/d/large; echo b >upper/b",
    );
    let lowers = [world.at("t")];
    ends_at_its_total("diff of an overlay", |control| {
        let options = DiffOptions { compare: CompareMode::Content, ..DiffOptions::default() };
        treering::image::diff_overlay(Some(store), world.at("upper"), &lowers, &options, control).unwrap();
    });
    ends_at_its_total("commit of an overlay", |control| {
        let options = CommitOptions {
            base: Base::Image("app:2".into()),
            lowers: lowers.to_vec(),
            ..CommitOptions::default()
        };
        commit(store, &world.at("upper"), Some("app:3"), &options, control).unwrap();
    });
}

#[test]
fn edits_and_lists() {
    let world = World::with_images();
    let store = &world.store;
    let squash = EditOptions { squash: Some(Squash::All), ..EditOptions::default() };
    ends_at_its_total("edit", |control| {
        edit(store, "app:2", Some("app:flat"), Vec::new(), &squash, control).unwrap();
    });
    let image = treering::image::Image::open(store, "app:flat", None).unwrap();
    let blob = world.at(&format!("store/oci/blobs/sha256/{}", image.layers()[0].digest.hex()));
    for announced in [true, false] {
        let read = ends_at_its_total("list", |control| {
            if announced {
                control.counters.expect_stream(size(&blob));
            }
            let input: Box<dyn std::io::Read + Send> = Box::new(File::open(&blob).unwrap());
            let decoder = Decoder::new(input, DecodeOptions::default(), control.clone()).unwrap();
            treering::layer::list(decoder, &ListOptions::default(), control).unwrap();
        });
        assert_eq!(read, size(&blob));
    }
}

#[test]
fn copies() {
    let world = World::with_images();
    let store = &world.store;
    let image = treering::image::Image::open(store, "app:2", None).unwrap();
    let options = LayerApplyOptions::default();
    for (path, to) in [("/d/large", "file"), ("/", "directory")] {
        total_and_entries(&format!("copy of {path} out of an image"), |control| {
            let files = ImageFiles::open(store, &image, control).unwrap();
            let entry = files.resolve(path).unwrap();
            copy_out(&files, entry, path.as_bytes(), world.at(to), &options, control).unwrap();
        });
        total_and_entries(&format!("copy of {path} out of a tree"), |control| {
            let files = TreeFiles::open(Some(store), &world.at("t"), control).unwrap();
            let entry = files.resolve(path).unwrap();
            let to = world.at(&format!("{to}-of-a-tree"));
            copy_out(&files, entry, path.as_bytes(), to, &options, control).unwrap();
        });
    }
}

#[test]
fn copies_into_a_tree() {
    let world = World::with_images();
    let (store, options) = (&world.store, LayerApplyOptions::default());
    unpack(store, "app:1", &world.at("work"), &UnpackOptions::default(), &Control::default()).unwrap();
    ends_at_its_total("copy into a tree", |control| {
        let files = TreeFiles::open(None, &world.at("u"), control).unwrap();
        let target = CopyTarget { path: b"/e".to_vec(), name: b"u".to_vec() };
        copy_in(&files, 0, Some(store), &world.at("work"), &target, &options, control).unwrap();
    });
}

#[test]
fn builds() {
    let world = World::with_images();
    let store = &world.store;
    total_and_entries("build", |control| {
        let options = BuildOptions {
            context: ContextSource::Directory(world.at("u")),
            dockerfile: DockerfileSource::Text("FROM app:1\nCOPY d /d\nCOPY a /b\n".into()),
            tags: vec!["built".into()],
            ..BuildOptions::default()
        };
        build(store, &options, control).unwrap();
    });
}
