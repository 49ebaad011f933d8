//! The root of a command, and what is left of it.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use support::busybox::{Way, World, every_way as ways};

/// Returns those ways that have mounts and namespaces.
fn isolated() -> Vec<Way> {
    ways().into_iter().filter(|way| way.mounts()).collect()
}

/// Returns those ways by which commands have more than the tree.
fn furnished() -> Vec<Way> {
    ways().into_iter().filter(|way| way.rung != "chroot").collect()
}

#[test]
fn a_command_sees_a_machine_of_its_own() {
    let Some(world) = World::new() else { return };
    for way in isolated() {
        world.prepare(way);
        let text = world.script_ok(
            way,
            "set -e; ls /proc | grep -c '^[0-9]'; for d in null zero full random urandom ptmx shm pts; do test -e /dev/$d; done
             echo x >/dev/null; head -c 4 /dev/zero | wc -c; test -s /etc/hosts; hostname; cat /proc/sys/kernel/hostname
             touch /sys/x 2>/dev/null || echo ro; cat /proc/self/status | grep -c '^CapEff:.00000000a80425fb'
             ls -d /tmp /home /usr 2>/dev/null | wc -l; echo $$ $HOME; env | sort",
        );
        assert!(text.contains("\n4\ntreering\ntreering\nro\n1\n0\n2 /\n"), "{way:?}: {text}");
        let environment = "HOME=/\nHOSTNAME=treering\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                           PWD=/\nSHLVL=1\n";
        assert!(text.ends_with(environment), "{way:?}: {text}");
    }
}

#[test]
fn a_command_has_the_same_lists_by_every_way() {
    let Some(world) = World::new() else { return };
    let script = "env | sort; grep -E '^(Uid|Gid|Cap)' /proc/self/status | tr -s '\\t ' ' '
        ls /dev
        ls /proc/self/fd | while read n; do [ $n -ge 900 ] || echo fd $n; done; pwd; umask; hostname; cat /proc/sys/kernel/hostname; uname -s";
    let mut all = Vec::new();
    for way in furnished() {
        world.prepare(way);
        all.push((way, world.script_ok(way, script)));
    }
    let zeros = "0000000000000000";
    let expected = format!(
        "HOME=/\nHOSTNAME=treering\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/\nSHLVL=1\n\
         Uid: 0 0 0 0\nGid: 0 0 0 0\nCapInh: {zeros}\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\n\
         CapBnd: 00000000a80425fb\nCapAmb: {zeros}\n"
    );
    for (way, text) in &all {
        assert!(text.starts_with(&expected), "{way:?}: {text}");
        assert!(
            text.ends_with("fd 0\nfd 1\nfd 2\nfd 3\n/\n0022\ntreering\ntreering\nLinux\n"),
            "{way:?}: {text}"
        );
        let devices = "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
        assert!(text.strip_prefix(&expected).unwrap().starts_with(devices), "{way:?}: {text}");
    }
}

#[test]
fn nothing_of_the_setup_is_left_in_the_tree() {
    let Some(world) = World::new() else { return };
    for way in furnished() {
        let home = world.prepare(way);
        world.script_ok(way, "test -d /proc && cat /etc/hosts >/dev/null");
        assert_eq!(world.ok(way, &["diff", "work"]), "", "{way:?}");
        let names: Vec<_> =
            std::fs::read_dir(home.join("work")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["bin"], "{way:?}");
        // What the command puts beside it stays.
        world.script_ok(way, "echo x >/etc/x");
        assert_eq!(world.ok(way, &["diff", "work"]), "A /etc\nA /etc/x\n", "{way:?}");
    }
}

