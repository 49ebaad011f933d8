//! Ordinary use, and its warnings and refusals.

use support::command::World;

#[test]
fn names_that_mean_no_image_are_given_to_none() {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.run(&["save", "-o", "app.tar", "app:v1"]).ok();
    for name in ["scratch", "auto", "auto:v1", "docker.io/library/scratch"] {
        world.run(&["tag", "app:v1", name]).fails(1, "the name is reserved");
        world.run(&["commit", "tree", name]).fails(1, "the name is reserved");
        world.run(&["import", "app.tar", name]).fails(1, "the name is reserved");
        world.run(&["edit", "app:v1", name]).fails(1, "the name is reserved");
    }
    world.run(&["tag", "app:v1", "my/scratch"]).ok();
    world.run(&["inspect", "my/scratch"]).ok();
    let names: Vec<_> = world
        .run(&["images", "--json"])
        .ok()
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["repository"].clone())
        .collect();
    assert_eq!(names, ["app", "my/scratch"]);
}

/// A name that moves on leaves an image without one. Every verb takes the ids that `images -q` prints, in its order.
#[test]
fn what_lost_its_name_goes_by_its_id() {
    let world = World::new();
    world.sh("mkdir work");
    for number in 1..4 {
        world.sh(&format!("echo {number} >work/{number}"));
        world.run(&["commit", "work", "app:v1"]).ok();
    }
    // Built on the others, without a name; then one that is built on nothing.
    world.run(&["commit", "-c", "LABEL a=b", "work"]).ok();
    world.run(&["commit", "--base", "scratch", "work", "app:v1"]).ok();
    let ids = world.run(&["images", "-q"]).ok().lines();
    assert_eq!(ids.len(), 3, "{ids:?}");
    for id in &ids {
        for verb in ["inspect", "history", "ls"] {
            world.run(&[verb, id]).ok();
        }
        world.run(&["save", "-o", "app.tar", id]).ok();
        world.run(&["export", "-o", "app.tar", id]).ok();
        world.run(&["unpack", id, &format!("out-{id}")]).ok();
    }
    world.sh("rm -r out-* work");
    world.run(&["prune", "--trees", "-f"]).ok();
    for id in world.run(&["images", "-q"]).ok().lines() {
        world.run(&["rmi", "-f", &id]).ok();
    }
    assert_eq!(world.run(&["images", "-qa"]).ok().text(), "");
}

/// Docker stops near 125 layers, far below what the store takes.
#[test]
fn many_layers_are_warned_of() {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.run(&["layer", "create", "tree", "-o", "layer"]).ok();
    let append: Vec<&str> = [["--append", "layer"]; 119].into_iter().flatten().collect();
    world.run(&[&["edit", "app:v1", "app:many"][..], &append].concat()).ok();
    world.run(&["unpack", "app:many", "work"]).ok();
    world.sh("echo new >work/new");
    let more = world.run(&["commit", "work", "app:more"]).ok();
    assert!(more.stderr.contains("warning: the image has 121 layers; Docker takes 120"), "{}", more.stderr);
    let squashed = world.run(&["commit", "--squash", "work", "app:one"]).ok();
    assert!(!squashed.stderr.contains("warning"), "{}", squashed.stderr);
    // Whatever makes the image.
    let warning = "the image has 121 layers; Docker takes 120";
    let edited = world.run(&["edit", "app:many", "app:edited", "--append", "layer"]).ok();
    assert!(edited.stderr.contains(warning), "{}", edited.stderr);
    let edited = world.run(&["edit", "app:many", "app:edited", "--append", "layer", "--squash"]).ok();
    assert!(!edited.stderr.contains("warning"), "{}", edited.stderr);
    world.sh("printf 'FROM app:many\\nCOPY tree /more\\n' >Dockerfile");
    let built = world.run(&["build", "-t", "app:built", "."]).ok();
    assert!(built.stderr.contains(warning), "{}", built.stderr);
    let built = world.run(&["build", "-q", "-t", "app:built", "."]).ok();
    assert!(!built.stderr.contains("warning"), "{}", built.stderr);
}

