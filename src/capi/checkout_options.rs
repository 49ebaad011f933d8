//! Options of a checkout.

use std::ffi::c_char;

use super::arguments::Text;
use super::structures::{Options, cap};
use crate::error::Result;
use crate::image::CheckoutOptions;
use crate::layer::ApplyOptions;

/// Options of a checkout.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_checkout_options {
    /// Throw away what changed in the directory since it was unpacked, committed or checked out.
    pub discard: bool,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Make it an error, TREERING_LOSS, when an attribute can be kept neither on disk nor in the ledger.
    pub deny_loss: bool,
    /// Make everything durable before the function returns (syncfs(2)).
    pub sync: bool,
    /// Platform of a multi-platform image: `os/arch[/variant]`. NULL for this machine's.
    pub platform: *const c_char,
    /// How many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted. 0 for 1000.
    pub max_ratio: u64,
    /// Number of threads; 0 for one per processor.
    pub threads: usize,
}

// SAFETY: `repr(C)`, of pointers, numbers and bools.
unsafe impl Options for treering_checkout_options {
    type Value = CheckoutOptions;

    unsafe fn read(&self) -> Result<CheckoutOptions> {
        let mut options = CheckoutOptions {
            discard: self.discard,
            dry_run: self.dry_run,
            // SAFETY: the caller's contract.
            platform: unsafe { Text::new(self.platform) }.parse("platform")?,
            sync: self.sync,
            apply: ApplyOptions {
                threads: self.threads,
                deny_loss: self.deny_loss,
                ..ApplyOptions::default()
            },
            ..CheckoutOptions::default()
        };
        cap(self.max_ratio, |max| options.decode.ratio = max);
        Ok(options)
    }
}
