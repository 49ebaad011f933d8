//! The directory that RUN steps run in: made of a state's layers when the first of them misses the cache.

use std::ffi::CString;

use cap_std::fs::Dir;
use rustix::fs::Mode;

use super::layer::Tools;
use super::state::State;
use crate::compress::{DecodeOptions, Decoder};
use crate::diff::{CompareOptions, Reasons, compare, content};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::fs::Root;
use crate::fs::remove::remove_all;
use crate::fs::root::open_dir_at;
use crate::fs::staged::random_name;
use crate::fs::staged_dir::MARK;
use crate::image::{Layer, StepLayer, record_layer};
use crate::layer::{ApplyOptions, LayerPlan, LayerTar, Target};
use crate::progress::{Control, Counters};
use crate::store::{Scratch, Store};
use crate::threads;
use crate::tree::{OwnerSource, Owners, Scan, ScanOptions, Snapshot, scan};

const OP: &str = "make tree";

/// A directory in the store's `tmp/`, at the state of some layers. It goes with the value, and after a kill with the next prune.
#[derive(Debug)]
pub(super) struct WorkTree {
    pub(super) root: Root,
    pub(super) owners: Owners,
    index: Snapshot,
    layers: Vec<Digest>,
    _place: Place,
}

/// The directory, removed when it is dropped.
#[derive(Debug)]
struct Place {
    tmp: Dir,
    name: CString,
    _claim: Scratch,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = remove_all(&self.tmp, &self.name);
    }
}

impl WorkTree {
    /// Whether the tree is what these layers make.
    pub(super) fn is_at(&self, layers: &[Layer]) -> bool {
        self.layers.iter().eq(layers.iter().map(|layer| &layer.diff_id))
    }

    /// Makes a tree of layers.
    pub(super) fn make(layers: &[Layer], tools: Tools<'_>) -> Result<WorkTree> {
        let Tools { store, packing, control } = tools;
        let tmp = store.dir().open_dir("tmp").at(OP, "tmp")?;
        let name = format!(".build{MARK}{}", random_name());
        let path = store.root_path().join("tmp").join(&name);
        let claim = store.claim_scratch(&path)?;
        let name = CString::new(name).map_err(|_| Error::invalid(OP, "a name with NUL"))?;
        let place = Place { tmp, name, _claim: claim };
        rustix::fs::mkdirat(&place.tmp, &place.name, Mode::RWXU).at(OP, "tmp")?;
        let root = Root::from_fd(open_dir_at(&place.tmp, &place.name).at(OP, "tmp")?, path);
        // Users of the image are to enter it, whatever the umask is; what the layers say of it follows.
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).at(OP, root.describe(b""))?;
        let applied = apply(store, &root, layers, packing.threads, control)?;
        let owners = Owners { policy: applied.owner, source: OwnerSource::Nothing, ledger: applied.ledger };
        let layers = layers.iter().map(|layer| layer.diff_id).collect();
        Ok(WorkTree { root, owners, index: applied.snapshot, layers, _place: place })
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
            let list = state.list(store, control)?;
            comparison.settle(packing.threads, |change| {
                let known = list.lookup(&self.index.path(change.old)).and_then(|at| list.digest(at));
                content::same_as_digest(change, known, &new, &self.root, control)
            })?;
        }
        let changes = comparison.changes;
        if changes.is_empty() {
            self.index = new;
            return Ok(None);
        }
        let plan = LayerPlan::new(&changes, Some(&self.index), &new, packing.options)?;
        Counters::add(&control.counters.bytes_total, plan.content_len());
        let tar = LayerTar::new(plan, &self.root);
        let mut blob = store.unhashed_blob_writer()?;
        let written = crate::compress::write(
            &tar,
            &packing.profile,
            threads::count(packing.threads),
            &mut blob,
            control,
        )?;
        blob.finish_with(written.digest, written.size)?;
        drop(tar);
        let layer = record_layer(store, &written, packing.profile.media_type())?;
        self.index = new;
        self.layers.push(layer.diff_id);
        Ok(Some(layer))
    }
}

fn apply(
    store: &Store,
    root: &Root,
    layers: &[Layer],
    threads: usize,
    control: &Control,
) -> Result<crate::layer::Applied> {
    let options = ApplyOptions { threads, ..ApplyOptions::default() };
    let mut target = Target::empty(root, options)?;
    for layer in layers {
        let named = |error: Error| match error.path() {
            None => error.with_path(layer.digest.to_string()),
            Some(_) => error,
        };
        let decode = DecodeOptions {
            threads: DecodeOptions::with_threads(threads).threads,
            ..layer.decode_options(store)?
        };
        let file = store.open_blob(&layer.digest)?;
        let decoder = Decoder::new(Box::new(file), decode, control.clone()).map_err(named)?;
        let decoder = target.apply(decoder, control).map_err(named)?;
        layer.check(&decoder.finish().map_err(named)?)?;
    }
    target.finish()
}
