//! tag, rmi, save, load, import, export.

use serde_json::json;

use support::command::World;

#[test]
fn tag_gives_and_moves_names() {
    let world = World::unpacked();
    world.run(&["tag", "app:v1", "app"]).ok();
    world.sh("echo x >work/x");
    world.run(&["commit", "work", "app:v2"]).ok();
    world.run(&["tag", "app:v2", "app"]).ok();
    let id = |name: &str| world.run(&["inspect", name]).ok().json()[0]["Id"].clone();
    assert_eq!(id("app:latest"), id("app:v2"));
    assert_ne!(id("app:latest"), id("app:v1"));
    world.run(&["tag", "nope", "x"]).fails(1, "no image in the store");
    world.run(&["tag", "app:v1", "x:y:z"]).fails(1, "");
    world.run(&["tag", "app:v1"]).fails(2, "required");
}

#[test]
fn rmi_untags_and_then_deletes() {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.run(&["tag", "app:v1", "app:stable"]).ok();
    // The record of the tree would keep the blobs.
    world.sh("rm -r store/containers/*");
    assert_eq!(world.run(&["rmi", "app:stable"]).ok().text(), "Untagged: app:stable\n");
    let run = world.run(&["rmi", "app:v1"]).ok();
    assert_eq!(run.shape(), "Untagged: app:v1\nDeleted: DIGEST\nDeleted: DIGEST\n");
    assert_eq!(world.run(&["df", "--json"]).ok().json()["blobs"], 0);
    let run = world.run(&["rmi", "app:v1"]).fails(1, "no image in the store has this name or id");
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
}

#[test]
fn rmi_by_id_refuses_what_others_stand_on() {
    let world = World::unpacked();
    world.sh("echo x >work/x");
    world.run(&["commit", "work", "app:v2"]).ok();
    let id =
        |name: &str| world.run(&["inspect", name]).ok().json()[0]["Id"].as_str().unwrap()[7..19].to_string();
    let (v1, v2) = (id("app:v1"), id("app:v2"));
    // Not by force either: Docker says "(cannot be forced)" of an image that others are built on, however many names it has.
    world.run(&["tag", "app:v1", "app:first"]).ok();
    for line in [&["rmi", &v1][..], &["rmi", "-f", &v1]] {
        let run = world.run(line).fails(1, "conflict: unable to delete");
        assert!(run.stderr.contains("(cannot be forced): app:v2 is built on the image"), "{}", run.stderr);
        assert!(run.stderr.contains("\nhint: "), "{}", run.stderr);
    }
    assert_eq!(world.run(&["rmi", "-f", "app:first"]).ok().text(), "Untagged: app:first\n");
    world.run(&["tag", "app:v2", "app:v3"]).ok();
    world.run(&["rmi", &v2]).fails(1, "several names refer to the image");
    let run = world.run(&["rmi", "-f", &v2, "--json"]).ok().json();
    assert_eq!(run[0], json!({"untagged": "app:v2"}));
    assert_eq!(run[1], json!({"untagged": "app:v3"}));
    // A name may go although an image stands on it; nothing is deleted then.
    world.run(&["commit", "--base", "app:v1", "work", "app:v4"]).ok();
    assert_eq!(world.run(&["rmi", "app:v1"]).ok().text(), "Untagged: app:v1\n");
    world.run(&["unpack", "app:v4", "again"]).ok();
    // One that fails does not keep the others.
    let run = world.run(&["image", "rm", "nope", "app:v4"]).code(1);
    assert!(run.text().starts_with("Untagged: app:v4\n"), "{}", run.text());
    assert!(run.stderr.contains("error: find image: nope"), "{}", run.stderr);
    // What is not there already is as it should be, when forced: said, and no failure.
    let run = world.run(&["rmi", "-f", "nope"]).ok();
    assert!(run.text().is_empty() && run.stderr.contains("error: find image: nope"), "{}", run.stderr);
}

