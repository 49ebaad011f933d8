//! The rows of an image's history side by side with its layers, while an image is made out of another one.

use serde_json::{Value, json};

use super::compose::{Below, StepLayer};
use super::config::History;
use super::derive::rows_of;
use super::open::{Image, Layer};
use crate::error::{Error, Result};

const EDIT: &str = "edit image";

/// A row, and the layer that goes with it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The row as it is to be written.
    value: Value,
    /// `None` for a row that changed nothing in the tree.
    pub layer: Option<Layer>,
}

/// All rows, oldest first. Every layer has its row.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows(Vec<Row>);

impl Rows {
    /// Returns the rows of an image. Layers without a row get an empty one, as when an image is built on it; a row that
    /// claims a layer which is not there is one without.
    pub fn of(image: &Image) -> Rows {
        let mut layers = image.layers().iter();
        let rows = rows_of(image.config()).into_iter().map(|mut value| {
            let empty = value.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
            let layer = if empty { None } else { layers.next().cloned() };
            if let (false, None, Value::Object(members)) = (empty, &layer, &mut value) {
                members.insert("empty_layer".into(), json!(true));
            }
            Row { value, layer }
        });
        Rows(rows.collect())
    }

    /// Returns the layers, base first.
    pub fn layers(&self) -> Vec<Layer> {
        self.0.iter().filter_map(|row| row.layer.clone()).collect()
    }

    /// Returns how many layers there are.
    pub fn layer_count(&self) -> usize {
        self.0.iter().filter(|row| row.layer.is_some()).count()
    }

    /// Puts the rows and layers of one base in the place of another one's.
    ///
    /// # Errors
    /// When the first layers are not those of the old base, by their DiffIDs.
    pub fn rebase(&mut self, old: &Rows, new: Rows) -> Result<()> {
        let (own, base) = (self.layers(), old.layers());
        let same = own.iter().zip(&base).take_while(|(own, base)| own.diff_id == base.diff_id).count();
        if same < base.len() {
            let message = match own.get(same) {
                Some(_) => {
                    format!("its layer {} is not that of the old base, which has {}", same + 1, base.len())
                }
                None => format!("it has {} layers, the old base {}", own.len(), base.len()),
            };
            return Err(Error::invalid(EDIT, format!("the image is not built on the old base: {message}"))
                .with_hint("name the very image it was built on, with the same DiffIDs from the first on"));
        }
        let is_prefix = self.0.len() >= old.0.len()
            && self.0.iter().zip(&old.0).all(|(own, base)| own.value == base.value);
        let cut = match (is_prefix, base.len()) {
            (true, _) => old.0.len(),
            // Another tool rewrote the history: what stands up to the last layer of the base is the base's.
            (false, 0) => 0,
            (false, last) => {
                let with_layer = self.0.iter().enumerate().filter(|(_, row)| row.layer.is_some());
                with_layer.map(|(at, _)| at + 1).nth(last - 1).unwrap_or(self.0.len())
            }
        };
        let above = self.0.split_off(cut);
        self.0 = new.0;
        self.0.extend(above);
        Ok(())
    }

    /// Takes the last layers away, with their rows. Rows without a layer stay: what they say of the configuration holds.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn drop_last(&mut self, count: usize) -> Result<Vec<Layer>> {
        let have = self.layer_count();
        let Some(stay) = have.checked_sub(count) else {
            let message = format!("the last {count} layers cannot go: the image has {have}");
            return Err(Error::invalid(EDIT, message));
        };
        let (mut seen, mut gone) = (0, Vec::new());
        self.0.retain(|row| {
            let Some(layer) = &row.layer else { return true };
            seen += 1;
            if seen > stay {
                gone.push(layer.clone());
            }
            seen <= stay
        });
        Ok(gone)
    }

    /// Adds a row at the end.
    pub fn push(&mut self, row: &History, layer: Option<&StepLayer>) -> Result<()> {
        let layer = match layer {
            None => None,
            Some(StepLayer { diff_id, descriptor }) => Some(Layer {
                digest: crate::store::descriptor_digest(descriptor)?,
                size: descriptor.size(),
                descriptor: descriptor.clone(),
                diff_id: *diff_id,
            }),
        };
        let row = History { empty_layer: layer.is_none(), ..row.clone() };
        let value = serde_json::to_value(&row)
            .map_err(|error| Error::corrupt(EDIT, "a history row cannot be written").with_source(error))?;
        self.0.push(Row { value, layer });
        Ok(())
    }

    /// Returns what an image is made of.
    pub fn into_below(self) -> Below {
        let layers = self.layers().into_iter();
        let layers = layers.map(|Layer { diff_id, descriptor, .. }| StepLayer { diff_id, descriptor });
        Below { layers: layers.collect(), rows: self.0.into_iter().map(|row| row.value).collect() }
    }
}
