//! `treering create`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::boxes::Making;
use crate::context::Context;
use crate::{json, output};

const EXAMPLES: &str = "\
Examples:
  treering create --name box debian:12
  treering create --name web -e PORT=8080 -v $PWD:/src:ro app:v1 serve /src";

/// Make a container of an image, without running it
///
/// Prints its id.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true)]
pub struct Create {
    #[command(flatten)]
    making: Making,

    /// The image: a name, an id, or the beginning of one
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The command [default: the image's]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Create {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let container = self.making.create(context, &self.image, self.command)?;
        if context.json {
            let object = json!({ "id": container.id(), "name": container.name() });
            output::data(|out| json::document(out, &object))?;
        } else {
            output::lines([container.id()])?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
