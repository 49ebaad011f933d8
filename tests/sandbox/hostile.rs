//! Commands that try to get at what they were not given, to use up what there is, or to outlive its supervisor.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::busybox::{Way, World, below, every_way as ways};

fn text(out: &Output) -> String {
    format!(
        "{:?} {} {}",
        out.status.code(),
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}

/// Returns how many processes have this among their arguments.
fn with_argument(mark: &str) -> usize {
    let is = |entry: std::io::Result<std::fs::DirEntry>| {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.split(|&c| c == 0).any(|word| word == mark.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().map(is).filter(|is| *is).count()
}

fn mark(way: Way, number: u32) -> String {
    format!("{number}{}{:05}.{}", way.rung.len(), std::process::id() % 100_000, u8::from(way.drop))
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_full_disk_loses_no_owner() {
    if !support::is_root() {
        return println!("a_full_disk_loses_no_owner: root mounts a small filesystem");
    }
    let Some(world) = World::new() else { return };
    for way in ways() {
        let home = world.prepare(way);
        std::fs::create_dir(home.join("small")).unwrap();
        // Store and tree are on the disk that is full. Bytes for the journal may be left in its last block.
        let script = format!(
            "set -e; cd small; export TREERING_ROOT=$PWD/store; run() {{ \"$0\" run -q --rung {rung} work -- sh -c \"$1\"; }}
             \"$0\" commit -q {bb} bb:1 >&2; \"$0\" unpack -q bb:1 work >&2
             code=0; run 'touch /a /b; chown 5:6 /a
               dd if=/dev/zero of=/big bs=64k 2>&-; for i in 1 2 3; do cat /proc/version /bin/ls >>/big2 2>&-; done
               chown 7:8 /b 2>&- || true; rm /big2; chown 9:10 /b; cat /bin/busybox /bin/busybox >/big2 2>&-; exit 4' 2>../said || code=$?
             rm -f work/big work/big2; echo $code; cat ../said
             run 'stat -c %u:%g /a /b'; \"$0\" commit -q work bb:2 >&2",
            rung = way.rung,
            bb = world.join("bb").display()
        );
        let inner = world.command(way, &[]);
        let mut arguments: Vec<_> = inner.get_args().map(|word| word.to_str().unwrap().to_string()).collect();
        let mut program = inner.get_program().to_str().unwrap().to_string();
        if way.drop {
            // `setpriv ... treering` becomes `setpriv ... sh -c SCRIPT treering`.
            let treering = arguments.pop().unwrap();
            arguments.extend(["sh".into(), "-c".into(), script, treering]);
        } else {
            arguments = vec!["-c".into(), script, program];
            program = "sh".into();
        }
        let mut shell = Command::new(program);
        shell.args(&arguments).current_dir(&home).env("HOME", &home);
        let mount = "mount -t tmpfs -o size=12m,mode=0777 none small && exec \"$@\"";
        let out = below(&["unshare", "-m", "sh", "-c", mount, "sh"], &shell).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{way:?} {}", text(&out));
        let code = said.lines().next().unwrap();
        assert!(code == "4" || code == "125" && said.contains("space"), "{way:?} {}", text(&out));
        assert!(said.contains("\n5:6\n9:10\n"), "{way:?} {}", text(&out));
    }
}

#[test]
fn one_that_forks_without_end_is_stopped_whole() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        let mark = mark(way, 6);
        world.script_ok(way, "test -e /dev/null || { mkdir -p /dev; mknod -m 666 /dev/null c 1 3; }");
        // Real root has no limit of processes: what it starts here ends by itself.
        let script = match way.drop {
            true => format!("sleep {mark} & f() {{ f | f & sleep 0.01; }}; f; while :; do f; done"),
            false => format!(
                "i=0; while [ $i -lt 150 ]; do (setsid sleep {mark} &); i=$((i+1)); done; sleep {mark}"
            ),
        };
        let inner = world.command(way, &["run", "--rung", way.rung, "work", "--", "sh", "-c", &script]);
        let start = || {
            below(&["prlimit", &format!("--nproc={}", threads_of_the_user() + 150)], &inner)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut child = start();
        wait_for("the command did not start", || {
            let started = with_argument(&mark) >= 1;
            if !started && child.try_wait().unwrap().is_some() {
                // The limit counts what other tests start meanwhile, and left too little.
                child = start();
            }
            started
        });
        std::thread::sleep(Duration::from_millis(500));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for("a process outlived its supervisor", || {
            with_argument(&mark) == 0 && (!way.drop || shells_in(&world, way) == 0)
        });
        world.script_ok(way, "true");
    }
}

/// Returns how many threads the user of the ways without privileges has, with those of other tests: what the limit of
/// processes counts.
fn threads_of_the_user() -> usize {
    let one = |entry: std::io::Result<std::fs::DirEntry>| -> usize {
        let status = std::fs::read_to_string(entry.unwrap().path().join("status")).unwrap_or_default();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        match field("Uid:") == Some("65534") || !support::is_root() {
            true => field("Threads:").and_then(|text| text.parse().ok()).unwrap_or(0),
            false => 0,
        }
    };
    std::fs::read_dir("/proc").unwrap().map(one).sum()
}

/// Returns how many processes have the root or the working directory in the tree of a way.
fn shells_in(world: &World, way: Way) -> usize {
    let tree = world.join(&format!("{}-{}", way.rung, way.drop)).join("work");
    let is = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        ["root", "cwd", "exe"]
            .iter()
            .any(|name| std::fs::read_link(path.join(name)).is_ok_and(|link| link.starts_with(&tree)))
    };
    std::fs::read_dir("/proc").unwrap().map(is).filter(|is| *is).count()
}

#[test]
fn a_descriptor_that_is_passed_leads_nowhere_else() {
    let Some(world) = World::with_tool() else { return };
    let canary = world.join("canary-passed");
    std::fs::write(&canary, "out").unwrap();
    // Root of a bare chroot can leave it: that is what the rung says of itself.
    for way in ways().into_iter().filter(|way| way.rung != "chroot") {
        world.prepare(way);
        let said = world.script_ok(way, &format!("tool pass {}", canary.display()));
        assert_eq!(said, "in\n", "{way:?}");
    }
}

#[test]
fn memory_of_the_supervisor_cannot_be_written() {
    let Some(world) = World::with_tool() else { return };
    for way in ways().into_iter().filter(|way| way.rung != "chroot") {
        world.prepare(way);
        let said = world.script_ok(way, "tool memory; touch /f; chown 5:6 /f; stat -c %u:%g /f");
        assert_eq!(said, "0\n5:6\n", "{way:?}");
    }
}

#[test]
fn a_supervisor_that_real_root_ends_takes_all_with_it() {
    if !support::is_root() {
        return println!("a_supervisor_that_real_root_ends_takes_all_with_it: the rung takes root");
    }
    let Some(world) = World::new() else { return };
    // Without a process namespace the processes of the host are within reach of root.
    let way = Way { rung: "chroot", drop: false };
    world.prepare(way);
    let mark = mark(way, 7);
    world.script_ok(way, "mkdir -p /dev; mknod -m 666 /dev/null c 1 3");
    let out =
        world.script(way, &format!("touch /f; chown 5:6 /f; sleep {mark} & kill -9 $PPID; sleep {mark}"));
    assert!(!out.status.success(), "{}", text(&out));
    wait_for("a process outlived its supervisor", || with_argument(&mark) == 0);
    assert_eq!(world.script_ok(way, "stat -c %u:%g /f"), "5:6\n");
}

#[test]
fn a_user_of_the_step_does_not_become_root_by_what_the_kernel_carries() {
    let Some(world) = World::with_tool() else { return };
    for way in ways() {
        world.prepare(way);
        world.script_ok(way, "test -e /dev/null || { mkdir -p /dev; mknod -m 666 /dev/null c 1 3; }");
        // Written by the shell itself, and by one that it starts; the limit is set to what it was at first, too.
        let said = world.script_ok(
            way,
            "tool as 5 6 /bin/sh -c 'for n in 50000 50001 50002 0; do { echo $n >/proc/self/timerslack_ns; } 2>/dev/null; id -u; sh -c \"echo $n >/proc/self/timerslack_ns; id -u\" 2>/dev/null; done | sort | uniq -c; tool unlimit; id -u'; id -u",
        );
        let said: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(said, ["8", "5", "5", "0"], "{way:?}");
        // Threads have users of their own, and all that is theirs goes on.
        assert_eq!(
            world.script_ok(way, "tool threads; tool exec-thread"),
            "0\nexecuted by a thread\n",
            "{way:?}"
        );
    }
}

#[test]
fn a_step_without_a_network_says_where_that_is_a_filter() {
    let Some(world) = World::new() else { return };
    for way in ways().into_iter().filter(|way| way.rung != "chroot") {
        world.prepare(way);
        let run = ["run", "--network", "none", "--rung", way.rung, "work", "--", "true"];
        let error = String::from_utf8_lossy(&world.output(way, &run).stderr).into_owned();
        assert_eq!(error.contains("without a network is a filter"), way.serves(), "{way:?}: {error}");
    }
}
