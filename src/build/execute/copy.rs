//! COPY and ADD: what goes in, and whether a record has it.

use serde_json::json;

use super::origin::Origin;
use super::record::Planned;
use super::stage::Position;
use super::{OP, Work};
use crate::build::context::Shared;
use crate::build::key;
use crate::build::layer::write_layer;
use crate::build::state::State;
use crate::build::step::copy;
use crate::digest::Digest;
use crate::dockerfile::{Copy, Statement};
use crate::error::{Error, Result};
use crate::threads::lock;

impl Work<'_> {
    pub(super) fn copy(
        &self,
        state: &mut State,
        statement: &Statement,
        copy: &Copy,
        add: bool,
        at: usize,
        position: &Position<'_>,
    ) -> Result<()> {
        let resolved = copy::Resolved::new(copy, add, state).map_err(|fault| statement.line.error(fault))?;
        let text = resolved.text(copy.from.as_deref());
        let origin = self.origin(copy.from.as_deref(), at, statement)?;
        // What is copied out of layers is known by these, too: they need not be read, or be here, to find the step again.
        let by_layers = match &origin {
            Origin::Layers(layers, _) => {
                let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
                let chain = crate::image::chain_id(&diff_ids).map(|chain| chain.to_string());
                Some(key::of(&json!({ "from": chain, "copy": resolved.definition() })))
            }
            _ => None,
        };
        let known = by_layers.map(|key| Ok::<_, Error>((key, self.cache.inputs(&key)?))).transpose()?;
        let mut opened = None;
        let mut key = match known {
            Some((by_layers, Some(inputs))) => {
                state.records.push(by_layers);
                inputs
            }
            other => {
                let (source, inputs) = self.inputs(&resolved, &origin)?;
                let key = inputs.key().clone();
                if let Some((by_layers, _)) = other {
                    self.cache.put_inputs(&by_layers, &key)?;
                    state.records.push(by_layers);
                }
                opened = Some((source, inputs));
                key
            }
        };
        let link = match resolved.is_linked() {
            // The numbers, as the names of another base may mean others.
            true => {
                if resolved.names_owner() {
                    self.cache.fetch(&state.layers)?;
                }
                Some(resolved.owner(state, self.store, self.control)?)
            }
            false => None,
        };
        let said = key.clone();
        if let Some(owner) = &link {
            key["owner"] = json!(owner);
        }
        let linked = link.is_some();
        let planned = Planned { shown: text.clone(), text, linked, inputs: key };
        self.layer_step(state, statement, planned, position, |state, now, _| {
            let (source, mut inputs) = match opened {
                Some(opened) => opened,
                None => self.inputs(&resolved, &origin)?,
            };
            if *inputs.key() != said {
                let message = "the record of what is copied here says otherwise than the files";
                return Err(Error::corrupt(OP, message)
                    .with_hint("build without the cache that it came from, and prune it"));
            }
            let merge = resolved.apply(state, &source, &mut inputs, now, self.tools(), self.elsewhere())?;
            let below = Some(&state.layers[..]).filter(|_| !linked);
            merge.map(|merge| write_layer(merge, below, self.tools())).transpose()
        })
    }

    /// Finds and hashes what a copy takes.
    fn inputs(&self, resolved: &copy::Resolved, origin: &Origin) -> Result<(Shared, copy::Inputs)> {
        let source = self.open(origin)?;
        let inputs = resolved.inputs(&mut lock(&source), self.elsewhere())?;
        lock(&self.addresses).extend(inputs.facts());
        Ok((source, inputs))
    }
}
