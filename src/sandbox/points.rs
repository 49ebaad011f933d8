//! Places in the tree that something is mounted on: made for a step where they are missing, and gone afterwards, so that neither they nor
//! the times of their directories are ever part of a layer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::error::{At, Error, Result};
use crate::fs::root::c_name;
use crate::fs::stat::{stat_at, stat_fd};
use crate::fs::{Kind, Root, Timestamp};

const OP: &str = "prepare tree";

/// One that was made.
#[derive(Debug)]
struct Made {
    directory: OwnedFd,
    name: Vec<u8>,
    kind: Kind,
    inode: u64,
    /// When the directory was changed last, before and after.
    before: Timestamp,
    after: Timestamp,
}

/// What was made for one step, in order.
#[derive(Debug, Default)]
pub struct Points(Vec<Made>);

impl Points {
    /// Makes sure that a directory or file is there, following links within the tree. Gives whether it is: a link that leads to nothing
    /// is left as it is.
    pub fn ensure(&mut self, root: &Root, path: &[u8], kind: Kind) -> Result<bool> {
        let shown = || root.describe(path);
        let names: Vec<&[u8]> = path.split(|&c| c == b'/').filter(|name| !name.is_empty()).collect();
        if names.is_empty() || names.iter().any(|name| matches!(*name, b"." | b"..")) {
            return Err(Error::invalid(OP, "this is no path below the root").with_path(path));
        }
        for end in 1..=names.len() {
            let part = names[..end].join(&b'/');
            match open(root, &part) {
                Ok(_) => continue,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error).at(OP, shown()),
            }
            let above = match end {
                1 => open(root, b"."),
                _ => open(root, &names[..end - 1].join(&b'/')),
            };
            let above = above.at(OP, shown())?;
            // Opened once more to be written to: what only names a file changes nothing.
            let directory =
                rustix::fs::openat(&above, c".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            let directory = directory.at(OP, shown())?;
            let kind = if end == names.len() { kind } else { Kind::Directory };
            match make(directory, names[end - 1], kind) {
                Ok(made) => self.0.push(made),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                Err(error) => return Err(error).at(OP, shown()),
            }
        }
        Ok(true)
    }

    /// Removes what was made, if it still is what was made and empty, and gives directories the times back that they had, unless the step
    /// changed them too.
    pub fn remove(self, root: &Root) -> Result<()> {
        for made in self.0.into_iter().rev() {
            let shown = || root.describe(&made.name);
            let name = c_name(&made.name).at(OP, shown())?;
            let stat = match stat_at(&made.directory, &name) {
                Ok(stat) => stat,
                // The step did away with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).at("restore tree", shown()),
            };
            if stat.ino != made.inode || stat.kind != made.kind || (stat.kind == Kind::File && stat.size != 0)
            {
                continue;
            }
            let now = stat_fd(&made.directory).at("restore tree", shown())?.mtime;
            let flags = if made.kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            match rustix::fs::unlinkat(&made.directory, &name, flags) {
                Ok(()) => {}
                // The step put something there.
                Err(Errno::NOTEMPTY | Errno::EXIST) => continue,
                Err(error) => return Err(error).at("restore tree", shown()),
            }
            let mtime = if now == made.after { made.before } else { now };
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
                last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() },
            };
            rustix::fs::futimens(&made.directory, &times).at("restore tree", shown())?;
        }
        Ok(())
    }
}

fn open(root: &Root, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn make(directory: OwnedFd, name: &[u8], kind: Kind) -> io::Result<Made> {
    let before = stat_fd(&directory)?.mtime;
    let c_name = c_name(name)?;
    if kind == Kind::Directory {
        rustix::fs::mkdirat(&directory, &c_name, Mode::from_raw_mode(0o755))?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&directory, &c_name, flags, Mode::from_raw_mode(0o644))?;
    }
    let (stat, after) = (stat_at(&directory, &c_name)?, stat_fd(&directory)?.mtime);
    Ok(Made { directory, name: name.to_vec(), kind, inode: stat.ino, before, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(root: &Root, path: &[u8]) -> Timestamp {
        stat_fd(root.open_dir(path).unwrap()).unwrap().mtime
    }

    #[test]
    fn what_was_made_goes_and_times_come_back() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("etc")).unwrap();
        let root = Root::open(temp.path()).unwrap();
        let old = Timestamps {
            last_access: Timespec { tv_sec: 1, tv_nsec: 0 },
            last_modification: Timespec { tv_sec: 1_000_000_000, tv_nsec: 7 },
        };
        rustix::fs::futimens(root.open_dir(b"etc").unwrap(), &old).unwrap();
        rustix::fs::futimens(&root, &old).unwrap();
        let before = (at(&root, b""), at(&root, b"etc"));
        let mut points = Points::default();
        for (path, kind) in [
            (&b"proc"[..], Kind::Directory),
            (b"etc/hosts", Kind::File),
            (b"a/b/c", Kind::Directory),
            (b"etc", Kind::Directory),
        ] {
            assert!(points.ensure(&root, path, kind).unwrap());
        }
        assert!(temp.path().join("a/b/c").is_dir() && temp.path().join("etc/hosts").is_file());
        points.remove(&root).unwrap();
        assert_eq!((at(&root, b""), at(&root, b"etc")), before);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_the_step_used_stays() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        let mut points = Points::default();
        points.ensure(&root, b"srv", Kind::Directory).unwrap();
        points.ensure(&root, b"hosts", Kind::File).unwrap();
        std::fs::write(temp.path().join("srv/x"), "x").unwrap();
        std::fs::write(temp.path().join("hosts"), "x").unwrap();
        points.remove(&root).unwrap();
        assert!(temp.path().join("srv/x").exists() && temp.path().join("hosts").exists());
    }

    #[test]
    fn links_lead_nowhere_else() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("tree/real")).unwrap();
        for (target, link) in [("/real", "absolute"), ("../../..", "up"), ("nowhere", "dangling")] {
            std::os::unix::fs::symlink(target, temp.path().join("tree").join(link)).unwrap();
        }
        let root = Root::open(temp.path().join("tree")).unwrap();
        let mut points = Points::default();
        assert!(points.ensure(&root, b"absolute/x", Kind::Directory).unwrap());
        assert!(points.ensure(&root, b"up/y", Kind::Directory).unwrap());
        assert!(!points.ensure(&root, b"dangling", Kind::File).unwrap());
        assert!(points.ensure(&root, b"../z", Kind::Directory).is_err());
        assert!(temp.path().join("tree/real/x").exists() && temp.path().join("tree/y").exists());
    }
}
