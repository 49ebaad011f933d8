//! The directory that RUN steps run in: made of a state's layers when the first of them misses the cache.

use std::sync::Arc;

use super::layer::{Tools, with_tar};
use super::merge::Merge;
use super::place::Place;
use super::pool::{self, Slot, Taken};
use super::state::State;
use crate::compress::{DecodeOptions, Decoder};
use crate::diff::{Change, CompareOptions, Reasons, compare, content};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::Root;
use crate::image::{ImageFiles, Layer, Notes, StepLayer};
use crate::layer::read::ChunkStream;
use crate::layer::{
    Applied, ApplyOptions, LayerOptions, LayerPlan, LayerTar, MtimePrecision, TarSource, Target,
};
use crate::progress::{Control, Share};
use crate::store::Store;
use crate::tree::{OwnerSource, Owners, Scan, ScanOptions, Snapshot, scan};

/// A directory at the state of some layers.
#[derive(Debug)]
pub(super) struct WorkTree {
    pub(super) root: Root,
    pub(super) owners: Owners,
    index: Snapshot,
    /// The DiffIDs of the layers, and what their blobs take.
    layers: Vec<(Digest, u64)>,
    home: Home,
}

/// The owner of the directory: a pool, or this build.
#[derive(Debug)]
enum Home {
    /// It goes with the value.
    Place(#[expect(dead_code, reason = "held until it is dropped")] Place),
    /// It stays in the pool.
    Slot(Slot),
}

impl WorkTree {
    /// Returns whether the tree is what these layers make.
    pub(super) fn is_at(&self, layers: &[Layer]) -> bool {
        self.layers.iter().map(|(diff_id, _)| diff_id).eq(layers.iter().map(|layer| &layer.diff_id))
    }

    /// Takes the tree of the pool that is nearest to these layers, moved to them, else unpacks them to a new one.
    pub(super) fn take(layers: &[Layer], tools: Tools<'_>) -> Result<WorkTree> {
        let numbers = layers.iter().map(|layer| (layer.diff_id, layer.size)).collect();
        if let Some(Taken { slot, root, owners, index }) = pool::take(layers, tools)? {
            return Ok(WorkTree { root, owners, index, layers: numbers, home: Home::Slot(slot) });
        }
        let Tools { store, packing, control } = tools;
        let (slot, root) = pool::new(tools)?;
        let applied = apply(store, &root, layers, packing.threads, control)?;
        Ok(WorkTree::of(Home::Slot(slot), root, applied, numbers))
    }

    /// Opens an empty journal for a command; `None` for a tree that goes with the value.
    pub(super) fn journal(&self) -> Result<Option<std::fs::File>> {
        match &self.home {
            Home::Place(_) => Ok(None),
            Home::Slot(slot) => slot.journal().map(Some),
        }
    }

    /// Gives the tree back to the pool. With `clean` it is what its layers make; else whatever a command left of that.
    pub(super) fn release(self, clean: bool) -> Result<()> {
        match self.home {
            Home::Place(_) => Ok(()),
            Home::Slot(slot) => slot.release(&self.layers, &self.owners.ledger, &self.index, clean),
        }
    }

    /// Makes a tree of layers that goes with the value.
    pub(super) fn make(layers: &[Layer], tools: Tools<'_>) -> Result<WorkTree> {
        let Tools { store, packing, control } = tools;
        let (place, root) = Place::new(store)?;
        let applied = apply(store, &root, layers, packing.threads, control)?;
        let layers = layers.iter().map(|layer| (layer.diff_id, layer.size)).collect();
        Ok(WorkTree::of(Home::Place(place), root, applied, layers))
    }

    /// Makes a tree of what was put into a list.
    pub(super) fn of_merge(merge: Merge, tools: Tools<'_>) -> Result<WorkTree> {
        let (place, root) = Place::new(tools.store)?;
        let applied = write_merge(merge, &root, tools)?;
        Ok(WorkTree::of(Home::Place(place), root, applied, Vec::new()))
    }

    fn of(home: Home, root: Root, applied: Applied, layers: Vec<(Digest, u64)>) -> WorkTree {
        let owners = Owners { policy: applied.owner, source: OwnerSource::Nothing, ledger: applied.ledger };
        WorkTree { root, owners, index: applied.snapshot, layers, home }
    }

