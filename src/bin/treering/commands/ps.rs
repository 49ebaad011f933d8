//! `treering ps`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use treering::ErrorKind;
use treering::container::{Container, State, Status};

use crate::context::Context;
use crate::filter::ContainerName;
use crate::output::stdout_error;
use crate::table::Table;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering ps                       those that run
  treering ps -a                    all
  treering ps -aq -f status=exited";

/// List containers
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Ps {
    /// Also show containers that do not run
    #[arg(short, long)]
    all: bool,

    /// Only those that fit, of one key any: id=ID, name=TEXT (^TEXT$ for all of it), status=created|running|exited,
    /// exited=CODE, label=KEY[=VALUE] (all of them), ancestor=IMAGE
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// How to print
    #[arg(long, value_name = "table|json", value_parser = ["table", "json"], default_value = "table", hide_default_value = true)]
    format: String,

    /// Only show the newest container
    #[arg(short, long)]
    latest: bool,

    /// Show ids and commands in full
    #[arg(long)]
    no_trunc: bool,
}

/// A condition of `--filter`.
type Fits<'a> = Box<dyn Fn(&Row) -> bool + 'a>;

/// A container as lists show it.
struct Row {
    container: Container,
    state: State,
}

impl Ps {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let mut rows = Vec::new();
        if let Some(store) = context.store_if_any()? {
            for container in Container::list(&store)? {
                let state = match container.state() {
                    // It went while it was looked at.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    state => state?,
                };
                rows.push(Row { container, state });
            }
        }
        let asks_for_status =
            self.filter.iter().any(|it| it.starts_with("status=") || it.starts_with("exited="));
        if !self.all && !self.latest && !asks_for_status {
            rows.retain(|row| row.state.status == Status::Running);
        }
        let mut filters: BTreeMap<&str, Vec<Fits<'_>>> = BTreeMap::new();
        for filter in &self.filter {
            let refuse = |what: &str| crate::ui::Usage::new(format!("--filter {filter}: {what}"));
            let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
            let fits: Fits<'_> = match key {
                "id" => Box::new(move |row| row.container.id().starts_with(value)),
                "name" => {
                    let pattern = ContainerName::of(value).map_err(|what| refuse(&what))?;
                    Box::new(move |row| pattern.fits(row.container.name()))
                }
                "status" => Box::new(move |row| row.state.status.name() == value),
                "exited" => {
                    let code: i32 = value.parse().map_err(|_| refuse("expected an exit code"))?;
                    Box::new(move |row| row.state.status == Status::Exited && row.state.exit_code == code)
                }
                "label" => Box::new(move |row| {
                    let (name, value) = value.split_once('=').map_or((value, None), |(a, b)| (a, Some(b)));
                    let found = row.container.record().settings.labels.get(name);
                    found.is_some_and(|found| value.is_none_or(|value| value == found))
                }),
                "ancestor" => {
                    let image = treering::image::Image::open(&context.store()?, value, None)?;
                    let id = *image.id();
                    Box::new(move |row| row.container.record().image_id == id)
                }
                _ => {
                    let what = "expected id=, name=, status=, exited=, label= or ancestor=";
                    return Err(refuse(what).into());
                }
            };
            filters.entry(key).or_default().push(fits);
        }
        // Of one key any, but of labels all, as in Docker.
        rows.retain(|row| {
            filters.iter().all(|(key, fits)| match *key {
                "label" => fits.iter().all(|fits| fits(row)),
                _ => fits.iter().any(|fits| fits(row)),
            })
        });
        if self.latest {
            rows.truncate(1);
        }
        let id = |row: &Row| match self.no_trunc {
            true => row.container.id().to_string(),
            false => row.container.short_id().to_string(),
        };
        if context.json {
            return output::data(|out| json::list(out, rows.iter().map(object))).map(|()| ExitCode::SUCCESS);
        }
        if context.quiet {
            return output::lines(rows.iter().map(id)).map(|()| ExitCode::SUCCESS);
        }
        let now = text::now();
        if self.format == "json" {
            let lines = rows.iter().map(|row| {
                let record = row.container.record();
                json!({
                    "Command": command(row, false), "CreatedAt": record.created, "ID": id(row), "Image": record.image,
                    "Labels": labels(row), "Names": record.name, "Ports": record.settings.ports.join(", "),
                    "RunningFor": age(&record.created, now), "State": row.state.status.name(), "Status": status(row, now),
                })
                .to_string()
            });
            return output::lines(lines).map(|()| ExitCode::SUCCESS);
        }
        let mut table =
            Table::new(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
        for row in &rows {
            let record = row.container.record();
            table.row([
                id(row),
                record.image.clone(),
                command(row, !self.no_trunc),
                age(&record.created, now),
                status(row, now),
                record.settings.ports.join(", "),
                record.name.clone(),
            ]);
        }
        output::data(|out| Ok(table.write(out).map_err(stdout_error)?))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns what was said of the command; what the image says is not looked up.
fn command(row: &Row, short: bool) -> String {
    let settings = &row.container.record().settings;
    let words: Vec<&str> = settings
        .entrypoint
        .iter()
        .chain(&settings.command)
        .map(String::as_str)
        .filter(|word| !word.is_empty())
        .collect();
    let text = words.join(" ");
    format!("\"{}\"", if short { text::shorten(&text, 20) } else { text })
}

fn labels(row: &Row) -> String {
    let labels = row.container.record().settings.labels.iter();
    labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn age(time: &str, now: Timestamp) -> String {
    text::time(Some(time)).map_or_else(|| "N/A".into(), |time| text::ago(time, now))
}

/// Returns the status as Docker has it: `Created`, `Up 3 minutes`, `Exited (0) 2 hours ago`.
fn status(row: &Row, now: Timestamp) -> String {
    let state = &row.state;
    match state.status {
        Status::Running => {
            let since = age(state.started.as_deref().unwrap_or_default(), now);
            format!("Up {}", since.strip_suffix(" ago").unwrap_or(&since))
        }
        Status::Exited => {
            format!(
                "Exited ({}) {}",
                state.exit_code,
                age(state.finished.as_deref().unwrap_or_default(), now)
            )
        }
        _ => "Created".into(),
    }
}

fn object(row: &Row) -> Value {
    let (record, state) = (row.container.record(), &row.state);
    json!({
        "id": record.id, "name": record.name, "image": record.image, "manifest": record.manifest, "image_id": record.image_id,
        "created": record.created, "status": state.status.name(), "exit_code": state.exit_code, "started": state.started,
        "finished": state.finished, "error": state.error, "pid": state.pid, "rung": state.rung,
        "labels": record.settings.labels, "tree": row.container.tree().to_string_lossy(),
    })
}
