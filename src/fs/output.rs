//! Writing to a path that a user named: what it leads to decides how.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::OFlags;

use super::Kind;
use super::descriptors::duplicate;
use super::make_dir::make_missing;
use super::publish::{Durability, Replacement};
use super::root::parent_of;
use super::stat::kind_at;
use crate::error::{At, Error, ErrorKind, Result};
use crate::progress::Cancel;

/// As many links as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;
/// How often a fifo without a reader is tried.
const PAUSE: Duration = Duration::from_millis(20);
const BUFFER: usize = 64 << 10;

/// A destination that a user named, open for writing.
///
/// A regular file appears, or is replaced, when [`finish`](Output::finish) is called: dropped before, the old one is still there. The new
/// one has the mode of the old one. A link is followed and stays. A pipe or a device is written to as it is, and so is an open file of
/// this process (`/dev/stdout`, `/dev/fd/3`), which is another name for a descriptor and not for a file.
pub struct Output {
    to: To,
    path: PathBuf,
    operation: &'static str,
}

enum To {
    /// An open descriptor, a pipe or a device.
    Open(File),
    /// A regular file, with the name that it gets.
    New(Replacement<Dir>, OsString),
}

impl Output {
    /// Opens what a path leads to. A fifo is waited for until it has a reader, or the operation is cancelled.
    ///
    /// # Errors
    /// Those of the system, and [`crate::ErrorKind::InvalidArgument`] for what cannot be the name of a file.
    pub fn open(path: &Path, operation: &'static str, cancel: &Cancel) -> Result<Output> {
        let shown = path.as_os_str().as_bytes();
        let to = match target(path, operation, cancel)? {
            Target::Open(file) => To::Open(file),
            Target::Path(path, mode) => {
                let name = path.file_name().filter(|_| !path.as_os_str().as_bytes().ends_with(b"/"));
                let name = name
                    .ok_or_else(|| Error::invalid(operation, "this is not a file name").with_path(shown))?;
                let parent = parent_of(&path);
                let dir = Dir::open_ambient_dir(parent, ambient_authority())
                    .at(operation, parent.as_os_str().as_bytes())?;
                let mut new = Replacement::new(dir).at(operation, shown)?;
                if let Some(mode) = mode {
                    new.file().set_permissions(mode).at(operation, shown)?;
                }
                To::New(new, name.to_os_string())
            }
        };
        Ok(Output { to, path: path.to_path_buf(), operation })
    }

    /// Returns the open file.
    pub fn file(&mut self) -> &mut File {
        match &mut self.to {
            To::Open(file) => file,
            To::New(new, _) => new.file(),
        }
    }

    /// Returns the file where it is a new one, which has no name yet: its mode and its times may be set.
    pub fn new_file(&mut self) -> Option<&mut File> {
        match &mut self.to {
            To::Open(_) => None,
            To::New(new, _) => Some(new.file()),
        }
    }

    /// Gives a regular file its name, in place of what has it. What was written elsewhere is there already.
    ///
    /// # Errors
    /// Those of the system; the old file is then as it was.
    pub fn finish(self, durability: Durability) -> Result<()> {
        match self.to {
            To::Open(_) => Ok(()),
            To::New(new, name) => {
                new.publish(name, durability).at(self.operation, self.path.as_os_str().as_bytes())
            }
        }
    }
}

/// Writes to a path that a user named, as [`Output`] describes.
///
/// # Errors
/// Those of `write`, and those of the system; an old file is then as it was.
pub fn write_path<T>(
    path: &Path,
    operation: &'static str,
    cancel: &Cancel,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T>,
) -> Result<T> {
    let mut output = Output::open(path, operation, cancel)?;
    let mut out = BufWriter::with_capacity(BUFFER, output.file());
    let value = write(&mut out)?;
    out.flush().at(operation, path.as_os_str().as_bytes())?;
    drop(out);
    output.finish(Durability::Full)?;
    Ok(value)
}

/// Makes the directory at a path that a user named, and those above it that are missing.
///
/// # Errors
/// Those of the system.
pub fn make_directories(path: &Path, operation: &'static str) -> Result<()> {
    make_missing(path)
        .map(drop)
        .map_err(|(path, error)| Error::io(operation, path.as_os_str().as_bytes(), error))?;
    match kind_at(path, true) {
        Some(Kind::Directory) => Ok(()),
        _ => {
            let message = "this is not a directory";
            Err(Error::new(ErrorKind::AlreadyExists, operation, message)
                .with_path(path.as_os_str().as_bytes()))
        }
    }
}

enum Target {
    Open(File),
    /// A regular file to replace, with its mode where there is one already; no link.
    Path(PathBuf, Option<Permissions>),
}

/// Follows the links of a path by hand: what a name leads to decides how it is written.
fn target(path: &Path, operation: &'static str, cancel: &Cancel) -> Result<Target> {
    let shown = path.as_os_str().as_bytes();
    let mut at = path.to_path_buf();
    for _ in 0..=LINKS {
        if let Some(number) = descriptor(&at) {
            return Ok(Target::Open(File::from(duplicate(number).at(operation, shown)?)));
        }
        let Ok(meta) = at.symlink_metadata() else { return Ok(Target::Path(at, None)) };
        if !meta.is_symlink() {
            return Ok(match meta.is_file() || meta.is_dir() {
                true => Target::Path(at, meta.is_file().then(|| meta.permissions())),
                false => Target::Open(open_special(&at, operation, cancel).map_err(|e| e.with_path(shown))?),
            });
        }
        // A link of /proc can lead to what has no name: a deleted file, a pipe, another process's file.
        if real_parent(&at).is_some_and(|parent| parent.starts_with("/proc")) {
            let file = open_special(&at, operation, cancel).map_err(|error| error.with_path(shown))?;
            if file.metadata().at(operation, shown)?.is_file() {
                file.set_len(0).at(operation, shown)?;
            }
            return Ok(Target::Open(file));
        }
        let link = at.read_link().at(operation, shown)?;
        at = at.parent().unwrap_or(Path::new("/")).join(link);
    }
    Err(Error::invalid(operation, "too many links").with_path(shown))
}

