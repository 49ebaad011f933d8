//! Taking the digest of a file's content on the way to somewhere else.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use super::read::Data;
use crate::error::Result;
use crate::progress::Control;

/// How many zeros of holes are hashed at once.
const ZEROS: usize = 1 << 20;
/// How much of holes is hashed in the layers of one image: about five seconds. A tar of a few KiB may describe holes of a TiB, which
/// some programs leave (lastlog), and which would take a quarter of an hour.
const HOLES_MAX: u64 = 8 << 30;

/// The bytes of holes that may still be hashed.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl Default for Budget {
    fn default() -> Self {
        Budget(AtomicU64::new(HOLES_MAX))
    }
}

impl Budget {
    /// Takes so many bytes out of it, if they are there.
    fn take(&self, length: u64) -> bool {
        let taken = |left: u64| left.checked_sub(length);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

/// The digest of one file, while its content passes by.
#[derive(Debug)]
pub(crate) struct ContentHasher(Option<Sha256>);

impl ContentHasher {
    pub fn new() -> Self {
        ContentHasher(Some(Sha256::new()))
    }

    /// Takes the next piece in. Content with more holes than the budget has left gets no digest.
    pub fn update(&mut self, data: &Data, budget: &Budget, control: &Control) -> Result<()> {
        static ZERO: [u8; ZEROS] = [0; ZEROS];
        let Some(hasher) = &mut self.0 else { return Ok(()) };
        match data {
            Data::Bytes(slice) => hasher.update(&slice[..]),
            Data::Hole(length) if !budget.take(*length) => self.0 = None,
            &Data::Hole(mut length) => {
                while length > 0 {
                    control.check("read layer")?;
                    let part = length.min(ZEROS as u64);
                    hasher.update(&ZERO[..part as usize]);
                    length -= part;
                }
            }
        }
        Ok(())
    }

    /// Returns the digest of all that came.
    pub fn finish(self) -> Option<[u8; 32]> {
        self.0.map(|hasher| hasher.finalize().into())
    }
}
