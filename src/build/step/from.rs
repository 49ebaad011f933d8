//! FROM: the state that a stage begins with.

use crate::build::options::BuildOptions;
use crate::build::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::event::StepId;
use crate::image::{Image, Platform};
use crate::progress::Control;
use crate::store::Store;

/// Opens the images that stages start from or copy from; with registries at hand, fetches them.
#[derive(Debug)]
pub(in crate::build) struct Images<'a> {
    pub(in crate::build) store: &'a Store,
    pub(in crate::build) options: &'a BuildOptions,
    pub(in crate::build) control: &'a Control,
    /// The names that were asked for in this build.
    pub(in crate::build) asked: std::collections::BTreeSet<String>,
}

impl Images<'_> {
    /// The state of a base image; `step` is what transfers are shown under.
    pub(in crate::build) fn state(
        &mut self,
        name: &str,
        platform: Option<&Platform>,
        escape: char,
        step: StepId,
    ) -> Result<State> {
        if name == "scratch" {
            return Ok(State::scratch(platform.cloned().unwrap_or_else(Platform::host), escape));
        }
        if self.always() && self.asked.insert(format!("{name} {platform:?}")) {
            self.fetch(name, platform, step)?;
        }
        let image = match Image::open(self.store, name, platform) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.fetch(name, platform, step)? => {
                Image::open(self.store, name, platform)
            }
            opened => opened,
        };
        let image = image.map_err(|error: Error| match error.kind() {
            ErrorKind::NotFound if error.hint().is_none() => {
                error.with_hint("load, import or pull the image first; `images` lists what is in the store")
            }
            _ => error,
        })?;
        Ok(State::image(image, escape))
    }

    #[cfg(feature = "registry")]
    fn always(&self) -> bool {
        self.options.pull && self.options.registries.is_some()
    }

    #[cfg(not(feature = "registry"))]
    fn always(&self) -> bool {
        let _ = self.options;
        false
    }

    /// Fetches an image where registries are at hand, and says whether they are.
    #[cfg(feature = "registry")]
    fn fetch(&self, name: &str, platform: Option<&Platform>, step: StepId) -> Result<bool> {
        use crate::event::{Event, Events};
        use crate::registry::{PullOptions, pull};
        let Some(registries) = &self.options.registries else { return Ok(false) };
        let ours = self.control.events.clone();
        let events = match ours.wanted() {
            false => Events::default(),
            // The transfers belong to the step of this build.
            true => Events::observed(std::sync::Arc::new(move |event: &Event| {
                if let Event::Transfer { digest, done, total, .. } = event {
                    ours.send(Event::Transfer { step, digest: digest.clone(), done: *done, total: *total });
                }
            })),
        };
        let control = Control { events, ..self.control.clone() };
        let options = PullOptions { platform: platform.cloned(), ..PullOptions::default() };
        pull(self.store, registries, name, &options, &control)?;
        Ok(true)
    }

    #[cfg(not(feature = "registry"))]
    fn fetch(&self, _: &str, _: Option<&Platform>, _: StepId) -> Result<bool> {
        let _ = self.control;
        Ok(false)
    }
}
