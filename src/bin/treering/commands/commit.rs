//! `treering commit`: a directory, or an overlay's upper directory, becomes an image.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use treering::ErrorKind;
use treering::compress::Written;
use treering::diff::{CompareMode, Stat};
use treering::error::{At, escape};
use treering::image::{Base, CommitOptions, Committed, commit};

use super::snapshot::{skipped, skipped_object};
use crate::context::Context;
use crate::options::{Excluding, ImageFields, Owners, Packing, Times, key_value, lowers};
use crate::ui::Usage;
use crate::{json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering commit ./rootfs app:v1
  treering commit ./rootfs app:v1 -m 'First' -c 'CMD [\"/app\"]' -c 'ENV PATH=/bin'
  treering commit --base debian:12 ./rootfs app:v1     only what differs from debian:12 is stored
  treering commit --reproducible --compression gzip ./rootfs app:v1
  treering commit --exclude var/cache --exclude '**/*.pyc' ./rootfs app:v1
  treering commit --owner-from fakeroot:saved ./rootfs app:v1   made under `fakeroot -s saved`
  treering commit box app:v1                           a container, with its command and variables
  treering commit --upper upper --lower lower --base app:v1 app:v2

The base is the image the directory was unpacked from or last committed as, unless --base names another one.";

/// Make an image of a directory or container: what changed since its base becomes a layer
///
/// Prints the image id.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(override_usage = "treering commit [OPTIONS] TREE|CONTAINER [REPOSITORY[:TAG]]\n       \
    treering commit [OPTIONS] --upper DIR --lower DIR[:DIR] [REPOSITORY[:TAG]]")]
pub struct Commit {
    /// The directory, or the container; not given with --upper
    #[arg(value_name = "TREE|CONTAINER")]
    tree: Option<PathBuf>,

    /// The name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,

    /// Author, such as 'Ada <ada@example.org>'
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,

    #[command(flatten)]
    fields: ImageFields,

    /// Base of the image: a name, an id, or scratch for nothing
    #[arg(long, value_name = "IMAGE", default_value = "auto", hide_default_value = true)]
    base: Base,

    #[command(flatten)]
    owners: Owners,

    #[command(flatten)]
    packing: Packing,

    #[command(flatten)]
    times: Times,

    /// Put everything into one layer, without the base's layers and history
    #[arg(long)]
    squash: bool,

    /// Make no image when nothing changed: the name, if any, goes to the base
    #[arg(long)]
    only_if_changed: bool,

    /// An annotation of the manifest
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_value)]
    annotations: Vec<(String, String)>,

    /// How changes are found: auto reads a file's content when its metadata leaves a doubt
    #[arg(long, value_name = "auto|metadata|content", default_value = "auto", hide_default_value = true)]
    compare: CompareMode,

    /// Go by content where only times differ, as in a fresh checkout
    #[arg(long)]
    ignore_times: bool,

    #[command(flatten)]
    excluding: Excluding,

    /// Leave out what is mounted below the directory
    #[arg(short = 'x', long)]
    one_file_system: bool,

    /// The upper directory of an overlay, in place of TREE
    #[arg(long, value_name = "DIR", requires = "lower")]
    upper: Option<PathBuf>,

    /// The lower directories of the overlay, topmost first; a colon in a name is written \:
    #[arg(long, value_name = "DIR[:DIR]", requires = "upper")]
    lower: Vec<OsString>,

    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
}

