//! The helper process of a step, as the host program has it: started, given its order, waited for.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;

use super::failure::Failure;
use super::more::Registry;
use super::order::Order;
use super::protocol::{Channel, Message, Reader, Writer};
use super::{StepOptions, Stream, launch};
use crate::error::{At, Error, ErrorKind, Result};
use crate::event::{Event, OutputStream, StepId};
use crate::fs::Root;
use crate::progress::Control;
use crate::tree::Ledger;

const START: &str = "start command";
const RUN: &str = "run command";

/// How often a wait looks whether it was cancelled.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The helper process. Dropped, it and the whole step end.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    pub channel: Arc<Mutex<Option<Channel>>>,
    /// Another descriptor of the same socket, to wait on without the lock.
    socket: OwnedFd,
    /// More commands of the step.
    pub registry: Arc<Registry>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.registry.close();
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Both descriptors of the socket have to go before the helper reads its end.
        let null = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        debug_assert!(null.is_ok() || null == Err(Errno::NOTCONN));
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            // Another thread of this process may have reaped it, or said that nothing has to be reaped.
            while let Err(Errno::INTR) =
                rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
            {}
        }
    }
}

/// A sender of signals to a command, for any thread.
#[derive(Debug, Clone)]
pub struct Signals(pub(super) Arc<Mutex<Option<Channel>>>);

impl Signals {
    /// Sends a signal to the command's first process. One that has ended gets none, and that is no error.
    pub fn send(&self, signal: i32) -> Result<()> {
        let channel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = &*channel else { return Ok(()) };
        let mut body = Writer::default();
        body.number(signal as u64);
        match channel.send(Message::SIGNAL, &body.finish(), &[]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.at("send signal", ""),
        }
    }
}

/// The first message of a helper, with the terminal and the network namespace of a step that has them.
pub(super) enum First {
    Started(Process, Option<OwnedFd>, Option<OwnedFd>),
    Refused(Error),
}

/// Has a helper carry out an order that is about no command.
pub(super) fn without_command(
    root: &Root,
    ledger: &Ledger,
    order: &Order,
    journal: &File,
    sources: &[OwnedFd],
    program: &Path,
) -> Result<()> {
    let (streams, mut outputs) = streams(&StepOptions::default())?;
    let journal = journal.try_clone().at(START, "")?;
    match greet(root, ledger, order, &journal, &streams, sources, program)? {
        First::Started(helper, ..) => {
            wait(&helper, &mut outputs, StepId::default(), &Control::default()).map(drop)
        }
        First::Refused(error) => Err(error),
    }
}

pub(crate) type Streams = ([OwnedFd; 3], Vec<(OutputStream, OwnedFd)>);

/// Returns the command's streams, and our ends of those that become events.
pub(crate) fn streams(options: &StepOptions) -> Result<Streams> {
    let mut outputs = Vec::new();
    let mut stream = |stream: &Stream, number: i32| -> io::Result<OwnedFd> {
        match stream {
            Stream::Null => {
                Ok(crate::fs::root::open_by_path(Path::new("/dev/null"), OFlags::RDWR | OFlags::CLOEXEC)?)
            }
            Stream::Inherit => {
                let fd = match number {
                    0 => rustix::stdio::stdin(),
                    1 => rustix::stdio::stdout(),
                    _ => rustix::stdio::stderr(),
                };
                Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
            }
            Stream::Fd(fd) => fd.try_clone(),
            Stream::Events => {
                let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                let which = if number == 2 { OutputStream::Stderr } else { OutputStream::Stdout };
                outputs.push((which, ours));
                Ok(theirs)
            }
        }
    };
    let input = stream(&options.stdin, 0).at(START, "standard input")?;
    let output = stream(&options.stdout, 1).at(START, "standard output")?;
    let error = stream(&options.stderr, 2).at(START, "standard error")?;
    Ok(([input, output, error], outputs))
}

