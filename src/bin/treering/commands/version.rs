//! `treering version`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::{json, output};

/// Show the version
#[derive(Debug, Args)]
pub struct Version {}

impl Version {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let version = env!("CARGO_PKG_VERSION");
        let platform = treering::image::Platform::host().to_string();
        if context.json {
            output::data(|out| json::document(out, &json!({ "version": version, "platform": platform })))?;
        } else {
            output::lines([format!("treering {version} ({platform})")])?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
