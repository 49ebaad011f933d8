//! Owners and modes that other tools wrote down: two extended attributes, and fakeroot's save file.
//!
//! A process without privileges cannot give a file away, so tools that act as if they could keep the owner elsewhere:
//! PRoot and umoci in `user.rootlesscontainers`, containers/storage and fuse-overlayfs in
//! `user.containers.override_stat`, fakeroot in a file. A scan reads them only from the [`OwnerSource`] its caller named, and an
//! unpack writes only the [`OwnerXattr`] its caller named.
//!
//! Anyone can put these attributes into an image. Applying a layer therefore never sets them on disk: they go into the
//! ledger, from where they come back as the plain attributes they are (see `layer/create.rs`). What stands on disk under
//! one of the two names was put there by a tool, not by an image.

mod fakeroot;
mod override_stat;
mod rootlesscontainers;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

pub use fakeroot::SaveFile;

use super::entry::{Meta, Xattrs};
use crate::error::{Error, Result};
use crate::fs::{Kind, Stat};

const READ: &str = "read recorded owner";

/// An extended attribute that holds an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerXattr {
    /// `user.rootlesscontainers`: user and group.
    RootlessContainers,
    /// `user.containers.override_stat`: user, group, permissions and what the file is.
    OverrideStat,
}

impl OwnerXattr {
    /// Both.
    pub const ALL: [OwnerXattr; 2] = [OwnerXattr::RootlessContainers, OwnerXattr::OverrideStat];

    /// Returns the attribute's name.
    pub fn name(self) -> &'static [u8] {
        match self {
            OwnerXattr::RootlessContainers => b"user.rootlesscontainers",
            OwnerXattr::OverrideStat => b"user.containers.override_stat",
        }
    }

    /// Returns whether an attribute of this name is one of them.
    pub fn is_name(name: &[u8]) -> bool {
        Self::ALL.iter().any(|one| one.name() == name)
    }

    fn word(self) -> &'static str {
        match self {
            OwnerXattr::RootlessContainers => "rootlesscontainers",
            OwnerXattr::OverrideStat => "override-stat",
        }
    }

    fn parse(self, value: &[u8]) -> std::result::Result<Claim, String> {
        match self {
            OwnerXattr::RootlessContainers => rootlesscontainers::parse(value),
            OwnerXattr::OverrideStat => override_stat::parse(value),
        }
    }

    /// Returns the value for an entry; `None` where it needs none.
    pub(crate) fn value(self, meta: &Meta) -> Option<Vec<u8>> {
        match self {
            OwnerXattr::RootlessContainers => rootlesscontainers::format(meta),
            OwnerXattr::OverrideStat => Some(override_stat::format(meta)),
        }
    }
}

impl std::str::FromStr for OwnerXattr {
    type Err = Error;

    /// Reads `rootlesscontainers` or `override-stat`.
    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|one| one.word() == text);
        found.ok_or_else(|| {
            Error::invalid("read owner attribute", "expected rootlesscontainers or override-stat")
                .with_path(text)
        })
    }
}

impl std::fmt::Display for OwnerXattr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A source of owners besides the disk and the ledger. Where it has something, it counts for more than
/// either; where it says nothing, they count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OwnerSource {
    /// None. Attributes of the two names are attributes like others.
    #[default]
    Nothing,
    /// The attribute's, which then is no attribute of the file: no layer carries it.
    Xattr(OwnerXattr),
    /// That of a save file of `fakeroot -s`. It identifies files by device and inode number, so it holds for the very tree it
    /// was made in, as long as nothing in it is replaced by other means.
    Fakeroot(Arc<SaveFile>),
}

impl OwnerSource {
    /// Reads `none`, `rootlesscontainers`, `override-stat`, or `fakeroot:FILE`; the file is read at once.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<OwnerSource> {
        let bytes = text.as_ref().as_bytes();
        if let Some(file) = bytes.strip_prefix(b"fakeroot:").filter(|file| !file.is_empty()) {
            return Ok(OwnerSource::Fakeroot(Arc::new(SaveFile::load(Path::new(OsStr::from_bytes(file)))?)));
        }
        let word = std::str::from_utf8(bytes).unwrap_or_default();
        match word {
            "none" => Ok(OwnerSource::Nothing),
            _ => word.parse().map(OwnerSource::Xattr).map_err(|_| {
                let message = "expected none, rootlesscontainers, override-stat or fakeroot:FILE";
                Error::invalid("read owner source", message).with_path(bytes)
            }),
        }
    }

    /// Returns whether its claim about a file can change without the file's change time moving.
    pub(super) fn moves_unseen(&self) -> bool {
        matches!(self, OwnerSource::Fakeroot(_))
    }

    /// Returns the claim about one entry; the attribute that it comes from is taken out of `xattrs` (packed).
    pub(super) fn claim(&self, stat: &Stat, xattrs: &mut Vec<u8>) -> Result<Option<Claim>> {
        match self {
            OwnerSource::Nothing => Ok(None),
            OwnerSource::Fakeroot(save) => Ok(save.get(stat)),
            OwnerSource::Xattr(attribute) => {
                let all = Xattrs(xattrs);
                let Some(value) = all.get(attribute.name()) else { return Ok(None) };
                let refuse = |what: String| {
                    let name = String::from_utf8_lossy(attribute.name());
                    Error::corrupt(READ, format!("{name} is not usable: {what}"))
                };
                let claim = attribute.parse(value).map_err(refuse)?;
                if let Some(kind) = claim.kind
                    && !can_stand_for(stat, kind)
                {
                    return Err(refuse(format!("it says {}, the disk {}", kind.name(), stat.kind.name())));
                }
                let others: Vec<_> = all.into_iter().filter(|(name, _)| *name != attribute.name()).collect();
                *xattrs = Xattrs::pack(&others);
                Ok(Some(claim))
            }
        }
    }
}

/// A record about a file; `None` for what it leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: Option<u16>,
    pub kind: Option<Kind>,
    /// A device's numbers; only with a `kind` that has some.
    pub rdev: (u32, u32),
}

/// Returns whether what is on disk may be written down as something of this kind: as itself, or, where only a privileged
/// process can make the thing, an empty file in its place. One that has content is no placeholder any more.
pub(super) fn can_stand_for(stat: &Stat, kind: Kind) -> bool {
    let placeholder = match kind {
        Kind::File | Kind::Directory | Kind::Symlink => false,
        Kind::CharDevice | Kind::BlockDevice | Kind::Fifo | Kind::Socket => {
            stat.kind == Kind::File && stat.size == 0
        }
    };
    kind == stat.kind || placeholder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_parse() {
        assert_eq!(OwnerSource::parse("none").unwrap(), OwnerSource::Nothing);
        for one in OwnerXattr::ALL {
            assert_eq!(OwnerSource::parse(one.to_string()).unwrap(), OwnerSource::Xattr(one));
        }
        for text in
            ["", "root", "fakeroot", "fakeroot:", "user.rootlesscontainers", "fakeroot:/does/not/exist"]
        {
            assert!(OwnerSource::parse(text).is_err(), "{text:?} parsed");
        }
    }
}
