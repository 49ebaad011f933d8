//! Transfers from or to a registry: a bar for each blob on a terminal, a line now and then elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use treering::{Control, Event, Events};

use crate::progress::Progress;
use crate::text;
use crate::ui::Ui;

/// The time before bars: what is over sooner shows nothing.
const BEFORE_BARS: Duration = Duration::from_millis(300);

/// The display of transfers, until it is dropped.
#[derive(Debug)]
pub struct Transfers {
    _lines: Option<Progress>,
    bars: Option<MultiProgress>,
}

impl Transfers {
    /// Watches an operation: use the control that comes back. `what` is a word like `pulling`.
    pub fn start(what: &'static str, control: Control, ui: &Ui, quiet: bool) -> (Control, Transfers) {
        if quiet {
            return (control, Transfers { _lines: None, bars: None });
        }
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        let (shown, voice) = (bars.clone().map(|all| Mutex::new(Bars::new(what, all))), *ui);
        let events = Events::observed(Arc::new(move |event: &Event| match (event, &shown) {
            (Event::Transfer { digest, done, total, .. }, Some(bars)) => {
                bars.lock().unwrap_or_else(PoisonError::into_inner).reach(digest, *done, *total);
            }
            (Event::Warning { message, .. }, Some(bars)) => {
                let all = bars.lock().unwrap_or_else(PoisonError::into_inner).all.clone();
                all.suspend(|| voice.warn(message));
            }
            (Event::Warning { message, .. }, None) => voice.warn(message),
            _ => {}
        }));
        let control = Control { events, ..control };
        let lines = bars.is_none().then(|| Progress::start(what, &control, false));
        (control, Transfers { _lines: lines, bars })
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }
}

struct Bars {
    what: &'static str,
    all: MultiProgress,
    began: Instant,
    hidden: bool,
    known: HashMap<String, ProgressBar>,
}

impl Bars {
    fn new(what: &'static str, all: MultiProgress) -> Bars {
        all.set_draw_target(ProgressDrawTarget::hidden());
        Bars { what, all, began: Instant::now(), hidden: true, known: HashMap::new() }
    }

    fn reach(&mut self, digest: &str, done: u64, total: u64) {
        if self.hidden && self.began.elapsed() >= BEFORE_BARS {
            self.all.set_draw_target(ProgressDrawTarget::stderr());
            self.hidden = false;
        }
        let bar = self.known.entry(digest.to_string()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix}: {msg} [{bar:30}]").expect("a fixed template");
            let bar = ProgressBar::new(total).with_style(style.progress_chars("=> "));
            self.all.add(bar.with_prefix(short(digest)))
        });
        bar.set_position(done);
        bar.set_message(message(self.what, done, total));
        if done >= total {
            bar.finish();
        }
    }
}

/// Returns a digest as Docker shows it beside a bar.
fn short(digest: &str) -> String {
    digest.split_once(':').map_or(digest, |(_, hex)| hex).chars().take(12).collect()
}

/// Returns how far a blob is.
fn message(what: &str, done: u64, total: u64) -> String {
    match done >= total {
        true => format!("{:<9} {:>9}", "done", text::size(total)),
        false => format!("{what:<9} {:>9} of {:>9}", text::size(done), text::size(total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_blob_has_a_bar_of_its_own() {
        let mut bars = Bars::new("pulling", MultiProgress::new());
        let (one, other) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        bars.reach(&one, 5, 10);
        bars.reach(&other, 0, 20);
        bars.reach(&one, 10, 10);
        assert_eq!(bars.known.len(), 2);
        assert_eq!((bars.known[&one].position(), bars.known[&one].is_finished()), (10, true));
        assert_eq!(
            (bars.known[&other].prefix().as_str(), bars.known[&other].is_finished()),
            ("bbbbbbbbbbbb", false)
        );
        assert_eq!(bars.known[&other].message(), "pulling          0B of       20B");
        assert_eq!(bars.known[&one].message(), "done            10B");
    }
}
