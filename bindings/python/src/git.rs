//! git for builds, which a function of the caller runs. Nothing here starts a process.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::channel;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use treering::build::{Git, GitAnswer, GitCall};
use treering::error::Error;

use crate::file::Proxy;
use crate::message::{Message, Wanted};

impl Wanted {
    /// Calls the function.
    pub fn call(&self, py: Python<'_>) -> PyResult<GitAnswer> {
        let environment = PyDict::new(py);
        for (name, value) in &self.environment {
            environment.set_item(name, value)?;
        }
        let arguments: Vec<&std::ffi::OsStr> = self.arguments.iter().map(OsString::as_os_str).collect();
        answer(&self.function.bind(py).call1((self.directory.as_os_str(), arguments, environment))?)
    }
}

/// Reads the answer of the function: in the shape of `subprocess.CompletedProcess`.
fn answer(done: &Bound<'_, PyAny>) -> PyResult<GitAnswer> {
    let stream = |name: &str| {
        let bytes = done.getattr(name)?;
        if bytes.is_none() {
            return Ok(Vec::new());
        }
        let bytes = bytes.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!("the function that runs git gives {name} as bytes or None"))
        })?;
        PyResult::Ok(bytes.as_bytes().to_vec())
    };
    let success = done.getattr("returncode")?.extract::<i32>()? == 0;
    Ok(GitAnswer { success, output: stream("stdout")?, errors: stream("stderr")? })
}

/// Returns the function for a build, called on the thread that called the build.
pub fn at_work(function: Py<PyAny>, proxy: Proxy) -> Git {
    let function = Arc::new(function);
    Git(Arc::new(move |call: &GitCall<'_>| {
        let (reply, answer) = channel();
        let gone = || Error::invalid("run git", "the operation is over");
        let wanted = Wanted {
            function: function.clone(),
            directory: call.directory.to_path_buf(),
            arguments: call.arguments.to_vec(),
            environment: call.environment.to_vec(),
            reply,
        };
        proxy.0.send(Message::Git(wanted)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }))
}
