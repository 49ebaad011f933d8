//! Looks at a Dockerfile without building it: checks, targets and what a target takes.

use std::collections::BTreeSet;

use super::address::Elsewhere;
use super::context::Contexts;
use super::options::{BuildOptions, Outline, OutlineArg, Target};
use super::plan;
use crate::dockerfile::{Checks, Dockerfile, Facts, Instruction, MountKind, Stage, Warning};
use crate::error::{Error, Result};
use crate::image::{Image, Platform};
use crate::progress::Control;
use crate::store::Store;
use crate::threads::lock;

/// A build's inputs, opened and parsed.
pub(super) struct Opened {
    pub(super) contexts: Contexts,
    pub(super) file: Dockerfile,
    pub(super) warnings: Vec<Warning>,
    pub(super) checks: Checks,
}

/// Opens the contexts, parses the Dockerfile and checks it.
pub(super) fn open(store: &Store, options: &BuildOptions, control: &Control) -> Result<Opened> {
    let contexts = Contexts::open(Elsewhere { store, options, control })?;
    let file = Dockerfile::parse(&contexts.dockerfile_name, &contexts.dockerfile)?;
    let text = options.checks.as_ref().or(file.directives.check.as_ref());
    let checks = text.map(|text| Checks::parse(text)).transpose().map_err(|message| {
        Error::invalid("read checks", message).with_hint("as in skip=StageNameCasing,FromAsCasing;error=true")
    })?;
    let checks = checks.unwrap_or_default();
    let given = |name: &str| options.build_arg(name);
    let env = |name: &str| {
        let named = contexts.image(name, control).ok().flatten();
        let image = Image::open(store, named.as_deref().unwrap_or(name), options.platforms.first()).ok()?;
        let env = image.config().run().env.clone().unwrap_or_default();
        let names = env.iter().filter_map(|item| item.split_once('=').map(|(name, _)| name.to_string()));
        Some(names.chain(["PATH".to_string()]).collect())
    };
    let mut warnings = {
        let main = lock(contexts.main());
        file.check(&checks, &Facts { build_arg: &given, ignore: main.ignore(), base_env: &env })
    };
    if checks.holds(FOREIGN_BASE) {
        warnings.extend(foreign_bases(&file, &contexts, store, options, control));
        warnings.sort_by_key(|warning| (warning.location.line, warning.location.column));
    }
    Ok(Opened { contexts, file, warnings, checks })
}

/// The rule about bases for another platform, which takes images, that Dockerfiles as text have not.
const FOREIGN_BASE: &str = "InvalidBaseImagePlatform";

/// Returns the warning about a base that is for another platform than the one that is built for.
pub(super) fn foreign_base(
    stage: &Stage,
    base: &str,
    own: &Platform,
    wanted: Option<&Platform>,
) -> Option<Warning> {
    let host = Platform::host();
    let wanted = wanted.unwrap_or(&host);
    let message = || format!("{base} is for {own}, not for {wanted}");
    let foreign = !wanted.accepts().contains(own);
    foreign.then(|| Warning { rule: FOREIGN_BASE, message: message(), location: stage.location() })
}

/// Looks at the bases that are in the store. What is wrong with a name or an argument is an error of the build, not of this.
fn foreign_bases(
    file: &Dockerfile,
    contexts: &Contexts,
    store: &Store,
    options: &BuildOptions,
    control: &Control,
) -> Vec<Warning> {
    let Ok(globals) = plan::globals(file, options, &|name| options.build_arg(name)) else {
        return Vec::new();
    };
    let look = |at: usize, stage: &Stage| {
        let base = globals.expand(&stage.from.base).ok()?;
        let context = contexts.value(&base).is_some();
        if base == "scratch" || !context && file.stage(&base, at).is_some() {
            return None;
        }
        let given =
            stage.from.platform.as_ref().map(|text| globals.expand(text).ok()?.parse::<Platform>().ok());
        let wanted = match given {
            Some(platform) => Some(platform?),
            None => options.platforms.first().cloned(),
        };
        let name = if context { contexts.image(&base, control).ok()?? } else { base.clone() };
        let image = Image::open(store, &name, wanted.as_ref()).ok()?;
        foreign_base(stage, &base, &image.platform(), wanted.as_ref())
    };
    file.stages.iter().enumerate().filter_map(|(at, stage)| look(at, stage)).collect()
}

