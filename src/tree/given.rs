//! A directory that was made for a tree: its permissions and owner, on the disk or in the ledger.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, Uid};

use super::ledger::{Ledger, Record};
use crate::fs::Kind;
use crate::fs::generation::generation_of;
use crate::fs::stat::stat_fd;

impl Ledger {
    /// Gives a directory that was made for a tree its permissions and owner: to the disk as far as this process can, and the rest to
    /// the ledger, under the path. Returns its device and inode.
    pub(crate) fn give(
        &mut self,
        directory: impl AsFd,
        path: Vec<u8>,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> io::Result<(u64, u64)> {
        // Root without the capabilities for it is a user like others.
        let exact = crate::fs::capabilities::owns_all();
        let disk_mode = if exact { mode } else { mode & 0o1777 | 0o700 };
        if exact {
            rustix::fs::fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(disk_mode))?;
        let stat = stat_fd(&directory)?;
        self.take(stat.dev, stat.ino);
        if !exact && ((uid, gid) != (0, 0) || mode != disk_mode) {
            self.insert(Record {
                path,
                dev: stat.dev,
                ino: stat.ino,
                generation: generation_of(&directory, &stat)?,
                disk_mode: disk_mode as u16,
                kind: Kind::Directory,
                mode: mode as u16,
                uid,
                gid,
                rdev: (0, 0),
                xattrs: Vec::new(),
            });
        }
        Ok((stat.dev, stat.ino))
    }
}
