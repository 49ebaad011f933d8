//! Why a way to run commands does not work here: what is said, what would help, and which way is taken in its place.

use std::process::Command;

use serde_json::Value;
use support::busybox::{Way, World, every_way};

use super::inside::{HIDDEN_PROC, NO_NAMESPACES};

/// `unshare`, `ptrace` and `seccomp` by their numbers.
#[cfg(target_arch = "x86_64")]
const CALLS: (i64, i64, i64) = (272, 101, 317);
#[cfg(target_arch = "aarch64")]
const CALLS: (i64, i64, i64) = (97, 117, 277);
/// In place of a call: the listener is taken.
pub const LISTENER: i64 = -1;

/// Returns the command of a way below the tool, which puts a filter on it for each call: that is refused.
pub fn filtered(world: &World, way: Way, calls: &[i64], arguments: &[&str]) -> Command {
    let tool = world.join("bb/bin/tool");
    let errno = rustix::io::Errno::PERM.raw_os_error().to_string();
    let calls: Vec<String> = calls.iter().map(i64::to_string).collect();
    let filters = calls.iter().flat_map(|call| [tool.to_str().unwrap(), "filtered", call, &errno]);
    world.command_below(way, &filters.collect::<Vec<_>>(), arguments)
}

fn rungs(command: &mut Command) -> Value {
    let out = command.output().unwrap();
    let info: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{error} {}", String::from_utf8_lossy(&out.stderr)));
    info["rungs"].clone()
}

fn one<'a>(rungs: &'a Value, name: &str) -> &'a Value {
    rungs.as_array().unwrap().iter().find(|rung| rung["name"] == name).unwrap()
}

/// Runs a script by the best rung that is left. Gives what it prints, and what was said of it.
fn run(world: &World, way: Way, calls: &[i64]) -> (String, String) {
    let script = "touch /f; chown 5:6 /f; stat -c %u:%g /f; mktemp /made-XXXXXX | cut -c1-6; mkfifo /p; echo through >/p & cat /p";
    let out = filtered(world, way, calls, &["run", "work", "--", "sh", "-c", script]).output().unwrap();
    world.ok(way, &["run", "--rung", way.rung, "work", "--", "sh", "-c", "rm -f /f /p /made-*"]);
    (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
}

const SAID: &str = "5:6\n/made-\nthrough\n";

#[test]
fn a_rung_that_does_not_work_says_why_and_what_would_help() {
    let Some(world) = World::with_tool() else { return };
    let way = Way { rung: "notify", drop: support::is_root() };
    world.prepare(way);
    let (unshare, ptrace, seccomp) = CALLS;
    let info = |calls: &[i64]| rungs(&mut filtered(&world, way, calls, &["info", "--json"]));
    let works = |found: &Value, name: &str, expected: bool| {
        assert_eq!(one(found, name)["works"], expected, "{name} {found}");
    };
    let says = |found: &Value, name: &str, remark: &str, fix: &str| {
        works(found, name, false);
        assert!(one(found, name)["remark"].as_str().unwrap().contains(remark), "{name} {found}");
        assert!(one(found, name)["fix"].as_str().unwrap().contains(fix), "{name} {found}");
    };
    // As in an ordinary container: no namespaces. The next one is taken, and leaves the same.
    let found = info(&[unshare]);
    for name in ["notify", "ptrace"] {
        says(&found, name, "make namespaces: operation not permitted", "seccomp");
    }
    works(&found, "paths", true);
    works(&found, "ptrace-paths", true);
    let (out, error) = run(&world, way, &[unshare]);
    assert_eq!(out, SAID, "{error}");
    assert!(error.contains("by seccomp notification; layers exact, processes"), "{error}");
    assert!(
        error.contains("notify: make namespaces") && error.contains("ptrace: make namespaces"),
        "{error}"
    );
    // Without ptrace the one that needs none works.
    let found = info(&[ptrace]);
    for name in ["ptrace", "paths", "ptrace-paths"] {
        says(&found, name, "trace command: operation not permitted", "seccomp");
    }
    works(&found, "notify", true);
    // The one listener there can be is taken: tracing takes its place.
    let found = info(&[LISTENER]);
    for name in ["notify", "paths"] {
        says(&found, name, "busy", "outside");
    }
    works(&found, "ptrace", true);
    works(&found, "ptrace-paths", true);
    let (out, error) = run(&world, way, &[LISTENER]);
    assert_eq!(out, SAID, "{error}");
    assert!(
        error.contains("one id, owners emulated by tracing") && error.contains("notify: install"),
        "{error}"
    );
    let (out, error) = run(&world, way, &[LISTENER, unshare]);
    assert_eq!(out, SAID, "{error}");
    assert!(error.contains("paths emulated by tracing") && error.contains("paths: install"), "{error}");
    // No filter can be installed at all.
    let found = info(&[seccomp]);
    for name in ["notify", "paths"] {
        says(&found, name, "install filter: operation not permitted", "seccomp");
    }
    let (out, error) = run(&world, way, &[seccomp]);
    assert_eq!(out, SAID, "{error}");
    assert!(error.contains("one id, owners emulated by tracing"), "{error}");
    let (out, error) = run(&world, way, &[unshare, seccomp]);
    assert_eq!(out, SAID, "{error}");
    assert!(error.contains("paths emulated by tracing"), "{error}");
    // Nothing is left.
    let (out, error) = run(&world, way, &[LISTENER, ptrace]);
    assert_eq!(out, "");
    assert!(error.contains("no way to run it works here") && error.contains("treering info"), "{error}");
    // A rung that is forced is the only one that is tried.
    let forced = ["run", "--rung", "notify", "work", "--", "true"];
    let out = filtered(&world, way, &[unshare], &forced).output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(125) && !error.contains("paths"), "{error}");
}

