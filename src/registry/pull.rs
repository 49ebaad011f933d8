//! Pulling: from a registry into the store.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Registries;
use super::arrival::Arrival;
use super::client::{Fetched, Repository, Wanted, elsewhere};
use super::config::Endpoint;
use super::origin::Location;
use super::session::{Failure, Payload, Request, Session, broken};
use super::transfer::{Progress, each};
use crate::compress::{Compression, DecodeLimits, DecodeOptions, Decoded, Decoder};
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::event::{Event, StepId};
use crate::image::{
    DOCKER_CONFIG, Image, Layer, Layers, OCI_CONFIG, Platform, UnpackOptions, Unpacked, is_distributable,
    layer_compression, unpack_from,
};
use crate::progress::{Control, Counters};
use crate::store::{
    BlobWriter, Descriptor, Document, DocumentKind, LayerInfo, Reference, Store, descriptor_digest,
};
use crate::threads;

const PULL: &str = "pull image";
const LAYER: &str = "pull layer";
const STOPPED: &str = "unpacking failed";
/// A transfer that was cut gets new tries once it has come this much further.
const WORTH_NEW_TRIES: u64 = 1 << 20;
/// How many other addresses of a layer are tried.
const MAX_URLS: usize = 4;

/// How an image is pulled.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Which platform of an image for several; `None` for this machine's.
    pub platform: Option<Platform>,
    /// All platforms, and whatever else the index lists, attestations for example.
    pub all_platforms: bool,
    /// The name that the image gets in the store; `None` for the one it is pulled by.
    pub name: Option<Reference>,
    /// Caps on the decompression of each layer.
    pub decode: DecodeLimits,
}

/// What was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The name the image has in the store; `None` when it was pulled by its digest alone.
    pub name: Option<Reference>,
    /// The digest the registry has it under: of the index when it is for several platforms, else of the manifest.
    pub digest: Digest,
    /// The digest of the manifest of the platform that was chosen.
    pub manifest: Digest,
    /// The image id: the digest of the configuration.
    pub image_id: Digest,
    /// Whether the name stood for this very image before, and nothing was missing.
    pub up_to_date: bool,
    /// How many layers were fetched; the others were in the store.
    pub layers_fetched: u64,
    /// How many bytes of layers were fetched.
    pub bytes_fetched: u64,
}

/// Pulls an image: manifest, configuration and every layer that the store does not hold yet, three at a time. A transfer that
/// is cut goes on where it ended. Sizes, digests and DiffIDs are checked before the image gets its name; mirrors are asked
/// first.
///
/// `reference` is a name as `docker pull` takes it: `debian`, `registry.example:5000/app:v1`, `app@sha256:…`. The name moves
/// to the new image when another one had it.
///
/// # Errors
/// [`ErrorKind::NotFound`] when the registry does not have it, or nothing for the platform; [`ErrorKind::Unauthorized`],
/// [`ErrorKind::Network`]; [`ErrorKind::Corrupt`] when what arrives is not what was announced; [`ErrorKind::Limit`] over a
/// cap. No name changes then, and what was fetched completely need not be fetched again until the next prune.
pub fn pull(
    store: &Store,
    registries: &Registries,
    reference: &str,
    options: &PullOptions,
    control: &Control,
) -> Result<Pulled> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let name = Reference::parse(reference)?.or_latest();
    run(registries, &name, control, |repository| {
        let plan = Plan::make(store, repository, &name, options)?;
        plan.fetch()?;
        plan.publish(&name)
    })
}

/// Pulls an image as [`pull`] does and unpacks it as [`unpack`](crate::image::unpack()) does, both at once: layers are
/// decoded and applied while they arrive. `options` says which platform; the one in `unpack` is not looked at.
///
/// # Errors
/// As both have them. Neither the name nor the directory is there then.
pub fn pull_and_unpack(
    store: &Store,
    registries: &Registries,
    reference: &str,
    dir: &Path,
    options: &PullOptions,
    unpack: &UnpackOptions,
    control: &Control,
) -> Result<(Pulled, Unpacked)> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let name = Reference::parse(reference)?.or_latest();
    let mut unpacked = None;
    let pulled = run(registries, &name, control, |repository| {
        let plan = Plan::make(store, repository, &name, options)?;
        unpacked = Some(plan.fetch_and_unpack(&name, dir, unpack)?);
        plan.publish(&name)
    })?;
    Ok((pulled, unpacked.expect("set by what succeeded")))
}

