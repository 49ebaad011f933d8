//! Files copied into a container that runs.

use crate::lifecycle::all;
use support::busybox::{Way, World, every_way};

/// Starts a container that runs until it is removed.
fn start(world: &World, way: Way, more: &[&str]) {
    let mut arguments = vec!["run", "-d", "--name", "on", "--rung", way.rung];
    arguments.extend_from_slice(more);
    arguments.extend(["bb:1", "sleep", "600"]);
    let (code, _, error) = all(world, way, &arguments);
    assert_eq!(code, 0, "{way:?}: {error}");
}

fn exec(world: &World, way: Way, script: &str) -> String {
    let (code, out, error) = all(world, way, &["exec", "on", "sh", "-c", script]);
    assert_eq!(code, 0, "{way:?} {script}: {error}");
    out
}

#[test]
fn files_are_copied_beside_a_command_with_all_they_have() {
    let Some(world) = World::new() else { return };
    let mut layers = Vec::new();
    for way in every_way() {
        world.prepare(way);
        world.ok(way, &["create", "--rung", way.rung, "--name", "from", "bb:1"]);
        let script = "mkdir -p /s/d/e; echo a >/s/f; ln /s/f /s/d/g; ln -s f /s/l; mknod /s/c c 1 3; mkfifo /s/p; : >/s/empty
                      chown 5:6 /s/f; chmod 4711 /s/f; chown -h 7:8 /s/l; chown 9:10 /s/d; chmod 2750 /s/d; chown 11:12 /s/c
                      touch -d @1000000000 /s/f /s/d /s/d/e; touch -h -d @1000000001 /s/l";
        let (code, _, error) = all(&world, way, &["run", "--rung", way.rung, "from", "sh", "-c", script]);
        assert_eq!(code, 0, "{way:?}: {error}");
        start(&world, way, &[]);
        exec(&world, way, "mkdir -p /srv/there; echo old >/srv/there/f; ln -s there /srv/link");
        world.ok(way, &["cp", "from:/s", "on:/srv"]);
        world.ok(way, &["cp", "from:/s/.", "on:/srv/link"]);
        world.ok(way, &["cp", "from:/s", "on:/srv/fresh"]);
        let look = "cd /srv; for x in s there fresh; do cat $x/f; readlink $x/l
                    for f in f d d/e d/g c p empty l; do stat -c '%n %F %u:%g %a %h %t:%T' $x/$f; done
                    for f in f d d/e l; do stat -c %Y $x/$f; done; done";
        let seen = exec(&world, way, look);
        let one = "a\nf\nX/f regular file 5:6 4711 2 0:0\nX/d directory 9:10 2750 3 0:0\nX/d/e directory 0:0 755 2 0:0\n\
                   X/d/g regular file 5:6 4711 2 0:0\nX/c character special file 11:12 644 1 1:3\nX/p fifo 0:0 644 1 0:0\n\
                   X/empty regular empty file 0:0 644 1 0:0\nX/l symbolic link 7:8 777 1 0:0\n\
                   1000000000\n1000000000\n1000000000\n1000000001\n";
        let expected: String = ["s", "there", "fresh"].map(|name| one.replace("X", name)).concat();
        assert_eq!(seen, expected, "{way:?}");
        // What the command left is committed with them, the same on every way.
        exec(&world, way, "touch -h -d @1000000002 /srv/link; touch -d @1000000002 /srv/there /srv /");
        world.ok(way, &["stop", "-t", "0", "on"]);
        let made = world.ok(way, &["commit", "--json", "on", "on:1"]);
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        layers.push(made["layer"]["diff_id"].clone());
        world.ok(way, &["rm", "on", "from"]);
    }
    assert!(layers.windows(2).all(|pair| pair[0] == pair[1]), "{layers:?}");
}

