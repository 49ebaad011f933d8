//! Records of build steps as they travel from machine to machine.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache::{Entry, Record};
use super::directory::Written;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{StepLayer, StepRecord, is_distributable, layer_compression};
use crate::store::LayerInfo;

const OP: &str = "share build cache";
/// The largest record that is taken from elsewhere, in bytes.
const MAX_RECORD: usize = 64 << 10;
/// The latest time of a record, in seconds since 1970: the year 9999.
const MAX_TIME: i64 = 253_402_300_799;

/// A record as it travels.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Travelling {
    /// The step's key: one that is found under another tag is of no use.
    pub(super) key: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<LayerInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Value>,
}

/// Writes a record down for others.
pub(super) fn encode(key: &Digest, entry: &Entry) -> Result<String> {
    let travelling = match entry.clone() {
        Entry::Step(Record { layer, created }) => {
            Travelling { key: *key, layer, created: Some(created), inputs: None }
        }
        Entry::Inputs { inputs } => {
            Travelling { key: *key, layer: None, created: None, inputs: Some(inputs) }
        }
    };
    serde_json::to_string(&travelling)
        .map_err(|error| Error::corrupt(OP, "a record cannot be written").with_source(error))
}

/// Reads what others wrote: the record of this very key, with a layer that may be one, and a time that may be one. `None` for
/// everything else.
pub(super) fn decode(text: &str, key: &Digest) -> Option<Entry> {
    if text.len() > MAX_RECORD {
        return None;
    }
    check(serde_json::from_str(text).ok()?, key)
}

/// Returns what a record says, where it is one of this key and can be true.
pub(super) fn check(found: Travelling, key: &Digest) -> Option<Entry> {
    if found.key != *key {
        return None;
    }
    match found {
        Travelling { layer, created: Some(created), inputs: None, .. }
            if (0..=MAX_TIME).contains(&created) =>
        {
            let layer_is_one = layer.as_ref().is_none_or(|layer| {
                layer_compression(&layer.media_type).is_some() && is_distributable(&layer.media_type)
            });
            layer_is_one.then_some(Entry::Step(Record { layer, created }))
        }
        Travelling { layer: None, created: None, inputs: Some(inputs), .. } if inputs.is_object() => {
            Some(Entry::Inputs { inputs })
        }
        _ => None,
    }
}

/// Records as they are written down elsewhere.
pub(super) fn written(chosen: &[&(Digest, Entry)]) -> Result<Vec<Written>> {
    let one = |(key, entry): &&(Digest, Entry)| {
        let layer = entry.layer().map(|info| StepLayer::from(info).descriptor);
        Ok((*key, encode(key, entry)?, layer))
    };
    chosen.iter().map(one).collect()
}

/// Reads what was found: a record of this key that its layer is kept with. A manifest keeps what it names, and nothing else.
pub(super) fn usable(found: &StepRecord, key: &Digest) -> Option<Entry> {
    decode(&found.text, key)
        .filter(|entry| entry.layer().is_none_or(|layer| found.layers.contains(&layer.digest)))
}
