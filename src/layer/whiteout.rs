//! Whiteouts: the names that delete (image-spec, layer.md, "Whiteouts" and "Opaque Whiteout").

use crate::error::{Error, ErrorKind, Result};
use crate::layer::header::{EntryKind, MAX_COMPONENT};

/// The prefix of every whiteout.
pub const PREFIX: &[u8] = b".wh.";

/// The name of the entry that hides everything lower layers have in its directory.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// The prefix of AUFS bookkeeping, which old layers still carry.
const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// The meaning of a name for whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteout<'a> {
    /// An ordinary name.
    None,
    /// `.wh.NAME`: lower layers' NAME is gone.
    Remove(&'a [u8]),
    /// `.wh..wh..opq`: what lower layers have in this directory is gone, wherever in the archive this stands.
    Opaque,
    /// Other names that start with `.wh..wh.`: bookkeeping of AUFS, to be ignored with all below it, as Docker does.
    AufsMetadata,
}

/// The treatment of whiteouts that the specification forbids and old tools wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// A whiteout that is not an empty regular file is an error.
    #[default]
    Strict,
    /// As containerd: a regular file is a whiteout whatever it holds, a directory named `.wh.x` is a directory.
    Lenient,
}

/// Returns what one component of a path (never a whole path) says about whiteouts.
///
/// `.wh.` alone, `.wh..` and `.wh...` would delete the directory itself or its parent: they are errors.
pub fn parse(name: &[u8]) -> Result<Whiteout<'_>> {
    let Some(target) = name.strip_prefix(PREFIX) else { return Ok(Whiteout::None) };
    match target {
        b"" | b"." | b".." => {
            Err(Error::corrupt("read whiteout", "a whiteout must name what it removes").with_path(name))
        }
        _ if name == OPAQUE => Ok(Whiteout::Opaque),
        _ if name.starts_with(AUFS_PREFIX) => Ok(Whiteout::AufsMetadata),
        _ => Ok(Whiteout::Remove(target)),
    }
}

/// Returns what a whole entry says about whiteouts: the last component by [`parse`], and no whiteout name above it.
///
/// A whiteout is an empty regular file (layer.md, "Whiteouts"). Anything else of that name is an error, or what
/// [`Strictness::Lenient`] says.
pub fn classify(path: &[u8], kind: EntryKind, size: u64, strictness: Strictness) -> Result<Whiteout<'_>> {
    let (parents, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[][..], path),
    };
    let refuse = |why: &'static str| Err(Error::corrupt("read whiteout", why).with_path(path));
    for parent in parents.split(|&byte| byte == b'/') {
        match parse(parent).map_err(|error| error.with_path(path))? {
            Whiteout::None => {}
            Whiteout::AufsMetadata => return Ok(Whiteout::AufsMetadata),
            Whiteout::Remove(_) if strictness == Strictness::Lenient => {}
            _ => return refuse("a whiteout has something below it"),
        }
    }
    let whiteout = parse(name).map_err(|error| error.with_path(path))?;
    match whiteout {
        Whiteout::None | Whiteout::AufsMetadata => Ok(whiteout),
        _ if kind == EntryKind::File && size == 0 => Ok(whiteout),
        _ if strictness == Strictness::Strict => refuse("a whiteout is not an empty regular file"),
        Whiteout::Remove(_) if kind == EntryKind::Directory && name.len() > MAX_COMPONENT => {
            refuse("the name is too long for a directory")
        }
        Whiteout::Remove(_) if kind == EntryKind::Directory => Ok(Whiteout::None),
        _ if kind == EntryKind::Directory => refuse("a directory has the name of the opaque whiteout"),
        _ => Ok(whiteout),
    }
}

/// Returns the name of the whiteout that removes `name`. It may be longer than a name on disk can be: what reads layers
/// takes it for what it says, and Docker writes such ones, too.
pub fn marker(name: &[u8]) -> Result<Vec<u8>> {
    check_name(name)?;
    if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(Error::invalid("write whiteout", "not the name of a directory entry").with_path(name));
    }
    if name.len() > MAX_COMPONENT {
        return Err(Error::limit("write whiteout", "no name is as long as this").with_path(name));
    }
    Ok([PREFIX, name].concat())
}

