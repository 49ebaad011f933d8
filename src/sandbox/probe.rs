//! Which rungs work here, found out by running a command on each: this program's helper, in the host's own root, which it does not change.

use std::path::Path;

use super::order::Ids;
use super::rung::Rung;
use super::{StepOptions, helper, launch, step::Step};
use crate::error::Result;
use crate::fs::Root;
use crate::progress::Control;
use crate::tree::Ledger;

/// The word after the hidden verb that makes the helper what is run by a probe.
pub const WORD: &str = "probe";
/// The user that a probed command is to find itself as.
const USER: u32 = 1234;

/// Whether a rung works, and if not, why and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The rung.
    pub rung: Rung,
    /// Whether a command was run by it.
    pub works: bool,
    /// What it is and costs, or why it does not work.
    pub remark: String,
    /// What would make it work; `None` where nothing is known to.
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
        user: Ids { uid: USER, gid: USER, groups: vec![USER + 1] },
        rung: Some(rung),
        helper: Some(program.to_path_buf()),
        ..StepOptions::default()
    };
    let tried = Step::start(root, &Ledger::default(), &options)
        .and_then(|step| step.wait(&mut Ledger::default(), &Control::default()));
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
    Probed { rung, works: false, remark: reason, fix: fix(rung) }
}

/// The command of a probe: whether it is who it should be. Gives its exit code.
pub fn check() -> i32 {
    let ids = [rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw()];
    let groups = rustix::process::getgid().as_raw();
    if ids == [USER, USER] && groups == USER { 0 } else { 3 }
}

/// What would make a rung work here.
fn fix(rung: Rung) -> Option<String> {
    if !rung.emulates() {
        let root = rustix::process::geteuid().is_root();
        return Some(match root {
            false => "run treering as root; nothing else is lost without it".into(),
            true => "give this container the capability SYS_ADMIN, or run it outside of one".into(),
        });
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
    ] {
        if setting(path) == Some(closed) {
            return Some(fix.into());
        }
    }
    let status = crate::fs::root::read_file(Path::new("/proc/self/status")).unwrap_or_default();
    let filtered = String::from_utf8_lossy(&status).lines().any(|line| line == "Seccomp:\t2");
    filtered.then(|| "a seccomp filter is in force, as of a container: start that with --security-opt seccomp=unconfined".into())
}
