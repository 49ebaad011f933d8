//! This terminal joined with the one of a command.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use treering::sandbox::WindowSize;

/// This terminal passing every key on, until it is dropped.
pub struct Raw(Termios);

impl Raw {
    /// Begins.
    pub fn enter() -> io::Result<Raw> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Returns the size of this terminal.
pub fn terminal_size() -> Option<WindowSize> {
    tcgetwinsize(io::stdin()).ok().map(|size| WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// A joined terminal. With input, this one passes every key on until [`Terminal::part`].
pub struct Terminal {
    other: OwnedFd,
    raw: Option<Raw>,
    output: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Joins standard input and output with the other end of a command's terminal. Without `input`, this terminal stays as it is.
    pub fn join(other: OwnedFd, input: bool) -> io::Result<Terminal> {
        let shown = other.try_clone()?;
        let mut terminal = Terminal::keys(other, input)?;
        let output = std::thread::Builder::new().name("terminal-output".into()).spawn(move || {
            let _ = copy(&shown, |bytes| {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            });
        })?;
        terminal.output = Some(output);
        Ok(terminal)
    }

    /// Joins standard input alone: what the command writes gets here in another way.
    pub fn keys(other: OwnedFd, input: bool) -> io::Result<Terminal> {
        // Without a thread that passes keys on, Ctrl-C has to stay a signal.
        let raw = input.then(Raw::enter).transpose()?;
        resize(&other);
        if input {
            let keys = other.try_clone()?;
            // It ends with the program: nothing can interrupt a read from a terminal.
            std::thread::Builder::new().name("terminal-input".into()).spawn(move || {
                let _ = copy(io::stdin(), |bytes| write_all(&keys, bytes));
            })?;
        }
        Ok(Terminal { other, raw, output: None })
    }

    /// Returns what to do when this terminal has another size.
    pub fn resizer(&self) -> io::Result<impl Fn() + Send + 'static> {
        let other = self.other.try_clone()?;
        Ok(move || resize(&other))
    }

    /// Shows what is left, and makes this terminal what it was.
    pub fn part(self) {
        let Terminal { other, raw, output } = self;
        drop(other);
        // The command is gone, so reading ends.
        if let Some(output) = output {
            let _ = output.join();
        }
        drop(raw);
    }
}

fn resize(other: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        let _ = tcsetwinsize(other, size);
    }
}

fn copy(from: impl AsFd, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    loop {
        match rustix::io::read(&from, &mut bytes[..]) {
            // The end of a terminal without a user left (EIO), or of a file.
            Ok(0) | Err(Errno::IO) => return Ok(()),
            Ok(n) => to(&bytes[..n])?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes all of it to a descriptor.
pub fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = rustix::io::retry_on_intr(|| rustix::io::write(&to, bytes))?;
        bytes = &bytes[n..];
    }
    Ok(())
}
