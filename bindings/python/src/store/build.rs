//! Of `Store`, what builds images from Dockerfiles.

use std::path::PathBuf;
use std::str::FromStr;

use pyo3::prelude::*;
use pyo3::types::PyBool;
use treering::build::{
    self, Agent, BuildOptions, CacheFrom, CacheTo, ContextSource, DockerfileSource, Secret, SecretSource,
};
use treering::dockerfile::Warning;
use treering::error::Error;
use treering::{Control, image};

use crate::arguments::{self, PathArg};
use crate::errors::{OrRaise, to_python};
use crate::git;
use crate::handle::Store;
use crate::image::Image;
use crate::output::{location, make};
use crate::registry::{self, Registries};
use crate::run::Job;

/// Reads `provenance=`: True, False or the text that the command takes.
fn provenance_of(py: Python<'_>, argument: Option<&Bound<'_, PyAny>>) -> PyResult<Option<build::Provenance>> {
    let Some(argument) = argument else { return Ok(None) };
    if let Ok(all) = argument.cast::<PyBool>() {
        return Ok(all.is_true().then(build::Provenance::default));
    }
    build::Provenance::parse(&argument.extract::<String>()?).or_raise(py)
}

#[pymethods]
impl Store {
    /// Build an image from a Dockerfile, as ``treering build`` does.
    ///
    /// ``context`` is the directory with the files. ``dockerfile`` is a path, ``Dockerfile`` in the context by default, and
    /// ``dockerfile_text`` the text itself. Steps that nothing changed for come out of the cache. Base images come from the store.
    /// ``source_date_epoch`` dates everything the build makes; with ``reproducible`` it is 1970 where nothing else is said.
    /// ``events`` is called with each ``Event``: steps that begin and end, and warnings.
    ///
    /// ``cache_from`` is where steps are looked for that were carried out elsewhere (``"type=registry,ref=NAME:TAG"``,
    /// ``"type=local,src=DIR"``), ``cache_to`` where records of steps go (also ``"type=inline"``; ``mode=max`` sends those of all
    /// stages). With either, with ``registries``, ``auth`` or ``pull``, base images that the store does not have are pulled, and with
    /// ``pull`` newer versions of those that it has. ``checks`` is what the directive ``# check=`` says. ``platform`` takes several with
    /// commas between them, for one image of all; ``squash`` makes one layer of those of the build; ``jobs`` is the most commands at once.
    /// ``provenance`` attests how the image was built (True, ``"mode=max"``, also with ``,builder-id=URI`` or ``,reproducible=true``)
    /// and ``sbom`` what is in it; the name stands for an index then.
    ///
    /// ``secrets`` are values, text or bytes, that ``RUN --mount=type=secret`` shows, by id; ``secret_files`` are read when a command needs them.
    /// They are in no cache, layer or event. ``agents`` are the sockets that ``--mount=type=ssh`` reaches, by id (``"default"`` for mounts that
    /// name none), ``hosts`` more lines for ``/etc/hosts``, name to address, ``limits`` such as ``"nofile=1024:4096"``, ``shm_size`` the most
    /// bytes in ``/dev/shm``; with ``no_network`` they have none, unless ``RUN --network=host`` asks for it. ``helper`` is the program that starts commands, ``treering-init``, where it is not to be looked for.
    ///
    /// ``context_address`` is where a tar, a Dockerfile or a repository is, instead of ``context``; with neither there is the Dockerfile alone.
    /// ``build_contexts`` are further ones by name: a directory, an address, or ``docker-image://NAME``. ``git`` is the function that runs git
    /// where one of them, or ADD, names a repository, such as ``run_git``; without it they are refused.
    #[pyo3(signature = (
        context = None, *, context_address = None, dockerfile = None, dockerfile_text = None, tags = None, target = None, build_args = None,
        build_contexts = None, labels = None, annotations = None, no_cache = false, no_cache_filter = None, cache_from = None,
        cache_to = None, platform = None, squash = false, provenance = None, sbom = false, jobs = 0, compression = "gzip", level = None, source_date_epoch = None, reproducible = false, nanoseconds = false,
        pull = false, checks = None, secrets = None, secret_files = None, agents = None, hosts = None, limits = None, shm_size = 0, no_network = false,
        helper = None, threads = 0, auth = None, registries = None, git = None, progress = None, events = None
    ))]
    fn build<'py>(
        &self,
        py: Python<'py>,
        context: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] context_address: Option<&str>,
        dockerfile: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] dockerfile_text: Option<&str>,
        #[pyo3(from_py_with = arguments::texts)] tags: Option<Vec<String>>,
        #[pyo3(from_py_with = arguments::maybe_text)] target: Option<&str>,
        build_args: Option<&Bound<'_, PyAny>>,
        build_contexts: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        annotations: Option<&Bound<'_, PyAny>>,
        no_cache: bool,
        #[pyo3(from_py_with = arguments::texts)] no_cache_filter: Option<Vec<String>>,
        #[pyo3(from_py_with = arguments::texts)] cache_from: Option<Vec<String>>,
        #[pyo3(from_py_with = arguments::texts)] cache_to: Option<Vec<String>>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        squash: bool,
        provenance: Option<&Bound<'_, PyAny>>,
        sbom: bool,
        #[pyo3(from_py_with = arguments::number)] jobs: usize,
        #[pyo3(from_py_with = arguments::text)] compression: &str,
        #[pyo3(from_py_with = arguments::maybe_number)] level: Option<i32>,
        source_date_epoch: Option<&Bound<'_, PyAny>>,
        reproducible: bool,
        nanoseconds: bool,
        pull: bool,
        #[pyo3(from_py_with = arguments::maybe_text)] checks: Option<&str>,
        secrets: Option<&Bound<'_, PyAny>>,
        secret_files: Option<&Bound<'_, PyAny>>,
        agents: Option<&Bound<'_, PyAny>>,
        hosts: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = arguments::texts)] limits: Option<Vec<String>>,
        #[pyo3(from_py_with = arguments::number)] shm_size: u64,
        no_network: bool,
        helper: Option<PathArg>,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        auth: Option<(String, String)>,
        registries: Option<PyRef<'py, Registries>>,
        git: Option<Py<PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
        events: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Image> {
        let store = self.open(py)?;
        let (context, dockerfile) = sources(py, context, context_address, dockerfile, dockerfile_text)?;
        let (cache_from, cache_to): (Vec<CacheFrom>, Vec<CacheTo>) =
            (parsed(py, cache_from)?, parsed(py, cache_to)?);
        let address = context_address.is_some();
        let asked = address || pull || registries.is_some() || auth.is_some();
        let reached = match asked || !cache_from.is_empty() || !cache_to.is_empty() {
            true => Some(registry::Reached::of(py, registries.as_deref(), auth)?),
            false => None,
        };
        let mut options = BuildOptions {
            cache_from,
            cache_to,
            pull,
            checks: checks.map(String::from),
            context,
            dockerfile,
            named_contexts: arguments::pairs(build_contexts)?,
            tags: tags.unwrap_or_default(),
            target: target.map(String::from),
            build_args: arguments::pairs(build_args)?,
            labels: arguments::pairs(labels)?,
            annotations: arguments::pairs(annotations)?,
            no_cache,
            no_cache_filter: no_cache_filter.unwrap_or_default(),
            platforms: arguments::platforms(py, platform)?,
            squash,
            provenance: provenance_of(py, provenance)?,
            sbom,
            jobs,
            profile: arguments::profile(py, compression, level)?,
            source_date_epoch: arguments::seconds(source_date_epoch)?.or(reproducible.then_some(0)),
            precision: arguments::layer(None, nanoseconds)?.precision,
            threads,
            secrets: self::secrets(secrets, secret_files)?,
            agents: paths(agents)?.into_iter().map(|(id, socket)| Agent { id, socket }).collect(),
            hosts: arguments::pairs(hosts)?,
            limits: parsed(py, limits)?,
            shm_size,
            no_network,
            helper: helper.map(|path| path.0),
            ..BuildOptions::default()
        };
        let theirs = store.clone();
        let job = Job { events, ..Job::new("build", progress) };
        let made = job.run(py, move |control, proxy| {
            options.git = git.map(|function| git::at_work(function, proxy.clone()));
            options.registries = reached.map(|reached| reached.at_work(proxy));
            let built = build::build(&theirs, &options, control)?;
            // One platform's image, in an index or not; of several, this machine's.
            let made = match built.images.as_slice() {
                [image] => image.manifest,
                _ => built.manifest,
            };
            image::Image::open(&theirs, &made.to_string(), None)
        })?;
        Ok(Image::new(store, made))
    }

    /// Check a Dockerfile by the rules of BuildKit's linter, and build nothing. The arguments are those of ``build``.
    #[pyo3(signature = (
        context = None, *, context_address = None, dockerfile = None, dockerfile_text = None, target = None, build_args = None,
        build_contexts = None, platform = None, checks = None, auth = None, registries = None, git = None, progress = None
    ))]
    fn build_check<'py>(
        &self,
        py: Python<'py>,
        context: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] context_address: Option<&str>,
        dockerfile: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] dockerfile_text: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] target: Option<&str>,
        build_args: Option<&Bound<'py, PyAny>>,
        build_contexts: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] checks: Option<&str>,
        auth: Option<(String, String)>,
        registries: Option<PyRef<'py, Registries>>,
        git: Option<Py<PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let sources = sources(py, context, context_address, dockerfile, dockerfile_text)?;
        let described = Described { target, build_args, build_contexts, platform, checks };
        let input = Input::of(py, sources, described, (auth, registries), git)?;
        let found = input.look(py, Job::new("check build", progress), store, build::check)?;
        let (warnings, fails) = found;
        let one = |warning: &Warning| {
            make(py, "BuildWarning", (warning.rule, &*warning.message, location(py, &warning.location)?))
        };
        let warnings: Vec<_> = warnings.iter().map(one).collect::<PyResult<_>>()?;
        make(py, "BuildCheck", (warnings, fails))
    }

    /// List what a target of a Dockerfile takes, and build nothing. The arguments are those of ``build``.
    #[pyo3(signature = (
        context = None, *, context_address = None, dockerfile = None, dockerfile_text = None, target = None, build_args = None,
        build_contexts = None, platform = None, auth = None, registries = None, git = None, progress = None
    ))]
    fn build_outline<'py>(
        &self,
        py: Python<'py>,
        context: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] context_address: Option<&str>,
        dockerfile: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] dockerfile_text: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] target: Option<&str>,
        build_args: Option<&Bound<'py, PyAny>>,
        build_contexts: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        auth: Option<(String, String)>,
        registries: Option<PyRef<'py, Registries>>,
        git: Option<Py<PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let sources = sources(py, context, context_address, dockerfile, dockerfile_text)?;
        let described = Described { target, build_args, build_contexts, platform, checks: None };
        let input = Input::of(py, sources, described, (auth, registries), git)?;
        let found = input.look(py, Job::new("outline build", progress), store, build::outline)?;
        let one = |arg: &build::OutlineArg| {
            let place = location(py, &arg.location)?;
            make(py, "BuildArg", (&*arg.name, &*arg.description, arg.value.as_deref(), place))
        };
        let args: Vec<_> = found.args.iter().map(one).collect::<PyResult<_>>()?;
        let mounts = |list: &[build::OutlineMount]| -> PyResult<Vec<_>> {
            let one = |mount: &build::OutlineMount| {
                make(py, "BuildMount", (&*mount.id, mount.required, location(py, &mount.location)?))
            };
            list.iter().map(one).collect()
        };
        let (secrets, ssh) = (mounts(&found.secrets)?, mounts(&found.ssh)?);
        make(py, "BuildOutline", (found.name, found.description, args, secrets, ssh))
    }

    /// List the stages of a Dockerfile that can be built, and build nothing. The arguments are those of ``build``.
    #[pyo3(signature = (
        context = None, *, context_address = None, dockerfile = None, dockerfile_text = None, target = None, build_args = None,
        build_contexts = None, platform = None, auth = None, registries = None, git = None, progress = None
    ))]
    fn build_targets<'py>(
        &self,
        py: Python<'py>,
        context: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] context_address: Option<&str>,
        dockerfile: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] dockerfile_text: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] target: Option<&str>,
        build_args: Option<&Bound<'py, PyAny>>,
        build_contexts: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        auth: Option<(String, String)>,
        registries: Option<PyRef<'py, Registries>>,
        git: Option<Py<PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let store = self.open(py)?;
        let sources = sources(py, context, context_address, dockerfile, dockerfile_text)?;
        let described = Described { target, build_args, build_contexts, platform, checks: None };
        let input = Input::of(py, sources, described, (auth, registries), git)?;
        let found = input.look(py, Job::new("list targets of build", progress), store, build::targets)?;
        let one = |target: &build::Target| {
            make(py, "BuildTarget", (&*target.name, &*target.description, &*target.base, target.default))
        };
        found.iter().map(one).collect()
    }
}

