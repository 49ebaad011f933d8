//! More commands in a step that runs: the host program asks the helper, the helper its reaper, which starts them beside the first one.
//!
//! They have the root of the first one, the same supervisor and the same ledger, and end when the first one ends.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::protocol::{Channel, Message, Reader, Writer};
use super::rung::Rung;
use super::{Network, StepOptions, helper_process, prepare};
use crate::error::{At, Error, ErrorKind, Result};
use crate::progress::Control;

const EXEC: &str = "run command";
/// How often a wait looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// Waiting callers, by the command that they wait for.
#[derive(Debug, Default)]
pub(super) struct Registry {
    last: AtomicU64,
    /// `None` once the step has ended.
    waiting: Mutex<Option<HashMap<u64, Sender<Message>>>>,
}

impl Registry {
    pub fn new() -> Registry {
        Registry { last: AtomicU64::new(0), waiting: Mutex::new(Some(HashMap::new())) }
    }

    fn add(&self) -> Result<(u64, Receiver<Message>)> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut().ok_or_else(over)?.insert(number, sender);
        Ok((number, receiver))
    }

    fn remove(&self, number: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut() {
            waiting.remove(&number);
        }
    }

    /// Gives a message to the thread that waits for it; returns whether it is one that can be waited for.
    pub fn deliver(&self, message: Message) -> bool {
        if ![Message::EXEC_STARTED, Message::EXEC_EXITED, Message::EXEC_FAILED].contains(&message.kind) {
            return false;
        }
        if let Ok(number) = Reader::new(&message.body).number() {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sender) = waiting.as_ref().and_then(|waiting| waiting.get(&number)) {
                // One that waits no longer needs no news.
                let _ = sender.send(message);
            }
        }
        true
    }

    /// Says that the step has ended.
    pub fn close(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn over() -> Error {
    Error::new(ErrorKind::CommandFailed, EXEC, "the command that it was to run beside has ended")
        .with_exit_code(128 + libc::SIGKILL)
}

/// A starter of more commands in a step, for any thread, while another one waits for the step with [`super::Step::wait`].
#[derive(Debug, Clone)]
pub struct Commands {
    pub(super) channel: Arc<Mutex<Option<Channel>>>,
    pub(super) registry: Arc<Registry>,
    pub(super) rung: Rung,
    pub(super) network: Network,
}

impl Commands {
    /// Starts a command. Of the options count arguments, environment, directory, user, terminal and streams, of which none may be
    /// [`super::Stream::Events`]; all else is as the step has it.
    ///
    /// # Errors
    /// [`ErrorKind::CommandFailed`] when the step has ended.
    pub fn start(&self, options: &StepOptions) -> Result<Running> {
        if options.arguments.is_empty() {
            return Err(Error::invalid(EXEC, "the command is empty"));
        }
        let mut order = prepare::bare_order(options, self.rung);
        if self.network == Network::None {
            // Where there is no namespace, a filter of its own takes the network away.
            order.network = Network::None;
        }
        let (streams, outputs) = helper_process::streams(options)?;
        if !outputs.is_empty() {
            return Err(Error::invalid(EXEC, "output of this command cannot become events"));
        }
        let (number, news) = self.registry.add()?;
        let running = Running { number, news, commands: self.clone(), terminal: None };
        let mut body = Writer::default();
        body.number(number).bytes(&order.encode());
        let descriptors: Vec<_> = streams.iter().map(AsFd::as_fd).collect();
        self.send(Message::EXEC, &body.finish(), &descriptors)?;
        running.started()
    }

    fn send(&self, kind: u8, body: &[u8], descriptors: &[std::os::fd::BorrowedFd<'_>]) -> Result<()> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = match &*channel {
            Some(channel) => channel.send(kind, body, descriptors),
            None => return Err(over()),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(over()),
            other => other.at(EXEC, "ask helper"),
        }
    }
}

/// A command beside the first one of a step. Dropped, it goes on.
#[derive(Debug)]
pub struct Running {
    number: u64,
    news: Receiver<Message>,
    commands: Commands,
    terminal: Option<OwnedFd>,
}

impl Running {
    fn started(mut self) -> Result<Running> {
        match self.news.recv() {
            Ok(Message { kind: Message::EXEC_STARTED, descriptors, .. }) => {
                self.terminal = descriptors.into_iter().next();
                Ok(self)
            }
            Ok(message) => Err(failure(&message)),
            Err(_) => Err(over()),
        }
    }

    /// Returns the terminal of a command that has one of its own.
    pub fn terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sends it a signal. One that has ended gets none, and that is no error.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let mut body = Writer::default();
        body.number(self.number).number(signal as u64);
        match self.commands.send(Message::EXEC_SIGNAL, &body.finish(), &[]) {
            Err(error) if error.kind() == ErrorKind::CommandFailed => Ok(()),
            other => other,
        }
    }

    /// Waits for its end for a while; `None` when it has not ended.
    pub(crate) fn wait_for(&self, patience: Duration) -> Result<Option<(i32, Option<i32>)>> {
        match self.news.recv_timeout(patience) {
            Ok(message) if message.kind == Message::EXEC_EXITED => ending(&message.body).map(Some),
            Ok(message) => Err(failure(&message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(over()),
        }
    }

    /// Waits for its end; gives exit code and signal. After [`crate::Cancel::cancel`] it is killed.
    ///
    /// # Errors
    /// [`ErrorKind::CommandFailed`] when it could not be executed, or ended with the step.
    pub fn wait(self, control: &Control) -> Result<(i32, Option<i32>)> {
        loop {
            if let Err(error) = control.check(EXEC) {
                self.signal(libc::SIGKILL)?;
                return Err(error);
            }
            if let Some(ending) = self.wait_for(LOOK)? {
                return Ok(ending);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.commands.registry.remove(self.number);
    }
}

fn ending(body: &[u8]) -> Result<(i32, Option<i32>)> {
    let mut body = Reader::new(body);
    let mut next = || body.number().at(EXEC, "ask helper");
    let (_, code, signal) = (next()?, next()? as i32, next()? as i32);
    Ok((code, (signal != 0).then_some(signal)))
}

/// Returns an error that the helper reports about one command.
fn failure(message: &Message) -> Error {
    let mut body = Reader::new(&message.body);
    match (message.kind, body.number().and_then(|_| body.bytes())) {
        (Message::EXEC_FAILED, Ok(body)) => helper_process::failure(&body),
        _ => Error::corrupt("ask helper", "it sent an invalid message"),
    }
}
