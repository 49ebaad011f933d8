//! RUN: the command in the tree of its stage, with what its mounts show.

#[cfg(feature = "sandbox")]
use std::sync::atomic::Ordering;

#[cfg(feature = "sandbox")]
use serde_json::json;

use super::Work;
#[cfg(feature = "sandbox")]
use super::origin::Origin;
#[cfg(feature = "sandbox")]
use super::record::Planned;
use super::stage::Position;
#[cfg(feature = "sandbox")]
use crate::build::pick::Pick;
#[cfg(feature = "sandbox")]
use crate::build::source::SourceTree;
use crate::build::state::State;
#[cfg(feature = "sandbox")]
use crate::build::step::mounts::With;
#[cfg(feature = "sandbox")]
use crate::build::work_tree::WorkTree;
#[cfg(feature = "sandbox")]
use crate::build::{key, step};
#[cfg(feature = "sandbox")]
use crate::digest::Digest;
use crate::dockerfile::{Run, Statement};
use crate::error::Result;
#[cfg(not(feature = "sandbox"))]
use crate::error::{Error, ErrorKind};
#[cfg(feature = "sandbox")]
use crate::image::Platform;
#[cfg(feature = "sandbox")]
use crate::threads::lock;

impl Work<'_> {
    #[cfg(feature = "sandbox")]
    pub(super) fn run(
        &self,
        state: &mut State,
        statement: &Statement,
        run: &Run,
        at: usize,
        position: &Position<'_>,
    ) -> Result<()> {
        let mut command =
            step::run::RunStep::new(run, state, self.options).map_err(|fault| statement.line.error(fault))?;
        let mut sources = Vec::new();
        for mount in &mut command.mounts {
            let Some(from) = mount.from() else {
                sources.push(None);
                continue;
            };
            let origin = self.origin(from, at, statement)?;
            // As for COPY: what layers show is known by these.
            let by_layers = match (&origin, mount.definition()) {
                (Origin::Layers(layers, _), Some(definition)) => {
                    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
                    let chain = crate::image::chain_id(&diff_ids).map(|chain| chain.to_string());
                    Some(key::of(&json!({ "from": chain, "mount": definition })))
                }
                _ => None,
            };
            let known = by_layers.map(|key| self.cache.inputs(&key)).transpose()?.flatten();
            let mut found = None;
            match known {
                Some(content) => mount.set_content(content),
                None => {
                    let source = self.open(&origin)?;
                    let (pick, content) =
                        mount.find(&mut lock(&source), self.options.threads, self.control)?;
                    if let Some((key, content)) = by_layers.zip(content.as_ref()) {
                        self.cache.put_inputs(&key, content)?;
                    }
                    content.into_iter().for_each(|content| mount.set_content(content));
                    found = Some((source, pick));
                }
            }
            state.records.extend(by_layers);
            sources.push(Some((origin, found)));
        }
        let inputs = command.key(self.options);
        let planned = Planned { text: command.text(), shown: command.shown(), linked: false, inputs };
        let namespace = self.cache_namespace();
        self.layer_step(state, statement, planned, position, |state, now, id| {
            let _slot = self.running.take(self.control)?;
            for (mount, source) in command.mounts.iter().zip(&mut sources) {
                if let Some((origin, found @ None)) = source {
                    let source = self.open(origin)?;
                    let (pick, _) = mount.find(&mut lock(&source), self.options.threads, self.control)?;
                    *found = Some((source, pick));
                }
            }
            let with = With { options: self.options, tools: self.tools(), namespace: &namespace, now };
            let mut files =
                |number: usize, work: &mut dyn FnMut(&mut SourceTree, &Pick) -> Result<()>| match &sources
                    [number]
                {
                    Some((_, Some((source, pick)))) => work(&mut lock(source), pick),
                    _ => Ok(()),
                };
            let foreign = self.foreign(state);
            let mut tree = self.take_tree(at, state)?;
            let made = match command.run(&mut tree, state, id, &mut files, with) {
                Ok(made) => made,
                Err(error) => {
                    // What the command left is mended when the tree is taken the next time.
                    let _ = tree.release(false);
                    return Err(match foreign {
                        Some(hint) if error.hint().is_none() => error.with_hint(hint),
                        _ => error,
                    });
                }
            };
            lock(&self.trees).push((at, tree));
            Ok(made)
        })
    }

    /// Returns the note about commands for another platform than this machine's. It is said once.
    #[cfg(feature = "sandbox")]
    fn foreign(&self, state: &State) -> Option<String> {
        let host = Platform::host();
        let of_386 = (host.architecture.as_str(), state.platform.architecture.as_str()) == ("amd64", "386");
        if of_386 || host.accepts().iter().any(|own| own.architecture == state.platform.architecture) {
            return None;
        }
        let note = format!(
            "commands for {} run on {host} only where the kernel has an emulator for them (binfmt_misc)",
            state.platform
        );
        if !self.noted.swap(true, Ordering::Relaxed) {
            self.reporter.warn("", note.clone(), None);
        }
        Some(note)
    }

    /// Takes a tree that is at a state: the stage's own, that of a stage that is done, else the nearest of the pool, to which all
    /// trees go back that no stage needs any more.
    #[cfg(feature = "sandbox")]
    fn take_tree(&self, at: usize, state: &State) -> Result<WorkTree> {
        let mut left = Vec::new();
        {
            let mut trees = lock(&self.trees);
            let free = |stage: usize| stage == at || self.states.is_done(stage);
            let fits = |(stage, tree): &(usize, WorkTree)| free(*stage) && tree.is_at(&state.layers);
            if let Some(found) = trees.iter().position(fits) {
                return Ok(trees.swap_remove(found).1);
            }
            let (unused, kept): (Vec<_>, Vec<_>) = trees.drain(..).partition(|(stage, _)| free(*stage));
            left.extend(unused.into_iter().map(|(_, tree)| tree));
            *trees = kept;
        }
        left.into_iter().try_for_each(|tree| tree.release(true))?;
        WorkTree::take(&state.layers, self.tools())
    }

    /// Returns the namespace that separates the cache mounts of this build from those of others.
    #[cfg(feature = "sandbox")]
    fn cache_namespace(&self) -> String {
        self.given("BUILDKIT_CACHE_MOUNT_NS").unwrap_or_default()
    }

    #[cfg(not(feature = "sandbox"))]
    pub(super) fn run(
        &self,
        _: &mut State,
        _: &Statement,
        _: &Run,
        _: usize,
        _: &Position<'_>,
    ) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, super::OP, "this build of treering runs no commands"))
    }
}
