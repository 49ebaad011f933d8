//! Records of build steps in a repository: what runners share.
//!
//! Each record is a manifest of its own, with the tag `PREFIX-HEX`, where HEX are 40 digits of the step's key: runners that write at the
//! same time never rewrite what another one needs. An image may have records inline, in an annotation of its manifest, which leaves
//! its configuration and so its id alone.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use super::Registries;
use super::client::{Repository, Wanted};
use super::config::Endpoint;
use super::fetch::{Fetcher, Job};
use super::push::FileFrom;
use super::session::Session;
use super::transfer::{Progress, SMALL, SMALL_AT_ONCE, each, each_of};
use super::upload::{Blob, upload};
use crate::compress::DecodeLimits;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{
    CONFIG, DEFAULT_TAG, INLINE, MAX_LIST_MANIFEST, MAX_MANIFEST, Notes, Platform, RecordList, StepRecord,
    list_tag, record_manifest, record_tag,
};
use crate::progress::{Cancel, Control, Share};
use crate::store::{BlobInfo, Descriptor, DocumentKind, Limits, Reference, Store, descriptor_digest};
use crate::threads::lock;

const OP: &str = "share build cache";
/// The longest prefix of tags: a tag has 128 characters at most (distribution-spec, "Pulling manifests").
const MAX_PREFIX: usize = 128 - 41;
/// A repository with records of build steps.
pub(crate) struct Records<'a> {
    session: Session<'a>,
    endpoint: Endpoint,
    tag: String,
    shown: String,
}

impl std::fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Records").field(&self.shown).finish()
    }
}

