//! The handle of a store. What can be done with it is in `store`.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use pyo3::prelude::*;
use treering::error::Error;
use treering::store;

use crate::errors::to_python;

/// A store of images: an OCI image layout on disk, and what is known about the trees made from it.
///
/// Without a path it is the user's: ``$TREERING_ROOT``, else ``$XDG_DATA_HOME/treering``, else
/// ``~/.local/share/treering``. What is missing is created. Any number of threads and processes may use one store at
/// once. In a ``with`` statement the store is closed at the end. The caps are for what an image in it may ask for: documents
/// (indexes, manifests, configurations), layers, and blobs that are written; beyond them is a ``LimitError``. With
/// ``no_layer_index`` no indexes of layers are made, which take at most 1% of their blobs and have files read without the
/// layer before them; those that are there are used.
#[pyclass(module = "treering", frozen)]
pub struct Store {
    /// Nothing once it is closed. The lock is held for the time it takes to clone.
    pub(crate) inner: RwLock<Option<store::Store>>,
    pub(crate) path: PathBuf,
}

impl Store {
    /// Returns a store that is open already.
    pub fn of(inner: store::Store, path: PathBuf) -> Store {
        Store { inner: RwLock::new(Some(inner)), path }
    }

    /// Returns the store, unless it is closed.
    pub fn open(&self, py: Python<'_>) -> PyResult<store::Store> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| to_python(py, &Error::invalid("use store", "the store is closed")))
    }
}
