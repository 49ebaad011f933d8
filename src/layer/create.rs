//! Putting one entry on disk with all its metadata, and recording what the disk does not take.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use rustix::io::retry_on_intr;
use rustix::process::{Gid, Uid};

use crate::fs::generation::generation;
use crate::fs::root::c_name;
use crate::fs::stat::{stat_at, stat_fd};
use crate::fs::{Kind, Stat, Timestamp, capabilities, chmod, xattr};
use crate::tree::scan::kept_xattr;
use crate::tree::{Meta, OwnerXattr, Xattrs, ledger};

/// The privileges of the process, read once, and the attribute that owners are written into besides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Privileges {
    uid: u32,
    gid: u32,
    owns_all: bool,
    owner_xattr: Option<OwnerXattr>,
}

impl Privileges {
    pub fn of_process(owner_xattr: Option<OwnerXattr>) -> Privileges {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let owns_all = capabilities::owns_all();
        Privileges { uid: uid.as_raw(), gid: gid.as_raw(), owns_all, owner_xattr }
    }

    /// Returns whether owners, devices and all attributes are tried on disk. Without root they go into the ledger unseen: a
    /// half-privileged disk (setuid to the wrong user) would be worse than a plain one. Root without the capabilities for it,
    /// as in a container that drops them, is no root here.
    pub fn root(&self) -> bool {
        self.owns_all
    }

    /// Returns the permissions an entry gets on disk. Without root the owner is always able to read and enter, so that the
    /// tree can be scanned and removed again, and nothing is setuid to the user of the unpack.
    fn disk_mode(&self, meta: &Meta) -> u16 {
        match (self.root(), meta.kind) {
            (_, Kind::Symlink) => 0o777,
            (true, _) => meta.mode,
            (false, Kind::Directory) => meta.mode & 0o1777 | 0o700,
            (false, _) => meta.mode & 0o777 | 0o600,
        }
    }
}

/// The result for one entry.
#[derive(Debug)]
pub(crate) struct Made {
    pub stat: Stat,
    /// The record of what the disk did not take, with an empty path: the caller has it.
    pub ledger: Option<ledger::Record>,
    /// Attributes that were not kept at all, with the reason.
    pub lost: Vec<(Vec<u8>, &'static str)>,
}

/// The entry to make.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub meta: Meta,
    pub target: Vec<u8>,
    pub xattrs: Vec<u8>,
}

/// Creates a regular file for writing. It must not exist.
pub(crate) fn create_file(
    dir: impl AsFd,
    name: &CStr,
    wanted: &Wanted,
    rights: Privileges,
) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // No setuid bit before the owner is right.
    let mode = (rights.disk_mode(&wanted.meta) & 0o777) as u32;
    Ok(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?)
}

/// Gives a written file its metadata.
pub(crate) fn finish_file(
    dir: BorrowedFd<'_>,
    name: &CStr,
    fd: &OwnedFd,
    wanted: &Wanted,
    rights: Privileges,
) -> io::Result<Made> {
    let mut work = Work::new(Place::Open(fd), dir, name, wanted, rights);
    // Owner and mode a new file normally gets; the final stat verifies it (umask, setgid directories).
    work.assume = Some((rights.uid, rights.gid, rights.disk_mode(&wanted.meta) & 0o777));
    work.run()
}

