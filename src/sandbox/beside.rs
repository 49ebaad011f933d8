//! The helper's side of commands beside the first one: their sockets, their listeners, and what is said of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::failure::Failure;
use super::handle::State;
use super::order::{Ids, Order};
use super::protocol::{Channel, Message, Reader, Writer};
use super::ptrace::Tracer;
use super::sys;
use crate::error::ErrorKind;

/// The most commands beside the first one at a time.
const MOST: usize = 256;

/// All commands beside the first one.
#[derive(Debug, Default)]
pub struct Beside(Vec<One>);

#[derive(Debug)]
struct One {
    number: u64,
    /// The other end is the command's until it is executed.
    channel: Option<Channel>,
    /// The pipe that it waits for before it is executed.
    go: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    /// Whether it gets a terminal.
    terminal: bool,
    /// As which user it starts, and where.
    user: Ids,
    directory: Vec<u8>,
    over: bool,
}

/// The watch over the processes of a step.
pub struct Watch<'a> {
    pub state: &'a mut Option<State>,
    pub tracer: &'a mut Option<(Tracer, OwnedFd)>,
}

impl Watch<'_> {
    /// Takes in the first thread of a command, where threads are traced; `every` for one that could have no filter.
    fn enter(&mut self, tid: u32, every: bool, one: &One) -> io::Result<()> {
        if let (Some(state), Some((tracer, _))) = (self.state.as_mut(), self.tracer.as_mut()) {
            state.enter(tid, &one.user, &one.directory)?;
            tracer.begin(tid, every)?;
        }
        Ok(())
    }
}

/// A descriptor to wait for: the socket of a command, or its listener.
#[derive(Debug, Clone, Copy)]
pub enum Wait {
    Channel(usize),
    Listener(usize),
}

impl Beside {
    /// Returns what to wait for.
    pub fn waits(&self) -> Vec<(Wait, BorrowedFd<'_>)> {
        let mut out = Vec::new();
        for (at, one) in self.0.iter().enumerate() {
            out.extend(one.channel.iter().map(|channel| (Wait::Channel(at), channel.as_fd())));
            out.extend(one.listener.iter().map(|listener| (Wait::Listener(at), listener.as_fd())));
        }
        out
    }

    /// Returns a listener, to answer a call.
    pub fn listener(&self, at: usize) -> Option<&OwnedFd> {
        self.0.get(at)?.listener.as_ref()
    }

    /// Lets go of a listener that no process is left of.
    pub fn deaf(&mut self, at: usize) {
        self.0[at].listener = None;
    }

    /// Forgets what there is nothing left of.
    pub fn sweep(&mut self) {
        self.0.retain(|one| !one.over || one.channel.is_some() || one.listener.is_some());
    }

    /// Passes the order for one more command on to the reaper.
    pub fn start(
        &mut self,
        host: &Channel,
        inner: &Channel,
        state: &mut Option<State>,
        message: Message,
    ) -> io::Result<()> {
        let mut body = Reader::new(&message.body);
        let number = body.number()?;
        let result = (|| -> io::Result<One> {
            let order = body.bytes()?;
            if self.0.len() >= MOST {
                return Err(io::Error::other("there are too many commands beside the first one"));
            }
            let streams: [OwnedFd; 3] =
                message.descriptors.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
            let read = Order::decode(&order)?;
            let (slack, locks) = match state {
                Some(state) => state.carried_by(&read.user)?,
                None => (0, 0),
            };
            let (ours, theirs) = Channel::pair()?;
            ours.ask_for_senders()?;
            let (gate, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            let mut out = Writer::default();
            out.number(number).number(slack).number(locks).bytes(&order);
            let mut with: Vec<_> = streams.iter().map(AsFd::as_fd).collect();
            with.extend([theirs.as_fd(), gate.as_fd()]);
            inner.send(Message::EXEC, &out.finish(), &with)?;
            Ok(One {
                number,
                channel: Some(ours),
                go: Some(go),
                listener: None,
                terminal: read.terminal,
                user: read.user,
                directory: read.directory,
                over: false,
            })
        })();
        match result {
            Ok(one) => {
                self.0.push(one);
                Ok(())
            }
            Err(error) => {
                let message = error.to_string();
                let failure =
                    Failure { kind: ErrorKind::Io, message: format!("start command: {message}"), code: 0 };
                failed(host, number, &failure.encode())
            }
        }
    }

    /// Takes what a command says before it is executed.
    pub fn said(&mut self, host: &Channel, at: usize, watch: &mut Watch<'_>) -> io::Result<()> {
        let one = &mut self.0[at];
        let Some(channel) = &one.channel else { return Ok(()) };
        match channel.receive() {
            Ok(Some(Message { kind: Message::LISTENER, descriptors, body, sender })) => {
                let every = Reader::new(&body).small()? != 0;
                if let Err(error) = watch.enter(sender.unwrap_or(0), every, one) {
                    // It ends without the signal to go.
                    (one.channel, one.go, one.over) = (None, None, true);
                    let message = format!("start command: {error}");
                    return failed(
                        host,
                        one.number,
                        &Failure { kind: ErrorKind::Io, message, code: 0 }.encode(),
                    );
                }
                let mut descriptors = descriptors.into_iter();
                // The listener comes first, as that of the first command.
                if descriptors.len() > usize::from(one.terminal) {
                    one.listener = descriptors.next();
                    if let Some(listener) = &one.listener {
                        sys::wake_in_turn(listener);
                    }
                }
                let terminal = descriptors.next();
                let with: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
                let mut body = Writer::default();
                body.number(one.number);
                host.send(Message::EXEC_STARTED, &body.finish(), &with)?;
                if let Some(go) = one.go.take() {
                    // One that died while it waited is reported by the reaper.
                    let _ = rustix::io::write(&go, b"!");
                }
                Ok(())
            }
            Ok(Some(message)) => {
                (one.channel, one.over) = (None, true);
                failed(host, one.number, &message.body)
            }
            // Executed, or gone; in the second case the reaper says more, unless it could not even start it.
            Ok(None) | Err(_) => {
                one.channel = None;
                if one.go.take().is_some() {
                    one.over = true;
                    let message = "start command: it ended before it was executed".to_string();
                    let failure = Failure { kind: ErrorKind::Io, message, code: 0 };
                    return failed(host, one.number, &failure.encode());
                }
                Ok(())
            }
        }
    }

    /// Takes what the reaper says of a command that ended.
    pub fn ended(&mut self, host: &Channel, body: &[u8], watch: &mut Watch<'_>) -> io::Result<()> {
        let number = Reader::new(body).number()?;
        let Some(at) = self.0.iter().position(|one| one.number == number) else { return Ok(()) };
        // What it said last counts: why it could not be executed.
        while let Some(channel) = &self.0[at].channel {
            let mut fds = [PollFd::new(channel, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut fds, Some(&now)) != Ok(1) {
                break;
            }
            self.said(host, at, watch)?;
        }
        let one = &mut self.0[at];
        one.channel = None;
        match std::mem::replace(&mut one.over, true) {
            true => Ok(()),
            false => host.send(Message::EXEC_EXITED, body, &[]),
        }
    }
}

fn failed(host: &Channel, number: u64, failure: &[u8]) -> io::Result<()> {
    let mut body = Writer::default();
    body.number(number).bytes(failure);
    host.send(Message::EXEC_FAILED, &body.finish(), &[])
}
