//! Layers and trees made to do harm: nothing outside the tree moves, whatever comes of them.
#![allow(clippy::disallowed_methods)]

mod layers;
mod process;
mod race;
mod sequences;
