//! Parts of a container besides its tree: volumes, filesystems in memory, files copied in and out.

use std::path::Path;

use crate::lifecycle::{all, listed};
use support::busybox::{Way, World, every_way, ways};

/// Makes an image with a volume at /data, which has a file of another owner in it.
fn with_volume(world: &World, way: Way) {
    world.script_ok(
        way,
        "mkdir /data; echo first >/data/f; chown 5:6 /data/f; chown 7:8 /data; chmod 1770 /data",
    );
    world.ok(way, &["commit", "-c", "VOLUME /data", "work", "vol:1"]);
}

fn run(world: &World, way: Way, script: &str) -> String {
    let (code, out, error) = all(world, way, &["run", "--rung", way.rung, "box", "sh", "-c", script]);
    assert_eq!(code, 0, "{way:?} {script}: {out} {error}");
    out
}

#[test]
fn a_volume_is_kept_with_the_container_and_in_no_image() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        let home = world.prepare(way);
        with_volume(&world, way);
        world.ok(way, &["create", "--rung", way.rung, "--name", "box", "-v", "/more", "vol:1"]);
        let look = "cat /data/f; stat -c %u:%g:%a /data /data/f /more";
        assert_eq!(run(&world, way, look), "first\n7:8:1770\n5:6:644\n0:0:755\n", "{way:?}");
        run(&world, way, "echo second >/data/g; chown 9:10 /data/g /data/f; echo x >/more/x; echo y >/y");
        assert_eq!(
            run(&world, way, "cat /data/g /more/x; stat -c %u:%g /data/g /data/f"),
            "second\nx\n9:10\n9:10\n"
        );
        // Nothing of it is in the tree, in a comparison or in an image.
        assert_eq!(world.ok(way, &["diff", "box"]), "A /y\n", "{way:?}");
        world.ok(way, &["commit", "box", "box:1"]);
        assert_eq!(world.ok(way, &["cat", "box:1:/data/f"]), "first\n");
        assert!(!all(&world, way, &["ls", "box:1:/data/g"]).1.contains("second"));
        assert_eq!(
            run(&world, way, "stat -c %u:%g /data/g /data/f"),
            "9:10\n9:10\n",
            "{way:?}: a commit changes nothing"
        );
        let shown: serde_json::Value = serde_json::from_str(&world.ok(way, &["inspect", "box"])).unwrap();
        let targets: Vec<_> =
            shown[0]["Mounts"].as_array().unwrap().iter().map(|it| it["Destination"].clone()).collect();
        assert_eq!(targets, ["/data", "/more"]);
        // Docker copies out of a volume as well, and into one.
        assert_eq!(world.ok(way, &["cp", "box:/data/g", "g"]), "");
        assert_eq!(std::fs::read_to_string(home.join("g")).unwrap(), "second\n");
        world.ok(way, &["cp", "g", "box:/data/h"]);
        assert_eq!(
            run(&world, way, "cat /data/h; stat -c %u:%g /data/h /data/f"),
            "second\n0:0\n9:10\n",
            "{way:?}"
        );
        let boxes = home.join("store/boxes");
        world.ok(way, &["rm", "-v", "box"]);
        assert_eq!(
            std::fs::read_dir(boxes).unwrap().filter(|it| it.as_ref().unwrap().path().is_dir()).count(),
            0
        );
        // One that goes with its command takes its volumes along: the next one has fresh ones.
        for _ in 0..2 {
            let line = ["run", "--rm", "--rung", way.rung, "vol:1", "sh", "-c", "ls /data; echo >/data/new"];
            assert_eq!(all(&world, way, &line).1, "f\n", "{way:?}");
        }
    }
}

