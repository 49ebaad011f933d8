//! Carries out a build: the stages that the target needs, step by step, and the image at the end.

mod attest;
mod copy;
mod image;
mod run;
#[cfg(feature = "sandbox")]
mod slots;
mod stages;

use std::collections::{BTreeSet, HashMap};
#[cfg(feature = "sandbox")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) use self::attest::purl;
#[cfg(feature = "sandbox")]
use self::slots::Slots;
use self::stages::{States, each};
use super::address::{Elsewhere, Fact};
use super::cache::{Cache, Record};
use super::context::{Contexts, Shared as SharedTree};
use super::events::{Reporter, Running};
use super::layer::{Packing, Tools};
use super::look::{Opened, open};
use super::options::{BuildOptions, Built, BuiltImage};
use super::remote::Gone;
use super::source::SourceTree;
use super::state::State;
use super::step::from::Images;
use super::step::{config, workdir};
use super::{key, plan};
use crate::digest::Digest;
use crate::dockerfile::{
    BUILD_ARGS, Change, Dockerfile, Instruction, PLATFORM_ARGS, PROXY_ARGS, Scope, Stage, Statement,
};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, StepId};
use crate::image::{Layer, Platform, Step, StepLayer, contents_of, enter};
use crate::layer::{LayerOptions, MtimePrecision};
use crate::progress::Control;
use crate::store::{LayerInfo, Pin, Reference, Store, check_new_name};
use crate::tree::Snapshot;

pub(super) const OP: &str = "build";
/// Most triggers of one image.
const MAX_TRIGGERS: usize = 1_000;
/// Most stages that are built within one another because triggers of bases refer to them.
const MAX_UNPLANNED: usize = 8;
/// How often a build begins anew because layers are gone that a cache has records of.
const MAX_ROUNDS: usize = 16;

/// Builds an image and enters it into the store, under its names or without one.
///
/// Steps that nothing changed for come out of the cache, with the time they were carried out at: a build of what was built before
/// gives the same image and writes nothing. Events of [`Control::events`] say what happens.
///
/// # Errors
/// [`ErrorKind::Syntax`] with a location for a Dockerfile that is not well formed; other errors of an instruction have its
/// location, too. Nothing is named after an error; what was cached stays.
pub fn build(store: &Store, options: &BuildOptions, control: &Control) -> Result<Built> {
    let gone = Gone::default();
    for _ in 0..MAX_ROUNDS {
        let before = gone.count();
        match carry_out(store, options, control, &gone) {
            Err(error) if gone.count() > before && !control.cancel.is_cancelled() => {
                let message =
                    format!("the build cache lacks a layer, and the build begins anew without it: {error}");
                control.events.send(Event::Warning { rule: String::new(), message, location: None });
            }
            result => return result,
        }
    }
    carry_out(store, options, control, &gone)
}

/// Builds, without layers that were found to be gone.
fn carry_out(store: &Store, options: &BuildOptions, control: &Control, gone: &Gone) -> Result<Built> {
    let names = options.tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<Vec<_>>>()?;
    names.iter().try_for_each(|name| check_new_name(name).map(drop))?;
    // A stage that fails ends the others, and nothing else of the caller's.
    let control = &Control { cancel: control.cancel.for_parts(), ..control.clone() };
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
    let shared = Shared { pin: &pin, control, file: &file, contexts: &contexts, reporter: &reporter, gone };
    let several = options.platforms.len() > 1;
    let of_one = |platform| BuildOptions { platforms: vec![platform], ..options.clone() };
    let each_options: Vec<BuildOptions> = match several {
        true => options.platforms.iter().cloned().map(of_one).collect(),
        false => vec![options.clone()],
    };
    let made = Mutex::default();
    let (mut images, mut attestations, mut works) = (Vec::new(), Vec::new(), Vec::new());
    for options in &each_options {
        let work = Work::new(&shared, options, several, &made)?;
        each(&work.order, control, |at| {
            work.states.put(at, work.stage(at)?);
            Ok(())
        })?;
        let state = work.states.wait(*work.order.last().expect("a file has stages"), control)?;
        let (platform, records) = (state.platform.clone(), state.records.clone());
        let made = work.image(state)?;
        attestations.extend(work.attest(&made, &names)?);
        images.push((platform, made));
        works.push((work, records));
    }
    contexts.keep()?;
    if let Some((work, _)) = works.first() {
        work.unused_arguments();
    }
    let whole = image::whole(store, &images, &attestations)?;
    match names.as_slice() {
        [] => enter(store, None, &whole.entry)?,
        names => names.iter().try_for_each(|name| enter(store, Some(name), &whole.entry))?,
    }
    let (mut cached, mut carried_out) = (0, 0);
    for (work, records) in &works {
        work.cache.export(records)?;
        cached += work.cached.load(Ordering::Relaxed);
        carried_out += work.carried_out.load(Ordering::Relaxed);
    }
    drop(works);
    if carried_out > 0 {
        store.trim_cache(control)?;
        #[cfg(feature = "sandbox")]
        super::pool::trim(store)?;
    }
    let images = images.into_iter().map(|(platform, made)| BuiltImage {
        platform,
        manifest: made.manifest.digest,
        image_id: made.image_id,
    });
    Ok(Built {
        manifest: whole.manifest.digest,
        manifest_size: whole.manifest.size,
        image_id: whole.image_id,
        images: images.collect(),
        names: names.into_iter().map(|name| name.or_latest().to_string()).collect(),
        cached,
        carried_out,
        warnings,
    })
}

