//! The record of a step: found in the cache, or made by carrying the step out.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::stage::Position;
use super::{OP, Work};
use crate::build::cache::Record;
use crate::build::events::Running;
use crate::build::key;
use crate::build::state::State;
use crate::digest::Digest;
use crate::dockerfile::Statement;
use crate::error::{Error, ErrorKind, Result};
use crate::event::StepId;
use crate::image::{Step, StepLayer};
use crate::layer::MtimePrecision;
use crate::store::{LayerInfo, Store};
use crate::threads::lock;

/// A step that may make a layer.
pub(super) struct Planned {
    /// The instruction as the history has it.
    pub text: String,
    /// The same as progress shows it.
    pub shown: String,
    /// Whether the layer is independent of what is below it.
    pub linked: bool,
    pub inputs: Value,
}

impl Work<'_> {
    /// Adds a row of history without a layer.
    pub(super) fn row(&self, state: &mut State, text: String, position: &Position<'_>) -> Result<()> {
        let key = key::of(&json!({ "row": state.row.to_string(), "text": text, "epoch": self.epoch }));
        let known = if position.no_cache { None } else { self.cache.get(&key)? };
        let created = match known {
            Some(record) => record.created,
            None => {
                let created = self.now();
                self.cache.put(&key, &Record { layer: None, created })?;
                created
            }
        };
        state.row = key;
        state.records.push(key);
        state.push(history(created, text, state.author.clone(), None)?)
    }

    /// Carries out a step that may make a layer, unless the cache has it.
    pub(super) fn layer_step(
        &self,
        state: &mut State,
        statement: &Statement,
        planned: Planned,
        position: &Position<'_>,
        make: impl FnOnce(&State, crate::fs::Timestamp, StepId) -> Result<Option<StepLayer>>,
    ) -> Result<()> {
        let Planned { text, shown, linked, inputs } = planned;
        let location = Some(statement.line.location(0));
        let running = self.reporter.start(position.stage, position.place, shown, location);
        let parent = if linked { None } else { Some(state.key.to_string()) };
        let key = key::of(&json!({
            "parent": parent, "step": inputs, "platform": state.platform.to_string(),
            "profile": format!("{:?}", self.packing.profile), "epoch": self.epoch,
            "nanoseconds": self.packing.options.precision == MtimePrecision::Nanoseconds,
        }));
        let result = self.record(state, key, position, &running, make);
        let record = self.reporter.watch(&running, result)?;
        if let Some(layer) = record.layer.as_ref().filter(|_| position.last) {
            self.cache.expect(&layer.digest);
        }
        let layer = record.layer.as_ref().map(StepLayer::from);
        let size = record.layer.as_ref().map_or(0, |layer| layer.size);
        let text = if layer.is_some() { format!("{text} # treering") } else { text };
        // With --link the same layer stands on other ones, too.
        state.key = key::of(&json!({ "parent": state.key.to_string(), "step": key.to_string() }));
        state.row = key::of(&json!({ "row": state.row.to_string(), "step": key.to_string() }));
        state.records.push(key);
        state.push(history(record.created, text, state.author.clone(), layer)?)?;
        self.reporter.finish(running, size);
        Ok(())
    }

    fn record(
        &self,
        state: &State,
        key: Digest,
        position: &Position<'_>,
        running: &Running,
        make: impl FnOnce(&State, crate::fs::Timestamp, StepId) -> Result<Option<StepLayer>>,
    ) -> Result<Record> {
        let known = if position.no_cache { self.made(&key) } else { self.cache.get(&key)? };
        if let Some(record) = known {
            return Ok(self.found(record, running));
        }
        // From here on it takes time: what is needed is written down, and others may prune.
        self.pin.settle();
        let _claim = self.cache.claim(&key, self.control)?;
        // Another stage or another build may have carried it out meanwhile.
        let known = if position.no_cache { self.made(&key) } else { self.cache.get_again(&key)? };
        if let Some(record) = known {
            return Ok(self.found(record, running));
        }
        self.cache.fetch(&state.layers)?;
        let created = self.now();
        let made = make(state, crate::fs::Timestamp::new(created, 0), running.id)?;
        let layer = made.map(|layer| layer_info(self.store, &layer)).transpose()?;
        self.carried_out.fetch_add(1, Ordering::Relaxed);
        let record = Record { layer, created };
        self.cache.put(&key, &record)?;
        lock(self.made).insert(key, record.clone());
        Ok(record)
    }

    fn made(&self, key: &Digest) -> Option<Record> {
        lock(self.made).get(key).cloned()
    }

    fn found(&self, record: Record, running: &Running) -> Record {
        self.cached.fetch_add(1, Ordering::Relaxed);
        self.reporter.cached(running);
        record
    }
}

pub(super) fn layer_info(store: &Store, layer: &StepLayer) -> Result<LayerInfo> {
    let digest = crate::store::descriptor_digest(&layer.descriptor)?;
    store.layer_info(&digest)?.ok_or_else(|| {
        Error::new(ErrorKind::Internal, OP, "a layer that the store has no record of")
            .with_path(digest.to_string())
    })
}

pub(super) fn history(
    created: i64,
    text: String,
    author: Option<String>,
    layer: Option<StepLayer>,
) -> Result<Step> {
    Ok(Step {
        created: Some(crate::image::creation_time(Some(created), OP)?),
        created_by: Some(text),
        author,
        comment: Some("treering build".into()),
        layer,
    })
}
