//! Looks at a Dockerfile without building it: checks and targets.

use std::cell::Cell;

use super::address::Elsewhere;
use super::context::Contexts;
use super::options::{BuildOptions, Target};
use super::plan;
use crate::dockerfile::{Base, Checks, Dockerfile, Facts, Stage, Warning};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::image::{Image, Platform};
use crate::progress::Control;
use crate::store::Store;
use crate::threads::lock;

/// A build's inputs, opened and parsed.
pub(super) struct Opened {
    pub(super) contexts: Contexts,
    pub(super) file: Dockerfile,
    pub(super) warnings: Vec<Warning>,
    /// Whether a base is not in the store, the configuration of which the rules need.
    pub(super) unread: bool,
    pub(super) checks: Checks,
}

/// Opens the contexts, parses the Dockerfile and checks it.
pub(super) fn open(store: &Store, options: &BuildOptions, control: &Control) -> Result<Opened> {
    let contexts = Contexts::open(Elsewhere { store, options, control })?;
    let (file, broken) = Dockerfile::parse_part(&contexts.dockerfile_name, &contexts.dockerfile)?;
    let argument = options.build_arg("BUILDKIT_DOCKERFILE_CHECK");
    let text = options.checks.as_ref().or(argument.as_ref()).or(file.directives.check.as_ref());
    let checks = text.map(|text| Checks::parse(text)).transpose().map_err(|message| {
        Error::invalid("read checks", message).with_hint("as in skip=StageNameCasing,FromAsCasing;error=true")
    })?;
    let checks = checks.unwrap_or_default();
    let elsewhere = Elsewhere { store, options, control };
    let (mut warnings, unread) = look(&file, &contexts, elsewhere, &checks);
    if let Some(error) = broken {
        // What was found before that is the only way to see it until the error is mended.
        for Warning { rule, message, location } in warnings {
            control.events.send(Event::Warning { rule: rule.into(), message, location: Some(location) });
        }
        return Err(error);
    }
    if checks.holds(FOREIGN_BASE) {
        warnings.extend(foreign_bases(&file, &contexts, store, options, control));
        warnings.sort_by_key(|warning| (warning.location.line, warning.location.column));
    }
    Ok(Opened { contexts, file, warnings, unread, checks })
}

/// Returns what the rules find that take a Dockerfile's text and the configurations of its bases, and whether one of these is not
/// in the store.
pub(super) fn look(
    file: &Dockerfile,
    contexts: &Contexts,
    elsewhere: Elsewhere<'_>,
    checks: &Checks,
) -> (Vec<Warning>, bool) {
    let Elsewhere { store, options, control } = elsewhere;
    let given = |name: &str| options.build_arg(name);
    let known = |name: &str| {
        let path = "PATH".to_string();
        if contexts.has_files(name, control).ok()? {
            return Some(Base { env: vec![path], has_shell: false });
        }
        let named = contexts.image(name, control).ok().flatten();
        let image = Image::open(store, named.as_deref().unwrap_or(name), options.platforms.first()).ok()?;
        let config = image.config();
        let env = config.run().env.clone().unwrap_or_default();
        let names = env.iter().filter_map(|item| item.split_once('=').map(|(name, _)| name.to_string()));
        let shell = &config.value()["config"]["Shell"];
        Some(Base {
            env: names.chain([path]).collect(),
            has_shell: shell.as_array().is_some_and(|words| !words.is_empty()),
        })
    };
    let unread = Cell::new(false);
    let base = |name: &str| {
        let found = known(name);
        unread.set(unread.get() || found.is_none());
        found
    };
    let main = lock(contexts.main());
    let warnings = file.check(checks, &Facts { build_arg: &given, ignore: main.ignore(), base: &base });
    (warnings, unread.get())
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
        if base == "scratch" || !context && file.base_stage(&base, at).is_some() {
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
    pub(super) fn stages(&self, options: &BuildOptions) -> Result<Vec<usize>> {
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
/// Dockerfile asks for warnings to be errors. Of one that is wrong, what stands before the error is checked: events have the
/// warnings.
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
        description: description(stage),
        base: stage.from.base.clone(),
        default: chosen.last() == Some(&at),
    };
    Ok(file.stages.iter().enumerate().map(target).collect())
}

pub(super) fn name_of(stage: &Stage, at: usize) -> String {
    stage.name.clone().unwrap_or_else(|| at.to_string())
}

/// Returns what the comment above a stage says of it.
pub(super) fn description(stage: &Stage) -> String {
    stage.name.as_deref().map_or_else(String::new, |name| {
        let lower = stage.line.description(&name.to_ascii_lowercase());
        if lower.is_empty() { stage.line.description(name) } else { lower }
    })
}
