//! Copying from registry to registry, without a store.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use super::Registries;
use super::cargo::{Cargo, Round, deliver, known};
use super::client::{Fetched, Repository, Wanted};
use super::config::Endpoint;
use super::documents::Seen;
use super::origin::Location;
use super::pull::from_first;
use super::session::{Session, broken};
use super::transfer::{Progress, announced};
use super::upload::{Blob, upload};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{ImageConfig, Platform, is_distributable};
use crate::progress::Control;
use crate::store::{Descriptor, DocumentKind, Limits, Reference, descriptor_digest};
use crate::threads::lock;

const COPY: &str = "copy image";
/// How far apart the states of a blob's hash are kept at least, in bytes, and how many of them at most.
const BETWEEN_STATES: u64 = 256 << 10;
const MAX_STATES: u64 = 4096;

/// Options of a copy.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// Only this platform's image out of one for several; `None` for everything that the index lists.
    pub platform: Option<Platform>,
    /// Caps on documents.
    pub limits: Limits,
}

/// The result of a copy.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Copied {
    /// The name at the destination.
    pub name: Reference,
    /// The digest that both registries have it under.
    pub digest: Digest,
    /// The size of the manifest or index, in bytes.
    pub size: u64,
    /// How many blobs went from one registry to the other.
    pub sent: u64,
    /// How many bytes they have.
    pub bytes_sent: u64,
    /// How many blobs were taken from another repository of the same registry.
    pub mounted: u64,
    /// How many blobs were there already.
    pub present: u64,
}

/// Copies an image from one registry to another, or within one: every byte as it is, nothing kept on disk. Blobs that the
/// target has, or can take from another of its repositories, do not travel.
///
/// # Errors
/// As [`pull`](super::pull()) and [`push`](super::push()) have them. The target's name still stands for what it stood for then.
pub fn copy(
    registries: &Registries,
    from: &str,
    to: &str,
    options: &CopyOptions,
    control: &Control,
) -> Result<Copied> {
    let (from, to) = (Reference::parse(from)?.or_latest(), Reference::parse(to)?.or_latest());
    let session = Session::new(registries, control);
    let text = format!("copy {} to {}", from.canonical(), to.canonical());
    announced(control, text, |copied: &Copied| copied.bytes_sent, || copy_with(&session, &from, &to, options))
}

fn copy_with(session: &Session, from: &Reference, to: &Reference, options: &CopyOptions) -> Result<Copied> {
    let limits = &options.limits;
    let wanted = Wanted::of(from);
    let source = Source { session, endpoints: session.registries.config.endpoints(from)? };
    let (found, top) =
        source.first(|repository| Ok((repository.endpoint.clone(), repository.manifest(wanted, limits)?)))?;
    let mut reader = Reader {
        source: &source,
        limits,
        cargo: Cargo::default(),
        documents: Seen::default(),
        seen: HashSet::new(),
    };
    let top = match &options.platform {
        Some(platform) => reader.choose(top, platform)?,
        None => top,
    };
    let (digest, size) = (descriptor_digest(&top.descriptor)?, top.descriptor.size());
    reader.gather(top, 1)?;
    let cargo = reader.cargo;

    let endpoint = session.registries.config.of(to)?;
    let mut target = Repository::open(session, &endpoint, true)?;
    let same_registry = target.endpoint.origin == found.origin;
    let elsewhere = match same_registry && target.endpoint.repository != found.repository {
        true => vec![found.repository],
        false => Vec::new(),
    };
    if let Some(path) = elsewhere.first() {
        target.scopes = target.scopes.and_pull(path);
    }
    let known = known(&target, to, limits, None)?;
    let job = |blob: &Descriptor, round: &Round| travel(&source, &target, blob, &elsewhere, round);
    let (sent, bytes_sent, mounted, present) = deliver("copy", &target, to, &cargo, known, limits, job)?;
    Ok(Copied { name: to.clone(), digest, size, sent, bytes_sent, mounted, present })
}

/// The places that an image is copied from: each part comes from the first that has it.
struct Source<'s> {
    session: &'s Session<'s>,
    endpoints: Vec<Endpoint>,
}

impl Source<'_> {
    fn first<T>(&self, work: impl FnMut(&Repository) -> Result<T>) -> Result<T> {
        from_first(self.session, &self.endpoints, work)
    }

    fn manifest(&self, child: &Descriptor, limits: &Limits) -> Result<Fetched> {
        self.first(|repository| repository.manifest(Wanted::Child(child), limits))
    }

    /// Returns the name of the repository, for errors.
    fn name(&self) -> String {
        let itself = self.endpoints.last().expect("the registry itself comes last");
        format!("{}/{}", itself.key, itself.repository)
    }
}

fn travel(
    source: &Source,
    target: &Repository,
    descriptor: &Descriptor,
    elsewhere: &[String],
    round: &Round,
) -> Result<()> {
    let digest = descriptor_digest(descriptor)?;
    let size = descriptor.size();
    let Some(share) = round.begin(target.session.control, &digest, size) else { return Ok(()) };
    let hashed = Arc::new(Mutex::new(Hashed::default()));
    let open = |from: u64| -> Result<Box<dyn Read>> {
        let at = lock(&hashed).go_back(from);
        let (shown, (location, inner)) = source.first(|repository| {
            let opened = source.session.retry(COPY, || repository.blob(COPY, &digest, size, at))?;
            Ok((repository.shown(digest), opened))
        })?;
        let inner = inner.take(size - at);
        let skip = from - at;
        Ok(Box::new(Passing { inner, location, shown, digest, size, skip, hashed: hashed.clone() }))
    };
    let progress = Progress::shared(target.session.control, share, 0, digest.to_string(), size);
    let blob = Blob { digest, size, elsewhere, ask: true, open: &open, kept_in: None, parts: &round.parts };
    let outcome = upload(target, &blob, &progress)?;
    round.tally.count(outcome, size);
    Ok(())
}

