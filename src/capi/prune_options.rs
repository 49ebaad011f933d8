//! Options of a prune.

use std::ffi::c_char;
use std::time::Duration;

use super::arguments::{number, texts};
use super::structures::Options;
use crate::error::Result;
use crate::image::TidyOptions;
use crate::store::{CachePruneOptions, PruneOptions};

/// Options of treering_store_prune().
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_prune_options {
    /// Only report what would go.
    pub dry_run: bool,
    /// Keep images that have no name.
    pub keep_untagged: bool,
    /// First take away the names of images that no tree was made from, so that these images go as well.
    pub unused_names: bool,
    /// Forget trees that are not where they were unpacked or last committed, with the owners and devices that the disk could
    /// not hold.
    pub lost_trees: bool,
    /// Digests (`sha256:` and 64 hex digits) of blobs to keep with what they refer to, besides everything that is named or
    /// that a tree was made from.
    pub keep: *const *const c_char,
    /// Number of digests in `keep`.
    pub keep_len: usize,
    /// Milliseconds to wait for writers to finish before giving up with TREERING_BUSY. NULL for 10 seconds.
    pub wait: *const u64,
    /// Remove records of build steps as well, those that hold layers which no image needs, and these layers.
    pub build_cache: bool,
    /// Remove all records of build steps, also those of layers that images need.
    pub all_build_cache: bool,
    /// Of records that would go, keep those used last, up to so many bytes with their layers. 0 for none.
    pub keep_storage: u64,
    /// Only records that were not used for so many seconds. 0 for all.
    pub unused_for: u64,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_prune_options {
    type Value = TidyOptions;

    unsafe fn read(&self) -> Result<TidyOptions> {
        // SAFETY: the caller's contract.
        let (keep, wait) = unsafe { (texts(self.keep, self.keep_len, "keep")?, number(self.wait, "wait")?) };
        let defaults = PruneOptions::default();
        Ok(TidyOptions {
            unused_names: self.unused_names,
            lost_trees: self.lost_trees,
            prune: PruneOptions {
                dry_run: self.dry_run,
                untagged: !self.keep_untagged,
                keep: keep.iter().map(|digest| digest.parse()).collect::<Result<_>>()?,
                cache: (self.build_cache || self.all_build_cache).then(|| CachePruneOptions {
                    all: self.all_build_cache,
                    keep_bytes: self.keep_storage,
                    unused_for: Duration::from_secs(self.unused_for),
                }),
                wait: wait.map_or(defaults.wait, Duration::from_millis),
            },
        })
    }
}
