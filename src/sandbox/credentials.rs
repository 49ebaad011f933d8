//! Users, groups and capabilities that the threads of a step believe to have (credentials(7), capabilities(7)).
//!
//! A thread's credentials are a number in a table. The number must follow the thread through clone(2), fork(2) and execve(2), of which no
//! notification comes; so the kernel carries it, as the thread's timer slack (`/proc/TID/timerslack_ns`): a new thread inherits that
//! from the one that made it, and the step's own prctl(2) on it is answered here. The default of 50,000 ns stands for the first entry,
//! each further one for a nanosecond more, which no timer notices.

use std::collections::HashMap;
use std::io;

use super::order::Ids;
use super::tracee::Tracees;

/// The capabilities that root has in a container (the same as other runtimes give).
pub const ROOT: u64 = 0xa804_25fb;
/// CAP_CHOWN.
pub const CHOWN: u32 = 0;
/// CAP_DAC_OVERRIDE.
pub const DAC_OVERRIDE: u32 = 1;
/// CAP_FOWNER.
pub const FOWNER: u32 = 3;
/// CAP_FSETID.
pub const FSETID: u32 = 4;
/// CAP_SETGID.
pub const SETGID: u32 = 6;
/// CAP_SETUID.
pub const SETUID: u32 = 7;
/// CAP_SETPCAP.
pub const SETPCAP: u32 = 8;
/// CAP_MKNOD.
pub const MKNOD: u32 = 27;
/// CAP_SETFCAP.
pub const SETFCAP: u32 = 31;

/// The default timer slack.
const BASE: u64 = 50_000;
/// The most different credentials in one step.
const MOST: usize = 20_000;

/// A user or group four times: real, effective, saved, and the one files are made by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Four {
    /// The real one.
    pub real: u32,
    /// The effective one.
    pub effective: u32,
    /// The saved one.
    pub saved: u32,
    /// The one that counts for files.
    pub file: u32,
}

impl Four {
    /// The same four times.
    pub fn all(id: u32) -> Four {
        Four { real: id, effective: id, saved: id, file: id }
    }

    /// Whether it is one of the three that an unprivileged thread may change to.
    pub fn has(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }
}

/// Everything a thread may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// Users.
    pub uid: Four,
    /// Groups.
    pub gid: Four,
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// Capabilities it may make effective.
    pub permitted: u64,
    /// Capabilities that count.
    pub effective: u64,
    /// Capabilities that a program with inheritable ones keeps.
    pub inheritable: u64,
    /// Capabilities that any program keeps.
    pub ambient: u64,
    /// Capabilities that can be had at all.
    pub bounding: u64,
    /// Whether it keeps permitted capabilities when it stops being root.
    pub keep: bool,
    /// Securebits.
    pub secure: u32,
}

impl Credentials {
    /// Those of a command that starts as this user.
    pub fn of(user: &Ids) -> Credentials {
        let mut groups = user.groups.clone();
        groups.sort_unstable();
        let capabilities = if user.uid == 0 { ROOT } else { 0 };
        Credentials {
            uid: Four::all(user.uid),
            gid: Four::all(user.gid),
            groups,
            permitted: capabilities,
            effective: capabilities,
            inheritable: 0,
            ambient: 0,
            bounding: ROOT,
            keep: false,
            secure: 0,
        }
    }

    /// Whether a capability counts.
    pub fn can(&self, capability: u32) -> bool {
        self.effective & (1 << capability) != 0
    }

    /// Whether the thread is in a group, for access to files.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid.file == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// What a change of user ids does to capabilities (capabilities(7), "Effect of user ID changes on capabilities").
    pub fn users_changed(&mut self, before: Four) {
        const NO_SETUID_FIXUP: u32 = 4;
        if self.secure & NO_SETUID_FIXUP != 0 {
            return;
        }
        let any_root = |four: &Four| four.has(0);
        if any_root(&before) && !any_root(&self.uid) {
            if !self.keep {
                self.permitted = 0;
                self.effective = 0;
            }
            self.ambient = 0;
        }
        if before.effective == 0 && self.uid.effective != 0 {
            self.effective = 0;
        }
        if before.effective != 0 && self.uid.effective == 0 {
            self.effective = self.permitted;
        }
    }

    /// What setfsuid(2) does to capabilities.
    pub fn file_user_changed(&mut self, before: u32) {
        const OF_FILES: u64 = 0b1_1111 | 1 << 9 | 1 << 27 | 1 << 32; // CHOWN to FSETID, LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE
        if before == 0 && self.uid.file != 0 {
            self.effective &= !OF_FILES;
        }
        if before != 0 && self.uid.file == 0 {
            self.effective |= self.permitted & OF_FILES;
        }
    }