/// The hash of a blob as far as it was read, and states of it to go back to.
#[derive(Default)]
struct Hashed {
    at: u64,
    state: Sha256,
    /// In order, each with the place that it belongs to.
    before: Vec<(u64, Sha256)>,
}

impl Hashed {
    /// Goes back to the last place up to `from` of which the state is there, and returns it: every byte that the target gets is in the
    /// hash, also where the source sends it again.
    fn go_back(&mut self, from: u64) -> u64 {
        if self.at > from {
            self.before.retain(|(at, _)| *at <= from);
            (self.at, self.state) = self.before.last().cloned().unwrap_or_default();
        }
        self.at
    }

    fn add(&mut self, bytes: &[u8], size: u64) {
        self.state.update(bytes);
        self.at += bytes.len() as u64;
        let last = self.before.last().map_or(0, |(at, _)| *at);
        if self.at - last >= BETWEEN_STATES.max(size / MAX_STATES) {
            self.before.push((self.at, self.state.clone()));
        }
    }
}

/// A blob on its way from the source to the target. What is wrong with it is the source's error, and not the target's.
struct Passing<R> {
    inner: R,
    location: Location,
    /// The name of the blob at the source.
    shown: String,
    digest: Digest,
    size: u64,
    /// How many bytes are only hashed, as the target has them.
    skip: u64,
    hashed: Arc<Mutex<Hashed>>,
}

impl<R: Read> Read for Passing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.skip > 0 {
            let skip = std::mem::take(&mut self.skip);
            io::copy(&mut self.by_ref().take(skip), &mut io::sink())?;
        }
        let n = match self.inner.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            read => read.map_err(|error| broken(error, COPY, &self.location).error)?,
        };
        let mut hashed = lock(&self.hashed);
        hashed.add(&buffer[..n], self.size);
        if n == 0 && !buffer.is_empty() && hashed.at < self.size {
            return Err(broken(io::ErrorKind::UnexpectedEof.into(), COPY, &self.location).error.into());
        }
        // Before the last of it is given away: the target never has all of a wrong one.
        if n > 0 && hashed.at == self.size {
            let found = Digest::from_bytes(hashed.state.clone().finalize().into());
            if found != self.digest {
                let message = format!("{} sent other bytes, of the digest {found}", self.location.origin());
                return Err(Error::corrupt(COPY, message).with_path(&self.shown).into());
            }
        }
        Ok(n)
    }
}

/// A reader of documents at the source.
struct Reader<'a> {
    source: &'a Source<'a>,
    limits: &'a Limits,
    cargo: Cargo,
    documents: Seen,
    /// Blobs that are in the cargo.
    seen: HashSet<Digest>,
}

impl Reader<'_> {
    fn gather(&mut self, fetched: Fetched, depth: usize) -> Result<()> {
        if depth > self.limits.index_depth {
            let cap = self.limits.index_depth;
            return Err(Error::limit(COPY, format!("indexes nested more than {cap} deep"))
                .with_path(self.source.name()));
        }
        for child in self.documents.add(COPY, &fetched.document)? {
            self.source.session.control.check(COPY)?;
            let inner = self.source.manifest(child, self.limits)?;
            self.gather(inner, depth + 1)?;
        }
        for child in fetched.document.manifests() {
            let is_blob = DocumentKind::of_media_type(child.media_type().as_ref()).is_none();
            if is_blob && self.seen.insert(descriptor_digest(child)?) {
                self.cargo.blobs.push(child.clone());
            }
        }
        for blob in fetched.document.config().into_iter().chain(fetched.document.layers()) {
            if is_distributable(blob.media_type().as_ref()) && self.seen.insert(descriptor_digest(blob)?) {
                self.cargo.blobs.push(blob.clone());
            }
        }
        self.cargo.documents.push(fetched);
        Ok(())
    }

    /// Returns the manifest for a platform, of an index.
    fn choose(&self, top: Fetched, platform: &Platform) -> Result<Fetched> {
        let mut found: Vec<(Platform, Fetched)> = Vec::new();
        let (mut queue, mut seen) = (vec![(top, 1)], Seen::default());
        while let Some((fetched, depth)) = queue.pop() {
            if fetched.document.kind() == DocumentKind::Manifest {
                let config = fetched.document.config().expect("a manifest has a configuration");
                let bytes = self.source.first(|repository| repository.small_blob(config, self.limits))?;
                let shown = config.digest().to_string();
                let Ok(config) = ImageConfig::parse(bytes, &shown, self.limits) else { continue };
                found.push((config.platform(), fetched));
                continue;
            }
            if depth >= self.limits.index_depth {
                let cap = self.limits.index_depth;
                return Err(Error::limit(COPY, format!("indexes nested more than {cap} deep"))
                    .with_path(self.source.name()));
            }
            for child in seen.add(COPY, &fetched.document)?.into_iter().rev() {
                self.source.session.control.check(COPY)?;
                let said = child.platform().as_ref().map(Platform::from);
                // What says that it is for another platform need not be read.
                if said.is_none_or(|said| platform.accepts().contains(&said)) {
                    queue.push((self.source.manifest(child, self.limits)?, depth + 1));
                }
            }
        }
        for wanted in platform.accepts() {
            if let Some(at) = found.iter().position(|(have, _)| *have == wanted) {
                return Ok(found.swap_remove(at).1);
            }
        }
        Err(Error::not_found(COPY, format!("the image has nothing for {platform}"))
            .with_path(self.source.name()))
    }
}