/// Makes a symbolic link, device or fifo.
pub(crate) fn make_special(
    dir: BorrowedFd<'_>,
    name: &CStr,
    wanted: &Wanted,
    rights: Privileges,
) -> io::Result<Made> {
    let meta = &wanted.meta;
    let mode = Mode::from_raw_mode((rights.disk_mode(meta) & 0o777) as u32);
    match meta.kind {
        Kind::Symlink => rustix::fs::symlinkat(&c_name(&wanted.target)?, dir, name)?,
        Kind::Fifo => rustix::fs::mknodat(dir, name, FileType::Fifo, mode, 0)?,
        Kind::CharDevice | Kind::BlockDevice => {
            let kind =
                if meta.kind == Kind::CharDevice { FileType::CharacterDevice } else { FileType::BlockDevice };
            // A 0:0 character device is a deletion to overlayfs, should the tree ever be a layer of one: as data, which it
            // is in an image, it is written down and not made.
            let deletes = meta.kind == Kind::CharDevice && meta.rdev == (0, 0);
            let made = match rights.root() && !deletes {
                true => {
                    rustix::fs::mknodat(dir, name, kind, mode, rustix::fs::makedev(meta.rdev.0, meta.rdev.1))
                }
                false => Err(rustix::io::Errno::PERM),
            };
            match made {
                Ok(()) => {}
                // An empty file stands for the device; the ledger says what it is.
                Err(rustix::io::Errno::PERM) => {
                    let fd = create_file(dir, name, wanted, rights)?;
                    return finish_file(dir, name, &fd, wanted, rights);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Kind::File | Kind::Directory | Kind::Socket => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Work::new(Place::Named, dir, name, wanted, rights).run()
}

/// Gives a directory or file that was there its final metadata: owner, permissions, attributes (those it has and should not
/// are removed), time.
pub(crate) fn finish_existing(
    dir: BorrowedFd<'_>,
    name: &CStr,
    fd: &OwnedFd,
    wanted: &Wanted,
    rights: Privileges,
) -> io::Result<Made> {
    let mut list = Vec::new();
    xattr::list_at(dir, name, &mut list)?;
    let keep = Xattrs::checked(&wanted.xattrs).unwrap_or_default();
    for attribute in list.split(|&c| c == 0).filter(|a| !a.is_empty() && kept_xattr(a)) {
        // An owner that a tool wrote here was the old one's.
        if keep.get(attribute).is_none() || OwnerXattr::is_name(attribute) {
            xattr::remove_at(dir, name, &c_name(attribute)?)?;
        }
    }
    Work::new(Place::Open(fd), dir, name, wanted, rights).run()
}

enum Place<'a> {
    Open(&'a OwnedFd),
    Named,
}

struct Work<'a> {
    place: Place<'a>,
    dir: BorrowedFd<'a>,
    name: &'a CStr,
    wanted: &'a Wanted,
    rights: Privileges,
    /// Owner and permissions the entry is taken to have already.
    assume: Option<(u32, u32, u16)>,
    record: ledger::Record,
    recorded: bool,
    lost: Vec<(Vec<u8>, &'static str)>,
}

impl<'a> Work<'a> {
    fn new(
        place: Place<'a>,
        dir: BorrowedFd<'a>,
        name: &'a CStr,
        wanted: &'a Wanted,
        rights: Privileges,
    ) -> Self {
        let meta = &wanted.meta;
        let record = ledger::Record {
            path: Vec::new(),
            dev: 0,
            ino: 0,
            generation: 0,
            disk_mode: rights.disk_mode(meta),
            kind: meta.kind,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            rdev: meta.rdev,
            xattrs: Vec::new(),
        };
        Work { place, dir, name, wanted, rights, assume: None, record, recorded: false, lost: Vec::new() }
    }

    fn run(mut self) -> io::Result<Made> {
        let meta = self.wanted.meta;
        let (uid, gid, had) = match self.assume {
            Some(assumed) => assumed,
            None => {
                let stat = self.stat()?;
                (stat.uid, stat.gid, stat.mode)
            }
        };
        let mut owner_on_disk = true;
        if self.rights.root() {
            if (uid, gid) != (meta.uid, meta.gid) {
                owner_on_disk = self.chown(meta.uid, meta.gid)?;
            }
        } else {
            // Without root everything on disk is the caller's and stands for 0:0; other owners are written down.
            owner_on_disk = (meta.uid, meta.gid) == (0, 0);
        }
        // Setuid to the owner on disk instead would be worse than not setuid at all.
        let full = self.rights.disk_mode(&meta);
        let safe = |owner_on_disk: bool| if owner_on_disk { full } else { full & 0o1777 };
        let mut mode = safe(owner_on_disk);
        if had != mode && meta.kind != Kind::Symlink {
            self.chmod(mode)?;
        }
        self.set_xattrs()?;
        self.write_owner(owner_on_disk)?;
        self.set_mtime(meta.mtime)?;
        let mut stat = self.stat()?;
        // A umask, a setgid directory or a default ACL may have changed them: they are set again.
        let wrong_owner = self.rights.root() && owner_on_disk && (stat.uid, stat.gid) != (meta.uid, meta.gid);
        if wrong_owner {
            owner_on_disk = self.chown(meta.uid, meta.gid)?;
            mode = safe(owner_on_disk);
        }
        if (stat.mode != mode || wrong_owner) && meta.kind != Kind::Symlink {
            self.chmod(mode)?;
        }
        if wrong_owner {
            // A change of owner takes capabilities away.
            self.lost.retain(|(name, _)| name == b"mtime");
            self.set_xattrs()?;
            self.write_owner(owner_on_disk)?;
        }
        if wrong_owner || stat.mode != mode {
            stat = self.stat()?;
        }
        if stat.mtime != meta.mtime {
            self.lost.push((b"mtime".to_vec(), "the filesystem cannot hold this time stamp"));
        }
        let kind_differs = stat.kind != meta.kind;
        let mode_differs = meta.kind != Kind::Symlink && stat.mode != meta.mode;
        let mut ledger = None;
        if !owner_on_disk || kind_differs || mode_differs || self.recorded {
            self.record.disk_mode = stat.mode;
            (self.record.dev, self.record.ino) = (stat.dev, stat.ino);
            self.record.generation = generation(self.dir, self.name, &stat)?;
            ledger = Some(self.record);
        }
        Ok(Made { stat, ledger, lost: self.lost })
    }

    fn stat(&self) -> io::Result<Stat> {
        match self.place {
            Place::Open(fd) => stat_fd(fd),
            Place::Named => stat_at(self.dir, self.name),
        }
    }

    /// Returns whether the disk took the owner. A user namespace without that id, or a filesystem without owners, does not.
    fn chown(&self, uid: u32, gid: u32) -> io::Result<bool> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let done = match self.place {
            Place::Open(fd) => retry_on_intr(|| rustix::fs::fchown(fd, uid, gid)),
            Place::Named => retry_on_intr(|| {
                rustix::fs::chownat(self.dir, self.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }),
        };
        match done {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn chmod(&self, mode: u16) -> io::Result<()> {
        match self.place {
            Place::Open(fd) => {
                Ok(retry_on_intr(|| rustix::fs::fchmod(fd, Mode::from_raw_mode(mode as u32)))?)
            }
            Place::Named => chmod::chmod_at(self.dir, self.name, mode as u32),
        }
    }

    fn set_xattrs(&mut self) -> io::Result<()> {
        if self.wanted.xattrs.is_empty() {
            return Ok(());
        }
        let kind = self.wanted.meta.kind;
        let mut refused: Vec<(&[u8], &[u8])> = Vec::new();
        for (name, value) in Xattrs::checked(&self.wanted.xattrs).unwrap_or_default() {
            if !kept_xattr(name) {
                self.lost.push((name.to_vec(), "belongs to a mount or a machine, not to an image"));
                continue;
            }
            let on_disk = matches!(kind, Kind::File | Kind::Directory) && name.starts_with(b"user.");
            // An owner read from the disk must not be one that an image made up.
            if OwnerXattr::is_name(name) || (!self.rights.root() && !on_disk) {
                refused.push((name, value));
                continue;
            }
            match self.set_xattr(name, value) {
                Ok(()) => {}
                // The ledger holds it.
                Err(error) if xattr::is_refusal(&error) => refused.push((name, value)),
                Err(error) => return Err(error),
            }
        }
        if !refused.is_empty() {
            self.record.xattrs = Xattrs::pack(&refused);
            self.recorded = true;
        }
        Ok(())
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let name = c_name(name)?;
        match self.place {
            Place::Open(fd) => {
                Ok(retry_on_intr(|| rustix::fs::fsetxattr(fd, name.as_c_str(), value, XattrFlags::empty()))?)
            }
            Place::Named => xattr::set_at(self.dir, self.name, &name, value),
        }
    }

    /// Records the owner for other tools, too, where that was asked for. A link, pipe or device carries no attribute of
    /// users; with the owner on disk that is no loss.
    fn write_owner(&mut self, owner_on_disk: bool) -> io::Result<()> {
        let Some(attribute) = self.rights.owner_xattr else { return Ok(()) };
        let Some(value) = attribute.value(&self.wanted.meta) else { return Ok(()) };
        match self.set_xattr(attribute.name(), &value) {
            Err(error) if !xattr::is_refusal(&error) => Err(error),
            Err(_) if !owner_on_disk || matches!(self.place, Place::Open(_)) => {
                self.lost.push((attribute.name().to_vec(), "the disk takes no such attribute here"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn set_mtime(&self, mtime: Timestamp) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
            last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos as _ },
        };
        match self.place {
            Place::Open(fd) => Ok(retry_on_intr(|| rustix::fs::futimens(fd, &times))?),
            Place::Named => {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                Ok(retry_on_intr(|| rustix::fs::utimensat(self.dir, self.name, &times, flags))?)
            }
        }
    }
}
