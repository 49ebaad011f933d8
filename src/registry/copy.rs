//! Copying from registry to registry, without a store.

use std::collections::HashSet;
use std::io::Read;

use super::Registries;
use super::auth::Scopes;
use super::cargo::{Cargo, Tally, known, put_documents};
use super::client::{Fetched, Repository, Wanted};
use super::pull::from_any;
use super::session::Session;
use super::transfer::{Progress, announced, each};
use super::upload::{Blob, upload};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{ImageConfig, Platform, is_distributable};
use crate::progress::{Control, Counters, Share};
use crate::store::{Descriptor, DocumentKind, Limits, Reference, descriptor_digest};

const COPY: &str = "copy image";

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
    let (endpoint, top) = from_any(session, from, |repository| {
        Ok((repository.endpoint.clone(), repository.manifest(wanted, limits)?))
    })?;
    let scopes = Scopes::of(&endpoint.repository, false);
    let source = Repository { session, endpoint, scopes };
    let mut reader = Reader { source: &source, limits, cargo: Cargo::default(), seen: HashSet::new() };
    let top = match &options.platform {
        Some(platform) => reader.choose(top, platform)?,
        None => top,
    };
    let (digest, size) = (descriptor_digest(&top.descriptor)?, top.descriptor.size());
    reader.gather(top, 1)?;
    let cargo = reader.cargo;

    let endpoint = session.registries.config.endpoints(to)?.pop().expect("the registry itself comes last");
    let mut target = Repository::open(session, &endpoint, true)?;
    let same_registry = target.endpoint.origin == source.endpoint.origin;
    let elsewhere = match same_registry && target.endpoint.repository != source.endpoint.repository {
        true => vec![source.endpoint.repository.clone()],
        false => Vec::new(),
    };
    if let Some(path) = elsewhere.first() {
        target.scopes = target.scopes.and_pull(path);
    }
    let known = known(&target, to, limits, None)?;
    let tally = Tally::default();
    let share = Share::new(session.control, cargo.bytes());
    each("copy", &cargo.blobs, |blob| {
        travel(&source, &target, blob, (&known, &elsewhere), (&tally, &share))
    })?;
    put_documents(&target, to, &cargo.documents, limits)?;
    let (sent, bytes_sent, mounted, present) = tally.get();
    Ok(Copied { name: to.clone(), digest, size, sent, bytes_sent, mounted, present })
}

fn travel(
    source: &Repository,
    target: &Repository,
    descriptor: &Descriptor,
    (known, elsewhere): (&HashSet<Digest>, &[String]),
    (tally, share): (&Tally, &Share),
) -> Result<()> {
    let digest = descriptor_digest(descriptor)?;
    let size = descriptor.size();
    let share = share.split(size);
    Counters::add(&target.session.control.counters.entries, 1);
    if known.contains(&digest) {
        tally.present();
        return Ok(());
    }
    let open = |from: u64| -> Result<Box<dyn Read>> {
        let opened = source.session.retry(COPY, || source.blob(COPY, &digest, size, from))?;
        Ok(opened.1)
    };
    let progress = Progress::shared(target.session.control, share, 0, digest.to_string(), size);
    let blob = Blob { digest, size, elsewhere, ask: true, open: &open, kept_in: None };
    let outcome = upload(target, &blob, &progress)?;
    tally.count(outcome, size);
    Ok(())
}

/// A reader of documents at the source.
struct Reader<'a> {
    source: &'a Repository<'a>,
    limits: &'a Limits,
    cargo: Cargo,
    seen: HashSet<Digest>,
}

impl Reader<'_> {
    fn gather(&mut self, fetched: Fetched, depth: usize) -> Result<()> {
        if depth > self.limits.index_depth {
            let cap = self.limits.index_depth;
            return Err(Error::limit(COPY, format!("indexes nested more than {cap} deep"))
                .with_path(self.source.name()));
        }
        for child in fetched.document.manifests() {
            self.source.session.control.check(COPY)?;
            if !self.seen.insert(descriptor_digest(child)?) {
                continue;
            }
            match DocumentKind::of_media_type(child.media_type().as_ref()) {
                Some(_) => {
                    let inner = self.source.manifest(Wanted::Child(child), self.limits)?;
                    self.gather(inner, depth + 1)?;
                }
                None => self.cargo.blobs.push(child.clone()),
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
        let mut queue = vec![(top, 1)];
        while let Some((fetched, depth)) = queue.pop() {
            if fetched.document.kind() == DocumentKind::Manifest {
                let config = fetched.document.config().expect("a manifest has a configuration");
                let bytes = self.source.small_blob(config, self.limits)?;
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
            for child in fetched.document.manifests().iter().rev() {
                let kind = DocumentKind::of_media_type(child.media_type().as_ref());
                let said = child.platform().as_ref().map(Platform::from);
                // What says that it is for another platform need not be read.
                if kind.is_some() && said.is_none_or(|said| platform.accepts().contains(&said)) {
                    queue.push((self.source.manifest(Wanted::Child(child), self.limits)?, depth + 1));
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
