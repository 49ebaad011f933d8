//! Reading a blob while checking that it is what its digest and size say.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::Error;
use crate::hint::Hint;

/// A reader that passes bytes on and, at the end, fails unless they had the expected size and digest.
///
/// The check is complete only once `read` has returned 0: bytes seen before that are not verified yet. More bytes than
/// expected are refused as soon as they appear.
pub struct VerifiedReader<R> {
    inner: R,
    hasher: Sha256,
    expected: Digest,
    size: u64,
    seen: u64,
    /// Set once the end was reached and everything matched.
    verified: bool,
}

impl<R: Read> VerifiedReader<R> {
    /// Reads `inner`, which must turn out to be exactly `size` bytes with this digest.
    pub fn new(inner: R, expected: Digest, size: u64) -> Self {
        VerifiedReader { inner, hasher: Sha256::new(), expected, size, seen: 0, verified: false }
    }

    /// Returns whether the end was reached and the content is what it should be.
    pub fn is_verified(&self) -> bool {
        self.verified
    }

    /// Reads whatever is left and checks it: for consumers that stop before the end, as tar readers do.
    pub fn finish(mut self) -> crate::Result<R> {
        let shown = self.expected.to_string();
        io::copy(&mut self, &mut io::sink()).map_err(|error| Error::io("read blob", shown, error))?;
        Ok(self.inner)
    }

    fn refuse(&self, message: String) -> io::Error {
        Error::corrupt("read blob", message)
            .with_path(self.expected.to_string())
            .with_hint(Hint::GetDamagedAgain)
            .into()
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.verified {
            return Ok(0);
        }
        let n = self.inner.read(buffer)?;
        self.seen += n as u64;
        if self.seen > self.size {
            return Err(self.refuse(format!("the blob has more than the expected {} bytes", self.size)));
        }
        self.hasher.update(&buffer[..n]);
        if n == 0 {
            if self.seen < self.size {
                return Err(self.refuse(format!(
                    "the blob ends after {} of the expected {} bytes",
                    self.seen, self.size
                )));
            }
            let actual = Digest::from_bytes(self.hasher.clone().finalize().into());
            if actual != self.expected {
                return Err(self.refuse(format!("the content has another digest: {actual}")));
            }
            self.verified = true;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn only_the_right_bytes_reach_the_end() {
        let good = b"some content";
        let check = |bytes: &[u8], size| {
            VerifiedReader::new(bytes, Digest::of(good), size).finish().map(|_| ()).map_err(|e| e.kind())
        };
        assert_eq!(check(good, 12), Ok(()));
        for (bytes, size) in [
            (&b"some c0ntent"[..], 12),
            (b"some conten", 12),
            (b"some content!", 12),
            (good, 11),
            (good, 13),
            (b"", 0),
        ] {
            assert_eq!(check(bytes, size), Err(ErrorKind::Corrupt), "{bytes:?} {size}");
        }
        let mut short = VerifiedReader::new(&good[..], Digest::of(good), 12);
        short.read_exact(&mut [0; 12]).unwrap();
        assert!(!short.is_verified());
        assert_eq!(short.read(&mut [0; 4]).unwrap(), 0);
        assert!(short.is_verified());
    }
}
