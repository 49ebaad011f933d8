//! A store that is kept without indexes of layers.

use std::path::Path;

use treering::Control;
use treering::archive::{Format, LoadOptions, load, save};
use treering::image::{
    CheckoutOptions, CommitOptions, EditOptions, Image, UnpackOptions, checkout, commit, contents, edit,
    unpack,
};
use treering::store::{FsckLevel, Limits, Store};

use super::{HOW, Tree, bytes, check, forget, imported, index_path, packed, small_tree, tar};

fn unindexed(root: &Path) -> Store {
    let mut limits = Limits::default();
    limits.layer_indexes = false;
    Store::open_with(root, limits).unwrap()
}

fn indexes(store: &Store) -> u64 {
    let usage = store.usage(&Control::default()).unwrap();
    assert!(usage.layer_bytes > usage.index_bytes, "there are lists");
    usage.index_bytes
}

#[test]
fn a_store_without_indexes_gives_the_same_files() {
    let (tree, control) = (small_tree(), Control::default());
    for how in HOW {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("store");
        let store = unindexed(&root);
        let image = imported(&store, &packed(&tar(&tree), how));
        check(&store, &image, &tree);
        let listed = contents(&store, &image, &control).unwrap();

        // Whatever else reads or writes a layer makes none either.
        let work = temp.path().join("work");
        unpack(&store, "app:1", &work, &UnpackOptions::default(), &control).unwrap();
        std::fs::write(work.join("new"), bytes(9, 40_000)).unwrap();
        commit(&store, &work, Some("app:2"), &CommitOptions::default(), &control).unwrap();
        let layer = packed(&tar(&Tree::from([("x/new".into(), bytes(5, 70_000))])), how);
        let layer = Box::new(std::io::Cursor::new(layer));
        edit(&store, "app:2", Some("app:3"), vec![layer], &EditOptions::default(), &control).unwrap();
        checkout(&store, "app:3", &work, &CheckoutOptions::default(), &control).unwrap();
        assert!(std::fs::read(work.join("x/new")).unwrap() == bytes(5, 70_000), "{how}");
        forget(&root);
        check(&store, &image, &tree);
        let again = contents(&store, &image, &control).unwrap();
        assert!(listed.as_bytes() == again.as_bytes(), "{how}");
        assert_eq!(indexes(&store), 0, "{how}");
        let report = store.fsck(FsckLevel::Bytes, &control).unwrap();
        assert!(report.problems.is_empty(), "{how}: {:?}", report.problems);

        // What comes as an archive is no exception, and has its lists all the same.
        let mut archive = Vec::new();
        save(&store, &["app:3".into()], Format::OciArchive, &mut archive, &control).unwrap();
        let other = unindexed(&temp.path().join("other"));
        load(&other, Box::new(std::io::Cursor::new(archive)), &LoadOptions::default(), &control).unwrap();
        assert_eq!(indexes(&other), 0, "{how}");
    }
}

#[test]
fn a_store_without_indexes_uses_those_that_are_there_and_replaces_none() {
    let (tree, temp) = (small_tree(), tempfile::tempdir().unwrap());
    let store = Store::open(temp.path()).unwrap();
    let image = imported(&store, &packed(&tar(&tree), "gzip"));
    let path = index_path(temp.path(), &image);
    let index = std::fs::read(&path).unwrap();
    let without = unindexed(temp.path());
    check(&without, &image, &tree);
    assert_eq!(std::fs::read(&path).unwrap(), index);
    // A damaged one is of no use, and stays for fsck to report.
    std::fs::write(&path, &index[..index.len() / 2]).unwrap();
    check(&without, &image, &tree);
    assert_eq!(std::fs::read(&path).unwrap(), index[..index.len() / 2]);
    std::fs::remove_file(&path).unwrap();
    check(&without, &image, &tree);
    assert!(!path.exists());
    // The next store that keeps them makes it again.
    check(&Store::open(temp.path()).unwrap(), &Image::open(&store, "app:1", None).unwrap(), &tree);
    assert_eq!(std::fs::read(&path).unwrap(), index);
}
