//! System calls that fail while a verb changes names.

use support::command::World;
use support::stops;
use support::tools::need;

/// An error says that nothing happened: the name stands for what it stood for. Success says that it happened.
#[test]
fn a_verb_that_fails_leaves_its_name_where_it_was() {
    if !need("strace", &["-qq", "-o", "/dev/null", "true"]) {
        return;
    }
    let world = World::with_tree();
    world.run(&["commit", "tree", "other:1"]).ok();
    world.run(&["export", "other:1", "-o", "other.tar"]).ok();
    world.run(&["tag", "other:1", "app:1"]).ok();
    world.run(&["save", "app:1", "-o", "archive"]).ok();
    // A name of before that is another image's: the tree changes, and so do its layers.
    std::fs::write(world.join("tree/first"), "first").unwrap();
    world.run(&["commit", "tree", "app:1"]).ok();
    std::fs::write(world.join("tree/second"), "second").unwrap();
    let standing = |store: &std::path::Path| {
        let store = treering::store::Store::open(store).unwrap();
        store.resolve("app:1").ok().map(|found| found.descriptor.digest().to_string())
    };
    let (mut failed, mut runs) = (0, 0);
    for verb in [
        &["commit", "tree", "app:1"][..],
        &["tag", "other:1", "app:1"],
        &["load", "--names", "move", "-i", "archive"],
        &["import", "other.tar", "app:1"],
        &["rmi", "app:1"],
    ] {
        for call in ["openat2", "linkat", "fsync", "fdatasync", "renameat", "renameat2"] {
            for number in stops(1) {
                // The store as it was, under its own path: the record of the tree is part of it.
                let (store, kept) = (world.join("store"), world.join("kept"));
                if !kept.exists() {
                    copy(&store, &kept);
                }
                std::fs::remove_dir_all(&store).unwrap();
                copy(&kept, &store);
                let before = standing(&store);
                let (trace, inject) = (world.join("trace"), format!("{call}:error=EIO:when={number}"));
                let strace = format!(
                    "exec strace -f -qq -o {} -e trace={call} -e inject={inject} \"$@\"",
                    trace.display()
                );
                let run = world.by_shell(&strace, verb);
                if !std::fs::read_to_string(&trace).unwrap().contains("(INJECTED)") {
                    run.ok();
                    assert_ne!(standing(&store), before, "{verb:?}");
                    break;
                }
                runs += 1;
                match run.status.success() {
                    true => assert_ne!(standing(&store), before, "{verb:?} with {inject} is said to be done"),
                    false => {
                        failed += 1;
                        assert_eq!(standing(&store), before, "{verb:?} with {inject}: {}", run.stderr);
                    }
                }
                let checked = world.run(&["fsck"]);
                let left = checked.text().contains("left by a dead writer");
                assert!(checked.status.success() || left, "{verb:?} with {inject}: {}", checked.text());
            }
        }
    }
    assert!(runs > 50 && failed > 20, "{failed} of {runs}");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}
