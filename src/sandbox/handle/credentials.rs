//! Ids and capabilities of threads: as real root has them.

use rustix::io::Errno;

use super::{Answer, Asked, Reply, State};
use crate::sandbox::credentials::{self, Credentials, Four};
use crate::sandbox::syscalls::Call;

/// "Leave it as it is" in calls that set ids.
const SAME: u32 = u32::MAX;
/// _LINUX_CAPABILITY_VERSION_1, 2 and 3 (linux/capability.h).
const VERSIONS: [u32; 3] = [0x1998_0330, 0x2007_1026, 0x2008_0522];
/// The last capability there is (CAP_CHECKPOINT_RESTORE).
const LAST: u64 = 40;

impl State {
    fn mine(&self, asked: &Asked) -> Credentials {
        self.credentials.of(&self.tracees, asked.tid).clone()
    }

    fn become_(&mut self, asked: &Asked, new: Credentials) -> Reply {
        self.credentials.set(&self.tracees, asked.tid, new)?;
        Ok(Answer::Value(0))
    }

    /// Answers setuid(2) and all like it.
    pub fn set_ids(&mut self, asked: &Asked) -> Reply {
        use Call::*;
        let old = self.mine(asked);
        let mut new = old.clone();
        let arguments = [asked.word(0), asked.word(1), asked.word(2)];
        match asked.call {
            Setgroups => {
                if !old.can(credentials::SETGID) {
                    return Err(Errno::PERM.into());
                }
                let count = asked.arguments[0];
                if count > 65_536 {
                    return Err(Errno::INVAL.into());
                }
                let mut bytes = vec![0; count as usize * 4];
                self.tracees.read(asked.tid, asked.arguments[1], &mut bytes)?;
                let groups = bytes.as_chunks::<4>().0.iter();
                new.groups = groups.map(|group| u32::from_ne_bytes(*group)).collect();
                new.groups.sort_unstable();
                return self.become_(asked, new);
            }
            Setfsuid => {
                let before = old.uid.file;
                let id = arguments[0];
                if id != SAME && (old.can(credentials::SETUID) || old.uid.has(id) || before == id) {
                    new.uid.file = id;
                    new.file_user_changed(before);
                    self.become_(asked, new)?;
                }
                return Ok(Answer::Value(before.into()));
            }
            Setfsgid => {
                let before = old.gid.file;
                let id = arguments[0];
                if id != SAME && (old.can(credentials::SETGID) || old.gid.has(id) || before == id) {
                    new.gid.file = id;
                    self.become_(asked, new)?;
                }
                return Ok(Answer::Value(before.into()));
            }
            Setuid => one(&mut new.uid, arguments[0], old.can(credentials::SETUID))?,
            Setgid => one(&mut new.gid, arguments[0], old.can(credentials::SETGID))?,
            Setreuid => two(&mut new.uid, arguments, old.can(credentials::SETUID))?,
            Setregid => two(&mut new.gid, arguments, old.can(credentials::SETGID))?,
            Setresuid => three(&mut new.uid, arguments, old.can(credentials::SETUID))?,
            _ => three(&mut new.gid, arguments, old.can(credentials::SETGID))?,
        }
        if matches!(asked.call, Setuid | Setreuid | Setresuid) {
            new.users_changed(old.uid);
        }
        self.become_(asked, new)
    }

    /// Answers getuid(2) and all like it.
    pub fn get_ids(&mut self, asked: &Asked) -> Reply {
        use Call::*;
        let who = self.mine(asked);
        let value = match asked.call {
            Getuid => who.uid.real,
            Geteuid => who.uid.effective,
            Getgid => who.gid.real,
            Getegid => who.gid.effective,
            Getresuid => return self.give_three(asked, who.uid),
            Getresgid => return self.give_three(asked, who.gid),
            _ => return self.get_groups(asked, &who),
        };
        Ok(Answer::Value(value.into()))
    }

    fn give_three(&mut self, asked: &Asked, ids: Four) -> Reply {
        for (n, id) in [ids.real, ids.effective, ids.saved].into_iter().enumerate() {
            self.tracees.write(asked.tid, asked.arguments[n], &id.to_ne_bytes())?;
        }
        Ok(Answer::Value(0))
    }

    fn get_groups(&mut self, asked: &Asked, who: &Credentials) -> Reply {
        let size = asked.int(0);
        if size < 0 || (size != 0 && (size as usize) < who.groups.len()) {
            return Err(Errno::INVAL.into());
        }
        if size != 0 {
            let bytes: Vec<u8> = who.groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
            self.tracees.write(asked.tid, asked.arguments[1], &bytes)?;
        }
        Ok(Answer::Value(who.groups.len() as i64))
    }

