//! The image at the end: its documents, and those of an image for several platforms.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::record::{history, layer_info};
use super::{OP, Record, Work};
use crate::build::key;
use crate::build::state::State;
use crate::error::Result;
use crate::image::{
    Image, Made, OCI_INDEX, Platform, Recipe, StepLayer, compose, new_index, put_document, squash_layers,
    warn_of_layers,
};
use crate::store::{Descriptor, Store, descriptor};

impl Work<'_> {
    /// Puts the documents of the image into the store.
    pub(super) fn image(&self, mut state: State) -> Result<Made> {
        self.cache.fetch(&state.layers)?;
        if self.options.squash {
            self.squash(&mut state)?;
        }
        let mut annotations = self.options.annotations.clone();
        annotations.extend(self.cache.inline(&state.records)?);
        if !self.options.labels.is_empty() {
            let mut labels = match state.config.get("Labels") {
                Some(Value::Object(labels)) => labels.clone(),
                _ => serde_json::Map::new(),
            };
            labels.extend(self.options.labels.iter().map(|(name, value)| (name.clone(), json!(value))));
            state.config.set("Labels", Value::Object(labels));
        }
        let created = match state.steps.last().and_then(|step| step.created) {
            Some(created) => Some(created),
            None => state.base.as_ref().and_then(|base| base.config().created()?.parse().ok()),
        };
        let base: Option<&Image> = state.base.as_deref();
        let recipe = Recipe {
            base,
            platform: Some(state.platform.clone()),
            steps: &state.steps,
            config: Some(state.config.into_config()),
            author: state.author.clone(),
            created,
            annotations: &annotations,
            ..Recipe::default()
        };
        let made = compose(self.store, &recipe)?;
        warn_of_layers(state.layers.len(), self.control);
        Ok(made)
    }

    /// Makes one layer of those of this build. Its rows of history stay, and one more has the layer.
    fn squash(&self, state: &mut State) -> Result<()> {
        let own = state.steps.iter().filter(|step| step.layer.is_some()).count();
        if own < 2 {
            return Ok(());
        }
        let stay = state.layers.len() - own;
        let diff_ids: Vec<String> = state.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let key = key::of(&json!({
            "squash": diff_ids, "stay": stay, "profile": format!("{:?}", self.packing.profile), "epoch": self.epoch,
        }));
        let record = match self.cache.get(&key)? {
            Some(record) => record,
            None => {
                let (profile, threads) = (&self.packing.profile, self.packing.threads);
                let layer = squash_layers(self.store, &state.layers, stay, profile, threads, self.control)?;
                let record = Record { layer: Some(layer_info(self.store, &layer)?), created: self.now() };
                self.cache.put(&key, &record)?;
                record
            }
        };
        let names: Vec<String> = state.layers[stay..].iter().map(|layer| layer.diff_id.short()).collect();
        for step in &mut state.steps {
            step.layer = None;
        }
        state.layers.truncate(stay);
        state.records.push(key);
        let text = format!("squash {}", names.join(" "));
        let layer = record.layer.as_ref().map(StepLayer::from);
        state.push(history(record.created, text, state.author.clone(), layer)?)
    }
}

/// Returns the image as it gets its names: the only one, or an index over those for several platforms and what is attested
/// of them.
pub(super) fn whole(store: &Store, images: &[(Platform, Made)], attestations: &[Descriptor]) -> Result<Made> {
    let host = Platform::host().accepts();
    let (_, first) = &images[0];
    if images.len() == 1 && attestations.is_empty() {
        return Ok(first.clone());
    }
    let mut entries = Vec::new();
    for (platform, made) in images {
        let mut entry = made.entry.clone();
        entry.set_platform(Some(platform.to_oci(OP)?));
        entries.push(entry);
    }
    entries.extend_from_slice(attestations);
    let index = put_document(store, &new_index(&entries, &BTreeMap::new())?)?;
    let own = images.iter().find(|(platform, _)| host.contains(platform)).map_or(first, |(_, made)| made);
    Ok(Made { manifest: index, image_id: own.image_id, entry: descriptor(OCI_INDEX, &index) })
}