impl Commit {
    pub fn run(mut self, context: &Context) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let tree = self.operands()?;
        let store = context.store()?;
        let control = context.control();
        let options = CommitOptions {
            base: self.base.clone(),
            compare: self.compare,
            owners: self.owners.wanted()?,
            profile: self.packing.profile()?,
            layer: self.times.layer()?,
            author: self.author.clone(),
            message: self.fields.message.clone(),
            changes: self.fields.changes.clone(),
            created: self.times.fixed()?,
            squash: self.squash,
            // The same tree, the same image: a row of history more would make it another one.
            only_if_changed: self.only_if_changed || self.times.is_reproducible(),
            platform: self.fields.platform.clone(),
            annotations: self.annotations.clone(),
            ignore_times: self.ignore_times,
            exclude: self.excluding.patterns()?,
            one_file_system: self.one_file_system,
            threads: context.threads,
            lowers: lowers(&self.lower),
        };
        let make = || -> treering::Result<Committed> {
            let _progress = context.progress("committing", &control);
            #[cfg(feature = "sandbox")]
            if self.lower.is_empty()
                && let Some(container) = crate::boxes::named(context, &tree)?
            {
                return container.commit(self.reference.as_deref(), &options, &control);
            }
            commit(&store, &tree, self.reference.as_deref(), &options, &control).map_err(|error| {
                // The most likely slip: the arguments in Docker's order of thought, or the tree forgotten.
                match error.kind() {
                    ErrorKind::NotFound if self.reference.is_none() && error.hint().is_none() => {
                        error.with_hint("the directory comes first: treering commit TREE [REPOSITORY[:TAG]]")
                    }
                    _ => error,
                }
            })
        };
        let made = match &self.iidfile {
            None => make()?,
            // A file that cannot be made is found out before there is an image.
            Some(file) => output::stream(Some(file), |out| {
                let made = make()?;
                write!(out, "{}", made.image_id).at("write", file.as_os_str().as_encoded_bytes())?;
                Ok(made)
            })?,
        };
        if let Some(image) = &made.former_image {
            warn_replaced_tree(context, &tree, image);
        }
        skipped(context, &made.skipped);
        context.ui.note(format!("{}; {}", self.outcome(&made), text::duration(began.elapsed())));
        report(context, self.reference.as_deref(), &made)
    }

    /// Returns what a commit made, for people.
    fn outcome(&self, made: &Committed) -> String {
        let nothing = Stat { bytes: 0, ..made.stat } == Stat::default();
        let changes = match made.layer {
            Some(_) if nothing && !self.squash => "nothing but the directory itself changed".into(),
            _ => stat(&made.stat),
        };
        // Without privileges every file is the caller's, and a named owner is intended.
        let surprising = self.owners.owner.is_none() && rustix::process::geteuid().is_root();
        let owners = match made.owners_replaced {
            n if n > 0 && surprising => {
                let owners = text::plural(n, "owner", "owners");
                format!(", {owners} replaced (--owner keep takes them from the disk)")
            }
            _ => String::new(),
        };
        format!("{changes}; {}{owners}", layer(made.layer.as_ref()))
    }

    /// Returns the directory. With `--upper` the first operand is the reference, since there is no tree to name.
    fn operands(&mut self) -> anyhow::Result<PathBuf> {
        match (self.upper.take(), self.tree.take()) {
            (Some(upper), None) => Ok(upper),
            (Some(upper), Some(first)) if self.reference.is_none() => {
                let reference = first.into_os_string().into_string();
                self.reference = Some(reference.map_err(|_| Usage::new("the name of an image is text"))?);
                Ok(upper)
            }
            (Some(_), Some(_)) => {
                let usage = Usage::new("a directory and --upper do not go together");
                Err(usage.with_hint("with --upper only the name of the image is an operand").into())
            }
            (None, Some(tree)) => Ok(tree),
            (None, None) => Err(Usage::new("no directory to commit")
                .with_hint("treering commit TREE [REPOSITORY[:TAG]], or --upper DIR --lower DIR")
                .into()),
        }
    }
}

/// Warns that everything counted as new although another directory of this path has an image.
fn warn_replaced_tree(context: &Context, tree: &Path, image: &str) {
    let tree = escape(tree.as_os_str().as_bytes());
    context.ui.warn(format!(
        "{tree} is not the directory {image} was committed from; everything in it counts as new; \
         --base {image} compares with that image"
    ));
}

/// Prints the image id, or with `--json` everything.
pub fn report(context: &Context, name: Option<&str>, made: &Committed) -> anyhow::Result<ExitCode> {
    if context.json {
        let object = json!({
            "name": name,
            "id": made.image_id,
            "manifest": made.manifest,
            "layer": made.layer.as_ref().map(layer_object),
            "changes": stat_object(&made.stat),
            "owners_replaced": made.owners_replaced,
            "skipped": made.skipped.iter().map(skipped_object).collect::<Vec<_>>(),
        });
        output::data(|out| json::document(out, &object))?;
    } else {
        output::lines([made.image_id.to_string()])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns a layer's digests and sizes.
pub fn layer_object(layer: &Written) -> Value {
    json!({
        "diff_id": layer.diff_id,
        "diff_size": layer.diff_size,
        "digest": layer.digest,
        "size": layer.size,
    })
}

/// Changes in numbers.
pub fn stat_object(stat: &Stat) -> Value {
    json!({ "added": stat.added, "changed": stat.changed, "deleted": stat.deleted, "bytes": stat.bytes })
}

/// Changes in numbers, for people.
pub fn stat(stat: &Stat) -> String {
    let numbers = [(stat.added, "added"), (stat.changed, "changed"), (stat.deleted, "deleted")];
    let parts: Vec<String> = numbers
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{} {word}", text::count(*n)))
        .collect();
    match parts.is_empty() {
        true => "nothing changed".into(),
        false => format!("{} ({})", parts.join(", "), text::size(stat.bytes)),
    }
}

fn layer(layer: Option<&Written>) -> String {
    match layer {
        None => "no new layer".into(),
        Some(layer) => format!("layer of {}, tar {}", text::size(layer.size), text::size(layer.diff_size)),
    }
}
