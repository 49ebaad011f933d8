//! Making files: their owners, what they inherit, and what the disk cannot hold of them.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::node::Node;
use super::path::Named;
use super::{Answer, Asked, Handed, Reply, State, access, acl, xattr};
use crate::fs::Kind;
use crate::fs::root::split;
use crate::fs::stat::{Stat, stat_at, stat_fd};
use crate::sandbox::credentials;
use crate::sandbox::syscalls::Call;

/// How many symbolic links are followed at the end of a path (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

/// The place of a new file: its directory, open, and its name.
#[derive(Debug)]
pub struct Spot {
    /// The directory.
    pub directory: Node,
    /// The name in it.
    pub name: Vec<u8>,
}

/// A name that was given to a new file.
#[derive(Debug)]
pub struct Made {
    directory: OwnedFd,
    name: Vec<u8>,
    file: Stat,
}

impl Made {
    /// Takes the name away, if it still is that file's: the call that made it fails after all.
    pub fn undo(self) {
        let Made { directory, name, file } = self;
        let same = |stat: Stat| (stat.dev, stat.ino) == (file.dev, file.ino);
        let there =
            CString::new(name.clone()).map_err(io::Error::from).and_then(|name| stat_at(&directory, &name));
        if there.is_ok_and(same) {
            unmake(&directory, &name, file.kind);
        }
    }
}

/// Removes what was made a moment ago.
fn unmake(directory: &OwnedFd, name: &[u8], kind: Kind) {
    let flags = if kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    // The call fails as it is; there is no second error for it to give.
    let _ = rustix::fs::unlinkat(directory, name, flags);
}

/// Metadata that a new file gets from its maker and its directory.
#[derive(Debug)]
pub struct Birth {
    kind: Kind,
    mode: u16,
    uid: u32,
    gid: u32,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Flags, mode and path of an open(2).
pub struct Opening {
    /// The file.
    pub named: Named,
    /// Flags.
    pub flags: i32,
    /// The mode of a new file.
    pub mode: u32,
}

impl State {
    /// Returns whether a new file by this thread is what the kernel makes by itself: root's, inheriting nothing, with bits
    /// the disk holds.
    fn is_plain(&self, mode: u32, needed: u32) -> bool {
        self.service.is_none()
            && self.credentials.plain()
            && !self.inherits
            && mode & 0o7000 == 0
            && mode & needed == needed
    }

    /// Answers open(2), openat(2), openat2(2), creat(2).
    pub fn open(&mut self, asked: &Asked) -> Reply {
        let flags = match asked.call {
            Call::Openat2 => None,
            Call::Creat => Some(libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC),
            Call::Open => Some(asked.int(1)),
            _ => Some(asked.int(2)),
        };
        // With O_PATH or O_DIRECTORY, O_CREAT makes nothing.
        let creates = |flags: i32| match flags & libc::O_TMPFILE == libc::O_TMPFILE {
            true => flags & libc::O_PATH == 0,
            false => flags & (libc::O_CREAT | libc::O_PATH | libc::O_DIRECTORY) == libc::O_CREAT,
        };
        if let Some(flags) = flags {
            let mode = match asked.call {
                Call::Openat => asked.word(3),
                Call::Open => asked.word(2),
                _ => asked.word(1),
            };
            // Most calls end here, without a look at their path.
            let checked = self.credentials.plain() || access::wanted_by(flags) == 0;
            if checked && !self.capabilities && (!creates(flags) || self.is_plain(mode, 0o600)) {
                return Ok(Answer::Continue);
            }
        }
        let opening = self.opening(asked)?;
        let wanted = access::wanted_by(opening.flags);
        self.check_open(asked, &opening.named, wanted)?;
        if wanted & access::WRITE != 0 {
            self.forget_capabilities(asked, &opening.named)?;
        }
        if !creates(opening.flags) || self.is_plain(opening.mode, 0o600) {
            return Ok(Answer::Continue);
        }
        if opening.flags & libc::O_TMPFILE == libc::O_TMPFILE {
            return self.open_unnamed(asked, &opening);
        }
        self.open_new(asked, opening)
    }

