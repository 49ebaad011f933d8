//! Comparisons and their changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use treering::diff::content::same_as_digest;
use treering::diff::{ChangeKind, CompareOptions, compare as compare_snapshots, listed};
use treering::diff::{OverlayOptions, Sources, overlay};
use treering::error::escape;
use treering::fs::Root;
use treering::image::{self, DiffOptions, TreeDiff};
use treering::layer::Files;
use treering::tree::{self, NONE, OwnerPolicy};

use crate::arguments::{PathArg, diff_options};
use crate::image::Image;
use crate::output::{fs_text, make};
use crate::run::Job;
use crate::snapshot::{Entry, Snapshot, skipped};

/// Both sides of a comparison and what is between them. Shared by everything made from it.
pub struct Data {
    pub old: Option<Arc<tree::Snapshot>>,
    pub new: Arc<tree::Snapshot>,
    pub changes: Vec<treering::diff::Change>,
    skipped: Vec<tree::Skipped>,
    /// Which of the changes are listed.
    listed: Vec<u32>,
    pub content: Content,
}

/// Where the content of the new side's files is.
pub enum Content {
    /// In no directory: a snapshot or an image.
    Nowhere,
    /// In a directory.
    Tree(Root),
    /// In the directories of an overlay.
    Overlay(Box<Sources>),
}

impl Content {
    /// The files, where there are any.
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
        Data { old: old.map(Arc::new), new: Arc::new(new), changes, skipped, listed, content }
    }
}

/// What changed between two trees: a sequence of ``Change``, in byte order of their paths.
///
/// As in ``docker diff``, neither the root itself is listed nor the old names of a file that only gained one, though a layer
/// made of the changes has them.
#[pyclass(module = "treering", frozen, sequence)]
pub struct Diff {
    pub data: Arc<Data>,
}

impl Diff {
    /// A comparison as Python has it.
    pub fn of(data: Data) -> Self {
        Diff { data: Arc::new(data) }
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

    /// What is in the directory and cannot be in a layer.
    #[getter]
    fn skipped<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        skipped(py, &self.data.skipped)
    }

    /// What was compared with; None for nothing, so that everything is added.
    #[getter(old)]
    fn before(&self) -> Option<Snapshot> {
        self.data.old.clone().map(Snapshot::new)
    }

    /// What is there now.
    #[getter(new)]
    fn after(&self) -> Snapshot {
        Snapshot::new(self.data.new.clone())
    }

    fn __len__(&self) -> usize {
        self.data.listed.len()
    }

