//! Uploading one blob: mounted, in one piece, or in chunks that go on after a cut (distribution-spec, "Pushing Blobs").

use std::io::Read;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use ureq::http::Method;

use super::client::Repository;
use super::origin::Location;
use super::session::{Failure, Payload, Request, Response};
use super::transfer::Progress;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Cancel;
use crate::store::{Store, Upload};
use crate::threads::lock;

const OP: &str = "push blob";
/// Blobs up to this size travel in one piece: they cost less than another round trip.
const ONE_PIECE: u64 = 1 << 20;
/// The size of a chunk, unless the registry asks for more. Registries that keep files wait for the disk after each.
const CHUNK: u64 = 512 << 20;
/// The size of a chunk where larger ones do not arrive: proxies in front of registries often take no more than 100 MB.
const SMALL_CHUNK: u64 = 64 << 20;
/// The largest chunk that a registry may ask for.
const MAX_CHUNK: u64 = 5 << 30;
/// A transfer that was cut gets new tries once it has come this much further.
const WORTH_NEW_TRIES: u64 = 1 << 20;

/// A function that opens a blob for reading, from an offset on.
pub(super) type Opener<'a> = &'a (dyn Fn(u64) -> Result<Box<dyn Read>> + Sync);

/// A blob to upload.
pub(super) struct Blob<'a> {
    pub digest: Digest,
    pub size: u64,
    /// Repositories of the same registry that hold it.
    pub elsewhere: &'a [String],
    /// Whether to ask first if it is there already; else it is sent.
    pub ask: bool,
    pub open: Opener<'a>,
    /// Where an upload that is cut is written down, for the next push to go on with it.
    pub kept_in: Option<&'a Store>,
    /// Cancelled with the push, or when another blob of it failed.
    pub parts: &'a Cancel,
}

/// The way a blob got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was there.
    Present,
    /// It was taken from another repository of the registry.
    Mounted,
    /// It was sent.
    Sent,
}

/// The state of an upload.
#[derive(Default)]
struct State {
    /// The location to go on at; `None` before the first request, and when the registry has forgotten it.
    location: Option<Location>,
    /// How much the registry has.
    offset: u64,
    /// Whether that has to be asked, because a request was cut.
    unsure: bool,
    /// Whether the registry takes blobs in one piece only.
    one_piece: bool,
    chunk: u64,
    /// The smallest chunk that the registry takes.
    least: u64,
    /// Whether an earlier push began it.
    resumed: bool,
}

/// A note of where an upload stands, as it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    location: String,
    offset: u64,
    chunk: u64,
}

/// Claims what an earlier push left of this upload: to this registry, into this repository, of this blob.
fn claim(repository: &Repository, blob: &Blob) -> Option<Upload> {
    let store = blob.kept_in.filter(|_| blob.size > ONE_PIECE)?;
    let which =
        format!("{}\n{}\n{}", repository.endpoint.origin, repository.endpoint.repository, blob.digest);
    store.claim_upload(&Digest::of(which.as_bytes()))
}

impl State {
    /// Goes on where an earlier push was, as far as that is written down and can be true.
    fn begin(repository: &Repository, blob: &Blob, kept: Option<&Upload>) -> State {
        let found = kept.and_then(Upload::read).and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let found = found.and_then(|kept| Some((Location::parse(&kept.location).ok()?, kept)));
        match found {
            Some((location, Kept { offset, chunk, .. }))
                if offset <= blob.size
                    && (SMALL_CHUNK..=MAX_CHUNK).contains(&chunk)
                    && (location.origin().is_secure() || !repository.endpoint.origin.is_secure()) =>
            {
                let (location, unsure) = (Some(location), true);
                State { location, offset, unsure, chunk, resumed: true, ..State::default() }
            }
            _ => State { chunk: CHUNK, ..State::default() },
        }
    }

    /// Writes down where the upload stands.
    fn keep(&self, kept: Option<&Upload>) {
        if let (Some(kept), Some(location)) = (kept, &self.location) {
            let state = Kept { location: location.to_string(), offset: self.offset, chunk: self.chunk };
            kept.write(&serde_json::to_vec(&state).unwrap_or_default());
        }
    }

    /// Goes on with smaller chunks, where the registry takes them: of the last one next to nothing has arrived.
    fn shrink(&mut self) {
        self.chunk = self.chunk.min(SMALL_CHUNK.max(self.least));
    }

