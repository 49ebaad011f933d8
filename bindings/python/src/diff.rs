//! Comparisons and their changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySlice, PyString};
use treering::diff::Sources;
use treering::diff::content::same_as_digest;
use treering::diff::{ChangeKind, CompareOptions, compare as compare_snapshots, listed};
use treering::dockerfile::Ignore;
use treering::error::escape;
use treering::fs::Root;
use treering::image::{self, Base, DiffOptions, TreeDiff};
use treering::layer::Files;
use treering::store;
use treering::tree::{self, NONE};

use crate::arguments::{self, PathArg, diff_options};
use crate::handle::Store;
use crate::image::Image;
use crate::output::{fs_text, make};
use crate::run::Job;
use crate::snapshot::{Entry, Snapshot, skipped};

/// Both sides of a comparison and what is between them. Shared by everything made from it.
pub struct Data {
    pub old: Option<Arc<tree::Snapshot>>,
    pub new: Arc<tree::Snapshot>,
    pub changes: Vec<treering::diff::Change>,
    skipped: Arc<Vec<tree::Skipped>>,
    /// Which of the changes are listed.
    listed: Vec<u32>,
    pub content: Content,
}

/// The content of the new side's files.
pub enum Content {
    /// In no directory: a snapshot or an image.
    Nowhere,
    /// In a directory.
    Tree(Root),
    /// In the directories of an overlay.
    Overlay(Box<Sources>),
}

impl Content {
    /// Returns the files, where there are any.
    pub fn files(&self) -> Option<&dyn Files> {
        match self {
            Content::Tree(root) => Some(root),
            Content::Overlay(sources) => Some(&**sources),
            Content::Nowhere => None,
        }
    }
}

impl Data {
    /// Takes a comparison of the library.
    pub fn new(diff: TreeDiff, content: Content) -> Self {
        let listed = listed(&diff.changes, diff.old.as_ref(), &diff.new);
        let TreeDiff { old, new, changes, skipped } = diff;
        let skipped = Arc::new(skipped);
        Data { old: old.map(Arc::new), new: Arc::new(new), changes, skipped, listed, content }
    }
}

/// The changes between two trees: a sequence of ``Change``, in byte order of their paths.
///
/// As in ``docker diff``, neither the root itself is listed nor the old names of a file that only gained one, though a layer
/// made of the changes has them.
#[pyclass(module = "treering", frozen, sequence)]
pub struct Diff {
    pub data: Arc<Data>,
}

impl Diff {
    /// Returns a comparison as Python has it.
    pub fn of(data: Data) -> Self {
        Diff { data: Arc::new(data) }
    }

    fn change(&self, at: usize) -> Change {
        Change { data: self.data.clone(), at }
    }
}

#[pymethods]
impl Diff {
    /// How many paths were added, changed and deleted, and the bytes in the files among them.
    #[getter]
    fn stat<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stat = treering::diff::Stat::of(&self.data.changes, self.data.old.as_deref(), &self.data.new);
        make(py, "Stat", (stat.added, stat.changed, stat.deleted, stat.bytes))
    }

    /// Entries of the directory that cannot be in a layer.
    #[getter]
    fn skipped<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        skipped(py, &self.data.skipped)
    }

    /// The snapshot that was compared with; None for nothing, so that everything is added.
    #[getter(old)]
    fn before(&self) -> Option<Snapshot> {
        self.data.old.clone().map(Snapshot::new)
    }

    /// The snapshot of the newer side.
    #[getter(new)]
    fn after(&self) -> Snapshot {
        Snapshot { inner: self.data.new.clone(), skipped: self.data.skipped.clone() }
    }

    fn __len__(&self) -> usize {
        self.data.listed.len()
    }

    fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = index.py();
        let len = self.data.listed.len();
        if let Ok(slice) = index.cast::<PySlice>() {
            let slice = slice.indices(isize::try_from(len)?)?;
            let at = |step: usize| slice.start + slice.step * step as isize;
            let changes = (0..slice.slicelength).map(|step| self.change(at(step) as usize));
            return Ok(PyList::new(py, changes.collect::<Vec<_>>())?.into_any());
        }
        let none = || PyIndexError::new_err("index out of range");
        let index: isize = index.extract().map_err(|error: PyErr| {
            if error.is_instance_of::<PyOverflowError>(py) { none() } else { error }
        })?;
        let at = if index < 0 { index.checked_add_unsigned(len) } else { Some(index) };
        match at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < len) {
            Some(at) => Ok(Bound::new(py, self.change(at))?.into_any()),
            None => Err(none()),
        }
    }

    fn __iter__(&self) -> ChangeIterator {
        ChangeIterator { data: self.data.clone(), next: AtomicUsize::new(0) }
    }

    fn __repr__(&self) -> String {
        let stat = treering::diff::Stat::of(&self.data.changes, self.data.old.as_deref(), &self.data.new);
        format!("<treering.Diff: {} added, {} changed, {} deleted>", stat.added, stat.changed, stat.deleted)
    }
}

