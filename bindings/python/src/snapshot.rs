//! Snapshots, their entries, and ledgers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use treering::error::{Error, ErrorKind};
use treering::fs::{Kind, Root};
use treering::image::{owners_of, scan_options};
use treering::tree::{self, ScanOptions};

use crate::arguments::{self, PathArg, fs_bytes};
use crate::errors::{OrRaise, to_python};
use crate::handle::Store;
use crate::output::{fs_text, make};
use crate::run::Job;

/// Returns the entries of a directory that cannot be in a layer, as dataclasses.
pub fn skipped<'py>(py: Python<'py>, list: &[tree::Skipped]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    list.iter().map(|one| make(py, "Skipped", (fs_text(py, &one.path)?, one.reason))).collect()
}

/// The sorted list of everything in a tree at one moment.
///
/// Iterating gives entries in byte order of their paths, the root first. ``snapshot[path]`` looks one up without
/// following symbolic links; ``path in snapshot`` asks whether it is there.
#[pyclass(module = "treering", frozen, mapping)]
pub struct Snapshot {
    pub inner: Arc<tree::Snapshot>,
    pub skipped: Arc<Vec<tree::Skipped>>,
}

impl Snapshot {
    /// Returns a snapshot of which nothing was left out.
    pub fn new(inner: Arc<tree::Snapshot>) -> Self {
        Snapshot { inner, skipped: Arc::default() }
    }

    fn find(&self, path: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
        Ok(self.inner.lookup(&fs_bytes(path)?))
    }

    fn entry(&self, index: u32) -> Entry {
        Entry { snapshot: self.inner.clone(), index }
    }
}

#[pymethods]
impl Snapshot {
    /// Read a snapshot that was saved. The file is read whole: what happens to it afterwards is of no matter.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathArg) -> PyResult<Self> {
        let inner = Job::new("load snapshot", None).run(py, move |_, _| tree::Snapshot::load(&path.0))?;
        Ok(Snapshot::new(Arc::new(inner)))
    }

    /// Read the bytes of a snapshot, as ``to_bytes`` gave them.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Ok(Snapshot::new(Arc::new(tree::Snapshot::from_bytes(data.to_vec()).or_raise(py)?)))
    }

    /// Save the snapshot. A regular file appears, or is replaced, once all is written, and keeps its mode. A link is followed; a pipe or
    /// a device is written to as it is.
    fn save(&self, py: Python<'_>, path: PathArg) -> PyResult<()> {
        let inner = self.inner.clone();
        Job::new("save snapshot", None).run(py, move |_, _| inner.save(&path.0))
    }

    /// Returns the snapshot as bytes, the same as ``save`` writes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.as_bytes())
    }

    /// Entries of the directory that cannot be in a layer: sockets, and mount points that were left out.
    #[getter]
    fn skipped<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        skipped(py, &self.skipped)
    }

    /// Returns the entry at a path, or None.
    fn get(&self, path: &Bound<'_, PyAny>) -> PyResult<Option<Entry>> {
        Ok(self.find(path)?.map(|index| self.entry(index)))
    }

    fn __len__(&self) -> usize {
        self.inner.len() as usize
    }

    fn __getitem__(&self, path: &Bound<'_, PyAny>) -> PyResult<Entry> {
        match self.find(path)? {
            Some(index) => Ok(self.entry(index)),
            None => {
                let error = Error::new(ErrorKind::NotFound, "find entry", "there is no such entry");
                Err(to_python(path.py(), &error.with_path(fs_bytes(path)?)))
            }
        }
    }

    fn __contains__(&self, path: &Bound<'_, PyAny>) -> PyResult<bool> {
        match self.find(path) {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.is_instance_of::<PyTypeError>(path.py()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn __iter__(&self, py: Python<'_>) -> EntryIterator {
        let snapshot = self.inner.clone();
        let order = py.detach(|| std::iter::once(0).chain(snapshot.walk()).collect());
        EntryIterator { snapshot: self.inner.clone(), order, next: AtomicU32::new(0) }
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Snapshot>().is_ok_and(|other| other.get().inner.as_bytes() == self.inner.as_bytes())
    }

    fn __hash__(&self) -> u32 {
        self.inner.checksum()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((slf.getattr("from_bytes")?, (slf.get().to_bytes(slf.py()),)))
    }

    fn __repr__(&self) -> String {
        format!("<treering.Snapshot of {} entries>", self.inner.len())
    }
}

/// Iterates over the entries of a snapshot.
#[pyclass(module = "treering", frozen)]
pub struct EntryIterator {
    snapshot: Arc<tree::Snapshot>,
    order: Vec<u32>,
    next: AtomicU32,
}

#[pymethods]
impl EntryIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self) -> Option<Entry> {
        let at = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| {
            ((at as usize) < self.order.len()).then(|| at + 1)
        });
        let index = *self.order.get(at.ok()? as usize)?;
        Some(Entry { snapshot: self.snapshot.clone(), index })
    }

    fn __length_hint__(&self) -> usize {
        self.order.len() - self.next.load(Ordering::Relaxed) as usize
    }
}

