//! Opening, choosing, describing images.

use std::collections::BTreeMap;

use serde_json::json;
use treering::image::{
    DOCKER_CONFIG, DOCKER_INDEX, DOCKER_LAYER, DOCKER_MANIFEST, History, Image, ManifestOptions, NewConfig,
    OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Platform, inspect, new_config, new_index,
    new_manifest,
};
use treering::store::{BlobInfo, Descriptor, LayerInfo, Store, descriptor};
use treering::{Digest, ErrorKind};

use crate::world::{digest, name, put_image, tag_image};

fn new_store() -> (tempfile::TempDir, Store) {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    (temp, store)
}

#[test]
fn an_image_is_found_by_everything_users_type() {
    let (_temp, store) = new_store();
    let image = tag_image(&store, "app", "content").unwrap();
    tag_image(&store, "registry.example:5000/team/web:v1", "other").unwrap();
    let opened = Image::open(&store, "app", None).unwrap();
    let (manifest, id) = (digest(&image), *opened.id());
    assert_eq!((opened.digest(), opened.layers().len()), (&manifest, 1));
    let found = [
        "app".to_string(),
        "app:latest".into(),
        "library/app".into(),
        "docker.io/library/app:latest".into(),
        "index.docker.io/app".into(),
        manifest.to_string(),
        manifest.hex(),
        id.to_string(),
        id.hex(),
        id.short(),
        id.hex()[..4].to_string(),
        format!("sha256:{}", id.short()),
        manifest.short(),
        format!("app@{manifest}"),
        format!("app:ignored@{manifest}"),
        format!("app@{id}"),
    ];
    for text in &found {
        let resolved = store.resolve(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(digest(&resolved.descriptor), manifest, "{text}");
    }
    assert!(store.resolve("registry.example:5000/team/web:v1").is_ok());
    let absent = [
        "web".to_string(),
        "app:v2".into(),
        "example.com/app".into(),
        "0000".into(),
        Digest::of(b"absent").to_string(),
        Digest::of(b"absent").hex(),
        format!("web@{manifest}"),
        format!("app@{}", Digest::of(b"absent")),
        id.hex()[..3].to_string(),
    ];
    for text in &absent {
        let error = store.resolve(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
        assert!(error.hint().is_some());
    }
    for text in ["", "App", "../x", "a b", "app@sha256:12", "app:"] {
        assert_eq!(store.resolve(text).unwrap_err().kind(), ErrorKind::InvalidArgument, "{text:?}");
    }
    // A prefix that fits two images.
    let mut ids = std::collections::HashMap::new();
    for number in 0.. {
        let made = tag_image(&store, &format!("n:{number}"), &number.to_string()).unwrap();
        let image = Image::from_descriptor(&store, &made, None).unwrap();
        if ids.insert(image.id().hex()[..4].to_string(), number).is_some() {
            let error = store.resolve(&image.id().hex()[..4]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            break;
        }
        if number > 150 {
            break;
        }
    }
    // A name that looks like an id wins over the id.
    let named = tag_image(&store, &id.hex()[..6], "named like an id").unwrap();
    assert_eq!(digest(&store.resolve(&id.hex()[..6]).unwrap().descriptor), digest(&named));
}

fn with_platform(mut descriptor: Descriptor, platform: &str) -> Descriptor {
    let platform: Platform = platform.parse().unwrap();
    descriptor.set_platform(Some((&platform).into()));
    descriptor
}

#[test]
fn the_first_matching_manifest_wins() {
    let (_temp, store) = new_store();
    let make = |text: &str, platform: &str| put_image(&store, text, platform).unwrap();
    let amd = make("amd", "linux/amd64");
    let amd_second = make("amd again", "linux/amd64");
    let arm6 = make("arm6", "linux/arm/v6");
    let arm5 = make("arm5", "linux/arm/v5");
    let arm64 = make("arm64", "linux/arm64/v8");
    let riscv = make("riscv", "linux/riscv64");
    let absent = with_platform(descriptor(OCI_MANIFEST, &BlobInfo::of(b"absent")), "linux/s390x");
    let unknown = with_platform(make("attestation", "unknown/unknown"), "unknown/unknown");
    let inner = new_index(&[with_platform(arm64.clone(), "linux/arm64/v8"), riscv.clone()], &BTreeMap::new())
        .unwrap();
    let inner = descriptor(DOCKER_INDEX, &store.put_blob(&inner).unwrap());
    let outer = [
        unknown,
        absent,
        with_platform(amd.clone(), "linux/amd64"),
        with_platform(amd_second, "linux/amd64"),
        with_platform(arm5, "linux/arm/v5"),
        with_platform(arm6.clone(), "linux/arm/v6"),
        inner,
    ];
    let outer =
        descriptor(OCI_INDEX, &store.put_blob(&new_index(&outer, &BTreeMap::new()).unwrap()).unwrap());
    store.tag(&name("multi"), &outer).unwrap();
    let open = |platform: &str| Image::open(&store, "multi", Some(&platform.parse().unwrap()));
    for (platform, expected) in [
        ("linux/amd64", &amd),
        ("linux/amd64/v3", &amd),
        ("linux/arm/v6", &arm6),
        ("linux/arm", &arm6),
        ("linux/arm64", &arm64),
        ("linux/arm64/v8", &arm64),
        ("riscv64", &riscv),
    ] {
        let image = open(platform).unwrap_or_else(|error| panic!("{platform}: {error}"));
        assert_eq!(image.digest(), &digest(expected), "{platform}");
        assert_eq!(image.index().unwrap().digest(), outer.digest());
        assert_eq!(image.name().unwrap().to_string(), "multi:latest");
    }
    for platform in ["linux/s390x", "windows/amd64", "linux/386"] {
        let error = open(platform).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{platform}");
        assert!(error.hint().unwrap().to_string().contains("linux/amd64"), "{platform}: {:?}", error.hint());
    }
    assert_eq!(Image::open(&store, "multi", None).unwrap().platform(), Platform::host());
    // A nested manifest is found by its own digest and id; a plain manifest refuses another platform.
    let direct = Image::open(&store, &digest(&riscv).to_string(), None).unwrap();
    assert_eq!(Image::open(&store, &direct.id().short(), None).unwrap().digest(), direct.digest());
    let other = Image::open(&store, &digest(&riscv).to_string(), Some(&"linux/amd64".parse().unwrap()));
    assert_eq!(other.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn docker_images_open_and_become_oci_when_built_upon() {
    let (_temp, store) = new_store();
    let layer = store.put_blob(b"layer").unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux", "docker_version": "28", "container_config": { "Cmd": ["x"] },
        "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": null, "OnBuild": null },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(b"tar")] },
        "history": [{ "created": "2024-01-02T03:04:05Z", "created_by": "ADD file" }, { "created_by": "CMD", "empty_layer": true }],
    });
    let config = descriptor(DOCKER_CONFIG, &store.put_blob(config.to_string().as_bytes()).unwrap());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [descriptor(DOCKER_LAYER, &layer)],
    });
    let manifest = descriptor(DOCKER_MANIFEST, &store.put_blob(manifest.to_string().as_bytes()).unwrap());
    store.tag(&name("base"), &manifest).unwrap();
    let base = Image::open(&store, "base", None).unwrap();
    assert_eq!(base.layers()[0].diff_id, Digest::of(b"tar"));

    let top = store.put_blob(b"top").unwrap();
    let changes = ["ENV PATH=$PATH:/app".to_string(), "ENTRYPOINT [\"/app/run\"]".to_string()];
    let config = new_config(&NewConfig {
        base: Some(base.config()),
        changes: &changes,
        created: Some("2025-01-01T00:00:00Z".parse().unwrap()),
        history: &[History {
            created: Some("2025-01-01T00:00:00Z".into()),
            created_by: Some("treering commit".into()),
            comment: Some("Second".into()),
            ..History::default()
        }],
        layers: &[top.digest],
        ..NewConfig::default()
    })
    .unwrap();
    let config = descriptor(OCI_CONFIG, &store.put_blob(&config).unwrap());
    let layers = [base.layers()[0].descriptor.clone(), descriptor(OCI_LAYER_GZIP, &top)];
    let bytes = new_manifest(&config, &layers, &ManifestOptions::default()).unwrap();
    let made = descriptor(OCI_MANIFEST, &store.put_blob(&bytes).unwrap());
    store.tag(&name("app:v1"), &made).unwrap();
    let image = Image::open(&store, "app:v1", None).unwrap();
    let types: Vec<_> =
        image.layers().iter().map(|layer| layer.descriptor.media_type().to_string()).collect();
    assert_eq!(types, [OCI_LAYER_GZIP, OCI_LAYER_GZIP]);
    let run = image.config().run();
    assert_eq!(run.env.as_ref().unwrap(), &["PATH=/bin:/app"]);
    assert_eq!((run.entrypoint.as_ref().unwrap().len(), &run.cmd), (1, &None));
    assert!(!image.config().value().contains_key("container_config"));

    let info = LayerInfo {
        diff_id: top.digest,
        digest: top.digest,
        size: top.size,
        media_type: OCI_LAYER_GZIP.into(),
        diff_size: Some(1024),
    };
    store.put_layer_info(&info).unwrap();
    let rows = image.history(&store).unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (row.created_by.as_str(), row.size, row.diff_size)).collect();
    assert_eq!(shown, [("treering commit", 3, Some(1024)), ("CMD", 0, None), ("ADD file", 5, None)]);
    assert_eq!((rows[0].id, rows[1].id, rows[0].comment.as_str()), (Some(*image.id()), None, "Second"));

    store.tag(&name("app:stable"), &made).unwrap();
    let value = inspect(&store, &image).unwrap();
    assert_eq!(value["Id"], json!(image.id()));
    assert_eq!(value["RepoTags"], json!(["app:v1", "app:stable"]));
    assert_eq!(value["RepoDigests"], json!([format!("app@{}", image.digest())]));
    assert_eq!(value["Config"]["Env"], json!(["PATH=/bin:/app"]));
    assert_eq!(value["RootFS"], json!({ "Type": "layers", "Layers": [Digest::of(b"tar"), top.digest] }));
    assert_eq!((&value["Created"], &value["Comment"]), (&json!("2025-01-01T00:00:00Z"), &json!("Second")));
    assert_eq!(value["Size"], json!(image.size()));
}

#[test]
fn history_that_does_not_fit_the_layers_is_still_shown() {
    let (_temp, store) = new_store();
    let layer = store.put_blob(b"layer").unwrap();
    let show = |history: serde_json::Value| {
        let config = json!({ "rootfs": { "type": "layers", "diff_ids": [layer.digest, layer.digest] }, "history": history });
        let config = descriptor(OCI_CONFIG, &store.put_blob(config.to_string().as_bytes()).unwrap());
        let layer = descriptor(OCI_LAYER_GZIP, &layer);
        let bytes = new_manifest(&config, &[layer.clone(), layer], &ManifestOptions::default()).unwrap();
        let made = descriptor(OCI_MANIFEST, &store.put_blob(&bytes).unwrap());
        let rows = Image::from_descriptor(&store, &made, None).unwrap().history(&store).unwrap();
        rows.iter().map(|row| format!("{}:{}", row.created_by, row.size)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(show(json!(null)), ":5 :5");
    assert_eq!(show(json!([{ "created_by": "a" }])), ":5 a:5");
    assert_eq!(
        show(json!([{ "created_by": "a" }, { "created_by": "b" }, { "created_by": "c" }])),
        "c:0 b:5 a:5"
    );
}
