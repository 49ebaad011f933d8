//! A store: images, their names, and the trees made from them.

use std::os::unix::ffi::OsStrExt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyString;
use treering::archive::{ExportOptions, ImportOptions};
use treering::build::{self, BuildOptions, ContextSource, DockerfileSource};
use treering::error::Error;
use treering::fs::Root;
use treering::image::{
    self, CheckoutOptions, CloneOptions, CommitOptions, Committed, TidyOptions, TidyReport, UnpackOptions,
    tidy,
};
use treering::layer::ApplyOptions;
use treering::registry::{PullOptions, PushOptions};
use treering::store::{self, FsckLevel, PruneOptions, Reference};

use crate::archive;
use crate::arguments::{self, ImageArg, PathArg, diff_options};
use crate::diff::{Content, Data, Diff};
use crate::errors::{OrRaise, to_python};
use crate::image::Image;
use crate::layer::{losses, written};
use crate::output::{json_value, make};
use crate::registry;
use crate::run::Job;
use crate::snapshot::skipped;

/// A store of images: an OCI image layout on disk, and what is known about the trees made from it.
///
/// Without a path it is the user's: ``$TREERING_ROOT``, else ``$XDG_DATA_HOME/treering``, else
/// ``~/.local/share/treering``. What is missing is created. Any number of threads and processes may use one store at
/// once. In a ``with`` statement the store is closed at the end. The caps are for what an image in it may ask for: documents
/// (indexes, manifests, configurations), layers, and blobs that are written; beyond them is a ``LimitError``.
#[pyclass(module = "treering", frozen)]
pub struct Store {
    /// Nothing once it is closed. The lock is held for the time it takes to clone.
    inner: RwLock<Option<store::Store>>,
    path: std::path::PathBuf,
}

impl Store {
    /// The store, unless it is closed.
    pub fn open(&self, py: Python<'_>) -> PyResult<store::Store> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| to_python(py, &Error::invalid("use store", "the store is closed")))
    }

    fn find(&self, py: Python<'_>, reference: &str, platform: Option<&str>) -> PyResult<Image> {
        let store = self.open(py)?;
        let platform = arguments::platform(py, platform)?;
        let image = py.detach(|| image::Image::open(&store, reference, platform.as_ref())).or_raise(py)?;
        Ok(Image::new(store, image))
    }

    /// An image that was just made, with what there is to tell about it.
    fn made(
        &self,
        py: Python<'_>,
        store: store::Store,
        committed: &Committed,
        made: image::Image,
    ) -> PyResult<Image> {
        let stat = committed.stat;
        let stat = make(py, "Stat", (stat.added, stat.changed, stat.deleted, stat.bytes))?;
        let layer = committed.layer.as_ref().map(|layer| written(py, layer, None)).transpose()?;
        let skipped = skipped(py, &committed.skipped)?;
        let report = make(py, "Committed", (stat, layer, skipped, committed.owners_replaced))?;
        let image = Image::new(store, made);
        let _ = image.committed.set(py, report.unbind());
        Ok(image)
    }
}

/// The image a commit made.
pub fn reopen(
    store: &store::Store,
    name: Option<&str>,
    committed: &Committed,
) -> treering::Result<image::Image> {
    let by_name = name.and_then(|name| image::Image::open(store, name, None).ok());
    // Somebody else may have moved the name meanwhile.
    match by_name.filter(|image| *image.digest() == committed.manifest) {
        Some(image) => Ok(image),
        None => image::Image::open(store, &committed.manifest.to_string(), None),
    }
}

