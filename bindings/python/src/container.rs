//! Containers, and commands in directories. The shape that Python shows of them is written in Python: `treering/_container.py` and
//! `treering/_run.py`.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use pyo3::prelude::*;
use serde_json::json;
use treering::container::{
    Container, CreateOptions, Ended, Held, LogOptions, Process, ProcessOptions, Settings, Sink, StartOptions,
    signal_number,
};
use treering::error::Error;
use treering::event::OutputStream;
use treering::fs::descriptors::duplicate;
use treering::image::LayerApplyOptions;
use treering::sandbox::{Rung, Stream, WindowSize};
use treering::tree::OwnerPolicy;
use treering::{Control, store};

use crate::arguments::{self, PathArg};
use crate::errors::{OrRaise, to_python};
use crate::file::Proxy;
use crate::layer_values::losses;
use crate::message::Message;
use crate::output::{fs_text, json_value, make};
use crate::run::{Job, Tick};

/// How long Ctrl-C waits until a command and all that it started are gone.
const GRACE: Duration = Duration::from_secs(10);
/// The number of a stream that is `/dev/null`, and of one that goes to the function.
const NULL: i32 = -1;
const FUNCTION: i32 = -2;

/// A command as `_run.py` gives it: words, variables, user, directory, the numbers of three streams, whether the second counts for the third
/// as well, rung, whether there is a terminal, whether standard input stays open for those that are attached, the columns and lines of the
/// terminal, and a function that gives these.
#[derive(FromPyObject)]
struct Command {
    words: Vec<String>,
    variables: Vec<String>,
    user: Option<String>,
    directory: Option<String>,
    stdin: i32,
    stdout: i32,
    stderr: i32,
    merge: bool,
    rung: Option<String>,
    tty: bool,
    interactive: bool,
    size: Option<(u16, u16)>,
    ask_size: Option<Py<PyAny>>,
}

fn window((columns, rows): (u16, u16)) -> WindowSize {
    WindowSize { rows, columns }
}

impl Command {
    fn options(self, py: Python<'_>) -> PyResult<ProcessOptions> {
        let stream = |number: i32| -> PyResult<Stream> {
            Ok(match number {
                NULL => Stream::Null,
                FUNCTION => Stream::Events,
                number => {
                    let fd = duplicate(number).map_err(|error| Error::io("run command", "", error));
                    Stream::Fd(fd.or_raise(py)?)
                }
            })
        };
        Ok(ProcessOptions {
            command: self.words,
            environment: self.variables,
            user: self.user,
            directory: self.directory,
            stdin: stream(self.stdin)?,
            stdout: stream(self.stdout)?,
            stderr: stream(self.stderr)?,
            merge: self.merge,
            rung: rung(py, self.rung)?,
            terminal: self.tty,
            window: self.size.map(window),
            ..ProcessOptions::default()
        })
    }
}

fn rung(py: Python<'_>, text: Option<String>) -> PyResult<Option<Rung>> {
    text.map(|text| text.parse().or_raise(py)).transpose()
}

/// Gives output to the thread that called.
fn sink(proxy: Proxy) -> Box<Sink> {
    Box::new(move |stream, bytes| {
        let (reply, answer) = channel();
        let number = if stream == OutputStream::Stderr { 2 } else { 1 };
        let gone = |_| std::io::Error::other("the call that the command was for is over");
        proxy.0.send(Message::Output(number, bytes.to_vec(), reply)).map_err(|_| gone(()))?;
        answer.recv().map_err(|_| gone(()))?
    })
}

/// Waits for a command; gives how it ended, or nothing when it took longer than it may and was ended.
fn finish(process: &Process, limit: Option<Duration>) -> treering::Result<Option<Ended>> {
    match process.wait(limit)? {
        Some(ended) => Ok(Some(ended)),
        None => {
            process.kill();
            match process.wait(None) {
                // What its function for output raised counts for more than the time.
                Err(error) if error.kind() != treering::ErrorKind::Cancelled => Err(error),
                _ => Ok(None),
            }
        }
    }
}

