//! `Store` itself: its images and their names, and what it takes on disk.

use std::sync::PoisonError;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use treering::error::Error;
use treering::image::{self, TidyOptions, TidyReport, tidy};
use treering::store::{self, CachePruneOptions, FsckLevel, PruneOptions, Reference};

use super::shown;
use crate::arguments;
use crate::errors::{OrRaise, to_python};
use crate::handle::Store;
use crate::image::Image;
use crate::image_argument::ImageArg;
use crate::output::{json_value, make};
use crate::run::Job;

#[pymethods]
impl Store {
    /// The path of the store.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        shown(py, &self.path)
    }

    /// The path of the store's OCI image layout. Other tools read it as it is and must not write to it, since they take none of
    /// the store's locks.
    #[getter]
    fn layout<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        shown(py, self.open(py)?.layout())
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

    /// Open an image, by name, digest, id or a prefix of the id. From a multi-platform image the one for ``platform`` is
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

    /// Returns the names in the store and what they stand for, in the order of ``index.json``; among them images without a
    /// name.
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

    /// Returns the digest of the manifest or index that a name, digest, id or id prefix stands for.
    fn resolve(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::text)] reference: &str,
    ) -> PyResult<String> {
        let store = self.open(py)?;
        let found = py.detach(|| store.resolve(reference)).or_raise(py)?;
        Ok(found.descriptor.digest().to_string())
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
    ///
    /// ``build_cache`` also removes the records of build steps that hold layers which no image needs, ``all_build_cache`` all
    /// records. Those used last stay, up to ``keep_storage`` bytes with their layers, and those used within ``unused_for`` seconds.
    #[pyo3(signature = (
        *, dry_run = false, keep_untagged = false, unused_names = false, lost_trees = false, keep = None, wait = 10.0,
        build_cache = false, all_build_cache = false, keep_storage = 0, unused_for = 0.0, progress = None
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
        build_cache: bool,
        all_build_cache: bool,
        keep_storage: u64,
        unused_for: f64,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| {
                to_python(py, &Error::invalid("prune", format!("{name} is a number of seconds, 0 or more")))
            })
        };
        let (wait, unused_for) = (seconds("wait", wait)?, seconds("unused_for", unused_for)?);
        let cache = (build_cache || all_build_cache).then_some(CachePruneOptions {
            all: all_build_cache,
            keep_bytes: keep_storage,
            unused_for,
        });
        let keep = keep
            .iter()
            .flatten()
            .map(|digest| digest.parse())
            .collect::<treering::Result<_>>()
            .or_raise(py)?;
        let prune = PruneOptions { dry_run, untagged: !keep_untagged, keep, cache, wait };
        let options = TidyOptions { unused_names, lost_trees, prune };
        let report =
            Job::new("prune", progress).run(py, move |control, _| tidy(&store, &options, control))?;
        let TidyReport { pruned: report, untagged, forgotten, .. } = report;
        let text = |list: &[treering::Digest]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let fields = (
            text(&report.images),
            text(&report.blobs),
            text(&report.layers),
            report.leftovers,
            report.bytes,
            untagged,
            forgotten,
            report.records,
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

    /// The result of :func:`treering.info`, with what the filesystem of the store can do and what the store holds.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let store = self.open(py)?;
        let found = py.detach(|| treering::info::info(Some(&store))).or_raise(py)?;
        json_value(py, &found.to_json().into())
    }

    /// The space that the store takes on disk, per image and in all.
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
            usage.cache_records,
            usage.cache_bytes,
            usage.index_bytes,
        );
        make(py, "Usage", fields)
    }
}

#[pymethods]
impl Image {
    /// Make another image out of this one, without a directory: see ``Store.edit``, which takes the same keywords.
    #[pyo3(signature = (name = None, **options))]
    fn edit<'py>(
        &self,
        py: Python<'py>,
        name: Option<&Bound<'py, PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let store = Store::of(self.store.clone(), std::path::PathBuf::new());
        let digest = self.inner.digest().to_string();
        Py::new(py, store)?.bind(py).call_method("edit", (digest, name), options)
    }
}
