//! A file that is written whole before it has its name.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::descriptors::proc_path;
use super::make_dir::keep_open;

/// A file being written: unnamed where the filesystem can (nothing is left when the process dies), else with a random name.
/// Dropped, it leaves nothing behind.
///
/// `/proc` is opened anew each time. A handle of it that was kept would show the open files of the parent after a fork, which would
/// then get the names that these are to have.
#[derive(Debug)]
pub struct Staged {
    file: File,
    /// The name in `names`, when there is one.
    name: Option<String>,
    names: Dir,
}

impl Staged {
    /// Starts a file on the filesystem of `target`. Where it has to have a name before its time, that one is in `names`, a
    /// directory of the same filesystem. The process's umask takes bits from `mode`, but none of the owner's.
    pub fn new(target: &Dir, names: &Dir, mode: u32) -> io::Result<Self> {
        let names = names.try_clone()?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(target, ".", flags, Mode::from_raw_mode(mode)) {
            Ok(fd) if can_link(&fd) => {
                let file = File::from(fd);
                keep_open(&file, mode as u16)?;
                return Ok(Staged { file, name: None, names });
            }
            Ok(_) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        Self::named(names, mode)
    }

    fn named(names: Dir, mode: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        let (file, name) = unused_name(|name| names.open_with(name, &options))?;
        let staged = Staged { file: file.into_std(), name: Some(name), names };
        keep_open(&staged.file, mode as u16)?;
        Ok(staged)
    }

    /// Takes a file that has a name in `names` for one being written.
    #[cfg(feature = "registry")]
    pub fn adopt(file: File, names: &Dir, name: String) -> io::Result<Self> {
        Ok(Staged { file, name: Some(name), names: names.try_clone()? })
    }

    /// Returns whether the file has this name already.
    #[cfg(feature = "registry")]
    pub fn is_called(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }

    /// Leaves the file under the name that it has now.
    #[cfg(feature = "registry")]
    pub fn leave(mut self) {
        self.name = None;
    }

    /// Returns the open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns the file alone: it never gets a name.
    pub fn into_unnamed(self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives it a temporary name, if it has none: only a rename is left to do then.
    pub fn name(&mut self) -> io::Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let ours = proc_path(&self.file);
        let (_, name) = unused_name(|name| {
            Ok(rustix::fs::linkat(rustix::fs::CWD, &ours, &self.names, name, AtFlags::SYMLINK_FOLLOW)?)
        })?;
        self.name = Some(name.clone());
        let named = rustix::fs::statat(&self.names, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let file = rustix::fs::fstat(&self.file)?;
        match (named.st_dev, named.st_ino) == (file.st_dev, file.st_ino) {
            true => Ok(name),
            false => Err(io::Error::other("/proc shows the open files of another process")),
        }
    }

    /// Names the file, in place of what has the name.
    pub fn replace(mut self, target: &Dir, name: impl AsRef<Path>) -> io::Result<()> {
        let temporary = self.name()?;
        self.names.rename(temporary, target, name)?;
        self.name = None;
        Ok(())
    }

    /// Names the file, unless something has the name already: that stays then.
    pub fn link(mut self, target: &Dir, name: impl AsRef<Path>) -> io::Result<()> {
        let temporary = self.name()?;
        match self.names.hard_link(temporary, target, name.as_ref()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // A filesystem without hard links.
            Err(_) => self.replace(target, name),
            Ok(()) => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // A drop reports no error; prune takes what cannot be removed here.
            let _ = self.names.remove_file(name);
        }
    }
}

/// Returns whether an unnamed file could be given a name: `/proc` is there and shows this very file.
fn can_link(fd: impl AsFd) -> bool {
    let Ok(ours) = rustix::fs::fstat(&fd) else { return false };
    rustix::fs::stat(proc_path(&fd))
        .is_ok_and(|seen| (seen.st_dev, seen.st_ino) == (ours.st_dev, ours.st_ino))
}

fn unused_name<T>(mut make: impl FnMut(&str) -> io::Result<T>) -> io::Result<(T, String)> {
    loop {
        let name = random_name();
        match make(&name) {
            Ok(made) => return Ok((made, name)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns a unique name in the form of a random UUID. It is a hash of the process number under the standard library's random keys: a
/// forked child has the keys of its parent, and another number.
pub fn random_name() -> String {
    use std::hash::{BuildHasher, RandomState};
    let process = std::process::id();
    let half = |n: u8| RandomState::new().hash_one((process, n));
    let mut hex = format!("{:016x}{:016x}", half(1), half(2));
    hex.replace_range(12..13, "4");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Returns whether a name looks like what [`Staged`] leaves when its process dies between two steps.
pub fn is_leftover(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            14 => b == b'4',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use cap_std::ambient_authority;

    #[test]
    fn named_and_unnamed_files_get_their_names_and_dropped_ones_leave_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        dir.create_dir("tmp").unwrap();
        dir.create_dir("out").unwrap();
        let (tmp, out) = (dir.open_dir("tmp").unwrap(), dir.open_dir("out").unwrap());
        let named = || Staged::named(tmp.try_clone().unwrap(), 0o644).unwrap();
        let unnamed = || Staged::new(&out, &tmp, 0o644).unwrap();
        for (i, make) in [&named as &dyn Fn() -> Staged, &unnamed].iter().enumerate() {
            let name = format!("f{i}");
            let with = |text: &str| {
                let mut staged = make();
                staged.file().write_all(text.as_bytes()).unwrap();
                staged
            };
            drop(make());
            with("one").link(&out, &name).unwrap();
            with("two").link(&out, &name).unwrap();
            assert_eq!(out.read(&name).unwrap(), b"one", "the first stays");
            with("three").replace(&out, &name).unwrap();
            assert_eq!(out.read(&name).unwrap(), b"three");
            with("four").into_unnamed().unwrap().write_all(b"five").unwrap();
            assert_eq!(tmp.entries().unwrap().count(), 0);
        }
    }

    #[test]
    fn a_leftover_is_recognised() {
        assert!(is_leftover(&random_name()));
        assert!(is_leftover("0f7e9c52-7a0d-4f0a-9f0a-0123456789ab"));
        assert!(!is_leftover("index.json"));
        assert!(!is_leftover(&"a".repeat(36)));
    }
}
