//! A Dockerfile that is looked at and not built: `--check` and `--call`.

use std::process::ExitCode;

use serde_json::{Value, json};
use treering::Control;
use treering::build::{self, BuildOptions};
use treering::store::Store;

use crate::context::Context;
use crate::{json as print_json, output, steps};

/// The use that is made of a Dockerfile, `METHOD[,format=text|json][,ignorestatus=BOOL]`, as buildx takes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Call {
    pub method: Method,
    /// Whether data is printed as JSON, besides where all is.
    json: bool,
    /// Whether warnings of a check are no failure.
    ignores_status: bool,
}

/// The methods of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Build,
    Check,
    Outline,
    Targets,
}

impl Call {
    /// Returns the call of a check.
    pub fn check() -> Call {
        Call { method: Method::Check, ..Call::default() }
    }

    /// Reads what `--call` takes.
    pub fn parse(text: &str) -> Result<Call, String> {
        let mut out = Call::default();
        let mut method = None;
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("format", "text")) => out.json = false,
                Some(("format", "json")) => out.json = true,
                Some(("format", other)) => return Err(format!("the format is text or json, not {other:?}")),
                Some(("ignorestatus", value)) => out.ignores_status = crate::options::boolean(value)?,
                Some((name, _)) => return Err(format!("there is no field {name:?}: format, ignorestatus")),
                None if method.is_some() => return Err("there are two methods".into()),
                None => method = Some(field),
            }
        }
        out.method = match method {
            Some("build") => Method::Build,
            Some("check" | "lint") => Method::Check,
            Some("outline") => Method::Outline,
            Some("targets") => Method::Targets,
            _ => return Err("one of: build, check, outline, targets".into()),
        };
        Ok(out)
    }

    /// Looks at a Dockerfile. `None` for the method `build`, which is no look.
    pub fn look(
        self,
        context: &Context,
        store: &Store,
        options: &BuildOptions,
        control: &Control,
    ) -> Option<anyhow::Result<ExitCode>> {
        let json = self.json || context.json;
        match self.method {
            Method::Build => None,
            Method::Check => {
                Some(check(json, store, options, control).map(|code| match self.ignores_status {
                    true => ExitCode::SUCCESS,
                    false => code,
                }))
            }
            Method::Outline => Some(outline(json, store, options, control)),
            Method::Targets => Some(targets(json, store, options, control)),
        }
    }
}

/// Prints what the rules of the linter find in a Dockerfile.
fn check(json: bool, store: &Store, options: &BuildOptions, control: &Control) -> anyhow::Result<ExitCode> {
    let (warnings, _) = build::check(store, options, control)?;
    if json {
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
fn outline(json: bool, store: &Store, options: &BuildOptions, control: &Control) -> anyhow::Result<ExitCode> {
    let outline = build::outline(store, options, control)?;
    if json {
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
        for (what, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
            for mount in mounts {
                let required = if mount.required { "  required" } else { "" };
                writeln!(out, "{what}: {}{required}", mount.id)?;
            }
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the stages that can be built.
fn targets(json: bool, store: &Store, options: &BuildOptions, control: &Control) -> anyhow::Result<ExitCode> {
    let targets = build::targets(store, options, control)?;
    if json {
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
