//! The library's errors as Python exceptions. The classes are written in Python, in `treering/_errors.py`.

use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use treering::{Error, ErrorKind, Surface};

use crate::output::{fs_text, location, object};

static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Returns the Python exception for an error of the library. What the system said is its `__cause__`.
pub fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let system = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .and_then(std::io::Error::raw_os_error);
    let made = (|| {
        let make = object(py, &MAKE, "treering._errors", "_make")?;
        let arguments = PyDict::new(py);
        arguments.set_item("code", error.kind().code())?;
        arguments.set_item("kind", error.kind().name())?;
        arguments.set_item("operation", error.operation())?;
        arguments.set_item("path", error.path().map(|path| fs_text(py, path)).transpose()?)?;
        arguments.set_item("hint", error.hint().map(|hint| hint.words(Surface::Python)))?;
        arguments.set_item("exit_code", error.exit_code())?;
        arguments.set_item("location", error.location().map(|at| location(py, at)).transpose()?)?;
        arguments.set_item("system", system)?;
        make.call((error.message(),), Some(&arguments))
    })();
    let exception = match made {
        Ok(object) => PyErr::from_value(object),
        Err(error) => return error,
    };
    if let Some(number) = system {
        let text = error.message().to_string();
        exception.set_cause(py, Some(PyOSError::new_err((number, text))));
    }
    exception
}

/// Returns the exception for what a function of the caller raised: a `CallbackError` caused by it. What is no error but a
/// wish to stop (KeyboardInterrupt, SystemExit) stays what it is.
pub fn of_callback(py: Python<'_>, operation: &'static str, raised: PyErr) -> PyErr {
    if !raised.is_instance_of::<PyException>(py) {
        return raised;
    }
    let message = match raised.value(py).get_type().name() {
        Ok(name) => format!("the caller's function raised {name}: {}", raised.value(py)),
        Err(_) => "the caller's function raised an exception".to_string(),
    };
    let exception = to_python(py, &Error::new(ErrorKind::Callback, operation, message));
    exception.set_cause(py, Some(raised));
    exception
}

/// Short for the conversion of a result.
pub trait OrRaise<T> {
    /// Returns the value, or the exception for the error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for treering::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_python(py, &error))
    }
}
