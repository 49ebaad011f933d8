//! The program that has a command run: it starts one process, and is otherwise left as it is.

use std::collections::{BTreeMap, BTreeSet};

use support::busybox::{World, ways};
use support::tools::need;

/// Calls that would change the program or be a second way to start a process.
const CALLS: &str = "trace=execve,execveat,fork,vfork,clone,clone3,unshare,setns,ptrace,seccomp,chroot,pivot_root,mount,umount2,\
                     fchdir,chdir,umask,setresuid,setresgid,setgroups,rt_sigaction,prctl";

#[test]
fn one_process_is_started_and_the_host_stays_what_it_is() {
    let Some(world) = World::new() else { return };
    if !need("strace", &["--version"]) {
        return;
    }
    // A tracer can have only one process to trace it, and a supervisor of paths is one itself.
    for way in ways().into_iter().filter(|way| ["root", "chroot", "notify"].contains(&way.rung)) {
        let home = world.prepare(way);
        let log = home.join("calls");
        let inner =
            world.command(way, &["run", "--rung", way.rung, "work", "--", "sh", "-c", "true; true | true"]);
        let treering = world.join("treering");
        let mut words: Vec<_> = std::iter::once(inner.get_program()).chain(inner.get_args()).collect();
        let at = words.iter().position(|word| *word == treering.as_os_str()).unwrap();
        let strace = ["strace", "-f", "-o", log.to_str().unwrap(), "-e", CALLS].map(std::ffi::OsStr::new);
        words.splice(at..at, strace);
        let mut command = std::process::Command::new(words[0]);
        command.args(&words[1..]).current_dir(&home).env_remove("TREERING_INIT");
        command.env("TREERING_ROOT", home.join("store")).env("HOME", &home);
        let out = command.output().unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(out.status.success(), "{way:?} {}\n{text}", String::from_utf8_lossy(&out.stderr));

        let lines: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(tid, call)| (tid, call.trim()))
            .collect();
        let host = lines[0].0;
        let mut threads = BTreeSet::from([host]);
        let mut started = Vec::new();
        // What a thread was making when another one came between; whether that is a thread.
        let mut making = BTreeMap::new();
        for (tid, call) in lines.iter().skip(1) {
            if !threads.contains(tid) || call.starts_with("---") || call.starts_with("+++") {
                continue;
            }
            let name = call.split('(').next().unwrap();
            let is_thread = match name {
                "clone" | "clone3" | "vfork" | "fork" => {
                    let is_thread = call.contains("CLONE_THREAD");
                    let is_spawn = call.contains("CLONE_VFORK") && call.contains("CLONE_VM");
                    assert!(is_thread || is_spawn, "{way:?} {call}");
                    is_thread
                }
                "rt_sigaction" => {
                    assert!(!call.contains("SIGCHLD"), "{way:?} {call}");
                    continue;
                }
                "prctl" => {
                    assert!(call.contains("PR_SET_NAME"), "{way:?} {call}");
                    continue;
                }
                name if name.starts_with("<... clone") || name.starts_with("<... vfork") => {
                    making.remove(tid).unwrap()
                }
                name if name.starts_with("<...") => continue,
                _ => panic!("{way:?} the host program called {call}"),
            };
            if call.ends_with("<unfinished ...>") {
                making.insert(*tid, is_thread);
                continue;
            }
            let made = call.rsplit_once("= ").unwrap().1.trim();
            if is_thread {
                threads.insert(made);
            } else {
                started.push(made);
            }
        }
        assert_eq!(started.len(), 1, "{way:?} {text}");
        let first = lines.iter().find(|(tid, call)| *tid == started[0] && call.starts_with("execve("));
        assert!(first.unwrap().1.contains("\"treering-init\""), "{way:?} {first:?}");
    }
}
