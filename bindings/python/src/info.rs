//! What this build is and what this machine offers.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use treering::fs::probe;
use treering::image::Platform;
use treering::store::default_root;
use treering::tree::scan::default_threads;

use crate::output::fs_text;

/// What this build is and what this machine offers, as a dict.
#[pyfunction]
pub fn info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    use std::os::unix::ffi::OsStrExt;
    let dict = PyDict::new(py);
    dict.set_item("version", env!("CARGO_PKG_VERSION"))?;
    dict.set_item("platform", Platform::host().to_string())?;
    dict.set_item("threads", default_threads())?;
    let root = default_root().ok();
    let abilities = PyDict::new(py);
    for one in py.detach(|| probe::all(root.as_deref())) {
        let ability = PyDict::new(py);
        ability.set_item("works", one.works)?;
        ability.set_item("remark", one.remark)?;
        abilities.set_item(one.name.replace(' ', "_"), ability)?;
    }
    dict.set_item("abilities", abilities)?;
    let root = root.map(|path| fs_text(py, path.as_os_str().as_bytes())).transpose()?;
    dict.set_item("default_store", root)?;
    let uid = rustix::process::geteuid().as_raw();
    dict.set_item("uid", uid)?;
    dict.set_item("privileged", uid == 0)?;
    Ok(dict)
}