/// Runs a pull with its events.
fn run(
    registries: &Registries,
    name: &Reference,
    control: &Control,
    work: impl FnMut(&Repository) -> Result<Pulled>,
) -> Result<Pulled> {
    let session = Session::new(registries, control);
    let began = Instant::now();
    let text = format!("pull {}", name.canonical());
    control.events.send(Event::Started {
        step: 0,
        stage: String::new(),
        place: (0, 0),
        text,
        location: None,
    });
    let result = from_any(&session, name, work);
    match &result {
        Ok(pulled) => {
            let size = pulled.bytes_fetched;
            control.events.send(Event::Finished { step: 0, took: began.elapsed(), size });
        }
        Err(error) => control.events.send(Event::Failed { step: 0, message: error.to_string() }),
    }
    result
}

/// Does something with a repository at the first endpoint that has what is wanted: mirrors, then the registry itself.
pub(super) fn from_any<T>(
    session: &Session,
    name: &Reference,
    mut work: impl FnMut(&Repository) -> Result<T>,
) -> Result<T> {
    let endpoints: Vec<Endpoint> = session.registries.config.endpoints(name)?;
    for endpoint in &endpoints {
        let result = Repository::open(session, endpoint, false).and_then(|repository| work(&repository));
        match result {
            Err(error) if endpoint.mirror && elsewhere(&error) => {
                let message = format!("the mirror {} was of no use: {error}", endpoint.origin);
                session.control.events.send(Event::Warning { rule: String::new(), message, location: None });
            }
            result => return result,
        }
    }
    unreachable!("the registry itself comes last, and is no mirror")
}

/// A layer, or another blob, that has to be fetched.
pub(super) struct Job {
    pub descriptor: Descriptor,
    pub digest: Digest,
    /// The digest of the tar in it, where it is a layer.
    pub diff_id: Option<Digest>,
    pub arrival: Arc<Arrival>,
}

/// What a pull needs, with all documents in the store already.
pub(super) struct Plan<'a> {
    store: &'a Store,
    repository: &'a Repository<'a>,
    options: &'a PullOptions,
    control: &'a Control,
    step: StepId,
    /// What the name will stand for.
    top: Descriptor,
    /// The image of the platform that was chosen.
    pub image: Image,
    pub jobs: Vec<Job>,
    /// Layers that the store holds, but has not seen decoding to their DiffID.
    unchecked: Vec<(Descriptor, Digest)>,
    /// Whether what is fetched is of no use any more.
    stop: AtomicBool,
}

/// The layers of a plan, from the store or on their way to it.
struct Arriving<'a> {
    plan: &'a Plan<'a>,
    applied: Mutex<Vec<(Layer, Decoded)>>,
}

impl Layers for Arriving<'_> {
    fn open(&self, layer: &Layer) -> Result<Box<dyn Read + Send>> {
        match self.plan.jobs.iter().find(|job| job.digest == layer.digest) {
            Some(job) => Ok(Box::new(job.arrival.reader(&self.plan.control.cancel))),
            None => self.plan.store.open(layer),
        }
    }

    fn applied(&self, layer: &Layer, decoded: &Decoded) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.push((layer.clone(), *decoded));
    }
}

/// What ends a transfer that is of no use any more.
fn stopped() -> Error {
    Error::new(ErrorKind::Cancelled, LAYER, STOPPED)
}

fn is_stop(error: &Error) -> bool {
    error.kind() == ErrorKind::Cancelled && error.message() == STOPPED
}

