//! Carries out a build: the stages that the target needs, step by step, and the image at the end.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cache::{Cache, Record};
use super::context::Contexts;
use super::events::Reporter;
use super::layer::{Packing, Tools};
use super::look::{Opened, default_platform, open};
use super::options::{BuildOptions, Built};
use super::source::SourceTree;
use super::state::State;
#[cfg(feature = "sandbox")]
use super::step;
use super::step::from::Images;
use super::step::{config, copy, workdir};
use super::{key, plan};
use crate::digest::Digest;
use crate::dockerfile::{
    BUILD_ARGS, Change, Copy, Dockerfile, Instruction, PLATFORM_ARGS, PROXY_ARGS, Run, Scope, Stage,
    Statement,
};
use crate::error::{Error, ErrorKind, Result};
use crate::event::StepId;
use crate::image::{Image, Platform, Recipe, Step, StepLayer, compose, enter};
use crate::layer::{LayerOptions, MtimePrecision};
use crate::progress::Control;
use crate::store::{LayerInfo, Pin, Reference, Store, check_new_name};
use crate::tree::Snapshot;

pub(super) const OP: &str = "build";
/// Most triggers of one image.
const MAX_TRIGGERS: usize = 1_000;

/// Builds an image and enters it into the store, under its names or without one.
///
/// Steps that nothing changed for come out of the cache, with the time they were carried out at: a build of what was built before
/// gives the same image and writes nothing. Events of [`Control::events`] say what happens.
///
/// # Errors
/// [`ErrorKind::Syntax`] with a location for a Dockerfile that is not well formed; other errors of an instruction have its
/// location, too. Nothing is named after an error; what was cached stays.
pub fn build(store: &Store, options: &BuildOptions, control: &Control) -> Result<Built> {
    let names = options.tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<Vec<_>>>()?;
    names.iter().try_for_each(|name| check_new_name(name).map(drop))?;
    let pin = store.pin_later(control)?;
    let store: &Store = &pin;
    let Opened { contexts, file, warnings, fails } = open(store, options, control)?;
    let reporter = Reporter::new(control);
    for warning in &warnings {
        reporter.warn(warning.rule, warning.message.clone(), Some(warning.location.clone()));
    }
    if let Some(warning) = warnings.first().filter(|_| fails) {
        return Err(Error::new(ErrorKind::Syntax, OP, format!("{}: {}", warning.rule, warning.message))
            .with_location(warning.location.clone())
            .with_hint("the Dockerfile asks for warnings to be errors: # check=error=true"));
    }
    let mut work = Work::new(&pin, options, control, &file, contexts, reporter)?;
    let order = plan::stages(&file, options.target.as_deref(), &|name| work.contexts.value(name).is_some())?;
    for at in &order {
        let state = work.stage(*at)?;
        work.states[*at] = Some(state);
    }
    work.contexts.keep()?;
    work.unused_arguments();
    let target = *order.last().expect("a file has stages");
    let state = work.states[target].take().expect("built above");
    let made = work.image(state)?;
    let entry = &made.entry;
    match names.as_slice() {
        [] => enter(store, None, entry)?,
        names => names.iter().try_for_each(|name| enter(store, Some(name), entry))?,
    }
    Ok(Built {
        manifest: made.manifest.digest,
        manifest_size: made.manifest.size,
        image_id: made.image_id,
        names: names.into_iter().map(|name| name.or_latest().to_string()).collect(),
        cached: work.cached,
        carried_out: work.carried_out,
        warnings,
    })
}

struct Work<'a> {
    pin: &'a Pin,
    store: &'a Store,
    options: &'a BuildOptions,
    control: &'a Control,
    file: &'a Dockerfile,
    contexts: Contexts,
    reporter: Reporter<'a>,
    cache: Cache,
    images: Images<'a>,
    global: Scope,
    used: BTreeSet<String>,
    epoch: Option<i64>,
    packing: Packing,
    platform: Option<Platform>,
    states: Vec<Option<State>>,
    cached: u64,
    carried_out: u64,
    /// The tree of the last RUN.
    #[cfg(feature = "sandbox")]
    tree: Option<super::work_tree::WorkTree>,
}

