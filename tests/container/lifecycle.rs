//! From an image to a container and back.

use support::busybox::{Way, World, every_way, ways};

/// Runs the command in a way's directory; gives exit code, standard output and standard error.
pub fn all(world: &World, way: Way, arguments: &[&str]) -> (i32, String, String) {
    let out = world.output(way, arguments);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

/// Returns the JSON of `ps -a`.
pub fn listed(world: &World, way: Way) -> Vec<serde_json::Value> {
    serde_json::from_str(&world.ok(way, &["ps", "-a", "--json"])).unwrap()
}

#[test]
fn a_container_is_run_compared_and_committed() {
    let Some(world) = World::new() else { return };
    let mut digests = Vec::new();
    for way in every_way() {
        world.prepare(way);
        let create = ["create", "--rung", way.rung, "--name", "box", "-e", "A=1", "-l", "k=v", "bb:1"];
        world.ok(way, &[&create[..], &["sh", "-c", "echo $A; echo x >/x; chown 5:6 /x"]].concat());
        assert_eq!(world.ok(way, &["run", "box"]), "1\n");
        assert_eq!(world.ok(way, &["diff", "box"]), "A /x\n");
        // Another command, for this time.
        assert_eq!(
            world.ok(way, &["run", "-e", "A=2", "-u", "7", "box", "sh", "-c", "echo $A; id -u"]),
            "2\n7\n"
        );
        let rows = listed(&world, way);
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0]["name"], &rows[0]["status"]), (&"box".into(), &"exited".into()));
        assert_eq!((&rows[0]["exit_code"], &rows[0]["rung"]), (&0.into(), &way.rung.into()));
        let made = world.ok(way, &["commit", "--json", "box", "box:1"]);
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        digests.push(made["layer"]["diff_id"].clone());
        let config = world.ok(way, &["inspect", "box:1"]);
        for part in ["\"A=1\"", "chown 5:6 /x", "\"k\": \"v\""] {
            assert!(config.contains(part), "{part}: {config}");
        }
        assert_eq!(world.ok(way, &["diff", "box"]), "");
        world.ok(way, &["checkout", "--discard", "bb:1", "box"]);
        let (code, _, error) = all(&world, way, &["run", "box", "cat", "/x"]);
        assert_eq!(code, 1, "{error}");
        let (code, _, error) = all(&world, way, &["rmi", "bb:1"]);
        assert!(code == 1 && error.contains("the container box came from the image"), "{error}");
        assert_eq!(world.ok(way, &["rm", "box"]), "box\n");
        assert!(listed(&world, way).is_empty());
        world.ok(way, &["rmi", "bb:1"]);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn variables_and_labels_of_several_lines_are_committed() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    let value = "one\n# \"two\" \\\n\n$three";
    let create = ["create", "--rung", way.rung, "--name", "box", "-e", &format!("A={value}"), "-l", "k=x\ny"];
    world.ok(way, &[&create[..], &["bb:1", "sh", "-c", "echo \"$A\""]].concat());
    world.ok(way, &["commit", "box", "box:1"]);
    assert_eq!(world.ok(way, &["run", "--rm", "--rung", way.rung, "box:1"]), format!("{value}\n"));
    let config = world.ok(way, &["inspect", "box:1"]);
    assert!(config.contains("\"k\": \"x\\ny\""), "{config}");
}

#[test]
fn names_are_one_containers_own() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    let id = world.ok(way, &["create", "--name", "a", "bb:1"]);
    world.ok(way, &["create", "bb:1"]);
    for name in ["a", "../x", "", "x/y", "-x", ".."] {
        let (code, out, error) = all(&world, way, &["create", &format!("--name={name}"), "bb:1"]);
        assert!(code != 0 && out.is_empty(), "{name}: {error}");
    }
    assert_eq!(listed(&world, way).len(), 2);
    for name in ["b", &id[..3], "../boxes", "/etc"] {
        let (code, ..) = all(&world, way, &["rm", name]);
        assert_eq!(code, 1, "{name}");
    }
    // By the digits of its id; then by a made-up name.
    world.ok(way, &["rm", &id[..6]]);
    let name = listed(&world, way)[0]["name"].as_str().unwrap().to_string();
    world.ok(way, &["rm", &name]);
    assert!(listed(&world, way).is_empty());
}

