//! Commands in trees: what they leave behind is what real root leaves behind, on every rung that works here, and nothing of them is
//! left when they end.
#![cfg(feature = "sandbox")]
#![allow(clippy::disallowed_methods)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/tools.rs"]
mod tools;

mod debian;
mod digests;
mod inside;
mod world;
