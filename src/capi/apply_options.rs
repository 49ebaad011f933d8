//! Options of applying layers.

use std::ffi::c_char;

use super::arguments::Text;
use super::structures::{Options, cap};
use crate::compress::DecodeLimits;
use crate::error::Result;
use crate::image::UnpackOptions;
use crate::layer::whiteout::Strictness;

/// Options of how layers are put into a directory, by treering_unpack() and treering_layer_apply_fd().
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_apply_options {
    /// Number of threads that create files; 0 for one per processor; at most four either way.
    pub threads: usize,
    /// Make it an error, TREERING_LOSS, when an attribute can be kept neither on disk nor in the ledger.
    pub deny_loss: bool,
    /// Take whiteouts as containerd does, which the specification forbids and old tools wrote.
    pub lenient: bool,
    /// Make everything durable before treering_unpack() returns: the files (syncfs(2)), and then the name of the directory.
    pub sync: bool,
    /// Extended attribute to write owners into as well, for other tools: `rootlesscontainers` for `user.rootlesscontainers`
    /// (PRoot, umoci) or `override-stat` for `user.containers.override_stat` (fuse-overlayfs, containers/storage). NULL for
    /// none.
    pub owner_xattr: *const c_char,
    /// Most bytes that all files of one layer may have when written out, holes included. 0 for 1 TiB; more than 256 GiB of the
    /// layer itself only where this allows it.
    pub max_bytes: u64,
    /// Most entries that one layer may have. 0 for ten million.
    pub max_entries: u64,
    /// How many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
    pub max_ratio: u64,
    /// Platform that treering_unpack() takes of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
    pub platform: *const c_char,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_apply_options {
    type Value = UnpackOptions;

    unsafe fn read(&self) -> Result<UnpackOptions> {
        let mut options = UnpackOptions { sync: self.sync, ..UnpackOptions::default() };
        // SAFETY: the caller's contract.
        unsafe {
            options.platform = Text::new(self.platform).parse("platform")?;
            options.apply.owner_xattr = Text::new(self.owner_xattr).parse("owner_xattr")?;
        }
        options.apply.threads = self.threads;
        options.apply.deny_loss = self.deny_loss;
        options.apply.strictness = if self.lenient { Strictness::Lenient } else { Strictness::Strict };
        cap(self.max_bytes, |max| {
            options.apply.limits.max_bytes = max;
            options.decode.max_output = DecodeLimits::default().max_output.max(max);
        });
        cap(self.max_entries, |max| options.apply.limits.max_entries = max);
        cap(self.max_ratio, |max| options.decode.ratio = max);
        Ok(options)
    }
}
