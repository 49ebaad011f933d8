//! The cargo of a push: the blobs that leave for a registry, and how they went.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::{Fetched, Repository, Wanted};
use super::referrers;
use super::transfer::each;
use super::upload::Outcome;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Cancel, Control, Counters, Share};
use crate::store::{Descriptor, Document, Limits, Reference, Store, descriptor_digest};

const PUSH: &str = "push image";
/// How large a blob may be, in bytes, that is sent without asking whether it is there.
pub(super) const SMALLER_THAN_A_QUESTION: u64 = 16 << 10;
/// How many other tags of the repository are asked for.
const MAX_RELATIVES: usize = 2;
/// How many other tags of the repository are looked at in the store.
const MAX_LOOKED_AT: usize = 200;

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

/// One attempt to send a cargo.
pub(super) struct Round {
    /// Blobs that need not be asked for.
    known: HashSet<Digest>,
    share: Share,
    pub tally: Tally,
    /// Cancelled when one of the blobs failed.
    pub parts: Cancel,
}

impl Round {
    /// Counts a blob; returns its share of what is announced, or nothing where the registry is known to hold it.
    pub fn begin(&self, control: &Control, digest: &Digest, size: u64) -> Option<Share> {
        let share = self.share.split(size);
        Counters::add(&control.counters.entries, 1);
        if self.known.contains(digest) {
            self.tally.present();
            return None;
        }
        Some(share)
    }
}

/// Sends what is not known to be there, several blobs at once, and then the documents; returns what [`Tally::get`] does. A registry that
/// lacks a blob which it should have, by a manifest that it gave, gets everything asked for, once.
pub(super) fn deliver(
    what: &str,
    repository: &Repository,
    name: &Reference,
    cargo: &Cargo,
    mut known: HashSet<Digest>,
    limits: &Limits,
    send: impl Fn(&Descriptor, &Round) -> Result<()> + Sync,
) -> Result<(u64, u64, u64, u64)> {
    let control = repository.session.control;
    loop {
        let again = !known.is_empty();
        let (share, parts) = (Share::new(control, cargo.bytes()), control.cancel.for_parts());
        let round = Round { known, share, tally: Tally::default(), parts };
        each(what, &round.parts, &cargo.blobs, |blob| send(blob, &round))?;
        match put_documents(repository, name, &cargo.documents, limits) {
            Err(error) if again && lacks_blob(&error) => known = HashSet::new(),
            result => return result.map(|()| round.tally.get()),
        }
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

    /// Returns the blobs sent, their bytes, the blobs mounted and the blobs that were there.
    pub fn get(&self) -> (u64, u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.sent), load(&self.bytes), load(&self.mounted), load(&self.present))
    }
}

/// Lists the blobs of the image that the name stands for at the registry now: the registry holds them, or it would not hold
/// that image. Where much is missing from these, so does what other tags stand for that the store has of the repository. Manifests that an
/// index lists are read out of the store, where it has them.
pub(super) fn known(
    repository: &Repository,
    name: &Reference,
    limits: &Limits,
    push: Option<(&Store, &Cargo)>,
) -> Result<HashSet<Digest>> {
    let store = push.map(|(store, _)| store);
    let mut out = match name.tag() {
        Some(tag) => blobs_of(repository, tag, limits, store)?,
        None => HashSet::new(),
    };
    let Some((store, cargo)) = push else { return Ok(out) };
    let mut others = relatives(store, name)?;
    for _ in 0..MAX_RELATIVES {
        let missing: HashSet<Digest> = cargo
            .blobs
            .iter()
            .filter(|blob| blob.size() > SMALLER_THAN_A_QUESTION)
            .filter_map(|blob| descriptor_digest(blob).ok())
            .filter(|digest| !out.contains(digest))
            .collect();
        let shared = |(_, blobs): &(String, HashSet<Digest>)| blobs.intersection(&missing).count();
        // One question has to save several.
        let Some(at) = (0..others.len()).max_by_key(|at| shared(&others[*at])) else { break };
        if shared(&others[at]) < 2 {
            break;
        }
        let (tag, _) = others.swap_remove(at);
        out.extend(blobs_of(repository, &tag, limits, Some(store))?);
    }
    Ok(out)
}

/// Lists the other tags that the store has of a repository, with the blobs of their images.
fn relatives(store: &Store, name: &Reference) -> Result<Vec<(String, HashSet<Digest>)>> {
    let others = store.refs()?.into_iter().filter(|other| other.name.same_repository(name));
    let mut out = Vec::new();
    for other in others.take(MAX_LOOKED_AT) {
        let Some(tag) = other.name.tag().filter(|tag| name.tag() != Some(*tag)) else { continue };
        // What cannot be read is of no help.
        let Ok(document) = store.read_document(&other.descriptor) else { continue };
        let mut blobs = HashSet::new();
        add_blobs(&mut blobs, &document, Some(store));
        out.push((tag.to_string(), blobs));
    }
    Ok(out)
}

/// Adds the blobs of a manifest, or of those that an index lists and the store has.
fn add_blobs(out: &mut HashSet<Digest>, document: &Document, store: Option<&Store>) {
    let mut add = |document: &Document| {
        let blobs = document.config().into_iter().chain(document.layers());
        out.extend(blobs.filter_map(|blob| descriptor_digest(blob).ok()));
    };
    add(document);
    for child in document.manifests() {
        if let Some(Ok(document)) = store.map(|store| store.read_document(child)) {
            add(&document);
        }
    }
}

/// Lists the blobs of the image that a tag stands for at the registry; none where there is none.
fn blobs_of(
    repository: &Repository,
    tag: &str,
    limits: &Limits,
    store: Option<&Store>,
) -> Result<HashSet<Digest>> {
    let found = match repository.manifest(Wanted::Tag(tag), limits) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), ErrorKind::Network | ErrorKind::Cancelled) => return Err(error),
        Err(error) if error.kind() == ErrorKind::Unauthorized => {
            let (session, endpoint) = (repository.session, &repository.endpoint);
            return match session.is_only_denied(endpoint, &repository.scopes, &error)? {
                true => Ok(HashSet::new()),
                false => Err(error),
            };
        }
        // Nothing there, or nothing that is understood: then every blob is asked for.
        Err(_) => return Ok(HashSet::new()),
    };
    let mut out = HashSet::new();
    add_blobs(&mut out, &found.document, store);
    Ok(out)
}

/// Returns whether a manifest was refused because the registry lacks one of its blobs (distribution-spec, "Error Codes").
fn lacks_blob(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::NotFound)
        && error.message().contains("BLOB_UNKNOWN")
}

/// Writes the documents, the last one under the name's tag, and lists those with a subject where the registry does not.
fn put_documents(
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
