//! How a file gets its name: written elsewhere, fsynced, named in one step, directory fsynced.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{At, Error, ErrorKind, Found, Result};
use crate::fs::descriptors::proc_path;
pub(super) use crate::fs::publish::Durability;
use crate::fs::publish::Replacement;
use crate::fs::remove::remove_all;
use crate::fs::root::c_name;
use crate::fs::staged::Staged;
pub(super) use crate::fs::staged::{is_leftover, random_name};

/// The mode of every file in a store; the root above them is 0700.
pub(super) const FILE_MODE: u32 = 0o644;

/// Makes the names in a directory survive a power loss.
pub(super) fn sync_dir(dir: &Dir, shown: impl AsRef<[u8]>) -> Result<()> {
    let shown = shown.as_ref();
    crate::fs::publish::sync_dir(dir).at("sync directory", shown)
}

/// Gives a directory mode 0700 through its handle.
pub(super) fn make_private(dir: &Dir) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(0o700);
    match real_dir(dir) {
        Ok(fd) => rustix::fs::fchmod(fd, mode),
        // A umask took the bits of the owner away; the handle still leads to the directory.
        Err(Errno::ACCESS) => rustix::fs::chmod(proc_path(dir), mode),
        Err(error) => Err(error),
    }
}

/// Gives what root made in the directory of another user to that user, so that it can be opened and removed.
pub(crate) fn adopt(made: impl AsFd, dir: &Dir) -> std::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = rustix::fs::fstat(dir)?;
    let now = rustix::fs::fstat(&made)?;
    if owner.st_uid == 0 || (now.st_uid, now.st_gid) == (owner.st_uid, owner.st_gid) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    match rustix::fs::fchown(&made, Some(uid), Some(gid)) {
        // Root without CAP_CHOWN, or of a user namespace that does not have this user.
        Err(Errno::PERM | Errno::INVAL) => Ok(()),
        result => Ok(result?),
    }
}

/// Makes a directory with mode 0700; returns whether it was missing.
pub(super) fn make_dir(parent: &Dir, name: impl AsRef<Path>) -> std::io::Result<bool> {
    let name = name.as_ref();
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    match parent.create_dir_with(name, &builder) {
        Ok(()) => {
            // A umask may have taken the bits of the owner away.
            let dir = parent.open_dir(name)?;
            make_private(&dir)?;
            match real_dir(&dir) {
                Ok(fd) => adopt(fd, parent)?,
                // Root may open it; anybody else has nothing to give away.
                Err(Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a directory of the store with all that lies in it, whatever its depth and modes.
pub(super) fn remove_dir(parent: &Dir, name: impl AsRef<OsStr>, shown: impl AsRef<[u8]>) -> Result<()> {
    let shown = shown.as_ref();
    const OP: &str = "remove directory";
    let name = c_name(name.as_ref().as_bytes()).at(OP, shown)?;
    remove_all(parent, &name).at(OP, shown)
}

/// Returns a handle for more than looking up names: those of cap-std are O_PATH.
fn real_dir(dir: &Dir) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(dir, ".", flags, Mode::empty()))
}

/// Replaces a small file atomically. On any error the old file stays as it was.
pub(super) fn replace(
    dir: &Dir,
    name: &str,
    shown: impl AsRef<[u8]>,
    bytes: &[u8],
    durability: Durability,
) -> Result<()> {
    let shown = shown.as_ref();
    replace_with(dir, name, shown, durability, |file| file.write_all(bytes).at("write file", shown))
}

/// Does what [`replace`] does, for content too large for one buffer. The caller holds a lease.
pub(super) fn replace_with(
    dir: &Dir,
    name: &str,
    shown: impl AsRef<[u8]>,
    durability: Durability,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    const OP: &str = "write file";
    let shown = shown.as_ref();
    let mut new = Replacement::new(dir).at(OP, shown)?;
    claim(new.file(), dir).at(OP, shown)?;
    fill(new.file())?;
    set_mode(new.file()).at(OP, shown)?;
    new.publish(name, durability).at(OP, shown)
}

/// Gives a file the mode of all files of the store, whatever the umask.
pub(super) fn set_mode(file: &File) -> std::io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(FILE_MODE))?)
}

/// Marks a file that is about to be written: its lock says that its writer lives. The caller holds a lease.
pub(super) fn claim(file: &File, dir: &Dir) -> std::io::Result<()> {
    file.try_lock()?;
    adopt(file, dir)
}

