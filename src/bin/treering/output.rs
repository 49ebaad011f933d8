//! Where data goes: standard output, or the file of `-o`.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use treering::error::{At, Error, Result};
use treering::fs::descriptors::{closed_at_start, duplicate};
use treering::fs::publish::{Durability, Replacement};
use treering::fs::root::parent_of;

use crate::ui::Usage;

const BUFFER: usize = 64 * 1024;
const WRITE: &str = "write";

/// Makes the error of a failed write to standard output.
pub fn stdout_error(error: std::io::Error) -> Error {
    Error::io(WRITE, "standard output", error)
}

/// The exit code that a shell reports of a process that SIGPIPE ended.
const NOBODY_READS: i32 = 128 + 13;

/// Standard output without Rust's line buffering. When its reader has gone, as `head` does, the process ends without a
/// message.
struct Stdout(File);

impl Stdout {
    fn open() -> Result<BufWriter<Stdout>> {
        if closed_at_start(1) {
            return Err(stdout_error(std::io::Error::from_raw_os_error(libc::EBADF))
                .with_hint("send it somewhere: > FILE, or > /dev/null"));
        }
        let fd = std::io::stdout().as_fd().try_clone_to_owned().map_err(stdout_error)?;
        Ok(BufWriter::with_capacity(BUFFER, Stdout(File::from(fd))))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(NOBODY_READS),
            done => done,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A writer that adds the name of the file to its errors: the code that writes an archive only has a stream.
struct Named<'a, W> {
    inner: W,
    shown: &'a [u8],
}

impl<W> Named<'_, W> {
    fn say(&self, error: std::io::Error) -> std::io::Error {
        if error.kind() == std::io::ErrorKind::Interrupted {
            // The caller tries once more.
            return error;
        }
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let error = Error::io(WRITE, self.shown, error);
        let hint = "free some space, or write to another filesystem";
        if full { error.with_hint(hint).into() } else { error.into() }
    }
}

impl<W: Write> Write for Named<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.inner.write(bytes).map_err(|error| self.say(error))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush().map_err(|error| self.say(error))
    }
}

/// Writes data to standard output, and says so when that fails.
pub fn data(write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut out = Stdout::open()?;
    write(&mut out)?;
    out.flush().map_err(stdout_error)?;
    Ok(())
}

/// Writes lines of text to standard output.
pub fn lines<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
    data(|out| {
        for line in lines {
            writeln!(out, "{}", line.as_ref()).map_err(stdout_error)?;
        }
        Ok(())
    })
}

/// Writes a binary stream to the file of `-o`, or to standard output when there is none or it is `-`.
///
/// A regular file appears, or is replaced, when all of it is written: after an error the old one is still there. The new one has
/// the mode of the old one. A link is followed and stays. A pipe or a device is written to as it is, and so is an open file of
/// this process (`/dev/stdout`, `/dev/fd/3`), which is another name for a descriptor and not for a file.
pub fn stream<T>(
    file: Option<&Path>,
    write: impl FnOnce(&mut (dyn Write + Send)) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = match file {
        Some(path) if path != Path::new("-") => path,
        _ => {
            if std::io::stdout().is_terminal() {
                let usage = Usage::new("binary data is not written to a terminal");
                return Err(usage
                    .with_hint("name a file with -o FILE, or send standard output elsewhere")
                    .into());
            }
            let out = Stdout::open()?;
            let mut out = Named { inner: out, shown: b"standard output" };
            let value = write(&mut out)?;
            out.flush().map_err(stdout_error)?;
            return Ok(value);
        }
    };
    let shown = path.as_os_str().as_bytes();
    match target(path)? {
        Target::Open(file) => {
            let mut out = BufWriter::with_capacity(BUFFER, Named { inner: file, shown });
            let value = write(&mut out)?;
            out.flush().at(WRITE, shown)?;
            Ok(value)
        }
        Target::Path(path, mode) => {
            let (dir, name) = place(&path)?;
            let mut new = Replacement::new(&dir).at(WRITE, shown)?;
            if let Some(mode) = mode {
                new.file().set_permissions(mode).at(WRITE, shown)?;
            }
            let value = {
                let mut out = BufWriter::with_capacity(BUFFER, Named { inner: new.file(), shown });
                let value = write(&mut out)?;
                out.flush().at(WRITE, shown)?;
                value
            };
            new.publish(name, Durability::Full).at(WRITE, shown)?;
            Ok(value)
        }
    }
}

/// The destination of `-o`.
enum Target {
    /// An open descriptor, a pipe or a device: written to as it is.
    Open(File),
    /// A regular file to replace, with its mode where there is one already; no link.
    Path(PathBuf, Option<Permissions>),
}

/// Follows the links of `-o` by hand: what a name leads to decides how it is written.
fn target(path: &Path) -> Result<Target> {
    let shown = path.as_os_str().as_bytes();
    let mut at = path.to_path_buf();
    // As many as the kernel follows.
    for _ in 0..40 {
        if let Some(number) = descriptor(&at) {
            return Ok(Target::Open(File::from(duplicate(number).at(WRITE, shown)?)));
        }
        let Ok(meta) = at.symlink_metadata() else { return Ok(Target::Path(at, None)) };
        if !meta.is_symlink() {
            return match meta.is_file() || meta.is_dir() {
                true => Ok(Target::Path(at, meta.is_file().then(|| meta.permissions()))),
                false => Ok(Target::Open(OpenOptions::new().write(true).open(&at).at(WRITE, shown)?)),
            };
        }
        // A link of /proc can lead to what has no name: a deleted file, a pipe, another process's file.
        if at.starts_with("/proc") {
            return Ok(Target::Open(OpenOptions::new().write(true).open(&at).at(WRITE, shown)?));
        }
        let link = at.read_link().at(WRITE, shown)?;
        at = at.parent().unwrap_or(Path::new("/")).join(link);
    }
    Err(Error::invalid(WRITE, "too many links").with_path(shown))
}

/// Returns the number of the descriptor that a path is another name of, in this process.
fn descriptor(path: &Path) -> Option<i32> {
    let text = path.to_str()?;
    let name = match text {
        "/dev/stdin" => return Some(0),
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        _ => text.strip_prefix("/dev/fd/").or_else(|| text.strip_prefix("/proc/self/fd/"))?,
    };
    name.parse().ok().filter(|number| *number >= 0)
}

/// Returns the directory a file is in, and its name there.
fn place(path: &Path) -> Result<(Dir, &OsStr)> {
    let shown = path.as_os_str().as_bytes();
    let name = path.file_name().filter(|_| !shown.ends_with(b"/"));
    let name = name.ok_or_else(|| Error::invalid(WRITE, "this is not a file name").with_path(shown))?;
    let parent = parent_of(path);
    let dir = Dir::open_ambient_dir(parent, ambient_authority()).at(WRITE, parent.as_os_str().as_bytes())?;
    Ok((dir, name))
}
