//! The rung with a range of subordinate ids: what the kernel does there, what is said where there is no range, and that a tree it worked on is
//! the user's again, whatever happened.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::inside::killed;
use support::busybox::{RANGES, Way, World};

/// Returns the user with a range; `None` where the tests do not run as root, which gives it one.
fn with_range() -> Option<(World, Way)> {
    let way = Way { rung: "ids", drop: true };
    if !support::is_root() {
        println!("SKIP-PART ids: a range of ids takes root to give it; the same test runs as root");
        return None;
    }
    let world = World::new()?;
    world.prepare(way);
    Some((world, way))
}

const NOTIFY: Way = Way { rung: "notify", drop: true };

/// Runs the command as the user with these ranges, in the directory of a way, after a script in its mount namespace.
fn ranged(world: &World, way: Way, ranges: (&str, &str), more: &str, arguments: &[&str]) -> Output {
    let like = world.command(way, arguments);
    let mut command = world.with_ranges(ranges.0, ranges.1, more);
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
    command.arg(world.join("treering")).args(arguments).current_dir(like.get_current_dir().unwrap());
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.output().unwrap()
}

fn rung(out: &Output) -> Value {
    let info: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{error} {}", String::from_utf8_lossy(&out.stderr)));
    info["rungs"].as_array().unwrap().iter().find(|rung| rung["name"] == "ids").unwrap().clone()
}

/// Finds everything below a directory that is not the user's, or that the user may not enter or read.
fn foreign(dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let needed = if meta.is_dir() { 0o700 } else { 0o600 };
        let closed = !meta.is_symlink() && meta.mode() & needed != needed;
        if (meta.uid(), meta.gid()) != (65_534, 65_534) || closed || meta.mode() & 0o6000 != 0 {
            out.push(format!("{} {}:{} {:o}", path.display(), meta.uid(), meta.gid(), meta.mode()));
        }
        if meta.is_dir() {
            out.extend(foreign(&path));
        }
    }
    out
}

/// A script with every kind of owner, mode and attribute.
const MIXED: &str = "set -e; umask 022; mkdir -m 700 d; touch d/f d/s; chown 33:44 d/f; chmod 4755 d/s; chown 5:6 d; mknod d/n c 1 3; chown 7:8 d/n
    ln -s x d/l; chown -h 9:9 d/l; mkdir -m 2775 d/g; chgrp 50 d/g; touch d/g/x; mkdir -m 0 none; touch locked; chmod 0 locked
    touch far; chown 100000:200000 far; ln d/f d/h";
const LOOK: &str = "find d none locked far | sort | xargs stat -c '%n %F %a %u:%g %h'";

#[test]
fn a_tree_is_the_users_after_each_step_and_goes_from_rung_to_rung() {
    let Some((world, way)) = with_range() else { return };
    let home = world.join("ids-true");
    let said = world.script_ok(way, &format!("{MIXED}; {LOOK}"));
    assert!(said.contains("far regular empty file 644 100000:200000"), "{said}");
    assert_eq!(foreign(&home.join("work")), [""; 0]);
    let run =
        |rung: &str, script: &str| world.ok(way, &["run", "--rung", rung, "work", "--", "sh", "-c", script]);
    assert_eq!(run("notify", LOOK), said);
    assert_eq!(run("ids", LOOK), said);
    // Each changes what the other made.
    run(
        "notify",
        "chown 34:45 d/f; chmod 600 d/s; chown 0:0 d; rm d/n; mknod d/m b 7 1; chmod 750 none; chown 3:3 far",
    );
    let after = run("ids", LOOK);
    assert!(
        after.contains("d/f regular empty file 600 34:45 2\n")
            || after.contains("d/f regular empty file 644 34:45 2\n"),
        "{after}"
    );
    assert!(
        after.contains("d/m block special file") && after.contains("far regular empty file 644 3:3"),
        "{after}"
    );
    run(
        "ids",
        "chown 0:0 d/f d/l far; chmod 755 d none; chmod 644 locked; rm -r d/g d/m; chown -h 0:0 d/l; chmod 2711 d/s",
    );
    let end = run("notify", LOOK);
    assert_eq!(run("ids", LOOK), end);
    assert_eq!(foreign(&home.join("work")), [""; 0]);
    // The same without a range ever.
    world.prepare(NOTIFY);
    world.script_ok(NOTIFY, MIXED);
    world.script_ok(
        NOTIFY,
        "chown 34:45 d/f; chmod 600 d/s; chown 0:0 d; rm d/n; mknod d/m b 7 1; chmod 750 none; chown 3:3 far",
    );
    world.script_ok(NOTIFY, "chown 0:0 d/f d/l far; chmod 755 d none; chmod 644 locked; rm -r d/g d/m; chown -h 0:0 d/l; chmod 2711 d/s");
    let layers = |way| {
        world.ok(way, &["commit", "work", "bb:2"]);
        let image: Value = serde_json::from_str(&world.ok(way, &["inspect", "bb:2"])).unwrap();
        image[0]["RootFS"]["Layers"].to_string()
    };
    assert_eq!(layers(way), layers(NOTIFY));
}

