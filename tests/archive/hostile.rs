//! Archives that lie, contradict themselves, or point elsewhere.

use serde_json::{Value, json};
use treering::ErrorKind::{self, *};
use treering::archive::{LoadOptions, load};
use treering::digest::Digest;
use treering::image::{OCI_INDEX, OCI_MANIFEST};
use treering::store::{PruneOptions, Store};
use treering::{Control, Error};

use crate::images::{blob, config, index, layer, layout, manifest, points_to};
use crate::{load_bytes, store};
use support::Scratch;
use support::tar::{Entry, device, dir, fifo, file, hardlink, symlink, tar};

/// Loads what must not load, and makes sure that nothing of it can be seen and all of it goes.
fn refuse(store: &Store, archive: &[u8], what: &str) -> Error {
    let before = store.entries().unwrap().len();
    let Err(error) = load_bytes(store, archive) else { panic!("{what}: it loads") };
    assert_eq!(store.entries().unwrap().len(), before, "{what}");
    store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    assert_eq!(store.usage(&Control::default()).unwrap().blobs, 0, "{what}: something is left");
    error
}

struct Parts {
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Parts {
    fn new() -> Parts {
        // Larger than what is kept in memory.
        let layer = layer(&"content ".repeat(2000));
        Parts { config: config("linux/amd64", &[&layer]), layer }
    }

    fn id(&self) -> String {
        Digest::of(&self.config).hex()
    }

    fn docker(&self, manifest: Value) -> Vec<Entry> {
        vec![
            file(format!("{}.json", self.id()), &self.config),
            file("layer.tar", &self.layer),
            file("manifest.json", manifest.to_string()),
        ]
    }

    fn item(&self, config: &str, layers: &[&str]) -> Value {
        json!([{ "Config": config, "RepoTags": ["app:v1"], "Layers": layers }])
    }
}

#[test]
fn paths_in_manifest_json_stay_in_the_archive() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("secret"), "{}").unwrap();
    let outside = scratch.join("secret");
    let outside = outside.to_str().unwrap();
    let store = store(&scratch, "store");
    let parts = Parts::new();
    let config = format!("{}.json", parts.id());
    load_bytes(&self::store(&scratch, "good"), &tar(&parts.docker(parts.item(&config, &["layer.tar"]))))
        .unwrap();

    let extra: &[(&str, Vec<Entry>)] = &[
        ("..", vec![]),
        ("../..", vec![]),
        ("../secret", vec![]),
        ("a/../../secret", vec![]),
        ("/etc/passwd", vec![]),
        (outside, vec![]),
        ("", vec![]),
        ("missing", vec![]),
        ("sub", vec![dir("sub/")]),
        ("pipe", vec![fifo("pipe")]),
        ("null", vec![device("null", b'3', (1, 3))]),
        ("link", vec![symlink("link", "/etc/passwd")]),
        ("link", vec![symlink("link", "../secret")]),
        ("link", vec![symlink("link", outside)]),
        ("link", vec![symlink("link", "link")]),
        ("link", vec![symlink("link", "missing")]),
        ("link", vec![symlink("link", "sub"), dir("sub")]),
        ("sub/layer.tar", vec![symlink("sub", "/")]),
        ("hard", vec![hardlink("hard", "etc/passwd")]),
        ("one", vec![symlink("one", "two"), symlink("two", "one")]),
        ("one", vec![hardlink("one", "two"), hardlink("two", "one")]),
    ];
    for (path, entries) in extra {
        for (what, item) in
            [("Config", parts.item(path, &["layer.tar"])), ("Layers", parts.item(&config, &[path]))]
        {
            let mut archive = parts.docker(item);
            archive.extend(entries.iter().cloned());
            let error = refuse(&store, &tar(&archive), &format!("{what} = {path}"));
            assert_eq!(error.kind(), Corrupt, "{what} = {path}: {error}");
        }
    }
}

