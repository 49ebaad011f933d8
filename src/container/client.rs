//! Requests to a container that runs, or that is to run: from any process, by its socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::control::{
    ATTACH, DETACH, DONE, EXEC, EXITED, FAILED, INPUT, INPUT_END, OUTPUT, RESIZE, SIGNAL, STARTED, WAIT,
    await_message, encode, receive, reply, request,
};
use super::handle::Container;
use super::state::Status;
use super::supervise::RunOptions;
use super::{monitor, signal};
use crate::error::{At, Error, ErrorKind, Result};
use crate::event::OutputStream;
use crate::fs::Root;
use crate::image::{Image, RunConfig, Tree};
use crate::progress::Control;
use crate::sandbox::protocol::{Channel, Message, Reader, Writer};
use crate::sandbox::{Rung, StepOptions, Stream, WindowSize, streams};

const EXEC_OP: &str = "run command";
const STOP: &str = "stop container";
/// How long a command that was asked to stop has by default, in seconds.
pub const STOP_SECONDS: u64 = 10;
/// How long a command that was killed has to end.
const KILLED: Duration = Duration::from_secs(10);

/// Options of one more command in a container that runs.
#[derive(Debug, Default)]
pub struct ExecOptions {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// More variables, `NAME=VALUE`; a name alone takes the variable away.
    pub environment: Vec<String>,
    /// `USER[:GROUP]` in place of the container's.
    pub user: Option<String>,
    /// In place of the container's working directory.
    pub directory: Option<String>,
    /// Whether it has a terminal of its own; the streams then count for nothing.
    pub terminal: bool,
    /// The size that the terminal has from the beginning.
    pub window: Option<WindowSize>,
    /// Standard input.
    pub stdin: Stream,
    /// Standard output. Not [`Stream::Events`].
    pub stdout: Stream,
    /// Standard error. Not [`Stream::Events`].
    pub stderr: Stream,
}

/// A command that [`Container::exec`] started. It is killed when this is dropped, unless it was detached.
#[derive(Debug)]
pub struct Exec {
    channel: Channel,
    terminal: Option<OwnedFd>,
}

/// Options of a container that is started to run by itself.
#[derive(Debug, Default)]
pub struct StartOptions {
    /// In place of the container's command; empty for that.
    pub command: Vec<String>,
    /// More variables.
    pub environment: Vec<String>,
    /// In place of the container's user.
    pub user: Option<String>,
    /// In place of the container's working directory.
    pub directory: Option<String>,
    /// In place of what the container says of a terminal.
    pub terminal: Option<bool>,
    /// The size that the terminal has from the beginning.
    pub window: Option<WindowSize>,
    /// Whether standard input stays open for those that are attached, besides where the container says so.
    pub interactive: bool,
    /// Whether to be attached from the first byte of output on.
    pub attach: bool,
    /// Whether the command ends when the one that is attached goes without having detached.
    pub together: bool,
    /// The only rung to use, in place of the container's.
    pub rung: Option<Rung>,
    /// The program that supervises; `None` to look for it, see [`crate::sandbox::StepOptions::helper`].
    pub helper: Option<PathBuf>,
}

/// A container that was started to run by itself.
#[derive(Debug)]
pub struct Started {
    /// The rung that was chosen.
    pub rung: Option<Rung>,
    /// The better rungs, and why each was not chosen.
    pub refused: Vec<(Rung, String)>,
    /// Its output and input, where that was asked for.
    pub attached: Option<Attached>,
}

/// A container's output as it comes, and its input.
#[derive(Debug)]
pub struct Attached {
    channel: Channel,
    terminal: bool,
}

/// An item that an [`Attached`] gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Attachment {
    /// The command wrote this.
    Output(OutputStream, Vec<u8>),
    /// The command ended with this code.
    Exited(i32),
}

/// A sender to a container that one is attached to; for any thread.
#[derive(Debug)]
pub struct Input(Channel);

