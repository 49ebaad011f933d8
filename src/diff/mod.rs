//! The changes between two snapshots.

pub(crate) mod change;
pub(crate) mod compare;
mod links;
pub(crate) mod overlay;
mod parents;
pub(crate) mod transition;

// Not part of the stable interface: for the Python package and the tests of this repository.
#[doc(hidden)]
pub mod content;

pub use change::{Change, ChangeKind, Reasons, Stat, all_added, listed};
pub(crate) use compare::exclude;
pub use compare::{CompareMode, CompareOptions, Comparison, compare};
pub use overlay::{OverlayDiff, OverlayOptions, Sources, overlay};
