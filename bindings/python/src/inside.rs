//! Files of an image, for `ImagePath` in `treering/_path.py`, and layers, for `treering/_layers.py`.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use treering::error::Error;
use treering::fs::Kind;
use treering::image::{self, ImageFiles};

use crate::errors::OrRaise;
use crate::layer_values::layer_entry;
use crate::run::Job;

const READ: &str = "read file of image";
/// The most that is read at once.
const MOST: usize = 4 << 20;

/// The stat of one entry: its number, type bits and permissions, uid, gid, size, and time in nanoseconds.
type Stat = (u32, u32, u32, u32, u64, i128);

/// The files of an image. Not for callers: `Image.path` is.
#[pyclass(module = "treering._treering", frozen, name = "_ImageFiles")]
pub struct Files {
    inner: Arc<ImageFiles>,
}

impl Files {
    /// Returns the files that were opened.
    pub fn new(inner: ImageFiles) -> Self {
        Files { inner: Arc::new(inner) }
    }

    fn find(&self, path: &[u8], follow: bool) -> treering::Result<u32> {
        if follow { self.inner.resolve(path) } else { self.inner.resolve_link(path) }
    }
}

#[pymethods]
impl Files {
    fn stat(&self, py: Python<'_>, path: &[u8], follow: bool) -> PyResult<Stat> {
        let entry = self.find(path, follow).or_raise(py)?;
        let meta = self.inner.list().meta(entry);
        let kind = match meta.kind {
            Kind::File => 0o100000,
            Kind::Directory => 0o040000,
            Kind::Symlink => 0o120000,
            Kind::CharDevice => 0o020000,
            Kind::BlockDevice => 0o060000,
            Kind::Fifo => 0o010000,
            Kind::Socket => 0o140000,
        };
        let time = i128::from(meta.mtime.secs) * 1_000_000_000 + i128::from(meta.mtime.nanos);
        Ok((entry, kind | u32::from(meta.mode), meta.uid, meta.gid, meta.size, time))
    }

    fn names<'py>(&self, py: Python<'py>, path: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let directory = self.find(path, true).or_raise(py)?;
        let list = self.inner.list();
        if list.meta(directory).kind != Kind::Directory {
            let error = Error::invalid(READ, "it is not a directory").with_path(list.path(directory));
            return Err(error).or_raise(py);
        }
        Ok(list.children(directory).map(|entry| PyBytes::new(py, list.name(entry))).collect())
    }

    fn link<'py>(&self, py: Python<'py>, path: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let entry = self.find(path, false).or_raise(py)?;
        let list = self.inner.list();
        if list.meta(entry).kind != Kind::Symlink {
            let error = Error::invalid(READ, "it is not a symbolic link").with_path(list.path(entry));
            return Err(error).or_raise(py);
        }
        Ok(PyBytes::new(py, list.link_target(entry)))
    }

    fn path<'py>(&self, py: Python<'py>, path: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let entry = self.find(path, true).or_raise(py)?;
        Ok(PyBytes::new(py, &self.inner.list().path(entry)))
    }

    fn open(&self, py: Python<'_>, path: &[u8]) -> PyResult<FileReader> {
        let entry = self.find(path, true).or_raise(py)?;
        let files = Arc::clone(&self.inner);
        let reader = Job::new(READ, None).run(py, move |control, _| files.reader(entry, control))?;
        Ok(FileReader::new(reader))
    }
}

/// The content of a file or layer, from its start to its end.
#[pyclass(module = "treering._treering", frozen, name = "_FileReader")]
pub struct FileReader {
    reader: Mutex<Box<dyn Read + Send>>,
}

impl FileReader {
    /// Makes a stream of this reader.
    pub fn new(reader: Box<dyn Read + Send>) -> Self {
        FileReader { reader: Mutex::new(reader) }
    }
}

#[pymethods]
impl FileReader {
    fn read<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let read = || some(&mut *self.reader.lock().unwrap_or_else(PoisonError::into_inner), size);
        Ok(PyBytes::new(py, &py.detach(read).or_raise(py)?))
    }
}

/// Reads at most `size` bytes; none at the end.
fn some(reader: &mut dyn Read, size: usize) -> treering::Result<Vec<u8>> {
    let mut bytes = vec![0; size.min(MOST)];
    let count = loop {
        match reader.read(&mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => break other.map_err(|error| Error::io(READ, "", error))?,
        }
    };
    bytes.truncate(count);
    Ok(bytes)
}

/// The entries of a layer with their content, one after the other.
#[pyclass(module = "treering._treering", frozen, name = "_LayerFiles")]
pub struct LayerFiles {
    files: Mutex<image::LayerFiles>,
}

impl LayerFiles {
    /// Returns the entries that were opened.
    pub fn new(files: image::LayerFiles) -> Self {
        LayerFiles { files: Mutex::new(files) }
    }
}

#[pymethods]
impl LayerFiles {
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let next = || self.files.lock().unwrap_or_else(PoisonError::into_inner).next_entry();
        let entry = py.detach(next).or_raise(py)?;
        entry.map(|entry| layer_entry(py, &entry)).transpose()
    }

    fn read<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let read = || some(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner), size);
        Ok(PyBytes::new(py, &py.detach(read).or_raise(py)?))
    }
}