/// The path as text.
fn shown<'py>(py: Python<'py>, path: &std::path::Path) -> PyResult<Bound<'py, PyString>> {
    Ok(path.as_os_str().into_pyobject(py)?)
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (path = None, *, max_document_bytes = None, max_document_depth = None, max_index_depth = None, max_layers = None, max_blob_bytes = None))]
    fn new(
        py: Python<'_>,
        path: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_document_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_document_depth: Option<usize>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_index_depth: Option<usize>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_layers: Option<usize>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_blob_bytes: Option<u64>,
    ) -> PyResult<Self> {
        let mut limits = store::Limits::default();
        limits.json_bytes = max_document_bytes.unwrap_or(limits.json_bytes);
        limits.json_depth = max_document_depth.unwrap_or(limits.json_depth);
        limits.index_depth = max_index_depth.unwrap_or(limits.index_depth);
        limits.layers = max_layers.unwrap_or(limits.layers);
        limits.blob_bytes = max_blob_bytes.unwrap_or(limits.blob_bytes);
        let inner = Job::new("open store", None).run(py, move |_, _| match path {
            Some(path) => store::Store::open_with(path.0, limits),
            None => store::Store::open_with(store::default_root()?, limits),
        })?;
        let path = inner.root_path().to_path_buf();
        Ok(Store { inner: RwLock::new(Some(inner)), path })
    }

    /// Where the store is.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        shown(py, &self.path)
    }

    /// Whether ``close`` was called.
    #[getter]
    fn closed(&self) -> bool {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Let go of the store's directories. Images opened before stay usable. Closing twice does nothing.
    fn close(&self) {
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn __enter__<'py>(slf: PyRef<'py, Self>, py: Python<'py>) -> PyResult<PyRef<'py, Self>> {
        slf.open(py)?;
        Ok(slf)
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, pyo3::types::PyTuple>) {
        self.close();
    }

    fn __repr__(&self) -> String {
        let state = if self.closed() { "closed, " } else { "" };
        format!("<treering.Store {state}at {}>", self.path.display())
    }

    /// Make an image of a directory, or add what changed in it since its base as a layer.
    ///
    /// With a name the image gets that name. ``base`` is what the image is built on: an image, ``"scratch"``, or by
    /// default the image the directory was unpacked from or last committed to. The directory is bound to the new image,
    /// so the next commit or comparison reads only what changed since. ``owner_from`` is another tool's record of owners to
    /// go by: ``"rootlesscontainers"``, ``"override-stat"`` or ``"fakeroot:FILE"``. ``changes`` are Dockerfile instructions for the
    /// configuration. With ``lowers`` the directory is the upper directory of an overlay, whose files keep their owners
    /// by default when root commits it. ``reproducible`` fixes every time there is: ``created``, and time stamps later
    /// than it, are the given time or 1970.
    ///
    /// An error leaves the store as it was.
    #[pyo3(signature = (
        tree, name = None, *, base = None, author = None, message = None, changes = None, owner = None,
        owner_from = None, compression = "gzip", level = None, compare = "auto", squash = false, created = None, platform = None,
        annotations = None, reproducible = false, clamp_mtime = None, nanoseconds = false, lowers = None,
        one_file_system = false, threads = 0, progress = None
    ))]
    fn commit(
        &self,
        py: Python<'_>,
        tree: PathArg,
        #[pyo3(from_py_with = arguments::maybe_text)] name: Option<&str>,
        base: Option<ImageArg>,
        #[pyo3(from_py_with = arguments::maybe_text)] author: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] message: Option<&str>,
        #[pyo3(from_py_with = arguments::texts)] changes: Option<Vec<String>>,
        owner: Option<&Bound<'_, PyAny>>,
        owner_from: Option<PathArg>,
        #[pyo3(from_py_with = arguments::text)] compression: &str,
        #[pyo3(from_py_with = arguments::maybe_number)] level: Option<i32>,
        #[pyo3(from_py_with = arguments::text)] compare: &str,
        squash: bool,
        created: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        annotations: Option<&Bound<'_, PyAny>>,
        reproducible: bool,
        clamp_mtime: Option<&Bound<'_, PyAny>>,
        nanoseconds: bool,
        lowers: Option<Vec<PathArg>>,
        one_file_system: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Image> {
        let store = self.open(py)?;
        let mut created = arguments::seconds(created)?;
        let mut layer = arguments::layer(clamp_mtime, nanoseconds)?;
        if reproducible {
            created = created.or(Some(0));
            layer.clamp_mtime = layer.clamp_mtime.or(created);
        }
        let options = CommitOptions {
            base: arguments::base(py, base)?,
            compare: arguments::compare(py, compare)?,
            owner: arguments::owner(owner)?,
            owner_from: arguments::owner_from(py, owner_from)?,
            profile: arguments::profile(py, compression, level)?,
            layer,
            author: author.map(String::from),
            message: message.map(String::from),
            changes: changes.unwrap_or_default(),
            created,
            squash,
            only_if_changed: false,
            platform: arguments::platform(py, platform)?,
            annotations: arguments::pairs(annotations)?,
            one_file_system,
            threads,
            lowers: lowers.into_iter().flatten().map(|path| path.0).collect(),
        };
        let (theirs, name) = (store.clone(), name.map(String::from));
        let (committed, made) = Job::new("commit", progress).run(py, move |control, _| {
            let name = name.as_deref();
            let committed = image::commit(&theirs, &tree.0, name, &options, control)?;
            let made = reopen(&theirs, name, &committed)?;
            Ok((committed, made))
        })?;
        self.made(py, store, &committed, made)
    }

    /// Build an image from a Dockerfile, as ``treering build`` does.
    ///
    /// ``context`` is the directory with the files. ``dockerfile`` is a path, ``Dockerfile`` in the context by default, and
    /// ``dockerfile_text`` the text itself. Steps that nothing changed for come out of the cache. Base images come from the store.
    /// ``source_date_epoch`` dates everything the build makes; with ``reproducible`` it is 1970 where nothing else is said.
    /// ``events`` is called with each ``Event``: steps that begin and end, and warnings.
    #[pyo3(signature = (
        context, *, dockerfile = None, dockerfile_text = None, tags = None, target = None, build_args = None,
        build_contexts = None, labels = None, annotations = None, no_cache = false, no_cache_filter = None, platform = None,
        compression = "gzip", level = None, source_date_epoch = None, reproducible = false, nanoseconds = false, threads = 0,
        progress = None, events = None
    ))]
    fn build(
        &self,
        py: Python<'_>,
        context: PathArg,
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
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        #[pyo3(from_py_with = arguments::text)] compression: &str,
        #[pyo3(from_py_with = arguments::maybe_number)] level: Option<i32>,
        source_date_epoch: Option<&Bound<'_, PyAny>>,
        reproducible: bool,
        nanoseconds: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
        events: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Image> {
        let store = self.open(py)?;
        let dockerfile = match (dockerfile, dockerfile_text) {
            (None, None) => DockerfileSource::Default,
            (Some(path), None) => DockerfileSource::Path(path.0),
            (None, Some(text)) => DockerfileSource::Text(text.into()),
            (Some(_), Some(_)) => {
                let error = Error::invalid("build", "dockerfile and dockerfile_text exclude each other");
                return Err(to_python(py, &error));
            }
        };
        let options = BuildOptions {
            context: ContextSource::Directory(context.0),
            dockerfile,
            named_contexts: arguments::pairs(build_contexts)?,
            tags: tags.unwrap_or_default(),
            target: target.map(String::from),
            build_args: arguments::pairs(build_args)?,
            labels: arguments::pairs(labels)?,
            annotations: arguments::pairs(annotations)?,
            no_cache,
            no_cache_filter: no_cache_filter.unwrap_or_default(),
            platform: arguments::platform(py, platform)?,
            profile: arguments::profile(py, compression, level)?,
            source_date_epoch: arguments::seconds(source_date_epoch)?.or(reproducible.then_some(0)),
            precision: arguments::layer(None, nanoseconds)?.precision,
            threads,
            ..BuildOptions::default()
        };
        let theirs = store.clone();
        let job = Job { events, ..Job::new("build", progress) };
        let made = job.run(py, move |control, _| {
            let built = build::build(&theirs, &options, control)?;
            image::Image::open(&theirs, &built.manifest.to_string(), None)
        })?;
        Ok(Image::new(store, made))
    }

    /// Unpack an image into a directory, which must not exist or be empty.
    ///
    /// Everything is made beside the directory, checked, and renamed into place. The tree that comes back compares itself
    /// with its image (``diff``) and grows it (``commit``). ``owner_xattr`` also writes owners into an attribute that other
    /// tools read: ``"rootlesscontainers"`` or ``"override-stat"``. ``lenient`` takes whiteouts as old tools wrote them;
    /// ``max_bytes``, ``max_entries`` and ``max_ratio`` cap what one layer may ask for: 1 TiB, ten million, and 1000
    /// times the size of its blob by default. With ``temporary`` the directory is removed at the end of a ``with`` statement.
    #[pyo3(signature = (
        image, dir, *, platform = None, owner_xattr = None, deny_loss = false, lenient = false, max_bytes = None,
        max_entries = None, max_ratio = None, sync = false, temporary = false, threads = 0, progress = None
    ))]
    fn unpack<'py>(
        slf: &Bound<'py, Self>,
        image: ImageArg,
        dir: PathArg,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] owner_xattr: Option<&str>,
        deny_loss: bool,
        lenient: bool,
        #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_ratio: Option<u64>,
        sync: bool,
        temporary: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let store = slf.get().open(py)?;
        let options = UnpackOptions {
            apply: ApplyOptions {
                owner_xattr: owner_xattr.map(str::parse).transpose().or_raise(py)?,
                ..arguments::apply(threads, deny_loss, lenient, max_bytes, max_entries)
            },
            platform: arguments::platform(py, platform)?,
            sync,
            decode: arguments::decode(max_bytes, max_ratio),
        };
        let (theirs, place) = (store.clone(), dir.0.clone());
        let (unpacked, found) = Job::new("unpack image", progress).run(py, move |control, _| {
            let unpacked = image::unpack(&theirs, &image.0, &place, &options, control)?;
            let found = image::Image::open(&theirs, &unpacked.manifest.to_string(), None)?;
            Ok((unpacked, found))
        })?;
        let image = Image::new(store, found);
        let report =
            make(py, "Unpacked", (unpacked.entries, unpacked.in_ledger, losses(py, &unpacked.losses)?))?;
        let class = py.import("treering._tree")?.getattr("Tree")?;
        class.call1((slf, shown(py, &dir.0)?, image, report, temporary))
    }

    /// Make a directory what an image says, in place: only what differs is touched. It came from whatever image; an empty or
    /// missing one is unpacked to.
    ///
    /// ``"-"`` is the image that the directory was before the present one. Changes that are in no image are an ``InUseError`` that
    /// lists the first of them, unless ``discard`` throws them away. With ``dry_run`` nothing is done, and the report says what
    /// would be. After an error, commits and comparisons refuse the directory until the next checkout has finished.
    #[pyo3(signature = (
        image, dir, *, discard = false, dry_run = false, platform = None, deny_loss = false, max_ratio = None, sync = false,
        threads = 0, progress = None
    ))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn checkout<'py>(
        slf: &Bound<'py, Self>,
        image: ImageArg,
        dir: PathArg,
        discard: bool,
        dry_run: bool,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        deny_loss: bool,
        #[pyo3(from_py_with = arguments::maybe_number)] max_ratio: Option<u64>,
        sync: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let store = slf.get().open(py)?;
        let options = CheckoutOptions {
            discard,
            dry_run,
            platform: arguments::platform(py, platform)?,
            sync,
            apply: arguments::apply(threads, deny_loss, false, None, None),
            decode: arguments::decode(None, max_ratio),
        };
        let theirs = store.clone();
        let (made, found) = Job::new("check out", progress).run(py, move |control, _| {
            let made = image::checkout(&theirs, &image.0, &dir.0, &options, control)?;
            let found = image::Image::open(&theirs, &made.manifest.to_string(), None)?;
            Ok((made, found))
        })?;
        let changes: Vec<(&str, Bound<'py, PyString>)> = made
            .changes
            .iter()
            .map(|(kind, path)| Ok((kind.name(), shown(py, std::ffi::OsStr::from_bytes(path).as_ref())?)))
            .collect::<PyResult<_>>()?;
        let losses = losses(py, &made.losses)?;
        let counts = (made.written, made.updated, made.removed, made.kept, made.in_ledger);
        let (written, updated, removed, kept, in_ledger) = counts;
        let image = Image::new(store, found);
        make(py, "CheckedOut", (image, written, updated, removed, kept, in_ledger, losses, changes))
    }

    /// Copy a tree that was unpacked or committed, with all that the store knows of it, to a directory that does not exist or
    /// is empty.
    ///
    /// The copy has the same owners, the same image and the same changes, and its next comparison or commit reads only what
    /// changes. Blocks are shared where the filesystem can. It is made beside the directory and renamed into place. With
    /// ``temporary`` the directory is removed at the end of a ``with`` statement.
    #[pyo3(signature = (tree, dir, *, sync = false, temporary = false, threads = 0, progress = None))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn clone<'py>(
        slf: &Bound<'py, Self>,
        tree: PathArg,
        dir: PathArg,
        sync: bool,
        temporary: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let store = slf.get().open(py)?;
        let options = CloneOptions { threads, sync };
        let (theirs, place) = (store.clone(), dir.0.clone());
        let (cloned, found) = Job::new("clone tree", progress).run(py, move |control, _| {
            let cloned = image::clone(&theirs, &tree.0, &place, &options, control)?;
            let found = image::Image::open(&theirs, &cloned.manifest.to_string(), None)?;
            Ok((cloned, found))
        })?;
        let image = Image::new(store, found);
        let report = make(py, "Unpacked", (cloned.entries, cloned.in_ledger, losses(py, &cloned.losses)?))?;
        let class = py.import("treering._tree")?.getattr("Tree")?;
        class.call1((slf, shown(py, &dir.0)?, image, report, temporary))
    }

    /// What changed in a directory since its base, by default the image it was unpacked from or last committed to.
    #[pyo3(signature = (tree, *, base = None, owner = None, owner_from = None, compare = "auto", exact_times = false, platform = None, one_file_system = false, threads = 0, progress = None))]
    fn diff(
        &self,
        py: Python<'_>,
        tree: PathArg,
        base: Option<ImageArg>,
        owner: Option<&Bound<'_, PyAny>>,
        owner_from: Option<PathArg>,
        #[pyo3(from_py_with = arguments::text)] compare: &str,
        exact_times: bool,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        one_file_system: bool,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Diff> {
        let store = self.open(py)?;
        let base = arguments::base(py, base)?;
        let options =
            diff_options(py, owner, owner_from, compare, exact_times, platform, one_file_system, threads)?;
        let data = Job::new("compare trees", progress).run(py, move |control, _| {
            let root = Root::open(&tree.0)?;
            let diff = image::diff_root(Some(&store), &root, &base, &options, control)?;
            Ok(Data::new(diff, Content::Tree(root)))
        })?;
        Ok(Diff::of(data))
    }

    /// The images of the store, in the order of ``index.json``: one per name, and those without a name.
    ///
    /// What is in the store for other platforms only, or is no image, is left out; ``usage`` lists everything.
    #[pyo3(signature = (*, platform = None))]
    fn images(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
    ) -> PyResult<Vec<Image>> {
        let store = self.open(py)?;
        let platform = arguments::platform(py, platform)?;
        let list = py.detach(|| {
            let mut list = Vec::new();
            for entry in store.entries()? {
                let found = match &entry.name {
                    Some(name) => image::Image::open(&store, &name.to_string(), platform.as_ref()),
                    None => image::Image::from_descriptor(&store, &entry.descriptor, platform.as_ref()),
                };
                match found {
                    Ok(image) => list.push(image),
                    Err(error)
                        if matches!(
                            error.kind(),
                            treering::ErrorKind::NotFound | treering::ErrorKind::Unsupported
                        ) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(list)
        });
        Ok(list.or_raise(py)?.into_iter().map(|image| Image::new(store.clone(), image)).collect())
    }

    /// One image, by name, digest, id or a prefix of the id. From a multi-platform image the one for ``platform`` is
    /// taken, by default this machine's.
    #[pyo3(signature = (reference, *, platform = None))]
    fn image(
        &self,
        py: Python<'_>,
        reference: ImageArg,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
    ) -> PyResult<Image> {
        self.find(py, &reference.0, platform)
    }

    fn __contains__(&self, py: Python<'_>, image: ImageArg) -> PyResult<bool> {
        let store = self.open(py)?;
        match py.detach(|| store.resolve(&image.0)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == treering::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(to_python(py, &error)),
        }
    }

    /// The names in the store and what they stand for, in the order of ``index.json``; among them images without a name.
    fn refs<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let store = self.open(py)?;
        let one = |entry: &store::Entry| {
            let name = entry.name.as_ref().map(ToString::to_string);
            let descriptor = &entry.descriptor;
            let media_type = descriptor.media_type().to_string();
            make(py, "Ref", (name, descriptor.digest().to_string(), media_type))
        };
        py.detach(|| store.entries()).or_raise(py)?.iter().map(one).collect()
    }

    /// The digest of the manifest or index that a name, digest, id or id prefix stands for.
    fn resolve(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::text)] reference: &str,
    ) -> PyResult<String> {
        let store = self.open(py)?;
        let found = py.detach(|| store.resolve(reference)).or_raise(py)?;
        Ok(found.descriptor.digest().to_string())
    }

    /// Write images into one archive: a path, written atomically, or an object with ``write``.
    ///
    /// ``"docker-archive"`` is what ``docker load`` and ``podman load`` read (an OCI layout with a ``manifest.json``
    /// beside it); ``"oci-archive"`` leaves that out, and may hold images for several platforms.
    #[pyo3(signature = (images, file, *, format = "docker-archive", progress = None))]
    fn save(
        &self,
        py: Python<'_>,
        images: Vec<ImageArg>,
        file: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::text)] format: &str,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        archive::save(py, &self.open(py)?, images, file, format, progress)
    }

    /// Fetch an image from a registry, as ``docker pull`` does; the name moves to it. Layers that the store holds are not
    /// fetched, transfers that are cut go on, and all of it is checked before the name changes. ``auth`` is a user name and a
    /// password; without, those are used that docker or podman keep. ``all_platforms`` fetches all that the image's index lists.
    #[pyo3(signature = (name, *, platform = None, all_platforms = false, auth = None, progress = None, events = None))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn pull<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = arguments::text)] name: &str,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        all_platforms: bool,
        auth: Option<(String, String)>,
        progress: Option<&Bound<'py, PyAny>>,
        events: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let platform = arguments::platform(py, platform)?;
        let options = PullOptions { platform, all_platforms, ..PullOptions::default() };
        let call = registry::Call { auth, progress, events };
        registry::pull(py, &self.open(py)?, name.to_string(), options, call)
    }

    /// Send an image to a registry, as ``docker push`` does, under ``name`` or its own. What the registry has, or can take
    /// from another of its repositories, is not sent. ``platform`` sends one out of an image for several.
    #[pyo3(signature = (image, name = None, *, platform = None, auth = None, progress = None, events = None))]
    #[allow(clippy::too_many_arguments)] // They are keywords.
    fn push<'py>(
        &self,
        py: Python<'py>,
        image: ImageArg,
        #[pyo3(from_py_with = arguments::maybe_text)] name: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        auth: Option<(String, String)>,
        progress: Option<&Bound<'py, PyAny>>,
        events: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let name = name.map_or_else(|| image.named(&store), String::from);
        let options = PushOptions { platform: arguments::platform(py, platform)?, ..PushOptions::default() };
        let call = registry::Call { auth, progress, events };
        registry::push(py, &store, image.0, name, options, call)
    }

    /// Load every image of an archive: a path, or an object with ``read``. All of it is checked before any image gets its
    /// name. ``names`` says what happens when the archive has a name that the store has for another image: ``"keep"`` is
    /// an error, ``"move"`` takes the name as ``docker load`` does; ``"ignore"`` loads without names. ``max_bytes`` caps
    /// the archive and each layer in it, uncompressed.
    #[pyo3(signature = (file, *, names = "keep", max_bytes = None, max_entries = None, progress = None))]
    fn load<'py>(
        &self,
        py: Python<'py>,
        file: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = arguments::text)] names: &str,
        #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        archive::load(py, &self.open(py)?, file, names, max_bytes, max_entries, progress)
    }

    /// Make an image of a tar of a filesystem: a path, or an object with ``read``; plain, gzip or zstd. Without
    /// ``compression`` the bytes become the layer as they come.
    #[pyo3(signature = (
        file, name = None, *, changes = None, message = None, author = None, platform = None, created = None,
        compression = None, level = None, max_bytes = None, max_entries = None, threads = 0, progress = None
    ))]
    fn import_(
        &self,
        py: Python<'_>,
        file: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::maybe_text)] name: Option<&str>,
        #[pyo3(from_py_with = arguments::texts)] changes: Option<Vec<String>>,
        #[pyo3(from_py_with = arguments::maybe_text)] message: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] author: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        created: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = arguments::maybe_text)] compression: Option<&str>,
        #[pyo3(from_py_with = arguments::maybe_number)] level: Option<i32>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
        #[pyo3(from_py_with = arguments::number)] threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Image> {
        let store = self.open(py)?;
        if compression.is_none() && level.is_some() {
            let message = "a level needs a compression";
            return Err(to_python(py, &Error::invalid("import", message)));
        }
        let mut options = ImportOptions {
            changes: changes.unwrap_or_default(),
            message: message.map(String::from),
            author: author.map(String::from),
            platform: arguments::platform(py, platform)?,
            created: arguments::seconds(created)?,
            profile: compression.map(|name| arguments::profile(py, name, level)).transpose()?,
            threads,
            ..ImportOptions::default()
        };
        archive::caps(&mut options.limits, &mut options.decode, max_bytes, max_entries);
        let name = name.map(Reference::parse).transpose().or_raise(py)?;
        let (committed, made) = archive::import(py, &store, file, name, options, progress)?;
        self.made(py, store, &committed, made)
    }

    /// Write the filesystem of an image or of a directory as one tar, as ``docker export`` does. What is a path-like, or
    /// bytes, is a directory; a ``str`` or an ``Image`` is an image.
    #[pyo3(signature = (source, file, *, platform = None, owner = None, owner_from = None, clamp_mtime = None, nanoseconds = false, threads = 0, progress = None))]
    fn export(
        &self,
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        file: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::maybe_text)] platform: Option<&str>,
        owner: Option<&Bound<'_, PyAny>>,
        owner_from: Option<PathArg>,
        clamp_mtime: Option<&Bound<'_, PyAny>>,
        nanoseconds: bool,
        threads: usize,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let options = ExportOptions {
            platform: arguments::platform(py, platform)?,
            layer: arguments::layer(clamp_mtime, nanoseconds)?,
            owner: arguments::owner(owner)?,
            owner_from: arguments::owner_from(py, owner_from)?,
            threads,
        };
        archive::export(py, &self.open(py)?, source, file, options, progress)
    }

    /// Give an image another name, ``:latest`` when it has no tag. A name another image has moves.
    fn tag(
        &self,
        py: Python<'_>,
        image: ImageArg,
        #[pyo3(from_py_with = arguments::text)] name: &str,
    ) -> PyResult<()> {
        let store = self.open(py)?;
        py.detach(|| {
            let name = Reference::parse(name)?;
            let found = store.resolve(&image.0)?;
            store.tag(&name, &found.descriptor).map(drop)
        })
        .or_raise(py)
    }

    /// Take a name away. The image stays until the next ``prune``.
    fn untag(&self, py: Python<'_>, #[pyo3(from_py_with = arguments::text)] name: &str) -> PyResult<()> {
        let store = self.open(py)?;
        py.detach(|| store.untag(&Reference::parse(name)?).map(drop)).or_raise(py)
    }

    /// Remove an image with all its names, which come back. Its blobs stay until the next ``prune``.
    fn remove(&self, py: Python<'_>, image: ImageArg) -> PyResult<Vec<String>> {
        let store = self.open(py)?;
        let names = py.detach(|| {
            let found = store.resolve(&image.0)?;
            store.remove(&store::descriptor_digest(&found.descriptor)?)
        });
        Ok(names.or_raise(py)?.iter().map(ToString::to_string).collect())
    }

    /// Remove what nothing needs any more: images without a name, blobs no image and no tree refers to, and what dead
    /// writers left. Waits ``wait`` seconds at most for writers to finish.
    ///
    /// ``unused_names`` first takes the names of images away that no tree was made from; ``lost_trees`` forgets trees that
    /// are not where they were, with the owners the disk could not hold. ``keep`` are digests that stay, and what they
    /// refer to.
    #[pyo3(signature = (
        *, dry_run = false, keep_untagged = false, unused_names = false, lost_trees = false, keep = None, wait = 10.0,
        progress = None
    ))]
    fn prune<'py>(
        &self,
        py: Python<'py>,
        dry_run: bool,
        keep_untagged: bool,
        unused_names: bool,
        lost_trees: bool,
        #[pyo3(from_py_with = arguments::texts)] keep: Option<Vec<String>>,
        wait: f64,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let wait = Duration::try_from_secs_f64(wait)
            .map_err(|_| to_python(py, &Error::invalid("prune", "wait is a number of seconds, 0 or more")))?;
        let keep = keep
            .iter()
            .flatten()
            .map(|digest| digest.parse())
            .collect::<treering::Result<_>>()
            .or_raise(py)?;
        let prune = PruneOptions { dry_run, nameless: !keep_untagged, keep, wait };
        let options = TidyOptions { unused_names, lost_trees, prune };
        let report =
            Job::new("prune", progress).run(py, move |control, _| tidy(&store, &options, control))?;
        let TidyReport { pruned: report, untagged, forgotten } = report;
        let text = |list: &[treering::Digest]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let fields = (
            text(&report.nameless),
            text(&report.blobs),
            text(&report.layers),
            report.litter,
            report.bytes,
            untagged,
            forgotten,
        );
        make(py, "PruneReport", fields)
    }

    /// Check the store without changing it: its ``"structure"``; with ``"reachability"`` also that all is there that
    /// images refer to; with ``"bytes"`` also the digest of every blob.
    #[pyo3(signature = (level = "bytes", *, progress = None))]
    fn fsck<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = arguments::text)] level: &str,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let level: FsckLevel = level.parse().map_err(|error| to_python(py, &error))?;
        let report =
            Job::new("check store", progress).run(py, move |control, _| store.fsck(level, control))?;
        let one = |problem: &store::Problem| {
            let kind = serde_json::to_value(problem.kind).ok();
            let kind = kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or("unknown");
            make(py, "Problem", (kind, &*problem.subject, &*problem.message))
        };
        let problems: Vec<_> = report.problems.iter().map(one).collect::<PyResult<_>>()?;
        make(py, "FsckReport", (problems, report.blobs, report.bytes))
    }

    /// What :func:`treering.info` says, with what the filesystem of the store can do and what the store holds.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let found = py.detach(|| treering::info::info(Some(&store))).or_raise(py)?;
        json_value(py, &found.into())
    }

    /// What the store takes on disk, per image and in all.
    #[pyo3(signature = (*, progress = None))]
    fn usage<'py>(
        &self,
        py: Python<'py>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let usage = Job::new("add up store", progress).run(py, move |control, _| store.usage(control))?;
        let one = |image: &store::ImageUsage| {
            let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
            let fields =
                (names, image.digest.to_string(), image.size, image.shared, image.unique, image.layers);
            make(py, "ImageUsage", fields)
        };
        let images: Vec<_> = usage.images.iter().map(one).collect::<PyResult<_>>()?;
        let fields = (
            images,
            usage.blobs,
            usage.blob_bytes,
            usage.reclaimable,
            usage.trees,
            usage.layer_bytes,
            usage.tmp_bytes,
        );
        make(py, "Usage", fields)
    }
}
