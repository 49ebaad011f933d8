//! `treering prune`.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::Control;
use treering::image::{TidyOptions, held_by_lost_trees, tidy};
use treering::store::PruneOptions;

use crate::context::Context;
use crate::ui::Usage;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering prune               images without a name, and what nothing refers to
  treering prune -a -f         also all images that no unpacked tree was made from
  treering prune --trees -f    also what is known of unpacked trees that are gone
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
        if !self.dry_run && !self.force && !self.confirmed()? {
            return Ok(ExitCode::FAILURE);
        }
        let control = Control::default();
        let report = {
            let _progress = context.progress("pruning", &control);
            let prune = PruneOptions { dry_run: self.dry_run, ..PruneOptions::default() };
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

    fn confirmed(&self) -> anyhow::Result<bool> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(Usage::new("prune asks before it removes anything, and nobody is there to answer")
                .with_hint("add -f to remove, or --dry-run to look")
                .into());
        }
        let what = match self.all {
            true => "all images without at least one unpacked tree",
            false => "images without a name, and blobs that nothing refers to",
        };
        let also = if self.trees { ", and what is known of trees that are gone or moved" } else { "" };
        let mut out = std::io::stderr().lock();
        write!(out, "WARNING! This will remove {what}{also}.\nAre you sure you want to continue? [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}