    /// Reads flags, mode and path.
    pub fn opening(&mut self, asked: &Asked) -> Result<Opening, Answer> {
        let (dir, path, flags, mode) = match asked.call {
            Call::Openat2 => {
                // struct open_how: flags, mode, resolve.
                let mut how = [0; 24];
                self.tracees.read(asked.tid, asked.arguments[2], &mut how)?;
                let word = |at: usize| u64::from_ne_bytes(how[at..at + 8].try_into().expect("8 bytes"));
                // What limits the resolution is left to the kernel; a file made under it has the default owner.
                if word(16) != 0 {
                    // Where the kernel cannot be left to it, programs fall back on other calls.
                    return Err(if self.service.is_some() { Errno::NOSYS.into() } else { Answer::Continue });
                }
                (asked.int(0), asked.arguments[1], word(0) as i32, word(8) as u32)
            }
            Call::Openat => (asked.int(0), asked.arguments[1], asked.int(2), asked.word(3)),
            Call::Open => (libc::AT_FDCWD, asked.arguments[0], asked.int(1), asked.word(2)),
            _ => {
                let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
                (libc::AT_FDCWD, asked.arguments[0], flags, asked.word(1))
            }
        };
        let follow = flags & libc::O_NOFOLLOW == 0
            && flags & (libc::O_CREAT | libc::O_EXCL) != libc::O_CREAT | libc::O_EXCL;
        let named = self.named(asked, dir, path, follow)?;
        if named.path.is_empty() { Err(Answer::Continue) } else { Ok(Opening { named, flags, mode }) }
    }

    /// Takes capabilities from a file that is opened to write, root's too, as a write does. The write itself cannot be seen; that the
    /// file is opened for it can.
    pub fn forget_capabilities(&mut self, asked: &Asked, named: &Named) -> Result<(), Answer> {
        if !self.capabilities {
            return Ok(());
        }
        let Ok(fd) = self.open_path(asked.tid, named) else { return Ok(()) };
        let mut node = self.node_of(fd)?;
        if node.xattr(xattr::CAPABILITY).is_some() && node.kind == Kind::File {
            node.set_xattr(xattr::CAPABILITY, None);
            self.save(&node)?;
        }
        Ok(())
    }

    /// Makes the file and opens it, if it is not there; else the kernel opens it, or says that it is there.
    fn open_new(&mut self, asked: &Asked, opening: Opening) -> Reply {
        if let Some(service) = &self.service {
            let reached = self.reach(service, asked.tid, &opening.named)?;
            if reached.fd.is_some() {
                let exclusive = opening.flags & libc::O_EXCL != 0;
                return if exclusive { Err(Errno::EXIST.into()) } else { Ok(Answer::Continue) };
            }
        }
        let spot = self.spot(asked.tid, opening.named)?;
        let (birth, disk) = self.birth(asked.tid, &spot.directory, Kind::File, opening.mode)?;
        let keep = libc::O_ACCMODE
            | libc::O_APPEND
            | libc::O_DIRECT
            | libc::O_LARGEFILE
            | libc::O_NOATIME
            | libc::O_NONBLOCK
            | libc::O_SYNC;
        let flags =
            libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC | (opening.flags & keep);
        let flags = OFlags::from_bits_retain(flags as u32);
        let fd = match rustix::fs::openat(&spot.directory.fd, &spot.name[..], flags, disk) {
            Ok(fd) => fd,
            Err(Errno::EXIST) => return Ok(Answer::Continue),
            Err(error) => return Err(error.into()),
        };
        let again = rustix::io::fcntl_dupfd_cloexec(&fd, 0).map_err(io::Error::from);
        let file = self.keep(&spot, birth, again)?;
        let Spot { directory, name } = spot;
        let made = Some(Box::new(Made { directory: directory.fd, name, file }));
        Ok(Answer::Descriptor(Handed { made, ..Handed::new(fd, opening.flags) }))
    }

    /// Makes a file without a name.
    fn open_unnamed(&mut self, asked: &Asked, opening: &Opening) -> Reply {
        let directory = self.node(asked.tid, &opening.named)?;
        if self.service.as_ref().is_some_and(|service| self.is_read_only(service, &directory.fd)) {
            return Err(Errno::ROFS.into());
        }
        let (birth, disk) = self.birth(asked.tid, &directory, Kind::File, opening.mode)?;
        let flags = OFlags::from_bits_retain((opening.flags | libc::O_CLOEXEC) as u32);
        let fd = rustix::fs::openat(&directory.fd, c".", flags, disk)?;
        self.record(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?, birth)?;
        Ok(Answer::Descriptor(Handed::new(fd, opening.flags)))
    }

