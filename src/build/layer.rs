//! Writing the layer of a step that worked on the list.

use std::collections::HashMap;

use super::merge::Merge;
use super::source::Content;
use crate::compress::{Profile, write};
use crate::diff::{Change, ChangeKind, Reasons};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Root;
use crate::image::{StepLayer, record_layer};
use crate::layer::{Files, Filled, LayerOptions, LayerPlan, LayerTar};
use crate::progress::{Control, Counters};
use crate::store::Store;
use crate::threads;
use crate::tree::{NONE, Snapshot};

/// How layers are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Packing {
    pub(super) profile: Profile,
    pub(super) options: LayerOptions,
    pub(super) threads: usize,
}

/// What steps that make layers need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tools<'a> {
    pub(super) store: &'a Store,
    pub(super) packing: &'a Packing,
    pub(super) control: &'a Control,
}

struct Contents(HashMap<u32, Content>);

impl Files for Contents {
    fn read(&self, index: u32, offset: u64, buffer: &mut [u8]) -> Result<Option<Filled>> {
        let content = self.0.get(&index).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "write layer", "a file whose content has no place")
        })?;
        let mut reader = content.open()?;
        reader.read(offset, buffer)?;
        reader.verify()?;
        Ok(Some(Filled::Data))
    }

    fn locate(&self, _: &Snapshot, _: u32) -> (&Root, Vec<u8>) {
        unreachable!("all contents are read above")
    }
}

/// Writes what was merged as a layer. Gives it and the list of the tree it leads to.
pub(super) fn write_layer(mut merge: Merge, tools: Tools<'_>) -> Result<(StepLayer, Snapshot)> {
    let Tools { store, packing, control } = tools;
    merge.round_times(packing.options);
    let (list, order, contents) = merge.finish()?;
    let changes: Vec<Change> = order
        .into_iter()
        .map(|new| Change {
            kind: ChangeKind::Added,
            reasons: Reasons::empty(),
            old: NONE,
            new,
            opaque: false,
        })
        .collect();
    let plan = LayerPlan::new(&changes, None, &list, packing.options)?;
    Counters::add(&control.counters.bytes_total, plan.content_len());
    let contents = Contents(contents);
    let tar = LayerTar::new(plan, &contents);
    let mut blob = store.unhashed_blob_writer()?;
    let written = write(&tar, &packing.profile, threads::count(packing.threads), &mut blob, control)?;
    blob.finish_with(written.digest, written.size)?;
    drop(tar);
    let layer = record_layer(store, &written, packing.profile.media_type())?;
    Ok((layer, list))
}
