//! treering grows OCI images from a directory: no root, no daemon, no setuid helper, no re-exec of the host program.
#![deny(missing_docs)]

pub mod error;
pub mod progress;

pub mod fs;
pub mod tree;
pub mod compress;
pub mod store;

pub use error::{Error, ErrorKind, Result};
pub use progress::{Cancel, Control, Counters};
