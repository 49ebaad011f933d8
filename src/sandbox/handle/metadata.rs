//! Times, sizes, modes and attributes of files, set by the supervisor where the kernel gives the step no root.

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::node::Node;
use super::path::Named;
use super::{Answer, Asked, Reply, State, access};
use crate::fs::Kind;
use crate::sandbox::syscalls::Call;
use crate::sandbox::{credentials, sys};

impl State {
    /// Answers utimensat(2) and its elders.
    pub(super) fn set_times(&mut self, asked: &Asked) -> Reply {
        let (here, at) = (libc::AT_FDCWD, asked.arguments);
        let (dir, path, address, flags) = match asked.call {
            Call::Utime | Call::Utimes => (here, at[0], at[1], 0),
            Call::Futimesat => (asked.int(0), at[1], at[2], 0),
            _ => (asked.int(0), at[1], at[2], asked.int(3)),
        };
        // Without a path it is the descriptor's file.
        let named = match (path, asked.call) {
            (0, Call::Utimensat | Call::Futimesat) => Named { dir, path: Vec::new(), follow: true },
            _ => self.meant(asked, dir, path, flags)?,
        };
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW as _ };
        let mut times = Timestamps { last_access: now, last_modification: now };
        if address != 0 {
            let mut bytes = [0; 32];
            let length = if asked.call == Call::Utime { 16 } else { 32 };
            self.tracees.read(asked.tid, address, &mut bytes[..length])?;
            let word = |n: usize| i64::from_ne_bytes(bytes[8 * n..8 * n + 8].try_into().expect("8 bytes"));
            let time = |secs: i64, nanos: i64| Timespec { tv_sec: secs, tv_nsec: nanos as _ };
            let of_micros = |micros: i64| match micros {
                0..=999_999 => Ok(micros * 1000),
                _ => Err(Answer::from(Errno::INVAL)),
            };
            (times.last_access, times.last_modification) = match asked.call {
                Call::Utime => (time(word(0), 0), time(word(1), 0)),
                Call::Utimensat => (time(word(0), word(1)), time(word(2), word(3))),
                _ => (time(word(0), of_micros(word(1))?), time(word(2), of_micros(word(3))?)),
            };
        }
        let reached = self.reached(asked, &named)?;
        if reached.read_only {
            return Err(Errno::ROFS.into());
        }
        let at = match &reached.at {
            Some((directory, name)) => Some((rustix::io::fcntl_dupfd_cloexec(directory, 0)?, name.clone())),
            None => None,
        };
        let fd = reached.there()?;
        let node = self.node_of(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?)?;
        self.may_set_times(asked, &node, &times)?;
        if node.stat.kind == Kind::Symlink {
            let (directory, name) = at.ok_or(Errno::NOENT)?;
            rustix::fs::utimensat(&directory, &name[..], &times, AtFlags::SYMLINK_NOFOLLOW)?;
        } else {
            let through = State::through(&fd);
            rustix::fs::utimensat(self.tracees.proc(), through.as_str(), &times, AtFlags::empty())?;
        }
        Ok(Answer::Value(0))
    }

    /// Refuses times that a thread may not set (utimensat(2), "Permissions requirements").
    fn may_set_times(&self, asked: &Asked, node: &Node, times: &Timestamps) -> Result<(), Answer> {
        let caller = self.caller(asked);
        let now = |time: &Timespec| time.tv_nsec == UTIME_NOW || time.tv_nsec == UTIME_OMIT;
        if caller.uid.file == node.uid || caller.can(credentials::FOWNER) {
            return Ok(());
        }
        match now(&times.last_access) && now(&times.last_modification) {
            true => self.check(asked, node, access::WRITE),
            false => Err(Errno::PERM.into()),
        }
    }

    /// Answers truncate(2).
    pub(super) fn cut(&mut self, asked: &Asked) -> Reply {
        let named = self.meant(asked, libc::AT_FDCWD, asked.arguments[0], 0)?;
        let length = asked.arguments[1] as i64;
        let reached = self.reached(asked, &named)?;
        if reached.read_only {
            return Err(Errno::ROFS.into());
        }
        if reached.path.as_ref().is_some_and(|path| path.starts_with(b"proc/")) {
            return Err(Errno::PERM.into());
        }
        let fd = reached.there()?;
        match crate::fs::stat::stat_fd(&fd)?.kind {
            Kind::File if length >= 0 => {}
            Kind::Directory => return Err(Errno::ISDIR.into()),
            _ => return Err(Errno::INVAL.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let through = State::through(&fd);
        let open = rustix::fs::openat(self.tracees.proc(), through.as_str(), flags, Mode::empty())?;
        rustix::fs::ftruncate(&open, length as u64)?;
        Ok(Answer::Value(0))
    }

    /// Answers statfs(2).
    pub(super) fn filesystem(&mut self, asked: &Asked) -> Reply {
        let named = self.meant(asked, libc::AT_FDCWD, asked.arguments[0], 0)?;
        let fd = self.reached(asked, &named)?.there()?;
        let bytes = sys::filesystem(&fd)?;
        self.tracees.write(asked.tid, asked.arguments[1], &bytes)?;
        Ok(Answer::Value(0))
    }

    /// Answers calls on attributes that are on the disk.
    pub(super) fn plain_xattr(&mut self, asked: &Asked) -> Reply {
        use Call::*;
        if matches!(asked.call, Listxattr | Llistxattr | Flistxattr | Listxattrat) {
            let (named, address, size) = self.listed(asked).map_err(no_path)?;
            let fd = self.reached(asked, &named)?.there()?;
            let list = self.names_on_disk(asked, &fd)?;
            return self.give(asked, address, size, &list);
        }
        let (named, name) = self.attribute(asked, |_| true).map_err(no_path)?;
        let reached = self.reached(asked, &named)?;
        let read_only = reached.read_only;
        let node = self.node_of(reached.there()?)?;
        let access = match asked.call {
            Getxattr | Lgetxattr | Fgetxattr | Getxattrat => access::READ,
            _ if read_only => return Err(Errno::ROFS.into()),
            _ => access::WRITE,
        };
        self.check(asked, &node, access)?;
        self.make_xattr_call(asked, &node.fd, &name)
    }

    /// Answers chmod(2) of what is no part of the tree.
    pub(super) fn plain_chmod(&mut self, asked: &Asked) -> Reply {
        let (named, mode) = match asked.call {
            Call::Fchmodat => (self.meant(asked, asked.int(0), asked.arguments[1], 0)?, asked.word(2)),
            Call::Fchmodat2 => {
                (self.meant(asked, asked.int(0), asked.arguments[1], asked.int(3))?, asked.word(2))
            }
            Call::Fchmod => (Named { dir: asked.int(0), path: Vec::new(), follow: true }, asked.word(1)),
            _ => (self.meant(asked, libc::AT_FDCWD, asked.arguments[0], 0)?, asked.word(1)),
        };
        let reached = self.reached(asked, &named)?;
        if reached.read_only {
            return Err(Errno::ROFS.into());
        }
        let fd = reached.there()?;
        if crate::fs::stat::stat_fd(&fd)?.kind == Kind::Symlink {
            return Err(Errno::OPNOTSUPP.into());
        }
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let through = State::through(&fd);
        rustix::fs::chmodat(self.tracees.proc(), through.as_str(), mode, AtFlags::empty())?;
        Ok(Answer::Value(0))
    }
}

fn no_path(answer: Answer) -> Answer {
    match answer {
        Answer::Continue => Errno::NOENT.into(),
        other => other,
    }
}
