//! Files of an image, read without unpacking it.
//!
//! The list of the image (see [`contents`]) says what there is and has the digest of every file. The indexes of its layers say
//! where content of that digest is. Neither index nor place is trusted: what is read is compared with the digest before it is
//! handed out, and where it differs, the layers are read from their starts, which makes their indexes anew.

use std::collections::HashMap;
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::contents::contents;
use super::open::{Image, Layer};
use super::pass::{Budget, hash_layer};
use super::resolve::resolve;
use crate::compress::{DecodeLimits, EntryReader, LayerIndex, Resumed};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Kind;
use crate::layer::EntryKind;
use crate::layer::index::{Key, key};
use crate::layer::read::{Data, LayerReader, ReadChunks, ReadLimits};
use crate::progress::{Control, Counters};
use crate::store::Store;
use crate::tree::Snapshot;

const READ: &str = "read file of image";
/// Files up to this size are read into memory and verified there; larger ones are read twice.
const BUFFER: u64 = 8 << 20;
/// How many places of one key are tried by an index that was not made here. There are more only to deceive, or by great chance.
const TRIES: usize = 4;

/// The files of one image.
pub struct ImageFiles {
    store: Store,
    layers: Vec<Layer>,
    list: Snapshot,
    indexes: Mutex<Vec<Option<Known>>>,
    limits: DecodeLimits,
}

/// The index of a layer as far as it is in memory.
#[derive(Clone)]
struct Known {
    index: Arc<LayerIndex>,
    /// Whether it was made here, from the layer itself.
    made: bool,
}

/// Where content was found.
struct Found {
    layer: usize,
    index: Arc<LayerIndex>,
    place: u64,
}

impl ImageFiles {
    /// Opens the files of an image. The first time that takes as long as reading all its layers; then the list is in the store.
    pub fn open(store: &Store, image: &Image, control: &Control) -> Result<ImageFiles> {
        let list = contents(store, image, control)?;
        let layers = image.layers().to_vec();
        let indexes = Mutex::new(vec![None; layers.len()]);
        Ok(ImageFiles { store: store.clone(), layers, list, indexes, limits: DecodeLimits::default() })
    }

    /// Everything in the image. The numbers of its entries are those that the other functions take.
    pub fn list(&self) -> &Snapshot {
        &self.list
    }

    /// The entry that a path leads to, symbolic links followed inside the image: absolute targets begin at its root, and `..` does
    /// not leave it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such entry; [`ErrorKind::InvalidArgument`] for a component that is no directory and
    /// for too many links.
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Result<u32> {
        resolve(&self.list, path.as_ref(), true)
    }

    /// As [`resolve`](Self::resolve), but a symbolic link that the path ends with is the answer itself.
    pub fn resolve_link(&self, path: impl AsRef<[u8]>) -> Result<u32> {
        resolve(&self.list, path.as_ref(), false)
    }

    /// Opens the content of a file. Up to 8 MiB it is in memory; of a larger file one pass verifies it and another one gives it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is no file; [`ErrorKind::Corrupt`] when the image does not have the content that its
    /// list promises.
    pub fn reader(&self, entry: u32, control: &Control) -> Result<Box<dyn Read + Send>> {
        let _lease = self.store.lease_for(control)?;
        let (digest, size) = self.content(entry)?;
        let Some(digest) = digest else { return Ok(Box::new(io::empty())) };
        if size <= BUFFER {
            return Ok(Box::new(Cursor::new(self.small(entry, &digest, size, control)?)));
        }
        let found = self.find(entry, &digest, control, &mut |reader, length| {
            let mut hasher = Sha256::new();
            Ok(length == size && {
                each_part(reader, control, &mut |part| {
                    hasher.update(part);
                    Ok(())
                })?;
                hasher.finalize()[..] == digest
            })
        })?;
        let blob = self.store.open_blob(&self.layers[found.layer].digest)?;
        let (resumed, begin) = Resumed::open(blob, &found.index.restarts, found.place, &self.limits)?;
        let limits = ReadLimits { max_bytes: u64::MAX, ..ReadLimits::default() };
        let mut reader = LayerReader::new(ReadChunks::new(resumed), limits);
        reader.skip_to(found.place - begin)?;
        match reader.next_entry()? {
            Some(entry) if entry.kind == EntryKind::File && entry.size == size => {}
            _ => return Err(changed(&self.list.path(entry))),
        }
        let hasher = Some(Sha256::new());
        let path = self.list.path(entry);
        Ok(Box::new(Streamed { reader, data: None, hasher, digest, path, control: control.clone() }))
    }

    /// Reads a file of at most `cap` bytes.
    ///
    /// # Errors
    /// Those of [`reader`](Self::reader), and [`ErrorKind::Limit`] for a larger file.
    pub fn read(&self, entry: u32, cap: u64, control: &Control) -> Result<Vec<u8>> {
        let size = self.content(entry)?.1;
        if size > cap {
            let message = format!("the file has {size} bytes, more than the cap of {cap}");
            return Err(Error::limit(READ, message).with_path(self.list.path(entry)));
        }
        let mut bytes = Vec::with_capacity(size.min(BUFFER) as usize);
        let path = || self.list.path(entry);
        let mut reader = self.reader(entry, control)?;
        reader.read_to_end(&mut bytes).map_err(|error| Error::io(READ, path(), error))?;
        Ok(bytes)
    }

