//! The layer between the library and the system: in-root opening, directory reading, metadata, extended attributes,
//! publishing. Paths from outside are opened here and nowhere else, and all that is unsafe is here; other modules call
//! rustix themselves where one safe call on a descriptor is all there is.
//!
//! Below a root everything goes by file descriptor and single names, so that no symbolic link inside a tree can lead
//! outside it and no path is too long. Nothing here changes the process: no umask, no working directory, no signals.

pub(crate) mod capabilities;
pub(crate) mod chmod;
pub(crate) mod clock;
pub(crate) mod copy;
pub(crate) mod generation;
pub(crate) mod lock;
pub(crate) mod locked;
pub(crate) mod make_dir;
pub(crate) mod map;
pub(crate) mod probe;
pub(crate) mod staged;
pub(crate) mod staged_dir;
pub(crate) mod stat;
#[cfg(feature = "sandbox")]
pub(crate) mod within;
pub(crate) mod writeback;
pub(crate) mod xattr;

// Not part of the stable interface: for the command, the Python package, the benches and the tests of this repository.
#[doc(hidden)]
pub mod descriptors;
#[doc(hidden)]
pub mod dirents;
#[doc(hidden)]
pub mod input;
#[doc(hidden)]
pub mod output;
#[doc(hidden)]
pub mod publish;
#[doc(hidden)]
pub mod remove;
#[doc(hidden)]
pub mod root;
#[doc(hidden)]
pub mod signals;

pub use root::Root;
pub(crate) use stat::Stat;
pub use stat::{Kind, Timestamp};
