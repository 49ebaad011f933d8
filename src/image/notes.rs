//! Notes of a layer, taken in the pass in which it is written, or read to be checked: its entries with the places of their
//! content, and its index. So the first look at the image reads no layer. Content is not looked at: its digests are made when
//! they are asked for, see [`digests`](super::digests).
//!
//! Notes save time and nothing else. A tar that cannot be parsed has none, and neither does one with entries that take too
//! much memory: what needs them reads the layer.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use super::compose::{StepLayer, record_layer};
use super::contents::{Row, Rows, keep_list};
use super::open::{Image, Layer};
use crate::compress::{Chunk, Decoded, Decoder, LayerIndex, Profile, Written, write_noted};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::LayerTar;
use crate::layer::header::BLOCK;
use crate::layer::read::{ChunkStream, LayerReader, ReadChunks, ReadLimits, TarEntry};
use crate::progress::Control;
use crate::store::{Descriptor, DocumentKind, Store};
use crate::threads;

const READ: &str = "read layer";
/// Bytes of entries that one operation keeps in memory until their list is made: some 300,000 entries.
const HELD_MAX: u64 = 96 << 20;
/// How many lists one operation makes. An archive of a few kilobytes may hold a thousand images of one large layer.
const LISTS_MAX: usize = 64;

/// The notes of one operation.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Whether entries of layers that are written are known elsewhere.
    indexes_alone: bool,
    held: AtomicU64,
    /// By the digest of the blob.
    layers: Mutex<HashMap<Digest, Rows>>,
}

impl Notes {
    /// Returns notes of layers of which the entries are known: their indexes are all that is kept.
    pub fn of_indexes() -> Notes {
        Notes { indexes_alone: true, ..Notes::default() }
    }

    /// Reads a layer to its end and takes notes of it. The index is among them if the decoder notes where decoding may begin
    /// ([`DecodeOptions::restarts`](crate::compress::DecodeOptions::restarts)). Give the notes to [`keep`](Self::keep) once the
    /// digests are what they should be.
    ///
    /// # Errors
    /// Those of decoding. What is no tar is none.
    pub fn decode(&self, mut decoder: Decoder, control: &Control) -> Result<(Decoded, Option<Noted>)> {
        let mut tap = Tap { stream: &mut decoder, failure: None };
        let read = self.read(&mut tap, control);
        if let Some(failure) = tap.failure {
            return Err(failure);
        }
        let reading = match read {
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            read => read.ok(),
        };
        let (decoded, index) = decoder.finish_noted()?;
        Ok((decoded, reading.map(|it| it.finish(index, decoded.diff_size))))
    }

    /// Compresses a layer into the store, takes notes of it meanwhile on a thread of its own, where there may be one, and keeps them.
    pub fn write(
        &self,
        store: &Store,
        tar: &LayerTar<'_>,
        profile: &Profile,
        threads: usize,
        control: &Control,
    ) -> Result<(Written, StepLayer)> {
        let mut blob = store.unhashed_blob_writer()?;
        let count = threads::count(threads);
        let ((written, index), reading) = std::thread::scope(|scope| {
            // What will be read is known before it is written.
            let note = || self.read(tar.outline(), control).ok();
            let thread = match !self.indexes_alone && count > 1 {
                true => threads::spawn(scope, "treering-note", note).ok(),
                false => None,
            };
            let written = write_noted(tar, profile, count, &mut blob, control);
            let reading = match thread {
                Some(thread) => threads::join(thread),
                None if !self.indexes_alone && written.is_ok() => note(),
                None => None,
            };
            Ok::<_, Error>((written?, reading))
        })?;
        blob.finish_with(written.digest, written.size)?;
        let layer = record_layer(store, &written, profile.media_type())?;
        let noted = match reading {
            Some(reading) => reading.finish(Some(index), written.diff_size),
            None => Noted { index: Some(index), rows: None, diff_size: written.diff_size },
        };
        self.keep(store, &written.digest, noted);
        Ok((written, layer))
    }