    /// Forgets the upload, and what was found out about the registry stays.
    fn reset(&mut self) {
        let State { chunk, least, one_piece, .. } = *self;
        *self = State { chunk, least, one_piece, ..State::default() };
    }
}

/// Uploads a blob, unless the repository has it.
pub(super) fn upload(
    repository: &Repository,
    blob: &Blob,
    progress: &Arc<Mutex<Progress>>,
) -> Result<Outcome> {
    let session = repository.session;
    if blob.ask && is_there(repository, blob)? {
        return Ok(Outcome::Present);
    }
    let kept = claim(repository, blob);
    let mut state = State::begin(repository, blob, kept.as_ref());
    let (mut tries, mut at_last_cut) = (1, 0);
    loop {
        let failure = match attempt(repository, blob, &mut state, kept.as_ref(), progress) {
            Ok(outcome) => {
                kept.into_iter().for_each(Upload::forget);
                return Ok(outcome);
            }
            Err(failure) => failure,
        };
        if state.offset >= at_last_cut + WORTH_NEW_TRIES {
            tries = 1;
        }
        at_last_cut = state.offset;
        if !failure.again || tries >= session.registries.attempts {
            // What a registry says that cannot be true is nothing to go on with.
            let fine = matches!(
                failure.error.kind(),
                ErrorKind::Network | ErrorKind::Cancelled | ErrorKind::Unauthorized
            );
            if !fine {
                kept.into_iter().for_each(Upload::forget);
                cancel(repository, state.location.take());
            }
            return Err(failure.error);
        }
        session.pause(OP, tries, &failure, blob.parts)?;
        tries += 1;
        state.unsure = true;
    }
}

/// Returns whether the repository has the blob, as far as the account may ask that.
fn is_there(repository: &Repository, blob: &Blob) -> Result<bool> {
    match repository.blob_size(OP, &blob.digest) {
        Ok(size) => Ok(size.is_some()),
        Err(error) => {
            let (session, endpoint) = (repository.session, &repository.endpoint);
            match session.is_only_denied(endpoint, &repository.scopes, &error)? {
                true => Ok(false),
                false => Err(error),
            }
        }
    }
}

/// Has the registry drop an upload that nothing goes on with (distribution-spec, "Cancel"), with one request. The error at hand is
/// the one that counts, so nothing follows from the answer.
fn cancel(repository: &Repository, location: Option<Location>) {
    let Some(location) = location else { return };
    let (session, endpoint, scopes) = (repository.session, &repository.endpoint, &repository.scopes);
    let authorization = session.tokens.header(&endpoint.origin, scopes);
    let (headers, payload) = (Vec::new(), Payload::None);
    let request = Request { operation: OP, method: Method::DELETE, location, headers, payload, scopes };
    let _ = session.follow(endpoint, &request, authorization.as_deref());
}

fn attempt(
    repository: &Repository,
    blob: &Blob,
    state: &mut State,
    kept: Option<&Upload>,
    progress: &Arc<Mutex<Progress>>,
) -> Result<Outcome, Failure> {
    if state.unsure {
        state.unsure = false;
        let before = state.offset;
        // The request that was cut may have been the last one.
        if state.offset >= blob.size && is_there(repository, blob)? {
            return Ok(Outcome::Sent);
        }
        match ask_offset(repository, state, blob) {
            // Whatever is wrong with what an earlier push has left, the upload can begin anew.
            Err(failure)
                if state.resumed && !failure.again && !repository.session.control.cancel.is_cancelled() =>
            {
                state.reset();
            }
            asked => asked?,
        }
        if state.offset < before + WORTH_NEW_TRIES && !state.resumed {
            state.shrink();
        }
    }
    if state.location.is_none()
        && let Some(outcome) = start(repository, blob, state)?
    {
        return Ok(outcome);
    }
    if state.offset == 0 && (state.one_piece || blob.size <= ONE_PIECE) {
        // Cut, it begins anew.
        let location = state.location.take().expect("started above");
        return match finish(repository, blob, location.clone(), 0, progress) {
            Err(failure) if failure.error.kind() == ErrorKind::NotFound => Err(forgotten(state, failure)),
            Err(failure) => {
                state.location = Some(location).filter(|_| !failure.again);
                Err(failure)
            }
            Ok(()) => Ok(Outcome::Sent),
        };
    }
    state.keep(kept);
    while state.offset < blob.size {
        chunk(repository, blob, state, progress)?;
        state.keep(kept);
    }
    let location = state.location.clone().expect("started above");
    match finish(repository, blob, location, blob.size, progress) {
        // What an earlier push has sent may have been something else.
        Err(failure)
            if failure.error.kind() == ErrorKind::NotFound
                || state.resumed && failure.error.kind() == ErrorKind::InvalidArgument =>
        {
            Err(forgotten(state, failure))
        }
        result => result.map(|()| Outcome::Sent),
    }
}