/// State that the builds for several platforms share.
struct Shared<'a> {
    pin: &'a Pin,
    control: &'a Control,
    file: &'a Dockerfile,
    contexts: &'a Contexts,
    reporter: &'a Reporter<'a>,
    gone: &'a Gone,
}

/// State that all stages of a build share.
struct Work<'a> {
    pin: &'a Pin,
    store: &'a Store,
    options: &'a BuildOptions,
    control: &'a Control,
    file: &'a Dockerfile,
    contexts: &'a Contexts,
    reporter: &'a Reporter<'a>,
    cache: Cache<'a>,
    images: Images<'a>,
    /// Sources that ADD fetched.
    addresses: Mutex<BTreeSet<Fact>>,
    global: Scope,
    used: Mutex<BTreeSet<String>>,
    epoch: Option<i64>,
    packing: Packing,
    platform: Option<Platform>,
    /// The stages that the target needs, as far as the Dockerfile says.
    order: Vec<usize>,
    states: States,
    /// How many stages are being built that are not in the order.
    unplanned: AtomicUsize,
    cached: AtomicU64,
    carried_out: AtomicU64,
    /// The steps that this build carried out, for whatever platform: with `no_cache`, too, each is once.
    made: &'a Mutex<HashMap<Digest, Record>>,
    /// Whether it is one of several builds, of one platform each.
    several: bool,
    /// Whether it was said that commands are for another platform.
    #[cfg(feature = "sandbox")]
    noted: AtomicBool,
    #[cfg(feature = "sandbox")]
    running: Slots,
    /// The trees of stages between two commands, with the number of the stage.
    #[cfg(feature = "sandbox")]
    trees: Mutex<Vec<(usize, super::work_tree::WorkTree)>>,
}

#[cfg(feature = "sandbox")]
impl Drop for Work<'_> {
    fn drop(&mut self) {
        for (_, tree) in self.trees.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A tree that nothing is written down of is found out about by a scan, and no result depends on it.
            let _ = tree.release(true);
        }
    }
}

/// The position of a step, for events.
struct Position<'a> {
    stage: &'a str,
    place: (u32, u32),
    no_cache: bool,
}

impl<'a> Work<'a> {
    fn new(
        shared: &Shared<'a>,
        options: &'a BuildOptions,
        several: bool,
        made: &'a Mutex<HashMap<Digest, Record>>,
    ) -> Result<Work<'a>> {
        let Shared { pin, control, file, contexts, reporter, gone } = *shared;
        let store: &Store = pin;
        let mut work = Work {
            pin,
            store,
            options,
            control,
            file,
            contexts,
            reporter,
            cache: Cache::open(pin, options, control, gone)?,
            images: Images { store, options, control, asked: Mutex::default(), opened: Mutex::default() },
            addresses: Mutex::default(),
            global: Scope::default(),
            used: Mutex::default(),
            epoch: options.source_date_epoch,
            packing: Packing::default(),
            platform: options.platforms.first().cloned(),
            order: Vec::new(),
            states: States::new(0, &[]),
            unplanned: AtomicUsize::new(0),
            cached: AtomicU64::new(0),
            carried_out: AtomicU64::new(0),
            made,
            several,
            #[cfg(feature = "sandbox")]
            noted: AtomicBool::new(false),
            #[cfg(feature = "sandbox")]
            running: Slots::new(options.jobs),
            #[cfg(feature = "sandbox")]
            trees: Mutex::default(),
        };
        work.global = plan::globals(file, options, &|name| work.given(name))?;
        let is_context = |name: &str| contexts.value(name).is_some();
        work.order = plan::stages(file, options.target.as_deref(), &is_context, &work.global)?;
        work.states = States::new(file.stages.len(), &work.order);
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

