//! From what a user types to one image of the store.

use oci_spec::image::Descriptor;

use super::blob::BlobInfo;
use super::document::{Document, DocumentKind, descriptor, descriptor_digest};
use super::layout::Store;
use super::pin::Need;
use super::reference::Reference;
use super::refs::Entry;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Found, Result};
use crate::hint::Hint;
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};

/// The shortest prefix of an id that is looked up.
const MIN_PREFIX: usize = 4;

/// The result of [`Store::resolve`].
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// The name it was found by; `None` when it was found by digest or id.
    pub name: Option<Reference>,
}

impl Store {
    /// Finds an image by what a user types, in this order:
    ///
    /// 1. `sha256:` and 64 hex digits, or 64 hex digits: a manifest digest or an image id (the digest of its
    ///    configuration); also the manifest a tree was made from, when no name leads to it any more;
    /// 2. a name, with `:latest` when it has no tag: `app`, `app:v1`, `docker.io/library/app:v1`;
    /// 3. `NAME@DIGEST`: the image with that manifest digest (or image id) among those named `NAME`;
    /// 4. a prefix of at least 4 hex digits of an image id or manifest digest, when only one image has it.
    ///
    /// [`ErrorKind::NotFound`] when nothing fits, [`ErrorKind::InvalidArgument`] when a prefix fits several images or
    /// the text can be none of these.
    pub fn resolve(&self, text: &str) -> Result<Resolved> {
        // What is found must not go before it counts as needed. What is only looked at on the way is not needed.
        let _lease = self.lease()?;
        let found = self.unpinned().find(text)?;
        if let Ok(digest) = descriptor_digest(&found.descriptor) {
            self.need(Need::Image(digest))?;
        }
        Ok(found)
    }

    fn find(&self, text: &str) -> Result<Resolved> {
        const OP: &str = "find image";
        let parsed = Reference::parse(text);
        let untagged = parsed.as_ref().ok().filter(|name| name.tag().is_none() && name.digest().is_none());
        let untagged = untagged.map(|name| name.clone().or_latest());
        let nothing = || {
            let mut message = "no image in the store has this name or id".to_string();
            if let Some(name) = &untagged {
                message += &format!("; without a tag it means {name}");
            }
            Error::not_found(OP, message).with_path(text).with_hint(Hint::ListImages)
        };
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let digits = !hex.is_empty() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let entries = self.entries()?;
        if digits && hex.len() == 64 {
            let digest: Digest = format!("sha256:{hex}").parse()?;
            return match self.by_digest(&entries, &digest)? {
                Some(found) => Ok(found),
                None => self.of_a_tree(&digest)?.ok_or_else(nothing),
            };
        }
        if let Ok(name) = &parsed {
            let wanted = name.clone().or_latest();
            if let Some(digest) = name.digest() {
                let named: Vec<Entry> = entries
                    .into_iter()
                    .filter(|entry| entry.name.as_ref().is_some_and(|other| other.same_repository(name)))
                    .collect();
                let found = self.by_digest(&named, digest)?.ok_or_else(nothing)?;
                return Ok(Resolved { name: Some(wanted), ..found });
            }
            if let Some(entry) = entries.iter().find(|entry| entry.name.as_ref() == Some(&wanted)) {
                return Ok(Resolved { descriptor: entry.descriptor.clone(), name: Some(wanted) });
            }
        }
        if digits && hex.len() >= MIN_PREFIX && hex.len() < 64 {
            return self.by_prefix(&entries, hex, text)?.ok_or_else(nothing);
        }
        match parsed {
            Ok(_) => Err(nothing()),
            Err(error) => Err(error),
        }
    }

    fn by_digest(&self, entries: &[Entry], digest: &Digest) -> Result<Option<Resolved>> {
        // Manifest digests are all in index.json; configurations need every manifest to be read.
        for entry in entries {
            if descriptor_digest(&entry.descriptor).ok() == Some(*digest) {
                return Ok(Some(Resolved { descriptor: entry.descriptor.clone(), name: None }));
            }
        }
        let all = self.identities(entries)?;
        let found = all.into_iter().find(|one| one.manifest == *digest || one.config == Some(*digest));
        Ok(found.map(|one| Resolved { descriptor: one.descriptor, name: None }))
    }

