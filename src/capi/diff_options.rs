//! Options of a comparison.

use std::ffi::c_char;

use super::arguments::{Text, exclude, owners};
use super::status::treering_slice;
use super::structures::Options;
use crate::error::Result;
use crate::image::DiffOptions;

/// Options of a comparison of trees.
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
    /// so this is off.
    pub exact_times: bool,
    /// Do not look at what is mounted: a mount point counts as unchanged, or as empty where there was nothing.
    pub one_file_system: bool,
    /// Number of threads; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
    /// Turn the sides of treering_diff_tree() around: what makes the tree into its base.
    pub reverse: bool,
    /// Let times say nothing: what differs in its time alone is compared by its content.
    pub ignore_times: bool,
    /// Patterns of paths to leave out, as in a .dockerignore; the last one that matches decides, `!` takes in again. Of what is
    /// left out nothing changes.
    pub exclude: *const *const c_char,
    /// Number of `exclude`.
    pub exclude_len: usize,
    /// File of such patterns, one a line, which count before `exclude`. Empty for none.
    pub ignore_file: treering_slice,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_diff_options {
    type Value = DiffOptions;

    unsafe fn read(&self) -> Result<DiffOptions> {
        // SAFETY: the caller's contract.
        unsafe {
            Ok(DiffOptions {
                owners: owners(self.owner, self.owner_from)?,
                compare: Text::new(self.compare).parse("compare")?.unwrap_or_default(),
                platform: Text::new(self.platform).parse("platform")?,
                exact_times: self.exact_times,
                clamp_mtime: None,
                one_file_system: self.one_file_system,
                ignore_times: self.ignore_times,
                exclude: exclude(self.exclude, self.exclude_len, self.ignore_file)?,
                all_reasons: true,
                reverse: self.reverse,
                threads: self.threads,
            })
        }
    }
}
