//! Running other people's tools.

use std::io::Write;
use std::process::{Command, Stdio};

/// Returns whether a tool is there and starts. A missing one is named as skipped; in CI it is a failure.
pub fn need(name: &str, args: &[&str]) -> bool {
    let there = Command::new(name).args(args).output().is_ok_and(|out| out.status.success());
    if !there {
        missing("TOOL", name, &format!("{name} {} does not work here", args.join(" ")));
    }
    there
}

/// Names what this machine cannot do and a test leaves out for that; a failure in CI, where nothing may be left out.
pub fn missing(kind: &str, name: &str, why: &str) {
    println!("SKIP-{kind} {name}: {why}");
    assert!(std::env::var_os("CI").is_none(), "{name} is needed in CI: {why}");
}

/// Runs a command that has to succeed; gives what it printed.
pub fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(out.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Compresses bytes by a program (`xz`, `bzip2`), if it is there.
pub fn packed(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    if !need(program, &["--help"]) {
        return None;
    }
    let mut command = Command::new(program);
    let mut child = command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    Some(output.stdout)
}
