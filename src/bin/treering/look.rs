//! A Dockerfile that is looked at and not built: `--check` and `--call`.

use std::process::ExitCode;

use serde_json::{Value, json};
use treering::Control;
use treering::build::{self, BuildOptions};
use treering::store::Store;

use crate::context::Context;
use crate::{json as print_json, output, steps};

/// Prints what the rules of the linter find in a Dockerfile.
pub fn check(
    context: &Context,
    store: &Store,
    options: &BuildOptions,
    control: &Control,
) -> anyhow::Result<ExitCode> {
    let (warnings, _) = build::check(store, options, control)?;
    if context.json {
        let list: Vec<Value> = warnings
            .iter()
            .map(|w| json!({ "rule": w.rule, "message": w.message, "location": steps::place(&w.location) }))
            .collect();
        output::data(|out| print_json::document(out, &list))?;
    } else {
        output::data(|out| {
            for warning in &warnings {
                write!(out, "{}", steps::warning(warning.rule, &warning.message, Some(&warning.location)))?;
                writeln!(out, "  {} | {}", warning.location.line, warning.location.text)?;
            }
            match warnings.len() {
                0 => writeln!(out, "no warnings")?,
                1 => writeln!(out, "1 warning")?,
                n => writeln!(out, "{n} warnings")?,
            }
            Ok(())
        })?;
    }
    // As BuildKit has it: a warning is a failure of --check.
    Ok(ExitCode::from(u8::from(!warnings.is_empty())))
}

/// Prints what a target takes.
pub fn outline(
    context: &Context,
    store: &Store,
    options: &BuildOptions,
    control: &Control,
) -> anyhow::Result<ExitCode> {
    let outline = build::outline(store, options, control)?;
    if context.json {
        output::data(|out| print_json::document(out, &outline))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::data(|out| {
        writeln!(out, "TARGET: {}", outline.name)?;
        if !outline.description.is_empty() {
            writeln!(out, "DESCRIPTION: {}", outline.description)?;
        }
        for arg in &outline.args {
            let value = arg.value.as_deref().unwrap_or("");
            writeln!(out, "BUILD ARG: {}={value}  {}", arg.name, arg.description)?;
        }
        for secret in &outline.secrets {
            writeln!(out, "SECRET: {secret}")?;
        }
        for agent in &outline.ssh {
            writeln!(out, "SSH: {agent}")?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the stages that can be built.
pub fn targets(
    context: &Context,
    store: &Store,
    options: &BuildOptions,
    control: &Control,
) -> anyhow::Result<ExitCode> {
    let targets = build::targets(store, options, control)?;
    if context.json {
        output::data(|out| print_json::document(out, &targets))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::data(|out| {
        for target in &targets {
            let default = if target.default { " (default)" } else { "" };
            writeln!(out, "{}{default}  {}", target.name, target.description)?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
