//! Saving, loading, importing and exporting, from and to paths and file objects.

use std::io::{Read, Write};

use pyo3::prelude::*;
use pyo3::types::PyString;
use treering::Control;
use treering::archive::{self, ExportOptions, ExportSource, Format, ImportOptions, LoadOptions, SaveOptions};
use treering::compress::DecodeLimits;
use treering::fs::output::write_path;
use treering::image::{self, Committed, Platform};
use treering::layer::read::ReadLimits;
use treering::store::{Reference, Store};

use crate::arguments::PathArg;
use crate::errors::OrRaise;
use crate::file::{Place, Proxy, open};
use crate::image::{Image, reopen};
use crate::image_argument::{ImageArg, ImageArgs};
use crate::output::make;
use crate::run::Job;

/// Runs an operation that writes to a path or a file object.
fn writing(
    py: Python<'_>,
    operation: &'static str,
    file: &Bound<'_, PyAny>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&mut (dyn Write + Send), &Control) -> treering::Result<()> + Send + 'static,
) -> PyResult<()> {
    let place = Place::of(file, "write")?;
    let path = place.path();
    let job = Job { file: place.object(), ..Job::new(operation, progress) };
    job.run(py, move |control, mut proxy| match &path {
        None => work(&mut proxy, control),
        Some(path) => write_path(path, operation, &control.cancel, |out| work(out, control)),
    })
}

/// Returns an operation that reads from a path or a file object.
fn reading<T: Send + 'static>(
    py: Python<'_>,
    operation: &'static str,
    file: &Bound<'_, PyAny>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(Box<dyn Read + Send>, &Control) -> treering::Result<T> + Send + 'static,
) -> PyResult<T> {
    let place = Place::of(file, "read")?;
    let path = place.path();
    let job = Job { file: place.object(), ..Job::new(operation, progress) };
    job.run(py, move |control, proxy: Proxy| match &path {
        None => work(Box::new(proxy), control),
        Some(path) => work(Box::new(open(path, control)?), control),
    })
}

/// See `Store.save`.
pub fn save(
    py: Python<'_>,
    store: &Store,
    images: ImageArgs,
    file: &Bound<'_, PyAny>,
    format: &str,
    platform: Option<Platform>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let format: Format = format.parse().or_raise(py)?;
    let images: Vec<String> = py.detach(|| images.0.iter().map(|image| image.named(store)).collect());
    let store = store.clone();
    writing(py, "save", file, progress, move |out, control| {
        archive::save(&store, &images, SaveOptions { format, platform }, out, control)
    })
}

/// Caps on an archive; `None` leaves one at its default.
pub fn caps(
    limits: &mut ReadLimits,
    decode: &mut DecodeLimits,
    max_bytes: Option<u64>,
    max_entries: Option<u64>,
) {
    limits.max_entries = max_entries.unwrap_or(limits.max_entries);
    if let Some(max_bytes) = max_bytes {
        (limits.max_bytes, decode.max_output) = (max_bytes, max_bytes);
    }
}

/// See `Store.load`.
pub fn load<'py>(
    py: Python<'py>,
    store: &Store,
    file: &Bound<'py, PyAny>,
    names: &str,
    max_bytes: Option<u64>,
    max_entries: Option<u64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut options = LoadOptions { names: names.parse().or_raise(py)?, ..LoadOptions::default() };
    caps(&mut options.limits, &mut options.decode, max_bytes, max_entries);
    let store = store.clone();
    let loaded = reading(py, "load archive", file, progress, move |input, control| {
        archive::load(&store, input, &options, control)
    })?;
    let one = |one: &archive::Loaded| {
        let name = one.name.as_ref().map(ToString::to_string);
        make(py, "Loaded", (name, one.manifest.to_string(), one.image_id.to_string()))
    };
    loaded.iter().map(one).collect()
}

/// See `Store.import_`.
pub fn import(
    py: Python<'_>,
    store: &Store,
    file: &Bound<'_, PyAny>,
    name: Option<Reference>,
    options: ImportOptions,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<(Committed, image::Image)> {
    let store = store.clone();
    reading(py, "import", file, progress, move |input, control| {
        let committed = archive::import(&store, input, name.as_ref(), &options, control)?;
        let made = reopen(&store, name.as_ref().map(ToString::to_string).as_deref(), &committed.manifest)?;
        Ok((committed, made))
    })
}

/// See `Store.export`.
pub fn export(
    py: Python<'_>,
    store: &Store,
    source: &Bound<'_, PyAny>,
    file: &Bound<'_, PyAny>,
    options: ExportOptions,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let store = store.clone();
    if source.is_instance_of::<PyString>() || source.is_instance_of::<Image>() {
        let image: ImageArg = source.extract()?;
        return writing(py, "export", file, progress, move |out, control| {
            archive::export(&store, ExportSource::Image(&image.0), &options, out, control)
        });
    }
    let tree: PathArg = source.extract()?;
    writing(py, "export", file, progress, move |out, control| {
        archive::export(&store, ExportSource::Tree(&tree.0), &options, out, control)
    })
}
