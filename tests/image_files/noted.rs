//! Writes, imports and loads leave notes, so that the first look need not read the layers.

use std::collections::BTreeMap;
use std::path::Path;

use treering::archive::{Format, ImportOptions, LoadOptions, import, load, save};
use treering::compress::{Compression, Profile};
use treering::image::{
    Base, CommitOptions, DiffOptions, EditOptions, Image, ImageFiles, Squash, UnpackOptions, commit,
    contents, diff_image, edit, unpack,
};
use treering::store::Store;
use treering::tree::Snapshot;
use treering::{Control, ErrorKind};

use super::{HOW, Tree, bytes, forget, known, packed, tar, tree};

/// Returns the entries of a list, in their order. How its inodes are numbered depends on the list it was begun with.
fn entries(list: &[u8]) -> Vec<String> {
    let list = Snapshot::from_bytes(list.to_vec()).unwrap();
    let describe = |at: u32| {
        let meta = treering::tree::Meta { ino: 0, ..list.meta(at) };
        let (path, leader) = (list.path(at), list.path(list.leader(at)));
        let (target, xattrs) = (list.link_target(at), list.xattrs(at));
        format!("{path:?} {leader:?} {target:?} {meta:?} {xattrs:?} {:?}", list.place(at))
    };
    (0..list.len()).map(describe).collect()
}

/// Compares what the store has of an image with what looking at it makes, and looks at it without its layers.
fn as_if_looked_at(root: &Path, name: &str, how: &str) {
    let store = Store::open(root).unwrap();
    let control = Control::default();
    let image = Image::open(&store, name, None).unwrap();
    let noted = known(root);
    forget(root);
    // Of every stack of layers there is a list: made one by one, since a look makes the topmost alone.
    contents(&store, &image, &control).unwrap();
    let looked = known(root);
    assert!(looked.len() > image.layers().len(), "{how}: {:?}", looked.keys());
    for (name, bytes) in &looked {
        let noted = noted.get(name).unwrap_or_else(|| panic!("{how}: no {name}"));
        match name.starts_with("index-") {
            true => assert!(noted == bytes, "{how}: {name}"),
            false => assert_eq!(entries(noted), entries(bytes), "{how}"),
        }
    }
    let blobs = root.join("oci/blobs/sha256");
    for layer in image.layers() {
        std::fs::rename(blobs.join(layer.digest.hex()), root.join(layer.digest.hex())).unwrap();
    }
    let files = ImageFiles::open(&store, &image, &control).unwrap();
    assert!(files.list().len() > 2, "{how}");
    // Images are compared by their lists alone.
    let (one, other) = (Some(name), name);
    let diff = diff_image(&store, one, other, &DiffOptions::default(), &control).unwrap();
    assert!(diff.changes.is_empty(), "{how}");
    for layer in image.layers() {
        std::fs::rename(root.join(layer.digest.hex()), blobs.join(layer.digest.hex())).unwrap();
    }
}

/// Makes a directory in which there is something of everything, with a large file.
fn everything(dir: &Path) {
    std::fs::create_dir(dir).unwrap();
    for (path, content) in tree() {
        std::fs::create_dir_all(dir.join(&path).parent().unwrap()).unwrap();
        std::fs::write(dir.join(path), content).unwrap();
    }
    let script = "ln big twice; ln -s big link; truncate -s 3M hole; printf end >>hole; mkfifo pipe; touch -d @1.5 d0/f0";
    let mut sh = std::process::Command::new("sh");
    assert!(sh.args(["-euc", script]).current_dir(dir).status().unwrap().success());
}

#[test]
fn a_commit_leaves_the_list_and_the_index() {
    for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
        let temp = tempfile::tempdir().unwrap();
        let (root, work, control) = (temp.path().join("store"), temp.path().join("work"), Control::default());
        let store = Store::open(&root).unwrap();
        everything(&work);
        let profile = Profile::new(compression, None).unwrap();
        let options =
            CommitOptions { profile: profile.clone(), base: Base::Scratch, ..CommitOptions::default() };
        commit(&store, &work, Some("app:1"), &options, &control).unwrap();
        as_if_looked_at(&root, "app:1", compression.name());
        let script =
            "rm -r d3; echo file >d3; rm d0/f0; mv d1/big d1/moved; chmod 4755 d2/last; echo more >>big";
        let mut sh = std::process::Command::new("sh");
        assert!(sh.args(["-euc", script]).current_dir(&work).status().unwrap().success());
        let options = CommitOptions { profile, ..CommitOptions::default() };
        commit(&store, &work, Some("app:2"), &options, &control).unwrap();
        as_if_looked_at(&root, "app:2", compression.name());
        // Squashed, and with a layer on top that comes from elsewhere.
        let layer = packed(&tar(&Tree::from([("x/new".into(), bytes(5, 70_000))])), "gzip");
        let options = EditOptions { squash: Some(Squash::All), ..EditOptions::default() };
        edit(&store, "app:2", Some("app:3"), Vec::new(), &options, &control).unwrap();
        as_if_looked_at(&root, "app:3", compression.name());
        let layer = Box::new(std::io::Cursor::new(layer));
        edit(&store, "app:3", Some("app:4"), vec![layer], &EditOptions::default(), &control).unwrap();
        as_if_looked_at(&root, "app:4", compression.name());
    }
}

