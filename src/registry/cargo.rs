//! The cargo of a push: the blobs that leave for a registry, and how they went.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::{Fetched, Repository, Wanted};
use super::referrers;
use super::upload::Outcome;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Counters;
use crate::store::{Descriptor, Document, Limits, Reference, Store, descriptor_digest};

const PUSH: &str = "push image";

/// Blobs, and documents in the order in which a registry takes them: what an index lists before the index.
#[derive(Default)]
pub(super) struct Cargo {
    pub blobs: Vec<Descriptor>,
    pub documents: Vec<Fetched>,
}

impl Cargo {
    /// Returns how many bytes all blobs have.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().fold(0, |sum, blob| sum.saturating_add(blob.size()))
    }
}

/// The numbers of blobs that went each way.
#[derive(Default)]
pub(super) struct Tally {
    sent: AtomicU64,
    bytes: AtomicU64,
    mounted: AtomicU64,
    present: AtomicU64,
}

impl Tally {
    /// Counts a blob that was there.
    pub fn present(&self) {
        Counters::add(&self.present, 1);
    }

    /// Counts a blob by how it got there.
    pub fn count(&self, outcome: Outcome, size: u64) {
        match outcome {
            Outcome::Present => self.present(),
            Outcome::Mounted => Counters::add(&self.mounted, 1),
            Outcome::Sent => {
                Counters::add(&self.sent, 1);
                Counters::add(&self.bytes, size);
            }
        }
    }

    /// Blobs sent, their bytes, blobs mounted, blobs that were there.
    pub fn get(&self) -> (u64, u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.sent), load(&self.bytes), load(&self.mounted), load(&self.present))
    }
}

/// Lists the blobs of the image that the name stands for at the registry now: the registry holds them, or it would not hold
/// that image. Manifests that an index lists are read out of `store`, where it has them.
pub(super) fn known(
    repository: &Repository,
    name: &Reference,
    limits: &Limits,
    store: Option<&Store>,
) -> Result<HashSet<Digest>> {
    let Some(tag) = name.tag() else { return Ok(HashSet::new()) };
    let found = match repository.manifest(Wanted::Tag(tag), limits) {
        Ok(found) => found,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Network | ErrorKind::Cancelled | ErrorKind::Unauthorized
            ) =>
        {
            return Err(error);
        }
        // Nothing there, or nothing that is understood: then every blob is asked for.
        Err(_) => return Ok(HashSet::new()),
    };
    let mut out = HashSet::new();
    let mut add = |document: &Document| {
        let blobs = document.config().into_iter().chain(document.layers());
        out.extend(blobs.filter_map(|blob| descriptor_digest(blob).ok()));
    };
    add(&found.document);
    for child in found.document.manifests() {
        if let Some(Ok(document)) = store.map(|store| store.read_document(child)) {
            add(&document);
        }
    }
    Ok(out)
}

/// Writes the documents, the last one under the name's tag, and lists those with a subject where the registry does not.
pub(super) fn put_documents(
    repository: &Repository,
    name: &Reference,
    documents: &[Fetched],
    limits: &Limits,
) -> Result<()> {
    for (at, fetched) in documents.iter().enumerate() {
        let digest = descriptor_digest(&fetched.descriptor)?;
        let last = at + 1 == documents.len();
        if last && name.digest().is_some_and(|wanted| *wanted != digest) {
            let message =
                format!("the image has the digest {digest}, not the one that it is to be pushed under");
            return Err(Error::invalid(PUSH, message).with_path(name.to_string()));
        }
        let reference = match name.tag().filter(|_| last) {
            Some(tag) => tag.to_string(),
            None => digest.to_string(),
        };
        let listed = repository.put_manifest(&reference, &fetched.descriptor, &fetched.bytes)?;
        if let Some(subject) = fetched.document.subject().filter(|_| !listed) {
            referrers::list(repository, fetched, subject, limits)?;
        }
    }
    Ok(())
}
