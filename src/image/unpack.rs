//! Putting an image's tree into a directory.

use std::io::Read;
use std::path::Path;

use super::contents::kept_list;
use super::open::{Image, Layer};
use super::platform::Platform;
use super::record::Before;
use super::tree::Tree;
use crate::compress::{DecodeLimits, DecodeOptions, Decoded, Decoder, LayerIndex};
use crate::digest::{Digest, chain_ids};
use crate::error::{At, Result};
use crate::fs::Root;
use crate::fs::staged_dir::StagedDir;
use crate::layer::apply::{Applied, ApplyOptions, Loss, Target};
use crate::progress::{Control, Share};
use crate::store::{Scratch, Store};
use crate::tree::{OwnerSource, Owners, Snapshot};

const UNPACK: &str = "unpack image";

/// Options of an unpack.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// How the layers are applied.
    pub apply: ApplyOptions,
    /// Which platform of a multi-platform image; `None` for this machine's.
    pub platform: Option<Platform>,
    /// Make everything durable before returning: the files before the tree gets its place (syncfs(2)), and then its name
    /// there.
    pub sync: bool,
    /// Caps on the decompression of each layer.
    pub decode: DecodeLimits,
}

/// The result of an unpack.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Unpacked {
    /// The digest of the image's manifest.
    pub manifest: Digest,
    /// How many entries the tree has, its root not counted.
    pub entries: u64,
    /// How many of them are in the ledger.
    pub in_ledger: u64,
    /// Attributes that could not be kept.
    pub losses: Vec<Loss>,
}

/// Unpacks an image: its tree becomes `dir`, which must not exist or be an empty directory. Snapshot and ledger go into
/// the store, bound to the directory, so that [`commit`](super::commit::commit) and the comparisons find them.
///
/// Everything is made beside `dir`, each layer's digest and DiffID checked, and then renamed into place: after an error or
/// a crash there is no half-unpacked tree. What a killed process leaves beside `dir` goes with the next prune, or the next
/// unpack to the same place. Where that is not possible (a mount point, a symbolic link to a directory, or no right to write
/// beside it) the empty directory is filled directly, locked with flock(2) meanwhile, and what was made in it is removed again on an error.
pub fn unpack(
    store: &Store,
    reference: &str,
    dir: impl AsRef<Path>,
    options: &UnpackOptions,
    control: &Control,
) -> Result<Unpacked> {
    let dir = dir.as_ref();
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let image = Image::open(store, reference, options.platform.as_ref())?;
    unpack_from(store, &image, reference.into(), dir, options, store, control)
}

/// Name and image before that the record of an unpacked tree takes beside its image.
pub(crate) struct Origin<'a> {
    reference: &'a str,
    before: Option<Before>,
}

impl<'a> Origin<'a> {
    /// Returns the origin of a tree that takes the place of another, with the image before of that one.
    pub(super) fn after(reference: &'a str, before: Option<Before>) -> Self {
        Origin { reference, before }
    }
}

impl<'a> From<&'a str> for Origin<'a> {
    fn from(reference: &'a str) -> Self {
        Origin { reference, before: None }
    }
}

/// The source of an image's layers while it is unpacked.
pub(crate) trait Layers {
    /// Opens the blob of a layer for reading from its beginning.
    fn open(&self, layer: &Layer) -> Result<Box<dyn Read + Send>>;

    /// Takes note of a layer that was applied, and had the digests that manifest and configuration say.
    fn applied(&self, _: &Layer, _: &Decoded) {}
}

impl Layers for Store {
    fn open(&self, layer: &Layer) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.open_blob(&layer.digest)?))
    }
}

/// Unpacks an image, of which the store has the documents, as [`unpack`] does. The caller holds a lease.
pub(crate) fn unpack_from(
    store: &Store,
    image: &Image,
    origin: Origin<'_>,
    dir: &Path,
    options: &UnpackOptions,
    layers: &dyn Layers,
    control: &Control,
) -> Result<Unpacked> {
    let mut place = StagedDir::prepare(store, dir, UNPACK)?;
    let filled = apply(store, image, &mut place, options, layers, control)
        .and_then(|applied| bind(store, *image.digest(), &origin, &place, applied, options));
    let filled = match filled {
        Ok(filled) => filled,
        Err(error) => {
            place.discard();
            return Err(error);
        }
    };
    let (key, unpacked) = filled;
    let parent = place.publish().inspect_err(|_| {
        // The tree is gone again; its record, if it stays, is one of those that prune forgets.
        let _ = store.unbind(&key);
    })?;
    if let Some(parent) = parent.filter(|_| options.sync) {
        rustix::fs::fsync(&parent).at(UNPACK, parent.describe(b""))?;
    }
    Ok(unpacked)
}

