//! The outline of a target: its arguments, secrets and agents, by what the Dockerfile says. No step is carried out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::context::Contexts;
use super::look::{description, name_of, open};
use super::options::{BuildOptions, Outline, OutlineArg, OutlineMount};
use super::plan;
use super::step::config;
use crate::dockerfile::{
    Change, DEFAULT_PATH, Dockerfile, Fault, Instruction, MountKind, Scope, Stage, words,
};
use crate::error::Result;
use crate::image::Image;
use crate::progress::Control;
use crate::store::Store;

/// Lists the arguments, secrets and agents of a target and of the stages it needs.
///
/// Variables are replaced as a build does it; of a base image that is not in the store, nothing is known of its environment.
pub fn outline(store: &Store, options: &BuildOptions, control: &Control) -> Result<Outline> {
    let opened = open(store, options, control)?;
    let order = opened.stages(options)?;
    let globals = plan::globals(&opened.file, options, &|name| options.build_arg(name))?;
    let reading = Reading {
        file: &opened.file,
        contexts: &opened.contexts,
        store,
        options,
        control,
        globals: &globals,
    };
    let at = *order.last().expect("a file has stages");
    let stage = &opened.file.stages[at];
    let Taken { args, secrets, ssh } = reading.taken(&order)?;
    Ok(Outline { name: name_of(stage, at), description: description(stage), args, secrets, ssh })
}

/// A Dockerfile, and what its variables get their values from.
pub(super) struct Reading<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) contexts: &'a Contexts,
    pub(super) store: &'a Store,
    pub(super) options: &'a BuildOptions,
    pub(super) control: &'a Control,
    /// The arguments before the first stage.
    pub(super) globals: &'a Scope,
}

/// The arguments and mounts of some stages, in the order of lines.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) args: Vec<OutlineArg>,
    pub(super) secrets: Vec<OutlineMount>,
    pub(super) ssh: Vec<OutlineMount>,
}

/// An argument before the first stage, with those that its value is made of.
struct Global {
    arg: OutlineArg,
    uses: BTreeSet<String>,
}

