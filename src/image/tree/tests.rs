//! Trees on filesystems with changing numbers.

use super::*;
use crate::fs::Kind;
use crate::fs::generation::generation;
use crate::image::{Base, CommitOptions, DiffOptions, commit, diff_tree, lost_trees};
use crate::progress::Control;
use crate::tree::ledger;
use crate::tree::scan::scan;

fn record_of(root: &Root, name: &[u8], ino_offset: u64) -> ledger::Record {
    let name = crate::fs::root::c_name(name).unwrap();
    let stat = crate::fs::stat::stat_at(root, &name).unwrap();
    ledger::Record {
        path: name.to_bytes().to_vec(),
        dev: stat.dev,
        ino: stat.ino + ino_offset,
        generation: generation(root, &name, &stat).unwrap(),
        disk_mode: stat.mode,
        kind: Kind::File,
        mode: 0o4755,
        uid: 7,
        gid: 8,
        rdev: (0, 0),
        xattrs: Vec::new(),
    }
}

#[test]
fn the_ledger_is_that_of_the_tree_as_it_is_now() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path().join("store")).unwrap();
    let path = temp.path().join("tree");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("file"), "x").unwrap();
    let root = Root::open(&path).unwrap();
    let mut owners = Owners::default();
    owners.ledger.insert(record_of(&root, b"file", 0));
    owners.ledger.insert(record_of(&root, b"file", 1 << 40));
    let snapshot = scan(&root, &owners.scan_options(), &Control::default()).unwrap().snapshot;
    let open = || Tree::open(&store, &root).unwrap();
    let manifest = Digest::of(b"manifest");
    let seal = |owners: &Owners| {
        let tree = open();
        tree.stage(owners, Some(&snapshot)).unwrap().seal(&tree, manifest, None).unwrap()
    };
    let known = || Some(open()).filter(Tree::is_bound).map(|tree| tree.owners.ledger.len());
    drop(seal(&owners));
    assert_eq!(known(), None, "nothing took effect");
    let key = seal(&owners).publish().unwrap();
    assert_eq!(known(), Some(1), "the file that is gone went");
    assert_eq!((store.trees().unwrap(), open().image()), (vec![key], Some(&manifest)));
    drop(seal(&Owners::default()));
    assert_eq!(known(), Some(1));
    open().bind(manifest, None, &Owners::default(), Some(&snapshot)).unwrap();
    assert_eq!(known(), Some(0), "what was known of another life is no longer there");
    open().replace_ledger(&owners.ledger).unwrap();
    assert_eq!(known(), Some(2));
    assert!(std::fs::read_dir(temp.path().join("store/tmp")).unwrap().next().is_none(), "nothing is left");
}

#[test]
fn a_tree_that_looks_like_another_is_known_where_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path().join("store")).unwrap();
    let (path, moved) = (temp.path().join("tree"), temp.path().join("moved"));
    std::fs::create_dir(&path).unwrap();
    let root = Root::open(&path).unwrap();
    let id = TreeId::of(&root).unwrap();
    assert_eq!(TreeId::parse(&id.key()), Some(id));
    let owners = Owners::default();
    let snapshot = scan(&root, &owners.scan_options(), &Control::default()).unwrap().snapshot;
    let tree = Tree::open(&store, &root).unwrap();
    tree.bind(Digest::of(b"manifest"), None, &owners, Some(&snapshot)).unwrap();
    let read = |root: &Root, certain: bool| {
        let found = record::find(&store, root, id).unwrap();
        assert!(found.is_some());
        Tree::read(&store, root, id, found, certain).map(drop)
    };
    // By another way to the same directory.
    std::os::unix::fs::symlink("tree", temp.path().join("link")).unwrap();
    for way in ["tree", "link", "tree/."] {
        let root = Root::open(temp.path().join(way)).unwrap();
        assert!(read(&root, false).is_ok(), "{way}");
    }
    std::fs::rename(&path, &moved).unwrap();
    let root = Root::open(&moved).unwrap();
    assert!(read(&root, true).is_ok(), "a tree may be renamed");
    let error = read(&root, false).unwrap_err();
    assert!(matches!(error.hint(), Some(Hint::ForgetTree { .. })), "{error}");
}