#[test]
fn what_commands_do_to_owners_is_the_same_whatever_is_missing() {
    let Some(world) = World::with_acceptance() else { return };
    let (unshare, ptrace, seccomp) = CALLS;
    let mut first: Option<(String, String)> = None;
    let mut same = |way: Way, tree: &str, out: std::process::Output, what: &str| {
        let (text, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{way:?} {what}: {text} {error}");
        world.ok(way, &["commit", tree, "bb:made"]);
        let image: Value = serde_json::from_str(&world.ok(way, &["inspect", "bb:made"])).unwrap();
        let found = (text.to_string(), image[0]["RootFS"]["Layers"].to_string());
        assert_eq!(&found, first.get_or_insert_with(|| found.clone()), "{way:?} {what}: {error}");
    };
    for way in every_way() {
        world.prepare(way);
        same(way, "work", world.script(way, "sh /acceptance.sh"), "");
    }
    let way = Way { rung: "notify", drop: support::is_root() };
    let run = |tree: &str| ["run", tree, "--", "sh", "/acceptance.sh"].map(String::from);
    let missing = [
        &[unshare][..],
        &[ptrace],
        &[LISTENER],
        &[seccomp],
        &[LISTENER, unshare],
        &[unshare, seccomp],
        &[LISTENER, ptrace],
    ];
    for (number, calls) in missing.into_iter().enumerate() {
        let tree = format!("without-{number}");
        world.ok(way, &["unpack", "bb:1", &tree]);
        let arguments = run(&tree);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let out = filtered(&world, way, calls, &arguments).output().unwrap();
        if calls == [LISTENER, ptrace] {
            // Nothing is left: nothing is run.
            assert!(out.status.code() == Some(125) && out.stdout.is_empty(), "{out:?}");
        } else {
            same(way, &tree, out, &format!("{calls:?}"));
        }
    }
    for (tree, (flags, keep, script)) in [("limited", ("-Ur", "", NO_NAMESPACES)), ("hidden", HIDDEN_PROC)] {
        world.ok(way, &["unpack", "bb:1", tree]);
        let arguments = run(tree);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        same(way, tree, world.without(way, flags, keep, script, &arguments).output().unwrap(), tree);
    }
    if support::is_root() {
        // As root has it in an ordinary container: without this capability, and no mounts.
        let way = Way { rung: "paths", drop: false };
        world.ok(way, &["unpack", "bb:1", "contained"]);
        let front = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all"];
        let run = ["run", "contained", "--", "sh", "/acceptance.sh"];
        same(way, "contained", world.command_below(way, &front, &run).output().unwrap(), "contained");
    }
}

#[test]
fn a_step_within_a_step_takes_the_rung_that_is_left() {
    let Some(world) = World::with_tool() else { return };
    let way = Way { rung: "notify", drop: support::is_root() };
    let home = world.prepare(way);
    // The tree has no C library, and a test's program needs that of the host.
    std::os::unix::fs::symlink("usr/lib", home.join("work/lib")).unwrap();
    std::os::unix::fs::symlink("usr/lib64", home.join("work/lib64")).unwrap();
    let script = "set -e; export PATH=/bin HOME=/ TREERING_ROOT=/store; mkdir /in; cp -a /bin /in/bin
                  /treering commit -q /in x:1 >/dev/null; /treering unpack -q x:1 /w; /treering info --json
                  /treering run /w -- sh -c 'touch /f; chown 5:6 /f; stat -c %u:%g /f; mknod /c c 1 3; stat -c %F /c; id -u; echo x >/n'
                  stat -c %u:%g /w/f; tool as 5 6 /bin/sh -c id | cut -c1-11";
    let program = format!("{}:/treering:ro", world.join("treering").display());
    let run = ["run", "-q", "--rung", way.rung, "-v", "/usr:/usr:ro", "-v", &program, "work", "--"];
    let out = world.output(way, &[&run[..], &["/bin/sh", "-c", script]].concat());
    let (said, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said} {error}");
    let (info, rest) = said.trim_end().split_once("\n5:6\n").unwrap_or_else(|| panic!("{said} {error}"));
    let info: Value = serde_json::from_str(info).unwrap_or_else(|_| panic!("{said} {error}"));
    assert_eq!(one(&info["rungs"], "paths")["works"], false, "{info}");
    assert_eq!(one(&info["rungs"], "ptrace-paths")["works"], true, "{info}");
    assert!(error.contains("paths emulated by tracing"), "{error}");
    // The ledger of the inner step has the owner, not the disk, which is the outer one's.
    assert_eq!(rest, "character special file\n0\n0:0\nuid=5 gid=6", "{said} {error}");
}

/// `openat2` by its number, the same on every machine.
const OPENAT2: i64 = 437;

#[test]
fn commands_run_where_openat2_is_refused() {
    let Some(world) = World::with_tool() else { return };
    // The filter comes with no_new_privs, by which newuidmap is of no use: that rung is not among these.
    for way in support::busybox::ways() {
        let home = world.prepare(way);
        let root = home.join("work");
        std::os::unix::fs::symlink("/../real/etc", root.join("etc")).unwrap();
        std::fs::create_dir_all(root.join("real/etc")).unwrap();
        std::fs::write(root.join("real/etc/passwd"), "root:x:0:0::/:/bin/sh\napp:x:1234:1235::/:/bin/sh\n")
            .unwrap();
        std::os::unix::fs::symlink("../real", root.join("link")).unwrap();
        std::fs::create_dir(home.join("data")).unwrap();
        std::fs::write(home.join("data/x"), "x\n").unwrap();
        if way.drop {
            let status = Command::new("chown").args(["-Rh", "65534:65534"]).arg(&home).status();
            assert!(status.unwrap().success());
        }
        let bind = format!("{}:/link/data:ro", home.join("data").display());
        let mut arguments = vec!["run", "--rung", way.rung, "-u", "app", "-w", "/new/er"];
        // A bare chroot shows nothing of the host.
        let (shown, script) = match way.rung {
            "chroot" => (&[][..], "id -u; pwd"),
            _ => (&["-v", &bind][..], "id -u; pwd; cat /link/data/x; test -s /etc/hosts && echo hosts"),
        };
        arguments.extend(shown);
        arguments.extend(["work", "--", "sh", "-c", script]);
        let expected = world.ok(way, &arguments);
        assert!(expected.starts_with("1234\n/new/er\n"), "{way:?}: {expected}");
        let out = filtered(&world, way, &[OPENAT2], &arguments).output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(String::from_utf8_lossy(&out.stdout), expected, "{way:?}: {error}");
        let probe = rungs(&mut filtered(&world, way, &[OPENAT2], &["info", "--json"]));
        assert_eq!(one(&probe, way.rung)["works"], true, "{way:?}: {probe}");
    }
}

#[test]
fn the_helper_is_named() {
    let Some(world) = World::new() else { return };
    let way = Way { rung: "notify", drop: support::is_root() };
    world.prepare(way);
    let info: Value = serde_json::from_str(&world.ok(way, &["info", "--json"])).unwrap();
    assert_eq!(info["helper"]["path"], world.join("treering").to_str().unwrap());
    assert!(info["helper"]["static"].is_boolean(), "{info}");
    let path = world.join("bb/bin/busybox");
    let out = world.command(way, &["info", "--json"]).env("TREERING_INIT", &path).output().unwrap();
    let info: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&info["helper"]["path"], &info["helper"]["static"]),
        (&path.to_str().unwrap().into(), &true.into())
    );
    assert!(world.ok(way, &["info"]).contains("Helper: "));
}
