//! `treering layer`: layers as files, without a store.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use treering::compress::{DecodeOptions, Decoder, Written};
use treering::diff::{CompareOptions, all_added, compare};
use treering::fs::Root;
use treering::image::{
    AppliedLayer, LayerApplyOptions, LayerSource, apply_layer, let_in, owners_of, scan_options, write_layer,
};
use treering::layer::ApplyOptions;
use treering::layer::MtimePrecision;
use treering::layer::read::{LayerReader, ReadLimits};
use treering::tree::{ScanOptions, Snapshot, scan};
use treering::{Control, Error, ErrorKind};

use super::commit::layer_object;
use super::snapshot::skipped;
use super::unpack::{decode_limits, loss_object, losses};
use crate::context::Context;
use crate::options::{Excluding, Leniency, Owners, Packing, Times};
use crate::{entry, input, json, output, text};

/// Make, apply and list layers: tar files of changes, without a store
#[derive(Debug, Subcommand)]
pub enum Layer {
    Create(Create),
    Apply(Apply),
    #[command(visible_alias = "list")]
    Ls(Ls),
}

impl Layer {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Layer::Create(args) => args.run(context),
            Layer::Apply(args) => args.run(context),
            Layer::Ls(args) => args.run(context),
        }
    }
}

/// Write a layer: all of a directory, or what changed in it since a snapshot
///
/// Prints the DiffID (sha256 of the tar) and the digest (sha256 of the file) on standard error, or with --json on
/// standard output.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  treering layer create rootfs -o layer.tar.zst
  treering layer create rootfs --base-snapshot before --compression gzip -o layer.tar.gz")]
pub struct Create {
    /// The directory
    #[arg(value_name = "TREE")]
    tree: PathBuf,

    /// A snapshot of the same directory: only what changed since goes into the layer
    #[arg(long, value_name = "FILE")]
    base_snapshot: Option<PathBuf>,

    /// The file to write; standard output when not given, or -
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    owners: Owners,

    #[command(flatten)]
    packing: Packing,

    #[command(flatten)]
    times: Times,

    #[command(flatten)]
    excluding: Excluding,

    /// Leave out what is mounted below the directory
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

impl Create {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let root = Root::open(&self.tree)?;
        let old = self.base_snapshot.as_ref().map(Snapshot::load).transpose()?;
        let store = context.store_if_any()?;
        let_in(&root, store.as_ref())?;
        // Whatever `snapshot` and `diff` go by: the base is one of theirs.
        let owners = owners_of(store.as_ref(), &root, &self.owners.wanted()?)?;
        let exclude = self.excluding.patterns()?;
        let options = ScanOptions {
            threads: context.threads,
            one_file_system: self.one_file_system,
            exclude: Some(&exclude),
            ..scan_options(&owners, store.as_ref())?
        };
        let progress = context.progress("writing", &control);
        let found = scan(&root, &options, &control)?;
        // What would be written is compared.
        let layer = self.times.layer()?;
        let compare_options = CompareOptions {
            exact_times: layer.precision == MtimePrecision::Nanoseconds,
            clamp_mtime: layer.clamp_mtime,
            ..CompareOptions::default()
        };
        let changes = match &old {
            Some(old) => {
                let mut comparison = compare(old, &found.snapshot, &compare_options);
                comparison.exclude(&exclude);
                comparison.changes
            }
            None => all_added(&found.snapshot),
        };
        let source =
            LayerSource { changes: &changes, old: old.as_ref(), new: &found.snapshot, files: Some(&root) };
        let (profile, times) = (self.packing.profile_for(self.output.as_deref())?, self.times.layer()?);
        let written = output::stream(self.output.as_deref(), |out| {
            Ok(write_layer(source, times, &profile, context.threads, out, &control)?.0)
        })?;
        drop(progress);
        skipped(context, &found.skipped);
        self.report(context, &written, profile.media_type())
    }

