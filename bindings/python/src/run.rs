//! Running an operation of the library for Python.
//!
//! The work is done on a thread of its own. The calling thread lets the interpreter go and waits, and comes back to it
//! several times a second: for signals (so that Ctrl-C works), for the caller's progress function, and whenever the work
//! asks to read from or write to the caller's file object. All Python code therefore runs on the thread that called.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use treering::build::GitAnswer;
use treering::event::{Events, example};
use treering::registry::Credential;
use treering::{Control, Error, ErrorKind};

use crate::arguments::credential;
use crate::errors::{of_callback, to_python};
use crate::event;
use crate::file::{self, Proxy};
use crate::log;
use crate::message::{Message, Wanted};
use crate::output::make;

/// How often signals are looked at.
const TICK: Duration = Duration::from_millis(25);
/// How long a signal waits for the work to stop. Usually that takes a few milliseconds; but a piece in the hands of a slow
/// encoder is finished first, and Ctrl-C should not wait for that. The work then ends on its own: it is cancelled, and
/// nothing it made is visible.
const GRACE: Duration = Duration::from_millis(30);
/// How often the caller gets progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// The capacity of a queue of events, in bytes.
const EVENTS_LIMIT: usize = 1 << 20;

/// A function that runs on the calling thread while it waits.
pub type Tick<'a> = dyn Fn(Python<'_>) -> PyResult<()> + 'a;

/// An operation, and what the caller gave along with it.
pub struct Job<'a, 'py> {
    pub operation: &'static str,
    /// Called with a `Progress`; a true answer cancels.
    pub progress: Option<&'a Bound<'py, PyAny>>,
    /// Called with each `Event`.
    pub events: Option<&'a Bound<'py, PyAny>>,
    /// The file object that the work may read or write.
    pub file: Option<&'a Bound<'py, PyAny>>,
    /// Called with the number of a stream and what a command wrote to it.
    pub output: Option<&'a Bound<'py, PyAny>>,
    /// Called several times a second.
    pub tick: Option<Box<Tick<'a>>>,
    /// How long a signal waits for the work to stop.
    pub grace: Duration,
}

impl<'a, 'py> Job<'a, 'py> {
    /// Returns a job without a file.
    pub fn new(operation: &'static str, progress: Option<&'a Bound<'py, PyAny>>) -> Self {
        Job { operation, progress, events: None, file: None, output: None, tick: None, grace: GRACE }
    }

    /// Does `work` and waits for it.
    pub fn run<T: Send + 'static>(
        self,
        py: Python<'py>,
        work: impl FnOnce(&Control, Proxy) -> treering::Result<T> + Send + 'static,
    ) -> PyResult<T> {
        let mut control = Control::default();
        let log = log::Log::new(py, self.operation)?;
        if self.events.is_some() || log.wanted() {
            control.events = Events::queue(EVENTS_LIMIT);
        }
        control.cancel.panic_at(PANIC_AT.take());
        let (sender, receiver) = channel();
        let mut watch = Watch { job: &self, control: &control, log, stopped: None, give_up: None };
        // The first report comes before anything is done, so that a caller can also cancel at once.
        match watch.report(py, false) {
            Ok(stop) if stop => control.cancel.cancel(),
            Ok(_) => {}
            Err(raised) => return Err(of_callback(py, self.operation, raised)),
        }
        let proxy = Proxy(sender.clone());
        let theirs = control.clone();
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| work(&theirs, proxy)));
            // There is no receiver after a signal.
            let _ = sender.send(Message::Done);
            result
        };
        let builder = std::thread::Builder::new().name("treering".into());
        let thread =
            builder.spawn(body).map_err(|error| to_python(py, &Error::io(self.operation, "", error)))?;
        let ended = watch.serve(py, receiver);
        if watch.stopped.is_none() {
            watch.drain(py);
        }
        if let Some(raised) = watch.stopped {
            if ended {
                // What the work leaves behind is gone before the caller gets the error.
                let _ = py.detach(|| thread.join());
            }
            return Err(raised);
        }
        let result = match py.detach(|| thread.join()) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) | Err(panic) => Err(Error::defect(self.operation, &*panic)),
        };
        let value = result.map_err(|error| to_python(py, &error))?;
        if self.progress.is_some() {
            watch.report(py, true).map_err(|raised| of_callback(py, self.operation, raised))?;
        }
        Ok(value)
    }
}

