//! Writing the layer of a step that worked on the list.

use std::collections::HashMap;

use super::merge::Merge;
use super::source::Content;
use crate::compress::Profile;
use crate::diff::{Change, ChangeKind, Reasons};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Root;
use crate::image::{Layer, Notes, StepLayer, keep_list_of_new};
use crate::layer::{Files, Filled, LayerOptions, LayerPlan, LayerTar};
use crate::progress::Control;
use crate::store::Store;
use crate::tree::{NONE, Snapshot};

/// Options of the layers that steps write.
#[derive(Debug, Clone, Default)]
pub(super) struct Packing {
    pub(super) profile: Profile,
    pub(super) options: LayerOptions,
    pub(super) threads: usize,
}

/// The store and options that steps need to make layers.
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
            Error::new(ErrorKind::Internal, "write layer", "the content of a file has no place")
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

/// Writes what was merged as a layer. With the layers `below` that it was merged with, the list of the tree it leads to is kept where that is
/// worth it.
pub(super) fn write_layer(mut merge: Merge, below: Option<&[Layer]>, tools: Tools<'_>) -> Result<StepLayer> {
    let Tools { store, packing, control } = tools;
    merge.round_times(packing.options);
    let ((written, layer), list, places) = with_tar(merge, packing.options, |tar| {
        Notes::default().write(store, tar, &packing.profile, packing.threads, control)
    })?;
    if let Some(below) = below {
        let new = (written.diff_id, written.diff_size);
        keep_list_of_new(store, below, new, list.as_bytes().len() as u64, || {
            // Where the content is that just went in.
            list.with_places(written.diff_id.bytes(), |entry| places.get(&list.leader(entry)).copied())
        })?;
    }
    Ok(layer)
}

/// Makes the tar of what was merged. Gives what `work` makes of it, the list of the tree it leads to, and the blocks of the tar in which
/// contents are, by the first names of the files in the list.
pub(super) fn with_tar<T>(
    merge: Merge,
    options: LayerOptions,
    work: impl FnOnce(&LayerTar<'_>) -> Result<T>,
) -> Result<(T, Snapshot, HashMap<u32, u64>)> {
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
    let plan = LayerPlan::new(&changes, None, &list, options)?;
    let contents = Contents(contents);
    let places = plan.places();
    let tar = LayerTar::new(plan, &contents);
    let made = work(&tar)?;
    drop(tar);
    Ok((made, list, places))
}
