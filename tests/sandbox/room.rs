//! Calls that make a name and fail after all, for want of a descriptor: of the caller, or of its supervisor. They leave no name.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use support::busybox::{Way, World, ways};

/// The result where the caller has room for no descriptor: as the kernel has it.
const FULL: &str = "new: Too many open files\nnew 0400: Too many open files\nopen: Too many open files\n\
                    open 0400: Too many open files\ncreat: Too many open files\nopenat2: Too many open files\n\
                    unnamed: Too many open files\nmkdir: Success, there\nsymlink: Success, there\n\
                    mknod: Success, there\nmkfifo: Success, there\nbind: Success, there\n";

#[test]
fn a_caller_without_room_for_a_descriptor_has_made_no_file() {
    let Some(world) = World::with_tool() else { return };
    for way in ways() {
        world.prepare(way);
        // What is made below the first two has more to it than its maker's ids.
        let script = "mkdir /a /b /c; chmod 2777 /a /b; chmod 777 /c
                      cd /a; printf 'm\\nc\\n' | tool makes full
                      cd /b; printf 'm\\nc\\n' | tool as 5 6 /bin/tool makes full
                      cd /c; printf 'm\\nc\\n' | tool as 5 6 /bin/tool makes full";
        let one = format!("done\n{FULL}done\n");
        assert_eq!(world.script_ok(way, script), one.repeat(3), "{way:?}");
    }
}

/// Returns the one child of a process.
fn child_of(pid: u32) -> Option<i32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let lists = entries.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children: Vec<i32> = lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    assert!(children.len() <= 1, "{children:?}");
    children.first().copied()
}

/// Lets a process of a way's user have so many descriptors.
fn limit(way: Way, process: i32, most: u32) {
    let mut command = Command::new(if way.drop { "setpriv" } else { "prlimit" });
    if way.drop {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "prlimit"]);
    }
    let status =
        command.args(["--pid", &process.to_string(), &format!("--nofile={most}:")]).status().unwrap();
    assert!(status.success(), "{way:?}: {most}");
}

#[test]
fn a_supervisor_without_room_for_a_descriptor_leaves_no_name_of_a_call_that_fails() {
    let Some(world) = World::with_tool() else { return };
    // The others have no supervisor that makes files.
    for way in ways().into_iter().filter(|way| !matches!(way.rung, "root" | "chroot")) {
        world.prepare(way);
        let script = "mkdir /t; chmod 2777 /t; cd /t; exec tool as 5 6 /bin/tool makes";
        let mut running = world
            .command(way, &["run", "-q", "-i", "--rung", way.rung, "work", "--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = running.stdin.take().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let mut ask = |word: &str| -> Vec<String> {
            writeln!(input, "{word}").unwrap();
            lines.by_ref().map(|line| line.unwrap()).take_while(|line| line != "done").collect()
        };
        // It has begun, and with that its helper.
        ask("make");
        assert!(!ask("say").iter().any(|line| line.contains("Too many")), "{way:?}");
        let helper = child_of(running.id()).unwrap();
        let mut failed = 0;
        for most in 8..48 {
            limit(way, helper, most);
            ask("make");
            limit(way, helper, 256);
            let said = ask("say");
            failed += said.iter().filter(|line| line.contains("Too many open files")).count();
            let left: Vec<_> = said.iter().filter(|line| line.contains("left its name")).collect();
            assert!(left.is_empty() && said.len() == 12, "{way:?}, {most} descriptors: {said:?}");
        }
        assert!(failed > 0, "{way:?}");
        drop(input);
        assert!(running.wait().unwrap().success(), "{way:?}");
    }
}
