//! Events of a long operation: steps, output, transfers, warnings. One stream, many readers: a terminal, `--json`, C, Go, Python.
//!
//! Counters ([`crate::Counters`]) say how much was done; events say what. They need not be read: a full queue drops output and the
//! progress of transfers, counts the output that it dropped, and never holds an operation up.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Location;

/// A step's number within its operation, unique and never reused there.
pub type StepId = u32;

/// The stream of a command that output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// An event of an operation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A step began.
    Started {
        /// The step.
        step: StepId,
        /// The stage it belongs to: a build stage's name or number. Empty where there is none.
        stage: String,
        /// The step's place in its stage, counted from 1, and how many steps the stage has. Zeros where nothing counts them.
        place: (u32, u32),
        /// The step in one line: `RUN make`, `pull docker.io/library/debian:12`.
        text: String,
        /// The place of its instruction.
        location: Option<Location>,
    },
    /// A step's result came out of the cache. Its [`Event::Finished`] follows.
    Cached {
        /// The step.
        step: StepId,
    },
    /// A step's command wrote something.
    Output {
        /// The step.
        step: StepId,
        /// The stream that it went to.
        stream: OutputStream,
        /// The bytes as they came, not cut at lines.
        bytes: Vec<u8>,
    },
    /// Output was dropped: it was not read in time, or it passed the log's limit.
    OutputDropped {
        /// The step.
        step: StepId,
        /// How many bytes.
        bytes: u64,
    },
    /// A step ended well.
    Finished {
        /// The step.
        step: StepId,
        /// How long it took.
        took: Duration,
        /// The size of the layer it made, in bytes; 0 for none.
        size: u64,
    },
    /// A blob is on its way from or to a registry.
    Transfer {
        /// The step.
        step: StepId,
        /// The blob, as `sha256:HEX`.
        digest: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all; 0 while unknown.
        total: u64,
    },
    /// A warning: nothing failed.
    Warning {
        /// The name of the check that found it (`StageNameCasing`); empty where none has a name.
        rule: String,
        /// The message: what is wrong.
        message: String,
        /// The place in a text that it is about.
        location: Option<Location>,
    },
    /// A step failed. The operation's own result is an error too.
    Failed {
        /// The step.
        step: StepId,
        /// The message: what went wrong, in one line.
        message: String,
    },
}

impl Event {
    /// Returns whether a reader that is late can do without: output, and a transfer's state, which its next one replaces.
    fn is_droppable(&self) -> bool {
        match self {
            Event::Output { .. } => true,
            Event::Transfer { done, total, .. } => done != total,
            _ => false,
        }
    }

    /// Returns the bytes that the event holds in memory, roughly: what the queue's limit counts.
    fn weight(&self) -> usize {
        let of =
            |location: &Option<Location>| location.as_ref().map_or(0, |at| at.file.len() + at.text.len());
        64 + match self {
            Event::Output { bytes, .. } => bytes.len(),
            Event::Started { stage, text, location, .. } => stage.len() + text.len() + of(location),
            Event::Warning { rule, message, location } => rule.len() + message.len() + of(location),
            Event::Failed { message, .. } => message.len(),
            Event::Transfer { digest, .. } => digest.len(),
            _ => 0,
        }
    }
}

/// Receives every event on the thread it happens on. Must return soon, and must not call back into the operation.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// A queue that an operation puts its events into. The default drops them at no cost. Clones share one queue.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<Shared>>);

struct Shared {
    observer: Option<Observer>,
    queue: Mutex<Queue>,
    came: Condvar,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    weight: usize,
    limit: usize,
    dropped: Vec<(StepId, u64)>,
    closed: bool,
}

impl Events {
    /// Returns a queue to poll, of at most about `limit` bytes.
    pub fn queue(limit: usize) -> Events {
        Events(Some(Arc::new(Shared {
            observer: None,
            queue: Mutex::new(Queue { limit, ..Queue::default() }),
            came: Condvar::new(),
        })))
    }

    /// Returns events that go to a function and are not queued.
    pub fn observed(observer: Observer) -> Events {
        Events(Some(Arc::new(Shared {
            observer: Some(observer),
            queue: Mutex::default(),
            came: Condvar::new(),
        })))
    }

    /// Returns whether anything receives events. An event that costs something to make need not be made otherwise.
    pub fn wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Sends an event. Never blocks on a reader.
    pub fn send(&self, event: Event) {
        let Some(shared) = &self.0 else { return };
        if let Some(observer) = &shared.observer {
            return observer(&event);
        }
        let mut queue = shared.lock();
        let weight = event.weight();
        if event.is_droppable() && queue.weight + weight > queue.limit {
            queue.drop_event(event);
        } else {
            // Room for the others comes from what can be dropped, the oldest first. They are few and small.
            while queue.weight + weight > queue.limit && queue.drop_oldest() {}
            queue.weight += weight;
            queue.events.push_back(event);
        }
        drop(queue);
        shared.came.notify_one();
    }

    /// Returns the next event; `None` when there is none now.
    pub fn poll(&self) -> Option<Event> {
        self.0.as_ref()?.lock().next()
    }