    /// Answers mkdir(2).
    pub fn mkdir(&mut self, asked: &Asked) -> Reply {
        let (dir, path, mode) = match asked.call {
            Call::Mkdir => (libc::AT_FDCWD, asked.arguments[0], asked.word(1)),
            _ => (asked.int(0), asked.arguments[1], asked.word(2)),
        };
        if self.is_plain(mode, 0o700) {
            return Ok(Answer::Continue);
        }
        let mut named = self.named(asked, dir, path, false)?;
        while named.path.len() > 1 && named.path.ends_with(b"/") {
            named.path.pop();
        }
        let spot = self.spot(asked.tid, named)?;
        let (birth, disk) = self.birth(asked.tid, &spot.directory, Kind::Directory, mode & 0o1777)?;
        rustix::fs::mkdirat(&spot.directory.fd, &spot.name[..], disk)?;
        self.made(&spot, birth)
    }

    /// Answers symlink(2).
    pub fn symlink(&mut self, asked: &Asked) -> Reply {
        if self.is_plain(0, 0) {
            return Ok(Answer::Continue);
        }
        let (dir, path) = match asked.call {
            Call::Symlink => (libc::AT_FDCWD, asked.arguments[1]),
            _ => (asked.int(1), asked.arguments[2]),
        };
        let target = self.tracees.read_path(asked.tid, asked.arguments[0])?;
        let named = self.named(asked, dir, path, false)?;
        let spot = self.spot(asked.tid, named)?;
        let (birth, _) = self.birth(asked.tid, &spot.directory, Kind::Symlink, 0o777)?;
        if target.is_empty() {
            return Err(Errno::NOENT.into());
        }
        rustix::fs::symlinkat(&target[..], &spot.directory.fd, &spot.name[..])?;
        self.made(&spot, birth)
    }

    /// Answers mknod(2) of what needs no privilege. The caller made sure that the type is one of these.
    pub fn make_plain(&mut self, asked: &Asked, named: Named, mode: u32, kind: Kind) -> Reply {
        if self.is_plain(mode & 0o7777, 0o600) {
            return Ok(Answer::Continue);
        }
        let spot = self.spot(asked.tid, named)?;
        let (birth, disk) = self.birth(asked.tid, &spot.directory, kind, mode & 0o7777)?;
        let kind = rustix::fs::FileType::from_raw_mode(kind.to_mode());
        rustix::fs::mknodat(&spot.directory.fd, &spot.name[..], kind, disk, 0)?;
        self.made(&spot, birth)
    }

    /// Answers mknod(2) of a device: an empty file stands for it.
    pub fn make_device(
        &mut self,
        asked: &Asked,
        named: Named,
        mode: u32,
        kind: Kind,
        rdev: (u32, u32),
    ) -> Reply {
        let spot = self.spot(asked.tid, named)?;
        let (birth, disk) = self.birth(asked.tid, &spot.directory, kind, mode & 0o7777)?;
        if self.on_disk && spot.directory.stat.dev == self.device {
            let kind = rustix::fs::FileType::from_raw_mode(kind.to_mode());
            let device = rustix::fs::makedev(rdev.0, rdev.1);
            rustix::fs::mknodat(&spot.directory.fd, &spot.name[..], kind, disk, device)?;
            return self.made(&spot, birth);
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&spot.directory.fd, &spot.name[..], flags, disk)?;
        let saved = self.node_of(fd).and_then(|mut node| {
            (node.kind, node.rdev) = (kind, rdev);
            born(&mut node, birth);
            self.save(&node)
        });
        match saved {
            Ok(()) => Ok(Answer::Value(0)),
            Err(error) => {
                unmake(&spot.directory.fd, &spot.name, Kind::File);
                Err(error.into())
            }
        }
    }

    /// Finds where a new file goes. A symbolic link that leads to nothing is followed to where the file will be.
    pub fn spot(&self, tid: u32, mut named: Named) -> Result<Spot, Answer> {
        if let Some(service) = &self.service {
            if named.path.is_empty() {
                return Err(Errno::NOENT.into());
            }
            let reached = self.reach(service, tid, &named)?;
            let in_proc = reached.path.as_ref().is_some_and(|path| path.starts_with(b"proc/"));
            return match reached.at {
                Some(_) if reached.mounted => Err(Errno::EXIST.into()),
                Some(_) if reached.read_only => Err(Errno::ROFS.into()),
                Some(_) if in_proc => Err(Errno::ACCESS.into()),
                Some((directory, name)) => Ok(Spot { directory: self.node_of(directory)?, name }),
                None => Err(Errno::EXIST.into()),
            };
        }
        for _ in 0..MOST_LINKS {
            let (parent, name) = split(&named.path);
            if matches!(name, b"" | b"." | b"..") {
                return Err(Answer::Continue);
            }
            let absolute = named.path.first() == Some(&b'/');
            let parent = match (parent.is_empty(), absolute) {
                (true, true) => b"/".to_vec(),
                _ => parent.to_vec(),
            };
            let directory = self.node(tid, &Named { dir: named.dir, path: parent.clone(), follow: true })?;
            let name = name.to_vec();
            let link = match named.follow {
                true => rustix::fs::readlinkat(&directory.fd, &name[..], Vec::new()).ok(),
                false => None,
            };
            let Some(target) = link else { return Ok(Spot { directory, name }) };
            // What a link of /proc leads to may have no name, as what /dev/stdout stands for: the kernel follows it.
            if rustix::fs::fstatfs(&directory.fd).is_ok_and(|it| it.f_type == rustix::fs::PROC_SUPER_MAGIC) {
                return Err(Answer::Continue);
            }
            let target = target.into_bytes();
            named.path = match (target.first(), parent.is_empty()) {
                (Some(b'/'), _) | (_, true) => target,
                _ => [&parent[..], b"/", &target].concat(),
            };
        }
        Err(Errno::LOOP.into())
    }

