//! Registries: Debian's `docker-registry`, other people's clients, and a server of ours that lies.

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
