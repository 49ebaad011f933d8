//! One pass over a layer of which nothing was noted.

use super::open::Layer;
use crate::compress::{DecodeOptions, Decoder, LayerIndex};
use crate::error::{Error, Result};
use crate::layer::read::{LayerReader, ReadLimits, TarEntry};
use crate::progress::{Control, Counters, Share};
use crate::store::Store;

const READ: &str = "read layer";

/// Reads a layer to its end, checks it, and gives its entries to `each`, with the offsets of their first headers in the tar. The index
/// is made if it is wanted.
pub(super) fn read_layer(
    store: &Store,
    layer: &Layer,
    limits: &ReadLimits,
    (index, share): (bool, Share),
    control: &Control,
    each: &mut dyn FnMut(&TarEntry, u64) -> Result<()>,
) -> Result<Option<LayerIndex>> {
    let named = |error: Error| error.or_path(|| layer.digest.to_string());
    let file = store.open_blob(&layer.digest)?;
    let options = DecodeOptions { restarts: index, ..layer.decode_options(store)? };
    let decoder = Decoder::counting(Box::new(file), options, control.clone(), share).map_err(named)?;
    let mut reader = LayerReader::new(decoder, limits.clone());
    while let Some(entry) = reader.next_entry().map_err(named)? {
        control.check(READ)?;
        Counters::add(&control.counters.entries, 1);
        each(&entry, reader.entry_offset())?;
    }
    let (decoded, index) = reader.finish().map_err(named)?.finish_noted().map_err(named)?;
    layer.check(&decoded)?;
    Ok(index)
}