impl Opened {
    /// Returns the stages that the target needs, see [`plan::stages`].
    fn stages(&self, options: &BuildOptions) -> Result<Vec<usize>> {
        let globals = plan::globals(&self.file, options, &|name| options.build_arg(name))?;
        let is_context = |name: &str| self.contexts.value(name).is_some();
        plan::stages(&self.file, options.target.as_deref(), &is_context, &globals)
    }
}

/// Returns the platform that is built for.
pub(super) fn default_platform(options: &BuildOptions) -> Platform {
    options.platforms.first().cloned().unwrap_or_else(Platform::host)
}

/// Checks a Dockerfile: what the rules of BuildKit's linter find, in the order of lines. The flag is whether the
/// Dockerfile asks for warnings to be errors.
pub fn check(store: &Store, options: &BuildOptions, control: &Control) -> Result<(Vec<Warning>, bool)> {
    let opened = open(store, options, control)?;
    opened.stages(options)?;
    Ok((opened.warnings, opened.checks.error))
}

/// Lists the stages that can be built.
pub fn targets(store: &Store, options: &BuildOptions, control: &Control) -> Result<Vec<Target>> {
    let opened = open(store, options, control)?;
    let chosen = opened.stages(options)?;
    let file = &opened.file;
    let target = |(at, stage): (usize, &Stage)| Target {
        name: name_of(stage, at),
        description: description(stage.name.as_deref(), stage.line.comment.as_deref()),
        base: stage.from.base.clone(),
        default: chosen.last() == Some(&at),
    };
    Ok(file.stages.iter().enumerate().map(target).collect())
}

/// Lists the arguments, secrets and agents of a target and of the stages it needs.
pub fn outline(store: &Store, options: &BuildOptions, control: &Control) -> Result<Outline> {
    let opened = open(store, options, control)?;
    let chosen = opened.stages(options)?;
    let file = &opened.file;
    let at = *chosen.last().expect("a file has stages");
    let (mut args, mut secrets, mut ssh) = (Vec::<OutlineArg>::new(), BTreeSet::new(), BTreeSet::new());
    let statements = chosen.iter().flat_map(|at| &file.stages[*at].statements);
    for statement in file.globals.iter().chain(statements) {
        match &statement.instruction {
            Instruction::Arg(list) => {
                for (name, default) in list {
                    let value = options.build_arg(name).or_else(|| default.clone());
                    let description = description(Some(name), statement.line.comment.as_deref());
                    match args.iter_mut().find(|arg| arg.name == *name) {
                        Some(arg) if arg.value.is_none() => arg.value = value,
                        Some(_) => {}
                        None => args.push(OutlineArg { name: name.clone(), description, value }),
                    }
                }
            }
            Instruction::Run(run) => {
                for mount in run.mounts.iter().filter_map(|mount| mount.resolve(&|text| Ok(text.into())).ok())
                {
                    let id = mount.id.unwrap_or_else(|| "default".into());
                    match mount.kind {
                        MountKind::Secret => drop(secrets.insert(id)),
                        MountKind::Ssh => drop(ssh.insert(id)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let stage = &file.stages[at];
    Ok(Outline {
        name: name_of(stage, at),
        description: description(stage.name.as_deref(), stage.line.comment.as_deref()),
        args,
        secrets: secrets.into_iter().collect(),
        ssh: ssh.into_iter().collect(),
    })
}

fn name_of(stage: &Stage, at: usize) -> String {
    stage.name.clone().unwrap_or_else(|| at.to_string())
}

/// Returns the text behind the name in a comment `# NAME DESCRIPTION`.
fn description(name: Option<&str>, comment: Option<&str>) -> String {
    let described = name.zip(comment).and_then(|(name, comment)| comment.strip_prefix(name));
    described.filter(|rest| rest.starts_with(char::is_whitespace)).unwrap_or_default().trim().into()
}
