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
        Ok(outcome) if outcome.code == 0 => {
            return Probed { rung, works: true, remark: rung.describe().into(), fix: None };
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
    if became.is_ok() && ids == [USER, USER] && groups == USER { 0 } else { 3 }
}

/// Returns what would make a rung work here.
fn fix(rung: Rung, reason: &str) -> Option<String> {
    if rung == Rung::Ids
        && let Some(fix) = ids::fix(reason)
    {
        return Some(fix);
    }
    if !rung.emulates() {
        let root = rustix::process::geteuid().is_root();
        return Some(match root {
            false => "run treering as root; nothing else is lost without it".into(),
            true => "give this container the capability SYS_ADMIN, or run it outside of one".into(),
        });
    }
    if reason.contains("resource busy") {
        return Some("another program has the seccomp listener already, and there can be only one: run treering outside of it".into());
    }
    let yama =
        crate::fs::root::read_file(Path::new("/proc/sys/kernel/yama/ptrace_scope")).unwrap_or_default();
    // Root of a namespace of its own may trace what is in it, but for the last of these settings.
    if rung.traces() && matches!((yama.trim_ascii(), rung.mounts()), (b"3", _) | (b"2", false)) {
        return Some("sysctl kernel.yama.ptrace_scope=1".into());
    }
    let status = crate::fs::root::read_file(Path::new("/proc/self/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let is_traced = || status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"));
    if rung.traces() && reason.contains("trace") && is_traced() {
        return Some("this program is traced itself, and by one alone can anything be: run treering outside of what traces it".into());
    }
    let setting = |path: &str| {
        let text = crate::fs::root::read_file(Path::new(path)).ok()?;
        std::str::from_utf8(&text).ok()?.trim().parse::<u64>().ok()
    };
    for (path, closed, fix) in [
        ("/proc/sys/user/max_user_namespaces", 0, "sysctl user.max_user_namespaces=10000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", 0, "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            1,
            "an AppArmor profile that allows treering `userns`, or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ]
    .into_iter()
    .filter(|_| rung.mounts())
    {
        if setting(path) == Some(closed) {
            return Some(fix.into());
        }
    }
    let filtered = status.lines().any(|line| line == "Seccomp:\t2");
    filtered.then(|| "a seccomp filter is in force, as of a container: start that with --security-opt seccomp=unconfined".into())
}