#[test]
fn exit_codes_say_what_happened() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        let home = world.prepare(way);
        std::fs::write(home.join("work/text"), "#!/nowhere\n").unwrap();
        // A program for a machine that there is none of.
        let mut foreign = vec![0; 64];
        foreign[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        foreign[16..24].copy_from_slice(&[2, 0, 0x34, 0x12, 1, 0, 0, 0]);
        std::fs::write(home.join("work/foreign"), foreign).unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(home.join("work/foreign"), all).unwrap();
        for (command, code) in [
            (&["sh", "-c", "exit 7"][..], 7),
            (&["sh", "-c", "kill -TERM $$"], 143),
            (&["nowhere"], 127),
            (&["/bin/nowhere"], 127),
            (&["/text"], 126),
            (&["/foreign"], 126),
            (&["true"], 0),
        ] {
            let mut arguments = vec!["run", "--rung", way.rung, "work", "--"];
            arguments.extend(command);
            let out = world.output(way, &arguments);
            let error = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(code), "{way:?} {command:?}: {error}");
        }
        let out = world.output(way, &["run", "nowhere", "true"]);
        assert_eq!(out.status.code(), Some(125));
    }
}

#[test]
fn no_working_directory_is_outside_of_the_tree() {
    let Some(world) = World::new() else { return };
    let canary = world.join("canary-cwd");
    std::fs::write(&canary, "out").unwrap();
    for way in ways() {
        world.prepare(way);
        // Descriptors that whatever sets a command up may have open, and what /proc has besides.
        let numbers = (3..14).map(|number| format!("/proc/self/fd/{number}"));
        for directory in
            numbers.chain(["/proc/self/root".into(), "/proc/1/cwd".into(), "/proc/self/cwd/..".into()])
        {
            let script = format!(
                "cat ./../../../../../../..{}; cat .{} 2>&-; true",
                canary.display(),
                canary.display()
            );
            let run = ["run", "--rung", way.rung, "-w", &directory, "work", "--", "sh", "-c", &script];
            let out = world.output(way, &run);
            assert!(out.stdout.is_empty(), "{way:?} {directory}: {}", String::from_utf8_lossy(&out.stdout));
        }
    }
}

#[test]
fn a_step_ends_with_its_command_and_with_its_host() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        let mark = format!("4{}{:05}.{}", way.rung.len(), std::process::id() % 100_000, way.drop as u8);
        // The background of a shell needs it, and a bare chroot has none.
        world.script_ok(way, "test -e /dev/null || { mkdir -p /dev; mknod -m 666 /dev/null c 1 3; }");
        // Left behind by the command.
        world.script_ok(way, &format!("sleep {mark} & sleep {mark} & true"));
        assert_eq!(sleepers(&mark), 0, "{way:?}");
        // The host program killed, then the supervisor.
        for victim in ["host", "helper"] {
            let script = format!("sleep {mark} & sleep {mark}");
            let mut child = world
                .command(way, &["run", "--rung", way.rung, "work", "--", "sh", "-c", &script])
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            wait_for(|| sleepers(&mark) == 2, "the command did not start");
            let pid = match victim {
                "host" => child.id() as i32,
                _ => helper_of(child.id()),
            };
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid).unwrap(),
                rustix::process::Signal::KILL,
            )
            .unwrap();
            let status = child.wait().unwrap();
            assert!(!status.success());
            wait_for(|| sleepers(&mark) == 0, "a process outlived its supervisor");
            let commit = world.output(way, &["commit", "work", "bb:half"]);
            let error = String::from_utf8_lossy(&commit.stderr).into_owned();
            match victim {
                // The ledger has all that was done until then.
                "host" => assert!(commit.status.success(), "{way:?}: {error}"),
                // A host that sees its helper go marks the tree until it is an image's again.
                _ => assert!(error.contains("was stopped: the helper was killed"), "{way:?}: {error}"),
            }
        }
        // And the tree can be used again.
        world.script_ok(way, "true");
        world.ok(way, &["checkout", "--discard", "bb:1", "work"]);
        world.ok(way, &["commit", "work", "bb:whole"]);
    }
}

#[test]
fn what_a_killed_step_did_is_known() {
    let Some(world) = World::new() else { return };
    for way in furnished() {
        world.prepare(way);
        let mark = format!("5{:05}.{}", std::process::id() % 100_000, way.drop as u8);
        let script = format!("touch /f /g; chown 33:44 /f; mknod /c c 1 3; sleep {mark}");
        let mut child = world
            .command(way, &["run", "--rung", way.rung, "work", "--", "sh", "-c", &script])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        wait_for(|| sleepers(&mark) == 1, "the command did not start");
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for(|| sleepers(&mark) == 0, "a process outlived its host");
        let text = world.script_ok(way, "stat -c '%n %u:%g %F' /f /c");
        assert_eq!(text, "/f 33:44 regular empty file\n/c 0:0 character special file\n", "{way:?}");
    }
}

