//! Instructions, carried out on a state.

pub(super) mod config;
pub(super) mod copy;
pub(super) mod from;
#[cfg(feature = "sandbox")]
pub(super) mod mounts;
#[cfg(feature = "sandbox")]
pub(super) mod run;
pub(super) mod workdir;
