//! Pushing: from the store to a registry.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::os::unix::fs::FileExt;

use super::Registries;
use super::cargo::{Cargo, Round, SMALLER_THAN_A_QUESTION, deliver, known};
use super::client::{Fetched, Repository};
use super::config::{Config, Endpoint};
use super::list::sources_of;
use super::session::Session;
use super::transfer::{Progress, announced};
use super::upload::{Blob, upload};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::image::{Image, Platform, is_distributable};
use crate::progress::Control;
use crate::store::{Descriptor, Document, DocumentKind, Reference, Store, descriptor_digest};

const PUSH: &str = "push image";
/// How many names of other repositories of the registry are looked at for blobs to mount.
const MAX_NAMES: usize = 200;
/// How many other repositories are asked for blobs.
const MAX_SOURCES: usize = 4;

/// Options of a push.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Only this platform's image out of one for several.
    pub platform: Option<Platform>,
    /// Send blobs even where another repository of the registry is known to hold them.
    pub no_mount: bool,
}

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Pushed {
    /// The name at the registry.
    pub name: Reference,
    /// The digest that the registry has it under now.
    pub digest: Digest,
    /// The size of the manifest or index, in bytes.
    pub size: u64,
    /// How many blobs were sent.
    pub sent: u64,
    /// How many bytes they have.
    pub bytes_sent: u64,
    /// How many blobs were taken from another repository of the registry.
    pub mounted: u64,
    /// How many blobs were there already.
    pub present: u64,
    /// The platform that was pushed alone, because the store does not hold the others of the image.
    pub only_platform: Option<Platform>,
}

/// Pushes an image of the store to a registry: its blobs, three at a time, then its manifests, byte for byte as they are in
/// the store. What the registry holds is not sent again: neither the layers of the image that had the name, nor what the
/// repository has, nor what can be mounted from another repository that the store has images of.
///
/// `target` is where to, as `docker push` takes it; its tag is `latest` when it has none. Of an image for several platforms
/// with other manifests that the store does not hold, this machine's is pushed alone, as Docker does. Layers that must not
/// be distributed are left out (layer.md, "Non-Distributable Layers").
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] when the image, or a blob that the registry lacks, is not in the store;
/// [`crate::ErrorKind::Unauthorized`], [`crate::ErrorKind::Network`]. The name at the registry then still stands for what it stood for.
pub fn push(
    store: &Store,
    registries: &Registries,
    image: &str,
    target: &str,
    options: &PushOptions,
    control: &Control,
) -> Result<Pushed> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let name = Reference::parse(target)?.or_latest();
    let session = Session::new(registries, control);
    let text = format!("push {}", name.canonical());
    announced(
        control,
        text,
        |pushed: &Pushed| pushed.bytes_sent,
        || push_with(&session, store, image, &name, options),
    )
}

fn push_with(
    session: &Session,
    store: &Store,
    image: &str,
    name: &Reference,
    options: &PushOptions,
) -> Result<Pushed> {
    let resolved = store.resolve(image)?;
    let (top, only_platform) = choose(store, &resolved.descriptor, options)?;
    let mut cargo = Cargo::default();
    gather(&mut cargo, &mut HashSet::new(), store, &top, 1)?;
    let endpoint = session.registries.config.of(name)?;
    let config = &session.registries.config;
    let mut sources =
        if options.no_mount { HashMap::new() } else { sources(store, config, &endpoint, &cargo)? };
    let foreign = lacking(store, config, &endpoint, &sources_of(&resolved.descriptor), &mut sources)?;
    let mut repository = Repository::open(session, &endpoint, true)?;
    for source in sources.values().flatten().collect::<BTreeSet<_>>() {
        repository.scopes = repository.scopes.and_pull(source);
    }
    let known = known(&repository, name, store.limits(), Some((store, &cargo)))?;
    let job = |blob: &Descriptor, round: &Round| send(&repository, store, blob, &sources, &foreign, round);
    let (sent, bytes_sent, mounted, present) =
        deliver("push", &repository, name, &cargo, known, store.limits(), job)?;
    let digest = descriptor_digest(&top)?;
    Ok(Pushed {
        name: name.clone(),
        digest,
        size: top.size(),
        sent,
        bytes_sent,
        mounted,
        present,
        only_platform,
    })
}