fn run<'py>(
    py: Python<'py>,
    mut command: Command,
    output: &Bound<'py, PyAny>,
    timeout: Option<f64>,
    start: impl FnOnce(ProcessOptions, &Control) -> treering::Result<Process> + Send + 'static,
) -> PyResult<Option<Ended>> {
    let limit = limit(py, timeout)?;
    let started = Arc::new(OnceLock::new());
    let tick = command.ask_size.take().map(|ask| resizer(ask, command.size, started.clone()));
    let mut options = command.options(py)?;
    let job = Job { output: Some(output), tick, grace: GRACE, ..Job::new("run command", None) };
    job.run(py, move |control, proxy| {
        options.sink = Some(sink(proxy));
        let process = Arc::new(start(options, control)?);
        // Set once, here.
        let _ = started.set(Arc::downgrade(&process));
        finish(&process, limit)
    })
}

/// Returns what asks a function for the size of the terminal, and passes on one that is another than before.
fn resizer(
    ask: Py<PyAny>,
    size: Option<(u16, u16)>,
    started: Arc<OnceLock<Weak<Process>>>,
) -> Box<Tick<'static>> {
    let last = Cell::new(size);
    Box::new(move |py| {
        let Some(process) = started.get().and_then(Weak::upgrade) else { return Ok(()) };
        let size: (u16, u16) = ask.bind(py).call0()?.extract()?;
        if last.replace(Some(size)) != Some(size) {
            py.detach(|| process.resize(window(size))).or_raise(py)?;
        }
        Ok(())
    })
}

fn code(ended: Option<Ended>) -> Option<i32> {
    ended.map(|ended| ended.code)
}

/// Reads `timeout=`: seconds.
fn limit(py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Duration>> {
    let far = |_| to_python(py, &Error::invalid("read argument", "timeout must be a number of seconds"));
    timeout.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).map_err(far)).transpose()
}

/// Runs a command in a directory with a record in a store.
pub fn run_in_tree<'py>(
    py: Python<'py>,
    store: store::Store,
    tree: PathBuf,
    settings: &Bound<'py, PyAny>,
    command: &Bound<'py, PyAny>,
    output: &Bound<'py, PyAny>,
    timeout: Option<f64>,
) -> PyResult<Option<i32>> {
    let settings = Said::extract(settings.as_borrowed())?.settings(py)?;
    run(py, command.extract()?, output, timeout, move |options, control| {
        Process::in_tree(&store, tree, &settings, options, control)
    })
    .map(code)
}

/// The settings of a container, as `_container.py` gives them.
#[derive(FromPyObject)]
struct Said {
    command: Vec<String>,
    entrypoint: Option<String>,
    environment: Vec<String>,
    user: Option<String>,
    directory: Option<String>,
    hostname: Option<String>,
    volumes: Vec<String>,
    tmpfs: Vec<String>,
    network: String,
    links: Vec<String>,
    labels: Vec<(String, String)>,
    read_only: bool,
    remove: bool,
    stop_signal: Option<String>,
    rung: Option<String>,
    tty: bool,
    interactive: bool,
}

impl Said {
    fn settings(self, py: Python<'_>) -> PyResult<Settings> {
        let no_network = match self.network.as_str() {
            "host" => false,
            "none" => true,
            _ => {
                let error = Error::invalid("read argument", "network is \"host\" or \"none\"");
                return Err(to_python(py, &error.with_path(self.network)));
            }
        };
        // A path alone is a directory of the container's own.
        let (anonymous, volumes): (Vec<String>, Vec<String>) =
            self.volumes.into_iter().partition(|volume| volume.starts_with('/') && !volume.contains(':'));
        Ok(Settings {
            command: self.command,
            entrypoint: self.entrypoint,
            environment: self.environment,
            user: self.user,
            directory: self.directory,
            hostname: self.hostname,
            volumes: volumes.iter().map(|text| text.parse().or_raise(py)).collect::<PyResult<_>>()?,
            anonymous,
            tmpfs: self.tmpfs.iter().map(|text| text.parse().or_raise(py)).collect::<PyResult<_>>()?,
            no_network,
            links: self.links,
            labels: self.labels.into_iter().collect(),
            read_only: self.read_only,
            auto_remove: self.remove,
            stop_signal: self.stop_signal,
            rung: self.rung,
            terminal: self.tty,
            interactive: self.interactive,
            ..Settings::default()
        })
    }
}

