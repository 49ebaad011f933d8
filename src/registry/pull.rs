//! Pulling: from a registry into the store.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::Registries;
use super::client::{Repository, Wanted, elsewhere};
use super::config::Endpoint;
use super::documents::{Tree, parts};
use super::fetch::{Fetcher, Job};
use super::session::Session;
use super::transfer::{announced, each};
use crate::compress::{DecodeLimits, Decoded};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{
    Admission, AdmissionLimits, Image, Layer, Layers, NamePolicy, Notes, Platform, Ready, UnpackOptions,
    Unpacked, Walk, unpack_from,
};
use crate::progress::{Control, Share};
use crate::store::{BlobInfo, Descriptor, DocumentKind, Reference, Store, descriptor_digest};
use crate::threads::{self, lock};

const PULL: &str = "pull image";
/// How many images the index of one pull may lead to.
const MAX_IMAGES: u64 = 100_000;

/// Options of a pull.
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

/// The result of a pull.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
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
/// is cut goes on where it ended, also in the next pull. Sizes, digests and DiffIDs are checked before the image gets its name; mirrors are asked
/// first.
///
/// `reference` is a name as `docker pull` takes it: `debian`, `registry.example:5000/app:v1`, `app@sha256:…`. The name moves
/// to the new image when another one had it.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] when the registry does not have it, or nothing for the platform; [`crate::ErrorKind::Unauthorized`],
/// [`crate::ErrorKind::Network`]; [`crate::ErrorKind::Corrupt`] when what arrives is not what was announced; [`crate::ErrorKind::Limit`] over a
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
    dir: impl AsRef<Path>,
    options: &PullOptions,
    unpack: &UnpackOptions,
    control: &Control,
) -> Result<(Pulled, Unpacked)> {
    let dir = dir.as_ref();
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
    let text = format!("pull {}", name.canonical());
    announced(control, text, |pulled: &Pulled| pulled.bytes_fetched, || from_any(&session, name, work))
}

/// Does something with a repository at the first endpoint that has what is wanted: mirrors, then the registry itself.
pub(super) fn from_any<T>(
    session: &Session,
    name: &Reference,
    work: impl FnMut(&Repository) -> Result<T>,
) -> Result<T> {
    from_first(session, &session.registries.config.endpoints(name)?, work)
}

/// Does what [`from_any`] does at endpoints of which the last one is the registry itself.
pub(super) fn from_first<T>(
    session: &Session,
    endpoints: &[Endpoint],
    mut work: impl FnMut(&Repository) -> Result<T>,
) -> Result<T> {
    for endpoint in endpoints {
        let result = Repository::open(session, endpoint, false).and_then(|repository| work(&repository));
        match result {
            Err(error) if endpoint.mirror && elsewhere(&error) => {
                let message = format!("the mirror {} was not used: {error}", endpoint.origin);
                session.warn_once(message);
            }
            result => return result,
        }
    }
    unreachable!("the registry itself comes last, and is no mirror")
}

/// The plan of a pull, with all documents in the store already.
struct Plan<'a> {
    fetcher: Fetcher<'a>,
    options: &'a PullOptions,
    /// The manifest or index that the name will stand for.
    top: Descriptor,
    /// The image of the platform that was chosen.
    image: Image,
    jobs: Vec<Job>,
    /// Blobs that are fetched, and documents that were read to find them. It is in the store once all is fetched.
    arrives: HashMap<Digest, BlobInfo>,
}

/// The layers of a plan, from the store or on their way to it.
struct Arriving<'a> {
    plan: &'a Plan<'a>,
    applied: Mutex<Vec<(Layer, Decoded)>>,
}

impl Layers for Arriving<'_> {
    fn open(&self, layer: &Layer) -> Result<Box<dyn Read + Send>> {
        match self.plan.jobs.iter().find(|job| job.digest == layer.digest) {
            Some(job) => Ok(Box::new(job.arrival.reader(&self.plan.fetcher.control.cancel))),
            None => self.plan.fetcher.store.open(layer),
        }
    }

    fn applied(&self, layer: &Layer, decoded: &Decoded) {
        let mut applied = lock(&self.applied);
        applied.push((layer.clone(), *decoded));
    }
}

