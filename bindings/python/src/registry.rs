//! Registries: `Store.pull`, `Store.push`, `tags`, `login`, `logout`.

use pyo3::prelude::*;
use treering::registry::{self, Asked, Credential, PullOptions, PushOptions, Registries};
use treering::store::Store;

use crate::arguments;
use crate::errors::OrRaise;
use crate::output::make;
use crate::run::Job;

/// The registries of the environment. A user name and a password given here come before those in files.
fn registries(py: Python<'_>, auth: Option<(String, String)>) -> PyResult<Registries> {
    let registries = Registries::from_env().or_raise(py)?;
    let Some((username, password)) = auth else { return Ok(registries) };
    let credential = Credential::basic(username, password);
    let asked: Asked = std::sync::Arc::new(move |_: &str, _: &str| Ok(Some(credential.clone())));
    let credentials = registries.credentials().clone().asking(asked);
    Ok(registries.with_credentials(credentials))
}

/// What the functions for registries have in common.
pub struct Call<'a, 'py> {
    pub auth: Option<(String, String)>,
    pub progress: Option<&'a Bound<'py, PyAny>>,
    pub events: Option<&'a Bound<'py, PyAny>>,
}

/// See `Store.pull`.
pub fn pull<'py>(
    py: Python<'py>,
    store: &Store,
    name: String,
    options: PullOptions,
    call: Call<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let registries = registries(py, call.auth)?;
    let store = store.clone();
    let job = Job { events: call.events, ..Job::new("pull image", call.progress) };
    let pulled =
        job.run(py, move |control, _| registry::pull(&store, &registries, &name, &options, control))?;
    let name = pulled.name.as_ref().map(ToString::to_string);
    let digests = [pulled.digest, pulled.manifest, pulled.image_id].map(|digest| digest.to_string());
    let [digest, manifest, id] = digests;
    make(
        py,
        "Pulled",
        (name, digest, manifest, id, pulled.up_to_date, pulled.layers_fetched, pulled.bytes_fetched),
    )
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
    let registries = registries(py, call.auth)?;
    let store = store.clone();
    let job = Job { events: call.events, ..Job::new("push image", call.progress) };
    let pushed =
        job.run(py, move |control, _| registry::push(&store, &registries, &image, &name, &options, control))?;
    let only = pushed.only_platform.as_ref().map(ToString::to_string);
    let (name, digest) = (pushed.name.to_string(), pushed.digest.to_string());
    make(py, "Pushed", (name, digest, pushed.sent, pushed.bytes_sent, pushed.mounted, pushed.present, only))
}

/// Every tag of a repository, in the registry's order. ``auth`` is a user name and a password.
#[pyfunction]
#[pyo3(signature = (repository, *, auth = None))]
pub fn tags(
    py: Python<'_>,
    #[pyo3(from_py_with = arguments::text)] repository: &str,
    auth: Option<(String, String)>,
) -> PyResult<Vec<String>> {
    let registries = registries(py, auth)?;
    let repository = repository.to_string();
    Job::new("list tags", None).run(py, move |control, _| registry::tags(&registries, &repository, control))
}

/// Ask a registry whether it takes a user name and a password, and keep them where docker does. Returns where that is.
#[pyfunction]
pub fn login(
    py: Python<'_>,
    #[pyo3(from_py_with = arguments::text)] registry: &str,
    #[pyo3(from_py_with = arguments::text)] username: &str,
    #[pyo3(from_py_with = arguments::text)] password: &str,
) -> PyResult<String> {
    let registries = registries(py, None)?;
    let (name, credential) = (registry.to_string(), Credential::basic(username, password));
    let done = Job::new("log in to registry", None)
        .run(py, move |control, _| registry::login(&registries, &name, &credential, control))?;
    Ok(done.kept_in)
}

/// Forget the credentials of a registry. False when there were none.
#[pyfunction]
pub fn logout(py: Python<'_>, #[pyo3(from_py_with = arguments::text)] registry: &str) -> PyResult<bool> {
    registry::logout(&registries(py, None)?, registry).or_raise(py)
}
