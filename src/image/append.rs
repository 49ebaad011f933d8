//! A layer that comes from elsewhere, taken into the store as it is.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::compose::{StepLayer, record_layer};
use super::notes::{Notes, Reading};
use crate::compress::{DecodeLimits, DecodeOptions, Decoder, Written};
use crate::error::Result;
use crate::layer::read::{LayerReader, ReadLimits};
use crate::layer::whiteout::{self, Strictness};
use crate::progress::Control;
use crate::store::{BlobWriter, Store};

const APPEND: &str = "append layer";

/// Takes a layer into the store, byte for byte: plain, gzip or zstd. It is read strictly to its end on the way.
///
/// # Errors
/// Input that is no layer, or ends where none ends, is an error, and nothing is in the store then.
pub(super) fn take_layer(
    store: &Store,
    input: Box<dyn Read + Send>,
    limits: &DecodeLimits,
    threads: usize,
    notes: &Notes,
    control: &Control,
) -> Result<(Written, StepLayer)> {
    let (tee, blob) = Tee::new(input, store.unhashed_blob_writer()?);
    let options = DecodeOptions {
        limits: limits.clone(),
        restarts: store.limits().layer_indexes,
        ..DecodeOptions::with_threads(threads)
    };
    let decoder = Decoder::new(Box::new(tee), options, control.clone())?;
    // No digest says that all of it came.
    let limits = ReadLimits { require_end: true, ..ReadLimits::default() };
    let mut reader = LayerReader::new(decoder, limits);
    let mut reading = Reading::new(notes);
    while let Some(entry) = reader.next_entry()? {
        control.check(APPEND)?;
        whiteout::classify(&entry.path, entry.kind, entry.size, Strictness::Strict)?;
        reading.take(entry, reader.entry_offset());
    }
    let (decoded, index) = reader.finish()?.finish_noted()?;
    let (digest, diff_id) = (decoded.digest.expect("asked for"), decoded.diff_id.expect("asked for"));
    blob.take().finish_with(digest, decoded.size)?;
    let written = Written { diff_id, diff_size: decoded.diff_size, digest, size: decoded.size };
    let layer = record_layer(store, &written, decoded.compression.media_type())?;
    notes.keep(store, &digest, reading.finish(index, decoded.diff_size));
    Ok((written, layer))
}

/// Writes everything that is read into a blob as well.
pub(crate) struct Tee {
    input: Box<dyn Read + Send>,
    blob: Arc<Mutex<Option<BlobWriter>>>,
}

/// The blob of a [`Tee`].
pub(crate) struct TeeBlob(Arc<Mutex<Option<BlobWriter>>>);

impl Tee {
    /// Joins an input with a blob, which is to be had again when all was read.
    pub fn new(input: Box<dyn Read + Send>, blob: BlobWriter) -> (Tee, TeeBlob) {
        let blob = Arc::new(Mutex::new(Some(blob)));
        (Tee { input, blob: Arc::clone(&blob) }, TeeBlob(blob))
    }
}

impl TeeBlob {
    /// Returns the blob with all that was read until now.
    pub fn take(self) -> BlobWriter {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().expect("taken once")
    }
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        let mut blob = self.blob.lock().unwrap_or_else(PoisonError::into_inner);
        let blob = blob.as_mut().ok_or_else(|| io::Error::other("the blob is complete"))?;
        blob.write_all(&buffer[..n])?;
        Ok(n)
    }
}
