//! The trees of a build: when there is one, how often it is made, and that nothing shows whether it was.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::inside::{helper_of, sleepers, wait_for};
use support::busybox::{Way, World, every_way as ways};
use support::tools::missing;

fn home(world: &World, way: Way) -> PathBuf {
    world.join(&format!("{}-{}", way.rung, way.drop))
}

/// Builds a Dockerfile without a context that has one file, `f`. Gives the exit code, and what was said.
fn build(world: &World, way: Way, dockerfile: &str, options: &[&str]) -> (Option<i32>, String) {
    let home = home(world, way);
    let context = home.join("context");
    if !context.exists() {
        std::fs::create_dir(&context).unwrap();
        std::fs::write(context.join("f"), "f\n").unwrap();
    }
    std::fs::write(home.join("Dockerfile"), format!("FROM bb:1\n{dockerfile}")).unwrap();
    let mut arguments =
        vec!["build", "-t", "made", "--progress=plain", "--rung", way.rung, "-f", "Dockerfile"];
    arguments.extend(options);
    arguments.push("context");
    let out = world.output(way, &arguments);
    (out.status.code(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

fn layers(world: &World, way: Way, dockerfile: &str, options: &[&str]) -> String {
    let (code, text) = build(world, way, dockerfile, options);
    assert_eq!(code, Some(0), "{way:?} {dockerfile}: {text}");
    let image: Value = serde_json::from_str(&world.ok(way, &["inspect", "made"])).unwrap();
    image[0]["RootFS"]["Layers"].to_string()
}

/// Returns the inode numbers of the trees in the pool.
fn trees(world: &World, way: Way) -> Vec<u64> {
    use std::os::unix::fs::MetadataExt;
    let room = home(world, way).join("store/cache/trees");
    let mut found: Vec<u64> = match std::fs::read_dir(room) {
        Ok(entries) => entries.map(|it| it.unwrap().path().join("root").metadata().unwrap().ino()).collect(),
        Err(_) => Vec::new(),
    };
    found.sort_unstable();
    found
}

/// Returns how many layers an image has, by their DiffIDs as JSON.
fn count(layers: &str) -> usize {
    serde_json::from_str::<Vec<String>>(layers).unwrap().len()
}

/// Returns how many layers have an index in the store.
fn indexes(world: &World, way: Way) -> usize {
    let names = std::fs::read_dir(home(world, way).join("store/layers")).unwrap();
    names.filter(|it| it.as_ref().unwrap().file_name().to_string_lossy().starts_with("index-")).count()
}

const STEPS: &str = "RUN mkdir -p /d/e && echo 1 >/d/e/f && chown 5:6 /d/e/f && chmod 4755 /d/e/f && ln /d/e/f /d/link\n\
                     COPY f /d/e/g\nRUN set -e; stat -c '%n %u:%g %a %h' /d/e/f /d/e/g /d/link >/seen; rm /d/link; mkfifo /d/p\n\
                     WORKDIR /w/x\nRUN stat -c '%n %a' . >>/seen && echo 2 >>/d/e/f\n";

#[test]
fn the_layers_do_not_show_which_tree_a_command_ran_in() {
    let Some(world) = World::new() else { return };
    let mut expected: Option<String> = None;
    for way in ways() {
        world.prepare(way);
        let first = layers(&world, way, STEPS, &[]);
        assert_eq!(&first, expected.get_or_insert_with(|| first.clone()), "{way:?}");
        assert_eq!(
            indexes(&world, way),
            count(&first),
            "{way:?}: each layer has its index when it is written"
        );
        let tree = trees(&world, way);
        assert_eq!(tree.len(), 1, "{way:?}: one tree for all of it");
        // The tree is at the end, and is moved to the beginning and on.
        assert_eq!(layers(&world, way, STEPS, &["--no-cache"]), first, "{way:?}");
        // A tree for a state that has other files.
        layers(&world, way, "RUN rm /bin/awk; mkdir /other; echo 3 >/d; mkfifo /w\n", &[]);
        assert_eq!(layers(&world, way, STEPS, &["--no-cache"]), first, "{way:?}");
        assert_eq!(trees(&world, way), tree, "{way:?}: the same directory all the time");
        // It was changed: a scan finds that.
        let root = std::fs::read_dir(home(&world, way).join("store/cache/trees")).unwrap().next().unwrap();
        let root = root.unwrap().path().join("root");
        std::fs::write(root.join("bin/intruder"), "x").unwrap();
        std::fs::remove_file(root.join("bin/wc")).unwrap();
        assert_eq!(layers(&world, way, STEPS, &["--no-cache"]), first, "{way:?}");
        // Nothing at all.
        std::fs::remove_dir_all(home(&world, way).join("store/cache/trees")).unwrap();
        assert_eq!(layers(&world, way, STEPS, &["--no-cache"]), first, "{way:?}");
    }
}

#[test]
fn a_command_that_failed_leaves_a_tree_that_the_next_one_can_use() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        let good = "RUN echo 1 >/a && chown 7:8 /a\nRUN stat -c '%u:%g %a' /a /bin/busybox >/seen; test ! -e /junk\n";
        let expected = layers(&world, way, good, &[]);
        let tree = trees(&world, way);
        let bad = "RUN echo 1 >/a && chown 7:8 /a\nRUN mkdir /junk; echo 2 >/a; chown 9:9 /a /bin/busybox; chmod 4700 /bin/busybox; rm -r /bin/sh; exit 9\n";
        let (code, text) = build(&world, way, bad, &[]);
        assert_eq!(code, Some(9), "{way:?}: {text}");
        assert_eq!(layers(&world, way, good, &["--no-cache"]), expected, "{way:?}");
        assert_eq!(trees(&world, way), tree, "{way:?}");
    }
}

#[test]
fn a_build_that_is_killed_leaves_a_tree_that_is_mended() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        let good = "RUN echo 1 >/a && chown 7:8 /a\nRUN stat -c '%u:%g %a' /a >/seen; test ! -e /junk\n";
        let expected = layers(&world, way, good, &[]);
        let home = home(&world, way);
        let bad = "FROM bb:1\nRUN echo 1 >/a && chown 7:8 /a\nRUN mkdir /junk; chown 9:9 /a; echo >/ready; sleep 600\n";
        std::fs::write(home.join("Dockerfile"), bad).unwrap();
        let arguments = ["build", "--rung", way.rung, "-f", "Dockerfile", "context"];
        let mut command = world.command(way, &arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let room = home.join("store/cache/trees");
        let ready =
            || std::fs::read_dir(&room).unwrap().any(|it| it.unwrap().path().join("root/ready").exists());
        for _ in 0..600 {
            if ready() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(ready(), "{way:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        // Until the helper has seen that.
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(layers(&world, way, good, &["--no-cache"]), expected, "{way:?}");
    }
}

#[test]
fn a_build_with_a_killed_supervisor_makes_no_layer_and_leaves_no_process() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        let home = home(&world, way);
        let mark = format!("7{}{:05}.{}", way.rung.len(), std::process::id() % 100_000, u8::from(way.drop));
        let dockerfile = format!("FROM bb:1\nRUN echo 1 >/a && chown 7:8 /a && sleep {mark}\n");
        std::fs::write(home.join("Dockerfile"), dockerfile).unwrap();
        std::fs::create_dir(home.join("context")).unwrap();
        let blobs = || std::fs::read_dir(home.join("store/oci/blobs/sha256")).unwrap().count();
        let before = blobs();
        let arguments = ["build", "-t", "made", "--rung", way.rung, "-f", "Dockerfile", "context"];
        let mut command = world.command(way, &arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(|| sleepers(&mark) == 1, "the command did not start");
        let helper = rustix::process::Pid::from_raw(helper_of(child.id())).unwrap();
        rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(!out.status.success(), "{way:?}: {}", String::from_utf8_lossy(&out.stderr));
        wait_for(|| sleepers(&mark) == 0, "a process outlived its supervisor");
        assert_eq!(blobs(), before, "{way:?}: nothing was written");
        assert!(!world.output(way, &["inspect", "made"]).status.success(), "{way:?}");
        layers(&world, way, "RUN test ! -e /a\n", &[]);
    }
}

#[test]
fn trees_and_cache_mounts_are_seen_and_pruned() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        let usage = || -> u64 {
            let text = world.ok(way, &["--json", "df"]);
            let value: Value = serde_json::from_str(&text).unwrap();
            value["cache_bytes"].as_u64().unwrap_or_else(|| panic!("{text}"))
        };
        let before = usage();
        layers(
            &world,
            way,
            "RUN --mount=type=cache,target=/c for n in 1 2 3 4 5 6; do cat /bin/busybox; done >/c/x\n",
            &[],
        );
        assert!(usage() > before + 3_000_000, "{way:?}");
        world.ok(way, &["prune", "-f"]);
        assert_eq!(trees(&world, way).len(), 1, "{way:?}: only a prune of the cache takes it");
        world.ok(way, &["builder", "prune", "-a", "-f"]);
        assert!(trees(&world, way).is_empty(), "{way:?}");
        assert!(usage() < 200_000, "{way:?}: {}", usage());
        // And what is gone is made again.
        layers(&world, way, "RUN --mount=type=cache,target=/c test ! -e /c/x\n", &[]);
    }
}

