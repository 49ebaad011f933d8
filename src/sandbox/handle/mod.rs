//! What a call of a step gets for an answer, where the kernel's own would not be that of real root. One file for each family of calls;
//! whatever brings a call here and takes the answer back is no concern of theirs.

mod acl;
mod create;
mod credentials;
mod device;
mod exec;
mod node;
mod owner;
mod path;
mod stat;
mod xattr;

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::credentials::Table;
use super::order::Order;
use super::syscalls::Call;
use super::tracee::Tracees;
use crate::fs::Kind;
use crate::tree::{Ledger, Xattrs, journal};

/// The answer to a call.
#[derive(Debug)]
pub enum Answer {
    /// The kernel is to make the call as it stands.
    Continue,
    /// The call gives this.
    Value(i64),
    /// The call fails.
    Errno(i32),
    /// The call gives this descriptor; with close-on-exec or not.
    Descriptor(OwnedFd, bool),
}

impl From<io::Error> for Answer {
    fn from(error: io::Error) -> Answer {
        Answer::Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<Errno> for Answer {
    fn from(error: Errno) -> Answer {
        Answer::Errno(error.raw_os_error())
    }
}

/// An answer, where any step on the way to it may be the answer already.
type Reply = Result<Answer, Answer>;

/// One call of a thread.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The thread.
    pub tid: u32,
    /// What it wants.
    pub call: Call,
    /// With which arguments.
    pub arguments: [u64; 6],
}

impl Asked {
    fn int(&self, n: usize) -> i32 {
        self.arguments[n] as i32
    }

    fn word(&self, n: usize) -> u32 {
        self.arguments[n] as u32
    }
}

/// What the supervisor keeps about a step.
#[derive(Debug)]
pub struct State {
    tracees: Tracees,
    /// The device of the tree's root: what is on another one is no part of the tree.
    device: u64,
    ledger: Ledger,
    journal: journal::Writer,
    credentials: Table,
    /// Whether new files can have more than their maker's ids: a setgid directory or a default ACL is about.
    inherits: bool,
    /// Whether a write can take capabilities from a file: one has some.
    capabilities: bool,
    /// Whether any thread may have another root than the step.
    moved_root: bool,
}

impl State {
    /// For a step that begins.
    pub fn new(order: &Order, proc: OwnedFd, device: u64, ledger: Ledger, journal: journal::Writer) -> State {
        let mut state = State {
            tracees: Tracees::new(proc),
            device,
            journal,
            credentials: Table::new(&order.user),
            inherits: false,
            capabilities: false,
            moved_root: false,
            ledger: Ledger::default(),
        };
        for record in ledger.records() {
            state.heed(record.kind, record.mode, Xattrs::checked(&record.xattrs).unwrap_or_default());
        }
        state.ledger = ledger;
        state
    }

    /// Takes note of what makes quick answers wrong.
    fn heed(&mut self, kind: Kind, mode: u16, xattrs: Xattrs<'_>) {
        let directory = kind == Kind::Directory;
        self.inherits |= directory && (mode & 0o2000 != 0 || xattrs.get(acl::DEFAULT).is_some());
        self.capabilities |= !directory && xattrs.get(xattr::CAPABILITY).is_some();
    }

    /// Answers a call.
    pub fn handle(&mut self, asked: &Asked) -> Answer {
        use Call::*;
        let reply = match asked.call {
            Chown | Lchown | Fchown | Fchownat => self.chown(asked),
            Chmod | Fchmod | Fchmodat | Fchmodat2 => self.chmod(asked),
            Mknod | Mknodat => self.mknod(asked),
            Mkdir | Mkdirat => self.mkdir(asked),
            Symlink | Symlinkat => self.symlink(asked),
            Open | Openat | Openat2 | Creat => self.open(asked),
            Stat | Lstat | Fstat | Newfstatat => self.stat(asked),
            Statx => self.statx(asked),
            Setxattr | Lsetxattr | Fsetxattr | Setxattrat => self.set_xattr(asked),
            Getxattr | Lgetxattr | Fgetxattr | Getxattrat => self.get_xattr(asked),
            Listxattr | Llistxattr | Flistxattr | Listxattrat => self.list_xattr(asked),
            Removexattr | Lremovexattr | Fremovexattr | Removexattrat => self.remove_xattr(asked),
            Setuid | Setgid | Setreuid | Setregid | Setresuid | Setresgid | Setfsuid | Setfsgid
            | Setgroups => self.set_ids(asked),
            Getuid | Geteuid | Getgid | Getegid | Getresuid | Getresgid | Getgroups => self.get_ids(asked),
            Capget => self.capget(asked),
            Capset => self.capset(asked),
            Prctl => self.prctl(asked),
            Execve | Execveat => self.exec(asked),
            Chroot => {
                self.moved_root = true;
                Ok(Answer::Continue)
            }
            Unshare | Clone | Clone3 | Setns | Denied => Err(Errno::PERM.into()),
            IoUring => Err(Errno::NOSYS.into()),
        };
        reply.unwrap_or_else(|answer| answer)
    }
}
