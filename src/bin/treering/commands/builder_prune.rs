//! `treering builder prune`: what builds keep.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use treering::Control;
use treering::image::{TidyOptions, tidy};
use treering::store::{CachePruneOptions, PruneOptions};

use crate::commands::prune::confirmed;
use crate::context::Context;
use crate::{amount, json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering builder prune -f                        layers that no image needs
  treering builder prune -a -f                     all records
  treering builder prune -f --keep-storage 10GB    all but what was used last
  treering builder prune -f --until 24h            what was not used for a day
  treering builder prune --dry-run                 only show what would go";

/// Remove what builds keep
///
/// Records of steps go with the layers that nothing else needs; the next build carries these steps out again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BuilderPrune {
    /// Also remove records of layers that images need
    #[arg(short, long)]
    all: bool,

    /// Keep what was used last, up to this size: a number of bytes with KB, MB, GB or TB
    #[arg(long, value_name = "SIZE", value_parser = amount::bytes, visible_aliases = ["reserved-space", "max-used-space"])]
    keep_storage: Option<u64>,

    /// Only what was not used for this long, such as 24h or 30m
    #[arg(long, value_name = "DURATION", value_parser = amount::duration)]
    until: Option<Duration>,

    /// Docker's spelling of --until: until=DURATION
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    filter: Vec<Duration>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Change nothing, show what would go
    #[arg(long)]
    dry_run: bool,

    /// Accepted: blobs that go are always named
    #[arg(long, hide = true)]
    verbose: bool,
}

fn filter(text: &str) -> Result<Duration, String> {
    match text.split_once('=') {
        Some(("until" | "unused-for", value)) => amount::duration(value),
        _ => Err("expected until=DURATION".into()),
    }
}

impl BuilderPrune {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let what = match self.all {
            true => "all records of build steps",
            false => "all records of build steps with layers that no image needs",
        };
        if !self.dry_run && !self.force && !confirmed(what)? {
            return Ok(ExitCode::FAILURE);
        }
        let control = Control::default();
        let cache = CachePruneOptions {
            all: self.all,
            keep_bytes: self.keep_storage.unwrap_or(0),
            unused_for: self.until.into_iter().chain(self.filter).max().unwrap_or_default(),
        };
        let prune = PruneOptions {
            dry_run: self.dry_run,
            untagged: false,
            cache: Some(cache),
            ..PruneOptions::default()
        };
        let report = {
            let _progress = context.progress("pruning", &control);
            tidy(&store, &TidyOptions { prune, ..TidyOptions::default() }, &control)?
        };
        if context.json {
            let mut object = serde_json::to_value(&report)?;
            object["dry_run"] = json!(self.dry_run);
            output::data(|out| json::document(out, &object))?;
            return Ok(ExitCode::SUCCESS);
        }
        output::lines(report.pruned.blobs.iter().map(|digest| format!("deleted: {digest}")))?;
        let verb = if self.dry_run { "Reclaimable" } else { "Total" };
        output::lines([format!("{verb}:\t{}", text::size(report.pruned.bytes))])?;
        context.ui.note(text::plural(report.pruned.records, "record", "records"));
        Ok(ExitCode::SUCCESS)
    }
}