/// The work of the calling thread until the end.
struct Watch<'w, 'py> {
    job: &'w Job<'w, 'py>,
    control: &'w Control,
    log: log::Log<'py>,
    /// The exception that the caller gets instead of a result.
    stopped: Option<PyErr>,
    /// When not to wait any longer.
    give_up: Option<Instant>,
}

impl Watch<'_, '_> {
    /// Waits for the work to end, and says whether it did.
    fn serve(&mut self, py: Python<'_>, mut receiver: Receiver<Message>) -> bool {
        let start = Instant::now();
        let (mut tick, mut report) = (start + TICK, start + PROGRESS);
        loop {
            let wait = tick.saturating_duration_since(Instant::now());
            // The receiver is for one thread at a time, and goes there and back.
            let (back, message) = py.detach(move || {
                let message = receiver.recv_timeout(wait);
                (receiver, message)
            });
            receiver = back;
            match message {
                Ok(Message::Done) | Err(RecvTimeoutError::Disconnected) => return true,
                Ok(Message::Read(most, reply)) => {
                    let answer = self.with_file(py, |file| file::read(file, most));
                    let _ = reply.send(answer);
                }
                Ok(Message::Write(bytes, reply)) => {
                    let answer = self.with_file(py, |file| file::write(file, &bytes));
                    let _ = reply.send(answer);
                }
                Ok(Message::Ask(function, registry, repository, reply)) => {
                    let _ = reply.send(self.ask(py, &function, registry, repository));
                }
                Ok(Message::Git(wanted)) => {
                    let _ = wanted.reply.send(self.git(py, &wanted));
                }
                Ok(Message::Output(stream, bytes, reply)) => {
                    let _ = reply.send(self.with_output(py, stream, &bytes));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if now < tick {
                continue;
            }
            tick = now + TICK;
            if self.give_up.is_some_and(|end| now >= end) {
                return false;
            }
            if self.stopped.is_some() {
                continue;
            }
            self.drain(py);
            if let Err(raised) = py.check_signals() {
                self.stop(raised);
                self.give_up = Some(now + self.job.grace);
                tick = now + GRACE;
            } else if let Some(Err(raised)) = self.job.tick.as_ref().map(|tick| tick(py)) {
                self.stop(of_callback(py, self.job.operation, raised));
            } else if self.job.progress.is_some() && now >= report {
                report = now + PROGRESS;
                match self.report(py, false) {
                    Ok(true) => self.control.cancel.cancel(),
                    Ok(false) => {}
                    Err(raised) => self.stop(of_callback(py, self.job.operation, raised)),
                }
            }
        }
    }

    fn stop(&mut self, raised: PyErr) {
        self.control.cancel.cancel();
        self.stopped = Some(raised);
    }

    /// Gives the events that are there to the caller's function.
    fn drain(&mut self, py: Python<'_>) {
        if self.job.events.is_none() && !self.log.wanted() {
            return;
        }
        while let Some(event) = self.control.events.poll() {
            let called = event::to_python(py, &event).and_then(|event| {
                self.log.receive(&event)?;
                self.job.events.map_or(Ok(()), |function| function.call1((event,)).map(drop))
            });
            if let Err(raised) = called {
                self.stop(of_callback(py, self.job.operation, raised));
                return;
            }
        }
    }

    /// Reports to the caller how far the work is; true asks to stop it.
    fn report(&self, py: Python<'_>, done: bool) -> PyResult<bool> {
        let Some(progress) = self.job.progress else { return Ok(false) };
        let counters = &self.control.counters;
        let numbers = (
            self.job.operation,
            counters.entries.load(Relaxed),
            counters.bytes_read.load(Relaxed),
            counters.bytes_written.load(Relaxed),
            counters.bytes_total.load(Relaxed),
            done,
        );
        progress.call1((make(py, "Progress", numbers)?,))?.is_truthy()
    }

    /// Asks the caller's function for credentials, unless the work is to stop anyway.
    fn ask(
        &mut self,
        py: Python<'_>,
        function: &Py<PyAny>,
        registry: String,
        repository: String,
    ) -> treering::Result<Option<Credential>> {
        self.control.check(self.job.operation)?;
        let answer = function.bind(py).call1((registry, repository));
        answer.and_then(|answer| credential(&answer)).map_err(|raised| {
            self.stop(of_callback(py, self.job.operation, raised));
            Error::new(ErrorKind::Callback, self.job.operation, "the function for credentials failed")
        })
    }

    /// Has the caller's function run git, unless the work is to stop anyway.
    fn git(&mut self, py: Python<'_>, wanted: &Wanted) -> treering::Result<GitAnswer> {
        self.control.check(self.job.operation)?;
        wanted.call(py).map_err(|raised| {
            self.stop(of_callback(py, self.job.operation, raised));
            Error::new(ErrorKind::Callback, self.job.operation, "the function that runs git failed")
        })
    }

    /// Gives the caller's function what a command wrote, unless the work is to stop anyway.
    fn with_output(&mut self, py: Python<'_>, stream: u8, bytes: &[u8]) -> std::io::Result<()> {
        let refuse = || Error::new(ErrorKind::Callback, self.job.operation, "the function for output failed");
        let function = match self.job.output {
            Some(function) if self.stopped.is_none() => function,
            _ => return Err(refuse().into()),
        };
        match function.call1((stream, PyBytes::new(py, bytes))) {
            Ok(_) => Ok(()),
            Err(raised) => {
                let error = refuse().into();
                self.stop(of_callback(py, self.job.operation, raised));
                Err(error)
            }
        }
    }

    /// Uses the caller's file, unless the work is to stop anyway.
    fn with_file<T>(
        &mut self,
        py: Python<'_>,
        use_it: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> std::io::Result<T> {
        // Before the work looks itself, a slow file would be asked many times more.
        self.control.check(self.job.operation)?;
        let refuse = || Error::new(ErrorKind::Callback, self.job.operation, "the file object failed");
        let file = match self.job.file {
            Some(file) if self.stopped.is_none() => file,
            _ => return Err(refuse().into()),
        };
        use_it(file).map_err(|raised| {
            let error = refuse().into();
            self.stop(of_callback(py, self.job.operation, raised));
            error
        })
    }
}

thread_local! {
    /// The request of [`_panic`] to this thread's next operation.
    static PANIC_AT: Cell<u64> = const { Cell::new(0) };
}

/// Panics for tests in the middle of an operation, as a defect would. With a number it is the next operation of this thread
/// that panics, the number-th time one of its threads looks whether it was cancelled.
#[pyfunction]
#[pyo3(signature = (look = 0))]
pub fn _panic(py: Python<'_>, look: u64) -> PyResult<()> {
    if look == 0 {
        return Job::new("panic", None).run(py, |_, _| panic!("_panic was called"));
    }
    PANIC_AT.set(look);
    Ok(())
}

/// Fails for tests as a command in a Dockerfile does.
#[pyfunction]
pub fn _fail(py: Python<'_>) -> PyResult<()> {
    Job::new("run command", None).run(py, |_, _| {
        Err(Error::new(ErrorKind::CommandFailed, "run command", "the command failed")
            .with_exit_code(7)
            .with_location(example::location()))
    })
}

/// Runs an operation for tests that sends one event of each kind.
#[pyfunction]
#[pyo3(signature = (*, events = None))]
pub fn _events(py: Python<'_>, events: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    Job { events, ..Job::new("send events", None) }.run(py, |control, _| {
        example::events().into_iter().for_each(|event| control.events.send(event));
        Ok(())
    })
}
