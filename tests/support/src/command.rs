//! A directory with a store of its own, and the program run in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::{Scratch, sh};

/// The directory and store that a test takes place in.
pub struct World {
    scratch: Scratch,
}

/// The result of a run of the program.
#[derive(Debug)]
pub struct Run {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl World {
    pub fn new() -> World {
        World { scratch: Scratch::new() }
    }

    /// Returns a world with the directory `tree`: `bin/hello`, `etc/motd`, and a link, all of 2001, to the second.
    pub fn with_tree() -> World {
        let world = World::new();
        world.sh("umask 022; mkdir -p tree/bin tree/etc; printf '#!/bin/sh\\necho hello\\n' >tree/bin/hello
                  chmod 755 tree/bin/hello; echo welcome >tree/etc/motd; ln -s hello tree/bin/hi
                  find tree -exec touch -h -d @1000000000 {} +");
        world
    }

    /// Returns a world with that tree committed as `app:v1` and unpacked into `work`.
    pub fn unpacked() -> World {
        let world = World::with_tree();
        world.run(&["commit", "tree", "app:v1"]).ok();
        world.run(&["unpack", "app:v1", "work"]).ok();
        world
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    pub fn sh(&self, script: &str) -> String {
        sh(self.scratch.path(), script)
    }

    /// Returns the program, ready to be run in the world's directory with the world's store and nothing from outside.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::program());
        command.args(arguments).current_dir(self.path()).env("TREERING_ROOT", self.join("store"));
        for name in ["SOURCE_DATE_EPOCH", "NO_COLOR", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        run(&mut self.command(arguments))
    }

    /// Runs the program by way of a shell script, in which `"$@"` is its command line.
    pub fn by_shell(&self, script: &str, arguments: &[&str]) -> Run {
        let program = self.command(arguments);
        let mut shell = Command::new("sh");
        shell.args(["-euc", script, "sh"]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.current_dir(self.path()).stdin(Stdio::null());
        run(&mut shell)
    }

    /// Runs the program with something on its standard input.
    pub fn feed(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || {
            // A program that has seen enough closes its end.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        finished(output)
    }
}

/// Runs a command prepared with [`World::command`].
pub fn run(command: &mut Command) -> Run {
    finished(command.output().unwrap())
}

fn finished(output: std::process::Output) -> Run {
    Run {
        status: output.status,
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).expect("messages are text"),
    }
}

impl Run {
    /// Checks that the exit code is 0.
    #[track_caller]
    pub fn ok(self) -> Run {
        self.code(0)
    }

    #[track_caller]
    pub fn code(self, code: i32) -> Run {
        assert_eq!(self.status.code(), Some(code), "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    /// Checks for nothing on standard output, this code, and an error with `message` in it.
    #[track_caller]
    pub fn fails(self, code: i32, message: &str) -> Run {
        let run = self.code(code);
        assert_eq!(run.text(), "", "stderr: {}", run.stderr);
        assert!(run.stderr.contains("error: ") && run.stderr.contains(message), "{}", run.stderr);
        run
    }

    /// Returns standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(String::from).collect()
    }

    /// Returns standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Returns standard output without what differs from run to run: digests, ids, ages, sizes, and how wide columns are.
    pub fn shape(&self) -> String {
        shape(&self.text())
    }

    /// Returns standard error without what differs from run to run.
    pub fn talk(&self) -> String {
        shape(&self.stderr)
    }
}

fn shape(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let cells: Vec<String> =
            line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).map(cell_shape).collect();
        out += &cells.join(" | ");
        out.push('\n');
    }
    out
}

fn cell_shape(cell: &str) -> String {
    if cell.ends_with(" ago") {
        return "AGE".into();
    }
    let words: Vec<String> = cell.split(' ').map(word_shape).collect();
    words.join(" ")
}

fn word_shape(word: &str) -> String {
    let core = word.trim_matches(|c: char| "(),;:".contains(c));
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = core.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &core[number.len()..];
    let is_size = number.parse::<f64>().is_ok() && matches!(unit, "B" | "kB" | "MB" | "GB");
    let shape = if core.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && is_hex(hex)) {
        "DIGEST"
    } else if core.len() == 12 && is_hex(core) {
        "ID"
    } else if is_size {
        "SIZE"
    } else {
        return word.into();
    };
    word.replacen(core, shape, 1)
}

/// Returns the command lines below `Examples:` in a help text, without what is said beside them.
pub fn examples(help: &str) -> Vec<String> {
    let block = help.split_once("Examples:\n").map_or("", |(_, block)| block);
    let lines = block.lines().take_while(|line| line.starts_with("  "));
    lines.map(|line| line.trim_start().split("  ").next().unwrap_or_default().to_string()).collect()
}