/// The filesystem of a tree is mounted again and has another device number: here the record says so, since only root
/// can mount. The owner of a file comes from the ledger alone, and the scan reads no file again.
#[test]
fn a_tree_is_known_when_its_device_has_another_number() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path().join("store")).unwrap();
    let tree = temp.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("f"), "content").unwrap();
    let (control, options) = (Control::default(), CommitOptions::default());
    commit(&store, &tree, Some("app:v1"), &options, &control).unwrap();
    let root = Root::open(&tree).unwrap();
    let mut bound = Tree::open(&store, &root).unwrap();
    bound.owners.ledger.insert(record_of(&root, b"f", 0));
    let image = *bound.image().unwrap();
    bound.bind(image, Some("app:v1"), &bound.owners, bound.index.as_ref()).unwrap();
    std::fs::write(tree.join("f"), "changed").unwrap();
    commit(&store, &tree, Some("app:v2"), &options, &control).unwrap();

    // The record as another device number would have made it.
    let id = TreeId::of(&root).unwrap();
    let (dev, key) = (id.device, id.key());
    let other = TreeId { device: dev + 1, ..id }.key();
    let bound = Tree::open(&store, &root).unwrap();
    let index = bound.index.as_ref().unwrap().renumbered(dev, dev + 1);
    let containers = temp.path().join("store/containers");
    let config = containers.join(&key).join("config.json");
    let mut record: TreeRecord = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    record.index = index.checksum();
    std::fs::write(&config, serde_json::to_vec(&record).unwrap()).unwrap();
    std::fs::write(containers.join(&key).join("index"), index.as_bytes()).unwrap();
    let ledger = ledger_on(&bound.owners.ledger, dev, dev + 1);
    std::fs::write(containers.join(&key).join("ledger"), ledger.to_bytes()).unwrap();
    std::fs::rename(containers.join(&key), containers.join(&other)).unwrap();

    let diff = || diff_tree(Some(&store), &tree, &Base::Auto, &DiffOptions::default(), &control).unwrap();
    let owner = |diff: &crate::image::TreeDiff| {
        let file = diff.new.meta(diff.new.lookup(b"f").unwrap());
        (file.mode, file.uid, file.gid)
    };
    assert!(diff().changes.is_empty());
    assert_eq!(owner(&diff()), (0o4755, 7, 8), "by the index");
    std::fs::write(tree.join("f"), "once more").unwrap();
    assert_eq!((diff().changes.len(), owner(&diff())), (1, (0o4755, 7, 8)), "by the ledger");
    assert_eq!(Tree::open(&store, &root).unwrap().former_image().unwrap(), None);
    assert!(lost_trees(&store).unwrap().is_empty());
    assert!(commit(&store, &tree, Some("app:v3"), &options, &control).is_ok());
    assert_eq!(store.trees().unwrap(), [key]);
    // At another path it would be a copy.
    std::fs::rename(containers.join(&store.trees().unwrap()[0]), containers.join(&other)).unwrap();
    std::fs::rename(&tree, temp.path().join("copy")).unwrap();
    let copy = Root::open(temp.path().join("copy")).unwrap();
    assert!(!Tree::open(&store, &copy).unwrap().is_bound());
    // A filesystem that is not mounted: nothing lies at the path, and what lies above is on another device.
    assert!(lost_trees(&store).unwrap().is_empty());
    std::fs::rename(containers.join(&other), containers.join(TreeId::of(&root).unwrap().key())).unwrap();
    assert_eq!(lost_trees(&store).unwrap().len(), 1);
}
