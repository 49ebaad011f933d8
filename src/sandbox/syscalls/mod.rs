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
use super::sys::RLIMIT_LOCKS;

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
    Unlink,
    Unlinkat,
    Rmdir,
    Rename,
    Renameat,
    Renameat2,
    Link,
    Linkat,
    Access,
    Faccessat,
    Faccessat2,
    Truncate,
    Getdents,
    Getdents64,
    Getsockopt,
    Readlink,
    Readlinkat,
    Chdir,
    Fchdir,
    Getcwd,
    Uname,
    Utime,
    Utimes,
    Futimesat,
    Utimensat,
    Statfs,
    Bind,
    Connect,
    Socket,
    Kill,
    Tkill,
    Tgkill,
    Sigqueue,
    Tgsigqueue,
    Prlimit,
    Getrlimit,
    Setrlimit,
    PidfdOpen,
    /// Watches files by path, for which there is another way.
    Inotify,
    /// Names a file by a number.
    Handle,
    /// Reaches into another process.
    Other,
    Chroot,
    /// Makes a namespace or moves into one.
    Unshare,
    Clone,
    Clone3,
    Setns,
    /// Calls that a container's root may not make, whatever its capabilities.
    Denied,
    /// Calls that would go past the filter.
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

/// Returns the number of a call of this machine, by its name here.
pub fn find(number: i32) -> Option<Call> {
    let number = u32::try_from(number).ok()?;
    TABLE.iter().find(|(known, _)| *known == number).map(|&(_, call)| call)
}

/// The conditions that the rules of a step depend on.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// How it is run.
    pub rung: Rung,
    /// The command starts as another user than root.
    pub as_user: bool,
    /// It has no network.
    pub offline: bool,
    /// Its host has a name of its own.
    pub named: bool,
    /// Only a tracer can have a descriptor of a thread.
    pub gives: bool,
}

/// Returns whether the answer to a call may need a descriptor of the thread.
fn takes_descriptor(call: Call) -> bool {
    matches!(call, Call::Bind | Call::Connect | Call::Getsockopt | Call::Getdents | Call::Getdents64)
}

/// Calls that matter where the users are the kernel's and owners are on the disk.
fn with_ids(number: u32, call: Call) -> Option<Rule> {
    use Call::*;
    let all = || Some(Rule { number, tests: Vec::new(), otherwise: Verdict::Notify });
    // A character and a block device have this bit of the type, and nothing else that can be made has it.
    let device = |mode| {
        let tests = vec![(Test::Any(mode, 0o020_000), Verdict::Notify)];
        Some(Rule { number, tests, otherwise: Verdict::Allow })
    };
    match call {
        Mknod => device(1),
        Mknodat => device(2),
        Chown | Lchown | Fchown | Fchownat | Chmod | Fchmod | Fchmodat | Fchmodat2 | Stat | Lstat | Fstat
        | Newfstatat | Statx | Setxattr | Lsetxattr | Fsetxattr | Setxattrat | Getxattr | Lgetxattr
        | Fgetxattr | Getxattrat | Listxattr | Llistxattr | Flistxattr | Listxattrat | Removexattr
        | Lremovexattr | Fremovexattr | Removexattrat | Getdents | Getdents64 | Chroot => all(),
        _ => None,
    }
}

/// The first number that no call here has: later calls may take paths.
const UNKNOWN: std::ops::Range<u32> = 467..512;

/// Returns the rules of a step.
pub fn rules(wanted: Wanted) -> Vec<Rule> {
    let known = TABLE.iter().filter_map(|&(number, call)| {
        let rule = rule(number, call, wanted)?;
        Some(if wanted.gives && takes_descriptor(call) { rule.traced() } else { rule })
    });
    let unknown = if wanted.rung.serves() { UNKNOWN } else { 0..0 };
    known.chain(unknown.map(|number| Rule { number, tests: Vec::new(), otherwise: NOSYS })).collect()
}

/// Calls that matter only where the supervisor resolves paths, or the host's processes are within reach.
fn served(number: u32, call: Call, wanted: Wanted) -> Option<Rule> {
    use Call::*;
    let all = |verdict| Some(Rule { number, tests: Vec::new(), otherwise: verdict });
    if !wanted.rung.serves() {
        return None;
    }
    match call {
        Inotify => all(NOSYS),
        Handle => all(Verdict::Errno(libc::EOPNOTSUPP)),
        Other => all(PERM),
        // Without a namespace a network cannot be taken away, but what makes a way to it can.
        Socket if wanted.offline => Some(Rule {
            number,
            tests: vec![(Test::Is(0, libc::AF_UNIX as u32), Verdict::Allow)],
            otherwise: Verdict::Errno(libc::EAFNOSUPPORT),
        }),
        Socket => None,
        Uname if !wanted.named => None,
        _ => all(Verdict::Notify),
    }
}

