//! One image of a store.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};
use treering::image;
use treering::store::descriptor_digest;

use crate::errors::OrRaise;
use crate::inside::Files;
use crate::output::{json, json_value, make};
use crate::run::Job;
use crate::snapshot::Snapshot;

/// An image for one platform. Configuration and manifest were read and checked when it was opened; they never change.
#[pyclass(module = "treering", frozen)]
pub struct Image {
    pub inner: image::Image,
    pub store: treering::store::Store,
    /// What the commit that made it has to tell.
    pub committed: PyOnceLock<Py<PyAny>>,
    /// Its files, once a path was asked for.
    files: PyOnceLock<Py<Files>>,
}

impl Image {
    /// An image as Python has it.
    pub fn new(store: treering::store::Store, inner: image::Image) -> Self {
        Image { inner, store, committed: PyOnceLock::new(), files: PyOnceLock::new() }
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
    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let one = |layer: &image::Layer| {
            let media_type = layer.descriptor.media_type().to_string();
            make(py, "Layer", (layer.digest.to_string(), layer.size, layer.diff_id.to_string(), media_type))
        };
        self.inner.layers().iter().map(one).collect()
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

    /// Who made it, as the configuration says.
    #[getter]
    fn author(&self) -> Option<&str> {
        self.inner.config().author()
    }

    /// What the commit that gave this object has to tell; None for an image that was looked up.
    #[getter]
    fn committed(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.committed.get(py).map(|report| report.clone_ref(py))
    }

    /// The rows of ``docker history``, newest first.
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

    /// What ``docker inspect`` prints of an image, as a dict.
    fn inspect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let value = py.detach(|| image::inspect(&self.store, &self.inner)).or_raise(py)?;
        json_value(py, &value)
    }

    /// Everything in the image, with the digest of every file, as a snapshot. The first time its layers are read.
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
