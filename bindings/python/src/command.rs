//! The command: `python -m treering`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use treering::registry::{HelperAnswer, HelperCall, HelperRunner};
use treering::{Error, ErrorKind};

use crate::arguments::fs_bytes;

/// Run the command with these arguments, its own name left out, and return its exit code. ``helper`` starts credential helpers: it is
/// called with the name of a program, the action and what the program reads, and returns whether it succeeded and what it wrote.
#[pyfunction]
#[pyo3(signature = (arguments, helper = None))]
pub fn _main(py: Python<'_>, arguments: Vec<Bound<'_, PyAny>>, helper: Option<Py<PyAny>>) -> PyResult<u8> {
    let mut all = vec![OsString::from("treering")];
    for argument in &arguments {
        all.push(OsString::from_vec(fs_bytes(argument)?));
    }
    treering_command::start_helpers_by(helper.map(runner));
    let code = py.detach(|| treering_command::run(all));
    // An ExitCode does not give its number, but can be compared.
    Ok((0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(1))
}

fn runner(helper: Py<PyAny>) -> HelperRunner {
    Arc::new(move |call: &HelperCall<'_>| {
        let answer: PyResult<(bool, Vec<u8>)> = Python::attach(|py| {
            helper.call1(py, (call.program, call.action, PyBytes::new(py, call.input)))?.extract(py)
        });
        let (success, output) = answer.map_err(|error| {
            let message = Python::attach(|py| error.value(py).to_string());
            Error::new(ErrorKind::Unauthorized, "start credential helper", message).with_path(call.program)
        })?;
        Ok(HelperAnswer { success, output })
    })
}
