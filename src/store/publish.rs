//! How a file gets its name: written elsewhere, fsynced, named in one step, directory fsynced.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::publish::Replacement;
use crate::fs::remove::remove_all;
use crate::fs::root::c_name;

/// The mode of every file in a store; the root above them is 0700.
pub(super) const FILE_MODE: u32 = 0o644;

/// Makes the names in a directory survive a power loss.
pub(super) fn sync_dir(dir: &Dir, shown: &str) -> Result<()> {
    crate::fs::publish::sync_dir(dir).at("sync directory", shown)
}

/// Gives a directory mode 0700 through its handle.
pub(super) fn make_private(dir: &Dir) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(0o700);
    match real_dir(dir) {
        Ok(fd) => rustix::fs::fchmod(fd, mode),
        // A umask took our own bits away; the handle still leads to the directory.
        Err(Errno::ACCESS) => rustix::fs::chmod(proc_path(dir), mode),
        Err(error) => Err(error),
    }
}

/// Makes a directory with mode 0700; returns whether it was missing.
pub(super) fn make_dir(parent: &Dir, name: impl AsRef<Path>) -> std::io::Result<bool> {
    let name = name.as_ref();
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    match parent.create_dir_with(name, &builder) {
        Ok(()) => {
            // A umask may have taken our own bits away.
            make_private(&parent.open_dir(name)?)?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a directory of the store with all that lies in it, whatever its depth and modes.
pub(super) fn remove_dir(parent: &Dir, name: impl AsRef<OsStr>, shown: &str) -> Result<()> {
    const OP: &str = "remove directory";
    let name = c_name(name.as_ref().as_bytes()).at(OP, shown)?;
    remove_all(parent, &name).at(OP, shown)
}

/// A handle for more than looking up names: those of cap-std are O_PATH.
fn real_dir(dir: &Dir) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, ".", flags, Mode::empty())
}

/// Replaces a small file atomically and durably. On any error the old file stays as it was.
pub(super) fn replace(dir: &Dir, name: &str, shown: &str, bytes: &[u8]) -> Result<()> {
    replace_with(dir, name, shown, |file| file.write_all(bytes).at("write file", shown))
}

/// [`replace`] for content too large for one buffer.
pub(super) fn replace_with(
    dir: &Dir,
    name: &str,
    shown: &str,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    replacement(dir, shown, fill)?.publish(name).at("write file", shown)
}

/// [`replace_with`] for what can be computed again: never half, but a power loss may bring the old file back.
pub(super) fn replace_cached(
    dir: &Dir,
    name: &str,
    shown: &str,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    replacement(dir, shown, fill)?.publish_cached(name).at("write file", shown)
}

/// A file of the store that is whole and on the disk, but for its name.
pub(super) fn replacement<'d>(
    dir: &'d Dir,
    shown: &str,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Replacement<'d>> {
    const OP: &str = "write file";
    let mut file = Replacement::new(dir).at(OP, shown)?;
    fill(file.file())?;
    file.file().set_permissions(Permissions::from_mode(FILE_MODE)).at(OP, shown)?;
    file.sync().at(OP, shown)?;
    Ok(file)
}