/// Returns whether a file that has the name of an unfinished one was left by a dead writer. The caller holds the store
/// exclusively.
pub(super) fn is_abandoned(dir: &Dir, name: &str, shown: &[u8]) -> Result<bool> {
    match open_regular(dir, name, shown) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(Error::io("lock file", shown, error)),
        },
        // It is no file, or a writer has finished.
        Err(error) => Ok(matches!(error.kind(), ErrorKind::Corrupt)),
    }
}

/// Returns the regular files of a directory and their sizes, by name. Names that are not UTF-8 are not ours.
pub(super) fn files(dir: &Dir, shown: impl AsRef<[u8]>) -> Result<Vec<(String, u64)>> {
    let shown = shown.as_ref();
    let mut out = Vec::new();
    for entry in dir.entries().at("list directory", shown)? {
        let entry = entry.at("list directory", shown)?;
        let Some(name) = entry.file_name().to_str().map(String::from) else { continue };
        let meta = dir.symlink_metadata(&name).found();
        match meta.at("list directory", [shown, b"/", name.as_bytes()].concat())? {
            Some(meta) if meta.is_file() => out.push((name, meta.len())),
            _ => {}
        }
    }
    out.sort();
    Ok(out)
}

/// Reads a whole file that must not be larger than `cap` bytes.
pub(super) fn read_capped(dir: &Dir, name: &str, shown: impl AsRef<[u8]>, cap: u64) -> Result<Vec<u8>> {
    let shown = shown.as_ref();
    const OP: &str = "read file";
    let file = open_regular(dir, name, shown)?;
    let size = file.metadata().at(OP, shown)?.len();
    if size > cap {
        let message = format!("the file has {size} bytes, more than the cap of {cap}");
        return Err(Error::limit(OP, message).with_path(shown));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(cap.saturating_add(1)).read_to_end(&mut bytes).at(OP, shown)?;
    if bytes.len() as u64 > cap {
        let message = "the file grew while it was read";
        return Err(Error::new(ErrorKind::Changed, OP, message).with_path(shown));
    }
    Ok(bytes)
}

/// Opens a regular file: never through a final symlink, never blocking on a fifo.
pub(crate) fn open_regular(dir: &Dir, name: &str, shown: impl AsRef<[u8]>) -> Result<File> {
    let shown = shown.as_ref();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let file = match dir.open_with(name, &options) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(Error::corrupt("open file", "a symbolic link, not a regular file").with_path(shown));
        }
        opened => opened.at("open file", shown)?,
    };
    if !file.metadata().at("open file", shown)?.is_file() {
        return Err(Error::corrupt("open file", "not a regular file").with_path(shown));
    }
    Ok(file.into_std())
}

/// Opens a file to be locked or written in place, making it where there is none: never through a final symlink, never blocking
/// on a fifo.
pub(super) fn open_or_make(dir: &Dir, name: &str) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(FILE_MODE);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    crate::fs::make_dir::open_or_make(dir, name, &options)
}

/// A file that is whole and on the disk, but for its name.
pub(super) struct Whole(Staged);

impl Whole {
    /// Makes the content durable.
    pub fn new(mut staged: Staged, shown: impl AsRef<[u8]>) -> Result<Whole> {
        let shown = shown.as_ref();
        set_mode(staged.file()).at("publish file", shown)?;
        staged.file().sync_all().at("publish file", shown)?;
        Ok(Whole(staged))
    }

    /// Names the file. With `overwrite`, what is there gives way; without, it wins and this one is dropped. Survives a power
    /// loss once the directory is synced.
    pub fn name(self, target: &Dir, name: &str, shown: impl AsRef<[u8]>, overwrite: bool) -> Result<()> {
        let shown = shown.as_ref();
        match overwrite {
            true => self.0.replace(target, name),
            false => self.0.link(target, name),
        }
        .at("publish file", shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::ambient_authority;

    #[test]
    fn only_regular_files_are_read() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        rustix::fs::mkfifoat(&dir, "fifo", Mode::from_raw_mode(0o600)).unwrap();
        dir.create_dir("dir").unwrap();
        dir.write("file", "12345").unwrap();
        dir.symlink("file", "link").unwrap();
        for name in ["fifo", "dir", "link", "nothing"] {
            assert!(read_capped(&dir, name, name, 100).is_err(), "{name}");
        }
        assert_eq!(read_capped(&dir, "file", "file", 5).unwrap(), b"12345");
        assert_eq!(read_capped(&dir, "file", "file", 4).unwrap_err().kind(), ErrorKind::Limit);
    }
}
