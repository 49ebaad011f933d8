//! What changed between two snapshots.

pub mod change;
pub mod compare;
pub mod content;
mod links;
pub mod overlay;
mod parents;

pub use change::{Change, ChangeKind, Reasons, Stat, listed};
pub use compare::{CompareMode, CompareOptions, Comparison, compare};
pub use overlay::{OverlayDiff, OverlayOptions, Sources, overlay};
