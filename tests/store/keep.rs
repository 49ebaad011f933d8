//! prune, fsck and df: what is kept, found and added up.

use std::collections::BTreeMap;

use serde_json::json;
use treering::image::{
    ManifestOptions, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, new_index, new_manifest,
};
use treering::store::{
    BindingFile, BlobInfo, Descriptor, FsckLevel, LayerInfo, Limits, ProblemKind, PruneOptions, Store,
    descriptor,
};
use treering::{Control, Digest, ErrorKind};

use crate::world::{digest, name, problems, put_image, tag_image};

fn put_index(store: &Store, manifests: &[Descriptor]) -> Descriptor {
    let bytes = new_index(manifests, &BTreeMap::new()).unwrap();
    descriptor(OCI_INDEX, &store.put_blob(&bytes).unwrap())
}

fn info(descriptor: &Descriptor) -> BlobInfo {
    BlobInfo { digest: digest(descriptor), size: descriptor.size() }
}

fn prune(store: &Store) -> Vec<Digest> {
    store.prune(&PruneOptions::default(), &Control::default()).unwrap().blobs
}

#[test]
fn prune_follows_every_reference() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    // An index in an index, and a manifest about another manifest.
    let inner = put_index(&store, &[put_image(&store, "arm", "linux/arm64").unwrap()]);
    let outer = put_index(&store, &[put_image(&store, "amd", "linux/amd64").unwrap(), inner]);
    store.tag(&name("multi"), &outer).unwrap();
    let about = put_image(&store, "signed", "linux/amd64").unwrap();
    let config = descriptor(OCI_CONFIG, &store.put_blob(b"{}").unwrap());
    let options = ManifestOptions { subject: Some(about), ..ManifestOptions::default() };
    let signature = store.put_blob(&new_manifest(&config, &[], &options).unwrap()).unwrap();
    store.tag(&name("signature"), &descriptor(OCI_MANIFEST, &signature)).unwrap();
    // A tree made from an image that lost its name, one made from an image known by its id only.
    let of_tree = put_image(&store, "of a tree", "linux/amd64").unwrap();
    let config_json = json!({ "base": { "manifest": digest(&of_tree) } }).to_string();
    store.bind_tree("1-2-3").unwrap().replace(BindingFile::Config, config_json.as_bytes()).unwrap();
    let by_id = put_image(&store, "by id", "linux/amd64").unwrap();
    let document = store.read_document(&by_id).unwrap();
    let layer = Digest::of(b"by id");
    let info = LayerInfo {
        diff_id: layer,
        digest: layer,
        size: 5,
        media_type: "application/x".into(),
        diff_size: None,
    };
    store.put_layer_info(&info).unwrap();
    let config_json = json!({ "image": digest(document.config().unwrap()) }).to_string();
    store.bind_tree("4-5-6").unwrap().replace(BindingFile::Config, config_json.as_bytes()).unwrap();
    // What nothing needs: the manifest of "by id", and a stray blob that the options name.
    let kept = store.put_blob(b"kept by the caller").unwrap().digest;

    let options = PruneOptions { keep: vec![kept], ..PruneOptions::default() };
    let report = store.prune(&options, &Control::default()).unwrap();
    assert_eq!(report.blobs, [digest(&by_id)]);
    assert!(report.layers.is_empty());
    assert_eq!(problems(&store), [""; 0]);
    assert_eq!(prune(&store), [kept]);

    store.unbind("1-2-3").unwrap();
    store.unbind("4-5-6").unwrap();
    let report = store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    assert_eq!(report.blobs.len(), 3 + 2);
    assert_eq!(report.layers, [layer]);
    assert_eq!(store.diff_id_for_blob(&layer).unwrap(), None);
    store.untag(&name("multi")).unwrap();
    assert_eq!(prune(&store).len(), 2 + 6);
    store.untag(&name("signature")).unwrap();
    assert_eq!(prune(&store).len(), 1 + 1 + 3);
    assert_eq!(store.dir().read_dir("oci/blobs/sha256").unwrap().count(), 0);
}

