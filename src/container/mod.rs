//! Commands in the trees of a store: an image's configuration and a tree's ledger brought together with [`crate::sandbox`].

mod command;
mod worktree;

pub use command::{Overrides, step_options};
pub use worktree::WorkTree;
