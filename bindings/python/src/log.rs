//! Events of operations, for Python's `logging`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::output::object;

/// `logging.WARNING`.
const WARNING: u8 = 30;

/// The package's logger during one operation.
pub struct Log<'py> {
    /// `treering._log._receive`, where warnings at least have a listener.
    receive: Option<Bound<'py, PyAny>>,
    operation: &'static str,
}

impl<'py> Log<'py> {
    /// Asks the logger whether it is enabled: one that is switched off costs no more than the question.
    pub fn new(py: Python<'py>, operation: &'static str) -> PyResult<Self> {
        static WANTS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static RECEIVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let wanted = object(py, &WANTS, "treering._log", "_wants")?.call1((WARNING,))?.is_truthy()?;
        let receive = wanted.then(|| object(py, &RECEIVE, "treering._log", "_receive")).transpose()?;
        Ok(Log { receive, operation })
    }

    /// Returns whether events are to be received.
    pub fn wanted(&self) -> bool {
        self.receive.is_some()
    }

    /// Hands an event to the logger.
    pub fn receive(&self, event: &Bound<'py, PyAny>) -> PyResult<()> {
        match &self.receive {
            Some(receive) => receive.call1((self.operation, event)).map(drop),
            None => Ok(()),
        }
    }
}