/// Where a step stands, for events.
struct Position<'a> {
    stage: &'a str,
    place: (u32, u32),
    no_cache: bool,
}

impl<'a> Work<'a> {
    fn new(
        pin: &'a Pin,
        options: &'a BuildOptions,
        control: &'a Control,
        file: &'a Dockerfile,
        contexts: Contexts,
        reporter: Reporter<'a>,
    ) -> Result<Work<'a>> {
        let store: &Store = pin;
        let mut work = Work {
            pin,
            store,
            options,
            control,
            file,
            contexts,
            reporter,
            cache: Cache::open(store)?,
            images: Images { store, options, control, asked: BTreeSet::new() },
            global: Scope { escape: file.directives.escape, ..Scope::default() },
            used: BTreeSet::new(),
            epoch: options.source_date_epoch,
            packing: Packing::default(),
            platform: options.platform.clone(),
            states: vec![None; file.stages.len()],
            cached: 0,
            carried_out: 0,
            #[cfg(feature = "sandbox")]
            tree: None,
        };
        for (name, value) in config::platform_args(&default_platform(options)) {
            work.global.set_arg(&name, &value);
        }
        for statement in &file.globals {
            let Instruction::Arg(args) = &statement.instruction else { continue };
            for (name, default) in args {
                let default = default.as_deref().map(|text| work.global.expand(text)).transpose();
                let default = default.map_err(|fault| statement.line.error(fault))?;
                if let Some(value) = work.given(name).or(default) {
                    work.global.set_arg(name, &value);
                }
            }
        }
        let epoch = work.given("SOURCE_DATE_EPOCH").or_else(|| work.global.get("SOURCE_DATE_EPOCH"));
        if let (None, Some(text)) = (work.epoch, epoch.filter(|text| !text.is_empty())) {
            let seconds = text.parse::<i64>().ok().filter(|seconds| Timestamp::from_second(*seconds).is_ok());
            work.epoch = Some(seconds.ok_or_else(|| {
                Error::invalid(
                    OP,
                    format!("SOURCE_DATE_EPOCH is {text:?}, not a number of seconds since 1970"),
                )
            })?);
        }
        work.packing = Packing {
            profile: options.profile.clone(),
            options: LayerOptions { clamp_mtime: work.epoch, precision: options.precision },
            threads: options.threads,
        };
        Ok(work)
    }

    /// A build argument that was given.
    fn given(&mut self, name: &str) -> Option<String> {
        let found = self.options.build_args.iter().rev().find(|(known, _)| known == name);
        if found.is_some() {
            self.used.insert(name.into());
        }
        found.map(|(_, value)| value.clone())
    }

    fn unused_arguments(&self) {
        let predefined = |name: &str| {
            PROXY_ARGS.contains(&name) || BUILD_ARGS.contains(&name) || PLATFORM_ARGS.contains(&name)
        };
        let unused: BTreeSet<&str> = self.options.build_args.iter().map(|(name, _)| name.as_str()).collect();
        for name in unused.into_iter().filter(|name| !self.used.contains(*name) && !predefined(name)) {
            self.reporter.warn(
                "",
                format!("no ARG of the stages that were built takes the build argument {name}"),
                None,
            );
        }
    }

    fn now(&self) -> i64 {
        self.epoch.unwrap_or_else(|| Timestamp::now().as_second())
    }

    /// Builds one stage.
    fn stage(&mut self, at: usize) -> Result<State> {
        let file = self.file;
        let stage = &file.stages[at];
        let number = at.to_string();
        let name = stage.name.as_deref().unwrap_or(&number);
        let no_cache = self.options.no_cache
            || self.options.no_cache_filter.iter().any(|filter| filter.eq_ignore_ascii_case(name));
        let counted = |statement: &&Statement| shows(&statement.instruction);
        let total = 1 + stage.statements.iter().filter(counted).count() as u32;
        let mut position = Position { stage: name, place: (1, total), no_cache };
        let (mut state, triggers) =
            self.begin(stage, at, &position).map_err(|error| located(error, &stage.line))?;
        let image = stage.from.base.clone();
        for text in triggers {
            let statement = Statement::of_trigger(&format!("{image} ONBUILD"), &text)?;
            self.statement(&mut state, &statement, at, &mut position)?;
        }
        for statement in &stage.statements {
            self.control.check(OP)?;
            self.statement(&mut state, statement, at, &mut position)?;
        }
        Ok(state)
    }

    /// FROM. Gives the triggers of the base, too.
    fn begin(&mut self, stage: &Stage, at: usize, position: &Position<'_>) -> Result<(State, Vec<String>)> {
        let fault = |fault: crate::dockerfile::Fault| stage.line.error(fault);
        let base = self.global.expand(&stage.from.base).map_err(fault)?;
        if base.is_empty() {
            let message = format!("{} is empty once its variables are replaced", stage.from.base);
            return Err(stage.line.error(crate::dockerfile::Fault::new(message)));
        }
        let platform = match &stage.from.platform {
            Some(text) => Some(self.global.expand(text).map_err(fault)?.parse::<Platform>()?),
            None => self.platform.clone(),
        };
        let text = format!("FROM {base}");
        let running = self.reporter.start(position.stage, position.place, text, Some(stage.location()));
        let begun = self.base(&base, at, platform.as_ref(), running.id);
        let mut state = self.reporter.watch(&running, begun)?;
        if let Some(wanted) = platform.as_ref().filter(|wanted| !wanted.accepts().contains(&state.platform)) {
            let message = format!("{base} is for {}, not for {wanted}", state.platform);
            self.reporter.warn("InvalidBaseImagePlatform", message, Some(stage.location()));
        }
        self.reporter.finish(running, 0);
        let triggers = match state.config.remove("OnBuild") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        if triggers.len() > MAX_TRIGGERS {
            return Err(Error::limit(OP, format!("the base has more than {MAX_TRIGGERS} ONBUILD triggers")));
        }
        let triggers = triggers.into_iter().filter_map(|text| text.as_str().map(String::from)).collect();
        Ok((state, triggers))
    }

    fn base(&mut self, base: &str, at: usize, platform: Option<&Platform>, step: StepId) -> Result<State> {
        let escape = self.file.directives.escape;
        if let Some(image) = self.contexts.image(base)?.map(String::from) {
            return self.images.state(&image, platform, escape, step);
        }
        if self.contexts.value(base).is_some() {
            return Err(Error::new(ErrorKind::Unsupported, OP, "a directory cannot be the base of a stage")
                .with_path(base)
                .with_hint("COPY --from copies from it; docker-image://NAME is an image"));
        }
        if let Some(earlier) = self.file.stage(base, at) {
            // Arguments that a stage declares or consumes are those of the stages built on it as well (Dockerfile reference, "ARG",
            // "Scope").
            return Ok(self.states[earlier].clone().expect("planned before"));
        }
        self.images.state(base, platform, escape, step)
    }

    fn statement(
        &mut self,
        state: &mut State,
        statement: &Statement,
        at: usize,
        position: &mut Position<'_>,
    ) -> Result<()> {
        let line = &statement.line;
        let text = || one_line(&line.text);
        if shows(&statement.instruction) {
            position.place.0 += 1;
            position.place.1 = position.place.1.max(position.place.0);
        }
        let done = match &statement.instruction {
            Instruction::Arg(args) => {
                let given: Vec<(String, Option<String>)> =
                    args.iter().map(|(name, _)| (name.clone(), self.given(name))).collect();
                let find =
                    |name: &str| given.iter().find(|(known, _)| known == name).and_then(|(_, v)| v.clone());
                let shown =
                    config::arg(state, args, &find, &self.global).map_err(|fault| line.error(fault))?;
                self.row(state, shown, position)
            }
            Instruction::Shell(words) => {
                let shown = config::shell(state, words);
                self.row(state, shown, position)
            }
            Instruction::Maintainer(name) => {
                state.author = Some(name.clone());
                self.row(state, format!("MAINTAINER {name}"), position)
            }
            Instruction::Change(change) => {
                let shown = config::apply(state, change, &text()).map_err(|fault| line.error(fault))?;
                match change {
                    Change::Workdir(_) => self.workdir(state, statement, position),
                    _ => self.row(state, shown, position),
                }
            }
            Instruction::Copy(copy) => self.copy(state, statement, copy, false, at, position),
            Instruction::Add(copy) => self.copy(state, statement, copy, true, at, position),
            Instruction::Run(run) => self.run(state, statement, run, position),
            Instruction::From(_) => Ok(()),
        };
        done.map_err(|error| located(error, line))
    }

    /// A row of history without a layer.
    fn row(&mut self, state: &mut State, text: String, position: &Position<'_>) -> Result<()> {
        let key = key::of(&json!({ "row": state.row.to_string(), "text": text, "epoch": self.epoch }));
        let known = if position.no_cache { None } else { self.cache.get(&key)? };
        let created = match known {
            Some(record) => record.created,
            None => {
                let created = self.now();
                self.cache.put(&key, &Record { layer: None, created })?;
                created
            }
        };
        state.row = key;
        state.push(history(created, text, state.author.clone(), None)?)
    }

    fn workdir(&mut self, state: &mut State, statement: &Statement, position: &Position<'_>) -> Result<()> {
        let text = format!("WORKDIR {}", state.working_dir());
        let inputs = json!({ "workdir": state.working_dir() });
        let planned = Planned { text, linked: false, inputs };
        self.layer_step(state, statement, planned, position, |work, state, now, _| {
            Ok(workdir::make(state, now, work.tools())?.map(|(layer, list)| (layer, Some(list))))
        })
    }

    #[cfg(feature = "sandbox")]
    fn run(
        &mut self,
        state: &mut State,
        statement: &Statement,
        run: &Run,
        position: &Position<'_>,
    ) -> Result<()> {
        use super::work_tree::WorkTree;
        let command = step::run::Command::new(run, state).map_err(|fault| statement.line.error(fault))?;
        let planned = Planned { text: command.text(), linked: false, inputs: command.key() };
        self.layer_step(state, statement, planned, position, |work, state, _, id| {
            // A tree whose command failed is gone: it is taken out before.
            let tree = work.tree.take().filter(|tree| tree.is_at(&state.layers));
            let mut tree = match tree {
                Some(tree) => tree,
                None => WorkTree::make(&state.layers, work.tools())?,
            };
            let made = command.run(&mut tree, state, id, work.options, work.tools())?;
            work.tree = Some(tree);
            Ok(made.map(|layer| (layer, None)))
        })
    }

    #[cfg(not(feature = "sandbox"))]
    fn run(&mut self, _: &mut State, _: &Statement, _: &Run, _: &Position<'_>) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, OP, "this build of treering runs no commands"))
    }

    fn copy(
        &mut self,
        state: &mut State,
        statement: &Statement,
        copy: &Copy,
        add: bool,
        at: usize,
        position: &Position<'_>,
    ) -> Result<()> {
        let resolved = copy::Resolved::new(copy, add, state).map_err(|fault| statement.line.error(fault))?;
        let text = resolved.text(copy.from.as_deref());
        let mut source = self.source(copy.from.as_deref(), at)?;
        let threads = self.options.threads;
        let control = self.control;
        let inputs = resolved.inputs(source.get(&mut self.contexts)?, threads, control)?;
        let mut key = inputs.key().clone();
        let link = match resolved.is_linked() {
            // The numbers, as the names of another base may mean others.
            true => Some(resolved.owner(state, self.store, self.control)?),
            false => None,
        };
        if let Some(owner) = &link {
            key["owner"] = json!(owner);
        }
        let linked = link.is_some();
        let planned = Planned { text, linked, inputs: key };
        self.layer_step(state, statement, planned, position, |work, state, now, _| {
            let tools = Tools { store: work.store, packing: &work.packing, control: work.control };
            let made = resolved.apply(state, source.get(&mut work.contexts)?, &inputs, now, tools)?;
            Ok(made.map(|(layer, list)| (layer, Some(list).filter(|_| !linked))))
        })
    }

    /// The tree that `--from` names; the main context without it.
    fn source(&mut self, from: Option<&str>, at: usize) -> Result<Source> {
        let Some(name) = from else { return Ok(Source::Main) };
        if self.contexts.directory(name)?.is_some() {
            return Ok(Source::Named(name.into()));
        }
        let named_image = self.contexts.image(name)?.map(String::from);
        let state = match (named_image, self.file.stage(name, at)) {
            (Some(image), _) => self.images.state(&image, self.platform.as_ref(), '\\', 0)?,
            (None, Some(stage)) => self.states[stage].clone().expect("planned before"),
            (None, None) => self.images.state(name, self.platform.as_ref(), '\\', 0)?,
        };
        let list = state.list(self.store, self.control)?;
        Ok(Source::Own(Box::new(SourceTree::layers(&list, state.layers, self.store, name.into())?)))
    }

    fn tools(&self) -> Tools<'_> {
        Tools { store: self.store, packing: &self.packing, control: self.control }
    }

    /// A step that may make a layer: out of the cache, else carried out.
    fn layer_step(
        &mut self,
        state: &mut State,
        statement: &Statement,
        planned: Planned,
        position: &Position<'_>,
        make: impl FnOnce(&mut Self, &State, crate::fs::Timestamp, StepId) -> Result<Made>,
    ) -> Result<()> {
        let Planned { text, linked, inputs } = planned;
        let location = Some(statement.line.location(0));
        let running = self.reporter.start(position.stage, position.place, text.clone(), location);
        let parent = if linked { None } else { Some(state.key.to_string()) };
        let key = key::of(&json!({
            "parent": parent, "step": inputs, "platform": state.platform.to_string(),
            "profile": format!("{:?}", self.packing.profile), "epoch": self.epoch,
            "nanoseconds": self.packing.options.precision == MtimePrecision::Nanoseconds,
        }));
        let result = self.record(state, key, position, &running, make);
        let record = self.reporter.watch(&running, result)?;
        let layer = record.layer.as_ref().map(StepLayer::from);
        let size = record.layer.as_ref().map_or(0, |layer| layer.size);
        let text = if layer.is_some() { format!("{text} # treering") } else { text };
        // With --link the same layer stands on other ones, too.
        state.key = key::of(&json!({ "parent": state.key.to_string(), "step": key.to_string() }));
        state.row = key::of(&json!({ "row": state.row.to_string(), "step": key.to_string() }));
        state.push(history(record.created, text, state.author.clone(), layer)?)?;
        self.reporter.finish(running, size);
        Ok(())
    }

    fn record(
        &mut self,
        state: &State,
        key: Digest,
        position: &Position<'_>,
        running: &super::events::Running,
        make: impl FnOnce(&mut Self, &State, crate::fs::Timestamp, StepId) -> Result<Made>,
    ) -> Result<Record> {
        let known = if position.no_cache { None } else { self.cache.get(&key)? };
        if let Some(record) = known {
            self.cached += 1;
            self.reporter.cached(running);
            return Ok(record);
        }
        // From here on it takes time: what is needed is written down, and others may prune.
        self.pin.settle();
        let created = self.now();
        let made = make(self, state, crate::fs::Timestamp::new(created, 0), running.id)?;
        let layer = match made {
            None => None,
            Some((layer, list)) => {
                let info = layer_info(self.store, &layer)?;
                if let Some(list) = list {
                    let diff_ids = state.layers.iter().map(|layer| layer.diff_id).chain([layer.diff_id]);
                    let diff_ids: Vec<Digest> = diff_ids.collect();
                    if let Some(chain) = crate::image::chain_id(&diff_ids) {
                        self.store.put_chain_list(&chain, list.as_bytes())?;
                    }
                }
                Some(info)
            }
        };
        self.carried_out += 1;
        let record = Record { layer, created };
        self.cache.put(&key, &record)?;
        Ok(record)
    }

    /// Puts the documents of the image into the store.
    fn image(&mut self, mut state: State) -> Result<crate::image::Made> {
        if !self.options.labels.is_empty() {
            let mut labels = match state.config.get("Labels") {
                Some(Value::Object(labels)) => labels.clone(),
                _ => serde_json::Map::new(),
            };
            labels.extend(self.options.labels.iter().map(|(name, value)| (name.clone(), json!(value))));
            state.config.set("Labels", Value::Object(labels));
        }
        let created = match state.steps.last().and_then(|step| step.created) {
            Some(created) => Some(created),
            None => state.base.as_ref().and_then(|base| base.config().created()?.parse().ok()),
        };
        let base: Option<&Image> = state.base.as_deref();
        let recipe = Recipe {
            base,
            platform: Some(state.platform.clone()),
            steps: &state.steps,
            config: Some(state.config.into_config()),
            author: state.author.clone(),
            created,
            annotations: &self.options.annotations,
            ..Recipe::default()
        };
        compose(self.store, &recipe)
    }
}