/// Opens a pipe or a device. Writes to it block, but to wait for the reader of a fifo can be cancelled.
fn open_special(path: &Path, operation: &'static str, cancel: &Cancel) -> Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = loop {
        cancel.check(operation)?;
        match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            // The error for a fifo without a reader (fifo(7)), and for devices that are not there.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) && is_fifo(path) => {
                std::thread::sleep(PAUSE);
            }
            result => break result.at(operation, "")?,
        }
    };
    let flags = rustix::fs::fcntl_getfl(&file).at(operation, "")?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK).at(operation, "")?;
    Ok(file)
}

fn is_fifo(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.file_type().is_fifo())
}

/// Returns the number of the descriptor that a path is another name of, in this process: whichever links and dots lead there.
fn descriptor(path: &Path) -> Option<i32> {
    const OWN: &str = "/proc/self/fd";
    let text = path.to_str()?;
    match text {
        "/dev/stdin" => return Some(0),
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        _ => {}
    }
    let (parent, name) = text.rsplit_once('/')?;
    let number = name.parse().ok().filter(|number| *number >= 0)?;
    // As text first: without /proc there are no links to follow.
    let own = ["/dev/fd", OWN].contains(&parent)
        || real_parent(path).is_some_and(|parent| std::fs::canonicalize(OWN).is_ok_and(|own| own == parent));
    own.then_some(number)
}

fn real_parent(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(parent_of(path)).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::error::ErrorKind;

    fn write(path: &Path, cancel: &Cancel) -> Result<()> {
        write_path(path, "write", cancel, |out| out.write_all(b"new").at("write", ""))
    }

    #[test]
    fn a_link_stays_a_mode_is_kept_and_a_name_that_is_none_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::fs::write(at("file"), "old").unwrap();
        std::fs::set_permissions(at("file"), Permissions::from_mode(0o600)).unwrap();
        symlink("../file", at("sub/link")).unwrap();
        write(&at("sub/link"), &Cancel::default()).unwrap();
        assert_eq!(std::fs::read(at("file")).unwrap(), b"new");
        assert_eq!(std::fs::metadata(at("file")).unwrap().mode() & 0o7777, 0o600);
        assert!(at("sub/link").is_symlink());
        symlink("loop", at("loop")).unwrap();
        for (name, message) in [("loop", "too many links"), ("absent/", "not a file name")] {
            let error = write(&at(name), &Cancel::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name}");
            assert!(error.to_string().contains(message), "{error}");
        }
        // As many links as the kernel follows, and no more.
        std::fs::write(at("l0"), "").unwrap();
        for number in 1..=LINKS + 1 {
            symlink(format!("l{}", number - 1), at(&format!("l{number}"))).unwrap();
        }
        write(&at(&format!("l{LINKS}")), &Cancel::default()).unwrap();
        write(&at(&format!("l{}", LINKS + 1)), &Cancel::default()).unwrap_err();
        assert!(std::fs::read(at(&format!("l{}", LINKS + 1))).is_err());
    }

    #[test]
    fn an_open_file_is_written_to_by_whatever_path_leads_to_it() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        symlink("/proc/self/fd", at("d")).unwrap();
        let up = "../".repeat(temp.path().components().count());
        for (mine, path) in [
            (true, PathBuf::from("/proc/self/fd")),
            (true, PathBuf::from("/dev/fd")),
            (true, PathBuf::from("/dev/../proc/self/fd")),
            (true, PathBuf::from(format!("/proc/{}/fd", std::process::id()))),
            (true, at("d")),
            (true, temp.path().join(&up).join("proc/self/fd")),
            // To the kernel this is the directory of another process, where the file is opened anew.
            (false, PathBuf::from("/proc/thread-self/fd")),
        ] {
            let mut file = tempfile::tempfile_in(temp.path()).unwrap();
            file.write_all(b"old and longer, ").unwrap();
            let name = std::os::fd::AsRawFd::as_raw_fd(&file).to_string();
            let link = at(&format!("{name}-link"));
            let _ = std::fs::remove_file(&link);
            symlink(path.join(&name), &link).unwrap();
            for path in [path.join(&name), link] {
                std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(16)).unwrap();
                write(&path, &Cancel::default()).unwrap();
                let mut text = String::new();
                std::io::Seek::rewind(&mut file).unwrap();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, if mine { "old and longer, new" } else { "new" }, "{}", path.display());
            }
        }
    }

    #[test]
    fn a_fifo_is_waited_for_until_it_has_a_reader_or_the_operation_is_cancelled() {
        let temp = tempfile::tempdir().unwrap();
        let fifo = temp.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                std::thread::sleep(PAUSE * 2);
                let mut text = String::new();
                File::open(&fifo).unwrap().read_to_string(&mut text).unwrap();
                text
            });
            write(&fifo, &Cancel::default()).unwrap();
            assert_eq!(reader.join().unwrap(), "new");
            let cancel = Cancel::default();
            let stopped = cancel.clone();
            scope.spawn(move || {
                std::thread::sleep(PAUSE * 2);
                stopped.cancel();
            });
            assert_eq!(write(&fifo, &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
        });
        assert!(fifo.metadata().unwrap().file_type().is_fifo());
    }
}
