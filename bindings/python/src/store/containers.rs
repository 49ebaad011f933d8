//! Of `Store`, what runs commands in trees and containers.

use pyo3::prelude::*;

use crate::arguments::{self, PathArg};
use crate::container::{_Container, run_in_tree};
use crate::handle::Store;
use crate::image_argument::ImageArg;

#[pymethods]
impl Store {
    /// Make a container of an image: a tree with a name, settings and a state, in which commands run. See ``Container``.
    ///
    /// ``command`` is what it runs, by default what the image says; ``env`` adds variables, or takes those away that are None. ``volumes`` are
    /// ``HOST:PATH[:ro]``, or a path alone for a directory of the container's own, and ``tmpfs`` are ``PATH[:OPTIONS]``; nothing else does a
    /// command see of the host. ``network`` is ``"host"`` or ``"none"``. With ``remove`` the container goes when its command ends.
    /// ``tty`` gives its command a terminal, and ``interactive`` keeps its standard input open for ``Container.attach``.
    #[pyo3(signature = (
        image, command = None, *, name = None, entrypoint = None, env = None, user = None, cwd = None, hostname = None, volumes = None,
        tmpfs = None, network = "host", links = None, labels = None, read_only = false, remove = false, stop_signal = None, rung = None,
        platform = None, threads = 0, progress = None, tty = false, interactive = false
    ))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn create<'py>(
        slf: &Bound<'py, Self>,
        image: ImageArg,
        command: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] name: Option<&str>,
        entrypoint: Option<&Bound<'py, PyAny>>,
        env: Option<&Bound<'py, PyAny>>,
        user: Option<&Bound<'py, PyAny>>,
        cwd: Option<&Bound<'py, PyAny>>,
        hostname: Option<&Bound<'py, PyAny>>,
        volumes: Option<&Bound<'py, PyAny>>,
        tmpfs: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = arguments::text)] network: &str,
        links: Option<&Bound<'py, PyAny>>,
        labels: Option<&Bound<'py, PyAny>>,
        read_only: bool,
        remove: bool,
        stop_signal: Option<&Bound<'py, PyAny>>,
        rung: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'py, PyAny>>,
        tty: bool,
        interactive: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let store = slf.get().open(py)?;
        let said = pyo3::types::PyDict::new(py);
        for (key, value) in [
            ("command", command),
            ("entrypoint", entrypoint),
            ("env", env),
            ("user", user),
            ("cwd", cwd),
            ("hostname", hostname),
            ("volumes", volumes),
            ("tmpfs", tmpfs),
            ("links", links),
            ("labels", labels),
            ("stop_signal", stop_signal),
            ("rung", rung),
        ] {
            said.set_item(key, value)?;
        }
        said.set_item("network", network)?;
        said.set_item("read_only", read_only)?;
        said.set_item("remove", remove)?;
        said.set_item("tty", tty)?;
        said.set_item("interactive", interactive)?;
        let said = py.import("treering._run")?.getattr("_Said")?.call((), Some(&said))?;
        let image = image.named(&store);
        let made =
            _Container::make(py, store, image, name.map(String::from), &said, platform, threads, progress)?;
        container(slf, made)
    }

    /// Find a container by its name, its id or the beginning of that.
    fn container<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = arguments::text)] name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = _Container::find(slf.py(), slf.get().open(slf.py())?, name)?;
        container(slf, found)
    }

    /// Returns the containers of the store, the newest first.
    fn containers<'py>(slf: &Bound<'py, Self>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let all = _Container::list(slf.py(), &slf.get().open(slf.py())?)?;
        all.into_iter().map(|one| container(slf, one)).collect()
    }

    /// Run a command in a directory that was unpacked, cloned or committed, and wait for its end: ``subprocess.run`` for a tree. The same as
    /// ``Tree.run``.
    ///
    /// Owners, devices, capabilities and all else that the disk does not take without privileges are kept in the store, and every later
    /// ``diff`` and ``commit`` of the directory has them. Of the host the command has its network and what ``volumes`` names.
    #[pyo3(signature = (tree, args = None, **options))]
    fn run<'py>(
        slf: &Bound<'py, Self>,
        tree: &Bound<'py, PyAny>,
        args: Option<&Bound<'py, PyAny>>,
        options: Option<&Bound<'py, pyo3::types::PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("treering._run")?.getattr("_in_tree")?.call((slf, tree, args), options)
    }

    /// Runs a command as `_run.py` gives it.
    fn _run<'py>(
        &self,
        py: Python<'py>,
        tree: PathArg,
        said: &Bound<'py, PyAny>,
        command: &Bound<'py, PyAny>,
        output: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<i32>> {
        run_in_tree(py, self.open(py)?, tree.0, said, command, output, timeout)
    }
}

/// Returns a container as Python shows it.
fn container<'py>(store: &Bound<'py, Store>, made: _Container) -> PyResult<Bound<'py, PyAny>> {
    store.py().import("treering._container")?.getattr("Container")?.call1((store, made))
}
