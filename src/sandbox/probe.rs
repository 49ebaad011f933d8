//! Which rungs work here, found out by running a command on each: this program's helper, in the host's own root, which it does not change.

use std::path::Path;

use super::rung::Rung;
use super::{StepOptions, helper, ids, launch, step::Step, sys};
use crate::error::Result;
use crate::fs::Root;
use crate::progress::Control;
use crate::tree::Ledger;

/// The word after the hidden verb that makes the helper what is run by a probe.
pub const WORD: &str = "probe";
/// The user that a probed command becomes. It starts as root, which may execute a program in a directory that is closed to others.
const USER: u32 = 1234;

/// The exit code of a probe that found everything right but for a /proc with the numbers of another process namespace.
const OTHER_PROC: i32 = 4;
/// The meaning of that for users.
const OTHER_PROC_SHOWN: &str =
    "/proc is the one outside, with the numbers that processes have there, because a new one is refused";
/// The exit code of one that found everything right, in no process namespace of its own.
const HOST_PROCESSES: i32 = 5;
/// The meaning of that for users.
const HOST_PROCESSES_SHOWN: &str =
    "processes have the numbers they have outside, and /proc is the one there, because a new one is refused";

/// The result of trying a rung: whether it works, and if not, why and what would help.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Probed {
    /// The rung.
    pub rung: Rung,
    /// Whether a command was run by it.
    pub works: bool,
    /// A description of the rung and its cost, or the reason why it does not work.
    pub remark: String,
    /// The change that would make it work; `None` where none is known.
    pub fix: Option<String>,
}

/// Tries every rung, best first. Starts a helper process for each, and changes nothing.
pub fn ladder(program: Option<&Path>) -> Result<Vec<Probed>> {
    let program = helper::find(program)?;
    let program = std::path::absolute(&program).unwrap_or(program);
    let root = Root::open("/")?;
    Ok(Rung::ALL.into_iter().map(|rung| one(rung, &program, &root)).collect())
}

fn one(rung: Rung, program: &Path, root: &Root) -> Probed {
    let words = [program.as_os_str().as_encoded_bytes(), launch::VERB.to_bytes(), WORD.as_bytes()];
    let options = StepOptions {
        arguments: words.map(<[u8]>::to_vec).to_vec(),
        rung: Some(rung),
        helper: Some(program.to_path_buf()),
        ..StepOptions::default()
    };
    let tried =
        Step::probe(root, &options).and_then(|step| step.wait(&mut Ledger::default(), &Control::default()));
    let reason = match tried {
        // Ways that have no namespaces say so of themselves.
        Ok(outcome) if outcome.code == 0 || outcome.code == HOST_PROCESSES && !rung.mounts() => {
            return Probed { rung, works: true, remark: rung.describe().into(), fix: None };
        }
        Ok(outcome) if matches!(outcome.code, OTHER_PROC | HOST_PROCESSES) => {
            let shown = if outcome.code == OTHER_PROC { OTHER_PROC_SHOWN } else { HOST_PROCESSES_SHOWN };
            let remark = format!("{}; {shown}", rung.describe());
            return Probed { rung, works: true, remark, fix: None };
        }
        Ok(outcome) => format!("a command that was tried ended with {}", outcome.code),
        Err(error) => {
            let text = error.message();
            text.strip_prefix(&format!("{rung}: ")).unwrap_or(text).to_string()
        }
    };
    let fix = fix(rung, &reason);
    Probed { rung, works: false, remark: reason, fix }
}

