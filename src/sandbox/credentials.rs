//! Emulated users, groups and capabilities of the threads of a step (credentials(7), capabilities(7)).
//!
//! A thread's credentials are a number in a table. The number must follow the thread through clone(2), fork(2) and execve(2), of which no
//! notification comes; so the kernel carries it, as the thread's timer slack (`/proc/TID/timerslack_ns`): a new thread inherits that
//! from the one that made it, and the step's own prctl(2) on it is answered here. The default of 50,000 ns stands for the first entry,
//! each further one for a nanosecond more, which no timer notices.
//!
//! A process can write another number to its own `/proc/self/timerslack_ns`, of which no notification comes either. So the number
//! alone says nothing: a process has a set of numbers that its threads may have, which the kernel carries too, as the limit of file locks
//! (`RLIMIT_LOCKS`, without effect since Linux 2.4.25). Only setrlimit(2) and prlimit(2) change that, which are answered here. Threads of
//! one process share its memory, so that one that may be root makes all of them root, and a set for all is as much as can be had.

use std::collections::HashMap;
use std::io;

use super::order::Ids;
use super::sys;
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
    /// Returns the same four times.
    pub fn all(id: u32) -> Four {
        Four { real: id, effective: id, saved: id, file: id }
    }

    /// Returns whether it is one of the three that an unprivileged thread may change to.
    pub fn has(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }
}

/// The credentials of a thread.
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
    /// Makes those of a command that starts as this user.
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

    /// Reads `/proc/TID/status` (proc_pid_status(5)). Ids that it lacks are no user's.
    fn read(status: &str) -> Credentials {
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let numbers = |key: &str| -> Vec<u32> {
            line(key).split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        let four = |key: &str| match numbers(key)[..] {
            [real, effective, saved, file] => Four { real, effective, saved, file },
            _ => Four::all(u32::MAX),
        };
        let set = |key: &str| u64::from_str_radix(line(key).trim(), 16).unwrap_or(0);
        let mut groups = numbers("Groups:");
        groups.sort_unstable();
        Credentials {
            uid: four("Uid:"),
            gid: four("Gid:"),
            groups,
            permitted: set("CapPrm:"),
            effective: set("CapEff:"),
            inheritable: set("CapInh:"),
            ambient: set("CapAmb:"),
            bounding: set("CapBnd:"),
            keep: false,
            secure: 0,
        }
    }

    /// Returns whether a capability counts.
    pub fn can(&self, capability: u32) -> bool {
        self.effective & (1 << capability) != 0
    }

    /// Returns whether the thread is in a group, for access to files.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid.file == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// Returns what access(2) asks for: the real ids, and capabilities only where the real user is root.
    pub fn really(&self) -> Credentials {
        let mut out = self.clone();
        (out.uid.file, out.gid.file) = (self.uid.real, self.gid.real);
        out.effective = if self.uid.real == 0 { self.permitted } else { 0 };
        out
    }

    /// Changes capabilities as a change of user ids does (capabilities(7), "Effect of user ID changes on capabilities").
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

    /// Changes capabilities as setfsuid(2) does.
    pub fn file_user_changed(&mut self, before: u32) {
        const OF_FILES: u64 = 0b1_1111 | 1 << 9 | 1 << 27 | 1 << 32; // CHOWN to FSETID, LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE
        if before == 0 && self.uid.file != 0 {
            self.effective &= !OF_FILES;
        }
        if before != 0 && self.uid.file == 0 {
            self.effective |= self.permitted & OF_FILES;
        }
    }

    /// Changes credentials as executing a program does. `setuid` and `setgid` are the owner and group it has the bits for;
    /// `file` its capabilities: permitted, inheritable, and whether they are effective.
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
    /// Sets of numbers that the threads of a process may have, the last of which holds where a thread has none of them. The first set
    /// is that of the first command.
    sets: Vec<Vec<usize>>,
    set_numbers: HashMap<Vec<usize>, usize>,
    /// The number of each thread, where threads are seen to begin and end, and need not carry it.
    threads: Option<HashMap<u32, usize>>,
}

impl Table {
    /// Makes the table of a step. The first entry is the user that its command starts as. `traced`: what threads make is
    /// reported.
    pub fn new(user: &Ids, traced: bool) -> Table {
        let first = Credentials::of(user);
        let threads = traced.then(HashMap::new);
        Table {
            numbers: HashMap::from([(first.clone(), 0)]),
            known: vec![first],
            sets: vec![vec![0]],
            set_numbers: HashMap::from([(vec![0], 0)]),
            threads,
        }
    }

    /// Notes that a thread made another one, with the same credentials.
    pub fn cloned(&mut self, from: u32, tid: u32) {
        if let Some(threads) = self.threads.as_mut()
            && let Some(&number) = threads.get(&from)
        {
            threads.insert(tid, number);
        }
    }

    /// Reports whether new threads are seen.
    pub fn traced(&self) -> bool {
        self.threads.is_some()
    }

    /// Notes that a thread has another number from now on.
    pub fn renamed(&mut self, former: u32, tid: u32) {
        if let Some(threads) = self.threads.as_mut()
            && former != tid
        {
            threads.remove(&tid);
            if let Some(number) = threads.remove(&former) {
                threads.insert(tid, number);
            }
        }
    }

