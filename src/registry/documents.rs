//! Reading what has to be read of an index to choose one of its images.

use std::collections::HashSet;

use super::client::{Fetched, Repository, Wanted};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::hint::Hint;
use crate::image::{DOCKER_CONFIG, Image, OCI_CONFIG, Platform, layer_compression};
use crate::progress::Control;
use crate::store::{BlobInfo, Descriptor, Document, DocumentKind, Store, descriptor_digest};

const PULL: &str = "pull image";
/// How many manifests and indexes one image may lead to, and how many bytes these may have in all: lists of them stay in memory.
const MAX_DOCUMENTS: usize = 100_000;
const MAX_BYTES: u64 = 64 << 20;

/// The manifests and indexes that one image has led to.
#[derive(Default)]
pub(super) struct Seen {
    digests: HashSet<Digest>,
    bytes: u64,
}

impl Seen {
    /// Counts the manifests and indexes that an index lists, before any is asked for, and returns those that are new.
    pub fn add<'d>(&mut self, operation: &'static str, index: &'d Document) -> Result<Vec<&'d Descriptor>> {
        let mut new = Vec::new();
        for child in index.manifests() {
            let digest = descriptor_digest(child)?;
            let is_document = DocumentKind::of_media_type(child.media_type().as_ref()).is_some();
            if !is_document || !self.digests.insert(digest) {
                continue;
            }
            self.bytes = self.bytes.saturating_add(child.size());
            let over = if self.digests.len() > MAX_DOCUMENTS {
                format!("{MAX_DOCUMENTS} manifests")
            } else if self.bytes > MAX_BYTES {
                format!("{MAX_BYTES} bytes of manifests")
            } else {
                new.push(child);
                continue;
            };
            let message = format!("the index leads to more than {over}");
            return Err(Error::limit(operation, message).with_path(digest.to_string()));
        }
        Ok(new)
    }
}

/// Returns the layers of a manifest that the store holds, with their DiffIDs; other blobs without.
pub(super) fn parts(store: &Store, manifest: &Descriptor) -> Result<Vec<(Descriptor, Option<Digest>)>> {
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

/// An index that is walked, and what has to be read of it to choose.
pub(super) struct Tree<'a> {
    store: &'a Store,
    repository: &'a Repository<'a>,
    control: &'a Control,
    /// Manifests in order, with their platforms where those are said.
    manifests: Vec<(Descriptor, Option<Platform>)>,
    /// The document at the top, and the indexes below it.
    pub indexes: Vec<BlobInfo>,
    seen: Seen,
}

impl<'a> Tree<'a> {
    /// Starts with nothing.
    pub fn new(store: &'a Store, repository: &'a Repository<'a>, control: &'a Control) -> Tree<'a> {
        Tree { store, repository, control, manifests: Vec::new(), indexes: Vec::new(), seen: Seen::default() }
    }

    /// Lists the manifests below a document, nested indexes included.
    pub fn visit(&mut self, top: &Fetched, depth: usize) -> Result<()> {
        let cap = self.store.limits().index_depth;
        self.indexes.push(BlobInfo::of(&top.bytes));
        if depth >= cap {
            return Err(Error::limit(PULL, format!("indexes nested more than {cap} deep"))
                .with_path(self.repository.name()));
        }
        for child in self.seen.add(PULL, &top.document)? {
            self.control.check(PULL)?;
            if DocumentKind::of_media_type(child.media_type().as_ref()) == Some(DocumentKind::Index) {
                let inner = self.document(child)?;
                self.visit(&inner, depth + 1)?;
            } else {
                self.manifests.push((child.clone(), child.platform().as_ref().map(Platform::from)));
            }
        }
        Ok(())
    }

    /// Returns a manifest or index, out of the store or the registry; it is in the store then.
    pub fn document(&self, wanted: &Descriptor) -> Result<Fetched> {
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
    pub fn fetch_parts(&self, manifest: &Fetched) -> Result<Descriptor> {
        if let Some(config) = manifest.document.config().filter(|_| is_image(&manifest.document)) {
            let digest = descriptor_digest(config)?;
            if !self.store.blob_size(&digest).is_ok_and(|size| size == config.size()) {
                self.store.put_blob(&self.repository.small_blob(config, self.store.limits())?)?;
            }
        }
        Ok(manifest.descriptor.clone())
    }

    /// Returns the manifest for a platform: the first entry that fits it exactly, else the next platform that runs there.
    pub fn choose(&mut self, platform: &Platform) -> Result<Descriptor> {
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
        let have = self.manifests.iter().filter_map(|(_, have)| have.as_ref());
        let mut have: Vec<String> = have.filter(|have| !have.is_unknown()).map(ToString::to_string).collect();
        have.sort();
        have.dedup();
        let message = format!("the image has nothing for {platform}");
        Err(Error::not_found(PULL, message)
            .with_path(self.repository.name())
            .with_hint(Hint::ChoosePlatform { have }))
    }

    /// Returns the manifests of the blobs that are wanted, all of them in the store.
    pub fn wanted(&self, chosen: &Descriptor, all: bool) -> Result<Vec<Descriptor>> {
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
