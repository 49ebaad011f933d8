//! A description of this build and machine.

use pyo3::prelude::*;
use serde_json::json;
use treering::info as machine;
use treering::store::default_root;

use crate::output::{fs_text, json_value};

/// Describe this build and what this machine can do, as a dict: ``version``, ``platform``, ``kernel``, ``uid``,
/// ``privileged``, ``processors``, ``threads`` (the default of operations), ``default_store`` and ``abilities``, each with
/// ``works`` and ``remark``. :meth:`Store.info` says the same with what holds for one store.
#[pyfunction]
pub fn info(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    use std::os::unix::ffi::OsStrExt;
    let root = default_root().ok();
    let info = py.detach(|| machine::info_at(root.as_deref()));
    let exact = info.abilities.iter().any(|one| one.name == "set owners" && one.works);
    let mut found = info.to_json();
    let threads = found["processors"].clone();
    found.insert("threads".into(), threads);
    found.insert("privileged".into(), json!(exact));
    let dict = json_value(py, &found.into())?;
    let root = root.map(|path| fs_text(py, path.as_os_str().as_bytes())).transpose()?;
    dict.set_item("default_store", root)?;
    Ok(dict)
}