/// What one image calls a layer or a configuration may be another one's manifest.
#[test]
fn prune_keeps_what_another_image_misnames() {
    let layer = |victim: &Descriptor| descriptor(OCI_LAYER, &info(victim));
    let artifact = |victim: &Descriptor| descriptor("application/vnd.example+json", &info(victim));
    type Disguise = fn(&Descriptor) -> Descriptor;
    let disguises: [(&str, Disguise); 2] = [("layer", layer), ("artifact", artifact)];
    for (what, disguise) in disguises {
        for as_config in [false, true] {
            for before in [false, true] {
                let temp = tempfile::tempdir().unwrap();
                let store = Store::open(temp.path()).unwrap();
                let victim = put_image(&store, "victim", "linux/amd64").unwrap();
                let misnamed = disguise(&victim);
                let other = descriptor(OCI_CONFIG, &store.put_blob(b"{}").unwrap());
                let (config, layers) = match as_config {
                    true => (misnamed, vec![other]),
                    false => (other, vec![misnamed]),
                };
                let bytes = new_manifest(&config, &layers, &ManifestOptions::default()).unwrap();
                let foreign = descriptor(OCI_MANIFEST, &store.put_blob(&bytes).unwrap());
                let mut images = [("victim:v1", &victim), ("foreign", &foreign)];
                if before {
                    images.reverse();
                }
                for (text, image) in images {
                    store.tag(&name(text), image).unwrap();
                }
                assert_eq!(prune(&store), [], "{what}, {as_config}, {before}");
                assert_eq!(problems(&store), [""; 0]);
            }
        }
    }
}

/// What a tree was made from is kept under smaller caps too, or prune says that it cannot be decided.
#[test]
fn prune_stops_at_a_document_over_the_caps() {
    let caps: [(&str, fn(&mut Limits)); 3] = [
        ("json_bytes", |limits| limits.json_bytes = 200),
        ("json_depth", |limits| limits.json_depth = 2),
        ("layers", |limits| limits.layers = 0),
    ];
    for (what, lower) in caps {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let image = put_image(&store, "of a tree", "linux/amd64").unwrap();
        let record = json!({ "manifest": digest(&image) }).to_string();
        store.bind_tree("1-2-3").unwrap().replace(BindingFile::Config, record.as_bytes()).unwrap();
        let mut limits = Limits::default();
        lower(&mut limits);
        let small = Store::open_with(temp.path(), limits).unwrap();
        let error = small.prune(&PruneOptions::default(), &Control::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{what}");
        assert!(error.hint().is_some(), "{what}");
        assert_eq!(prune(&store), [], "{what}: nothing was removed, and nothing is unneeded");
    }
    // A layer of any size is no document, by whatever name it is kept.
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    let large = store.put_blob(&[b'x'; 1000]).unwrap().digest;
    let mut limits = Limits::default();
    limits.json_bytes = 200;
    let small = Store::open_with(temp.path(), limits).unwrap();
    let options = PruneOptions { keep: vec![large], ..PruneOptions::default() };
    assert_eq!(small.prune(&options, &Control::default()).unwrap().blobs, []);
}

/// What lies in the store's own rooms goes, however deep it is and whatever its modes.
#[test]
fn prune_and_unbind_remove_any_directory() {
    use cap_std::fs::{Permissions, PermissionsExt};
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    store.bind_tree("web").unwrap();
    for place in ["tmp/left", "containers/web/rootfs"] {
        store.dir().create_dir_all(format!("{place}/locked/in")).unwrap();
        store.dir().write(format!("{place}/locked/in/file"), "x").unwrap();
        for locked in ["locked/in", "locked"] {
            store.dir().set_permissions(format!("{place}/{locked}"), Permissions::from_mode(0)).unwrap();
        }
    }
    store.unbind("web").unwrap();
    prune(&store);
    for room in ["tmp", "containers"] {
        assert_eq!(store.dir().read_dir(room).unwrap().count(), 0, "{room}");
    }
}

#[test]
fn untagged_images_stay_until_they_are_pruned() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    let image = put_image(&store, "no name", "linux/amd64").unwrap();
    store.add_untagged(&image).unwrap();
    store.add_untagged(&image).unwrap();
    assert_eq!((store.entries().unwrap().len(), store.refs().unwrap().len()), (1, 0));
    let options = PruneOptions { untagged: false, ..PruneOptions::default() };
    assert!(store.prune(&options, &Control::default()).unwrap().blobs.is_empty());
    // A name takes the place of the untagged entry.
    store.tag(&name("now"), &image).unwrap();
    assert_eq!(store.entries().unwrap().len(), 1);
    store.untag(&name("now")).unwrap();
    store.add_untagged(&image).unwrap();
    let dry = PruneOptions { dry_run: true, ..PruneOptions::default() };
    let would = store.prune(&dry, &Control::default()).unwrap();
    assert_eq!(store.entries().unwrap().len(), 1);
    let did = store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    assert_eq!((&would.images, &would.blobs, would.bytes), (&did.images, &did.blobs, did.bytes));
    assert_eq!((did.images, did.blobs.len()), (vec![digest(&image)], 3));
    assert!(store.entries().unwrap().is_empty());
}

