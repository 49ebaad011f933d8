//! The operands of commands that take a directory, a snapshot or an image.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use treering::Error;
use treering::error::{At, escape};

/// The kind of an operand.
#[derive(Debug, Clone)]
pub enum Operand {
    /// A directory.
    Directory(PathBuf),
    /// A snapshot in a file.
    Snapshot(PathBuf),
    /// An image in the store: a name or an id.
    Image(String),
}

impl Operand {
    /// Returns a directory when there is one of this name, a snapshot when there is a file; else an image. What can be no
    /// image, such as `./x`, is a path that does not exist.
    pub fn of(path: &Path) -> treering::Result<Operand> {
        let shown = path.as_os_str().as_bytes();
        match path.metadata() {
            Ok(meta) if meta.is_dir() => return Ok(Operand::Directory(path.into())),
            Ok(_) => return Ok(Operand::Snapshot(path.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // `app:v1/x` below a file and the like: no path, perhaps no image either.
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(error).at("open", shown),
        }
        let is_path = shown.starts_with(b"/") || shown.starts_with(b"./") || shown.starts_with(b"../");
        match path.to_str().filter(|_| !is_path && !shown.ends_with(b"/")) {
            Some(text) => Ok(Operand::Image(text.into())),
            None => Err(Error::not_found("open", "no such file or directory").with_path(shown)),
        }
    }

    /// Returns whether it is an image.
    pub fn is_image(&self) -> bool {
        matches!(self, Operand::Image(_))
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Directory(path) | Operand::Snapshot(path) => {
                f.write_str(&escape(path.as_os_str().as_bytes()))
            }
            Operand::Image(name) => f.write_str(name),
        }
    }
}