#[test]
fn a_kill_loses_no_owner_in_a_volume_and_puts_none_into_the_tree() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        with_volume(&world, way);
        let script = "echo x >/data/x; chown 11:12 /data/x; chown 0:0 /data/f; echo >/ready; while :; do sleep 0.05; done";
        let line = ["run", "-d", "--rung", way.rung, "--name", "box", "vol:1", "sh", "-c", script];
        let (code, _, error) = all(&world, way, &line);
        assert_eq!(code, 0, "{error}");
        let row = listed(&world, way).remove(0);
        let tree = row["tree"].as_str().unwrap().to_string();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !Path::new(&tree).join("ready").exists() {
            assert!(std::time::Instant::now() < end, "the command wrote nothing");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let supervisor = rustix::process::Pid::from_raw(row["pid"].as_i64().unwrap() as i32).unwrap();
        rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
        // A commit comes first: its layer has nothing of the volume.
        while listed(&world, way)[0]["status"] == "running" {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        world.ok(way, &["commit", "box", "box:1"]);
        assert_eq!(world.ok(way, &["cat", "box:1:/data/f"]), "first\n", "{way:?}");
        assert_eq!(all(&world, way, &["cat", "box:1:/data/x"]).0, 1, "{way:?}");
        assert_eq!(run(&world, way, "stat -c %u:%g /data/x /data/f"), "11:12\n0:0\n", "{way:?}");
        world.ok(way, &["rm", "box"]);
    }
}

#[test]
fn a_filesystem_in_memory_is_empty_every_time() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        let create =
            ["create", "--rung", way.rung, "--name", "box", "--tmpfs", "/run/x:size=1m,mode=1750", "bb:1"];
        world.ok(way, &create);
        let script = "stat -c %a /run/x; ls /run/x; cp /bin/busybox /run/x/true; dd if=/dev/zero of=/run/x/f bs=64k count=64 2>&- || echo full; /run/x/true 2>&- || echo no";
        for _ in 0..2 {
            let (code, out, error) = all(&world, way, &["run", "box", "sh", "-c", script]);
            match way.mounts() {
                false => {
                    assert_eq!(code, 125, "{out}");
                    assert!(error.contains("a filesystem in memory"), "{error}");
                    assert!(way.rung == "chroot" || error.contains("of a given size"), "{error}");
                }
                true => assert_eq!((code, out.as_str()), (0, "1750\nfull\nno\n"), "{way:?} {error}"),
            }
        }
        assert_eq!(world.ok(way, &["diff", "box"]), "", "{way:?}");
        world.ok(way, &["rm", "box"]);
    }
    let way = ways()[0];
    for wrong in [
        &["-v", "name:/x"][..],
        &["-v", "x:y"],
        &["--tmpfs", "x"],
        &["--tmpfs", "/x:foo"],
        &["-v", "/a/../b"],
    ] {
        let (code, _, error) = all(&world, way, &[&["create"][..], wrong, &["bb:1"]].concat());
        assert_ne!(code, 0, "{wrong:?} {error}");
    }
}

