//! Values of layers as dataclasses: what is in one, what it weighs, what was lost.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use treering::compress::Written;
use treering::layer::read::TarEntry;
use treering::layer::{EntryKind, Loss};

use crate::output::{fs_text, make};

/// Returns both digests and sizes of a layer, as a dataclass.
pub fn written<'py>(py: Python<'py>, layer: &Written, entries: Option<u64>) -> PyResult<Bound<'py, PyAny>> {
    let fields = (layer.digest.to_string(), layer.size, layer.diff_id.to_string(), layer.diff_size, entries);
    make(py, "WrittenLayer", fields)
}

/// Returns the losses, as dataclasses.
pub fn losses<'py>(py: Python<'py>, list: &[Loss]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let one = |loss: &Loss| {
        make(py, "Loss", (fs_text(py, &loss.path)?, fs_text(py, &loss.attribute)?, loss.reason))
    };
    list.iter().map(one).collect()
}

/// Returns one entry of a layer, as a dataclass.
pub fn layer_entry<'py>(py: Python<'py>, entry: &TarEntry) -> PyResult<Bound<'py, PyAny>> {
    let kind = match entry.kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symlink",
        EntryKind::Hardlink => "hardlink",
        EntryKind::CharDevice => "character device",
        EntryKind::BlockDevice => "block device",
        EntryKind::Fifo => "fifo",
    };
    let link = (!entry.link.is_empty()).then(|| fs_text(py, &entry.link)).transpose()?;
    let xattrs = PyDict::new(py);
    for (name, value) in &entry.xattrs {
        xattrs.set_item(fs_text(py, name)?, PyBytes::new(py, value))?;
    }
    let time = i128::from(entry.mtime.0) * 1_000_000_000 + i128::from(entry.mtime.1);
    let device = entry.kind.is_device().then_some(entry.rdev);
    let path = fs_text(py, &entry.path)?;
    let fields = (path, kind, entry.mode, entry.uid, entry.gid, entry.size, time, link, device, xattrs);
    make(py, "LayerEntry", fields)
}
