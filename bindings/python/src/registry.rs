//! Registries: `Store.pull`, `Store.push`, `copy`, lists of manifests, `tags`, `login`, `logout`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use treering::error::Error;
use treering::image::UnpackOptions;
use treering::registry::{
    self, Asked, Config, CopyOptions, Credential, Credentials, ListAnnotation, PullOptions, Pulled,
    PushOptions,
};
use treering::store::{Limits, Store};

use crate::arguments::{self, PathArg};
use crate::errors::{OrRaise, to_python};
use crate::file::Proxy;
use crate::message::Message;
use crate::output::make;
use crate::run::Job;

/// The settings of registries: where they are, which credentials they get, how much patience there is. What is not given is what the
/// environment says. Connections belong to single operations.
///
/// ``config_file`` says where registries are (registries.toml); ``auth_file`` is where credentials are read and kept, in Docker's
/// format. ``username`` and ``password`` are for every registry that is asked, before any file is looked at. ``stall`` is how many
/// seconds a connection may stand still, ``attempts`` how often a request is tried in all. ``credentials`` is called with a registry
/// and a repository before any file is looked at, on the thread that called the operation, and returns a user name and a password,
/// or None for what the files say: the place for credential helpers, as none is started here.
#[pyclass(module = "treering", frozen)]
pub struct Registries {
    inner: registry::Registries,
    asked: Option<Arc<Py<PyAny>>>,
}

#[pymethods]
impl Registries {
    #[new]
    #[pyo3(signature = (
        *, config_file = None, auth_file = None, username = None, password = None, stall = None, attempts = 0, credentials = None
    ))]
    fn new(
        py: Python<'_>,
        config_file: Option<PathArg>,
        auth_file: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] username: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] password: Option<&str>,
        stall: Option<f64>,
        #[pyo3(from_py_with = arguments::number)] attempts: u32,
        credentials: Option<Py<PyAny>>,
    ) -> PyResult<Registries> {
        let bad = |message: &str| to_python(py, &Error::invalid("reach registries", message));
        let config: Option<PathBuf> = config_file.map(|path| path.0);
        let config = config.map_or_else(Config::from_env, |path| Config::read(&path)).or_raise(py)?;
        let mut kept = auth_file.map_or_else(Credentials::from_env, |path| Credentials::in_file(path.0));
        match (username, password) {
            (None, None) => {}
            (Some(_), Some(_)) if credentials.is_some() => {
                return Err(bad("a username and a function for credentials exclude each other"));
            }
            (Some(username), Some(password)) => {
                kept = kept.asking(always(Credential::basic(username, password)));
            }
            _ => return Err(bad("username and password go together")),
        }
        let mut inner = registry::Registries::new(config, kept).with_proxies_of_env();
        if stall.is_some() || attempts != 0 {
            let stall = Duration::try_from_secs_f64(stall.unwrap_or(60.0))
                .map_err(|_| bad("stall must be a number of seconds"))?;
            let attempts = if attempts == 0 { 5 } else { attempts };
            inner = inner.with_patience(stall, attempts, Duration::from_millis(250));
        }
        Ok(Registries { inner, asked: credentials.map(Arc::new) })
    }
}

fn always(credential: Credential) -> Asked {
    Arc::new(move |_: &str, _: &str| Ok(Some(credential.clone())))
}

/// The arguments that the functions for registries have in common.
#[derive(Default)]
pub struct Call<'a, 'py> {
    /// A user name and a password, before all else.
    pub auth: Option<(String, String)>,
    /// `None` for those of the environment.
    pub registries: Option<PyRef<'py, Registries>>,
    pub progress: Option<&'a Bound<'py, PyAny>>,
    pub events: Option<&'a Bound<'py, PyAny>>,
}

/// The registries of a call, once its work begins.
pub struct Reached {
    inner: registry::Registries,
    asked: Option<Arc<Py<PyAny>>>,
}

impl Reached {
    /// Returns the registries of an argument, or of the environment.
    pub fn of(
        py: Python<'_>,
        registries: Option<&Registries>,
        auth: Option<(String, String)>,
    ) -> PyResult<Reached> {
        let (inner, asked) = match registries {
            Some(registries) => (registries.inner.clone(), registries.asked.clone()),
            None => (registry::Registries::from_env().or_raise(py)?, None),
        };
        let Some((username, password)) = auth else { return Ok(Reached { inner, asked }) };
        let credentials = inner.credentials().clone().asking(always(Credential::basic(username, password)));
        Ok(Reached { inner: inner.with_credentials(credentials), asked: None })
    }

