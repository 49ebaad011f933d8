//! `treering diff`: what changed, in Docker's letters.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};
use treering::Control;
use treering::diff::{Change, CompareMode};
use treering::error::escape;
use treering::image::{
    Base, DiffOptions, Platform, TreeDiff, diff_image, diff_overlay, diff_snapshots, diff_tree, diff_trees,
};
use treering::tree::NONE;

use super::commit::{stat, stat_object};
use super::snapshot::{absolute, take};
use crate::context::Context;
use crate::json;
use crate::operand::Operand;
use crate::options::{Excluding, Owners, lowers};
use crate::output::{self, stdout_error};
use crate::ui::Usage;

const EXAMPLES: &str = "\
Examples:
  treering diff work                    what changed since `treering unpack app:v1 work`
  treering diff app:v1 rootfs           how a directory differs from an image
  treering diff app:v1 app:v2           how images differ
  treering diff before rootfs           what changed since `treering snapshot rootfs -o before`
  treering diff --upper up --lower low  what an overlay changes, without mounting it

Letters:
  A  added
  C  changed; a directory also when something in it was added or deleted
  D  deleted, with all below

Exit codes with --exit-code:
  0  no differences
  1  differences
  2  failed";

/// Show what changed in a directory, or between directories, images and snapshots
///
/// With one operand, a directory is compared with the image it was unpacked from or last committed as. With two, the
/// first is the older one. An operand that exists as a directory is one, a file is a snapshot, all else is an image.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(override_usage = "treering diff [OPTIONS] TREE\n       treering diff [OPTIONS] OLD NEW\n       \
    treering diff [OPTIONS] --upper DIR --lower DIR[:DIR]")]
pub struct Diff {
    /// The directory, or the older side: a directory, an image or a snapshot
    #[arg(value_name = "OLD", required_unless_present = "upper", conflicts_with = "upper")]
    old: Option<PathBuf>,

    /// The newer side
    #[arg(value_name = "NEW", conflicts_with = "upper")]
    new: Option<PathBuf>,

    /// Only show numbers
    #[arg(long)]
    stat: bool,

    /// Show what is different about each changed path
    #[arg(long)]
    reasons: bool,

    /// End lines with NUL instead of newline
    #[arg(short = 'z', long)]
    null: bool,

    /// Exit with 1 when there are differences
    #[arg(long)]
    pub exit_code: bool,

    #[command(flatten)]
    owners: Owners,

    /// How changes are found: auto reads a file's content when its metadata leaves a doubt
    #[arg(long, value_name = "auto|metadata|content", default_value = "auto", hide_default_value = true)]
    compare: CompareMode,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    /// Go by content where only times differ, as in a fresh checkout
    #[arg(long)]
    ignore_times: bool,

    #[command(flatten)]
    excluding: Excluding,

    /// Leave out what is mounted below a directory
    #[arg(short = 'x', long)]
    one_file_system: bool,

    /// The upper directory of an overlay
    #[arg(long, value_name = "DIR", requires = "lower")]
    upper: Option<PathBuf>,

    /// The lower directories of the overlay, topmost first; a colon in a name is written \:
    #[arg(long, value_name = "DIR[:DIR]", requires = "upper")]
    lower: Vec<OsString>,
}

