//! `treering logs`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::container::{Container, LogOptions};
use treering::error::At;
use treering::event::OutputStream;

use crate::context::Context;
use crate::{interrupt, json};

const EXAMPLES: &str = "\
Examples:
  treering logs box
  treering logs --tail 10 --timestamps box";

/// Show what a container's command wrote
///
/// Standard output and standard error go where they went. Of much output the beginning is gone.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Logs {
    /// The container: a name, an id, or the beginning of one
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Go on until the command ends
    #[arg(short, long)]
    follow: bool,

    /// Only the last so many lines
    #[arg(short = 'n', long, value_name = "N|all", default_value = "all", hide_default_value = true)]
    tail: String,

    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
}

impl Logs {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let tail = match self.tail.as_str() {
            "all" => None,
            text => Some(text.parse().map_err(|_| crate::ui::Usage::new("--tail takes a number, or all"))?),
        };
        let container = Container::open(&context.store()?, &self.container)?;
        let options = LogOptions { follow: self.follow, tail };
        let control = interrupt::control();
        let (mut first, mut fresh) = (true, true);
        container.logs(&options, &control, |entry| {
            let is_error = entry.stream == OutputStream::Stderr;
            let mut bytes = Vec::new();
            if context.json {
                let mut object = serde_json::Map::new();
                object.insert("stream".into(), json!(if is_error { "stderr" } else { "stdout" }));
                object.insert("time".into(), json!(entry.time));
                json::put_path(&mut object, "log", &entry.bytes);
                bytes.extend_from_slice(if first { b"[\n" } else { b",\n" });
                bytes.extend(serde_json::Value::Object(object).to_string().into_bytes());
                first = false;
            } else {
                if self.timestamps && fresh {
                    bytes.extend_from_slice(entry.time.as_bytes());
                    bytes.push(b' ');
                }
                fresh = entry.bytes.ends_with(b"\n");
                bytes.extend_from_slice(&entry.bytes);
            }
            match is_error && !context.json {
                true => std::io::stderr().write_all(&bytes).at("write", "standard error"),
                false => {
                    let mut out = std::io::stdout().lock();
                    let written = out.write_all(&bytes).and_then(|()| out.flush());
                    written.map_err(crate::output::stdout_error)
                }
            }
        })?;
        if context.json {
            let end: &[u8] = if first { b"[]\n" } else { b"\n]\n" };
            std::io::stdout().write_all(end).map_err(crate::output::stdout_error)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
