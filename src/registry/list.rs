//! Lists of manifests: one name for the images of several platforms, made of what the store or a registry has.

use std::collections::{BTreeMap, HashMap};

use super::Registries;
use super::client::{Fetched, Wanted};
use super::pull::from_any;
use super::session::Session;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::image::{DOCKER_CONFIG, ImageConfig, OCI_CONFIG, Platform, new_index};
use crate::media_type::OCI_INDEX;
use crate::progress::Control;
use crate::store::{Descriptor, DocumentKind, Limits, Reference, Store, descriptor, descriptor_digest};

const OP: &str = "make manifest list";
/// The annotation, in the store's entry of a list, of an image that was taken from a registry: its name there. What follows is the digest.
const SOURCE: &str = "io.github.treering.source.";

/// A manifest or index as a registry has it.
#[derive(Debug, Clone)]
pub struct RemoteManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads a manifest or an index from its registry, and nothing below it.
pub fn read_manifest(
    registries: &Registries,
    reference: &str,
    limits: &Limits,
    control: &Control,
) -> Result<RemoteManifest> {
    let fetched = fetch(&Session::new(registries, control), reference, limits)?;
    let digest = descriptor_digest(&fetched.descriptor)?;
    Ok(RemoteManifest {
        digest,
        media_type: fetched.descriptor.media_type().to_string(),
        bytes: fetched.bytes,
    })
}

fn fetch(session: &Session, reference: &str, limits: &Limits) -> Result<Fetched> {
    let name = Reference::parse(reference)?.or_latest();
    let wanted = Wanted::of(&name);
    from_any(session, &name, |repository| repository.manifest(wanted, limits))
}

/// Makes an index of images and gives it a name in the store, from where [`push`](super::push()) takes it.
///
/// Each image is one of the store, or else one of its registry, of which only the manifest and the configuration are
/// fetched; the list can then be pushed to that registry, which has the layers. Of an image for several platforms
/// all are taken. `amend` adds to the list that has the name, replacing what is for the same platform; without it, a name that
/// exists is [`ErrorKind::AlreadyExists`].
pub fn create_list(
    store: &Store,
    registries: &Registries,
    name: &str,
    images: &[String],
    amend: bool,
    control: &Control,
) -> Result<Digest> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let name = Reference::parse(name)?.or_latest();
    let session = Session::new(registries, control);
    let mut list = match existing(store, &name)? {
        Some(_) if !amend => {
            return Err(Error::new(ErrorKind::AlreadyExists, OP, "the name already stands for an image")
                .with_path(name.to_string())
                .with_hint(Hint::AmendList));
        }
        Some(list) => list,
        None => List::default(),
    };
    for image in images {
        let (entries, source) = entries_of(store, &session, image)?;
        for entry in entries {
            let platform = entry.platform().as_ref().map(Platform::from);
            list.entries.retain(|old| {
                old.digest() != entry.digest() && old.platform().as_ref().map(Platform::from) != platform
            });
            let digest = descriptor_digest(&entry)?;
            match &source {
                Some(source) => drop(list.sources.insert(digest, source.clone())),
                None => drop(list.sources.remove(&digest)),
            }
            list.entries.push(entry);
        }
    }
    if list.entries.is_empty() {
        return Err(Error::invalid(OP, "a list needs an image").with_path(name.to_string()));
    }
    list.write(store, &name)
}

/// The changes of [`annotate_list`]; what is `None` or empty stays.
#[derive(Debug, Clone, Default)]
pub struct ListAnnotation {
    /// The platform that the entry is for.
    pub platform: Option<Platform>,
    /// Annotations to set on the entry.
    pub annotations: BTreeMap<String, String>,
}

/// Changes what a list in the store says about one of its images, which is named as in [`create_list`] or by its digest.
pub fn annotate_list(
    store: &Store,
    name: &str,
    image: &str,
    change: &ListAnnotation,
    control: &Control,
) -> Result<Digest> {
    let pin = store.pin(control)?;
    let store: &Store = &pin;
    let name = Reference::parse(name)?.or_latest();
    let mut list = existing(store, &name)?.ok_or_else(|| {
        Error::not_found(OP, "no list in the store has this name").with_path(name.to_string())
    })?;
    let digest = list.find(store, image)?;
    let found = list.entries.iter_mut().find(|entry| descriptor_digest(entry).ok() == Some(digest));
    let entry = found.ok_or_else(|| Error::not_found(OP, "the list has no such image").with_path(image))?;
    if let Some(platform) = &change.platform {
        entry.set_platform(Some(platform.to_oci(OP)?));
    }
    if !change.annotations.is_empty() {
        let mut annotations = entry.annotations().clone().unwrap_or_default();
        annotations.extend(change.annotations.clone());
        entry.set_annotations(Some(annotations));
    }
    list.write(store, &name)
}

/// A list of manifests that can be changed.
#[derive(Default)]
struct List {
    entries: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
    /// The names at a registry of those that were taken from there.
    sources: BTreeMap<Digest, Reference>,
}

