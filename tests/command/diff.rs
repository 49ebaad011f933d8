//! diff, in all its forms.

use std::os::unix::ffi::OsStrExt;

use serde_json::json;
use snapbox::{assert_data_eq, str};

use support::command::World;

fn edited() -> World {
    let world = World::unpacked();
    world.sh("echo new >work/etc/new; rm work/bin/hi; echo more >>work/etc/motd; chmod 700 work/bin/hello");
    world
}

#[test]
fn letters_and_order_are_dockers() {
    let world = edited();
    let expected = str![[r#"
C /bin
C /bin/hello
D /bin/hi
C /etc
C /etc/motd
A /etc/new

"#]];
    let run = world.run(&["diff", "work"]).ok();
    assert_data_eq!(run.text(), expected.clone());
    assert_eq!(run.stderr, "");
    assert_data_eq!(world.run(&["diff", "app:v1", "work"]).ok().text(), expected.clone());
    world.run(&["commit", "work", "app:v2"]).ok();
    assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
    assert_data_eq!(world.run(&["diff", "app:v1", "app:v2"]).ok().text(), expected);
}

#[test]
fn reasons_numbers_and_nul() {
    let world = edited();
    let reasons = world.run(&["diff", "--reasons", "work"]).ok().text();
    assert!(reasons.contains("C /bin/hello\tmode\n"), "{reasons}");
    assert!(reasons.contains("C /etc/motd\tcontent,mtime\n"), "{reasons}");
    assert!(reasons.contains("A /etc/new\n") && reasons.contains("D /bin/hi\n"), "{reasons}");
    assert_eq!(world.run(&["diff", "--stat", "work"]).ok().shape(), "1 added, 4 changed, 1 deleted (SIZE)\n");
    let nul = world.run(&["diff", "-z", "work"]).ok().text();
    assert_eq!(nul, "C /bin\0C /bin/hello\0D /bin/hi\0C /etc\0C /etc/motd\0A /etc/new\0");
    let numbers = world.run(&["diff", "--stat", "--json", "work"]).ok().json();
    assert_eq!(numbers["added"], 1);
    assert_eq!(numbers["deleted"], 1);
}

#[test]
fn json_names_kind_type_and_reasons() {
    let world = edited();
    let changes = world.run(&["diff", "--json", "work"]).ok().json();
    let find =
        |path: &str| changes.as_array().unwrap().iter().find(|one| one["path"] == path).unwrap().clone();
    assert_eq!(find("/etc/new"), json!({"kind": "added", "path": "/etc/new", "type": "file", "size": 4}));
    assert_eq!(find("/bin/hi"), json!({"kind": "deleted", "path": "/bin/hi", "type": "symlink"}));
    assert_eq!(find("/bin/hello")["reasons"], json!(["mode"]));
    let nothing = world.run(&["diff", "--json", "app:v1", "app:v1"]).ok();
    assert_eq!(nothing.text(), "[]\n");
}

#[test]
fn names_that_are_not_text_come_out_as_they_are() {
    let world = World::unpacked();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9\nx");
    std::fs::write(world.join("work").join(name), "x").unwrap();
    let run = world.run(&["diff", "-z", "work"]).ok();
    assert_eq!(run.stdout, b"A /caf\xe9\nx\0");
    let changes = world.run(&["diff", "--json", "work"]).ok().json();
    assert_eq!(
        changes,
        json!([{"kind": "added", "path": "/caf\\xe9\\nx", "path_base64": "L2NhZukKeA==", "type": "file", "size": 1}])
    );
    world.run(&["commit", "work", "app:v2"]).ok();
    world.run(&["unpack", "app:v2", "again"]).ok();
    assert!(world.join("again").join(name).exists());
}

#[test]
fn exit_codes_are_like_gits() {
    let world = edited();
    world.run(&["diff", "--exit-code", "work"]).code(1);
    world.run(&["diff", "--exit-code", "app:v1", "app:v1"]).code(0);
    world.run(&["diff", "--exit-code", "app:v1", "app:v9"]).fails(2, "no image in the store");
    world.run(&["diff", "app:v1", "app:v9"]).fails(1, "no image in the store");
    world.run(&["diff", "./nowhere", "work"]).fails(1, "no such file or directory");
    world.run(&["diff"]).fails(2, "required");
}

#[test]
fn directories_and_snapshots_compare_too() {
    let world = World::with_tree();
    world.sh("cp -a tree copy");
    assert_eq!(world.run(&["diff", "tree", "copy"]).ok().text(), "");
    world.run(&["snapshot", "tree", "-o", "before"]).ok();
    // The same size and the same time, and no image that has the old content.
    world.sh("touch -r tree/etc/motd ref; echo WELCOME >tree/etc/motd; touch -r ref tree/etc/motd");
    assert_eq!(world.run(&["diff", "before", "tree"]).ok().text(), "C /etc\nC /etc/motd\n");
    assert_eq!(world.run(&["diff", "copy", "tree"]).ok().text(), "C /etc\nC /etc/motd\n");
    world.sh("touch tree/etc/new");
    world.run(&["snapshot", "tree", "--previous", "before", "-o", "after"]).ok();
    let listed = world.run(&["diff", "before", "after"]).ok().text();
    assert_eq!(listed, "C /etc\nC /etc/motd\nA /etc/new\n");
    // None of that needed a store.
    assert!(!world.join("store").exists());
}

#[test]
fn a_directory_of_no_image_is_all_new() {
    let world = World::with_tree();
    let run = world.run(&["diff", "tree"]).ok();
    assert_eq!(run.lines().len(), 5);
    assert!(run.lines().iter().all(|line| line.starts_with("A /")));
    assert!(run.stderr.contains("comes from no image of this store"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_compared_is_refused_with_a_way_out() {
    let world = World::unpacked();
    world.run(&["snapshot", "work", "-o", "snap"]).ok();
    world.run(&["diff", "app:v1"]).fails(2, "nothing to compare it with");
    world.run(&["diff", "app:v1", "snap"]).fails(2, "a snapshot holds no content");
    assert_eq!(world.run(&["diff", "--compare", "metadata", "app:v1", "snap"]).ok().text(), "");
    assert_eq!(world.run(&["diff", "--compare", "metadata", "work", "app:v1"]).ok().text(), "");
    world.sh("echo not a snapshot >junk");
    world.run(&["diff", "junk", "work"]).fails(1, "not a usable snapshot");
}

#[test]
fn an_overlay_is_read_without_mounting_it() {
    let world = World::with_tree();
    world.sh("mkdir -p upper/etc; echo other >upper/etc/motd; echo new >upper/new");
    let run = world.run(&["diff", "--upper", "upper", "--lower", "tree"]).ok();
    assert!(run.text().contains("C /etc/motd\n") && run.text().contains("A /new\n"), "{}", run.text());
    world.run(&["diff", "--upper", "upper"]).fails(2, "--lower");
    world.run(&["diff", "--upper", "upper", "--lower", "tree", "tree"]).fails(2, "cannot be used with");
}

/// Every edit that keeps the length changes time and content, and both are said; a touched file only its time.
#[test]
fn content_is_among_the_reasons_whatever_else_changed() {
    let world = World::unpacked();
    world.sh("cp -a work copy; printf WELCOME >work/etc/motd; echo >>work/etc/motd; touch -d @1000000009 work/bin/hello");
    world.run(&["commit", "work", "app:v2", "--base", "app:v1"]).ok();
    let expected = |text: &str| {
        assert!(text.contains("C /etc/motd\tcontent,mtime\n"), "{text}");
        assert!(text.contains("C /bin/hello\tmtime\n"), "{text}");
    };
    for line in [
        &["diff", "--reasons", "app:v1", "work"][..],
        &["diff", "--reasons", "--compare", "content", "app:v1", "work"],
        &["diff", "--reasons", "app:v1", "app:v2"],
        &["diff", "--reasons", "copy", "work"],
    ] {
        expected(&world.run(line).ok().text());
    }
    world.run(&["snapshot", "copy", "-o", "before"]).ok();
    let unknown = world.run(&["diff", "--reasons", "before", "work"]).ok().text();
    assert!(unknown.contains("C /etc/motd\tmtime,suspect\n"), "{unknown}");
    let json = world.run(&["diff", "--json", "app:v1", "work"]).ok().json();
    let motd = json.as_array().unwrap().iter().find(|one| one["path"] == "/etc/motd").unwrap();
    assert_eq!(motd["reasons"], json!(["content", "mtime"]));
}

/// A layer has whole seconds, so a directory and its own image unpacked differ in fractions everywhere.
#[test]
fn a_fraction_that_one_side_lacks_is_no_difference() {
    let world = World::with_tree();
    world.sh("find tree -exec touch -h -d @1000000000.5 {} +");
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.run(&["unpack", "app:v1", "work"]).ok();
    assert_eq!(world.run(&["diff", "tree", "work"]).ok().text(), "");
    world.sh("touch -d @1000000000.25 work/etc/motd");
    assert_eq!(world.run(&["diff", "tree", "work"]).ok().text(), "C /etc\nC /etc/motd\n");
}

/// Any two can be compared, in either order.
#[test]
fn an_image_may_be_the_newer_side() {
    let world = edited();
    let expected = "C /bin\nC /bin/hello\nA /bin/hi\nC /etc\nC /etc/motd\nD /etc/new\n";
    assert_eq!(world.run(&["diff", "work", "app:v1"]).ok().text(), expected);
    // Also by content, where metadata leaves a doubt.
    world.sh("cp -a tree same; touch -r tree/etc/motd ref; echo WELCOME >same/etc/motd; touch -r ref same/etc/motd");
    world.sh("touch -r tree/etc same/etc");
    assert_eq!(world.run(&["diff", "same", "app:v1"]).ok().text(), "C /etc\nC /etc/motd\n");
    assert_eq!(world.run(&["diff", "tree", "app:v1"]).ok().text(), "");
}

/// A fresh copy has new times, and everything in it would be new.
#[test]
fn times_are_let_be_where_asked_for() {
    let world = World::unpacked();
    world.sh("cp -r tree copy; echo other >copy/etc/motd; echo new >copy/etc/new");
    let listed = world.run(&["diff", "--ignore-times", "app:v1", "copy"]).ok().text();
    assert_eq!(listed, "C /etc\nC /etc/motd\nA /etc/new\n");
    assert!(world.run(&["diff", "app:v1", "copy"]).ok().text().contains("C /bin/hello"));
    let made =
        world.run(&["commit", "--json", "--ignore-times", "--base", "app:v1", "copy", "app:v2"]).ok().json();
    assert_eq!(made["changes"]["bytes"], 10, "{made}");
    assert_eq!(world.run(&["diff", "copy"]).ok().text(), "");
}

/// What is left out is not new, not changed and not deleted.
#[test]
fn patterns_leave_out() {
    let world = World::unpacked();
    world.sh("mkdir work/cache; echo x >work/cache/a; echo y >work/cache/keep; rm work/bin/hi; echo z >>work/etc/motd
              printf '# comment\nbin\n!cache/keep\n' >ignore");
    let flags = ["--exclude", "cache", "--ignore-file", "ignore", "--exclude", "etc/m*"];
    let with = |line: &[&str]| world.run(&[line, &flags[..]].concat()).ok();
    assert_eq!(with(&["diff", "work"]).text(), "", "the last pattern that matches decides");
    world.run(&["snapshot", "tree", "-o", "before"]).ok();
    with(&["layer", "create", "work", "-o", "all"]);
    assert_eq!(world.run(&["layer", "ls", "-n", "all"]).ok().text(), "./\netc/\n");
    with(&["commit", "work", "app:v2"]);
    assert_eq!(world.run(&["diff", "app:v1", "app:v2"]).ok().text(), "");
    // What was left out once is there again without the patterns, deletions too.
    let again = world.run(&["diff", "work"]).ok().text();
    assert!(again.contains("D /bin/hi\n") && again.contains("A /cache/keep\n"), "{again}");
    let kept = world.run(&["diff", "work", "--exclude", "*", "--exclude", "!cache/keep"]).ok().text();
    assert_eq!(kept, "A /cache\nA /cache/keep\n");
    world.run(&["diff", "work", "--exclude", "["]).fails(1, "pattern");
    world.run(&["diff", "work", "--ignore-file", "none"]).fails(1, "none");
}
