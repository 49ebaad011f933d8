//! The store and its images as a whole: many processes, kills at any point, full disks, hostile documents.
#![allow(clippy::disallowed_methods)]

mod concurrent;
mod faults;
mod hostile;
mod images;
mod interop;
mod keep;
mod pins;
mod world;
