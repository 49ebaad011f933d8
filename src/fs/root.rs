//! A tree's root as a file descriptor, and opening things below it.
//!
//! Here and in the other calls on trees, a call that a signal interrupted is made again. Local filesystems are not interrupted, but
//! FUSE and NFS are (EINTR), and signals are frequent inside a host program: Go's runtime preempts its threads by them.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::retry_on_intr;

use super::lock::Locked;
use super::locked::{LockedFiles, Mend};
use super::stat::{Kind, Stat, stat_fd};
use crate::error::{At, Error, Result};

/// The longest path handed to the kernel in one call; anything longer is walked in steps (PATH_MAX is 4096 with the NUL).
const ONE_CALL: usize = 4000;

/// The root of a tree: opened once, then everything below it is reached by descriptor.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    /// Opens files that their own user may not read; unset, none of these is opened.
    locked: OnceLock<Arc<LockedFiles>>,
}

impl Root {
    /// Opens the directory at `path`. This is the one place where a tree's ambient path is used; symbolic links on the
    /// way to the root itself are followed, as a user expects of the path they typed. A directory that is open in this process
    /// is `/proc/self/fd/N` or `/dev/fd/N`; messages and records have the path it was opened by.
    pub fn open(path: impl AsRef<Path>) -> Result<Root> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
            .at("open tree", path.as_os_str().as_bytes())?;
        let path = behind_descriptor(path, &fd).unwrap_or_else(|| path.to_path_buf());
        Ok(Root { fd, path, locked: OnceLock::new() })
    }

    /// Returns a root from a descriptor of a directory; `path` is only for messages.
    pub fn from_fd(fd: OwnedFd, path: impl Into<PathBuf>) -> Root {
        Root { fd, path: path.into(), locked: OnceLock::new() }
    }

    /// Returns the path the root was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a path below the root as messages show it.
    pub fn describe(&self, below: &[u8]) -> Vec<u8> {
        let mut out = self.path.as_os_str().as_bytes().to_vec();
        if !below.is_empty() {
            if out.last() != Some(&b'/') {
                out.push(b'/');
            }
            out.extend_from_slice(below);
        }
        out
    }

    /// Returns another descriptor of the same root.
    pub fn try_clone(&self) -> Result<Root> {
        let fd = self.fd.try_clone().at("open tree", self.path.as_os_str().as_bytes())?;
        Ok(Root { fd, path: self.path.clone(), locked: self.locked.clone() })
    }

    /// Locks the tree against others that lock it, until the value ends: `alone`, or shared with others. `None` while
    /// another has it. Where the filesystem has no such locks, all is free.
    pub(crate) fn lock(&self, alone: bool) -> io::Result<Option<Locked<OwnedFd>>> {
        use rustix::io::Errno;
        match Locked::try_new(self.fd.try_clone()?, alone) {
            Err(error)
                if Errno::from_io_error(&error).is_some_and(|errno| {
                    matches!(
                        errno,
                        Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS
                    )
                }) =>
            {
                Ok(Some(Locked::new(self.fd.try_clone()?)))
            }
            other => other,
        }
    }

    /// Opens the directory above the root; above the topmost one, that one.
    pub(crate) fn open_parent(&self) -> io::Result<OwnedFd> {
        open_dir_at(&self.fd, c"..")
    }

    /// Opens the directory `below` (components joined by `/`, empty for the root itself). No component may be a
    /// symbolic link.
    pub fn open_dir(&self, below: &[u8]) -> io::Result<OwnedFd> {
        open_dir_below(self.fd.as_fd(), below)
    }

    /// Follows a path within the root, through symbolic links, and describes what is there; `None` where nothing is.
    #[cfg(feature = "sandbox")]
    pub(crate) fn real(&self, below: &[u8]) -> io::Result<Option<Stat>> {
        match self.follow(below) {
            Ok(fd) => stat_fd(&fd).map(Some),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens as a path (O_PATH) what a path within the root leads to, through symbolic links.
    #[cfg(feature = "sandbox")]
    pub(crate) fn follow(&self, below: &[u8]) -> rustix::io::Result<OwnedFd> {
        let below = if below.is_empty() { b"." } else { below };
        super::within::open_within(&self.fd, below, OFlags::PATH | OFlags::CLOEXEC)
    }

    /// Returns the path below the root, without symbolic links, that a path within the root leads to. What does not exist
    /// is taken as it stands.
    #[cfg(feature = "sandbox")]
    pub(crate) fn real_path(&self, below: &[u8]) -> io::Result<Vec<u8>> {
        let name_of = |fd: &OwnedFd| -> io::Result<Vec<u8>> {
            let link = super::descriptors::proc_path(fd);
            let name = retry_on_intr(|| rustix::fs::readlink(&*link, Vec::with_capacity(256)))?;
            Ok(name.into_bytes())
        };
        let names: Vec<&[u8]> = below.split(|&c| c == b'/').filter(|name| !name.is_empty()).collect();
        for end in (0..=names.len()).rev() {
            let found = match self.follow(&names[..end].join(&b'/')) {
                Ok(found) => found,
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => continue,
                Err(error) => return Err(error.into()),
            };
            let (top, found) = (name_of(&self.fd)?, name_of(&found)?);
            let inside = found.strip_prefix(&top[..]).ok_or(io::ErrorKind::NotFound)?;
            let inside = inside.strip_prefix(b"/").unwrap_or(inside);
            let parts = [inside].into_iter().filter(|part| !part.is_empty());
            return Ok(parts.chain(names[end..].iter().copied()).collect::<Vec<_>>().join(&b'/'));
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Opens the regular file `below` for reading. No component may be a symbolic link.
    pub fn open_file(&self, below: &[u8]) -> io::Result<OwnedFd> {
        let (parent, name) = split(below);
        let dir = self.open_dir(parent)?;
        self.open_file_in(&dir, &c_name(name)?, below)
    }

    /// Opens the regular file `name` in a directory of the tree, where it is `below`. A file of this user's that it may not read
    /// is opened all the same where [`Root::unlock`] was called.
    pub(crate) fn open_file_in(&self, dir: impl AsFd, name: &CStr, below: &[u8]) -> io::Result<OwnedFd> {
        match (open_file_at(&dir, name), self.locked.get()) {
            // Another thread may have changed its permissions for a moment, to open it by another name.
            (Ok(fd), Some(locked)) => {
                locked.wait();
                Ok(fd)
            }
            (Err(error), Some(locked)) if error.raw_os_error() == Some(libc::EACCES) => {
                let path = std::path::absolute(Path::new(OsStr::from_bytes(&self.describe(below))))?;
                locked.open(dir, name, &path, error)
            }
            (opened, _) => opened,
        }
    }

    /// Lets files of this user's be read that it may not read, see [`LockedFiles`].
    pub(crate) fn unlock(&self, mend: impl Mend + 'static) {
        self.locked.get_or_init(|| Arc::new(LockedFiles::new(mend)));
    }

    /// Returns the metadata of an open file, but for what opening it by [`Root::open_file_in`] changed.
    pub(crate) fn as_scanned(&self, stat: Stat) -> Stat {
        self.locked.get().map_or(stat, |locked| locked.as_before(stat))
    }
}

/// Returns the path of a directory that was named by a descriptor of this process, while it is there.
fn behind_descriptor(path: &Path, fd: &OwnedFd) -> Option<PathBuf> {
    let number = path.strip_prefix("/proc/self/fd").or_else(|_| path.strip_prefix("/dev/fd")).ok()?;
    number.to_str()?.parse::<u32>().ok()?;
    let real = rustix::fs::readlink(path, Vec::new()).ok()?;
    let real = PathBuf::from(OsStr::from_bytes(real.as_bytes()));
    let there = rustix::fs::stat(&real).ok()?;
    let open = rustix::fs::fstat(fd).ok()?;
    (real.is_absolute() && (there.st_dev, there.st_ino) == (open.st_dev, open.st_ino)).then_some(real)
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens the file at a path that a user gave, for reading.
pub fn open_given(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?.into())
}

/// Opens what is at a path that a user gave, with these flags.
#[cfg(feature = "sandbox")]
pub(crate) fn open_by_path(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?)
}

/// Splits `a/b/c` into `a/b` and `c`.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&c| c == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Returns the rest of a path that is another one or below it; `None` for one that is elsewhere. Neither ends with a slash.
#[cfg(feature = "sandbox")]
pub(crate) fn below<'a>(above: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(above)?;
    match rest.first() {
        None => Some(rest),
        Some(b'/') => Some(&rest[1..]),
        Some(_) if above.is_empty() => Some(rest),
        Some(_) => None,
    }
}

/// Returns whether a path is another one or below it, of places that something is shown at: below the root itself nothing is.
pub(crate) fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Joins two parts of a path.
#[cfg(feature = "sandbox")]
pub(crate) fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    match (above.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => above.to_vec(),
        _ => [above, b"/", name].concat(),
    }
}

