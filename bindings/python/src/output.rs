//! From the library's values to Python's.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};
use serde_json::Value;
use treering::error::Location;

/// Returns an attribute of a module, looked up once.
pub fn object<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    module: &str,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let found = cell.get_or_try_init(py, || PyResult::Ok(py.import(module)?.getattr(name)?.unbind()))?;
    Ok(found.bind(py).clone())
}

/// Bytes of a path as `os.fsdecode` gives them: what is not UTF-8 becomes surrogates, and comes back unchanged.
pub fn fs_text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    Ok(OsStr::from_bytes(bytes).into_pyobject(py)?)
}

/// Returns an instance of one of the dataclasses in `treering/_types.py`, from its fields in order.
pub fn make<'py>(
    py: Python<'py>,
    class: &str,
    fields: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
) -> PyResult<Bound<'py, PyAny>> {
    static TYPES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let types = TYPES.get_or_try_init(py, || PyResult::Ok(py.import("treering._types")?.unbind()))?;
    let fields = fields.into_pyobject(py).map_err(Into::into)?;
    types.bind(py).getattr(class)?.call1(fields)
}

/// Returns a place in a text.
pub fn location<'py>(py: Python<'py>, at: &Location) -> PyResult<Bound<'py, PyAny>> {
    make(py, "Location", (fs_text(py, &at.file)?, at.line, at.column, &*at.text))
}

/// Returns JSON text as Python objects.
pub fn json<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    object(py, &LOADS, "json", "loads")?.call1((text,))
}

/// Returns a JSON value as Python objects.
pub fn json_value<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    json(py, value.to_string().as_bytes())
}
