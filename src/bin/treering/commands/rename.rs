//! `treering rename`.

use std::process::ExitCode;

use clap::Args;
use treering::container::Container;

use crate::context::Context;

const EXAMPLES: &str = "\
Examples:
  treering rename box other";

/// Give a container another name
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Rename {
    /// The container: a name, an id, or the beginning of one
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Its new name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Rename {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        Container::open(&context.store()?, &self.container)?.rename(&self.name)?;
        Ok(ExitCode::SUCCESS)
    }
}