/// Iterates over the changes of a comparison.
#[pyclass(module = "treering", frozen)]
pub struct ChangeIterator {
    data: Arc<Data>,
    next: AtomicUsize,
}

#[pymethods]
impl ChangeIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self) -> Option<Change> {
        let len = self.data.listed.len();
        let step = |at: usize| (at < len).then(|| at + 1);
        let at = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok()?;
        Some(Change { data: self.data.clone(), at })
    }

    fn __length_hint__(&self) -> usize {
        self.data.listed.len() - self.next.load(Ordering::Relaxed)
    }
}

/// A changed path.
#[pyclass(module = "treering", frozen)]
pub struct Change {
    data: Arc<Data>,
    at: usize,
}

impl Change {
    fn change(&self) -> &treering::diff::Change {
        &self.data.changes[self.data.listed[self.at] as usize]
    }

    fn bytes(&self) -> Vec<u8> {
        self.change().path(self.data.old.as_deref(), &self.data.new)
    }
}

#[pymethods]
impl Change {
    /// ``"added"``, ``"changed"`` or ``"deleted"``.
    #[getter]
    fn kind(&self) -> &'static str {
        self.change().kind.name()
    }

    /// The letter ``docker diff`` prints: ``"A"``, ``"C"`` or ``"D"``.
    #[getter]
    fn letter(&self) -> char {
        self.change().kind.letter()
    }

    /// The path in the tree, without a leading slash. What is not UTF-8 is as ``os.fsdecode`` has it.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        fs_text(py, &self.bytes())
    }

    /// The path as bytes.
    #[getter]
    fn path_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes())
    }

    /// Why the path counts as changed: ``"type"``, ``"content"``, ``"mode"``, ``"owner"``, ``"mtime"``, ``"xattrs"``,
    /// ``"target"``, ``"device"``, ``"links"``, ``"parent"`` (something in the directory came or went), ``"suspect"``
    /// (touched, and the content could not be compared). Empty for what was added or deleted.
    #[getter]
    fn reasons(&self) -> Vec<&'static str> {
        self.change().reasons.words()
    }

    /// The entry as it was; None for what was added.
    #[getter(old)]
    fn before(&self) -> Option<Entry> {
        let snapshot = self.data.old.clone()?;
        let index = self.change().old;
        (index != NONE).then_some(Entry { snapshot, index })
    }

    /// The entry as it is; None for what was deleted.
    #[getter(new)]
    fn after(&self) -> Option<Entry> {
        let index = self.change().new;
        (index != NONE).then(|| Entry { snapshot: self.data.new.clone(), index })
    }

    fn __str__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let mut text = vec![self.letter() as u8, b' ', b'/'];
        text.extend_from_slice(&self.bytes());
        fs_text(py, &text)
    }

    fn __repr__(&self) -> String {
        let reasons = self.change().reasons.words();
        let why = match (self.change().kind, reasons.is_empty()) {
            (ChangeKind::Changed, false) => format!(" ({})", reasons.join(", ")),
            _ => String::new(),
        };
        format!("<treering.Change {} /{}{why}>", self.change().kind.name(), escape(&self.bytes()))
    }
}

