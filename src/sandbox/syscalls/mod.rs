//! The system calls that concern a step, by one name on every machine.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{AUDIT_ARCH, FOREIGN_BIT, TABLE};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{AUDIT_ARCH, FOREIGN_BIT, TABLE};

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
compile_error!("the feature `sandbox` has system call tables for x86_64 and aarch64 only");

use super::bpf::{Rule, Test, Verdict};
use super::rung::Rung;

/// A system call, whatever its number.
// Other architectures never had the calls without *at.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // They are named as in their manual pages.
pub enum Call {
    Chown,
    Lchown,
    Fchown,
    Fchownat,
    Chmod,
    Fchmod,
    Fchmodat,
    Fchmodat2,
    Mknod,
    Mknodat,
    Mkdir,
    Mkdirat,
    Symlink,
    Symlinkat,
    Open,
    Openat,
    Openat2,
    Creat,
    Stat,
    Lstat,
    Fstat,
    Newfstatat,
    Statx,
    Setxattr,
    Lsetxattr,
    Fsetxattr,
    Setxattrat,
    Getxattr,
    Lgetxattr,
    Fgetxattr,
    Getxattrat,
    Listxattr,
    Llistxattr,
    Flistxattr,
    Listxattrat,
    Removexattr,
    Lremovexattr,
    Fremovexattr,
    Removexattrat,
    Setuid,
    Setgid,
    Setreuid,
    Setregid,
    Setresuid,
    Setresgid,
    Setfsuid,
    Setfsgid,
    Setgroups,
    Getuid,
    Geteuid,
    Getgid,
    Getegid,
    Getresuid,
    Getresgid,
    Getgroups,
    Capset,
    Capget,
    Prctl,
    Execve,
    Execveat,
    Chroot,
    /// Makes a namespace or moves into one.
    Unshare,
    Clone,
    Clone3,
    Setns,
    /// What a container's root may not do, whatever its capabilities.
    Denied,
    /// What would go past the filter.
    IoUring,
}

const PERM: Verdict = Verdict::Errno(libc::EPERM);
const NOSYS: Verdict = Verdict::Errno(libc::ENOSYS);

/// All flags of clone(2) and unshare(2) that make a namespace.
const NAMESPACES: u32 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u32;

/// Operations of prctl(2) on what the supervisor keeps itself.
const PRCTL: [i32; 10] = [
    libc::PR_GET_KEEPCAPS,
    libc::PR_SET_KEEPCAPS,
    libc::PR_CAPBSET_READ,
    libc::PR_CAPBSET_DROP,
    libc::PR_GET_SECUREBITS,
    libc::PR_SET_SECUREBITS,
    libc::PR_CAP_AMBIENT,
    libc::PR_SET_TIMERSLACK,
    libc::PR_GET_TIMERSLACK,
    libc::PR_SET_MM,
];

/// The number of a call of this machine, by its name here.
pub fn find(number: i32) -> Option<Call> {
    let number = u32::try_from(number).ok()?;
    TABLE.iter().find(|(known, _)| *known == number).map(|&(_, call)| call)
}

/// The rules of a rung.
pub fn rules(rung: Rung) -> Vec<Rule> {
    TABLE.iter().filter_map(|&(number, call)| rule(number, call, rung)).collect()
}

fn rule(number: u32, call: Call, rung: Rung) -> Option<Rule> {
    let all = |verdict| Some(Rule { number, tests: Vec::new(), otherwise: verdict });
    let some = |tests: Vec<Test>, verdict| {
        let tests = tests.into_iter().map(|test| (test, verdict)).collect();
        Some(Rule { number, tests, otherwise: Verdict::Allow })
    };
    // What a container may not do, on every rung; Docker's default profile says the same.
    match call {
        Call::Denied | Call::Setns => return all(PERM),
        // Its calls are made by the kernel's own threads, which no filter sees.
        Call::IoUring => return all(NOSYS),
        // Flags lie behind a pointer, where they cannot be looked at; without it, C libraries use clone.
        Call::Clone3 => return all(NOSYS),
        Call::Unshare | Call::Clone => return some(vec![Test::Any(0, NAMESPACES)], PERM),
        _ => {}
    }
    if !rung.emulates() {
        return None;
    }
    let writes = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32
        | (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
    match call {
        Call::Open => some(vec![Test::Any(1, writes)], Verdict::Notify),
        Call::Openat => some(vec![Test::Any(2, writes)], Verdict::Notify),
        Call::Prctl => {
            some(PRCTL.iter().map(|&operation| Test::Is(0, operation as u32)).collect(), Verdict::Notify)
        }
        _ => all(Verdict::Notify),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_there_twice_and_every_rule_fits() {
        for (at, (number, _)) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|(other, _)| other != number), "{number}");
        }
        for rung in Rung::ALL {
            let filter = super::super::bpf::assemble(&rules(rung), NOSYS);
            // BPF_MAXINSNS.
            assert!(filter.len() < 4096);
        }
    }
}
