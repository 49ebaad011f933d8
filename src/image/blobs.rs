//! Lists the blobs that must leave with an image into an archive.

use std::collections::{HashMap, HashSet};

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Control;
use crate::store::{BlobInfo, Descriptor, DocumentKind, Store, descriptor_digest};

/// The blobs of several images, each once.
pub(crate) struct Blobs<'a> {
    store: &'a Store,
    operation: &'static str,
    control: &'a Control,
    parts: Vec<BlobInfo>,
    listed: HashSet<Digest>,
    /// The first blob that is missing of what a descriptor leads to. Indexes may name one thing any number of times.
    done: HashMap<(Digest, Option<DocumentKind>, u64), Option<Digest>>,
}

impl<'a> Blobs<'a> {
    /// Returns an empty list. Errors name `operation`.
    pub fn new(store: &'a Store, operation: &'static str, control: &'a Control) -> Self {
        let (parts, listed, done) = (Vec::new(), HashSet::new(), HashMap::new());
        Blobs { store, operation, control, parts, listed, done }
    }

    /// Adds the blobs a manifest or index leads to, itself included. Of an index, one image has to be whole and the others
    /// may be left out (image-layout.md, "Blobs").
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], with the first digest, when the store does not hold a blob that is needed.
    pub fn add(&mut self, descriptor: &Descriptor) -> Result<()> {
        let Some(missing) = self.visit(descriptor, 1)? else { return Ok(()) };
        let message = "the store does not hold a blob of the image, or not all of it";
        Err(Error::not_found(self.operation, message)
            .with_path(missing.to_string())
            .with_hint("pull or load the image again"))
    }

    /// Returns the blobs in an order in which they may arrive: whatever a document refers to stands before it.
    pub fn into_parts(self) -> Vec<BlobInfo> {
        self.parts
    }

    /// Adds what a descriptor leads to, unless a blob is missing: returns the first one then.
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Option<Digest>> {
        self.control.check(self.operation)?;
        let kind = DocumentKind::of_media_type(descriptor.media_type().as_ref());
        let claim = (descriptor_digest(descriptor)?, kind, descriptor.size());
        if let Some(done) = self.done.get(&claim) {
            return Ok(*done);
        }
        let missing = self.blobs(descriptor, depth)?;
        self.done.insert(claim, missing);
        Ok(missing)
    }

    fn blobs(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Option<Digest>> {
        let own = info_of(descriptor)?;
        if !self.holds(&own)? {
            return Ok(Some(own.digest));
        }
        let document = self.store.read_document(descriptor)?;
        if document.kind() == DocumentKind::Index {
            let cap = self.store.limits().index_depth;
            if depth >= cap {
                let message = format!("indexes nested more than {cap} deep");
                return Err(Error::limit(self.operation, message));
            }
            let (images, others): (Vec<_>, Vec<_>) = document
                .manifests()
                .iter()
                .partition(|child| DocumentKind::of_media_type(child.media_type().as_ref()).is_some());
            // What is no image may be left out, and an index of nothing else is complete by itself.
            let (mut complete, mut first) = (images.is_empty(), None);
            for child in images {
                match self.visit(child, depth + 1)? {
                    None => complete = true,
                    Some(missing) => first = first.or(Some(missing)),
                }
            }
            for child in others {
                let part = info_of(child)?;
                if self.holds(&part)? {
                    self.list(part);
                }
            }
            if !complete {
                return Ok(first);
            }
            self.list(own);
            return Ok(None);
        }
        let mut parts = Vec::new();
        for part in document.config().into_iter().chain(document.layers()) {
            let part = info_of(part)?;
            if !self.holds(&part)? {
                return Ok(Some(part.digest));
            }
            parts.push(part);
        }
        parts.push(own);
        parts.into_iter().for_each(|part| self.list(part));
        Ok(None)
    }

    fn list(&mut self, part: BlobInfo) {
        if self.listed.insert(part.digest) {
            self.parts.push(part);
        }
    }

    fn holds(&self, part: &BlobInfo) -> Result<bool> {
        match self.store.blob_size(&part.digest) {
            Ok(size) => Ok(size == part.size),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn info_of(descriptor: &Descriptor) -> Result<BlobInfo> {
    Ok(BlobInfo { digest: descriptor_digest(descriptor)?, size: descriptor.size() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{
        ManifestOptions, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, new_index, new_manifest,
    };
    use crate::store::descriptor;

    #[test]
    fn what_is_referred_to_comes_first_and_each_blob_once() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let put = |media_type: &str, bytes: &[u8]| descriptor(media_type, &store.put_blob(bytes).unwrap());
        let (config, layer) = (put(OCI_CONFIG, b"{}"), put(OCI_LAYER, b"layer"));
        let image = |layers: &[Descriptor]| {
            put(OCI_MANIFEST, &new_manifest(&config, layers, &ManifestOptions::default()).unwrap())
        };
        let (one, two) = (image(std::slice::from_ref(&layer)), image(&[layer.clone(), layer.clone()]));
        let gone = image(&[descriptor(OCI_LAYER, &BlobInfo::of(b"gone"))]);
        let list = [one.clone(), gone.clone(), two.clone()];
        let index = put(OCI_INDEX, &new_index(&list, &Default::default()).unwrap());
        let control = Control::default();
        let mut blobs = Blobs::new(&store, "push", &control);
        blobs.add(&index).unwrap();
        blobs.add(&one).unwrap();
        let error = blobs.add(&gone).unwrap_err();
        assert_eq!(
            (error.kind(), error.path().unwrap()),
            (ErrorKind::NotFound, Digest::of(b"gone").to_string().as_bytes())
        );
        let parts = blobs.into_parts();
        let digests: Vec<String> = parts.iter().map(|part| part.digest.to_string()).collect();
        let expected = [&config, &layer, &one, &two, &index].map(|part| part.digest().to_string());
        assert_eq!(digests, expected);
    }
}
