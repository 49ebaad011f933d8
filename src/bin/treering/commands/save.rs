//! `treering save`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use treering::archive;
use treering::image::Platform;

use crate::context::Context;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  treering save -o app.tar app:v1 app:v2
  treering save app:v1 | docker load
  treering save --format oci-archive -o app.tar app:v1
  treering save --platform linux/amd64 -o app.tar app:v1";

/// Which archive.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Format of docker load, podman load and skopeo: an image layout with Docker's manifest.json; this machine's platform
    DockerArchive,
    /// An image layout in a tar: every blob as it is, all platforms
    OciArchive,
}

/// Write images into an archive
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Save {
    /// The images: names, ids, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// The file to write; standard output when not given, or -
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Which archive
    #[arg(long, value_enum, default_value_t = Format::DockerArchive)]
    format: Format,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's; all with oci-archive]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

impl Save {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let control = context.control();
        let format = match self.format {
            Format::DockerArchive => archive::Format::DockerArchive,
            Format::OciArchive => archive::Format::OciArchive,
        };
        let options = archive::SaveOptions { format, platform: self.platform };
        output::stream(self.output.as_deref(), |out| {
            let _progress = context.progress("saving", &control);
            Ok(archive::save(&store, &self.images, options, out, &control)?)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
