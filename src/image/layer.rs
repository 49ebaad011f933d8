//! One layer without an image around it: written from a comparison, applied to a directory.

use std::io::{Read, Write};
use std::path::Path;

use super::tree::{Tree, scan_options};
use crate::compress::{self, DecodeOptions, Decoded, Decoder, Profile, Written};
use crate::diff::Change;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Root;
use crate::fs::make_dir::make_dir_at;
use crate::fs::stat::stat_fd;
use crate::layer::{Applied, ApplyOptions, Files, LayerOptions, LayerPlan, LayerTar, Target};
use crate::progress::{Control, Counters};
use crate::store::Store;
use crate::threads;
use crate::tree::scan::scan;
use crate::tree::{Ledger, OwnerPolicy, OwnerSource, Owners, ScanOptions, Snapshot};

/// A comparison, and where the content is.
#[derive(Clone, Copy)]
pub struct LayerSource<'a> {
    /// The changes.
    pub changes: &'a [Change],
    /// The snapshot they lead from; `None` for nothing.
    pub old: Option<&'a Snapshot>,
    /// The snapshot they lead to.
    pub new: &'a Snapshot,
    /// The files of that; `None` where they are not at hand, as between images.
    pub files: Option<&'a dyn Files>,
}

/// Writes the layer that makes the old side of a comparison into the new one. Gives its digests and sizes, and how many tar
/// entries it has.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when the content is not at hand, [`ErrorKind::Changed`] when a file is not as it was compared.
/// The bytes written until then are a useless prefix.
pub fn write_layer(
    source: LayerSource<'_>,
    options: LayerOptions,
    profile: &Profile,
    threads: usize,
    out: &mut (dyn Write + Send),
    control: &Control,
) -> Result<(Written, u64)> {
    let files = source.files.ok_or_else(|| {
        let message =
            "the changes are between snapshots or images, so the content of the files is not at hand";
        Error::new(ErrorKind::Unsupported, "write layer", message).with_hint("compare with a directory")
    })?;
    let plan = LayerPlan::new(source.changes, source.old, source.new, options)?;
    let entries = plan.entry_count() as u64;
    Counters::add(&control.counters.entries, entries);
    let written =
        compress::write(&LayerTar::new(plan, files), profile, threads::count(threads), out, control)?;
    Ok((written, entries))
}

/// Options of applying a single layer.
#[derive(Debug, Clone, Default)]
pub struct LayerApplyOptions {
    /// How its entries are put on the disk. Without an attribute for owners it is the one the directory was unpacked with.
    pub apply: ApplyOptions,
    /// How it is decoded.
    pub decode: DecodeOptions,
    /// The ledger of an earlier call for the same directory; `None` for the store's.
    pub ledger: Option<Ledger>,
}

/// The result of applying a single layer.
#[derive(Debug)]
#[non_exhaustive]
pub struct AppliedLayer {
    /// The layer as it was read. Compare the digests with what you expect: the bytes were applied as they came.
    pub layer: Decoded,
    /// The directory afterwards.
    pub applied: Applied,
    /// For how many entries nothing but [`Applied::ledger`] has what the disk did not take: 0 when the store keeps it.
    pub unkept: u64,
}

/// Applies one layer to a directory, which is made when it is not there. Whiteouts remove what is there.
///
/// A directory with a record in the store, because it was unpacked or committed, keeps its owners: those the disk does not
/// take are in the store afterwards. For any other directory what is on disk counts as [`OwnerPolicy::as_seen`] says, and
/// what the disk does not take is handed back. After an error the directory is in no defined state.
pub fn apply_layer(
    store: Option<&Store>,
    input: Box<dyn Read + Send>,
    dir: impl AsRef<Path>,
    options: &LayerApplyOptions,
    control: &Control,
) -> Result<AppliedLayer> {
    let dir = dir.as_ref();
    let root = open_or_make(dir)?;
    let pin = store.map(|store| store.pin(control)).transpose()?;
    let store = pin.as_deref();
    let tree = store.map(|store| Tree::open(store, &root)).transpose()?.filter(Tree::is_bound);
    let as_seen = || Owners { policy: OwnerPolicy::as_seen(), ..Owners::default() };
    let mut owners = tree.as_ref().map_or_else(as_seen, |tree| tree.owners.clone());
    if let Some(ledger) = &options.ledger {
        owners.ledger = ledger.clone();
    }
    let mut apply = options.apply.clone();
    // No digest says that all of it came.
    apply.limits.require_end = true;
    if let (None, OwnerSource::Xattr(attribute)) = (apply.owner_xattr, &owners.source) {
        apply.owner_xattr = Some(*attribute);
    }
    let scan_options = ScanOptions { threads: apply.threads, ..scan_options(&owners, store)? };
    let left_out = scan_options.leave_out;
    // What is there already is not progress.
    let quiet = Control { cancel: control.cancel.clone(), ..Control::default() };
    let found = scan(&root, &scan_options, &quiet)?;
    let mut target = match found.snapshot.len() {
        1 if found.skipped.is_empty() && tree.is_none() => Target::empty(&root, apply)?,
        _ => Target::existing(&root, &found.snapshot, owners.ledger, apply),
    };
    // What the scan left out is unknown to the list, and would go with a directory it is in.
    for skipped in &found.skipped {
        let stat = root.open_dir(&skipped.path).and_then(stat_fd);
        if stat.is_ok_and(|stat| left_out == Some((stat.dev, stat.ino))) {
            target.protect(&skipped.path);
        }
    }
    let decoder = Decoder::new(input, options.decode.clone(), control.clone())?;
    let layer = target.apply(decoder, control)?.finish()?;
    let applied = target.finish()?;
    let mut unkept = applied.ledger.len() as u64;
    if let Some(tree) = &tree {
        tree.replace_ledger(&applied.ledger)?;
        unkept = 0;
    }
    Ok(AppliedLayer { layer, applied, unkept })
}

fn open_or_make(dir: &Path) -> Result<Root> {
    match Root::open(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let shown = dir.as_os_str().as_encoded_bytes();
            make_dir_at(dir).at("create directory", shown)?;
            Root::open(dir)
        }
        opened => opened,
    }
}
