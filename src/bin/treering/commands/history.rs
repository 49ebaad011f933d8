//! `treering history`.

use std::process::ExitCode;

use clap::{ArgAction, Args, ValueEnum};
use serde_json::json;
use treering::image::{HistoryRow, Image, Platform};

use crate::context::Context;
use crate::table::Table;
use crate::{json, output, text};

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns
    Table,
    /// One object per line, with Docker's names
    Json,
}

const EXAMPLES: &str = "\
Examples:
  treering history app:v1
  treering history --no-trunc --human=false app:v1";

/// Show how an image was made, newest step first
///
/// SIZE is what the layer of a step takes in the store.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct History {
    /// The image: a name, an id, or the beginning of one
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Show ids and commands in full
    #[arg(long)]
    no_trunc: bool,

    /// Only show ids
    #[arg(short, long)]
    quiet: bool,

    /// Sizes and dates for people; --human=false for exact ones
    #[arg(short = 'H', long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true")]
    human: bool,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// The platform to show of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

impl History {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let image = Image::open(&store, &self.image, self.platform.as_ref())?;
        let rows = image.history(&store)?;
        if context.json {
            output::data(|out| json::list(out, rows.iter()))?;
        } else if self.quiet {
            output::lines(rows.iter().map(|row| self.id(row)))?;
        } else if self.format == Format::Json {
            output::lines(rows.iter().map(|row| self.dockers(row)))?;
        } else {
            let mut table = Table::new(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
            for row in &rows {
                let (created, size) = self.created_and_size(row);
                table.row([self.id(row), created, self.command(row), size, text::tame(&row.comment)]);
            }
            output::data(|out| table.write(out).map_err(|error| output::stdout_error(error).into()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn id(&self, row: &HistoryRow) -> String {
        match &row.id {
            None => "<missing>".into(),
            Some(id) if self.no_trunc => id.to_string(),
            Some(id) => id.short(),
        }
    }

    fn command(&self, row: &HistoryRow) -> String {
        let command = text::tame(&row.created_by);
        if self.no_trunc { command } else { text::shorten(&command, 45) }
    }

    fn created_and_size(&self, row: &HistoryRow) -> (String, String) {
        let time = text::time(row.created.as_deref());
        if self.human {
            let created = time.map_or_else(|| "N/A".into(), |time| text::ago(time, text::now()));
            (created, text::size(row.size))
        } else {
            (time.map_or_else(|| "N/A".into(), |time| time.to_string()), row.size.to_string())
        }
    }

    /// Returns the object `docker history --format json` prints.
    fn dockers(&self, row: &HistoryRow) -> String {
        let time = text::time(row.created.as_deref());
        let (_, size) = self.created_and_size(row);
        json!({
            "Comment": row.comment,
            "CreatedAt": time.map(|time| time.to_string()).unwrap_or_default(),
            "CreatedBy": self.command(row),
            "CreatedSince": time.map(|time| text::ago(time, text::now())).unwrap_or_default(),
            "ID": self.id(row),
            "Size": size,
        })
        .to_string()
    }
}
