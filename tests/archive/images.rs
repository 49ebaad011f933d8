//! Images put together by hand, for several platforms and in the shapes of other tools.

use serde_json::{Value, json};
use treering::archive::{Format, LoadOptions, Loaded, NamePolicy, load};
use treering::digest::Digest;
use treering::image::{
    Image, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Platform, UnpackOptions, unpack,
};
use treering::store::{BlobInfo, Descriptor, FsckLevel, Limits, PruneOptions, Reference, Store, descriptor};
use treering::{Control, ErrorKind};

use crate::{load_bytes, save_bytes, store};
use support::tar::{Entry, dir, file, hardlink, symlink, tar};
use support::{Scratch, describe, scan};

/// Unpacks two images and compares everything in them.
pub fn same_tree(left: &Store, left_name: &str, right: &Store, right_name: &str, scratch: &Scratch) {
    let trees = [(left, left_name, "left"), (right, right_name, "right")].map(|(store, name, side)| {
        let path = scratch.join(&format!("{side}-{}", scratch_number()));
        let options = UnpackOptions::default();
        unpack(store, name, &path, &options, &Control::default()).unwrap();
        describe(&scan(&path).snapshot, Some(&path))
    });
    assert_eq!(trees[0], trees[1]);
}

fn scratch_number() -> usize {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

pub fn layer(content: &str) -> Vec<u8> {
    tar(&[dir("etc/"), file("etc/content", content)])
}

pub fn config(platform: &str, layers: &[&[u8]]) -> Vec<u8> {
    let platform: Platform = platform.parse().unwrap();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "unknown": ["kept", 1],
    });
    serde_json::to_vec_pretty(&config).unwrap()
}

pub fn blob(bytes: &[u8]) -> Entry {
    file(format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes)
}

pub fn manifest(config: &[u8], layers: &[&[u8]]) -> Vec<u8> {
    let one =
        |kind: &str, bytes: &[u8]| serde_json::to_value(descriptor(kind, &BlobInfo::of(bytes))).unwrap();
    let layers: Vec<Value> = layers.iter().map(|bytes| one(OCI_LAYER, bytes)).collect();
    let value = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": one(OCI_CONFIG, config), "layers": layers,
    });
    serde_json::to_vec(&value).unwrap()
}

pub fn index(entries: &[Descriptor]) -> Vec<u8> {
    serde_json::to_vec(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries })).unwrap()
}

