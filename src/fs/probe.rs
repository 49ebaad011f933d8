//! What this machine and filesystem can do, found out by trying: cheap, and leaving nothing behind. Nothing here starts a
//! process or changes this one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, XattrFlags};

/// One thing that works here or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// A short name.
    pub name: &'static str,
    /// Whether it works.
    pub works: bool,
    /// What it is good for, or why it does not work.
    pub remark: String,
}

fn ability(name: &'static str, tried: io::Result<()>, good_for: &str) -> Ability {
    match tried {
        Ok(()) => Ability { name, works: true, remark: good_for.into() },
        Err(error) => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
            Ability { name, works: false, remark: text }
        }
    }
}

/// Everything, in the order people should read it. With a store, also what its filesystem can do.
pub fn all(store: Option<&Path>) -> Vec<Ability> {
    let mut out = vec![
        ability("openat2", openat2(), "paths below a tree are resolved in one call"),
        ability("set owners", set_owners(), "owners and devices go to the disk, not to the ledger"),
    ];
    let Some(store) = store else { return out };
    match unnamed(store) {
        Ok(file) => {
            out.push(ability("unnamed files", Ok(()), "a blob has no name before it is whole"));
            let tried = rustix::fs::fsetxattr(&file, c"user.treering.probe", b"1", XattrFlags::empty());
            out.push(ability("user xattrs", tried.map_err(Into::into), "on the filesystem of the store"));
            out.push(ability("reflinks", reflink(store, &file), "on the filesystem of the store"));
        }
        Err(error) => out.push(ability("unnamed files", Err(error), "")),
    }
    out
}

fn openat2() -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(rustix::fs::CWD, c".", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    Ok(())
}

fn set_owners() -> io::Result<()> {
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err(io::Error::other("not root: owners and devices go to the ledger")),
    }
}

/// A file without a name on the filesystem of a directory.
fn unnamed(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?))
}

fn reflink(dir: &Path, file: &File) -> io::Result<()> {
    let mut from = file;
    from.write_all(&[1; 4096])?;
    let to = unnamed(dir)?;
    rustix::fs::ioctl_ficlone(to.as_fd(), file.as_fd())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_says_something_about_everything_and_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let all = all(Some(temp.path()));
        assert!(all.len() >= 3);
        assert!(all.iter().all(|one| !one.remark.is_empty()), "{all:?}");
        assert_eq!(temp.path().read_dir().unwrap().count(), 0);
    }
}
