//! Events of an operation as Python objects.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use treering::event::{Event, OutputStream};

use crate::output::{location, object};

/// Returns an `Event` of `treering/_types.py`.
pub fn to_python<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
    let fields = PyDict::new(py);
    let kind = match event {
        Event::Started { step, stage, place, text, location: at } => {
            fields.set_item("step", step)?;
            fields.set_item("stage", stage)?;
            fields.set_item("place", place.0)?;
            fields.set_item("places", place.1)?;
            fields.set_item("text", text)?;
            fields.set_item("location", at.as_ref().map(|at| location(py, at)).transpose()?)?;
            "started"
        }
        Event::Cached { step } => {
            fields.set_item("step", step)?;
            "cached"
        }
        Event::Output { step, stream, bytes } => {
            fields.set_item("step", step)?;
            let stream = match stream {
                OutputStream::Stderr => "stderr",
                _ => "stdout",
            };
            fields.set_item("stream", stream)?;
            fields.set_item("output", PyBytes::new(py, bytes))?;
            "output"
        }
        Event::OutputDropped { step, bytes } => {
            fields.set_item("step", step)?;
            fields.set_item("size", bytes)?;
            "output-dropped"
        }
        Event::Finished { step, took, size } => {
            fields.set_item("step", step)?;
            fields.set_item("seconds", took.as_secs_f64())?;
            fields.set_item("size", size)?;
            "finished"
        }
        Event::Transfer { step, digest, done, total } => {
            fields.set_item("step", step)?;
            fields.set_item("digest", digest)?;
            fields.set_item("size", done)?;
            fields.set_item("total", total)?;
            "transfer"
        }
        Event::Warning { rule, message, location: at } => {
            fields.set_item("rule", rule)?;
            fields.set_item("text", message)?;
            fields.set_item("location", at.as_ref().map(|at| location(py, at)).transpose()?)?;
            "warning"
        }
        Event::Failed { step, message } => {
            fields.set_item("step", step)?;
            fields.set_item("text", message)?;
            "failed"
        }
        // The library is of this very version; the enum may grow for others.
        _ => "unknown",
    };
    object(py, &CLASS, "treering._types", "Event")?.call((kind,), Some(&fields))
}
