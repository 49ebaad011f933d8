//! The command: `python -m treering`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use pyo3::prelude::*;

use crate::arguments::fs_bytes;

/// Run the command with these arguments, its own name left out, and return its exit code.
#[pyfunction]
pub fn _main(py: Python<'_>, arguments: Vec<Bound<'_, PyAny>>) -> PyResult<u8> {
    let mut all = vec![OsString::from("treering")];
    for argument in &arguments {
        all.push(OsString::from_vec(fs_bytes(argument)?));
    }
    let code = py.detach(|| treering_command::run(all));
    // An ExitCode does not tell its number, but can be compared.
    Ok((0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(1))
}
