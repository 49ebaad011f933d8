//! The steps of a build on standard error: for people, for logs, or as JSON.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use serde_json::{Value, json};
use treering::error::escape;
use treering::event::OutputStream;
use treering::{Event, Events, Location};

use crate::text;

/// The style of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// One line for each step on a terminal, plain otherwise
    Auto,
    /// A line for each thing that happens
    Plain,
    /// One line for each step that is done
    Tty,
    /// One JSON object for each event
    Json,
    /// Nothing
    Quiet,
}

/// Returns where events go to be shown.
pub fn events(style: Style, quiet: bool) -> Events {
    let style = match style {
        _ if quiet => Style::Quiet,
        Style::Auto if std::io::IsTerminal::is_terminal(&std::io::stderr()) => Style::Tty,
        Style::Auto => Style::Plain,
        style => style,
    };
    if style == Style::Quiet {
        return Events::default();
    }
    let known: Mutex<HashMap<u32, Shown>> = Mutex::default();
    Events::observed(Arc::new(move |event| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = match style {
            Style::Json => object(event).to_string() + "\n",
            Style::Plain => plain(event, &mut known),
            _ => brief(event, &mut known),
        };
        // That it cannot be written is no reason to fail.
        let _ = std::io::stderr().lock().write_all(lines.as_bytes());
    }))
}

#[derive(Debug, Default)]
struct Shown {
    title: String,
    cached: bool,
}

fn title(stage: &str, place: (u32, u32), text: &str) -> String {
    let stage =
        if stage.is_empty() || stage.parse::<u32>().is_ok() { String::new() } else { format!("{stage} ") };
    match place {
        (0, 0) => escape(text.as_bytes()),
        (at, of) => format!("[{stage}{at}/{of}] {}", escape(text.as_bytes())),
    }
}

fn plain(event: &Event, known: &mut HashMap<u32, Shown>) -> String {
    match event {
        Event::Started { step, stage, place, text, .. } => {
            format!("#{step} {}\n", title(stage, *place, text))
        }
        Event::Cached { step } => {
            known.entry(*step).or_default().cached = true;
            format!("#{step} CACHED\n")
        }
        Event::Finished { step, took, .. } => match known.remove(step) {
            Some(shown) if shown.cached => String::new(),
            _ => format!("#{step} DONE {:.1}s\n", took.as_secs_f64()),
        },
        Event::Output { step, bytes, .. } => {
            let text = String::from_utf8_lossy(bytes);
            text.lines().map(|line| format!("#{step} {line}\n")).collect()
        }
        Event::OutputDropped { step, bytes } => format!("#{step} [{bytes} bytes of output left out]\n"),
        Event::Failed { step, message } => format!("#{step} ERROR: {}\n", escape(message.as_bytes())),
        Event::Warning { rule, message, location } => warning(rule, message, location.as_ref()),
        _ => String::new(),
    }
}

fn brief(event: &Event, known: &mut HashMap<u32, Shown>) -> String {
    match event {
        Event::Started { step, stage, place, text, .. } => {
            known.entry(*step).or_default().title = title(stage, *place, text);
            String::new()
        }
        Event::Cached { step } => {
            known.entry(*step).or_default().cached = true;
            String::new()
        }
        Event::Finished { step, took, size } => {
            let shown = known.remove(step).unwrap_or_default();
            match (shown.cached, size) {
                (true, _) => format!("{}  CACHED\n", shown.title),
                (false, 0) => format!("{}  {:.1}s\n", shown.title, took.as_secs_f64()),
                (false, size) => {
                    format!("{}  {:.1}s  {}\n", shown.title, took.as_secs_f64(), text::size(*size))
                }
            }
        }
        Event::Failed { step, .. } => format!("{}  FAILED\n", known.remove(step).unwrap_or_default().title),
        Event::Output { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
        Event::OutputDropped { bytes, .. } => format!("[{bytes} bytes of output left out]\n"),
        Event::Warning { rule, message, location } => warning(rule, message, location.as_ref()),
        _ => String::new(),
    }
}

/// Returns a warning with its rule and place.
pub fn warning(rule: &str, message: &str, location: Option<&Location>) -> String {
    let rule = if rule.is_empty() { String::new() } else { format!("{rule}: ") };
    let place = location.map(|at| format!(" ({}:{})", escape(&at.file), at.line)).unwrap_or_default();
    format!("warning: {rule}{}{place}\n", escape(message.as_bytes()))
}

/// Returns a place as JSON.
pub fn place(location: &Location) -> Value {
    json!({ "file": escape(&location.file), "line": location.line, "column": location.column, "text": location.text })
}

fn object(event: &Event) -> Value {
    match event {
        Event::Started { step, stage, place: (at, of), text, location } => json!({
            "event": "started", "step": step, "stage": stage, "at": at, "of": of, "text": text,
            "location": location.as_ref().map(place),
        }),
        Event::Cached { step } => json!({ "event": "cached", "step": step }),
        Event::Output { step, stream, bytes } => json!({
            "event": "output", "step": step, "text": String::from_utf8_lossy(bytes),
            "stream": if *stream == OutputStream::Stderr { "stderr" } else { "stdout" },
        }),
        Event::OutputDropped { step, bytes } => {
            json!({ "event": "output-dropped", "step": step, "bytes": bytes })
        }
        Event::Finished { step, took, size } => {
            json!({ "event": "finished", "step": step, "seconds": took.as_secs_f64(), "size": size })
        }
        Event::Transfer { step, digest, done, total } => {
            json!({ "event": "transfer", "step": step, "digest": digest, "done": done, "total": total })
        }
        Event::Warning { rule, message, location } => json!({
            "event": "warning", "rule": rule, "message": message, "location": location.as_ref().map(place),
        }),
        Event::Failed { step, message } => json!({ "event": "failed", "step": step, "message": message }),
        _ => json!({ "event": "other" }),
    }
}
