//! Names as layers mean them: components below the root, joined by single slashes.

use super::ReadLimits;
use crate::fs::root::push_name;
use crate::layer::fault::{Fault, Parsed};
use crate::layer::whiteout;

/// A name after normalisation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Components joined by `/`; empty for the root.
    pub(super) path: Vec<u8>,
    /// The name ended as only the name of a directory can: in `/` or `.`, or it was empty.
    pub(super) directory: bool,
}

/// Normalises the name of an entry or the target of a hard link: leading slashes are stripped as Docker and GNU
/// tar strip them, empty components and `.` drop out, `..` is refused (no reader agrees with another about it).
pub(super) fn normalise(parts: &[&[u8]], what: &'static str, limits: &ReadLimits) -> Parsed<Name> {
    let len: usize = parts.iter().map(|part| part.len() + 1).sum();
    let mut path = Vec::with_capacity(len);
    let mut directory = true;
    for part in parts {
        if part.contains(&0) {
            return Err(Fault::corrupt(format!("the {what} holds a NUL byte")));
        }
        for component in part.split(|&byte| byte == b'/') {
            directory = matches!(component, b"" | b".");
            if directory {
                continue;
            }
            if component == b".." {
                return Err(Fault::corrupt(format!("the {what} has a .. component")));
            }
            // A whiteout is longer than the name it removes, and never a name on disk.
            let name = component.strip_prefix(whiteout::PREFIX).unwrap_or(component);
            if name.len() > limits.max_component {
                return Err(Fault::limit(format!(
                    "the {what} has a component of {} bytes; the most is {}",
                    component.len(),
                    limits.max_component
                )));
            }
            push_name(&mut path, component);
        }
    }
    if path.len() > limits.max_path {
        return Err(Fault::limit(format!(
            "the {what} has {} bytes; the most is {}",
            path.len(),
            limits.max_path
        )));
    }
    Ok(Name { path, directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_or_refused() {
        let limits = ReadLimits::default();
        let one = |name: &[u8]| normalise(&[name], "name", &limits);
        let table: &[(&[u8], &[u8], bool)] = &[
            (b"", b"", true),
            (b".", b"", true),
            (b"/", b"", true),
            (b"./", b"", true),
            (b"./.", b"", true),
            (b"a", b"a", false),
            (b"/a", b"a", false),
            (b"//a//b", b"a/b", false),
            (b"./a", b"a", false),
            (b"a/", b"a", true),
            (b"a/.", b"a", true),
            (b"a/./b", b"a/b", false),
            (b"...", b"...", false),
            (b"..a/b..", b"..a/b..", false),
            (b"\xff/\n", b"\xff/\n", false),
        ];
        for &(name, path, directory) in table {
            assert_eq!(
                one(name).unwrap(),
                Name { path: path.to_vec(), directory },
                "{}",
                name.escape_ascii()
            );
        }
        let prefixed = normalise(&[b"p/q", b"n"], "name", &limits).unwrap();
        assert_eq!(prefixed, Name { path: b"p/q/n".to_vec(), directory: false });
        for bad in [&b".."[..], b"../a", b"a/..", b"a/../b", b"/..", b"a\0b", &[b'a'; 256]] {
            assert!(one(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(one(&[b'a'; 255]).is_ok());
        assert!(one(&[b".wh.", &[b'a'; 255][..]].concat()).is_ok());
        assert!(one(&[b".wh.", &[b'a'; 256][..]].concat()).is_err());
        // What counts is the name that comes out.
        let deep = [&b"/a".repeat(limits.max_path / 2)[..], b"b/"].concat();
        assert_eq!(one(&deep).unwrap().path.len(), limits.max_path);
        assert!(one(&[&deep[..deep.len() - 1], b"b"].concat()).is_err());
    }
}
