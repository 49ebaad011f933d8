//! What this build is and what this machine offers.

use pyo3::prelude::*;
use treering::store::default_root;

use crate::errors::OrRaise;
use crate::output::{fs_text, json_value};

/// What this build is and what this machine can do, as a dict: ``version``, ``platform``, ``kernel``, ``uid``,
/// ``privileged``, ``processors``, ``threads`` (the default of operations), ``default_store`` and ``abilities``, each with
/// ``works`` and ``remark``. :meth:`Store.info` adds what holds for one store.
#[pyfunction]
pub fn info(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    use std::os::unix::ffi::OsStrExt;
    let found = py.detach(|| treering::image::info(None)).or_raise(py)?;
    let threads = found["processors"].as_u64();
    let dict = json_value(py, &found.into())?;
    dict.set_item("threads", threads)?;
    let root = default_root().ok();
    let root = root.map(|path| fs_text(py, path.as_os_str().as_bytes())).transpose()?;
    dict.set_item("default_store", root)?;
    dict.set_item("privileged", rustix::process::geteuid().is_root())?;
    Ok(dict)
}
