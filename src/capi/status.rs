//! Status codes and the small plain types every section uses.

use std::ffi::c_char;

use crate::digest::Digest;
use crate::error::ErrorKind;

/// The outcome of a call. The numbers are stable and never used again for something else; a program should take unknown
/// numbers for TREERING_INTERNAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum treering_status {
    /// It was done.
    TREERING_OK = 0,
    /// An argument, option, name or reference is not usable as given; also a NULL, wrong or freed handle.
    TREERING_INVALID_ARGUMENT = 1,
    /// The named file, image, reference or blob does not exist.
    TREERING_NOT_FOUND = 2,
    /// Something by that name is already there.
    TREERING_ALREADY_EXISTS = 3,
    /// The system refused: permissions, ownership, or a security policy.
    TREERING_PERMISSION_DENIED = 4,
    /// An input or output operation failed for another reason.
    TREERING_IO = 5,
    /// No space or quota is left.
    TREERING_NO_SPACE = 6,
    /// A file changed, grew, shrank or vanished while it was being read.
    TREERING_CHANGED = 7,
    /// Data does not match its digest, its size, or its format.
    TREERING_CORRUPT = 8,
    /// An input asked for more than a configured cap allows.
    TREERING_LIMIT = 9,
    /// This machine, filesystem or format cannot do what was asked.
    TREERING_UNSUPPORTED = 10,
    /// Another process holds the lock, or another thread is using an object that serves one thread at a time.
    TREERING_BUSY = 11,
    /// The object is still needed by another one.
    TREERING_IN_USE = 12,
    /// The caller cancelled the operation.
    TREERING_CANCELLED = 13,
    /// A callback supplied by the caller failed; treering_error_callback_code() says with which number.
    TREERING_CALLBACK = 14,
    /// A defect in treering itself (a panic was caught at the boundary).
    TREERING_INTERNAL = 15,
    /// An attribute cannot be kept and the caller demanded that nothing be lost.
    TREERING_LOSS = 16,
    /// A command that was run failed.
    TREERING_COMMAND_FAILED = 17,
    /// A server could not be reached, or the connection to it broke.
    TREERING_NETWORK = 18,
    /// A registry refused the credentials, or asks for some.
    TREERING_UNAUTHORIZED = 19,
    /// A Dockerfile or another text is not well formed.
    TREERING_SYNTAX = 20,
}

impl From<ErrorKind> for treering_status {
    fn from(kind: ErrorKind) -> treering_status {
        match kind {
            ErrorKind::InvalidArgument => Self::TREERING_INVALID_ARGUMENT,
            ErrorKind::NotFound => Self::TREERING_NOT_FOUND,
            ErrorKind::AlreadyExists => Self::TREERING_ALREADY_EXISTS,
            ErrorKind::PermissionDenied => Self::TREERING_PERMISSION_DENIED,
            ErrorKind::Io => Self::TREERING_IO,
            ErrorKind::NoSpace => Self::TREERING_NO_SPACE,
            ErrorKind::Changed => Self::TREERING_CHANGED,
            ErrorKind::Corrupt => Self::TREERING_CORRUPT,
            ErrorKind::Limit => Self::TREERING_LIMIT,
            ErrorKind::Unsupported => Self::TREERING_UNSUPPORTED,
            ErrorKind::Busy => Self::TREERING_BUSY,
            ErrorKind::InUse => Self::TREERING_IN_USE,
            ErrorKind::Cancelled => Self::TREERING_CANCELLED,
            ErrorKind::Callback => Self::TREERING_CALLBACK,
            ErrorKind::Internal => Self::TREERING_INTERNAL,
            ErrorKind::Loss => Self::TREERING_LOSS,
            ErrorKind::CommandFailed => Self::TREERING_COMMAND_FAILED,
            ErrorKind::Network => Self::TREERING_NETWORK,
            ErrorKind::Unauthorized => Self::TREERING_UNAUTHORIZED,
            ErrorKind::Syntax => Self::TREERING_SYNTAX,
        }
    }
}

/// Returns the lower-case name of a status, as in `not-found`; `ok` for 0 and `internal` for numbers that are none. Never
/// NULL; static, never freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn treering_status_name(status: i32) -> *const c_char {
    let name = match status {
        0 => c"ok",
        1 => c"invalid-argument",
        2 => c"not-found",
        3 => c"already-exists",
        4 => c"permission-denied",
        5 => c"io",
        6 => c"no-space",
        7 => c"changed",
        8 => c"corrupt",
        9 => c"limit",
        10 => c"unsupported",
        11 => c"busy",
        12 => c"in-use",
        13 => c"cancelled",
        14 => c"callback",
        16 => c"loss",
        17 => c"command-failed",
        18 => c"network",
        19 => c"unauthorized",
        20 => c"syntax",
        _ => c"internal",
    };
    name.as_ptr()
}

/// A digest as text: `sha256:` and 64 hex digits, NUL-terminated; an empty string where there is none.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_digest {
    /// The text.
    pub text: [c_char; 72],
}

impl treering_digest {
    /// No digest.
    pub(super) const NONE: treering_digest = treering_digest { text: [0; 72] };
}

impl From<&Digest> for treering_digest {
    fn from(digest: &Digest) -> treering_digest {
        let mut out = treering_digest::NONE;
        for (to, from) in out.text.iter_mut().zip(digest.to_string().bytes().take(71)) {
            *to = from as c_char;
        }
        out
    }
}

/// Bytes that belong to the caller, such as a path; all zero for none. `{TREERING_PATH(string)}` makes one of a C string.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_slice {
    /// The first byte.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

/// A key and its value: an annotation. Both belong to the caller.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_pair {
    /// The key.
    pub key: *const c_char,
    /// The value.
    pub value: *const c_char,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn numbers_and_names_are_those_of_the_library() {
        use ErrorKind::*;
        let all = [
            InvalidArgument,
            NotFound,
            AlreadyExists,
            PermissionDenied,
            Io,
            NoSpace,
            Changed,
            Corrupt,
            Limit,
            Unsupported,
            Busy,
            InUse,
            Cancelled,
            Callback,
            Internal,
            Loss,
            CommandFailed,
            Network,
            Unauthorized,
            Syntax,
        ];
        let name = |status| {
            // SAFETY: the names are static C strings.
            unsafe { CStr::from_ptr(treering_status_name(status)) }.to_str().unwrap()
        };
        for kind in all {
            assert_eq!(treering_status::from(kind) as i32, kind.code());
            assert_eq!(name(kind.code()), kind.name());
        }
        assert_eq!((name(0), name(99), name(-1)), ("ok", "internal", "internal"));
    }
}
