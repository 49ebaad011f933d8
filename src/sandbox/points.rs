//! Places in the tree that something is mounted on: made for a step where they are missing, and gone afterwards, so that neither they nor
//! the times of their directories are ever part of a layer.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::FileMount;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::chmod::chmod_at;
use crate::fs::root::c_name;
use crate::fs::stat::{stat_at, stat_fd};
use crate::fs::{Kind, Root, Timestamp};
use crate::tree::journal::{self, Note, Writer};

const OP: &str = "prepare tree";

/// An action that has to be undone.
#[derive(Debug)]
enum Undo {
    Made(Made),
    Exchanged(Exchanged),
}

/// An entry that was exchanged with what was in its place.
#[derive(Debug)]
struct Exchanged {
    /// The directory in the tree and the name in it, and those that it comes from.
    here: (OwnedFd, Vec<u8>),
    there: (OwnedFd, Vec<u8>),
    /// When both directories were changed last, before and after.
    before: [Timestamp; 2],
    after: [Timestamp; 2],
}

/// An entry that was made.
#[derive(Debug)]
struct Made {
    directory: OwnedFd,
    name: Vec<u8>,
    kind: Kind,
    inode: u64,
    /// Whether it goes with what is in it: a file that was written here.
    filled: bool,
    /// When the directory was changed last, before and after.
    before: Timestamp,
    after: Timestamp,
}

/// The entries that were made for one step, in order.
#[derive(Debug, Default)]
pub struct Points {
    list: Vec<Undo>,
    /// Where it is noted, so that a kill leaves it to be undone by others.
    journal: Option<Writer>,
}

impl Points {
    /// Notes in a journal what is made.
    pub fn noted(journal: Writer) -> Points {
        Points { list: Vec::new(), journal: Some(journal) }
    }

    /// Returns the points that were made for a step that was killed.
    pub fn of(root: &Root, noted: &[journal::Made]) -> Result<Points> {
        let mut list = Vec::new();
        for made in noted {
            let shown = || root.describe(&[&made.directory[..], b"/", &made.name].concat());
            match root.open_dir(&made.directory) {
                Ok(directory) => list.push(Undo::Made(Made {
                    directory,
                    name: made.name.clone(),
                    kind: made.kind,
                    inode: made.inode,
                    filled: made.filled,
                    before: made.times[0],
                    after: made.times[1],
                })),
                // The step did away with it.
                Err(error) if crate::fs::root::was_replaced(&error) => {}
                Err(error) => return Err(error).at(RESTORE, shown()),
            }
        }
        Ok(Points { list, journal: None })
    }

    /// Takes note of something that was made in a directory.
    fn note(&mut self, root: &Root, directory: &[u8], made: &Made) -> Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let note = Note::Made(journal::Made {
            directory: root.real_path(directory).at(OP, root.describe(directory))?,
            name: made.name.clone(),
            kind: made.kind,
            inode: made.inode,
            filled: made.filled,
            times: [made.before, made.after],
        });
        journal.note(&note).at(OP, "write journal")
    }

    /// Makes sure that a directory or file is there, following links within the tree. Gives whether it is: a link that leads to nothing
    /// is left as it is.
    pub fn ensure(&mut self, root: &Root, path: &[u8], kind: Kind) -> Result<bool> {
        let shown = || root.describe(path);
        let names: Vec<&[u8]> = path.split(|&c| c == b'/').filter(|name| !name.is_empty()).collect();
        if names.is_empty() || names.iter().any(|name| matches!(*name, b"." | b"..")) {
            return Err(Error::invalid(OP, "this is not a path below the root").with_path(path));
        }
        for end in 1..=names.len() {
            let part = names[..end].join(&b'/');
            match root.follow(&part) {
                Ok(_) => continue,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error).at(OP, shown()),
            }
            let above = root.follow(&names[..end - 1].join(&b'/')).at(OP, shown())?;
            // Opened once more to be written to: what only names a file changes nothing.
            let directory =
                rustix::fs::openat(&above, c".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            let directory = directory.at(OP, shown())?;
            let kind = if end == names.len() { kind } else { Kind::Directory };
            match make(directory, names[end - 1], kind) {
                Ok(made) => {
                    let noted = self.note(root, &names[..end - 1].join(&b'/'), &made);
                    self.list.push(Undo::Made(made));
                    noted?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                Err(error) => return Err(error).at(OP, shown()),
            }
        }
        Ok(true)
    }

    /// Writes a file where none is. It goes with the step, whatever is in it then.
    pub fn put(&mut self, root: &Root, path: &[u8], file: &FileMount) -> Result<()> {
        let shown = || root.describe(path);
        if root.real(path).at(OP, shown())?.is_some() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                OP,
                "a file to be shown to the command is there already",
            )
            .with_path(shown()));
        }
        let dangling = || Error::invalid(OP, "a symbolic link there leads to nothing").with_path(shown());
        if !self.ensure(root, path, Kind::File)? {
            return Err(dangling());
        }
        let Some(Undo::Made(mut made)) = self.list.pop() else { return Err(dangling()) };
        made.filled = true;
        let noted = self.note(root, crate::fs::root::split(path).0, &made);
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&made.directory, &made.name[..], flags, Mode::empty());
        self.list.push(Undo::Made(made));
        noted?;
        let fd = fd.at(OP, shown())?;
        let mut out = std::fs::File::from(fd);
        io::Write::write_all(&mut out, &file.content).at(OP, shown())?;
        // Without privileges the file is this user's, which for a step is root's.
        if crate::fs::capabilities::owns_all() {
            let owner = (rustix::fs::Uid::from_raw(file.uid), rustix::fs::Gid::from_raw(file.gid));
            rustix::fs::fchown(&out, Some(owner.0), Some(owner.1)).at(OP, shown())?;
        }
        rustix::fs::fchmod(&out, Mode::from_raw_mode(file.mode)).at(OP, shown())
    }

    /// Exchanges what is at a path of the tree with something beside it, until the step is over.
    pub fn exchange(&mut self, root: &Root, path: &[u8], source: &Path) -> Result<()> {
        let shown = || root.describe(path);
        let from = source.as_os_str().as_bytes();
        let (parent, name) = crate::fs::root::split(from);
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let there = crate::fs::root::open_by_path(Path::new(std::ffi::OsStr::from_bytes(parent)), flags)
            .at(OP, from)?;
        let kind = stat_at(&there, &c_name(name).at(OP, from)?).at(OP, from)?.kind;
        let kind = if kind == Kind::Directory { Kind::Directory } else { Kind::File };
        if !self.ensure(root, path, kind)? {
            return Err(Error::invalid(OP, "a symbolic link there leads to nothing").with_path(shown()));
        }
        let real = root.real_path(path).at(OP, shown())?;
        let (above, last) = crate::fs::root::split(&real);
        let here = rustix::fs::openat(
            root.follow(above).at(OP, shown())?,
            c".",
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let here = here.at(OP, shown())?;
        let times = || -> Result<[Timestamp; 2]> {
            Ok([stat_fd(&here).at(OP, shown())?.mtime, stat_fd(&there).at(OP, shown())?.mtime])
        };
        let before = times()?;
        rustix::fs::renameat_with(&here, last, &there, name, RenameFlags::EXCHANGE).at(OP, shown())?;
        let after = times()?;
        let (here, there) = ((here, last.to_vec()), (there, name.to_vec()));
        self.list.push(Undo::Exchanged(Exchanged { here, there, before, after }));
        Ok(())
    }

    /// Removes what was made, if it still is what was made and empty, puts back what was exchanged, and gives directories the times back
    /// that they had, unless the step changed them too.
    pub fn remove(self, root: &Root) -> Result<()> {
        let mut result = Ok(());
        let any = !self.list.is_empty();
        for undo in self.list.into_iter().rev() {
            let undone = match undo {
                Undo::Made(made) => made.undo(root),
                Undo::Exchanged(exchanged) => exchanged.undo(root),
            };
            result = result.and(undone);
        }
        if let Some(mut journal) = self.journal.filter(|_| any && result.is_ok()) {
            journal.note(&Note::Unmade).at(RESTORE, "write journal")?;
        }
        result
    }
}

