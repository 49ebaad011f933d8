//! Where data goes: standard output, or the file of `-o`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use treering::error::{At, Error, Result};
use treering::fs::publish::Replacement;

use crate::ui::Usage;

const BUFFER: usize = 64 * 1024;
const WRITE: &str = "write";

/// What a failed write to standard output says.
pub fn stdout_error(error: std::io::Error) -> Error {
    Error::io(WRITE, "standard output", error)
}

/// What a shell reports of a process that SIGPIPE ended.
const NOBODY_READS: i32 = 128 + 13;

/// Standard output without Rust's line buffering. When whoever reads it has gone, as `head` does, the process ends
/// without a word.
struct Stdout(File);

impl Stdout {
    fn open() -> Result<BufWriter<Stdout>> {
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

/// A file that says which one it is when it cannot be written: whoever writes an archive does not know where to.
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
/// A regular file appears, or is replaced, when all of it is written: after an error the old one is still there. A pipe
/// or a device is written to as it is.
pub fn stream<T>(
    file: Option<&Path>,
    write: impl FnOnce(&mut (dyn Write + Send)) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = match file {
        Some(path) if path != Path::new("-") => path,
        _ => {
            if std::io::stdout().is_terminal() {
                let usage = Usage::new("this is no text for a terminal");
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
    if path.metadata().is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        let file = std::fs::OpenOptions::new().write(true).open(path).at(WRITE, shown)?;
        let mut out = BufWriter::with_capacity(BUFFER, Named { inner: file, shown });
        let value = write(&mut out)?;
        out.flush().at(WRITE, shown)?;
        return Ok(value);
    }
    let (dir, name) = place(path)?;
    let mut new = Replacement::new(&dir).at(WRITE, shown)?;
    let value = {
        let mut out = BufWriter::with_capacity(BUFFER, Named { inner: new.file(), shown });
        let value = write(&mut out)?;
        out.flush().at(WRITE, shown)?;
        value
    };
    new.publish(name).at(WRITE, shown)?;
    Ok(value)
}

/// The directory a file is in, and its name there.
fn place(path: &Path) -> Result<(Dir, &OsStr)> {
    let shown = path.as_os_str().as_bytes();
    let name = path.file_name().filter(|_| !shown.ends_with(b"/"));
    let name = name.ok_or_else(|| Error::invalid(WRITE, "this is not a file name").with_path(shown))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let dir = Dir::open_ambient_dir(parent, ambient_authority()).at(WRITE, parent.as_os_str().as_bytes())?;
    Ok((dir, name))
}
