//! Options of writing a layer.

use std::ffi::c_char;

use super::arguments::{Text, number};
use super::structures::Options;
use crate::compress::{Compression, Profile};
use crate::error::Result;
use crate::layer::{LayerOptions, MtimePrecision};

/// Options of a layer that is written.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_layer_options {
    /// Compression of the layer: `none`, `gzip` (also NULL) or `zstd`.
    pub compression: *const c_char,
    /// Level of the compression: 1 to 12 for gzip, 1 to 19 for zstd; 0 for the default one.
    pub level: i32,
    /// Write time stamps with nanoseconds, instead of whole seconds as most tools write.
    pub nanoseconds: bool,
    /// Latest time stamp in the layer, as SOURCE_DATE_EPOCH gives it: seconds since 1970. NULL for no limit.
    pub clamp_mtime: *const i64,
    /// Number of threads; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
}

/// Options of a layer that is written, checked.
pub struct Writing {
    pub(super) profile: Profile,
    pub(super) layer: LayerOptions,
    pub(super) threads: usize,
}

/// Returns a compression with its level, where 0 is the default one; `None` where no compression is named.
pub(super) fn profile(compression: Text<'_>, level: i32) -> Result<Option<Profile>> {
    let compression = compression.parse("compression")?;
    compression.map(|compression| Profile::new(compression, (level != 0).then_some(level))).transpose()
}

/// Returns the same, with gzip where none is named.
pub(super) fn profile_or_gzip(compression: Text<'_>, level: i32) -> Result<Profile> {
    match profile(compression, level)? {
        Some(profile) => Ok(profile),
        None => Profile::new(Compression::Gzip, (level != 0).then_some(level)),
    }
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_layer_options {
    type Value = Writing;

    unsafe fn read(&self) -> Result<Writing> {
        // SAFETY: the caller's contract.
        unsafe {
            Ok(Writing {
                profile: profile_or_gzip(Text::new(self.compression), self.level)?,
                layer: LayerOptions {
                    precision: MtimePrecision::nanoseconds(self.nanoseconds),
                    clamp_mtime: number(self.clamp_mtime, "clamp_mtime")?,
                },
                threads: self.threads,
            })
        }
    }
}
