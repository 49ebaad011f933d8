//! Decoding overlayfs upper directories.
#![allow(clippy::disallowed_methods)]

mod by_hand;
mod decode;
mod kernel;
