//! A command that was started, and the thread that waits for it: any other one asks how it ended, waits for a while, or sends a signal.
//!
//! The bindings stand on this: a command in a directory, a container's own and one beside it are the same to a caller.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};

use super::client::ExecOptions;
use super::command::step_options;
use super::handle::Container;
use super::pump::Sink;
use super::settings::Settings;
use super::streams::{Given, Outputs, Resize, check_input, collect, join};
use super::supervise::RunOptions;
use super::terminal;
use super::worktree::WorkTree;
use crate::error::{At, Error, ErrorKind, Result};
use crate::event::OutputStream;
use crate::progress::{Cancel, Control};
use crate::sandbox::{Rung, Stream, WindowSize};
use crate::store::Store;
use crate::threads::{self, lock};

pub(super) const RUN: &str = "run command";
/// The host name of a command in a directory that is given none.
const HOSTNAME: &str = "treering";

/// A command, and where its streams go.
#[derive(Default)]
pub struct ProcessOptions {
    /// The command; empty for that of the container or image.
    pub command: Vec<String>,
    /// More variables, `NAME=VALUE`; a name alone takes the variable away.
    pub environment: Vec<String>,
    /// `USER[:GROUP]`, in place of the container's or image's.
    pub user: Option<String>,
    /// The working directory, in place of the container's or image's.
    pub directory: Option<String>,
    /// Standard input.
    pub stdin: Stream,
    /// Standard output; with [`Stream::Events`] to `sink`.
    pub stdout: Stream,
    /// Standard error; with [`Stream::Events`] to `sink`.
    pub stderr: Stream,
    /// Whether standard error goes where standard output goes, in the order in which both are written. `stderr` then does not count.
    pub merge: bool,
    /// Whether it has a terminal of its own for all three streams: what it writes there is standard output. A container's own command has
    /// one as well where the container says so. What `stdin` gives is passed on to it, and at its end what reads lines reads an
    /// end. The terminal of this process, if it is one, stays as it is: passing every key on is up to the caller.
    pub terminal: bool,
    /// The size that the terminal has when the command begins, see [`Process::resize`].
    pub window: Option<WindowSize>,
    /// The receiver of output, called on a thread of its own. After an error it is not called again, the command is ended,
    /// and the error is what [`Process::wait`] gives. It may end the command, and not wait for it: that is waiting for itself.
    pub sink: Option<Box<Sink>>,
    /// The only rung to use. Not for a command beside another one.
    pub rung: Option<Rung>,
    /// The helper program; `None` to look for it. Not for a command beside another one.
    pub helper: Option<PathBuf>,
}

impl std::fmt::Debug for ProcessOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessOptions").field("command", &self.command).finish_non_exhaustive()
    }
}

/// The end of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Ended {
    /// Its exit code; 128 and the signal's number for one that a signal ended.
    pub code: i32,
    /// Whether it did not end: [`Process::attached`] was left, and the command goes on.
    pub detached: bool,
}

/// A command that runs, or has ended. Any number of threads may use it. Dropped, the command is killed with all that it started; the drop
/// waits for that.
pub struct Process {
    shared: Arc<Shared>,
    cancel: Cancel,
    reach: Reach,
    thread: Option<JoinHandle<()>>,
}

/// The requests that a command which runs takes.
pub(super) struct Reach {
    pub signal: Box<dyn Fn(i32) -> Result<()> + Send + Sync>,
    /// The rung that was chosen, and the better ones with what speaks against each.
    pub chosen: Option<(Rung, Vec<(Rung, String)>)>,
    pub resize: Option<Resize>,
    /// Leaves a container that one is attached to.
    pub leave: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("ended", &self.ended().is_some()).finish_non_exhaustive()
    }
}

/// The state that the waiting thread shares.
#[derive(Default)]
pub(super) struct Shared {
    result: Mutex<Option<Result<Ended>>>,
    news: Condvar,
    /// The first error of the sink.
    pub failed: Mutex<Option<io::Error>>,
    /// The thread that is in the sink.
    passing: Mutex<Option<ThreadId>>,
}

impl Shared {
    /// Returns whether the sink called what is running now.
    fn is_passing(&self) -> bool {
        *lock(&self.passing) == Some(std::thread::current().id())
    }