#[test]
fn paths_lead_where_they_lead_for_the_command() {
    let Some(world) = World::new() else { return };
    // What is shown of the host needs a mount, and where it may be written to, no files of subordinate ids.
    for way in every_way().into_iter().filter(|way| !["chroot", "ids"].contains(&way.rung)) {
        let home = world.prepare(way);
        let host = home.join("host");
        std::fs::create_dir_all(host.join("sub")).unwrap();
        for open in [host.clone(), host.join("sub")] {
            std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        std::fs::write(home.join("f"), "new\n").unwrap();
        std::fs::write(home.join("canary"), "canary\n").unwrap();
        let bind = format!("{}:/bound", host.display());
        start(&world, way, &["-v", "/data", "-v", &bind]);
        let canary = home.join("canary");
        let script = format!(
            "mkdir /d; echo old >/d/open; ln -s /data/x /d/x; ln -s {} /d/out; ln -s ../../../../../../tmp /d/up
             (exec 3</d/open; while [ ! -e /go ]; do sleep 0.05; done; cat <&3 >/d/was) >/dev/null 2>&1 &",
            canary.display()
        );
        exec(&world, way, &script);
        for to in ["on:/data", "on:/bound", "on:/bound/sub/g", "on:/d/x", "on:/d/open", "on:/d/new"] {
            world.ok(way, &["cp", "f", to]);
        }
        exec(&world, way, "echo >/go; while [ ! -s /d/was ]; do sleep 0.05; done");
        assert_eq!(
            exec(&world, way, "cat /data/f /bound/f /bound/sub/g /data/x /d/open /d/new /d/was"),
            "new\nnew\nnew\nnew\nnew\nnew\nold\n",
            "{way:?}"
        );
        assert_eq!(std::fs::read_to_string(host.join("sub/g")).unwrap(), "new\n", "{way:?}");
        // A link out of the container leads into it: to a directory that is not there.
        for to in ["on:/d/out", "on:/../../../f", "on:/d/up/g"] {
            all(&world, way, &["cp", "f", to]);
        }
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "canary\n", "{way:?}");
        assert_eq!(exec(&world, way, "cat /f"), "new\n", "{way:?}");
        std::fs::create_dir(home.join("tree")).unwrap();
        std::fs::write(home.join("tree/.wh.x"), "").unwrap();
        for (from, to, part) in [
            ("host", "on:/d/open", "a directory cannot take the place of a file"),
            ("f", "on:/nowhere/f", "/nowhere/f"),
            ("f", "on:/nowhere/", "no such directory"),
            ("f", "on:/d/open/", "it is not a directory"),
            ("tree", "on:/w", ".wh."),
            ("f", "on:/d/.wh.x", ".wh."),
            ("none", "on:/x", "none"),
        ] {
            let (code, _, error) = all(&world, way, &["cp", from, to]);
            assert!(code == 1 && error.contains(part), "{way:?} {from} {to}: {code} {error}");
        }
        assert_eq!(exec(&world, way, "ls -d /d /nowhere /w 2>/dev/null || true"), "/d\n", "{way:?}");
        world.ok(way, &["rm", "-f", "on"]);
    }
}

#[test]
fn a_command_that_swaps_paths_gets_no_file_outside() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        let home = world.prepare(way);
        std::fs::write(home.join("f"), "new\n").unwrap();
        let outside = home.join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::set_permissions(&outside, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let script =
            format!("mkdir /a; while :; do mv /a /b; ln -s {} /a; rm /a; mv /b /a; done", outside.display());
        let line = ["run", "-d", "--name", "on", "--rung", way.rung, "bb:1", "sh", "-c", &script];
        let (code, _, error) = all(&world, way, &line);
        assert_eq!(code, 0, "{way:?}: {error}");
        for _ in 0..20 {
            // It may be there or not, but it is inside.
            all(&world, way, &["cp", "f", "on:/a/f"]);
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{way:?}");
        world.ok(way, &["rm", "-f", "on"]);
    }
}

#[test]
fn a_copy_that_is_stopped_inside_can_be_cancelled() {
    let Some(world) = World::new() else { return };
    let way = every_way()[0];
    let home = world.prepare(way);
    std::fs::write(home.join("big"), vec![7; 64 << 20]).unwrap();
    // Whatever makes files beside this is stopped at once.
    let script = "while :; do for p in /proc/[0-9]*; do n=${p#/proc/}; [ $n = 1 ] || case \"$(cat $p/comm 2>/dev/null)\" in
                  treering*) kill -STOP $n; echo stopped;; esac; done; done";
    let line = ["run", "-d", "--name", "on", "--rung", way.rung, "bb:1", "sh", "-c", script];
    let (code, _, error) = all(&world, way, &line);
    assert_eq!(code, 0, "{error}");
    let mut copy = world.command(way, &["cp", "big", "on:/big"]).spawn().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let ended = loop {
        if let Some(status) = copy.try_wait().unwrap() {
            break Some(status);
        }
        if world.ok(way, &["logs", "on"]).contains("stopped") {
            break None;
        }
        assert!(std::time::Instant::now() < end, "nothing was stopped");
    };
    // One that was faster than the loop has copied all of it.
    if let Some(status) = ended {
        assert!(status.success());
        world.ok(way, &["rm", "-f", "on"]);
        return;
    }
    let copying = rustix::process::Pid::from_raw(copy.id() as i32).unwrap();
    rustix::process::kill_process(copying, rustix::process::Signal::INT).unwrap();
    while copy.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < end, "it goes on after it was interrupted");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    world.ok(way, &["rm", "-f", "on"]);
}