/// A container of a store, by its id.
#[pyclass(module = "treering._treering", frozen)]
pub struct _Container {
    store: store::Store,
    id: String,
}

/// A container that no command starts in until ``release``.
#[pyclass(module = "treering._treering", frozen)]
pub struct _Held(Mutex<Option<Held>>);

#[pymethods]
impl _Held {
    /// Let commands start again.
    fn release(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl _Container {
    fn of(store: &store::Store, container: &Container) -> _Container {
        _Container { store: store.clone(), id: container.id().to_string() }
    }

    /// Makes one.
    pub fn make<'py>(
        py: Python<'py>,
        store: store::Store,
        image: String,
        name: Option<String>,
        said: &Bound<'py, PyAny>,
        platform: Option<&str>,
        threads: usize,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<_Container> {
        let options = CreateOptions {
            name,
            settings: Said::extract(said.as_borrowed())?.settings(py)?,
            platform: arguments::platform(py, platform)?,
            threads,
        };
        let theirs = store.clone();
        let made = Job::new("create container", progress)
            .run(py, move |control, _| Container::create(&theirs, &image, &options, control))?;
        Ok(_Container::of(&store, &made))
    }

    /// Finds one by its name, its id or the beginning of that.
    pub fn find(py: Python<'_>, store: store::Store, name: &str) -> PyResult<_Container> {
        let found = py.detach(|| Container::open(&store, name)).or_raise(py)?;
        Ok(_Container::of(&store, &found))
    }

    /// Lists them, the newest first.
    pub fn list(py: Python<'_>, store: &store::Store) -> PyResult<Vec<_Container>> {
        let all = py.detach(|| Container::list(store)).or_raise(py)?;
        Ok(all.iter().map(|one| _Container::of(store, one)).collect())
    }

    fn open(&self, py: Python<'_>) -> PyResult<Container> {
        py.detach(|| Container::open(&self.store, &self.id)).or_raise(py)
    }
}

#[pymethods]
impl _Container {
    /// The id.
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// The facts of it, as ``treering ps --json`` prints them.
    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let container = self.open(py)?;
        let state = py.detach(|| container.state()).or_raise(py)?;
        let record = container.record();
        let facts = json!({
            "name": record.name, "image": record.image, "manifest": record.manifest, "image_id": record.image_id,
            "created": record.created, "status": state.status.name(), "exit_code": state.exit_code,
            "started": state.started, "finished": state.finished, "error": state.error, "rung": state.rung,
            "labels": record.settings.labels,
        });
        json_value(py, &facts)
    }

    /// Returns where its tree is.
    fn tree<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tree = self.open(py)?.tree();
        Ok(fs_text(py, tree.as_os_str().as_encoded_bytes())?.into_any())
    }