    /// What executing a program does. `setuid` and `setgid` are the owner and group it has the bits for; `file` its capabilities: permitted,
    /// inheritable, and whether they are effective.
    pub fn executed(&mut self, setuid: Option<u32>, setgid: Option<u32>, file: Option<(u64, u64, bool)>) {
        if let Some(uid) = setuid {
            self.uid.effective = uid;
        }
        if let Some(gid) = setgid {
            self.gid.effective = gid;
        }
        (self.uid.saved, self.uid.file) = (self.uid.effective, self.uid.effective);
        (self.gid.saved, self.gid.file) = (self.gid.effective, self.gid.effective);
        const NO_ROOT: u32 = 1;
        let root = self.secure & NO_ROOT == 0 && (self.uid.effective == 0 || self.uid.real == 0);
        let (permitted, inheritable, effective) = match (root, file) {
            (true, _) => (u64::MAX, u64::MAX, self.uid.effective == 0),
            (false, Some(file)) => file,
            (false, None) => (0, 0, false),
        };
        if setuid.is_some() || setgid.is_some() || file.is_some() {
            self.ambient = 0;
        }
        self.permitted = (self.inheritable & inheritable) | (permitted & self.bounding) | self.ambient;
        self.effective = if effective { self.permitted } else { self.ambient };
        self.keep = false;
    }
}

/// The credentials of all threads.
#[derive(Debug)]
pub struct Table {
    known: Vec<Credentials>,
    numbers: HashMap<Credentials, usize>,
}

impl Table {
    /// For a step whose command starts as this user: that is the first entry.
    pub fn new(user: &Ids) -> Table {
        let first = Credentials::of(user);
        Table { numbers: HashMap::from([(first.clone(), 0)]), known: vec![first] }
    }

    /// Whether all threads are root, and always were.
    pub fn plain(&self) -> bool {
        self.known.len() == 1 && self.known[0].uid == Four::all(0) && self.known[0].gid == Four::all(0)
    }

    /// A thread's credentials.
    pub fn of(&self, tracees: &Tracees, tid: u32) -> &Credentials {
        if self.known.len() == 1 {
            return &self.known[0];
        }
        let slack = tracees.file(tid, "timerslack_ns").ok();
        let number = slack.and_then(|text| text.trim().parse::<u64>().ok()?.checked_sub(BASE));
        number.and_then(|n| self.known.get(n as usize)).unwrap_or(&self.known[0])
    }

    /// Gives a thread, which waits for an answer, other credentials.
    pub fn set(&mut self, tracees: &Tracees, tid: u32, credentials: Credentials) -> io::Result<()> {
        let number = match self.numbers.get(&credentials) {
            Some(&number) => number,
            None if self.known.len() >= MOST => return Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            None => {
                let number = self.known.len();
                self.known.push(credentials.clone());
                self.numbers.insert(credentials, number);
                number
            }
        };
        tracees.set_file(tid, "timerslack_ns", &(BASE + number as u64).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_that_becomes_a_user_loses_capabilities_unless_it_keeps_them() {
        let root = Credentials::of(&Ids::default());
        let mut user = root.clone();
        user.uid = Four::all(5);
        user.users_changed(root.uid);
        assert_eq!((user.permitted, user.effective), (0, 0));
        let mut kept = Credentials { keep: true, ..root.clone() };
        kept.uid = Four::all(5);
        kept.users_changed(root.uid);
        assert_eq!((kept.permitted, kept.effective), (ROOT, 0));
        // seteuid and back.
        let mut back = root.clone();
        back.uid.effective = 5;
        back.users_changed(root.uid);
        assert_eq!((back.permitted, back.effective), (ROOT, 0));
        let before = back.uid;
        back.uid.effective = 0;
        back.users_changed(before);
        assert_eq!(back.effective, ROOT);
    }

    #[test]
    fn a_setuid_program_and_one_with_capabilities_have_what_they_should() {
        let mut user = Credentials::of(&Ids { uid: 5, gid: 5, groups: vec![] });
        user.executed(None, None, Some((1 << 13, 0, true)));
        assert_eq!((user.permitted, user.effective), (1 << 13, 1 << 13));
        user.executed(None, None, None);
        assert_eq!((user.permitted, user.effective), (0, 0));
        user.executed(Some(0), None, None);
        assert_eq!((user.uid.real, user.uid.effective, user.uid.saved, user.effective), (5, 0, 0, ROOT));
    }
}
