//! Every system call: in-root opening, directory reading, metadata, extended attributes, publishing, locks.
//!
//! Below a root everything goes by file descriptor and single names, so that no symbolic link inside a tree can lead
//! outside it and no path is too long. Nothing here changes the process: no umask, no working directory, no signals.

pub mod chmod;
pub mod clock;
pub mod dirents;
pub mod generation;
pub mod map;
pub mod probe;
pub mod publish;
pub mod remove;
pub mod root;
pub mod staged;
pub mod stat;
pub mod writeback;
pub mod xattr;

pub use root::Root;
pub use stat::{Kind, Stat, Timestamp};