    /// Writes the content of a file to `out`, and gives its size.
    ///
    /// # Errors
    /// Those of [`reader`](Self::reader), and those of writing.
    pub fn copy(&self, entry: u32, out: &mut dyn Write, control: &Control) -> Result<u64> {
        let mut reader = self.reader(entry, control)?;
        io::copy(&mut reader, out).map_err(|error| Error::io(READ, self.list.path(entry), error))
    }

    /// Reads many files, in the order in which the layers hold them, so that no part of a layer is decoded twice and parts that
    /// hold none of them are not decoded. `sink` gets the number of each entry of `wanted` once, with its content, which is verified;
    /// files of no bytes come first, those above 8 MiB last.
    ///
    /// # Errors
    /// Those of [`reader`](Self::reader), and those of `sink`.
    pub fn read_each(
        &self,
        wanted: &[u32],
        control: &Control,
        sink: &mut dyn FnMut(u32, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let _lease = self.store.lease_for(control)?;
        // By the part of the digest that the indexes have.
        let mut by_key: HashMap<Key, Vec<(u32, [u8; 32], u64)>> = HashMap::new();
        let mut large = Vec::new();
        for &entry in wanted {
            match self.content(entry)? {
                (None, _) => sink(entry, &mut io::empty())?,
                (Some(_), size) if size > BUFFER => large.push(entry),
                (Some(digest), size) => by_key.entry(key(&digest)).or_default().push((entry, digest, size)),
            }
        }
        for layer in (0..self.layers.len()).rev() {
            if by_key.is_empty() {
                break;
            }
            let known = self.known(layer, control)?;
            let open = || self.store.open_blob(&self.layers[layer].digest);
            let mut reader = EntryReader::new(&open, &known.index.restarts, &self.limits);
            let mut tried: HashMap<Key, usize> = HashMap::new();
            for (key, place) in known.index.places.iter() {
                let Some(entries) = by_key.get(&key) else { continue };
                control.check(READ)?;
                let tries = tried.entry(key).or_default();
                *tries += 1;
                if *tries > TRIES {
                    continue;
                }
                // What the index has wrong is left for later.
                let Ok((content, size)) = reader.file_at(place) else { continue };
                if !entries.iter().any(|(_, _, wanted)| *wanted == size) {
                    continue;
                }
                let Ok(bytes) = content.read_content(BUFFER as usize) else { continue };
                let digest: [u8; 32] = Sha256::digest(&bytes).into();
                let Some(entries) = by_key.get_mut(&key) else { continue };
                let mut these = Vec::new();
                entries.retain(|(entry, wanted, _)| {
                    if *wanted == digest {
                        these.push(*entry);
                    }
                    *wanted != digest
                });
                if entries.is_empty() {
                    by_key.remove(&key);
                }
                for entry in these {
                    Counters::add(&control.counters.bytes_read, size);
                    sink(entry, &mut &bytes[..])?;
                }
            }
        }
        let mut rest: Vec<u32> = by_key.into_values().flatten().map(|(entry, _, _)| entry).collect();
        rest.sort_unstable();
        for entry in rest.into_iter().chain(large) {
            sink(entry, &mut *self.reader(entry, control)?)?;
        }
        Ok(())
    }

    /// The digest and size of a file's content; no digest where it has no bytes.
    fn content(&self, entry: u32) -> Result<(Option<[u8; 32]>, u64)> {
        let path = || self.list.path(entry);
        let meta = self.list.meta(entry);
        if meta.kind != Kind::File {
            let message = format!("it is a {}, and has no content", meta.kind.name());
            return Err(Error::invalid(READ, message).with_path(path()));
        }
        match self.list.digest(entry) {
            None if meta.size > 0 => {
                let message = "the holes of this sparse file are too large for it to be verified";
                Err(Error::new(ErrorKind::Unsupported, READ, message)
                    .with_path(path())
                    .with_hint("unpack the image"))
            }
            digest => Ok((digest.filter(|_| meta.size > 0), meta.size)),
        }
    }

    fn small(&self, entry: u32, digest: &[u8; 32], size: u64, control: &Control) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.find(entry, digest, control, &mut |reader, length| {
            if length != size {
                return Ok(false);
            }
            bytes = reader.read_content(BUFFER as usize)?;
            Ok(Sha256::digest(&bytes)[..] == *digest)
        })?;
        Counters::add(&control.counters.bytes_read, size);
        Ok(bytes)
    }

