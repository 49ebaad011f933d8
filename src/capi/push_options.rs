//! Options of a push.

use std::ffi::c_char;

use super::arguments::Text;
use super::structures::Options;
use crate::error::Result;
use crate::registry::PushOptions;

/// Options of a push.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_push_options {
    /// Only this platform's image out of one for several: `os/arch[/variant]`. NULL for all.
    pub platform: *const c_char,
    /// Send blobs even where another repository of the registry is known to hold them.
    pub no_mount: bool,
}

// SAFETY: `repr(C)`, of a pointer and a bool.
unsafe impl Options for treering_push_options {
    type Value = PushOptions;

    unsafe fn read(&self) -> Result<PushOptions> {
        // SAFETY: the caller's contract.
        let platform = unsafe { Text::new(self.platform) }.parse("platform")?;
        Ok(PushOptions { platform, no_mount: self.no_mount })
    }
}