impl<'a> Plan<'a> {
    /// Reads the documents and finds out what is missing.
    pub fn make(
        store: &'a Store,
        repository: &'a Repository<'a>,
        name: &Reference,
        options: &'a PullOptions,
    ) -> Result<Plan<'a>> {
        let control = repository.session.control;
        let wanted = match name.digest() {
            Some(digest) => Wanted::Digest(digest),
            None => Wanted::Tag(name.tag().unwrap_or("latest")),
        };
        let top = repository.manifest(wanted, store.limits())?;
        store.put_blob(&top.bytes)?;
        let mut tree = Tree { store, repository, control, manifests: Vec::new(), seen: HashSet::new() };
        tree.visit(&top, 1)?;
        let platform = options.platform.clone();
        let chosen = match top.document.kind() {
            DocumentKind::Manifest => tree.fetch_parts(&top)?,
            DocumentKind::Index => tree.choose(&platform.clone().unwrap_or_else(Platform::host))?,
        };
        let only = if top.document.kind() == DocumentKind::Manifest { platform.as_ref() } else { None };
        let image = Image::from_descriptor(store, &chosen, only)?;
        let mut blobs: BTreeMap<Digest, (Descriptor, Option<Digest>)> = BTreeMap::new();
        let mut order = Vec::new();
        for manifest in tree.wanted(&chosen, options.all_platforms)? {
            for (blob, diff_id) in parts(store, &manifest)? {
                let digest = descriptor_digest(&blob)?;
                match blobs.get(&digest) {
                    None => {
                        order.push(digest);
                        blobs.insert(digest, (blob, diff_id));
                    }
                    Some((_, known)) if *known == diff_id || diff_id.is_none() => {}
                    Some(_) => {
                        let message = "two configurations disagree about the content of a layer";
                        return Err(Error::corrupt(PULL, message).with_path(digest.to_string()));
                    }
                }
            }
        }
        let (mut jobs, mut unchecked) = (Vec::new(), Vec::new());
        for digest in order {
            let (descriptor, diff_id) = blobs.remove(&digest).expect("each digest is in the order once");
            if store.blob_size(&digest).is_ok_and(|size| size == descriptor.size()) {
                let seen = store.diff_id_for_blob(&digest)?;
                if let Some(diff_id) = diff_id.filter(|diff_id| seen != Some(*diff_id)) {
                    unchecked.push((descriptor, diff_id));
                }
            } else {
                jobs.push(Job { descriptor, digest, diff_id, arrival: Arc::default() });
            }
        }
        let total: u64 = jobs.iter().fold(0, |sum, job| sum.saturating_add(job.descriptor.size()));
        Counters::add(&control.counters.bytes_total, total);
        let (step, stop) = (0, AtomicBool::new(false));
        Ok(Plan {
            store,
            repository,
            options,
            control,
            step,
            top: top.descriptor,
            image,
            jobs,
            unchecked,
            stop,
        })
    }

    /// Fetches every blob that is missing and checks every layer.
    pub fn fetch(&self) -> Result<()> {
        each("pull", &self.jobs, |job| self.fetch_checked(job))?;
        for (descriptor, diff_id) in &self.unchecked {
            let digest = descriptor_digest(descriptor)?;
            self.check(Box::new(self.store.open_blob(&digest)?), descriptor, diff_id)?;
        }
        Ok(())
    }

    /// Fetches every blob that is missing, and unpacks the image meanwhile.
    fn fetch_and_unpack(&self, name: &Reference, dir: &Path, options: &UnpackOptions) -> Result<Unpacked> {
        let own: HashSet<Digest> = self.image.layers().iter().map(|layer| layer.digest).collect();
        let fetch = || {
            // Unpacking checks the image's own layers.
            let result = each("pull", &self.jobs, |job| match own.contains(&job.digest) {
                true => self.fetch_one(job),
                false => self.fetch_checked(job),
            });
            // What was not begun will not come.
            self.jobs.iter().for_each(|job| job.arrival.end(false));
            result
        };
        let layers = Arriving { plan: self, applied: Mutex::default() };
        let text = name.to_string();
        let unpack = || unpack_from(self.store, &self.image, &text, dir, options, &layers, self.control);
        let unpacked = std::thread::scope(|scope| {
            let Ok(thread) = threads::spawn(scope, "treering-fetch", fetch) else {
                // Where no thread is to be had, one comes after the other.
                fetch()?;
                return unpack();
            };
            let unpacked = unpack();
            self.stop.store(unpacked.is_err(), Ordering::Relaxed);
            match (threads::join(thread), unpacked) {
                // A layer that did not come fails both; the transfer's own error says why.
                (Err(error), Err(_)) if !is_stop(&error) => Err(error),
                (Err(error), Ok(_)) => Err(error),
                (_, unpacked) => unpacked,
            }
        })?;
        for (layer, decoded) in layers.applied.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if self.store.diff_id_for_blob(&layer.digest)? != Some(layer.diff_id) {
                self.remember(&layer.descriptor, layer.diff_id, &decoded)?;
            }
        }
        for (descriptor, diff_id) in &self.unchecked {
            let digest = descriptor_digest(descriptor)?;
            if self.store.diff_id_for_blob(&digest)? != Some(*diff_id) {
                self.check(Box::new(self.store.open_blob(&digest)?), descriptor, diff_id)?;
            }
        }
        Ok(unpacked)
    }

    /// Records which DiffID a blob was seen to hold.
    fn remember(&self, descriptor: &Descriptor, diff_id: Digest, decoded: &Decoded) -> Result<()> {
        self.store.put_layer_info(&LayerInfo {
            diff_id,
            digest: descriptor_digest(descriptor)?,
            size: descriptor.size(),
            media_type: media_type(decoded.compression, descriptor),
            diff_size: Some(decoded.diff_size),
        })
    }

    /// Gives the image its name.
    pub fn publish(&self, pulled_by: &Reference) -> Result<Pulled> {
        let name = match (&self.options.name, pulled_by.digest()) {
            (Some(name), _) => Some(name.clone().or_latest()),
            (None, None) => Some(pulled_by.clone()),
            (None, Some(_)) => pulled_by.tag().map(|tag| pulled_by.with_tag(tag)).transpose()?,
        };
        let digest = descriptor_digest(&self.top)?;
        let before = match &name {
            Some(name) => self.store.tag(name, &self.top)?,
            None => {
                self.store.add_nameless(&self.top)?;
                None
            }
        };
        let same = before.is_some_and(|before| descriptor_digest(&before).ok() == Some(digest));
        Ok(Pulled {
            name,
            digest,
            manifest: *self.image.digest(),
            image_id: *self.image.id(),
            up_to_date: same && self.jobs.is_empty(),
            layers_fetched: self.jobs.len() as u64,
            bytes_fetched: self.jobs.iter().fold(0, |sum, job| sum + job.descriptor.size()),
        })
    }

    /// Fetches a blob and, while it arrives, makes sure that its content has the DiffID that the configuration says.
    fn fetch_checked(&self, job: &Job) -> Result<()> {
        let Some(diff_id) = job.diff_id.filter(|diff_id| self.must_decode(job, diff_id)) else {
            return self.fetch_one(job);
        };
        std::thread::scope(|scope| {
            let check =
                || self.check(Box::new(job.arrival.reader(&self.control.cancel)), &job.descriptor, &diff_id);
            let thread = threads::spawn(scope, "treering-check", check);
            let fetched = self.fetch_one(job);
            let checked = match thread {
                Ok(thread) => threads::join(thread),
                // Where no thread is to be had, the blob is read once more.
                Err(_) if fetched.is_ok() => check(),
                Err(_) => Ok(()),
            };
            // A blob that did not arrive fails both; the transfer's own error is the one that says why.
            fetched.and(checked)
        })
    }

    fn must_decode(&self, job: &Job, diff_id: &Digest) -> bool {
        self.store.diff_id_for_blob(&job.digest).ok().flatten() != Some(*diff_id)
    }

    /// Decodes a layer and compares its DiffID; remembers it.
    fn check(&self, reader: Box<dyn Read + Send>, descriptor: &Descriptor, diff_id: &Digest) -> Result<()> {
        let digest = descriptor_digest(descriptor)?;
        let shown = digest.to_string();
        let decode = DecodeOptions {
            hash_input: false,
            hash_output: true,
            limits: self.options.decode.clone(),
            ..DecodeOptions::default()
        };
        let decoded = Decoder::new(reader, decode, self.control.clone()).and_then(Decoder::finish).map_err(
            |error| match error.path() {
                None => error.with_path(&shown),
                Some(_) => error,
            },
        )?;
        let found = decoded.diff_id.expect("asked for");
        if found != *diff_id {
            let message = format!("the layer's DiffID is {found}, and should be {diff_id}");
            return Err(Error::corrupt(LAYER, message).with_path(shown));
        }
        self.remember(descriptor, found, &decoded)
    }

    /// Fetches a blob into the store. What reads along learns how it ended.
    pub fn fetch_one(&self, job: &Job) -> Result<()> {
        let result = self.fetch_into_store(job);
        job.arrival.end(result.is_ok());
        result
    }

    fn fetch_into_store(&self, job: &Job) -> Result<()> {
        let session = self.repository.session;
        let mut writer = self.store.blob_writer()?;
        job.arrival.begin(writer.share()?);
        let size = job.descriptor.size();
        let mut progress = Progress::new(self.control, self.step, job.digest.to_string(), size);
        let (mut tries, mut at_last_cut) = (1, 0);
        loop {
            let failure = match self.stream(job, &mut writer, &mut progress) {
                Ok(()) => break,
                Err(failure) => failure,
            };
            if writer.size() - at_last_cut >= WORTH_NEW_TRIES {
                tries = 1;
            }
            at_last_cut = writer.size();
            if !failure.again || tries >= session.registries.attempts {
                return Err(failure.error);
            }
            session.pause(LAYER, tries, &failure)?;
            tries += 1;
        }
        writer.finish(Some(job.digest)).map(drop)
    }

    /// Reads a blob from where the writer is to its end.
    fn stream(&self, job: &Job, writer: &mut BlobWriter, progress: &mut Progress) -> Result<(), Failure> {
        let size = job.descriptor.size();
        let shown = self.repository.shown(job.digest);
        let (location, mut reader) = self.open(job, writer.size())?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            self.control.check(LAYER)?;
            if self.stop.load(Ordering::Relaxed) {
                return Err(stopped().into());
            }
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(error, LAYER, &location)),
            };
            if writer.size() + n as u64 > size {
                let message = format!("the registry sends more than the {size} bytes that were announced");
                return Err(Error::corrupt(LAYER, message).with_path(shown).into());
            }
            writer.write_all(&buffer[..n]).at(LAYER, &shown)?;
            Counters::add(&self.control.counters.bytes_written, n as u64);
            job.arrival.advance(writer.size());
            progress.reach(writer.size());
        }
        if writer.size() < size {
            let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(broken(error, LAYER, &location));
        }
        Ok(())
    }

    /// Opens a blob at the registry; a layer that registries need not hold, also at the addresses that its descriptor names
    /// (layer.md, "Non-Distributable Layers"), without credentials.
    fn open(&self, job: &Job, from: u64) -> Result<(Location, Box<dyn Read + Send>), Failure> {
        let size = job.descriptor.size();
        let error = match self.repository.blob(LAYER, &job.digest, size, from) {
            Err(failure) if failure.error.kind() == ErrorKind::NotFound => failure,
            result => return result,
        };
        let urls = job.descriptor.urls().iter().flatten().take(MAX_URLS);
        for url in urls.filter(|_| !is_distributable(job.descriptor.media_type().as_ref())) {
            let Ok(location) = Location::parse(url) else { continue };
            let secure = location.origin().is_secure() || !self.repository.endpoint.origin.is_secure();
            if !secure {
                continue;
            }
            if let Ok(opened) = self.open_elsewhere(location, size, from) {
                return Ok(opened);
            }
        }
        Err(error)
    }

    fn open_elsewhere(
        &self,
        location: Location,
        size: u64,
        from: u64,
    ) -> Result<(Location, Box<dyn Read + Send>), Failure> {
        let repository = self.repository;
        // An endpoint of its own: nothing is known there, so nothing is sent.
        let endpoint =
            Endpoint { origin: location.origin().clone(), key: String::new(), ..repository.endpoint.clone() };
        let scopes = super::auth::Scopes::default();
        let request = Request {
            operation: LAYER,
            method: ureq::http::Method::GET,
            location,
            headers: Vec::new(),
            payload: Payload::None,
            scopes: &scopes,
        };
        let response =
            repository.session.send_without_credentials(&endpoint, &repository.endpoint, &request)?;
        if response.status != 200 || response.length().is_some_and(|length| length != size) {
            let message = "the layer is not at the address that its descriptor names";
            return Err(Error::not_found(LAYER, message).into());
        }
        let location = response.location.clone();
        let mut reader: Box<dyn Read + Send> = Box::new(response.into_reader());
        std::io::copy(&mut (&mut reader).take(from), &mut std::io::sink())
            .map_err(|error| broken(error, LAYER, &location))?;
        Ok((location, reader))
    }
}

