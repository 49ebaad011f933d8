//! Carries out a build: the stages that the target needs, step by step, and the image at the end.

mod attest;
mod builtin;
mod copy;
mod findings;
mod image;
mod origin;
mod record;
mod run;
#[cfg(feature = "sandbox")]
mod slots;
mod stage;
mod stages;

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
#[cfg(feature = "sandbox")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use jiff::Timestamp;

pub(super) use self::attest::purl;
use self::findings::Findings;
#[cfg(feature = "sandbox")]
use self::slots::Slots;
use self::stages::{States, each};
use super::address::{Elsewhere, Fact};
use super::annotations::Annotations;
use super::cache::{Cache, Record};
use super::context::Contexts;
use super::events::Reporter;
use super::layer::{Packing, Tools};
use super::look::{Opened, open};
use super::options::{BuildOptions, Built, BuiltImage};
use super::plan;
use super::remote::Gone;
use super::step::from::Images;
use crate::digest::Digest;
use crate::dockerfile::{BUILD_ARGS, Dockerfile, PLATFORM_ARGS, PROXY_ARGS, Scope};
use crate::error::Result;
use crate::event::Event;
use crate::image::{Platform, enter};
use crate::layer::LayerOptions;
use crate::progress::Control;
use crate::store::{Pin, Reference, Store, check_new_name};
use crate::threads::lock;

pub(super) const OP: &str = "build";
/// How often a build begins anew because layers are gone that a cache has records of.
const MAX_ROUNDS: usize = 16;

/// Builds an image and enters it into the store, under its names or without one.
///
/// Steps that nothing changed for come out of the cache, with the time they were carried out at: a build of what was built before
/// gives the same image and writes nothing. Events of [`Control::events`] say what happens.
///
/// # Errors
/// [`ErrorKind::Syntax`](crate::ErrorKind::Syntax) with a location for a Dockerfile that is not well formed; other errors of an
/// instruction have its location, too. Nothing is named after an error; what was cached stays.
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
    let index = image::has_index(options);
    let annotations = &Annotations::new(options, index)?;
    let Opened { contexts, file, warnings, unread, checks } = open(store, options, control)?;
    let reporter = Reporter::new(control);
    let findings = Findings::new(&reporter, checks);
    findings.add(warnings)?;
    builtin::warn(&reporter, options, &file);
    let shared = Shared {
        pin: &pin,
        control,
        file: &file,
        contexts: &contexts,
        reporter: &reporter,
        findings: &findings,
        unread,
        annotations,
        gone,
    };
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
        work.cache.while_fetching(|| {
            each(&work.order, control, |at| {
                work.states.put(at, work.stage(at)?);
                Ok(())
            })
        })?;
        #[cfg(feature = "sandbox")]
        work.give_trees_back();
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
    let whole = image::whole(store, &images, &attestations, index, annotations)?;
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
        warnings: findings.into_list(),
    })
}

/// State that the builds for several platforms share.
struct Shared<'a> {
    pin: &'a Pin,
    control: &'a Control,
    file: &'a Dockerfile,
    contexts: &'a Contexts,
    reporter: &'a Reporter<'a>,
    findings: &'a Findings<'a>,
    unread: bool,
    annotations: &'a Annotations,
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
    findings: &'a Findings<'a>,
    /// Whether a base was not in the store when the Dockerfile was checked.
    unread: bool,
    annotations: &'a Annotations,
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
    /// Threads that give trees back to the pool.
    #[cfg(feature = "sandbox")]
    giving: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

#[cfg(feature = "sandbox")]
impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.give_trees_back();
        for giving in lock(&self.giving).drain(..) {
            let _ = giving.join();
        }
    }
}

#[cfg(feature = "sandbox")]
impl Work<'_> {
    /// Gives the trees back to the pool, beside what follows. No command needs one any more.
    fn give_trees_back(&self) {
        let trees: Vec<_> = lock(&self.trees).drain(..).map(|(_, tree)| tree).collect();
        if trees.is_empty() {
            return;
        }
        // A tree that nothing is written down of is found out about by a scan, and no result depends on it.
        let give = || trees.into_iter().for_each(|tree| drop(tree.release(true)));
        if let Ok(giving) = std::thread::Builder::new().name("trees".into()).spawn(give) {
            lock(&self.giving).push(giving);
        }
    }
}

impl<'a> Work<'a> {
    fn new(
        shared: &Shared<'a>,
        options: &'a BuildOptions,
        several: bool,
        made: &'a Mutex<HashMap<Digest, Record>>,
    ) -> Result<Work<'a>> {
        let Shared { pin, control, file, contexts, reporter, findings, unread, annotations, gone } = *shared;
        let store: &Store = pin;
        let mut work = Work {
            pin,
            store,
            options,
            control,
            file,
            contexts,
            reporter,
            findings,
            unread,
            annotations,
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
            #[cfg(feature = "sandbox")]
            giving: Mutex::default(),
        };
        work.global = plan::globals(file, options, &|name| work.given(name))?;
        let is_context = |name: &str| contexts.value(name).is_some();
        work.order = plan::stages(file, options.target.as_deref(), &is_context, &work.global)?;
        work.states = States::new(file.stages.len(), &work.order);
        let epoch = work.given("SOURCE_DATE_EPOCH").or_else(|| work.global.get("SOURCE_DATE_EPOCH"));
        if let (None, Some(text)) = (work.epoch, epoch.filter(|text| !text.is_empty())) {
            work.epoch = builtin::epoch(&text, contexts)?;
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
        let found = self.options.build_arg(name);
        if found.is_some() {
            lock(&self.used).insert(name.into());
        }
        found
    }

    /// Warns of build arguments that no instruction has taken.
    fn unused_arguments(&self) {
        let predefined = |name: &str| {
            PROXY_ARGS.contains(&name) || BUILD_ARGS.contains(&name) || PLATFORM_ARGS.contains(&name)
        };
        let unused: BTreeSet<&str> = self.options.build_args.iter().map(|(name, _)| name.as_str()).collect();
        let used = lock(&self.used);
        for name in unused.into_iter().filter(|name| !used.contains(*name) && !predefined(name)) {
            self.reporter.warn(
                "",
                format!("no ARG of the stages that were built takes the build argument {name}"),
                None,
            );
        }
    }

    /// Returns the time that steps get, in seconds since 1970.
    fn now(&self) -> i64 {
        self.epoch.unwrap_or_else(|| Timestamp::now().as_second())
    }

    fn elsewhere(&self) -> Elsewhere<'_> {
        Elsewhere { store: self.store, options: self.options, control: self.control }
    }

    fn tools(&self) -> Tools<'_> {
        Tools { store: self.store, packing: &self.packing, control: self.control }
    }
}