#[test]
fn docker_archives_that_lie_are_refused() {
    let scratch = Scratch::new();
    let store = store(&scratch, "store");
    let parts = Parts::new();
    let path = format!("{}.json", parts.id());
    let good = parts.item(&path, &["layer.tar"]);
    let other = layer(&"other ".repeat(3000));
    let wrong_id = format!("{}.json", "0".repeat(64));
    let deep = "[".repeat(100_000);
    let huge = format!("[{}]", " ".repeat(5 << 20));
    let with = |manifest: &str| {
        let mut archive = parts.docker(Value::Null);
        archive[2] = file("manifest.json", manifest);
        archive
    };
    let added = |entry: Entry| {
        let mut archive = parts.docker(good.clone());
        archive.push(entry);
        archive
    };
    let named = |name: &str| {
        let mut item = good.clone();
        item[0]["RepoTags"] = json!([name]);
        parts.docker(item)
    };
    let again = |name: &str| {
        let mut list = good.as_array().unwrap().clone();
        let mut second = list[0].clone();
        second["Config"] = json!(name);
        list.push(second);
        Value::from(list)
    };
    let config_two = config("linux/arm64", &[&parts.layer]);
    let cases: Vec<(&str, Vec<Entry>, ErrorKind)> = vec![
        ("nothing in it", vec![], InvalidArgument),
        ("a filesystem", vec![dir("etc"), file("etc/passwd", "root")], InvalidArgument),
        ("no images", with("[]"), Corrupt),
        ("not a list", with("{}"), Corrupt),
        ("not JSON", with("[{]"), Corrupt),
        ("null", with("null"), Corrupt),
        ("not objects", with("[1]"), Corrupt),
        ("no config", with(r#"[{"Layers":[]}]"#), Corrupt),
        ("a name twice", with(r#"[{"Config":"a","Config":"b"}]"#), Corrupt),
        ("a name in two cases", with(r#"[{"Config":"a","config":"b"}]"#), Corrupt),
        ("numbers", with(r#"[{"Config":"a","Layers":[1]}]"#), Corrupt),
        ("deep", with(&deep), Limit),
        ("huge", with(&huge), Limit),
        ("a second entry that differs", added(file("layer.tar", &other)), Corrupt),
        ("a second manifest.json", added(file("./manifest.json", "[]")), Corrupt),
        ("a file and a directory", added(dir("layer.tar")), Corrupt),
        (
            "another layer",
            {
                let mut archive = parts.docker(good.clone());
                archive[1] = file("layer.tar", &other);
                archive
            },
            Corrupt,
        ),
        ("one layer too many", parts.docker(parts.item(&path, &["layer.tar", "layer.tar"])), Corrupt),
        ("too many layers", parts.docker(parts.item(&path, &["layer.tar"; 600])), Limit),
        ("no layers", parts.docker(parts.item(&path, &[])), Corrupt),
        (
            "the wrong id",
            {
                let mut archive = parts.docker(parts.item(&wrong_id, &["layer.tar"]));
                archive[0] = file(&wrong_id, &parts.config);
                archive
            },
            Corrupt,
        ),
        (
            "a config that is none",
            {
                let mut archive = parts.docker(parts.item("config.json", &["layer.tar"]));
                archive[0] = file("config.json", "{}");
                archive
            },
            Corrupt,
        ),
        ("a blob of another digest", added(file(format!("blobs/sha256/{}", "0".repeat(64)), "x")), Corrupt),
        ("a blob with a name that is none", added(file("blobs/sha256/x", "x")), Corrupt),
        ("a name that is none", named("../../etc"), Corrupt),
        ("a name with a digest", named(&format!("app@sha256:{}", parts.id())), Corrupt),
        ("an id as a name", named(&parts.id()), Corrupt),
        (
            "a name for two images",
            {
                let mut archive = parts.docker(again("two.json"));
                archive.push(file("two.json", &config_two));
                archive
            },
            Corrupt,
        ),
        ("a link out of the archive by name", vec![file("../manifest.json", "[]")], Corrupt),
    ];
    for (what, entries, kind) in cases {
        let error = refuse(&store, &tar(&entries), what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
    let whole = tar(&parts.docker(good.clone()));
    for len in [1, 511, 513, 4000, whole.len() - 1024 - 600] {
        assert_eq!(refuse(&store, &whole[..len], "cut short").kind(), Corrupt, "{len}");
    }
    assert_eq!(refuse(&store, b"", "empty").kind(), InvalidArgument);
    let many: Vec<Entry> = (0..200).map(|i| file(format!("f{i}"), "")).collect();
    let mut options = LoadOptions::default();
    options.limits.max_entries = 100;
    let input = Box::new(std::io::Cursor::new(tar(&many)));
    assert_eq!(load(&store, input, &options, &Control::default()).unwrap_err().kind(), Limit);
}

#[test]
fn image_layouts_that_lie_are_refused() {
    let scratch = Scratch::new();
    let store = store(&scratch, "store");
    let parts = Parts::new();
    let manifest = manifest(&parts.config, &[&parts.layer]);
    let entry = |name| points_to(OCI_MANIFEST, &manifest, name);
    let archive = |entries: &[Entry], index: &[u8]| {
        let mut all = vec![layout(), file("index.json", index)];
        all.extend(entries.iter().cloned());
        all
    };
    let blobs = [blob(&parts.config), blob(&parts.layer), blob(&manifest)];
    let good = index(&[entry(Some("app:v1"))]);
    load_bytes(&self::store(&scratch, "good"), &tar(&archive(&blobs, &good))).unwrap();

    let other_config = config("linux/amd64", &[b"another layer"]);
    let liar = crate::images::manifest(&other_config, &[&parts.layer]);
    let both =
        String::from_utf8(manifest.clone()).unwrap().replacen('{', r#"{"manifests":[],"#, 1).into_bytes();
    let item = parts.item(&format!("blobs/sha256/{}", parts.id()), &["layer.tar"]);
    let mut wrong_size = entry(None);
    wrong_size.set_size(7);
    let traversal = String::from_utf8(good.clone())
        .unwrap()
        .replace(&Digest::of(&manifest).to_string(), "sha256:../../../../etc/passwd");
    let mut nested = manifest.clone();
    let mut nests = vec![];
    for depth in 0..6 {
        let kind = if depth == 0 { OCI_MANIFEST } else { OCI_INDEX };
        nested = index(&[points_to(kind, &nested, None)]);
        nests.push(blob(&nested));
    }
    nests.extend(blobs.iter().cloned());
    let no_layout = archive(&blobs, &good)[1..].to_vec();
    let mut old_layout = archive(&blobs, &good);
    old_layout[0] = file("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#);
    let disagree = |item: Value, extra: &[Entry]| {
        let mut all = archive(&blobs, &good);
        all.push(file("manifest.json", item.to_string()));
        all.extend(extra.iter().cloned());
        all
    };
    // What was found to be right by one reference is not right by every other.
    let inner = index(&[entry(None)]);
    let mut longer = entry(None);
    longer.set_size(longer.size() + 1);
    let wrong_inner = index(&[longer]);
    let again = |second: treering::store::Descriptor, more: &[u8]| {
        let first = points_to(OCI_INDEX, &inner, Some("app:v1"));
        let mut all = archive(&blobs, &index(&[first, second]));
        all.extend([blob(&inner), blob(more)]);
        all
    };
    let deeper = {
        let one = index(&[points_to(OCI_INDEX, &inner, None)]);
        let two = index(&[points_to(OCI_INDEX, &one, None)]);
        let entries = [points_to(OCI_INDEX, &inner, None), points_to(OCI_INDEX, &two, None)];
        let mut all = archive(&blobs, &index(&entries));
        all.extend([blob(&inner), blob(&one), blob(&two)]);
        let mut three = archive(&blobs, &index(&[points_to(OCI_INDEX, &one, None), entries[1].clone()]));
        three.extend([blob(&inner), blob(&one), blob(&two)]);
        load_bytes(&self::store(&scratch, "three"), &tar(&three)).unwrap();
        let top = index(&[points_to(OCI_INDEX, &two, None)]);
        let mut four =
            archive(&blobs, &index(&[points_to(OCI_INDEX, &two, None), points_to(OCI_INDEX, &top, None)]));
        four.extend([blob(&inner), blob(&one), blob(&two), blob(&top)]);
        load_bytes(&self::store(&scratch, "all"), &tar(&all)).unwrap();
        four
    };
    let cases: Vec<(&str, Vec<Entry>, ErrorKind)> = vec![
        ("the second time as an index", again(points_to(OCI_INDEX, &manifest, None), b"x"), Corrupt),
        (
            "the second time of another size",
            again(points_to(OCI_INDEX, &wrong_inner, None), &wrong_inner),
            Corrupt,
        ),
        ("the second time too deep", deeper, Limit),
        ("no oci-layout", no_layout, Corrupt),
        ("another oci-layout", old_layout, Unsupported),
        ("no images", archive(&blobs, &index(&[])), Corrupt),
        ("not an index", archive(&blobs, &manifest), Corrupt),
        ("no manifest", archive(&blobs[..2], &good), Corrupt),
        ("no layer", archive(&[blobs[0].clone(), blobs[2].clone()], &good), Corrupt),
        ("no config", archive(&blobs[1..], &good), Corrupt),
        ("the wrong size", archive(&blobs, &index(&[wrong_size])), Corrupt),
        ("a digest that is a path", archive(&blobs, traversal.as_bytes()), Corrupt),
        ("not an image", archive(&blobs, &index(&[points_to("text/plain", &manifest, None)])), Unsupported),
        (
            "a manifest that is an index",
            archive(&blobs, &index(&[points_to(OCI_INDEX, &manifest, None)])),
            Corrupt,
        ),
        (
            "manifest and index in one",
            archive(
                &[blob(&both), blobs[0].clone(), blobs[1].clone()],
                &index(&[points_to(OCI_MANIFEST, &both, None)]),
            ),
            Corrupt,
        ),
        ("indexes in indexes", archive(&nests, &index(&[points_to(OCI_INDEX, &nested, None)])), Limit),
        (
            "an index of nothing we have",
            {
                let empty = index(&[points_to(OCI_MANIFEST, b"gone", None)]);
                archive(&[blob(&empty)], &index(&[points_to(OCI_INDEX, &empty, None)]))
            },
            Corrupt,
        ),
        (
            "another DiffID",
            archive(
                &[blob(&other_config), blob(&parts.layer), blob(&liar)],
                &index(&[points_to(OCI_MANIFEST, &liar, None)]),
            ),
            Corrupt,
        ),
        (
            "a blob by a link to another",
            {
                let mut all = archive(&blobs[..2], &good);
                all.push(symlink(format!("blobs/sha256/{}", Digest::of(&manifest).hex()), parts.id()));
                all
            },
            Corrupt,
        ),
        (
            "manifest.json names another layer",
            disagree(item.clone(), &[file("layer.tar", layer("evil"))]),
            Corrupt,
        ),
        (
            "manifest.json names another image",
            disagree(
                parts.item("other.json", &["layer.tar"]),
                &[file("other.json", &other_config), file("layer.tar", "another layer")],
            ),
            Corrupt,
        ),
        ("manifest.json is hostile", disagree(parts.item("../../x", &[]), &[]), Corrupt),
    ];
    for (what, entries, kind) in cases {
        let error = refuse(&store, &tar(&entries), what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
}

#[test]
fn names_that_readers_take_differently_are_no_names() {
    let scratch = Scratch::new();
    let parts = Parts::new();
    let manifest = manifest(&parts.config, &[&parts.layer]);
    for (number, name) in ["v1", "../../etc/passwd", "UPPER:v1", "a b", ""].iter().enumerate() {
        let store = store(&scratch, &number.to_string());
        let entries = [
            layout(),
            file("index.json", index(&[points_to(OCI_MANIFEST, &manifest, Some(name))])),
            blob(&parts.config),
            blob(&parts.layer),
            blob(&manifest),
        ];
        let loaded = load_bytes(&store, &tar(&entries)).unwrap();
        assert_eq!(loaded[0].name, None, "{name}");
        assert!(store.refs().unwrap().is_empty());
        assert_eq!(store.entries().unwrap().len(), 1);
    }
}

/// All paths of an archive are kept until its entry point is read, whatever they are for.
#[test]
fn names_are_held_to_a_limit() {
    let scratch = Scratch::new();
    let store = store(&scratch, "store");
    let long = |i: usize| format!("{}{i:03}", "n".repeat(200));
    let archives: [Vec<Entry>; 2] = [
        (0..300).map(|i| symlink(long(i), "t".repeat(4000))).collect(),
        (0..1000).map(|i| file(vec![long(i); 6].join("/"), "")).collect(),
    ];
    for entries in archives {
        let read = |max_held: u64| {
            let mut options = LoadOptions::default();
            options.limits.max_held = max_held;
            let archive = std::io::Cursor::new(tar(&entries));
            load(&store, Box::new(archive), &options, &Control::default()).unwrap_err().kind()
        };
        assert_eq!(read(1 << 20), ErrorKind::Limit);
        // It is no archive of images, but that is found out at its end.
        assert_eq!(read(1 << 30), ErrorKind::InvalidArgument);
    }
}
