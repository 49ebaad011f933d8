//! Records of steps that other machines made: found when the store has none, their layers fetched when they are needed.

use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::cache::{Entry, Record};
use super::directory::Directory;
use super::options::BuildOptions;
#[cfg(feature = "registry")]
use super::record_list::{listed, merged, records_of};
use super::share::{CacheFrom, CacheTo};
use super::travelling::{encode, usable, written};
use crate::compress::DecodeLimits;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
#[cfg(feature = "registry")]
use crate::image::StepLayer;
use crate::image::{Admission, AdmissionLimits, INLINE};
use crate::progress::Control;
use crate::store::{BlobInfo, LayerInfo, Store};
use crate::threads::lock;

const OP: &str = "share build cache";
/// How often a wait looks at the cancel token.
const LOOK: Duration = Duration::from_millis(50);

/// A place that records come from.
#[derive(Debug)]
enum Place<'a> {
    #[cfg(feature = "registry")]
    Registry(Box<crate::registry::Records<'a>>),
    Local(Directory, PhantomData<&'a ()>),
}

#[derive(Debug)]
struct Source<'a> {
    shown: String,
    place: Place<'a>,
    /// Held while it is asked for the first time, until it is clear whether the place can be asked: no two stages find that out.
    first: Mutex<()>,
    asked: AtomicBool,
    /// The answer to one request for all, once it was sent.
    #[cfg(feature = "registry")]
    known: std::sync::OnceLock<Known>,
    /// Why there is no answer to a request that was sent before anything was looked up.
    #[cfg(feature = "registry")]
    failure: Mutex<Option<Error>>,
}

/// Records that came together.
#[cfg(feature = "registry")]
#[derive(Debug, Default)]
struct Known {
    records: HashMap<Digest, Entry>,
    /// Whether the place has no others.
    all: bool,
}

/// A layer that a record names, and that is elsewhere.
#[derive(Debug, Clone)]
struct Distant {
    source: usize,
    info: LayerInfo,
    /// The steps that it is the layer of.
    keys: Vec<(Digest, Record)>,
}

/// The places that records come from, and the layers that are still there.
#[derive(Debug)]
pub(super) struct Remotes<'a> {
    options: &'a BuildOptions,
    control: &'a Control,
    sources: Vec<Source<'a>>,
    /// Places that could not be asked.
    broken: Mutex<Vec<bool>>,
    distant: Mutex<HashMap<Digest, Distant>>,
    /// Layers that a thread is fetching.
    coming: Mutex<HashSet<Digest>>,
    came: Condvar,
    gone: &'a Gone,
}

/// Layers that records name and that are where the records are no longer. The steps are carried out then.
#[derive(Debug, Default)]
pub(super) struct Gone(Mutex<HashSet<Digest>>);

impl Gone {
    /// Returns how many layers are gone.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).len()
    }
}

