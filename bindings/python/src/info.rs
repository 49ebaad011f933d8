//! What this build is and what this machine offers.

use pyo3::prelude::*;
use serde_json::json;
use treering::info as machine;
use treering::store::default_root;

use crate::errors::OrRaise;
use crate::output::{fs_text, json_value};

/// What this build is and what this machine can do, as a dict: ``version``, ``platform``, ``kernel``, ``uid``,
/// ``privileged``, ``processors``, ``threads`` (the default of operations), ``default_store`` and ``abilities``, each with
/// ``works`` and ``remark``. :meth:`Store.info` says the same with what holds for one store.
#[pyfunction]
pub fn info(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    use std::os::unix::ffi::OsStrExt;
    let root = default_root().ok();
    let mut found = py.detach(|| machine::info(None)).or_raise(py)?;
    let abilities = py.detach(|| machine::abilities(root.as_deref()));
    found.insert("abilities".into(), machine::abilities_json(&abilities).into());
    let threads = found["processors"].clone();
    found.insert("threads".into(), threads);
    found.insert("privileged".into(), json!(rustix::process::geteuid().is_root()));
    let dict = json_value(py, &found.into())?;
    let root = root.map(|path| fs_text(py, path.as_os_str().as_bytes())).transpose()?;
    dict.set_item("default_store", root)?;
    Ok(dict)
}
