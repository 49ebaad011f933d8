//! Errors as owned objects.

use std::error::Error as _;
use std::ffi::{CString, c_char};
use std::sync::Arc;

use super::arguments::Out;
use super::handle::{self, noun};
use super::status::treering_status;
use super::structures::{Plain, Record};
use crate::error::{Error, ErrorKind, Location};
use crate::hint::Surface;

/// The reason why a call failed. Made by the call that failed, owned by the caller, freed with treering_error_free(). Never
/// changes, so any number of threads may read it at once. What the accessors return lives as long as the error.
pub struct treering_error {
    _opaque: (),
}
noun!(treering_error, Object);

/// An error with its texts as C strings.
pub struct Object {
    kind: ErrorKind,
    operation: CString,
    path: Option<Vec<u8>>,
    message: CString,
    hint: Option<CString>,
    hint_for_go: Option<CString>,
    text: CString,
    causes: Vec<CString>,
    callback_code: i32,
    exit_code: Option<i32>,
    location: Option<Location>,
    line_text: CString,
}

impl Object {
    /// Returns all of it in one line.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        self.text.to_str().unwrap()
    }
}

/// A place in a text, such as a line of a Dockerfile. The pointers live as long as the error it is of.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_location {
    /// Name of the file, as it was given.
    pub file: *const u8,
    /// The bytes in `file`.
    pub file_len: usize,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1 in bytes; 0 for the whole line.
    pub column: u32,
    /// The text of the line, without its end.
    pub text: *const c_char,
}
impl Plain for treering_location {}

/// The number that a callback returned to make an operation fail: a cause in the chain.
#[derive(Debug)]
pub(super) struct CallbackFailed(pub i32);

impl std::fmt::Display for CallbackFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the callback returned {}", self.0)
    }
}

impl std::error::Error for CallbackFailed {}

/// Makes a text for C: a NUL inside would cut it short.
pub(super) fn c_string(text: impl Into<String>) -> CString {
    let text: String = text.into();
    let text = if text.contains('\0') { text.replace('\0', "\\0") } else { text };
    CString::new(text).unwrap_or_default()
}

/// Returns an error object.
pub(super) fn object(error: &Error) -> *mut treering_error {
    let mut causes = Vec::new();
    let mut callback_code = 0;
    let mut at = error.source();
    while let Some(cause) = at {
        if let Some(CallbackFailed(code)) = cause.downcast_ref() {
            callback_code = *code;
        }
        if causes.len() < 32 {
            causes.push(c_string(cause.to_string()));
        }
        at = cause.source();
    }
    let hint = |surface| error.hint().map(|hint| c_string(hint.words(surface)));
    handle::make(Object {
        kind: error.kind(),
        operation: c_string(error.operation()),
        path: error.path().map(|path| {
            // A NUL behind the path, for printing; the length does not count it.
            let mut path = path.to_vec();
            path.push(0);
            path
        }),
        message: c_string(error.message()),
        hint: hint(Surface::C),
        hint_for_go: hint(Surface::Go),
        text: c_string(error.to_string()),
        causes,
        callback_code,
        exit_code: error.exit_code(),
        line_text: c_string(error.location().map_or("", |location| &location.text)),
        location: error.location().cloned(),
    })
}

fn get(error: *const treering_error) -> Option<Arc<Object>> {
    handle::get(error, "error").ok()
}

/// Returns a pointer into the object, which the table of handles keeps alive until the handle is freed.
fn borrow(error: *const treering_error, part: impl FnOnce(&Object) -> Option<&CString>) -> *const c_char {
    match get(error) {
        Some(object) => part(&object).map_or(std::ptr::null(), |text| text.as_ptr()),
        None => std::ptr::null(),
    }
}

/// Frees an error. NULL is fine. TREERING_INVALID_ARGUMENT when it is none, or was freed already.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_free(error: *mut treering_error) -> treering_status {
    handle::free(error)
}

