//! Events of a build: one step after the other.

use std::sync::atomic::{AtomicU32, Ordering};
#[cfg(feature = "sandbox")]
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::error::{Location, Result};
use crate::event::{Event, StepId};
use crate::progress::Control;
#[cfg(feature = "sandbox")]
use crate::{event::Events, threads::lock};

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

/// Most bytes of a command's output that become events, as BuildKit has it.
#[cfg(feature = "sandbox")]
const MAX_OUTPUT: usize = 2 << 20;

/// The output of one command on its way to the events of the build. What is beyond the limit is left out: a warning says so at once,
/// and how much it was is said at the end.
#[cfg(feature = "sandbox")]
#[derive(Debug)]
pub(super) struct Clipped {
    step: StepId,
    to: Events,
    /// The control of the command.
    pub(super) control: Control,
    /// Bytes that were passed on, and those that were left out.
    count: Arc<Mutex<(usize, u64)>>,
}

#[cfg(feature = "sandbox")]
impl Clipped {
    pub(super) fn new(control: &Control, step: StepId, text: &str) -> Clipped {
        let count: Arc<Mutex<(usize, u64)>> = Arc::default();
        let to = control.events.clone();
        let events = match to.wanted() {
            false => Events::default(),
            true => {
                let (to, count, text) = (to.clone(), Arc::clone(&count), text.to_string());
                Events::observed(Arc::new(move |event: &Event| pass(event, &to, &mut lock(&count), &text)))
            }
        };
        Clipped { step, to, control: Control { events, ..control.clone() }, count }
    }
}

#[cfg(feature = "sandbox")]
impl Drop for Clipped {
    fn drop(&mut self) {
        let (_, bytes) = *lock(&self.count);
        if bytes > 0 {
            self.to.send(Event::OutputDropped { step: self.step, bytes });
        }
    }
}

#[cfg(feature = "sandbox")]
fn pass(event: &Event, to: &Events, (passed, dropped): &mut (usize, u64), text: &str) {
    let Event::Output { step, stream, bytes } = event else { return to.send(event.clone()) };
    let (head, tail) = bytes.split_at(bytes.len().min(MAX_OUTPUT - *passed));
    *passed += head.len();
    if !head.is_empty() {
        to.send(Event::Output { step: *step, stream: *stream, bytes: head.to_vec() });
    }
    if !tail.is_empty() && *dropped == 0 {
        let message = format!("the output of {text} beyond {} MiB is left out", MAX_OUTPUT >> 20);
        to.send(Event::Warning { rule: String::new(), message, location: None });
    }
    *dropped += tail.len() as u64;
}
