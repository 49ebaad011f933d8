//! The one error type: what kind, during which operation, at which path, and why.

use std::fmt;
use std::io;

use crate::hint::Hint;

/// A result with treering's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an error, as a stable number: these are the codes of the C ABI, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorKind {
    /// An argument, option, name or reference is not usable as given.
    InvalidArgument = 1,
    /// The named file, image, reference or blob does not exist.
    NotFound = 2,
    /// There is something of that name already.
    AlreadyExists = 3,
    /// The system refused: permissions, ownership, or a security policy.
    PermissionDenied = 4,
    /// An input or output operation failed for another reason.
    Io = 5,
    /// No space or quota is left.
    NoSpace = 6,
    /// A file changed, grew, shrank or vanished while it was being read.
    Changed = 7,
    /// Data does not match its digest, its size, or its format.
    Corrupt = 8,
    /// An input asked for more than a configured cap allows.
    Limit = 9,
    /// This machine, filesystem or format cannot do what was asked.
    Unsupported = 10,
    /// Another process holds the lock.
    Busy = 11,
    /// The object is still needed by another one.
    InUse = 12,
    /// The caller cancelled the operation.
    Cancelled = 13,
    /// A callback supplied by the caller failed.
    Callback = 14,
    /// A defect in treering itself (a panic was caught at the boundary).
    Internal = 15,
    /// An attribute cannot be kept and the caller demanded that nothing be lost.
    Loss = 16,
    /// A command that was run failed; [`Error::exit_code`] says how.
    CommandFailed = 17,
    /// A server could not be reached, or the connection to it broke.
    Network = 18,
    /// A registry refused the credentials, or asks for some.
    Unauthorized = 19,
    /// A Dockerfile or another text is not well formed; [`Error::location`] says where.
    Syntax = 20,
}

impl ErrorKind {
    #[cfg(feature = "sandbox")]
    const ALL: [ErrorKind; 20] = [
        ErrorKind::InvalidArgument,
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::PermissionDenied,
        ErrorKind::Io,
        ErrorKind::NoSpace,
        ErrorKind::Changed,
        ErrorKind::Corrupt,
        ErrorKind::Limit,
        ErrorKind::Unsupported,
        ErrorKind::Busy,
        ErrorKind::InUse,
        ErrorKind::Cancelled,
        ErrorKind::Callback,
        ErrorKind::Internal,
        ErrorKind::Loss,
        ErrorKind::CommandFailed,
        ErrorKind::Network,
        ErrorKind::Unauthorized,
        ErrorKind::Syntax,
    ];

    /// Returns the stable number of this kind.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// Finds the kind with a number.
    #[cfg(feature = "sandbox")]
    pub(crate) fn of_code(code: i32) -> Option<ErrorKind> {
        ErrorKind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Returns the stable lower-case name of this kind, as `--json` and the bindings show it.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::InvalidArgument => "invalid-argument",
            ErrorKind::NotFound => "not-found",
            ErrorKind::AlreadyExists => "already-exists",
            ErrorKind::PermissionDenied => "permission-denied",
            ErrorKind::Io => "io",
            ErrorKind::NoSpace => "no-space",
            ErrorKind::Changed => "changed",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Limit => "limit",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Busy => "busy",
            ErrorKind::InUse => "in-use",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Callback => "callback",
            ErrorKind::Internal => "internal",
            ErrorKind::Loss => "loss",
            ErrorKind::CommandFailed => "command-failed",
            ErrorKind::Network => "network",
            ErrorKind::Unauthorized => "unauthorized",
            ErrorKind::Syntax => "syntax",
        }
    }
}

/// An error with its kind, the operation that failed, the path it failed at (bytes: paths need not be
/// UTF-8), a message in plain words, an optional hint, and the cause.
///
/// ```
/// use treering::{Error, ErrorKind, Hint};
/// let error = Error::new(ErrorKind::NotFound, "open image", "no image has this name")
///     .with_path("app:v1")
///     .with_hint(Hint::ListImages);
/// assert_eq!(error.to_string(), "open image: app:v1: no image has this name");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    path: Option<Vec<u8>>,
    message: String,
    hint: Option<Hint>,
    location: Option<Location>,
    exit_code: Option<i32>,
    #[cfg(feature = "sandbox")]
    stopped_midway: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A place in a text: a Dockerfile's line, say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Location {
    /// The file's name as it was given, as bytes.
    #[serde(serialize_with = "as_text")]
    pub file: Vec<u8>,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1 in bytes; 0 for the whole line.
    pub column: u32,
    /// The line's text, without its end.
    pub text: String,
}

