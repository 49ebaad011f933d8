//! An image layout that is a directory, read as the tar it would be.

use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::{BLOBS, INDEX_FILE, LAYOUT_FILE, LOAD, MANIFEST_FILE};
use crate::error::{At, Error, ErrorKind, Result};

/// The size of a block of a tar.
const BLOCK: u64 = 512;

/// Opens an image layout in a directory (image-layout.md) for [`load`](super::load()): its entry points and the files that are
/// named as blobs. What else lies there is left out.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for a directory without `oci-layout`. Reading fails with [`ErrorKind::Changed`] when a file
/// changes its size meanwhile.
pub fn open_layout(dir: impl AsRef<Path>) -> Result<Box<dyn Read + Send>> {
    let dir = dir.as_ref();
    let shown = dir.as_os_str().as_bytes();
    let root = Dir::open_ambient_dir(dir, ambient_authority()).at(LOAD, shown)?;
    let mut names: Vec<String> = [LAYOUT_FILE, INDEX_FILE, MANIFEST_FILE]
        .into_iter()
        .filter(|name| root.is_file(name))
        .map(Into::into)
        .collect();
    if names.first().map(String::as_str) != Some(LAYOUT_FILE) {
        let message = "not an image layout: the directory has no oci-layout";
        return Err(Error::invalid(LOAD, message).with_path(shown));
    }
    let blobs = root.open_dir(BLOBS).at(LOAD, shown)?;
    let mut hex = Vec::new();
    for entry in blobs.entries().at(LOAD, shown)? {
        let name = entry.at(LOAD, shown)?.file_name();
        let is_digest = |name: &&str| {
            name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        hex.extend(name.to_str().filter(is_digest).map(|name| format!("{BLOBS}/{name}")));
    }
    hex.sort();
    names.extend(hex);
    names.reverse();
    Ok(Box::new(Layout { root, names, part: Box::new(io::empty()), left: 0, padding: 0, ended: false }))
}

struct Layout {
    root: Dir,
    /// The files to come, the next one last.
    names: Vec<String>,
    /// A header, a file, or what fills up its last block.
    part: Box<dyn Read + Send>,
    /// How much of it is to come.
    left: u64,
    /// Zeros behind it.
    padding: u64,
    ended: bool,
}

impl Layout {
    /// Goes on to the next part; `false` at the end.
    fn next(&mut self) -> Result<bool> {
        if self.padding > 0 {
            (self.left, self.padding) = (self.padding, 0);
            self.part = Box::new(io::repeat(0));
        } else if let Some(name) = self.names.pop() {
            let file = self.root.open(&name).at(LOAD, &name)?;
            let metadata = file.metadata().at(LOAD, &name)?;
            if !metadata.is_file() {
                return Err(Error::corrupt(LOAD, "not a regular file").with_path(&name));
            }
            let size = metadata.len();
            let mut header = tar::Header::new_gnu();
            header.set_path(&name).at(LOAD, &name)?;
            header.set_size(size);
            header.set_mode(0o644);
            header.set_cksum();
            self.padding = size.next_multiple_of(BLOCK) - size;
            self.left = BLOCK + size;
            self.part = Box::new(Cursor::new(header.as_bytes().to_vec()).chain(file.into_std()));
        } else if !self.ended {
            // The end of an archive: two blocks of zeros.
            self.ended = true;
            self.left = 2 * BLOCK;
            self.part = Box::new(io::repeat(0));
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

impl Read for Layout {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            if !self.next()? {
                return Ok(0);
            }
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.part.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            let message = "a file of the layout became shorter while it was read";
            return Err(Error::new(ErrorKind::Changed, LOAD, message).into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}
