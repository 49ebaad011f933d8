//! This terminal joined with the one of a command.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// A joined terminal. This one passes every key on until [`Terminal::part`].
pub struct Terminal {
    other: OwnedFd,
    before: Termios,
    output: JoinHandle<()>,
}

impl Terminal {
    /// Joins standard input and output with the other end of a command's terminal. Without `input`, keys go nowhere.
    pub fn join(other: OwnedFd, input: bool) -> io::Result<Terminal> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        resize(&other);
        if input {
            let keys = other.try_clone()?;
            // It ends with the program: nothing can interrupt a read from a terminal.
            std::thread::Builder::new().name("terminal-input".into()).spawn(move || {
                let _ = copy(io::stdin(), |bytes| write_all(&keys, bytes));
            })?;
        }
        let shown = other.try_clone()?;
        let output = std::thread::Builder::new().name("terminal-output".into()).spawn(move || {
            let _ = copy(&shown, |bytes| {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            });
        })?;
        Ok(Terminal { other, before, output })
    }

    /// What to do when this terminal has another size.
    pub fn resizer(&self) -> io::Result<impl Fn() + Send + 'static> {
        let other = self.other.try_clone()?;
        Ok(move || resize(&other))
    }

    /// Shows what is left, and makes this terminal what it was.
    pub fn part(self) {
        let Terminal { other, before, output } = self;
        drop(other);
        // The command is gone, so reading ends.
        let _ = output.join();
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
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
            // The end of a terminal whose last user is gone (EIO), or of a file.
            Ok(0) | Err(Errno::IO) => return Ok(()),
            Ok(n) => to(&bytes[..n])?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = rustix::io::retry_on_intr(|| rustix::io::write(to, bytes))?;
        bytes = &bytes[n..];
    }
    Ok(())
}