    /// Answers capget(2).
    pub fn capget(&mut self, asked: &Asked) -> Reply {
        let (words, target) = match self.capability_header(asked)? {
            Some(header) => header,
            None if asked.arguments[1] == 0 => return Ok(Answer::Value(0)),
            None => return Err(Errno::INVAL.into()),
        };
        let tid = if target == 0 { asked.tid } else { self.thread(asked, target)? };
        let who = self.credentials.of(&self.tracees, tid).clone();
        let mut out = Vec::new();
        for half in 0..words {
            for set in [who.effective, who.permitted, who.inheritable] {
                out.extend_from_slice(&((set >> (32 * half)) as u32).to_ne_bytes());
            }
        }
        if asked.arguments[1] != 0 {
            self.tracees.write(asked.tid, asked.arguments[1], &out)?;
        }
        Ok(Answer::Value(0))
    }

    /// Returns the thread that a number of the step's own process namespace stands for. Only the asking process itself is
    /// looked up.
    fn thread(&self, asked: &Asked, target: u32) -> Result<u32, Answer> {
        let ids = self.tracees.status(asked.tid, "NSpid:")?;
        let own = ids.split_whitespace().next_back().and_then(|id| id.parse().ok());
        if own == Some(target) { Ok(asked.tid) } else { Err(Answer::Continue) }
    }

    /// Returns how many 32-bit words of a set a call takes, and of which thread; `None` for an unknown version, after
    /// saying which one is known.
    fn capability_header(&mut self, asked: &Asked) -> Result<Option<(u32, u32)>, Answer> {
        let mut header = [0; 8];
        self.tracees.read(asked.tid, asked.arguments[0], &mut header)?;
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        match VERSIONS.iter().position(|&version| version == word(0)) {
            Some(0) => Ok(Some((1, word(4)))),
            Some(_) => Ok(Some((2, word(4)))),
            None => {
                self.tracees.write(asked.tid, asked.arguments[0], &VERSIONS[2].to_ne_bytes())?;
                Ok(None)
            }
        }
    }

