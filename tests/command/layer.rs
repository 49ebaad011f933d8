//! snapshot, and layers as files.

use serde_json::json;
use snapbox::{assert_data_eq, str};

use support::command::World;

#[test]
fn a_snapshot_says_what_it_holds() {
    let world = World::with_tree();
    let run = world.run(&["snapshot", "tree", "-o", "snap"]).ok();
    assert_eq!((run.text().as_str(), run.stderr.as_str()), ("", "5 entries\n"));
    // The first may have begun within a tick of the tree's making, and says so.
    world.run(&["snapshot", "tree", "--previous", "snap", "-o", "settled"]).ok();
    let run = world.run(&["snapshot", "tree", "--previous", "settled", "-o", "next", "--json"]).ok();
    assert_eq!(run.json(), json!({"entries": 5, "unchanged": 6, "skipped": []}));
    let piped = world.run(&["snapshot", "tree", "-o", "-", "-q"]).ok();
    assert_eq!(piped.stdout.len(), std::fs::read(world.join("snap")).unwrap().len());
    world.run(&["snapshot", "tree"]).fails(2, "--output");
    world.run(&["snapshot", "nowhere", "-o", "x"]).fails(1, "no such file or directory");
    world.run(&["snapshot", "tree", "-o", "nowhere/x"]).fails(1, "no such file or directory");
    assert!(!world.join("x").exists());
}

