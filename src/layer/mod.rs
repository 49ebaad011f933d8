//! Layers: a canonical tar of changes, and the strict reader that applies one.
//!
//! Out: a [`LayerPlan`] lists the tar entries and their offsets, a [`LayerTar`] produces any part of the tar on any thread. In:
//! [`read`] parses, `model` decides what each entry does, a [`Target`] has it done on disk with several threads.

pub(crate) mod apply;
mod create;
mod fault;
pub(crate) mod hashing;
mod keep;
mod list;
pub(crate) mod model;
mod on_disk;
mod outline;
pub(crate) mod pax;
pub(crate) mod plan;
pub mod read;
pub(crate) mod reshape;
pub(crate) mod source;
pub(crate) mod whiteout;
pub(crate) mod write;
mod writers;

// Not part of the stable interface: for the benches, the fuzz targets and the tests of this repository.
#[doc(hidden)]
pub mod header;

pub use apply::{Applied, ApplyOptions, Loss, Target};
pub use header::{EntryKind, MtimePrecision};
pub use list::{ListOptions, list};
pub use plan::{LayerOptions, LayerPlan};
pub use source::{Filled, TarSource};
pub use whiteout::Strictness;
pub use write::{Files, LayerTar};
