//! Layers: a canonical tar of changes, and the strict reader that applies one.

pub mod source;
