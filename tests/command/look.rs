//! images, inspect, history, df, info, version.

use serde_json::json;
use snapbox::{assert_data_eq, str};

use support::command::{World, run};
use support::tools::need;

/// Makes three names for two images, the newer one on top of the older.
fn two_images() -> World {
    let world = World::with_tree();
    let commit = |line: &[&str], epoch: &str| {
        run(world.command(line).env("SOURCE_DATE_EPOCH", epoch)).ok();
    };
    commit(&["commit", "tree", "app:v1", "-c", "LABEL team=blue"], "1000000000");
    world.sh("echo new >tree/etc/new");
    commit(&["commit", "tree", "registry.example:5000/team/app:v2", "-m", "Second\tring"], "1100000000");
    world.run(&["tag", "app:v1", "app:stable"]).ok();
    world
}

#[test]
fn images_is_dockers_table() {
    let world = two_images();
    assert_data_eq!(
        world.run(&["images"]).ok().shape(),
        str![[r#"
REPOSITORY | TAG | IMAGE ID | CREATED | SIZE
registry.example:5000/team/app | v2 | ID | AGE | SIZE
app | stable | ID | AGE | SIZE
app | v1 | ID | AGE | SIZE

"#]]
    );
    assert_data_eq!(
        world.run(&["images", "--digests", "--no-trunc", "app"]).ok().shape(),
        str![[r#"
REPOSITORY | TAG | DIGEST | IMAGE ID | CREATED | SIZE
app | stable | DIGEST | DIGEST | AGE | SIZE
app | v1 | DIGEST | DIGEST | AGE | SIZE

"#]]
    );
    assert_eq!(world.run(&["image", "ls"]).ok().text(), world.run(&["images", "-a"]).ok().text());
    // An image is one image, however many names it has.
    let ids = world.run(&["images", "-q"]).ok().lines();
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().all(|id| id.len() == 12));
    assert_eq!(
        World::new().run(&["images"]).ok().text(),
        "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n"
    );
}

#[test]
fn images_filters() {
    let world = two_images();
    world.run(&["commit", "--base", "scratch", "tree"]).ok();
    let tags = |line: &[&str]| -> Vec<String> {
        let rows = world.run(&[&["images", "--json"], line].concat()).ok().json();
        rows.as_array().unwrap().iter().map(|row| row["tag"].as_str().unwrap_or("-").to_string()).collect()
    };
    assert_eq!(tags(&[]), ["-", "v2", "stable", "v1"]);
    assert_eq!(tags(&["app"]), ["stable", "v1"]);
    assert_eq!(tags(&["app:v*"]), ["v1"]);
    assert_eq!(tags(&["-f", "reference=*/team/app"]), ["v2"]);
    assert_eq!(tags(&["-f", "reference=app:stable", "-f", "reference=*/*/app:v2"]), ["v2", "stable"]);
    assert_eq!(tags(&["-f", "dangling=true"]), ["-"]);
    assert_eq!(tags(&["-f", "label=team"]).len(), 3);
    assert_eq!(tags(&["-f", "label=team=red"]).len(), 0);
    assert_eq!(tags(&["-f", "before=registry.example:5000/team/app:v2"]), ["stable", "v1"]);
    assert_eq!(tags(&["-f", "since=app:v1", "-f", "dangling=false"]), ["v2"]);
    world.run(&["images", "-f", "colour=blue"]).fails(2, "expected reference=PATTERN");
    world.run(&["images", "-f", "since=nope"]).fails(1, "no image in the store");
}

#[test]
fn images_as_json() {
    let world = two_images();
    let rows = world.run(&["images", "--json"]).ok().json();
    let row = &rows[2];
    assert_eq!(row["name"], "app:v1");
    assert_eq!((&row["repository"], &row["tag"]), (&json!("app"), &json!("v1")));
    assert_eq!(row["created"], "2001-09-09T01:46:40Z");
    assert_eq!(row["layers"], 1);
    assert!(row["size"].as_u64().unwrap() > 100);
    assert_eq!(row["media_type"], "application/vnd.oci.image.manifest.v1+json");
    let lines = world.run(&["images", "--format", "json"]).ok().lines();
    let docker: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
    assert_eq!((&docker["Repository"], &docker["Tag"]), (&json!("app"), &json!("v1")));
    assert_eq!(docker["CreatedAt"], "2001-09-09 01:46:40 +0000 UTC");
    assert!(row["id"].as_str().unwrap()[7..].starts_with(docker["ID"].as_str().unwrap()));
}

#[test]
fn inspect_is_dockers_list() {
    let world = two_images();
    let shown = world.run(&["inspect", "app:v1", "registry.example:5000/team/app:v2"]).ok().json();
    assert_eq!(shown.as_array().unwrap().len(), 2);
    assert_eq!(shown[0]["RepoTags"], json!(["app:v1", "app:stable"]));
    assert_eq!(shown[1]["Comment"], "Second\tring");
    assert_eq!(shown[1]["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    // By the id that images prints, and by the beginning of one.
    let id = shown[0]["Id"].as_str().unwrap();
    for name in [id, &id[7..], &id[7..19]] {
        assert_eq!(world.run(&["inspect", name]).ok().json()[0]["Id"], id, "{name}");
    }
    let run = world.run(&["inspect", "nope", "app:v1"]).code(1);
    assert_eq!(run.json()[0]["Id"], id);
    assert!(run.stderr.contains("error: find image: nope: "), "{}", run.stderr);
    assert_eq!(world.run(&["inspect", "nope"]).code(1).text(), "[]\n");
}

#[test]
fn history_is_dockers_table() {
    let world = two_images();
    let name = "registry.example:5000/team/app:v2";
    assert_data_eq!(
        world.run(&["history", name]).ok().shape(),
        str![[r#"
IMAGE | CREATED | CREATED BY | SIZE | COMMENT
ID | AGE | treering commit ID | SIZE | Second ring
<missing> | AGE | treering commit ID | SIZE

"#]]
    );
    let exact = world.run(&["history", "--human=false", "--no-trunc", name]).ok().text();
    assert!(exact.contains("2001-09-09T01:46:40Z") && exact.contains("sha256:"), "{exact}");
    assert_eq!(world.run(&["history", "-q", name]).ok().lines()[1], "<missing>");
    assert_eq!(world.run(&["history", "-H", name]).ok().lines().len(), 3);
    let rows = world.run(&["history", "--json", name]).ok().json();
    assert_eq!(rows[0]["comment"], "Second\tring");
    assert_eq!(rows[1]["id"], json!(null));
    let line = world.run(&["history", "--format", "json", name]).ok().lines()[1].clone();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["ID"], "<missing>");
}

#[test]
fn df_separates_shared_from_unique() {
    let world = two_images();
    assert_data_eq!(
        world.run(&["df"]).ok().shape(),
        str![[r#"
TYPE | TOTAL | NAMED | SIZE | RECLAIMABLE
Images | 2 | 2 | SIZE | SIZE (0%)
Trees | 1 | - | - | SIZE
Layer lists | - | - | SIZE | -
Layer indexes | - | - | SIZE | -
Build Cache | 0 | - | SIZE | SIZE
Temporary | - | - | SIZE | SIZE

"#]]
    );
    assert_eq!(world.run(&["df"]).ok().text(), world.run(&["system", "df"]).ok().text());
    assert_data_eq!(
        world.run(&["df", "-v"]).ok().shape(),
        str![[r#"
REPOSITORY | TAG | IMAGE ID | CREATED | SIZE | SHARED SIZE | UNIQUE SIZE | LAYERS
registry.example:5000/team/app | v2 | ID | AGE | SIZE | SIZE | SIZE | 2
app | stable | ID | AGE | SIZE | SIZE | SIZE | 1
app | v1 | ID | AGE | SIZE | SIZE | SIZE | 1

"#]]
    );
    let usage = world.run(&["df", "--json"]).ok().json();
    let image = &usage["images"][0];
    let number = |name: &str| image[name].as_u64().unwrap();
    assert!(number("shared") > 0 && number("unique") > 0);
    assert_eq!(number("shared") + number("unique"), number("size"));
}

#[test]
fn info_shows_the_store_and_the_machine() {
    let world = World::with_tree();
    let before = world.run(&["info", "--json"]).ok().json();
    assert_eq!(before["store"]["images"], 0);
    assert!(!world.join("store").exists(), "looking must not make a store");
    world.run(&["commit", "tree", "app:v1"]).ok();
    let info = world.run(&["info", "--json"]).ok().json();
    assert_eq!(info["store"]["root"], world.join("store").to_str().unwrap());
    assert_eq!((&info["store"]["images"], &info["store"]["trees"]), (&json!(1), &json!(1)));
    for name in ["openat2", "user_xattrs", "user_namespaces", "subordinate_ids", "seccomp_notify"] {
        assert!(info["abilities"][name]["works"].is_boolean(), "{name}");
    }
    let text = world.run(&["system", "info"]).ok().text();
    assert!(text.contains("Store:\n Root: ") && text.contains(" openat2: "), "{text}");
}

/// Whatever call fails: an error, or the same list. What could not be read is never shown as something else.
#[test]
fn an_error_of_the_disk_is_an_error_or_changes_nothing() {
    if !need("strace", &["-qq", "-o", "/dev/null", "true"]) {
        return;
    }
    let world = two_images();
    let (mut failed, mut runs) = (0, 0);
    for verb in [&["images", "--json"][..], &["history", "-q", "app:v1"], &["df", "--json"]] {
        let whole = world.run(verb).ok().text();
        for call in ["openat", "read"] {
            for number in 1.. {
                let inject = format!("inject={call}:error=EIO:when={number}");
                let trace = world.join("trace");
                let strace =
                    format!("exec strace -f -qq -o {} -e trace={call} -e {inject} \"$@\"", trace.display());
                let run = world.by_shell(&strace, verb);
                if !std::fs::read_to_string(&trace).unwrap().contains("(INJECTED)") {
                    break;
                }
                runs += 1;
                if run.status.success() {
                    assert_eq!(run.text(), whole, "{verb:?} with {inject}");
                } else {
                    failed += 1;
                }
            }
        }
    }
    assert!(runs > 50 && failed > 20, "{failed} of {runs}");
}

/// The command says what the library finds out, with and without a store, and only adds what it alone can try.
#[test]
fn info_is_that_of_the_library() {
    let world = World::with_tree();
    for made in [false, true] {
        if made {
            world.run(&["commit", "tree", "app:v1"]).ok();
        }
        let mut said = world.run(&["info", "--json"]).ok().json();
        let root = world.join("store");
        let mut found = match made {
            true => {
                treering::info::info(Some(&treering::store::Store::open(&root).unwrap())).unwrap().to_json()
            }
            false => treering::info::info_at(Some(&root)).to_json(),
        };
        for alone in ["rungs", "helper"] {
            assert!(said.as_object_mut().unwrap().remove(alone).is_some(), "{alone}");
        }
        if !made {
            // To the library, no store is no store; the command says where one would be.
            let none = json!({ "root": root.to_str().unwrap(), "images": 0, "trees": 0 });
            assert_eq!(found.insert("store".into(), none), None);
        }
        assert_eq!(said, serde_json::Value::Object(found), "with a store: {made}");

        let text = world.run(&["info"]).ok().text();
        let store = &said["store"];
        let mut lines = vec![
            format!("Version: {}", env!("CARGO_PKG_VERSION")),
            format!("Kernel: {}", said["kernel"].as_str().unwrap()),
            format!("Processors: {}", said["processors"]),
            format!(" Images: {}", store["images"]),
            format!(" Trees: {}", store["trees"]),
        ];
        for (name, one) in said["abilities"].as_object().unwrap() {
            let works = if one["works"] == true { "yes" } else { "no" };
            lines.push(format!(" {}: {works} ({})", name.replace('_', " "), one["remark"].as_str().unwrap()));
        }
        for line in lines {
            assert!(text.lines().any(|other| other == line), "{line:?} in {text}");
        }
    }
}

#[test]
fn version_is_one_line() {
    let world = World::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(world.run(&["--version"]).ok().text(), format!("treering {version}\n"));
    assert!(world.run(&["version"]).ok().text().starts_with(&format!("treering {version} (linux/")));
    assert_eq!(world.run(&["version", "--json"]).ok().json()["version"], version);
}

/// Makes one name for two platforms, as other tools do.
fn multi_platform() -> World {
    use treering::image::{Image, OCI_INDEX, Platform, new_index};
    use treering::store::{Reference, Store, descriptor};
    let world = World::with_tree();
    let store = Store::open(world.join("store")).unwrap();
    let mut manifests = Vec::new();
    for platform in ["linux/arm64", "linux/amd64"] {
        world.run(&["commit", "--base", "scratch", "--platform", platform, "tree", platform]).ok();
        let image = Image::open(&store, platform, None).unwrap();
        let mut manifest = image.descriptor().clone();
        let parsed: Platform = platform.parse().unwrap();
        manifest.set_platform(Some((&parsed).into()));
        manifest.set_annotations(None);
        manifests.push(manifest);
        world.run(&["rmi", "--no-prune", platform]).ok();
    }
    let index = store.put_blob(&new_index(&manifests, &Default::default()).unwrap()).unwrap();
    store.tag(&Reference::parse("multi:v1").unwrap(), &descriptor(OCI_INDEX, &index)).unwrap();
    world
}

#[test]
fn a_multi_platform_image_is_one_row() {
    let world = multi_platform();
    let rows = world.run(&["images", "--json"]).ok().json();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(rows[0]["media_type"], "application/vnd.oci.image.index.v1+json");
    let here = world.run(&["inspect", "multi:v1"]).ok().json();
    assert_eq!(rows[0]["id"], here[0]["Id"]);
    for (platform, architecture) in [("linux/arm64", "arm64"), ("amd64", "amd64")] {
        let shown = world.run(&["inspect", "--platform", platform, "multi:v1"]).ok().json();
        assert_eq!(shown[0]["Architecture"], architecture);
        assert_eq!(shown[0]["RepoTags"], json!(["multi:v1"]));
    }
    world.run(&["inspect", "--platform", "linux/s390x", "multi:v1"]).code(1);
    world.run(&["unpack", "--platform", "linux/arm64", "multi:v1", "work"]).ok();
    assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
    // By the id that the list shows, the whole image goes.
    let id = world.run(&["images", "-q"]).ok().text();
    let run = world.run(&["rmi", id.trim()]).ok();
    assert!(run.text().starts_with("Untagged: multi:v1\nDeleted: sha256:"), "{}", run.text());
    assert_eq!(world.run(&["images", "-q"]).ok().text(), "");
}

/// One platform of several can be saved, in either kind of archive; the hint of an image without this machine's is true.
#[test]
fn one_platform_of_an_image_is_saved() {
    let world = multi_platform();
    for (format, platform) in [("docker-archive", "linux/arm64"), ("oci-archive", "linux/amd64")] {
        let line = ["save", "--format", format, "--platform", platform, "-o", "a.tar", "multi:v1"];
        world.run(&line).ok();
        world.run(&["--root", "other", "load", "-i", "a.tar"]).ok();
        let shown = world.run(&["--root", "other", "inspect", "multi:v1"]).ok().json();
        assert_eq!(shown.as_array().unwrap().len(), 1);
        assert!(platform.ends_with(shown[0]["Architecture"].as_str().unwrap()), "{format}: {shown}");
        world.sh("rm -rf other");
    }
    world.run(&["save", "--platform", "linux/s390x", "-o", "no.tar", "multi:v1"]).fails(1, "multi:v1");
    assert!(!world.join("no.tar").exists());
}

/// What another tool put into the index hides nothing, and can be taken out again.
#[test]
fn an_entry_of_another_tool_is_left_out() {
    let world = World::unpacked();
    let path = world.join("store/oci/index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (digest, name) in
        [(format!("sha512:{}", "a".repeat(128)), "other:v1"), ("foo+bar:abc".into(), "odd:v1")]
    {
        index["manifests"].as_array_mut().unwrap().push(serde_json::json!({
            "mediaType": treering::image::OCI_MANIFEST, "digest": digest, "size": 5,
            "annotations": { "org.opencontainers.image.ref.name": name },
        }));
    }
    std::fs::write(&path, index.to_string()).unwrap();
    let run = world.run(&["images"]).ok();
    assert_eq!(run.lines().len(), 2, "{}", run.text());
    assert!(
        run.stderr.contains("warning: left out: other:v1") && run.stderr.contains("odd:v1"),
        "{}",
        run.stderr
    );
    assert_eq!(world.run(&["rmi", "odd:v1"]).ok().text(), "Untagged: odd:v1\n");
    world.run(&["tag", "app:v1", "app:v2"]).ok();
    world.run(&["rmi", "app:v2"]).ok();
    world.run(&["df"]).ok();
}