    /// Returns the next event, waiting for one at most `wait`. `None` when the time is over, or the queue was closed and is
    /// empty.
    pub fn wait(&self, wait: Duration) -> Option<Event> {
        let shared = self.0.as_ref()?;
        let end = Instant::now().checked_add(wait);
        let mut queue = shared.lock();
        loop {
            if let Some(event) = queue.next() {
                return Some(event);
            }
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if queue.closed || left.is_zero() {
                return None;
            }
            // A day at a time: the system's clocks do not reach further everywhere.
            let left = left.min(Duration::from_secs(86_400));
            queue = shared.came.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Says that no event will follow, so that a reader that waits returns.
    pub fn close(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().closed = true;
            shared.came.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            self.weight -= event.weight();
            return Some(event);
        }
        // Reported once the reader has caught up: one number for each step.
        let (step, bytes) = self.dropped.pop()?;
        Some(Event::OutputDropped { step, bytes })
    }

    /// Drops an event, and counts it if it is output.
    fn drop_event(&mut self, event: Event) {
        let Event::Output { step, bytes, .. } = event else { return };
        let bytes = bytes.len() as u64;
        match self.dropped.iter_mut().find(|(known, _)| *known == step) {
            Some((_, sum)) => *sum += bytes,
            None => self.dropped.push((step, bytes)),
        }
    }

    /// Drops the oldest event that can be dropped; `false` when there is none.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.events.iter().position(Event::is_droppable).and_then(|at| self.events.remove(at));
        let Some(event) = oldest else { return false };
        self.weight -= event.weight();
        self.drop_event(event);
        true
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            None => "Events(off)",
            Some(shared) if shared.observer.is_some() => "Events(observed)",
            Some(_) => "Events(queued)",
        })
    }
}

/// One event of each kind, for the tests of the C ABI and of its bindings. Not part of the stable interface.
#[doc(hidden)]
pub mod example {
    use super::*;

    /// Returns a place in a Dockerfile.
    pub fn location() -> Location {
        Location { file: b"Dockerfile".to_vec(), line: 3, column: 5, text: "RUN make".into() }
    }

    /// Returns the events.
    pub fn events() -> Vec<Event> {
        let digest = format!("sha256:{}", "ab".repeat(32));
        vec![
            Event::Started {
                step: 1,
                stage: "build".into(),
                place: (2, 3),
                text: "RUN make".into(),
                location: Some(location()),
            },
            Event::Output { step: 1, stream: OutputStream::Stderr, bytes: b"caf\xe9\n".to_vec() },
            Event::OutputDropped { step: 1, bytes: 10 },
            Event::Failed { step: 1, message: "the command failed".into() },
            Event::Transfer { step: 2, digest, done: 5, total: 50 },
            Event::Cached { step: 2 },
            Event::Finished { step: 2, took: Duration::from_millis(1500), size: 20 },
            Event::Warning {
                rule: "StageNameCasing".into(),
                message: "a stage has capitals".into(),
                location: Some(location()),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(step: StepId, len: usize) -> Event {
        Event::Output { step, stream: OutputStream::Stdout, bytes: vec![b'x'; len] }
    }

    #[test]
    fn a_queue_nobody_reads_drops_output_and_counts_it() {
        let events = Events::queue(1000);
        for _ in 0..100 {
            events.send(output(7, 100));
        }
        for step in 0..50 {
            events.send(Event::Cached { step });
        }
        let mut kept = 0;
        let (mut cached, mut dropped) = (0, 0);
        while let Some(event) = events.poll() {
            match event {
                Event::Output { bytes, .. } => kept += bytes.len() as u64,
                Event::Cached { .. } => cached += 1,
                Event::OutputDropped { step: 7, bytes } => dropped += bytes,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((kept + dropped, cached), (10_000, 50));
        assert!(dropped > 0);
    }

    #[test]
    fn a_queue_nobody_reads_stays_small_and_keeps_the_end_of_each_transfer() {
        let events = Events::queue(2000);
        let transfer = |done| Event::Transfer { step: 1, digest: "d".repeat(71), done, total: 1000 };
        for done in 0..=1000 {
            events.send(transfer(done));
        }
        // The line that a warning is about may be long.
        let location = Location { text: "x".repeat(1500), ..example::location() };
        events.send(Event::Warning { rule: String::new(), message: String::new(), location: Some(location) });
        let kept: Vec<Event> = std::iter::from_fn(|| events.poll()).collect();
        assert!(kept.contains(&transfer(1000)) && matches!(kept.last(), Some(Event::Warning { .. })));
        assert!(kept.len() < 6, "{}", kept.len());
    }

    #[test]
    fn a_reader_that_waits_gets_what_comes_and_ends_when_it_is_closed() {
        let events = Events::queue(1000);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while events.wait(Duration::MAX).is_some() {
                    seen += 1;
                }
                seen
            });
            for step in 0..3 {
                events.send(Event::Cached { step });
            }
            events.close();
            assert_eq!(reader.join().unwrap(), 3);
        });
        assert!(Events::default().wait(Duration::MAX).is_none() && !Events::default().wanted());
    }
}
