//! What instructions do to a state.

pub(super) mod config;
pub(super) mod copy;
pub(super) mod from;
pub(super) mod workdir;
