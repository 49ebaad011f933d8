//! Progress of long operations: a bar on a terminal, a line now and then elsewhere, nothing for what is quick.

use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use treering::{Control, Counters};

use crate::text;

/// A bar that shows up for a moment only disturbs.
const BEFORE_BAR: Duration = Duration::from_millis(300);
const BETWEEN_FRAMES: Duration = Duration::from_millis(100);
/// In a log, short operations say nothing.
const BEFORE_LINE: Duration = Duration::from_secs(3);
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// The display of progress, until it is dropped.
#[derive(Debug)]
pub struct Progress(Option<Shown>);

#[derive(Debug)]
struct Shown {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Progress {
    /// Starts watching the counters of `control`. `what` is a word like `committing`.
    pub fn start(what: &'static str, control: &Control, quiet: bool) -> Progress {
        if quiet {
            return Progress(None);
        }
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (flag, counters) = (stop.clone(), control.counters.clone());
        let watch = move || {
            // Nothing is set up before it is needed: most operations are over by then.
            let terminal = std::io::stderr().is_terminal();
            if stopped(&flag, if terminal { BEFORE_BAR } else { BEFORE_LINE }) {
                return;
            }
            if terminal { bar(what, &flag, &counters) } else { log(what, &flag, &counters) }
        };
        let thread = std::thread::Builder::new().name("progress".into()).spawn(watch);
        Progress(thread.ok().map(|thread| Shown { stop, thread }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(Shown { stop, thread }) = self.0.take() {
            *stop.0.lock().expect("no holder panics") = true;
            stop.1.notify_all();
            let _ = thread.join();
        }
    }
}

/// Waits; returns whether the operation ended in that time.
fn stopped(flag: &(Mutex<bool>, Condvar), wait: Duration) -> bool {
    let guard = flag.0.lock().expect("no holder panics");
    *flag.1.wait_timeout_while(guard, wait, |stop| !*stop).expect("no holder panics").0
}

fn bar(what: &str, flag: &(Mutex<bool>, Condvar), counters: &Counters) {
    let style = |template: &str| ProgressStyle::with_template(template).expect("a fixed template");
    let unknown = style("{spinner} {prefix} {msg}");
    let known = style("{prefix} [{bar:30}] {percent:>3}% {msg}").progress_chars("=> ");
    // Hidden until its style is set.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    bar.set_prefix(what.to_string());
    let mut hidden = true;
    loop {
        let (done, total) = (load(&counters.bytes_read), load(&counters.bytes_total));
        bar.set_message(amount(counters));
        if total >= done && total > 0 {
            bar.set_style(known.clone());
            bar.set_length(total);
            bar.set_position(done);
        } else {
            bar.set_style(unknown.clone());
        }
        if std::mem::take(&mut hidden) {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.tick();
        if stopped(flag, BETWEEN_FRAMES) {
            return bar.finish_and_clear();
        }
    }
}

fn log(what: &str, flag: &(Mutex<bool>, Condvar), counters: &Counters) {
    let began = Instant::now();
    loop {
        let (done, total) = (load(&counters.bytes_read), load(&counters.bytes_total));
        let percent = match total {
            // Behind what was read while a stream of unknown length is.
            _ if total < done.max(1) => String::new(),
            _ => format!(" {}%,", (done as f64 / total as f64 * 100.0) as u64),
        };
        let time = text::duration(BEFORE_LINE + began.elapsed());
        let _ = writeln!(std::io::stderr(), "{what}:{percent} {}, {time}", amount(counters));
        if stopped(flag, BETWEEN_LINES) {
            return;
        }
    }
}

/// Returns what has been done, in numbers.
fn amount(counters: &Counters) -> String {
    let (done, total) = (load(&counters.bytes_read), load(&counters.bytes_total));
    let entries = text::plural(load(&counters.entries), "entry", "entries");
    match (done, total) {
        (0, 0) => entries,
        _ if total < done => format!("{entries}, {}", text::size(done)),
        _ => format!("{entries}, {} of {}", text::size(done), text::size(total)),
    }
}

fn load(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
