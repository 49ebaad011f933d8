//! The input of a command, on its way from a descriptor of the caller: to its terminal, or to a container that one is attached to.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

use crate::error::{At, Result};
use crate::threads;

const FEED: &str = "pass input on";

/// The keys by which one leaves a container that one is attached to, and its command goes on: Ctrl-P, then Ctrl-Q, as Docker has them. A
/// Ctrl-P is held back until the next key is there.
#[derive(Debug, Default)]
pub struct DetachKeys {
    held: bool,
}

impl DetachKeys {
    /// Returns which of these bytes to pass on, and whether the keys came. What comes after them counts for nothing.
    pub fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        const P: u8 = 16;
        const Q: u8 = 17;
        let mut out = Vec::with_capacity(bytes.len() + 1);
        for &byte in bytes {
            match (std::mem::take(&mut self.held), byte) {
                (true, Q) => return (out, true),
                (true, P) => {
                    out.push(P);
                    self.held = true;
                }
                (true, byte) => out.extend([P, byte]),
                (false, P) => self.held = true,
                (false, byte) => out.push(byte),
            }
        }
        (out, false)
    }
}

/// A receiver of input: bytes, or `None` at their end. Gives whether there is more to read. It stops waiting when the descriptor hangs up.
pub(super) type Taker = dyn FnMut(Option<&[u8]>, &OwnedFd) -> io::Result<bool> + Send;

/// A thread that passes input on. It ends when there is no more, and when this is dropped.
pub(super) struct Feeder(Option<(OwnedFd, JoinHandle<()>)>);

impl Feeder {
    /// Starts to pass on what a descriptor gives.
    pub fn start(from: OwnedFd, mut to: Box<Taker>) -> Result<Feeder> {
        let (over, end) = pipe_with(PipeFlags::CLOEXEC).at(FEED, "make pipe")?;
        let body = move || {
            // The command reads no more, or nothing can be read: either way there is no more to do.
            let _ = feed(&from, &over, &mut *to);
        };
        Ok(Feeder(Some((end, threads::start("treering-input", body).at(FEED, "start thread")?))))
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

fn feed(from: &OwnedFd, over: &OwnedFd, to: &mut Taker) -> io::Result<()> {
    let mut bytes = [0; 4096];
    while wait(from, PollFlags::IN, Some(over))? {
        match rustix::io::read(from, &mut bytes) {
            Ok(0) => return to(None, over).map(drop),
            Ok(n) if to(Some(&bytes[..n]), over)? => {}
            Ok(_) => return Ok(()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until something can be done with a descriptor; false when `over` hung up before.
fn wait(fd: &OwnedFd, wanted: PollFlags, over: Option<&OwnedFd>) -> io::Result<bool> {
    loop {
        let mut fds = vec![PollFd::new(fd, wanted)];
        fds.extend(over.map(|over| PollFd::new(over, PollFlags::IN)));
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        return Ok(fds.get(1).is_none_or(|over| over.revents().is_empty()));
    }
}

/// Writes all of it to a descriptor that may not block; false when `over` hung up before.
pub(super) fn write(to: &OwnedFd, mut bytes: &[u8], over: Option<&OwnedFd>) -> io::Result<bool> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if !wait(to, PollFlags::OUT, over)? {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Returns what writes to a command's terminal. At its end the command reads an end as well, if it reads lines: a terminal has no other.
pub(super) fn keys(terminal: OwnedFd) -> Result<Box<Taker>> {
    // What is full must not keep the thread from ending.
    rustix::io::ioctl_fionbio(&terminal, true).at(FEED, "terminal")?;
    let mut ends_line = true;
    Ok(Box::new(move |bytes, over| match bytes {
        Some(bytes) => {
            ends_line = bytes.last() == Some(&b'\n');
            write(&terminal, bytes, Some(over))
        }
        None => {
            let modes = tcgetattr(&terminal)?;
            if modes.local_modes.contains(LocalModes::ICANON) {
                let end = modes.special_codes[SpecialCodeIndex::VEOF];
                // In the midst of a line the first one ends that (termios(3)).
                let ends = [end, end];
                write(&terminal, &ends[usize::from(ends_line)..], Some(over))?;
            }
            Ok(false)
        }
    }))
}

/// Returns a copy of a stream that input is read from; `None` where there is nothing to read.
pub(super) fn source(stream: crate::sandbox::Stream) -> Result<Option<OwnedFd>> {
    use crate::sandbox::Stream;
    match stream {
        Stream::Fd(fd) => Ok(Some(fd)),
        Stream::Inherit => {
            let fd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin().as_fd(), 3);
            Ok(Some(fd.at(FEED, "standard input")?))
        }
        Stream::Null | Stream::Events => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_takes_both_keys_in_a_row() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.take(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.take(b"b\x10\x10"), (b"\x10b\x10".to_vec(), false));
        assert_eq!(keys.take(b"\x11x"), (b"".to_vec(), true));
    }

    #[test]
    fn what_is_full_keeps_no_thread() {
        let (full, to) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let (from, ours) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let feeder = Feeder::start(
            from,
            Box::new(move |bytes, over| write(&to, bytes.unwrap_or_default(), Some(over))),
        )
        .unwrap();
        // More than a pipe holds, so the thread waits for room.
        let writer = std::thread::spawn(move || {
            for _ in 0..64 {
                if rustix::io::write(&ours, &[7; 4096]).is_err() {
                    break;
                }
            }
        });
        let mut some = [0; 1];
        wait(&full, PollFlags::IN, None).unwrap();
        assert_eq!(rustix::io::read(&full, &mut some).unwrap(), 1);
        drop(feeder);
        writer.join().unwrap();
    }
}