/// The layer of a step, and the list of the tree it leads to where that is at hand.
type Made = Option<(StepLayer, Option<Snapshot>)>;

/// A step that may make a layer.
struct Planned {
    text: String,
    /// Whether the layer is independent of what is below it.
    linked: bool,
    inputs: Value,
}

/// Where a copy takes its files from.
enum Source {
    Main,
    Named(String),
    Own(Box<SourceTree>),
}

impl Source {
    fn get<'s>(&'s mut self, contexts: &'s mut Contexts) -> Result<&'s mut SourceTree> {
        match self {
            Source::Main => Ok(contexts.main()),
            Source::Named(name) => contexts
                .directory(name)?
                .ok_or_else(|| Error::new(ErrorKind::Internal, OP, "a context that is gone").with_path(name)),
            Source::Own(tree) => Ok(tree),
        }
    }
}

fn layer_info(store: &Store, layer: &StepLayer) -> Result<LayerInfo> {
    let digest = crate::store::descriptor_digest(&layer.descriptor)?;
    store.layer_info(&digest)?.ok_or_else(|| {
        Error::new(ErrorKind::Internal, OP, "a layer that the store has no record of")
            .with_path(digest.to_string())
    })
}

fn history(created: i64, text: String, author: Option<String>, layer: Option<StepLayer>) -> Result<Step> {
    Ok(Step {
        created: Some(crate::image::creation_time(Some(created), OP)?),
        created_by: Some(text),
        author,
        comment: Some("treering build".into()),
        layer,
    })
}

/// Whether progress shows the instruction as a step of its own.
fn shows(instruction: &Instruction) -> bool {
    match instruction {
        Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) => true,
        Instruction::Change(change) => matches!(change, Change::Workdir(_)),
        _ => false,
    }
}

/// White space in a line of history is one blank, outside of what may be quoted.
fn one_line(text: &str) -> String {
    text.trim().replace('\t', " ")
}

/// The error of an instruction, with its place in the Dockerfile.
fn located(error: Error, line: &crate::dockerfile::Line) -> Error {
    match error.location() {
        Some(_) => error,
        None => error.with_location(line.location(0)),
    }
}