const RESTORE: &str = "restore tree";

impl Exchanged {
    fn undo(self, root: &Root) -> Result<()> {
        let Exchanged { here, there, before, after } = self;
        let shown = || root.describe(&here.1);
        let now =
            [stat_fd(&here.0).at(RESTORE, shown())?.mtime, stat_fd(&there.0).at(RESTORE, shown())?.mtime];
        rustix::fs::renameat_with(&here.0, &here.1[..], &there.0, &there.1[..], RenameFlags::EXCHANGE)
            .at(RESTORE, shown())?;
        for (at, directory) in [&here.0, &there.0].into_iter().enumerate() {
            let mtime = if now[at] == after[at] { before[at] } else { now[at] };
            set_time(directory, mtime).at(RESTORE, shown())?;
        }
        Ok(())
    }
}

impl Made {
    fn undo(self, root: &Root) -> Result<()> {
        let made = self;
        let shown = || root.describe(&made.name);
        let name = c_name(&made.name).at(OP, shown())?;
        let stat = match stat_at(&made.directory, &name) {
            Ok(stat) => stat,
            // The step did away with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).at(RESTORE, shown()),
        };
        let used = stat.kind == Kind::File && stat.size != 0 && !made.filled;
        if stat.ino != made.inode || stat.kind != made.kind || used {
            return Ok(());
        }
        let now = stat_fd(&made.directory).at(RESTORE, shown())?.mtime;
        let flags = if made.kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&made.directory, &name, flags) {
            Ok(()) => {}
            // The step put something there.
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error).at(RESTORE, shown()),
        }
        let mtime = if now == made.after { made.before } else { now };
        set_time(&made.directory, mtime).at(RESTORE, shown())
    }
}

fn set_time(directory: &OwnedFd, mtime: Timestamp) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() },
    };
    rustix::fs::futimens(directory, &times)
}

fn make(directory: OwnedFd, name: &[u8], kind: Kind) -> io::Result<Made> {
    let before = stat_fd(&directory)?.mtime;
    let c_name = c_name(name)?;
    if kind == Kind::Directory {
        rustix::fs::mkdirat(&directory, &c_name, Mode::from_raw_mode(0o755))?;
        // The command sees them, whatever the umask of this process.
        if stat_at(&directory, &c_name)?.mode & 0o777 != 0o755 {
            chmod_at(&directory, &c_name, 0o755)?;
        }
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, &c_name, flags, Mode::from_raw_mode(0o644))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    }
    let (stat, after) = (stat_at(&directory, &c_name)?, stat_fd(&directory)?.mtime);
    Ok(Made { directory, name: name.to_vec(), kind, inode: stat.ino, filled: false, before, after })
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