/// Finds where the blobs are that the store lacks, of images that a list has from a registry: adds the repositories of the same registry that
/// have them, and returns the images at another one. Such a blob can only be mounted.
fn lacking(
    store: &Store,
    config: &Config,
    target: &Endpoint,
    listed: &BTreeMap<Digest, Reference>,
    sources: &mut HashMap<Digest, Vec<String>>,
) -> Result<HashMap<Digest, Reference>> {
    let mut foreign = HashMap::new();
    for (manifest, name) in listed {
        let place = config.of(name)?;
        let bytes = store.read_blob(manifest, None, store.limits().json_bytes)?;
        let document = Document::parse(&bytes, None, &manifest.to_string(), store.limits())?;
        for blob in document.config().into_iter().chain(document.layers()) {
            let digest = descriptor_digest(blob)?;
            if store.blob_size(&digest).is_ok_and(|held| held == blob.size()) {
                continue;
            }
            match place.origin == target.origin {
                true => sources.entry(digest).or_default().insert(0, place.repository.clone()),
                false => drop(foreign.insert(digest, name.clone())),
            }
        }
    }
    Ok(foreign)
}

/// Chooses what is pushed: the whole, or one platform of it.
fn choose(store: &Store, top: &Descriptor, options: &PushOptions) -> Result<(Descriptor, Option<Platform>)> {
    if let Some(platform) = &options.platform {
        let image = Image::from_descriptor(store, top, Some(platform))?;
        return Ok((image.descriptor().clone(), Some(image.platform())));
    }
    let document = store.read_document(top)?;
    if document.kind() == DocumentKind::Manifest || is_complete(store, &document, 1)? {
        return Ok((top.clone(), None));
    }
    let image = Image::from_descriptor(store, top, None)?;
    Ok((image.descriptor().clone(), Some(image.platform())))
}