/// One commit per step to one name: the index stays small, and what was added without a name stays in it.
#[test]
fn the_list_of_images_that_lost_their_name_has_an_end() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    let asked_for = put_image(&store, "asked for", "linux/amd64").unwrap();
    store.add_untagged(&asked_for).unwrap();
    let images: Vec<Descriptor> =
        (0..120).map(|step| tag_image(&store, "app", &format!("step {step}")).unwrap()).collect();
    let entries = store.entries().unwrap();
    assert_eq!((entries.len(), store.refs().unwrap().len()), (1 + 100 + 1, 1));
    assert_eq!(digest(&entries[0].descriptor), digest(&asked_for));
    assert_eq!(digest(&entries[1].descriptor), digest(&images[19]), "the oldest went");
    // One that is asked for then stays too.
    store.add_untagged(&images[19]).unwrap();
    let found = |image: &Descriptor| store.resolve(&digest(image).to_string()).is_ok();
    tag_image(&store, "app", "step 120").unwrap();
    assert_eq!([19, 20, 21].map(|step| found(&images[step])), [true, true, true]);
    tag_image(&store, "app", "step 121").unwrap();
    assert_eq!([19, 20, 21].map(|step| found(&images[step])), [true, false, true]);
    assert_eq!(prune(&store).len(), 122 * 3);
    assert_eq!(store.entries().unwrap().len(), 1);
}

#[test]
fn prune_stops_where_it_cannot_be_sure() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    let image = tag_image(&store, "app", "content").unwrap();
    store.put_blob(b"unneeded").unwrap();
    let path = format!("oci/blobs/sha256/{}", digest(&image).hex());
    let whole = store.dir().read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[10] ^= 1;
    store.dir().write(&path, &damaged).unwrap();
    let error = store.prune(&PruneOptions::default(), &Control::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.path().unwrap(), digest(&image).to_string().as_bytes());
    assert!(error.hint().is_some());
    assert!(store.has_blob(&Digest::of(b"unneeded")).unwrap(), "nothing was removed");
    // Writing the blob again repairs it.
    store.put_blob(&whole).unwrap();
    assert_eq!(prune(&store), [Digest::of(b"unneeded")]);
}

