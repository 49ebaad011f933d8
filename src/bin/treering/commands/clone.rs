//! `treering clone`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use treering::image::{CloneOptions, clone};

use super::snapshot::{skipped, skipped_object};
use super::unpack::{loss_object, losses};
use crate::context::Context;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering clone work try          a second tree, blocks shared where the filesystem can
  treering diff try                the same changes as in work
  treering commit try app:try";

/// Copy a directory with its owners and its record in the store
///
/// The copy has everything that the disk can hold, and its own record in the store: owners that are on no disk, the image it
/// was made from, and what makes the next diff and commit fast. `cp -a` copies none of these.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Clone {
    /// The directory, made by unpack or committed before
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// The copy: a directory that does not exist, or is empty
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// Return when everything is safe on the disk
    #[arg(long)]
    sync: bool,
}

impl Clone {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let store = context.store()?;
        let control = context.careful_control();
        let options = CloneOptions { threads: context.threads, sync: self.sync };
        let made = {
            let _progress = context.progress("cloning", &control);
            clone(&store, &self.dir, &self.new, &options, &control)?
        };
        skipped(context, &made.skipped);
        losses(context, &made.losses);
        if context.json {
            let object = json!({
                "manifest": made.manifest,
                "entries": made.entries,
                "in_ledger": made.in_ledger,
                "skipped": made.skipped.iter().map(skipped_object).collect::<Vec<_>>(),
                "losses": made.losses.iter().map(loss_object).collect::<Vec<_>>(),
            });
            output::data(|out| json::document(out, &object))?;
        }
        let entries = text::plural(made.entries, "entry", "entries");
        context.ui.note(format!("{entries}; {}", text::duration(began.elapsed())));
        Ok(ExitCode::SUCCESS)
    }
}