/// The next step needs the list of what a command left, and would read all of its layer for it.
#[test]
fn a_large_layer_of_a_command_has_its_list() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    layers(&world, way, "RUN head -c 400000 /dev/urandom >/large\n", &[]);
    let image: Value = serde_json::from_str(&world.ok(way, &["inspect", "made"])).unwrap();
    let diff_ids = image[0]["RootFS"]["Layers"].as_array().unwrap();
    let diff_ids: Vec<treering::Digest> =
        diff_ids.iter().map(|it| it.as_str().unwrap().parse().unwrap()).collect();
    let chain = treering::image::chain_id(&diff_ids).unwrap();
    let list = home(&world, way).join("store/layers").join(chain.hex()).join("list");
    let list = treering::tree::Snapshot::load(&list).unwrap();
    assert_eq!(list.meta(list.lookup(b"large").unwrap()).size, 400_000);
}

/// What a build that has nothing to run does with its base.
#[test]
fn a_build_without_run_touches_no_file_of_its_base() {
    let Some(world) = World::new() else { return };
    if !Command::new("strace").arg("-V").output().is_ok_and(|out| out.status.success()) {
        return missing("TOOL", "strace", "strace is not here");
    }
    let base = world.join("bb/base");
    std::fs::create_dir(&base).unwrap();
    for number in 0..500 {
        std::fs::write(base.join(format!("basefile{number}")), format!("{number}\n")).unwrap();
    }
    for way in ways() {
        world.prepare(way);
        let home = home(&world, way);
        std::fs::create_dir(home.join("context")).unwrap();
        std::fs::write(home.join("context/f"), "f\n").unwrap();
        let dockerfile = "FROM bb:1\nENV A=b\nCOPY --chown=3:4 f /base/new/\nWORKDIR /base/w\nADD f /base/basefile7\nCMD [\"x\"]\n";
        std::fs::write(home.join("Dockerfile"), dockerfile).unwrap();
        if way.drop {
            // strace is root here: as the user that owns the store it would need nothing more.
            continue;
        }
        let log = home.join("log");
        let out = Command::new("strace")
            .args(["-f", "-q", "-s", "200", "-e", "trace=%file", "-o"])
            .arg(&log)
            .arg(world.join("treering"))
            .args(["build", "-t", "made", "-f", "Dockerfile", "context"])
            .current_dir(&home)
            .env("TREERING_ROOT", home.join("store"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.contains("Dockerfile"), "strace saw something");
        let touched: Vec<&str> = log.lines().filter(|line| line.contains("basefile")).collect();
        assert!(touched.is_empty(), "{way:?}: {touched:?}");
        assert!(trees(&world, way).is_empty(), "{way:?}");
        assert_eq!(world.ok(way, &["cat", "made:/base/basefile7"]), "f\n");
        assert_eq!(world.ok(way, &["cat", "made:/base/basefile8"]), "8\n");
        assert!(no_file_named(&home.join("store"), "basefile"), "{way:?}");
    }
}

fn no_file_named(dir: &Path, part: &str) -> bool {
    std::fs::read_dir(dir).unwrap().all(|entry| {
        let entry = entry.unwrap();
        let is_dir = entry.file_type().unwrap().is_dir();
        !entry.file_name().to_string_lossy().contains(part) && (!is_dir || no_file_named(&entry.path(), part))
    })
}
