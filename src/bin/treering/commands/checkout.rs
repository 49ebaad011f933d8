//! `treering checkout`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::{Map, Value, json};
use treering::diff::ChangeKind;
use treering::error::escape;
use treering::image::{CheckoutOptions, Platform, checkout};
use treering::layer::ApplyOptions;

use super::snapshot::absolute;
use super::unpack::{decode_limits, loss_object, losses};
use crate::context::Context;
use crate::output::stdout_error;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering checkout --discard app:v1 work        back to the image, whatever was done in work
  treering checkout --dry-run --discard app:v1 work
  treering checkout --discard app:v2 work        on to another image
  treering checkout - work                       to the image before";

/// Make a directory match an image, in place
///
/// Only what differs is touched: files that are as they should be are not even read. The directory came from any image; an empty
/// or missing one is unpacked to. Changes that are in no image are an error, which lists the first of them, unless --discard
/// throws them away. After an error or a kill, commit and diff refuse the directory until the next checkout has finished.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Checkout {
    /// The image: a name, an id, or the beginning of one; - for the one before the present one
    #[arg(value_name = "IMAGE", allow_hyphen_values = true)]
    image: String,

    /// The directory, or a container
    #[arg(value_name = "DIR|CONTAINER")]
    dir: PathBuf,

    /// Throw away what changed in the directory since it was unpacked, committed or checked out
    #[arg(long)]
    discard: bool,

    /// Only print what would be added, changed and deleted
    #[arg(long)]
    dry_run: bool,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    /// Fail when an attribute can be kept neither on disk nor in the store
    #[arg(long)]
    deny_loss: bool,

    /// How many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted [default: 1000]
    #[arg(long, value_name = "N")]
    max_ratio: Option<u64>,

    /// Return when everything is safe on the disk
    #[arg(long)]
    sync: bool,
}

impl Checkout {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let store = context.store()?;
        let control = context.careful_control();
        let options = CheckoutOptions {
            discard: self.discard,
            dry_run: self.dry_run,
            platform: self.platform,
            sync: self.sync,
            apply: ApplyOptions {
                threads: context.threads,
                deny_loss: self.deny_loss,
                ..ApplyOptions::default()
            },
            decode: decode_limits(self.max_ratio),
        };
        let made = {
            let _progress = context.progress("checking out", &control);
            #[cfg(feature = "sandbox")]
            let container = crate::boxes::named(context, &self.dir)?;
            #[cfg(feature = "sandbox")]
            let made = match &container {
                Some(container) => container.checkout(&self.image, &options, &control)?,
                None => checkout(&store, &self.image, &self.dir, &options, &control)?,
            };
            #[cfg(not(feature = "sandbox"))]
            let made = checkout(&store, &self.image, &self.dir, &options, &control)?;
            made
        };
        losses(context, &made.losses);
        if context.json {
            let object = json!({
                "manifest": made.manifest,
                "written": made.written,
                "updated": made.updated,
                "removed": made.removed,
                "kept": made.kept,
                "in_ledger": made.in_ledger,
                "losses": made.losses.iter().map(loss_object).collect::<Vec<_>>(),
                "changes": made.changes.iter().map(change_object).collect::<Vec<_>>(),
                "dry_run": self.dry_run,
            });
            output::data(|out| json::document(out, &object))?;
        } else if self.dry_run {
            let shown = std::io::stdout().is_terminal();
            output::data(|out| {
                for (kind, path) in &made.changes {
                    // On a terminal a name must not move the cursor; elsewhere bytes are bytes.
                    let path = if shown { escape(path).into_bytes() } else { path.clone() };
                    let line = [format!("{} /", kind.letter()).as_bytes(), &path, b"\n"].concat();
                    out.write_all(&line).map_err(stdout_error)?;
                }
                Ok(())
            })?;
        }
        let counts = [
            ("written", made.written),
            ("updated", made.updated),
            ("removed", made.removed),
            ("kept", made.kept),
        ];
        let counts: Vec<String> = counts.map(|(what, n)| format!("{} {what}", text::count(n))).into();
        let would = if self.dry_run { "would be " } else { "" };
        context.ui.note(format!("{would}{}; {}", counts.join(", "), text::duration(began.elapsed())));
        Ok(ExitCode::SUCCESS)
    }
}

fn change_object((kind, path): &(ChangeKind, Vec<u8>)) -> Value {
    let mut object = Map::new();
    object.insert("kind".into(), kind.name().into());
    json::put_path(&mut object, "path", &absolute(path));
    object.into()
}