fn rule(number: u32, call: Call, wanted: Wanted) -> Option<Rule> {
    let Wanted { rung, as_user, .. } = wanted;
    let all = |verdict| Some(Rule { number, tests: Vec::new(), otherwise: verdict });
    let some = |tests: Vec<Test>, verdict| {
        let tests = tests.into_iter().map(|test| (test, verdict)).collect();
        Some(Rule { number, tests, otherwise: Verdict::Allow })
    };
    // What a container may not do, on every rung; Docker's default profile says the same.
    match call {
        Call::Denied | Call::Setns => return all(PERM),
        // Its calls are made by the kernel's own threads, which have no filter.
        Call::IoUring => return all(NOSYS),
        // Flags lie behind a pointer, where they cannot be looked at; without it, C libraries use clone.
        Call::Clone3 => return all(NOSYS),
        Call::Unshare | Call::Clone => return some(vec![Test::Any(0, NAMESPACES)], PERM),
        _ => {}
    }
    if !rung.emulates() {
        // For trusted attributes, which real root has everywhere but in a container.
        use Call::*;
        return match call {
            Setxattr | Lsetxattr | Fsetxattr | Setxattrat | Getxattr | Lgetxattr | Fgetxattr | Getxattrat
            | Listxattr | Llistxattr | Flistxattr | Listxattrat | Removexattr | Lremovexattr
            | Fremovexattr | Removexattrat => all(Verdict::Notify),
            _ => None,
        };
    }
    if rung == Rung::Ids {
        return with_ids(number, call);
    }
    match call {
        // The limit of file locks carries what a thread may be, where nothing traces it.
        Call::Prlimit if rung == Rung::Notify => {
            return some(vec![Test::Is(1, RLIMIT_LOCKS)], Verdict::Notify);
        }
        Call::Getrlimit | Call::Setrlimit if rung == Rung::Notify => {
            return some(vec![Test::Is(0, RLIMIT_LOCKS)], Verdict::Notify);
        }
        Call::Getrlimit | Call::Setrlimit => return None,
        Call::Readlink
        | Call::Readlinkat
        | Call::Chdir
        | Call::Fchdir
        | Call::Getcwd
        | Call::Uname
        | Call::Utime
        | Call::Utimes
        | Call::Futimesat
        | Call::Utimensat
        | Call::Statfs
        | Call::Bind
        | Call::Connect
        | Call::Socket
        | Call::Kill
        | Call::Tkill
        | Call::Tgkill
        | Call::Sigqueue
        | Call::Tgsigqueue
        | Call::Prlimit
        | Call::PidfdOpen
        | Call::Inotify
        | Call::Handle
        | Call::Other => return served(number, call, wanted),
        Call::Execve | Call::Execveat if rung.serves() => return all(Verdict::Trace),
        Call::Open | Call::Openat if rung.serves() => return all(Verdict::Notify),
        _ => {}
    }
    let writes = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32
        | (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
    match call {
        // Root is refused no read. What root becomes is seen as well, but for what that opens to read.
        Call::Open | Call::Openat if as_user => all(Verdict::Notify),
        Call::Open => some(vec![Test::Any(1, writes)], Verdict::Notify),
        Call::Openat => some(vec![Test::Any(2, writes)], Verdict::Notify),
        Call::Getsockopt => some(vec![Test::Is(2, libc::SO_PEERCRED as u32)], Verdict::Notify),
        Call::Prctl => {
            let more = if rung.serves() { &[libc::PR_SET_DUMPABLE][..] } else { &[] };
            let all = PRCTL.iter().chain(more);
            some(all.map(|&operation| Test::Is(0, operation as u32)).collect(), Verdict::Notify)
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
            let filter = super::super::bpf::assemble(
                &rules(Wanted { rung, as_user: true, offline: true, named: true, gives: true }),
                NOSYS,
            );
            // BPF_MAXINSNS.
            assert!(filter.len() < 4096);
        }
    }
}