    /// The JSON that ``docker inspect`` prints, as Python objects.
    fn inspect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let container = self.open(py)?;
        let value = py.detach(|| container.inspect()).or_raise(py)?;
        json_value(py, &value)
    }

    /// Runs its command, or another one, and waits.
    fn run(
        &self,
        py: Python<'_>,
        command: &Bound<'_, PyAny>,
        output: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<i32>> {
        let container = self.open(py)?;
        run(py, command.extract()?, output, timeout, move |options, control| {
            Process::of_container(container, options, control)
        })
        .map(code)
    }

    /// Runs one more command beside the one that runs.
    fn exec(
        &self,
        py: Python<'_>,
        command: &Bound<'_, PyAny>,
        output: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<i32>> {
        let container = self.open(py)?;
        run(py, command.extract()?, output, timeout, move |options, control| {
            Process::beside(&container, options, control)
        })
        .map(code)
    }

    /// Joins in with its command; gives its exit code and whether it was left instead, or nothing when the time was over.
    fn attach(
        &self,
        py: Python<'_>,
        command: &Bound<'_, PyAny>,
        output: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<(i32, bool)>> {
        let container = self.open(py)?;
        let ended = run(py, command.extract()?, output, timeout, move |options, control| {
            Process::attached(&container, options, control)
        })?;
        Ok(ended.map(|ended| (ended.code, ended.detached)))
    }

    /// Starts its command, or another one, with a supervisor of its own; gives the rung.
    fn start(&self, py: Python<'_>, command: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
        let command: Command = command.extract()?;
        let options = StartOptions {
            command: command.words,
            environment: command.variables,
            user: command.user,
            directory: command.directory,
            rung: rung(py, command.rung)?,
            terminal: command.tty.then_some(true),
            window: command.size.map(window),
            interactive: command.interactive,
            ..StartOptions::default()
        };
        let container = self.open(py)?;
        let started = Job::new("start container", None).run(py, move |_, _| container.start(&options))?;
        Ok(started.rung.map(|rung| rung.to_string()))
    }

    /// Asks its command to stop, and kills it after a while.
    fn stop(&self, py: Python<'_>, patience: Option<f64>) -> PyResult<()> {
        let container = self.open(py)?;
        let patience = limit(py, patience)?.unwrap_or_default();
        Job::new("stop container", None).run(py, move |control, _| container.stop(patience, control))
    }

    /// Sends its command a signal.
    fn kill(&self, py: Python<'_>, signal: &str) -> PyResult<()> {
        let signal = signal_number(signal).or_raise(py)?;
        let container = self.open(py)?;
        py.detach(|| container.kill(signal)).or_raise(py)
    }

    /// Waits for the end of its command; nothing when the time is over before.
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<i32>> {
        let container = self.open(py)?;
        let limit = limit(py, timeout)?;
        Job::new("wait for container", None).run(py, move |control, _| match limit {
            Some(limit) => container.wait_for(limit, control),
            None => container.wait(control).map(Some),
        })
    }

    /// Gives what its command wrote to a function.
    fn logs(
        &self,
        py: Python<'_>,
        output: &Bound<'_, PyAny>,
        follow: bool,
        tail: Option<usize>,
    ) -> PyResult<()> {
        let container = self.open(py)?;
        let job = Job { output: Some(output), ..Job::new("read log", None) };
        job.run(py, move |control, proxy| {
            let mut sink = sink(proxy);
            container.logs(&LogOptions { follow, tail }, control, |entry| {
                sink(entry.stream, &entry.bytes).map_err(|error| Error::io("read log", "", error))
            })
        })
    }

    /// Gives it another name.
    fn rename(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let mut container = self.open(py)?;
        py.detach(|| container.rename(name)).or_raise(py)
    }

    /// Removes it.
    fn remove(&self, py: Python<'_>, force: bool) -> PyResult<()> {
        let container = self.open(py)?;
        Job::new("remove container", None).run(py, move |control, _| match force {
            true => container.remove_by_force(control),
            false => container.remove(),
        })
    }

    /// Copies a file or directory of the host into it.
    fn copy_in<'py>(
        &self,
        py: Python<'py>,
        source: PathArg,
        path: PathArg,
        keep_owners: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let container = self.open(py)?;
        let owner = if keep_owners { OwnerPolicy::Keep } else { OwnerPolicy::Root };
        let copied = Job::new("copy files", None).run(py, move |control, _| {
            let options = LayerApplyOptions::default();
            container.copy_from_host(
                &source.0,
                path.0.as_os_str().as_encoded_bytes(),
                owner,
                &options,
                control,
            )
        })?;
        make(py, "CopiedFiles", (copied.unkept, losses(py, &copied.losses)?))
    }

    /// Copies a file or directory of it to the host.
    fn copy_out<'py>(&self, py: Python<'py>, path: PathArg, target: PathArg) -> PyResult<Bound<'py, PyAny>> {
        let container = self.open(py)?;
        let copied = Job::new("copy files", None).run(py, move |control, _| {
            let options = LayerApplyOptions::default();
            container.copy_to_host(path.0.as_os_str().as_encoded_bytes(), &target.0, &options, control)
        })?;
        let (unkept, lost) = copied.directory.map(|it| (it.unkept, it.applied.losses)).unwrap_or_default();
        make(py, "CopiedFiles", (unkept, losses(py, &lost)?))
    }

    /// Returns the instructions that a commit of it begins with.
    fn instructions(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.open(py)?.instructions())
    }

    /// Keeps commands out of it.
    fn hold(&self, py: Python<'_>) -> PyResult<_Held> {
        let container = self.open(py)?;
        let held = py.detach(|| container.hold("commit container")).or_raise(py)?;
        Ok(_Held(Mutex::new(Some(held))))
    }
}