/// The arguments of a look at a Dockerfile.
struct Input {
    options: BuildOptions,
    reached: Option<registry::Reached>,
    git: Option<Py<PyAny>>,
}

/// The arguments of a build that a look at its Dockerfile goes by.
struct Described<'a, 'py> {
    target: Option<&'a str>,
    build_args: Option<&'a Bound<'py, PyAny>>,
    build_contexts: Option<&'a Bound<'py, PyAny>>,
    platform: Option<&'a str>,
    checks: Option<&'a str>,
}

impl Input {
    fn of(
        py: Python<'_>,
        (context, dockerfile): (ContextSource, DockerfileSource),
        described: Described<'_, '_>,
        (auth, registries): (Option<(String, String)>, Option<PyRef<'_, Registries>>),
        git: Option<Py<PyAny>>,
    ) -> PyResult<Input> {
        let asked = registries.is_some() || auth.is_some() || matches!(context, ContextSource::Address(_));
        let reached = asked.then(|| registry::Reached::of(py, registries.as_deref(), auth)).transpose()?;
        let options = BuildOptions {
            context,
            dockerfile,
            target: described.target.map(String::from),
            build_args: arguments::pairs(described.build_args)?,
            named_contexts: arguments::pairs(described.build_contexts)?,
            platforms: arguments::platforms(py, described.platform)?,
            checks: described.checks.map(String::from),
            ..BuildOptions::default()
        };
        Ok(Input { options, reached, git })
    }

    /// Looks at a Dockerfile, with what the functions of the caller are for.
    fn look<T: Send + 'static>(
        self,
        py: Python<'_>,
        job: Job<'_, '_>,
        store: treering::store::Store,
        look: fn(&treering::store::Store, &BuildOptions, &Control) -> treering::Result<T>,
    ) -> PyResult<T> {
        let Input { mut options, reached, git } = self;
        job.run(py, move |control, proxy| {
            options.git = git.map(|function| git::at_work(function, proxy.clone()));
            options.registries = reached.map(|reached| reached.at_work(proxy));
            look(&store, &options, control)
        })
    }
}