/// Begins an upload anew that the registry no longer has.
fn forgotten(state: &mut State, failure: Failure) -> Failure {
    state.reset();
    Failure { again: true, ..failure }
}

/// Begins an upload, or mounts the blob from where it is.
fn start(repository: &Repository, blob: &Blob, state: &mut State) -> Result<Option<Outcome>, Failure> {
    let mut location = repository.location("blobs/uploads/");
    let may_mount = repository.session.tokens.are_whole(&repository.endpoint.origin, &repository.scopes);
    let mount = blob.elsewhere.first().filter(|_| may_mount);
    if let Some(from) = mount {
        location = location.with_parameter("mount", &blob.digest.to_string()).with_parameter("from", from);
    }
    let response = repository.send(OP, Method::POST, location, Vec::new(), Payload::None)?;
    match response.status {
        201 if mount.is_some() => return Ok(Some(Outcome::Mounted)),
        202 => {}
        // Some registries refuse a mount instead of falling back to an upload.
        400..=499 if mount.is_some() && !matches!(response.status, 408 | 429) => {
            let plain = Blob { elsewhere: &[], ..*blob };
            return start(repository, &plain, state);
        }
        _ => return Err(response.into_error(OP, &repository.shown(blob.digest))),
    }
    state.location = Some(next(repository, &response)?);
    state.offset = 0;
    if let Some(least) =
        response.header("oci-chunk-min-length").and_then(|text| text.trim().parse::<u64>().ok())
    {
        if least > MAX_CHUNK {
            let message = format!("the registry asks for chunks of {least} bytes");
            return Err(Error::limit(OP, message).with_path(repository.shown(blob.digest)).into());
        }
        state.least = least;
        state.chunk = state.chunk.max(least);
    }
    Ok(None)
}

/// Returns where the registry says that the upload goes on. It gets credentials only if that is the registry's own origin.
fn next(repository: &Repository, response: &Response) -> Result<Location, Failure> {
    let origin = &repository.endpoint.origin;
    let Some(text) = response.header("location") else {
        let message = "the registry does not say where the upload goes";
        return Err(Error::corrupt(OP, message).with_path(origin.to_string()).into());
    };
    let location = response.location.join(text)?;
    if origin.is_secure() && !location.origin().is_secure() {
        let message = format!("refused an upload from https to {}", location.origin());
        return Err(Error::new(ErrorKind::PermissionDenied, OP, message)
            .with_path(origin.to_string())
            .into());
    }
    Ok(location)
}

/// Sends the next chunk.
fn chunk(
    repository: &Repository,
    blob: &Blob,
    state: &mut State,
    progress: &Arc<Mutex<Progress>>,
) -> Result<(), Failure> {
    let location = state.location.clone().expect("an upload that was started");
    let length = state.chunk.min(blob.size - state.offset);
    let end = state.offset + length;
    let headers = vec![
        ("content-type", "application/octet-stream".to_string()),
        ("content-range", format!("{}-{}", state.offset, end - 1)),
    ];
    let from = state.offset;
    let open = || body(blob, from, length, progress);
    let response = repository.send(OP, Method::PATCH, location, headers, Payload::Stream(&open, length))?;
    match response.status {
        202 | 204 | 201 => {
            let reached = range_end(&response);
            if reached.is_some_and(|reached| reached > end) {
                let message = format!("the registry claims to have more than the {end} bytes that were sent");
                return Err(Error::corrupt(OP, message).with_path(repository.shown(blob.digest)).into());
            }
            state.location = Some(next(repository, &response)?);
            state.offset = reached.unwrap_or(end);
            if state.offset <= from {
                let message = "the registry takes chunks and keeps nothing of them";
                return Err(Error::corrupt(OP, message).with_path(repository.shown(blob.digest)).into());
            }
            Ok(())
        }
        // The registry is elsewhere than it was thought to be: it says where.
        416 => {
            let failure = response.into_error(OP, &repository.shown(blob.digest));
            Err(Failure { again: true, ..failure })
        }
        413 if state.chunk > SMALL_CHUNK.max(state.least) => {
            state.shrink();
            let failure = response.into_error(OP, &repository.shown(blob.digest));
            Err(Failure { again: true, ..failure })
        }
        404 => Err(forgotten(state, response.into_error(OP, &repository.shown(blob.digest)))),
        // What an earlier push has left is not what the registry takes.
        400..=499 if state.resumed && !matches!(response.status, 401 | 403 | 408 | 429) => {
            Err(forgotten(state, response.into_error(OP, &repository.shown(blob.digest))))
        }
        400 | 405 | 411 | 415 | 501 if from == 0 => {
            state.one_piece = true;
            Err(forgotten(state, response.into_error(OP, &repository.shown(blob.digest))))
        }
        _ => Err(response.into_error(OP, &repository.shown(blob.digest))),
    }
}

