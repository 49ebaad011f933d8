//! Builds Dockerfiles: plan, steps, cache.
//!
//! Most instructions need no tree. A *state* is a stack of layers and a configuration; COPY, ADD and WORKDIR work on the list of the
//! layers: destinations are resolved through its symbolic links in memory, sources are opened by descriptor in their
//! context, and the base is neither unpacked nor read. Only RUN makes a tree, when it misses the cache.

mod cache;
mod chmod;
mod context;
mod events;
mod execute;
mod key;
mod layer;
mod look;
mod merge;
mod options;
mod pick;
mod plan;
mod source;
mod spool;
mod state;
mod step;
#[cfg(feature = "sandbox")]
mod work_tree;

pub use context::{ContextSource, DockerfileSource};
pub use execute::build;
pub use look::{check, outline, targets};
pub use options::{BuildOptions, Built, Outline, OutlineArg, Target};
