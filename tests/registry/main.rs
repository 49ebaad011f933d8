//! Registries: Debian's `docker-registry`, other people's clients, and a server of ours that lies.
#![allow(clippy::disallowed_methods)]

mod attestations;
mod bounds;
mod cache;
mod debian;
mod fake;
mod faults;
mod hostile;
mod lists;
mod noted;
mod progress;
mod proxies;
mod real;
mod world;