#[test]
fn an_image_that_loses_its_name_is_listed_until_prune() {
    let world = World::unpacked();
    let id = |name: &str| world.run(&["inspect", name]).ok().json()[0]["Id"].as_str().unwrap().to_string();
    let untagged = || -> Vec<String> {
        let rows = world.run(&["images", "-a", "--json"]).ok().json();
        let rows = rows.as_array().unwrap().iter().filter(|row| row["name"].is_null());
        rows.map(|row| row["id"].as_str().unwrap().to_string()).collect()
    };
    let first = id("app:v1");
    world.sh("echo x >work/x");
    world.run(&["commit", "work", "app:v1"]).ok();
    assert_eq!(untagged(), std::slice::from_ref(&first));
    world.run(&["history", &first]).ok();
    // It has another name: nothing is added to the list.
    world.run(&["tag", &first, "app:first"]).ok();
    assert!(untagged().is_empty());
    world.run(&["tag", "app:v1", "app:second"]).ok();
    world.run(&["tag", &first, "app:v1"]).ok();
    assert!(untagged().is_empty());
    world.run(&["rmi", "app:first"]).ok();
    // An image on top keeps its parent in the list, by name as by id.
    assert_eq!(world.run(&["rmi", "app:v1"]).ok().text(), "Untagged: app:v1\n");
    assert_eq!(untagged(), std::slice::from_ref(&first));
    assert!(world.run(&["df"]).ok().text().contains("Images"));
    let report = world.run(&["prune", "-f", "--json"]).ok().json();
    assert_eq!(report["images"].as_array().unwrap().len(), 1);
    assert!(untagged().is_empty());
    world.run(&["fsck"]).ok();
}

#[test]
fn untagged_images_that_others_are_built_on_are_hidden_and_go_with_them() {
    let world = World::unpacked();
    world.run(&["tag", "app:v1", "other:v1"]).ok();
    world.run(&["rmi", "app:v1"]).ok();
    world.run(&["rmi", "other:v1"]).ok();
    // A loop that moves one name leaves an untagged image each time.
    for round in 0..3 {
        world.sh(&format!("echo {round} >work/round"));
        world.run(&["commit", "work", "app:latest"]).ok();
    }
    let count = |options: &[&str]| world.run(&[&["images", "-q"], options].concat()).ok().lines().len();
    assert_eq!((count(&[]), count(&["-a"]), count(&["-f", "dangling=true"])), (1, 3, 0));
    world.sh("mkdir lone; echo lone >lone/file");
    world.run(&["commit", "lone", "lone:v1"]).ok();
    world.sh("echo more >>lone/file");
    world.run(&["commit", "--squash", "lone", "lone:v1"]).ok();
    assert_eq!((count(&[]), count(&["-f", "dangling=true"])), (3, 1));
    // The line that people type.
    let ids = world.run(&["images", "-q", "-f", "dangling=true"]).ok().lines();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.run(&[&["rmi"], &ids[..]].concat()).ok();
    assert_eq!(count(&["-f", "dangling=true"]), 0);
    let run = world.run(&["rmi", "app:latest"]).ok();
    // Their layers stay with the tree.
    assert_eq!(run.text().matches("Deleted: ").count(), 3, "{}", run.text());
    assert_eq!(count(&["-a"]), 1);
    world.run(&["fsck"]).ok();
}

#[test]
fn an_archive_goes_out_and_in_again() {
    let world = World::unpacked();
    world.sh("echo x >work/x");
    world.run(&["commit", "work", "app:v2"]).ok();
    let ids = world.run(&["images", "--no-trunc", "-q"]).ok().text();
    for format in ["docker-archive", "oci-archive"] {
        world.run(&["save", "--format", format, "-o", "app.tar", "app:v1", "app:v2"]).ok();
        let root = format!("--root={}", world.join(format).display());
        let run = world.run(&[&root, "load", "-i", "app.tar"]).ok();
        assert_eq!(run.text(), "Loaded image: app:v1\nLoaded image: app:v2\n", "{format}");
        assert_eq!(world.run(&[&root, "images", "--no-trunc", "-q"]).ok().text(), ids, "{format}");
        world.run(&[&root, "fsck"]).ok();
    }
    // Through pipes as well.
    let bytes = world.run(&["save", "app:v2"]).ok().stdout;
    let loaded = world.feed(&["--root=piped", "load", "--json"], &bytes).ok().json();
    assert_eq!(loaded[0]["name"], "app:v2");
    let id = loaded[0]["id"].as_str().unwrap();
    assert!(ids.contains(id), "{id}");
}

