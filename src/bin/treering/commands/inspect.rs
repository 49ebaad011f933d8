//! `treering inspect`.

use std::process::ExitCode;

use clap::Args;
use treering::ErrorKind;
use treering::image::{Image, Platform, inspect};

use crate::context::Context;
use crate::{json, output};

const EXAMPLES: &str = "\
Examples:
  treering inspect app:v1
  treering inspect app:v1 | jq '.[0].Config.Env'";

/// Show everything about images, as JSON
///
/// Prints a list with one object per image, as docker inspect does.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Inspect {
    /// The images: names, ids, or beginnings of ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// The platform to show of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

impl Inspect {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for name in &self.images {
            let object =
                Image::open(&store, name, self.platform.as_ref()).and_then(|image| inspect(&store, &image));
            match object {
                Ok(object) => found.push(object),
                // The others are shown all the same, as docker does.
                Err(error) if error.kind() == ErrorKind::NotFound || self.images.len() > 1 => {
                    context.ui.error(&error.into());
                    code = ExitCode::FAILURE;
                }
                Err(error) => return Err(error.into()),
            }
        }
        output::data(|out| json::document(out, &found))?;
        Ok(code)
    }
}
