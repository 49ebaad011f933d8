//! Options of copying a tree.

use super::structures::Options;
use crate::error::Result;
use crate::image::CloneOptions;

/// Options of a clone.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_clone_options {
    /// Number of threads; 0 for one per processor.
    pub threads: usize,
    /// Make everything durable before the function returns: the files (syncfs(2)), and then the name of the directory.
    pub sync: bool,
}

// SAFETY: `repr(C)`, of a number and a bool.
unsafe impl Options for treering_clone_options {
    type Value = CloneOptions;

    unsafe fn read(&self) -> Result<CloneOptions> {
        Ok(CloneOptions { threads: self.threads, sync: self.sync })
    }
}
