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
use treering::dockerfile::Ignore;
use treering::error::Error;
use treering::image::{DiffOptions, Platform, excludes};
use treering::layer::{LayerOptions, MtimePrecision};
use treering::registry::Credential;
use treering::tree::{OwnerPolicy, OwnerSource, OwnersWanted};

use crate::errors::{OrRaise, to_python};
use crate::output::object;

/// A path: `str`, `bytes`, anything with `__fspath__`, or the descriptor of an open directory.
pub struct PathArg(pub PathBuf);

/// Returns the exception for an argument that is not usable as given.
fn bad(py: Python<'_>, message: impl Into<String>) -> PyErr {
    to_python(py, &Error::invalid("read argument", message))
}

/// Returns the bytes of a path, as `os.fsencode` gives them.
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

/// Reads text, in an argument that is `from_py_with` this. Bytes that are not UTF-8 have no place in names and words.
pub fn text<'a>(argument: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let text = argument.cast::<PyString>()?;
    text.to_str().map_err(|_| bad(argument.py(), "text must be UTF-8, and this has surrogates in it"))
}

/// Reads [`text`], or None.
pub fn maybe_text<'a>(argument: &'a Bound<'_, PyAny>) -> PyResult<Option<&'a str>> {
    if argument.is_none() { Ok(None) } else { text(argument).map(Some) }
}

/// Returns a list of texts, or None.
pub fn texts(argument: &Bound<'_, PyAny>) -> PyResult<Option<Vec<String>>> {
    if argument.is_none() {
        return Ok(None);
    }
    let list: Vec<Bound<'_, PyAny>> = argument.extract()?;
    list.iter().map(|one| text(one).map(String::from)).collect::<PyResult<_>>().map(Some)
}

/// Returns a number, in an argument that is `from_py_with` this.
pub fn number<'a, 'py, T: FromPyObject<'a, 'py, Error = PyErr>>(
    argument: &'a Bound<'py, PyAny>,
) -> PyResult<T> {
    let py = argument.py();
    argument.extract().map_err(|error: PyErr| match error.is_instance_of::<PyOverflowError>(py) {
        true => bad(py, format!("{argument} is out of range")),
        false => error,
    })
}

/// Reads [`number`], or None.
pub fn maybe_number<'a, 'py, T: FromPyObject<'a, 'py, Error = PyErr>>(
    argument: &'a Bound<'py, PyAny>,
) -> PyResult<Option<T>> {
    if argument.is_none() { Ok(None) } else { number(argument).map(Some) }
}

impl<'py> FromPyObject<'_, 'py> for PathArg {
    type Error = PyErr;

    fn extract(argument: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if argument.is_instance_of::<PyInt>() && !argument.is_instance_of::<pyo3::types::PyBool>() {
            // An open directory, as os.listdir takes it.
            let fd: u32 = number(&argument)?;
            return Ok(PathArg(format!("/proc/self/fd/{fd}").into()));
        }
        let bytes = fs_bytes(&argument)?;
        if bytes.is_empty() {
            return Err(bad(argument.py(), "a path is empty"));
        }
        Ok(PathArg(PathBuf::from(std::ffi::OsString::from_vec(bytes))))
    }
}

/// Reads `owner=`: `"root"`, `"keep"`, `"UID:GID"`, `"map:IMAGE:DISK:COUNT,..."`, or a pair of numbers.
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

/// Reads `owner=`, and `owner_from=`: `"none"`, `"rootlesscontainers"`, `"override-stat"` or `"fakeroot:FILE"`.
pub fn owners(
    py: Python<'_>,
    owner: Option<&Bound<'_, PyAny>>,
    owner_from: Option<PathArg>,
) -> PyResult<OwnersWanted> {
    let policy = self::owner(owner)?;
    let source =
        owner_from.map(|source| py.detach(|| OwnerSource::parse(&source.0)).or_raise(py)).transpose()?;
    Ok(OwnersWanted { policy, source })
}

/// Reads `compression=` and `level=`.
pub fn profile(py: Python<'_>, compression: &str, level: Option<i32>) -> PyResult<Profile> {
    let compression: Compression = compression.parse().or_raise(py)?;
    Profile::new(compression, level).or_raise(py)
}

/// Reads `platform=`.
pub fn platform(py: Python<'_>, argument: Option<&str>) -> PyResult<Option<Platform>> {
    argument.map(|text| text.parse().or_raise(py)).transpose()
}

/// Reads `platform=` of what is made for several, with commas between them.
pub fn platforms(py: Python<'_>, argument: Option<&str>) -> PyResult<Vec<Platform>> {
    let each = argument.into_iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty());
    each.map(str::parse).collect::<Result<_, _>>().or_raise(py)
}

