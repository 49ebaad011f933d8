//! `treering prune`.

use std::collections::HashSet;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};
use treering::fs::Root;
use treering::image::binding::tree_key;
use treering::store::{BindingFile, DocumentKind, PruneOptions, Reference, Store, descriptor_digest};
use treering::{Control, Digest, ErrorKind, Result};

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
        let trees = if self.trees { lost_trees(&store)? } else { Vec::new() };
        if !self.dry_run {
            for (key, _) in &trees {
                store.unbind(key)?;
            }
        }
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
            object["forgotten"] = trees.iter().map(|(_, path)| path.as_str()).collect();
            object["dry_run"] = json!(self.dry_run);
            output::data(|out| json::document(out, &object))?;
            return Ok(ExitCode::SUCCESS);
        }
        let forgotten = trees.iter().map(|(_, path)| format!("forgotten: {path}"));
        let untagged = names.iter().map(|name| format!("untagged: {name}"));
        let deleted = report.blobs.iter().map(|digest| format!("deleted: {digest}"));
        output::lines(forgotten.chain(untagged).chain(deleted))?;
        let verb = if self.dry_run { "Reclaimable space" } else { "Total reclaimed space" };
        output::lines([format!("{verb}: {}", text::size(report.bytes))])?;
        if self.dry_run && !(names.is_empty() && trees.is_empty()) {
            context.ui.note("what only these names and trees need is not counted in a dry run");
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

/// The trees that are not where they were last: their keys and paths.
fn lost_trees(store: &Store) -> Result<Vec<(String, String)>> {
    let mut lost = Vec::new();
    for key in store.trees()? {
        let Some(record) = record(store, &key)? else { continue };
        let Some(path) = record.get("path").and_then(Value::as_str) else { continue };
        let there = match Root::open(path) {
            Ok(root) => tree_key(&root)? == key,
            // One that cannot be looked at may be there.
            Err(error) => error.kind() != ErrorKind::NotFound || path.contains("\\"),
        };
        if !there {
            lost.push((key, path.to_string()));
        }
    }
    Ok(lost)
}

/// What the store knows of a tree.
fn record(store: &Store, key: &str) -> Result<Option<Map<String, Value>>> {
    let Some(binding) = store.find_tree(key)? else { return Ok(None) };
    let Some(config) = binding.read(BindingFile::Config, 1 << 20)? else { return Ok(None) };
    Ok(serde_json::from_slice(&config).ok())
}

/// Every digest in the record of a tree: the manifest it was made from, or was last committed as.
fn digests_of_trees(store: &Store) -> Result<HashSet<Digest>> {
    let mut digests = HashSet::new();
    for key in store.trees()? {
        let Some(record) = record(store, &key)? else { continue };
        digests.extend(record.values().filter_map(|value| value.as_str()?.parse::<Digest>().ok()));
    }
    Ok(digests)
}
