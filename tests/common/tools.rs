//! Running other people's tools.

use std::process::Command;

/// Whether a tool is there and starts. A missing one is named as skipped; in CI it is a failure.
pub fn need(name: &str, args: &[&str]) -> bool {
    let there = Command::new(name).args(args).output().is_ok_and(|out| out.status.success());
    if !there {
        println!("SKIP-TOOL {name}: missing here");
        assert!(std::env::var_os("CI").is_none(), "{name} is needed in CI");
    }
    there
}

/// Runs a command that has to succeed; gives what it printed.
pub fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(out.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}
