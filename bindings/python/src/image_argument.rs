//! Images as arguments: by name, or as `Image`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use treering::image::Base;
use treering::store::Store;

use crate::arguments::text;
use crate::errors::OrRaise;
use crate::image::Image;

/// The name of an image, or an `Image`, which stands for its digest.
pub struct ImageArg(pub String, Option<String>);

impl ImageArg {
    /// Returns the name an `Image` was opened by, if it still has it; else what it stands for.
    pub fn named(&self, store: &Store) -> String {
        let digest = |text: &str| Some(store.resolve(text).ok()?.descriptor.digest().to_string());
        match &self.1 {
            Some(name) if digest(name).as_ref() == Some(&self.0) => name.clone(),
            _ => self.0.clone(),
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for ImageArg {
    type Error = PyErr;

    fn extract(argument: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(image) = argument.cast::<Image>() {
            let image = &image.get().inner;
            return Ok(ImageArg(image.digest().to_string(), image.name().map(ToString::to_string)));
        }
        if argument.is_instance_of::<PyString>() {
            return Ok(ImageArg(text(&argument)?.to_string(), None));
        }
        let given = argument.get_type().name()?;
        Err(PyTypeError::new_err(format!("expected the name of an image or an Image, not {given}")))
    }
}

/// An image, or several.
pub struct ImageArgs(pub Vec<ImageArg>);

impl<'py> FromPyObject<'_, 'py> for ImageArgs {
    type Error = PyErr;

    fn extract(argument: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if argument.is_instance_of::<PyString>() || argument.cast::<Image>().is_ok() {
            return Ok(ImageArgs(vec![argument.extract()?]));
        }
        let list = argument.try_iter().map_err(|_| {
            let given = argument.get_type().name().map_or_else(|_| String::new(), |name| name.to_string());
            PyTypeError::new_err(format!("expected images by name or as Image, not {given}"))
        })?;
        list.map(|one| one?.extract()).collect::<PyResult<_>>().map(ImageArgs)
    }
}

/// Reads `base=`: nothing or `"auto"`, `"scratch"`, or an image.
pub fn base(py: Python<'_>, argument: Option<ImageArg>) -> PyResult<Base> {
    argument.map_or(Ok(Base::Auto), |image| image.0.parse().or_raise(py))
}
