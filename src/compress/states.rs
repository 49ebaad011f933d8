//! States of the hash of a tar on the way to its DiffID, by which any part of it can be checked.
//!
//! SHA-256 (FIPS 180-4, section 6.2.2) takes a message block by block, and each state follows from the one before and the next
//! blocks: with the states at two places, what lies between them is checked without all that comes before. The first state is the
//! same for all, and behind the last one stands the DiffID. They cost nothing, since the DiffID is taken anyway.

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// The bytes of the tar between two states, at first.
const SPAN: u64 = 256 << 10;
/// More states than this are not kept; then every second one goes.
const MOST: usize = 64 << 10;
/// The bytes of a block of SHA-256.
const BLOCK: u64 = 64;
/// The most bytes between two states: they are in memory while they are checked.
pub(super) const SPAN_MAX: u64 = 16 << 20;

/// One state.
pub(super) type State = [u8; 32];

/// The states of one tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States {
    /// The bytes between two states, [`SPAN`] times a power of two.
    pub(super) span: u64,
    /// The states at one span, two, and so on.
    pub(super) list: Vec<State>,
    /// The bytes of the tar.
    pub(super) size: u64,
}

impl States {
    /// Returns the states of a tar in memory.
    pub(crate) fn of(tar: &[u8]) -> States {
        let mut hasher = TarHasher::noting();
        hasher.update(tar);
        hasher.finish().1.unwrap_or_else(|| unreachable!("they were asked for"))
    }

    /// Drops every second state. Returns whether any went.
    pub(super) fn thin(&mut self) -> bool {
        let before = self.list.len();
        let mut number = 0;
        self.list.retain(|_| {
            number += 1;
            number % 2 == 0
        });
        self.span *= 2;
        self.list.len() < before
    }

    /// Returns whether the states are close enough together to check by.
    pub(super) fn is_usable(&self) -> bool {
        self.span.min(self.size) <= SPAN_MAX
    }

    /// Returns where the piece begins that an offset of the tar is in.
    pub(super) fn floor(&self, offset: u64) -> u64 {
        match self.list.len() as u64 * self.span {
            last if offset >= last => last,
            _ => offset / self.span * self.span,
        }
    }

    /// Returns how long the piece is that begins at an offset; 0 at the end of the tar.
    pub(super) fn length(&self, offset: u64) -> u64 {
        match self.list.len() as u64 * self.span {
            last if offset >= last => self.size.saturating_sub(offset),
            _ => self.span,
        }
    }

    /// Returns whether a piece that begins at an offset is what the tar with this DiffID has there.
    pub(super) fn check(&self, offset: u64, piece: &[u8], diff_id: &Digest) -> bool {
        let number = (offset / self.span) as usize;
        let hasher = match number.checked_sub(1) {
            None => Some(Sha256::new()),
            Some(before) => self.list.get(before).and_then(|state| resume(state, offset)),
        };
        let Some(mut hasher) = hasher.filter(|_| piece.len() as u64 == self.length(offset)) else {
            return false;
        };
        hasher.update(piece);
        match self.list.get(number) {
            Some(state) => state_of(&hasher) == *state,
            None => Digest::from_bytes(hasher.finalize().into()) == *diff_id,
        }
    }
}

/// Returns the state of a hasher that stands at the end of a block.
fn state_of(hasher: &Sha256) -> State {
    *hasher.serialize().first_chunk().expect("a state has 32 bytes, and what follows it")
}

/// Returns a hasher with a state after so many bytes, a multiple of [`BLOCK`].
fn resume(state: &State, bytes: u64) -> Option<Sha256> {
    // The state, the number of blocks, and a buffer in which nothing is.
    let mut whole: SerializedState<Sha256> = Sha256::new().serialize();
    whole[..32].copy_from_slice(state);
    whole[32..40].copy_from_slice(&(bytes / BLOCK).to_le_bytes());
    Sha256::deserialize(&whole).ok()
}

/// A hasher of a tar, which takes its DiffID, and its states where they are asked for.
#[derive(Debug, Clone)]
pub(crate) struct TarHasher {
    sum: Sha256,
    size: u64,
    states: Option<(u64, Vec<State>)>,
}

impl TarHasher {
    /// Returns one that takes nothing but the DiffID.
    pub fn new() -> TarHasher {
        TarHasher { sum: Sha256::new(), size: 0, states: None }
    }

    /// Returns one that takes both.
    pub fn noting() -> TarHasher {
        TarHasher { states: Some((SPAN, Vec::new())), ..TarHasher::new() }
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let Some((span, list)) = &mut self.states else {
            self.size += bytes.len() as u64;
            return self.sum.update(bytes);
        };
        while !bytes.is_empty() {
            let left = *span - self.size % *span;
            let (part, rest) =
                bytes.split_at(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())));
            self.sum.update(part);
            self.size += part.len() as u64;
            bytes = rest;
            if self.size.is_multiple_of(*span) {
                list.push(state_of(&self.sum));
                if list.len() > MOST {
                    let mut states = States { span: *span, list: std::mem::take(list), size: 0 };
                    states.thin();
                    (*span, *list) = (states.span, states.list);
                }
            }
        }
    }

    /// Returns the DiffID, and the states if they were asked for.
    pub fn finish(self) -> (Digest, Option<States>) {
        let diff_id = Digest::from_bytes(self.sum.finalize().into());
        let (size, states) = (self.size, self.states);
        (diff_id, states.map(|(span, list)| States { span, list, size }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing;

    fn data(length: usize) -> Vec<u8> {
        testing::noise(length)
    }

    #[test]
    fn each_piece_is_checked_alone_and_no_other_passes() {
        let span = SPAN as usize;
        for length in [0, 1, 64, span - 1, span, span + 1, 3 * span, 4 * span + 777] {
            let data = data(length);
            let mut hasher = TarHasher::noting();
            for part in data.chunks(100_003) {
                hasher.update(part);
            }
            let (diff_id, states) = hasher.finish();
            let mut states = states.unwrap();
            assert_eq!((diff_id, &states), (Digest::of(&data), &States::of(&data)));
            // As they are, and with every second one gone.
            for _ in 0..3 {
                let mut at = 0;
                while states.length(at) > 0 {
                    let piece = &data[at as usize..][..states.length(at) as usize];
                    assert!(states.check(at, piece, &diff_id), "{length} at {at}");
                    assert_eq!(states.floor(at + piece.len() as u64 - 1), at);
                    for wrong in [0, piece.len() / 2, piece.len() - 1] {
                        let mut piece = piece.to_vec();
                        piece[wrong] ^= 1;
                        assert!(!states.check(at, &piece, &diff_id), "{length} at {at}: byte {wrong}");
                    }
                    assert!(!states.check(at, &piece[1..], &diff_id));
                    at += piece.len() as u64;
                }
                assert_eq!(at, length as u64);
                states.thin();
            }
        }
    }

    #[test]
    fn a_changed_state_fits_nothing() {
        let data = data(3 * SPAN as usize);
        let (states, diff_id) = (States::of(&data), Digest::of(&data));
        for number in 0..states.list.len() {
            let mut wrong = states.clone();
            wrong.list[number][5] ^= 1;
            let piece = |at: usize| &data[at * SPAN as usize..][..SPAN as usize];
            assert!(!wrong.check(number as u64 * SPAN, piece(number), &diff_id));
            if number + 1 < 3 {
                assert!(!wrong.check((number as u64 + 1) * SPAN, piece(number + 1), &diff_id));
            }
        }
    }
}
