//! `treering snapshot`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::Control;
use treering::error::At;
use treering::fs::Root;
use treering::image::{DiffOptions, Image, contents, owners_of, scan_options};
use treering::tree::{Scan, ScanOptions, Skipped, scan};

use crate::context::Context;
use crate::operand::Operand;
use crate::options::{Excluding, Owners};
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering snapshot rootfs -o before
  make -C rootfs install
  treering diff before rootfs

  treering snapshot rootfs --previous before -o after    only looks at what may have changed";

/// Record everything in a directory, to compare with later
///
/// A snapshot holds names, owners, permissions, times, extended attributes and stat identities, by which a touched file is
/// found; the content of files is not in it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Snapshot {
    /// The directory
    #[arg(value_name = "TREE")]
    tree: PathBuf,

    /// The file to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// An older snapshot of the same directory: what has not changed since is taken from it
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,

    #[command(flatten)]
    owners: Owners,

    #[command(flatten)]
    excluding: Excluding,

    /// Leave out what is mounted below the directory
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

impl Snapshot {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let root = Root::open(&self.tree)?;
        let previous = self.previous.as_ref().map(treering::tree::Snapshot::load).transpose()?;
        let options = DiffOptions {
            owners: self.owners.wanted()?,
            exclude: self.excluding.patterns()?,
            one_file_system: self.one_file_system,
            threads: context.threads,
            ..DiffOptions::default()
        };
        let found = {
            let _progress = context.progress("scanning", &control);
            scan_bound(context, &root, &options, previous.as_ref(), &control)?
        };
        output::stream(Some(&self.output), |out| {
            Ok(out
                .write_all(found.snapshot.as_bytes())
                .at("save snapshot", self.output.as_os_str().as_encoded_bytes())?)
        })?;
        skipped(context, &found.skipped);
        let entries = found.snapshot.len() as u64 - 1;
        if context.json {
            // With the snapshot itself on standard output there is no room for more.
            if self.output.as_os_str() != "-" {
                let object = json!({
                    "entries": entries,
                    "unchanged": found.unchanged,
                    "skipped": found.skipped.iter().map(skipped_object).collect::<Vec<_>>(),
                });
                output::data(|out| json::document(out, &object))?;
            }
        } else {
            context.ui.note(text::plural(entries, "entry", "entries"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Scans a directory with the owners it was unpacked with, if it was.
fn scan_bound(
    context: &Context,
    root: &Root,
    options: &DiffOptions,
    previous: Option<&treering::tree::Snapshot>,
    control: &Control,
) -> anyhow::Result<Scan> {
    let store = context.store_if_any()?;
    let owners = owners_of(store.as_ref(), root, &options.owners)?;
    let scan_options = ScanOptions {
        threads: options.threads,
        previous,
        one_file_system: options.one_file_system,
        exclude: Some(&options.exclude),
        ..scan_options(&owners, store.as_ref())?
    };
    if previous.is_some_and(|previous| !scan_options.suits(previous)) {
        context.ui.note("the older snapshot was taken with other owners: everything is read");
    }
    Ok(scan(root, &scan_options, control)?)
}

/// Returns the snapshot an operand stands for, and what is not in it.
pub fn take(
    context: &Context,
    operand: &Operand,
    options: &DiffOptions,
    control: &Control,
) -> anyhow::Result<(treering::tree::Snapshot, Vec<Skipped>)> {
    Ok(match operand {
        Operand::Directory(path) => {
            let found = scan_bound(context, &Root::open(path)?, options, None, control)?;
            (found.snapshot, found.skipped)
        }
        Operand::Snapshot(path) => (treering::tree::Snapshot::load(path)?, Vec::new()),
        Operand::Image(name) => {
            let store = context.store()?;
            let image = Image::open(&store, name, options.platform.as_ref())?;
            (contents(&store, &image, control)?, Vec::new())
        }
    })
}

/// Says what a scan left out.
pub fn skipped(context: &Context, skipped: &[Skipped]) {
    const MOST: usize = 10;
    for one in skipped.iter().take(MOST) {
        context.ui.warn(format!("left out /{}: {}", treering::error::escape(&one.path), one.reason));
    }
    if skipped.len() > MOST {
        context.ui.warn(format!("left out {} more", skipped.len() - MOST));
    }
}

/// Returns the same for `--json`.
pub fn skipped_object(skipped: &Skipped) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    json::put_path(&mut object, "path", &absolute(&skipped.path));
    object.insert("reason".into(), skipped.reason.into());
    object.into()
}

/// Returns a path of a tree as seen from inside.
pub fn absolute(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}