#[test]
fn the_kernel_keeps_a_user_from_reading_what_it_may_not() {
    let Some((world, way)) = with_range() else { return };
    let script = "set -e; umask 022; mkdir -p /etc /d; echo 'root:x:0:0::/:/bin/sh' >/etc/passwd; echo 'app:x:1234:1234::/:/bin/sh' >>/etc/passwd
        echo s >/d/secret; chmod 600 /d/secret; echo m >/d/mine; chown 1234:1234 /d/mine; chmod 400 /d/mine
        su app -c 'cat /d/secret 2>&- || echo refused; cat /d/mine; grep -E ^[UG]id: /proc/self/status | tr -s \"\\t\" \" \"'";
    assert_eq!(
        world.script_ok(way, script),
        "refused\nm\nUid: 1234 1234 1234 1234\nGid: 1234 1234 1234 1234\n"
    );
    // Beyond the range there is no user to become.
    let out = world.output(way, &["run", "--rung", "ids", "-u", "70000", "work", "--", "true"]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(125) && error.contains("do not reach to 70000:0"), "{error}");
    // What is not private to the step would be left with foreign owners.
    let bind = format!("{}:/x", world.join("ids-true").display());
    let out = world.output(way, &["run", "--rung", "ids", "-v", &bind, "work", "--", "true"]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(125) && error.contains("can be written to"), "{error}");
}

#[test]
fn a_step_that_was_killed_with_its_host_is_mended_by_whatever_looks_next() {
    let Some((world, way)) = with_range() else { return };
    let home = world.join("ids-true");
    let work = home.join("work");
    let before = world.script_ok(way, &format!("{MIXED}; {LOOK}"));
    for (number, next) in ["diff", "run", "commit", "ids"].into_iter().enumerate() {
        let mark = format!("6{number}{:05}", std::process::id() % 100_000);
        let script = format!(
            "mkdir -m 700 k{number}; echo x >k{number}/f; chown 8:8 k{number} k{number}/f; chmod 600 k{number}/f; sleep {mark}"
        );
        let run = ["run", "--rung", "ids", "work", "--", "sh", "-c", &script];
        killed(&world, way, &run, &mark);
        assert_ne!(foreign(&work), [""; 0], "owners were on the disk");
        match next {
            "diff" => {
                let text = world.ok(way, &["diff", "work"]);
                assert!(text.contains("A /k0/f\n") && !text.contains("/proc"), "{text}");
            }
            "run" => {
                assert_eq!(world.ok(way, &["run", "--rung", "notify", "work", "--", "cat", "k1/f"]), "x\n")
            }
            "commit" => drop(world.ok(way, &["commit", "work", "bb:3"])),
            _ => assert_eq!(world.ok(way, &["run", "--rung", "ids", "work", "--", "cat", "k3/f"]), "x\n"),
        }
        assert_eq!(foreign(&work), [""; 0], "after {next}");
        let seen = world.ok(
            way,
            &[
                "run",
                "--rung",
                "notify",
                "work",
                "--",
                "sh",
                "-c",
                &format!("{LOOK}; stat -c %u:%g-%a k{number} k{number}/f"),
            ],
        );
        assert_eq!(seen, format!("{before}8:8-700\n8:8-600\n"), "after {next}");
    }
    // Without a range nothing is read wrong: it is an error that says what is missing.
    let mark = format!("69{:05}", std::process::id() % 100_000);
    let run =
        ["run", "--rung", "ids", "work", "--", "sh", "-c", &format!("touch /r9; chown 5 /r9; sleep {mark}")];
    killed(&world, way, &run, &mark);
    let out = ranged(&world, way, ("", ""), "", &["diff", "work"]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && error.contains("no subordinate user ids"), "{error}");
    world.ok(way, &["diff", "work"]);
    // And all of it can be removed by the user alone.
    let mut remove = Command::new("setpriv");
    remove.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "rm", "-r"]).arg(&work);
    assert!(remove.status().unwrap().success());
}

