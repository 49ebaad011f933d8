//! One image of a store.

use std::io::Read;

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};
use treering::Control;
use treering::image;
use treering::layer::read::ReadLimits;
use treering::store::descriptor_digest;

use crate::arguments;
use crate::errors::OrRaise;
use crate::inside::{FileReader, Files, LayerFiles};
use crate::output::{json, json_value, make};
use crate::run::Job;
use crate::snapshot::Snapshot;

/// An image for one platform. Configuration and manifest were read and checked when it was opened; they never change.
#[pyclass(module = "treering", frozen)]
pub struct Image {
    pub inner: image::Image,
    pub store: treering::store::Store,
    /// The report of the commit that made it.
    pub committed: PyOnceLock<Py<PyAny>>,
    /// Its files, once a path was asked for.
    files: PyOnceLock<Py<Files>>,
}

impl Image {
    fn look(&self, py: Python<'_>, progress: Option<&Bound<'_, PyAny>>) -> PyResult<image::Report> {
        let (store, image) = (self.store.clone(), self.inner.clone());
        Job::new("report on image", progress)
            .run(py, move |control, _| image::Report::of(&store, &image, control))
    }

    /// Returns an image as Python has it.
    pub fn new(store: treering::store::Store, inner: image::Image) -> Self {
        Image { inner, store, committed: PyOnceLock::new(), files: PyOnceLock::new() }
    }

    fn layer(&self, number: usize) -> PyResult<&image::Layer> {
        self.inner.layers().get(number).ok_or_else(|| PyIndexError::new_err("the image has no such layer"))
    }
}

#[pymethods]
impl Image {
    /// The image id: the digest of the configuration.
    #[getter]
    fn id(&self) -> String {
        self.inner.id().to_string()
    }

    /// The first 12 digits of the id, as lists of images show it.
    #[getter]
    fn short_id(&self) -> String {
        self.inner.id().short()
    }

    /// The digest of the manifest.
    #[getter]
    fn digest(&self) -> String {
        self.inner.digest().to_string()
    }

    /// The name it was opened by; None when it was found by digest or id.
    #[getter]
    fn name(&self) -> Option<String> {
        self.inner.name().map(ToString::to_string)
    }

    /// The names it has now, as they stand in the store.
    #[getter]
    fn tags(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let wanted = [Some(self.inner.descriptor()), self.inner.index()];
        let wanted: Vec<_> = wanted.into_iter().flatten().filter_map(|d| descriptor_digest(d).ok()).collect();
        let refs = py.detach(|| self.store.refs()).or_raise(py)?;
        let ours = refs.iter().filter(|entry| {
            descriptor_digest(&entry.descriptor).is_ok_and(|digest| wanted.contains(&digest))
        });
        Ok(ours.map(|entry| entry.name.to_string()).collect())
    }

