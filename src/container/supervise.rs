//! Running a container's command in this process: the step, its output, its state.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use super::command::step_options;
use super::control::{self, Server};
use super::handle::Container;
use super::pump::{self, Piece, Shared, Sink};
use super::state::{State, Status, now};
use super::volumes::Volumes;
use super::worktree::WorkTree;
use crate::error::{At, Error, ErrorKind, Result};
use crate::event::OutputStream;
use crate::fs::Root;
use crate::fs::lock::Locked;
use crate::image::RunConfig;
use crate::progress::Control;
use crate::sandbox::{Outcome, Rung, Signals, Step, StepOptions, Stream, WindowSize};
use crate::threads;

const RUN: &str = "run container";

/// Options of running a container's command; they count for this time alone.
#[derive(Default)]
pub struct RunOptions {
    /// In place of the container's command; empty for that.
    pub command: Vec<String>,
    /// More variables, `NAME=VALUE`; a name alone takes the variable away.
    pub environment: Vec<String>,
    /// In place of the container's user.
    pub user: Option<String>,
    /// In place of the container's working directory.
    pub directory: Option<String>,
    /// In place of what the container says of a terminal.
    pub terminal: Option<bool>,
    /// The size that the terminal has from the beginning.
    pub window: Option<WindowSize>,
    /// Standard input; not used with a terminal.
    pub stdin: Stream,
    /// The receiver of output besides the log, called on a thread of its own. With a terminal all of it is standard output.
    /// After an error it is not called again, and the command's writes fail as without a reader.
    pub output: Option<Box<Sink>>,
    /// Whether standard error is standard output, so that the order of what is written stays.
    pub merge: bool,
    /// The only rung to use, in place of the container's.
    pub rung: Option<Rung>,
    /// The helper program; `None` to look for it.
    pub helper: Option<PathBuf>,
    /// Whether standard input is what those that are attached write, in place of `stdin`.
    #[doc(hidden)]
    pub input: bool,
    /// Whether a client is attached from the beginning.
    #[doc(hidden)]
    pub watched: bool,
}

impl std::fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunOptions").field("command", &self.command).finish_non_exhaustive()
    }
}

/// A running container, supervised by this process. Dropped without [`Running::wait`], the command ends.
#[derive(Debug)]
pub struct Running {
    inner: Option<Inner>,
    rung: Rung,
    refused: Vec<(Rung, String)>,
    signals: Signals,
    terminal: Option<OwnedFd>,
    server: Option<Arc<Server>>,
    watched: Option<Receiver<Piece>>,
}

/// A container with a command that was begun.
struct Begun {
    tree: WorkTree,
    step: Step,
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
    serving: Option<(JoinHandle<()>, OwnedFd)>,
    terminal: Option<OwnedFd>,
    server: Option<Arc<Server>>,
    watched: Option<Receiver<Piece>>,
    state: State,
    volumes: Option<Volumes>,
}

#[derive(Debug)]
struct Inner {
    container: Container,
    lock: Locked,
    tree: WorkTree,
    step: Step,
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
    serving: Option<(JoinHandle<()>, OwnedFd)>,
    state: State,
    volumes: Option<Volumes>,
}

impl Container {
    /// Runs the container's command and waits for its end.
    pub fn run(self, options: RunOptions, control: &Control) -> Result<Outcome> {
        self.launch(options)?.wait(control)
    }

    /// Starts the container's command, supervised by this process: it ends when the process does.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when it runs already.
    pub fn launch(self, options: RunOptions) -> Result<Running> {
        let lock = self.lock(RUN)?;
        self.launch_locked(lock, options)
    }

    pub(super) fn launch_locked(self, lock: Locked, options: RunOptions) -> Result<Running> {
        match self.begin(options) {
            Ok(begun) => {
                let Begun { tree, step, shared, pump, serving, terminal, server, watched, state, volumes } =
                    begun;
                Ok(Running {
                    rung: step.rung(),
                    refused: step.refused().to_vec(),
                    signals: step.signals(),
                    terminal,
                    server,
                    watched,
                    inner: Some(Inner {
                        container: self,
                        lock,
                        tree,
                        step,
                        shared,
                        pump,
                        serving,
                        state,
                        volumes,
                    }),
                })
            }
            Err(error) => {
                let state = State {
                    status: Status::Exited,
                    exit_code: error.exit_code().unwrap_or(125),
                    error: Some(error.to_string()),
                    finished: Some(now()),
                    ..State::default()
                };
                let _ = self.end(&state, lock);
                Err(error)
            }
        }
    }