#[test]
fn an_archive_does_not_decide_what_a_name_means() {
    let world = World::unpacked();
    world.run(&["save", "-o", "app.tar", "app:v1"]).ok();
    // The same image again is nothing new.
    assert_eq!(world.run(&["load", "-i", "app.tar"]).ok().text(), "Loaded image: app:v1\n");
    world.sh("echo x >work/x");
    let id = world.run(&["commit", "work", "app:v1"]).ok().text();
    let run = world.run(&["load", "-i", "app.tar"]).fails(1, "app:v1");
    assert!(run.stderr.contains("hint: --names move"), "{}", run.stderr);
    let named = || world.run(&["inspect", "app:v1"]).ok().json()[0]["Id"].as_str().unwrap().to_string();
    assert_eq!(named(), id.trim());
    let run = world.run(&["load", "-i", "app.tar", "--names", "ignore"]).ok();
    assert!(run.text().starts_with("Loaded image ID: sha256:"), "{}", run.text());
    assert_eq!(named(), id.trim());
    world.run(&["load", "-i", "app.tar", "--names", "move"]).ok();
    assert_ne!(named(), id.trim());
}

#[test]
fn a_failed_save_leaves_the_old_file() {
    let world = World::unpacked();
    world.sh("echo old >app.tar");
    world.run(&["save", "-o", "app.tar", "app:v1", "nope"]).fails(1, "no image in the store");
    assert_eq!(world.sh("cat app.tar; ls"), "old\napp.tar\nstore\ntree\nwork\n");
    world.run(&["save", "-o", "app.tar"]).fails(2, "required");
    world.run(&["save", "-o", "nowhere/app.tar", "app:v1"]).fails(1, "no such file or directory");
    world.run(&["load", "-i", "nowhere"]).fails(1, "no such file or directory");
    world.feed(&["load"], b"neither tar nor anything").code(1);
}

#[test]
fn import_and_export_are_each_others_way_back() {
    let world = World::unpacked();
    world.run(&["export", "app:v1", "-o", "image.tar"]).ok();
    world.run(&["export", "work", "-o", "tree.tar"]).ok();
    let names = world.sh("tar -tf image.tar | sort");
    assert!(names.contains("bin/hello\n"), "{names}");
    assert_eq!(names, world.sh("tar -tf tree.tar | sort"));
    let run =
        world.run(&["import", "image.tar", "flat:v1", "-m", "Imported", "-c", "CMD [\"/bin/hello\"]"]).ok();
    assert_eq!(run.shape(), "DIGEST\n");
    let shown = world.run(&["inspect", "flat:v1"]).ok().json();
    assert_eq!(shown[0]["Comment"], "Imported");
    assert_eq!(shown[0]["Config"]["Cmd"], json!(["/bin/hello"]));
    assert_eq!(world.run(&["diff", "app:v1", "flat:v1"]).ok().text(), "");
    let bytes = std::fs::read(world.join("tree.tar")).unwrap();
    world.feed(&["import", "-", "piped:v1"], &bytes).ok();
    assert_eq!(world.run(&["diff", "app:v1", "piped:v1"]).ok().text(), "");
    let packed = world.run(&["import", "--json", "--compression", "zstd", "image.tar"]).ok().json();
    let plain = world.run(&["import", "--json", "image.tar"]).ok().json();
    assert_eq!(packed["layer"]["diff_id"], plain["layer"]["diff_id"]);
    assert_eq!(plain["layer"]["diff_id"], plain["layer"]["digest"]);
    world.run(&["export", "nope"]).fails(1, "no image in the store");
    world.run(&["export", "image.tar"]).fails(2, "neither a directory nor an image");
}