/// Sends what is left, nothing perhaps, and says that the blob is whole.
fn finish(
    repository: &Repository,
    blob: &Blob,
    location: Location,
    from: u64,
    progress: &Arc<Mutex<Progress>>,
) -> Result<(), Failure> {
    let location = location.with_parameter("digest", &blob.digest.to_string());
    let length = blob.size - from;
    let open = || body(blob, from, length, progress);
    let payload = if length == 0 { Payload::None } else { Payload::Stream(&open, length) };
    let headers = vec![("content-type", "application/octet-stream".to_string())];
    let response = repository.send(OP, Method::PUT, location, headers, payload)?;
    let shown = repository.shown(blob.digest);
    match response.status {
        201 | 204 => {
            let claimed =
                response.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
            match claimed.filter(|claimed| *claimed != blob.digest) {
                Some(claimed) => {
                    let message = format!("the registry says that it stored {claimed}");
                    Err(Error::corrupt(OP, message).with_path(shown).into())
                }
                None => Ok(()),
            }
        }
        _ => Err(response.into_error(OP, &shown)),
    }
}

/// Asks how much of a cut upload has arrived.
fn ask_offset(repository: &Repository, state: &mut State, blob: &Blob) -> Result<(), Failure> {
    let Some(location) = state.location.clone() else {
        state.offset = 0;
        return Ok(());
    };
    let response = repository.send(OP, Method::GET, location, Vec::new(), Payload::None)?;
    match response.status {
        204 | 202 | 200 => {
            let reached = range_end(&response).filter(|reached| *reached <= blob.size);
            if response.header("location").is_some() {
                state.location = Some(next(repository, &response)?);
            }
            match reached {
                Some(reached) => state.offset = reached,
                // Without a place to go on from, it begins anew.
                None => state.reset(),
            }
            Ok(())
        }
        400..=499 if !matches!(response.status, 401 | 403 | 408 | 429) => {
            state.reset();
            Ok(())
        }
        _ => Err(response.into_error(OP, &repository.shown(blob.digest))),
    }
}

/// Returns how many bytes the registry has, by its `Range: 0-END`. Registries write `0-0` for none, too.
fn range_end(response: &Response) -> Option<u64> {
    let text = response.header("range")?;
    let (start, end) = text.strip_prefix("bytes=").unwrap_or(text).trim().split_once('-')?;
    match (start.trim(), end.trim().parse::<u64>().ok()?) {
        ("0", 0) => Some(0),
        ("0", end) => end.checked_add(1),
        _ => None,
    }
}

fn body(blob: &Blob, from: u64, length: u64, progress: &Arc<Mutex<Progress>>) -> Result<Box<dyn Read>> {
    let inner = (blob.open)(from)?;
    Ok(Box::new(Counted {
        inner: inner.take(length),
        at: from,
        end: from + length,
        parts: blob.parts.clone(),
        progress: progress.clone(),
    }))
}

/// A body that reports how far it was read, and must not end early.
struct Counted {
    inner: std::io::Take<Box<dyn Read>>,
    at: u64,
    end: u64,
    parts: Cancel,
    progress: Arc<Mutex<Progress>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.parts.check(OP)?;
        let n = self.inner.read(buffer)?;
        if n == 0 && !buffer.is_empty() && self.at < self.end {
            let message = format!("the blob ends at {} of {} bytes", self.at, self.end);
            return Err(Error::corrupt(OP, message).into());
        }
        self.at += n as u64;
        lock(&self.progress).reach(self.at);
        Ok(n)
    }
}
