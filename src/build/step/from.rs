//! FROM: the state that a stage begins with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::build::options::BuildOptions;
use crate::build::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::event::StepId;
use crate::hint::Hint;
use crate::image::{Image, Platform};
use crate::progress::Control;
use crate::store::Store;
use crate::threads::lock;

/// The images that stages start from or copy from, fetched where registries are at hand.
#[derive(Debug)]
pub(in crate::build) struct Images<'a> {
    pub(in crate::build) store: &'a Store,
    pub(in crate::build) options: &'a BuildOptions,
    pub(in crate::build) control: &'a Control,
    /// The names that were asked for in this build. Held while one is fetched, so that no two stages fetch the same.
    pub(in crate::build) asked: Mutex<BTreeSet<String>>,
    /// The images that were opened, by name and platform, with the digest that the name stands for.
    pub(in crate::build) opened: Mutex<BTreeMap<(String, Platform), String>>,
}

impl Images<'_> {
    /// Returns the state of a base image; `step` is what transfers are shown under.
    pub(in crate::build) fn state(
        &self,
        name: &str,
        platform: Option<&Platform>,
        escape: char,
        step: StepId,
    ) -> Result<State> {
        if name == "scratch" {
            return Ok(State::scratch(platform.cloned().unwrap_or_else(Platform::host), escape));
        }
        let mut opened = if self.always() { None } else { Some(Image::open(self.store, name, platform)) };
        let missing =
            |opened: &Result<Image>| opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if opened.as_ref().is_none_or(missing) {
            let mut asked = lock(&self.asked);
            // Another stage may have fetched it meanwhile.
            if asked.insert(format!("{name} {platform:?}")) {
                self.fetch(name, platform, step)?;
            }
            opened = None;
        }
        let image = match opened {
            Some(opened) => opened,
            None => Image::open(self.store, name, platform),
        };
        let image = image.map_err(|error: Error| match error.kind() {
            ErrorKind::NotFound if error.hint().is_none() => error.with_hint(Hint::GetImage),
            _ => error,
        })?;
        let top = image.index().unwrap_or(image.descriptor()).digest().to_string();
        let mut known = lock(&self.opened);
        known.insert((name.into(), image.platform()), top);
        drop(known);
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

    /// Fetches an image where registries are at hand.
    #[cfg(feature = "registry")]
    fn fetch(&self, name: &str, platform: Option<&Platform>, step: StepId) -> Result<()> {
        use crate::event::{Event, Events};
        use crate::registry::{PullOptions, pull};
        let Some(registries) = &self.options.registries else { return Ok(()) };
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
        pull(self.store, registries, name, &options, &control).map(drop)
    }

    #[cfg(not(feature = "registry"))]
    fn fetch(&self, _: &str, _: Option<&Platform>, _: StepId) -> Result<()> {
        let _ = self.control;
        Ok(())
    }
}