#[test]
fn files_go_into_a_container_and_come_out_of_it() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        let home = world.prepare(way);
        world.ok(way, &["create", "--rung", way.rung, "--name", "box", "bb:1"]);
        run(
            &world,
            way,
            "mkdir -p /etc/d; echo old >/etc/d/f; chown 5:6 /etc/d/f; ln -s /etc/d /link; chown 9 /etc/d",
        );
        let host = home.join("host");
        std::fs::create_dir_all(host.join("sub")).unwrap();
        std::fs::write(host.join("sub/a"), "a\n").unwrap();
        std::fs::write(host.join("f"), "new\n").unwrap();
        std::os::unix::fs::symlink("f", host.join("l")).unwrap();
        let cp = |from: &str, to: &str| all(&world, way, &["cp", from, to]);
        for (from, to) in [
            ("host/f", "box:/link"),
            ("host/f", "box:/etc/d/new"),
            ("host/f", "box:etc/relative"),
            ("host/l", "box:/etc/d"),
            ("host", "box:/etc/d"),
            ("host/.", "box:/fresh"),
            ("host/sub", "box:/other"),
            ("bb:1:/bin/ls", "box:/etc/d/ls"),
            ("box:/etc/d/f", "box:/etc/d/again"),
        ] {
            let (code, _, error) = cp(from, to);
            assert_eq!(code, 0, "{way:?} {from} {to}: {error}");
        }
        let look = "cat /etc/d/f /etc/d/new /etc/relative /etc/d/host/sub/a /fresh/f /other/a /etc/d/again
                    stat -c %u:%g /etc/d/f /etc/d/host /etc/d/host/sub/a /etc/d; readlink /etc/d/l; test -f /etc/d/ls && echo file";
        let expected = "new\nnew\nnew\na\nnew\na\nnew\n0:0\n0:0\n0:0\n9:0\nf\nfile\n";
        assert_eq!(run(&world, way, look), expected, "{way:?}");
        // Owners of one that is not touched stay; what is copied out has the name that was asked for.
        run(&world, way, "chown 5:6 /etc/d/new");
        world.ok(way, &["cp", "host/f", "box:/etc/d/last"]);
        assert_eq!(run(&world, way, "stat -c %u:%g /etc/d/new"), "5:6\n", "{way:?}");
        world.ok(way, &["cp", "box:/link/new", "out"]);
        assert_eq!(std::fs::read_to_string(home.join("out")).unwrap(), "new\n");
        std::fs::write(host.join(".wh.x"), "").unwrap();
        for (from, to, part) in [
            ("host", "box:/etc/d/f", "a directory cannot take the place of a file"),
            ("host/f", "box:/nowhere/f", "nowhere"),
            ("host/f", "box:/nowhere/", "no such directory"),
            ("host", "box:/w", ".wh."),
            ("host/f", "box:/../../x", ""),
            ("host/f", "none:/x", "no such container"),
            ("host/none", "box:/x", "none"),
            ("box:/nowhere", "out2", "nowhere"),
        ] {
            let (code, _, error) = cp(from, to);
            assert!(
                (code != 0 || part.is_empty()) && error.contains(part),
                "{way:?} {from} {to}: {code} {error}"
            );
        }
        assert!(!home.parent().unwrap().join("x").exists() && !home.join("x").exists());
        let (code, ..) =
            all(&world, way, &["run", "-d", "--name", "on", "--rung", way.rung, "bb:1", "sleep", "60"]);
        assert_eq!(code, 0);
        // While files belong to ids that this user cannot read, it says so.
        let (code, _, error) = cp("on:/bin/busybox", "out3");
        match way.rung {
            "ids" => assert!(code == 1 && error.contains("by the rung ids"), "{error}"),
            _ => assert_eq!(code, 0, "{way:?}: {error}"),
        }
        world.ok(way, &["rm", "-f", "on", "box"]);
    }
}

#[test]
fn a_container_is_inspected_as_docker_shows_it() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    let id = world.ok(
        way,
        &[
            "create",
            "--name",
            "box",
            "-e",
            "A=1",
            "-l",
            "k=v",
            "-w",
            "/srv",
            "--network",
            "none",
            "bb:1",
            "sh",
            "-c",
            "exit 3",
        ],
    );
    assert_eq!(all(&world, way, &["run", "box"]).0, 3);
    for line in [
        &["inspect", "box"][..],
        &["inspect", "--type", "container", &id[..6]],
        &["container", "inspect", id.trim()],
    ] {
        let shown: serde_json::Value = serde_json::from_str(&world.ok(way, line)).unwrap();
        let it = &shown[0];
        assert_eq!((&it["Name"], &it["Id"]), (&"/box".into(), &id.trim().into()));
        assert_eq!((&it["State"]["Status"], &it["State"]["ExitCode"]), (&"exited".into(), &3.into()));
        assert_eq!((&it["Path"], &it["Args"]), (&"sh".into(), &serde_json::json!(["-c", "exit 3"])));
        assert_eq!(it["Config"]["Labels"]["k"], "v");
        assert_eq!(
            (&it["Config"]["WorkingDir"], &it["HostConfig"]["NetworkMode"]),
            (&"/srv".into(), &"none".into())
        );
        assert!(it["Config"]["Env"].as_array().unwrap().contains(&"A=1".into()));
        assert!(it["Image"].as_str().unwrap().starts_with("sha256:"));
        assert!(Path::new(it["Tree"].as_str().unwrap()).is_dir());
    }
    assert_eq!(all(&world, way, &["inspect", "--type", "image", "box"]).0, 1);
    assert_eq!(all(&world, way, &["inspect", "nobody"]).0, 1);
}