    fn __getitem__(&self, index: isize) -> PyResult<Change> {
        let len = self.data.listed.len();
        let at = if index < 0 { index.checked_add_unsigned(len) } else { Some(index) };
        match at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < len) {
            Some(at) => Ok(Change { data: self.data.clone(), at }),
            None => Err(PyIndexError::new_err("there are not so many changes")),
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

/// One changed path.
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

/// One side of a comparison, as the caller gives it.
pub enum Side {
    /// A directory.
    Path(PathBuf),
    /// A snapshot.
    Snapshot(Arc<tree::Snapshot>),
    /// An image, by its digest.
    Image(treering::store::Store, String),
}

impl<'py> FromPyObject<'_, 'py> for Side {
    type Error = PyErr;

    fn extract(argument: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(snapshot) = argument.cast::<Snapshot>() {
            return Ok(Side::Snapshot(snapshot.get().inner.clone()));
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
    /// Its list of entries; of a directory that is open already, of that.
    fn snapshot(
        &self,
        root: Option<&Root>,
        options: &DiffOptions,
        control: &treering::Control,
    ) -> treering::Result<tree::Snapshot> {
        match self {
            // The library takes a comparison's sides over. Copying is cheap next to making them.
            Side::Snapshot(snapshot) => tree::Snapshot::from_bytes(snapshot.as_bytes().to_vec()),
            Side::Image(store, reference) => {
                let image = image::Image::open(store, reference, None)?;
                image::contents(store, &image, control)
            }
            Side::Path(path) => {
                let opened = if root.is_none() { Some(Root::open(path)?) } else { None };
                let root = root.or(opened.as_ref()).expect("one of them is there");
                let policy = options.owner.clone().unwrap_or_default();
                let scan_options = tree::ScanOptions {
                    threads: options.threads,
                    owner: &policy,
                    owner_from: &options.owner_from.clone().unwrap_or_default(),
                    one_file_system: options.one_file_system,
                    ..tree::ScanOptions::default()
                };
                Ok(tree::scan(root, &scan_options, control)?.snapshot)
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

/// Compare two trees, each a directory, a ``Snapshot`` or an ``Image``.
///
/// Where metadata agrees the content is compared: of two directories, of two images, and of an image and a directory after
/// it. Where one side is a snapshot without content, what only content could tell counts as changed, with ``"suspect"``
/// among the reasons. With one argument everything is added.
#[pyfunction]
#[pyo3(signature = (old, new = None, *, owner = None, owner_from = None, compare = "auto", exact_times = false, one_file_system = false, threads = 0, progress = None))]
pub fn diff(
    py: Python<'_>,
    old: Side,
    new: Option<Side>,
    owner: Option<&Bound<'_, PyAny>>,
    owner_from: Option<PathArg>,
    compare: &str,
    exact_times: bool,
    one_file_system: bool,
    threads: usize,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Diff> {
    let options = diff_options(py, owner, owner_from, compare, exact_times, None, one_file_system, threads)?;
    let (old, new) = match new {
        Some(new) => (Some(old), new),
        None => (None, old),
    };
    let data = Job::new("compare trees", progress).run(py, move |control, _| {
        let content = new.content()?;
        // The tree that is listed is the one whose files are read later.
        let root = if let Content::Tree(root) = &content { Some(root) } else { None };
        let diff = match (&old, root) {
            (Some(Side::Path(old)), Some(root)) => {
                image::diff_roots(None, &Root::open(old)?, root, &options, control)?
            }
            (Some(old), Some(root)) => {
                let old = old.snapshot(None, &options, control)?;
                let new = new.snapshot(Some(root), &options, control)?;
                let compare_options = CompareOptions { mode: options.compare, exact_times };
                let mut comparison = compare_snapshots(&old, &new, &compare_options);
                // The list of an image has digests of its files.
                comparison.settle(threads, |change| {
                    same_as_digest(change, old.digest(change.old), &new, root, control)
                })?;
                let changes = comparison.changes;
                TreeDiff { old: Some(old), new, changes, skipped: Vec::new() }
            }
            (Some(old), None) => {
                let old = old.snapshot(None, &options, control)?;
                image::diff_snapshots(old, new.snapshot(None, &options, control)?, &options)
            }
            (None, _) => {
                let new = new.snapshot(root, &options, control)?;
                TreeDiff { old: None, changes: image::all_added(&new), new, skipped: Vec::new() }
            }
        };
        Ok(Data::new(diff, content))
    })?;
    Ok(Diff::of(data))
}

/// What the upper directory of an overlay changes over its lower ones, the topmost first, found without mounting it.
/// By default the owners are those on disk for root, and 0:0 for anybody else.
#[pyfunction]
#[pyo3(signature = (upper, lowers = Vec::new(), *, owner = None, owner_from = None, compare = "auto", exact_times = false, threads = 0, progress = None))]
pub fn diff_overlay(
    py: Python<'_>,
    upper: PathArg,
    lowers: Vec<PathArg>,
    owner: Option<&Bound<'_, PyAny>>,
    owner_from: Option<PathArg>,
    compare: &str,
    exact_times: bool,
    threads: usize,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Diff> {
    let options = diff_options(py, owner, owner_from, compare, exact_times, None, false, threads)?;
    let data = Job::new("decode overlay", progress).run(py, move |control, _| {
        let open = |path: &Path| Root::open(path);
        let lowers: Vec<Root> = lowers.iter().map(|lower| open(&lower.0)).collect::<treering::Result<_>>()?;
        let policy = options.owner.clone().unwrap_or_else(OwnerPolicy::as_seen);
        let overlay_options = OverlayOptions {
            threads,
            owner: &policy,
            owner_from: &options.owner_from.clone().unwrap_or_default(),
            compare: CompareOptions { mode: options.compare, exact_times },
            ..OverlayOptions::default()
        };
        let found = overlay(&open(&upper.0)?, &lowers, &overlay_options, control)?;
        let diff = TreeDiff {
            old: Some(found.lower),
            new: found.upper,
            changes: found.changes,
            skipped: found.skipped,
        };
        Ok(Data::new(diff, Content::Overlay(Box::new(found.sources))))
    })?;
    Ok(Diff::of(data))
}