impl Error {
    /// Returns a new error. `operation` is a short verb phrase ("read file"), `message` says what is wrong.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            operation,
            path: None,
            message: message.into(),
            hint: None,
            location: None,
            exit_code: None,
            #[cfg(feature = "sandbox")]
            stopped_midway: false,
            source: None,
        }))
    }

    /// Returns an error from an operating system call at `path`. The kind follows from the errno.
    pub fn io(operation: &'static str, path: impl AsRef<[u8]>, error: impl Into<io::Error>) -> Self {
        // A treering error that travelled through an io::Error (a Read or Write adapter) comes out as it was.
        let error = match error.into().downcast::<Error>() {
            Ok(ours) => return ours,
            Err(error) => error,
        };
        let (kind, hint) = match error.raw_os_error() {
            Some(libc::ENOENT) => (ErrorKind::NotFound, None),
            Some(libc::EEXIST | libc::ENOTEMPTY) => (ErrorKind::AlreadyExists, None),
            Some(libc::EACCES | libc::EPERM) => (ErrorKind::PermissionDenied, None),
            // A path that leads to a file where a directory is needed, or the other way round.
            Some(libc::ENOTDIR | libc::EISDIR) => (ErrorKind::InvalidArgument, None),
            Some(libc::ENOSPC | libc::EDQUOT) => {
                (ErrorKind::NoSpace, Some("free some space there, or use another filesystem"))
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                (ErrorKind::Limit, Some("raise the open file limit (ulimit -n)"))
            }
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => (ErrorKind::Unsupported, None),
            Some(
                libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::ECONNABORTED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ETIMEDOUT,
            ) => (ErrorKind::Network, None),
            _ => match error.kind() {
                io::ErrorKind::NotFound => (ErrorKind::NotFound, None),
                io::ErrorKind::PermissionDenied => (ErrorKind::PermissionDenied, None),
                io::ErrorKind::AlreadyExists => (ErrorKind::AlreadyExists, None),
                // Made in this process, of an argument. The system's EINVAL says nothing of the kind.
                io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => {
                    (ErrorKind::InvalidArgument, None)
                }
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => (ErrorKind::Corrupt, None),
                _ => (ErrorKind::Io, None),
            },
        };
        let mut made = Error::new(kind, operation, describe_io(&error)).with_path(path);
        made.0.hint = hint.map(Hint::from);
        made.0.source = Some(Box::new(error));
        made
    }

    /// Makes an [`ErrorKind::InvalidArgument`] error.
    pub fn invalid(operation: &'static str, message: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidArgument, operation, message)
    }

    /// Makes an [`ErrorKind::Corrupt`] error.
    pub fn corrupt(operation: &'static str, message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Corrupt, operation, message)
    }

    /// Makes an [`ErrorKind::Limit`] error.
    pub fn limit(operation: &'static str, message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Limit, operation, message)
    }

    /// Makes an [`ErrorKind::NotFound`] error.
    pub fn not_found(operation: &'static str, message: impl Into<String>) -> Self {
        Error::new(ErrorKind::NotFound, operation, message)
    }

    /// Returns the error for a panic that was caught at the boundary of an operation. Not part of the stable interface: for
    /// the Python package.
    #[doc(hidden)]
    pub fn defect(operation: &'static str, panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        Error::new(ErrorKind::Internal, operation, format!("a defect in treering: {text}"))
            .with_hint("please report it, with what you called and this message")
    }

    /// Returns the same error, naming a path (or an image, or a reference: whatever the operation worked on). An empty one names
    /// nothing, and changes nothing.
    pub fn with_path(mut self, path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        if !path.is_empty() {
            self.0.path = Some(path.to_vec());
        }
        self
    }

    /// Names a path if the error names none. The path is made only then.
    pub(crate) fn or_path<P: AsRef<[u8]>>(self, path: impl FnOnce() -> P) -> Self {
        match self.path() {
            None => self.with_path(path()),
            Some(_) => self,
        }
    }

    /// Adds a hint to an error of this kind, unless it has one.
    pub(crate) fn or_hint(self, kind: ErrorKind, hint: impl Into<Hint>) -> Self {
        match self.kind() == kind && self.0.hint.is_none() {
            true => self.with_hint(hint),
            false => self,
        }
    }

    /// Returns the same error, with what the user can do about it.
    pub fn with_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Returns the same error, at a place in a text.
    pub fn with_location(mut self, location: Location) -> Self {
        self.0.location = Some(location);
        self
    }

    /// Returns the same error, with the exit code of the command that failed: 128 and the signal's number for one that a
    /// signal ended.
    pub fn with_exit_code(mut self, code: i32) -> Self {
        self.0.exit_code = Some(code);
        self
    }

    /// Returns the same error, of a command that was stopped in the midst of its work by what runs it: nothing of it is to be
    /// kept.
    #[cfg(feature = "sandbox")]
    pub(crate) fn midway(mut self) -> Self {
        self.0.stopped_midway = true;
        self
    }

    /// Returns whether it is of a command that was stopped so.
    #[cfg(feature = "sandbox")]
    pub(crate) fn is_midway(&self) -> bool {
        self.0.stopped_midway
    }

    /// Returns the same error, with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the operation that failed, a short verb phrase.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Returns the path (or reference) the operation failed at, as bytes.
    pub fn path(&self) -> Option<&[u8]> {
        self.0.path.as_deref()
    }

    /// Returns what went wrong, without operation and path.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<&Hint> {
        self.0.hint.as_ref()
    }

    /// Returns the place in a text that is at fault.
    pub fn location(&self) -> Option<&Location> {
        self.0.location.as_ref()
    }

    /// Returns the exit code of the command that failed.
    pub fn exit_code(&self) -> Option<i32> {
        self.0.exit_code
    }
}