    /// Returns the registries; the calling thread is asked for credentials where it gave a function.
    pub fn at_work(self, proxy: Proxy) -> registry::Registries {
        let Some(function) = self.asked else { return self.inner };
        let asked: Asked = Arc::new(move |registry: &str, repository: &str| {
            let (reply, answer) = channel();
            let (registry, repository) = (registry.to_string(), repository.to_string());
            let gone = || Error::invalid("ask for credentials", "the operation is over");
            proxy.0.send(Message::Ask(function.clone(), registry, repository, reply)).map_err(|_| gone())?;
            answer.recv().map_err(|_| gone())?
        });
        let credentials = self.inner.credentials().clone().asking(asked);
        self.inner.with_credentials(credentials)
    }
}

impl<'a, 'py> Call<'a, 'py> {
    /// Returns the job and what it reaches.
    fn begin(self, py: Python<'py>, operation: &'static str) -> PyResult<(Job<'a, 'py>, Reached)> {
        let reached = Reached::of(py, self.registries.as_deref(), self.auth)?;
        Ok((Job { events: self.events, ..Job::new(operation, self.progress) }, reached))
    }
}

fn pulled_object<'py>(py: Python<'py>, pulled: &Pulled) -> PyResult<Bound<'py, PyAny>> {
    let name = pulled.name.as_ref().map(ToString::to_string);
    let digests = [pulled.digest, pulled.manifest, pulled.image_id].map(|digest| digest.to_string());
    let [digest, manifest, id] = digests;
    make(
        py,
        "Pulled",
        (name, digest, manifest, id, pulled.up_to_date, pulled.layers_fetched, pulled.bytes_fetched),
    )
}

/// See `Store.pull`.
pub fn pull<'py>(
    py: Python<'py>,
    store: &Store,
    name: String,
    options: PullOptions,
    call: Call<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (job, reached) = call.begin(py, "pull image")?;
    let store = store.clone();
    let pulled = job.run(py, move |control, proxy| {
        registry::pull(&store, &reached.at_work(proxy), &name, &options, control)
    })?;
    pulled_object(py, &pulled)
}

/// See `Store.pull_unpack`; the image, what was pulled, and the report of the unpacking.
pub fn pull_unpack<'py>(
    py: Python<'py>,
    store: &Store,
    (name, dir): (String, PathBuf),
    (options, unpack): (PullOptions, UnpackOptions),
    call: Call<'_, 'py>,
) -> PyResult<(treering::image::Image, Bound<'py, PyAny>, treering::image::Unpacked)> {
    let (job, reached) = call.begin(py, "pull and unpack image")?;
    let store = store.clone();
    let (image, pulled, unpacked) = job.run(py, move |control, proxy| {
        let registries = reached.at_work(proxy);
        let (pulled, unpacked) =
            registry::pull_and_unpack(&store, &registries, &name, &dir, &options, &unpack, control)?;
        let image = treering::image::Image::open(&store, &pulled.manifest.to_string(), None)?;
        Ok((image, pulled, unpacked))
    })?;
    Ok((image, pulled_object(py, &pulled)?, unpacked))
}

/// See `Store.push`.
pub fn push<'py>(
    py: Python<'py>,
    store: &Store,
    image: String,
    name: String,
    options: PushOptions,
    call: Call<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (job, reached) = call.begin(py, "push image")?;
    let store = store.clone();
    let pushed = job.run(py, move |control, proxy| {
        registry::push(&store, &reached.at_work(proxy), &image, &name, &options, control)
    })?;
    let only = pushed.only_platform.as_ref().map(ToString::to_string);
    let (name, digest) = (pushed.name.to_string(), pushed.digest.to_string());
    make(py, "Pushed", (name, digest, pushed.sent, pushed.bytes_sent, pushed.mounted, pushed.present, only))
}

/// See `Store.create_list`.
pub fn create_list(
    py: Python<'_>,
    store: &Store,
    name: String,
    images: Vec<String>,
    amend: bool,
    call: Call<'_, '_>,
) -> PyResult<String> {
    let (job, reached) = call.begin(py, "make manifest list")?;
    let store = store.clone();
    let made = job.run(py, move |control, proxy| {
        registry::create_list(&store, &reached.at_work(proxy), &name, &images, amend, control)
    })?;
    Ok(made.to_string())
}