    fn begin(&self, options: RunOptions) -> Result<Begun> {
        let settings = &self.record.settings;
        let mut mend = |root: &Root, journal: &std::fs::File| match Volumes::read(&self.slot)? {
            Some(mut volumes) => volumes.mend(&self.slot, root, Some(journal)),
            None => Ok(()),
        };
        let mut tree =
            WorkTree::open_with(&self.store, &self.tree(), &mut mend).map_err(|error| {
                match error.kind() {
                    ErrorKind::NotFound if error.hint().is_none() => error
                        .with_hint("its tree was removed, so all that is left is to remove the container"),
                    _ => error,
                }
            })?;
        let config = tree.image().config().run();
        let mut step_options = self.options_in(tree.root(), config, &options, false)?;
        settings.show(&mut step_options);
        self.link(&mut step_options)?;
        let mut volumes = self.open_volumes(&tree)?;
        if let Some(volumes) = &mut volumes {
            step_options.binds.extend(volumes.binds(&self.slot));
            let root = tree.root().try_clone()?;
            volumes.join(&root, tree.ledger())?;
        }
        step_options.rung = options.rung.or(settings.rung()?);
        step_options.helper = options.helper;
        let mut ends = Vec::new();
        if !step_options.terminal {
            let mut pipe = |stream| -> Result<Stream> {
                let (ours, theirs) =
                    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(RUN, "make pipe")?;
                ends.push((stream, ours));
                Ok(Stream::Fd(theirs))
            };
            step_options.stdout = pipe(OutputStream::Stdout)?;
            step_options.stderr = match (&step_options.stdout, options.merge) {
                (Stream::Fd(output), true) => Stream::Fd(output.try_clone().at(RUN, "make pipe")?),
                _ => pipe(OutputStream::Stderr)?,
            };
            step_options.stdin = options.stdin;
        }
        let mut input = None;
        let has_terminal = step_options.terminal;
        if options.input && !has_terminal {
            let (theirs, ours) =
                rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(RUN, "make pipe")?;
            step_options.stdin = Stream::Fd(theirs);
            input = Some(ours);
        }
        // Before the command is there: what cannot be made is no reason not to run it, but then no client can reach it.
        let socket = control::listen(&self.slot)?;
        let mut step = tree.start(step_options)?;
        let mut terminal = None;
        if let Some(other) = step.terminal() {
            terminal = Some(other.try_clone().at(RUN, "terminal")?);
            input = Some(other.try_clone().at(RUN, "terminal")?);
            ends.push((OutputStream::Stdout, other));
        }
        let shared = Arc::new(Shared::default());
        let state = State {
            status: Status::Running,
            pid: std::process::id(),
            started: Some(now()),
            rung: Some(step.rung().to_string()),
            network: Some(step.network().name().into()),
            network_refused: step.network_refused().map(String::from),
            ..State::default()
        };
        self.set_state(&state)?;
        let (slot, theirs) = (self.again()?, shared.clone());
        let watched = options.watched.then(|| shared.subscribe());
        let pump = threads::start("treering-output", move || pump::run(&slot, ends, options.output, &theirs))
            .at(RUN, "start thread")?;
        let network = (step.network(), step.network_to_join());
        let (signals, commands) = (step.signals(), step.commands());
        let server = Arc::new(Server::new(shared.clone(), signals, commands, input, has_terminal, network));
        let (end, ends) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(RUN, "make pipe")?;
        let theirs = server.clone();
        let serving = threads::start("treering-control", move || control::serve(&socket, &end, &theirs))
            .at(RUN, "start thread")?;
        Ok(Begun {
            tree,
            step,
            shared,
            pump,
            serving: Some((serving, ends)),
            terminal,
            server: Some(server),
            watched,
            state,
            volumes,
        })
    }