impl Input {
    fn send(&self, kind: u8, body: &[u8]) -> Result<()> {
        match self.0.send(kind, body, &[]) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Ok(())
            }
            other => other.at("send input", ""),
        }
    }

    /// Gives the command bytes to read.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        bytes.chunks(64 << 10).try_for_each(|bytes| self.send(INPUT, bytes))
    }

    /// Says that there is no more to read. Of no effect on a terminal.
    pub fn close(&self) -> Result<()> {
        self.send(INPUT_END, &[])
    }

    /// Gives its terminal another size: rows and columns.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let mut body = Writer::default();
        WindowSize::write(Some(WindowSize { rows, columns }), &mut body);
        self.send(RESIZE, &body.finish())
    }

    /// Sends the command a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let mut body = Writer::default();
        body.number(signal as u64);
        self.send(SIGNAL, &body.finish())
    }

    /// Says that the command is to go on when this side hangs up.
    pub fn detach(&self) -> Result<()> {
        self.send(DETACH, &[])
    }
}

impl Attached {
    pub(super) fn new(channel: Channel) -> Attached {
        Attached { channel, terminal: false }
    }

    /// Waits for the first answer.
    pub(super) fn begun(mut self, operation: &'static str) -> Result<Attached> {
        match reply(&self.channel, operation)? {
            Some(Message { kind: STARTED, body, .. }) => {
                self.terminal = Reader::new(&body).number().at(operation, "ask supervisor")? == 1;
                Ok(self)
            }
            Some(message) => Err(failure(operation, &message)),
            None => Err(ended(operation)),
        }
    }

    /// Returns whether the command has a terminal.
    pub fn has_terminal(&self) -> bool {
        self.terminal
    }

    /// Returns a sender to its input.
    pub fn input(&self) -> Result<Input> {
        let fd = self.channel.as_fd().try_clone_to_owned().at("attach", "")?;
        Ok(Input(Channel::new(fd)))
    }

    /// Hangs up: whatever waits on this connection, on any thread, goes on.
    pub(super) fn hang_up(&self) {
        // Without another side it is shut already.
        let _ = rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Both);
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// [`ErrorKind::CommandFailed`] when the supervisor was killed, or the command could not be executed.
    pub fn next(&mut self, control: &Control) -> Result<Attachment> {
        const OP: &str = "attach";
        match receive(&self.channel, OP, control)? {
            Some(Message { kind: OUTPUT, body, .. }) => {
                let mut body = Reader::new(&body);
                let wrong = || Error::corrupt(OP, "the supervisor sent an invalid message");
                let stream = match body.number().map_err(|_| wrong())? {
                    1 => OutputStream::Stderr,
                    _ => OutputStream::Stdout,
                };
                Ok(Attachment::Output(stream, body.bytes().map_err(|_| wrong())?))
            }
            Some(Message { kind: EXITED, body, .. }) => {
                Ok(Attachment::Exited(Reader::new(&body).number().at(OP, "ask supervisor")? as i32))
            }
            Some(message) => Err(failure(OP, &message)),
            None => Err(ended(OP)),
        }
    }
}

impl Exec {
    /// Returns the terminal of a command that has one: what is written to it the command reads, and the other way round.
    pub fn terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Returns a sender of signals to it.
    pub fn input(&self) -> Result<Input> {
        let fd = self.channel.as_fd().try_clone_to_owned().at(EXEC_OP, "")?;
        Ok(Input(Channel::new(fd)))
    }

    /// Lets it go on by itself.
    pub fn detach(self) -> Result<()> {
        // A command that has ended already does not get it.
        request(&self.channel, DETACH, &[], &[], EXEC_OP)
    }

    /// Waits for its end; gives its exit code, or 128 and the number of a signal. After [`crate::Cancel::cancel`] it is killed.
    ///
    /// # Errors
    /// [`ErrorKind::CommandFailed`] when it could not be executed (126, 127), or ended with the container.
    pub fn wait(self, control: &Control) -> Result<i32> {
        let answer = receive(&self.channel, EXEC_OP, control);
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled) {
            // It is gone when this returns, unless its supervisor hangs.
            self.input()?.signal(libc::SIGKILL)?;
            await_message(&self.channel, EXEC_OP, Some(Instant::now() + KILLED), &Control::default())?;
        }
        match answer? {
            Some(Message { kind: EXITED, body, .. }) => {
                Ok(Reader::new(&body).number().at(EXEC_OP, "ask supervisor")? as i32)
            }
            Some(message) => Err(failure(EXEC_OP, &message)),
            None => Err(ended(EXEC_OP)),
        }
    }
}

