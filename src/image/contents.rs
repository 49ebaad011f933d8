//! What an image contains: the entries of all its layers, one over the other, with the digest of every file.
//!
//! This is the base of a comparison where no index of the tree is at hand, as for an image someone else made. Reading
//! all layers takes a while, so the list is kept in the store under the ChainID (config.md, "Layer ChainID"), which names
//! exactly this stack of layers; an image built on the same ones begins with their list.

use super::open::{Image, Layer};
use super::pass::{Budget, hash_layer};
use crate::compress::{DecodeOptions, Decoder};
use crate::digest::{Digest, chain_ids};
use crate::error::{Error, Result};
use crate::layer::model::{Model, NoDisk};
use crate::layer::read::{ChunkStream, ReadLimits};
use crate::layer::whiteout::Strictness;
use crate::progress::Control;
use crate::store::Store;
use crate::tree::Snapshot;
use crate::tree::builder::Builder;

const READ: &str = "read image contents";

/// Everything in an image, from the store's cache where it is, else by reading the layers.
pub fn contents(store: &Store, image: &Image, control: &Control) -> Result<Snapshot> {
    let pin = store.pin(control)?;
    pin.add(&[*image.digest()])?;
    contents_of(&pin, image.layers(), control)
}

/// Everything in a stack of layers, base first; see [`contents`].
pub(crate) fn contents_of(store: &Store, layers: &[Layer], control: &Control) -> Result<Snapshot> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    pin.add(&layers.iter().map(|layer| layer.digest).collect::<Vec<_>>())?;
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
    let mut budget = Budget::default();
    for layer in &layers[start..] {
        control.check(READ)?;
        model.next_layer();
        // One of the two at a time.
        let shared = std::cell::RefCell::new(&mut model);
        hash_layer(
            store,
            layer,
            &limits,
            &mut budget,
            control,
            &mut |entry| shared.borrow_mut().entry(entry, &mut NoDisk),
            &mut |node, digest| shared.borrow_mut().tree.inode_mut(node).digest = Some(digest),
        )?;
    }
    let list = model.tree.finish(None)?;
    if let Some(chain) = chains.last() {
        // It only saves time: a store that cannot be written to, or a full disk, is no reason to fail.
        let _ = store.put_chain_list(chain, list.as_bytes());
    }
    Ok(list)
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