    /// Answers capset(2).
    pub fn capset(&mut self, asked: &Asked) -> Reply {
        let Some((words, target)) = self.capability_header(asked)? else { return Err(Errno::INVAL.into()) };
        if target != 0 && self.thread(asked, target).is_err() {
            return Err(Errno::PERM.into());
        }
        let mut bytes = [0; 24];
        self.tracees.read(asked.tid, asked.arguments[1], &mut bytes[..12 * words as usize])?;
        let set = |n: usize| {
            let word =
                |at: usize| u64::from(u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes")));
            word(4 * n) | word(12 + 4 * n) << 32
        };
        let (effective, permitted, inheritable) = (set(0), set(1), set(2));
        let old = self.mine(asked);
        // cap_capset() of the kernel.
        let setpcap = old.can(credentials::SETPCAP);
        let may_inherit = if setpcap {
            old.inheritable | old.permitted | old.bounding
        } else {
            old.inheritable | old.permitted
        };
        if inheritable & !may_inherit != 0
            || inheritable & !(old.inheritable | old.bounding) != 0
            || permitted & !old.permitted != 0
            || effective & !permitted != 0
        {
            return Err(Errno::PERM.into());
        }
        let ambient = old.ambient & permitted & inheritable;
        self.become_(asked, Credentials { effective, permitted, inheritable, ambient, ..old })
    }

    /// Answers those operations of prctl(2) that are about credentials.
    pub fn prctl(&mut self, asked: &Asked) -> Reply {
        let old = self.mine(asked);
        let mut new = old.clone();
        let argument = asked.arguments[1];
        let bit = |n: u64| if n <= LAST { Ok(1u64 << n) } else { Err(Answer::from(Errno::INVAL)) };
        match asked.int(0) {
            libc::PR_GET_KEEPCAPS => return Ok(Answer::Value(old.keep.into())),
            libc::PR_SET_KEEPCAPS if argument > 1 => return Err(Errno::INVAL.into()),
            libc::PR_SET_KEEPCAPS => new.keep = argument == 1,
            libc::PR_CAPBSET_READ => return Ok(Answer::Value((old.bounding & bit(argument)? != 0).into())),
            libc::PR_CAPBSET_DROP if !old.can(credentials::SETPCAP) => return Err(Errno::PERM.into()),
            libc::PR_CAPBSET_DROP => new.bounding &= !bit(argument)?,
            libc::PR_GET_SECUREBITS => return Ok(Answer::Value(old.secure.into())),
            libc::PR_SET_SECUREBITS if !old.can(credentials::SETPCAP) => return Err(Errno::PERM.into()),
            libc::PR_SET_SECUREBITS => {
                // A locked bit stays (securebits.h: each bit has its lock above it).
                let locks = old.secure & 0xaaaa_aaaa;
                let wanted = argument as u32;
                if locks & !wanted != 0 || (old.secure ^ wanted) & (locks >> 1) != 0 {
                    return Err(Errno::PERM.into());
                }
                new.secure = wanted;
            }
            libc::PR_CAP_AMBIENT => return self.ambient(asked, new),
            // The supervisor keeps a number in it; a timer is no worse for not hearing of the wish.
            libc::PR_SET_TIMERSLACK => return Ok(Answer::Value(0)),
            libc::PR_GET_TIMERSLACK => return Ok(Answer::Value(50_000)),
            // The supervisor could not see a process any more that closes itself to others; to others it is closed anyhow.
            libc::PR_SET_DUMPABLE if argument > 1 => return Err(Errno::INVAL.into()),
            libc::PR_SET_DUMPABLE => return Ok(Answer::Value(0)),
            _ => return Err(Errno::PERM.into()),
        }
        self.become_(asked, new)
    }

    /// Answers getrlimit(2), setrlimit(2) and prlimit(2) on the limit of file locks, which carries what threads may be. It has no effect, so
    /// that every step has none, whatever it sets.
    pub fn lock_limit(&mut self, asked: &Asked) -> Reply {
        let old = match asked.call {
            Call::Getrlimit => asked.arguments[1],
            Call::Prlimit => asked.arguments[3],
            _ => 0,
        };
        if old != 0 {
            self.tracees.write(asked.tid, old, &[0xff; 16])?;
        }
        Ok(Answer::Value(0))
    }

    fn ambient(&mut self, asked: &Asked, mut new: Credentials) -> Reply {
        let bit = if asked.arguments[2] <= LAST { 1u64 << asked.arguments[2] } else { 0 };
        match asked.int(1) {
            libc::PR_CAP_AMBIENT_CLEAR_ALL => new.ambient = 0,
            _ if bit == 0 => return Err(Errno::INVAL.into()),
            libc::PR_CAP_AMBIENT_IS_SET => return Ok(Answer::Value((new.ambient & bit != 0).into())),
            libc::PR_CAP_AMBIENT_LOWER => new.ambient &= !bit,
            libc::PR_CAP_AMBIENT_RAISE if new.permitted & new.inheritable & bit == 0 => {
                return Err(Errno::PERM.into());
            }
            libc::PR_CAP_AMBIENT_RAISE => new.ambient |= bit,
            _ => return Err(Errno::INVAL.into()),
        }
        self.become_(asked, new)
    }
}

/// Applies setuid(2).
fn one(ids: &mut Four, id: u32, may: bool) -> Result<(), Answer> {
    if id == SAME {
        return Err(Errno::INVAL.into());
    }
    if may {
        *ids = Four::all(id);
    } else if id == ids.real || id == ids.saved {
        (ids.effective, ids.file) = (id, id);
    } else {
        return Err(Errno::PERM.into());
    }
    Ok(())
}

/// Applies setreuid(2).
fn two(ids: &mut Four, [real, effective, _]: [u32; 3], may: bool) -> Result<(), Answer> {
    let old = *ids;
    if real != SAME {
        if !may && real != old.real && real != old.effective {
            return Err(Errno::PERM.into());
        }
        ids.real = real;
    }
    if effective != SAME {
        if !may && !old.has(effective) {
            return Err(Errno::PERM.into());
        }
        ids.effective = effective;
    }
    if real != SAME || (effective != SAME && effective != old.real) {
        ids.saved = ids.effective;
    }
    ids.file = ids.effective;
    Ok(())
}

/// Applies setresuid(2).
fn three(ids: &mut Four, wanted: [u32; 3], may: bool) -> Result<(), Answer> {
    let old = *ids;
    for (place, id) in [&mut ids.real, &mut ids.effective, &mut ids.saved].into_iter().zip(wanted) {
        if id == SAME {
            continue;
        }
        if !may && !old.has(id) {
            return Err(Errno::PERM.into());
        }
        *place = id;
    }
    ids.file = ids.effective;
    Ok(())
}
