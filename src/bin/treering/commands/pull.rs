//! `treering pull`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::image::{Platform, UnpackOptions};
use treering::layer::ApplyOptions;
use treering::registry::{PullOptions, Pulled, Registries, pull, pull_and_unpack, tags};
use treering::store::{Reference, Store};

use crate::commands::unpack::losses;
use crate::context::Context;
use crate::ui::Usage;
use crate::{interrupt, json, output, registries, text};

const EXAMPLES: &str = "\
Examples:
  treering pull debian:12
  treering pull debian@sha256:9f2b1c0e8a7d6f5e4c3b2a190807060504030201f0e0d0c0b0a0908070605040
  treering pull --platform linux/arm64 debian:12
  treering pull --unpack work debian:12             an image and its directory in one go
  treering pull --all-platforms debian:12           every platform, to be pushed elsewhere";

/// Fetch an image from a registry
///
/// Layers that the store holds are not fetched. `treering login` keeps the credentials that a registry asks for; mirrors
/// and registries without TLS are named in registries.toml.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Pull {
    /// The image: a name with a tag, or with a digest
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,

    /// The platform of an image for several, as OS/ARCH[/VARIANT] [default: this machine's]
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all_platforms")]
    platform: Option<Platform>,

    /// All platforms, and what else the image's index lists
    #[arg(long)]
    all_platforms: bool,

    /// Every tag of the repository
    #[arg(short, long)]
    all_tags: bool,

    /// Unpack it as well, while it arrives
    #[arg(long, value_name = "DIR", conflicts_with = "all_tags")]
    unpack: Option<PathBuf>,
}

impl Pull {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let registries = registries::from_env()?;
        if !self.all_tags {
            let pulled = self.pull(context, &store, &registries, &self.name)?;
            self.report(context, &[(self.name.clone(), pulled)])?;
            return Ok(ExitCode::SUCCESS);
        }
        let name = Reference::parse(&self.name)?;
        if name.tag().is_some() || name.digest().is_some() {
            return Err(Usage::new("--all-tags takes a name without tag and digest").into());
        }
        let mut all = Vec::new();
        for tag in tags(&registries, &self.name, &interrupt::control())? {
            let one = name.with_tag(&tag)?.to_string();
            all.push((one.clone(), self.pull(context, &store, &registries, &one)?));
        }
        self.report(context, &all)?;
        Ok(ExitCode::SUCCESS)
    }

    fn pull(
        &self,
        context: &Context,
        store: &Store,
        registries: &Registries,
        name: &str,
    ) -> anyhow::Result<Pulled> {
        let options = PullOptions {
            platform: self.platform.clone(),
            all_platforms: self.all_platforms,
            ..PullOptions::default()
        };
        let (control, _progress) = context.transfers("pulling", interrupt::control());
        if let Some(dir) = &self.unpack {
            let apply = ApplyOptions { threads: context.threads, ..ApplyOptions::default() };
            let unpack = UnpackOptions { apply, ..UnpackOptions::default() };
            let (pulled, unpacked) =
                pull_and_unpack(store, registries, name, dir, &options, &unpack, &control)?;
            losses(context, &unpacked.losses);
            return Ok(pulled);
        }
        Ok(pull(store, registries, name, &options, &control)?)
    }

    fn report(&self, context: &Context, all: &[(String, Pulled)]) -> anyhow::Result<()> {
        if context.json {
            let object = |(_, one): &(String, Pulled)| {
                json!({
                    "name": one.name.as_ref().map(ToString::to_string),
                    "digest": one.digest,
                    "manifest": one.manifest,
                    "id": one.image_id,
                    "up_to_date": one.up_to_date,
                    "layers_fetched": one.layers_fetched,
                    "bytes_fetched": one.bytes_fetched,
                })
            };
            return output::data(|out| json::list(out, all.iter().map(object)));
        }
        for (given, one) in all {
            let name = Reference::parse(given)?.or_latest();
            let status = match one.up_to_date {
                true => "Image is up to date for",
                false => "Downloaded newer image for",
            };
            let mut lines = vec![name.canonical()];
            if !context.quiet() {
                lines.insert(0, format!("Digest: {}", one.digest));
                lines.insert(1, format!("Status: {status} {name}"));
            }
            output::lines(lines)?;
            if one.layers_fetched > 0 {
                let layers = text::plural(one.layers_fetched, "layer", "layers");
                context.ui.note(format!("{layers} fetched, {}", text::size(one.bytes_fetched)));
            }
        }
        Ok(())
    }
}
