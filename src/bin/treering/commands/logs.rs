//! `treering logs`.

use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use treering::container::{Container, LogEntry, LogOptions};
use treering::error::{At, Result};
use treering::event::OutputStream;

use crate::context::Context;
use crate::output::stdout_error;
use crate::{amount, interrupt, json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering logs box
  treering logs --tail 10 --timestamps box
  treering logs --since 10m box                what came in the last ten minutes";

/// Show what a container's command wrote
///
/// Each stream is written to the one it came from. Only the last 16 to 32 MiB are kept.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Logs {
    /// The container: a name, an id, or the beginning of one
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Go on until the command ends
    #[arg(short, long, conflicts_with = "until")]
    follow: bool,

    /// Only show the last N lines
    #[arg(short = 'n', long, value_name = "N|all", default_value = "all", hide_default_value = true)]
    tail: String,

    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,

    /// Only show what came at this time or later: RFC 3339, seconds since 1970, or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = amount::moment)]
    since: Option<Timestamp>,

    /// Only show what came at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = amount::moment)]
    until: Option<Timestamp>,
}

impl Logs {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let tail: Option<usize> = match self.tail.as_str() {
            "all" => None,
            text => Some(text.parse().map_err(|_| crate::ui::Usage::new("--tail takes a number, or all"))?),
        };
        let container = Container::open(&context.store()?, &self.container)?;
        // The last lines up to a time are not the last lines of the log.
        let last = tail.filter(|_| self.until.is_some());
        let options = LogOptions { follow: self.follow, tail: tail.filter(|_| last.is_none()) };
        let control = interrupt::control();
        output::data(|out| {
            let mut lines = Lines::new(out, context.json, &self);
            let mut kept = VecDeque::new();
            container.logs(&options, &control, |entry| match last {
                _ if !self.is_of_the_time(entry) => Ok(()),
                None => lines.write(entry),
                Some(last) => {
                    kept.push_back(entry.clone());
                    if kept.len() > last {
                        kept.pop_front();
                    }
                    Ok(())
                }
            })?;
            kept.iter().try_for_each(|entry| lines.write(entry))?;
            Ok(lines.end()?)
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn is_of_the_time(&self, entry: &LogEntry) -> bool {
        let time = text::time(Some(&entry.time));
        time.is_none_or(|time| {
            self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
        })
    }
}

/// A writer of lines of a log.
struct Lines<'a> {
    out: &'a mut dyn Write,
    json: bool,
    timestamps: bool,
    /// Whether each line is shown as it comes.
    at_once: bool,
    first: bool,
    /// Whether a line begins.
    fresh: bool,
}

impl<'a> Lines<'a> {
    fn new(out: &'a mut dyn Write, json: bool, options: &Logs) -> Lines<'a> {
        let Logs { timestamps, follow, .. } = *options;
        Lines { out, json, timestamps, at_once: follow, first: true, fresh: true }
    }

    fn write(&mut self, entry: &LogEntry) -> Result<()> {
        let is_error = entry.stream == OutputStream::Stderr;
        let mut bytes = Vec::new();
        if self.json {
            let mut object = serde_json::Map::new();
            object.insert("stream".into(), json!(if is_error { "stderr" } else { "stdout" }));
            object.insert("time".into(), json!(entry.time));
            json::put_path(&mut object, "log", &entry.bytes);
            bytes.extend_from_slice(if self.first { b"[\n" } else { b",\n" });
            bytes.extend(serde_json::Value::Object(object).to_string().into_bytes());
            self.first = false;
        } else {
            if self.timestamps && self.fresh {
                bytes.extend_from_slice(entry.time.as_bytes());
                bytes.push(b' ');
            }
            self.fresh = entry.bytes.ends_with(b"\n");
            bytes.extend_from_slice(&entry.bytes);
        }
        if is_error && !self.json {
            // Both may be one terminal.
            self.out.flush().map_err(stdout_error)?;
            return std::io::stderr().write_all(&bytes).at("write", "standard error");
        }
        self.out.write_all(&bytes).map_err(stdout_error)?;
        if self.at_once {
            self.out.flush().map_err(stdout_error)?;
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        if self.json {
            let end: &[u8] = if self.first { b"[]\n" } else { b"\n]\n" };
            self.out.write_all(end).map_err(stdout_error)?;
        }
        Ok(())
    }
}