/// Appends a name to a path of components joined by `/`.
pub(crate) fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// Returns whether an error says that a name which was there a moment ago is gone, or is something else now.
pub(crate) fn was_replaced(error: &io::Error) -> bool {
    let errnos =
        [libc::ENOENT, libc::ENOTDIR, libc::EISDIR, libc::ELOOP, libc::ENXIO, libc::EXDEV, libc::ESTALE];
    match error.raw_os_error() {
        Some(errno) => errnos.contains(&errno),
        // It is no regular file any more, see `open_file_at`.
        None => error.kind() == io::ErrorKind::InvalidInput,
    }
}

/// Returns a file name as the kernel takes it.
pub fn c_name(name: &[u8]) -> io::Result<CString> {
    CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Opens a directory by one name, refusing symbolic links.
pub fn open_dir_at(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| rustix::fs::openat(&dir, name, flags, Mode::empty()))?)
}

/// Opens a regular file by one name for reading. Anything else is [`io::ErrorKind::InvalidInput`], a symbolic link `ELOOP`.
/// Never blocks on a fifo or a device.
pub fn open_file_at(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let fd = open_at(dir, name)?;
    regular(&fd)?;
    Ok(fd)
}

/// Does what [`open_file_at`] does for an entry of any kind, fifos included.
pub(super) fn open_at(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // O_NOATIME is for the owner alone; it spares the tree a write per file read.
    let open = |flags| retry_on_intr(|| rustix::fs::openat(&dir, name, flags, Mode::empty()));
    match open(flags | OFlags::NOATIME) {
        Err(rustix::io::Errno::PERM) => Ok(open(flags)?),
        other => Ok(other?),
    }
}