    /// Writes what changed since the tree was at the state as a layer, and moves on to what is there now. `None` when nothing
    /// changed.
    pub(super) fn commit(&mut self, state: &State, tools: Tools<'_>) -> Result<Option<StepLayer>> {
        let Tools { store, packing, control } = tools;
        let options = ScanOptions {
            threads: packing.threads,
            previous: Some(&self.index),
            ..self.owners.scan_options()
        };
        let Scan { snapshot: new, .. } = scan(&self.root, &options, control)?;
        let mut comparison = compare(&self.index, &new, &CompareOptions::default());
        if comparison.changes.iter().any(|change| change.reasons.contains(Reasons::SUSPECT)) {
            let files = ImageFiles::of(store, &state.layers, state.list(store, control)?);
            let suspect = |change: &&Change| change.reasons.contains(Reasons::SUSPECT);
            let number = |change: &Change| files.list().lookup(&self.index.path(change.old));
            let suspects: Vec<u32> = comparison.changes.iter().filter(suspect).filter_map(number).collect();
            let digests = files.digests(&suspects, control)?;
            comparison.settle(packing.threads, |change| {
                let known = number(change).and_then(|at| digests.get(&at).copied());
                content::same_as_digest(change, known, &new, &self.root, control)
            })?;
        }
        let changes = comparison.changes;
        if changes.is_empty() {
            self.index = new;
            return Ok(None);
        }
        let plan = LayerPlan::new(&changes, Some(&self.index), &new, packing.options)?;
        let tar = LayerTar::new(plan, &self.root);
        let notes = Notes::default();
        let (_, layer) = notes.write(store, &tar, &packing.profile, packing.threads, control)?;
        drop(tar);
        // The next step would read the layer for it.
        notes.list(store, &state.layers_with(&layer)?, control);
        self.index = new;
        self.layers.push((layer.diff_id, layer.descriptor.size()));
        Ok(Some(layer))
    }
}

/// Writes what was put into a list to an empty directory.
pub(super) fn write_merge(merge: Merge, root: &Root, tools: Tools<'_>) -> Result<Applied> {
    let options = ApplyOptions { threads: tools.packing.threads, ..ApplyOptions::default() };
    let exact = LayerOptions { clamp_mtime: None, precision: MtimePrecision::Nanoseconds };
    let (applied, ..) = with_tar(merge, exact, |tar| {
        let mut target = Target::empty(root, options)?;
        target.apply(TarStream::new(tar), tools.control)?;
        target.finish()
    })?;
    Ok(applied)
}

/// A tar that is read as it is made.
struct TarStream<'a> {
    tar: &'a LayerTar<'a>,
    worker: <LayerTar<'a> as TarSource>::Worker,
    at: u64,
}

impl<'a> TarStream<'a> {
    fn new(tar: &'a LayerTar<'a>) -> TarStream<'a> {
        TarStream { tar, worker: tar.worker(), at: 0 }
    }
}

impl ChunkStream for TarStream<'_> {
    fn next_chunk(&mut self) -> Result<Option<Arc<Vec<u8>>>> {
        let length = (self.tar.len() - self.at).min(1 << 20) as usize;
        if length == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; length];
        self.tar.fill(&mut self.worker, self.at, &mut chunk)?;
        self.at += length as u64;
        Ok(Some(Arc::new(chunk)))
    }
}

fn apply(store: &Store, root: &Root, layers: &[Layer], threads: usize, control: &Control) -> Result<Applied> {
    let options = ApplyOptions { threads, ..ApplyOptions::default() };
    let mut target = Target::empty(root, options)?;
    let share = Share::new(control, layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size)));
    for layer in layers {
        let named = |error: Error| error.or_path(|| layer.digest.to_string());
        let decode = DecodeOptions {
            threads: DecodeOptions::with_threads(threads).threads,
            ..layer.decode_options(store)?
        };
        let file = store.open_blob(&layer.digest)?;
        let share = share.split(layer.size);
        let decoder = Decoder::counting(Box::new(file), decode, control.clone(), share).map_err(named)?;
        target.begin_layer(&layer.diff_id);
        let decoder = target.apply(decoder, control).map_err(named)?;
        layer.check(&decoder.finish().map_err(named)?)?;
    }
    target.finish()
}
