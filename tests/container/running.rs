//! Containers with a command that runs by itself.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::lifecycle::{all, listed};
use support::busybox::{Way, World, every_way, ways};

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn detached(world: &World, way: Way, script: &str) {
    let line = ["run", "-d", "--rung", way.rung, "--name", "box", "bb:1", "sh", "-c", script];
    let (code, out, error) = all(world, way, &line);
    assert_eq!((code, out.trim().len()), (0, 64), "{way:?} {error}");
}

fn status(world: &World, way: Way) -> String {
    listed(world, way)[0]["status"].as_str().unwrap().to_string()
}

/// Returns how many processes have this among their arguments.
fn with_argument(mark: &str) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        found += usize::from(line.split(|&c| c == 0).any(|word| word == mark.as_bytes()));
    }
    found
}

#[test]
fn a_detached_container_goes_on_is_talked_to_and_stopped() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        detached(
            &world,
            way,
            "echo out; echo err >&2; trap 'echo bye; exit 5' TERM; while :; do sleep 0.1; done",
        );
        assert_eq!(status(&world, way), "running", "{way:?}");
        until("output is in the log", || {
            let (_, out, error) = all(&world, way, &["logs", "box"]);
            out == "out\n" && error == "err\n"
        });
        for verb in
            [&["rm", "box"][..], &["run", "box", "true"], &["commit", "box", "x:1"], &["start", "box"]]
        {
            let (code, _, error) = all(&world, way, verb);
            assert!(code != 0 && error.contains("runs"), "{way:?} {verb:?}: {error}");
        }
        let (code, _, error) = all(&world, way, &["rmi", "-f", "bb:1"]);
        assert!(code == 1 && error.contains("running container box"), "{error}");
        assert_eq!(world.ok(way, &["stop", "box"]), "box\n");
        let row = listed(&world, way).remove(0);
        assert_eq!((&row["status"], &row["exit_code"]), (&"exited".into(), &5.into()), "{way:?}");
        assert!(world.ok(way, &["logs", "box"]).ends_with("bye\n"));
        assert_eq!(world.ok(way, &["wait", "box"]), "5\n");
        world.ok(way, &["start", "box"]);
        assert_eq!(status(&world, way), "running");
        assert_eq!(world.ok(way, &["kill", "box"]), "box\n");
        assert_eq!(world.ok(way, &["wait", "box"]), "137\n");
        world.ok(way, &["rm", "-f", "box", "nobody"]);
        assert!(listed(&world, way).is_empty());
    }
}

#[test]
fn one_more_command_runs_beside_the_first_with_the_same_owners() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        detached(&world, way, "echo here >/tmp.txt; while :; do sleep 0.1; done");
        until("the first command wrote", || {
            all(&world, way, &["exec", "box", "cat", "/tmp.txt"]).1 == "here\n"
        });
        world.ok(
            way,
            &["exec", "box", "sh", "-c", "echo x >/x; chown 5:6 /x; mkdir /d; chown 7 /d; chmod 4711 /x"],
        );
        assert_eq!(world.ok(way, &["exec", "box", "stat", "-c", "%u:%g:%a", "/x"]), "5:6:4711\n", "{way:?}");
        // As another user: the owner of what is made, and what may not be done.
        let line = [
            "exec",
            "-u",
            "7:8",
            "-w",
            "/d",
            "-e",
            "A=b",
            "box",
            "sh",
            "-c",
            "echo $A; id -u; id -g; echo y >y; pwd",
        ];
        assert_eq!(world.ok(way, &line), "b\n7\n8\n/d\n", "{way:?}");
        assert_eq!(world.ok(way, &["exec", "box", "stat", "-c", "%u:%g", "/d/y"]), "7:8\n", "{way:?}");
        assert_ne!(all(&world, way, &["exec", "-u", "7", "box", "chown", "7", "/x"]).0, 0, "{way:?}");
        assert_eq!(all(&world, way, &["exec", "box", "sh", "-c", "exit 9"]).0, 9);
        // One that has ended before it is left to itself is no error.
        for _ in 0..10 {
            world.ok(way, &["exec", "-d", "box", "true"]);
        }
        assert_eq!(all(&world, way, &["exec", "box", "nowhere"]).0, 127);
        assert_eq!(all(&world, way, &["exec", "box", "/bin"]).0, 126);
        // Input, and many at once.
        let children: Vec<_> = (0..6)
            .map(|n| {
                let mut command = world.command(
                    way,
                    &[
                        "exec",
                        "box",
                        "sh",
                        "-c",
                        &format!("echo {n}; chown {n}:1 /x{n} 2>/dev/null; echo >/x{n}; chown {n}:1 /x{n}"),
                    ],
                );
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for (n, child) in children.into_iter().enumerate() {
            let out = child.wait_with_output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&out.stdout),
                format!("{n}\n"),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
        world.ok(way, &["exec", "-d", "box", "sh", "-c", "sleep 0.2; echo >/late"]);
        until("a detached command goes on", || {
            all(&world, way, &["exec", "box", "test", "-e", "/late"]).0 == 0
        });
        world.ok(way, &["stop", "-t", "0", "box"]);
        let (code, _, error) = all(&world, way, &["exec", "box", "true"]);
        assert!(code == 125 && error.contains("does not run"), "{error}");
        let owners = world.ok(way, &["run", "box", "stat", "-c", "%u:%g", "/x", "/d/y", "/x3"]);
        assert_eq!(owners, "5:6\n7:8\n3:1\n", "{way:?}");
        world.ok(way, &["rm", "box"]);
    }
}