    /// Returns the sink, with note taken of which thread is in it.
    pub fn noted(self: &Arc<Shared>, mut sink: Box<Sink>) -> Box<Sink> {
        let shared = self.clone();
        Box::new(move |stream, bytes| {
            *lock(&shared.passing) = Some(std::thread::current().id());
            let result = sink(stream, bytes);
            *lock(&shared.passing) = None;
            result
        })
    }
}

impl Process {
    /// Runs a command in a directory with a record in the store. Of `settings` count entry point, host name, environment,
    /// what is mounted, the network and whether the directory can be written to. Cancelling the control ends the command,
    /// and all that it started.
    ///
    /// # Errors
    /// As [`WorkTree::open`], and what starting a command can meet.
    pub fn in_tree(
        store: &Store,
        dir: impl AsRef<Path>,
        settings: &Settings,
        options: ProcessOptions,
        control: &Control,
    ) -> Result<Process> {
        if !settings.anonymous.is_empty() {
            let message = "a directory has no volumes of its own; those are for containers";
            return Err(Error::invalid(RUN, message).with_path(&settings.anonymous[0]));
        }
        let mut tree = WorkTree::open(store, dir)?;
        let mut overrides = settings.overrides(settings.hostname.as_deref().unwrap_or(HOSTNAME));
        override_with(&mut overrides.command, &options.command);
        overrides.environment.extend(options.environment.iter().cloned());
        overrides.user = options.user.clone().or(overrides.user);
        overrides.directory = options.directory.clone().or(overrides.directory);
        overrides.terminal = options.terminal;
        let mut step = step_options(tree.root(), tree.image().config().run(), &overrides)?;
        settings.show(&mut step);
        step.rung = options.rung.or(settings.rung()?);
        step.helper = options.helper.clone();
        step.window = options.window;
        let mut given = Given::of(options)?;
        (step.stdin, step.stdout, step.stderr) = std::mem::take(&mut given.streams);
        let mut step = tree.start(step)?;
        let (resize, feeder) = given.join(step.terminal())?;
        let (signals, chosen) = (step.signals(), Some((step.rung(), step.refused().to_vec())));
        let signal = Box::new(move |signal| signals.send(signal));
        Process::watch(control, Reach { signal, chosen, resize, leave: None }, move |watched| {
            let collector = watched.collect(given.ends, given.sink)?;
            let outcome = tree.wait(step, &watched.control);
            collector.end();
            drop(feeder);
            Ok(Ended { code: outcome?.code, detached: false })
        })
    }

    /// Runs a container's own command, supervised by this process. It ends when the control is cancelled, and with this process.
    ///
    /// # Errors
    /// As [`Container::launch`].
    pub fn of_container(container: Container, options: ProcessOptions, control: &Control) -> Result<Process> {
        let shared = Arc::new(Shared::default());
        let cancel = control.cancel.for_parts();
        let sink = options.sink.map(|sink| shared.noted(sink));
        let mut outputs = Outputs::of(options.stdout, options.stderr, options.merge, sink)?;
        let terminal = options.terminal || container.record().settings.terminal;
        check_input(&options.stdin)?;
        let (stdin, input) = match terminal {
            true => (Stream::Null, terminal::source(options.stdin)?),
            false => (options.stdin, None),
        };
        let (theirs, ends) = (shared.clone(), cancel.clone());
        let run = RunOptions {
            command: options.command,
            environment: options.environment,
            user: options.user,
            directory: options.directory,
            terminal: Some(terminal),
            window: options.window,
            stdin,
            output: Some(Box::new(move |stream, bytes| {
                outputs.write(stream, bytes).map_err(|error| {
                    let text = error.to_string();
                    // Its own command gets it as it gets a reader that went away; only a function of the caller's ends it.
                    if outputs.ends(stream) {
                        lock(&theirs.failed).get_or_insert(error);
                        ends.cancel();
                    }
                    io::Error::other(text)
                })
            })),
            merge: options.merge,
            rung: options.rung,
            helper: options.helper,
            ..RunOptions::default()
        };
        let mut running = container.launch(run)?;
        let (resize, feeder) = match running.terminal() {
            Some(terminal) => join(terminal, input)?,
            None => (None, None),
        };
        let (signals, chosen) = (running.signals(), Some((running.rung(), running.refused().to_vec())));
        let signal = Box::new(move |signal| signals.send(signal));
        let reach = Reach { signal, chosen, resize, leave: None };
        Process::watch_with(shared, cancel, control, reach, move |watched| {
            let outcome = running.wait(&watched.control);
            drop(feeder);
            Ok(Ended { code: outcome?.code, detached: false })
        })
    }