/// A side of a comparison, as the caller gives it.
pub enum Side {
    /// A directory.
    Path(PathBuf),
    /// A snapshot, with what is in its directory and cannot be in a layer.
    Snapshot(Arc<tree::Snapshot>, Arc<Vec<tree::Skipped>>),
    /// An image, by its digest.
    Image(store::Store, String),
}

impl<'py> FromPyObject<'_, 'py> for Side {
    type Error = PyErr;

    fn extract(argument: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(snapshot) = argument.cast::<Snapshot>() {
            let snapshot = snapshot.get();
            return Ok(Side::Snapshot(snapshot.inner.clone(), snapshot.skipped.clone()));
        }
        if let Ok(image) = argument.cast::<Image>() {
            let image = image.get();
            return Ok(Side::Image(image.store.clone(), image.inner.digest().to_string()));
        }
        match argument.extract::<PathArg>() {
            Ok(path) => Ok(Side::Path(path.0)),
            Err(error) if error.is_instance_of::<PyTypeError>(argument.py()) => {
                let given = argument.get_type().name()?;
                let message = format!("expected a directory, a Snapshot or an Image, not {given}");
                Err(PyTypeError::new_err(message))
            }
            Err(error) => Err(error),
        }
    }
}

impl Side {
    /// Returns its list of entries, and what is there besides and cannot be in a layer. The store is what may have a
    /// directory; one that is open already is taken as it is.
    fn snapshot(
        &self,
        root: Option<&Root>,
        store: Option<&store::Store>,
        options: &DiffOptions,
        control: &treering::Control,
    ) -> treering::Result<(tree::Snapshot, Vec<tree::Skipped>)> {
        match self {
            // The library takes a comparison's sides over. Copying is cheap next to making them.
            Side::Snapshot(snapshot, skipped) => {
                Ok((tree::Snapshot::from_bytes(snapshot.as_bytes().to_vec())?, skipped.to_vec()))
            }
            Side::Image(store, reference) => {
                let image = image::Image::open(store, reference, None)?;
                Ok((image::contents(store, &image, control)?, Vec::new()))
            }
            Side::Path(path) => {
                let opened = if root.is_none() { Some(Root::open(path)?) } else { None };
                let root = root.or(opened.as_ref()).expect("one of them is there");
                let owners = image::owners_of(store, root, &options.owners)?;
                let scan_options = tree::ScanOptions {
                    threads: options.threads,
                    one_file_system: options.one_file_system,
                    exclude: Some(&options.exclude),
                    ..image::scan_options(&owners, store)?
                };
                let scan = tree::scan(root, &scan_options, control)?;
                Ok((scan.snapshot, scan.skipped))
            }
        }
    }

    fn content(&self) -> treering::Result<Content> {
        match self {
            Side::Path(path) => Ok(Content::Tree(Root::open(path)?)),
            _ => Ok(Content::Nowhere),
        }
    }
}

/// Compares the sides, whatever they are.
fn compare_sides(
    old: Option<&Side>,
    new: &Side,
    content: &Content,
    store: Option<&store::Store>,
    options: &DiffOptions,
    control: &treering::Control,
) -> treering::Result<TreeDiff> {
    // The tree that is listed is the one that files are read from later.
    let root = if let Content::Tree(root) = content { Some(root) } else { None };
    match (old, root) {
        (None, Some(new)) => return image::diff_root(store, new, &Base::Scratch, options, control),
        (Some(Side::Path(old)), Some(new)) => {
            return image::diff_roots(store, &Root::open(old)?, new, options, control);
        }
        (Some(Side::Image(store, digest)), Some(new)) => {
            return image::diff_root(Some(store), new, &Base::Image(digest.clone()), options, control);
        }
        _ => {}
    }
    if let (Some(Side::Path(tree)), Side::Image(store, digest)) = (old, new) {
        let options = DiffOptions { reverse: true, ..options.clone() };
        return image::diff_tree(Some(store), tree, &Base::Image(digest.clone()), &options, control);
    }
    let old = old.map(|old| old.snapshot(None, store, options, control)).transpose()?.map(|(old, _)| old);
    let (new, skipped) = new.snapshot(root, store, options, control)?;
    let Some(old) = old else {
        return Ok(TreeDiff { old: None, changes: treering::diff::all_added(&new), new, skipped });
    };
    let mode = CompareOptions {
        mode: options.compare,
        exact_times: options.exact_times,
        clamp_mtime: None,
        all_reasons: true,
        ignore_times: options.ignore_times,
    };
    let mut comparison = compare_snapshots(&old, &new, &mode);
    comparison.exclude(&options.exclude);
    if let Some(root) = root {
        // The list of an image has digests of its files.
        comparison.settle(options.threads, |change| {
            same_as_digest(change, old.digest(change.old), &new, root, control)
        })?;
    }
    let changes = comparison.changes;
    Ok(TreeDiff { old: Some(old), new, changes, skipped })
}