/// Reads a whole file that must not be larger than `cap` bytes.
pub(super) fn read_capped(dir: &Dir, name: &str, shown: &str, cap: u64) -> Result<Vec<u8>> {
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
pub(super) fn open_regular(dir: &Dir, name: &str, shown: &str) -> Result<File> {
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

/// Whether a name looks like what [`Replacement`] leaves when its process dies between two steps: a random UUID.
pub(super) fn is_litter(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            14 => b == b'4',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// A file being written: unnamed where the filesystem can (nothing is left when the process dies), else named in `tmp/`.
pub(super) struct Staged {
    file: File,
    /// The name in `tmp/`, when there is one.
    name: Option<String>,
    tmp: Dir,
}

impl Staged {
    /// Starts a file that will be published in `target`, on its filesystem.
    pub fn new(target: &Dir, tmp: &Dir) -> Result<Self> {
        const OP: &str = "create temporary file";
        let tmp = tmp.try_clone().at(OP, "tmp")?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(target, ".", flags, Mode::from_raw_mode(FILE_MODE)) {
            Ok(fd) if can_link(&fd) => return Ok(Staged { file: File::from(fd), name: None, tmp }),
            Ok(_) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(Error::io(OP, "tmp", error)),
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        loop {
            let name = random_name();
            match tmp.open_with(&name, &options) {
                Ok(file) => return Ok(Staged { file: file.into_std(), name: Some(name), tmp }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(OP, "tmp", error)),
            }
        }
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Publishes the file as `name` in `target`, durably. With `overwrite`, what is there gives way; without, it wins
    /// and the staged file is dropped.
    pub fn publish(mut self, target: &Dir, name: &str, shown: &str, overwrite: bool) -> Result<()> {
        const OP: &str = "publish file";
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(FILE_MODE)).at(OP, shown)?;
        self.file.sync_all().at(OP, shown)?;
        if overwrite {
            if self.name.is_none() {
                let temp = random_name();
                link_unnamed(&self.file, &self.tmp, &temp).at(OP, shown)?;
                self.name = Some(temp);
            }
            let temp = self.name.as_deref().expect("named above");
            self.tmp.rename(temp, target, name).at(OP, shown)?;
            self.name = None;
        } else {
            let linked = match &self.name {
                None => link_unnamed(&self.file, target, name),
                Some(temp) => self.tmp.hard_link(temp, target, name),
            };
            match linked {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                // A filesystem without hard links: rename gives the same bytes the same name.
                Err(_) if self.name.is_some() => {
                    let temp = self.name.as_deref().expect("checked");
                    self.tmp.rename(temp, target, name).at(OP, shown)?;
                    self.name = None;
                }
                Err(error) => return Err(Error::io(OP, shown, error)),
            }
        }
        // Also when the file was there already: its writer may not have come to this line yet.
        sync_dir(target, shown)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // Nobody is left to tell; prune takes what cannot be removed here.
            let _ = self.tmp.remove_file(name);
        }
    }
}

fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Whether an unnamed file could be given a name: `/proc` is there and shows this very file.
fn can_link(fd: impl AsFd) -> bool {
    let Ok(ours) = rustix::fs::fstat(&fd) else { return false };
    rustix::fs::stat(proc_path(&fd))
        .is_ok_and(|seen| (seen.st_dev, seen.st_ino) == (ours.st_dev, ours.st_ino))
}

fn link_unnamed(file: &File, target: &Dir, name: &str) -> std::io::Result<()> {
    Ok(rustix::fs::linkat(rustix::fs::CWD, proc_path(file), target, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// A name nobody else picks: the standard library's per-process random keys, stirred.
pub(super) fn random_name() -> String {
    use std::hash::{BuildHasher, RandomState};
    let (a, b) = (RandomState::new().hash_one(1u8), RandomState::new().hash_one(2u8));
    format!("{a:016x}{b:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::ambient_authority;

    #[test]
    fn named_and_unnamed_files_are_published_and_dropped_ones_leave_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        dir.create_dir("tmp").unwrap();
        dir.create_dir("out").unwrap();
        let (tmp, out) = (dir.open_dir("tmp").unwrap(), dir.open_dir("out").unwrap());
        let named = || {
            let name = random_name();
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true);
            let file = tmp.open_with(&name, &options).unwrap().into_std();
            Staged { file, name: Some(name), tmp: tmp.try_clone().unwrap() }
        };
        for (i, make) in
            [&named as &dyn Fn() -> Staged, &|| Staged::new(&out, &tmp).unwrap()].iter().enumerate()
        {
            let name = format!("f{i}");
            drop(make());
            let mut staged = make();
            staged.file().write_all(b"one").unwrap();
            staged.publish(&out, &name, &name, false).unwrap();
            let mut staged = make();
            staged.file().write_all(b"two").unwrap();
            staged.publish(&out, &name, &name, false).unwrap();
            assert_eq!(out.read(&name).unwrap(), b"one", "the first stays");
            let mut staged = make();
            staged.file().write_all(b"three").unwrap();
            staged.publish(&out, &name, &name, true).unwrap();
            assert_eq!(out.read(&name).unwrap(), b"three");
            assert_eq!(out.metadata(&name).unwrap().permissions().mode() & 0o7777, FILE_MODE);
            assert_eq!(tmp.entries().unwrap().count(), 0);
        }
    }

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

    #[test]
    fn litter_is_recognised() {
        assert!(is_litter("0f7e9c52-7a0d-4f0a-9f0a-0123456789ab"));
        assert!(!is_litter("index.json"));
        assert!(!is_litter(&"a".repeat(36)));
    }
}
