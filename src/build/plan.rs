//! Which stages the target needs, in the order they are built in.

use std::collections::BTreeSet;

use super::look::default_platform;
use super::options::BuildOptions;
use super::step::config;
use crate::dockerfile::{Dockerfile, Instruction, Scope, nearest};
use crate::error::{Error, Result};

/// Returns the variables that FROM is expanded with: the platforms, and the arguments before the first stage.
pub(super) fn globals(
    file: &Dockerfile,
    options: &BuildOptions,
    given: &dyn Fn(&str) -> Option<String>,
) -> Result<Scope> {
    let mut scope = Scope { escape: file.directives.escape, ..Scope::default() };
    for (name, value) in config::platform_args(&default_platform(options)) {
        scope.set_arg(&name, &value);
    }
    for statement in &file.globals {
        let Instruction::Arg(args) = &statement.instruction else { continue };
        for (name, default) in args {
            let default = default.as_deref().map(|text| scope.expand(text)).transpose();
            let default = default.map_err(|fault| statement.line.error(fault))?;
            if let Some(value) = given(name).or(default) {
                scope.set_arg(name, &value);
            }
        }
    }
    Ok(scope)
}

/// Returns the stages to build, those that others need first. The target is the last.
///
/// A stage that only a trigger of a base refers to is not among them: a base is not read yet.
pub(super) fn stages(
    file: &Dockerfile,
    target: Option<&str>,
    is_context: &dyn Fn(&str) -> bool,
    globals: &Scope,
) -> Result<Vec<usize>> {
    let last = file.stages.len() - 1;
    let target = match target.filter(|name| !name.is_empty()) {
        None => last,
        Some(name) => file.stage(name, file.stages.len()).ok_or_else(|| {
            let names = file.stages.iter().filter_map(|stage| stage.name.as_deref());
            let error = Error::not_found("build", "no stage of the Dockerfile has this name").with_path(name);
            match nearest(name, names) {
                Some(near) => error.with_hint(format!("did you mean {near}?")),
                None => error,
            }
        })?,
    };
    let mut needed = BTreeSet::new();
    let mut todo = vec![target];
    while let Some(at) = todo.pop() {
        if needed.insert(at) {
            // A stage refers to earlier ones only, so this ends, and their numbers are an order to build in.
            todo.extend(
                references(file, at, globals)
                    .iter()
                    .filter(|name| !is_context(name))
                    .filter_map(|name| file.stage(name, at)),
            );
        }
    }
    Ok(needed.into_iter().collect())
}

/// Returns the names that a stage refers to: its base, and what it copies or mounts from.
fn references(file: &Dockerfile, at: usize, globals: &Scope) -> Vec<String> {
    let stage = &file.stages[at];
    let base = &stage.from.base;
    // What cannot be expanded is an error of the stage that has it.
    let mut out = vec![globals.expand(base).unwrap_or_else(|_| base.clone())];
    for statement in &stage.statements {
        match &statement.instruction {
            Instruction::Copy(copy) => out.extend(copy.from.clone()),
            Instruction::Run(run) => out.extend(run.mounts.iter().filter_map(|mount| mount.from())),
            _ => {}
        }
    }
    out
}