    /// Returns a build argument that was given.
    fn given(&self, name: &str) -> Option<String> {
        let found = self.options.build_args.iter().rev().find(|(known, _)| known == name);
        if found.is_some() {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into());
        }
        found.map(|(_, value)| value.clone())
    }

    fn unused_arguments(&self) {
        let predefined = |name: &str| {
            PROXY_ARGS.contains(&name) || BUILD_ARGS.contains(&name) || PLATFORM_ARGS.contains(&name)
        };
        let unused: BTreeSet<&str> = self.options.build_args.iter().map(|(name, _)| name.as_str()).collect();
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for name in unused.into_iter().filter(|name| !used.contains(*name) && !predefined(name)) {
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
    fn stage(&self, at: usize) -> Result<State> {
        let file = self.file;
        let stage = &file.stages[at];
        let number = at.to_string();
        let name = stage.name.as_deref().unwrap_or(&number);
        let shown = match (self.several, &self.platform) {
            (true, Some(platform)) => format!("{platform} {}", stage.name.as_deref().unwrap_or_default()),
            _ => name.to_string(),
        };
        let no_cache = self.options.no_cache
            || self.options.no_cache_filter.iter().any(|filter| filter.eq_ignore_ascii_case(name));
        let counted = |statement: &&Statement| shows(&statement.instruction);
        let total = 1 + stage.statements.iter().filter(counted).count() as u32;
        let mut position = Position { stage: shown.trim_end(), place: (1, total), no_cache };
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

    /// Carries out FROM. Gives the triggers of the base, too.
    fn begin(&self, stage: &Stage, at: usize, position: &Position<'_>) -> Result<(State, Vec<String>)> {
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

    /// Returns the state that an earlier stage ended in. One that is not planned, because only a trigger of a base refers
    /// to it, is built here and now.
    fn earlier(&self, at: usize) -> Result<State> {
        if self.states.take(at) {
            if self.unplanned.fetch_add(1, Ordering::Relaxed) >= MAX_UNPLANNED {
                let message =
                    format!("triggers of bases ask for more than {MAX_UNPLANNED} stages within one another");
                return Err(Error::limit(OP, message));
            }
            self.states.put(at, self.stage(at)?);
            self.unplanned.fetch_sub(1, Ordering::Relaxed);
        }
        self.states.wait(at, self.control)
    }

    fn base(&self, base: &str, at: usize, platform: Option<&Platform>, step: StepId) -> Result<State> {
        let escape = self.file.directives.escape;
        if let Some(image) = self.contexts.image(base, self.control)? {
            return self.images.state(&image, platform, escape, step);
        }
        if self.contexts.value(base).is_some() {
            return Err(Error::new(ErrorKind::Unsupported, OP, "a directory cannot be the base of a stage")
                .with_path(base)
                .with_hint(
                    "COPY --from copies from it; docker-image://NAME and oci-layout://DIR are images",
                ));
        }
        if let Some(earlier) = self.file.stage(base, at) {
            // Arguments that a stage declares or consumes are those of the stages built on it as well (Dockerfile reference, "ARG",
            // "Scope").
            return self.earlier(earlier);
        }
        self.images.state(base, platform, escape, step)
    }

    fn statement(
        &self,
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
            Instruction::Run(run) => self.run(state, statement, run, at, position),
            Instruction::From(_) => Ok(()),
        };
        done.map_err(|error| located(error, line))
    }

    /// Adds a row of history without a layer.
    fn row(&self, state: &mut State, text: String, position: &Position<'_>) -> Result<()> {
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
        state.records.push(key);
        state.push(history(created, text, state.author.clone(), None)?)
    }

    fn workdir(&self, state: &mut State, statement: &Statement, position: &Position<'_>) -> Result<()> {
        let text = format!("WORKDIR {}", state.working_dir());
        let mut inputs = json!({ "workdir": state.working_dir() });
        // What is made belongs to the user.
        if let Some(user) = state.user() {
            inputs["user"] = json!(user);
        }
        let planned = Planned { text, linked: false, inputs };
        self.layer_step(state, statement, planned, position, |state, now, _| {
            Ok(workdir::make(state, now, self.tools())?.map(|(layer, list)| (layer, Some(list))))
        })
    }

    /// Returns the origin that `--from` names; the main context without it. Nothing is read.
    fn origin(&self, from: Option<&str>, at: usize) -> Result<Origin> {
        let Some(name) = from else { return Ok(Origin::Main) };
        if self.contexts.has_files(name, self.control)? {
            return Ok(Origin::Named(name.into()));
        }
        let named_image = self.contexts.image(name, self.control)?;
        let state = match (named_image, self.file.stage(name, at)) {
            (Some(image), _) => self.images.state(&image, self.platform.as_ref(), '\\', 0)?,
            (None, Some(stage)) => self.earlier(stage)?,
            (None, None) => self.images.state(name, self.platform.as_ref(), '\\', 0)?,
        };
        Ok(Origin::Layers(state.layers, name.into()))
    }

    /// Returns the tree of an origin.
    fn open(&self, origin: &Origin) -> Result<SharedTree> {
        match origin {
            Origin::Main => Ok(self.contexts.main().clone()),
            Origin::Named(name) => self
                .contexts
                .files(name, self.elsewhere())?
                .ok_or_else(|| Error::new(ErrorKind::Internal, OP, "a context that is gone").with_path(name)),
            Origin::Layers(layers, name) => {
                self.cache.fetch(layers)?;
                let list = contents_of(self.store, layers, self.control)?;
                let tree = SourceTree::layers(list, layers.clone(), self.store, name.clone())?;
                Ok(Arc::new(Mutex::new(tree)))
            }
        }
    }

    fn elsewhere(&self) -> Elsewhere<'_> {
        Elsewhere { store: self.store, options: self.options, control: self.control }
    }

    fn tools(&self) -> Tools<'_> {
        Tools { store: self.store, packing: &self.packing, control: self.control }
    }

    /// Carries out a step that may make a layer, unless the cache has it.
    fn layer_step(
        &self,
        state: &mut State,
        statement: &Statement,
        planned: Planned,
        position: &Position<'_>,
        make: impl FnOnce(&State, crate::fs::Timestamp, StepId) -> Result<Made>,
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
        state.records.push(key);
        state.push(history(record.created, text, state.author.clone(), layer)?)?;
        self.reporter.finish(running, size);
        Ok(())
    }

    fn record(
        &self,
        state: &State,
        key: Digest,
        position: &Position<'_>,
        running: &Running,
        make: impl FnOnce(&State, crate::fs::Timestamp, StepId) -> Result<Made>,
    ) -> Result<Record> {
        let known = if position.no_cache { self.made(&key) } else { self.cache.get(&key)? };
        if let Some(record) = known {
            return Ok(self.found(record, running));
        }
        // From here on it takes time: what is needed is written down, and others may prune.
        self.pin.settle();
        let _claim = self.cache.claim(&key, self.control)?;
        // Another stage or another build may have carried it out meanwhile.
        let known = if position.no_cache { self.made(&key) } else { self.cache.get_again(&key)? };
        if let Some(record) = known {
            return Ok(self.found(record, running));
        }
        self.cache.fetch(&state.layers)?;
        let created = self.now();
        let made = make(state, crate::fs::Timestamp::new(created, 0), running.id)?;
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
        self.carried_out.fetch_add(1, Ordering::Relaxed);
        let record = Record { layer, created };
        self.cache.put(&key, &record)?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key, record.clone());
        Ok(record)
    }

    fn made(&self, key: &Digest) -> Option<Record> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn found(&self, record: Record, running: &Running) -> Record {
        self.cached.fetch_add(1, Ordering::Relaxed);
        self.reporter.cached(running);
        record
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

/// The origin of the files of a copy, by name.
enum Origin {
    Main,
    Named(String),
    Layers(Vec<Layer>, String),
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

/// Returns whether progress shows the instruction as a step of its own.
fn shows(instruction: &Instruction) -> bool {
    match instruction {
        Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) => true,
        Instruction::Change(change) => matches!(change, Change::Workdir(_)),
        _ => false,
    }
}

/// Joins the lines of an instruction for the history: white space is one blank, outside of what may be quoted.
fn one_line(text: &str) -> String {
    text.trim().replace('\t', " ")
}

/// Returns the error of an instruction, with its place in the Dockerfile.
fn located(error: Error, line: &crate::dockerfile::Line) -> Error {
    match error.location() {
        Some(_) => error,
        None => error.with_location(line.location(0)),
    }
}