#[test]
fn what_is_killed_leaves_no_process_and_no_running_container() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        let mark = format!("3{}{:05}.{}", way.rung.len(), std::process::id() % 100_000, u8::from(way.drop));
        detached(&world, way, &format!("echo x >/x; chown 5:6 /x; sleep {mark} | sleep {mark}"));
        until("the command is there", || with_argument(&mark) >= 2);
        // One more command goes with its client when that is killed.
        let other = format!("{mark}1");
        let mut client = world.command(way, &["exec", "box", "sleep", &other]).spawn().unwrap();
        until("the other command is there", || with_argument(&other) >= 2);
        client.kill().unwrap();
        client.wait().unwrap();
        until("the other command is gone", || with_argument(&other) == 0);
        let supervisor = listed(&world, way)[0]["pid"].as_i64().unwrap() as i32;
        let supervisor = rustix::process::Pid::from_raw(supervisor).unwrap();
        rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
        until("everything is gone", || with_argument(&mark) == 0);
        // Of a process that is killed the kernel closes the lock last.
        until("its end is seen", || listed(&world, way)[0]["status"] != "running");
        let row = listed(&world, way).remove(0);
        assert_eq!((&row["status"], &row["exit_code"]), (&"exited".into(), &137.into()), "{way:?}");
        assert_eq!(
            world.ok(way, &["run", "box", "stat", "-c", "%u:%g", "/x"]),
            "5:6\n",
            "{way:?}: the ledger lost nothing"
        );
        world.ok(way, &["rm", "box"]);
    }
}

#[test]
fn output_is_followed_and_attached_to() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        detached(
            &world,
            way,
            "while test ! -e /go; do sleep 0.05; done; for i in 1 2 3; do echo line $i; done; exit 4",
        );
        let spawn = |line: &[&str]| {
            world.command(way, line).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap()
        };
        let mut follower = spawn(&["logs", "-f", "box"]);
        let mut attached = spawn(&["attach", "--no-stdin", "box"]);
        std::thread::sleep(Duration::from_millis(300));
        // Not by `exec`, which ends with the container, maybe before it could say that it did it.
        let tree = listed(&world, way)[0]["tree"].as_str().unwrap().to_string();
        std::fs::write(std::path::Path::new(&tree).join("go"), "").unwrap();
        for (child, code) in [(&mut follower, 0), (&mut attached, 4)] {
            let lines: Vec<_> =
                BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
            assert_eq!(lines, ["line 1", "line 2", "line 3"], "{way:?}");
            assert_eq!(child.wait().unwrap().code(), Some(code));
        }
        assert_eq!(world.ok(way, &["logs", "--tail", "1", "box"]), "line 3\n");
        let stamped = world.ok(way, &["logs", "--timestamps", "--tail", "1", "box"]);
        assert!(stamped.starts_with("20") && stamped.ends_with("Z line 3\n"), "{stamped}");
        // From the first byte on, and with the code.
        let (code, out, error) = all(&world, way, &["start", "-a", "box"]);
        assert_eq!((code, out.as_str()), (4, "line 1\nline 2\nline 3\n"), "{way:?} {error}");
        // It is over when the command says so.
        for _ in 0..10 {
            assert_eq!(all(&world, way, &["start", "-a", "box"]).0, 4, "{way:?}");
            assert_eq!(listed(&world, way)[0]["status"], "exited", "{way:?}");
        }
        world.ok(way, &["rename", "box", "other"]);
        assert_eq!(world.ok(way, &["rm", "other"]), "other\n");
    }
}

#[test]
fn a_log_does_not_grow_without_end() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    let home = world.prepare(way);
    let script = "dd if=/dev/zero bs=1M count=20 2>/dev/null | tr '\\0' x | fold -w 1000; echo; echo end";
    let (code, out, error) = all(&world, way, &["run", "--name", "box", "bb:1", "sh", "-c", script]);
    assert!(code == 0 && out.ends_with("end\n") && out.len() > 20 << 20, "{error}");
    let boxes = home.join("store/boxes");
    let dir =
        std::fs::read_dir(&boxes).unwrap().map(|e| e.unwrap().path()).find(|path| path.is_dir()).unwrap();
    for name in ["log", "log.1"] {
        let size = std::fs::metadata(dir.join(name)).unwrap().len();
        assert!(size <= 16 << 20, "{name}: {size}");
    }
    assert_eq!(world.ok(way, &["logs", "--tail", "1", "box"]), "end\n");
}
