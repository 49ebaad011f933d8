//! Options of `create`, `run`, `stop`, `logs` and `ps`, as Docker has them.

use std::collections::BTreeSet;

use crate::lifecycle::{all, listed};
use support::busybox::{Way, World, every_way, ways};

fn detached(world: &World, way: Way, more: &[&str], script: &str) {
    let line = [&["run", "-d", "--rung", way.rung, "--name", "box"][..], more, &["bb:1", "sh", "-c", script]];
    world.ok(way, &line.concat());
}

/// Waits until a command has written this.
fn await_log(world: &World, way: Way, wanted: &str) {
    for _ in 0..1000 {
        if all(world, way, &["logs", "box"]).1.contains(wanted) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("no {wanted}");
}

#[test]
fn variables_come_out_of_files_and_the_command_line_is_stronger() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        let home = world.prepare(way);
        let file = "# a comment\n\n  A=1\nB=two words # and this\nFROM_HERE\nNOT_SET_ANYWHERE\nC==x\n";
        std::fs::write(home.join("env"), file).unwrap();
        std::fs::write(home.join("more"), "B=3\n").unwrap();
        let script = "echo \"$A|$B|$C|$FROM_HERE|${NOT_SET_ANYWHERE-none}\"";
        let options = ["--env-file", "env", "--env-file", "more", "-e", "A=last"];
        for target in [&["--rm", "bb:1"][..], &["work", "--"]] {
            let line =
                [&["run", "--rung", way.rung][..], &options[..], target, &["sh", "-c", script]].concat();
            let out = world.command(way, &line).env("FROM_HERE", "here").output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout), "last|3|=x|here|none\n", "{way:?} {target:?}");
        }
        let (code, _, error) = all(&world, way, &["run", "--rm", "--env-file", "none", "bb:1", "true"]);
        assert!(code == 125 && error.contains("none"), "{error}");
    }
}

#[test]
fn the_name_of_the_host_and_an_init_are_there() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        for flag in ["--hostname", "-h"] {
            let line = ["run", "--rm", "--init", "--rung", way.rung, flag, "oak", "bb:1", "hostname"];
            let (code, out, error) = all(&world, way, &line);
            // By chroot(2) alone it is the machine's.
            assert!(code == 0 && (out == "oak\n" || way.rung == "chroot"), "{way:?} {flag}: {out} {error}");
        }
        let id = world.ok(way, &["create", "-h", "elm", "bb:1"]);
        let settings = world.ok(way, &["inspect", id.trim()]);
        assert!(settings.contains("\"elm\""), "{settings}");
    }
}

#[test]
fn the_signal_to_stop_is_the_options_then_the_images() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        let script = "trap 'exit 8' USR1; trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done";
        world.ok(way, &["commit", "-c", "STOPSIGNAL SIGUSR1", "work", "usr1:1"]);
        for (more, image, code) in [
            (&[][..], "bb:1", 9),
            (&["--stop-signal", "USR1"], "bb:1", 8),
            (&[], "usr1:1", 8),
            (&["--stop-signal", "SIGTERM"], "usr1:1", 9),
        ] {
            let line =
                [&["run", "-d", "--rung", way.rung, "--name", "box"][..], more, &[image, "sh", "-c", script]];
            world.ok(way, &line.concat());
            await_log(&world, way, "up\n");
            world.ok(way, &["stop", "box"]);
            assert_eq!(listed(&world, way)[0]["exit_code"], code, "{way:?} {more:?} {image}");
            world.ok(way, &["rm", "box"]);
        }
    }
}

#[test]
fn the_entry_point_stands_before_the_command() {
    let Some(world) = World::new() else { return };
    for way in every_way() {
        world.prepare(way);
        let changes = ["-c", "ENTRYPOINT [\"echo\", \"e\"]", "-c", "CMD [\"c\"]"];
        world.ok(way, &[&["commit"][..], &changes[..], &["work", "entry:1"]].concat());
        for (line, expected) in [
            (&["entry:1"][..], "e c\n"),
            (&["entry:1", "x", "-y"], "e x -y\n"),
            (&["--entrypoint", "expr", "entry:1", "1", "+", "2"], "3\n"),
            // With an entry point of its own, the image's command does not count.
            (&["--entrypoint", "/bin/echo", "entry:1"], "\n"),
            (&["--entrypoint", "", "entry:1", "echo", "plain"], "plain\n"),
        ] {
            let line = [&["run", "--rm", "--rung", way.rung][..], line].concat();
            let (code, out, error) = all(&world, way, &line);
            assert_eq!((code, out.as_str()), (0, expected), "{way:?} {line:?}: {error}");
        }
    }
}

#[test]
fn options_of_a_new_container_are_refused_for_what_is_there() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    world.ok(way, &["create", "--name", "box", "bb:1"]);
    for flag in [
        &["--pull", "always"][..],
        &["--pull", "never"],
        &["--platform", "linux/arm64"],
        &["--stop-signal", "INT"],
        &["--label", "a=b"],
    ] {
        for target in [&["box"][..], &["./work"]] {
            let (code, _, error) = all(&world, way, &[&["run"][..], flag, target, &["true"]].concat());
            assert!(code == 2 && error.contains(flag[0]), "{flag:?} {target:?}: {code} {error}");
        }
    }
}