/// See `Store.annotate_list`.
pub fn annotate_list(
    py: Python<'_>,
    store: &Store,
    name: String,
    image: String,
    change: ListAnnotation,
) -> PyResult<String> {
    let store = store.clone();
    let made = Job::new("make manifest list", None)
        .run(py, move |control, _| registry::annotate_list(&store, &name, &image, &change, control))?;
    Ok(made.to_string())
}

/// Copy an image from one registry to another, or within one: every byte as it is, nothing kept on disk. Blobs that the target
/// has, or can take from another of its repositories, do not travel. ``platform`` copies one out of an image for several.
#[pyfunction]
#[pyo3(signature = (source, target, *, platform = None, auth = None, registries = None, progress = None, events = None))]
pub fn copy<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = arguments::text)] source: &str,
    #[pyo3(from_py_with = arguments::text)] target: &str,
    #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
    auth: Option<(String, String)>,
    registries: Option<PyRef<'py, Registries>>,
    progress: Option<&Bound<'py, PyAny>>,
    events: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = CopyOptions { platform: arguments::platform(py, platform)?, ..CopyOptions::default() };
    let (job, reached) = Call { auth, registries, progress, events }.begin(py, "copy image")?;
    let (source, target) = (source.to_string(), target.to_string());
    let copied = job.run(py, move |control, proxy| {
        registry::copy(&reached.at_work(proxy), &source, &target, &options, control)
    })?;
    let (name, digest) = (copied.name.to_string(), copied.digest.to_string());
    make(py, "Copied", (name, digest, copied.sent, copied.bytes_sent, copied.mounted, copied.present))
}

/// Read a manifest or an index from its registry, and nothing below it.
#[pyfunction]
#[pyo3(signature = (name, *, auth = None, registries = None, progress = None, events = None))]
pub fn read_manifest<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = arguments::text)] name: &str,
    auth: Option<(String, String)>,
    registries: Option<PyRef<'py, Registries>>,
    progress: Option<&Bound<'py, PyAny>>,
    events: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (job, reached) =
        Call { auth, registries, progress, events }.begin(py, "read manifest from registry")?;
    let name = name.to_string();
    let found = job.run(py, move |control, proxy| {
        registry::read_manifest(&reached.at_work(proxy), &name, &Limits::default(), control)
    })?;
    make(py, "RemoteManifest", (found.digest.to_string(), found.media_type, PyBytes::new(py, &found.bytes)))
}

/// Every tag of a repository, in the registry's order. ``auth`` is a user name and a password.
#[pyfunction]
#[pyo3(signature = (repository, *, auth = None, registries = None, progress = None, events = None))]
pub fn tags<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = arguments::text)] repository: &str,
    auth: Option<(String, String)>,
    registries: Option<PyRef<'py, Registries>>,
    progress: Option<&Bound<'py, PyAny>>,
    events: Option<&Bound<'py, PyAny>>,
) -> PyResult<Vec<String>> {
    let (job, reached) = Call { auth, registries, progress, events }.begin(py, "list tags")?;
    let repository = repository.to_string();
    job.run(py, move |control, proxy| registry::tags(&reached.at_work(proxy), &repository, control))
}

/// Ask a registry whether it takes a user name and a password, and keep them where docker does. Returns where that is.
#[pyfunction]
#[pyo3(signature = (registry, username, password, *, registries = None, progress = None, events = None))]
pub fn login<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = arguments::text)] registry: &str,
    #[pyo3(from_py_with = arguments::text)] username: &str,
    #[pyo3(from_py_with = arguments::text)] password: &str,
    registries: Option<PyRef<'py, Registries>>,
    progress: Option<&Bound<'py, PyAny>>,
    events: Option<&Bound<'py, PyAny>>,
) -> PyResult<String> {
    let (job, reached) = Call { auth: None, registries, progress, events }.begin(py, "log in to registry")?;
    let (name, credential) = (registry.to_string(), Credential::basic(username, password));
    let done = job.run(py, move |control, _| registry::login(&reached.inner, &name, &credential, control))?;
    Ok(done.kept_in)
}

/// Forget the credentials of a registry. False when there were none.
#[pyfunction]
#[pyo3(signature = (registry, *, registries = None))]
pub fn logout<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = arguments::text)] registry: &str,
    registries: Option<PyRef<'py, Registries>>,
) -> PyResult<bool> {
    registry::logout(&Reached::of(py, registries.as_deref(), None)?.inner, registry).or_raise(py)
}
