//! `treering load`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;
use treering::archive::{LoadOptions, Loaded, NamePolicy, load, open_layout};

use crate::context::Context;
use crate::{input, json, output};

const EXAMPLES: &str = "\
Examples:
  treering load -i app.tar
  docker save app:v1 | treering load
  treering load --names move -i app.tar     names move to the images in the archive";

/// The treatment of the names in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Names {
    /// They are given, unless one stands for another image here; then nothing is loaded
    Keep,
    /// They are given, taken from whatever has them, as docker load does
    Move,
    /// They are left out
    Ignore,
}

/// Read images from an archive of docker save, podman save, or any image layout in a tar
///
/// The archive may be compressed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Load {
    /// The archive, or a directory that is an image layout; standard input when not given, or -
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Treatment of the names in the archive
    #[arg(long, value_enum, default_value_t = Names::Keep)]
    names: Names,
}

impl Load {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        input::named(self.input.as_deref(), self.load(context))
    }

    fn load(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let input = match self.input.as_deref() {
            Some(dir) if dir.is_dir() => open_layout(dir)?,
            file => input::open(file)?,
        };
        let store = context.store()?;
        let control = context.control();
        input::announce(self.input.as_deref(), &control);
        let loaded = {
            let _progress = context.progress("loading", &control);
            let names = match self.names {
                Names::Keep => NamePolicy::Keep,
                Names::Move => NamePolicy::Move,
                Names::Ignore => NamePolicy::Ignore,
            };
            load(&store, input, &LoadOptions { names, ..LoadOptions::default() }, &control)?
        };
        if context.json {
            let object = |one: &Loaded| {
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
