//! Which stages the target needs, in the order they are built in.

use std::collections::BTreeSet;

use crate::dockerfile::{Dockerfile, Instruction, nearest};
use crate::error::{Error, Result};

/// The stages to build, those that others need first. The target is the last.
pub(super) fn stages(
    file: &Dockerfile,
    target: Option<&str>,
    is_context: &dyn Fn(&str) -> bool,
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
                references(file, at)
                    .iter()
                    .filter(|name| !is_context(name))
                    .filter_map(|name| file.stage(name, at)),
            );
        }
    }
    Ok(needed.into_iter().collect())
}

/// The names that a stage refers to: its base, and what it copies or mounts from.
fn references(file: &Dockerfile, at: usize) -> Vec<String> {
    let stage = &file.stages[at];
    let mut out = vec![stage.from.base.clone()];
    for statement in &stage.statements {
        match &statement.instruction {
            Instruction::Copy(copy) => out.extend(copy.from.clone()),
            Instruction::Run(run) => out.extend(run.mounts.iter().filter_map(|mount| mount.from())),
            _ => {}
        }
    }
    out
}