    /// Runs one more command in a container that runs; it ends with the container. When the control is cancelled it is killed.
    ///
    /// # Errors
    /// As [`Container::exec`]; [`ErrorKind::InvalidArgument`] for a rung or a helper, which are those of the container.
    pub fn beside(container: &Container, options: ProcessOptions, control: &Control) -> Result<Process> {
        if options.rung.is_some() || options.helper.is_some() {
            let message = "a command beside another one is run as that one is, by the same helper";
            return Err(Error::invalid(RUN, message).with_path(container.name()));
        }
        let mut exec = ExecOptions {
            command: options.command.clone(),
            environment: options.environment.clone(),
            user: options.user.clone(),
            directory: options.directory.clone(),
            terminal: options.terminal,
            window: options.window,
            ..ExecOptions::default()
        };
        let mut given = Given::of(options)?;
        (exec.stdin, exec.stdout, exec.stderr) = std::mem::take(&mut given.streams);
        let mut exec = container.exec(exec)?;
        let (resize, feeder) = given.join(exec.terminal())?;
        let input = exec.input()?;
        let signal = Box::new(move |signal| input.signal(signal));
        Process::watch(control, Reach { signal, chosen: None, resize, leave: None }, move |watched| {
            let collector = watched.collect(given.ends, given.sink)?;
            let code = exec.wait(&watched.control);
            collector.end();
            drop(feeder);
            Ok(Ended { code: code?, detached: false })
        })
    }

    fn watch(
        control: &Control,
        reach: Reach,
        wait: impl FnOnce(&Watched) -> Result<Ended> + Send + 'static,
    ) -> Result<Process> {
        Process::watch_with(Arc::default(), control.cancel.for_parts(), control, reach, wait)
    }

    /// Starts the thread that waits. Where there is none to be had, what `wait` holds is dropped, and the command ends.
    pub(super) fn watch_with(
        shared: Arc<Shared>,
        cancel: Cancel,
        control: &Control,
        reach: Reach,
        wait: impl FnOnce(&Watched) -> Result<Ended> + Send + 'static,
    ) -> Result<Process> {
        let control = Control { cancel: cancel.clone(), ..control.clone() };
        let watched = Watched { shared: shared.clone(), control };
        let cancelled = match reach.leave {
            Some(_) => "the caller let go of the container, and its command goes on",
            None => "the command was ended by the caller",
        };
        let thread = threads::start("treering-wait", move || {
            let body = std::panic::AssertUnwindSafe(|| wait(&watched));
            let result =
                std::panic::catch_unwind(body).unwrap_or_else(|panic| Err(Error::defect(RUN, &*panic)));
            let failed = lock(&watched.shared.failed).take();
            let result = match failed {
                Some(error) => Err(Error::io(RUN, "output", error)),
                None => result.map_err(|error| match error.kind() {
                    ErrorKind::Cancelled => Error::new(ErrorKind::Cancelled, RUN, cancelled),
                    _ => error,
                }),
            };
            *lock(&watched.shared.result) = Some(result);
            watched.shared.news.notify_all();
        });
        let thread = Some(thread.at(RUN, "start thread")?);
        Ok(Process { shared, cancel, reach, thread })
    }

    /// Returns the rung that was chosen; `None` for a command beside another one.
    pub fn rung(&self) -> Option<Rung> {
        self.reach.chosen.as_ref().map(|(rung, _)| *rung)
    }

    /// Returns the better rungs, and why each was not chosen.
    pub fn refused(&self) -> &[(Rung, String)] {
        self.reach.chosen.as_ref().map(|(_, refused)| refused.as_slice()).unwrap_or_default()
    }

    /// Sends a signal to the command's first process. One that has ended gets none, and that is no error.
    pub fn signal(&self, signal: i32) -> Result<()> {
        if lock(&self.shared.result).is_some() {
            return Ok(());
        }
        (self.reach.signal)(signal)
    }

    /// Gives the command's terminal another size. One that has ended gets none, and that is no error.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a command without a terminal.
    pub fn resize(&self, size: WindowSize) -> Result<()> {
        match &self.reach.resize {
            Some(_) if lock(&self.shared.result).is_some() => Ok(()),
            Some(resize) => resize(size),
            None => Err(Error::invalid("resize terminal", "the command has no terminal")),
        }
    }

