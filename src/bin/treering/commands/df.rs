//! `treering df`.

use std::process::ExitCode;

use clap::Args;
use treering::Control;
use treering::image::held_by_lost_trees;
use treering::store::Usage;

use crate::context::Context;
use crate::listing;
use crate::table::Table;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering df
  treering df -v     what each image shares with others, and what is its own";

/// Show what takes the space in the store
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Df {
    /// Show each image: what it shares with others, and what goes when it is removed
    #[arg(short, long)]
    verbose: bool,
}

impl Df {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let usage = store.usage(&Control::default())?;
        if context.json {
            output::data(|out| json::document(out, &usage))?;
        } else if self.verbose {
            let rows = listing::rows(&store, &context.ui)?;
            let mut table = Table::new(&[
                "REPOSITORY",
                "TAG",
                "IMAGE ID",
                "CREATED",
                "SIZE",
                "SHARED SIZE",
                "UNIQUE SIZE",
                "LAYERS",
            ]);
            let now = text::now();
            for row in &rows {
                let Some(image) = usage.images.iter().find(|image| image.digest == row.digest) else {
                    continue;
                };
                table.row([
                    row.repository(),
                    row.tag(),
                    row.id().short(),
                    row.age(now),
                    text::size(image.size),
                    text::size(image.shared),
                    text::size(image.unique),
                    image.layers.to_string(),
                ]);
            }
            output::data(|out| table.write(out).map_err(|error| output::stdout_error(error).into()))?;
        } else {
            let (_, held) = held_by_lost_trees(&store, &Control::default())?;
            let table = summary(&usage, held);
            output::data(|out| table.write(out).map_err(|error| output::stdout_error(error).into()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes the summary; `held` is what only trees keep that are not where they were.
fn summary(usage: &Usage, held: u64) -> Table {
    let named = usage.images.iter().filter(|image| !image.names.is_empty()).count();
    let percent = match usage.blob_bytes {
        0 => String::new(),
        all => format!(" ({}%)", (usage.reclaimable as f64 / all as f64 * 100.0).round()),
    };
    let mut table = Table::new(&["TYPE", "TOTAL", "NAMED", "SIZE", "RECLAIMABLE"]);
    table.row([
        "Images".into(),
        usage.images.len().to_string(),
        named.to_string(),
        text::size(usage.blob_bytes),
        text::size(usage.reclaimable) + &percent,
    ]);
    let dash = || "-".to_string();
    table.row(["Trees".into(), usage.trees.to_string(), dash(), dash(), text::size(held)]);
    let lists = usage.layer_bytes.saturating_sub(usage.index_bytes);
    table.row(["Layer lists".into(), dash(), dash(), text::size(lists), dash()]);
    table.row(["Layer indexes".into(), dash(), dash(), text::size(usage.index_bytes), dash()]);
    let cache = text::size(usage.cache_bytes);
    table.row(["Build Cache".into(), usage.cache_records.to_string(), dash(), cache.clone(), cache]);
    table.row(["Temporary".into(), dash(), dash(), text::size(usage.tmp_bytes), text::size(usage.tmp_bytes)]);
    table
}