fn regular(fd: &OwnedFd) -> io::Result<Stat> {
    let stat = stat_fd(fd)?;
    if stat.kind == Kind::File {
        return Ok(stat);
    }
    let message = format!("a {}, not a regular file", stat.kind.name());
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Reads the regular file at an ambient path, following symbolic links, into memory.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, stat) = open_regular(path)?;
    let size = usize::try_from(stat.size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut out = Vec::new();
    out.try_reserve_exact(size)?;
    file.read_to_end(&mut out)?;
    Ok(out)
}

/// Reads the regular file at an ambient path, as [`read_file`] does, unless it has more than `cap` bytes.
pub fn read_small_file(path: &Path, cap: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    open_regular(path)?.0.take(cap.saturating_add(1)).read_to_end(&mut out)?;
    if out.len() as u64 > cap {
        let message = format!("the file has more than {cap} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(out)
}

/// Opens the regular file at an ambient path, following symbolic links. Never blocks on a fifo or a device.
fn open_regular(path: &Path) -> io::Result<(File, Stat)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
    let stat = regular(&fd)?;
    Ok((fd.into(), stat))
}

/// Returns the directory that a path names an entry of: `.` for a bare name, `/` for itself.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Returns the ambient path that a path leads to through symbolic links; the path itself where nothing is there yet.
pub fn follow(path: &Path) -> io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_path_buf()),
        result => result,
    }
}

