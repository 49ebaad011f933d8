//! Calls with paths, made by the supervisor: for steps with a root that the kernel does not have. The emulated owners and
//! modes have been taken care of when a call comes here; what is left is to do what the kernel would have done, on what the
//! path means to the step.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::create::Spot;
use super::made_up::may_write_proc;
use super::path::Named;
use super::service::Service;
use super::walk::{HIDDEN, Reached};
use super::{Answer, Asked, Handed, Reply, State, access};
use crate::fs::Kind;
use crate::sandbox::credentials::Credentials;
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

    pub(super) fn reached(&self, asked: &Asked, named: &Named) -> Result<Reached, Answer> {
        Ok(self.reach(self.service()?, asked.tid, named)?)
    }

    pub(super) fn caller(&self, asked: &Asked) -> &Credentials {
        self.credentials.of(&self.tracees, asked.tid)
    }

    /// Returns what a call names, with its errors: an empty path is none.
    pub(super) fn meant(
        &mut self,
        asked: &Asked,
        dir: i32,
        address: u64,
        flags: i32,
    ) -> Result<Named, Answer> {
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
            Uname => self.machine(asked),
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
        if let Some(text) = self.made_up(&reached)? {
            return Ok(Answer::Descriptor(Handed::new(sys::memory_file(&text)?, flags)));
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
            return Ok(Answer::Descriptor(Handed::new(as_path, flags)));
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
                close_on_exec: flags & libc::O_CLOEXEC != 0,
            })));
        }
        let opened =
            rustix::fs::openat(proc, through.as_str(), OFlags::from_bits_retain(open as u32), Mode::empty())?;
        Ok(Answer::Descriptor(Handed::new(opened, flags)))
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
        let caller = self.caller(asked).really();
        if mode & 2 != 0 && read_only {
            return Err(Errno::ROFS.into());
        }
        if node.stat.dev != self.device && !node.recorded {
            let through = State::through(&fd);
            let how = rustix::fs::Access::from_bits_retain(mode);
            rustix::fs::accessat(self.tracees.proc(), through.as_str(), how, AtFlags::empty())?;
            return Ok(Answer::Value(0));
        }
        match access::may(&caller, &node, mode as u16) {
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
        if !self.caller(asked).can(SYS_CHROOT) {
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
}