    /// Looks for content in the layers, the last one first, until `accept` takes what it is given: a file, and its size. First by
    /// the indexes as they are, then by such as are made from the layers here and now.
    fn find(
        &self,
        entry: u32,
        digest: &[u8; 32],
        control: &Control,
        accept: &mut dyn FnMut(&mut LayerReader<ReadChunks<Resumed>>, u64) -> Result<bool>,
    ) -> Result<Found> {
        for again in [false, true] {
            for layer in (0..self.layers.len()).rev() {
                let known = match again {
                    false => self.known(layer, control)?,
                    true if self.known(layer, control)?.made => continue,
                    true => self.make(layer, control)?,
                };
                let most = if known.made { usize::MAX } else { TRIES };
                for place in known.index.places.find(digest).take(most) {
                    control.check(READ)?;
                    let open = || self.store.open_blob(&self.layers[layer].digest);
                    let mut reader = EntryReader::new(&open, &known.index.restarts, &self.limits);
                    let accepted = reader.file_at(place).and_then(|(reader, length)| accept(reader, length));
                    match accepted {
                        Ok(true) => return Ok(Found { layer, index: Arc::clone(&known.index), place }),
                        Ok(false) => {}
                        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                        // Of a wrong place anything may come; the next round says what is wrong with the layer itself.
                        Err(error) if known.made => return Err(error),
                        Err(_) => {}
                    }
                }
            }
        }
        Err(Error::corrupt(READ, "no layer has the content that the list of the image promises")
            .with_path(self.list.path(entry))
            .with_hint("prune makes lists anew once the image is gone: load it again"))
    }

    /// The index of a layer, from memory, from the store, or else made.
    fn known(&self, layer: usize, control: &Control) -> Result<Known> {
        if let Some(known) = &self.lock()[layer] {
            return Ok(known.clone());
        }
        let Layer { digest, size, .. } = &self.layers[layer];
        match self.store.layer_index(digest, *size)?.filter(|index| !index.places.is_partial()) {
            Some(index) => {
                let known = Known { index: Arc::new(index), made: false };
                self.lock()[layer] = Some(known.clone());
                Ok(known)
            }
            None => self.make(layer, control),
        }
    }

    /// Makes the index of a layer by reading all of it, which verifies the layer.
    fn make(&self, layer: usize, control: &Control) -> Result<Known> {
        let _lease = self.store.lease_for(control)?;
        let limits = ReadLimits::default();
        let mut budget = Budget::default();
        let quiet = Control { cancel: control.cancel.clone(), ..Control::default() };
        let mut files = |entry: &crate::layer::read::TarEntry| {
            Ok((entry.kind == EntryKind::File && entry.size > 0).then_some(0))
        };
        let index = hash_layer(
            &self.store,
            &self.layers[layer],
            &limits,
            &mut budget,
            &quiet,
            &mut files,
            &mut |_, _| {},
        )?;
        let known = Known { index: Arc::new(index), made: true };
        self.lock()[layer] = Some(known.clone());
        Ok(known)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Known>>> {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ImageFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageFiles").field("entries", &self.list.len()).finish_non_exhaustive()
    }
}

/// Gives every part of the content at hand to `sink`, holes as zeros.
fn each_part(
    reader: &mut LayerReader<ReadChunks<Resumed>>,
    control: &Control,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    static ZERO: [u8; 64 << 10] = [0; 64 << 10];
    while let Some(data) = reader.next_data()? {
        control.check(READ)?;
        match data {
            Data::Bytes(slice) => sink(&slice)?,
            Data::Hole(mut length) => {
                while length > 0 {
                    control.check(READ)?;
                    let part = length.min(ZERO.len() as u64);
                    sink(&ZERO[..part as usize])?;
                    length -= part;
                }
            }
        }
    }
    Ok(())
}

fn changed(path: &[u8]) -> Error {
    Error::new(ErrorKind::Changed, READ, "the layer changed while it was read").with_path(path)
}

/// The content of a large file that was verified before, and is verified again on the way.
struct Streamed {
    reader: LayerReader<ReadChunks<Resumed>>,
    /// What is at hand, and how much of it was given.
    data: Option<(Data, u64)>,
    hasher: Option<Sha256>,
    digest: [u8; 32],
    path: Vec<u8>,
    control: Control,
}

impl Read for Streamed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            self.control.check(READ)?;
            let Some((data, given)) = &mut self.data else {
                match self.reader.next_data()? {
                    Some(data) => self.data = Some((data, 0)),
                    None => {
                        let sum = self.hasher.take().map(Sha256::finalize);
                        return match sum.is_none_or(|sum| sum[..] == self.digest) {
                            true => Ok(0),
                            false => Err(changed(&self.path).into()),
                        };
                    }
                }
                continue;
            };
            let length = match data {
                Data::Bytes(slice) => slice.len() as u64,
                Data::Hole(length) => *length,
            };
            let part = (length - *given).min(out.len() as u64) as usize;
            if part == 0 {
                self.data = None;
                continue;
            }
            match data {
                Data::Bytes(slice) => out[..part].copy_from_slice(&slice[*given as usize..][..part]),
                Data::Hole(_) => out[..part].fill(0),
            }
            *given += part as u64;
            self.hasher.iter_mut().for_each(|it| it.update(&out[..part]));
            Counters::add(&self.control.counters.bytes_read, part as u64);
            return Ok(part);
        }
    }
}