/// Compare two trees, each a directory, a ``Snapshot`` or an ``Image``.
///
/// Where metadata agrees the content is compared: of two directories, of two images, and of an image and a directory after
/// it. Where one side is a snapshot without content, what only content could decide counts as changed, with ``"suspect"``
/// among the reasons. With one argument everything is added.
///
/// ``store`` is asked what the disk could not hold of a directory, owners without privileges among it. After an ``Image``
/// a directory needs none: the image's own store is asked.
#[pyfunction]
#[pyo3(signature = (old, new = None, *, store = None, owner = None, owner_from = None, compare = "auto", exact_times = false, one_file_system = false, ignore_times = false, exclude = None, ignore_file = None, threads = 0, progress = None))]
pub fn diff(
    py: Python<'_>,
    old: Side,
    new: Option<Side>,
    store: Option<&Store>,
    owner: Option<&Bound<'_, PyAny>>,
    owner_from: Option<PathArg>,
    #[pyo3(from_py_with = arguments::text)] compare: &str,
    exact_times: bool,
    one_file_system: bool,
    ignore_times: bool,
    #[pyo3(from_py_with = arguments::texts)] exclude: Option<Vec<String>>,
    ignore_file: Option<PathArg>,
    #[pyo3(from_py_with = arguments::number)] threads: usize,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Diff> {
    let exclude = arguments::exclude(py, exclude, ignore_file)?;
    let options = diff_options(
        py,
        owner,
        owner_from,
        compare,
        exact_times,
        None,
        one_file_system,
        ignore_times,
        exclude,
        threads,
    )?;
    let store = store.map(|store| store.open(py)).transpose()?;
    let (old, new) = match new {
        Some(new) => (Some(old), new),
        None => (None, old),
    };
    let data = Job::new("compare trees", progress).run(py, move |control, _| {
        let content = new.content()?;
        let diff = compare_sides(old.as_ref(), &new, &content, store.as_ref(), &options, control)?;
        Ok(Data::new(diff, content))
    })?;
    Ok(Diff::of(data))
}

/// Compare the upper directory of an overlay with its lower ones, the topmost first, without mounting it. By default the
/// owners are those that ``store`` has for the lower directories; else those on disk for root, and 0:0 for any other user.
#[pyfunction]
#[pyo3(signature = (upper, lowers = None, *, store = None, owner = None, owner_from = None, compare = "auto", exact_times = false, threads = 0, progress = None))]
pub fn diff_overlay(
    py: Python<'_>,
    upper: PathArg,
    lowers: Option<Vec<PathArg>>,
    store: Option<&Store>,
    owner: Option<&Bound<'_, PyAny>>,
    owner_from: Option<PathArg>,
    #[pyo3(from_py_with = arguments::text)] compare: &str,
    exact_times: bool,
    #[pyo3(from_py_with = arguments::number)] threads: usize,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Diff> {
    let options = diff_options(
        py,
        owner,
        owner_from,
        compare,
        exact_times,
        None,
        false,
        false,
        Ignore::default(),
        threads,
    )?;
    let store = store.map(|store| store.open(py)).transpose()?;
    let data = Job::new("decode overlay", progress).run(py, move |control, _| {
        let lowers: Vec<PathBuf> = lowers.into_iter().flatten().map(|lower| lower.0).collect();
        let found = image::diff_overlay(store.as_ref(), &upper.0, &lowers, &options, control)?;
        Ok(Data::new(found.diff, Content::Overlay(Box::new(found.files))))
    })?;
    Ok(Diff::of(data))
}