impl<'a> Records<'a> {
    /// Names the repository; nothing is asked. Mirrors are not asked: what they have may be older.
    pub fn open(registries: &'a Registries, reference: &str, control: &'a Control) -> Result<Records<'a>> {
        let name = Reference::parse(reference)?;
        if name.digest().is_some() {
            let message = "a build cache has a name with a tag, and no digest";
            return Err(Error::invalid(OP, message).with_path(reference));
        }
        let tag = name.tag().unwrap_or(DEFAULT_TAG).to_string();
        if tag.len() > MAX_PREFIX {
            let message = format!("the tag of a build cache has {MAX_PREFIX} characters at most");
            return Err(Error::invalid(OP, message).with_path(reference));
        }
        let endpoint = registries.config.of(&name)?;
        let session = Session::new(registries, control);
        Ok(Records { session, endpoint, tag, shown: name.to_string() })
    }

    fn repository(&self, push: bool) -> Result<Repository<'_>> {
        Repository::open(&self.session, &self.endpoint, push)
    }

    fn tag_of(&self, key: &Digest) -> String {
        record_tag(&self.tag, key)
    }

    /// Returns the records in the image that the reference stands for; `None` where there is no such image, or none in it.
    pub fn inline(&self, platform: &Platform) -> Result<Option<String>> {
        let (repository, limits) = (self.repository(false)?, Limits::default());
        let Some(mut found) = missing(repository.manifest(Wanted::Tag(&self.tag), &limits))? else {
            return Ok(None);
        };
        if found.document.kind() == DocumentKind::Index {
            let accepts = platform.accepts();
            let runs = |child: &&Descriptor| {
                child.platform().as_ref().is_some_and(|said| accepts.contains(&Platform::from(said)))
            };
            let Some(child) = found.document.manifests().iter().find(runs).cloned() else { return Ok(None) };
            match missing(repository.manifest(Wanted::Child(&child), &limits))? {
                Some(image) => found = image,
                None => return Ok(None),
            }
        }
        let text = found.document.annotations().find(|(name, _)| *name == INLINE);
        Ok(text.map(|(_, text)| text.to_string()))
    }

    /// Finds the record of a step.
    pub fn find(&self, key: &Digest) -> Result<Option<StepRecord>> {
        let limits = Limits { json_bytes: MAX_MANIFEST, ..Limits::default() };
        let found = missing(self.repository(false)?.manifest(Wanted::Tag(&self.tag_of(key)), &limits))?;
        Ok(found.and_then(|found| StepRecord::of(&found.document)))
    }

    /// Finds the list of records that was written last. One that is damaged is none.
    pub fn list(&self) -> Result<Option<RecordList>> {
        let limits = Limits { json_bytes: MAX_LIST_MANIFEST, ..Limits::default() };
        match self.repository(false)?.manifest(Wanted::Tag(&list_tag(&self.tag)), &limits) {
            Ok(found) => Ok(RecordList::of(&found.document)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Limit | ErrorKind::Unsupported
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the list of records, in place of the one that is there.
    pub fn put_list(&self, list: &RecordList) -> Result<()> {
        let (described, manifest) = list.manifest()?;
        self.repository(true)?.put_manifest(&list_tag(&self.tag), &described, &manifest).map(drop)
    }

    /// Fetches layers, several at once, and makes sure that each has its DiffID. What the store has stays as it is.
    pub fn fetch(&self, store: &Store, layers: Vec<(Descriptor, Digest)>) -> Result<()> {
        let repository = self.repository(false)?;
        let control = self.session.control;
        let (decode, parts) = (DecodeLimits::default(), control.cancel.for_parts());
        let total = layers.iter().fold(0u64, |sum, (layer, _)| sum.saturating_add(layer.size()));
        let share = Share::new(control, total);
        let fetcher = Fetcher {
            store,
            repository: &repository,
            control,
            step: 0,
            decode,
            share,
            parts,
            notes: Notes::default(),
        };
        let (small, large): (Vec<_>, Vec<_>) =
            layers.into_iter().partition(|(layer, _)| layer.size() <= SMALL);
        let fetch = |(descriptor, diff_id): (Descriptor, Digest)| {
            let digest = descriptor_digest(&descriptor)?;
            fetcher.fetch_checked(&Job {
                descriptor,
                digest,
                diff_id: Some(diff_id),
                arrival: Default::default(),
            })
        };
        each_of("cache", SMALL_AT_ONCE, &fetcher.parts, small, fetch)?;
        each("cache", &fetcher.parts, large, fetch)
    }

    /// Writes records that the repository does not have, each with its layer out of the store, and returns how many that were.
    pub fn put(&self, store: &Store, records: Vec<(Digest, String, Option<Descriptor>)>) -> Result<usize> {
        let new = Mutex::new(Vec::new());
        let parts = self.session.control.cancel.for_parts();
        each_of("cache", SMALL_AT_ONCE, &parts, records, |(key, record, layer)| {
            // What is there may be damaged: only the same record is as good as a new one.
            if self.find(&key)?.is_none_or(|found| found.text != record) {
                lock(&new).push((key, record, layer));
            }
            Ok(())
        })?;
        let new = new.into_inner().unwrap_or_else(PoisonError::into_inner);
        if new.is_empty() {
            return Ok(0);
        }
        let count = new.len();
        let repository = self.repository(true)?;
        let config = BlobInfo::of(CONFIG);
        let open = |from: u64| -> Result<Box<dyn Read>> { Ok(Box::new(&CONFIG[from as usize..])) };
        self.send(&repository, &config, &open, None, &parts)?;
        each("cache", &parts, new, |(key, record, layer)| {
            if let Some(layer) = &layer {
                let digest = descriptor_digest(layer)?;
                let file = store.open_blob(&digest)?;
                let open = |from: u64| -> Result<Box<dyn Read>> {
                    let file = file.try_clone().map_err(|error| Error::io(OP, digest.to_string(), error))?;
                    Ok(Box::new(FileFrom { file, at: from, digest }))
                };
                self.send(&repository, &BlobInfo { digest, size: layer.size() }, &open, Some(store), &parts)?;
            }
            let (described, manifest) = record_manifest(record, layer)?;
            repository.put_manifest(&self.tag_of(&key), &described, &manifest).map(drop)
        })?;
        Ok(count)
    }

    fn send(
        &self,
        repository: &Repository,
        blob: &BlobInfo,
        open: &(dyn Fn(u64) -> Result<Box<dyn Read>> + Sync),
        kept_in: Option<&Store>,
        parts: &Cancel,
    ) -> Result<()> {
        let BlobInfo { digest, size } = *blob;
        let share = Share::new(self.session.control, size);
        let progress = Progress::shared(self.session.control, share, 0, digest.to_string(), size);
        let blob = Blob { digest, size, elsewhere: &[], ask: true, open, kept_in, parts };
        upload(repository, &blob, &progress).map(drop)
    }
}

/// Turns an error that something is not there into `None`.
fn missing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
