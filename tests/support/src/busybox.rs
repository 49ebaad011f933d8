//! A store and a tree with a static busybox, and the command as one user or another.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::tools::missing;
use crate::{Scratch, is_root};

/// The user without any privilege, as in tests/unprivileged.sh.
const NOBODY: u32 = 65_534;

/// The ranges of the user without privileges in /etc/subuid and /etc/subgid, where it has some.
pub const RANGES: &str = "65534:100000:65536\n";

/// A way that a command is run in these tests: by which user, and by which rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    pub rung: &'static str,
    /// As a user without privileges, where the tests run as root.
    pub drop: bool,
}

impl Way {
    /// Reports whether it has no namespaces, and its supervisor resolves paths.
    pub fn serves(self) -> bool {
        matches!(self.rung, "paths" | "ptrace-paths")
    }

    /// Reports whether it has mounts and namespaces.
    pub fn mounts(self) -> bool {
        self.rung != "chroot" && !self.serves()
    }
}

/// Returns the ways that can be tried here. Real root, the reference, is the first where the tests run as root.
pub fn ways() -> Vec<Way> {
    let unprivileged = Way { rung: "notify", drop: is_root() };
    let mut others = vec!["ptrace", "paths", "ptrace-paths"];
    // Where root tried them all as this user, one of each kind: with mounts, and without.
    if !is_root() && std::env::var_os("TREERING_FEW_WAYS").is_some() {
        others = vec!["paths"];
    }
    let others = others.into_iter().map(|rung| Way { rung, ..unprivileged });
    let mut out = vec![unprivileged];
    out.extend(others);
    if is_root() {
        out.insert(0, Way { rung: "root", drop: false });
        out.push(Way { rung: "chroot", drop: false });
        // In a tree of root's, with the owners on the disk.
        out.push(Way { rung: "paths", drop: false });
    }
    out
}

/// Returns the same, and the one with a range of ids, which takes root to give it. The user has that range in a mount namespace of the
/// command's own, see [`World::command`].
pub fn every_way() -> Vec<Way> {
    let mut out = ways();
    out.extend(is_root().then_some(Way { rung: "ids", drop: true }));
    out
}

/// A directory that every user may enter, with the command in it.
pub struct World {
    scratch: Scratch,
}

impl World {
    /// Returns a world with the tree `bb`: busybox and links to it. `None` where this machine has no static busybox.
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
        std::fs::copy(crate::program(), world.join("treering")).unwrap();
        let bin = world.join("bb/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::copy(busybox, bin.join("busybox")).unwrap();
        let applets = Command::new(busybox).arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        Some(world)
    }

    /// Returns the same with the program of tool.c in the tree. `None` where this machine links no static program.
    pub fn with_tool() -> Option<World> {
        let world = World::new()?;
        if !crate::tools::need("gcc", &["--version"]) {
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tool.c");
        let out = Command::new("gcc")
            .args(["-static", "-w", "-pthread", "-o", "bb/bin/tool"])
            .arg(source)
            .current_dir(world.path())
            .output()
            .unwrap();
        if !out.status.success() {
            missing("TOOL", "gcc", &String::from_utf8_lossy(&out.stderr));
            return None;
        }
        Some(world)
    }

    /// Does the same, with the script that does what commands do to owners: `/acceptance.sh` in every tree.
    pub fn with_acceptance() -> Option<World> {
        let world = World::with_tool()?;
        std::fs::write(world.join("bb/acceptance.sh"), include_str!("../acceptance.sh")).unwrap();
        Some(world)
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Returns the directory of a way, made with a store and the tree of busybox as `bb:1`, unpacked into `work`.
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

    /// Returns the command, as the user of a way, in its directory.
    pub fn command(&self, way: Way, arguments: &[&str]) -> Command {
        let home = self.join(&format!("{}-{}", way.rung, way.drop));
        let mut command = match way {
            Way { rung: "ids", drop: true } => self.with_ranges(RANGES, RANGES, ""),
            Way { drop: true, .. } => Command::new("setpriv"),
            Way { drop: false, .. } => Command::new(self.join("treering")),
        };
        if way.drop {
            let id = NOBODY.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all"]);
            command.arg(self.join("treering"));
        }
        command.args(arguments).current_dir(&home).env("TREERING_ROOT", home.join("store"));
        command.env("SOURCE_DATE_EPOCH", "1700000000").env("HOME", &home).env_remove("TREERING_INIT");
        command
    }

    /// Returns `setpriv` in a mount namespace of its own, where /etc/subuid and /etc/subgid have this text: the machine's are not touched. `more` is a
    /// script that is run there first.
    pub fn with_ranges(&self, users: &str, groups: &str, more: &str) -> Command {
        let mut command = Command::new("unshare");
        let script = format!(
            "set -e; for f in subuid subgid; do d=$(mktemp); mount --bind $d /etc/$f; rm $d; done
             printf %s \"$1\" >/etc/subuid; printf %s \"$2\" >/etc/subgid; chmod 644 /etc/subuid /etc/subgid
             {more}
             shift 2; exec setpriv \"$@\""
        );
        command.args(["--mount", "--propagation", "private", "bash", "-c", &script, "ranges", users, groups]);
        command
    }

    /// Returns the command, as the user of a way, in a namespace of its own that has `flags` of unshare(1), after a script that takes something
    /// away from that. It has no capability there but those that are named to be kept, and can get none.
    pub fn without(&self, way: Way, flags: &str, keep: &str, script: &str, arguments: &[&str]) -> Command {
        let script = format!(
            "{script} || exit 9; exec setpriv --bounding-set=-all{keep} --inh-caps=-all --no-new-privs \"$@\""
        );
        self.command_below(way, &["unshare", flags, "sh", "-c", &script, "sh"], arguments)
    }

    /// Returns the command as the user of a way, started by another program: that is this user already.
    pub fn command_below(&self, way: Way, front: &[&str], arguments: &[&str]) -> Command {
        let inner = self.command(way, arguments);
        let mut words: Vec<&OsStr> = std::iter::once(inner.get_program()).chain(inner.get_args()).collect();
        let treering = self.join("treering");
        // `setpriv ... treering` needs no path of its own program.
        let at = words.iter().position(|word| *word == treering.as_os_str()).unwrap();
        words.splice(at..at, front.iter().map(OsStr::new));
        command_of(&words, &inner)
    }

    pub fn output(&self, way: Way, arguments: &[&str]) -> Output {
        self.command(way, arguments).output().unwrap()
    }

    /// Returns standard output of a command that has to succeed.
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

    /// Returns the same for one that has to succeed.
    pub fn script_ok(&self, way: Way, script: &str) -> String {
        let out = self.script(way, script);
        let error = String::from_utf8_lossy(&out.stderr);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{way:?} {script}: {:?} {text} {error}", out.status);
        text
    }
}

/// Returns a command that is started by another program.
pub fn below(front: &[&str], inner: &Command) -> Command {
    let words = front.iter().map(OsStr::new).chain(std::iter::once(inner.get_program()));
    command_of(&words.chain(inner.get_args()).collect::<Vec<_>>(), inner)
}

/// Returns a command of these words, with environment and directory of another one.
fn command_of(words: &[&OsStr], like: &Command) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = like.get_current_dir() {
        command.current_dir(directory);
    }
    command
}
