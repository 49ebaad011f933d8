//! prune and fsck.

use serde_json::json;

use support::command::World;

#[test]
fn prune_asks_first() {
    let world = World::with_tree();
    world.run(&["commit", "tree"]).ok();
    world.sh("rm -r store/containers/*");
    let run = world.run(&["prune"]).fails(2, "standard input is not a terminal");
    assert!(run.stderr.contains("hint: add -f"), "{}", run.stderr);
    let looked = world.run(&["prune", "--dry-run"]).ok().shape();
    assert_eq!(&looked, "deleted: DIGEST\ndeleted: DIGEST\ndeleted: DIGEST\nReclaimable space: SIZE\n");
    let run = world.run(&["system", "prune", "-f"]).ok();
    assert_eq!(run.shape(), looked.replace("Reclaimable", "Total reclaimed"));
    assert_eq!(world.run(&["prune", "-f"]).ok().text(), "Total reclaimed space: 0B\n");
}

#[test]
fn prune_keeps_what_has_a_name_or_a_tree() {
    let world = World::unpacked();
    world.run(&["commit", "--base", "scratch", "tree", "other:v1"]).ok();
    world.sh("rm -r tree; echo x >work/x");
    let report = world.run(&["prune", "-f", "--json"]).ok().json();
    assert_eq!((&report["blobs"], &report["untagged"]), (&json!([]), &json!([])));
    // With -a the names go that no tree was made from.
    world.sh("mkdir third; echo 3 >third/3");
    world.run(&["commit", "third", "third:v1"]).ok();
    world.sh(
        "rm -r third; for c in store/containers/*; do grep -q third $c/config.json && rm -r $c; done; true",
    );
    let dry = world.run(&["prune", "-a", "--dry-run"]).ok().text();
    assert!(dry.contains("untagged: third:v1\n") && !dry.contains("app:v1"), "{dry}");
    let run = world.run(&["prune", "-a", "-f"]).ok().text();
    assert!(run.contains("untagged: third:v1\n") && run.contains("deleted: sha256:"), "{run}");
    world.run(&["inspect", "third:v1"]).code(1);
    world.run(&["commit", "work", "app:v2"]).ok();
}

#[test]
fn prune_forgets_trees_that_are_gone_when_asked() {
    let world = World::unpacked();
    world.sh("rm -r tree; mv work elsewhere");
    world.run(&["prune", "-f"]).ok();
    // A tree that was only moved is known as before.
    assert_eq!(world.run(&["diff", "elsewhere"]).ok().text(), "");
    world.sh("mv elsewhere work");
    let gone = world.join("tree").display().to_string();
    let dry = world.run(&["prune", "--trees", "--dry-run"]).ok().lines();
    assert_eq!(dry[0], format!("forgotten: {gone}"));
    let report = world.run(&["prune", "--trees", "-f", "--json"]).ok().json();
    assert_eq!(report["forgotten"], json!([gone]));
    assert_eq!(world.run(&["info", "--json"]).ok().json()["store"]["trees"], 1);
    assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
}

