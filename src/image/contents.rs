//! The content of an image: the entries of all its layers, one over the other, with the place of every file's content.
//!
//! This is the base of a comparison where no index of the tree is at hand, as for an image someone else made. Reading
//! all layers takes a while, so the list is kept in the store under the ChainID (config.md, "Layer ChainID"), which names
//! exactly this stack of layers; an image built on the same ones begins with their list.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;

use super::open::{Image, Layer};
use super::pass::read_layer;
use super::read::ImageFiles;
use crate::compress::{DecodeOptions, Decoder, Written};
use crate::digest::{Digest, chain_id, chain_ids};
use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::hint::Hint;
use crate::layer::header::BLOCK;
use crate::layer::model::{Model, NoDisk};
use crate::layer::read::{ChunkStream, ReadLimits, TarEntry};
use crate::layer::whiteout::Strictness;
use crate::progress::{Control, Share};
use crate::store::Store;
use crate::tree::builder::Builder;
use crate::tree::{Place, Snapshot};

/// An entry of a layer, and the block of the tar in which it begins.
#[derive(Debug)]
pub(super) struct Row {
    pub entry: TarEntry,
    pub block: u64,
}

/// The rows of one layer, and the length of its tar.
#[derive(Debug)]
pub(super) struct Rows {
    pub rows: Vec<Row>,
    pub diff_size: u64,
}

const READ: &str = "read image contents";
/// A list up to this size is always worth making.
const LIST_ALWAYS: u64 = 128 << 10;
/// How many bytes of layers without notes are read for a list that is not asked for.
const UNNOTED_MAX: u64 = 1 << 20;

/// Returns the list of an image with the digests of its files, from the store's cache where it is, else by reading the
/// layers. The digests are made when they are first asked for, and kept; [`entries`] does without.
pub fn contents(store: &Store, image: &Image, control: &Control) -> Result<Snapshot> {
    let pin = store.pin(control)?;
    pin.add(&[*image.digest()])?;
    let files = ImageFiles::open(&pin, image, control)?;
    let all: Vec<u32> = (0..files.list().len()).collect();
    let digests = files.digests(&all, control)?;
    Ok(files.list().with_digests(|entry| digests.get(&entry).copied()))
}

/// Returns the list of an image, with a digest only where it is known anyway.
pub fn entries(store: &Store, image: &Image, control: &Control) -> Result<Snapshot> {
    let pin = store.pin(control)?;
    pin.add(&[*image.digest()])?;
    contents_of(&pin, image.layers(), control)
}

/// Returns the list of a stack of layers, base first; see [`entries`].
pub(crate) fn contents_of(store: &Store, layers: &[Layer], control: &Control) -> Result<Snapshot> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    pin.add(&layers.iter().map(|layer| layer.digest).collect::<Vec<_>>())?;
    match begin(store, layers)? {
        (start, Some(list)) if start == layers.len() => Ok(list),
        (start, list) => read(store, layers, start, list, &HashMap::new(), control),
    }
}

/// Returns the list of a stack of layers as a tree that is about to be changed. A list that is quickly made again is not kept.
pub(crate) fn tree_of(store: &Store, layers: &[Layer], control: &Control) -> Result<Builder> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    pin.add(&layers.iter().map(|layer| layer.digest).collect::<Vec<_>>())?;
    let (start, list) = begin(store, layers)?;
    let size = list.as_ref().map_or(0, |list| list.as_bytes().len() as u64);
    let to_read = layers[start..].iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
    match list {
        Some(list) if start == layers.len() => Ok(Builder::from_snapshot(&list)),
        list if to_read > size.max(LIST_ALWAYS) => {
            let list = read(store, layers, start, list, &HashMap::new(), control)?;
            Ok(Builder::from_snapshot(&list))
        }
        list => Ok(model(store, layers, start, list, &HashMap::new(), control)?.tree),
    }
}

/// Returns the longest part of a stack of layers of which there is a list: how many layers it has, and the list.
fn begin(store: &Store, layers: &[Layer]) -> Result<(usize, Option<Snapshot>)> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    for (i, chain) in chain_ids(&diff_ids).iter().enumerate().rev() {
        if let Some(list) = kept_list(store, chain)? {
            return Ok((i + 1, Some(list)));
        }
    }
    Ok((0, None))
}

/// Returns the list of a stack of layers that the store has. One that does not load is made again, and so is one that an earlier version
/// wrote, in which files have digests and no places.
pub(super) fn kept_list(store: &Store, chain: &Digest) -> Result<Option<Snapshot>> {
    let list = store.open_chain_list(chain)?.and_then(|file| Snapshot::map(file).ok());
    let placed = |list: &Snapshot| {
        (0..list.len()).all(|at| {
            let meta = list.meta(at);
            meta.kind != Kind::File || meta.size == 0 || list.place(at).is_some()
        })
    };
    Ok(list.filter(placed))
}

/// Puts the list of a stack of layers into the store without reading more than little of them, the others being noted.
///
/// A list is as long as the tree, whatever the layer changed. Where it would be longer than what would have to be read without
/// it, it is left to the first look, so that a commit of one file does not write some megabytes of it.
pub(super) fn keep_list(
    store: &Store,
    layers: &[Layer],
    noted: &HashMap<Digest, Rows>,
    control: &Control,
) -> Result<()> {
    let (start, size) = newest_list(store, layers)?;
    let (mut to_read, mut unnoted) = (0u64, 0u64);
    for layer in &layers[start..] {
        match noted.get(&layer.digest) {
            Some(rows) => to_read = to_read.saturating_add(rows.diff_size),
            None => unnoted = unnoted.saturating_add(layer.size),
        }
    }
    if start == layers.len() || unnoted > UNNOTED_MAX || size > to_read.max(LIST_ALWAYS) {
        return Ok(());
    }
    let (start, base) = begin(store, layers)?;
    read(store, layers, start, base, noted, control).map(drop)
}

