//! The extension module of the Python package `treering`: the library's operations as Python classes and functions.
//!
//! Nothing is decided here. Arguments become options, an operation runs on a thread of its own with the interpreter let
//! go (see [`run`]), and what comes back becomes Python objects. Plain results are dataclasses written in Python.

#![deny(missing_docs)]
// The library reaches everything by directory handles; these are the paths a user gives.
#![allow(clippy::disallowed_methods)]
// Keyword arguments: Python callers name each of them.
#![allow(clippy::too_many_arguments)]

mod archive;
mod arguments;
mod command;
mod container;
mod diff;
mod errors;
mod event;
mod file;
mod git;
mod handle;
mod image;
mod image_argument;
mod info;
mod inside;
mod layer;
mod layer_values;
mod log;
mod message;
mod output;
mod registry;
mod run;
mod snapshot;
mod store;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _treering {
    #[pymodule_export]
    use crate::command::_main;
    #[pymodule_export]
    use crate::container::{_Container, _Held};
    #[pymodule_export]
    use crate::diff::{Change, ChangeIterator, Diff, diff, diff_overlay};
    #[pymodule_export]
    use crate::handle::Store;
    #[pymodule_export]
    use crate::image::Image;
    #[pymodule_export]
    use crate::info::info;
    #[pymodule_export]
    use crate::inside::{FileReader, Files, LayerFiles};
    #[pymodule_export]
    use crate::layer::{layer_apply, layer_create, layer_list};
    #[pymodule_export]
    use crate::registry::{Registries, copy, login, logout, read_manifest, tags};
    #[pymodule_export]
    use crate::run::{_events, _fail, _panic};
    #[pymodule_export]
    use crate::snapshot::{Entry, EntryIterator, Ledger, Snapshot, scan};

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("version", env!("CARGO_PKG_VERSION"))
    }
}
