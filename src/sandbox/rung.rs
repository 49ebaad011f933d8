//! The ways to run a command with exact ownership, best first.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A way to run a command in a tree. All of them leave the same tree behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Rung {
    /// Root that may mount: namespaces of its own, owners and devices on the disk.
    Root = 1,
    /// Root in an ordinary container, which may not mount: chroot(2). The step has no `/proc` and no `/dev` but the tree's.
    Chroot = 2,
    /// A user namespace with one id; a supervisor answers what that id may not do (seccomp_unotify(2)) and keeps owners, devices and
    /// attributes in the ledger.
    Notify = 3,
    /// The same where another program has the one listener there can be, or the kernel has none: calls come by tracing (ptrace(2)).
    Ptrace = 4,
    /// A user namespace with a range of subordinate ids: while a command runs, owners are on the disk and users are the kernel's; a supervisor
    /// answers what is left. Outside of that time the tree is as [`Rung::Notify`] has it. It comes after that one, as no other process
    /// can read the tree while the command runs, and a kill leaves something to undo.
    Ids = 7,
    /// No user namespace, as in an ordinary container: the same supervisor, which also resolves every path for the command, and finds the
    /// programs it executes (ptrace(2)). For root, in a tree of root's, the disk has owners, devices and attributes.
    Paths = 5,
    /// Neither a user namespace nor a listener: as [`Rung::Paths`], by tracing alone.
    PtracePaths = 6,
}

impl Rung {
    /// All of them, best first.
    pub const ALL: [Rung; 7] =
        [Rung::Root, Rung::Chroot, Rung::Notify, Rung::Ptrace, Rung::Ids, Rung::Paths, Rung::PtracePaths];

    /// Returns the rung with this number.
    pub fn from_number(n: u64) -> Option<Rung> {
        Rung::ALL.into_iter().find(|rung| *rung as u64 == n)
    }

    /// Returns its name, as `--rung` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Root => "root",
            Rung::Chroot => "chroot",
            Rung::Notify => "notify",
            Rung::Ptrace => "ptrace",
            Rung::Ids => "ids",
            Rung::Paths => "paths",
            Rung::PtracePaths => "ptrace-paths",
        }
    }

    /// Returns how it runs a command and what that costs, in a line.
    pub fn describe(self) -> &'static str {
        match self {
            Rung::Root => "root, namespaces; owners on the disk; layers exact, no cost",
            Rung::Chroot => {
                "root, chroot; owners on the disk; no mount isolation, no /proc; layers exact, no cost"
            }
            Rung::Notify => {
                "user namespace with one id, owners emulated by seccomp notification; layers exact, stat about 10 times slower"
            }
            Rung::Ptrace => {
                "user namespace with one id, owners emulated by tracing; layers exact, stat about 15 times slower, no debugger inside"
            }
            Rung::PtracePaths => {
                "no namespace, owners and paths emulated by tracing; layers exact, processes and network are the host's, every call with a path about 20 times slower"
            }
            Rung::Ids => {
                "user namespace with subordinate ids, users and access are the kernel's; layers exact, stat about 10 times slower, the tree is the command's alone while it runs"
            }
            Rung::Paths => {
                "no namespace, owners and paths emulated by seccomp notification; layers exact, processes and network are the host's, every call with a path about 10 times slower"
            }
        }
    }

    /// Returns whether commands have a supervisor that emulates ownership.
    pub fn emulates(self) -> bool {
        matches!(self, Rung::Notify | Rung::Ptrace | Rung::Ids | Rung::Paths | Rung::PtracePaths)
    }

    /// Returns whether users, groups and capabilities of the command are what the kernel has, and not the supervisor.
    pub(crate) fn has_users(self) -> bool {
        !self.emulates() || self == Rung::Ids
    }

    /// Returns whether the supervisor resolves the command's paths, for lack of a root of its own.
    pub fn serves(self) -> bool {
        matches!(self, Rung::Paths | Rung::PtracePaths)
    }

    /// Reports whether the supervisor traces the command's threads.
    pub(crate) fn traces(self) -> bool {
        self.serves() || self == Rung::Ptrace
    }

    /// Reports whether calls that need an answer come from a listener; else from the tracer.
    pub(crate) fn listens(self) -> bool {
        !matches!(self, Rung::Ptrace | Rung::PtracePaths)
    }

    /// Returns whether namespaces, and with them mounts, are made.
    pub fn mounts(self) -> bool {
        self != Rung::Chroot && !self.serves()
    }
}

impl serde::Serialize for Rung {
    /// Serializes the text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rung {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rung> {
        let found = Rung::ALL.into_iter().find(|rung| rung.name() == text);
        let names = Rung::ALL.map(Rung::name).join(", ");
        found.ok_or_else(|| Error::invalid("read rung", format!("expected one of {names}")).with_path(text))
    }
}
