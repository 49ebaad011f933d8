//! A store, credentials and a tree for one test.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use treering::Control;
use treering::image::{CommitOptions, commit};
use treering::registry::{Config, Credentials, Registries};
use treering::store::Store;

use support::{Scratch, sh};

/// The directory and store that a test takes place in.
pub struct World {
    pub scratch: Scratch,
    pub store: Store,
    pub control: Control,
}

impl World {
    pub fn new() -> World {
        let scratch = Scratch::new();
        let store = Store::open(scratch.join("store")).unwrap();
        World { scratch, store, control: Control::default() }
    }

    /// Returns a world with an image of two layers under this name: one with `bytes` random bytes, one small.
    pub fn with_image(name: &str, bytes: usize) -> World {
        let world = World::new();
        world.grow(name, bytes);
        world
    }

    /// Commits two layers as `name`.
    pub fn grow(&self, name: &str, bytes: usize) {
        let tree = self.scratch.join("tree");
        sh(
            self.scratch.path(),
            &format!("rm -rf tree; mkdir -p tree/etc; head -c {bytes} /dev/urandom >tree/data"),
        );
        let options = CommitOptions::default();
        commit(&self.store, &tree, Some(name), &options, &self.control).unwrap();
        self.change(name);
    }

    /// Adds one small layer to `name`.
    pub fn change(&self, name: &str) {
        let tree = self.scratch.join("tree");
        sh(&tree, "date +%s.%N >>etc/changed");
        commit(&self.store, &tree, Some(name), &CommitOptions::default(), &self.control).unwrap();
    }

    /// Registries with the text of a `registries.toml`, the credentials of a file here, and little patience.
    pub fn registries(&self, config: &str) -> Registries {
        let credentials = Credentials::in_file(self.scratch.join("auth.json"));
        Registries::new(Config::parse(config).unwrap(), credentials).with_patience(
            Duration::from_secs(2),
            5,
            Duration::from_millis(10),
        )
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs the program with this world's store and nothing from outside.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(support::program());
        command
            .args(arguments)
            .current_dir(self.scratch.path())
            .env("TREERING_ROOT", self.scratch.join("store"));
        command.env("DOCKER_CONFIG", self.scratch.join("docker")).env("HOME", self.scratch.path());
        command.env("TREERING_REGISTRIES", self.scratch.join("registries.toml"));
        if !self.scratch.join("registries.toml").exists() {
            command.env_remove("TREERING_REGISTRIES");
        }
        for name in
            ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "SSL_CERT_FILE", "SOURCE_DATE_EPOCH"]
        {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Does what [`World::run`] does, which must succeed; gives standard output.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str], input: &str) -> String {
        let out = self.run(arguments, input);
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }
}