#[test]
fn a_bind_shows_what_it_names_and_can_be_read_only() {
    let Some(world) = World::new() else { return };
    for way in furnished() {
        let home = world.prepare(way);
        std::fs::create_dir(home.join("data")).unwrap();
        std::fs::write(home.join("data/x"), "from the host\n").unwrap();
        let bind = format!("{}:/mnt/data:ro", home.join("data").display());
        let run = ["run", "--rung", way.rung, "-v", &bind, "work", "--", "sh", "-c"];
        let script = "cat /mnt/data/x; cd /mnt/data; for c in 'echo y >y' 'echo y >>x' 'chmod 600 x' 'chown 5:6 x' 'touch x' 'rm x' \
                      'mv x y' 'ln x y' 'ln -s x y' 'mkdir y' 'mknod y p' 'mknod y c 1 3' 'truncate -s 0 x'; do
                        sh -c \"$c\" 2>/dev/null && echo \"$c\"; done; echo done";
        let before = std::fs::metadata(home.join("data/x")).unwrap();
        let text = world.ok(way, &[&run[..], &[script]].concat());
        assert_eq!(text, "from the host\ndone\n", "{way:?}");
        let after = std::fs::metadata(home.join("data/x")).unwrap();
        assert_eq!((after.mode(), after.ctime_nsec()), (before.mode(), before.ctime_nsec()), "{way:?}");
        assert_eq!(world.ok(way, &["diff", "work"]), "", "{way:?}: the mount point is gone");
    }
}

#[test]
fn a_tree_that_cannot_be_written_to_has_places_that_can() {
    let Some(world) = World::new() else { return };
    // With a range of ids no directory of the host can be written to.
    for way in furnished().into_iter().filter(|way| way.rung != "ids") {
        let home = world.prepare(way);
        std::fs::create_dir(home.join("data")).unwrap();
        if way.drop {
            std::os::unix::fs::chown(home.join("data"), Some(65_534), Some(65_534)).unwrap();
        }
        let bind = format!("{}:/data", home.join("data").display());
        let script = "for c in 'touch /f' 'mkdir /d' 'ln -s x /l' 'mknod /p p' 'mknod /c c 1 3' 'rm /bin/ls' 'mv /bin/ls /x' 'chmod 700 /bin' \
                        'chown 5 /bin/busybox' 'touch /bin/busybox' 'truncate -s 0 /bin/busybox' 'ln /bin/busybox /x'; do
                        sh -c \"$c\" 2>/dev/null && echo \"$c\"; done
                      touch /mem/f; chown 5:6 /mem/f; stat -c '%a %u:%g' /mem /mem/f; ls /mem; echo x >/dev/shm/x
                      cp /bin/busybox /mem/true; /mem/true 2>/dev/null || echo no; echo z >/data/z; test -d /sys/kernel && touch /sys/x 2>/dev/null || echo ro";
        let run =
            ["run", "--rm", "--rung", way.rung, "--read-only", "--tmpfs", "/mem:mode=1750", "-v", &bind];
        let text = world.ok(way, &[&run[..], &["bb:1", "sh", "-c", script]].concat());
        assert_eq!(text, "1750 0:0\n644 5:6\nf\nno\nro\n", "{way:?}");
        assert_eq!(std::fs::read(home.join("data/z")).unwrap(), b"z\n", "{way:?}");
    }
}