/// An entry of a snapshot.
///
/// It is path-like, for its path in the tree: ``os.path.join(tree, entry)`` is the file, and ``snapshot[entry]`` is the entry of the same
/// path. By itself, as in ``open(entry)``, it names a file below the current directory.
#[pyclass(module = "treering", frozen)]
pub struct Entry {
    pub snapshot: Arc<tree::Snapshot>,
    pub index: u32,
}

impl Entry {
    fn meta(&self) -> tree::Meta {
        self.snapshot.meta(self.index)
    }
}

#[pymethods]
impl Entry {
    /// The path in the tree, without a leading slash; empty for the root. What is not UTF-8 is as ``os.fsdecode`` has it.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        fs_text(py, &self.snapshot.path(self.index))
    }

    /// The path as bytes.
    #[getter]
    fn path_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.snapshot.path(self.index))
    }

    /// The name in its directory; empty for the root.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        fs_text(py, self.snapshot.name(self.index))
    }

    /// ``"file"``, ``"directory"``, ``"symlink"``, ``"character device"``, ``"block device"`` or ``"fifo"``.
    #[getter]
    fn kind(&self) -> &'static str {
        self.meta().kind.name()
    }

    /// Permission bits, with setuid, setgid and sticky.
    #[getter]
    fn mode(&self) -> u16 {
        self.meta().mode
    }

    /// The owner, as a layer has it.
    #[getter]
    fn uid(&self) -> u32 {
        self.meta().uid
    }

    /// The group, as a layer has it.
    #[getter]
    fn gid(&self) -> u32 {
        self.meta().gid
    }

    /// The length of a file in bytes; 0 for everything else.
    #[getter]
    fn size(&self) -> u64 {
        self.meta().size
    }

    /// When the content changed last, in seconds since 1970.
    #[getter]
    fn mtime(&self) -> f64 {
        let mtime = self.meta().mtime;
        mtime.secs as f64 + f64::from(mtime.nanos) / 1e9
    }

    /// When the content changed last, in nanoseconds since 1970.
    #[getter]
    fn mtime_ns(&self) -> i128 {
        let mtime = self.meta().mtime;
        i128::from(mtime.secs) * 1_000_000_000 + i128::from(mtime.nanos)
    }

    /// The target of a symbolic link; None for everything else.
    #[getter]
    fn link_target<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        match self.meta().kind {
            Kind::Symlink => fs_text(py, self.snapshot.link_target(self.index)).map(Some),
            _ => Ok(None),
        }
    }

    /// Major and minor number of a device; None for everything else.
    #[getter]
    fn device(&self) -> Option<(u32, u32)> {
        let meta = self.meta();
        matches!(meta.kind, Kind::CharDevice | Kind::BlockDevice).then_some(meta.rdev)
    }

    /// The number of names of the file, in the tree or out of it.
    #[getter]
    fn nlink(&self) -> u32 {
        self.meta().nlink
    }

    /// The extended attributes.
    #[getter]
    fn xattrs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in self.snapshot.xattrs(self.index) {
            dict.set_item(fs_text(py, name)?, PyBytes::new(py, value))?;
        }
        Ok(dict)
    }

    /// The digest of a file's content, ``"sha256:..."``, where it is known (in the list of an image).
    #[getter]
    fn digest(&self) -> Option<String> {
        self.snapshot.digest(self.index).map(|bytes| treering::Digest::from_bytes(bytes).to_string())
    }

    fn __fspath__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.path(py)
    }

    fn __repr__(&self) -> String {
        let meta = self.meta();
        let path = treering::error::escape(&self.snapshot.path(self.index));
        format!("<treering.Entry {} /{path} {:04o} {}:{}>", meta.kind.name(), meta.mode, meta.uid, meta.gid)
    }
}

