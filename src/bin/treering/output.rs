//! Where data goes: standard output, or the file of `-o`.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use treering::error::{At, Error, Result};
use treering::fs::descriptors::closed_at_start;
use treering::fs::output::Output;
use treering::fs::publish::Durability;
use treering::progress::Cancel;

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
/// What the file is decides how it is written, see [`Output`].
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
    let mut file = Output::open(path, WRITE, &Cancel::default())?;
    let value = {
        let mut out = BufWriter::with_capacity(BUFFER, Named { inner: file.file(), shown });
        let value = write(&mut out)?;
        out.flush().at(WRITE, shown)?;
        value
    };
    file.finish(Durability::Full)?;
    Ok(value)
}