    /// The configuration, as a new dict.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json(py, self.inner.config().bytes())
    }

    /// The configuration's bytes, exactly as stored.
    #[getter]
    fn config_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.config().bytes())
    }

    /// The manifest, as a new dict.
    #[getter]
    fn manifest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json(py, self.inner.manifest_bytes())
    }

    /// The manifest's bytes, exactly as stored.
    #[getter]
    fn manifest_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.manifest_bytes())
    }

    /// The layers, base first.
    #[getter]
    fn layers<'py>(slf: &Bound<'py, Self>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let py = slf.py();
        let one = |(number, layer): (usize, &image::Layer)| {
            let media_type = layer.descriptor.media_type().to_string();
            let fields = (layer.digest.to_string(), layer.size, layer.diff_id.to_string(), media_type);
            let made = make(py, "Layer", fields)?;
            // No field of the dataclass: it is not compared, shown or turned into JSON.
            made.getattr("__dict__")?.set_item("_source", (slf, number))?;
            Ok(made)
        };
        slf.get().inner.layers().iter().enumerate().map(one).collect()
    }

    /// Returns the blob of a layer, or its tar.
    fn _open_layer(&self, py: Python<'_>, number: usize, tar: bool) -> PyResult<FileReader> {
        let layer = self.layer(number)?;
        let open = || -> treering::Result<Box<dyn Read + Send>> {
            match tar {
                true => Ok(Box::new(layer.open_tar(&self.store, &Control::default())?)),
                false => Ok(Box::new(layer.open(&self.store)?)),
            }
        };
        Ok(FileReader::new(py.detach(open).or_raise(py)?))
    }

    /// Returns the entries of a layer, with their content.
    fn _layer_files(
        &self,
        py: Python<'_>,
        number: usize,
        #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
    ) -> PyResult<LayerFiles> {
        let layer = self.layer(number)?;
        let mut limits = ReadLimits::default();
        limits.max_bytes = max_bytes.unwrap_or(limits.max_bytes);
        limits.max_entries = max_entries.unwrap_or(limits.max_entries);
        let open = || layer.files(&self.store, limits, &Control::default());
        Ok(LayerFiles::new(py.detach(open).or_raise(py)?))
    }

    /// The platform in the configuration, such as ``"linux/amd64"``.
    #[getter]
    fn platform(&self) -> String {
        self.inner.platform().to_string()
    }

    /// The annotations of the manifest.
    #[getter]
    fn annotations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (key, value) in self.inner.annotations() {
            dict.set_item(key, value)?;
        }
        Ok(dict)
    }

    /// The size of manifest, configuration and layers as stored, in bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.inner.size()
    }

    /// When the image was made (RFC 3339), as the configuration says.
    #[getter]
    fn created(&self) -> Option<&str> {
        self.inner.config().created()
    }

    /// The author, as the configuration says.
    #[getter]
    fn author(&self) -> Option<&str> {
        self.inner.config().author()
    }

    /// The report of the commit that gave this object; None for an image that was looked up.
    #[getter]
    fn committed(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.committed.get(py).map(|report| report.clone_ref(py))
    }

    /// An image is pickled as its store's path and its digest: unpickled, it is looked up there.
    #[allow(clippy::type_complexity)] // The shape that pickle asks for.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyAny>, String))> {
        let open = py.import("treering._tree")?.getattr("_image")?;
        let root = std::os::unix::ffi::OsStrExt::as_bytes(self.store.root_path().as_os_str());
        Ok((open, (crate::output::fs_text(py, root)?.into_any(), self.inner.digest().to_string())))
    }

    /// Returns the rows of ``docker history``, newest first.
    fn history<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let rows = py.detach(|| self.inner.history(&self.store)).or_raise(py)?;
        let one = |row: &image::HistoryRow| {
            let id = row.id.map(|id| id.to_string());
            let diff_id = row.diff_id.map(|id| id.to_string());
            let fields =
                (id, row.created.clone(), &*row.created_by, row.size, row.diff_size, diff_id, &*row.comment);
            make(py, "HistoryRow", fields)
        };
        rows.iter().map(one).collect()
    }

    /// The JSON that ``docker inspect`` prints of an image, as a dict.
    fn inspect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let value = py.detach(|| image::inspect(&self.store, &self.inner)).or_raise(py)?;
        json_value(py, &value)
    }

    /// A report of the image, as a dict: what each step added, changed and wasted, the largest files and packages, and what
    /// could be smaller. Its layers are read once; nothing is unpacked.
    #[pyo3(signature = (*, progress = None))]
    fn report<'py>(
        &self,
        py: Python<'py>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let report = self.look(py, progress)?;
        crate::output::json(py, &serde_json::to_vec(&report).unwrap_or_default())
    }

    /// ``report`` as a page of HTML that needs nothing else: no network, no other file.
    #[pyo3(signature = (*, progress = None))]
    fn report_html(&self, py: Python<'_>, progress: Option<&Bound<'_, PyAny>>) -> PyResult<String> {
        Ok(self.look(py, progress)?.to_html())
    }

    /// The list of the image, with the digest of every file, as a snapshot. The first time its layers are read for the digests; a
    /// path below :meth:`path` needs none.
    #[pyo3(signature = (*, progress = None))]
    fn contents(&self, py: Python<'_>, progress: Option<&Bound<'_, PyAny>>) -> PyResult<Snapshot> {
        let (store, image) = (self.store.clone(), self.inner.clone());
        let list = Job::new("read image contents", progress)
            .run(py, move |control, _| image::contents(&store, &image, control))?;
        Ok(Snapshot::new(std::sync::Arc::new(list)))
    }

    /// A path inside the image, to be read without unpacking it. The first time its layers are read.
    #[pyo3(signature = (path = None, *, progress = None))]
    fn path<'py>(
        &self,
        py: Python<'py>,
        path: Option<&Bound<'py, PyAny>>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let files = match self.files.get(py) {
            Some(files) => files.clone_ref(py),
            None => {
                let (store, image) = (self.store.clone(), self.inner.clone());
                let opened = Job::new("read image contents", progress)
                    .run(py, move |control, _| image::ImageFiles::open(&store, &image, control))?;
                let made = Py::new(py, Files::new(opened))?;
                self.files.get_or_init(py, || made).clone_ref(py)
            }
        };
        let pure = py.import("pathlib")?.getattr("PurePosixPath")?;
        let path = match path {
            Some(path) => pure.call1((path,))?,
            None => pure.call0()?,
        };
        py.import("treering._path")?.getattr("ImagePath")?.call1((files, path))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Image>().is_ok_and(|other| other.get().inner.digest() == self.inner.digest())
    }

    fn __hash__(&self) -> u64 {
        let bytes = self.inner.digest().bytes();
        u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
    }

    fn __repr__(&self) -> String {
        let name = self.inner.name().map(|name| format!(" {name}")).unwrap_or_default();
        let layers = self.inner.layers().len();
        format!(
            "<treering.Image{name} {} {} of {layers} layers>",
            self.inner.id().short(),
            self.inner.platform()
        )
    }
}

/// Returns the image that was just made.
pub fn reopen(
    store: &treering::store::Store,
    name: Option<&str>,
    manifest: &treering::Digest,
) -> treering::Result<image::Image> {
    let by_name = name.and_then(|name| image::Image::open(store, name, None).ok());
    // Another process may have moved the name meanwhile.
    match by_name.filter(|image| image.digest() == manifest) {
        Some(image) => Ok(image),
        None => image::Image::open(store, &manifest.to_string(), None),
    }
}
