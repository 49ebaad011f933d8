//! The steps of a build on standard error: for people, for logs, or as JSON.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use serde_json::{Value, json};
use treering::error::escape;
use treering::event::{OutputStream, StepId};
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
    #[value(alias = "rawjson")]
    Json,
    /// Nothing
    #[value(alias = "none")]
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
    let known: Mutex<Known> = Mutex::default();
    Events::observed(Arc::new(move |event| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = match (style, event) {
            (Style::Json, _) => json_lines(event, &mut known.left),
            (Style::Plain, _) => plain(event, &mut known).into_bytes(),
            // As it comes: a terminal puts characters together itself, and a question has no end of line.
            (_, Event::Output { bytes, .. }) => bytes.clone(),
            _ => brief(event, &mut known.steps).into_bytes(),
        };
        // That it cannot be written is no reason to fail.
        let _ = std::io::stderr().lock().write_all(&shown);
    }))
}

/// Longest line of output that is waited for the end of, in bytes.
const LONGEST: usize = 64 * 1024;

/// The state of the display: what was shown so far, and what is not shown yet.
#[derive(Debug, Default)]
struct Known {
    steps: HashMap<StepId, Shown>,
    left: Left,
}

#[derive(Debug, Default)]
struct Shown {
    title: String,
    cached: bool,
}

/// Output that waits for the rest of its line or character: it comes in pieces that are cut anywhere.
#[derive(Debug, Default)]
struct Left(HashMap<(StepId, OutputStream), Vec<u8>>);

impl Left {
    /// Adds a piece, and takes what is whole: as many bytes as `whole` counts, of one line or more, or all of what is too long.
    fn take(
        &mut self,
        step: StepId,
        stream: OutputStream,
        piece: &[u8],
        whole: impl Fn(&[u8]) -> usize,
    ) -> Vec<u8> {
        let all = self.0.entry((step, stream)).or_default();
        all.extend_from_slice(piece);
        let count = if all.len() > LONGEST { all.len() } else { whole(all) };
        let rest = all.split_off(count);
        std::mem::replace(all, rest)
    }

    /// Takes what is left of a step that is over.
    fn end(&mut self, step: StepId) -> Vec<(OutputStream, Vec<u8>)> {
        let mut end = |stream| self.0.remove(&(step, stream)).map(|bytes| (stream, bytes));
        let both = [end(OutputStream::Stdout), end(OutputStream::Stderr)];
        both.into_iter().flatten().filter(|(_, bytes)| !bytes.is_empty()).collect()
    }
}

/// Counts the bytes of whole lines.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
}

/// Counts the bytes of whole characters: all but the beginning of one at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    let begins = |rest: &[u8]| {
        std::str::from_utf8(rest).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let cut = (bytes.len().saturating_sub(3)..bytes.len()).find(|&at| begins(&bytes[at..]));
    cut.unwrap_or(bytes.len())
}

/// Returns output with the number of its step before each line.
fn numbered(step: StepId, bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().map(|line| format!("#{step} {line}\n")).collect()
}

/// Returns the objects of an event: that of output that a step left, too.
fn json_lines(event: &Event, left: &mut Left) -> Vec<u8> {
    let mut out = Vec::new();
    match event {
        Event::Output { step, stream, bytes } => {
            let bytes = left.take(*step, *stream, bytes, whole_characters);
            if !bytes.is_empty() {
                out.push(object(&Event::Output { step: *step, stream: *stream, bytes }));
            }
            return lines(&out);
        }
        Event::Finished { step, .. } | Event::Failed { step, .. } => {
            for (stream, bytes) in left.end(*step) {
                out.push(object(&Event::Output { step: *step, stream, bytes }));
            }
        }
        _ => {}
    }
    out.push(object(event));
    lines(&out)
}

fn lines(objects: &[Value]) -> Vec<u8> {
    objects.iter().flat_map(|object| (object.to_string() + "\n").into_bytes()).collect()
}