/// Returns where the files and the Dockerfile are.
fn sources(
    py: Python<'_>,
    context: Option<PathArg>,
    context_address: Option<&str>,
    dockerfile: Option<PathArg>,
    dockerfile_text: Option<&str>,
) -> PyResult<(ContextSource, DockerfileSource)> {
    let refuse = |message: &str| to_python(py, &Error::invalid("build", message));
    let context = match (context, context_address) {
        (None, None) => ContextSource::Empty,
        (Some(path), None) => ContextSource::Directory(path.0),
        (None, Some(address)) => ContextSource::Address(address.into()),
        (Some(_), Some(_)) => return Err(refuse("context and context_address exclude each other")),
    };
    let dockerfile = match (dockerfile, dockerfile_text) {
        (None, None) => DockerfileSource::Default,
        (Some(path), None) => DockerfileSource::Path(path.0),
        (None, Some(text)) => DockerfileSource::Text(text.into()),
        (Some(_), Some(_)) => return Err(refuse("dockerfile and dockerfile_text exclude each other")),
    };
    Ok((context, dockerfile))
}

/// Secrets that are given, and those in files.
fn secrets(values: Option<&Bound<'_, PyAny>>, files: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Secret>> {
    let values = arguments::pairs_with(values, arguments::bytes)?.into_iter();
    let values = values.map(|(id, value)| Secret { id, source: SecretSource::Value(value) });
    let files = paths(files)?.into_iter();
    let files = files.map(|(id, path)| Secret { id, source: SecretSource::File(path) });
    Ok(values.chain(files).collect())
}

/// Returns a mapping from text to paths.
fn paths(argument: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<(String, PathBuf)>> {
    arguments::pairs_with(argument, |path| Ok(path.extract::<PathArg>()?.0))
}

fn parsed<T: FromStr<Err = Error>>(py: Python<'_>, texts: Option<Vec<String>>) -> PyResult<Vec<T>> {
    texts.iter().flatten().map(|text| text.parse()).collect::<Result<_, _>>().or_raise(py)
}
