//! A store: images, their names, and the trees made from them. Each file has the methods of one concern.

mod build;
mod containers;
mod exchange;
mod images;
mod trees;

use std::path::Path;

use pyo3::prelude::*;
use pyo3::types::PyString;
use treering::image::{self, Committed};
use treering::store;

use crate::arguments::{self, PathArg};
use crate::errors::OrRaise;
use crate::handle::Store;
use crate::image::Image;
use crate::layer_values::written;
use crate::output::make;
use crate::run::Job;
use crate::snapshot::skipped;

impl Store {
    pub(super) fn find(&self, py: Python<'_>, reference: &str, platform: Option<&str>) -> PyResult<Image> {
        let store = self.open(py)?;
        let platform = arguments::platform(py, platform)?;
        let image = py.detach(|| image::Image::open(&store, reference, platform.as_ref())).or_raise(py)?;
        Ok(Image::new(store, image))
    }

    /// Returns an image that was just made, with the report of its making.
    pub(super) fn made(
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

/// Returns the path as text.
fn shown<'py>(py: Python<'py>, path: &Path) -> PyResult<Bound<'py, PyString>> {
    Ok(path.as_os_str().into_pyobject(py)?)
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (path = None, *, max_document_bytes = None, max_document_depth = None, max_index_depth = None, max_layers = None, max_blob_bytes = None, max_cache_bytes = None, no_layer_index = false))]
    fn new(
        py: Python<'_>,
        path: Option<PathArg>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_document_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_document_depth: Option<usize>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_index_depth: Option<usize>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_layers: Option<usize>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_blob_bytes: Option<u64>,
        #[pyo3(from_py_with = arguments::maybe_number)] max_cache_bytes: Option<u64>,
        no_layer_index: bool,
    ) -> PyResult<Self> {
        let mut limits = store::Limits::default();
        limits.json_bytes = max_document_bytes.unwrap_or(limits.json_bytes);
        limits.json_depth = max_document_depth.unwrap_or(limits.json_depth);
        limits.index_depth = max_index_depth.unwrap_or(limits.index_depth);
        limits.layers = max_layers.unwrap_or(limits.layers);
        limits.blob_bytes = max_blob_bytes.unwrap_or(limits.blob_bytes);
        limits.cache_bytes = max_cache_bytes.unwrap_or(limits.cache_bytes);
        limits.layer_indexes = !no_layer_index;
        let inner = Job::new("open store", None).run(py, move |_, _| match path {
            Some(path) => store::Store::open_with(path.0, limits),
            None => store::Store::open_with(store::default_root()?, limits),
        })?;
        let path = inner.root_path().to_path_buf();
        Ok(Store::of(inner, path))
    }
}
