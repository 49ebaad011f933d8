//! Options of loading an archive.

use std::ffi::c_char;

use super::arguments::Text;
use super::structures::{Options, cap};
use crate::archive::LoadOptions;
use crate::error::Result;

/// Options of a load.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_load_options {
    /// The policy for the names in the archive: `keep` (also NULL), a name that stands for another image in the store is an
    /// error, TREERING_ALREADY_EXISTS; `move`, it is moved, as `docker load` does; `ignore`, images get no names.
    pub names: *const c_char,
    /// Most bytes that the archive, and each layer in it, may have uncompressed. 0 for 1 TiB.
    pub max_bytes: u64,
    /// Most entries that the archive may have. 0 for 100,000.
    pub max_entries: u64,
}

// SAFETY: `repr(C)`, of pointers and numbers.
unsafe impl Options for treering_load_options {
    type Value = LoadOptions;

    unsafe fn read(&self) -> Result<LoadOptions> {
        // SAFETY: the caller's contract.
        let names = unsafe { Text::new(self.names) }.parse("names")?.unwrap_or_default();
        let mut options = LoadOptions { names, ..LoadOptions::default() };
        cap(self.max_bytes, |max| {
            options.limits.max_bytes = max;
            options.decode.max_output = max;
        });
        cap(self.max_entries, |max| options.limits.max_entries = max);
        Ok(options)
    }
}
