//! Making directories and files that their maker can use, whatever the umask.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::{AtFlags, CWD, Mode};
use rustix::io::Errno;

use super::Kind;
use super::chmod::chmod_at;
use super::root::c_name;
use super::stat::{stat_at, stat_fd};

/// The bits by which its maker uses a directory.
const DIRECTORY: u16 = 0o700;
/// The bits by which its maker uses a file.
const FILE: u16 = 0o600;

/// Makes directories of mode 0700. Whether the umask takes bits of the owner is seen by the first one.
#[derive(Debug, Default)]
pub struct PrivateDirs {
    masked: Option<bool>,
}

impl PrivateDirs {
    /// Makes a directory.
    pub fn make(&mut self, dir: impl AsFd, name: &CStr) -> io::Result<()> {
        let dir = dir.as_fd();
        rustix::fs::mkdirat(dir, name, Mode::RWXU)?;
        let masked = match self.masked {
            Some(masked) => masked,
            None => stat_at(dir, name)?.mode & DIRECTORY != DIRECTORY,
        };
        self.masked = Some(masked);
        if masked { chmod_at(dir, name, DIRECTORY.into()) } else { Ok(()) }
    }
}

/// Makes a directory for all that the umask lets in, and for its maker.
pub fn make_dir(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    let dir = dir.as_fd();
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o777))?;
    keep_usable(dir, name, DIRECTORY)
}

/// Gives what was made with these bits for its owner those of them that the umask took.
pub fn keep_usable(dir: impl AsFd, name: &CStr, bits: u16) -> io::Result<()> {
    let mode = stat_at(&dir, name)?.mode;
    if mode & bits == bits { Ok(()) } else { chmod_at(dir, name, (mode | bits).into()) }
}

/// Makes the directory at an ambient path as [`make_dir`] does.
pub fn make_dir_at(path: &Path) -> io::Result<()> {
    make_dir(CWD, &c_name(path.as_os_str().as_bytes())?)
}

/// Makes those of an ambient path and the ones above it that are not there, as [`make_dir`] does. Returns them, the topmost first. After an
/// error none is left.
pub fn make_missing(path: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    // A link that leads nowhere is there.
    let is_missing =
        |path: &Path| matches!(rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
    let all = path.ancestors().filter(|path| !path.as_os_str().is_empty());
    let mut missing: Vec<PathBuf> = all.take_while(|path| is_missing(path)).map(Path::to_path_buf).collect();
    missing.reverse();
    for (at, path) in missing.iter().enumerate() {
        match make_dir_at(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                remove_empty(&missing[..at]);
                return Err((path.clone(), error));
            }
            _ => {}
        }
    }
    Ok(missing)
}

/// Removes those of the directories that are empty, given the topmost first.
pub fn remove_empty(dirs: &[PathBuf]) {
    for path in dirs.iter().rev() {
        let _ = rustix::fs::rmdir(path);
    }
}

/// Opens a file with options that make it where there is none. It can be opened again by its maker.
pub fn open_or_make(dir: &Dir, name: &str, options: &OpenOptions) -> io::Result<File> {
    let file = match dir.open_with(name, options) {
        // Made by a process that was killed before it gave the file its mode.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let c_name = c_name(name.as_bytes())?;
            let stat = stat_at(dir, &c_name)?;
            if stat.kind != Kind::File || stat.mode & FILE == FILE || !is_ours(stat.uid) {
                return Err(error);
            }
            chmod_at(dir, &c_name, (stat.mode | FILE).into())?;
            dir.open_with(name, options)?
        }
        opened => opened?,
    };
    let file = file.into_std();
    keep_open(&file, FILE)?;
    Ok(file)
}

/// Gives a file that was made with bits of `mode` for its owner those that the umask took.
pub fn keep_open(file: &File, mode: u16) -> io::Result<()> {
    let stat = stat_fd(file)?;
    let mode = stat.mode | mode & DIRECTORY;
    if mode == stat.mode || stat.kind != Kind::File || !is_ours(stat.uid) {
        return Ok(());
    }
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode.into()))?)
}

fn is_ours(uid: u32) -> bool {
    rustix::process::geteuid().as_raw() == uid
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use cap_std::ambient_authority;

    use super::*;

    /// The umask is the process's, so files of such modes stand for what it leaves.
    #[test]
    fn a_file_that_a_umask_closed_is_opened_again() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let mode = |name: &str| temp.path().join(name).metadata().unwrap().mode() & 0o777;
        for (closed, opened) in [(0, 0o600), (0o044, 0o644), (0o400, 0o600), (0o640, 0o640)] {
            std::fs::write(temp.path().join("file"), "").unwrap();
            std::fs::set_permissions(temp.path().join("file"), PermissionsExt::from_mode(closed)).unwrap();
            open_or_make(&dir, "file", &options).unwrap();
            assert_eq!(mode("file"), opened, "{closed:o}");
        }
    }

    #[test]
    fn missing_directories_are_made_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b/c");
        let made = make_missing(&path).unwrap();
        assert_eq!(made, ["a", "a/b", "a/b/c"].map(|name| temp.path().join(name)));
        assert_eq!(make_missing(&path).unwrap(), [] as [PathBuf; 0]);
        // What else is there is seen when the path is opened.
        std::fs::write(temp.path().join("a/file"), "").unwrap();
        assert_eq!(make_missing(&temp.path().join("a/file/x")).unwrap(), [] as [PathBuf; 0]);
        remove_empty(&made);
        assert!(temp.path().join("a").exists() && !temp.path().join("a/b").exists());
    }
}