    /// Returns a command as the image, the container and the user of the moment have it; with `other`, one that is not the
    /// container's own.
    pub(super) fn options_in(
        &self,
        root: &Root,
        config: &RunConfig,
        options: &RunOptions,
        other: bool,
    ) -> Result<StepOptions> {
        let settings = &self.record.settings;
        let mut overrides = settings.overrides(self.hostname());
        if !options.command.is_empty() {
            overrides.command = options.command.clone();
        }
        if other {
            overrides.entrypoint = Some(String::new());
        }
        overrides.environment.extend(options.environment.iter().cloned());
        overrides.user = options.user.clone().or(overrides.user);
        overrides.directory = options.directory.clone().or(overrides.directory);
        overrides.terminal = options.terminal.unwrap_or(overrides.terminal);
        let mut step = step_options(root, config, &overrides)?;
        step.window = options.window;
        Ok(step)
    }

    /// Makes another handle of the same container.
    pub(super) fn again(&self) -> Result<Container> {
        let gone = || Error::not_found(RUN, "the container was removed").with_path(self.name());
        let boxes = self.store.boxes(false)?.ok_or_else(gone)?;
        let slot = boxes.open(self.slot.name())?.ok_or_else(gone)?;
        Ok(Container { store: self.store.clone(), slot, record: self.record.clone() })
    }

    /// Writes the end down, or lets go of a container that goes with it.
    fn end(self, state: &State, lock: Locked) -> Result<()> {
        self.slot.remove(control::SOCKET)?;
        match self.record.settings.auto_remove {
            true => self.release(lock),
            false => self.set_state(state),
        }
    }
}

impl Running {
    /// Returns the rung that was chosen.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Returns the better rungs, and why each was not chosen.
    pub fn refused(&self) -> &[(Rung, String)] {
        &self.refused
    }

    /// Returns the container.
    pub fn container(&self) -> Option<&Container> {
        self.inner.as_ref().map(|inner| &inner.container)
    }

    /// Sends signals to the command, as long as it runs.
    pub fn signals(&self) -> Signals {
        self.signals.clone()
    }

    pub(super) fn server(&self) -> Option<Arc<Server>> {
        self.server.clone()
    }

    pub(super) fn watched(&mut self) -> Option<Receiver<Piece>> {
        self.watched.take()
    }

    /// Returns the terminal of a command that has one: what is written to it the command reads. What it writes goes to the
    /// sink.
    pub fn terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Waits for the end of the command, and writes it down.
    ///
    /// # Errors
    /// As [`Step::wait`].
    pub fn wait(mut self, control: &Control) -> Result<Outcome> {
        match self.inner.take() {
            Some(inner) => inner.wait(control),
            None => Err(Error::new(ErrorKind::Internal, RUN, "there is nothing to wait for")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            let control = Control::default();
            control.cancel.cancel();
            // There is no receiver for an error; the state on disk has it.
            let _ = inner.wait(&control);
        }
    }
}

impl Inner {
    fn wait(self, control: &Control) -> Result<Outcome> {
        let Inner { container, lock, mut tree, step, shared, pump, serving, mut state, mut volumes } = self;
        let result = tree.wait_with(step, control, &mut |ledger| match &mut volumes {
            Some(volumes) => volumes.part(&container.slot, ledger),
            None => Ok(()),
        });
        drop(tree);
        let code = match &result {
            Ok(outcome) => outcome.code,
            Err(error) if error.kind() == ErrorKind::Cancelled => 128 + libc::SIGKILL,
            Err(error) => error.exit_code().unwrap_or(125),
        };
        shared.end(code);
        let joined = pump.join();
        debug_assert!(joined.is_ok(), "the output of a container");
        if let Some((serving, end)) = serving {
            drop(end);
            let joined = serving.join();
            debug_assert!(joined.is_ok(), "the control socket of a container");
        }
        state.status = Status::Exited;
        state.pid = 0;
        state.finished = Some(now());
        state.exit_code = code;
        state.error = result.as_ref().err().map(ToString::to_string);
        container.end(&state, lock)?;
        result
    }
}
