//! Helpers of this module's tests: data of known shape, and sources that misbehave on demand.

use crate::error::Result;
use crate::layer::source::{Filled, TarSource};

/// Bytes that no encoder can shrink, the same on every run.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Bytes that compress like text.
pub(super) fn text(length: usize) -> Vec<u8> {
    let words = ["ring ", "tree ", "layer ", "bark ", "root ", "leaf ", "image ", "digest\n"];
    let mut out = Vec::with_capacity(length + 16);
    for byte in noise(length / 4 + 1) {
        out.extend_from_slice(words[usize::from(byte >> 5)].as_bytes());
        if byte & 31 == 0 {
            out.push(byte);
        }
        if out.len() >= length {
            break;
        }
    }
    out.resize(length, b'.');
    out
}

/// Bytes of all values that compress, as machine code does.
pub(super) fn binary(length: usize) -> Vec<u8> {
    let noise = noise(4096);
    let mut out = Vec::with_capacity(length + 64);
    for pair in noise.chunks(2).cycle() {
        if out.len() >= length {
            break;
        }
        let at = usize::from(u16::from_le_bytes([pair[0], pair[1]])).wrapping_mul(out.len() / 7 + 1) % 4000;
        out.extend_from_slice(&noise[at..at + 8 + at % 40]);
        out.push(pair[0]);
    }
    out.truncate(length);
    out
}

/// Returns text, then noise, then zeros, then text: every kind of piece once.
pub(super) fn mixture(length: usize) -> Vec<u8> {
    let quarter = length / 4;
    let mut out = text(quarter);
    out.extend(noise(quarter));
    out.resize(3 * quarter, 0);
    out.extend(text(length - 3 * quarter));
    out
}

/// A hook that a [`Memory`] source calls before it fills a piece.
pub(super) type Hook = Box<dyn Fn(u64) -> Result<()> + Sync>;

/// A tar source that is a slice.
pub(super) struct Memory {
    pub(super) data: Vec<u8>,
    pub(super) hook: Hook,
}

impl Memory {
    pub(super) fn new(data: Vec<u8>) -> Self {
        Memory { data, hook: Box::new(|_| Ok(())) }
    }

    pub(super) fn hooked(data: Vec<u8>, hook: impl Fn(u64) -> Result<()> + Sync + 'static) -> Self {
        Memory { data, hook: Box::new(hook) }
    }
}

impl TarSource for Memory {
    type Worker = ();

    fn len(&self) -> u64 {
        self.data.len() as u64
    }

    fn worker(&self) {}

    fn fill(&self, _: &mut (), offset: u64, buf: &mut [u8]) -> Result<Filled> {
        (self.hook)(offset)?;
        let part = &self.data[offset as usize..][..buf.len()];
        buf.copy_from_slice(part);
        Ok(if part.iter().all(|&byte| byte == 0) { Filled::Zero } else { Filled::Data })
    }
}
