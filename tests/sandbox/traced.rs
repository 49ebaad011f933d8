//! Supervisors that trace, as programs see them: not at all. Where a filter can be had, it says which calls stop; else all do.

use support::busybox::{World, ways};

use super::reasons::{LISTENER, filtered};

#[test]
fn threads_processes_and_descriptors_are_as_without_a_supervisor() {
    let Some(world) = World::with_tool() else { return };
    for way in ways() {
        world.prepare(way);
        let text = world.script_ok(way, "mkdir /t; cd /t; tool stop; tool exec-thread; tool descriptors");
        assert_eq!(text, "15\nexecuted by a thread\n1 1\n", "{way:?}");
    }
}

#[test]
fn where_the_listener_is_taken_every_call_is_looked_at() {
    let Some(world) = World::with_tool() else { return };
    for way in ways().into_iter().filter(|way| way.rung.starts_with("ptrace")) {
        world.prepare(way);
        let run = |script: &str| {
            let run = ["run", "-q", "--rung", way.rung, "work", "--", "/bin/sh", "-c", script];
            let out = filtered(&world, way, &[LISTENER], &run).output().unwrap();
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            (out.status.code(), text, String::from_utf8_lossy(&out.stderr).into_owned())
        };
        let script =
            "mkdir /t; cd /t; tool stop; tool exec-thread; tool descriptors; tool threads; tool recycle 300
                      touch f; chown 5:6 f; stat -c %u:%g f; mkfifo p; (sleep 0.2; echo through >p) & cat p
                      tool as 5 6 /bin/sh -c 'id -u; touch new 2>&- || echo refused'";
        let (code, text, error) = run(script);
        let expected = "15\nexecuted by a thread\n1 1\n0\n0\n5:6\nthrough\n5\nrefused\n";
        assert_eq!((code, text.as_str()), (Some(0), expected), "{way:?} {error}");
        if cfg!(target_arch = "x86_64") {
            let (code, text, error) = run("tool foreign; echo went on");
            // A kernel without that ABI has its own error for it.
            let unknown = error.contains("egmentation");
            assert!(
                code == Some(125) && error.contains("another ABI") && text.is_empty() || unknown,
                "{error}"
            );
        }
    }
}
