//! From Python's arguments to the library's options.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use treering::layer::ApplyOptions;
use treering::layer::Strictness;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyInt, PyString};
use treering::compress::{Compression, DecodeLimits, Profile};
use treering::diff::CompareMode;
use treering::error::Error;
use treering::image::{Base, DiffOptions, Platform};
use treering::layer::{LayerOptions, MtimePrecision};
use treering::store::Store;
use treering::tree::{OwnerPolicy, OwnerSource};

use crate::errors::{OrRaise, to_python};
use crate::image::Image;
use crate::output::object;

/// A path: `str`, `bytes` or anything with `__fspath__`.
pub struct PathArg(pub PathBuf);

/// The exception for an argument that is not usable as given.
fn bad(py: Python<'_>, message: impl Into<String>) -> PyErr {
    to_python(py, &Error::invalid("read argument", message))
}

/// The bytes of a path, as `os.fsencode` gives them.
pub fn fs_bytes(argument: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    static ENCODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = argument.py();
    let bytes =
        object(py, &ENCODE, "os", "fsencode")?.call1((argument,)).map_err(|error| match error
            .is_instance_of::<PyUnicodeEncodeError>(
            py,
        ) {
            true => bad(py, "a path has characters that stand for no bytes"),
            false => error,
        })?;
    let bytes = bytes.cast_into::<PyBytes>()?.as_bytes().to_vec();
    if bytes.contains(&0) {
        return Err(bad(py, "a path cannot have a null byte in it"));
    }
    Ok(bytes)
}

/// Text, in an argument that is `from_py_with` this. Bytes that are not UTF-8 have no place in names and words.
pub fn text<'a>(argument: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let text = argument.cast::<PyString>()?;
    text.to_str().map_err(|_| bad(argument.py(), "text must be UTF-8, and this has surrogates in it"))
}

/// [`text`], or None.
pub fn maybe_text<'a>(argument: &'a Bound<'_, PyAny>) -> PyResult<Option<&'a str>> {
    if argument.is_none() { Ok(None) } else { text(argument).map(Some) }
}

/// A list of texts, or None.
pub fn texts(argument: &Bound<'_, PyAny>) -> PyResult<Option<Vec<String>>> {
    if argument.is_none() {
        return Ok(None);
    }
    let list: Vec<Bound<'_, PyAny>> = argument.extract()?;
    list.iter().map(|one| text(one).map(String::from)).collect::<PyResult<_>>().map(Some)
}

/// A number, in an argument that is `from_py_with` this.
pub fn number<'a, 'py, T: FromPyObject<'a, 'py, Error = PyErr>>(
    argument: &'a Bound<'py, PyAny>,
) -> PyResult<T> {
    let py = argument.py();
    argument.extract().map_err(|error: PyErr| match error.is_instance_of::<PyOverflowError>(py) {
        true => bad(py, format!("{argument} is out of range")),
        false => error,
    })
}

/// [`number`], or None.
pub fn maybe_number<'a, 'py, T: FromPyObject<'a, 'py, Error = PyErr>>(
    argument: &'a Bound<'py, PyAny>,
) -> PyResult<Option<T>> {
    if argument.is_none() { Ok(None) } else { number(argument).map(Some) }
}

impl<'py> FromPyObject<'_, 'py> for PathArg {
    type Error = PyErr;

    fn extract(argument: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let bytes = fs_bytes(&argument)?;
        if bytes.is_empty() {
            return Err(bad(argument.py(), "a path is empty"));
        }
        Ok(PathArg(PathBuf::from(std::ffi::OsString::from_vec(bytes))))
    }
}

/// The name of an image, or an `Image`, which stands for its digest.
pub struct ImageArg(pub String, Option<String>);

