//! Metadata of one file, as `statx(2)` gives it.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use rustix::io::retry_on_intr;

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A regular file.
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A character device.
    CharDevice = 4,
    /// A block device.
    BlockDevice = 5,
    /// A named pipe.
    Fifo = 6,
    /// A socket: never part of a layer.
    Socket = 7,
}

impl Kind {
    /// Returns the kind with this number.
    pub fn from_u8(n: u8) -> Option<Kind> {
        Some(match n {
            1 => Kind::File,
            2 => Kind::Directory,
            3 => Kind::Symlink,
            4 => Kind::CharDevice,
            5 => Kind::BlockDevice,
            6 => Kind::Fifo,
            7 => Kind::Socket,
            _ => return None,
        })
    }

    /// Returns the kind in the type bits of `st_mode`.
    pub fn from_mode(mode: u32) -> Option<Kind> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFCHR => Kind::CharDevice,
            libc::S_IFBLK => Kind::BlockDevice,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFSOCK => Kind::Socket,
            _ => return None,
        })
    }

    /// Returns the type bits of `st_mode` for this kind.
    pub fn to_mode(self) -> u32 {
        match self {
            Kind::File => libc::S_IFREG,
            Kind::Directory => libc::S_IFDIR,
            Kind::Symlink => libc::S_IFLNK,
            Kind::CharDevice => libc::S_IFCHR,
            Kind::BlockDevice => libc::S_IFBLK,
            Kind::Fifo => libc::S_IFIFO,
            Kind::Socket => libc::S_IFSOCK,
        }
    }

    /// Returns the name of this kind in plain words.
    pub fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symlink",
            Kind::CharDevice => "character device",
            Kind::BlockDevice => "block device",
            Kind::Fifo => "fifo",
            Kind::Socket => "socket",
        }
    }
}

/// A moment on a filesystem's clock: seconds since 1970 and nanoseconds below one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC, negative before.
    pub secs: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

impl Timestamp {
    /// Returns a timestamp from seconds and nanoseconds.
    pub fn new(secs: i64, nanos: u32) -> Self {
        Timestamp { secs, nanos }
    }

    /// Returns the moment that is `nanos` nanoseconds before, which are less than a second.
    pub fn minus_nanos(self, nanos: u32) -> Self {
        if self.nanos >= nanos {
            Timestamp { secs: self.secs, nanos: self.nanos - nanos }
        } else {
            Timestamp { secs: self.secs - 1, nanos: self.nanos + 1_000_000_000 - nanos }
        }
    }

    /// Returns the moment that is `nanos` nanoseconds later, which are less than a second.
    pub fn plus_nanos(self, nanos: u32) -> Self {
        let sum = self.nanos + nanos;
        Timestamp { secs: self.secs + i64::from(sum / 1_000_000_000), nanos: sum % 1_000_000_000 }
    }
}

/// The metadata of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The kind of the file.
    pub kind: Kind,
    /// Permission bits, setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// 512-byte blocks in use: fewer than the size suggests in a sparse file.
    pub blocks: u64,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of anything; not settable from user space.
    pub ctime: Timestamp,
    /// Birth, where the filesystem records it.
    pub btime: Option<Timestamp>,
    /// The device the file is on.
    pub dev: u64,
    /// Its inode number there.
    pub ino: u64,
    /// The number of its names.
    pub nlink: u32,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Whether something is mounted here. `None` where the kernel does not say (before 5.8, or without statx).
    pub mounted: Option<bool>,
}

/// Returns the metadata of `name` in `dir`, never following a symbolic link.
pub fn stat_at(dir: impl AsFd, name: &CStr) -> io::Result<Stat> {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Returns the metadata of an open file.
pub fn stat_fd(fd: impl AsFd) -> io::Result<Stat> {
    statx(fd, c"", AtFlags::EMPTY_PATH)
}

/// Returns the kind of the entry at a path of the host; `follow` names the target of a link. `None` where nothing is there.
pub fn kind_at(path: &Path, follow: bool) -> Option<Kind> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = retry_on_intr(|| rustix::fs::statat(rustix::fs::CWD, path, flags)).ok()?;
    Kind::from_mode(stat.st_mode)
}

/// Returns whether something is mounted on an open directory; `false` also where the kernel does not say (before 5.8, or without
/// statx).
pub fn is_mount_point(fd: impl AsFd) -> io::Result<bool> {
    match retry_on_intr(|| rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())) {
        Ok(x) => Ok(x.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn statx(dir: impl AsFd, name: &CStr, flags: AtFlags) -> io::Result<Stat> {
    let dir = dir.as_fd();
    let mask = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);
    let x = match retry_on_intr(|| rustix::fs::statx(dir, name, flags | AtFlags::NO_AUTOMOUNT, mask)) {
        Ok(x) => x,
        // Some sandboxes refuse statx; the older call has everything but the birth time.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => return fstatat(dir, name, flags),
        Err(error) => return Err(error.into()),
    };
    let time = |t: &rustix::fs::StatxTimestamp| Timestamp::new(t.tv_sec, t.tv_nsec);
    Ok(Stat {
        kind: Kind::from_mode(x.stx_mode as u32).ok_or(io::ErrorKind::InvalidData)?,
        mode: x.stx_mode & 0o7777,
        uid: x.stx_uid,
        gid: x.stx_gid,
        size: x.stx_size,
        blocks: x.stx_blocks,
        mtime: time(&x.stx_mtime),
        ctime: time(&x.stx_ctime),
        btime: (x.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(&x.stx_btime)),
        dev: rustix::fs::makedev(x.stx_dev_major, x.stx_dev_minor),
        ino: x.stx_ino,
        nlink: x.stx_nlink,
        rdev: (x.stx_rdev_major, x.stx_rdev_minor),
        mounted: x
            .stx_attributes_mask
            .contains(StatxAttributes::MOUNT_ROOT)
            .then(|| x.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
    })
}

fn fstatat(dir: impl AsFd, name: &CStr, flags: AtFlags) -> io::Result<Stat> {
    let s = retry_on_intr(|| rustix::fs::statat(&dir, name, flags))?;
    Ok(Stat {
        kind: Kind::from_mode(s.st_mode).ok_or(io::ErrorKind::InvalidData)?,
        mode: (s.st_mode & 0o7777) as u16,
        uid: s.st_uid,
        gid: s.st_gid,
        size: s.st_size as u64,
        blocks: s.st_blocks as u64,
        mtime: Timestamp::new(s.st_mtime as i64, s.st_mtime_nsec as u32),
        ctime: Timestamp::new(s.st_ctime as i64, s.st_ctime_nsec as u32),
        btime: None,
        dev: s.st_dev as u64,
        ino: s.st_ino as u64,
        nlink: s.st_nlink as u32,
        rdev: (rustix::fs::major(s.st_rdev as _), rustix::fs::minor(s.st_rdev as _)),
        mounted: None,
    })
}
