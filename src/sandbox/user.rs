//! Users and groups by name, from the tree's own files.

use std::io::Read;

use rustix::fs::OFlags;

use super::order::Ids;
use crate::error::{Error, ErrorKind, Result, escape};
use crate::fs::Root;
use crate::fs::within::open_within;

const OP: &str = "find user";
/// The most of /etc/passwd and /etc/group that is read.
const CAP: u64 = 16 << 20;

/// A user as `USER` in a Dockerfile or `--user` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Numbers for [`super::StepOptions::user`].
    pub ids: Ids,
    /// The home directory; `/` where the tree does not say.
    pub home: Vec<u8>,
}

/// Finds `USER[:GROUP]`, each a name or a number, in `/etc/passwd` and `/etc/group` of a tree. Empty means root. An unknown
/// number is taken as it is, with group 0; an unknown name is an error. Supplementary groups are those of the user, unless
/// a group is named.
pub fn find(root: &Root, text: &str) -> Result<Found> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let passwd = read(root, "etc/passwd")?;
    let groups = read(root, "etc/group")?;
    let number = user.parse::<u32>().ok().filter(|&id| id != u32::MAX);
    let entry = lines(&passwd).find(|fields| match number {
        // A name that is a number is a name first.
        Some(id) => fields.first() == Some(&user.as_bytes()) || id_at(fields, 2) == Some(id),
        None => fields.first() == Some(&user.as_bytes()),
    });
    let (name, uid, gid, home) = match (&entry, number) {
        (Some(fields), _) => {
            let wrong = || Error::corrupt(OP, "the user's line in etc/passwd is not usable").with_path(user);
            let (uid, gid) = (id_at(fields, 2).ok_or_else(wrong)?, id_at(fields, 3).ok_or_else(wrong)?);
            let home = fields.get(5).copied().filter(|home| !home.is_empty()).unwrap_or(b"/");
            (fields.first().copied(), uid, gid, home.to_vec())
        }
        (None, Some(id)) => (None, id, 0, b"/".to_vec()),
        (None, None) => return Err(missing("no such user in etc/passwd", user)),
    };
    let mut ids = Ids { uid, gid, groups: Vec::new() };
    match group.filter(|group| !group.is_empty()) {
        Some(group) => {
            let found = lines(&groups).find(|fields| fields.first() == Some(&group.as_bytes()));
            let found = found.and_then(|fields| id_at(&fields, 2));
            let number = group.parse::<u32>().ok().filter(|&id| id != u32::MAX);
            ids.gid = found.or(number).ok_or_else(|| missing("no such group in etc/group", group))?;
        }
        None => {
            let member = |fields: &[&[u8]]| {
                let members = fields.get(3).copied().unwrap_or_default();
                name.is_some_and(|name| members.split(|&c| c == b',').any(|member| member == name))
            };
            ids.groups =
                lines(&groups).filter(|fields| member(fields)).filter_map(|f| id_at(&f, 2)).collect();
            ids.groups.sort_unstable();
            ids.groups.dedup();
        }
    }
    Ok(Found { ids, home })
}

fn missing(message: &str, name: &str) -> Error {
    Error::not_found(OP, message).with_path(name)
}

/// Returns a file of the tree, its links resolved within it; empty where there is none.
fn read(root: &Root, path: &str) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open_within(root, path.as_bytes(), flags) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(OP, root.describe(path.as_bytes()), error)),
    };
    let mut out = Vec::new();
    let mut file = std::fs::File::from(fd).take(CAP + 1);
    file.read_to_end(&mut out).map_err(|error| Error::io(OP, root.describe(path.as_bytes()), error))?;
    if out.len() as u64 > CAP {
        return Err(Error::new(ErrorKind::Limit, OP, "larger than 16 MiB").with_path(escape(path.as_bytes())));
    }
    Ok(out)
}

fn lines(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    text.split(|&c| c == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| line.split(|&c| c == b':').collect())
}

fn id_at(fields: &[&[u8]], at: usize) -> Option<u32> {
    std::str::from_utf8(fields.get(at)?).ok()?.parse().ok().filter(|&id| id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("etc")).unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235::/home/app:/bin/sh\n";
        std::fs::write(temp.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(temp.path().join("etc/group"), "root:x:0:\nstaff:x:50:app,other\napp:x:1235:\n")
            .unwrap();
        let root = Root::open(temp.path()).unwrap();
        (temp, root)
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        let (_temp, root) = tree();
        let ids = |uid, gid, groups: &[u32]| Ids { uid, gid, groups: groups.to_vec() };
        for (text, expected, home) in [
            ("", ids(0, 0, &[]), "/root"),
            ("app", ids(1234, 1235, &[50]), "/home/app"),
            ("1234", ids(1234, 1235, &[50]), "/home/app"),
            ("app:staff", ids(1234, 50, &[]), "/home/app"),
            ("app:7", ids(1234, 7, &[]), "/home/app"),
            ("99", ids(99, 0, &[]), "/"),
            ("99:98", ids(99, 98, &[]), "/"),
        ] {
            let found = find(&root, text).unwrap();
            assert_eq!((found.ids, found.home.as_slice()), (expected, home.as_bytes()), "{text}");
        }
        for text in ["nobody", "app:nogroup", "4294967295"] {
            assert_eq!(find(&root, text).unwrap_err().kind(), ErrorKind::NotFound, "{text}");
        }
    }
}
