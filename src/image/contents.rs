//! What an image contains: the entries of all its layers, one over the other, with the digest of every file.
//!
//! This is the base of a comparison where no index of the tree is at hand, as for an image someone else made. Reading
//! all layers takes a while, so the list is kept in the store under the ChainID (config.md, "Layer ChainID"), which names
//! exactly this stack of layers; an image built on the same ones begins with their list.

use sha2::{Digest as _, Sha256};

use super::open::{Image, Layer};
use crate::compress::{DecodeOptions, Decoder};
use crate::digest::{Digest, chain_ids};
use crate::error::{Error, Result};
use crate::layer::model::{Model, NoDisk};
use crate::layer::read::{ChunkStream, Data, LayerReader, ReadLimits};
use crate::layer::whiteout::Strictness;
use crate::progress::Control;
use crate::store::Store;
use crate::tree::Snapshot;
use crate::tree::builder::Builder;

const READ: &str = "read image contents";

/// Everything in an image, from the store's cache where it is, else by reading the layers.
pub fn contents(store: &Store, image: &Image, control: &Control) -> Result<Snapshot> {
    contents_of(store, image.layers(), control)
}

/// Everything in a stack of layers, base first; see [`contents`].
pub(crate) fn contents_of(store: &Store, layers: &[Layer], control: &Control) -> Result<Snapshot> {
    let _lease = store.lease_for(control)?;
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    let chains = chain_ids(&diff_ids);
    let mut start = 0;
    let mut base = None;
    for (i, chain) in chains.iter().enumerate().rev() {
        // A list that does not load is made again.
        if let Some(list) = store.open_chain_list(chain)?.and_then(|file| Snapshot::map(file).ok()) {
            (start, base) = (i + 1, Some(list));
            break;
        }
    }
    let tree = match base {
        Some(list) if start == chains.len() => return Ok(list),
        Some(list) => Builder::from_snapshot(&list),
        None => Builder::empty(),
    };
    let limits = ReadLimits::default();
    let mut model = Model::new(tree, Strictness::Lenient, &limits);
    for layer in &layers[start..] {
        control.check(READ)?;
        read_layer(store, &mut model, layer, &limits, control).map_err(|error| {
            let shown = layer.digest.to_string();
            if error.path().is_none() { error.with_path(shown) } else { error }
        })?;
    }
    let list = model.tree.finish(None)?;
    if let Some(chain) = chains.last() {
        // It only saves time: a store that cannot be written to, or a full disk, is no reason to fail.
        let _ = store.put_chain_list(chain, list.as_bytes());
    }
    Ok(list)
}

fn read_layer(
    store: &Store,
    model: &mut Model,
    layer: &Layer,
    limits: &ReadLimits,
    control: &Control,
) -> Result<()> {
    let file = store.open_blob(&layer.digest)?;
    let decoder = Decoder::new(Box::new(file), layer.decode_options(store)?, control.clone())?;
    model.next_layer();
    let mut reader = LayerReader::new(decoder, limits.clone());
    while let Some(entry) = reader.next_entry()? {
        let Some(node) = model.entry(&entry, &mut NoDisk)? else { continue };
        let mut hasher = Sha256::new();
        while let Some(data) = reader.next_data()? {
            match data {
                Data::Bytes(slice) => hasher.update(&slice.chunk[slice.range.clone()]),
                Data::Hole(len) => hash_zeros(&mut hasher, len),
            }
        }
        model.tree.inode_mut(node).digest = Some(hasher.finalize().into());
    }
    let decoded = reader.finish()?.finish()?;
    layer.check(&decoded)
}

fn hash_zeros(hasher: &mut Sha256, mut len: u64) {
    static ZEROS: [u8; 65536] = [0; 65536];
    while len > 0 {
        let n = len.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..n as usize]);
        len -= n;
    }
}

/// Lets a layer reader take its chunks straight from a decoder.
impl ChunkStream for Decoder {
    fn next_chunk(&mut self) -> Result<Option<std::sync::Arc<Vec<u8>>>> {
        Decoder::next_chunk(self)
    }
}

impl Layer {
    /// What has to be hashed while the layer is decoded: always the blob, and its content if nobody has seen yet that
    /// this blob holds this DiffID. Who did (commit, import, load) noted it in the store; another content would need
    /// another blob of the same digest.
    pub(crate) fn decode_options(&self, store: &Store) -> Result<DecodeOptions> {
        let seen = store.diff_id_for_blob(&self.digest)? == Some(self.diff_id);
        Ok(DecodeOptions { hash_input: true, hash_output: !seen, ..DecodeOptions::default() })
    }

    /// Compares what decoding a layer's blob with these options gave with what manifest and configuration say.
    pub(crate) fn check(&self, decoded: &crate::compress::Decoded) -> Result<()> {
        let wrong = |what: &str, got: String, want: String| {
            Err(Error::corrupt("verify layer", format!("the {what} is {got}, and should be {want}"))
                .with_path(self.digest.to_string())
                .with_hint("the store or the archive it came from is damaged: treering fsck"))
        };
        if decoded.size != self.size {
            return wrong("size", decoded.size.to_string(), self.size.to_string());
        }
        let shown =
            |digest: Option<Digest>| digest.map_or("unknown".to_string(), |digest| digest.to_string());
        if decoded.digest != Some(self.digest) {
            return wrong("digest", shown(decoded.digest), self.digest.to_string());
        }
        if decoded.diff_id.is_some_and(|found| found != self.diff_id) {
            return wrong("DiffID", shown(decoded.diff_id), self.diff_id.to_string());
        }
        Ok(())
    }
}
