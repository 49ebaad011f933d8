//! One pass over a layer in which its files are hashed and its index is made.

use sha2::{Digest as _, Sha256};

use super::open::Layer;
use crate::compress::{DecodeOptions, Decoder, LayerIndex};
use crate::error::{Error, Result};
use crate::layer::index::PlacesBuilder;
use crate::layer::read::{Data, LayerReader, ReadLimits, TarEntry};
use crate::progress::Control;
use crate::store::Store;

const READ: &str = "read layer";
/// How many zeros of holes are hashed at once.
const ZEROS: usize = 1 << 20;
/// How much of holes is hashed in the layers of one image: about five seconds. A tar of a few KiB may describe holes of a TiB, which
/// some programs leave (lastlog), and which would take a quarter of an hour.
pub(super) const HOLES_MAX: u64 = 8 << 30;

/// What a pass may cost.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes of holes that may still be hashed.
    pub holes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { holes: HOLES_MAX }
    }
}

/// Reads a layer, has `place` decide for each entry which node its content belongs to, and gives the digest of that content to
/// `digest`. Content with more holes than the budget has left gets no digest. Checks the layer, and gives its index, which is
/// stored, too, where that is possible.
pub(super) fn hash_layer(
    store: &Store,
    layer: &Layer,
    limits: &ReadLimits,
    budget: &mut Budget,
    control: &Control,
    place: &mut dyn FnMut(&TarEntry) -> Result<Option<u32>>,
    digest: &mut dyn FnMut(u32, [u8; 32]),
) -> Result<LayerIndex> {
    let named = |error: Error| match error.path() {
        None => error.with_path(layer.digest.to_string()),
        Some(_) => error,
    };
    let file = store.open_blob(&layer.digest)?;
    let options = DecodeOptions { restarts: true, ..layer.decode_options(store)? };
    let decoder = Decoder::new(Box::new(file), options, control.clone()).map_err(named)?;
    let mut reader = LayerReader::new(decoder, limits.clone());
    let mut places = PlacesBuilder::default();
    while let Some(entry) = reader.next_entry().map_err(named)? {
        control.check(READ)?;
        let Some(node) = place(&entry)? else { continue };
        let mut hasher = Some(Sha256::new());
        while let Some(data) = reader.next_data().map_err(named)? {
            match data {
                Data::Bytes(slice) => hasher.iter_mut().for_each(|it| it.update(&slice[..])),
                Data::Hole(length) if length > budget.holes => hasher = None,
                Data::Hole(length) => {
                    budget.holes -= length;
                    hasher.iter_mut().try_for_each(|it| hash_zeros(it, length, control))?;
                }
            }
        }
        if let Some(hasher) = hasher {
            let sum = hasher.finalize().into();
            places.note(&sum, reader.entry_offset());
            digest(node, sum);
        }
    }
    let (decoded, restarts) = reader.finish().map_err(named)?.finish_noted().map_err(named)?;
    layer.check(&decoded)?;
    let index = LayerIndex { size: decoded.size, restarts, places: places.finish() };
    // It only saves time: a store that cannot be written to, or a full disk, is no reason to fail.
    let _ = store.put_layer_index(&layer.digest, &index);
    Ok(index)
}

fn hash_zeros(hasher: &mut Sha256, mut length: u64, control: &Control) -> Result<()> {
    static ZERO: [u8; ZEROS] = [0; ZEROS];
    while length > 0 {
        control.check(READ)?;
        let part = length.min(ZEROS as u64);
        hasher.update(&ZERO[..part as usize]);
        length -= part;
    }
    Ok(())
}