impl List {
    /// Returns the digest of one of its images, by the name it was given with or by the digest itself.
    fn find(&self, store: &Store, image: &str) -> Result<Digest> {
        let listed =
            |digest: &Digest| self.entries.iter().any(|entry| entry.digest().digest() == digest.hex());
        if let Ok(digest) = image.parse::<Digest>() {
            return Ok(digest);
        }
        let name = Reference::parse(image).ok().map(Reference::or_latest);
        if let Some(digest) = name.as_ref().and_then(|name| name.digest()).filter(|digest| listed(digest)) {
            return Ok(*digest);
        }
        let held = store.resolve(image).and_then(|found| descriptor_digest(&found.descriptor));
        // What the name stands for in the store may have come after the list.
        if let Ok(digest) = &held
            && listed(digest)
        {
            return Ok(*digest);
        }
        let mut from = self.sources.iter().filter(|(_, source)| Some(*source) == name.as_ref());
        match (from.next(), from.next()) {
            (Some((digest, _)), None) => Ok(*digest),
            (Some(_), Some(_)) => Err(Error::invalid(OP, "the list has several images of this name")
                .with_path(image)
                .with_hint("give the digest of one of them")),
            (None, _) => held,
        }
    }

    /// Puts the list into the store, and its name.
    fn write(&self, store: &Store, name: &Reference) -> Result<Digest> {
        let info = store.put_blob(&new_index(&self.entries, &self.annotations)?)?;
        let mut entry = descriptor(OCI_INDEX, &info);
        let listed = self.entries.iter().filter_map(|entry| {
            let digest = descriptor_digest(entry).ok()?;
            Some((format!("{SOURCE}{digest}"), self.sources.get(&digest)?.canonical()))
        });
        let sources: HashMap<_, _> = listed.collect();
        entry.set_annotations((!sources.is_empty()).then_some(sources));
        store.tag(name, &entry)?;
        Ok(info.digest)
    }
}

/// Returns the names at registries of a list's images that were taken from there, as the store's entry of the list has them.
pub(super) fn sources_of(entry: &Descriptor) -> BTreeMap<Digest, Reference> {
    let annotations = entry.annotations().iter().flatten();
    let named = annotations.filter_map(|(key, name)| {
        Some((key.strip_prefix(SOURCE)?.parse().ok()?, Reference::parse(name).ok()?.or_latest()))
    });
    named.collect()
}

/// Returns the index that has a name in the store.
fn existing(store: &Store, name: &Reference) -> Result<Option<List>> {
    let Some(found) = store.refs()?.into_iter().find(|known| known.name == *name) else { return Ok(None) };
    let document = store.read_document(&found.descriptor)?;
    if document.kind() != DocumentKind::Index {
        return Err(Error::new(ErrorKind::AlreadyExists, OP, "the name stands for an image of one platform")
            .with_path(name.to_string()));
    }
    let annotations =
        document.annotations().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let (entries, sources) = (document.manifests().to_vec(), sources_of(&found.descriptor));
    Ok(Some(List { entries, annotations, sources }))
}

/// Returns the entries that an image gives, its own or those of its index, and its name when its registry has it and the store has not.
fn entries_of(store: &Store, session: &Session, image: &str) -> Result<(Vec<Descriptor>, Option<Reference>)> {
    let mut source = None;
    let found = match store.resolve(image) {
        Ok(resolved) => {
            let document = store.read_document(&resolved.descriptor)?;
            Fetched { bytes: Vec::new(), descriptor: resolved.descriptor, document }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let fetched = fetch(session, image, store.limits())?;
            store.put_blob(&fetched.bytes)?;
            source = Some(Reference::parse(image)?.or_latest());
            fetched
        }
        Err(error) => return Err(error),
    };
    if found.document.kind() == DocumentKind::Index {
        let images = found.document.manifests().iter();
        let mut out = Vec::new();
        for child in images.filter(|child| DocumentKind::of_media_type(child.media_type().as_ref()).is_some())
        {
            bring(store, session, image, child)?;
            out.push(child.clone());
        }
        return Ok((out, source));
    }
    let mut entry = found.descriptor.clone();
    entry.set_annotations(None);
    entry.set_data(None);
    if entry.platform().is_none()
        && let Some(config) = found.document.config()
        && [OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type().as_ref())
    {
        bring(store, session, image, config)?;
        let digest = descriptor_digest(config)?;
        let bytes = store.read_blob(&digest, Some(config.size()), store.limits().json_bytes)?;
        let platform = ImageConfig::parse(bytes, &digest.to_string(), store.limits())?.platform();
        entry.set_platform(Some(platform.to_oci(OP)?));
    }
    Ok((vec![entry], source))
}

/// Puts a document of an image into the store, if it is not there.
fn bring(store: &Store, session: &Session, image: &str, wanted: &Descriptor) -> Result<()> {
    if store.blob_size(&descriptor_digest(wanted)?).is_ok_and(|size| size == wanted.size()) {
        return Ok(());
    }
    let name = Reference::parse(image)?.or_latest();
    let bytes = from_any(session, &name, |repository| {
        match DocumentKind::of_media_type(wanted.media_type().as_ref()) {
            Some(_) => Ok(repository.manifest(Wanted::Child(wanted), store.limits())?.bytes),
            None => repository.small_blob(wanted, store.limits()),
        }
    })?;
    store.put_blob(&bytes).map(drop)
}
