//! Fetching blobs: several tries, checked while they arrive.

use std::io::{Read, Write};
use std::sync::Arc;

use super::arrival::Arrival;
use super::client::Repository;
use super::config::Endpoint;
use super::origin::Location;
use super::session::{Failure, Payload, Request, broken};
use super::transfer::{Progress, SMALL};
use crate::compress::{Compression, DecodeLimits, DecodeOptions, Decoded, Decoder};
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::event::StepId;
use crate::image::{Noted, Notes, is_distributable, layer_compression};
use crate::progress::{Cancel, Control, Counters, Share};
use crate::store::{BlobWriter, Descriptor, LayerInfo, Store, descriptor_digest};
use crate::threads;

const LAYER: &str = "pull layer";
/// A transfer that was cut gets new tries once it has come this much further.
const WORTH_NEW_TRIES: u64 = 1 << 20;
/// How many other addresses of a layer are tried.
const MAX_URLS: usize = 4;

/// A layer, or another blob, that has to be fetched.
pub(super) struct Job {
    pub descriptor: Descriptor,
    pub digest: Digest,
    /// The digest of the tar in it, where it is a layer.
    pub diff_id: Option<Digest>,
    pub arrival: Arc<Arrival>,
}

/// The transfer of blobs of a repository into a store.
pub(super) struct Fetcher<'a> {
    pub store: &'a Store,
    pub repository: &'a Repository<'a>,
    pub control: &'a Control,
    /// The step that transfers are shown under.
    pub step: StepId,
    /// Caps on the decompression of each layer.
    pub decode: DecodeLimits,
    /// The share of progress that was announced for all that is fetched.
    pub share: Share,
    /// Cancelled when what is fetched is of no use any more, as something else of the image failed.
    pub parts: Cancel,
    pub notes: Notes,
}

