//! Patterns of what a caller leaves out of a tree.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::dockerfile::Ignore;
use crate::error::{At, Result};
use crate::fs::root::read_small_file;

/// Larger files of patterns are refused, see [`Ignore::parse`].
const CAP: u64 = 1 << 20;

/// Reads patterns of paths to leave out: those of a file, then those given one by one. They are those of a `.dockerignore`,
/// below the root of the tree; the last one that matches decides, and one that begins with `!` takes in again.
///
/// # Errors
/// [`crate::ErrorKind::Syntax`] for a pattern in the file, [`crate::ErrorKind::InvalidArgument`] for one of `patterns`.
pub fn excludes(file: Option<&Path>, patterns: &[String]) -> Result<Ignore> {
    const OP: &str = "read ignore file";
    let mut ignore = match file {
        None => Ignore::default(),
        Some(file) => {
            let shown = file.as_os_str().as_bytes();
            Ignore::parse(shown, &read_small_file(file, CAP).at(OP, shown)?)?
        }
    };
    ignore.extend(Ignore::patterns(patterns).map_err(|fault| fault.argument("read pattern"))?);
    Ok(ignore)
}
