//! `treering edit`.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use treering::image::{EditOptions, Edited, Platform, Squash, edit};

use super::commit::layer_object;
use super::unpack::decode_limits;
use crate::context::Context;
use crate::options::{Packing, Times, key_value};
use crate::ui::Usage;
use crate::{input, json, output, text};

const EXAMPLES: &str = "\
Examples:
  treering edit app:v1 app:v2 -c 'ENV MODE=prod' --label tier=web
  treering edit app:v2 app:small --squash             one layer
  treering edit app:v2 app:undone --drop-last 1       without the last layer
  treering edit app:v1 app:more --append layer.tar.zst
  treering edit web:v1 web:v2 --rebase debian:12 debian:13

The order is always: --rebase, --drop-last, --append, --squash, then the configuration.";

/// Make an image out of another one, without a directory: layers, base, configuration
///
/// Layers that stay are not read. The history says what was done; rows of layers that are gone go with them. Prints the image id.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Edit {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The name of the new image
    #[arg(value_name = "NEW")]
    new: String,

    /// A Dockerfile instruction for the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD,
    /// STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,

    /// A label of the configuration
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,

    /// An annotation of the manifest
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_value)]
    annotations: Vec<(String, String)>,

    /// Author, such as 'Ada <ada@example.org>' [default: IMAGE's]
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,

    /// A message for the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,

    /// When it was made: seconds since 1970, or as in 2026-01-31T12:00:00Z [default: SOURCE_DATE_EPOCH, or now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    created: Option<i64>,

    /// A layer to put on top, as `layer create` writes it; - for standard input
    #[arg(long = "append", value_name = "LAYER")]
    appended: Vec<PathBuf>,

    /// Leave the last N layers out
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    drop_last: usize,

    /// Make one layer of the last N, or of all of them
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "0", hide_default_value = true)]
    squash: Option<usize>,

    /// Put another base below the image: the one it was built on, and the new one
    #[arg(long, num_args = 2, value_names = ["OLDBASE", "NEWBASE"])]
    rebase: Option<Vec<String>>,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    #[command(flatten)]
    packing: Packing,

    /// How many times larger than its blob an appended layer may get, beyond 64 MiB and zeros not counted [default: 1000]
    #[arg(long, value_name = "N")]
    max_ratio: Option<u64>,
}

impl Edit {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let stdin = self.appended.iter().filter(|file| file.as_os_str() == "-").count();
        if stdin > 1 {
            return Err(Usage::new("--append - is given twice, and standard input is one layer").into());
        }
        let mut options = EditOptions {
            platform: self.platform.clone(),
            rebase: self.rebase.as_deref().and_then(|both| match both {
                [old, new] => Some((old.clone(), new.clone())),
                _ => None,
            }),
            drop_last: self.drop_last,
            squash: self.squash.map(|count| if count == 0 { Squash::All } else { Squash::Last(count) }),
            changes: self.changes.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            author: self.author.clone(),
            message: self.message.clone(),
            created: self.created,
            profile: self.packing.profile()?,
            decode: decode_limits(self.max_ratio),
            threads: context.threads,
        };
        // That SOURCE_DATE_EPOCH is set is no wish for another image.
        if options.created.is_none() && (options.is_edit() || !self.appended.is_empty()) {
            options.created = Times::from_environment()?;
        }
        let store = context.store()?;
        let control = context.careful_control();
        let open = |file: &PathBuf| input::named(Some(file), input::open(Some(file)));
        let append: Vec<Box<dyn Read + Send>> =
            self.appended.iter().map(open).collect::<anyhow::Result<_>>()?;
        let only = (self.appended.len() == 1).then(|| self.appended[0].as_path());
        let made = {
            let _progress = context.progress("editing", &control);
            let made = edit(&store, &self.image, Some(&self.new), append, &options, &control);
            match only {
                // Most errors without a path are about it.
                Some(file) => input::named(Some(file), made.map_err(Into::into))?,
                None => made?,
            }
        };
        context.ui.note(format!("{}; {}", outcome(&made), text::duration(began.elapsed())));
        if context.json {
            let object = json!({
                "name": self.new,
                "id": made.image_id,
                "manifest": made.manifest,
                "layers": made.layers,
                "appended": made.appended.iter().map(layer_object).collect::<Vec<_>>(),
                "squashed": made.squashed.as_ref().map(layer_object),
            });
            output::data(|out| json::document(out, &object))?;
        } else {
            output::lines([made.image_id.to_string()])?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns what was made, for people.
fn outcome(made: &Edited) -> String {
    let layers = text::plural(made.layers as u64, "layer", "layers");
    match &made.squashed {
        Some(layer) => format!("{layers}, the last one of {}", text::size(layer.size)),
        None => layers,
    }
}

/// Seconds since 1970, or RFC 3339.
fn time(text: &str) -> Result<i64, String> {
    let parsed = text.parse::<i64>().ok();
    parsed
        .or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_second))
        .ok_or_else(|| "expected seconds since 1970, or a time as in 2026-01-31T12:00:00Z".into())
}
