//! Calls with paths, made by the supervisor: for steps with a root that the kernel does not have. The emulated owners and
//! modes have been taken care of when a call comes here; what is left is to do what the kernel would have done, on what the
//! path means to the step.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::create::Spot;
use super::node::Node;
use super::path::Named;
use super::service::Service;
use super::walk::{HIDDEN, Reached};
use super::{Answer, Asked, Reply, State, access};
use crate::fs::Kind;
use crate::sandbox::credentials::{self, Credentials};
use crate::sandbox::sys;
use crate::sandbox::syscalls::Call;

/// CAP_SYS_CHROOT.
const SYS_CHROOT: u32 = 18;
/// The longest path (PATH_MAX).
const LONGEST: usize = 4096;

impl State {
    pub(super) fn service(&self) -> Result<&Service, Answer> {
        self.service.as_ref().ok_or(Answer::Errno(libc::ENOSYS))
    }

    fn reached(&self, asked: &Asked, named: &Named) -> Result<Reached, Answer> {
        Ok(self.reach(self.service()?, asked.tid, named)?)
    }

    fn who(&self, asked: &Asked) -> &Credentials {
        self.credentials.of(&self.tracees, asked.tid)
    }

    /// Returns what a call names, with its errors: an empty path is none.
    fn meant(&mut self, asked: &Asked, dir: i32, address: u64, flags: i32) -> Result<Named, Answer> {
        self.named_by(asked, dir, address, flags).map_err(|answer| match answer {
            Answer::Continue => Errno::NOENT.into(),
            other => other,
        })
    }

    /// Makes a call.
    pub fn perform(&mut self, asked: &Asked) -> Reply {
        use Call::*;
        let (here, at) = (libc::AT_FDCWD, asked.arguments);
        match asked.call {
            Open | Openat | Openat2 | Creat => self.open_there(asked),
            Unlink => self.remove(asked, here, at[0], AtFlags::empty()),
            Rmdir => self.remove(asked, here, at[0], AtFlags::REMOVEDIR),
            Unlinkat => match asked.int(2) {
                0 => self.remove(asked, asked.int(0), at[1], AtFlags::empty()),
                libc::AT_REMOVEDIR => self.remove(asked, asked.int(0), at[1], AtFlags::REMOVEDIR),
                _ => Err(Errno::INVAL.into()),
            },
            Rename => self.rename(asked, (here, at[0]), (here, at[1]), 0),
            Renameat => self.rename(asked, (asked.int(0), at[1]), (asked.int(2), at[3]), 0),
            Renameat2 => self.rename(asked, (asked.int(0), at[1]), (asked.int(2), at[3]), asked.word(4)),
            Link => self.link(asked, (here, at[0]), (here, at[1]), 0),
            Linkat => self.link(asked, (asked.int(0), at[1]), (asked.int(2), at[3]), asked.int(4)),
            Readlink => self.read_link(asked, (here, at[0]), at[1], asked.int(2)),
            Readlinkat => self.read_link(asked, (asked.int(0), at[1]), at[2], asked.int(3)),
            Access => self.try_access(asked, here, at[0], asked.word(1), 0),
            Faccessat => self.try_access(asked, asked.int(0), at[1], asked.word(2), 0),
            Faccessat2 => self.try_access(asked, asked.int(0), at[1], asked.word(2), asked.int(3)),
            Chdir => self.change_directory(asked),
            Fchdir => self.change_directory(asked),
            Chroot => self.change_root(asked),
            Getcwd => self.working_directory(asked),
            Utime | Utimes | Futimesat | Utimensat => self.set_times(asked),
            Truncate => self.cut(asked),
            Statfs => self.filesystem(asked),
            Setxattr | Lsetxattr | Fsetxattr | Setxattrat | Getxattr | Lgetxattr | Fgetxattr | Getxattrat
            | Listxattr | Llistxattr | Flistxattr | Listxattrat | Removexattr | Lremovexattr
            | Fremovexattr | Removexattrat => self.plain_xattr(asked),
            Chmod | Fchmod | Fchmodat | Fchmodat2 => self.plain_chmod(asked),
            Bind | Connect => self.local_socket(asked),
            Kill | Tkill | Tgkill | Sigqueue | Tgsigqueue | Prlimit | PidfdOpen => self.signal(asked),
            // Those with a path that is empty, or a type that there is none of.
            Stat | Lstat | Newfstatat | Statx | Chown | Lchown | Fchownat => Err(Errno::NOENT.into()),
            Mkdir | Mkdirat | Symlink | Symlinkat => Err(Errno::NOENT.into()),
            Mknod | Mknodat => Err(Errno::INVAL.into()),
            Fstat | Fchown => Err(Errno::BADF.into()),
            // No path is in these.
            Getdents | Getdents64 | Getsockopt | Prctl | Capget | Capset => Ok(Answer::Continue),
            _ => Err(Errno::NOSYS.into()),
        }
    }

