//! `treering manifest`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use treering::image::Platform;
use treering::registry::{ListAnnotation, PushOptions, annotate_list, create_list, push, read_manifest};
use treering::store::Limits;

use crate::context::Context;
use crate::output::stdout_error;
use crate::ui::Usage;
use crate::{interrupt, json, output, registries};

const CREATE: &str = "\
Examples:
  treering manifest create registry.example/app:v1 app:v1-amd64 app:v1-arm64
  treering manifest create --amend registry.example/app:v1 app:v1-riscv64";

const ANNOTATE: &str = "\
Examples:
  treering manifest annotate --arch arm --variant v7 registry.example/app:v1 app:v1-arm";

const PUSH: &str = "\
Examples:
  treering manifest push registry.example/app:v1";

const INSPECT: &str = "\
Examples:
  treering manifest inspect debian:12
  treering manifest inspect --local registry.example/app:v1     a list that was not pushed yet";

/// One name for the images of several platforms
#[derive(Debug, Subcommand)]
pub enum Manifest {
    Create(Create),
    Annotate(Annotate),
    Push(Push),
    Inspect(Inspect),
}

/// Make a list of images in the store
///
/// Of an image that is only at its registry, the manifest and the configuration are fetched, not the layers.
#[derive(Debug, Args)]
#[command(after_help = CREATE)]
pub struct Create {
    /// The name of the list
    #[arg(value_name = "LIST")]
    list: String,

    /// The images, of the store or a registry
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// Add to a list that exists; what is for the same platform is replaced
    #[arg(short, long)]
    amend: bool,
}

/// Change what a list says about one of its images
#[derive(Debug, Args)]
#[command(after_help = ANNOTATE)]
pub struct Annotate {
    /// The name of the list
    #[arg(value_name = "LIST")]
    list: String,

    /// The image: its name in the store, or the digest of its manifest
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,

    /// The architecture
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,

    /// The variant of the architecture
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,

    /// An annotation of the entry, as NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
}

/// Send a list and its images to the registry
#[derive(Debug, Args)]
#[command(after_help = PUSH)]
pub struct Push {
    /// The name of the list, and where it goes when nothing else is given
    #[arg(value_name = "LIST")]
    list: String,

    /// The name that it gets at the registry
    #[arg(value_name = "NAME[:TAG]")]
    target: Option<String>,
}

/// Print a manifest or a list as its registry has it, byte for byte
#[derive(Debug, Args)]
#[command(after_help = INSPECT)]
pub struct Inspect {
    /// The image or list
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,

    /// As the store has it
    #[arg(long)]
    local: bool,
}

impl Manifest {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Manifest::Create(args) => args.run(context),
            Manifest::Annotate(args) => args.run(context),
            Manifest::Push(args) => args.run(context),
            Manifest::Inspect(args) => args.run(context),
        }
    }
}

impl Create {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let (store, registries) = (context.store()?, registries::from_env()?);
        let control = interrupt::control();
        let digest = create_list(&store, &registries, &self.list, &self.images, self.amend, &control)?;
        match context.json {
            true => output::data(|out| json::document(out, &json!({ "name": self.list, "digest": digest })))?,
            false => output::lines([format!("Created manifest list {}", self.list)])?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Annotate {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let platform = match (&self.os, &self.arch, &self.variant) {
            (None, None, None) => None,
            (os, Some(arch), variant) => {
                Some(Platform::new(os.as_deref().unwrap_or("linux"), arch, variant.as_deref()))
            }
            _ => return Err(Usage::new("--os and --variant need --arch").into()),
        };
        let mut change = ListAnnotation { platform, ..ListAnnotation::default() };
        for text in &self.annotation {
            let (name, value) =
                text.split_once('=').ok_or_else(|| Usage::new(format!("{text}: expected NAME=VALUE")))?;
            change.annotations.insert(name.to_string(), value.to_string());
        }
        let digest =
            annotate_list(&context.store()?, &self.list, &self.image, &change, &interrupt::control())?;
        match context.json {
            true => output::data(|out| json::document(out, &json!({ "name": self.list, "digest": digest })))?,
            false => output::lines([digest.to_string()])?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Push {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let (store, registries) = (context.store()?, registries::from_env()?);
        let control = interrupt::control();
        let target = self.target.as_deref().unwrap_or(&self.list);
        let pushed = {
            let (control, _progress) = context.transfers("pushing", control);
            push(&store, &registries, &self.list, target, &PushOptions::default(), &control)?
        };
        match context.json {
            true => output::data(|out| {
                json::document(out, &json!({ "name": pushed.name.to_string(), "digest": pushed.digest }))
            })?,
            // What docker prints, for scripts that take it.
            false => output::lines([pushed.digest.to_string()])?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Inspect {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let bytes = if self.local {
            let store = context.store()?;
            let found = store.resolve(&self.name)?.descriptor;
            let digest = treering::store::descriptor_digest(&found)?;
            store.read_blob(&digest, Some(found.size()), store.limits().json_bytes)?
        } else {
            let control = interrupt::control();
            read_manifest(&registries::from_env()?, &self.name, &Limits::default(), &control)?.bytes
        };
        output::data(|out| {
            out.write_all(&bytes).map_err(stdout_error)?;
            if !bytes.ends_with(b"\n") {
                out.write_all(b"\n").map_err(stdout_error)?;
            }
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
