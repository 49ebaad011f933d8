//! `treering tags`.

use std::process::ExitCode;

use clap::Args;
use treering::registry::tags;

use crate::context::Context;
use crate::{interrupt, json, output, registries};

const EXAMPLES: &str = "\
Examples:
  treering tags debian
  treering tags registry.example:5000/team/app";

/// List the tags of a repository at its registry
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Tags {
    /// The repository: a name without a tag
    #[arg(value_name = "REPOSITORY")]
    repository: String,
}

impl Tags {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let found = tags(&registries::from_env()?, &self.repository, &interrupt::control())?;
        match context.json {
            true => output::data(|out| json::list(out, found.iter()))?,
            false => output::lines(found)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
