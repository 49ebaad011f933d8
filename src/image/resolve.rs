//! Following paths inside an image, in its list alone.

use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::tree::Snapshot;

const RESOLVE: &str = "resolve path";
/// As many symbolic links as Linux follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Returns the entry that a path leads to. Symbolic links on the way are followed as a process with this root would follow
/// them: absolute targets begin at the root of the list, and `..` does not leave it. With `follow`, so is the last
/// component.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such entry, [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument)
/// for a component that is no directory and for too many links.
pub(crate) fn resolve(list: &Snapshot, path: &[u8], follow: bool) -> Result<u32> {
    let fail = |error: Error| error.with_path([b"/", path.strip_prefix(b"/").unwrap_or(path)].concat());
    let mut at = 0;
    let mut links = 0;
    // What is still to be followed, the next component last.
    let mut todo: Vec<&[u8]> = path.rsplit(|&byte| byte == b'/').collect();
    while let Some(name) = todo.pop() {
        // The root first, since it is a directory even where nothing describes it.
        if at != 0 && list.meta(at).kind != Kind::Directory {
            let message = format!("a component is a {}, not a directory", list.meta(at).kind.name());
            return Err(fail(Error::invalid(RESOLVE, message)));
        }
        match name {
            b"" | b"." => continue,
            b".." => {
                at = list.parent(at);
                continue;
            }
            _ => {}
        }
        let Some(node) = list.child(at, name) else {
            return Err(fail(Error::not_found(RESOLVE, "there is no such file or directory")));
        };
        let last = todo.is_empty();
        if list.meta(node).kind == Kind::Symlink && (follow || !last) {
            links += 1;
            if links > MAX_LINKS {
                return Err(fail(Error::invalid(RESOLVE, "too many symbolic links")));
            }
            let target = list.link_target(node);
            if target.first() == Some(&b'/') {
                at = 0;
            }
            todo.extend(target.rsplit(|&byte| byte == b'/'));
        } else {
            at = node;
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::tree::Meta;
    use crate::tree::builder::{Builder, Inode, ROOT};

    fn list() -> Snapshot {
        let mut tree = Builder::empty();
        let kind = |kind| Inode::new(Meta { kind, ..Meta::directory() });
        let link = |target: &[u8]| Inode { target: target.to_vec(), ..kind(Kind::Symlink) };
        let usr = tree.insert(ROOT, b"usr", kind(Kind::Directory));
        let lib = tree.insert(usr, b"lib", kind(Kind::Directory));
        tree.insert(lib, b"os-release", kind(Kind::File));
        let etc = tree.insert(ROOT, b"etc", kind(Kind::Directory));
        tree.insert(etc, b"os-release", link(b"../usr/lib/os-release"));
        tree.insert(etc, b"out", link(b"/../../../usr/lib"));
        tree.insert(etc, b"loop", link(b"loop"));
        tree.insert(etc, b"dangling", link(b"nowhere"));
        tree.insert(ROOT, b"lib", link(b"/usr/lib"));
        tree.finish(None).unwrap()
    }

    #[test]
    fn links_lead_to_places_inside() {
        let list = list();
        let at = |path: &[u8]| resolve(&list, path, true).map(|at| list.path(at));
        for path in [
            &b"/etc/os-release"[..],
            b"lib/os-release",
            b"/etc/out/./os-release",
            b"../usr//lib/../lib/os-release",
        ] {
            assert_eq!(at(path).unwrap(), b"usr/lib/os-release", "{}", path.escape_ascii());
        }
        assert_eq!(at(b"").unwrap(), b"");
        assert_eq!(at(b"/").unwrap(), b"");
        assert_eq!(at(b"/lib/").unwrap(), b"usr/lib");
        let lone = |path: &[u8]| resolve(&list, path, false).map(|at| list.path(at));
        assert_eq!(lone(b"/etc/os-release").unwrap(), b"etc/os-release");
        assert_eq!(lone(b"/lib/os-release").unwrap(), b"usr/lib/os-release");
        assert_eq!(lone(b"/lib/").unwrap(), b"usr/lib");
        for path in [&b"/etc/dangling"[..], b"/nothing", b"/usr/lib/x/y"] {
            assert_eq!(at(path).unwrap_err().kind(), ErrorKind::NotFound);
        }
        for path in [&b"/etc/loop"[..], b"/etc/os-release/x", b"/etc/os-release/"] {
            assert_eq!(at(path).unwrap_err().kind(), ErrorKind::InvalidArgument, "{}", path.escape_ascii());
        }
    }
}
