//! Lists of manifests: one name for the images of several platforms, made of what the store or a registry has.

use std::collections::BTreeMap;

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
use crate::store::{
    Descriptor, Document, DocumentKind, Limits, Reference, Store, descriptor, descriptor_digest,
};

const OP: &str = "make manifest list";

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
/// fetched; pushing the list then needs the layers to be in the target repository already. Of an image for several platforms
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
    let (mut entries, annotations) = match existing(store, &name)? {
        Some(_) if !amend => {
            return Err(Error::new(ErrorKind::AlreadyExists, OP, "the name already stands for an image")
                .with_path(name.to_string())
                .with_hint(Hint::AmendList));
        }
        Some(list) => (list.manifests().to_vec(), annotations_of(&list)),
        None => (Vec::new(), BTreeMap::new()),
    };
    for image in images {
        for entry in entries_of(store, &session, image)? {
            let platform = entry.platform().as_ref().map(Platform::from);
            entries.retain(|old| {
                old.digest() != entry.digest() && old.platform().as_ref().map(Platform::from) != platform
            });
            entries.push(entry);
        }
    }
    if entries.is_empty() {
        return Err(Error::invalid(OP, "a list needs an image").with_path(name.to_string()));
    }
    write(store, &name, &entries, &annotations)
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
    let list = existing(store, &name)?.ok_or_else(|| {
        Error::not_found(OP, "no list in the store has this name").with_path(name.to_string())
    })?;
    let digest = match image.parse::<Digest>() {
        Ok(digest) => digest,
        Err(_) => match Reference::parse(image).ok().and_then(|image| image.digest().copied()) {
            Some(digest) => digest,
            None => descriptor_digest(&store.resolve(image)?.descriptor)?,
        },
    };
    let mut entries = list.manifests().to_vec();
    let found = entries.iter_mut().find(|entry| descriptor_digest(entry).ok() == Some(digest));
    let entry = found.ok_or_else(|| Error::not_found(OP, "the list has no such image").with_path(image))?;
    if let Some(platform) = &change.platform {
        entry.set_platform(Some(platform.to_oci(OP)?));
    }
    if !change.annotations.is_empty() {
        let mut annotations = entry.annotations().clone().unwrap_or_default();
        annotations.extend(change.annotations.clone());
        entry.set_annotations(Some(annotations));
    }
    write(store, &name, &entries, &annotations_of(&list))
}

/// Returns the index that has a name in the store.
fn existing(store: &Store, name: &Reference) -> Result<Option<Document>> {
    let Some(found) = store.refs()?.into_iter().find(|known| known.name == *name) else { return Ok(None) };
    let document = store.read_document(&found.descriptor)?;
    if document.kind() != DocumentKind::Index {
        return Err(Error::new(ErrorKind::AlreadyExists, OP, "the name stands for an image of one platform")
            .with_path(name.to_string()));
    }
    Ok(Some(document))
}

fn annotations_of(list: &Document) -> BTreeMap<String, String> {
    list.annotations().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// Returns the entries that an image gives: its own, or those of its index.
fn entries_of(store: &Store, session: &Session, image: &str) -> Result<Vec<Descriptor>> {
    let found = match store.resolve(image) {
        Ok(resolved) => {
            let document = store.read_document(&resolved.descriptor)?;
            Fetched { bytes: Vec::new(), descriptor: resolved.descriptor, document }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let fetched = fetch(session, image, store.limits())?;
            store.put_blob(&fetched.bytes)?;
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
        return Ok(out);
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
    Ok(vec![entry])
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

fn write(
    store: &Store,
    name: &Reference,
    entries: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<Digest> {
    let info = store.put_blob(&new_index(entries, annotations)?)?;
    store.tag(name, &descriptor(OCI_INDEX, &info))?;
    Ok(info.digest)
}
