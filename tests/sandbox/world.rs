//! A store and a tree with a static busybox, and the command as one user or another.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{Scratch, is_root};
use crate::tools::missing;

/// The user without any privilege, as in tests/unprivileged.sh.
const NOBODY: u32 = 65_534;

/// A way that a command is run in these tests: by whom, and by which rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    pub rung: &'static str,
    /// As a user without privileges, where the tests run as root.
    pub drop: bool,
}

/// The ways that can be tried here. Real root, the reference, is the first where the tests run as root.
pub fn ways() -> Vec<Way> {
    let unprivileged = Way { rung: "notify", drop: is_root() };
    let mut out = vec![unprivileged];
    if is_root() {
        out.insert(0, Way { rung: "root", drop: false });
        out.push(Way { rung: "chroot", drop: false });
    }
    out
}

/// A directory that every user may enter, with the command in it.
pub struct World {
    scratch: Scratch,
}

impl World {
    /// A world with the tree `bb`: busybox and links to it. `None` where this machine has no static busybox.
    pub fn new() -> Option<World> {
        let busybox = Path::new("/usr/bin/busybox");
        let is_static =
            std::fs::read(busybox).is_ok_and(|elf| !elf.windows(10).any(|part| part == b"/ld-linux-"));
        if !is_static {
            missing("TOOL", "busybox", "/usr/bin/busybox is not a static program here");
            return None;
        }
        let scratch = Scratch::new();
        let world = World { scratch };
        std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_treering"), world.join("treering")).unwrap();
        let bin = world.join("bb/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::copy(busybox, bin.join("busybox")).unwrap();
        let applets = Command::new(busybox).arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        Some(world)
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// The directory of a way, made with a store and the tree of busybox as `bb:1`, unpacked into `work`.
    pub fn prepare(&self, way: Way) -> PathBuf {
        let home = self.join(&format!("{}-{}", way.rung, way.drop));
        std::fs::create_dir(&home).unwrap();
        if way.drop {
            std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let bb = self.join("bb").to_str().unwrap().to_string();
        self.ok(way, &["commit", &bb, "bb:1"]);
        self.ok(way, &["unpack", "bb:1", "work"]);
        home
    }

    /// The command, as the user of a way, in its directory.
    pub fn command(&self, way: Way, arguments: &[&str]) -> Command {
        let home = self.join(&format!("{}-{}", way.rung, way.drop));
        let mut command = match way.drop {
            true => {
                let mut command = Command::new("setpriv");
                let id = NOBODY.to_string();
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all"]);
                command.arg(self.join("treering"));
                command
            }
            false => Command::new(self.join("treering")),
        };
        command.args(arguments).current_dir(&home).env("TREERING_ROOT", home.join("store"));
        command.env("SOURCE_DATE_EPOCH", "1700000000").env("HOME", &home).env_remove("TREERING_INIT");
        command
    }

    pub fn output(&self, way: Way, arguments: &[&str]) -> Output {
        self.command(way, arguments).output().unwrap()
    }

    /// Standard output of a command that has to succeed.
    pub fn ok(&self, way: Way, arguments: &[&str]) -> String {
        let out = self.output(way, arguments);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{way:?} {arguments:?}: {error}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// Runs a shell script in `work`.
    pub fn script(&self, way: Way, script: &str) -> Output {
        self.output(way, &["run", "--rung", way.rung, "work", "--", "sh", "-c", script])
    }

    /// The same for one that has to succeed.
    pub fn script_ok(&self, way: Way, script: &str) -> String {
        let out = self.script(way, script);
        let error = String::from_utf8_lossy(&out.stderr);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{way:?} {script}: {:?} {text} {error}", out.status);
        text
    }
}