#[test]
fn dockers_names_have_the_same_exit_codes() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    for line in [
        &["run", "--pull", "never", "none:1"][..],
        &["exec", "none", "true"],
        &["container", "run", "--pull", "never", "none:1"],
        &["container", "exec", "none", "true"],
    ] {
        assert_eq!(all(&world, way, line).0, 125, "{line:?}");
    }
    assert_eq!(all(&world, way, &["container", "rm", "none"]).0, 1);
}

#[test]
fn a_stop_waits_as_long_as_it_is_said() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    let script = "trap 'sleep 1; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    for (flags, code) in
        [(&["-t", "-1"][..], 5), (&["--timeout=-1"], 5), (&["--timeout", "0"], 137), (&["--time", "9"], 5)]
    {
        detached(&world, way, &[], script);
        await_log(&world, way, "up\n");
        world.ok(way, &[&["stop"][..], flags, &["box"]].concat());
        assert_eq!(listed(&world, way)[0]["exit_code"], code, "{flags:?}");
        world.ok(way, &["rm", "box"]);
    }
    assert_eq!(all(&world, way, &["stop", "-t", "-2", "box"]).0, 2);
}

#[test]
fn a_log_is_shown_from_a_time_and_to_a_time() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    let script = "echo one; echo err >&2; sleep 0.3; echo two; sleep 0.3; echo three";
    world.ok(way, &["run", "--rung", way.rung, "--name", "box", "bb:1", "sh", "-c", script]);
    let stamped = world.ok(way, &["logs", "-t", "box"]);
    let time = |line: usize| stamped.lines().nth(line).unwrap().split(' ').next().unwrap().to_string();
    let (one, two) = (time(0), time(1));
    for (flags, expected) in [
        (&["--since", &two][..], "two\nthree\n"),
        (&["--until", &two], "one\ntwo\n"),
        (&["--since", &two, "--until", &two], "two\n"),
        (&["--until", &two, "--tail", "1"], "two\n"),
        (&["--since", &two, "--tail", "1"], "three\n"),
        (&["--until", &one, "--tail", "0"], ""),
        (&["--since", "1h"], "one\ntwo\nthree\n"),
        (&["--since", "2100-01-01"], ""),
        (&["--until", "0"], ""),
    ] {
        let line = [&["logs"][..], flags, &["box"]].concat();
        assert_eq!(world.ok(way, &line), expected, "{flags:?}");
    }
    for line in [&["logs", "--since", "x", "box"][..], &["logs", "-f", "--until", "1h", "box"]] {
        assert_eq!(all(&world, way, line).0, 2, "{line:?}");
    }
}

#[test]
fn filters_of_one_key_are_alternatives_and_names_are_patterns() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    for (name, label) in [("web", "a=1"), ("web-2", "a=2"), ("my-web", "b=1")] {
        world.ok(way, &["create", "--name", name, "-l", label, "bb:1"]);
    }
    for (name, code) in [("three", "3"), ("four", "4")] {
        let script = format!("exit {code}");
        let line = ["run", "--rung", way.rung, "-l", "a=1", "-l", "b=1", "--name", name, "bb:1", "sh", "-c"];
        assert_ne!(all(&world, way, &[&line[..], &[script.as_str()]].concat()).0, 0);
    }
    let found = |filters: &[&str]| {
        let flags = filters.iter().flat_map(|filter| ["-f", filter]);
        let line: Vec<_> = ["ps", "-a", "--format", "json"].into_iter().chain(flags).collect();
        let out = world.ok(way, &line);
        let name = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            row["Names"].as_str().unwrap().to_string()
        };
        out.lines().map(name).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
    };
    for (filters, expected) in [
        (&["name=web"][..], "my-web web web-2"),
        (&["name=^web$"], "web"),
        (&["name=^/web$"], "web"),
        (&["name=^web"], "web web-2"),
        (&["name=web$"], "my-web web"),
        (&["name=^web$", "name=four"], "four web"),
        (&["status=created", "status=exited"], "four my-web three web web-2"),
        (&["status=exited"], "four three"),
        (&["exited=3", "exited=4"], "four three"),
        (&["exited=3", "name=four"], ""),
        (&["label=a", "label=b"], "four three"),
        (&["label=a=1"], "four three web"),
    ] {
        assert_eq!(found(filters), expected, "{filters:?}");
    }
    for filter in ["name=we*", "name=(a|b)", "exited=x", "what=x"] {
        let (code, _, error) = all(&world, way, &["ps", "-a", "-f", filter]);
        assert!(code == 2 && error.contains(filter), "{filter}: {error}");
    }
}

#[test]
fn help_of_what_takes_a_host_name_is_long() {
    let Some(world) = World::new() else { return };
    let way = ways()[0];
    world.prepare(way);
    for verb in ["run", "create"] {
        let help = world.ok(way, &[verb, "--help"]);
        assert!(help.contains("-h, --hostname"), "{help}");
        // A flag without its value.
        assert_eq!(all(&world, way, &[verb, "-h"]).0, 2);
    }
    assert!(world.ok(way, &["stop", "-h"]).contains("Usage"));
}
