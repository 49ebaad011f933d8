//! Layers: a canonical tar of changes, and the strict reader that applies one.
//!
//! Out: [`plan`] lists the tar entries and their offsets, [`write`](mod@write) produces any part of the tar on any thread.
//! In: [`read`] parses, `model` decides what each entry does, [`apply`] does it on disk with several threads.

pub mod apply;
mod create;
mod fault;
pub mod header;
mod list;
pub(crate) mod model;
pub mod pax;
pub mod plan;
pub mod read;
pub mod source;
pub mod whiteout;
pub mod write;
mod writers;

pub use apply::{Applied, ApplyOptions, Loss, Target};
pub use header::MtimePrecision;
pub use list::list;
pub use plan::{LayerOptions, LayerPlan};
pub use write::{Files, LayerTar};