/// Owners, setuid bits, devices and attributes that an unprivileged process could not put on disk.
#[pyclass(module = "treering", frozen)]
pub struct Ledger {
    pub inner: Arc<tree::Ledger>,
}

#[pymethods]
impl Ledger {
    /// Read the bytes of a ledger, as ``to_bytes`` gave them.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Ok(Ledger { inner: Arc::new(tree::Ledger::from_bytes(data).or_raise(py)?) })
    }

    /// Returns the ledger as bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.to_bytes())
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((slf.getattr("from_bytes")?, (slf.get().to_bytes(slf.py()),)))
    }

    fn __repr__(&self) -> String {
        format!("<treering.Ledger of {} entries>", self.inner.len())
    }
}

/// Take a snapshot of a directory.
///
/// ``owner_from`` is another tool's record of owners to go by: ``"rootlesscontainers"``, ``"override-stat"`` or
/// ``"fakeroot:FILE"``. ``exclude`` has patterns of paths to leave out, as in a ``.dockerignore``, and ``ignore_file`` is a
/// file of such. A ``previous`` snapshot of another owner policy counts for nothing.
#[pyfunction]
#[pyo3(signature = (
    path, *, owner = None, owner_from = None, store = None, ledger = None, previous = None, one_file_system = false,
    all_xattrs = false, exclude = None, ignore_file = None, threads = 0, progress = None
))]
pub fn scan(
    py: Python<'_>,
    path: PathArg,
    owner: Option<&Bound<'_, PyAny>>,
    owner_from: Option<PathArg>,
    store: Option<&Store>,
    ledger: Option<&Ledger>,
    previous: Option<&Snapshot>,
    one_file_system: bool,
    all_xattrs: bool,
    #[pyo3(from_py_with = arguments::texts)] exclude: Option<Vec<String>>,
    ignore_file: Option<PathArg>,
    #[pyo3(from_py_with = arguments::number)] threads: usize,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Snapshot> {
    if store.is_some() && ledger.is_some() {
        let message = "a store has the ledger of the tree: give one of the two";
        return Err(to_python(py, &Error::invalid("scan tree", message)));
    }
    let exclude = arguments::exclude(py, exclude, ignore_file)?;
    let wanted = arguments::owners(py, owner, owner_from)?;
    let store = store.map(|store| store.open(py)).transpose()?;
    let ledger = ledger.map(|ledger| ledger.inner.clone());
    let previous = previous.map(|previous| previous.inner.clone());
    let scan = Job::new("scan tree", progress).run(py, move |control, _| {
        let root = Root::open(&path.0)?;
        let mut owners = owners_of(store.as_ref(), &root, &wanted)?;
        if let Some(ledger) = ledger {
            owners.ledger = (*ledger).clone();
        }
        let options = ScanOptions {
            threads,
            previous: previous.as_deref(),
            one_file_system,
            all_xattrs,
            exclude: Some(&exclude),
            ..scan_options(&owners, store.as_ref())?
        };
        tree::scan(&root, &options, control)
    })?;
    Ok(Snapshot { inner: Arc::new(scan.snapshot), skipped: Arc::new(scan.skipped) })
}
