//! Reading files that their own user may not read (mode 0000, or 4111 as sudo has it). The user may change the permissions for a
//! moment. Mode and mtime are put back; the ctime cannot be set (inode(7)), so the one before is remembered.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::Mode;

use super::chmod::chmod_at;
use super::root::open_file_at;
use super::stat::{stat_at, stat_fd};
use super::{Kind, Stat, Timestamp};

/// Records permissions that are changed for a moment, so that they are put back also after a kill.
pub(crate) trait Mend: fmt::Debug + Send + Sync {
    /// Records that a file has these permissions, until what is returned is dropped.
    fn promise(&self, path: &Path, stat: &Stat) -> io::Result<Box<dyn Send>>;
}

/// How many such files are kept open until the operation ends. Each time one of the others is opened, its ctime moves.
const KEPT: usize = 64;

/// A file that was opened: the ctime it had, and the one it has since.
#[derive(Debug)]
struct Opened {
    fd: Arc<OwnedFd>,
    before: Timestamp,
    after: Timestamp,
}

/// The files of one operation that were opened in this way.
#[derive(Debug)]
pub(crate) struct LockedFiles {
    mend: Box<dyn Mend>,
    opened: Mutex<HashMap<(u64, u64), Opened>>,
}

impl LockedFiles {
    pub fn new(mend: impl Mend + 'static) -> LockedFiles {
        LockedFiles { mend: Box::new(mend), opened: Mutex::default() }
    }

    /// Opens `name` in `dir`, which is at `path`: a regular file of this user's without the right to read it. `refused` is
    /// returned for anything else.
    pub fn open(&self, dir: impl AsFd, name: &CStr, path: &Path, refused: io::Error) -> io::Result<OwnedFd> {
        // Before the stat: another thread may be opening the file by another name at this moment.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let stat = stat_at(&dir, name)?;
        // The group's bit is lost when a user outside of the group sets permissions.
        let ours = stat.uid == rustix::process::geteuid().as_raw()
            && (stat.mode & 0o2000 == 0 || is_in_group(stat.gid));
        if stat.kind != Kind::File || !ours || stat.mode & 0o400 != 0 {
            return Err(refused);
        }
        if let Some(known) = opened.get(&(stat.dev, stat.ino)).filter(|known| known.after == stat.ctime) {
            return known.fd.try_clone();
        }
        let promise = self.mend.promise(path, &stat)?;
        chmod_at(&dir, name, u32::from(stat.mode | 0o400))?;
        let fd = open_file_at(&dir, name);
        let restored = match &fd {
            Ok(fd) => rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.mode.into())).map_err(Into::into),
            Err(_) => chmod_at(&dir, name, stat.mode.into()),
        };
        // The record of a file that was not put back stays for the next operation of the store.
        match restored {
            Ok(()) => drop(promise),
            Err(error) => {
                std::mem::forget(promise);
                return Err(error);
            }
        }
        let fd = fd?;
        let now = stat_fd(&fd)?;
        if (now.dev, now.ino, now.mode, now.mtime) != (stat.dev, stat.ino, stat.mode, stat.mtime) {
            return Err(refused);
        }
        let fd = Arc::new(fd);
        let before =
            opened.get(&(stat.dev, stat.ino)).map_or(stat.ctime, |known| match known.after == stat.ctime {
                true => known.before,
                false => stat.ctime,
            });
        let ours = fd.try_clone()?;
        if opened.len() < KEPT {
            opened.insert((stat.dev, stat.ino), Opened { fd, before, after: now.ctime });
        }
        Ok(ours)
    }

    /// Waits until no file has other permissions than its own. A file that was opened while it had them would seem to change while it is
    /// read.
    pub fn wait(&self) {
        drop(self.opened.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns the metadata as it would be had the file not been opened in this way.
    pub fn as_before(&self, stat: Stat) -> Stat {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        match opened.get(&(stat.dev, stat.ino)).filter(|known| known.after == stat.ctime) {
            Some(known) => Stat { ctime: known.before, ..stat },
            None => stat,
        }
    }
}

fn is_in_group(gid: u32) -> bool {
    let groups = rustix::process::getgroups().unwrap_or_default();
    rustix::process::getegid().as_raw() == gid || groups.iter().any(|group| group.as_raw() == gid)
}
