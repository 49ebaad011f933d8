//! `checkout`: a directory goes back, and on, to an image.

use serde_json::json;
use support::command::World;

/// Makes two images, and `work`, which is at the second one.
fn world() -> World {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    world.run(&["unpack", "app:v1", "work"]).ok();
    world.sh("echo new >work/etc/new; rm work/bin/hi; echo changed >work/bin/hello");
    world.run(&["commit", "work", "app:v2"]).ok();
    world
}

fn files(world: &World) -> String {
    world.sh("cd work; find . -printf '%p %l\\n' | sort; cat bin/hello")
}

#[test]
fn a_directory_goes_back_and_on_and_says_what_it_cost() {
    let world = world();
    let second = files(&world);
    let would = world.run(&["checkout", "--dry-run", "app:v1", "work"]).ok();
    assert_eq!(would.lines(), ["C /bin", "C /bin/hello", "A /bin/hi", "C /etc", "D /etc/new"]);
    assert!(would.talk().contains("would be 2 written"), "{}", would.talk());
    assert_eq!(files(&world), second);
    let back = world.run(&["checkout", "--json", "app:v1", "work"]).ok().json();
    assert_eq!((&back["written"], &back["removed"], &back["dry_run"]), (&json!(2), &json!(1), &json!(false)));
    assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
    assert_eq!(
        world.sh("readlink work/bin/hi; ls work/etc; cat tree/bin/hello"),
        world.sh("echo hello; ls tree/etc; cat work/bin/hello")
    );
    // The directory is bound to where it went: what is committed next is on top of that.
    world.sh("echo third >work/third");
    world.run(&["commit", "work", "app:v3"]).ok();
    let layers = |name: &str| world.run(&["inspect", name]).ok().json()[0]["RootFS"]["Layers"].clone();
    assert_eq!(layers("app:v3")[0], layers("app:v1")[0]);
    // Whether the root changed as well is a matter of the second.
    let lines = world.run(&["diff", "app:v1", "app:v3"]).ok().lines();
    assert_eq!(lines.iter().filter(|line| *line != "C /").collect::<Vec<_>>(), ["A /third"]);
    // To the image before, and back again by the same word.
    world.run(&["checkout", "app:v2", "work"]).ok();
    assert_eq!(files(&world), second);
    world.run(&["checkout", "-", "work"]).ok();
    assert_eq!(world.sh("cat work/third"), "third\n");
    world.run(&["checkout", "-", "work"]).ok();
    assert_eq!(files(&world), second);
}

#[test]
fn what_was_changed_is_named_and_stays_unless_it_is_thrown_away() {
    let world = world();
    world.sh("echo mine >work/mine; echo mine >work/etc/motd");
    let refused = world.run(&["checkout", "app:v1", "work"]).fails(1, "/etc/motd");
    assert!(refused.talk().contains("/mine") && refused.talk().contains("--discard"), "{}", refused.talk());
    assert_eq!(world.sh("cat work/mine work/etc/motd work/etc/new"), "mine\nmine\nnew\n");
    world.run(&["checkout", "--discard", "app:v1", "work"]).ok();
    assert_eq!(world.sh("ls work/etc; ls work"), world.sh("ls tree/etc; ls tree"));
    assert_eq!(world.run(&["diff", "work"]).ok().text(), "");
}

#[test]
fn an_empty_or_missing_directory_is_unpacked_to() {
    let world = world();
    world.sh("mkdir empty");
    for to in ["empty", "missing"] {
        world.run(&["checkout", "app:v2", to]).ok();
        assert_eq!(world.sh(&format!("cat {to}/etc/new {to}/bin/hello")), "new\nchanged\n");
        assert_eq!(world.run(&["diff", to]).ok().text(), "");
    }
    // What no image is known of is not taken for one.
    world.sh("mkdir other; echo x >other/x");
    world.run(&["checkout", "app:v2", "other"]).fails(1, "other");
    assert_eq!(world.sh("ls other"), "x\n");
}
