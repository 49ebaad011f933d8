//! `treering prune`.

use std::collections::HashSet;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use treering::store::{BindingFile, DocumentKind, PruneOptions, Reference, Store, descriptor_digest};
use treering::{Control, Digest, Result};

use crate::context::Context;
use crate::ui::Usage;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering prune               images without a name, and what nothing refers to
  treering prune -a -f         also all images that no unpacked tree was made from
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
        let names = if self.all { unused_names(&store)? } else { Vec::new() };
        if !self.dry_run {
            for name in &names {
                store.untag(name)?;
            }
        }
        let report = {
            let _progress = context.progress("pruning", &control);
            let options = PruneOptions { dry_run: self.dry_run, ..PruneOptions::default() };
            store.prune(&options, &control)?
        };
        if context.json {
            let mut object = serde_json::to_value(&report)?;
            object["untagged"] = names.iter().map(Reference::to_string).collect();
            object["dry_run"] = json!(self.dry_run);
            output::data(|out| json::document(out, &object))?;
            return Ok(ExitCode::SUCCESS);
        }
        let untagged = names.iter().map(|name| format!("untagged: {name}"));
        let deleted = report.blobs.iter().map(|digest| format!("deleted: {digest}"));
        output::lines(untagged.chain(deleted))?;
        let verb = if self.dry_run { "Reclaimable space" } else { "Total reclaimed space" };
        output::lines([format!("{verb}: {}", text::size(report.bytes))])?;
        if self.dry_run && !names.is_empty() {
            context.ui.note("the space of images that still have a name is not counted in a dry run");
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
        let mut out = std::io::stderr().lock();
        write!(out, "WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// The names of images that no tree was made from.
fn unused_names(store: &Store) -> Result<Vec<Reference>> {
    let used = digests_of_trees(store)?;
    let mut unused = Vec::new();
    for entry in store.entries()? {
        let Some(name) = entry.name else { continue };
        let Ok(digest) = descriptor_digest(&entry.descriptor) else { continue };
        let document = store.read_document(&entry.descriptor).ok();
        let platforms = document.filter(|it| it.kind() == DocumentKind::Index);
        let platforms = platforms.iter().flat_map(|index| index.manifests().iter().map(descriptor_digest));
        if !std::iter::once(Ok(digest)).chain(platforms).flatten().any(|digest| used.contains(&digest)) {
            unused.push(name);
        }
    }
    Ok(unused)
}

/// Every digest in the record of a tree: the manifest it was made from, or was last committed as.
fn digests_of_trees(store: &Store) -> Result<HashSet<Digest>> {
    let mut digests = HashSet::new();
    for key in store.trees()? {
        let Some(binding) = store.find_tree(&key)? else { continue };
        let Some(config) = binding.read(BindingFile::Config, 1 << 20)? else { continue };
        let Ok(Value::Object(record)) = serde_json::from_slice(&config) else { continue };
        digests.extend(record.values().filter_map(|value| value.as_str()?.parse::<Digest>().ok()));
    }
    Ok(digests)
}
