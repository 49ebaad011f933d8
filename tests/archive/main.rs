//! Archives: what is saved loads again anywhere, what others wrote loads, and what is hostile does not.
#![allow(clippy::disallowed_methods)]

mod hostile;
mod images;
mod oracles;
mod trees;

use std::io::Cursor;
use std::path::Path;

use support::Scratch;
use treering::archive::{Format, LoadOptions, Loaded, NamePolicy, load, save};
use treering::compress::{Compression, Profile};
use treering::image::{Base, CommitOptions, Committed, commit};
use treering::store::Store;
use treering::{Control, ErrorKind, Result};

fn store(scratch: &Scratch, name: &str) -> Store {
    Store::open(scratch.join(name)).unwrap()
}

/// Puts a few files of all kinds into a directory.
fn grow(tree: &Path) {
    std::fs::create_dir_all(tree.join("etc/deep")).unwrap();
    std::fs::write(tree.join("etc/motd"), "hello\n").unwrap();
    std::fs::write(tree.join("etc/deep/large"), vec![7; 3 << 20]).unwrap();
    std::fs::write(tree.join("empty"), "").unwrap();
    std::fs::hard_link(tree.join("etc/motd"), tree.join("motd")).unwrap();
    std::os::unix::fs::symlink("etc/motd", tree.join("link")).unwrap();
}

fn commit_as(store: &Store, tree: &Path, name: &str, base: Base, compression: Compression) -> Committed {
    let options = CommitOptions {
        base,
        profile: Profile::new(compression, None).unwrap(),
        created: Some(1_700_000_000),
        changes: vec!["CMD [\"/bin/sh\"]".into()],
        ..CommitOptions::default()
    };
    commit(store, tree, Some(name), &options, &Control::default()).unwrap()
}

/// Returns an image of two layers, `app:v1`, and one of the first of them, `base:v1`.
fn two_layers(store: &Store, scratch: &Scratch, compression: Compression) -> Committed {
    let tree = scratch.dir("tree");
    if !tree.join("etc").exists() {
        grow(&tree);
    }
    commit_as(store, &tree, "base:v1", Base::Scratch, compression);
    std::fs::write(tree.join("etc/motd"), "changed\n").unwrap();
    let _ = std::fs::remove_file(tree.join("empty"));
    let committed = commit_as(store, &tree, "app:v1", Base::Image("base:v1".into()), compression);
    // The next call starts from the same tree.
    std::fs::write(tree.join("empty"), "").unwrap();
    std::fs::write(tree.join("etc/motd"), "hello\n").unwrap();
    committed
}

fn save_bytes(store: &Store, names: &[&str], format: Format) -> Result<Vec<u8>> {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut out = Vec::new();
    save(store, &names, format, &mut out, &Control::default())?;
    Ok(out)
}

fn load_bytes(store: &Store, bytes: &[u8]) -> Result<Vec<Loaded>> {
    load(store, Box::new(Cursor::new(bytes.to_vec())), &LoadOptions::default(), &Control::default())
}

#[test]
fn what_is_saved_loads_as_the_same_image() {
    let scratch = Scratch::new();
    let from = store(&scratch, "from");
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let app = two_layers(&from, &scratch, compression);
        let base = from.resolve("base:v1").unwrap();
        for format in [Format::DockerArchive, Format::OciArchive] {
            let what = format!("{compression} {format}");
            let bytes = save_bytes(&from, &["app:v1", "base:v1"], format).unwrap();
            assert_eq!(bytes, save_bytes(&from, &["app:v1", "base:v1"], format).unwrap(), "{what}");
            let to = store(&scratch, &format!("to-{compression}-{format}"));
            let loaded = load_bytes(&to, &bytes).unwrap();
            let names: Vec<String> =
                loaded.iter().map(|one| one.name.as_ref().unwrap().to_string()).collect();
            assert_eq!(names, ["app:v1", "base:v1"], "{what}");
            assert_eq!(loaded[0].image_id, app.image_id, "{what}");
            // Docker before 23 reads no zstd, so those layers become other blobs, and the manifest another one.
            if (compression, format) != (Compression::Zstd, Format::DockerArchive) {
                assert_eq!(loaded[0].manifest, app.manifest, "{what}");
                assert_eq!(loaded[1].manifest.to_string(), base.descriptor.digest().to_string(), "{what}");
            }
            // All of it is there and whole, and saving it again gives the same bytes.
            let report = to.fsck(treering::store::FsckLevel::Bytes, &Control::default()).unwrap();
            assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
            assert_eq!(bytes, save_bytes(&to, &["app:v1", "base:v1"], format).unwrap(), "{what}");
            assert_eq!(load_bytes(&to, &bytes).unwrap(), loaded, "{what}: loading twice changes nothing");
            images::same_tree(&from, "app:v1", &to, "app:v1", &scratch);
        }
    }
}