#[test]
fn fsck_finds_each_fault_at_its_level() {
    type Damage = fn(&Store, &str);
    let damage: [(&str, FsckLevel, ProblemKind, Damage); 9] = [
        ("layout", FsckLevel::Structure, ProblemKind::BadLayout, |s, _| {
            s.dir().remove_file("oci/oci-layout").unwrap()
        }),
        ("index", FsckLevel::Structure, ProblemKind::BadIndex, |s, _| {
            s.dir().write("oci/index.json", "{").unwrap()
        }),
        ("no index", FsckLevel::Structure, ProblemKind::BadIndex, |s, _| {
            s.dir().remove_file("oci/index.json").unwrap()
        }),
        ("mode", FsckLevel::Structure, ProblemKind::NotPrivate, |s, _| {
            use cap_std::fs::{Permissions, PermissionsExt};
            s.dir().set_permissions(".", Permissions::from_mode(0o755)).unwrap()
        }),
        ("stray", FsckLevel::Structure, ProblemKind::Stray, |s, _| {
            s.dir().write("oci/blobs/sha256/README", "x").unwrap()
        }),
        ("missing", FsckLevel::Reachability, ProblemKind::Missing, |s, layer| {
            s.dir().remove_file(layer).unwrap()
        }),
        ("size", FsckLevel::Reachability, ProblemKind::WrongSize, |s, layer| {
            s.dir().write(layer, "x").unwrap()
        }),
        ("bytes", FsckLevel::Bytes, ProblemKind::WrongDigest, |s, layer| {
            s.dir().write(layer, "cOntent").unwrap()
        }),
        ("manifest", FsckLevel::Reachability, ProblemKind::BadDocument, |s, _| {
            let bytes = br#"{"schemaVersion":2,"layers":[],"manifests":[]}"#;
            let bad = descriptor(OCI_MANIFEST, &s.put_blob(bytes).unwrap());
            s.tag(&name("bad"), &bad).unwrap();
        }),
    ];
    for (what, level, kind, damage) in damage {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        tag_image(&store, "app", "content").unwrap();
        let control = Control::default();
        assert!(store.fsck(FsckLevel::Bytes, &control).unwrap().problems.is_empty());
        damage(&store, &format!("oci/blobs/sha256/{}", Digest::of(b"content").hex()));
        for tried in [FsckLevel::Structure, FsckLevel::Reachability, FsckLevel::Bytes] {
            let found = store.fsck(tried, &control).unwrap().problems;
            let seen = found.iter().any(|problem| problem.kind == kind);
            assert_eq!(seen, tried >= level, "{what} at {tried:?}: {found:?}");
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    tag_image(&store, "app", "content").unwrap();
    let control = Control::default();
    control.cancel.cancel();
    assert_eq!(store.fsck(FsckLevel::Bytes, &control).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(store.prune(&PruneOptions::default(), &control).unwrap_err().kind(), ErrorKind::Cancelled);
}

/// A temporary file is a dead writer's only while no process writes.
#[test]
fn fsck_does_not_take_a_writer_for_dead() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    store.dir().write("oci/0f7e9c52-7a0d-4f0a-9f0a-0123456789ab", "").unwrap();
    let found = || store.fsck(FsckLevel::Structure, &Control::default()).unwrap().problems.len();
    let lease = store.lease().unwrap();
    assert_eq!(found(), 0);
    drop(lease);
    assert_eq!(found(), 1);
}

#[test]
fn usage_separates_shared_from_unique() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    tag_image(&store, "one", "shared layer").unwrap();
    // The same layer for another platform: another configuration, another manifest.
    let two = put_image(&store, "shared layer", "linux/arm64").unwrap();
    store.tag(&name("two"), &two).unwrap();
    store.tag(&name("two:again"), &two).unwrap();
    store.put_blob(b"unneeded").unwrap();
    let usage = store.usage(&Control::default()).unwrap();
    assert_eq!(usage.images.len(), 2);
    for image in &usage.images {
        assert_eq!((image.shared, image.layers), (12, 1));
        assert_eq!(image.size, image.shared + image.unique);
    }
    assert_eq!(usage.images[1].names, [name("two:latest"), name("two:again")]);
    assert_eq!((usage.blobs, usage.reclaimable), (6, 8));
    let unique: u64 = usage.images.iter().map(|image| image.unique).sum();
    assert_eq!(usage.blob_bytes, unique + 12 + 8);
}
