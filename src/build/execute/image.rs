//! The image at the end: its documents, and those of an image for several platforms.

use serde_json::{Value, json};

use super::record::{history, layer_info};
use super::{OP, Record, Work};
use crate::build::annotations::{Annotations, Level};
use crate::build::key;
use crate::build::options::BuildOptions;
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
        let own = self.annotations.of(Level::Manifest, Some(&state.platform));
        let mut annotations: Vec<(String, String)> = own.into_iter().collect();
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

/// Returns whether the image is an index: over images for several platforms, or over one and what is attested of it.
/// BUILDKIT_MULTI_PLATFORM asks for an index over one alone.
pub(super) fn has_index(options: &BuildOptions) -> bool {
    let attests = options.provenance.is_some() || options.sbom;
    options.platforms.len() > 1 || attests || options.switch("BUILDKIT_MULTI_PLATFORM")
}

/// Returns the image as it gets its names: the only one, or the index.
pub(super) fn whole(
    store: &Store,
    images: &[(Platform, Made)],
    attestations: &[Descriptor],
    index: bool,
    annotations: &Annotations,
) -> Result<Made> {
    let host = Platform::host().accepts();
    let mut entries = Vec::new();
    for (platform, made) in images {
        let mut entry = made.entry.clone();
        annotations.put(Level::ManifestDescriptor, Some(platform), &mut entry);
        if !index {
            return Ok(Made { entry, ..made.clone() });
        }
        entry.set_platform(Some(platform.to_oci(OP)?));
        entries.push(entry);
    }
    entries.extend_from_slice(attestations);
    let index = put_document(store, &new_index(&entries, &annotations.of(Level::Index, None))?)?;
    let (_, own) = images.iter().find(|(platform, _)| host.contains(platform)).unwrap_or(&images[0]);
    let mut entry = descriptor(OCI_INDEX, &index);
    annotations.put(Level::IndexDescriptor, None, &mut entry);
    Ok(Made { manifest: index, image_id: own.image_id, entry })
}
