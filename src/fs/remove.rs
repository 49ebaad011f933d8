//! Removing a whole subtree by descriptor, however deep it is.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::AtFlags;

use super::dirents::Names;
use super::root::open_dir_at;
use super::stat::{Kind, stat_at};

/// How often a removal begins anew where something changed under it.
const ROUNDS: usize = 64;

/// Removes the name of a file. A missing one is not an error.
pub(crate) fn unlink(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes `name` in `dir`: a file, or a directory with all it holds. Symbolic links are removed, never followed.
/// A missing name is not an error, and neither is another process that removes or adds something there meanwhile, as long as it
/// comes to an end.
///
/// Works without recursion and with at most three descriptors: going up reopens `..` and checks that it is the directory that the
/// way down came from, so that a tree moved meanwhile cannot lead the removal elsewhere.
pub fn remove_all(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    remove(dir, name, &mut None)
}

/// Does what [`remove_all`] does, and returns how many bytes the files took on the disk.
pub fn remove_and_count(dir: impl AsFd, name: &CStr) -> io::Result<u64> {
    let mut bytes = Some(0);
    remove(dir, name, &mut bytes)?;
    Ok(bytes.unwrap_or(0))
}

fn remove(dir: impl AsFd, name: &CStr, bytes: &mut Option<u64>) -> io::Result<()> {
    let dir = dir.as_fd();
    for _ in 1..ROUNDS {
        match remove_once(dir, name, bytes) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
            other => return other,
        }
    }
    remove_once(dir, name, bytes)
}

fn remove_once(dir: BorrowedFd<'_>, name: &CStr, bytes: &mut Option<u64>) -> io::Result<()> {
    count(dir, name, bytes);
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let mut open = enter(dir, name)?;
    // The way down: each directory's name, the identity of its parent, and the directories still to be emptied in it.
    let mut way =
        vec![Step { name: name.to_owned(), parent: identity(dir)?, todo: unlink_files(&open, bytes)? }];
    loop {
        let step = way.last_mut().expect("never empty inside the loop");
        if let Some(name) = step.todo.pop() {
            let next = match enter(open.as_fd(), &name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let todo = unlink_files(&next, bytes)?;
            way.push(Step { name, parent: identity(&open)?, todo });
            open = next;
            continue;
        }
        let Step { name, parent, .. } = way.pop().expect("never empty inside the loop");
        if way.is_empty() {
            drop(open);
            rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR)?;
            return Ok(());
        }
        let up = open_dir_at(&open, c"..")?;
        if identity(&up)? != parent {
            return Err(io::Error::other("the tree was moved while it was being removed"));
        }
        rustix::fs::unlinkat(&up, &name, AtFlags::REMOVEDIR)?;
        open = up;
    }
}

struct Step {
    name: CString,
    parent: (u64, u64),
    todo: Vec<CString>,
}

/// Removes everything in a directory but the directories that are not empty, and gives their names. Each directory is
/// read once: reading it again after each of its subdirectories would take time by the square of their number.
fn unlink_files(dir: &OwnedFd, bytes: &mut Option<u64>) -> io::Result<Vec<CString>> {
    let mut names = Names::default();
    names.read(dir)?;
    let mut full = Vec::new();
    for i in 0..names.len() {
        let name = names.get(i);
        count(dir, name, bytes);
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => {
                if stat_at(dir, name)?.kind != Kind::Directory {
                    return Err(error.into());
                }
                match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                    Err(_) => full.push(name.to_owned()),
                }
            }
        }
    }
    Ok(full)
}

/// Adds what a file takes; one with other names stays.
fn count(dir: impl AsFd, name: &CStr, bytes: &mut Option<u64>) {
    if let Some(bytes) = bytes
        && let Ok(stat) = stat_at(dir, name)
        && (stat.kind == Kind::Directory || stat.nlink == 1)
    {
        *bytes += stat.blocks * 512;
    }
}

/// Opens a directory to empty it. Permissions of the owner that are missing are given first.
fn enter(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let dir = dir.as_fd();
    let stat = stat_at(dir, name)?;
    if stat.kind == Kind::Directory && stat.mode & 0o700 != 0o700 {
        super::chmod::chmod_at(dir, name, stat.mode as u32 | 0o700)?;
    }
    open_dir_at(dir, name)
}

fn identity(dir: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = super::stat::stat_fd(dir)?;
    Ok((stat.dev, stat.ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_removals_of_one_tree_both_succeed() {
        for round in 0..50 {
            let temp = tempfile::tempdir().unwrap();
            for number in 0..40 {
                let deep = temp.path().join(format!("tree/{}/{number}", number % 5));
                std::fs::create_dir_all(&deep).unwrap();
                std::fs::write(deep.join("file"), "x").unwrap();
            }
            let parent = std::fs::File::open(temp.path()).unwrap();
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..3).map(|_| scope.spawn(|| remove_all(&parent, c"tree"))).collect();
                for one in all {
                    one.join().unwrap().unwrap_or_else(|error| panic!("round {round}: {error}"));
                }
            });
            assert!(!temp.path().join("tree").exists());
        }
    }

    #[test]
    fn what_is_added_meanwhile_goes_as_well() {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let parent = std::fs::File::open(temp.path()).unwrap();
        std::thread::scope(|scope| {
            let adds =
                scope.spawn(|| (1..ROUNDS).all(|n| std::fs::write(tree.join(n.to_string()), "").is_ok()));
            while !adds.is_finished() {
                remove_all(&parent, c"tree").unwrap();
            }
        });
        remove_all(&parent, c"tree").unwrap();
        assert!(!tree.exists());
    }
}
