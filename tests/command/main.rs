//! The `treering` program as its users meet it: the real binary, its output, its exit codes.
//!
//! Nothing here needs root, and nothing changes when root runs it.

// The ban on ambient paths is for the library.
#![allow(clippy::disallowed_methods)]

mod attack;
mod back;
mod damage;
mod diff;
mod examples;
mod faults;
mod grow;
mod inside;
mod keep;
mod layer;
mod look;
mod moving;
mod ordinary;
mod output;
mod report;
mod stores;
mod talk;
mod trees;