    /// Starts a thread that takes notes of a tar; `None` where there is none to be had.
    pub fn beside<'a: 'scope, 'scope>(
        &'a self,
        scope: &'scope Scope<'scope, '_>,
        control: &'a Control,
    ) -> Option<Beside<'scope, 'a>> {
        // Nothing waits in between: a piece of 8 MiB is still in the cache when it is taken, and no further one is in memory.
        let (send, receive) = sync_channel::<Chunk>(0);
        let note = move || self.read(Pieces(receive), control).ok();
        let thread = threads::spawn(scope, "treering-note", note).ok()?;
        Some(Beside { send, thread })
    }

    /// Takes notes of a tar that is in memory; `None` if it is none.
    pub fn of_bytes(&self, tar: Vec<u8>, control: &Control) -> Option<Noted> {
        let index = Some(LayerIndex::of_tar(&tar));
        let reading = self.read(ReadChunks::with_size(&tar[..], tar.len()), control).ok()?;
        Some(reading.finish(index, tar.len() as u64))
    }

    /// Reads a tar to its end.
    fn read<S: ChunkStream>(&self, stream: S, control: &Control) -> Result<Reading<'_>> {
        let mut reader = LayerReader::new(stream, ReadLimits::default());
        let mut reading = Reading::new(self);
        while let Some(entry) = reader.next_entry()? {
            control.check(READ)?;
            reading.take(entry, reader.entry_offset());
        }
        reader.finish()?;
        Ok(reading)
    }

    /// Puts the index of a layer into the store, and has its entries at hand for [`list`](Self::list).
    pub fn keep(&self, store: &Store, blob: &Digest, noted: Noted) {
        if let Some(index) = &noted.index {
            // It only saves time: a store that cannot be written to, or a full disk, is no reason to fail.
            let _ = store.put_layer_index(blob, index);
        }
        if let Some(rows) = noted.rows {
            let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
            layers.insert(*blob, Rows { rows, diff_size: noted.diff_size });
        }
    }

    /// Puts the list of a stack of layers into the store, if it is worth it and the notes have what it takes.
    pub fn list(&self, store: &Store, layers: &[Layer], control: &Control) {
        let noted = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_empty() {
            return;
        }
        let quiet = Control { cancel: control.cancel.clone(), ..Control::default() };
        // It only saves time.
        let _ = keep_list(store, layers, &noted, &quiet);
    }

    /// Does so for the images that descriptors of manifests and indexes lead to.
    pub fn list_images<'a>(
        &self,
        store: &Store,
        descriptors: impl IntoIterator<Item = &'a Descriptor>,
        control: &Control,
    ) {
        let is = |descriptor: &Descriptor, kind| {
            DocumentKind::of_media_type(descriptor.media_type().as_ref()) == Some(kind)
        };
        // Each once, whatever names it how often, and of an index within an index none.
        let mut seen = HashSet::new();
        let mut manifests = Vec::new();
        for descriptor in descriptors {
            let index = match is(descriptor, DocumentKind::Index) {
                true if seen.insert(descriptor.digest().clone()) => store.read_document(descriptor).ok(),
                _ => None,
            };
            let inner = index.iter().flat_map(|index| index.manifests());
            for manifest in std::iter::once(descriptor).chain(inner) {
                if is(manifest, DocumentKind::Manifest) && seen.insert(manifest.digest().clone()) {
                    manifests.push(manifest.clone());
                }
            }
            if manifests.len() >= LISTS_MAX {
                break;
            }
        }
        for manifest in manifests.iter().take(LISTS_MAX) {
            if let Ok(image) = Image::from_descriptor(store, manifest, None) {
                self.list(store, image.layers(), control);
            }
        }
    }
}

/// The notes of one tar, while it is read.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    notes: &'a Notes,
    /// `None` where there is no room for them.
    rows: Option<Vec<Row>>,
    held: u64,
}

impl<'a> Reading<'a> {
    /// Notes of nothing yet.
    pub fn new(notes: &'a Notes) -> Self {
        Reading { notes, rows: Some(Vec::new()), held: 0 }
    }

