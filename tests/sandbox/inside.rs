//! What a command sees, and what is left of it.

use std::time::{Duration, Instant};

use crate::world::{Way, World, ways};

/// Those ways that have mounts and namespaces.
fn isolated() -> Vec<Way> {
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
             echo x >/dev/null; head -c 4 /dev/zero | wc -c; test -s /etc/hosts; hostname
             touch /sys/x 2>/dev/null || echo ro; cat /proc/self/status | grep -c '^CapEff:.00000000a80425fb'
             ls -d /tmp /home /usr 2>/dev/null | wc -l; echo $$ $HOME; env | sort",
        );
        assert!(text.contains("\n4\ntreering\nro\n1\n0\n2 /\n"), "{way:?}: {text}");
        let environment = "HOME=/\nHOSTNAME=treering\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                           PWD=/\nSHLVL=1\n";
        assert!(text.ends_with(environment), "{way:?}: {text}");
    }
}

#[test]
fn nothing_of_the_setup_is_left_in_the_tree() {
    let Some(world) = World::new() else { return };
    for way in isolated() {
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
        for (command, code) in [
            (&["sh", "-c", "exit 7"][..], 7),
            (&["sh", "-c", "kill -TERM $$"], 143),
            (&["nowhere"], 127),
            (&["/bin/nowhere"], 127),
            (&["/text"], 126),
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
        }
        // And the tree can be used again.
        world.script_ok(way, "true");
    }
}

#[test]
fn what_a_killed_step_did_is_known() {
    let Some(world) = World::new() else { return };
    for way in isolated() {
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
    for way in isolated() {
        let home = world.prepare(way);
        std::fs::create_dir(home.join("data")).unwrap();
        std::fs::write(home.join("data/x"), "from the host\n").unwrap();
        let bind = format!("{}:/mnt/data:ro", home.join("data").display());
        let run = ["run", "--rung", way.rung, "-v", &bind, "work", "--", "sh", "-c"];
        let script = "cat /mnt/data/x; echo y >/mnt/data/y 2>/dev/null || echo refused";
        let text = world.ok(way, &[&run[..], &[script]].concat());
        assert_eq!(text, "from the host\nrefused\n", "{way:?}");
        assert_eq!(world.ok(way, &["diff", "work"]), "", "{way:?}: the mount point is gone");
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
    if !crate::tools::need("gcc", &["--version"]) {
        return;
    }
    std::fs::write(world.join("past.c"), PAST_THE_FILTER).unwrap();
    let built = std::process::Command::new("gcc")
        .args(["-static", "-o", "bb/past", "past.c"])
        .current_dir(world.path())
        .status()
        .unwrap();
    if !built.success() {
        return crate::tools::missing("TOOL", "gcc", "it links no static program here");
    }
    let way = *ways().iter().find(|way| way.rung == "notify").unwrap();
    world.prepare(way);
    assert_eq!(world.script_ok(way, "/past"), "-1 1\n");
    for abi in ["x32", "i386"] {
        let out = world.script(way, &format!("/past {abi}; echo went on"));
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        // A kernel without that ABI has its own error for it.
        let unknown = out.status.code() == Some(0) || error.contains("egmentation");
        assert!(out.status.code() == Some(125) && error.contains("another ABI") || unknown, "{abi}: {error}");
        assert!(!out.stdout.starts_with(b"went on") || unknown);
    }
}

/// How many processes sleep for this long.
fn sleepers(mark: &str) -> usize {
    let is = |entry: std::io::Result<std::fs::DirEntry>| {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.split(|&c| c == 0).collect::<Vec<_>>() == [&b"sleep"[..], mark.as_bytes(), b""]
    };
    std::fs::read_dir("/proc").unwrap().map(is).filter(|is| *is).count()
}

/// The helper that a host program started.
fn helper_of(host: u32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{host}/task/{host}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

fn wait_for(mut ready: impl FnMut() -> bool, what: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
