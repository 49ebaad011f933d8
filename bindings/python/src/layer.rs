//! Layers as files: a tar of changes out, and in again.

use std::io::Read;
use std::sync::Arc;

use pyo3::prelude::*;
use treering::compress::{DecodeOptions, Decoder, Written};
use treering::error::Error;
use treering::fs::output::write_path;
use treering::image::{AppliedLayer, LayerApplyOptions, LayerSource, apply_layer, write_layer};
use treering::layer::{ApplyOptions, ListOptions};
use treering::tree::Ledger;

use crate::arguments::{self, PathArg};
use crate::diff::Diff;
use crate::errors::{OrRaise, to_python};
use crate::file::{Place, open};
use crate::handle::Store;
use crate::layer_values::{layer_entry, losses, written};
use crate::output::make;
use crate::run::Job;
use crate::snapshot;

/// Write the layer of a comparison: a tar of what was added and changed, with whiteouts for what was deleted.
///
/// ``file`` is a path, written atomically, or an object with ``write``.
#[pyfunction]
#[pyo3(signature = (diff, file, *, compression = "gzip", level = None, clamp_mtime = None, nanoseconds = false, threads = 0, progress = None))]
pub fn layer_create<'py>(
    py: Python<'py>,
    diff: &Diff,
    file: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = arguments::text)] compression: &str,
    #[pyo3(from_py_with = arguments::maybe_number)] level: Option<i32>,
    clamp_mtime: Option<&Bound<'py, PyAny>>,
    nanoseconds: bool,
    #[pyo3(from_py_with = arguments::number)] threads: usize,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    const OPERATION: &str = "write layer";
    let profile = arguments::profile(py, compression, level)?;
    let options = arguments::layer(clamp_mtime, nanoseconds)?;
    let place = Place::of(file, "write")?;
    let path = place.path();
    let job = Job { file: place.object(), ..Job::new(OPERATION, progress) };
    let data = diff.data.clone();
    let (made, entries) = job.run(py, move |control, mut proxy| {
        let source = LayerSource {
            changes: &data.changes,
            old: data.old.as_deref(),
            new: &data.new,
            files: data.content.files(),
        };
        match &path {
            None => write_layer(source, options, &profile, threads, &mut proxy, control),
            Some(path) => write_path(path, OPERATION, &control.cancel, |out| {
                write_layer(source, options, &profile, threads, out, control)
            }),
        }
    })?;
    written(py, &made, Some(entries))
}

/// Apply a layer to a directory, which is made when it is not there: empty, or the tree the layer was made for.
///
/// ``file`` is a path or an object with ``read``; gzip, zstd and plain tar are distinguished by their bytes. After an error
/// the directory is in no defined state. What the disk does not take of owners and the like goes into ``store``, when that
/// has a record of the directory; without a store, ``ledger`` is what an earlier call gave for the same directory. ``owner_xattr``
/// also writes owners into an attribute, as for ``Store.unpack``.
#[pyfunction]
#[pyo3(signature = (file, dir, *, store = None, ledger = None, owner_xattr = None, deny_loss = false, lenient = false, max_bytes = None, max_entries = None, max_ratio = None, threads = 0, progress = None))]
pub fn layer_apply<'py>(
    py: Python<'py>,
    file: &Bound<'py, PyAny>,
    dir: PathArg,
    store: Option<&Store>,
    ledger: Option<&snapshot::Ledger>,
    owner_xattr: Option<&str>,
    deny_loss: bool,
    lenient: bool,
    #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
    #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
    #[pyo3(from_py_with = arguments::maybe_number)] max_ratio: Option<u64>,
    #[pyo3(from_py_with = arguments::number)] threads: usize,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    if store.is_some() && ledger.is_some() {
        let message = "a store has the ledger of the tree: give one of the two";
        return Err(to_python(py, &Error::invalid("apply layer", message)));
    }
    let place = Place::of(file, "read")?;
    let path = place.path();
    let job = Job { file: place.object(), ..Job::new("apply layer", progress) };
    let apply = ApplyOptions {
        owner_xattr: owner_xattr.map(str::parse).transpose().or_raise(py)?,
        ..arguments::apply(threads, deny_loss, lenient, max_bytes, max_entries)
    };
    let options = LayerApplyOptions {
        apply,
        decode: DecodeOptions {
            limits: arguments::decode(max_bytes, max_ratio),
            ..DecodeOptions::with_threads(threads)
        },
        ledger: ledger.map(|ledger| Ledger::clone(&ledger.inner)),
    };
    let store = store.map(|store| store.open(py)).transpose()?;
    let AppliedLayer { layer: decoded, applied, .. } = job.run(py, move |control, proxy| {
        let input: Box<dyn Read + Send> = match &path {
            None => Box::new(proxy),
            Some(path) => Box::new(open(path, control)?),
        };
        apply_layer(store.as_ref(), input, &dir.0, &options, control)
    })?;
    let layer = Written {
        diff_id: decoded.diff_id.expect("asked for"),
        diff_size: decoded.diff_size,
        digest: decoded.digest.expect("asked for"),
        size: decoded.size,
    };
    let snapshot = snapshot::Snapshot::new(Arc::new(applied.snapshot));
    let ledger = snapshot::Ledger { inner: Arc::new(applied.ledger) };
    let layer = written(py, &layer, None)?;
    make(py, "Applied", (layer, snapshot, ledger, losses(py, &applied.losses)?))
}

/// List what is in a layer, without putting it anywhere: a path, or an object with ``read``; plain, gzip or zstd.
///
/// The entries are in the order of the layer, whiteouts as they stand there. The caps are what the layer may ask for, and
/// ``max_memory`` what the list may take; beyond them is a ``LimitError``.
#[pyfunction]
#[pyo3(signature = (file, *, max_bytes = None, max_entries = None, max_ratio = None, max_memory = None, progress = None))]
pub fn layer_list<'py>(
    py: Python<'py>,
    file: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = arguments::maybe_number)] max_bytes: Option<u64>,
    #[pyo3(from_py_with = arguments::maybe_number)] max_entries: Option<u64>,
    #[pyo3(from_py_with = arguments::maybe_number)] max_ratio: Option<u64>,
    #[pyo3(from_py_with = arguments::maybe_number)] max_memory: Option<u64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let place = Place::of(file, "read")?;
    let path = place.path();
    let job = Job { file: place.object(), ..Job::new("list layer", progress) };
    let mut options = ListOptions::default();
    options.limits.max_bytes = max_bytes.unwrap_or(options.limits.max_bytes);
    options.limits.max_entries = max_entries.unwrap_or(options.limits.max_entries);
    options.max_memory = max_memory.unwrap_or(options.max_memory);
    let decode =
        DecodeOptions { limits: arguments::decode(max_bytes, max_ratio), ..DecodeOptions::default() };
    let entries = job.run(py, move |control, proxy| {
        let input: Box<dyn Read + Send> = match &path {
            None => Box::new(proxy),
            Some(path) => Box::new(open(path, control)?),
        };
        treering::layer::list(Decoder::new(input, decode, control.clone())?, &options, control)
    })?;
    entries.iter().map(|entry| layer_entry(py, entry)).collect()
}
