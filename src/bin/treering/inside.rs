//! `IMAGE:PATH`: a place inside an image.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use treering::image::{Image, ImageFiles, Platform};
use treering::layer::EntryKind;
use treering::layer::read::TarEntry;
use treering::store::Store;
use treering::tree::Snapshot;
use treering::{Control, Error, Result};

/// Reads `DIR:/PATH`, which begins as a path does and as no name of an image can: a tree, and a path in it.
pub fn in_tree(text: &OsStr) -> Option<(std::path::PathBuf, Vec<u8>)> {
    let bytes = text.as_bytes();
    if ![&b"/"[..], b"./", b"../"].iter().any(|start| bytes.starts_with(start)) {
        return None;
    }
    let at = bytes.windows(2).position(|two| two == b":/")?;
    Some((OsStr::from_bytes(&bytes[..at]).into(), bytes[at + 1..].to_vec()))
}

/// An image, and a path in it.
#[derive(Debug)]
pub struct Inside {
    image: String,
    path: Option<Vec<u8>>,
}

impl Inside {
    /// Reads `IMAGE` or `IMAGE:/PATH`. A path begins with a slash, and no name of an image has `:/` in it.
    pub fn of(text: &OsStr) -> Result<Inside> {
        let bytes = text.as_bytes();
        let at = bytes.windows(2).position(|two| two == b":/");
        let (image, path) = match at {
            Some(at) => (&bytes[..at], Some(bytes[at + 1..].to_vec())),
            None => (bytes, None),
        };
        match std::str::from_utf8(image) {
            Ok(image) if !image.is_empty() => Ok(Inside { image: image.into(), path }),
            _ => Err(Error::invalid("read argument", "expected IMAGE or IMAGE:/PATH").with_path(bytes)),
        }
    }

    /// Returns the path in the image; nothing where none is given.
    pub fn path(&self) -> Option<&[u8]> {
        self.path.as_deref()
    }

    /// Opens the files of the image.
    pub fn open(&self, store: &Store, platform: Option<&Platform>, control: &Control) -> Result<ImageFiles> {
        let _lease = store.lease_for(control)?;
        ImageFiles::open(store, &Image::open(store, &self.image, platform)?, control)
    }

    /// Returns the path, which a verb needs.
    pub fn required(&self) -> Result<&[u8]> {
        self.path().ok_or_else(|| {
            Error::invalid(
                "read argument",
                "expected IMAGE:/PATH: a path in the image, beginning with a slash",
            )
            .with_path(&self.image)
        })
    }
}

/// Returns an entry of a list as one of a layer, which is how lines and objects are written. Its path is what is given.
pub fn tar_entry(list: &Snapshot, number: u32, path: Vec<u8>) -> Option<TarEntry> {
    let meta = list.meta(number);
    Some(TarEntry {
        path,
        kind: EntryKind::of(meta.kind)?,
        mode: u32::from(meta.mode),
        uid: meta.uid,
        gid: meta.gid,
        size: meta.size,
        mtime: (meta.mtime.secs, meta.mtime.nanos),
        link: list.link_target(number).to_vec(),
        rdev: meta.rdev,
        xattrs: list
            .xattrs(number)
            .into_iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect(),
        lost: Vec::new(),
    })
}
