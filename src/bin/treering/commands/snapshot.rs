//! `treering snapshot`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::Control;
use treering::error::At;
use treering::fs::Root;
use treering::tree::{OwnerPolicy, ScanOptions, Skipped, scan};

use crate::context::Context;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering snapshot rootfs -o before
  make -C rootfs install
  treering diff before rootfs

  treering snapshot rootfs --previous before -o after    only looks at what may have changed";

/// Write down everything in a directory, to compare with later
///
/// A snapshot holds names, owners, permissions, times, extended attributes and what tells that a file was touched; the
/// content of files is not in it.
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

    /// Whose the files are: root, keep, UID:GID or map:IMAGE:DISK:COUNT
    #[arg(long, value_name = "OWNER", default_value = "root")]
    owner: OwnerPolicy,

    /// Leave out what is mounted below the directory
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

impl Snapshot {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let root = Root::open(&self.tree)?;
        let previous = self.previous.as_ref().map(treering::tree::Snapshot::load).transpose()?;
        let options = ScanOptions {
            threads: context.threads,
            owner: &self.owner,
            previous: previous.as_ref(),
            one_file_system: self.one_file_system,
            ..ScanOptions::default()
        };
        let found = {
            let _progress = context.progress("scanning", &control);
            scan(&root, &options, &control)?
        };
        output::stream(Some(&self.output), |out| {
            Ok(out.write_all(found.snapshot.as_bytes()).at("save snapshot", self.output.as_os_str().as_encoded_bytes())?)
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

/// The same for `--json`.
pub fn skipped_object(skipped: &Skipped) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    json::put_path(&mut object, "path", &absolute(&skipped.path));
    object.insert("reason".into(), skipped.reason.into());
    object.into()
}

/// A path of a tree as seen from inside.
pub fn absolute(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}