/// Refuses a name in a tree that would become a whiteout in a layer: stored as it is, it would delete files when
/// the layer is applied.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.starts_with(PREFIX) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "write layer",
            "names that start with .wh. delete files when a layer is applied",
        )
        .with_path(name)
        .with_hint("rename or remove the file: layers cannot hold it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_specification_says() {
        let table: &[(&[u8], Whiteout<'_>)] = &[
            (b"", Whiteout::None),
            (b"a", Whiteout::None),
            (b".wh", Whiteout::None),
            (b".whx", Whiteout::None),
            (b"wh.a", Whiteout::None),
            (b".WH.a", Whiteout::None),
            (b"x.wh.a", Whiteout::None),
            (b".wh.a", Whiteout::Remove(b"a")),
            (b".wh....", Whiteout::Remove(b"...")),
            (b".wh..a", Whiteout::Remove(b".a")),
            (b".wh..wh", Whiteout::Remove(b".wh")),
            (b".wh..whx", Whiteout::Remove(b".whx")),
            (b".wh.\xff", Whiteout::Remove(b"\xff")),
            (b".wh..wh..opq", Whiteout::Opaque),
            (b".wh..wh..opqx", Whiteout::AufsMetadata),
            (b".wh..wh.", Whiteout::AufsMetadata),
            (b".wh..wh.aufs", Whiteout::AufsMetadata),
            (b".wh..wh.plnk", Whiteout::AufsMetadata),
            (b".wh..wh.orph", Whiteout::AufsMetadata),
        ];
        for (name, meaning) in table {
            assert_eq!(parse(name).unwrap(), *meaning, "{}", name.escape_ascii());
        }
        for name in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(parse(name).is_err(), "{}", name.escape_ascii());
            assert!(marker(&name[4..]).is_err());
        }
    }

    #[test]
    fn entries_are_judged_by_kind_and_place() {
        use EntryKind::*;
        use Strictness::*;
        let ok =
            |path: &'static [u8], kind, size, strictness| classify(path, kind, size, strictness).unwrap();
        assert_eq!(ok(b"a/.wh.b", File, 0, Strict), Whiteout::Remove(b"b"));
        assert_eq!(ok(b"a/.wh..wh..opq", File, 0, Strict), Whiteout::Opaque);
        assert_eq!(ok(b".wh..wh.plnk/1.2", File, 9, Strict), Whiteout::AufsMetadata);
        assert_eq!(ok(b".wh..wh.plnk", Directory, 0, Strict), Whiteout::AufsMetadata);
        assert_eq!(ok(b"a/.wh.b", File, 1, Lenient), Whiteout::Remove(b"b"));
        assert_eq!(ok(b"a/.wh.b", Directory, 0, Lenient), Whiteout::None);
        assert_eq!(ok(b".wh.b/c", File, 1, Lenient), Whiteout::None);
        assert_eq!(ok(b"", Directory, 0, Strict), Whiteout::None);
        for (path, kind, size) in [
            (&b"a/.wh.b"[..], File, 1),
            (b"a/.wh.b", Directory, 0),
            (b"a/.wh.b", Symlink, 0),
            (b"a/.wh.b", Hardlink, 0),
            (b"a/.wh.b", Fifo, 0),
            (b"a/.wh.b", CharDevice, 0),
            (b".wh..wh..opq", Directory, 0),
            (b".wh.b/c", File, 0),
            (b".wh./c", File, 0),
            (b"a/.wh.", File, 0),
            (b"a/.wh...", File, 0),
            (b".wh..wh..opq/c", File, 0),
        ] {
            let error = classify(path, kind, size, Strict).unwrap_err();
            assert_eq!(error.path(), Some(path));
        }
        for path in [&b"a/.wh."[..], b"a/.wh..", b".wh..wh..opq/c"] {
            assert!(classify(path, File, 0, Lenient).is_err());
        }
    }

    #[test]
    fn markers_are_made_only_of_names_that_come_back() {
        assert_eq!(marker(b"a").unwrap(), b".wh.a");
        assert_eq!(marker(b"\xff ").unwrap(), b".wh.\xff ");
        assert_eq!(marker(&[b'x'; 255]).unwrap().len(), 259);
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", b".wh.a", &[b'x'; 256]] {
            assert!(marker(bad).is_err());
        }
    }
}