impl Reading<'_> {
    /// Returns what stages take. They come in the order they are built in, the target last.
    pub(super) fn taken(&self, order: &[usize]) -> Result<Taken> {
        let globals = self.global_arguments()?;
        let (mut secrets, mut ssh) = (BTreeMap::new(), BTreeMap::new());
        let mut scopes: BTreeMap<usize, Scope> = BTreeMap::new();
        let mut lists = Vec::new();
        for &at in order {
            let stage = &self.file.stages[at];
            let fault = |fault: Fault| stage.line.error(fault);
            let mut used = BTreeSet::new();
            let replaced = stage.name.as_deref().filter(|name| self.contexts.value(name).is_some());
            let base = match replaced {
                Some(name) => name.to_string(),
                None => {
                    for text in [Some(&stage.from.base), stage.from.platform.as_ref()].into_iter().flatten() {
                        used.extend(used_in(text, self.globals).map_err(fault)?);
                    }
                    self.globals.expand(&stage.from.base).map_err(fault)?
                }
            };
            let parent = self.file.base_stage(&base, at).filter(|_| self.contexts.value(&base).is_none());
            let mut scope = match parent.and_then(|parent| scopes.get(&parent)) {
                Some(scope) => scope.clone(),
                None => self.environment(&base),
            };
            let mut own = BTreeMap::new();
            if replaced.is_none() {
                self.read(stage, &mut scope, &mut own, &mut used, [&mut secrets, &mut ssh])?;
            }
            scopes.insert(at, scope);
            lists.push(arguments(&globals, own, used));
        }
        // Of arguments with one name, that of the target counts.
        let mut args: BTreeMap<String, OutlineArg> = BTreeMap::new();
        for list in lists.into_iter().rev() {
            for arg in list {
                args.entry(arg.name.clone()).or_insert(arg);
            }
        }
        let mut args: Vec<OutlineArg> = args.into_values().collect();
        args.sort_by_key(|arg| (arg.location.line, arg.location.column));
        Ok(Taken { args, secrets: in_order(secrets), ssh: in_order(ssh) })
    }

    /// Reads the instructions of a stage that say what it takes.
    fn read(
        &self,
        stage: &Stage,
        scope: &mut Scope,
        own: &mut BTreeMap<String, OutlineArg>,
        used: &mut BTreeSet<String>,
        [secrets, ssh]: [&mut BTreeMap<String, OutlineMount>; 2],
    ) -> Result<()> {
        for statement in &stage.statements {
            let fault = |fault: Fault| statement.line.error(fault);
            let location = || statement.line.location(0);
            match &statement.instruction {
                Instruction::Arg(list) => {
                    for (name, default) in list {
                        let name = scope.expand(name).map_err(fault)?;
                        used.insert(name.clone());
                        let given = self.options.build_arg(&name);
                        let value = config::argument(given, default.as_deref(), scope).map_err(fault)?;
                        let inherited = if value.is_none() { self.globals.get(&name) } else { None };
                        if let Some(value) = value.as_ref().or(inherited.as_ref()) {
                            scope.set_arg(&name, value);
                        }
                        // One that has its value from before the first stage is the one there.
                        if inherited.is_none() {
                            let description = statement.line.description(&name);
                            let arg =
                                OutlineArg { name: name.clone(), description, value, location: location() };
                            own.insert(name, arg);
                        }
                    }
                }
                Instruction::Change(Change::Env(pairs)) => {
                    let before = scope.clone();
                    for (name, value) in pairs {
                        let name = before.expand(name).map_err(fault)?;
                        scope.set_env(&name, &before.expand(value).map_err(fault)?);
                    }
                }
                Instruction::Run(run) => {
                    for mount in &run.mounts {
                        let mount = mount.resolve(&|text| scope.expand(text)).map_err(fault)?;
                        let list = match mount.kind {
                            MountKind::Secret => &mut *secrets,
                            MountKind::Ssh => &mut *ssh,
                            _ => continue,
                        };
                        let id = mount.id.unwrap_or_else(|| "default".into());
                        let new = OutlineMount { id: id.clone(), required: false, location: location() };
                        list.entry(id).or_insert(new).required |= mount.required;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Lists the arguments before the first stage. Of two with one name, the last counts.
    fn global_arguments(&self) -> Result<BTreeMap<String, Global>> {
        let mut out: BTreeMap<String, Global> = BTreeMap::new();
        let mut scope = Scope::new(self.globals.escape);
        for (name, value) in platforms(self.options) {
            scope.set_arg(&name, &value);
        }
        for statement in &self.file.globals {
            let Instruction::Arg(list) = &statement.instruction else { continue };
            let fault = |fault: Fault| statement.line.error(fault);
            for (name, default) in list {
                let given = self.options.build_arg(name);
                let mut uses = BTreeSet::new();
                let value = match (given, default) {
                    (Some(given), _) => Some(given),
                    (None, Some(text)) => {
                        uses = used_in(text, &scope).map_err(fault)?;
                        Some(scope.expand(text).map_err(fault)?)
                    }
                    (None, None) => None,
                };
                if uses.remove(name) {
                    uses.extend(out.get(name).into_iter().flat_map(|before| before.uses.iter().cloned()));
                }
                if let Some(value) = &value {
                    scope.set_arg(name, value);
                }
                let arg = OutlineArg {
                    name: name.clone(),
                    description: statement.line.description(name),
                    value,
                    location: statement.line.location(0),
                };
                out.insert(name.clone(), Global { arg, uses });
            }
        }
        Ok(out)
    }

    /// Returns the variables that a base begins a stage with.
    fn environment(&self, base: &str) -> Scope {
        let mut scope = Scope::new(self.globals.escape);
        scope.set_env("PATH", DEFAULT_PATH);
        let named = self.contexts.image(base, self.control).ok().flatten();
        let image = Image::open(self.store, named.as_deref().unwrap_or(base), self.options.platforms.first());
        let env = image.ok().and_then(|image| image.config().run().env.clone());
        for (name, value) in env.iter().flatten().filter_map(|item| item.split_once('=')) {
            scope.set_env(name, value);
        }
        scope
    }
}

/// Returns the arguments of a stage: those it uses, and those their values are made of.
fn arguments(
    globals: &BTreeMap<String, Global>,
    own: BTreeMap<String, OutlineArg>,
    used: BTreeSet<String>,
) -> Vec<OutlineArg> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<String> = used.into_iter().collect();
    let mut out = Vec::new();
    while let Some(name) = todo.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        match (own.get(&name), globals.get(&name)) {
            (Some(arg), _) => out.push(arg.clone()),
            (None, Some(global)) => {
                out.push(global.arg.clone());
                todo.extend(global.uses.iter().cloned());
            }
            // One that describes a platform is not given.
            (None, None) => {}
        }
    }
    out
}

/// Returns the variables of a scope that a text has values from.
fn used_in(text: &str, scope: &Scope) -> Result<BTreeSet<String>, Fault> {
    let used = RefCell::new(BTreeSet::new());
    let get = |name: &str| {
        let value = scope.get(name)?;
        used.borrow_mut().insert(name.to_string());
        Some(value)
    };
    words::expand(text, scope.escape, &get)?;
    Ok(used.into_inner())
}

fn platforms(options: &BuildOptions) -> Vec<(String, String)> {
    config::platform_args(&super::look::default_platform(options))
}

fn in_order(mounts: BTreeMap<String, OutlineMount>) -> Vec<OutlineMount> {
    let mut out: Vec<OutlineMount> = mounts.into_values().collect();
    out.sort_by_key(|mount| (mount.location.line, mount.location.column));
    out
}