/// Returns the status of the call that failed; TREERING_INVALID_ARGUMENT when `error` is no error object.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_status(error: *const treering_error) -> treering_status {
    get(error).map_or(treering_status::TREERING_INVALID_ARGUMENT, |object| object.kind.into())
}

/// Returns the name of the kind of error, as treering_status_name() has it: `not-found`. NULL when `error` is no error
/// object.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_kind(error: *const treering_error) -> *const c_char {
    match get(error) {
        Some(object) => super::status::treering_status_name(object.kind.code()),
        None => std::ptr::null(),
    }
}

/// Returns the operation that failed, a short verb phrase: `open store`. NULL when `error` is no error object.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_operation(error: *const treering_error) -> *const c_char {
    borrow(error, |object| Some(&object.operation))
}

/// Returns the message: what is wrong, without operation and path. NULL when `error` is no error object.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_message(error: *const treering_error) -> *const c_char {
    borrow(error, |object| Some(&object.message))
}

/// Returns operation, path and message in one line, for people; bytes of the path that are not UTF-8 appear as `\xNN`. NULL
/// when `error` is no error object.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_text(error: *const treering_error) -> *const c_char {
    borrow(error, |object| Some(&object.text))
}

/// Returns the hint: what the user can do, in the words of C: functions and members of option structures. NULL when nothing
/// is known.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_hint(error: *const treering_error) -> *const c_char {
    borrow(error, |object| object.hint.as_ref())
}

/// Returns the hint in the words of the Go package, which is built on this library. NULL when nothing is known.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_hint_for_go(error: *const treering_error) -> *const c_char {
    borrow(error, |object| object.hint_for_go.as_ref())
}

/// Returns the path (or reference, or digest) the operation failed at, as bytes; a NUL stands behind them. NULL when there
/// is none.
///
/// @param len receives the number of bytes; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_error_path(error: *const treering_error, len: *mut usize) -> *const u8 {
    // SAFETY: the header's contract for pointers.
    let len = unsafe { Out::new(len) };
    let object = get(error);
    let path = object.as_ref().and_then(|object| object.path.as_ref());
    if let Some(place) = len.place() {
        place.write(path.map_or(0, |path| path.len() - 1));
    }
    path.map_or(std::ptr::null(), |path| path.as_ptr())
}

/// Returns the cause number `n`, 0 for the nearest; NULL behind the last. At most 32 are kept.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_cause(error: *const treering_error, n: usize) -> *const c_char {
    borrow(error, |object| object.causes.get(n))
}

/// Returns the number by which a callback made the call fail with TREERING_CALLBACK; 0 for every other error.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_callback_code(error: *const treering_error) -> i32 {
    get(error).map_or(0, |object| object.callback_code)
}

/// Returns the exit code of the command that was run and failed, with TREERING_COMMAND_FAILED: 128 and the number of the
/// signal for one that a signal ended. -1 for every other error.
#[unsafe(no_mangle)]
pub extern "C" fn treering_error_exit_code(error: *const treering_error) -> i32 {
    get(error).and_then(|object| object.exit_code).unwrap_or(-1)
}

/// Returns the place in a text that is at fault, with TREERING_SYNTAX for one: whether there is one. `out` is left alone
/// otherwise.
///
/// @param out may be NULL.
/// @param out_size sizeof(treering_location).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn treering_error_location(
    error: *const treering_error,
    out: *mut treering_location,
    out_size: usize,
) -> bool {
    // SAFETY: the header's contract for pointers.
    let out = unsafe { Record::new(out, out_size) };
    let Some(object) = get(error) else { return false };
    let Some(location) = &object.location else { return false };
    if let Ok(Some(out)) = out.optional("out") {
        out.write(&treering_location {
            file: location.file.as_ptr(),
            file_len: location.file.len(),
            line: location.line,
            column: location.column,
            text: object.line_text.as_ptr(),
        });
    }
    true
}
