//! Builds Dockerfiles: plan, steps, cache.
//!
//! Most instructions need no tree. A *state* is a stack of layers and a configuration; COPY, ADD and WORKDIR work on the list of the
//! layers: destinations are resolved through its symbolic links in memory, sources are opened by descriptor in their
//! context, and the base is neither unpacked nor read. Only RUN makes a tree, when it misses the cache.

mod address;
#[cfg(feature = "sandbox")]
mod agent;
mod annotations;
mod bounded;
mod cache;
#[cfg(feature = "sandbox")]
mod cache_mount;
mod chmod;
mod context;
mod directory;
mod events;
mod execute;
mod git;
mod key;
mod languages;
mod layer;
mod licence;
mod look;
mod merge;
mod options;
mod outline;
mod pick;
mod place;
mod plan;
#[cfg(feature = "sandbox")]
mod pool;
mod provenance;
#[cfg(feature = "registry")]
mod record_list;
mod remote;
mod sbom;
mod share;
mod source;
mod spool;
mod state;
mod step;
mod travelling;
#[cfg(feature = "sandbox")]
mod work_tree;

pub use context::{ContextSource, DockerfileSource};
pub use execute::build;
pub use look::{check, targets};
#[cfg(feature = "sandbox")]
pub use options::{Agent, Secret, SecretSource};
pub use options::{
    BuildOptions, Built, BuiltImage, Git, GitAnswer, GitCall, GitRunner, Outline, OutlineArg, OutlineMount,
    Target,
};
pub use outline::outline;
/// Reads a record as another machine wrote it, and says whether it is one of this key. Not part of the stable interface: for the
/// fuzz targets of this repository.
#[doc(hidden)]
pub fn check_travelling_record(text: &str, key: &crate::Digest) -> bool {
    travelling::decode(text, key).is_some()
}

pub use provenance::{Provenance, ProvenanceMode};
pub use share::{CacheFrom, CacheTo};
