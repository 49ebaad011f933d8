//! Caps on what a compressed input can ask for.

use crate::error::{Error, Result};
use crate::hint::Hint;

/// Caps on what an input may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeLimits {
    /// How many times larger than the input the output may get, beyond `ratio_floor`. Chunks of nothing but zeros
    /// are not counted: sparse files compress without bound.
    pub ratio: u64,
    /// As long as the output is shorter than this, its ratio does not matter.
    pub ratio_floor: u64,
    /// How long the output may get.
    pub max_output: u64,
    /// The largest window a zstd stream may use, which is memory to allocate; rounded down to a power of two.
    pub zstd_window: u64,
}

impl Default for DecodeLimits {
    /// Returns a ratio of 1000 beyond 64 MiB, 256 GiB in all, windows of 128 MiB (what `zstd -d` allows).
    fn default() -> Self {
        DecodeLimits { ratio: 1000, ratio_floor: 64 << 20, max_output: 256 << 30, zstd_window: 128 << 20 }
    }
}

impl DecodeLimits {
    /// Refuses what is beyond the limits.
    pub(super) fn check(&self, consumed: u64, produced: u64, zeros: u64) -> Result<()> {
        if produced > self.max_output {
            let message = format!("the layer is longer than {} bytes", self.max_output);
            return Err(Error::limit("decompress layer", message).with_hint(Hint::RaiseBytes));
        }
        let counted = produced - zeros;
        if counted > self.ratio_floor && counted > consumed.saturating_mul(self.ratio) {
            let message = format!("the layer grows to more than {} times its compressed size", self.ratio);
            return Err(Error::limit("decompress layer", message).with_hint(Hint::RaiseRatio));
        }
        Ok(())
    }
}
