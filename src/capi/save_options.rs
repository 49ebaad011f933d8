//! Options of saving an archive.

use std::ffi::c_char;

use super::arguments::Text;
use super::structures::Options;
use crate::archive::SaveOptions;
use crate::error::Result;

/// Options of a save.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_save_options {
    /// Kind of archive: `docker-archive` (also NULL) or `oci-archive`.
    pub format: *const c_char,
    /// Platform to save of an image for several: `os/arch[/variant]`. NULL for this machine's, or with `oci-archive` for all.
    pub platform: *const c_char,
}

// SAFETY: `repr(C)`, of pointers.
unsafe impl Options for treering_save_options {
    type Value = SaveOptions;

    unsafe fn read(&self) -> Result<SaveOptions> {
        // SAFETY: the caller's contract.
        let (format, platform) = unsafe { (Text::new(self.format), Text::new(self.platform)) };
        Ok(SaveOptions {
            format: format.parse("format")?.unwrap_or_default(),
            platform: platform.parse("platform")?,
        })
    }
}