impl ImageArg {
    /// The name an `Image` was opened by, if it still has it; else what it stands for.
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

/// `base=`: nothing or `"auto"`, `"scratch"`, or an image.
pub fn base(py: Python<'_>, argument: Option<ImageArg>) -> PyResult<Base> {
    argument.map_or(Ok(Base::Auto), |image| image.0.parse().or_raise(py))
}

/// `owner=`: `"root"`, `"keep"`, `"UID:GID"`, `"map:IMAGE:DISK:COUNT,..."`, or a pair of numbers.
pub fn owner(argument: Option<&Bound<'_, PyAny>>) -> PyResult<Option<OwnerPolicy>> {
    let Some(argument) = argument else { return Ok(None) };
    let py = argument.py();
    if let Ok((uid, gid)) = argument.extract::<(Bound<'_, PyInt>, Bound<'_, PyInt>)>() {
        let (uid, gid): (u32, u32) = (number(&uid)?, number(&gid)?);
        return format!("{uid}:{gid}").parse().map(Some).or_raise(py);
    }
    if argument.is_instance_of::<PyString>() {
        return text(argument)?.parse().map(Some).or_raise(py);
    }
    Err(PyTypeError::new_err("owner is a str or a pair of numbers (uid, gid)"))
}

/// `owner_from=`: `"none"`, `"rootlesscontainers"`, `"override-stat"` or `"fakeroot:FILE"`.
pub fn owner_from(py: Python<'_>, argument: Option<PathArg>) -> PyResult<Option<OwnerSource>> {
    argument.map(|source| py.detach(|| OwnerSource::parse(&source.0)).or_raise(py)).transpose()
}

/// `compression=` and `level=`.
pub fn profile(py: Python<'_>, compression: &str, level: Option<i32>) -> PyResult<Profile> {
    let compression: Compression = compression.parse().or_raise(py)?;
    Profile::new(compression, level).or_raise(py)
}

/// `platform=`.
pub fn platform(py: Python<'_>, argument: Option<&str>) -> PyResult<Option<Platform>> {
    argument.map(|text| text.parse().or_raise(py)).transpose()
}

/// `compare=`.
pub fn compare(py: Python<'_>, argument: &str) -> PyResult<CompareMode> {
    argument.parse().or_raise(py)
}

/// `created=` and the like: seconds since 1970, or a `datetime`.
pub fn seconds(argument: Option<&Bound<'_, PyAny>>) -> PyResult<Option<i64>> {
    let Some(argument) = argument else { return Ok(None) };
    let py = argument.py();
    let far = || bad(py, "a time is too far away");
    let given = match argument.hasattr("timestamp")? {
        // A datetime before the year 1 of another time zone, say.
        true => argument.call_method0("timestamp").map_err(|_| far())?,
        false => argument.clone(),
    };
    if let Ok(seconds) = given.extract::<i64>() {
        return Ok(Some(seconds));
    }
    match given.extract::<f64>() {
        Ok(seconds) if seconds >= i64::MIN as f64 && seconds < i64::MAX as f64 => {
            Ok(Some(seconds.floor() as i64))
        }
        Err(error) if error.is_instance_of::<PyTypeError>(py) => {
            Err(PyTypeError::new_err("a time is a number of seconds since 1970 or a datetime"))
        }
        _ => Err(far()),
    }
}

/// `clamp_mtime=` and `nanoseconds=`.
pub fn layer(clamp_mtime: Option<&Bound<'_, PyAny>>, nanoseconds: bool) -> PyResult<LayerOptions> {
    Ok(LayerOptions {
        precision: MtimePrecision::nanoseconds(nanoseconds),
        clamp_mtime: seconds(clamp_mtime)?,
    })
}

/// Pairs of a mapping from text to text, in its order.
pub fn pairs(argument: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<(String, String)>> {
    let Some(argument) = argument else { return Ok(Vec::new()) };
    let dict = argument.py().get_type::<PyDict>().call1((argument,))?.cast_into::<PyDict>()?;
    dict.iter().map(|(key, value)| Ok((text(&key)?.to_string(), text(&value)?.to_string()))).collect()
}

/// What all comparisons take.
pub fn diff_options(
    py: Python<'_>,
    owner: Option<&Bound<'_, PyAny>>,
    owner_from: Option<PathArg>,
    compare: &str,
    exact_times: bool,
    platform: Option<&str>,
    one_file_system: bool,
    threads: usize,
) -> PyResult<DiffOptions> {
    Ok(DiffOptions {
        owner: self::owner(owner)?,
        owner_from: self::owner_from(py, owner_from)?,
        compare: self::compare(py, compare)?,
        exact_times,
        clamp_mtime: None,
        platform: self::platform(py, platform)?,
        one_file_system,
        threads,
    })
}

/// How far decompression may go; `None` leaves a cap at its default.
pub fn decode(max_bytes: Option<u64>, max_ratio: Option<u64>) -> DecodeLimits {
    let default = DecodeLimits::default();
    DecodeLimits {
        ratio: max_ratio.unwrap_or(default.ratio),
        max_output: default.max_output.max(max_bytes.unwrap_or(0)),
        ..default
    }
}

/// How layers are put into a directory; `None` leaves a cap at its default.
pub fn apply(
    threads: usize,
    deny_loss: bool,
    lenient: bool,
    max_bytes: Option<u64>,
    max_entries: Option<u64>,
) -> ApplyOptions {
    let mut options = ApplyOptions { threads, deny_loss, ..ApplyOptions::default() };
    if lenient {
        options.strictness = Strictness::Lenient;
    }
    options.limits.max_bytes = max_bytes.unwrap_or(options.limits.max_bytes);
    options.limits.max_entries = max_entries.unwrap_or(options.limits.max_entries);
    options
}
