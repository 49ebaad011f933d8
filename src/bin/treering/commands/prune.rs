//! `treering prune`.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use treering::Control;
use treering::image::{TidyOptions, held_by_lost_trees, tidy};
use treering::store::{CachePruneOptions, PruneOptions};

use crate::context::Context;
use crate::ui::Usage;
use crate::{amount, json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering prune               images without a name, and what nothing refers to
  treering prune -a -f         also all images that no unpacked tree was made from
  treering prune --trees -f    also what is known of unpacked trees that are gone
  treering prune --build-cache --until 24h -f    also what builds keep and have not used for a day
  treering prune --dry-run     only show what would go";

/// Remove what nothing needs
///
/// Images without a name go, blobs that no image and no unpacked tree needs, and what interrupted commands left.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Prune {
    /// Also remove named images that no unpacked tree was made from
    #[arg(short, long)]
    all: bool,

    /// Also forget trees that are no longer where they were unpacked or last committed
    #[arg(long)]
    trees: bool,

    /// Also remove what builds keep: records of steps, and the layers that no image needs
    #[arg(long)]
    build_cache: bool,

    /// Of the build cache, keep what was used last, up to this size: a number of bytes with KB, MB, GB or TB
    #[arg(long, value_name = "SIZE", value_parser = amount::bytes, requires = "build_cache")]
    keep_storage: Option<u64>,

    /// Of the build cache, only what was not used for this long, such as 24h or 30m
    #[arg(long, value_name = "DURATION", value_parser = amount::duration, requires = "build_cache")]
    until: Option<Duration>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Change nothing, show what would go
    #[arg(long)]
    dry_run: bool,
}

impl Prune {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        if !self.dry_run && !self.force && !confirmed(&self.what())? {
            return Ok(ExitCode::FAILURE);
        }
        let control = Control::default();
        // Spare trees are there to save time, and a prune is for space.
        #[cfg(feature = "sandbox")]
        if !self.dry_run {
            treering::container::clear_spares(&store)?;
        }
        let report = {
            let _progress = context.progress("pruning", &control);
            let cache = self.build_cache.then(|| CachePruneOptions {
                all: self.all,
                keep_bytes: self.keep_storage.unwrap_or(0),
                unused_for: self.until.unwrap_or_default(),
            });
            let prune = PruneOptions { dry_run: self.dry_run, cache, ..PruneOptions::default() };
            let options = TidyOptions { unused_names: self.all, lost_trees: self.trees, prune };
            tidy(&store, &options, &control)?
        };
        let (lost_trees, lost_bytes) = held_by_lost_trees(&store, &control)?;
        if context.json {
            let mut object = serde_json::to_value(&report)?;
            object["lost_trees"] = json!(lost_trees);
            object["lost_bytes"] = json!(lost_bytes);
            object["dry_run"] = json!(self.dry_run);
            output::data(|out| json::document(out, &object))?;
            return Ok(ExitCode::SUCCESS);
        }
        let forgotten = report.forgotten.iter().map(|path| format!("forgotten: {path}"));
        let untagged = report.untagged.iter().map(|name| format!("untagged: {name}"));
        let deleted = report.pruned.blobs.iter().map(|digest| format!("deleted: {digest}"));
        output::lines(forgotten.chain(untagged).chain(deleted))?;
        let verb = if self.dry_run { "Reclaimable space" } else { "Total reclaimed space" };
        output::lines([format!("{verb}: {}", text::size(report.pruned.bytes))])?;
        if lost_trees > 0 && !self.trees {
            let (gone, them) = match lost_trees {
                1 => ("is not where it was", "it"),
                _ => ("are not where they were", "them"),
            };
            context.ui.note(format!(
                "{} {gone}; with --trees prune forgets {them} and frees {}",
                text::plural(lost_trees, "tree", "trees"),
                text::size(lost_bytes)
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Returns what goes, for the question.
    fn what(&self) -> String {
        let what = match self.all {
            true => "all images without at least one unpacked tree",
            false => "images without a name, and blobs that nothing refers to",
        };
        let trees = if self.trees { ", and records of trees that are gone or moved" } else { "" };
        let cache = if self.build_cache { ", and what builds keep" } else { "" };
        format!("{what}{trees}{cache}")
    }
}

/// Asks on the terminal whether this shall go.
pub fn confirmed(what: &str) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Usage::new(
            "prune asks before it removes anything, and standard input is not a terminal",
        )
        .with_hint("add -f to remove, or --dry-run to look")
        .into());
    }
    let mut out = std::io::stderr().lock();
    write!(out, "WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
