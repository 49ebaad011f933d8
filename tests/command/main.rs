//! The `treering` program as its users meet it: the real binary, its output, its exit codes.
//!
//! Nothing here needs root, and nothing changes when root runs it.

// The ban on ambient paths is for the library.
#![allow(clippy::disallowed_methods)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../common/tools.rs"]
mod tools;

mod attack;
mod diff;
mod examples;
mod grow;
mod inside;
mod keep;
mod layer;
mod look;
mod moving;
mod output;
mod talk;
mod trees;
mod world;
