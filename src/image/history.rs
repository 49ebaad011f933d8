//! The rows of `docker history`.

use super::open::Image;
use crate::digest::Digest;
use crate::error::Result;
use crate::store::Store;

/// A row: a step that made a layer, or changed only the configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HistoryRow {
    /// The image id for the newest row; `None` (shown as `<missing>`) for the others, as Docker has it.
    pub id: Option<Digest>,
    /// When, RFC 3339, as the image says.
    pub created: Option<String>,
    /// By which command.
    pub created_by: String,
    /// The size of the layer's blob in bytes; 0 for a row without a layer.
    pub size: u64,
    /// The size of the layer's tar in bytes, when the store has it.
    pub diff_size: Option<u64>,
    /// The DiffID of the layer this row made.
    pub diff_id: Option<Digest>,
    /// The comment.
    pub comment: String,
}

impl Image {
    /// Returns the history, newest row first.
    ///
    /// Rows that made a layer are matched with the layers in order. An image with fewer such rows in its history than it
    /// has layers (config.md asks for as many, not every tool obeys) gets a row without text for each layer left over,
    /// above the others; rows beyond the last layer have size 0.
    pub fn history(&self, store: &Store) -> Result<Vec<HistoryRow>> {
        let mut layers = self.layers().iter();
        let mut rows = Vec::new();
        for step in self.config().history() {
            let layer = if step.empty_layer { None } else { layers.next() };
            let mut row = row_of(store, layer)?;
            row.created = step.created.clone();
            row.created_by = step.created_by.clone().unwrap_or_default();
            row.comment = step.comment.clone().unwrap_or_default();
            rows.push(row);
        }
        for layer in layers {
            rows.push(row_of(store, Some(layer))?);
        }
        rows.reverse();
        if let Some(newest) = rows.first_mut() {
            newest.id = Some(*self.id());
        }
        Ok(rows)
    }
}

fn row_of(store: &Store, layer: Option<&super::open::Layer>) -> Result<HistoryRow> {
    let diff_size = match layer {
        Some(layer) => store.layer_info(&layer.digest)?.and_then(|info| info.diff_size),
        None => None,
    };
    Ok(HistoryRow {
        id: None,
        created: None,
        created_by: String::new(),
        size: layer.map_or(0, |layer| layer.size),
        diff_size,
        diff_id: layer.map(|layer| layer.diff_id),
        comment: String::new(),
    })
}
