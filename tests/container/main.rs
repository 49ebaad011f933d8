//! Containers: made, run, listed, committed, removed; by root and by a user without privileges, killed at any moment.
#![cfg(all(feature = "cli", feature = "sandbox"))]
#![allow(clippy::disallowed_methods)]

mod copy;
mod endless;
mod foreground;
mod lifecycle;
mod links;
mod network;
mod options;
mod places;
mod process;
mod running;
mod terminal;
mod volumes;
