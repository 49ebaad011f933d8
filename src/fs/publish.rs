//! Writing a file so that a crash leaves the old one or the new one, never half.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::Dir;

use super::staged::Staged;
use crate::error::{At, Result};

/// A file that is written beside the one it will replace. Dropped, it leaves nothing behind; so does a killed process
/// where the filesystem has unnamed files.
pub struct Replacement<D> {
    dir: D,
    staged: Staged,
    /// Nothing was written since it was synced.
    synced: bool,
}

impl<D: Borrow<Dir>> Replacement<D> {
    /// Starts a file in `dir`.
    pub fn new(dir: D) -> io::Result<Self> {
        let staged = Staged::new(dir.borrow(), dir.borrow(), 0o666)?;
        Ok(Replacement { dir, staged, synced: false })
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

    /// Gives the file its name, in place of what has it.
    pub fn publish(mut self, name: impl AsRef<Path>, durability: Durability) -> io::Result<()> {
        if durability != Durability::None {
            self.sync()?;
        }
        let dir = self.dir.borrow();
        self.staged.replace(dir, name)?;
        if durability != Durability::Full {
            return Ok(());
        }
        match sync_dir(dir) {
            // Entries can be made in a directory that cannot be opened: one without the permission to read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        }
    }
}

/// The part of a replaced file that survives a power loss. A crash of the process alone leaves the old file or the new one in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The new file, once it is published: its content and then its directory are waited for (fsync(2)).
    Full,
    /// The old file or the new one, whole: the content alone is waited for.
    Content,
    /// The old file, the new one, or damage. For what carries a checksum and can be made again.
    None,
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
    file.publish(name, Durability::Full).at(operation, shown)
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Dir) -> io::Result<()> {
    dir.open(".")?.sync_all()
}