fn ended(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::CommandFailed,
        operation,
        "the container's supervisor was killed, and its commands with it",
    )
    .with_exit_code(128 + libc::SIGKILL)
}

/// Returns the error in an answer.
pub(super) fn failure(operation: &'static str, message: &Message) -> Error {
    let mut body = Reader::new(&message.body);
    let mut read = || -> io::Result<(i32, String, Vec<u8>, i32)> {
        let (kind, text) = (body.number()? as i32, String::from_utf8_lossy(&body.bytes()?).into_owned());
        Ok((kind, text, body.bytes()?, body.number()? as i32))
    };
    let Ok((kind, text, path, code)) =
        read().map_err(drop).and_then(|it| if message.kind == FAILED { Ok(it) } else { Err(()) })
    else {
        return Error::corrupt(operation, "the supervisor sent an invalid message");
    };
    let kind = ErrorKind::of_code(kind).unwrap_or(ErrorKind::Io);
    let mut error = Error::new(kind, operation, text);
    if !path.is_empty() {
        error = error.with_path(path);
    }
    if code == 0 { error } else { error.with_exit_code(code) }
}

impl Container {
    /// Returns the configuration of the image that its tree is now.
    pub(super) fn image_config(&self) -> Result<(Root, RunConfig)> {
        let root = Root::open(self.tree())?;
        // Nothing of its files is read, so it does not matter what a command that runs needs of them.
        let tree = Tree::open_unfinished(&self.store, &root)?;
        let manifest = tree.image().copied().unwrap_or(self.record.manifest);
        drop(tree);
        let image = Image::open(&self.store, &manifest.to_string(), None)?;
        Ok((root, image.config().run().clone()))
    }

    /// Runs one more command in a container that runs: it has the same files and processes, is supervised by the same
    /// process, and ends with the container.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the container does not run.
    pub fn exec(&self, options: ExecOptions) -> Result<Exec> {
        let (root, config) = self.image_config()?;
        let how = RunOptions {
            command: options.command,
            environment: options.environment,
            user: options.user,
            directory: options.directory,
            terminal: Some(options.terminal),
            window: options.window,
            ..RunOptions::default()
        };
        if how.command.is_empty() {
            return Err(Error::invalid(EXEC_OP, "the command is empty").with_path(self.name()));
        }
        let mut step = self.options_in(&root, &config, &how, true)?;
        if !step.terminal {
            (step.stdin, step.stdout, step.stderr) = (options.stdin, options.stdout, options.stderr);
        }
        self.start_beside(step, EXEC_OP)
    }

    /// Starts a process beside the command that runs. It ends with the connection, unless it is detached.
    pub(super) fn start_beside(&self, step: StepOptions, operation: &'static str) -> Result<Exec> {
        let (given, outputs) = streams(&step)?;
        if !outputs.is_empty() {
            return Err(Error::invalid(operation, "output of this command cannot become events"));
        }
        let channel = self.reach(operation)?;
        let with: Vec<_> = given.iter().map(AsFd::as_fd).collect();
        request(&channel, EXEC, &encode(&step), &with, operation)?;
        drop::<(StepOptions, [OwnedFd; 3])>((step, given));
        match reply(&channel, operation)? {
            Some(Message { kind: STARTED, descriptors, .. }) => {
                Ok(Exec { channel, terminal: descriptors.into_iter().next() })
            }
            Some(message) => Err(failure(operation, &message)),
            None => Err(ended(operation)),
        }
    }

    /// Sends its command a signal.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the container does not run.
    pub fn kill(&self, signal: i32) -> Result<()> {
        const OP: &str = "kill container";
        let channel = self.reach(OP)?;
        let mut body = Writer::default();
        body.number(signal as u64);
        request(&channel, SIGNAL, &body.finish(), &[], OP)?;
        match reply(&channel, OP)? {
            Some(Message { kind: DONE, .. }) | None => Ok(()),
            Some(message) => Err(failure(OP, &message)),
        }
    }