#[test]
fn a_killed_supervisor_leaves_nothing_in_memory() {
    let Some(world) = World::new() else { return };
    let left = |mark: &str| {
        let shared = std::fs::read_dir("/dev/shm").unwrap().filter_map(|entry| {
            let path = entry.unwrap().path().join("dev/shm").join(mark);
            path.exists().then_some(path)
        });
        shared.count()
    };
    for way in ways().into_iter().filter(|way| way.serves()) {
        world.prepare(way);
        let mark = format!("8{:05}.{}", std::process::id() % 100_000, u8::from(way.drop));
        let mut child = world
            .command(
                way,
                &[
                    "run",
                    "--rung",
                    way.rung,
                    "work",
                    "--",
                    "sh",
                    "-c",
                    &format!("touch /dev/shm/{mark}; sleep {mark}"),
                ],
            )
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        wait_for(|| sleepers(&mark) == 1, "the command did not start");
        let helper = rustix::process::Pid::from_raw(helper_of(child.id())).unwrap();
        rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
        assert!(!child.wait().unwrap().success());
        wait_for(|| sleepers(&mark) == 0, "a process outlived its supervisor");
        // Any command of this user takes it away: one of another test may have done so.
        assert!(left(&mark) <= 1, "{way:?}");
        world.script_ok(way, "true");
        assert_eq!(left(&mark), 0, "{way:?}");
    }
}

#[test]
fn the_ladder_is_tried_and_says_what_is_missing() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        let info: serde_json::Value = serde_json::from_str(&world.ok(way, &["info", "--json"])).unwrap();
        let rungs = info["rungs"].as_array().unwrap();
        let one = |name: &str| rungs.iter().find(|rung| rung["name"] == name).unwrap();
        assert_eq!(one(way.rung)["works"], true, "{way:?}: {info}");
        if way.drop {
            assert_eq!(one("root")["works"], false);
            assert!(one("root")["fix"].as_str().unwrap().contains("root"));
        }
    }
}

/// A program that says what it gets for calls that would go past a filter: io_uring, and by two other ABIs.
const PAST_THE_FILTER: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "x32")) return syscall(39 | 0x40000000) > 0;
  if (argc > 1 && !strcmp(argv[1], "ring")) {
    long v = 425;
    __asm__ volatile("int $0x80" : "+a"(v) : "b"(8), "c"(0) : "memory");
    long x = syscall(425 | 0x40000000, 8, 0);
    printf("%ld %d\n", v, x < 0 ? errno : 0);
    return 0;
  }
  if (argc > 1) { long v = 20; __asm__ volatile("int $0x80" : "+a"(v) : : "memory"); return v > 0; }
  long got = syscall(425, 8, 0);
  printf("%ld %d\n", got, errno == ENOSYS);
  return 0;
}
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn nothing_goes_past_the_filter() {
    let Some(world) = World::new() else { return };
    if !support::tools::need("gcc", &["--version"]) {
        return;
    }
    std::fs::write(world.join("past.c"), PAST_THE_FILTER).unwrap();
    let built = std::process::Command::new("gcc")
        .args(["-static", "-o", "bb/past", "past.c"])
        .current_dir(world.path())
        .status()
        .unwrap();
    if !built.success() {
        return support::tools::missing("TOOL", "gcc", "it links no static program here");
    }
    for (way, abi) in ways().into_iter().flat_map(|way| [(way, "x32"), (way, "i386")]) {
        if abi == "x32" {
            world.prepare(way);
            assert_eq!(world.script_ok(way, "/past"), "-1 1\n", "{way:?}");
        }
        // Where the kernel keeps all owners, calls by another ABI do no harm, but for one.
        if matches!(way.rung, "root" | "chroot") {
            let out = world.script(way, "/past ring; echo went on");
            let unknown = String::from_utf8_lossy(&out.stderr).contains("egmentation");
            assert!(out.stdout == b"-38 38\nwent on\n" || unknown, "{way:?}: {out:?}");
            continue;
        }
        let out = world.script(way, &format!("/past {abi}; echo went on"));
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        // A kernel without that ABI has its own error for it.
        let unknown = out.status.code() == Some(0) || error.contains("egmentation");
        assert!(out.status.code() == Some(125) && error.contains("another ABI") || unknown, "{abi}: {error}");
        assert!(!out.stdout.starts_with(b"went on") || unknown);
        if !unknown {
            // The tree is marked until it is an image's again.
            let out = world.output(way, &["commit", "work", "bb:half"]);
            let error = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(error.contains("was stopped") && error.contains("another ABI"), "{way:?}: {error}");
            assert_eq!(out.status.code(), Some(1), "{way:?}: {error}");
            world.ok(way, &["checkout", "--discard", "bb:1", "work"]);
            world.ok(way, &["commit", "work", "bb:whole"]);
        }
    }
}