pub fn layout() -> Entry {
    file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// Returns a descriptor of a manifest or index, with a name for `index.json`.
pub fn points_to(kind: &str, bytes: &[u8], name: Option<&str>) -> Descriptor {
    let mut out = descriptor(kind, &BlobInfo::of(bytes));
    let pair = |name: &str| ("org.opencontainers.image.ref.name".to_string(), name.to_string());
    out.set_annotations(name.map(|name| [pair(name)].into()));
    out
}

/// What stands in `index.json` beside images does not keep them from being loaded: an unknown media type is no error
/// (image-index.md). A warning names it.
#[test]
fn what_is_no_image_is_left_out_with_a_warning() {
    let scratch = Scratch::new();
    let (layer, host) = (layer("here"), Platform::host().to_string());
    let config = config(&host, &[&layer]);
    let image = manifest(&config, &[&layer]);
    let sbom = b"{\"an\":\"sbom\"}".as_slice();
    let artifact = {
        let mut value: Value = serde_json::from_slice(&manifest(b"{}", &[sbom])).unwrap();
        value["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
        value["subject"] = serde_json::to_value(descriptor(OCI_MANIFEST, &BlobInfo::of(&image))).unwrap();
        serde_json::to_vec(&value).unwrap()
    };
    let nothing = index(&[]);
    let entries = [
        points_to("application/vnd.example.unknown", b"absent", None),
        points_to(OCI_MANIFEST, &artifact, None),
        points_to(OCI_MANIFEST, &image, Some("app:v1")),
        points_to(OCI_INDEX, &nothing, None),
    ];
    let archive = |entries: &[Descriptor]| {
        let parts: [&[u8]; 7] = [&layer, &config, &image, b"{}", sbom, &artifact, &nothing];
        let mut all = vec![layout(), file("index.json", index(entries))];
        all.extend(parts.map(blob));
        tar(&all)
    };
    let store = store(&scratch, "store");
    let control = Control { events: treering::Events::queue(1 << 16), ..Control::default() };
    let input = Box::new(std::io::Cursor::new(archive(&entries)));
    let loaded = load(&store, input, &LoadOptions::default(), &control).unwrap();
    let names: Vec<_> = loaded.iter().map(|image| image.name.as_ref().unwrap().to_string()).collect();
    assert_eq!(names, ["app:v1"]);
    for left_out in [Digest::of(b"absent"), Digest::of(&artifact), Digest::of(&nothing)] {
        match control.events.poll() {
            Some(treering::Event::Warning { message, .. }) => {
                assert!(message.contains(&left_out.to_string()), "{message}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(control.events.poll(), None);
    let without = [entries[0].clone(), entries[1].clone(), entries[3].clone()];
    assert_eq!(load_bytes(&store, &archive(&without)).unwrap_err().kind(), ErrorKind::Unsupported);
}

/// Docker 25.0.0 wrote an index of nothing beside a good `manifest.json`; Bazel's rules call layers `HEX.tar.gz`.
#[test]
fn manifest_json_counts_where_the_index_says_nothing() {
    let scratch = Scratch::new();
    let layer = layer("here");
    let config = config(&Platform::host().to_string(), &[&layer]);
    let hollow = manifest(&config, &[]);
    let null =
        String::from_utf8(hollow.clone()).unwrap().replace("\"layers\":[]", "\"layers\":null").into_bytes();
    assert_ne!(hollow, null);
    let blobs = |bytes: &[u8], suffix: &str| format!("blobs/sha256/{}{suffix}", Digest::of(bytes).hex());
    let list = json!([{
        "Config": blobs(&config, ""), "RepoTags": ["app:v1"], "Layers": [blobs(&layer, ".tar.gz")],
    }]);
    let indexes = [
        index(&[]),
        br#"{"schemaVersion":2,"manifests":null}"#.to_vec(),
        index(&[points_to(OCI_MANIFEST, &hollow, None)]),
        index(&[points_to(OCI_MANIFEST, &null, None)]),
    ];
    for (number, index) in indexes.iter().enumerate() {
        let archive = tar(&[
            layout(),
            file("index.json", index),
            file("manifest.json", serde_json::to_vec(&list).unwrap()),
            file(blobs(&layer, ".tar.gz"), &layer),
            blob(&config),
            blob(&hollow),
            blob(&null),
        ]);
        let store = store(&scratch, &format!("store{number}"));
        let loaded = load_bytes(&store, &archive).unwrap();
        assert_eq!((loaded.len(), loaded[0].image_id), (1, Digest::of(&config)), "{number}");
        assert_eq!(Image::open(&store, "app:v1", None).unwrap().layers()[0].diff_id, Digest::of(&layer));
    }
}

/// An index may hold what is no image, whether it holds images too or not.
#[test]
fn an_index_without_images_is_saved_or_refused() {
    let scratch = Scratch::new();
    let from = store(&scratch, "from");
    let content = b"a chart".as_slice();
    let chart = descriptor("application/vnd.example.chart", &BlobInfo::of(content));
    let absent = descriptor("application/vnd.example.chart", &BlobInfo::of(b"not here"));
    from.put_blob(content).unwrap();
    let manifest = manifest(&config("linux/amd64", &[]), &[]);
    let lacking = descriptor(OCI_MANIFEST, &BlobInfo::of(&manifest));
    let missing = from.put_blob(&manifest).unwrap().digest;
    let whole = [vec![chart.clone()], vec![absent.clone()], vec![chart.clone(), absent], vec![]];
    for (number, children) in whole.iter().enumerate() {
        let info = from.put_blob(&index(children)).unwrap();
        let name = format!("charts:v{number}");
        from.tag(&Reference::parse(&name).unwrap(), &descriptor(OCI_INDEX, &info)).unwrap();
        let saved = save_bytes(&from, &[&name], Format::OciArchive).unwrap();
        let held = saved.windows(content.len()).any(|window| window == content);
        assert_eq!(held, children.contains(&chart), "{number}");
    }
    // The same image, of which something is missing, in two indexes: each is reported to lack it.
    let host = Platform::host().to_string();
    let layer = layer("here");
    let config = config(&host, &[&layer]);
    let good = self::manifest(&config, &[&layer]);
    for part in [&layer, &config, &good] {
        from.put_blob(part).unwrap();
    }
    let good = descriptor(OCI_MANIFEST, &BlobInfo::of(&good));
    for (name, children) in [("some", vec![lacking.clone(), good]), ("none", vec![lacking, chart])] {
        let info = from.put_blob(&index(&children)).unwrap();
        from.tag(&Reference::parse(name).unwrap(), &descriptor(OCI_INDEX, &info)).unwrap();
    }
    save_bytes(&from, &["some"], Format::OciArchive).unwrap();
    let error = save_bytes(&from, &["some", "none"], Format::OciArchive).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_ne!(error.path().unwrap(), missing.to_string().as_bytes(), "what is missing is its configuration");
}

/// All names of an archive come in one step: one that cannot be given leaves `index.json` untouched.
#[test]
fn names_are_given_all_or_none() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let layer = layer("new");
    let config = config(&Platform::host().to_string(), &[&layer]);
    let manifest = manifest(&config, &[&layer]);
    let names = ["one:latest", "three:latest", "four:latest"];
    let listed = index(&names.map(|name| points_to(OCI_MANIFEST, &manifest, Some(name))));
    let archive = tar(&[layout(), file("index.json", &listed), blob(&layer), blob(&config), blob(&manifest)]);
    let plain = store(&scratch, "store");
    let old = plain.put_blob(br#"{"schemaVersion":2,"config":{"mediaType":"application/x","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[]}"#).unwrap();
    for name in ["one", "two"] {
        plain.tag(&Reference::parse(name).unwrap(), &descriptor(OCI_MANIFEST, &old)).unwrap();
    }
    let path = scratch.join("store/oci/index.json");
    let state = || (std::fs::read(&path).unwrap(), std::fs::metadata(&path).unwrap().ino());
    let before = state();
    // Room for the archive's index, not for the store's with all of it.
    let mut limits = Limits::default();
    limits.json_bytes = listed.len() as u64 + 50;
    let small = Store::open_with(scratch.join("store"), limits).unwrap();
    let options = LoadOptions { names: NamePolicy::Move, ..LoadOptions::default() };
    let try_load = |store: &Store| {
        load(store, Box::new(std::io::Cursor::new(archive.clone())), &options, &Control::default())
    };
    assert_eq!(try_load(&small).unwrap_err().kind(), ErrorKind::Limit);
    assert!(before == state(), "index.json was replaced and put back");
    let loaded = try_load(&plain).unwrap();
    assert_eq!(loaded.iter().map(|it| it.name.clone().unwrap().to_string()).collect::<Vec<_>>(), names);
    assert_eq!(plain.refs().unwrap().len(), 4);
}

#[test]
fn an_image_for_several_platforms_stays_whole() {
    let scratch = Scratch::new();
    let from = store(&scratch, "from");
    let host = Platform::host().to_string();
    let foreign = if host.starts_with("linux/s390x") { "linux/amd64" } else { "linux/s390x" };
    let mut children = Vec::new();
    let mut missing = Vec::new();
    // The second one is only partly there, the third not at all.
    for (number, platform) in [host.as_str(), foreign, "linux/ppc64le"].iter().enumerate() {
        let layer = layer(platform);
        let config = config(platform, &[&layer]);
        let manifest = manifest(&config, &[&layer]);
        let platform: Platform = platform.parse().unwrap();
        let mut child = descriptor(OCI_MANIFEST, &BlobInfo::of(&manifest));
        let mut value = serde_json::to_value(&child).unwrap();
        value["platform"] = json!({ "architecture": platform.architecture, "os": platform.os });
        child = serde_json::from_value(value).unwrap();
        children.push(child);
        let parts = [&layer, &config, &manifest];
        for part in if number == 0 {
            &parts[..]
        } else if number == 1 {
            &parts[2..]
        } else {
            &[]
        } {
            from.put_blob(part).unwrap();
        }
        missing.push(Digest::of(&manifest));
    }
    let bytes = index(&children);
    let info = from.put_blob(&bytes).unwrap();
    from.tag(&Reference::parse("multi:v1").unwrap(), &descriptor(OCI_INDEX, &info)).unwrap();

    let to = store(&scratch, "to");
    let loaded = load_bytes(&to, &save_bytes(&from, &["multi:v1"], Format::OciArchive).unwrap()).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].manifest, info.digest, "the index itself");
    assert_eq!(loaded[0].image_id, *Image::open(&from, "multi:v1", None).unwrap().id());
    assert!(!to.has_blob(&missing[1]).unwrap() && !to.has_blob(&missing[2]).unwrap());
    same_tree(&from, "multi:v1", &to, "multi:v1", &scratch);
    to.prune(&PruneOptions::default(), &Control::default()).unwrap();
    let report = to.fsck(FsckLevel::Bytes, &Control::default()).unwrap();
    // Platforms that are left out are no damage.
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    // One that is there must be there whole; and with none there, all are missing.
    let found = |store: &Store| store.fsck(FsckLevel::Reachability, &Control::default()).unwrap().problems;
    assert_eq!(found(&from).len(), 2, "{:?}", found(&from));
    to.dir().remove_file(format!("oci/blobs/sha256/{}", missing[0].hex())).unwrap();
    let gone: Vec<String> = found(&to).into_iter().map(|problem| problem.subject).collect();
    assert_eq!(gone.len(), 3, "{gone:?}");
    assert!(missing.iter().all(|digest| gone.contains(&digest.to_string())), "{gone:?}");

    let docker = store(&scratch, "docker");
    let loaded =
        load_bytes(&docker, &save_bytes(&from, &["multi:v1"], Format::DockerArchive).unwrap()).unwrap();
    assert_eq!(loaded[0].manifest, missing[0], "the manifest for this machine");
}

#[test]
fn archives_of_docker_up_to_24_load_with_their_links() {
    let scratch = Scratch::new();
    let (one, two) = (layer("one"), layer("two"));
    let config = config("linux/amd64", &[&one, &two, &one]);
    let id = Digest::of(&config);
    let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
    let manifest = json!([{
        "Config": format!("{}.json", id.hex()),
        "RepoTags": ["app:v1", "quay.io/team/app:v2"],
        "Layers": [format!("{a}/layer.tar"), format!("{b}/layer.tar"), format!("{c}/layer.tar")],
    }]);
    // The link comes before what it leads to, as Docker writes it.
    let mut entries = vec![
        dir(format!("{a}/")),
        symlink(format!("{a}/layer.tar"), format!("../{c}/layer.tar")),
        file(format!("{a}/VERSION"), "1.0"),
        file(format!("{a}/json"), "{}"),
        file(format!("{b}/layer.tar"), &two),
        file(format!("{c}/layer.tar"), &one),
        file(format!("{}.json", id.hex()), &config),
        file("manifest.json", manifest.to_string()),
        file("repositories", "{}"),
    ];
    let check = |entries: &[Entry], name: &str| -> Vec<Loaded> {
        let store = store(&scratch, name);
        let loaded = load_bytes(&store, &tar(entries)).unwrap();
        assert_eq!(loaded.iter().map(|l| l.image_id).collect::<Vec<_>>(), [id, id]);
        let names: Vec<String> = loaded.iter().map(|l| l.name.as_ref().unwrap().to_string()).collect();
        assert_eq!(names, ["app:v1", "quay.io/team/app:v2"]);
        assert_eq!(Image::open(&store, "app:v1", None).unwrap().config().bytes(), config);
        loaded
    };
    let first = check(&entries, "links");
    entries[1] = hardlink(format!("{a}/layer.tar"), format!("{c}/layer.tar"));
    entries.rotate_left(3);
    assert_eq!(check(&entries, "hard"), first, "the order of entries does not matter");
}

#[test]
fn archives_of_docker_before_1_10_load() {
    let scratch = Scratch::new();
    let (one, two) = (layer("one"), layer("two"));
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let base = json!({ "id": a, "created": "2015-01-01T00:00:00Z", "Size": 7, "architecture": "amd64", "os": "linux",
        "container_config": { "Cmd": ["/bin/sh", "-c", "#(nop) ADD"] } });
    let top = json!({ "id": b, "parent": a, "created": "2015-01-02T00:00:00Z", "author": "me",
        "config": { "Cmd": ["/app"] }, "architecture": "amd64", "os": "linux" });
    let entries = |top: &Value| {
        [
            file("repositories", json!({ "quay.io/team/app": { "v1": b } }).to_string()),
            file(format!("{a}/json"), base.to_string()),
            file(format!("{a}/layer.tar"), &one),
            file(format!("{b}/json"), top.to_string()),
            file(format!("{b}/layer.tar"), &two),
        ]
    };
    let to = store(&scratch, "to");
    let loaded = load_bytes(&to, &tar(&entries(&top))).unwrap();
    assert_eq!(loaded[0].name.as_ref().unwrap().to_string(), "quay.io/team/app:v1");
    let image = Image::open(&to, "quay.io/team/app:v1", None).unwrap();
    assert_eq!(image.config().diff_ids(), [Digest::of(&one), Digest::of(&two)]);
    assert_eq!(image.config().run().cmd.as_deref(), Some(&["/app".to_string()][..]));
    assert_eq!(image.config().history()[0].created_by.as_deref(), Some("/bin/sh -c #(nop) ADD"));
    let keys: Vec<&String> = image.config().value().keys().collect();
    assert!(!keys.iter().any(|key| ["id", "parent", "Size"].contains(&key.as_str())), "{keys:?}");

    let mut cycle = top.clone();
    cycle["parent"] = json!(b);
    let error = load_bytes(&to, &tar(&entries(&cycle))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    cycle["parent"] = json!("../../etc");
    let error = load_bytes(&to, &tar(&entries(&cycle))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