impl<'a> Remotes<'a> {
    pub(super) fn open(
        options: &'a BuildOptions,
        control: &'a Control,
        gone: &'a Gone,
    ) -> Result<Remotes<'a>> {
        let mut sources = Vec::new();
        for from in &options.cache_from {
            let (shown, place) = match from {
                CacheFrom::Registry(reference) => (reference.clone(), registry(options, reference, control)?),
                CacheFrom::Local(directory) => {
                    let shown = directory.display().to_string();
                    // A first run has nothing to take.
                    let found = match Directory::find(directory) {
                        Ok(Some(found)) => found,
                        Ok(None) => {
                            warn(control, format!("there is no build cache at {shown} yet"));
                            continue;
                        }
                        Err(error) => {
                            warn(control, format!("the build cache {shown} was not used: {error}"));
                            continue;
                        }
                    };
                    (shown, Place::Local(found, PhantomData))
                }
            };
            sources.push(Source {
                shown,
                place,
                first: Mutex::default(),
                asked: AtomicBool::new(false),
                #[cfg(feature = "registry")]
                known: std::sync::OnceLock::new(),
                #[cfg(feature = "registry")]
                failure: Mutex::default(),
            });
        }
        // What cannot be written to later is an error now.
        for to in &options.cache_to {
            if let CacheTo::Registry { reference, .. } = to {
                registry(options, reference, control)?;
            }
        }
        let broken = Mutex::new(vec![false; sources.len()]);
        Ok(Remotes {
            options,
            control,
            sources,
            broken,
            distant: Mutex::default(),
            coming: Mutex::default(),
            came: Condvar::new(),
            gone,
        })
    }

    /// Asks registries for what they have before anything is looked up. [`find`](Self::find) waits for the answer, and says what was wrong.
    pub(super) fn ask_ahead(&self) {
        #[cfg(feature = "registry")]
        for source in &self.sources {
            let Place::Registry(records) = &source.place else { continue };
            let _first = lock(&source.first);
            if source.known.get().is_none() && !source.asked.load(Ordering::Acquire) {
                match self.many(records) {
                    Ok(known) => drop(source.known.set(known)),
                    Err(failure) => *lock(&source.failure) = Some(failure),
                }
            }
        }
    }

    /// Finds a record. A place that cannot be asked is left out from then on, with a warning: the build goes on without it.
    pub(super) fn find(&self, key: &Digest) -> Result<Option<(usize, Entry)>> {
        for (at, source) in self.sources.iter().enumerate() {
            let first = (!source.asked.load(Ordering::Acquire)).then(|| lock(&source.first));
            if lock(&self.broken)[at] {
                continue;
            }
            let found = self.ask(source, key);
            match found {
                Ok(None) => source.asked.store(true, Ordering::Release),
                Ok(Some(entry)) if self.is_gone(&entry) => {
                    source.asked.store(true, Ordering::Release);
                }
                Ok(Some(entry)) => {
                    source.asked.store(true, Ordering::Release);
                    return Ok(Some((at, entry)));
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    // A record that is not what it should be says nothing about others.
                    let of_one = matches!(
                        error.kind(),
                        ErrorKind::Corrupt | ErrorKind::Limit | ErrorKind::Unsupported
                    );
                    if !of_one && std::mem::replace(&mut lock(&self.broken)[at], true) {
                        continue;
                    }
                    drop(first);
                    warn(self.control, format!("the build cache {} was not used: {error}", source.shown));
                }
            }
        }
        Ok(None)
    }

    fn ask(&self, source: &Source<'a>, key: &Digest) -> Result<Option<Entry>> {
        match &source.place {
            Place::Local(directory, _) => Ok(directory.record(key)?.and_then(|found| usable(&found, key))),
            #[cfg(feature = "registry")]
            Place::Registry(records) => {
                let known = match source.known.get() {
                    Some(known) => known,
                    None => {
                        if let Some(failure) = lock(&source.failure).take() {
                            return Err(failure);
                        }
                        let known = self.many(records)?;
                        source.known.get_or_init(|| known)
                    }
                };
                match known.records.get(key) {
                    Some(entry) if !self.is_gone(entry) => return Ok(Some(entry.clone())),
                    _ if known.all => return Ok(None),
                    _ => {}
                }
                Ok(records.find(key)?.and_then(|found| usable(&found, key)))
            }
        }
    }

    /// Asks for many records at once: those of the list, else those in an image, which has no others then.
    #[cfg(feature = "registry")]
    fn many(&self, records: &crate::registry::Records) -> Result<Known> {
        if let Some(list) = records.list()? {
            return Ok(Known { records: listed(&list), all: false });
        }
        let platform = super::look::default_platform(self.options);
        let inline = records.inline(&platform)?;
        Ok(inline.map_or_else(Known::default, |text| Known { records: records_of(&text), all: true }))
    }

    /// Returns whether the layer of a record was found to be missing where the record is.
    fn is_gone(&self, entry: &Entry) -> bool {
        entry.layer().is_some_and(|layer| lock(&self.gone.0).contains(&layer.digest))
    }

    /// Notes where the layer of a record is.
    pub(super) fn note(&self, source: usize, key: &Digest, record: &Record) {
        let Some(info) = &record.layer else { return };
        let mut distant = lock(&self.distant);
        let known = distant.entry(info.digest).or_insert_with(|| Distant {
            source,
            info: info.clone(),
            keys: Vec::new(),
        });
        if known.info == *info {
            known.keys.push((*key, record.clone()));
        }
    }

    /// Fetches those of the layers that are elsewhere, and makes sure that they are what records say. Those that another thread fetches are
    /// waited for. Returns the records that the store can have now, of those that this call fetched.
    pub(super) fn fetch(&self, store: &Store, layers: &[Digest]) -> Result<Vec<(Digest, Record)>> {
        let mut records = Vec::new();
        loop {
            let (wanted, others) = self.claim(layers);
            if !wanted.is_empty() {
                let fetched = self.fetch_claimed(store, &wanted);
                let mut coming = lock(&self.coming);
                for one in &wanted {
                    coming.remove(&one.info.digest);
                }
                drop(coming);
                self.came.notify_all();
                records.extend(fetched?);
            } else if others {
                self.control.check(OP)?;
                let coming = lock(&self.coming);
                if layers.iter().any(|digest| coming.contains(digest)) {
                    drop(self.came.wait_timeout(coming, LOOK).unwrap_or_else(PoisonError::into_inner));
                }
            } else {
                return Ok(records);
            }
        }
    }

    /// Returns those of the layers that are elsewhere and that no thread fetches yet, which this one has to fetch now; and whether there are
    /// others.
    fn claim(&self, layers: &[Digest]) -> (Vec<Distant>, bool) {
        let (distant, mut coming) = (lock(&self.distant), lock(&self.coming));
        let (mut wanted, mut others) = (Vec::new(), false);
        let mut seen = HashSet::new();
        for digest in layers.iter().filter(|digest| seen.insert(**digest)) {
            let Some(one) = distant.get(digest) else { continue };
            match coming.insert(*digest) {
                true => wanted.push(one.clone()),
                false => others = true,
            }
        }
        (wanted, others)
    }

    fn fetch_claimed(&self, store: &Store, wanted: &[Distant]) -> Result<Vec<(Digest, Record)>> {
        for (at, source) in self.sources.iter().enumerate() {
            let infos: Vec<&LayerInfo> =
                wanted.iter().filter(|one| one.source == at).map(|one| &one.info).collect();
            if infos.is_empty() {
                continue;
            }
            self.fetch_from(store, source, &infos).map_err(|error| match error.kind() {
                ErrorKind::Cancelled => error,
                kind => {
                    if kind == ErrorKind::NotFound {
                        let missing =
                            infos.iter().filter(|info| !store.has_blob(&info.digest).is_ok_and(|it| it));
                        lock(&self.gone.0).extend(missing.map(|info| info.digest));
                    }
                    error.with_hint(format!("build without the cache {}", source.shown))
                }
            })?;
        }
        let mut distant = lock(&self.distant);
        Ok(wanted
            .iter()
            .filter_map(|one| distant.remove(&one.info.digest))
            .flat_map(|one| one.keys)
            .collect())
    }

    /// Returns whether there is any place to fetch from.
    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Returns whether a layer is elsewhere.
    pub(super) fn has(&self, layers: &[Digest]) -> bool {
        let distant = lock(&self.distant);
        layers.iter().any(|layer| distant.contains_key(layer))
    }

    fn fetch_from(&self, store: &Store, source: &Source<'a>, infos: &[&LayerInfo]) -> Result<()> {
        let mut missing = Vec::new();
        for info in infos {
            match store.blob_size(&info.digest) {
                Ok(size) if size == info.size => self.check(store, info)?,
                _ => missing.push(*info),
            }
        }
        match &source.place {
            Place::Local(from, _) => {
                for info in missing {
                    from.copy(store, &BlobInfo { digest: info.digest, size: info.size }, self.control)?;
                    self.check(store, info)?;
                }
                Ok(())
            }
            #[cfg(feature = "registry")]
            Place::Registry(records) => {
                let layer = |info: &LayerInfo| (StepLayer::from(info).descriptor, info.diff_id);
                records.fetch(store, missing.into_iter().map(layer).collect())
            }
        }
    }

    /// Makes sure that a blob of the store has the DiffID of the record.
    fn check(&self, store: &Store, info: &LayerInfo) -> Result<()> {
        let limits = AdmissionLimits { max_entries: 1, decode: DecodeLimits::default() };
        let blob = BlobInfo { digest: info.digest, size: info.size };
        let shown = info.digest.to_string();
        let mut admission: Admission<'_, BlobInfo> = Admission::new(store, OP, limits, self.control);
        let seen = admission.layer(&blob, &info.diff_id, &shown)?;
        store.put_layer_info(&seen)
    }

    /// Sends records to where the options say. Layers that never came here stay where they are, with their records.
    pub(super) fn export(&self, store: &Store, all: &[(Digest, Entry)], own: &[Digest]) -> Result<()> {
        for to in &self.options.cache_to {
            let (every, forgiving) = match to {
                CacheTo::Inline => continue,
                CacheTo::Registry { all, ignore_errors, .. } | CacheTo::Local { all, ignore_errors, .. } => {
                    (*all, *ignore_errors)
                }
            };
            let chosen = all.iter().filter(|(key, _)| every || own.contains(key));
            let chosen = chosen.filter(|(_, entry)| match entry {
                Entry::Step(Record { layer: Some(layer), .. }) => {
                    store.blob_size(&layer.digest).is_ok_and(|size| size == layer.size)
                }
                _ => true,
            });
            let chosen: Vec<&(Digest, Entry)> = chosen.collect();
            match self.export_to(store, to, &chosen) {
                Err(error) if forgiving && error.kind() != ErrorKind::Cancelled => {
                    warn(self.control, format!("the build cache was not written: {error}"));
                }
                result => result?,
            }
        }
        Ok(())
    }

    fn export_to(&self, store: &Store, to: &CacheTo, chosen: &[&(Digest, Entry)]) -> Result<()> {
        match to {
            CacheTo::Inline => Ok(()),
            CacheTo::Local { directory, .. } => {
                Directory::make(directory, self.control)?.put(store, written(chosen)?, self.control)
            }
            CacheTo::Registry { reference, .. } => {
                let place = registry(self.options, reference, self.control)?;
                self.export_to_registry(store, &place, chosen)
            }
        }
    }

    #[cfg(feature = "registry")]
    fn export_to_registry(&self, store: &Store, place: &Place, chosen: &[&(Digest, Entry)]) -> Result<()> {
        let Place::Registry(records) = place else { return Ok(()) };
        let written = written(chosen)?;
        if written.is_empty() {
            return Ok(());
        }
        records.put(store, written.clone())?;
        let before = records.list()?;
        let Some(list) = merged(&written, before.as_ref()) else { return Ok(()) };
        match (records.put_list(&list), merged(&written, None)) {
            // The registry may have lost a layer that the list before has: then it takes no list with that layer.
            (Err(error), Some(own))
                if before.is_some()
                    && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument) =>
            {
                records.put_list(&own)
            }
            (result, _) => result,
        }
    }

    #[cfg(not(feature = "registry"))]
    fn export_to_registry(&self, _: &Store, _: &Place, _: &[&(Digest, Entry)]) -> Result<()> {
        Ok(())
    }

    /// Returns the annotation with the records of an image's own steps, if it is to have one.
    pub(super) fn inline(&self, all: &[(Digest, Entry)], own: &[Digest]) -> Result<Option<(String, String)>> {
        let asked = self.options.cache_to.contains(&CacheTo::Inline);
        if !asked && !self.options.switch("BUILDKIT_INLINE_CACHE") {
            return Ok(None);
        }
        // In the order of the image's steps, whatever order stages were built in.
        let known: HashMap<&Digest, &Entry> = all.iter().map(|(key, entry)| (key, entry)).collect();
        let mut seen = HashSet::new();
        let own = own.iter().filter(|key| seen.insert(**key));
        let list = own.filter_map(|key| known.get(key).map(|entry| encode(key, entry)));
        let list = list.collect::<Result<Vec<_>>>()?;
        Ok(Some((INLINE.into(), format!("[{}]", list.join(",")))))
    }
}

#[cfg(feature = "registry")]
fn registry<'a>(options: &'a BuildOptions, reference: &str, control: &'a Control) -> Result<Place<'a>> {
    match &options.registries {
        Some(registries) => crate::registry::Records::open(registries, reference, control)
            .map(|it| Place::Registry(Box::new(it))),
        None => Err(Error::invalid(OP, "a build that reaches no registries cannot use a cache in one")
            .with_path(reference)),
    }
}

#[cfg(not(feature = "registry"))]
fn registry<'a>(_: &'a BuildOptions, reference: &str, _: &'a Control) -> Result<Place<'a>> {
    let message = "this build of treering reaches no registries: a cache can be local or inline";
    Err(Error::new(ErrorKind::Unsupported, OP, message).with_path(reference))
}

fn warn(control: &Control, message: String) {
    control.events.send(Event::Warning { rule: String::new(), message, location: None });
}
