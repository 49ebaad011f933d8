//! The ways to run a command with exact ownership, best first.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// One way to run a command in a tree. All of them leave the same tree behind.
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
}

impl Rung {
    /// All of them, best first.
    pub const ALL: [Rung; 3] = [Rung::Root, Rung::Chroot, Rung::Notify];

    /// The rung with this number.
    pub fn from_number(n: u64) -> Option<Rung> {
        Rung::ALL.into_iter().find(|rung| *rung as u64 == n)
    }

    /// Its name, as `--rung` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Root => "root",
            Rung::Chroot => "chroot",
            Rung::Notify => "notify",
        }
    }

    /// How it runs a command and what that costs, in a line.
    pub fn describe(self) -> &'static str {
        match self {
            Rung::Root => "root, namespaces; owners on the disk; layers exact, no cost",
            Rung::Chroot => {
                "root, chroot; owners on the disk; no mount isolation, no /proc; layers exact, no cost"
            }
            Rung::Notify => {
                "user namespace with one id, owners emulated by seccomp notification; layers exact, stat about 10 times slower"
            }
        }
    }

    /// Whether commands are in a user namespace with a supervisor that emulates ownership.
    pub fn emulates(self) -> bool {
        self == Rung::Notify
    }

    /// Whether namespaces, and with them mounts, are made.
    pub fn mounts(self) -> bool {
        self != Rung::Chroot
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
