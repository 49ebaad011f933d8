//! Which stages the target needs, in the order they are built in.

use std::collections::{BTreeMap, BTreeSet};

use super::look::default_platform;
use super::options::BuildOptions;
use super::step::config;
use crate::dockerfile::{Dockerfile, Fault, Instruction, Scope, Statement, nearest};
use crate::error::{Error, Result};

/// Returns the variables that FROM is expanded with: the platforms, and the arguments before the first stage.
pub(super) fn globals(
    file: &Dockerfile,
    options: &BuildOptions,
    given: &dyn Fn(&str) -> Option<String>,
) -> Result<Scope> {
    let mut scope = Scope::new(file.directives.escape);
    for (name, value) in config::platform_args(&default_platform(options)) {
        scope.set_arg(&name, &value);
    }
    for statement in &file.globals {
        let Instruction::Arg(args) = &statement.instruction else { continue };
        for (name, default) in args {
            let value = config::argument(given(name), default.as_deref(), &scope);
            if let Some(value) = value.map_err(|fault| statement.line.error(fault))? {
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
    let sources: Vec<Vec<Source<'_>>> =
        (0..file.stages.len()).map(|at| sources(file, at, is_context)).collect::<Result<_>>()?;
    check_cycles(file, &sources)?;
    let mut needed = BTreeSet::new();
    let mut todo = vec![target];
    while let Some(at) = todo.pop() {
        // A stage that a context stands for needs no other.
        let replaced = file.stages[at].name.as_deref().is_some_and(is_context);
        if needed.insert(at) && !replaced {
            let base = &file.stages[at].from.base;
            // What cannot be expanded is an error of the stage that has it.
            let base = globals.expand(base).unwrap_or_else(|_| base.clone());
            todo.extend(
                Some(base).filter(|name| !is_context(name)).and_then(|name| file.base_stage(&name, at)),
            );
            // With earlier ones alone this ends, and their numbers are an order to build in.
            if let Some(later) = sources[at].iter().find(|source| source.stage > at) {
                return Err(later.error(file.comes_later(later.stage)));
            }
            todo.extend(sources[at].iter().map(|source| source.stage));
        }
    }
    Ok(needed.into_iter().collect())
}

/// A stage that an instruction takes files from.
struct Source<'a> {
    stage: usize,
    statement: &'a Statement,
    /// The flag that names it, and which of those of this name.
    flag: (&'static str, usize),
}

impl Source<'_> {
    fn error(&self, fault: Fault) -> Error {
        let (name, number) = self.flag;
        self.statement.line.error(fault.at(self.statement.flag(name, number)))
    }
}

/// Returns the stages that a stage copies or mounts from.
fn sources<'a>(
    file: &'a Dockerfile,
    at: usize,
    is_context: &dyn Fn(&str) -> bool,
) -> Result<Vec<Source<'a>>> {
    let mut out = Vec::new();
    for statement in &file.stages[at].statements {
        let (flag, names) = match &statement.instruction {
            Instruction::Copy(copy) => ("from", vec![copy.from.clone()]),
            Instruction::Run(run) => ("mount", run.mounts.iter().map(|mount| mount.from()).collect()),
            _ => continue,
        };
        for (number, name) in names.into_iter().enumerate() {
            let Some(name) = name.filter(|name| !is_context(name)) else { continue };
            let source = |stage| Source { stage, statement, flag: (flag, number) };
            let found = file.source_stage(&name, at, flag == "from");
            out.extend(found.map_err(|fault| source(at).error(fault))?.map(source));
        }
    }
    Ok(out)
}

/// Refuses stages that take files from each other, whether the target needs them or not.
fn check_cycles(file: &Dockerfile, sources: &[Vec<Source<'_>>]) -> Result<()> {
    // What each of the later stages that are named reaches.
    let mut known: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (at, own) in sources.iter().enumerate() {
        for source in own.iter().filter(|source| source.stage > at) {
            let reached = known.entry(source.stage).or_insert_with(|| {
                let (mut reached, mut todo) = (BTreeSet::new(), vec![source.stage]);
                while let Some(stage) = todo.pop() {
                    if reached.insert(stage) {
                        todo.extend(sources[stage].iter().map(|source| source.stage));
                    }
                }
                reached
            });
            if reached.contains(&at) {
                return Err(source.error(file.need_each_other(at, source.stage)));
            }
        }
    }
    Ok(())
}
