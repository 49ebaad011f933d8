//! Options of a pull.

use std::ffi::c_char;

use super::arguments::Text;
use super::structures::{Options, cap};
use crate::error::Result;
use crate::registry::PullOptions;
use crate::store::Reference;

/// Options of a pull.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_pull_options {
    /// Platform of an image for several: `os/arch[/variant]`. NULL for this machine's.
    pub platform: *const c_char,
    /// All platforms, and whatever else the index lists, attestations for example.
    pub all_platforms: bool,
    /// Name that the image gets in the store. NULL for the one it is pulled by.
    pub as_name: *const c_char,
    /// How many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
    pub max_ratio: u64,
}

// SAFETY: `repr(C)`, of pointers, a number and a bool.
unsafe impl Options for treering_pull_options {
    type Value = PullOptions;

    unsafe fn read(&self) -> Result<PullOptions> {
        // SAFETY: the caller's contract.
        let (platform, name) = unsafe { (Text::new(self.platform), Text::new(self.as_name)) };
        let mut options = PullOptions {
            platform: platform.parse("platform")?,
            all_platforms: self.all_platforms,
            name: name.optional("as_name")?.map(Reference::parse).transpose()?,
            ..PullOptions::default()
        };
        cap(self.max_ratio, |max| options.decode.ratio = max);
        Ok(options)
    }
}