    /// Notes that a thread ended.
    pub fn ended(&mut self, tid: u32) {
        if let Some(threads) = self.threads.as_mut() {
            threads.remove(&tid);
        }
    }

    /// Returns whether all threads are root, and always were.
    pub fn plain(&self) -> bool {
        self.known.len() == 1 && self.known[0].uid == Four::all(0) && self.known[0].gid == Four::all(0)
    }

    /// Returns a thread's credentials.
    pub fn of(&self, tracees: &Tracees, tid: u32) -> &Credentials {
        if self.known.len() == 1 {
            return &self.known[0];
        }
        if let Some(threads) = &self.threads {
            return &self.known[threads.get(&tid).copied().unwrap_or(0)];
        }
        &self.known[self.number(tracees, tid)]
    }

    /// Returns the number that a thread carries, if its process may have that one.
    fn number(&self, tracees: &Tracees, tid: u32) -> usize {
        let slack = tracees.timer_slack(tid).ok();
        let number = slack.and_then(|slack| slack.checked_sub(BASE)).unwrap_or(0);
        let set = self.set_of(tid);
        set.iter().copied().find(|known| *known as u64 == number).unwrap_or(set[set.len() - 1])
    }

    /// Returns the numbers that threads of a process may have, given any of its threads. What the supervisor did not set is what the
    /// first command began with.
    fn set_of(&self, tid: u32) -> &[usize] {
        let set = sys::lock_limit(tid, None).ok().and_then(|set| usize::try_from(set).ok());
        set.and_then(|set| self.sets.get(set)).unwrap_or(&self.sets[0])
    }

    /// Lets the threads of a process have these numbers and no others.
    fn allow(&mut self, tid: u32, numbers: Vec<usize>) -> io::Result<()> {
        let set = self.set_number(numbers)?;
        sys::lock_limit(tid, Some(set)).map(drop)
    }

    fn set_number(&mut self, mut numbers: Vec<usize>) -> io::Result<u64> {
        numbers.sort_unstable();
        numbers.dedup();
        let set = match self.set_numbers.get(&numbers) {
            Some(&set) => set,
            None if self.sets.len() >= MOST => return Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            None => {
                self.sets.push(numbers.clone());
                self.set_numbers.insert(numbers, self.sets.len() - 1);
                self.sets.len() - 1
            }
        };
        Ok(set as u64)
    }

    /// Notes that a process with one thread executes a program: whatever it was part of before, it is that thread alone.
    pub fn alone(&mut self, tracees: &Tracees, tid: u32) -> io::Result<()> {
        if self.threads.is_some() || self.set_of(tid).len() == 1 || tracees.threads(tid)?.len() != 1 {
            return Ok(());
        }
        let number = self.number(tracees, tid);
        self.allow(tid, vec![number])
    }

    /// Takes over what the kernel says of a thread. For steps with credentials that are the kernel's: only the thread that waits for an answer
    /// is asked for.
    pub fn look(&mut self, tracees: &Tracees, tid: u32) {
        let status = tracees.file(tid, "status").unwrap_or_default();
        self.known.truncate(1);
        if let Some(first) = self.known.first_mut() {
            *first = Credentials::read(&status);
        }
    }

    /// Gives a thread, which waits for an answer, other credentials.
    pub fn set(&mut self, tracees: &Tracees, tid: u32, credentials: Credentials) -> io::Result<()> {
        let number = self.number_for(credentials)?;
        if let Some(threads) = self.threads.as_mut() {
            threads.insert(tid, number);
            return Ok(());
        }
        let others = tracees.threads(tid)?.into_iter().filter(|other| *other != tid);
        let mut numbers: Vec<usize> = others.map(|other| self.number(tracees, other)).collect();
        numbers.push(number);
        self.allow(tid, numbers)?;
        tracees.set_file(tid, "timerslack_ns", &(BASE + number as u64).to_string())
    }

    /// Returns the timer slack and the limit of file locks by which a process begins with these credentials.
    pub fn carried(&mut self, credentials: Credentials) -> io::Result<(u64, u64)> {
        let number = self.number_for(credentials)?;
        Ok((BASE + number as u64, self.set_number(vec![number])?))
    }

    fn number_for(&mut self, credentials: Credentials) -> io::Result<usize> {
        Ok(match self.numbers.get(&credentials) {
            Some(&number) => number,
            None if self.known.len() >= MOST => return Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            None => {
                let number = self.known.len();
                self.known.push(credentials.clone());
                self.numbers.insert(credentials, number);
                number
            }
        })
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
    fn what_the_kernel_says_of_a_thread_is_read() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 3 \nCapInh:\t0000000000000000\n\
                      CapPrm:\t00000000a80425fb\nCapEff:\t0000000000000009\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000001\n";
        let read = Credentials::read(status);
        assert_eq!(read.uid, Four { real: 1, effective: 2, saved: 3, file: 4 });
        assert_eq!((read.gid.effective, &read.groups[..]), (6, &[3, 9][..]));
        assert_eq!((read.permitted, read.effective, read.ambient), (ROOT, 9, 1));
        assert!(read.can(DAC_OVERRIDE - 1) && read.can(FOWNER) && !read.can(DAC_OVERRIDE));
        let nobody = Credentials::read("");
        assert_eq!((nobody.uid.effective, nobody.effective), (u32::MAX, 0));
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
