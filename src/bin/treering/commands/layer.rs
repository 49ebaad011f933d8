//! `treering layer`: layers as files, without a store.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use treering::compress::{self, DecodeOptions, Decoder, Written};
use treering::diff::{CompareOptions, compare};
use treering::fs::Root;
use treering::image::Whose;
use treering::image::all_added;
use treering::image::binding::{self, BoundTree};
use treering::layer::read::{LayerReader, ReadLimits};
use treering::layer::{ApplyOptions, LayerPlan, LayerTar, Target};
use treering::tree::{OwnerPolicy, OwnerSource, ScanOptions, Snapshot, scan};
use treering::{Control, Counters};

use super::commit::layer_object;
use super::snapshot::skipped;
use super::unpack::{loss_object, losses};
use crate::context::Context;
use crate::grow::{Packing, Times, owner_source};
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

    /// Whose the files are: root, keep, UID:GID or map:IMAGE:DISK:COUNT
    #[arg(long, value_name = "OWNER", default_value = "root")]
    owner: OwnerPolicy,

    /// Whose record of owners to go by first: none, rootlesscontainers, override-stat or fakeroot:FILE
    #[arg(long, value_name = "SOURCE", default_value = "none", value_parser = owner_source())]
    owner_from: OsString,

    #[command(flatten)]
    packing: Packing,

    #[command(flatten)]
    times: Times,

    /// Leave out what is mounted below the directory
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

impl Create {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let root = Root::open(&self.tree)?;
        let old = self.base_snapshot.as_ref().map(Snapshot::load).transpose()?;
        let options = ScanOptions {
            threads: context.threads,
            owner: &self.owner,
            owner_from: &OwnerSource::parse(&self.owner_from)?,
            one_file_system: self.one_file_system,
            ..ScanOptions::default()
        };
        let progress = context.progress("writing", &control);
        let found = scan(&root, &options, &control)?;
        let changes = match &old {
            Some(old) => compare(old, &found.snapshot, &CompareOptions::default()).changes,
            None => all_added(&found.snapshot),
        };
        let plan = LayerPlan::new(&changes, old.as_ref(), &found.snapshot, self.times.layer()?)?;
        Counters::add(&control.counters.bytes_total, plan.content_len());
        let profile = self.packing.profile()?;
        let tar = LayerTar::new(plan, &root);
        let threads = match context.threads {
            0 => treering::tree::scan::default_threads(),
            n => n,
        };
        let written = output::stream(self.output.as_deref(), |out| {
            Ok(compress::write(&tar, &profile, threads, out, &control)?)
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
/// unpacked from an image, the store keeps what the disk does not take; for any other one that is told.
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
}

impl Apply {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        input::named(Some(&self.file), self.apply(context))
    }

    fn apply(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let input = input::open(Some(&self.file))?;
        match std::fs::create_dir(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                let path = self.dir.as_os_str().as_encoded_bytes();
                return Err(treering::Error::io("create directory", path, error).into());
            }
            _ => {}
        }
        let root = Root::open(&self.dir)?;
        let _progress = context.progress("applying", &control);
        let store = context.store_if_any()?;
        let bound = store.as_ref().map(|store| binding::find(store, &root)).transpose()?.flatten();
        let is_bound = bound.is_some();
        // Without root, what is on disk is the caller's and stands for 0:0.
        let on_disk = match rustix::process::geteuid().is_root() {
            true => OwnerPolicy::Keep,
            false => OwnerPolicy::Root,
        };
        let unknown = || Whose { owner: on_disk, ..Whose::default() };
        let whose = bound.map_or_else(unknown, BoundTree::into_whose);
        let options = ApplyOptions {
            threads: context.threads,
            deny_loss: self.deny_loss,
            owner_xattr: match whose.owner_from {
                OwnerSource::Xattr(attribute) => Some(attribute),
                OwnerSource::Nothing | OwnerSource::Fakeroot(_) => None,
            },
            ..ApplyOptions::default()
        };
        let scan_options = ScanOptions { threads: context.threads, ..whose.scan_options() };
        let found = scan(&root, &scan_options, &control)?;
        let mut target = match found.snapshot.len() {
            1 => Target::empty(&root, options)?,
            _ => Target::existing(&root, &found.snapshot, whose.ledger.clone(), options),
        };
        // There is no digest to compare with, so none is taken.
        let decode = DecodeOptions { hash_input: false, hash_output: false, ..DecodeOptions::default() };
        let decoder = Decoder::new(input, decode, control.clone())?;
        target.apply(decoder, &control)?.finish()?;
        let applied = target.finish()?;
        losses(context, &applied.losses);
        let unkept = match (&store, is_bound) {
            // The store knows the directory and takes what the disk did not.
            (Some(store), true) => {
                binding::replace_ledger(store, &root, &applied.ledger)?;
                0
            }
            _ => applied.ledger.len() as u64,
        };
        if unkept > 0 {
            let entries = text::plural(unkept, "entry", "entries");
            context.ui.warn(format!(
                "the disk did not take owners, permissions, devices or attributes of {entries}"
            ));
            context.ui.hint("run as root, or use `treering import` and `treering unpack`, which keep them");
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
}

impl Ls {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        input::named(Some(&self.file), self.list(context))
    }

    fn list(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let input = input::open(Some(&self.file))?;
        let decoder = Decoder::new(input, DecodeOptions::default(), control.clone())?;
        let mut reader = LayerReader::new(decoder, ReadLimits::default());
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
