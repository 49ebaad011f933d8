//! Writing a file so that a crash leaves the old one or the new one, never half.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::staged::Staged;
use crate::error::{At, Error, Result};

/// A file that is written beside the one it will replace. Dropped, it leaves nothing behind; so does a killed process
/// where the filesystem has unnamed files.
pub struct Replacement<'d> {
    dir: &'d Dir,
    staged: Staged,
    /// Nothing was written since it was synced.
    synced: bool,
}

impl<'d> Replacement<'d> {
    /// Starts a file in `dir`.
    pub fn new(dir: &'d Dir) -> io::Result<Self> {
        Ok(Replacement { dir, staged: Staged::new(dir, dir, 0o666)?, synced: false })
    }

    /// Returns the open file.
    pub fn file(&mut self) -> &mut File {
        self.synced = false;
        self.staged.file()
    }

    /// Makes the content durable. A lack of room shows here.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.staged.file().sync_all()?;
            self.synced = true;
        }
        Ok(())
    }

    /// Gives the file its name, in place of what has it. Never half, but after a power loss the old file may be back:
    /// [`Replacement::publish`] is durable.
    pub fn publish_cached(mut self, name: impl AsRef<Path>) -> io::Result<()> {
        self.sync()?;
        self.staged.replace(self.dir, name)
    }

    /// Gives the file its name, in place of what has it. After a power loss the old file may be back, or half of this one, which then
    /// has to show: for what saves time, carries a checksum, and can be made again.
    pub fn publish_unsynced(self, name: impl AsRef<Path>) -> io::Result<()> {
        self.staged.replace(self.dir, name)
    }

    /// Gives the file its name, in place of what has it. When this returns, it survives a power loss.
    pub fn publish(self, name: impl AsRef<Path>) -> io::Result<()> {
        let dir = self.dir;
        self.publish_cached(name)?;
        match sync_dir(dir) {
            // We may make entries in a directory that we may not open.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        }
    }
}

/// Replaces the file `name` in `dir`: temporary file, content, fsync, rename, fsync of the directory.
pub fn replace(
    dir: &Dir,
    name: impl AsRef<Path>,
    operation: &'static str,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    let name = name.as_ref();
    let shown = name.as_os_str().as_bytes();
    let mut file = Replacement::new(dir).at(operation, shown)?;
    write(file.file())?;
    file.publish(name).at(operation, shown)
}

/// Replaces the file at an ambient path, as the command's `-o FILE` does.
pub fn replace_path(
    path: &Path,
    operation: &'static str,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    let shown = path.as_os_str().as_bytes();
    let name = path
        .file_name()
        .ok_or_else(|| Error::invalid(operation, "this is not a file name").with_path(shown))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let dir =
        Dir::open_ambient_dir(parent, ambient_authority()).at(operation, parent.as_os_str().as_bytes())?;
    replace(&dir, name, operation, write)
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Dir) -> io::Result<()> {
    dir.open(".")?.sync_all()
}
