//! `ls`, `cat` and `cp`: files of an image that is not unpacked.

use std::os::unix::fs::MetadataExt;

use serde_json::json;

use support::command::World;
use support::is_root;

/// Returns an image of two layers, in which one thing leads to another.
fn world() -> World {
    let world = World::with_tree();
    world.sh("cd tree; ln -s ../bin/hello etc/link; ln -s /etc/motd bin/absolute; ln etc/motd etc/hard; mkdir -p usr/share/doc
              ln -s usr/share share; ln -s ../../../../../../etc/motd usr/out; echo doc >usr/share/doc/text; chmod 640 etc/motd");
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.run(&["unpack", "app:v1", "work"]).ok();
    world.sh("echo new >work/etc/new; rm work/bin/hi; echo changed >work/bin/hello");
    world.run(&["commit", "work", "app:v2"]).ok();
    world
}

#[test]
fn an_image_is_listed_without_being_unpacked() {
    let world = world();
    assert_eq!(world.run(&["ls", "app:v1"]).ok().lines(), ["bin/", "etc/", "share", "usr/"]);
    assert_eq!(world.run(&["ls", "app:v2:/bin"]).ok().lines(), ["absolute", "hello"]);
    assert_eq!(world.run(&["ls", "-R", "app:v2:/share"]).ok().lines(), ["doc/", "doc/text"]);
    assert_eq!(world.run(&["ls", "app:v1:/share/doc/text"]).ok().lines(), ["text"]);
    let long = world.run(&["ls", "-l", "app:v1:/bin"]).ok().lines();
    assert!(
        long[1].starts_with("-rwxr-xr-x 0/0 ") && long[1].ends_with(" 2001-09-09 01:46 hello"),
        "{long:?}"
    );
    assert!(long[2].starts_with("lrwxrwxrwx ") && long[2].ends_with(" hi -> hello"), "{long:?}");
    let object = world.run(&["ls", "--json", "app:v1:/bin/hello"]).ok().json();
    assert_eq!((&object[0]["path"], &object[0]["size"]), (&json!("hello"), &json!(21)));
    world.run(&["ls", "app:v1:/nowhere"]).fails(1, "/nowhere: there is no such file or directory");
    world.run(&["ls", "other"]).fails(1, "other");
}

#[test]
fn content_comes_out_by_whatever_way_leads_to_it() {
    let world = world();
    for path in ["/etc/motd", "/bin/absolute", "/etc/hard", "/usr/out", "/share/../../etc/./motd"] {
        assert_eq!(world.run(&["cat", &format!("app:v2:{path}")]).ok().text(), "welcome\n", "{path}");
    }
    assert_eq!(world.run(&["cat", "app:v2:/etc/link", "app:v2:/etc/new"]).ok().text(), "changed\nnew\n");
    assert!(world.run(&["cat", "app:v1:/etc/link"]).ok().text().contains("echo hello"));
    world.run(&["cat", "app:v1:/etc"]).fails(1, "it is a directory");
    world.run(&["cat", "app:v1"]).fails(1, "IMAGE:/PATH");
    world.run(&["cat", "app:v1:/bin/hello/x"]).fails(1, "not a directory");
}

#[test]
fn files_and_directories_are_copied_out() {
    let world = world();
    world.run(&["cp", "app:v1:/etc/motd", "copy"]).ok();
    let copy = world.join("copy").metadata().unwrap();
    assert_eq!((copy.mode() & 0o7777, copy.mtime()), (0o640, 1_000_000_000));
    world.run(&["cp", "app:v2:/share/doc", "."]).ok();
    assert_eq!(world.sh("cat doc/text"), "doc\n");
    world.sh("mkdir into");
    world.run(&["cp", "app:v2:/bin/absolute", "into"]).ok();
    assert_eq!(world.sh("cat into/absolute"), "welcome\n");
    // As a tree: links as links, hard links as one file, times as they are.
    world.run(&["cp", "app:v2:/", "all"]).ok();
    assert_eq!(world.sh("readlink all/etc/link; cat all/etc/new"), "../bin/hello\nnew\n");
    let inode = |path: &str| world.join(path).metadata().unwrap().ino();
    assert_eq!(inode("all/etc/motd"), inode("all/etc/hard"));
    assert_eq!(
        world.sh("stat -c %Y all/usr/share/doc/text work/usr/share/doc/text | uniq | wc -l").trim(),
        "1"
    );
    let compared = world.sh("diff -r --no-dereference all work && echo same");
    assert_eq!(compared, "same\n");
    // Into what is there: the rest stays.
    world.sh("mkdir -p there/etc; echo mine >there/etc/mine");
    world.run(&["cp", "app:v1:/etc", "there"]).ok();
    assert_eq!(world.sh("ls there/etc"), "hard\nlink\nmine\nmotd\n");
    world.run(&["cp", "app:v1:/nowhere", "x"]).fails(1, "no such file");
    world.run(&["cp", "app:v1:/etc/motd", "no/such/directory"]).fails(1, "no such file or directory");
}

#[test]
fn a_copy_is_a_tar_where_that_is_wanted() {
    let world = world();
    let tar = world.run(&["cp", "app:v2:/etc", "-"]).ok().stdout;
    std::fs::write(world.join("etc.tar"), tar).unwrap();
    let mut names: Vec<_> = world.sh("tar -tf etc.tar").lines().map(String::from).collect();
    names.sort();
    assert_eq!(names, ["etc/", "etc/hard", "etc/link", "etc/motd", "etc/new"]);
    assert_eq!(world.sh("tar -xOf etc.tar etc/new"), "new\n");
    let tar = world.run(&["cp", "app:v2:/etc/motd", "-"]).ok().stdout;
    std::fs::write(world.join("one.tar"), tar).unwrap();
    assert_eq!(world.sh("tar -tf one.tar"), "motd\n");
}

#[test]
fn what_the_disk_does_not_take_is_reported() {
    let world = World::with_tree();
    world.run(&["commit", "--owner", "5:6", "tree", "app:v1"]).ok();
    let run = world.run(&["cp", "app:v1:/etc", "etc"]).ok();
    let told = run.stderr.contains("are lost: the disk does not take them");
    assert_eq!(told, !is_root(), "{}", run.stderr);
    let run = world.run(&["cp", "--json", "app:v1:/etc", "again"]).ok().json();
    assert_eq!(run["unkept"] == json!(0), is_root(), "{run}");
}

#[test]
fn a_tree_is_copied_from_with_the_owners_that_the_store_has_of_it() {
    let world = world();
    world.run(&["commit", "tree", "app:owned", "--owner", "7:8"]).ok();
    world.run(&["unpack", "app:owned", "owned"]).ok();
    world.sh("echo more >owned/etc/more; ln -s / owned/root");
    let tar = world.run(&["cp", "./owned:/root/etc", "-"]).ok();
    let mut tar = tar::Archive::new(&tar.stdout[..]);
    let mut found = std::collections::BTreeMap::new();
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_string();
        found.insert(path, (entry.header().uid().unwrap(), entry.header().gid().unwrap(), entry.size()));
    }
    // The first name has the content; the others are links to it.
    assert_eq!(found["etc/hard"], (7, 8, 8));
    assert_eq!(found["etc/motd"], (7, 8, 0));
    assert_eq!(found["etc/more"].2, 5, "what is in no image, too");
    world.run(&["cp", &format!("{}:/etc/motd", world.join("owned").display()), "motd"]).ok();
    world.sh("cmp motd tree/etc/motd");
    world.run(&["cp", "./owned:/etc", "out"]).ok();
    world.sh("diff -r --no-dereference owned/etc out");
    world.run(&["cp", "./owned:/nowhere", "out"]).fails(1, "there is no such file or directory");
    world.run(&["cp", "./nowhere:/etc", "out"]).fails(1, "nowhere");
    world.run(&["cp", "./owned", "out"]).fails(1, "IMAGE:/PATH");
}