/// Archives of Docker have no layers of zstd: what compressed well comes out large.
#[test]
fn an_archive_that_grows_is_warned_of() {
    let world = World::with_tree();
    world.sh("truncate -s 70M tree/zeros");
    world.run(&["commit", "--compression", "zstd", "tree", "app:v1"]).ok();
    let saved = world.run(&["save", "-o", "app.tar", "app:v1"]).ok();
    assert!(saved.stderr.contains("is written uncompressed, 734"), "{}", saved.stderr);
    let saved = world.run(&["save", "--format", "oci-archive", "-o", "app.tar", "app:v1"]).ok();
    assert!(!saved.stderr.contains("warning"), "{}", saved.stderr);
}

/// SOURCE_DATE_EPOCH dates what is imported, and leaves the bytes of its layer alone: another tool wrote them.
#[test]
fn the_epoch_dates_what_is_imported_and_changes_no_byte() {
    let world = World::with_tree();
    world.sh("touch -d @1500000000 tree/etc/motd; tar -C tree -cf tree.tar .");
    let mut import = world.command(&["import", "tree.tar", "app:v1"]);
    support::command::run(import.env("SOURCE_DATE_EPOCH", "1200000000")).ok();
    world.run(&["unpack", "app:v1", "work"]).ok();
    assert_eq!(world.sh("stat -c %Y work/etc/motd work/bin/hello"), "1500000000\n1000000000\n");
    let image = world.run(&["inspect", "app:v1"]).ok().json()[0].clone();
    assert_eq!(image["Created"], "2008-01-10T21:20:00Z");
    assert_eq!(
        image["RootFS"]["Layers"][0],
        format!("sha256:{}", world.sh("sha256sum tree.tar | cut -c 1-64").trim())
    );
}

/// A claim that could not be written is no claim, and no file that waits for a prune either.
#[test]
fn an_unpack_that_cannot_begin_leaves_nothing_in_the_store() {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.by_shell("ulimit -f 0; exec \"$@\"", &["unpack", "app:v1", "work"]).fails(1, "large");
    assert_eq!(world.sh("ls -A store/tmp; ls -A | grep work || true"), "");
}

/// Advice is of use where it is given: for the place that is full, the name that was meant, the layout that is no store.
#[test]
fn hints_fit_what_went_wrong() {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    for verb in ["history", "ls", "save", "rmi"] {
        world.run(&[verb, "app"]).fails(1, "without a tag it means app:latest");
    }
    world.run(&["history", "app:v2"]).fails(1, "this name or id\nhint");
    let layout = world.run(&["--root", "store/oci", "images"]).fails(1, "neither empty nor a store");
    assert!(layout.stderr.contains(
        "hint: name an empty or a new directory; this one is an image layout: treering load -i DIR"
    ));
    let Some(flags) = crate::attack::unshare("hints_fit_what_went_wrong") else { return };
    let mounted = |script: &str, line: &[&str], path: &str, hint: &str| {
        let script = format!("unshare {flags} sh -euc '{script}; exec \"$@\"' sh \"$@\"");
        let run = world.by_shell(&script, line).code(1);
        assert!(run.stderr.contains(path) && run.stderr.contains(hint), "{line:?}: {}", run.stderr);
        assert!(!run.stderr.contains("TREERING_ROOT"), "{line:?}: {}", run.stderr);
    };
    world.sh("mkdir small; head -c 300000 /dev/urandom >tree/large");
    world.run(&["commit", "tree", "app:large"]).ok();
    let small = "mount -t tmpfs -o size=64k none small";
    let space = "hint: free some space there, or use another filesystem";
    mounted(small, &["unpack", "app:large", "small/new"], "large: no space left", space);
    mounted(small, &["--root", "small/store", "commit", "tree", "app:v1"], "small/store", space);
}
