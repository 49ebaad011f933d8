//! One entry of a snapshot: its metadata, and the identity by which a change is seen.

use crate::fs::{Kind, Stat, Timestamp};

/// Stands for "no entry" where an entry's number is expected.
pub const NONE: u32 = u32::MAX;

bitflags::bitflags! {
    /// Marks of an entry.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Flags: u8 {
        /// The entry was stamped so shortly before the scan that a later change might carry the same time.
        const RACY = 1;
        /// In a layer's list: a parent directory the layer itself does not contain.
        const IMPLICIT = 2;
        /// In a layer's list: this name is removed from the layers below.
        const WHITEOUT = 4;
        /// In a layer's list: whatever the layers below have in this directory is hidden.
        const OPAQUE = 8;
        /// A directory in which a scan left something out (a socket). The next scan lists it again whether it changed or
        /// not, so that it can say so again.
        const LEFT_OUT = 16;
        /// A mount point that the scan did not look at: what the tree has there is hidden, and no change is seen.
        const UNSEEN = 32;
    }
}

/// The place of a file's content: a layer, and the place in its tar. Files of one place have one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The DiffID of the layer.
    pub layer: [u8; 32],
    /// The block of 512 bytes in which the first header of the file's entry is.
    pub block: u64,
}

/// The fixed-size part of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The kind of the entry.
    pub kind: Kind,
    /// Flags of the entry.
    pub flags: Flags,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u16,
    /// Owner, as the layer will have it.
    pub uid: u32,
    /// Group, as the layer will have it.
    pub gid: u32,
    /// Length in bytes of a regular file; 0 for everything else.
    pub size: u64,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Stat identity: last change of anything. Zero where the entry never was on a disk.
    pub ctime: Timestamp,
    /// Stat identity: device. With `ino` it also groups hard links; zero in a layer's list.
    pub dev: u64,
    /// Stat identity: inode number, or a running number in a layer's list.
    pub ino: u64,
    /// The number of names the file has, inside the tree or out of it.
    pub nlink: u32,
}

impl Meta {
    /// Returns the metadata as the disk has it.
    pub fn from_stat(stat: &Stat) -> Meta {
        Meta {
            kind: stat.kind,
            flags: Flags::empty(),
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            size: if stat.kind == Kind::File { stat.size } else { 0 },
            mtime: stat.mtime,
            rdev: if matches!(stat.kind, Kind::CharDevice | Kind::BlockDevice) { stat.rdev } else { (0, 0) },
            ctime: stat.ctime,
            dev: stat.dev,
            ino: stat.ino,
            nlink: stat.nlink,
        }
    }

    /// Returns a directory as it is when nothing says otherwise: 0755, owned by root, 1970.
    pub fn directory() -> Meta {
        Meta {
            kind: Kind::Directory,
            flags: Flags::empty(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Timestamp::default(),
            rdev: (0, 0),
            ctime: Timestamp::default(),
            dev: 0,
            ino: 0,
            nlink: 1,
        }
    }

    /// Returns whether a regular file, open and read, is the one a scan saw, with the content it had then.
    pub(crate) fn is_as_in(&self, stat: &Stat) -> bool {
        stat.kind == Kind::File
            && (self.dev, self.ino, self.size) == (stat.dev, stat.ino, stat.size)
            && (self.mtime, self.ctime) == (stat.mtime, stat.ctime)
    }

    /// Returns whether the stat identity says that this is the same file, untouched since. A racy entry says nothing.
    pub fn same_identity(&self, other: &Meta) -> bool {
        self.ino != 0
            && self.ctime != Timestamp::default()
            && !self.flags.contains(Flags::RACY)
            && (self.dev, self.ino, self.ctime) == (other.dev, other.ino, other.ctime)
            && (self.size, self.mtime, self.nlink) == (other.size, other.mtime, other.nlink)
    }
}

/// The extended attributes of an entry: pairs of name and value, sorted by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Xattrs<'a>(pub(super) &'a [u8]);

impl<'a> Xattrs<'a> {
    /// Packs pairs into the form a snapshot stores. The pairs must be sorted by name.
    pub fn pack<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(name);
            out.extend_from_slice(value);
        }
        out
    }

    /// Reads packed pairs; `None` when the form is wrong.
    pub fn checked(packed: &'a [u8]) -> Option<Xattrs<'a>> {
        let mut at = 0;
        while at < packed.len() {
            let head = packed.get(at..at + 6)?;
            let name = u16::from_le_bytes([head[0], head[1]]) as usize;
            let value = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
            at = at.checked_add(6 + name)?.checked_add(value)?;
        }
        (at == packed.len()).then_some(Xattrs(packed))
    }

    /// Returns the packed form.
    pub fn packed(&self) -> &'a [u8] {
        self.0
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of one attribute.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.into_iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

impl<'a> IntoIterator for Xattrs<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = XattrsIter<'a>;

    fn into_iter(self) -> XattrsIter<'a> {
        XattrsIter(self.0)
    }
}

/// Iterates over [`Xattrs`].
#[derive(Debug, Clone)]
pub struct XattrsIter<'a>(&'a [u8]);

impl<'a> Iterator for XattrsIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.get(..6)?;
        let name = u16::from_le_bytes([head[0], head[1]]) as usize;
        let value = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        let item = (self.0.get(6..6 + name)?, self.0.get(6 + name..6 + name + value)?);
        self.0 = &self.0[6 + name + value..];
        Some(item)
    }
}
