//! Registries: Debian's `docker-registry`, other people's clients, and a server of ours that lies.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/tools.rs"]
mod tools;

mod debian;
mod fake;
mod faults;
mod hostile;
mod lists;
mod real;
mod world;
