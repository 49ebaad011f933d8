//! A container that runs by itself, joined in with by a thread that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::client::{Attachment, Input};
use super::handle::Container;
use super::process::{Ended, Process, ProcessOptions, Reach, Shared};
use super::streams::{Outputs, Resize, check_input};
use super::terminal::{self, DetachKeys, Feeder, Taker};
use crate::error::Result;
use crate::event::OutputStream;
use crate::progress::Control;
use crate::sandbox::WindowSize;
use crate::threads::lock;

impl Process {
    /// Joins in with the command of a container that runs by itself: gives its output from now on, and passes input on. Of the options count
    /// streams, sink, `merge` and `window`. Dropped, killed or with its control cancelled this lets go of the container, and the command goes
    /// on; so it does after [`Process::detach`], and where the command has a terminal and Ctrl-P Ctrl-Q is among its input.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] when the container does not run.
    pub fn attached(container: &Container, options: ProcessOptions, control: &Control) -> Result<Process> {
        let (shared, cancel) = (Arc::new(Shared::default()), control.cancel.for_parts());
        let sink = options.sink.map(|sink| shared.noted(sink));
        let mut outputs = Outputs::of(options.stdout, options.stderr, options.merge, sink)?;
        check_input(&options.stdin)?;
        let (source, merge) = (terminal::source(options.stdin)?, options.merge);
        let mut attached = container.attach()?;
        let container = container.again()?;
        let input = Arc::new(attached.input()?);
        let resize = attached.has_terminal().then(|| resizer(&input));
        if let (Some(resize), Some(window)) = (&resize, options.window) {
            resize(window)?;
        }
        let left = Arc::new(AtomicBool::new(false));
        let leave: Arc<dyn Fn() + Send + Sync> = {
            let (left, cancel) = (left.clone(), cancel.clone());
            Arc::new(move || {
                left.store(true, Ordering::Release);
                cancel.cancel();
            })
        };
        let taker = taker(input.clone(), attached.has_terminal(), leave.clone());
        let feeder = source.map(|source| Feeder::start(source, taker)).transpose()?;
        let signal = Box::new(move |signal| input.signal(signal));
        let reach = Reach { signal, chosen: None, resize, leave: Some(leave) };
        Process::watch_with(shared, cancel, control, reach, move |watched| {
            let ended = loop {
                match attached.next(&watched.control) {
                    Ok(Attachment::Output(stream, bytes)) => {
                        let stream = if merge { OutputStream::Stdout } else { stream };
                        if let Err(error) = outputs.write(stream, &bytes) {
                            lock(&watched.shared.failed).get_or_insert(error);
                            watched.control.cancel.cancel();
                        }
                    }
                    Ok(Attachment::Exited(code)) => break Ok(Ended { code, detached: false }),
                    Err(_) if left.load(Ordering::Acquire) => break Ok(Ended { code: 0, detached: true }),
                    Err(error) => break Err(error),
                }
            };
            // What waits for the command to read goes on, and ends.
            attached.hang_up();
            drop(feeder);
            let ended = ended?;
            if !ended.detached {
                container.await_state(&watched.control)?;
            }
            Ok(ended)
        })
    }
}

fn resizer(input: &Arc<Input>) -> Resize {
    let input = input.clone();
    Box::new(move |WindowSize { rows, columns }| input.resize(rows, columns))
}

/// Returns what passes input on to a container, and leaves it when the keys for that come.
fn taker(input: Arc<Input>, has_terminal: bool, leave: Arc<dyn Fn() + Send + Sync>) -> Box<Taker> {
    let mut keys = has_terminal.then(DetachKeys::default);
    Box::new(move |bytes, _| {
        let Some(bytes) = bytes else {
            input.close()?;
            return Ok(false);
        };
        let (pass, is_left) = match &mut keys {
            Some(keys) => keys.take(bytes),
            None => (bytes.to_vec(), false),
        };
        input.write(&pass)?;
        if is_left {
            leave();
        }
        Ok(!is_left)
    })
}
