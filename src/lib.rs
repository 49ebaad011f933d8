//! treering grows OCI images from a directory: no root, no daemon, no setuid helper, no re-exec of the host program.
#![deny(missing_docs)]

pub mod digest;
pub mod error;
pub mod progress;

pub mod archive;
pub mod compress;
pub mod diff;
pub mod fs;
pub mod image;
pub mod layer;
pub mod store;
pub mod tree;

pub use digest::Digest;
pub use error::{Error, ErrorKind, Result};
pub use progress::{Cancel, Control, Counters};
