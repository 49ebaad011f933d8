//! Commands in trees: what they leave behind is what real root leaves behind, on every rung that works here, and nothing of them is
//! left when they end.
#![cfg(feature = "sandbox")]
#![allow(clippy::disallowed_methods)]

mod debian;
mod digests;
mod host;
mod hostile;
mod ids;
mod inside;
mod mounts;
mod reasons;
mod room;
mod traced;
mod trees;