/// The media type that the store's own records use for a layer.
fn media_type(compression: Compression, descriptor: &Descriptor) -> String {
    match layer_compression(descriptor.media_type().as_ref()) {
        Some(claimed) if claimed == compression => descriptor.media_type().to_string(),
        _ => compression.media_type().to_string(),
    }
}

/// Layers of a manifest that the store holds with their DiffIDs; other blobs without.
fn parts(store: &Store, manifest: &Descriptor) -> Result<Vec<(Descriptor, Option<Digest>)>> {
    let document = store.read_document(manifest)?;
    let is_layer = |blob: &Descriptor| layer_compression(blob.media_type().as_ref()).is_some();
    if is_image(&document) && document.layers().iter().all(is_layer) {
        let image = Image::from_descriptor(store, manifest, None)?;
        return Ok(image
            .layers()
            .iter()
            .map(|layer| (layer.descriptor.clone(), Some(layer.diff_id)))
            .collect());
    }
    let others = document.config().into_iter().chain(document.layers());
    Ok(others.map(|blob| (blob.clone(), None)).collect())
}

fn is_image(manifest: &Document) -> bool {
    manifest
        .config()
        .is_some_and(|config| [OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type().as_ref()))
}

/// Walks an index, fetching what has to be read to choose.
struct Tree<'a> {
    store: &'a Store,
    repository: &'a Repository<'a>,
    control: &'a Control,
    /// Manifests in order, with their platforms where those are said.
    manifests: Vec<(Descriptor, Option<Platform>)>,
    seen: HashSet<Digest>,
}

