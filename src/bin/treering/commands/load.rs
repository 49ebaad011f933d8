//! `treering load`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::Control;
use treering::archive::{LoadOptions, load};

use crate::context::Context;
use crate::{input, json, output};

const EXAMPLES: &str = "\
Examples:
  treering load -i app.tar
  docker save app:v1 | treering load";

/// Read images from an archive of docker save, podman save, or any image layout in a tar
///
/// The archive may be compressed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Load {
    /// The archive; standard input when not given, or -
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
}

impl Load {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let input = input::open(self.input.as_deref())?;
        let store = context.store()?;
        let control = Control::default();
        let loaded = {
            let _progress = context.progress("loading", &control);
            load(&store, input, &LoadOptions::default(), &control)?
        };
        if context.json {
            let object = |one: &treering::archive::Loaded| {
                json!({
                    "name": one.name.as_ref().map(ToString::to_string),
                    "id": one.image_id,
                    "manifest": one.manifest,
                })
            };
            output::data(|out| json::list(out, loaded.iter().map(object)))?;
        } else {
            output::lines(loaded.iter().map(|one| match &one.name {
                Some(name) => format!("Loaded image: {name}"),
                None => format!("Loaded image ID: {}", one.image_id),
            }))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
