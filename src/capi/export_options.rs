//! Options of an export.

use std::ffi::c_char;

use super::arguments::{Text, number, owners};
use super::status::treering_slice;
use super::structures::Options;
use crate::archive::ExportOptions;
use crate::error::Result;
use crate::layer::{LayerOptions, MtimePrecision};

/// Options of an export.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_export_options {
    /// Platform of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
    pub platform: *const c_char,
    /// Owner of the files: `root`, `keep`, `UID:GID` or `map:IMAGE:DISK:COUNT[,...]`. NULL for what the store has for the
    /// tree, else `root`.
    pub owner: *const c_char,
    /// Record of owners to go by, as in treering_commit_options.
    pub owner_from: treering_slice,
    /// Write time stamps with nanoseconds, instead of whole seconds as most tools write.
    pub nanoseconds: bool,
    /// Latest time stamp in the tar, as SOURCE_DATE_EPOCH gives it: seconds since 1970. NULL for no limit.
    pub clamp_mtime: *const i64,
    /// Number of threads; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_export_options {
    type Value = ExportOptions;

    unsafe fn read(&self) -> Result<ExportOptions> {
        // SAFETY: the caller's contract.
        unsafe {
            Ok(ExportOptions {
                platform: Text::new(self.platform).parse("platform")?,
                owners: owners(self.owner, self.owner_from)?,
                layer: LayerOptions {
                    precision: MtimePrecision::nanoseconds(self.nanoseconds),
                    clamp_mtime: number(self.clamp_mtime, "clamp_mtime")?,
                },
                threads: self.threads,
            })
        }
    }
}
