//! The error of a part of the helper, on its way to the host program.

use std::ffi::CString;
use std::io;

use super::protocol::{Reader, Writer};
use crate::error::ErrorKind;

/// The reason why a step could not be run.
#[derive(Debug)]
pub struct Failure {
    /// The kind of error.
    pub kind: ErrorKind,
    /// The message.
    pub message: String,
    /// The exit code of a command that could not be executed, else 0.
    pub code: i32,
}

impl Failure {
    /// Says what failed and why, with the kind that the error number has.
    pub fn new(what: &str, error: impl Into<io::Error>) -> Failure {
        let error = error.into();
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
        let kind = match error.raw_os_error() {
            // EBUSY: another tool has the one listener there can be.
            Some(libc::EPERM | libc::EACCES | libc::ENOSPC | libc::ENOSYS | libc::EINVAL | libc::EBUSY) => {
                ErrorKind::Unsupported
            }
            _ => ErrorKind::Io,
        };
        Failure { kind, message: format!("{what}: {text}"), code: 0 }
    }

    /// Returns the body of a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.kind.code() as u64).bytes(self.message.as_bytes()).number(self.code as u64);
        out.finish()
    }

    /// Returns the failure that another process of the helper reports.
    pub fn received(body: &[u8]) -> Failure {
        match Failure::decode(body) {
            Ok((kind, message, code)) => {
                Failure { kind: ErrorKind::of_code(kind).unwrap_or(ErrorKind::Io), message, code }
            }
            Err(error) => Failure::new("set up step", error),
        }
    }

    /// Reads the body of a message: error kind's number, message, exit code.
    pub fn decode(body: &[u8]) -> io::Result<(i32, String, i32)> {
        let mut body = Reader::new(body);
        let (kind, message, code) = (body.small()?, body.bytes()?, body.small()?);
        Ok((kind as i32, String::from_utf8_lossy(&message).into_owned(), code as i32))
    }
}

/// The result of a part of the setup.
pub type Setup<T> = Result<T, Failure>;

/// Errors of the system that become a [`Failure`].
pub trait What<T> {
    /// Names what failed.
    fn what(self, what: &str) -> Setup<T>;
}

impl<T, E: Into<io::Error>> What<T> for Result<T, E> {
    fn what(self, what: &str) -> Setup<T> {
        self.map_err(|error| Failure::new(what, error))
    }
}

/// Returns a byte string for the kernel.
pub fn c_string(bytes: &[u8]) -> Setup<CString> {
    CString::new(bytes)
        .map_err(|_| Failure::new("start command", io::Error::from(io::ErrorKind::InvalidInput)))
}