/// Starts a helper, gives it its order and receives the result.
pub(super) fn greet(
    root: &Root,
    ledger: &Ledger,
    order: &Order,
    journal: &File,
    streams: &[OwnedFd; 3],
    sources: &[OwnedFd],
    program: &Path,
) -> Result<First> {
    let shown = program.as_os_str().as_encoded_bytes();
    let (pid, channel) = launch::spawn(program, launch::VERB).at("start helper", shown)?;
    let socket = channel.as_fd().try_clone_to_owned().at("start helper", shown)?;
    let registry = Arc::new(Registry::new());
    let helper = Process { pid, channel: Arc::new(Mutex::new(Some(channel))), socket, registry };
    let memory = rustix::fs::memfd_create("ledger", MemfdFlags::CLOEXEC).at(START, "pass ledger")?;
    let mut file = File::from(memory);
    io::Write::write_all(&mut file, &ledger.to_bytes()).at(START, "pass ledger")?;
    io::Seek::rewind(&mut file).at(START, "pass ledger")?;
    let fixed = [root.as_fd(), file.as_fd(), journal.as_fd()];
    let descriptors: Vec<BorrowedFd<'_>> =
        fixed.into_iter().chain(streams.iter().chain(sources).map(AsFd::as_fd)).collect();
    let talk = |channel: &Channel| -> io::Result<Option<Message>> {
        channel.hello()?;
        channel.expect_hello()?;
        channel.send(Message::START, &order.encode(), &descriptors)?;
        channel.receive()
    };
    let first = {
        let lock = helper.channel.lock().unwrap_or_else(PoisonError::into_inner);
        match &*lock {
            Some(channel) => talk(channel).at("ask helper", shown)?,
            None => None,
        }
    };
    match first {
        Some(Message { kind: Message::STARTED, descriptors, .. }) => {
            let mut descriptors = descriptors.into_iter();
            let terminal = if order.terminal { descriptors.next() } else { None };
            Ok(First::Started(helper, terminal, descriptors.next()))
        }
        Some(Message { kind: Message::FAILED, body, .. }) => Ok(First::Refused(failure(&body))),
        _ => Err(Error::new(ErrorKind::Io, "ask helper", "it ended without an answer").with_path(shown)),
    }
}

/// Returns an error that the helper reports.
pub(super) fn failure(body: &[u8]) -> Error {
    let Ok((kind, message, code)) = Failure::decode(body) else {
        return Error::corrupt("ask helper", "it sent an invalid error");
    };
    let kind = ErrorKind::of_code(kind).unwrap_or(ErrorKind::Io);
    let error = Error::new(kind, RUN, message);
    if code == 0 { error } else { error.with_exit_code(code) }
}

/// Waits for the helper's last message, and reads output in the meantime. Gives exit code and signal.
pub(super) fn wait(
    helper: &Process,
    outputs: &mut Vec<(OutputStream, OwnedFd)>,
    step: StepId,
    control: &Control,
) -> Result<(i32, Option<i32>)> {
    loop {
        control.check(RUN)?;
        let mut fds = vec![PollFd::new(&helper.socket, PollFlags::IN)];
        fds.extend(outputs.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, Some(&LOOK)) {
            Err(Errno::INTR) => continue,
            other => other.at(RUN, "wait")?,
        };
        let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let mut at = 0;
        let mut failed = None;
        outputs.retain(|(stream, fd)| {
            at += 1;
            !came[at]
                || read_output(fd, *stream, step, control).unwrap_or_else(|error| {
                    failed = Some(error);
                    false
                })
        });
        if let Some(error) = failed {
            return Err(Error::io(RUN, "read output", error));
        }
        if !came[0] {
            continue;
        }
        let received = {
            let lock = helper.channel.lock().unwrap_or_else(PoisonError::into_inner);
            lock.as_ref().map(Channel::receive).transpose().at(RUN, "wait")?.flatten()
        };
        return match received {
            Some(Message { kind: Message::EXITED, body, .. }) => {
                let mut body = Reader::new(&body);
                let code = body.small().at(RUN, "wait")? as i32;
                let signal = body.small().at(RUN, "wait")? as i32;
                Ok((code, (signal != 0).then_some(signal)))
            }
            // One with an exit code is of a command that did not begin.
            Some(Message { kind: Message::FAILED, body, .. }) => Err(match failure(&body) {
                error if error.exit_code().is_none() => error.midway(),
                error => error,
            }),
            Some(message) => {
                helper.registry.deliver(message);
                continue;
            }
            None => Err(Error::new(
                ErrorKind::CommandFailed,
                RUN,
                "the helper was killed, and the command with it",
            )
            .with_exit_code(128 + libc::SIGKILL)
            .midway()),
        };
    }
}

/// Reads some output and sends it on; whether there may be more.
pub(super) fn read_output(
    fd: &OwnedFd,
    stream: OutputStream,
    step: StepId,
    control: &Control,
) -> io::Result<bool> {
    let mut bytes = vec![0; 64 * 1024];
    let n = match rustix::io::read(fd, &mut bytes[..]) {
        Err(Errno::INTR) => return Ok(true),
        other => other?,
    };
    if n == 0 {
        return Ok(false);
    }
    bytes.truncate(n);
    control.events.send(Event::Output { step, stream, bytes });
    Ok(true)
}
