//! Events of a build: one step after the other.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::error::{Location, Result};
use crate::event::{Event, StepId};
use crate::progress::Control;

/// The events of a build, the steps of which it numbers.
#[derive(Debug)]
pub(super) struct Reporter<'a> {
    control: &'a Control,
    next: AtomicU32,
}

/// A step that is being carried out.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: StepId,
    began: Instant,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(control: &'a Control) -> Self {
        Reporter { control, next: AtomicU32::new(1) }
    }

    pub(super) fn start(
        &self,
        stage: &str,
        place: (u32, u32),
        text: String,
        location: Option<Location>,
    ) -> Running {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.control.events.send(Event::Started { step: id, stage: stage.into(), place, text, location });
        Running { id, began: Instant::now() }
    }

    pub(super) fn cached(&self, running: &Running) {
        self.control.events.send(Event::Cached { step: running.id });
    }

    pub(super) fn finish(&self, running: Running, size: u64) {
        self.control.events.send(Event::Finished { step: running.id, took: running.began.elapsed(), size });
    }

    /// Says that a step failed, if it did.
    pub(super) fn watch<T>(&self, running: &Running, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            self.control.events.send(Event::Failed { step: running.id, message: error.to_string() });
        })
    }

    pub(super) fn warn(&self, rule: &str, message: String, location: Option<Location>) {
        self.control.events.send(Event::Warning { rule: rule.into(), message, location });
    }
}
