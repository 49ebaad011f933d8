//! Layers: a canonical tar of changes, and the strict reader that applies one.

mod fault;
pub mod header;
pub mod pax;
pub mod read;
pub mod source;
pub mod whiteout;
