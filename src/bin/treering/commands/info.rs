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
            #[cfg_attr(not(feature = "sandbox"), allow(unused_mut))]
            let mut object = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "platform": Platform::host().to_string(),
                "kernel": kernel,
                "uid": uid,
                "processors": threads,
                "store": { "root": root.to_string_lossy(), "images": images, "trees": trees },
                "abilities": abilities_json(&abilities),
            });
            #[cfg(feature = "sandbox")]
            {
                object["rungs"] = rungs().iter().map(rung_object).collect();
            }
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
        #[cfg(feature = "sandbox")]
        {
            lines.push("Ways to run commands, best first:".into());
            for one in rungs() {
                let answer = if one.works { "yes" } else { "no" };
                let fix = one.fix.map_or(String::new(), |fix| format!("; to have it: {fix}"));
                lines.push(format!(" {}: {answer} ({}{fix})", one.rung, one.remark));
            }
        }
        output::lines(lines)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Every way to run a command, tried. None where there is no helper program, as in another program's Python.
#[cfg(feature = "sandbox")]
fn rungs() -> Vec<treering::sandbox::Probed> {
    treering::sandbox::ladder(crate::interrupt::own_program().as_deref()).unwrap_or_default()
}

#[cfg(feature = "sandbox")]
fn rung_object(one: &treering::sandbox::Probed) -> serde_json::Value {
    json!({ "name": one.rung.name(), "works": one.works, "remark": one.remark, "fix": one.fix })
}
