//! `treering cat`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use treering::Control;
use treering::image::Platform;

use crate::context::Context;
use crate::inside::Inside;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  treering cat debian:12:/etc/os-release";

/// Write the content of files of an image, without unpacking it
///
/// Symbolic links in the path are followed inside the image. The content is verified before any of it is written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Cat {
    /// The image, and a file in it
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    what: Vec<OsString>,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

impl Cat {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let control = Control::default();
        let store = context.store()?;
        for what in &self.what {
            let inside = Inside::of(what)?;
            let path = inside.required()?;
            let files = {
                let _progress = context.progress("reading", &control);
                inside.open(&store, self.platform.as_ref(), &control)?
            };
            let entry = files.resolve(path)?;
            output::data(|out| Ok(files.copy(entry, out, &control).map(drop)?))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