/// Returns the text of an I/O error without Rust's "(os error N)" tail, in lower case like our own messages.
pub(crate) fn describe_io(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !text[first.len_utf8()..].starts_with(|c: char| c.is_uppercase()) => {
            first.to_lowercase().collect::<String>() + chars.as_str()
        }
        _ => text.to_string(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.operation)?;
        if let Some(path) = &self.0.path {
            write!(f, "{}: ", escape(path))?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("path", &self.0.path.as_deref().map(escape))
            .field("message", &self.0.message)
            .field("hint", &self.0.hint)
            .field("location", &self.0.location)
            .field("exit_code", &self.0.exit_code)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

impl From<Error> for io::Error {
    /// Lets an [`Error`] travel through `Read` and `Write`; [`Error::io`] takes it out again.
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}

/// Returns a path as text for people: valid UTF-8 as it is, control characters and other bytes as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Serializes bytes as text; what is not text in them is escaped.
pub(crate) fn as_text<S: serde::Serializer>(
    bytes: &impl AsRef<[u8]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escape(bytes.as_ref()))
}

/// Turns the error of a system call into an [`Error`] that names the operation and the path. Not part of the stable interface: for
/// the command and the Python package.
#[doc(hidden)]
pub trait At<T> {
    /// Names the operation and the path of a failed call.
    fn at(self, operation: &'static str, path: impl AsRef<[u8]>) -> Result<T>;

    /// Does what [`at`](Self::at) does, with a path that is made only after a failure: in a deep tree that costs more than the call
    /// itself.
    fn at_path<P: AsRef<[u8]>>(self, operation: &'static str, path: impl FnOnce() -> P) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, operation: &'static str, path: impl AsRef<[u8]>) -> Result<T> {
        self.map_err(|error| Error::io(operation, path, error))
    }

    fn at_path<P: AsRef<[u8]>>(self, operation: &'static str, path: impl FnOnce() -> P) -> Result<T> {
        self.map_err(|error| Error::io(operation, path(), error))
    }
}

/// A result of looking for something that may be missing.
pub(crate) trait Found<T, E> {
    /// Returns `None` where it is missing, which is no error.
    fn found(self) -> std::result::Result<Option<T>, E>;
}

impl<T> Found<T, io::Error> for io::Result<T> {
    fn found(self) -> io::Result<Option<T>> {
        match self {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }
}

impl<T> Found<T, Error> for Result<T> {
    fn found(self) -> Result<Option<T>> {
        match self {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_decides_the_kind_and_the_path_is_named() {
        let error = Error::io("write blob", "tmp/x", io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(error.to_string(), "write blob: tmp/x: no space left on device");
        assert!(error.hint().is_some());
    }

    #[test]
    fn what_has_to_be_tried_again_is_no_lock_of_ours() {
        let error = Error::io("start thread", "", io::Error::from_raw_os_error(libc::EAGAIN));
        assert_eq!(error.kind(), ErrorKind::Io);
    }

    #[test]
    fn an_error_survives_a_trip_through_io_error() {
        let inner = Error::corrupt("read layer", "bad checksum").with_path("a/b");
        let back = Error::io("copy", "elsewhere", io::Error::from(inner));
        assert_eq!(back.kind(), ErrorKind::Corrupt);
        assert_eq!(back.path(), Some(&b"a/b"[..]));
    }

    #[test]
    fn an_empty_path_is_none() {
        let error = Error::io("start thread", "", io::Error::from_raw_os_error(libc::EAGAIN));
        assert_eq!(error.path(), None);
        assert_eq!(error.to_string(), "start thread: resource temporarily unavailable");
        let error = error.or_path(|| "a").or_path(|| "b").with_path("");
        assert_eq!(error.path(), Some(&b"a"[..]));
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_escaped() {
        assert_eq!(escape(b"caf\xc3\xa9\xff\n"), "café\\xff\\n");
    }
}
