//! Follows manifests and indexes to all that they need, and checks it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::{Admission, Source, is_image_config};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Platform;
use crate::store::{Descriptor, Document, DocumentKind, descriptor_digest};

/// The manifest or index that was visited.
#[derive(Debug)]
struct Visited {
    /// Each once, in order.
    configs: Vec<(Digest, Platform)>,
    /// How many indexes lie inside one another here, itself included.
    height: usize,
}

/// The claim about a blob that is referred to: another size or kind is another claim.
type Claim = (Digest, Option<DocumentKind>, u64);

/// A whole image, or the digest of the first blob that is missing of it.
type Whole<T> = std::result::Result<T, Digest>;

/// The walk over what arrived. One serves all entry points, so that each document is visited once.
pub(crate) struct Walk<'c, 'a, S, F> {
    pub admission: &'c mut Admission<'a, S>,
    /// Finds what arrived by its digest.
    find: F,
    /// The results. One document may be referred to any number of times.
    done: HashMap<Claim, Whole<Rc<Visited>>>,
    /// How many configurations stand in all of `done`.
    found: u64,
}

impl<'c, 'a, S: Source, F: Fn(&Digest) -> Result<Option<&'a S>>> Walk<'c, 'a, S, F> {
    /// Starts a walk. `find` returns the file of a digest, if it arrived.
    pub fn new(admission: &'c mut Admission<'a, S>, find: F) -> Self {
        Walk { admission, find, done: HashMap::new(), found: 0 }
    }

    /// Checks a manifest or index and all below it. Returns the digests of its configurations, this machine's platform first;
    /// none for an artifact.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when a blob is missing that it needs, or is not what is claimed.
    pub fn image(&mut self, descriptor: &Descriptor) -> Result<Vec<Digest>> {
        let visited = self.visit(descriptor, 1)?.map_err(|missing| {
            self.corrupt("a blob that the image needs is missing", &missing.to_string())
        })?;
        let mut configs = visited.configs.clone();
        let accepts = Platform::host().accepts();
        configs.sort_by_key(|(_, have)| accepts.iter().position(|p| p == have).unwrap_or(usize::MAX));
        Ok(configs.into_iter().map(|(digest, _)| digest).collect())
    }

    /// Checks a document and all below it.
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Whole<Rc<Visited>>> {
        let digest = descriptor_digest(descriptor)?;
        let claim = claim(descriptor, digest);
        if let Some(done) = self.done.get(&claim) {
            let done = done.clone();
            self.check_depth(depth, done.as_ref().map_or(0, |visited| visited.height))?;
            return Ok(done);
        }
        let visited = match self.document(descriptor, &digest)? {
            Err(missing) => Err(missing),
            Ok(document) if document.kind() == DocumentKind::Index => self.index(&document, depth)?,
            Ok(document) => self.manifest(&document, &digest)?,
        };
        let visited = visited.map(Rc::new);
        if let Ok(visited) = &visited {
            self.found += visited.configs.len() as u64;
            let cap = self.admission.limits.max_entries;
            if self.found > cap {
                let message = format!("the indexes lead to more than {cap} images");
                return Err(Error::limit(self.admission.operation, message).with_path(digest.to_string()));
            }
            let source = (self.find)(&digest)?.expect("it was read");
            self.admission.need(source);
        }
        self.done.insert(claim, visited.clone());
        Ok(visited)
    }

    /// Refuses `height` indexes inside one another that stand `depth` deep, if that is over the cap.
    fn check_depth(&self, depth: usize, height: usize) -> Result<()> {
        let cap = self.admission.store.limits().index_depth;
        match depth + height > cap {
            true => {
                Err(Error::limit(self.admission.operation, format!("indexes nested more than {cap} deep")))
            }
            false => Ok(()),
        }
    }

    fn document(&mut self, descriptor: &Descriptor, digest: &Digest) -> Result<Whole<Document>> {
        let shown = digest.to_string();
        let limits = self.admission.store.limits();
        let Some(source) = self.find(descriptor, digest)? else { return Ok(Err(*digest)) };
        let bytes = self.admission.document(source, &shown)?;
        Document::parse(&bytes, Some(descriptor.media_type().as_ref()), &shown, limits).map(Ok)
    }

    /// Walks an index.
    fn index(&mut self, index: &Document, depth: usize) -> Result<Whole<Visited>> {
        self.check_depth(depth, 1)?;
        let (mut missing, mut complete, mut height) = (None, false, 1);
        let (mut configs, mut children, mut seen) = (Vec::new(), HashSet::new(), HashSet::new());
        for child in index.manifests() {
            let known = DocumentKind::of_media_type(child.media_type().as_ref()).is_some();
            // An index may name one child any number of times, and each of these as often again.
            if !known || !children.insert(claim(child, descriptor_digest(child)?)) {
                continue;
            }
            match self.visit(child, depth + 1)? {
                Err(digest) => missing = missing.or(Some(digest)),
                Ok(visited) => {
                    complete = true;
                    height = height.max(visited.height + 1);
                    let new = visited.configs.iter().filter(|(config, _)| seen.insert(*config));
                    configs.extend(new.cloned());
                }
            }
        }
        Ok(match missing {
            Some(missing) if !complete => Err(missing),
            _ => Ok(Visited { configs, height }),
        })
    }

    fn manifest(&mut self, manifest: &Document, digest: &Digest) -> Result<Whole<Visited>> {
        let shown = digest.to_string();
        let Some(config) = manifest.config() else {
            return Err(self.corrupt("the manifest has no config", &shown));
        };
        let config_digest = descriptor_digest(config)?;
        let Some(source) = self.find(config, &config_digest)? else { return Ok(Err(config_digest)) };
        let mut layers = Vec::new();
        for layer in manifest.layers() {
            let layer_digest = descriptor_digest(layer)?;
            let Some(source) = self.find(layer, &layer_digest)? else { return Ok(Err(layer_digest)) };
            layers.push(source);
        }
        let mut configs = Vec::new();
        let said = match is_image_config(config.media_type().as_ref()) {
            true => Some(self.admission.config(source, &config_digest.to_string())?),
            false => None,
        };
        // BuildKit's attestations have the shape of an image, and statements where one has layers.
        if let Some(config) = said.filter(|config| !config.platform.is_unknown()) {
            let (have, count) = (layers.len(), config.diff_ids.len());
            if have != count {
                let message = format!("the manifest has {have} layers, the configuration {count}");
                return Err(self.corrupt(message, &shown));
            }
            for (source, diff_id) in layers.iter().zip(&config.diff_ids) {
                let shown = source.info().digest.to_string();
                self.admission.layer(source, diff_id, &shown)?;
            }
            configs.push((config_digest, config.platform.clone()));
        } else {
            layers.iter().for_each(|source| self.admission.need(source));
        }
        self.admission.need(source);
        Ok(Ok(Visited { configs, height: 0 }))
    }

    /// Returns the blob a descriptor names, if it arrived; then its size must be right too.
    fn find(&self, descriptor: &Descriptor, digest: &Digest) -> Result<Option<&'a S>> {
        let Some(source) = (self.find)(digest)? else { return Ok(None) };
        let size = source.info().size;
        if size != descriptor.size() {
            let message = format!("the blob has {size} bytes where {} are expected", descriptor.size());
            return Err(self.corrupt(message, &digest.to_string()));
        }
        Ok(Some(source))
    }

    fn corrupt(&self, message: impl Into<String>, path: &str) -> Error {
        Error::corrupt(self.admission.operation, message).with_path(path)
    }
}

fn claim(descriptor: &Descriptor, digest: Digest) -> Claim {
    (digest, DocumentKind::of_media_type(descriptor.media_type().as_ref()), descriptor.size())
}
