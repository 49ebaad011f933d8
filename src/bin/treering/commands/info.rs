//! `treering info`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use treering::error::escape;
use treering::info::{info, info_at};

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
        let store = context.store_if_any()?;
        let found = match &store {
            Some(store) => info(Some(store))?,
            None => info_at(Some(&root)),
        };
        let shown = escape(root.as_os_str().as_encoded_bytes());
        let (images, trees) = found.store.as_ref().map_or((0, 0), |store| (store.images, store.trees));
        if context.json {
            let mut object = found.to_json();
            if store.is_none() {
                object.insert("store".into(), json!({ "root": shown, "images": images, "trees": trees }));
            }
            #[cfg(feature = "sandbox")]
            {
                object.insert("rungs".into(), rungs().iter().map(rung_object).collect());
                let helper =
                    helper().map(|it| json!({ "path": it.path.to_string_lossy(), "static": it.is_static }));
                object.insert("helper".into(), helper.into());
            }
            output::data(|out| json::document(out, &object))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut lines = vec![
            format!("Version: {}", found.version),
            format!("Platform: {}", found.platform),
            format!("Kernel: {}", found.kernel),
            format!("User: {}{}", found.uid, if found.uid == 0 { " (root)" } else { "" }),
            format!("Processors: {}", found.processors),
            "Store:".into(),
            format!(" Root: {shown}"),
            format!(" Images: {images}"),
            format!(" Trees: {trees}"),
            "Abilities:".into(),
        ];
        for one in &found.abilities {
            let answer = if one.works { "yes" } else { "no" };
            lines.push(format!(" {}: {answer} ({})", one.name, one.remark));
        }
        #[cfg(feature = "sandbox")]
        {
            let helper = helper().map_or("none".into(), |it| {
                let kind = match it.is_static {
                    Some(true) => " (static)",
                    Some(false) => " (needs a dynamic loader)",
                    None => "",
                };
                format!("{}{kind}", escape(it.path.as_os_str().as_encoded_bytes()))
            });
            lines.push(format!("Helper: {helper}"));
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

/// Returns the program that runs commands; none in another program's Python that has none.
#[cfg(feature = "sandbox")]
fn helper() -> Option<treering::sandbox::Helper> {
    treering::sandbox::helper(crate::interrupt::own_program().as_deref()).ok()
}

/// Returns every way to run a command, tried. None where there is no helper program, as in another program's Python.
#[cfg(feature = "sandbox")]
fn rungs() -> Vec<treering::sandbox::Probed> {
    treering::sandbox::ladder(crate::interrupt::own_program().as_deref()).unwrap_or_default()
}

#[cfg(feature = "sandbox")]
fn rung_object(one: &treering::sandbox::Probed) -> serde_json::Value {
    json!({ "name": one.rung.name(), "works": one.works, "remark": one.remark, "fix": one.fix })
}
