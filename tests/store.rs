//! The store and its images as a whole: many processes, kills at any point, full disks, hostile documents.
#![allow(clippy::disallowed_methods)]

#[path = "store/common.rs"]
mod common;
#[path = "store/concurrent.rs"]
mod concurrent;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/hostile.rs"]
mod hostile;
#[path = "store/images.rs"]
mod images;
#[path = "store/interop.rs"]
mod interop;
#[path = "store/keep.rs"]
mod keep;
#[path = "store/pins.rs"]
mod pins;
#[path = "common/tools.rs"]
mod tools;