    fn report(&self, context: &Context, written: &Written, media_type: &str) -> anyhow::Result<ExitCode> {
        let on_stdout = self.output.as_ref().is_none_or(|file| file.as_os_str() == "-");
        if context.json && !on_stdout {
            let mut object = layer_object(written);
            object["media_type"] = json!(media_type);
            output::data(|out| json::document(out, &object))?;
        } else {
            context.ui.note(format!("diff id  {}, {}", written.diff_id, text::size(written.diff_size)));
            context.ui.note(format!("digest   {}, {}", written.digest, text::size(written.size)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Apply a layer to a directory
///
/// The directory is made when it is not there. Whiteouts in the layer remove what is there. For a directory that was
/// unpacked from an image, the store keeps what the disk does not take; for any other one that is printed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  treering layer apply layer.tar.zst rootfs
  zcat layer.tar.gz | treering layer apply - rootfs")]
pub struct Apply {
    /// The layer, compressed or not; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Fail when an attribute cannot be kept
    #[arg(long)]
    deny_loss: bool,

    /// How many times larger than its blob the layer may get, beyond 64 MiB and zeros not counted [default: 1000]
    #[arg(long, value_name = "N")]
    max_ratio: Option<u64>,

    #[command(flatten)]
    leniency: Leniency,
}

impl Apply {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        input::named(Some(&self.file), self.apply(context))
    }

    fn apply(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let input = input::open(Some(&self.file))?;
        input::announce(Some(&self.file), &control);
        let _progress = context.progress("applying", &control);
        let options = LayerApplyOptions {
            apply: ApplyOptions {
                threads: context.threads,
                deny_loss: self.deny_loss,
                strictness: self.leniency.strictness(),
                ..ApplyOptions::default()
            },
            // There is no digest to compare with, so none is taken.
            decode: DecodeOptions {
                hash_input: false,
                hash_output: false,
                limits: decode_limits(self.max_ratio),
                ..DecodeOptions::with_threads(context.threads)
            },
            ledger: None,
        };
        let store = context.store_if_any()?;
        let AppliedLayer { applied, unkept, .. } =
            apply_layer(store.as_ref(), input, &self.dir, &options, &control)?;
        losses(context, &applied.losses);
        if unkept > 0 {
            let entries = text::plural(unkept, "entry", "entries");
            let message =
                format!("the disk did not take owners, permissions, devices or attributes of {entries}");
            let import = "use `treering import` and `treering unpack`, which keep them";
            let hint = match rustix::process::geteuid().is_root() {
                true => import.into(),
                false => format!("run as root, or {import}"),
            };
            // Nothing else has them: the ledger that says so ends with the process.
            if self.deny_loss {
                let error = Error::new(ErrorKind::Loss, "apply layer", message);
                return Err(error.with_path(self.dir.as_os_str().as_encoded_bytes()).with_hint(hint).into());
            }
            context.ui.warn(message);
            context.ui.hint(hint);
        }
        if context.json {
            let object = json!({
                "entries": applied.snapshot.len() - 1,
                "unkept": unkept,
                "losses": applied.losses.iter().map(loss_object).collect::<Vec<_>>(),
            });
            output::data(|out| json::document(out, &object))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// List what is in a layer, as tar -tv does
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  treering layer ls layer.tar.zst
  treering layer ls --json - < layer.tar | jq '.[].path'")]
pub struct Ls {
    /// The layer, compressed or not; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only show paths
    #[arg(short = 'n', long)]
    names: bool,

    /// End lines with NUL instead of newline
    #[arg(short = 'z', long)]
    null: bool,

    /// How many times larger than its blob the layer may get, beyond 64 MiB and zeros not counted [default: 1000]
    #[arg(long, value_name = "N")]
    max_ratio: Option<u64>,
}

impl Ls {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        input::named(Some(&self.file), self.list(context))
    }

    fn list(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let input = input::open(Some(&self.file))?;
        let limits = decode_limits(self.max_ratio);
        let decode = DecodeOptions { limits, ..DecodeOptions::with_threads(context.threads) };
        let decoder = Decoder::new(input, decode, control.clone())?;
        // No digest says that all of it came.
        let limits = ReadLimits { require_end: true, ..ReadLimits::default() };
        let mut reader = LayerReader::new(decoder, limits);
        output::data(|out| {
            if context.json {
                // An error in the middle of the layer must not look like a short list.
                let mut failed = None;
                let entries = std::iter::from_fn(|| match reader.next_entry() {
                    Ok(entry) => entry,
                    Err(error) => {
                        failed = Some(error);
                        None
                    }
                });
                json::list(out, entries.map(|entry| entry::object(&entry)))?;
                return failed.map_or(Ok(()), |error| Err(error.into()));
            }
            while let Some(one) = reader.next_entry()? {
                entry::line(out, &one, self.names, if self.null { b'\0' } else { b'\n' })?;
            }
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
