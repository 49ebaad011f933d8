//! Finding the file that a call means. The supervisor has the root and the mounts of the step, so the kernel resolves paths for it as for the
//! caller; only what depends on the caller (its working directory, its descriptors, `/proc/self`) goes through its entry in /proc.
//!
//! A path is read once and resolved once, to a descriptor, and what follows works on that. Where the resolution fails, the kernel makes the
//! call and finds the right error.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

use super::{Answer, Asked, State};
use crate::fs::within::open_within;
use crate::sandbox::syscalls::Call;

/// A file that a call names.
#[derive(Debug)]
pub struct Named {
    /// The descriptor it is relative to, AT_FDCWD too.
    pub dir: i32,
    /// The path; empty for the descriptor itself.
    pub path: Vec<u8>,
    /// Whether a symbolic link at the end is followed.
    pub follow: bool,
}

impl State {
    /// Reads a path that a call names at an address.
    pub fn named(&mut self, asked: &Asked, dir: i32, address: u64, follow: bool) -> Result<Named, Answer> {
        let path = self.tracees.read_path(asked.tid, address)?;
        Ok(Named { dir, path, follow })
    }

    /// Returns the same for calls that take flags: with AT_EMPTY_PATH an empty path, or none at all, means the descriptor.
    pub fn named_by(&mut self, asked: &Asked, dir: i32, address: u64, flags: i32) -> Result<Named, Answer> {
        let empty = flags & libc::AT_EMPTY_PATH != 0;
        if address == 0 && empty {
            return Ok(Named { dir, path: Vec::new(), follow: true });
        }
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        let named = self.named(asked, dir, address, follow)?;
        if named.path.is_empty() && !empty {
            return Err(Answer::Continue);
        }
        Ok(named)
    }

    /// Returns the file in the first argument of a family of calls: by path, by path without following, by descriptor.
    pub fn first(&mut self, asked: &Asked, no_follow: Call, descriptor: Call) -> Result<Named, Answer> {
        if asked.call == descriptor {
            return Ok(Named { dir: asked.int(0), path: Vec::new(), follow: true });
        }
        let named = self.named(asked, libc::AT_FDCWD, asked.arguments[0], asked.call != no_follow)?;
        if named.path.is_empty() { Err(Answer::Continue) } else { Ok(named) }
    }

    /// Returns the path by which the supervisor reaches it, from the working directory of the supervisor (nothing) or its
    /// /proc.
    fn way(&self, tid: u32, named: &Named) -> (bool, Vec<u8>) {
        let path = &named.path;
        let below = |what: &str, rest: &[u8]| {
            let mut out = format!("{tid}/{what}").into_bytes();
            if !rest.is_empty() {
                out.push(b'/');
                out.extend_from_slice(rest);
            }
            (true, out)
        };
        if path.first() != Some(&b'/') {
            return match named.dir {
                libc::AT_FDCWD => below("cwd", path),
                fd => below(&format!("fd/{fd}"), path),
            };
        }
        for (prefix, what) in [
            (&b"/proc/self/"[..], ""),
            (b"/proc/thread-self/", ""),
            (b"/dev/fd/", "fd/"),
            (b"/dev/stdin", "fd/0"),
            (b"/dev/stdout", "fd/1"),
            (b"/dev/stderr", "fd/2"),
        ] {
            if let Some(rest) = path.strip_prefix(prefix)
                && (prefix.ends_with(b"/") || rest.is_empty())
            {
                let mut out = format!("{tid}/{what}").into_bytes();
                out.extend_from_slice(rest);
                return (true, out);
            }
        }
        (false, path.clone())
    }

    /// Opens it as a path (O_PATH).
    pub fn open_path(&self, tid: u32, named: &Named) -> io::Result<OwnedFd> {
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        if let Some(service) = &self.service {
            return self.reach_file(service, tid, named);
        }
        // The link in /proc that stands for a descriptor is always followed.
        if !named.follow && !named.path.is_empty() {
            flags |= OFlags::NOFOLLOW;
        }
        let (in_proc, way) = self.way(tid, named);
        if self.moved_root && named.path.first() == Some(&b'/') && !in_proc {
            let root = rustix::fs::openat(
                self.tracees.proc(),
                format!("{tid}/root"),
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            return match rustix::fs::openat2(&root, &way[..], flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                Err(Errno::NOSYS | Errno::PERM) => Ok(open_within(&root, &way, flags)?),
                other => Ok(other?),
            };
        }
        if in_proc {
            return Ok(retry_on_intr(|| {
                rustix::fs::openat(self.tracees.proc(), &way[..], flags, Mode::empty())
            })?);
        }
        Ok(retry_on_intr(|| rustix::fs::openat(CWD, &way[..], flags, Mode::empty()))?)
    }

    /// Returns the device and inode of a file, and whether its owner is one that this namespace has no number for; in one
    /// call.
    pub fn glance(&self, tid: u32, named: &Named) -> io::Result<(u64, u64, bool)> {
        if self.moved_root || self.service.is_some() {
            let fd = self.open_path(tid, named)?;
            let stat = crate::fs::stat::stat_fd(&fd)?;
            return Ok((stat.dev, stat.ino, stat.uid == UNMAPPED || stat.gid == UNMAPPED));
        }
        let mut flags = AtFlags::NO_AUTOMOUNT;
        if !named.follow && !named.path.is_empty() {
            flags |= AtFlags::SYMLINK_NOFOLLOW;
        }
        let (in_proc, way) = self.way(tid, named);
        let mask = StatxFlags::INO | StatxFlags::UID | StatxFlags::GID;
        let statx = |dir| retry_on_intr(|| rustix::fs::statx(dir, &way[..], flags, mask));
        let x = match in_proc {
            true => statx(std::os::fd::AsFd::as_fd(self.tracees.proc()))?,
            false => statx(CWD)?,
        };
        let device = rustix::fs::makedev(x.stx_dev_major, x.stx_dev_minor);
        Ok((device, x.stx_ino, x.stx_uid == UNMAPPED || x.stx_gid == UNMAPPED))
    }
}

/// The id that stands for an owner without a number in this namespace (/proc/sys/kernel/overflowuid).
pub const UNMAPPED: u32 = 65_534;
