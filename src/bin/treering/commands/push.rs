//! `treering push`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::image::Platform;
use treering::registry::{PushOptions, Pushed, push};
use treering::store::Reference;

use crate::context::Context;
use crate::ui::Usage;
use crate::{interrupt, json, output, registries, text};

const EXAMPLES: &str = "\
Examples:
  treering push registry.example/team/app:v1
  treering push app:v1 registry.example/team/app:v1     under another name than it has here
  treering push --platform linux/arm64 app:v1 registry.example/team/app:v1-arm64";

/// Send an image to a registry
///
/// Only what the registry lacks is sent; its bytes, and so its digests, are those of the store.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Push {
    /// The image; also where it goes, when nothing else is given
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The name that it gets at the registry
    #[arg(value_name = "NAME[:TAG]", conflicts_with = "all_tags")]
    target: Option<String>,

    /// Only this platform of an image for several, as OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Every tag that the repository has in the store
    #[arg(short, long)]
    all_tags: bool,
}

impl Push {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let registries = registries::from_env()?;
        let mut names = vec![(self.image.clone(), self.target.clone().unwrap_or(self.image.clone()))];
        if self.all_tags {
            let name = Reference::parse(&self.image)?;
            if name.tag().is_some() || name.digest().is_some() {
                return Err(Usage::new("--all-tags takes a name without tag and digest").into());
            }
            let known = store.refs()?.into_iter().map(|known| known.name);
            names = known
                .filter(|known| known.same_repository(&name))
                .map(|known| (known.to_string(), known.to_string()))
                .collect();
            if names.is_empty() {
                let message = "no image in the store has a tag of this repository";
                return Err(treering::Error::not_found("push image", message).with_path(&self.image).into());
            }
        }
        let mut all = Vec::new();
        for (image, target) in names {
            let options = PushOptions { platform: self.platform.clone(), ..PushOptions::default() };
            let pushed = {
                let (control, _progress) = context.transfers("pushing", interrupt::control());
                push(&store, &registries, &image, &target, &options, &control)?
            };
            if let Some(platform) = pushed.only_platform.as_ref().filter(|_| self.platform.is_none()) {
                context.ui.note(format!(
                    "the store holds only {platform} of this image, which was pushed alone; pull it with --all-platforms to push all"
                ));
            }
            all.push(pushed);
        }
        report(context, &all)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn report(context: &Context, all: &[Pushed]) -> anyhow::Result<()> {
    if context.json {
        let object = |one: &Pushed| {
            json!({
                "name": one.name.to_string(),
                "digest": one.digest,
                "size": one.size,
                "sent": one.sent,
                "bytes_sent": one.bytes_sent,
                "mounted": one.mounted,
                "present": one.present,
                "only_platform": one.only_platform.as_ref().map(ToString::to_string),
            })
        };
        return output::data(|out| json::list(out, all.iter().map(object)));
    }
    for (at, one) in all.iter().enumerate() {
        if context.quiet() {
            output::lines([one.name.canonical()])?;
            continue;
        }
        if at == 0 {
            output::lines([format!("The push refers to repository [{}]", one.name.name())])?;
        }
        let tag = one.name.tag().map(|tag| format!("{tag}: ")).unwrap_or_default();
        output::lines([format!("{tag}digest: {} size: {}", one.digest, one.size)])?;
        let sent = text::plural(one.sent, "blob", "blobs");
        let (bytes, mounted, present) = (text::size(one.bytes_sent), one.mounted, one.present);
        context.ui.note(format!("{sent} sent ({bytes}), {mounted} mounted, {present} there already"));
    }
    Ok(())
}
