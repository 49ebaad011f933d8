//! What goes where: data, talk, errors, exit codes; and that help, manual and completions are complete.

use std::io::{BufRead, Read};
use std::process::Stdio;

use crate::world::{World, run};

const VERBS: [&str; 24] = [
    "commit",
    "diff",
    "snapshot",
    "layer",
    "images",
    "inspect",
    "history",
    "df",
    "info",
    "save",
    "load",
    "import",
    "export",
    "tag",
    "rmi",
    "unpack",
    "checkout",
    "clone",
    "run",
    "prune",
    "fsck",
    "version",
    "completion",
    "man",
];

#[test]
fn a_command_line_that_makes_no_sense_is_2() {
    let world = World::new();
    world.run(&["frobnicate"]).fails(2, "unrecognized subcommand");
    world.run(&["images", "--frobnicate"]).fails(2, "unexpected argument");
    world.run(&["images", "--threads", "many"]).fails(2, "invalid value");
    let run = world.run(&[]).code(2);
    assert!(run.stderr.contains("Usage: treering") && run.stderr.contains("commit"), "{}", run.stderr);
    assert!(!world.join("store").exists());
}

#[test]
fn errors_as_json() {
    let world = World::new();
    let run = world.run(&["--json", "tag", "nope", "x"]).code(1);
    assert_eq!(run.text(), "");
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "not-found");
    assert_eq!(error["error"]["path"], "nope");
    assert!(error["error"]["hint"].is_string());
}

#[test]
fn the_root_option_beats_the_environment() {
    let world = World::with_tree();
    world.run(&["--root", "here", "commit", "tree", "app:v1"]).ok();
    assert!(world.join("here/oci/index.json").exists() && !world.join("store").exists());
    assert_eq!(world.run(&["images", "-q", "--root", "here"]).ok().lines().len(), 1);
    world.run(&["--root", "tree", "images"]).fails(1, "");
    assert!(!world.join("tree/oci").exists());
    let home = world.join("home");
    std::fs::create_dir(&home).unwrap();
    run(world.command(&["images"]).env("TREERING_ROOT", "").env("HOME", &home)).ok();
    assert!(home.join(".local/share/treering/oci").exists());
}

#[test]
fn no_colours_where_nobody_sees_them() {
    let world = World::new();
    for line in [&["tag", "nope", "x"][..], &["--help"], &[], &["frobnicate"]] {
        let run = world.run(line);
        assert!(!run.stderr.contains('\x1b') && !run.text().contains('\x1b'), "{line:?}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let world = World::new();
    world.sh(
        "mkdir tree; cd tree; for i in $(seq 3000); do : >a-name-long-enough-to-fill-a-pipe-buffer-$i; done",
    );
    let mut child = world.command(&["diff", "-q", "tree"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 10];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    let status = child.wait_with_output().unwrap();
    assert_eq!(status.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&status.stderr), "");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let world = World::with_tree();
    world.run(&["commit", "tree", "app:v1"]).ok();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for line in [
        &["images"][..],
        &["inspect", "app:v1"],
        &["diff", "app:v1", "tree", "--json"],
        &["history", "app:v1"],
    ] {
        let run = run(world.command(line).stdout(full())).code(1);
        assert!(
            run.stderr.contains("no space left on device") && run.stderr.contains("standard output"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn help_is_there_for_every_verb() {
    let world = World::new();
    let all = world.run(&["--help"]).ok().text();
    assert!(all.contains("Exit codes:") && all.contains("Examples:") && all.contains("TREERING_ROOT"));
    for verb in VERBS {
        assert!(all.lines().any(|line| line.trim_start().starts_with(&format!("{verb} "))), "{verb}");
        let help = world.run(&[verb, "--help"]).ok().text();
        assert!(help.contains("Usage: treering"), "{verb}: {help}");
        let about = help.lines().next().unwrap();
        assert!(!about.ends_with('.') && about.len() < 100, "{verb}: {about}");
        if !["info", "version", "layer"].contains(&verb) {
            assert!(help.contains("Examples:\n  treering "), "{verb}");
        }
    }
    for verb in ["create", "apply", "ls"] {
        assert!(world.run(&["layer", verb, "--help"]).ok().text().contains("Examples:"), "{verb}");
    }
    assert!(!world.join("store").exists());
}

#[test]
fn the_manual_has_a_page_for_every_verb() {
    let world = World::new();
    world.run(&["man", "man/man1"]).ok();
    for verb in VERBS {
        let page = std::fs::read_to_string(world.join(&format!("man/man1/treering-{verb}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{verb}");
    }
    let page = std::fs::read_to_string(world.join("man/man1/treering.1")).unwrap();
    assert!(page.contains(".SH \"EXIT CODES\"") && page.contains(".SH \"EXAMPLES\""));
    assert!(world.join("man/man1/treering-layer-create.1").exists());
}

#[test]
fn completions_know_every_verb() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.run(&["completion", shell]).ok().text();
        for verb in VERBS {
            assert!(script.contains(verb), "{shell} {verb}");
        }
    }
    let bash = world.run(&["completion", "bash"]).ok();
    std::fs::write(world.join("script"), &bash.stdout).unwrap();
    world.sh("bash -n script");
}

#[test]
fn a_log_hears_of_long_operations() {
    let world = World::new();
    let start = |arguments: &[&str]| world.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // Both wait for their input until one has said something; the quiet one began earlier.
    let mut quiet = start(&["-q", "load"]);
    let mut loud = start(&["load"]);
    let mut said = std::io::BufReader::new(loud.stderr.take().unwrap());
    let mut log = String::new();
    said.read_line(&mut log).unwrap();
    assert!(log.starts_with("loading: "), "{log}");
    drop((loud.stdin.take(), quiet.stdin.take()));
    log.clear();
    said.read_to_string(&mut log).unwrap();
    assert!(log.contains("error: "), "{log}");
    assert_eq!(loud.wait().unwrap().code(), Some(1));
    let quiet = String::from_utf8(quiet.wait_with_output().unwrap().stderr).unwrap();
    assert!(quiet.starts_with("error: "), "{quiet}");
}
