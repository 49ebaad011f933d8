//! Where volumes are: what a command does to their places does not lead files of the host into them, or theirs out.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::lifecycle::{all, listed};
use support::busybox::{World, every_way, ways};

#[test]
fn a_link_in_place_of_a_volume_leads_no_copy_to_the_host() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        let home = world.prepare(way);
        let host = home.join("host");
        std::fs::create_dir(&host).unwrap();
        std::fs::set_permissions(&host, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::write(host.join("secret"), "secret").unwrap();
        std::fs::write(home.join("new"), "new").unwrap();
        world.ok(way, &["create", "--rung", way.rung, "--name", "box", "-v", "/data", "bb:1"]);
        // Where it is mounted, it cannot be moved.
        let script = format!("echo x >/data/f; mv /data /elsewhere && ln -s {} /data; true", host.display());
        let (code, _, error) = all(&world, way, &["run", "--rung", way.rung, "box", "sh", "-c", &script]);
        assert_eq!(code, 0, "{way:?}: {error}");
        let (code, out, _) = all(&world, way, &["cp", "box:/data/secret", "-"]);
        assert!(code != 0 && !out.contains("secret"), "{way:?}: {out}");
        all(&world, way, &["cp", "new", "box:/data/new"]);
        assert!(!host.join("new").exists(), "{way:?}");
        let (_, out, _) = all(&world, way, &["run", "--rung", way.rung, "box", "sh", "-c", "ls /data/"]);
        assert!(!out.contains("secret"), "{way:?}: {out}");
        world.ok(way, &["rm", "box"]);
        assert_eq!(std::fs::read_dir(&host).unwrap().count(), 1, "{way:?}");
    }
}

#[test]
fn volumes_in_one_another_go_back_after_a_kill() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        let home = world.prepare(way);
        let script = "echo 1 >/a/f; echo 2 >/a/b/f; chown 5:6 /a/f; chown 7:8 /a/b/f; echo >/ready; while :; do sleep 0.05; done";
        let line = ["run", "-d", "--rung", way.rung, "--name", "box", "-v", "/a/b", "-v", "/a", "bb:1", "sh"];
        let (code, _, error) = all(&world, way, &[&line[..], &["-c", script]].concat());
        assert_eq!(code, 0, "{way:?}: {error}");
        let row = listed(&world, way).remove(0);
        let tree = row["tree"].as_str().unwrap().to_string();
        let end = Instant::now() + Duration::from_secs(20);
        while !Path::new(&tree).join("ready").exists() {
            assert!(Instant::now() < end, "{way:?}: the command wrote nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
        let supervisor = rustix::process::Pid::from_raw(row["pid"].as_i64().unwrap() as i32).unwrap();
        rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
        while listed(&world, way)[0]["status"] == "running" {
            std::thread::sleep(Duration::from_millis(10));
        }
        let look = "cat /a/f /a/b/f; stat -c %u:%g /a/f /a/b/f";
        let (code, out, error) = all(&world, way, &["run", "--rung", way.rung, "box", "sh", "-c", look]);
        assert_eq!((code, out.as_str()), (0, "1\n2\n5:6\n7:8\n"), "{way:?}: {error}");
        // What is copied into the one outside leaves the owners of the one inside.
        std::fs::write(home.join("g"), "3").unwrap();
        world.ok(way, &["cp", "g", "box:/a/g"]);
        world.ok(way, &["cp", "g", "box:/a/b/g"]);
        let look = "cat /a/g /a/b/g; stat -c %u:%g /a/f /a/b/f";
        let (code, out, error) = all(&world, way, &["run", "--rung", way.rung, "box", "sh", "-c", look]);
        assert_eq!((code, out.as_str()), (0, "335:6\n7:8\n"), "{way:?}: {error}");
        let changes = world.ok(way, &["diff", "box"]);
        assert!(!changes.contains("/a/"), "{way:?}: {changes}");
        world.ok(way, &["rm", "box"]);
    }
}

#[test]
fn a_link_of_the_tree_leads_a_copy_into_a_volume() {
    let Some(world) = World::new() else { return };
    for way in ways().into_iter().take(2) {
        let home = world.prepare(way);
        world.script_ok(way, "mkdir /data; ln -s data /link; ln -s ../data /bin/far");
        world.ok(way, &["commit", "-c", "VOLUME /data", "work", "vol:1"]);
        world.ok(way, &["create", "--rung", way.rung, "--name", "box", "vol:1"]);
        let script = "mkdir /data/deep; echo own >/data/f";
        assert_eq!(all(&world, way, &["run", "--rung", way.rung, "box", "sh", "-c", script]).0, 0, "{way:?}");
        std::fs::write(home.join("g"), "given").unwrap();
        world.ok(way, &["cp", "g", "box:/link/g"]);
        world.ok(way, &["cp", "g", "box:/bin/far/deep"]);
        world.ok(way, &["cp", "box:/link/f", "out"]);
        assert_eq!(std::fs::read_to_string(home.join("out")).unwrap(), "own\n", "{way:?}");
        let look = "cat /data/g /data/deep/g";
        let (_, out, error) = all(&world, way, &["run", "--rung", way.rung, "box", "sh", "-c", look]);
        assert_eq!(out, "givengiven", "{way:?}: {error}");
        assert_eq!(world.ok(way, &["diff", "box"]), "", "{way:?}");
        world.ok(way, &["rm", "box"]);
    }
}