    /// Returns the manifest of a tree's record: it and its blobs stay while the record does, with a name or without.
    fn of_a_tree(&self, digest: &Digest) -> Result<Option<Resolved>> {
        if !self.digests_of_trees(|_| true)?.contains(digest) {
            return Ok(None);
        }
        let found = self.describe_manifest(digest).found()?;
        Ok(found.map(|descriptor| Resolved { descriptor, name: None }))
    }

    /// Returns the descriptor of a manifest or index that the store holds, read from the blob itself.
    pub(crate) fn describe_manifest(&self, digest: &Digest) -> Result<Descriptor> {
        self.need(Need::Image(*digest))?;
        let bytes = self.read_blob(digest, None, self.limits().json_bytes)?;
        let document = Document::parse(&bytes, None, &digest.to_string(), self.limits())?;
        let usual = match document.kind() {
            DocumentKind::Manifest => OCI_MANIFEST,
            DocumentKind::Index => OCI_INDEX,
        };
        let media_type = document.value().get("mediaType").and_then(|text| text.as_str()).unwrap_or(usual);
        Ok(descriptor(media_type, &BlobInfo { digest: *digest, size: bytes.len() as u64 }))
    }

    fn by_prefix(&self, entries: &[Entry], prefix: &str, text: &str) -> Result<Option<Resolved>> {
        let mut found: Option<Identity> = None;
        for one in self.identities(entries)? {
            let hit = |digest: &Digest| digest.hex().starts_with(prefix);
            if !hit(&one.manifest) && !one.config.as_ref().is_some_and(hit) {
                continue;
            }
            match &found {
                Some(first) if first.manifest == one.manifest => {}
                // Two manifests of one configuration are the same image to a look-up by its id.
                Some(first) if first.config.is_some() && first.config == one.config => {}
                Some(_) => {
                    let message = "several images have an id that starts like this";
                    return Err(Error::invalid("find image", message)
                        .with_path(text)
                        .with_hint("give more digits, or the name"));
                }
                None => found = Some(one),
            }
        }
        Ok(found.map(|one| Resolved { descriptor: one.descriptor, name: None }))
    }

    /// Returns every manifest the entries lead to, nested indexes included, with the digest of its configuration.
    ///
    /// A manifest without its blob (image-layout.md allows that) is known by its own digest only.
    pub(crate) fn identities(&self, entries: &[Entry]) -> Result<Vec<Identity>> {
        let store = self.unpinned();
        let mut out = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut queue: Vec<(Descriptor, usize)> =
            entries.iter().rev().map(|entry| (entry.descriptor.clone(), 1)).collect();
        while let Some((descriptor, depth)) = queue.pop() {
            let Ok(manifest) = descriptor_digest(&descriptor) else { continue };
            if !seen.insert(manifest) {
                continue;
            }
            let kind = DocumentKind::of_media_type(descriptor.media_type().as_ref());
            let document = match kind.map(|_| store.read_document(&descriptor)) {
                Some(Ok(document)) => Some(document),
                // A damaged image must not hide the others; it is named by its manifest digest, and fsck reports it.
                Some(Err(error))
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Limit
                    ) =>
                {
                    None
                }
                Some(Err(error)) => return Err(error),
                None => None,
            };
            if let Some(document) = document.as_ref().filter(|_| depth < self.limits().index_depth) {
                queue.extend(document.manifests().iter().rev().map(|child| (child.clone(), depth + 1)));
            }
            let config = document.as_ref().and_then(|d| d.config()).and_then(|c| descriptor_digest(c).ok());
            out.push(Identity { descriptor, manifest, config });
        }
        Ok(out)
    }
}

/// A manifest or index and the digests it can be asked for by.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub descriptor: Descriptor,
    pub manifest: Digest,
    pub config: Option<Digest>,
}