#[test]
fn an_archive_may_be_compressed_as_a_whole() {
    let scratch = Scratch::new();
    let from = store(&scratch, "from");
    let app = two_layers(&from, &scratch, Compression::Gzip);
    let bytes = save_bytes(&from, &["app:v1"], Format::DockerArchive).unwrap();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let to = store(&scratch, &format!("to-{compression}"));
        let packed = trees::compress(&bytes, compression);
        assert_eq!(load_bytes(&to, &packed).unwrap()[0].manifest, app.manifest);
        let error = load_bytes(&to, &packed[..packed.len() - 5]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    for program in ["xz", "bzip2"] {
        let Some(packed) = support::tools::packed(program, &bytes) else { continue };
        assert_eq!(load_bytes(&store(&scratch, program), &packed).unwrap()[0].manifest, app.manifest);
    }
    let error = load_bytes(&store(&scratch, "lz4"), b"\x04\x22\x4d\x18\0\0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().is_some());
}

#[test]
fn names_move_only_when_asked_to() {
    let scratch = Scratch::new();
    let (from, to) = (store(&scratch, "from"), store(&scratch, "to"));
    let app = two_layers(&from, &scratch, Compression::Gzip);
    let bytes = save_bytes(&from, &["base:v1", "app:v1"], Format::OciArchive).unwrap();
    let tree = scratch.dir("other");
    std::fs::write(tree.join("file"), "other").unwrap();
    let other = commit_as(&to, &tree, "app:v1", Base::Scratch, Compression::None);
    let names = |store: &Store| store.refs().unwrap().iter().map(|r| r.name.to_string()).collect::<Vec<_>>();

    let error = load_bytes(&to, &bytes).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::AlreadyExists, Some(&b"app:v1"[..])));
    assert_eq!(names(&to), ["app:v1"], "not even the other name is given");
    assert_eq!(to.resolve("app:v1").unwrap().descriptor.digest().to_string(), other.manifest.to_string());

    let run = |names| {
        let options = LoadOptions { names, ..LoadOptions::default() };
        load(&to, Box::new(Cursor::new(bytes.clone())), &options, &Control::default()).unwrap()
    };
    let untagged = run(NamePolicy::Ignore);
    assert!(untagged.iter().all(|one| one.name.is_none()) && untagged.len() == 2);
    assert_eq!(names(&to), ["app:v1"]);
    assert_eq!(run(NamePolicy::Move).len(), 2);
    assert_eq!(to.resolve("app:v1").unwrap().descriptor.digest().to_string(), app.manifest.to_string());
}

#[test]
fn blobs_that_images_share_are_saved_once_and_by_any_name() {
    let scratch = Scratch::new();
    let from = store(&scratch, "from");
    let app = two_layers(&from, &scratch, Compression::None);
    let one = save_bytes(&from, &["app:v1"], Format::OciArchive).unwrap();
    let both = save_bytes(&from, &["app:v1", "base:v1"], Format::OciArchive).unwrap();
    assert!(both.len() - one.len() < 16 << 10, "{} {}", one.len(), both.len());
    // By id there is no name; the same image twice is one image.
    let id = app.image_id.to_string();
    for format in [Format::DockerArchive, Format::OciArchive] {
        let to = store(&scratch, &format!("to-{format}"));
        let loaded = load_bytes(&to, &save_bytes(&from, &[&id, &id[7..20]], format).unwrap()).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!((loaded[0].name.clone(), loaded[0].image_id), (None, app.image_id));
    }
    let error = save_bytes(&from, &["nothing:here"], Format::OciArchive).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(save_bytes(&from, &[], Format::OciArchive).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn damage_in_the_store_is_not_passed_on() {
    let scratch = Scratch::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let from = store(&scratch, &format!("from-{compression}"));
        let app = two_layers(&from, &scratch, compression);
        let path = format!("oci/blobs/sha256/{}", app.layer.unwrap().digest.hex());
        let mut blob = from.dir().read(&path).unwrap();
        let middle = blob.len() / 2;
        blob[middle] ^= 1;
        from.dir().write(&path, &blob).unwrap();
        for format in [Format::DockerArchive, Format::OciArchive] {
            let error = save_bytes(&from, &["app:v1"], format).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{compression} {format}: {error}");
        }
        from.dir().remove_file(&path).unwrap();
        for format in [Format::DockerArchive, Format::OciArchive] {
            let error = save_bytes(&from, &["app:v1"], format).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{compression} {format}: {error}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_save() {
    struct Pipe(usize);
    impl std::io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let scratch = Scratch::new();
    let from = store(&scratch, "from");
    two_layers(&from, &scratch, Compression::None);
    for room in [0, 1 << 20, 2 << 20] {
        let names = ["app:v1".to_string()];
        let error = save(&from, &names, Format::OciArchive, &mut Pipe(room), &Control::default());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Io);
    }
    let control = Control::default();
    control.cancel.cancel();
    let error = save(&from, &["app:v1".into()], Format::OciArchive, &mut Vec::new(), &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
