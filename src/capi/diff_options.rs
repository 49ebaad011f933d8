//! Options of a comparison.

use std::ffi::c_char;

use super::arguments::{Text, source};
use super::status::treering_slice;
use super::structures::Options;
use crate::error::Result;
use crate::image::DiffOptions;

/// How trees are compared.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_diff_options {
    /// Owner of the files: `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`. NULL for what the store has for the
    /// tree, else `root`; for treering_diff_overlay(), for the owners on disk when root compares.
    pub owner: *const c_char,
    /// Record of owners to go by, as in treering_commit_options.
    pub owner_from: treering_slice,
    /// How far metadata is trusted: `auto` (also NULL), `metadata` or `content`, as in treering_commit_options.
    pub compare: *const c_char,
    /// Platform of a multi-platform base: `os/arch[/variant]`. NULL for this machine's.
    pub platform: *const c_char,
    /// Take times that agree in the second for different when one of them has no fraction. Layers usually carry whole seconds,
    /// so this is off. treering_diff_trees() always does.
    pub exact_times: bool,
    /// Do not look below mount points: a mount point counts as an empty directory.
    pub one_file_system: bool,
    /// Number of threads; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_diff_options {
    type Value = DiffOptions;

    unsafe fn read(&self) -> Result<DiffOptions> {
        // SAFETY: the caller's contract.
        unsafe {
            Ok(DiffOptions {
                owner: Text::new(self.owner).parse("owner")?,
                owner_from: source(self.owner_from)?,
                compare: Text::new(self.compare).parse("compare")?.unwrap_or_default(),
                platform: Text::new(self.platform).parse("platform")?,
                exact_times: self.exact_times,
                clamp_mtime: None,
                one_file_system: self.one_file_system,
                threads: self.threads,
            })
        }
    }
}
