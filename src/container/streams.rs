//! The streams of a command that a thread waits for: what it is given, and where its output goes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::process::{ProcessOptions, RUN};
use super::pump::Sink;
use super::terminal::{self, Feeder};
use crate::error::{At, Error, Result};
use crate::event::OutputStream;
use crate::sandbox::{Stream, WindowSize};

/// How much a terminal holds at most of what was written to it (64 KiB on their way, and what can be read).
const TERMINAL_HOLDS: u64 = 128 << 10;

/// Gives a terminal another size.
pub(super) type Resize = Box<dyn Fn(WindowSize) -> Result<()> + Send + Sync>;

/// The streams as the command is given them, our ends of the pipes that lead to the sink, and what its terminal is to read.
pub(super) struct Given {
    pub streams: (Stream, Stream, Stream),
    pub ends: Vec<(OutputStream, OwnedFd)>,
    pub sink: Option<Box<Sink>>,
    input: Option<OwnedFd>,
}

impl Given {
    pub fn of(options: ProcessOptions) -> Result<Given> {
        let ProcessOptions { stdin, stdout, stderr, merge, sink, terminal, .. } = options;
        check_input(&stdin)?;
        if terminal {
            let mut outputs = Outputs::of(stdout, Stream::Null, false, sink)?;
            return Ok(Given {
                streams: Default::default(),
                ends: Vec::new(),
                sink: Some(Box::new(move |stream, bytes| outputs.write(stream, bytes))),
                input: terminal::source(stdin)?,
            });
        }
        let mut ends = Vec::new();
        let mut output = |stream: Stream, which| match stream {
            Stream::Events if sink.is_none() => Ok(Stream::Null),
            Stream::Events => {
                let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).at(RUN, "make pipe")?;
                ends.push((which, ours));
                Ok(Stream::Fd(theirs))
            }
            Stream::Inherit if merge => {
                let fd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3);
                Ok(Stream::Fd(fd.at(RUN, "standard output")?))
            }
            other => Ok(other),
        };
        let stdout = output(stdout, OutputStream::Stdout)?;
        let stderr = match (merge, &stdout) {
            (true, Stream::Fd(fd)) => Stream::Fd(fd.try_clone().at(RUN, "standard error")?),
            (true, _) => Stream::Null,
            (false, _) => output(stderr, OutputStream::Stderr)?,
        };
        Ok(Given { streams: (stdin, stdout, stderr), ends, sink, input: None })
    }

    /// Joins the terminal that was made for the command, if so: what it writes there goes to the sink.
    pub fn join(&mut self, terminal: Option<OwnedFd>) -> Result<(Option<Resize>, Option<Feeder>)> {
        let Some(terminal) = terminal else { return Ok((None, None)) };
        self.ends.push((OutputStream::Stdout, terminal.try_clone().at(RUN, "terminal")?));
        join(terminal, self.input.take())
    }
}

/// Refuses what cannot be read.
pub(super) fn check_input(stdin: &Stream) -> Result<()> {
    match stdin {
        Stream::Events => {
            Err(Error::invalid(RUN, "standard input comes from nothing, this process or a descriptor"))
        }
        _ => Ok(()),
    }
}

/// Joins a terminal with what it is to read; gives what changes its size, and the thread that passes input on.
pub(super) fn join(terminal: OwnedFd, input: Option<OwnedFd>) -> Result<(Option<Resize>, Option<Feeder>)> {
    let keys = terminal::keys(terminal.try_clone().at(RUN, "terminal")?)?;
    let feeder = input.map(|input| Feeder::start(input, keys)).transpose()?;
    let resize: Resize = Box::new(move |size| size.set(&terminal).at("resize terminal", ""));
    Ok((Some(resize), feeder))
}

/// Gives output to the sink until there is no more; once `over` hangs up, what is there at that moment and nothing more: a process that the
/// command left behind in a container may keep a stream open, and write to it for ever.
pub(super) fn collect(
    mut ends: Vec<(OutputStream, OwnedFd)>,
    mut sink: Box<Sink>,
    over: &OwnedFd,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    for (_, fd) in &ends {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    while !ends.is_empty() {
        let mut fds: Vec<_> = ends.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)).collect();
        fds.push(PollFd::new(over, PollFlags::IN));
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if came[ends.len()] {
            return ends.iter().try_for_each(|(stream, fd)| {
                let mut left = rustix::io::ioctl_fionread(fd)?.max(TERMINAL_HOLDS);
                while left > 0 {
                    let most = left.min(bytes.len() as u64) as usize;
                    match rustix::io::read(fd, &mut bytes[..most]) {
                        Ok(0) => break,
                        Ok(n) => {
                            sink(*stream, &bytes[..n])?;
                            left -= n as u64;
                        }
                        Err(Errno::INTR) => {}
                        Err(Errno::AGAIN | Errno::IO) => break,
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(())
            });
        }
        let mut left = Vec::new();
        for (at, (stream, fd)) in ends.into_iter().enumerate() {
            if came[at] {
                match rustix::io::read(&fd, &mut bytes[..]) {
                    // The end of a terminal is an error (EIO).
                    Ok(0) | Err(Errno::IO) => continue,
                    Ok(n) => sink(stream, &bytes[..n])?,
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            left.push((stream, fd));
        }
        ends = left;
    }
    Ok(())
}

/// The receivers of a container command's output besides its log.
pub(super) struct Outputs {
    stdout: Target,
    stderr: Target,
    sink: Option<Box<Sink>>,
}

enum Target {
    Nowhere,
    File(File),
    Sink,
}

impl Target {
    fn of(stream: Stream, number: i32) -> Result<Target> {
        Ok(match stream {
            Stream::Null => Target::Nowhere,
            Stream::Events => Target::Sink,
            Stream::Fd(fd) => Target::File(File::from(fd)),
            Stream::Inherit => {
                let fd = if number == 2 { rustix::stdio::stderr() } else { rustix::stdio::stdout() };
                Target::File(File::from(rustix::io::fcntl_dupfd_cloexec(fd, 3).at(RUN, "duplicate stream")?))
            }
        })
    }
}

impl Outputs {
    pub fn of(stdout: Stream, stderr: Stream, merge: bool, sink: Option<Box<Sink>>) -> Result<Outputs> {
        let stderr = if merge { Stream::Null } else { stderr };
        Ok(Outputs { stdout: Target::of(stdout, 1)?, stderr: Target::of(stderr, 2)?, sink })
    }

    fn target(&mut self, stream: OutputStream) -> &mut Target {
        if stream == OutputStream::Stderr { &mut self.stderr } else { &mut self.stdout }
    }

    /// Returns whether an error of this stream ends the command.
    pub fn ends(&mut self, stream: OutputStream) -> bool {
        matches!(self.target(stream), Target::Sink)
    }

    pub fn write(&mut self, stream: OutputStream, bytes: &[u8]) -> io::Result<()> {
        match self.target(stream) {
            Target::Nowhere => Ok(()),
            Target::File(file) => file.write_all(bytes),
            Target::Sink => match &mut self.sink {
                Some(sink) => sink(stream, bytes),
                None => Ok(()),
            },
        }
    }
}
