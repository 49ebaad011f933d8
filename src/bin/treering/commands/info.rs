//! `treering info`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::image::Platform;
use treering::info::{abilities, abilities_json};

use crate::context::Context;
use crate::{json, output};

/// Show the store, and what this machine can do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  treering info
  treering info --json | jq .abilities")]
pub struct Info {}

impl Info {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let root = context.store_root()?;
        let (images, trees) = match context.store_if_any()? {
            Some(store) => (store.entries()?.len(), store.trees()?.len()),
            None => (0, 0),
        };
        let uname = rustix::system::uname();
        let kernel = uname.release().to_string_lossy().into_owned();
        let uid = rustix::process::geteuid().as_raw();
        let threads = treering::threads::processors();
        let abilities = abilities(Some(&root));
        if context.json {
            let object = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "platform": Platform::host().to_string(),
                "kernel": kernel,
                "uid": uid,
                "processors": threads,
                "store": { "root": root.to_string_lossy(), "images": images, "trees": trees },
                "abilities": abilities_json(&abilities),
            });
            output::data(|out| json::document(out, &object))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut lines = vec![
            format!("Version: {}", env!("CARGO_PKG_VERSION")),
            format!("Platform: {}", Platform::host()),
            format!("Kernel: {kernel}"),
            format!("User: {uid}{}", if uid == 0 { " (root)" } else { "" }),
            format!("Processors: {threads}"),
            "Store:".into(),
            format!(" Root: {}", treering::error::escape(root.as_os_str().as_encoded_bytes())),
            format!(" Images: {images}"),
            format!(" Trees: {trees}"),
            "Abilities:".into(),
        ];
        for one in &abilities {
            let answer = if one.works { "yes" } else { "no" };
            lines.push(format!(" {}: {answer} ({})", one.name, one.remark));
        }
        output::lines(lines)?;
        Ok(ExitCode::SUCCESS)
    }
}