impl<'a> Plan<'a> {
    /// Reads the documents and finds out what is missing.
    fn make(
        store: &'a Store,
        repository: &'a Repository<'a>,
        name: &Reference,
        options: &'a PullOptions,
    ) -> Result<Plan<'a>> {
        let control = repository.session.control;
        let wanted = Wanted::of(name);
        let top = repository.manifest(wanted, store.limits())?;
        store.put_blob(&top.bytes)?;
        let mut tree = Tree::new(store, repository, control);
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
        let mut arrives: HashMap<Digest, BlobInfo> = HashMap::new();
        for manifest in tree.wanted(&chosen, options.all_platforms)? {
            let config = store.read_document(&manifest)?.config().cloned();
            for document in config.iter().chain([&manifest]) {
                let digest = descriptor_digest(document)?;
                arrives.insert(digest, BlobInfo { digest, size: document.size() });
            }
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
        let mut jobs = Vec::new();
        for digest in order {
            let (descriptor, diff_id) = blobs.remove(&digest).expect("each digest is in the order once");
            arrives.insert(digest, BlobInfo { digest, size: descriptor.size() });
            if !store.blob_size(&digest).is_ok_and(|size| size == descriptor.size()) {
                jobs.push(Job { descriptor, digest, diff_id, arrival: Arc::default() });
            }
        }
        let total: u64 = jobs.iter().fold(0, |sum, job| sum.saturating_add(job.descriptor.size()));
        let share = Share::new(control, total);
        arrives.extend(tree.indexes.iter().map(|index| (index.digest, *index)));
        let (decode, parts) = (options.decode.clone(), control.cancel.for_parts());
        let fetcher =
            Fetcher { store, repository, control, step: 0, decode, share, parts, notes: Notes::default() };
        Ok(Plan { fetcher, options, top: top.descriptor, image, jobs, arrives })
    }

    /// Fetches every blob that is missing, and checks layers while they arrive.
    fn fetch(&self) -> Result<()> {
        each("pull", &self.fetcher.parts, &self.jobs, |job| self.fetcher.fetch_checked(job))
    }

    /// Fetches every blob that is missing, and unpacks the image meanwhile.
    fn fetch_and_unpack(&self, name: &Reference, dir: &Path, options: &UnpackOptions) -> Result<Unpacked> {
        let own: HashSet<Digest> = self.image.layers().iter().map(|layer| layer.digest).collect();
        let fetch = || {
            // Unpacking checks the image's own layers.
            let result =
                each("pull", &self.fetcher.parts, &self.jobs, |job| match own.contains(&job.digest) {
                    true => self.fetcher.fetch_one(job),
                    false => self.fetcher.fetch_checked(job),
                });
            // What was not begun will not come.
            self.jobs.iter().for_each(|job| job.arrival.end(false));
            result
        };
        let layers = Arriving { plan: self, applied: Mutex::default() };
        let text = name.to_string();
        let Fetcher { store, control, .. } = self.fetcher;
        let unpack = || unpack_from(store, &self.image, text.as_str().into(), dir, options, &layers, control);
        let unpacked = std::thread::scope(|scope| {
            let Ok(thread) = threads::spawn(scope, "treering-fetch", fetch) else {
                // Where no thread is to be had, one comes after the other.
                fetch()?;
                return unpack();
            };
            let unpacked = unpack();
            if unpacked.is_err() {
                self.fetcher.parts.cancel();
            }
            match (threads::join(thread), unpacked) {
                // A layer that did not come fails both; the transfer's own error says why.
                (Err(error), Err(_))
                    if error.kind() != ErrorKind::Cancelled || control.cancel.is_cancelled() =>
                {
                    Err(error)
                }
                (Err(error), Ok(_)) => Err(error),
                (_, unpacked) => unpacked,
            }
        })?;
        for (layer, decoded) in layers.applied.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if store.diff_id_for_blob(&layer.digest)? != Some(layer.diff_id) {
                self.fetcher.remember(&layer.descriptor, layer.diff_id, &decoded)?;
            }
        }
        Ok(unpacked)
    }

    /// Compares what the documents say with what has arrived, and gives the image its name.
    fn publish(&self, pulled_by: &Reference) -> Result<Pulled> {
        let name = match (&self.options.name, pulled_by.digest()) {
            (Some(name), _) => Some(name.clone().or_latest()),
            (None, None) => Some(pulled_by.clone()),
            (None, Some(_)) => pulled_by.tag().map(|tag| pulled_by.with_tag(tag)).transpose()?,
        };
        let digest = descriptor_digest(&self.top)?;
        let Fetcher { store, control, .. } = self.fetcher;
        let stood_for = store.refs()?.into_iter().find(|known| Some(&known.name) == name.as_ref());
        let same = stood_for.is_some_and(|known| descriptor_digest(&known.descriptor).ok() == Some(digest));
        let limits = AdmissionLimits { max_entries: MAX_IMAGES, decode: self.options.decode.clone() };
        let mut admission = Admission::new(store, PULL, limits, control);
        let configs = Walk::new(&mut admission, |digest| Ok(self.arrives.get(digest))).image(&self.top)?;
        let names = name.iter().cloned().collect();
        let ready = Ready { names, descriptor: self.top.clone(), configs };
        admission.finish(vec![ready], NamePolicy::Move)?;
        self.fetcher.notes.list_images(store, [&self.top], control);
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
}
