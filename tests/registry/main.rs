//! Registries: Debian's `docker-registry`, other people's clients, and a server of ours that lies.
#![allow(clippy::disallowed_methods)]

mod answers;
mod attestations;
mod bounds;
mod builds;
mod cache;
mod commands;
mod debian;
mod fake;
mod faults;
mod hostile;
mod known;
mod lists;
mod noted;
mod progress;
mod proxies;
mod real;
mod settings;
mod world;
