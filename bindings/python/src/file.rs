//! File objects: anything with `read` or `write`, used from the thread that called.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};

use pyo3::exceptions::{PyBlockingIOError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};
use treering::Control;
use treering::error::Error;

use crate::arguments::PathArg;
use crate::message::Message;

/// The most that is asked of `read` at once.
const MOST: usize = 1 << 20;

/// A path, or a file object.
pub enum Place<'py> {
    /// A path of the file system.
    Path(PathBuf),
    /// An object with the wanted method.
    Object(Bound<'py, PyAny>),
}

impl<'py> Place<'py> {
    /// Reads an argument, where `method` (`read` or `write`) is what is needed of a file object.
    pub fn of(argument: &Bound<'py, PyAny>, method: &str) -> PyResult<Self> {
        if argument.hasattr(method)? {
            return Ok(Place::Object(argument.clone()));
        }
        // A number is a directory that is open, and no file.
        let path = match argument.is_instance_of::<PyInt>() {
            true => Err(PyTypeError::new_err("a number")),
            false => argument.extract::<PathArg>(),
        };
        match path {
            Ok(path) => Ok(Place::Path(path.0)),
            Err(error) if error.is_instance_of::<PyTypeError>(argument.py()) => {
                let given = argument.get_type().name()?;
                Err(PyTypeError::new_err(format!(
                    "expected a path or an object with {method}(), not {given}"
                )))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the file object, when it is one.
    pub fn object(&self) -> Option<&Bound<'py, PyAny>> {
        match self {
            Place::Object(object) => Some(object),
            Place::Path(_) => None,
        }
    }

    /// Returns the path, when it is one.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Place::Path(path) => Some(path.clone()),
            Place::Object(_) => None,
        }
    }
}

/// A stand-in for the caller's file object that any thread may read from and write to.
#[derive(Clone)]
pub struct Proxy(pub Sender<Message>);

fn gone<E>(_: E) -> io::Error {
    io::Error::other("the operation that the file object was for is over")
}

impl Read for Proxy {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (reply, answer) = channel();
        self.0.send(Message::Read(buf.len().min(MOST), reply)).map_err(gone)?;
        let bytes = answer.recv().map_err(gone)??;
        buf[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Write for Proxy {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let (reply, answer) = channel();
        self.0.send(Message::Write(buf.to_vec(), reply)).map_err(gone)?;
        answer.recv().map_err(gone)??;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Calls `read` once: at most `most` bytes, none at the end.
pub fn read(file: &Bound<'_, PyAny>, most: usize) -> PyResult<Vec<u8>> {
    let py = file.py();
    let got = file.call_method1(intern!(py, "read"), (most,))?;
    if got.is_none() {
        return Err(PyBlockingIOError::new_err(
            "read() has nothing yet: the file object must be a blocking one",
        ));
    }
    let bytes = match got.cast::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes().to_vec(),
        // bytes(3) and bytes("text", ...) mean something else than bytes(memoryview).
        Err(_) if got.is_instance_of::<PyInt>() || got.is_instance_of::<PyString>() => {
            let given = got.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "read() gave {given}, not bytes: open the file in binary mode"
            )));
        }
        Err(_) => py.get_type::<PyBytes>().call1((got,))?.cast_into::<PyBytes>()?.as_bytes().to_vec(),
    };
    if bytes.len() > most {
        let message = format!("read({most}) gave {} bytes", bytes.len());
        return Err(PyValueError::new_err(message));
    }
    Ok(bytes)
}

/// Writes all of `bytes`, with as many calls of `write` as it takes.
pub fn write(file: &Bound<'_, PyAny>, mut bytes: &[u8]) -> PyResult<()> {
    let py = file.py();
    while !bytes.is_empty() {
        let answer = file.call_method1(intern!(py, "write"), (PyBytes::new(py, bytes),))?;
        // Many a write() written by hand returns nothing, and means all.
        let count = if answer.is_none() { bytes.len() } else { answer.extract::<usize>()? };
        if count == 0 || count > bytes.len() {
            return Err(PyValueError::new_err(format!("write() of {} bytes returned {count}", bytes.len())));
        }
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Opens a file the caller named, and announces its size.
pub fn open(path: &std::path::Path, control: &Control) -> treering::Result<std::fs::File> {
    use std::os::unix::ffi::OsStrExt;
    let failed = |error| Error::io("open file", path.as_os_str().as_bytes(), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    if let Some(found) = file.metadata().ok().filter(std::fs::Metadata::is_file) {
        control.counters.expect_stream(found.len());
    }
    Ok(file)
}