    /// Returns the metadata of a new file, and the mode it is made with on the disk.
    pub(super) fn birth(
        &self,
        tid: u32,
        directory: &Node,
        kind: Kind,
        mode: u32,
    ) -> Result<(Birth, Mode), Answer> {
        let who = self.credentials.of(&self.tracees, tid);
        if directory.stat.dev == self.device && !access::may(who, directory, access::WRITE | access::EXECUTE)
        {
            return Err(Errno::ACCESS.into());
        }
        let setgid = directory.mode & 0o2000 != 0;
        let gid = if setgid { directory.gid } else { who.gid.file };
        let mut birth = Birth { kind, mode: mode as u16, uid: who.uid.file, gid, xattrs: Vec::new() };
        match directory.xattr(acl::DEFAULT).filter(|_| kind != Kind::Symlink) {
            Some(default) => {
                if let Ok(Some(list)) = acl::Acl::read(default) {
                    let list = list.inherited(birth.mode);
                    birth.mode = birth.mode & !0o777 | list.mode();
                    if !list.is_mode() {
                        birth.xattrs.push((acl::ACCESS.to_vec(), list.write()));
                    }
                }
                if kind == Kind::Directory {
                    birth.xattrs.push((acl::DEFAULT.to_vec(), default.to_vec()));
                }
            }
            None if kind != Kind::Symlink => birth.mode &= !(self.tracees.umask(tid)? as u16),
            None => {}
        }
        if setgid && kind == Kind::Directory {
            birth.mode |= 0o2000;
        }
        // A file with the setgid bit of a group its maker is not in would be a way to that group.
        if kind == Kind::File
            && birth.mode & 0o2010 == 0o2010
            && !who.in_group(gid)
            && !who.can(credentials::FSETID)
        {
            birth.mode &= !0o2000;
        }
        let disk = match kind {
            Kind::Directory => birth.mode & 0o1777 | 0o700,
            _ => birth.mode & 0o777 | 0o600,
        };
        Ok((birth, Mode::from_raw_mode(disk.into())))
    }

    /// Ends a call that made a file: writes down what that is.
    pub(super) fn made(&mut self, spot: &Spot, birth: Birth) -> Reply {
        self.keep(spot, birth, open(spot))?;
        Ok(Answer::Value(0))
    }

    /// Writes down what a new file is, or removes it.
    fn keep(&mut self, spot: &Spot, birth: Birth, fd: io::Result<OwnedFd>) -> io::Result<Stat> {
        let kind = birth.kind;
        let kept = fd.and_then(|fd| {
            let stat = stat_fd(&fd)?;
            self.record(fd, birth)?;
            Ok(stat)
        });
        if kept.is_err() {
            unmake(&spot.directory.fd, &spot.name, kind);
        }
        kept
    }

    /// Writes down what a new file is.
    pub(super) fn record(&mut self, fd: OwnedFd, birth: Birth) -> io::Result<()> {
        let mut node = self.node_of(fd)?;
        born(&mut node, birth);
        self.save(&node)
    }
}

/// Gives a new file what it has by birth; nothing of an earlier life of its inode.
fn born(node: &mut Node, birth: Birth) {
    (node.mode, node.uid, node.gid) = (birth.mode, birth.uid, birth.gid);
    node.xattrs = birth.xattrs;
}

/// Opens what is there, as a path.
pub fn open(spot: &Spot) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&spot.directory.fd, &spot.name[..], flags, Mode::empty())?)
}