impl Tree<'_> {
    /// Lists the manifests below a document, nested indexes included.
    fn visit(&mut self, top: &Fetched, depth: usize) -> Result<()> {
        let cap = self.store.limits().index_depth;
        if depth >= cap {
            return Err(Error::limit(PULL, format!("indexes nested more than {cap} deep")));
        }
        for child in top.document.manifests() {
            self.control.check(PULL)?;
            let Some(kind) = DocumentKind::of_media_type(child.media_type().as_ref()) else { continue };
            if !self.seen.insert(descriptor_digest(child)?) {
                continue;
            }
            match kind {
                DocumentKind::Manifest => {
                    self.manifests.push((child.clone(), child.platform().as_ref().map(Platform::from)));
                }
                DocumentKind::Index => {
                    let inner = self.document(child)?;
                    self.visit(&inner, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// A manifest or index, out of the store or the registry; it is in the store then.
    fn document(&self, wanted: &Descriptor) -> Result<Fetched> {
        let digest = descriptor_digest(wanted)?;
        let limits = self.store.limits();
        if self.store.blob_size(&digest).is_ok_and(|size| size == wanted.size())
            && let Ok(bytes) = self.store.read_blob(&digest, Some(wanted.size()), limits.json_bytes)
        {
            let document =
                Document::parse(&bytes, Some(wanted.media_type().as_ref()), &digest.to_string(), limits)?;
            return Ok(Fetched { bytes, document, descriptor: wanted.clone() });
        }
        let fetched = self.repository.manifest(Wanted::Child(wanted), limits)?;
        self.store.put_blob(&fetched.bytes)?;
        Ok(fetched)
    }

    /// Puts a manifest's configuration into the store, if it is an image's.
    fn fetch_parts(&self, manifest: &Fetched) -> Result<Descriptor> {
        if let Some(config) = manifest.document.config().filter(|_| is_image(&manifest.document)) {
            let digest = descriptor_digest(config)?;
            if !self.store.blob_size(&digest).is_ok_and(|size| size == config.size()) {
                self.store.put_blob(&self.repository.small_blob(config, self.store.limits())?)?;
            }
        }
        Ok(manifest.descriptor.clone())
    }

    /// The manifest for a platform: the first entry that fits it exactly, else the next platform that runs there.
    fn choose(&mut self, platform: &Platform) -> Result<Descriptor> {
        // What says no platform is judged by its configuration, as the store does.
        for at in 0..self.manifests.len() {
            if self.manifests[at].1.is_none() {
                let fetched = self.document(&self.manifests[at].0)?;
                self.fetch_parts(&fetched)?;
                if is_image(&fetched.document) {
                    let image = Image::from_descriptor(self.store, &self.manifests[at].0, None)?;
                    self.manifests[at].1 = Some(image.platform());
                }
            }
        }
        for wanted in platform.accepts() {
            if let Some((found, _)) = self.manifests.iter().find(|(_, have)| have.as_ref() == Some(&wanted)) {
                let fetched = self.document(found)?;
                return self.fetch_parts(&fetched);
            }
        }
        let mut have: Vec<String> =
            self.manifests.iter().filter_map(|(_, have)| Some(have.as_ref()?.to_string())).collect();
        have.sort();
        have.dedup();
        let message = format!("the image has nothing for {platform}");
        Err(Error::not_found(PULL, message)
            .with_path(self.repository.shown(""))
            .with_hint(format!("choose with --platform among: {}", have.join(", "))))
    }

    /// The manifests whose blobs are wanted, all of them in the store.
    fn wanted(&self, chosen: &Descriptor, all: bool) -> Result<Vec<Descriptor>> {
        let mut out = vec![chosen.clone()];
        if all {
            for (manifest, _) in self.manifests.iter().filter(|(one, _)| one.digest() != chosen.digest()) {
                let fetched = self.document(manifest)?;
                out.push(self.fetch_parts(&fetched)?);
            }
        }
        Ok(out)
    }
}