impl Diff {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = context.control();
        let diff = {
            let _progress = context.progress("comparing", &control);
            self.compare(context, &control)?
        };
        super::snapshot::skipped(context, &diff.skipped);
        if context.json {
            self.print_json(&diff)?;
        } else if self.stat {
            output::lines([stat(&diff.stat())])?;
        } else {
            self.print(&diff)?;
        }
        let differs = diff.listed().next().is_some();
        Ok(if self.exit_code && differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn options(&self, context: &Context) -> treering::Result<DiffOptions> {
        Ok(DiffOptions {
            owners: self.owners.wanted()?,
            compare: self.compare,
            exact_times: false,
            clamp_mtime: None,
            platform: self.platform.clone(),
            ignore_times: self.ignore_times,
            exclude: self.excluding.patterns()?,
            one_file_system: self.one_file_system,
            all_reasons: self.reasons || (context.json && !self.stat),
            reverse: false,
            threads: context.threads,
        })
    }

    fn compare(&self, context: &Context, control: &Control) -> anyhow::Result<TreeDiff> {
        let options = self.options(context)?;
        if let Some(upper) = &self.upper {
            let store = context.store_if_any()?;
            return Ok(diff_overlay(store.as_ref(), upper, &lowers(&self.lower), &options, control)?.diff);
        }
        #[cfg(feature = "sandbox")]
        if let (Some(old), None) = (&self.old, &self.new)
            && let Some(container) = crate::boxes::named(context, old)?
        {
            return Ok(container.diff(&options, control)?);
        }
        let old = Operand::of(self.old.as_deref().expect("the parser asks for it"))?;
        let store = context.store_if_any()?;
        let Some(new) = &self.new else {
            let Operand::Directory(tree) = old else {
                let usage =
                    Usage::new(format!("{old} is not a directory, so there is nothing to compare it with"));
                return Err(usage.with_hint("name both sides: treering diff OLD NEW").into());
            };
            let diff = diff_tree(store.as_ref(), &tree, &Base::Auto, &options, control)?;
            if diff.old.is_none() {
                context.ui.note("the directory comes from no image of this store: everything in it is new");
            }
            return Ok(diff);
        };
        Ok(match (old, Operand::of(new)?) {
            (Operand::Directory(old), Operand::Directory(new)) => {
                diff_trees(store.as_ref(), &old, &new, &options, control)?
            }
            (Operand::Image(image), Operand::Directory(tree)) => {
                let store = context.store()?;
                diff_tree(Some(&store), &tree, &Base::Image(image), &options, control)?
            }
            (Operand::Image(old), Operand::Image(new)) => {
                diff_image(&context.store()?, Some(&old), &new, &options, control)?
            }
            (Operand::Directory(tree), Operand::Image(image)) => {
                let (store, options) = (context.store()?, DiffOptions { reverse: true, ..options });
                diff_tree(Some(&store), &tree, &Base::Image(image), &options, control)?
            }
            (old, new) => {
                if (old.is_image() || new.is_image()) && self.compare != CompareMode::Metadata {
                    let usage = Usage::new("a snapshot holds no content to compare with that of an image");
                    return Err(usage
                        .with_hint("compare a directory with the image, or add --compare metadata")
                        .into());
                }
                let old = take(context, &old, &options, control)?;
                let new = take(context, &new, &options, control)?;
                let diff = diff_snapshots(old.0, new.0, &options);
                TreeDiff { skipped: new.1, ..diff }
            }
        })
    }

    fn print(&self, diff: &TreeDiff) -> anyhow::Result<()> {
        // On a terminal a name must not move the cursor; elsewhere bytes are bytes.
        let shown = std::io::stdout().is_terminal();
        let end: &[u8] = if self.null { b"\0" } else { b"\n" };
        output::data(|out| {
            for change in diff.listed() {
                let path = diff.path(change);
                write!(out, "{} /", change.kind.letter()).map_err(stdout_error)?;
                match shown {
                    true => out.write_all(escape(&path).as_bytes()).map_err(stdout_error)?,
                    false => out.write_all(&path).map_err(stdout_error)?,
                }
                if self.reasons && !change.reasons.is_empty() {
                    write!(out, "\t{}", change.reasons.words().join(",")).map_err(stdout_error)?;
                }
                out.write_all(end).map_err(stdout_error)?;
            }
            Ok(())
        })
    }

    fn print_json(&self, diff: &TreeDiff) -> anyhow::Result<()> {
        output::data(|out| match self.stat {
            true => json::document(out, &stat_object(&diff.stat())),
            false => json::list(out, diff.listed().map(|change| object(diff, change))),
        })
    }
}

/// Returns one change as `--json` shows it.
fn object(diff: &TreeDiff, change: &Change) -> Value {
    let mut object = Map::new();
    object.insert("kind".into(), change.kind.name().into());
    json::put_path(&mut object, "path", &absolute(&diff.path(change)));
    let (snapshot, index) = match (&diff.old, change.new) {
        (Some(old), NONE) => (old, change.old),
        (_, index) => (&diff.new, index),
    };
    let meta = snapshot.meta(index);
    object.insert("type".into(), meta.kind.name().into());
    if !change.reasons.is_empty() {
        object.insert("reasons".into(), json!(change.reasons.words()));
    }
    if change.new != NONE {
        object.insert("size".into(), meta.size.into());
    }
    if change.opaque {
        object.insert("opaque".into(), true.into());
    }
    object.into()
}