/// Opens a directory below another, by `openat2(2)` in one call where the kernel has it and allows it, else name by name.
pub fn open_dir_below(dir: BorrowedFd<'_>, below: &[u8]) -> io::Result<OwnedFd> {
    if below.is_empty() {
        return open_dir_at(dir, c".");
    }
    // `..` would be resolved by the one way and is not by the other; no path of a tree has it.
    if below.split(|&c| c == b'/').any(|name| matches!(name, b"" | b"." | b"..")) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if below.len() <= ONE_CALL && !below.contains(&0) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = std::ffi::OsStr::from_bytes(below);
        match retry_on_intr(|| rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)) {
            Ok(fd) => return Ok(fd),
            // Missing, refused by a seccomp filter, or raced by a rename: the walk below decides.
            Err(
                rustix::io::Errno::NOSYS
                | rustix::io::Errno::PERM
                | rustix::io::Errno::AGAIN
                | rustix::io::Errno::XDEV,
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut at: Option<OwnedFd> = None;
    for name in below.split(|&c| c == b'/') {
        let next = match &at {
            Some(fd) => open_dir_at(fd, &c_name(name)?)?,
            None => open_dir_at(dir, &c_name(name)?)?,
        };
        at = Some(next);
    }
    at.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Makes a path given by a user relative to a tree's root: strips `/` and `.`, refuses `..` and NUL.
pub fn normalise(path: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    for name in path.split(|&c| c == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return Err(Error::invalid("read path", "`..` is not allowed here").with_path(path)),
            _ if name.contains(&0) => {
                return Err(Error::invalid("read path", "a path cannot contain NUL").with_path(path));
            }
            _ => push_name(&mut out, name),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_another_by_whole_names() {
        assert_eq!(below(b"/a", b"/a/b"), Some(&b"b"[..]));
        assert_eq!(below(b"/a", b"/a"), Some(&b""[..]));
        assert_eq!(below(b"/a", b"/ab"), None);
        assert_eq!(below(b"", b"x/y"), Some(&b"x/y"[..]));
        assert!(is_below(b"a/b", b"a") && is_below(b"a", b"a") && !is_below(b"ab", b"a"));
        assert!(!is_below(b"x/y", b""));
        assert_eq!(
            (join(b"", b"a"), join(b"a", b""), join(b"a", b"b")),
            (b"a".to_vec(), b"a".to_vec(), b"a/b".to_vec())
        );
    }

    #[test]
    fn paths_that_are_no_names_are_refused_by_every_kernel() {
        let root = Root::open("/").unwrap();
        for path in ["proc/../proc", "..", ".", "proc/.", "proc//self", "proc/", "/proc"] {
            let error = root.open_dir(path.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        root.open_dir(b"proc").unwrap();
    }

    #[test]
    fn only_regular_files_are_opened_as_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        rustix::fs::mknodat(&root, "fifo", rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        rustix::fs::mkdirat(&root, "dir", Mode::RWXU).unwrap();
        rustix::fs::symlinkat("file", &root, "link").unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        for (name, opens) in
            [("file", true), ("fifo", false), ("dir", false), ("link", false), ("none", false)]
        {
            let opened = root.open_file(name.as_bytes());
            assert_eq!(opened.is_ok(), opens, "{name}");
            // In a tree that was listed a moment ago, it is another file than it was.
            assert!(opened.err().is_none_or(|error| was_replaced(&error)), "{name}");
            let read = read_file(&dir.path().join(name));
            assert_eq!(read.ok(), ["file", "link"].contains(&name).then(|| b"x".to_vec()), "{name}");
        }
    }
}