/// Returns whether this process is root without the capability to mount: its commands run by [`Rung::Chroot`].
pub(crate) fn cannot_mount() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let status = crate::fs::root::read_file(Path::new("/proc/self/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    rustix::process::geteuid().is_root() && effective.is_some_and(|set| set & SYS_ADMIN == 0)
}

/// Returns the command of a probe: whether it can become a user as root can. Gives its exit code.
pub fn check() -> i32 {
    let became =
        sys::set_groups(&[USER + 1]).and_then(|()| sys::set_gid(USER)).and_then(|()| sys::set_uid(USER));
    let ids = [rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw()];
    let groups = rustix::process::getgid().as_raw();
    match became.is_ok() && ids == [USER, USER] && groups == USER {
        true if !is_own_proc() => OTHER_PROC,
        // Its parent is the first process of the namespace.
        true if rustix::process::getppid() != Some(rustix::process::Pid::INIT) => HOST_PROCESSES,
        true => 0,
        false => 3,
    }
}

/// Returns whether /proc is that of this process's own namespace: then it has one number there (proc_pid_status(5), NSpid).
fn is_own_proc() -> bool {
    let status = crate::fs::root::read_file(Path::new("/proc/self/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_none_or(|numbers| numbers.split_whitespace().count() <= 1)
}

/// Returns what would make a rung work here.
fn fix(rung: Rung, reason: &str) -> Option<String> {
    if rung == Rung::Ids
        && let Some(fix) = ids::fix(reason)
    {
        return Some(fix);
    }
    Machine::look().remedy(rung, reason).map(|(_, fix)| fix.into())
}

/// Returns the reason why a rung was refused, in plain words where this machine shows which setting it was.
pub(super) fn plain(rung: Rung, reason: &str) -> String {
    match Machine::look().remedy(rung, reason) {
        Some((why, _)) if rung.emulates() => format!("{reason}: {why}"),
        _ => reason.to_string(),
    }
}

/// The settings of a machine that decide which rungs work.
#[derive(Debug, Default)]
struct Machine {
    root: bool,
    /// `/proc/self/status`.
    status: String,
    /// The settings that could be read, and their values.
    settings: Vec<(&'static str, u64)>,
}

const YAMA: &str = "kernel/yama/ptrace_scope";

/// Settings that refuse user namespaces: path below /proc/sys, the value that does, the reason, and what helps.
const CLOSED: [(&str, u64, &str, &str); 3] = [
    (
        "user/max_user_namespaces",
        0,
        "user.max_user_namespaces is 0, which allows no user namespace",
        "sysctl user.max_user_namespaces=10000",
    ),
    (
        "kernel/unprivileged_userns_clone",
        0,
        "kernel.unprivileged_userns_clone is 0, which leaves user namespaces to root",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        1,
        "AppArmor takes the privileges from user namespaces that have no profile",
        "an AppArmor profile that allows treering `userns`, or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

impl Machine {
    fn look() -> Machine {
        let read = |path: &str| crate::fs::root::read_file(Path::new(path)).unwrap_or_default();
        let setting = |path: &'static str| {
            let text = read(&format!("/proc/sys/{path}"));
            Some((path, std::str::from_utf8(&text).ok()?.trim().parse().ok()?))
        };
        let paths = CLOSED.iter().map(|(path, ..)| *path).chain([YAMA]);
        Machine {
            root: rustix::process::geteuid().is_root(),
            status: String::from_utf8_lossy(&read("/proc/self/status")).into_owned(),
            settings: paths.filter_map(setting).collect(),
        }
    }

    fn setting(&self, path: &str) -> Option<u64> {
        self.settings.iter().find(|(name, _)| *name == path).map(|(_, value)| *value)
    }

    /// Returns why a rung does not work, and what would make it work.
    fn remedy(&self, rung: Rung, reason: &str) -> Option<(&'static str, &'static str)> {
        if !rung.emulates() {
            return Some(match self.root {
                false => ("this is not root", "run treering as root; nothing else is lost without it"),
                true => (
                    "this root may not mount",
                    "give this container the capability SYS_ADMIN, or run it outside of one",
                ),
            });
        }
        if reason.contains("resource busy") {
            return Some((
                "another program has the one seccomp listener that there can be",
                "another program has the seccomp listener already, and there can be only one: run treering outside of it",
            ));
        }
        // Root of a namespace of its own may trace what is in it, but for the last of these settings.
        if rung.traces() && matches!((self.setting(YAMA), rung.mounts()), (Some(3), _) | (Some(2), false)) {
            let why = "kernel.yama.ptrace_scope refuses to trace";
            return Some((why, "sysctl kernel.yama.ptrace_scope=1"));
        }
        let mut lines = self.status.lines();
        let is_traced = lines.any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"));
        if rung.traces() && reason.contains("trace") && is_traced {
            return Some((
                "this program is traced itself",
                "this program is traced itself, and by one alone can anything be: run treering outside of what traces it",
            ));
        }
        let closed = CLOSED.into_iter().filter(|_| rung.mounts());
        for (path, value, why, fix) in closed {
            if self.setting(path) == Some(value) {
                return Some((why, fix));
            }
        }
        let filtered = self.status.lines().any(|line| line == "Seccomp:\t2");
        filtered.then_some((
            "a seccomp filter is in force, as of a container",
            "a seccomp filter is in force, as of a container: start that with --security-opt seccomp=unconfined",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "trace command: operation not permitted";
    const SPACE: &str = "make namespaces: no space left on device";
    const PERM: &str = "make namespaces: operation not permitted";

    fn remedy(rung: Rung, reason: &str, status: &str, settings: &[(&'static str, u64)]) -> (String, String) {
        let machine = Machine { root: false, status: status.into(), settings: settings.to_vec() };
        let (why, fix) = machine.remedy(rung, reason).unwrap_or_default();
        (why.into(), fix.into())
    }

    #[test]
    fn each_reason_has_its_plain_words_and_its_remedy() {
        let (limit, clone, armor) = (CLOSED[0].0, CLOSED[1].0, CLOSED[2].0);
        for (rung, reason, status, settings, why, fix) in [
            (Rung::Root, "", "", &[][..], "not root", "as root"),
            (Rung::Notify, SPACE, "", &[(limit, 0)], "max_user_namespaces is 0", "max_user_namespaces=10000"),
            (
                Rung::Ptrace,
                PERM,
                "",
                &[(clone, 0)],
                "left to root|leaves user",
                "unprivileged_userns_clone=1",
            ),
            (Rung::Ids, "map user: operation not permitted", "", &[(armor, 1)], "AppArmor", "userns=0"),
            (Rung::Notify, "install filter: resource busy", "", &[(limit, 0)], "listener", "outside"),
            (Rung::Ptrace, TRACE, "", &[(YAMA, 3)], "ptrace_scope", "ptrace_scope=1"),
            (Rung::Paths, TRACE, "", &[(YAMA, 2)], "ptrace_scope", "ptrace_scope=1"),
            (Rung::Paths, TRACE, "TracerPid:\t7\n", &[(limit, 0)], "traced itself", "outside"),
            (Rung::Paths, TRACE, "TracerPid:\t0\nSeccomp:\t2\n", &[], "filter", "seccomp=unconfined"),
            (Rung::Notify, PERM, "Seccomp:\t2\n", &[(limit, 9), (armor, 0)], "filter", "seccomp=unconfined"),
        ] {
            let (found, helps) = remedy(rung, reason, status, settings);
            assert!(why.split('|').any(|why| found.contains(why)), "{rung} {reason}: {found}");
            assert!(helps.contains(fix), "{rung} {reason}: {helps}");
        }
        let root = Machine { root: true, ..Machine::default() };
        assert!(root.remedy(Rung::Root, PERM).unwrap().1.contains("SYS_ADMIN"));
        // Where nothing is in the way, nothing is made up.
        assert_eq!(remedy(Rung::Notify, PERM, "Seccomp:\t0\n", &[(limit, 9)]), Default::default());
        // A namespace of processes has its own root, which may trace in it.
        assert_eq!(remedy(Rung::Ptrace, TRACE, "", &[(YAMA, 2)]), Default::default());
        // Paths need no namespace.
        assert_eq!(remedy(Rung::Paths, PERM, "", &[(limit, 0)]), Default::default());
    }
}
