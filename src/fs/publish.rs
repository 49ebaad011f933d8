//! Writing a file so that a crash leaves the old one or the new one, never half.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_tempfile::TempFile;
use cap_tempfile::cap_std::ambient_authority;
use cap_tempfile::cap_std::fs::Dir;

use crate::error::{At, Error, Result};

/// Replaces the file `name` in `dir`: temporary file, content, fsync, rename, fsync of the directory.
pub fn replace(
    dir: &Dir,
    name: impl AsRef<Path>,
    operation: &'static str,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
) -> Result<()> {
    let name = name.as_ref();
    let shown = name.as_os_str().as_bytes();
    let mut temp = TempFile::new(dir).at(operation, shown)?;
    write(&mut temp)?;
    temp.as_file().sync_all().at(operation, shown)?;
    temp.replace(name).at(operation, shown)?;
    sync_dir(dir).at(operation, shown)
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
pub fn sync_dir(dir: &Dir) -> std::io::Result<()> {
    dir.open(".")?.sync_all()
}
