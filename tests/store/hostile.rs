//! Documents that lie, and names that are not names.

use serde_json::{Value, json};
use treering::image::{Image, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use treering::store::{BlobInfo, Descriptor, Limits, PruneOptions, Store, descriptor};
use treering::{Control, Digest, ErrorKind};

use crate::world::{digest, name, put_image, tag_image};

fn store_with_image() -> (tempfile::TempDir, Store) {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    tag_image(&store, "app", "content").unwrap();
    (temp, store)
}

#[test]
fn hostile_indexes_are_errors_and_stay_as_they_are() {
    let good = json!({ "mediaType": OCI_MANIFEST, "digest": Digest::of(b""), "size": 0 });
    let with = |key: &str, value: Value| {
        let mut one = good.clone();
        one[key] = value;
        json!({ "schemaVersion": 2, "manifests": [one] }).to_string()
    };
    let cases = [
        ("".to_string(), ErrorKind::Corrupt),
        ("[]".to_string(), ErrorKind::Corrupt),
        ("null".to_string(), ErrorKind::Corrupt),
        ("\u{feff}{}".to_string(), ErrorKind::Corrupt),
        (json!({ "manifests": [] }).to_string(), ErrorKind::Corrupt),
        (json!({ "schemaVersion": 2, "manifests": [], "layers": [] }).to_string(), ErrorKind::Corrupt),
        (r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_string(), ErrorKind::Corrupt),
        (with("digest", json!("sha256:../../../../etc/passwd")), ErrorKind::Corrupt),
        (with("digest", json!("/usr/bin/bash")), ErrorKind::Corrupt),
        (with("digest", json!(Digest::of(b"").to_string().to_uppercase())), ErrorKind::Corrupt),
        (with("size", json!(-1)), ErrorKind::Corrupt),
        (with("size", json!(1e30)), ErrorKind::Corrupt),
        (with("mediaType", json!(7)), ErrorKind::Corrupt),
        (with("annotations", json!({ "org.opencontainers.image.ref.name": 7 })), ErrorKind::Corrupt),
        ("[".repeat(1_000_000), ErrorKind::Limit),
        (
            format!("{{\"schemaVersion\":2,\"manifests\":[],\"x\":\"{}\"}}", "x".repeat(4 << 20)),
            ErrorKind::Limit,
        ),
    ];
    for (text, kind) in cases {
        let (_temp, store) = store_with_image();
        let image = store.resolve("app").unwrap().descriptor;
        store.dir().write("oci/index.json", &text).unwrap();
        let shown = &text[..text.len().min(120)];
        assert_eq!(store.refs().unwrap_err().kind(), kind, "{shown}");
        assert_eq!(store.resolve("app").unwrap_err().kind(), kind, "{shown}");
        assert_eq!(store.tag(&name("x"), &image).unwrap_err().kind(), kind, "{shown}");
        assert_eq!(store.untag(&name("app")).unwrap_err().kind(), kind, "{shown}");
        let pruned = store.prune(&PruneOptions::default(), &Control::default());
        assert_eq!(pruned.unwrap_err().kind(), kind, "{shown}");
        assert_eq!(store.dir().read_to_string("oci/index.json").unwrap(), text);
        assert!(store.has_blob(&digest(&image)).unwrap());
    }
}

#[test]
fn what_others_put_into_the_index_stays() {
    let (_temp, store) = store_with_image();
    let mut index: Value = serde_json::from_slice(&store.dir().read("oci/index.json").unwrap()).unwrap();
    index["x-vendor"] = json!({ "z": 1, "a": [null, 1.5] });
    let foreign = json!({
        "mediaType": "application/vnd.example+json",
        "digest": format!("sha512:{}", "a".repeat(128)),
        "size": 7,
        "x-member": "kept",
        "annotations": { "org.opencontainers.image.ref.name": "Not A Name!", "other": "note" },
    });
    index["manifests"].as_array_mut().unwrap().insert(0, foreign.clone());
    store.dir().write("oci/index.json", index.to_string()).unwrap();
    tag_image(&store, "second", "more").unwrap();
    store.untag(&name("app")).unwrap();
    store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    let after: Value = serde_json::from_slice(&store.dir().read("oci/index.json").unwrap()).unwrap();
    assert_eq!(after["x-vendor"], index["x-vendor"]);
    assert_eq!(after["manifests"][0], foreign);
    assert_eq!(after["manifests"].as_array().unwrap().len(), 2);
    let entries = store.entries().unwrap();
    assert_eq!(entries[0].text.as_deref(), Some("Not A Name!"));
    assert!(entries[0].name.is_none());
    assert_eq!(store.refs().unwrap().len(), 1);
}

fn put(store: &Store, media_type: &str, value: &Value) -> Descriptor {
    descriptor(media_type, &store.put_blob(value.to_string().as_bytes()).unwrap())
}

fn manifest(store: &Store, config: &Value, layers: &[Value]) -> Descriptor {
    let config = put(store, OCI_CONFIG, config);
    put(store, OCI_MANIFEST, &json!({ "schemaVersion": 2, "config": config, "layers": layers }))
}

#[test]
fn hostile_images_do_not_open() {
    let layer = |digest: Digest, size: i64| json!({ "mediaType": OCI_LAYER, "digest": digest, "size": size });
    let one = layer(Digest::of(b"content"), 7);
    let config = |diff_ids: Value| json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let id = json!(Digest::of(b"content"));
    let (_temp, store) = store_with_image();
    let cases: Vec<(&str, Descriptor, ErrorKind)> = vec![
        (
            "fewer diff ids",
            manifest(&store, &config(json!([])), std::slice::from_ref(&one)),
            ErrorKind::Corrupt,
        ),
        (
            "more diff ids",
            manifest(&store, &config(json!([id, id])), std::slice::from_ref(&one)),
            ErrorKind::Corrupt,
        ),
        (
            "other rootfs",
            manifest(
                &store,
                &json!({ "rootfs": { "type": "layer", "diff_ids": [id] } }),
                std::slice::from_ref(&one),
            ),
            ErrorKind::Corrupt,
        ),
        ("no rootfs", manifest(&store, &json!({}), std::slice::from_ref(&one)), ErrorKind::Corrupt),
        (
            "negative size",
            manifest(&store, &config(json!([id])), &[layer(Digest::of(b"content"), -7)]),
            ErrorKind::Corrupt,
        ),
        (
            "too many layers",
            manifest(&store, &config(json!(vec![id.clone(); 513])), &vec![one.clone(); 513]),
            ErrorKind::Limit,
        ),
        (
            "an artifact",
            put(
                &store,
                OCI_MANIFEST,
                &json!({ "schemaVersion": 2, "config": put(&store, "application/vnd.oci.empty.v1+json", &json!({})), "layers": [one] }),
            ),
            ErrorKind::Unsupported,
        ),
        (
            "an index called a manifest",
            put(&store, OCI_MANIFEST, &json!({ "schemaVersion": 2, "manifests": [] })),
            ErrorKind::Corrupt,
        ),
        (
            "a manifest called an index",
            put(&store, OCI_INDEX, &json!({ "schemaVersion": 2, "config": {}, "layers": [] })),
            ErrorKind::Corrupt,
        ),
        (
            "schema 1",
            put(&store, OCI_MANIFEST, &json!({ "schemaVersion": 1, "fsLayers": [] })),
            ErrorKind::Unsupported,
        ),
        (
            "nothing",
            put(&store, OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": [] })),
            ErrorKind::NotFound,
        ),
    ];
    for (what, descriptor, kind) in cases {
        store.tag(&name("hostile"), &descriptor).unwrap();
        let error = Image::open(&store, "hostile", None).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.path().is_some(), "{what}: {error}");
    }
    store.untag(&name("hostile")).unwrap();
    Image::open(&store, "app", None).unwrap();
}

#[test]
fn indexes_nest_to_a_limit() {
    let (_temp, store) = store_with_image();
    let host = treering::image::Platform::host().to_string();
    let mut inner = put_image(&store, "deep", &host).unwrap();
    // index.json is the first of four.
    for depth in 2..=4 {
        inner = put(&store, OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": [inner] }));
        store.tag(&name("deep"), &inner).unwrap();
        Image::open(&store, "deep", None).unwrap_or_else(|error| panic!("{depth}: {error}"));
        store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    }
    inner = put(&store, OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": [inner] }));
    store.tag(&name("deep"), &inner).unwrap();
    assert_eq!(Image::open(&store, "deep", None).unwrap_err().kind(), ErrorKind::Limit);
    let pruned = store.prune(&PruneOptions::default(), &Control::default());
    assert_eq!(pruned.unwrap_err().kind(), ErrorKind::Limit);
    store.untag(&name("deep")).unwrap();
    store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    Image::open(&store, "app", None).unwrap();
}

#[test]
fn names_are_only_given_to_images_that_are_there() {
    let (_temp, store) = store_with_image();
    let image = store.resolve("app").unwrap().descriptor;
    let absent = descriptor(OCI_MANIFEST, &BlobInfo::of(b"absent"));
    assert_eq!(store.tag(&name("x"), &absent).unwrap_err().kind(), ErrorKind::NotFound);
    let mut lying = image.clone();
    lying.set_size(image.size() + 1);
    assert_eq!(store.tag(&name("x"), &lying).unwrap_err().kind(), ErrorKind::Corrupt);
    let layer = descriptor(OCI_LAYER, &BlobInfo::of(b"content"));
    assert_eq!(store.tag(&name("x"), &layer).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let pinned = name(&format!("x@{}", digest(&image)));
    assert_eq!(store.tag(&pinned, &image).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let other = put_image(&store, "other", "linux/amd64").unwrap();
    store.tag_new(&name("app"), &image).unwrap();
    assert_eq!(store.tag_new(&name("app"), &other).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(digest(&store.tag(&name("app"), &other).unwrap().unwrap()), digest(&image));
    assert_eq!(store.refs().unwrap().len(), 1);
    // An index that is full says so and stays.
    let small = Limits::default();
    let small = Store::open_with(store.root_path(), {
        let mut l = small;
        l.json_bytes = 800;
        l
    })
    .unwrap();
    small.tag(&name("two"), &other).unwrap();
    assert_eq!(small.tag(&name("three"), &other).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(small.refs().unwrap().len(), 2);
}

/// Any document can give another size or type for a blob of another one. The blob stays, with what it needs, and prune goes
/// on.
#[test]
fn a_reference_that_lies_keeps_its_blob_and_stops_nobody() {
    for lie in 0..4 {
        let (_temp, store) = store_with_image();
        let victim = store.resolve("app").unwrap().descriptor;
        let mut lying = serde_json::to_value(&victim).unwrap();
        match lie {
            0 => lying["mediaType"] = json!(OCI_INDEX),
            1 => lying["size"] = json!(victim.size() + 1),
            2 => lying["size"] = json!(5 << 20),
            _ => lying["digest"] = json!(Digest::of(b"content")),
        }
        let config =
            json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [] } });
        let config = put(&store, OCI_CONFIG, &config);
        let document = json!({ "schemaVersion": 2, "config": config, "layers": [], "subject": lying });
        let evil = put(&store, OCI_MANIFEST, &document);
        store.tag(&name("evil"), &evil).unwrap();
        // By its own name, and then by the lie alone.
        store.prune(&PruneOptions::default(), &Control::default()).unwrap();
        store.untag(&name("app")).unwrap();
        let report = store.prune(&PruneOptions::default(), &Control::default()).unwrap();
        let gone = if lie < 3 { 0 } else { 2 };
        assert_eq!(report.blobs.len(), gone, "{lie}: the manifest, its configuration and its layer");
    }
}

/// A tree needs the layers of the manifest it was made from, whatever else that manifest seems to be.
#[test]
fn a_manifest_with_a_rootfs_is_a_manifest() {
    let (_temp, store) = store_with_image();
    let image = store.resolve("app").unwrap().descriptor;
    let mut document: Value =
        serde_json::from_slice(&store.read_blob(&digest(&image), None, 1 << 20).unwrap()).unwrap();
    document["rootfs"] = json!({ "type": "layers", "diff_ids": [] });
    let odd = put(&store, OCI_MANIFEST, &document);
    store.untag(&name("app")).unwrap();
    let options = PruneOptions { keep: vec![digest(&odd)], ..PruneOptions::default() };
    store.prune(&options, &Control::default()).unwrap();
    assert!(store.has_blob(&Digest::of(b"content")).unwrap());
    assert_eq!(store.usage(&Control::default()).unwrap().blobs, 3);
}