/// Binds the tree before it has its place: one that the store does not have would have lost its owners. Returns the key of
/// its record.
fn bind(
    store: &Store,
    manifest: Digest,
    origin: &Origin<'_>,
    place: &StagedDir<Scratch>,
    applied: Applied,
    options: &UnpackOptions,
) -> Result<(String, Unpacked)> {
    let root = place.root();
    if options.sync {
        rustix::fs::syncfs(root).at(UNPACK, root.describe(b""))?;
    }
    let Applied { snapshot, ledger, owner, losses } = applied;
    let source = options.apply.owner_xattr.map(OwnerSource::Xattr).unwrap_or_default();
    let owners = Owners { policy: owner, source, ledger };
    let tree = Tree::open_mended(store, root)?.after(origin.before.as_ref());
    let key = tree.bind(manifest, Some(origin.reference), &owners, Some(&snapshot))?;
    let unpacked = Unpacked {
        manifest,
        entries: snapshot.len() as u64 - 1,
        in_ledger: owners.ledger.len() as u64,
        losses,
    };
    Ok((key, unpacked))
}

fn apply(
    store: &Store,
    image: &Image,
    place: &mut StagedDir<Scratch>,
    options: &UnpackOptions,
    layers: &dyn Layers,
    control: &Control,
) -> Result<Applied> {
    let mut names = Vec::new();
    let applied = unpack_layers(store, image, place.root(), options, layers, control, &mut names);
    place.made(names);
    applied
}

/// Applies all layers. `names` receives those that were made in the root, after an error as well.
fn unpack_layers(
    store: &Store,
    image: &Image,
    root: &Root,
    options: &UnpackOptions,
    layers: &dyn Layers,
    control: &Control,
    names: &mut Vec<Vec<u8>>,
) -> Result<Applied> {
    let mut target = Target::empty(root, options.apply.clone())?;
    let mut known = Known::new(store, image, &mut target)?;
    let share =
        Share::new(control, image.layers().iter().fold(0, |sum, layer| sum.saturating_add(layer.size)));
    for layer in image.layers() {
        let applied = unpack_layer(store, layer, &mut target, options, (layers, &share), &mut known, control);
        names.extend(target.root_names());
        applied.map_err(|error| error.or_path(|| layer.digest.to_string()))?;
    }
    let (applied, list) = target.finish_noted()?;
    known.keep(store, list);
    Ok(applied)
}

fn unpack_layer(
    store: &Store,
    layer: &Layer,
    target: &mut Target<'_>,
    options: &UnpackOptions,
    (layers, share): (&dyn Layers, &Share),
    known: &mut Known,
    control: &Control,
) -> Result<()> {
    let blob = layers.open(layer)?;
    let decode = DecodeOptions {
        limits: options.decode.clone(),
        threads: DecodeOptions::with_threads(options.apply.threads).threads,
        restarts: store.wants_layer_index(&layer.digest),
        ..layer.decode_options(store)?
    };
    let decoder = Decoder::counting(blob, decode, control.clone(), share.split(layer.size))?;
    target.begin_layer(&layer.diff_id);
    let decoder = target.apply(decoder, control)?;
    let (decoded, index) = decoder.finish_noted()?;
    layer.check(&decoded)?;
    layers.applied(layer, &decoded);
    known.indexes.extend(index.map(|index| (layer.digest, index)));
    Ok(())
}

/// The list of what the layers contain, and their indexes, made while they are applied where the store lacks them.
struct Known {
    /// The ChainID of the layers.
    chain: Option<Digest>,
    indexes: Vec<(Digest, LayerIndex)>,
}

impl Known {
    fn new(store: &Store, image: &Image, target: &mut Target<'_>) -> Result<Known> {
        let chain = chain_ids(image.config().diff_ids()).pop();
        let listed = chain.map(|chain| kept_list(store, &chain)).transpose()?.flatten().is_some();
        if !listed {
            target.take_notes();
        }
        Ok(Known { chain, indexes: Vec::new() })
    }

    /// Puts it into the store. It only saves time: a store that cannot be written to, or a full disk, is no reason to fail.
    fn keep(self, store: &Store, list: Option<Snapshot>) {
        for (blob, index) in &self.indexes {
            let _ = store.put_layer_index(blob, index);
        }
        if let (Some(chain), Some(list)) = (self.chain, list) {
            let _ = store.put_chain_list(&chain, list.as_bytes());
        }
    }
}