#[test]
fn an_import_leaves_the_list_and_the_index() {
    let tar = tar(&tree());
    let profile = Profile::new(Compression::Gzip, None).unwrap();
    let ways = HOW.iter().map(|how| (*how, None)).chain([("plain", Some(profile))]);
    for (how, profile) in ways {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let input = Box::new(std::io::Cursor::new(packed(&tar, how)));
        let options = ImportOptions { profile, ..ImportOptions::default() };
        import(&store, input, Some(&"app:1".parse().unwrap()), &options, &Control::default()).unwrap();
        as_if_looked_at(temp.path(), "app:1", how);
    }
}

#[test]
fn a_load_leaves_the_lists_and_the_indexes() {
    let control = Control::default();
    for (how, format) in
        [("gzip", Format::OciArchive), ("ours-zstd", Format::OciArchive), ("plain", Format::DockerArchive)]
    {
        let temp = tempfile::tempdir().unwrap();
        let (store, _) = super::store_with(&temp.path().join("from"), &packed(&tar(&tree()), how));
        let work = temp.path().join("work");
        unpack(&store, "app:1", &work, &UnpackOptions::default(), &control).unwrap();
        std::fs::write(work.join("new"), bytes(9, 40_000)).unwrap();
        commit(&store, &work, Some("app:2"), &CommitOptions::default(), &control).unwrap();
        let mut archive = Vec::new();
        let names = ["app:1".to_string(), "app:2".to_string()];
        save(&store, &names, format, &mut archive, &control).unwrap();
        let root = temp.path().join("to");
        let other = Store::open(&root).unwrap();
        let load = |archive: Vec<u8>| {
            load(&other, Box::new(std::io::Cursor::new(archive)), &LoadOptions::default(), &control)
        };
        load(archive.clone()).unwrap();
        let noted: BTreeMap<_, _> = known(&root);
        assert_eq!(noted.len(), 4, "{how}: two lists and two indexes: {:?}", noted.keys());
        for name in ["app:1", "app:2"] {
            as_if_looked_at(&root, name, how);
            // What was taken away to look is there again.
            for (name, bytes) in &noted {
                let path = root.join("layers").join(name);
                std::fs::write(if path.is_dir() { path.join("list") } else { path }, bytes).unwrap();
            }
        }
        // An archive that is refused leaves nothing of the kind.
        let root = temp.path().join("refused");
        let refusing = Store::open(&root).unwrap();
        let half = archive[..archive.len() / 2].to_vec();
        let input = Box::new(std::io::Cursor::new(half));
        let error = treering::archive::load(&refusing, input, &LoadOptions::default(), &control).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(known(&root).is_empty());
    }
}

#[test]
fn a_small_change_to_a_large_tree_leaves_the_list_to_the_first_look() {
    let temp = tempfile::tempdir().unwrap();
    let (root, work, control) = (temp.path().join("store"), temp.path().join("work"), Control::default());
    let store = Store::open(&root).unwrap();
    for d in 0..20 {
        std::fs::create_dir_all(work.join(d.to_string())).unwrap();
        for f in 0..150 {
            std::fs::write(work.join(format!("{d}/{f}-{}", "long".repeat(10))), f.to_string()).unwrap();
        }
    }
    commit(&store, &work, Some("app:1"), &CommitOptions::default(), &control).unwrap();
    let before = known(&root);
    assert_eq!(before.len(), 2);
    std::fs::write(work.join("0/new"), "new").unwrap();
    commit(&store, &work, Some("app:2"), &CommitOptions::default(), &control).unwrap();
    assert_eq!(known(&root).len(), before.len() + 1, "an index, and no list");
    let image = Image::open(&store, "app:2", None).unwrap();
    // The layers below it are not read for it.
    let blobs = root.join("oci/blobs/sha256");
    std::fs::remove_file(blobs.join(image.layers()[0].digest.hex())).unwrap();
    assert!(ImageFiles::open(&store, &image, &control).unwrap().resolve("0/new").is_ok());
    assert_eq!(known(&root).len(), before.len() + 2);
}