#[test]
fn a_layer_goes_out_and_in_again() {
    let world = World::with_tree();
    for compression in ["gzip", "zstd", "none"] {
        let file = format!("layer.{compression}");
        let made = world.run(&["layer", "create", "tree", "--compression", compression, "-o", &file]).ok();
        assert_eq!(made.text(), "");
        assert_eq!(made.talk(), "diff id  DIGEST, SIZE\ndigest | DIGEST, SIZE\n");
        let dir = format!("out.{compression}");
        world.run(&["layer", "apply", &file, &dir]).ok();
        assert_eq!(
            world.run(&["diff", "tree", &dir, "--compare", "content"]).ok().text(),
            "",
            "{compression}"
        );
    }
    let made = world.run(&["layer", "create", "tree", "-o", "layer", "--json"]).ok().json();
    assert_eq!(made["media_type"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(made["size"], std::fs::metadata(world.join("layer")).unwrap().len());
    // Through pipes as well.
    let bytes = world.run(&["layer", "create", "tree"]).ok().stdout;
    world.feed(&["layer", "apply", "-", "piped"], &bytes).ok();
    assert_eq!(world.run(&["diff", "tree", "piped"]).ok().text(), "");
}

#[test]
fn a_layer_holds_what_changed_since_a_snapshot() {
    let world = World::with_tree();
    world.sh("cp -a tree copy");
    world.run(&["snapshot", "tree", "-o", "snap"]).ok();
    world.sh("rm tree/bin/hi; echo new >tree/etc/new; touch -d @1100000000 tree/bin tree/etc tree/etc/new");
    world.run(&["layer", "create", "tree", "--base-snapshot", "snap", "-o", "layer"]).ok();
    let names = world.run(&["layer", "ls", "-n", "layer"]).ok().text();
    assert_eq!(names, "bin/\nbin/.wh.hi\netc/\netc/new\n");
    world.run(&["layer", "apply", "layer", "copy"]).ok();
    assert_eq!(world.run(&["diff", "tree", "copy", "--compare", "content"]).ok().text(), "");
}

#[test]
fn layers_list_like_tar() {
    let world = World::with_tree();
    world.sh("ln tree/etc/motd tree/etc/z");
    world.run(&["layer", "create", "tree", "-o", "layer", "--compression", "none"]).ok();
    let expected = str![[r#"
drwxr-xr-x 0/0               0 2001-09-09 01:46 ./
drwxr-xr-x 0/0               0 2001-09-09 01:46 bin/
-rwxr-xr-x 0/0              21 2001-09-09 01:46 bin/hello
lrwxrwxrwx 0/0               0 2001-09-09 01:46 bin/hi -> hello
drwxr-xr-x 0/0               0 [..] etc/
-rw-r--r-- 0/0               8 2001-09-09 01:46 etc/motd
hrw-r--r-- 0/0               0 2001-09-09 01:46 etc/z link to etc/motd

"#]];
    assert_data_eq!(world.run(&["layer", "ls", "layer"]).ok().text(), expected.clone());
    assert_data_eq!(world.sh("TZ=UTC tar --numeric-owner -tvf layer"), expected);
    let entries = world.run(&["layer", "ls", "--json", "layer"]).ok().json();
    assert_eq!(
        entries[3],
        json!({"path": "bin/hi", "type": "symlink", "mode": "0777", "uid": 0, "gid": 0, "size": 0,
               "mtime": "2001-09-09T01:46:40Z", "link": "hello"})
    );
    assert_eq!(entries[0]["path"], ".");
}

#[test]
fn a_layer_does_not_remove_the_store() {
    let world = World::unpacked();
    world.sh("mkdir -p work/srv/data; mv store work/srv/data/store; mkdir -p whiteout/srv/data; touch whiteout/.wh.srv
              tar -C whiteout -cf gone.tar .wh.srv
              touch whiteout/srv/data/.wh..wh..opq; tar -C whiteout -cf opaque.tar srv/data/.wh..wh..opq
              touch whiteout/srv/data/.wh.store; tar -C whiteout -cf named.tar srv/data/.wh.store");
    let apply = |layer: &str| {
        let store = world.join("work/srv/data/store");
        support::command::run(world.command(&["layer", "apply", layer, "work"]).env("TREERING_ROOT", store))
    };
    apply("gone.tar").fails(1, "the store is in");
    apply("opaque.tar").ok();
    apply("named.tar").ok();
    assert_eq!(world.sh("ls work/srv/data"), "store\n");
    let store = world.join("work/srv/data/store");
    support::command::run(world.command(&["fsck"]).env("TREERING_ROOT", store)).ok();
}

#[test]
fn damaged_layers_are_errors() {
    let world = World::with_tree();
    world.run(&["layer", "create", "tree", "-o", "layer"]).ok();
    world.sh("head -c $(($(stat -c %s layer) / 2)) layer >short; echo hello, world >junk");
    for verb in ["apply", "ls"] {
        for file in ["short", "junk"] {
            let extra = if verb == "apply" { vec!["dir"] } else { vec![] };
            let line: Vec<&str> = ["layer", verb, file].into_iter().chain(extra).collect();
            let run = world.run(&line).code(1);
            assert!(run.stderr.starts_with("error: "), "{verb} {file}: {}", run.stderr);
        }
    }
    // Cut off between two entries, or before the first.
    world.sh("tar -C tree -cf whole.tar etc; head -c 512 whole.tar >cut; : >empty");
    for file in ["cut", "empty"] {
        world.run(&["layer", "ls", file]).code(1);
        let run = world.run(&["layer", "apply", file, "dir"]).code(1);
        assert!(run.stderr.contains("the archive has no end"), "{}", run.stderr);
    }
    world.run(&["layer", "ls", "nowhere"]).fails(1, "no such file or directory");
    world.run(&["layer", "ls", "tree"]).fails(1, "is a directory");
}

#[test]
fn a_layer_that_grows_beyond_the_ratio_is_read_where_that_is_raised() {
    let world = World::new();
    // Past 64 MiB, and no zeros.
    world.sh("mkdir big && head -c 70000000 /dev/zero | tr '\\0' a >big/a");
    world.run(&["layer", "create", "big", "--compression", "zstd", "-o", "layer"]).ok();
    // What was read before is listed by then.
    let listed = world.run(&["layer", "ls", "layer"]).code(1);
    assert!(listed.stderr.contains("more than 1000 times"), "{}", listed.stderr);
    world.run(&["layer", "ls", "--max-ratio", "1000000", "layer"]).ok();
    world.run(&["layer", "apply", "layer", "out"]).fails(1, "more than 1000 times");
    world.run(&["layer", "apply", "--max-ratio", "1000000", "layer", "again"]).ok();
    assert_eq!(std::fs::metadata(world.join("again/a")).unwrap().len(), 70_000_000);
}

/// GNU tar writes the users and groups of ACLs by name, even with --numeric-owner.
#[test]
fn what_an_archive_does_not_say_is_reported_as_lost() {
    let world = World::with_tree();
    world.sh("acl=$(printf 'user::rw-\\nuser:joe:r--\\ngroup::r--\\nmask::r--\\nother::---')
         tar --format=pax --pax-option=\"SCHILY.acl.access:=$acl\" \
         -cf layer.tar -C tree etc/motd");
    let run = world.run(&["layer", "apply", "layer.tar", "out"]).ok();
    assert!(
        run.stderr.contains("etc/motd") && run.stderr.contains("system.posix_acl_access"),
        "{}",
        run.stderr
    );
    assert_eq!(world.sh("cat out/etc/motd"), world.sh("cat tree/etc/motd"));
    let made = world.run(&["layer", "apply", "layer.tar", "again", "--json"]).ok().json();
    assert_eq!(made["losses"][0]["path"], "/etc/motd");
    let listed = world.run(&["layer", "ls", "layer.tar", "--json"]).ok();
    assert!(listed.text().contains("posix_acl_access"), "{}", listed.text());
}

#[test]
fn a_layer_on_an_unpacked_image_keeps_its_owners() {
    let world = World::unpacked();
    world.sh("mkdir -p top/etc; echo new >top/etc/new; chmod 4755 top/etc/new");
    world.run(&["layer", "create", "top", "--owner", "7:8", "-o", "layer"]).ok();
    let run = world.run(&["layer", "apply", "layer", "work"]).ok();
    assert_eq!(run.stderr, "");
    let listed = world.run(&["diff", "work"]).ok().text();
    assert!(listed.contains("A /etc/new\n"), "{listed}");
    world.run(&["commit", "work", "app:v2"]).ok();
    world.run(&["export", "app:v2", "-o", "all.tar"]).ok();
    let tar = world.sh("tar --numeric-owner -tvf all.tar");
    assert!(
        tar.lines().any(|line| line.starts_with("-rwsr-xr-x 7/8 ") && line.ends_with("etc/new")),
        "{tar}"
    );
}

/// A layer is written by what the comparison before it went by: the owners that the store has for the tree.
#[test]
fn a_layer_of_an_unpacked_image_has_its_owners() {
    let world = World::with_tree();
    world.sh("echo x >tree/su; chmod 4755 tree/su; mkdir tree/d; touch -d @1000000000 tree/su tree/d tree");
    world.run(&["commit", "--owner", "5:6", "tree", "app:v1"]).ok();
    world.run(&["unpack", "app:v1", "work"]).ok();
    world.run(&["snapshot", "work", "-o", "before"]).ok();
    world.sh("echo new >work/new");
    assert_eq!(world.run(&["diff", "before", "work"]).ok().text(), "A /new\n");
    world.run(&["layer", "create", "work", "--base-snapshot", "before", "-o", "layer"]).ok();
    assert_eq!(world.run(&["layer", "ls", "-n", "layer"]).ok().text(), "./\nnew\n");
    world.run(&["layer", "create", "work", "-o", "all"]).ok();
    let listed = world.run(&["layer", "ls", "all"]).ok().text();
    assert!(listed.lines().any(|line| line.starts_with("-rwsr-xr-x") && line.contains(" 5/6 ")), "{listed}");
}

/// Entries that did not change keep what an older snapshot has of them only where it was taken alike.
#[test]
fn a_snapshot_before_counts_only_where_it_was_taken_alike() {
    let world = World::with_tree();
    let take = |name: &str, more: &[&str]| {
        world.run(&[&["snapshot", "tree", "-o", name][..], more].concat()).ok().stderr
    };
    take("root", &["--owner", "root"]);
    let talk = take("mixed", &["--owner", "5:5", "--previous", "root"]);
    assert!(talk.contains("other owners"), "{talk}");
    take("fresh", &["--owner", "5:5"]);
    assert_eq!(world.run(&["diff", "fresh", "mixed"]).ok().text(), "");
    let talk = take("again", &["--owner", "5:5", "--previous", "fresh"]);
    assert!(!talk.contains("other owners"), "{talk}");
    let Some(flags) = crate::attack::unshare("a_snapshot_before_counts_only_where_it_was_taken_alike") else {
        return;
    };
    let line = format!(
        "unshare {flags} sh -euc 'mount -t tmpfs none tree/etc; touch tree/etc/mounted; \
         {0} snapshot -x tree -o less; {0} snapshot tree --previous less -o more; {0} snapshot tree -o whole'",
        support::program()
    );
    world.sh(&format!("export TREERING_ROOT=$PWD/store; {line}"));
    assert_eq!(world.run(&["diff", "whole", "more"]).ok().text(), "");
}
