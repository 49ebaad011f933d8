//! `treering unpack`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::{Map, Value, json};
use treering::Digest;
use treering::compress::DecodeLimits;
use treering::error::escape;
use treering::image::{Image, Platform, UnpackOptions, unpack};
use treering::layer::{ApplyOptions, Loss};
use treering::store::Store;
use treering::tree::OwnerXattr;

use super::snapshot::absolute;
use crate::context::Context;
use crate::options::Leniency;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering unpack app:v1 work
  treering unpack --platform linux/arm64 multi:v1 work-arm64
  treering unpack --owner-xattr rootlesscontainers app:v1 work   for PRoot

Without root, owners, devices and attributes that the disk does not take are written down in the store, and every
later diff and commit of the directory uses them.";

/// Make a directory of an image
///
/// The directory must not exist, or be empty. The store records the image: `treering diff DIR` shows what
/// changed since, `treering commit DIR NAME` makes a layer of it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Unpack {
    /// The image: a name, an id, or the beginning of one
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    /// Also write owners into an attribute that other tools read: rootlesscontainers (PRoot, umoci) or override-stat
    /// (fuse-overlayfs, containers/storage)
    #[arg(long, value_name = "ATTRIBUTE")]
    owner_xattr: Option<OwnerXattr>,

    /// Fail when an attribute can be kept neither on disk nor in the store
    #[arg(long)]
    deny_loss: bool,

    /// How many times larger than its blob a layer may get, beyond 64 MiB and zeros not counted [default: 1000]
    #[arg(long, value_name = "N")]
    max_ratio: Option<u64>,

    #[command(flatten)]
    leniency: Leniency,

    /// Return when everything is safe on the disk
    #[arg(long)]
    sync: bool,
}

impl Unpack {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let store = context.store()?;
        let control = context.careful_control();
        let options = UnpackOptions {
            apply: ApplyOptions {
                threads: context.threads,
                deny_loss: self.deny_loss,
                owner_xattr: self.owner_xattr,
                strictness: self.leniency.strictness(),
                ..ApplyOptions::default()
            },
            platform: self.platform,
            sync: self.sync,
            decode: decode_limits(self.max_ratio),
        };
        let made = {
            let _progress = context.progress("unpacking", &control);
            unpack(&store, &self.image, &self.dir, &options, &control)?
        };
        losses(context, &made.losses);
        foreign(context, &store, &made.manifest);
        if context.json {
            let object = json!({
                "manifest": made.manifest,
                "entries": made.entries,
                "in_ledger": made.in_ledger,
                "losses": made.losses.iter().map(loss_object).collect::<Vec<_>>(),
            });
            output::data(|out| json::document(out, &object))?;
        }
        let entries = text::plural(made.entries, "entry", "entries");
        let ledger = match made.in_ledger {
            0 => String::new(),
            n => format!(", owners or attributes of {} kept in the store", text::count(n)),
        };
        context.ui.note(format!("{entries}{ledger}; {}", text::duration(began.elapsed())));
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns how far decompression may go.
pub fn decode_limits(max_ratio: Option<u64>) -> DecodeLimits {
    let default = DecodeLimits::default();
    DecodeLimits { ratio: max_ratio.unwrap_or(default.ratio), ..default }
}

/// Notes that what was unpacked is for another kind of machine.
fn foreign(context: &Context, store: &Store, manifest: &Digest) {
    let here = Platform::host();
    if let Ok(image) = Image::open(store, &manifest.to_string(), None)
        && !here.accepts().contains(&image.platform())
    {
        context.ui.note(format!("the image is for {}; this machine is {here}", image.platform()));
    }
}

/// Says what could not be kept.
pub fn losses(context: &Context, losses: &[Loss]) {
    const MOST: usize = 10;
    for loss in losses.iter().take(MOST) {
        let (path, attribute) = (escape(&loss.path), escape(&loss.attribute));
        context.ui.warn(format!("/{path}: {attribute} is lost: {}", loss.reason));
    }
    if losses.len() > MOST {
        context.ui.warn(format!("{} more are lost; --json lists them", losses.len() - MOST));
    }
}

/// Returns the same for `--json`.
pub fn loss_object(loss: &Loss) -> Value {
    let mut object = Map::new();
    json::put_path(&mut object, "path", &absolute(&loss.path));
    json::put_path(&mut object, "attribute", &loss.attribute);
    object.insert("reason".into(), loss.reason.into());
    object.into()
}