fn title(stage: &str, place: (u32, u32), text: &str) -> String {
    let stage =
        if stage.is_empty() || stage.parse::<u32>().is_ok() { String::new() } else { format!("{stage} ") };
    match place {
        (0, 0) => escape(text.as_bytes()),
        (at, of) => format!("[{stage}{at}/{of}] {}", escape(text.as_bytes())),
    }
}

fn plain(event: &Event, known: &mut Known) -> String {
    match event {
        Event::Finished { step, .. } | Event::Failed { step, .. } => {
            let left = known.left.end(*step);
            let left: String = left.iter().map(|(_, bytes)| numbered(*step, bytes)).collect();
            left + &plain_step(event, &mut known.steps)
        }
        Event::Output { step, stream, bytes } => {
            numbered(*step, &known.left.take(*step, *stream, bytes, whole_lines))
        }
        _ => plain_step(event, &mut known.steps),
    }
}

fn plain_step(event: &Event, known: &mut HashMap<StepId, Shown>) -> String {
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
        Event::OutputDropped { step, bytes } => format!("#{step} [{bytes} bytes of output left out]\n"),
        Event::Failed { step, message } => format!("#{step} ERROR: {}\n", escape(message.as_bytes())),
        Event::Warning { rule, message, location } => warning(rule, message, location.as_ref()),
        _ => String::new(),
    }
}

fn brief(event: &Event, known: &mut HashMap<StepId, Shown>) -> String {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn output(step: StepId, stream: OutputStream, bytes: &[u8]) -> Event {
        Event::Output { step, stream, bytes: bytes.to_vec() }
    }

    fn finished(step: StepId) -> Event {
        Event::Finished { step, took: Duration::ZERO, size: 0 }
    }

    /// Pieces are cut within a line, within a character, and between two steps.
    fn pieces() -> Vec<Event> {
        let (out, err) = (OutputStream::Stdout, OutputStream::Stderr);
        vec![
            output(1, out, b"first ha"),
            output(2, out, b"other\n"),
            output(1, err, b"wrong\n"),
            output(1, out, b"lf\ncaf\xc3"),
            output(1, out, b"\xa9\nno \xff end \xe2"),
            output(1, out, b"\x82\xac"),
            output(2, err, b"\xe2\x82"),
            finished(1),
            Event::Failed { step: 2, message: "it failed".into() },
        ]
    }

    #[test]
    fn plain_progress_has_whole_lines_and_characters() {
        let mut known = Known::default();
        let text: String = pieces().iter().map(|event| plain(event, &mut known)).collect();
        assert_eq!(
            text,
            "#2 other\n#1 wrong\n#1 first half\n#1 café\n#1 no \u{fffd} end €\n#1 DONE 0.0s\n#2 \u{fffd}\n#2 ERROR: it failed\n"
        );
        assert!(known.left.0.is_empty());
        // A line without an end is not kept for ever.
        let long = plain(&output(3, OutputStream::Stdout, &vec![b'x'; LONGEST + 1]), &mut known);
        assert_eq!(long.len(), LONGEST + 1 + "#3 \n".len());
    }

    #[test]
    fn json_has_whole_characters() {
        let mut left = Left::default();
        let bytes: Vec<u8> = pieces().iter().flat_map(|event| json_lines(event, &mut left)).collect();
        let objects: Vec<Value> = String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let of = |step: u64, stream: &str| -> String {
            let here = objects.iter().filter(|it| it["step"] == step && it["stream"] == stream);
            here.map(|it| it["text"].as_str().unwrap()).collect()
        };
        assert_eq!(of(1, "stdout"), "first half\ncafé\nno \u{fffd} end €");
        assert_eq!((of(1, "stderr"), of(2, "stdout")), ("wrong\n".into(), "other\n".into()));
        assert_eq!(of(2, "stderr"), "\u{fffd}");
        assert_eq!(objects.last().unwrap()["event"], "failed");
    }
}