    /// Takes in an entry, and the offset in the tar of its first header.
    pub fn take(&mut self, entry: TarEntry, offset: u64) {
        let Some(rows) = &mut self.rows else { return };
        let size = size_of_entry(&entry);
        self.held += size;
        match self.notes.held.fetch_add(size, Ordering::Relaxed) + size <= HELD_MAX {
            true => rows.push(Row { entry, block: offset / BLOCK as u64 }),
            false => {
                self.rows = None;
                self.notes.held.fetch_sub(self.held, Ordering::Relaxed);
            }
        }
    }

    /// Returns the notes, once the tar is at its end: with the index if there is one, and the size of the tar in bytes.
    pub fn finish(self, index: Option<LayerIndex>, diff_size: u64) -> Noted {
        Noted { index, rows: self.rows, diff_size }
    }
}

/// A thread that takes notes of a tar it is shown.
pub(crate) struct Beside<'scope, 'a> {
    send: SyncSender<Chunk>,
    thread: ScopedJoinHandle<'scope, Option<Reading<'a>>>,
}

impl<'a> Beside<'_, 'a> {
    /// Shows the next piece of the tar.
    pub fn show(&self, chunk: Chunk) {
        // A reader that gave up takes nothing more.
        let _ = self.send.send(chunk);
    }

    /// Ends the tar, and gives the notes of it; `None` if it was none.
    pub fn finish(self) -> Option<Reading<'a>> {
        drop(self.send);
        threads::join(self.thread)
    }
}

/// The notes of a layer before its digests are compared.
#[derive(Debug)]
pub(crate) struct Noted {
    index: Option<LayerIndex>,
    rows: Option<Vec<Row>>,
    diff_size: u64,
}

fn size_of_entry(entry: &TarEntry) -> u64 {
    let attributes = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + 48).sum::<usize>();
    (size_of::<Row>() + entry.path.len() + entry.link.len() + attributes) as u64
}

/// A stream that keeps its own error apart from those of what reads it.
struct Tap<'a> {
    stream: &'a mut Decoder,
    failure: Option<Error>,
}

impl ChunkStream for Tap<'_> {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        self.stream.next_chunk().map_err(|error| {
            let stopped = Error::new(error.kind(), READ, "the layer cannot be decoded");
            self.failure = Some(error);
            stopped
        })
    }
}

/// The pieces of a tar that another thread shows.
struct Pieces(Receiver<Chunk>);

impl ChunkStream for Pieces {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        Ok(self.0.recv().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::DecodeOptions;

    fn decode(notes: &Notes, blob: &[u8]) -> Result<(Decoded, Option<Noted>)> {
        let options = DecodeOptions { restarts: true, ..DecodeOptions::default() };
        let input = std::io::Cursor::new(blob.to_vec());
        notes.decode(Decoder::new(Box::new(input), options, Control::default())?, &Control::default())
    }

    fn tar() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(5);
        tar.append_data(&mut header, "file", &b"hello"[..]).unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn what_is_no_tar_is_decoded_to_its_end_and_has_no_notes() {
        let tar = tar();
        let garbage = vec![b'x'; 3 << 20];
        for bytes in [&garbage[..], &tar[..700], &[&tar[..1024], b"behind", &garbage].concat()] {
            let (decoded, noted) = decode(&Notes::default(), bytes).unwrap();
            assert_eq!((decoded.diff_id, noted.is_none()), (Some(Digest::of(bytes)), true));
        }
        // What cannot be decoded is an error as ever, in its own words.
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar).unwrap();
        let gzip = gzip.finish().unwrap();
        assert!(decode(&Notes::default(), &gzip).unwrap().1.is_some());
        let error = decode(&Notes::default(), &gzip[..gzip.len() / 2]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_ne!(error.message(), "the layer cannot be decoded");
    }

    #[test]
    fn entries_without_room_leave_the_index_alone() {
        let notes = Notes { held: AtomicU64::new(HELD_MAX), ..Notes::default() };
        let noted = decode(&notes, &tar()).unwrap().1.unwrap();
        assert!(noted.rows.is_none() && noted.index.unwrap().is_usable());
        assert_eq!(notes.held.load(Ordering::Relaxed), HELD_MAX);
        let noted = decode(&Notes::default(), &tar()).unwrap().1.unwrap();
        assert_eq!(noted.rows.map(|rows| rows.len()), Some(1));
    }
}