#[test]
fn the_build_cache_is_pruned_as_docker_users_type_it() {
    let world = World::new();
    world.sh("mkdir context; echo 1 >context/a; echo 2 >context/b");
    world.sh("printf 'FROM scratch\\nCOPY a /a\\nCOPY b /b\\n' >context/Dockerfile");
    world.run(&["buildx", "build", "-q", "-t", "app", "context"]).ok();
    let df = world.run(&["df"]).ok().text();
    let row = df.lines().find(|line| line.starts_with("Build Cache")).expect("a row");
    assert!(row.contains(" 2 "), "{df}");
    assert_eq!(world.run(&["df", "--json"]).ok().json()["cache_records"], 2);
    world.run(&["builder", "prune"]).fails(2, "standard input is not a terminal");
    // The image needs both layers, so that their records stay.
    assert_eq!(world.run(&["builder", "prune", "-f"]).ok().text(), "Total:\t0B\n");
    world.sh("echo 3 >context/b");
    world.run(&["build", "-q", "-t", "app", "context"]).ok();
    world.run(&["prune", "-f"]).ok();
    assert_eq!(world.run(&["df", "--json"]).ok().json()["cache_records"], 3);
    let young = ["builder", "prune", "-f", "--filter", "until=24h", "--json"];
    assert_eq!(world.run(&young).ok().json()["records"], 0);
    let much = ["builder", "prune", "-f", "--keep-storage", "1GB", "--json"];
    assert_eq!(world.run(&much).ok().json()["records"], 0);
    let dry = world.run(&["builder", "prune", "--dry-run"]).ok().shape();
    assert!(dry.starts_with("deleted: DIGEST\nReclaimable:\t4."), "{dry}");
    let report = world.run(&["prune", "--build-cache", "-f", "--json"]).ok().json();
    assert_eq!((&report["records"], report["blobs"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(world.run(&["buildx", "prune", "-af", "--json"]).ok().json()["records"], 2);
    world.run(&["inspect", "app"]).ok();
    for bad in [["--keep-storage", "much"], ["--until", "soon"], ["--filter", "label=x"]] {
        world.run(&["builder", "prune", bad[0], bad[1]]).fails(2, "invalid value");
    }
    world.run(&["prune", "--until", "24h"]).fails(2, "--build-cache");
}

#[test]
fn fsck_finds_damage() {
    let world = World::unpacked();
    let run = world.run(&["fsck"]).ok();
    assert_eq!(run.text(), "");
    assert!(run.stderr.contains(": no problems\n"), "{}", run.stderr);
    let layer = world.run(&["inspect", "app:v1"]).ok().json()[0]["Descriptor"]["digest"].clone();
    let manifest = layer.as_str().unwrap().strip_prefix("sha256:").unwrap().to_string();
    // Another blob than the manifest, with one byte different.
    world.sh(&format!(
        "cd store/oci/blobs/sha256; for b in *; do [ $b = {manifest} ] || break; done
         chmod u+w $b; printf X | dd of=$b bs=1 conv=notrunc status=none"
    ));
    world.run(&["fsck", "--level", "structure"]).ok();
    world.run(&["fsck", "--level", "reachability"]).ok();
    let run = world.run(&["fsck"]).code(1);
    assert!(run.text().starts_with("wrong-digest: sha256:"), "{}", run.text());
    let report = world.run(&["fsck", "--json"]).code(1).json();
    assert_eq!(report["problems"][0]["kind"], "wrong-digest");
    world.sh(&format!("rm -f store/oci/blobs/sha256/{manifest}"));
    let run = world.run(&["fsck", "--level", "reachability"]).code(1);
    assert!(run.text().starts_with("missing: sha256:"), "{}", run.text());
    world.run(&["--root", "tree", "fsck"]).fails(2, "");
}

#[test]
fn a_store_is_kept_without_indexes_of_layers() {
    let world = World::with_tree();
    let indexes = || world.run(&["df", "--json"]).ok().json()["index_bytes"].as_u64().unwrap();
    world.run(&["--no-layer-index", "commit", "tree", "app:v1"]).ok();
    assert_eq!(world.run(&["cat", "app:v1:/etc/motd", "--no-layer-index"]).ok().stdout, b"welcome\n");
    assert_eq!(indexes(), 0);
    assert_eq!(world.run(&["cat", "app:v1:/etc/motd"]).ok().stdout, b"welcome\n");
    assert!(indexes() > 0, "made by the first look that may");
}

#[test]
fn a_store_that_cannot_be_looked_at_is_not_no_store() {
    let world = World::unpacked();
    assert_eq!(world.run(&["--root", "nowhere", "diff", "work"]).ok().lines().len(), 5);
    world.sh("mv store hidden; ln -s nowhere store");
    world.run(&["diff", "work"]).fails(1, "store");
    world.sh("rm store; touch store");
    world.run(&["diff", "work"]).fails(1, "store");
    world.sh("rm store; mkdir -m 0 store");
    if !support::is_root() {
        world.run(&["diff", "work"]).fails(1, "store");
    }
    world.sh("rmdir store; mv hidden store");
    assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
}

/// A sandbox may refuse file handles where a tree is used, or where it was made: birth times have to do then.
#[test]
fn a_tree_is_known_by_what_both_could_say() {
    let world = World::unpacked();
    // The lower half of the last part is of the birth time, the upper one of the handle.
    world.sh("cd store/containers; for c in *; do short=${c%-*}-$(printf %s ${c##*-} | tail -c 8)
              test $c = $short || mv $c $short; done");
    assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
    world.sh("echo new >work/new");
    world.run(&["commit", "work", "app:v2"]).ok();
    assert_eq!(world.run(&["info", "--json"]).ok().json()["store"]["trees"], 2);
}

#[test]
fn names_behind_nested_indexes_are_in_use() {
    let world = World::unpacked();
    let path = world.join("store/oci/index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut child = index["manifests"][0].clone();
    child.as_object_mut().unwrap().remove("annotations");
    for _ in 0..2 {
        let document = json!({ "schemaVersion": 2, "manifests": [child] }).to_string();
        let digest = treering::Digest::of(document.as_bytes());
        std::fs::write(world.join("store/oci/blobs/sha256").join(digest.hex()), &document).unwrap();
        child = json!({ "mediaType": treering::image::OCI_INDEX, "digest": digest, "size": document.len() });
    }
    child["annotations"] = json!({ "org.opencontainers.image.ref.name": "nested:v1" });
    index["manifests"] = json!([child]);
    std::fs::write(&path, index.to_string()).unwrap();
    let report = world.run(&["prune", "-a", "-f", "--json"]).ok().json();
    assert_eq!(report["untagged"], json!([]));
    world.run(&["inspect", "nested:v1"]).ok();
}

#[test]
fn a_lost_index_is_damage_and_nothing_is_pruned() {
    for lost in ["index.json", "index.json oci-layout"] {
        let world = World::unpacked();
        world.sh(&format!("cp store/oci/index.json copy; cd store/oci; rm {lost}"));
        let blobs = || world.sh("ls store/oci/blobs/sha256");
        let before = blobs();
        let run = world.run(&["fsck"]).code(1);
        assert!(run.text().contains("bad-index: oci/index.json: the list of images is missing\n"), "{run:?}");
        let run = world.run(&["prune", "-a", "--trees", "-f"]).fails(1, "the list of images is missing");
        assert!(run.stderr.contains("\nhint: restore a copy"), "{}", run.stderr);
        world.run(&["commit", "tree", "app:v2"]).fails(1, "the list of images is missing");
        assert_eq!(world.run(&["images"]).code(1).text(), "", "{lost}");
        assert!(before.lines().all(|blob| blobs().contains(blob)));
        world.sh("cp copy store/oci/index.json");
        world.run(&["fsck"]).ok();
        world.run(&["commit", "tree", "app:v2"]).ok();
    }
}