impl Fetcher<'_> {
    /// Records which DiffID a blob was seen to hold.
    pub fn remember(&self, descriptor: &Descriptor, diff_id: Digest, decoded: &Decoded) -> Result<()> {
        self.store.put_layer_info(&LayerInfo {
            diff_id,
            digest: descriptor_digest(descriptor)?,
            size: descriptor.size(),
            media_type: media_type(decoded.compression, descriptor),
            diff_size: Some(decoded.diff_size),
        })
    }

    /// Fetches a blob and, while it arrives, makes sure that its content has the DiffID that the configuration says.
    pub fn fetch_checked(&self, job: &Job) -> Result<()> {
        let Some(diff_id) = job.diff_id.filter(|diff_id| self.must_decode(job, diff_id)) else {
            return self.fetch_one(job);
        };
        let check =
            || self.check(Box::new(job.arrival.reader(&self.control.cancel)), &job.descriptor, &diff_id);
        let keep = |noted: Option<Noted>| {
            if let Some(noted) = noted {
                self.notes.keep(self.store, &job.digest, noted);
            }
        };
        // A thread for a small one takes longer than it saves.
        if job.descriptor.size() <= SMALL {
            self.fetch_one(job)?;
            return check().map(keep);
        }
        std::thread::scope(|scope| {
            let thread = threads::spawn(scope, "treering-check", check);
            let fetched = self.fetch_one(job);
            let checked = match thread {
                Ok(thread) => threads::join(thread),
                // Where no thread is to be had, the blob is read once more.
                Err(_) if fetched.is_ok() => check(),
                Err(_) => Ok(None),
            };
            // A blob that did not arrive fails both; the transfer's own error is the one that says why.
            fetched?;
            checked.map(keep)
        })
    }

    fn must_decode(&self, job: &Job, diff_id: &Digest) -> bool {
        self.store.diff_id_for_blob(&job.digest).ok().flatten() != Some(*diff_id)
    }

    /// Decodes a layer and compares its DiffID; remembers it, and gives what it noted. What arrives is counted where it does.
    pub fn check(
        &self,
        reader: Box<dyn Read + Send>,
        descriptor: &Descriptor,
        diff_id: &Digest,
    ) -> Result<Option<Noted>> {
        let digest = descriptor_digest(descriptor)?;
        let shown = digest.to_string();
        let threads = if descriptor.size() <= SMALL { 1 } else { DecodeOptions::default().threads };
        let decode = DecodeOptions {
            threads,
            hash_input: false,
            hash_output: true,
            restarts: self.store.limits().layer_indexes,
            limits: self.decode.clone(),
        };
        let named = |error: Error| error.or_path(|| &shown);
        let decoder = Decoder::counting(reader, decode, self.control.clone(), Share::uncounted());
        let decode = |decoder: Decoder| self.notes.decode(decoder, self.control);
        let (decoded, noted) = decoder.and_then(decode).map_err(named)?;
        let found = decoded.diff_id.expect("asked for");
        if found != *diff_id {
            let message = format!("the layer's DiffID is {found}, and should be {diff_id}");
            return Err(Error::corrupt(LAYER, message).with_path(shown));
        }
        self.remember(descriptor, found, &decoded)?;
        Ok(noted)
    }

    /// Fetches a blob into the store. What reads along gets its end or an error.
    pub fn fetch_one(&self, job: &Job) -> Result<()> {
        let result = self.fetch_into_store(job);
        job.arrival.end(result.is_ok());
        result
    }

    fn fetch_into_store(&self, job: &Job) -> Result<()> {
        Counters::add(&self.control.counters.entries, 1);
        let size = job.descriptor.size();
        let share = self.share.split(size);
        let mut progress = Progress::new(self.control, share, self.step, job.digest.to_string(), size);
        let writer = self.store.resume_blob(&job.digest, size, self.control)?;
        if writer.size() == 0 {
            return self.fetch_from_beginning(job, writer, &mut progress);
        }
        // Nothing says yet that the bytes of an earlier attempt are right, so nothing reads them before all are there.
        let writer = self.fetch_rest(job, writer, &mut progress)?;
        match writer.finish(Some(job.digest)) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.fetch_from_beginning(job, self.store.blob_writer()?, &mut progress)
            }
            finished => {
                finished?;
                job.arrival.begin(self.store.open_blob(&job.digest)?);
                job.arrival.advance(size);
                Ok(())
            }
        }
    }

    /// Fetches a whole blob, which others read meanwhile.
    fn fetch_from_beginning(&self, job: &Job, mut writer: BlobWriter, progress: &mut Progress) -> Result<()> {
        job.arrival.begin(writer.share()?);
        self.fetch_rest(job, writer, progress)?.finish(Some(job.digest)).map(drop)
    }

    /// Fetches what the writer does not have yet, in several tries where it takes them.
    fn fetch_rest(&self, job: &Job, mut writer: BlobWriter, progress: &mut Progress) -> Result<BlobWriter> {
        let (session, size) = (self.repository.session, job.descriptor.size());
        let shown_meanwhile = writer.size() == 0;
        progress.reach(writer.size());
        let (mut tries, mut at_last_cut) = (1, writer.size());
        // One that broke off at its very end is whole.
        while writer.size() < size || size == 0 {
            let failure = match self.stream(job, &mut writer, shown_meanwhile, progress) {
                Ok(()) => break,
                Err(failure) => failure,
            };
            if writer.size() - at_last_cut >= WORTH_NEW_TRIES {
                tries = 1;
            }
            at_last_cut = writer.size();
            let waited = match failure.again && tries < session.registries.attempts {
                true => session.pause(LAYER, tries, &failure, &self.parts),
                false => Err(failure.error),
            };
            if let Err(error) = waited {
                self.keep(writer, &job.digest, &error);
                return Err(error);
            }
            tries += 1;
        }
        Ok(writer)
    }

    /// Keeps what has arrived of a blob for the next pull, where nothing says that it is wrong.
    fn keep(&self, writer: BlobWriter, digest: &Digest, error: &Error) {
        let fine = !matches!(
            error.kind(),
            ErrorKind::Corrupt | ErrorKind::Limit | ErrorKind::NoSpace | ErrorKind::Io
        );
        if fine {
            // A cancel does not wait for the disk. The error at hand is the one that counts: without this the next pull begins anew.
            let _ = writer.keep_partial(digest, error.kind() != ErrorKind::Cancelled);
        }
    }

    /// Reads a blob from where the writer is to its end.
    fn stream(
        &self,
        job: &Job,
        writer: &mut BlobWriter,
        shown_meanwhile: bool,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let size = job.descriptor.size();
        let shown = self.repository.shown(job.digest);
        let (location, mut reader) = self.open(job, writer.size())?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            self.parts.check(LAYER)?;
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(error, LAYER, &location)),
            };
            if writer.size() + n as u64 > size {
                let message = format!("the registry sends more than the {size} bytes that were announced");
                return Err(Error::corrupt(LAYER, message).with_path(shown).into());
            }
            writer.write_all(&buffer[..n]).at(LAYER, &shown)?;
            Counters::add(&self.control.counters.bytes_written, n as u64);
            if shown_meanwhile {
                job.arrival.advance(writer.size());
            }
            progress.reach(writer.size());
        }
        if writer.size() < size {
            let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(broken(error, LAYER, &location));
        }
        Ok(())
    }

    /// Opens a blob at the registry; a layer that registries need not hold, also at the addresses that its descriptor names
    /// (layer.md, "Non-Distributable Layers"), without credentials.
    fn open(&self, job: &Job, from: u64) -> Result<(Location, Box<dyn Read + Send>), Failure> {
        let size = job.descriptor.size();
        let error = match self.repository.blob(LAYER, &job.digest, size, from) {
            Err(failure) if failure.error.kind() == ErrorKind::NotFound => failure,
            result => return result,
        };
        let urls = job.descriptor.urls().iter().flatten().take(MAX_URLS);
        for url in urls.filter(|_| !is_distributable(job.descriptor.media_type().as_ref())) {
            let Ok(location) = Location::parse(url) else { continue };
            let secure = location.origin().is_secure() || !self.repository.endpoint.origin.is_secure();
            if !secure {
                continue;
            }
            match self.open_elsewhere(location, size, from) {
                Err(failure) if failure.error.kind() != ErrorKind::Cancelled => {}
                ended => return ended,
            }
        }
        Err(error)
    }

    fn open_elsewhere(
        &self,
        location: Location,
        size: u64,
        from: u64,
    ) -> Result<(Location, Box<dyn Read + Send>), Failure> {
        let repository = self.repository;
        // An endpoint of its own: nothing is known there, so nothing is sent.
        let endpoint =
            Endpoint { origin: location.origin().clone(), key: String::new(), ..repository.endpoint.clone() };
        let scopes = super::auth::Scopes::default();
        let request = Request {
            operation: LAYER,
            method: ureq::http::Method::GET,
            location,
            headers: Vec::new(),
            payload: Payload::None,
            scopes: &scopes,
        };
        let response =
            repository.session.send_without_credentials(&endpoint, &repository.endpoint, &request)?;
        if response.status != 200 || response.length().is_some_and(|length| length != size) {
            let message = "the layer is not at the address that its descriptor names";
            return Err(Error::not_found(LAYER, message).into());
        }
        let location = response.location.clone();
        let mut reader: Box<dyn Read + Send> = Box::new(response.into_reader());
        std::io::copy(&mut (&mut reader).take(from), &mut std::io::sink())
            .map_err(|error| broken(error, LAYER, &location))?;
        Ok((location, reader))
    }
}

/// Returns the media type that the store's own records use for a layer.
fn media_type(compression: Compression, descriptor: &Descriptor) -> String {
    match layer_compression(descriptor.media_type().as_ref()) {
        Some(claimed) if claimed == compression => descriptor.media_type().to_string(),
        _ => compression.media_type().to_string(),
    }
}