#[test]
fn a_build_that_was_killed_leaves_trees_and_caches_that_can_be_used_and_removed() {
    let Some((world, way)) = with_range() else { return };
    let home = world.join("ids-true");
    std::fs::create_dir(home.join("context")).unwrap();
    let mark = format!("7{:05}", std::process::id() % 100_000);
    let bad = format!(
        "FROM bb:1\nRUN --mount=type=cache,target=/c mkdir -m 700 /junk /c/d; touch /c/d/f; chown -R 9:9 /junk /c/d; >/c/ready; sleep {mark}\n"
    );
    // A cache that a kill met before it was ever written down begins anew.
    let good = "FROM bb:1\nRUN --mount=type=cache,target=/c ls -ln /c >/seen && test ! -e /junk\n";
    let build = ["build", "-t", "made", "--rung", "ids", "-f", "Dockerfile", "context"];
    let trees = home.join("store/cache/trees");
    let find = |name: &str| -> Vec<std::path::PathBuf> {
        let out = Command::new("find").arg(home.join("store/cache")).args(["-name", name]).output().unwrap();
        String::from_utf8(out.stdout).unwrap().lines().map(Into::into).collect()
    };
    for next in ["build", "prune"] {
        std::fs::write(home.join("Dockerfile"), &bad).unwrap();
        killed(&world, way, &build, &mark);
        assert_ne!(foreign(&trees), [""; 0]);
        if next == "build" {
            std::fs::write(home.join("Dockerfile"), good).unwrap();
            world.ok(way, &build);
        } else {
            world.ok(way, &["builder", "prune", "-a", "-f"]);
            assert_eq!(find("ready"), [""; 0].map(std::path::PathBuf::from));
        }
        assert_eq!(foreign(&home.join("store/cache")), [""; 0], "after {next}");
    }
}

#[test]
fn what_is_missing_is_said_with_what_would_help() {
    let Some((world, way)) = with_range() else { return };
    let info =
        |ranges: (&str, &str), more: &str| rung(&ranged(&world, way, ranges, more, &["info", "--json"]));
    let hide = "for p in newuidmap newgidmap; do mount --bind /dev/null $(readlink -f /usr/bin/$p); done";
    let plain = "d=$(mktemp -d); mount -t tmpfs x $d; cp /usr/bin/newuidmap $d/p; chmod 755 $d/p; mount --bind $d/p $(readlink -f /usr/bin/newuidmap)";
    for (ranges, more, remark, fix) in [
        (("", ""), "", "nobody has no subordinate user ids in /etc/subuid", "usermod"),
        ((RANGES, ""), "", "nobody has no subordinate group ids in /etc/subgid", "usermod"),
        (
            ("65534:100000:1000\n", RANGES),
            "",
            "the subordinate user ids are 1000, and 65534 are needed",
            "usermod",
        ),
        ((RANGES, RANGES), hide, "newuidmap is not installed", "uidmap"),
        ((RANGES, RANGES), plain, "newuidmap is neither setuid nor has capabilities", "chmod u+s"),
    ] {
        let found = info(ranges, more);
        assert_eq!(found["works"], false, "{found}");
        assert!(found["remark"].as_str().unwrap().contains(remark), "{found}");
        assert!(found["fix"].as_str().unwrap().contains(fix), "{found}");
    }
    // As where no privileges can be gained.
    let out = {
        let inner = world.command(way, &["info", "--json"]);
        let mut command = world.with_ranges(RANGES, RANGES, "");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]);
        command.arg(world.join("treering")).args(["info", "--json"]);
        command.current_dir(inner.get_current_dir().unwrap()).env("HOME", world.join("ids-true"));
        command.env("TREERING_ROOT", world.join("ids-true/store")).output().unwrap()
    };
    let found = rung(&out);
    assert!(found["works"] == false && found["remark"].as_str().unwrap().contains("no_new_privs"), "{found}");
    assert!(found["fix"].as_str().unwrap().contains("no-new-privileges"), "{found}");
    // By name, in several pieces.
    let pieces = "other:1:5\nnobody:100000:60000\n65534:300000:10000\n";
    let found = info((pieces, pieces), "");
    assert_eq!(found["works"], true, "{found}");
    let script = "cat /proc/self/uid_map | tr -s ' '; touch /f; chown 65000:65001 /f; stat -c %u:%g /f";
    let out = ranged(
        &world,
        way,
        (pieces, pieces),
        "",
        &["run", "--rung", "ids", "work", "--", "sh", "-c", script],
    );
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(
        text,
        " 0 65534 1\n 1 100000 60000\n 60001 300000 10000\n65000:65001\n",
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