/// Returns whether the store holds every manifest below an index.
fn is_complete(store: &Store, index: &Document, depth: usize) -> Result<bool> {
    for child in index.manifests() {
        let held = store.blob_size(&descriptor_digest(child)?).is_ok_and(|size| size == child.size());
        if !held {
            return Ok(false);
        }
        let nested = DocumentKind::of_media_type(child.media_type().as_ref()) == Some(DocumentKind::Index);
        if nested
            && depth < store.limits().index_depth
            && !is_complete(store, &store.read_document(child)?, depth + 1)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Collects what a descriptor leads to.
fn gather(
    cargo: &mut Cargo,
    seen: &mut HashSet<Digest>,
    store: &Store,
    descriptor: &Descriptor,
    depth: usize,
) -> Result<()> {
    let digest = descriptor_digest(descriptor)?;
    if !seen.insert(digest) {
        return Ok(());
    }
    let cap = store.limits().index_depth;
    if depth > cap {
        return Err(Error::limit(PUSH, format!("indexes nested more than {cap} deep")));
    }
    if DocumentKind::of_media_type(descriptor.media_type().as_ref()).is_none() {
        cargo.blobs.push(descriptor.clone());
        return Ok(());
    }
    let bytes = store.read_blob(&digest, Some(descriptor.size()), store.limits().json_bytes)?;
    let media_type = descriptor.media_type().to_string();
    let document = Document::parse(&bytes, Some(&media_type), &digest.to_string(), store.limits())?;
    for child in document.manifests() {
        gather(cargo, seen, store, child, depth + 1)?;
    }
    for blob in document.config().into_iter().chain(document.layers()) {
        if is_distributable(blob.media_type().as_ref()) && seen.insert(descriptor_digest(blob)?) {
            cargo.blobs.push(blob.clone());
        }
    }
    let mut plain = descriptor.clone();
    plain.set_annotations(None);
    plain.set_data(None);
    cargo.documents.push(Fetched { bytes, descriptor: plain, document });
    Ok(())
}

/// Finds other repositories of the same registry that hold blobs of the cargo, by the store's own names. What they are called there is for
/// the configuration to say.
fn sources(
    store: &Store,
    config: &Config,
    target: &Endpoint,
    cargo: &Cargo,
) -> Result<HashMap<Digest, Vec<String>>> {
    let wanted: HashSet<Digest> =
        cargo.blobs.iter().filter_map(|blob| descriptor_digest(blob).ok()).collect();
    let mut out: HashMap<Digest, Vec<String>> = HashMap::new();
    let mut paths: BTreeSet<String> = BTreeSet::new();
    let others = store.refs()?.into_iter().filter_map(|other| {
        let place = config.of(&other.name).ok()?;
        let same = place.origin == target.origin && place.repository != target.repository;
        same.then_some((place.repository, other.descriptor))
    });
    for (path, descriptor) in others.take(MAX_NAMES) {
        if paths.len() >= MAX_SOURCES && !paths.contains(&path) {
            continue;
        }
        let Ok(document) = store.read_document(&descriptor) else { continue };
        let children = document.manifests().iter().filter_map(|child| store.read_document(child).ok());
        for manifest in children.chain([document.clone()]) {
            for blob in manifest.config().into_iter().chain(manifest.layers()) {
                let digest = descriptor_digest(blob)?;
                let known = out.entry(digest).or_default();
                if wanted.contains(&digest) && !known.contains(&path) {
                    known.push(path.clone());
                    paths.insert(path.clone());
                }
            }
        }
    }
    out.retain(|_, paths| !paths.is_empty());
    Ok(out)
}

fn send(
    repository: &Repository,
    store: &Store,
    descriptor: &Descriptor,
    sources: &HashMap<Digest, Vec<String>>,
    foreign: &HashMap<Digest, Reference>,
    round: &Round,
) -> Result<()> {
    const OP: &str = "push blob";
    let control = repository.session.control;
    let digest = descriptor_digest(descriptor)?;
    let size = descriptor.size();
    let Some(share) = round.begin(control, &digest, size) else { return Ok(()) };
    let elsewhere = sources.get(&digest).map(Vec::as_slice).unwrap_or_default();
    let lacks = || {
        let error = Error::not_found(OP, "neither the store nor the registry holds this blob")
            .with_path(digest.to_string());
        match foreign.get(&digest) {
            Some(name) => error.with_hint(format!(
                "the list has it from {name}: copy that image into the registry of the list first"
            )),
            None => error.with_hint("pull or load the image again"),
        }
    };
    let held = store.blob_size(&digest).is_ok_and(|held| held == size);
    // An index may list images that are at the registry only.
    if !held && repository.blob_size(OP, &digest)?.is_some() {
        round.tally.present();
        return Ok(());
    }
    if !held && elsewhere.is_empty() {
        return Err(lacks());
    }
    let file = held.then(|| store.open_blob(&digest)).transpose()?;
    let open = |from: u64| -> Result<Box<dyn Read>> {
        let file = file.as_ref().ok_or_else(lacks)?;
        let file = file.try_clone().map_err(|error| Error::io(OP, digest.to_string(), error))?;
        Ok(Box::new(FileFrom { file, at: from, digest }))
    };
    // A configuration is new whenever anything is, and smaller than the question.
    let ask = held && size > SMALLER_THAN_A_QUESTION;
    let progress = Progress::shared(control, share, 0, digest.to_string(), size);
    let kept_in = held.then_some(store);
    let blob = Blob { digest, size, elsewhere, ask, open: &open, kept_in, parts: &round.parts };
    let outcome = upload(repository, &blob, &progress)?;
    round.tally.count(outcome, size);
    Ok(())
}

/// A reader of a file by offset, so that several can read one descriptor.
pub(super) struct FileFrom {
    pub file: std::fs::File,
    pub at: u64,
    /// The digest of what is in it, for errors.
    pub digest: Digest,
}

impl Read for FileFrom {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // As an error of its own: a bare one would look like the connection's.
        let n = self.file.read_at(buffer, self.at).at("read blob", self.digest.to_string())?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::registry::origin::Origin;
    use crate::registry::transport::describe;

    #[test]
    fn a_disk_that_fails_is_not_the_network() {
        let digest = Digest::of(b"x");
        // A directory can be opened, and not be read.
        let mut file = FileFrom { file: std::fs::File::open("/").unwrap(), at: 0, digest };
        let error = file.read(&mut [0; 8]).unwrap_err();
        let error = describe(ureq::Error::Io(error), "push blob", &Origin::new(true, "a.example", None));
        assert_ne!(error.kind(), ErrorKind::Network, "{error}");
        assert!(error.to_string().contains(&digest.to_string()), "{error}");
    }
}