    /// Opens a file that is there.
    fn open_there(&mut self, asked: &Asked) -> Reply {
        let opening = match self.opening(asked) {
            Err(Answer::Continue) => return Err(Errno::NOENT.into()),
            other => other?,
        };
        let reached = self.reached(asked, &opening.named)?;
        let flags = opening.flags;
        let close = flags & libc::O_CLOEXEC != 0;
        if let Some(text) = self.made_up(asked, &reached)? {
            return Ok(Answer::Descriptor(sys::memory_file(&text)?, close));
        }
        let path = reached.path.clone();
        let last = path.as_deref().unwrap_or_default().rsplit(|&c| c == b'/').next().unwrap_or_default();
        if path.as_ref().is_some_and(|path| path.starts_with(b"proc/")) && HIDDEN.contains(&last) {
            return Err(Errno::ACCESS.into());
        }
        let read_only = reached.read_only;
        let fd = reached.there()?;
        let node = self.node_of(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?)?;
        let directory = node.stat.kind == Kind::Directory;
        if flags & libc::O_DIRECTORY != 0 && !directory {
            return Err(Errno::NOTDIR.into());
        }
        if flags & libc::O_PATH != 0 {
            let open = OFlags::RDONLY | OFlags::CLOEXEC;
            let as_path = match node.stat.kind {
                Kind::Directory | Kind::File => {
                    rustix::fs::openat(self.tracees.proc(), State::through(&fd), open, Mode::empty())?
                }
                _ => self.service()?.stand_in(fd)?,
            };
            return Ok(Answer::Descriptor(as_path, close));
        }
        match node.kind {
            Kind::Symlink => return Err(Errno::LOOP.into()),
            Kind::Socket => return Err(Errno::NXIO.into()),
            // As on a filesystem that is mounted without devices, which is what a step's is everywhere.
            Kind::CharDevice | Kind::BlockDevice
                if node.stat.kind == Kind::File || node.stat.dev == self.device =>
            {
                return Err(Errno::ACCESS.into());
            }
            _ => {}
        }
        let writes = access::wanted_by(flags) & access::WRITE != 0;
        if writes && directory {
            return Err(Errno::ISDIR.into());
        }
        if writes && read_only {
            return Err(Errno::ROFS.into());
        }
        if writes && path.is_some_and(|path| path.starts_with(b"proc/") && !may_write_proc(&path)) {
            return Err(Errno::ACCESS.into());
        }
        // No terminal becomes the supervisor's.
        let open =
            (flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW)) | libc::O_NOCTTY | libc::O_CLOEXEC;
        let through = State::through(&fd);
        let waits = node.stat.kind == Kind::Fifo && flags & libc::O_NONBLOCK == 0;
        let proc = self.tracees.proc();
        if waits && flags & libc::O_ACCMODE != libc::O_RDWR {
            // It waits for the other end, and the supervisor cannot.
            return Ok(Answer::Later(Box::new(super::Waiting {
                file: fd,
                flags: open,
                close_on_exec: close,
            })));
        }
        let opened =
            rustix::fs::openat(proc, through.as_str(), OFlags::from_bits_retain(open as u32), Mode::empty())?;
        Ok(Answer::Descriptor(opened, close))
    }

    /// Files of /proc that say what the step is, not what the host is.
    fn made_up(&self, asked: &Asked, reached: &Reached) -> Result<Option<Vec<u8>>, Answer> {
        let Some(path) = reached.path.as_deref().and_then(|path| path.strip_prefix(b"proc/")) else {
            return Ok(None);
        };
        let parts: Vec<&[u8]> = path.split(|&c| c == b'/').collect();
        let Some(pid) = std::str::from_utf8(parts[0]).ok().and_then(|pid| pid.parse::<u32>().ok()) else {
            return Ok(None);
        };
        match parts.last() {
            Some(&b"mounts") => Ok(Some(b"treering / treering rw 0 0\nproc /proc proc rw 0 0\n".to_vec())),
            Some(&b"mountinfo") => Ok(Some(
                b"1 0 0:1 / / rw - treering treering rw\n2 1 0:2 / /proc rw - proc proc rw\n".to_vec(),
            )),
            Some(&b"mountstats") => Ok(Some(Vec::new())),
            Some(&b"status") if reached.fd.is_some() => {
                let text = self.tracees.file(pid, "status")?;
                let who = self.credentials.of(&self.tracees, pid);
                let four = |ids: credentials::Four| {
                    format!("{}\t{}\t{}\t{}", ids.real, ids.effective, ids.saved, ids.file)
                };
                let lines = text.lines().map(|line| match line.split_once(':').map(|(key, _)| key) {
                    Some("Uid") => format!("Uid:\t{}\n", four(who.uid)),
                    Some("Gid") => format!("Gid:\t{}\n", four(who.gid)),
                    Some("Groups") => {
                        let groups: String = who.groups.iter().map(|group| format!("{group} ")).collect();
                        format!("Groups:\t{groups}\n")
                    }
                    Some("CapInh") => format!("CapInh:\t{:016x}\n", who.inheritable),
                    Some("CapPrm") => format!("CapPrm:\t{:016x}\n", who.permitted),
                    Some("CapEff") => format!("CapEff:\t{:016x}\n", who.effective),
                    Some("CapBnd") => format!("CapBnd:\t{:016x}\n", who.bounding),
                    Some("CapAmb") => format!("CapAmb:\t{:016x}\n", who.ambient),
                    Some("TracerPid") => "TracerPid:\t0\n".to_string(),
                    _ => format!("{line}\n"),
                });
                let _ = asked;
                Ok(Some(lines.collect::<String>().into_bytes()))
            }
            _ => Ok(None),
        }
    }

    /// Returns where a name that is to be changed is, with what is there.
    fn spot_of(&mut self, asked: &Asked, dir: i32, address: u64) -> Result<(Spot, Option<OwnedFd>), Answer> {
        let mut named = self.named(asked, dir, address, false)?;
        if named.path.is_empty() {
            return Err(Errno::NOENT.into());
        }
        while named.path.len() > 1 && named.path.ends_with(b"/") {
            named.path.pop();
        }
        if named.path == b"." || named.path.ends_with(b"/.") {
            return Err(Errno::INVAL.into());
        }
        let reached = self.reached(asked, &named)?;
        if reached.mounted {
            return Err(Errno::BUSY.into());
        }
        if reached.read_only {
            return Err(Errno::ROFS.into());
        }
        let in_proc = reached.path.as_ref().is_some_and(|path| path.starts_with(b"proc/"));
        match reached.at {
            Some((directory, name)) if !in_proc => {
                let spot = Spot { directory: self.node_of(directory)?, name };
                Ok((spot, reached.fd))
            }
            Some(_) => Err(Errno::PERM.into()),
            None if named.path.ends_with(b"..") => Err(Errno::NOTEMPTY.into()),
            None => Err(Errno::BUSY.into()),
        }
    }

    fn remove(&mut self, asked: &Asked, dir: i32, address: u64, flags: AtFlags) -> Reply {
        let (spot, _) = self.spot_of(asked, dir, address)?;
        rustix::fs::unlinkat(&spot.directory.fd, &spot.name[..], flags)?;
        Ok(Answer::Value(0))
    }

    fn rename(&mut self, asked: &Asked, old: (i32, u64), new: (i32, u64), flags: u32) -> Reply {
        let (old, _) = self.spot_of(asked, old.0, old.1)?;
        let (new, _) = self.spot_of(asked, new.0, new.1)?;
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags);
        let (from, to) = (&old.directory.fd, &new.directory.fd);
        if flags.is_empty() {
            rustix::fs::renameat(from, &old.name[..], to, &new.name[..])?;
        } else {
            rustix::fs::renameat_with(from, &old.name[..], to, &new.name[..], flags)?;
        }
        Ok(Answer::Value(0))
    }

    fn link(&mut self, asked: &Asked, old: (i32, u64), new: (i32, u64), flags: i32) -> Reply {
        if flags & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(Errno::INVAL.into());
        }
        let mut named = self.meant(asked, old.0, old.1, flags & libc::AT_EMPTY_PATH)?;
        named.follow = flags & libc::AT_SYMLINK_FOLLOW != 0;
        let file = self.reached(asked, &named)?.there()?;
        let (new, there) = self.spot_of(asked, new.0, new.1)?;
        if there.is_some() {
            return Err(Errno::EXIST.into());
        }
        if crate::fs::stat::stat_fd(&file)?.kind == Kind::Directory {
            return Err(Errno::PERM.into());
        }
        let through = State::through(&file);
        let follow = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(self.tracees.proc(), through.as_str(), &new.directory.fd, &new.name[..], follow)?;
        Ok(Answer::Value(0))
    }

    fn read_link(&mut self, asked: &Asked, link: (i32, u64), address: u64, size: i32) -> Reply {
        let size = usize::try_from(size).map_err(|_| Errno::INVAL)?;
        if size == 0 {
            return Err(Errno::INVAL.into());
        }
        let mut named = self.named(asked, link.0, link.1, false)?;
        // readlinkat(2) takes an empty path for a descriptor that was opened of a link.
        if named.path.is_empty() && asked.call == Call::Readlink {
            return Err(Errno::NOENT.into());
        }
        named.follow = false;
        let reached = self.reached(asked, &named)?;
        let text = match self.link_of_proc(self.service()?, asked.tid, &reached) {
            Some(text) => text,
            None => {
                let fd = reached.there()?;
                match rustix::fs::readlinkat(&fd, c"", Vec::new()) {
                    Ok(text) => text.into_bytes(),
                    Err(Errno::NOENT) => return Err(Errno::INVAL.into()),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let text = &text[..text.len().min(size)];
        self.tracees.write(asked.tid, address, text)?;
        Ok(Answer::Value(text.len() as i64))
    }

    fn try_access(&mut self, asked: &Asked, dir: i32, address: u64, mode: u32, flags: i32) -> Reply {
        if mode > 7 {
            return Err(Errno::INVAL.into());
        }
        let named = self.meant(asked, dir, address, flags)?;
        let reached = self.reached(asked, &named)?;
        let read_only = reached.read_only;
        let fd = reached.there()?;
        let node = self.node_of(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?)?;
        let who = self.who(asked).really();
        if mode & 2 != 0 && read_only {
            return Err(Errno::ROFS.into());
        }
        if node.stat.dev != self.device && !node.recorded {
            let through = State::through(&fd);
            let how = rustix::fs::Access::from_bits_retain(mode);
            rustix::fs::accessat(self.tracees.proc(), through.as_str(), how, AtFlags::empty())?;
            return Ok(Answer::Value(0));
        }
        match access::may(&who, &node, mode as u16) {
            true => Ok(Answer::Value(0)),
            false => Err(Errno::ACCESS.into()),
        }
    }

    /// Returns a directory that a thread may enter.
    fn enterable(&mut self, asked: &Asked) -> Result<OwnedFd, Answer> {
        let named = match asked.call {
            Call::Fchdir => Named { dir: asked.int(0), path: Vec::new(), follow: true },
            _ => self.meant(asked, libc::AT_FDCWD, asked.arguments[0], 0)?,
        };
        let fd = self.reached(asked, &named)?.there()?;
        let node = self.node_of(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?)?;
        if node.stat.kind != Kind::Directory {
            return Err(Errno::NOTDIR.into());
        }
        self.check(asked, &node, access::EXECUTE)?;
        Ok(fd)
    }

    fn change_directory(&mut self, asked: &Asked) -> Reply {
        let fd = self.enterable(asked)?;
        self.service()?.place(asked.tid)?.borrow_mut().directory = std::rc::Rc::new(fd);
        Ok(Answer::Value(0))
    }

    fn change_root(&mut self, asked: &Asked) -> Reply {
        let fd = self.enterable(asked)?;
        if !self.who(asked).can(SYS_CHROOT) {
            return Err(Errno::PERM.into());
        }
        self.service()?.place(asked.tid)?.borrow_mut().root = Some(std::rc::Rc::new(fd));
        Ok(Answer::Value(0))
    }

    fn working_directory(&mut self, asked: &Asked) -> Reply {
        let service = self.service()?;
        let place = service.place(asked.tid)?;
        let place = place.borrow();
        let path = self.path_in(service, &place.directory, place.root.as_deref());
        let mut path = path.ok_or(Errno::NOENT)?;
        path.push(0);
        if path.len() as u64 > asked.arguments[1] || path.len() > LONGEST {
            return Err(Errno::RANGE.into());
        }
        self.tracees.write(asked.tid, asked.arguments[0], &path)?;
        Ok(Answer::Value(path.len() as i64))
    }

    /// Answers utimensat(2) and its elders.
    fn set_times(&mut self, asked: &Asked) -> Reply {
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

    fn may_set_times(&self, asked: &Asked, node: &Node, times: &Timestamps) -> Result<(), Answer> {
        let who = self.who(asked);
        let now = |time: &Timespec| time.tv_nsec == UTIME_NOW || time.tv_nsec == UTIME_OMIT;
        if who.uid.file == node.uid || who.can(credentials::FOWNER) {
            return Ok(());
        }
        match now(&times.last_access) && now(&times.last_modification) {
            true => self.check(asked, node, access::WRITE),
            false => Err(Errno::PERM.into()),
        }
    }

    fn cut(&mut self, asked: &Asked) -> Reply {
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

    fn filesystem(&mut self, asked: &Asked) -> Reply {
        let named = self.meant(asked, libc::AT_FDCWD, asked.arguments[0], 0)?;
        let fd = self.reached(asked, &named)?.there()?;
        let bytes = sys::filesystem(&fd)?;
        self.tracees.write(asked.tid, asked.arguments[1], &bytes)?;
        Ok(Answer::Value(0))
    }

    /// Attributes that are on the disk.
    fn plain_xattr(&mut self, asked: &Asked) -> Reply {
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
        let fd = reached.there()?;
        let through = State::through(&fd);
        let node = self.node_of(fd)?;
        match asked.call {
            Getxattr | Lgetxattr | Fgetxattr | Getxattrat => {
                self.check(asked, &node, access::READ)?;
                let value = self.value(asked)?;
                let mut bytes = vec![0; 65_536];
                let length = rustix::fs::getxattr(through.as_str(), &name[..], &mut bytes[..])?;
                self.give(asked, value.address, value.size, &bytes[..length])
            }
            _ if read_only => Err(Errno::ROFS.into()),
            Setxattr | Lsetxattr | Fsetxattr | Setxattrat => {
                self.check(asked, &node, access::WRITE)?;
                let value = self.value(asked)?;
                if value.size > 65_536 {
                    return Err(Errno::TOOBIG.into());
                }
                let mut bytes = vec![0; value.size as usize];
                self.tracees.read(asked.tid, value.address, &mut bytes)?;
                let flags = rustix::fs::XattrFlags::from_bits_retain(value.flags as u32);
                rustix::fs::setxattr(through.as_str(), &name[..], &bytes, flags)?;
                Ok(Answer::Value(0))
            }
            _ => {
                self.check(asked, &node, access::WRITE)?;
                rustix::fs::removexattr(through.as_str(), &name[..])?;
                Ok(Answer::Value(0))
            }
        }
    }

    /// Answers chmod(2) of what is no part of the tree.
    fn plain_chmod(&mut self, asked: &Asked) -> Reply {
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

    /// Answers bind(2) and connect(2) of a socket with a path. By network the kernel does it.
    fn local_socket(&mut self, asked: &Asked) -> Reply {
        let length = (asked.arguments[2] as usize).min(110);
        let mut address = vec![0; length];
        self.tracees.read(asked.tid, asked.arguments[1], &mut address)?;
        let family = address.first_chunk::<2>().map(|family| u16::from_ne_bytes(*family));
        if family != Some(libc::AF_UNIX as u16) || length <= 2 || address[2] == 0 {
            return Ok(Answer::Continue);
        }
        let path: Vec<u8> = address[2..].iter().copied().take_while(|&c| c != 0).collect();
        // Without this call, which some containers refuse, there is no way to a socket of the step.
        let socket = self.tracees.descriptor(asked.tid, asked.int(0)).map_err(|_| Errno::ACCESS)?;
        let binds = asked.call == Call::Bind;
        let named = Named { dir: libc::AT_FDCWD, path, follow: !binds };
        let reached = self.reached(asked, &named)?;
        if !binds {
            let fd = reached.there()?;
            let node = self.node_of(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?)?;
            self.check(asked, &node, access::WRITE)?;
            let through = State::through(&fd);
            sys::connect(&socket, through.as_bytes())?;
            let who = self.who(asked);
            let (uid, gid) = (who.uid.effective, who.gid.effective);
            if let Some(service) = self.service.as_mut() {
                let process = service.threads.get(&asked.tid).map_or(asked.tid, |thread| thread.process);
                service.connected = Some((process, uid, gid));
            }
            return Ok(Answer::Value(0));
        }
        if reached.fd.is_some() {
            return Err(Errno::ADDRINUSE.into());
        }
        let Some((directory, name)) = reached.at else { return Err(Errno::ADDRINUSE.into()) };
        if reached.read_only {
            return Err(Errno::ROFS.into());
        }
        self.bind_at(asked, &socket, directory, name)
    }

    fn bind_at(&mut self, asked: &Asked, socket: &OwnedFd, directory: OwnedFd, name: Vec<u8>) -> Reply {
        let spot = Spot { directory: self.node_of(directory)?, name };
        let (birth, _) = self.birth(asked.tid, &spot.directory, Kind::Socket, 0o777)?;
        // A path of a socket is short; a name from within its directory is as short as can be.
        rustix::process::fchdir(&spot.directory.fd)?;
        let bound = sys::bind(socket.as_fd(), &spot.name);
        rustix::process::fchdir(self.tracees.proc())?;
        bound?;
        self.record(super::create::open(&spot)?, birth)?;
        Ok(Answer::Value(0))
    }

    /// Calls on processes: without a namespace of processes, those of the host are within reach, and must not be.
    fn signal(&mut self, asked: &Asked) -> Reply {
        let target = asked.int(0);
        let service = self.service()?;
        let known = |pid: i32| u32::try_from(pid).is_ok_and(|pid| service.threads.contains_key(&pid));
        match asked.call {
            Call::PidfdOpen if known(target) => Ok(Answer::Continue),
            Call::Prlimit if target == 0 || known(target) => Ok(Answer::Continue),
            Call::Kill if target == 0 || known(target) => Ok(Answer::Continue),
            Call::Kill if target < -1 && self.is_group(target.unsigned_abs()) => Ok(Answer::Continue),
            // Everything but itself and the first process.
            Call::Kill if target == -1 => {
                let own = service.threads.get(&asked.tid).map_or(asked.tid, |thread| thread.process);
                let all: Vec<u32> = service.threads.values().map(|thread| thread.process).collect();
                for pid in all.into_iter().filter(|&pid| pid != own) {
                    let _ = sys::kill(pid as i32, asked.int(1));
                }
                Ok(Answer::Value(0))
            }
            Call::Tkill | Call::Tgkill | Call::Sigqueue | Call::Tgsigqueue if known(target) => {
                Ok(Answer::Continue)
            }
            _ => Err(Errno::SRCH.into()),
        }
    }

    /// Returns whether a process group has only processes of the step: one of the step made it.
    fn is_group(&self, group: u32) -> bool {
        let Ok(service) = self.service() else { return false };
        service.threads.values().any(|thread| {
            let text = self.tracees.file(thread.process, "stat").unwrap_or_default();
            let rest = text.rsplit(')').next().unwrap_or_default();
            rest.split_whitespace().nth(2) == Some(group.to_string().as_str())
        })
    }
}

fn no_path(answer: Answer) -> Answer {
    match answer {
        Answer::Continue => Errno::NOENT.into(),
        other => other,
    }
}

/// Returns the few files of a process that it may write to.
fn may_write_proc(path: &[u8]) -> bool {
    let name = path.rsplit(|&c| c == b'/').next().unwrap_or_default();
    let of_process = path.strip_prefix(b"proc/").and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit);
    let descriptor = path.split(|&c| c == b'/').any(|part| part == b"fd");
    of_process
        && (descriptor || matches!(name, b"oom_score_adj" | b"comm" | b"loginuid" | b"coredump_filter"))
}