/// Puts the list that a new layer leads to into the store, by the rule of [`keep_list`]. It has about `length` bytes.
pub(crate) fn keep_list_of_new(
    store: &Store,
    below: &[Layer],
    (diff_id, size): (Digest, u64),
    length: u64,
    list: impl FnOnce() -> Snapshot,
) -> Result<()> {
    let (start, _) = newest_list(store, below)?;
    let to_read = below[start..].iter().fold(size, |sum, layer| sum.saturating_add(layer.size));
    if length <= to_read.max(LIST_ALWAYS) {
        let diff_ids = below.iter().map(|layer| layer.diff_id).chain([diff_id]);
        put_list(store, &diff_ids.collect::<Vec<_>>(), &list());
    }
    Ok(())
}

/// Returns the longest part of a stack of layers of which the store has a list: how many layers it has, and the size of the list. Whether it
/// loads is seen when it is worth loading.
fn newest_list(store: &Store, layers: &[Layer]) -> Result<(usize, u64)> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    for (i, chain) in chain_ids(&diff_ids).iter().enumerate().rev() {
        if let Some(file) = store.open_chain_list(chain)? {
            return Ok((i + 1, file.metadata().map_or(0, |metadata| metadata.size())));
        }
    }
    Ok((0, 0))
}

/// Puts the list of an image of one layer into the store, as [`keep_list`] does.
pub(super) fn keep_list_of_one(store: &Store, layer: &Written, list: &Snapshot) {
    if list.as_bytes().len() as u64 <= layer.diff_size.max(LIST_ALWAYS) {
        put_list(store, &[layer.diff_id], list);
    }
}

/// Puts a list into the store. It only saves time: a store that cannot be written to is no reason to fail.
fn put_list(store: &Store, diff_ids: &[Digest], list: &Snapshot) {
    if let Some(chain) = chain_id(diff_ids) {
        let _ = store.put_chain_list(&chain, list.as_bytes());
    }
}

/// Makes the list of a stack of layers out of that of the first `start`, and stores it.
fn read(
    store: &Store,
    layers: &[Layer],
    start: usize,
    base: Option<Snapshot>,
    noted: &HashMap<Digest, Rows>,
    control: &Control,
) -> Result<Snapshot> {
    let list = model(store, layers, start, base, noted, control)?.tree.finish(None)?;
    put_list(store, &layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>(), &list);
    Ok(list)
}

/// Puts layers on top of the list of the first `start`.
fn model(
    store: &Store,
    layers: &[Layer],
    start: usize,
    base: Option<Snapshot>,
    noted: &HashMap<Digest, Rows>,
    control: &Control,
) -> Result<Model> {
    let tree = base.map_or_else(Builder::empty, |list| Builder::from_snapshot(&list));
    let limits = ReadLimits::default();
    let mut model = Model::new(tree, Strictness::Lenient, &limits);
    let to_read = layers[start..].iter().filter(|layer| !noted.contains_key(&layer.digest));
    let share = Share::new(control, to_read.fold(0, |sum, layer| sum.saturating_add(layer.size)));
    for layer in &layers[start..] {
        control.check(READ)?;
        model.next_layer();
        if let Some(rows) = noted.get(&layer.digest) {
            for row in &rows.rows {
                place(&mut model, layer, &row.entry, row.block)?;
            }
            continue;
        }
        let index = read_layer(
            store,
            layer,
            &limits,
            (store.wants_layer_index(&layer.digest), share.split(layer.size)),
            control,
            &mut |entry, offset| place(&mut model, layer, entry, offset / BLOCK as u64),
        )?;
        // It only saves time: a store that cannot be written to, or a full disk, is no reason to fail.
        if let Some(index) = index {
            let _ = store.put_layer_index(&layer.digest, &index);
        }
    }
    Ok(model)
}

/// Takes an entry into a list, and the place of its content.
fn place(model: &mut Model, layer: &Layer, entry: &TarEntry, block: u64) -> Result<()> {
    let node = model.entry(entry, &mut NoDisk)?;
    if let Some(node) = node.filter(|_| entry.size > 0) {
        model.tree.inode_mut(node).place = Some(Place { layer: *layer.diff_id.bytes(), block });
    }
    Ok(())
}

/// Lets a layer reader take its chunks straight from a decoder.
impl ChunkStream for Decoder {
    fn next_chunk(&mut self) -> Result<Option<std::sync::Arc<Vec<u8>>>> {
        Decoder::next_chunk(self)
    }
}

impl Layer {
    /// Returns what has to be hashed while the layer is decoded: always the blob, and its content unless it was verified
    /// that this blob holds this DiffID: commit, import and load note it in the store; another content would need another
    /// blob of the same digest.
    pub(crate) fn decode_options(&self, store: &Store) -> Result<DecodeOptions> {
        let seen = store.diff_id_for_blob(&self.digest)? == Some(self.diff_id);
        Ok(DecodeOptions { hash_input: true, hash_output: !seen, ..DecodeOptions::default() })
    }

    /// Compares what decoding a layer's blob with these options gave with what manifest and configuration say.
    pub(crate) fn check(&self, decoded: &crate::compress::Decoded) -> Result<()> {
        let wrong = |what: &str, got: String, want: String| {
            Err(Error::corrupt("verify layer", format!("the {what} is {got}, and should be {want}"))
                .with_path(self.digest.to_string())
                .with_hint(Hint::GetDamagedAgain))
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