    /// Waits until its command has ended; gives the exit code. That of the last one where none runs.
    pub fn wait(&self, control: &Control) -> Result<i32> {
        loop {
            if let Some(code) = self.wait_for(Duration::from_secs(3600), control)? {
                return Ok(code);
            }
        }
    }

    /// Does what [`Container::wait`] does, at most for as long as `limit` says; `None` when its command runs on.
    pub fn wait_for(&self, limit: Duration, control: &Control) -> Result<Option<i32>> {
        const OP: &str = "wait for container";
        let end = Instant::now().checked_add(limit);
        let channel = match self.reach(OP) {
            Ok(channel) => channel,
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                return Ok(Some(self.state()?.exit_code));
            }
            Err(error) => return Err(error),
        };
        request(&channel, WAIT, &[], &[], OP)?;
        if !await_message(&channel, OP, end, control)? {
            return Ok(None);
        }
        let code = self.await_end(&channel, OP, control)?;
        self.await_state(control)?;
        Ok(Some(code))
    }

    fn await_end(&self, channel: &Channel, operation: &'static str, control: &Control) -> Result<i32> {
        match receive(channel, operation, control)? {
            Some(Message { kind: EXITED, body, .. }) => {
                Ok(Reader::new(&body).number().at(operation, "ask supervisor")? as i32)
            }
            Some(message) => Err(failure(operation, &message)),
            None => Ok(128 + libc::SIGKILL),
        }
    }

    /// Waits until the end of its command is written down as well, or the container is gone with it: what was attached to the command learns
    /// of its end a moment earlier. Returns at once where nothing runs.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`], and what reading the state meets.
    pub fn await_state(&self, control: &Control) -> Result<()> {
        while self.slot.has(crate::store::CONFIG)? && self.is_running()? {
            control.check("wait for container")?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Returns the signal that asks its command to stop.
    pub fn stop_signal(&self) -> Result<i32> {
        let own = self.record.settings.stop_signal.clone();
        let text = match own {
            Some(text) => Some(text),
            None => self.image_config()?.1.stop_signal,
        };
        text.filter(|text| !text.is_empty()).map_or(Ok(libc::SIGTERM), |text| signal::number(&text))
    }

    /// Asks its command to stop, and kills it when it has not ended after `patience`. One that does not run is stopped.
    pub fn stop(&self, patience: Duration, control: &Control) -> Result<()> {
        let channel = match self.reach(STOP) {
            Ok(channel) => channel,
            Err(error) if error.kind() == ErrorKind::InvalidArgument => return Ok(()),
            Err(error) => return Err(error),
        };
        request(&channel, WAIT, &[], &[], STOP)?;
        let ask = |signal| match self.kill(signal) {
            // It has ended by itself.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => Ok(()),
            other => other,
        };
        if !patience.is_zero() {
            ask(self.stop_signal()?)?;
            let end = Instant::now().checked_add(patience);
            while end.is_none_or(|end| Instant::now() < end) {
                control.check(STOP)?;
                if !self.slot.has(crate::store::CONFIG)? || self.state()?.status != Status::Running {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        ask(libc::SIGKILL)?;
        self.await_end(&channel, STOP, control)?;
        self.await_state(control)
    }

    /// Kills its command, if one runs, and removes it.
    pub fn remove_by_force(self, control: &Control) -> Result<()> {
        self.stop(Duration::ZERO, control)?;
        match self.remove() {
            // It went with its command.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Starts its command with a supervisor of its own, which goes on when this process ends.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when it runs already; what running a command can meet.
    pub fn start(&self, options: &StartOptions) -> Result<Started> {
        monitor::start(self, options)
    }

    /// Joins in with a container that runs: gives its output from now on, and takes input for it.
    pub fn attach(&self) -> Result<Attached> {
        const OP: &str = "attach";
        let channel = self.reach(OP)?;
        request(&channel, ATTACH, &[], &[], OP)?;
        Attached::new(channel).begun(OP)
    }
}