/// An image layout that is a directory loads like one in a tar: that of a store, for one.
#[test]
fn a_layout_in_a_directory_is_loaded() {
    let world = World::unpacked();
    world.run(&["--root=elsewhere", "load", "-i", "store/oci"]).ok();
    let id = |root: &str| world.run(&[root, "inspect", "app:v1"]).ok().json()[0]["Id"].clone();
    assert_eq!(id("--root=elsewhere"), id("--root=store"));
    world.sh("mkdir empty");
    world.run(&["load", "-i", "empty"]).fails(1, "not an image layout");
    world.run(&["tag", "app:v1", "scratch"]).fails(1, "reserved");
    world.run(&["commit", "work", "auto:v1"]).fails(1, "reserved");
    world.run(&["tag", "app:v1", "my/scratch"]).ok();
}

/// What is no root filesystem, or none that can be read, is said to be so, with the way out.
#[test]
fn an_archive_of_images_or_another_compression_is_said_at_import() {
    let world = World::unpacked();
    world.run(&["save", "-o", "app.tar", "app:v1"]).ok();
    let run = world.run(&["import", "app.tar", "odd:v1"]).ok();
    assert!(run.stderr.contains("warning: the tar is an archive of images"), "{}", run.stderr);
    world.run(&["export", "app:v1", "-o", "tree.tar"]).ok();
    assert_eq!(world.run(&["import", "tree.tar", "even:v1"]).ok().stderr, "");
    for (program, head) in [("lz4", &b"\x04\x22\x4d\x18"[..]), ("uncompress -c", b"\x1f\x9d\x90")] {
        std::fs::write(world.join("other"), [head, &[7; 600]].concat()).unwrap();
        let run = world.run(&["import", "other", "x:y"]).fails(1, "is not supported");
        assert!(run.stderr.contains(&format!("`{program}")), "{}", run.stderr);
    }
}

/// Parents are made, and go again when nothing comes of it.
#[test]
fn an_image_is_unpacked_below_directories_that_are_not_there() {
    let world = World::unpacked();
    world.run(&["unpack", "app:v1", "a/b/c"]).ok();
    assert_eq!(world.run(&["diff", "a/b/c"]).ok().text(), "");
    world.sh("f=$(ls -S store/oci/blobs/sha256 | head -1); for f in store/oci/blobs/sha256/*; do
                head -c2 $f | od -An -tx1 | grep -q '1f 8b' && printf '\\0' | dd of=$f bs=1 seek=60 conv=notrunc status=none || true; done");
    world.run(&["unpack", "app:v1", "d/e/f"]).code(1);
    assert!(!world.join("d").exists());
    world.sh("ln -s nowhere link");
    world.run(&["unpack", "app:v1", "link/x"]).code(1);
    assert!(!world.join("nowhere").exists());
}

/// What a killed unpack left counts in what prune frees.
#[test]
fn prune_counts_what_a_killed_unpack_left() {
    let world = World::unpacked();
    world.sh("mkdir -p .x.unpacking-1; head -c 100000 /dev/zero >.x.unpacking-1/f
              printf %s \"$PWD/.x.unpacking-1\" >store/tmp/scratch-1");
    let pruned = world.run(&["prune", "-f", "--json"]).ok().json();
    assert!(pruned["bytes"].as_u64().unwrap() >= 100_000, "{pruned}");
    assert!(!world.join(".x.unpacking-1").exists());
}

/// A message names the file that a person can find.
#[test]
fn paths_of_the_store_are_whole() {
    let world = World::unpacked();
    let store = world.join("store");
    world.sh("cp store/oci/index.json saved; rm store/oci/index.json; mkdir store/oci/index.json");
    for line in [&["images"][..], &["tag", "app:v1", "b"], &["prune", "-f"], &["commit", "work", "x:y"]] {
        let run = world.run(line).code(1);
        assert!(
            run.stderr.contains(store.join("oci/index.json").to_str().unwrap()),
            "{line:?}: {}",
            run.stderr
        );
    }
    world.sh("rmdir store/oci/index.json; mv saved store/oci/index.json; mv store/layers store/gone; touch store/layers");
    let run = world.run(&["df"]).code(1);
    assert!(run.stderr.contains(store.to_str().unwrap()), "{}", run.stderr);
}