/// Reads `compare=`.
pub fn compare(py: Python<'_>, argument: &str) -> PyResult<CompareMode> {
    argument.parse().or_raise(py)
}

/// Reads `created=` and the like: seconds since 1970, a `datetime` with a time zone, or RFC 3339 text as `Image.created`
/// gives it.
pub fn seconds(argument: Option<&Bound<'_, PyAny>>) -> PyResult<Option<i64>> {
    let Some(argument) = argument else { return Ok(None) };
    let py = argument.py();
    let far = || bad(py, "time out of range");
    if argument.is_instance_of::<PyString>() {
        let moment: jiff::Timestamp = text(argument)?
            .parse()
            .map_err(|_| bad(py, "a time in text is RFC 3339, as in 2026-01-31T12:00:00Z"))?;
        return Ok(Some(moment.as_nanosecond().div_euclid(1_000_000_000) as i64));
    }
    let given = match argument.hasattr("timestamp")? {
        // A datetime before the year 1 of another time zone, say.
        // Local time would make another image elsewhere.
        true if argument.hasattr("tzinfo")? && argument.getattr("tzinfo")?.is_none() => {
            let message = "a datetime without a time zone is another moment elsewhere: give it one, such as timezone.utc";
            return Err(bad(py, message));
        }
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
            Err(PyTypeError::new_err("a time is a number of seconds since 1970, a datetime or RFC 3339 text"))
        }
        _ => Err(far()),
    }
}

/// Reads `clamp_mtime=` and `nanoseconds=`.
pub fn layer(clamp_mtime: Option<&Bound<'_, PyAny>>, nanoseconds: bool) -> PyResult<LayerOptions> {
    Ok(LayerOptions {
        precision: MtimePrecision::nanoseconds(nanoseconds),
        clamp_mtime: seconds(clamp_mtime)?,
    })
}

/// Pairs of a mapping from text to text, in its order.
pub fn pairs(argument: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<(String, String)>> {
    pairs_with(argument, |value| Ok(text(value)?.to_string()))
}

/// Pairs of a mapping from text to what a function reads, in its order.
pub fn pairs_with<T>(
    argument: Option<&Bound<'_, PyAny>>,
    read: impl Fn(&Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Vec<(String, T)>> {
    let Some(argument) = argument else { return Ok(Vec::new()) };
    let dict = argument.py().get_type::<PyDict>().call1((argument,))?.cast_into::<PyDict>()?;
    dict.iter().map(|(key, value)| Ok((text(&key)?.to_string(), read(&value)?))).collect()
}

/// Bytes, or text as UTF-8.
pub fn bytes(argument: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    match argument.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        Err(_) => Ok(text(argument)?.as_bytes().to_vec()),
    }
}

/// Reads the options of all comparisons.
pub fn diff_options(
    py: Python<'_>,
    owner: Option<&Bound<'_, PyAny>>,
    owner_from: Option<PathArg>,
    compare: &str,
    exact_times: bool,
    platform: Option<&str>,
    one_file_system: bool,
    ignore_times: bool,
    exclude: Ignore,
    threads: usize,
) -> PyResult<DiffOptions> {
    Ok(DiffOptions {
        owners: owners(py, owner, owner_from)?,
        compare: self::compare(py, compare)?,
        exact_times,
        clamp_mtime: None,
        platform: self::platform(py, platform)?,
        one_file_system,
        ignore_times,
        exclude,
        all_reasons: true,
        reverse: false,
        threads,
    })
}

/// Reads `exclude=` and `ignore_file=`.
pub fn exclude(py: Python<'_>, patterns: Option<Vec<String>>, file: Option<PathArg>) -> PyResult<Ignore> {
    let (patterns, file) = (patterns.unwrap_or_default(), file.map(|file| file.0));
    py.detach(|| excludes(file.as_deref(), &patterns)).or_raise(py)
}

/// Returns how far decompression may go; `None` leaves a cap at its default.
pub fn decode(max_bytes: Option<u64>, max_ratio: Option<u64>) -> DecodeLimits {
    let default = DecodeLimits::default();
    DecodeLimits {
        ratio: max_ratio.unwrap_or(default.ratio),
        max_output: default.max_output.max(max_bytes.unwrap_or(0)),
        ..default
    }
}

/// Returns how layers are put into a directory; `None` leaves a cap at its default.
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

/// Reads the answer of the caller's function for a registry: a user name and a password, or None.
pub fn credential(answer: &Bound<'_, PyAny>) -> PyResult<Option<Credential>> {
    let pair: Option<(String, String)> = answer.extract().map_err(|_| {
        PyTypeError::new_err("the function for credentials returns a user name and a password, or None")
    })?;
    Ok(pair.map(|(username, password)| Credential::basic(username, password)))
}
