//! Faults that a parser of one header or record finds, before the reader adds where it happened.

use std::borrow::Cow;

use crate::error::ErrorKind;

/// A defect in a header or record: its kind and what is wrong, without a path or an offset.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) message: Cow<'static, str>,
}

/// The result of parsing a piece of a header.
pub(crate) type Parsed<T> = std::result::Result<T, Fault>;

impl Fault {
    /// Returns a fault of an archive that is malformed, or that different readers would read differently.
    pub(crate) fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Fault { kind: ErrorKind::Corrupt, message: message.into() }
    }

    /// Returns a fault of an archive that exceeds a cap.
    pub(crate) fn limit(message: impl Into<Cow<'static, str>>) -> Self {
        Fault { kind: ErrorKind::Limit, message: message.into() }
    }

    /// Returns a fault of a well-formed archive that uses something no layer needs.
    pub(crate) fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Fault { kind: ErrorKind::Unsupported, message: message.into() }
    }
}