#[test]
fn a_terminal_is_to_be_had_by_every_way_that_mounts_or_serves() {
    let Some(world) = World::new() else { return };
    for way in ways() {
        world.prepare(way);
        let script = "test -t 0 && test -t 1 && test -t 2 && echo terminal";
        let inner = world.command(way, &["run", "-t", "--rung", way.rung, "work", "--", "sh", "-c", script]);
        let words = std::iter::once(inner.get_program()).chain(inner.get_args());
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''"));
        let line: Vec<String> = words.map(quoted).collect();
        // That of the tests need not be one.
        let mut outer = std::process::Command::new("script");
        outer.args(["-qec", &line.join(" "), "/dev/null"]).stdin(std::process::Stdio::null());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        let out = outer.current_dir(inner.get_current_dir().unwrap()).output().unwrap();
        let (text, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        match way.rung {
            "chroot" => assert!(text.contains("a terminal"), "{way:?}: {text} {error}"),
            // Without input the outer terminal is not raw, and puts a further carriage return before the end of a line.
            _ => {
                let said = text.lines().any(|line| line.trim_end() == "terminal");
                assert!(out.status.success() && said, "{way:?}: {text} {error}");
            }
        }
    }
}

/// Takes user namespaces away from a namespace.
pub const NO_NAMESPACES: &str = "echo 0 >/proc/sys/user/max_user_namespaces";

#[test]
fn without_namespaces_the_next_way_is_taken_and_says_so() {
    let Some(world) = World::new() else { return };
    let way = Way { rung: "notify", drop: support::is_root() };
    world.prepare(way);
    // A namespace of the test's own, in which no further one can be made; nothing of the machine is changed.
    let limited =
        |arguments: &[&str]| world.without(way, "-Ur", "", NO_NAMESPACES, arguments).output().unwrap();
    let out = limited(&["run", "work", "--", "sh", "-c", "touch /f; chown 33:44 /f; stat -c %u:%g /f"]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "33:44\n", "{error}");
    assert!(
        error.contains("run: no namespace")
            && error.contains("notify: make namespaces: no space left")
            && error.contains("user.max_user_namespaces is 0"),
        "{error}"
    );
    let out = limited(&["info", "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let rungs = info["rungs"].as_array().unwrap();
    let one = |name: &str| rungs.iter().find(|rung| rung["name"] == name).unwrap();
    assert_eq!((&one("notify")["works"], &one("paths")["works"]), (&false.into(), &true.into()), "{info}");
    assert!(one("notify")["fix"].as_str().unwrap().contains("max_user_namespaces"), "{info}");
    // What the tree was given there, it has everywhere.
    assert_eq!(world.script_ok(way, "stat -c %u:%g /f"), "33:44\n");
}

/// Hides a part of /proc. Without the capability, root of a namespace cannot be root of another one.
pub const HIDDEN_PROC: (&str, &str, &str) = ("-Urm", ",+setfcap", "mount -t tmpfs none /proc/sys");

#[test]
fn where_a_new_proc_is_refused_the_existing_one_is_shown_and_info_says_so() {
    let Some(world) = World::new() else { return };
    let way = Way { rung: "notify", drop: support::is_root() };
    world.prepare(way);
    let remark = |info: &[u8]| {
        let info: serde_json::Value = serde_json::from_slice(info).unwrap();
        let rungs = info["rungs"].as_array().unwrap();
        let one = rungs.iter().find(|rung| rung["name"] == "notify").unwrap();
        assert_eq!(one["works"], true, "{info}");
        one["remark"].as_str().unwrap().to_string()
    };
    // A namespace in which a part of /proc is hidden, as containers do it: the kernel gives no other /proc in one below it.
    let hidden = |arguments: &[&str]| {
        let (flags, keep, script) = HIDDEN_PROC;
        world.without(way, flags, keep, script, arguments).output().unwrap()
    };
    let info = |shown: &str| {
        let out = hidden(&["info", "--json"]);
        assert!(remark(&out.stdout).contains(shown), "{}", String::from_utf8_lossy(&out.stdout));
    };
    assert!(!remark(world.ok(way, &["info", "--json"]).as_bytes()).contains("outside"));
    let show = "ls /proc/sys | wc -l; cat /proc/self/comm; touch /f; chown 5:6 /f; stat -c %u:%g /f";
    let out = hidden(&["run", "--rung", "notify", "work", "--", "sh", "-c", show]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "0\ncat\n5:6\n", "{error}");
    if !keeps_signals_within() {
        // The command has a namespace of processes all the same, for it could end those of its user.
        info("/proc is the one outside");
        return;
    }
    info("processes have the numbers they have outside");
    // Of the same user, and no part of the step.
    let mut outside = match way.drop {
        true => std::process::Command::new("setpriv"),
        false => std::process::Command::new("env"),
    };
    if way.drop {
        outside.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    let mut outside = outside.args(["sleep", "600"]).spawn().unwrap();
    let script = format!(
        "cat /proc/$$/comm; helper=$(grep ^PPid: /proc/$PPID/status | cut -f2)
         for p in {0} $helper $PPID 1; do kill -9 $p 2>/dev/null || echo refused; done
         for p in {0} $helper; do ls /proc/$p/root/ /proc/$p/cwd/ >/dev/null 2>&1 && echo out; cat /proc/$p/environ 2>/dev/null; done
         sleep 600 & grep -c \"^PPid:.$$\" /proc/$!/status; kill $!; wait $!; echo $?
         (setsid sleep 4711 >/dev/null 2>&1 &); sleep 0.2",
        outside.id()
    );
    for rung in ["notify", "ptrace"] {
        let out = hidden(&["run", "--rung", rung, "work", "--", "sh", "-c", &script]);
        let error = String::from_utf8_lossy(&out.stderr);
        let expected = "sh\nrefused\nrefused\nrefused\nrefused\n1\n143\n";
        assert_eq!(String::from_utf8_lossy(&out.stdout), expected, "{rung}: {error}");
        assert_eq!(sleepers("4711"), 0, "{rung}: what a command leaves behind ends with it");
    }
    assert!(outside.try_wait().unwrap().is_none(), "a command ended a process outside");
    outside.kill().unwrap();
    outside.wait().unwrap();
    // Nor does it outlive its helper.
    let (flags, keep, script) = HIDDEN_PROC;
    let command =
        world.without(way, flags, keep, script, &["run", "--rung", "notify", "work", "--", "sleep", "4712"]);
    both_killed(command, "4712");
}

/// Returns whether the kernel can keep the signals of a process within what it started (landlock(7), the sixth version).
fn keeps_signals_within() -> bool {
    // SAFETY: numbers and a null pointer, which this operation takes.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0usize, 1) >= 6 }
}

#[test]
fn a_command_cannot_end_its_supervisor() {
    let Some(world) = World::with_tool() else { return };
    for way in furnished() {
        world.prepare(way);
        let script = "kill -9 $PPID 2>/dev/null; kill -9 1 2>/dev/null; tool trace $PPID; touch /f; chown 5:6 /f; stat -c %u:%g /f";
        assert_eq!(world.script_ok(way, script), "refused\n5:6\n", "{way:?}");
    }
}

#[test]
fn no_path_leads_out_of_the_tree() {
    use std::os::unix::fs::PermissionsExt;
    let Some(world) = World::with_tool() else { return };
    // In CI root alone tries them all, under the rung that is met most. Where a supervisor resolves paths, 100,000 rounds take
    // a minute, which each of these rungs would take: 10,000 are five seconds of races.
    let many = std::env::var_os("CI").is_some() && support::is_root();
    // Root of a bare chroot can leave it: that is what the rung says of itself.
    for way in furnished() {
        world.prepare(way);
        let rounds = if many && way.rung == "notify" { 100_000 } else { 10_000 };
        let directory = world.join(&format!("canary-{}-{}", way.rung, way.drop));
        std::fs::create_dir(&directory).unwrap();
        let canary = directory.join("canary");
        std::fs::write(&canary, "#!/bin/sh\nexit 1\n").unwrap();
        for path in [&directory, &canary] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let before = std::fs::metadata(&canary).unwrap();
        let text = world.script_ok(way, &format!("tool escape {} {rounds}", canary.display()));
        assert_eq!(text, "0\n0\n", "{way:?}");
        let after = std::fs::metadata(&canary).unwrap();
        assert_eq!(std::fs::read(&canary).unwrap(), b"#!/bin/sh\nexit 1\n", "{way:?}");
        assert_eq!(after.permissions().mode(), before.permissions().mode(), "{way:?}");
        assert_eq!(after.modified().unwrap(), before.modified().unwrap(), "{way:?}");
    }
}

/// Starts a command that sleeps for this long in the end, and kills the host program and the helper.
pub fn killed(world: &World, way: Way, arguments: &[&str], mark: &str) {
    both_killed(world.command(way, arguments), mark);
}

fn both_killed(mut command: std::process::Command, mark: &str) {
    use std::process::Stdio;
    let kill = |pid: i32| {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| sleepers(mark) == 1, "the command did not start");
    let helper = helper_of(child.id());
    // Stopped, the host program has no time to mend anything when its helper goes.
    let host = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(host, rustix::process::Signal::STOP).unwrap();
    kill(helper);
    kill(child.id() as i32);
    child.wait().unwrap();
    wait_for(|| sleepers(mark) == 0, "a process outlived its helper");
}

#[test]
fn mount_points_of_a_killed_step_are_gone_with_the_next_look() {
    use std::os::unix::fs::MetadataExt;
    let Some(world) = World::new() else { return };
    for way in furnished() {
        let home = world.prepare(way);
        let work = home.join("work");
        let before = work.metadata().unwrap();
        for (number, look) in [&["diff", "work"][..], &["commit", "work", "bb:2"], &["run", "work", "true"]]
            .into_iter()
            .enumerate()
        {
            let mark = format!("8{number}{}{:05}", way.rung.len(), std::process::id() % 100_000);
            let script = format!("cat /etc/hosts >/dev/null; sleep {mark}");
            killed(&world, way, &["run", "--rung", way.rung, "work", "--", "sh", "-c", &script], &mark);
            assert!(work.join("etc").exists(), "{way:?}: there is something to remove");
            let said = world.ok(way, look);
            assert!(number != 0 || said.is_empty(), "{way:?}: {said}");
            let names: Vec<_> = std::fs::read_dir(&work).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names, ["bin"], "{way:?} {look:?}");
            let after = work.metadata().unwrap();
            assert_eq!(
                (after.mtime(), after.mtime_nsec()),
                (before.mtime(), before.mtime_nsec()),
                "{way:?} {look:?}"
            );
        }
        // What was put in its place since then is not what was made.
        let mark = format!("89{}{:05}", way.rung.len(), std::process::id() % 100_000);
        killed(&world, way, &["run", "--rung", way.rung, "work", "--", "sleep", &mark], &mark);
        std::fs::write(work.join("etc/own"), "x").unwrap();
        assert_eq!(world.ok(way, &["diff", "work"]), "A /etc\nA /etc/own\n", "{way:?}");
    }
}

/// Returns how many processes sleep for this long.
pub fn sleepers(mark: &str) -> usize {
    let is = |entry: std::io::Result<std::fs::DirEntry>| {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.split(|&c| c == 0).collect::<Vec<_>>() == [&b"sleep"[..], mark.as_bytes(), b""]
    };
    std::fs::read_dir("/proc").unwrap().map(is).filter(|is| *is).count()
}

/// Returns the helper that a host program started.
pub fn helper_of(host: u32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{host}/task/{host}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

pub fn wait_for(mut ready: impl FnMut() -> bool, what: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
