//! The extended attributes by which overlayfs writes down what a directory entry means.
//!
//! A mount uses one of two namespaces: `trusted.overlay.` by default, `user.overlay.` with the `userxattr` option. An
//! attribute that a process inside the mount gave such a name stands escaped, as `trusted.overlay.overlay.`.

use crate::error::{Error, Result};
use crate::fs::generation::of_handle;
use crate::tree::Snapshot;
use crate::tree::scan::kept_xattr;

const TRUSTED: &[u8] = b"trusted.overlay.";
const USER: &[u8] = b"user.overlay.";

/// Attributes and their values.
pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The namespace of overlayfs's marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Namespace {
    /// As the upper directory has them: `trusted.` if any entry has such a mark, else `user.`. Where it has none at all,
    /// marks of either namespace count in the lower directories.
    #[default]
    Auto,
    /// `trusted.overlay.`, which only a process with CAP_SYS_ADMIN in the initial user namespace can see.
    Trusted,
    /// `user.overlay.`, of mounts with the `userxattr` option.
    User,
}

/// The namespaces of the marks that count, once that is decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    trusted: bool,
    user: bool,
}

impl Counted {
    /// Settles [`Namespace::Auto`]. One namespace only, because in a `trusted.` mount any process inside can write `user.`
    /// attributes, and there they are content and not marks.
    pub fn of(namespace: Namespace, upper: &Snapshot) -> Counted {
        let any = |prefix: &[u8]| {
            (0..upper.len()).any(|i| upper.xattrs(i).into_iter().any(|(name, _)| name.starts_with(prefix)))
        };
        match namespace {
            Namespace::Trusted => Counted { trusted: true, user: false },
            Namespace::User => Counted { trusted: false, user: true },
            Namespace::Auto if any(TRUSTED) => Counted { trusted: true, user: false },
            Namespace::Auto if any(USER) => Counted { trusted: false, user: true },
            Namespace::Auto => Counted { trusted: true, user: true },
        }
    }
}

/// The marks of overlayfs on one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// `overlay.opaque` is `y`: the lower directories do not show through.
    pub opaque: bool,
    /// `overlay.redirect`: the name in the same directory, or the path from the root, where the lower content is.
    pub redirect: Option<Vec<u8>>,
    /// `overlay.metacopy`: only the metadata is here, the content is in a lower layer.
    pub metacopy: bool,
    /// `overlay.whiteout`, which on an empty regular file says that there is no such file. Its directory has
    /// `overlay.opaque` = `x`, but that is a hint for reading directories; the kernel looks names up without it.
    pub whiteout: bool,
    /// `overlay.nlink`: the file stands for all names of a lower one, those too that are not in the upper directory.
    pub indexed: bool,
    /// `overlay.origin`, if an empty one, which the kernel writes where there are no file handles: the file was copied up.
    pub copied: bool,
    /// The lower file that `overlay.origin` names, as [`crate::fs::generation`] numbers it.
    pub origin: Option<u64>,
}

impl Marks {
    /// Takes the marks out of an entry's attributes; the others are given back, escaped ones as they show in the mount.
    /// Without `all`, what no layer carries is left out.
    pub fn take<'a>(
        pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        counted: Counted,
        all: bool,
    ) -> (Marks, Pairs) {
        let mut marks = Marks::default();
        let mut rest = Pairs::new();
        for (name, value) in pairs {
            let ours = [(TRUSTED, counted.trusted), (USER, counted.user)]
                .into_iter()
                .find_map(|(prefix, counts)| Some((prefix, counts, name.strip_prefix(prefix)?)));
            match ours {
                None if all || kept_xattr(name) => rest.push((name.to_vec(), value.to_vec())),
                // Content of a mount with the other namespace: no layer carries it, a complete list does.
                Some((_, false, _)) if all => rest.push((name.to_vec(), value.to_vec())),
                Some((prefix, true, mark)) => match mark {
                    b"opaque" => marks.opaque = value == b"y",
                    b"redirect" => marks.redirect = Some(value.to_vec()),
                    b"metacopy" => marks.metacopy = true,
                    b"whiteout" => marks.whiteout = true,
                    b"nlink" => marks.indexed = true,
                    b"origin" => {
                        marks.copied = true;
                        marks.origin = handle(value).map(of_handle);
                    }
                    _ => {
                        if let (Some(own), true) = (mark.strip_prefix(b"overlay."), all) {
                            rest.push(([prefix, own].concat(), value.to_vec()));
                        }
                    }
                },
                _ => {}
            }
        }
        rest.sort();
        (marks, rest)
    }

    /// Returns the redirect, once it was checked: one name, or an absolute path of plain names.
    pub fn checked_redirect(&self, shown: impl FnOnce() -> Vec<u8>) -> Result<Option<&[u8]>> {
        let Some(to) = self.redirect.as_deref() else { return Ok(None) };
        let names = to.strip_prefix(b"/").unwrap_or(to);
        let plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        let sound = match to.first() {
            Some(b'/') => names.split(|&c| c == b'/').all(plain),
            _ => plain(to) && !to.contains(&b'/'),
        };
        if !sound {
            return Err(
                Error::corrupt(super::DECODE, "its overlay.redirect is not a path").with_path(shown())
            );
        }
        Ok(Some(to))
    }
}

/// Returns the file handle in an `overlay.origin` (fs/overlayfs/overlayfs.h, `struct ovl_fb`): version 0, magic, length,
/// flags, type, the 16 bytes of the filesystem's uuid, the handle.
fn handle(origin: &[u8]) -> Option<&[u8]> {
    const MAGIC: u8 = 0xfb;
    match *origin {
        [0, MAGIC, len, ..] if len as usize == origin.len() => origin.get(21..),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Counted = Counted { trusted: true, user: true };

    #[test]
    fn marks_are_taken_and_escaped_attributes_come_back() {
        let pairs: Vec<(&[u8], &[u8])> = vec![
            (b"trusted.overlay.opaque", b"y"),
            (b"trusted.overlay.overlay.opaque", b"x"),
            (b"trusted.overlay.origin", b"\0\xfb"),
            (b"user.a", b"1"),
            (b"user.overlay.redirect", b"/a/b"),
        ];
        let (marks, rest) = Marks::take(pairs.clone(), BOTH, false);
        assert!(marks.opaque && !marks.metacopy);
        assert_eq!(marks.redirect.as_deref(), Some(&b"/a/b"[..]));
        assert_eq!(rest, vec![(b"user.a".to_vec(), b"1".to_vec())]);
        let (_, rest) = Marks::take(pairs.clone(), BOTH, true);
        assert_eq!(rest[0], (b"trusted.overlay.opaque".to_vec(), b"x".to_vec()));
        let (marks, _) = Marks::take(pairs, Counted { trusted: true, user: false }, false);
        assert_eq!(marks.redirect, None, "content of a trusted mount is no mark");
    }

    #[test]
    fn a_redirect_is_a_name_or_an_absolute_path() {
        let check = |to: &[u8]| {
            let marks = Marks { redirect: Some(to.to_vec()), ..Marks::default() };
            marks.checked_redirect(Vec::new).is_ok()
        };
        for to in [&b"a"[..], b"/a", b"/a/b", b"/..a/b..", b"a\xff"] {
            assert!(check(to), "{to:?}");
        }
        for to in [&b""[..], b"/", b"a/b", b"/a/", b"//a", b"/a//b", b"..", b"/../a", b"/a/./b", b"a\0"] {
            assert!(!check(to), "{to:?}");
        }
    }
}