    /// Leaves a container that this is attached to, and its command goes on; does not wait for that. [`Process::wait`] then says that it
    /// was detached.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where this is not attached: the command ends with this process.
    pub fn detach(&self) -> Result<()> {
        match &self.reach.leave {
            Some(leave) => leave(),
            None => {
                let message = "the command is supervised by this process, and ends with it";
                return Err(Error::invalid("detach", message));
            }
        }
        Ok(())
    }

    /// Ends the command, and all that it started; does not wait for that. What a command beside a container's own started stays there. One
    /// that this is attached to goes on.
    pub fn kill(&self) {
        self.cancel.cancel();
    }

    /// Returns how the command ended, if it has. An error is one of running it, as [`Process::wait`] gives it.
    pub fn ended(&self) -> Option<Result<Ended>> {
        lock(&self.shared.result).as_ref().map(again)
    }

    /// Waits until the command has ended and all its output was passed on, at most for as long as `limit` says; `None` when it runs on.
    ///
    /// # Errors
    /// A command that runs and fails is no error. [`ErrorKind::CommandFailed`] is one that could not be executed (exit code 126, 127), or
    /// ended with its supervisor; [`ErrorKind::Cancelled`] after [`Process::kill`] or when the control was cancelled; what the sink gave.
    /// Every call after the end gives the same. [`ErrorKind::InvalidArgument`] where the sink itself waits without a limit: the end comes
    /// after it has returned.
    pub fn wait(&self, limit: Option<Duration>) -> Result<Option<Ended>> {
        if limit.is_none() && self.shared.is_passing() {
            return Err(Error::invalid(RUN, "what gets the output of a command cannot wait for its end")
                .with_hint("wait on another thread, or return first"));
        }
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut result = lock(&self.shared.result);
        loop {
            if let Some(result) = &mut *result {
                // With its sources for the first one that asks.
                let kept = again(result);
                return std::mem::replace(result, kept).map(Some);
            }
            result = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => self.shared.news.wait(result).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Ok(None),
                Some(rest) => {
                    self.shared.news.wait_timeout(result, rest).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.cancel.cancel();
        // Dropped by its own sink, it ends after that.
        if let Some(thread) = self.thread.take()
            && !self.shared.is_passing()
        {
            // It catches panics itself.
            let _ = thread.join();
        }
    }
}

/// Returns the same result once more: an error cannot be cloned, but be made again.
fn again(result: &Result<Ended>) -> Result<Ended> {
    match result {
        Ok(ended) => Ok(*ended),
        Err(error) => {
            let mut made = Error::new(error.kind(), error.operation(), error.message().to_string());
            if let Some(path) = error.path() {
                made = made.with_path(path);
            }
            if let Some(code) = error.exit_code() {
                made = made.with_exit_code(code);
            }
            if let Some(hint) = error.hint() {
                made = made.with_hint(hint.clone());
            }
            Err(made)
        }
    }
}

fn override_with(list: &mut Vec<String>, by: &[String]) {
    if !by.is_empty() {
        *list = by.to_vec();
    }
}

/// The command that the waiting thread watches.
pub(super) struct Watched {
    pub shared: Arc<Shared>,
    pub control: Control,
}

/// The thread that gives output to the sink.
struct Collector(Option<(OwnedFd, JoinHandle<()>)>);

impl Watched {
    fn collect(&self, ends: Vec<(OutputStream, OwnedFd)>, sink: Option<Box<Sink>>) -> Result<Collector> {
        let Some(sink) = sink.filter(|_| !ends.is_empty()) else { return Ok(Collector(None)) };
        let sink = self.shared.noted(sink);
        let (over, end) = pipe_with(PipeFlags::CLOEXEC).at(RUN, "make pipe")?;
        let (shared, cancel) = (self.shared.clone(), self.control.cancel.clone());
        let body = move || {
            if let Err(error) = collect(ends, sink, &over) {
                lock(&shared.failed).get_or_insert(error);
                cancel.cancel();
            }
        };
        Ok(Collector(Some((end, threads::start("treering-output", body).at(RUN, "start thread")?))))
    }
}

impl Collector {
    /// Says that the command has ended, and waits until what it wrote was passed on.
    fn end(self) {
        if let Some((end, thread)) = self.0 {
            drop(end);
            let _ = thread.join();
        }
    }
}