#[test]
fn two_that_want_one_name_get_one_container() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    let children: Vec<_> = (0..4)
        .map(|_| {
            let mut command = world.command(way, &["create", "--name", "same", "bb:1"]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    let made = children.into_iter().map(|mut child| child.wait().unwrap().success());
    assert_eq!(made.filter(|made| *made).count(), 1);
    assert_eq!(listed(&world, way).len(), 1);
}

#[test]
fn a_spare_tree_is_put_right_for_the_next_container() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        let home = world.prepare(way);
        let boxes = home.join("store/boxes");
        let rootfs = || {
            let entries = std::fs::read_dir(&boxes).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        let run = |script: &str| {
            let (code, out, error) =
                all(&world, way, &["run", "--rm", "--rung", way.rung, "bb:1", "sh", "-c", script]);
            assert_eq!(code, 0, "{way:?} {script}: {error}");
            out
        };
        run("echo x >/x; rm /bin/ls; chown 3:4 /bin/busybox; chmod 4711 /bin/busybox");
        let first = rootfs();
        assert_eq!(first.len(), 1);
        assert_eq!(run("test ! -e /x && ls /bin/ls && stat -c %u:%g:%a /bin/busybox"), "/bin/ls\n0:0:755\n");
        assert_eq!(rootfs(), first, "the same tree");
        assert!(listed(&world, way).is_empty());
        // Damaged by hand, and removed by hand.
        std::fs::remove_dir_all(first[0].join("rootfs")).unwrap();
        assert_eq!(run("ls /bin/ls"), "/bin/ls\n");
        world.ok(way, &["prune", "-f"]);
        assert!(rootfs().is_empty());
        // The image is the only thing that the store has a tree of.
        assert!(world.ok(way, &["run", "--rm", "--rung", way.rung, "bb:1", "true"]).is_empty());
    }
}

#[test]
fn exit_codes_are_those_of_the_command_or_say_why_it_was_not_run() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        for (command, expected) in [
            (&["sh", "-c", "exit 7"][..], 7),
            (&["sh", "-c", "kill -TERM $$"], 143),
            (&["nowhere"], 127),
            (&["/bin"], 126),
        ] {
            for extra in [&["--rm"][..], &["--name", "box"]] {
                let line = [&["run", "--rung", way.rung][..], extra, &["bb:1"], command].concat();
                let (code, _, error) = all(&world, way, &line);
                assert_eq!(code, expected, "{way:?} {line:?}: {error}");
            }
            assert_eq!(listed(&world, way)[0]["exit_code"], expected);
            world.ok(way, &["rm", "box"]);
        }
        assert_eq!(all(&world, way, &["run", "--pull", "never", "none:1"]).0, 125);
        assert_eq!(all(&world, way, &["run", "./nowhere", "true"]).0, 125);
        assert!(listed(&world, way).is_empty());
    }
}

#[test]
fn a_container_without_its_tree_can_be_removed_and_no_more() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        world.ok(way, &["create", "--name", "box", "bb:1"]);
        let tree = listed(&world, way)[0]["tree"].as_str().unwrap().to_string();
        std::fs::remove_dir_all(&tree).unwrap();
        for verb in [&["run", "box", "true"][..], &["commit", "box", "x"], &["diff", "box"]] {
            let (code, _, error) = all(&world, way, verb);
            assert!(code != 0 && error.contains("rootfs"), "{verb:?}: {error}");
        }
        world.ok(way, &["rm", "box"]);
        let trees: serde_json::Value =
            serde_json::from_str(&world.ok(way, &["prune", "-f", "--json"])).unwrap();
        assert_eq!(trees["lost_trees"], 0, "what the store had of the tree went with it");
    }
}

#[test]
fn a_create_that_is_killed_leaves_a_container_or_none() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    let home = world.prepare(way);
    let mut seen = [false; 2];
    for wait in (0..400u64).step_by(10) {
        let mut command = world.command(way, &["create", "--name", "box", "bb:1"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        let rows = listed(&world, way);
        seen[rows.len()] = true;
        if !rows.is_empty() {
            assert_eq!(world.ok(way, &["run", "box", "echo", "whole"]), "whole\n");
            world.ok(way, &["rm", "box"]);
        }
        if seen == [true; 2] && wait > 100 {
            break;
        }
    }
    assert!(seen[0], "one that was killed early made no container");
    world.ok(way, &["prune", "-f"]);
    let left: Vec<_> =
        std::fs::read_dir(home.join("store/boxes")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}
