//! Files of an image, read without unpacking it.
//!
//! The list of the image (see [`entries`]) says what there is, and in which layer and where in its tar the content of each file is.
//! The indexes of the layers say how to get there, and what is read is checked on the way, see [`LayerBlobs`].

use std::collections::HashMap;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::batch::{self, Wanted};
use super::contents::entries;
use super::layer_blobs::{At, Known, LayerBlobs, may_be_the_index};
use super::open::{Image, Layer};
use super::resolve::resolve;
use crate::compress::{DecodeLimits, EntryReader, Verified};
use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::layer::header::BLOCK;
use crate::layer::read::{Data, LayerReader};
use crate::progress::{Control, Share};
use crate::store::Store;
use crate::tree::Snapshot;

const READ: &str = "read file of image";
/// Files up to this size are read into memory; larger ones are given as they are read.
const BUFFER: u64 = 8 << 20;
/// How much content is read from one point of a layer before it is given on; where there is more, it is given on file by file.
const AT_ONCE: u64 = 32 << 20;

/// The files of one image.
pub struct ImageFiles {
    blobs: Arc<LayerBlobs>,
    list: Arc<Snapshot>,
}

/// A small file that was read: its bytes, and the digest of them if it was wanted.
type Small = (Vec<u8>, Option<[u8; 32]>);

impl ImageFiles {
    /// Opens the files of an image. The first time that takes as long as reading all its layers; then the list is in the store.
    pub fn open(store: &Store, image: &Image, control: &Control) -> Result<ImageFiles> {
        let list = entries(store, image, control)?;
        Ok(ImageFiles::of(store, image.layers(), list))
    }

    /// Returns the files of a stack of layers, of which `list` is the list.
    pub(crate) fn of(store: &Store, layers: &[Layer], list: Snapshot) -> ImageFiles {
        let blobs = LayerBlobs::new(store, layers, DecodeLimits::default());
        ImageFiles { blobs: Arc::new(blobs), list: Arc::new(list) }
    }

    /// Returns the same under other caps on the decompression of its layers.
    pub(super) fn with_limits(self, limits: DecodeLimits) -> ImageFiles {
        let blobs = LayerBlobs::new(&self.blobs.store, &self.blobs.layers, limits);
        ImageFiles { blobs: Arc::new(blobs), ..self }
    }

    /// Returns the layers.
    pub(super) fn blobs(&self) -> &LayerBlobs {
        &self.blobs
    }

    /// Returns where the content of an entry is; `None` for what has none.
    pub(super) fn place(&self, entry: u32) -> Option<At> {
        let meta = self.list.meta(entry);
        let place = self.list.place(entry).filter(|_| meta.kind == Kind::File && meta.size > 0)?;
        let offset = place.block.checked_mul(BLOCK as u64)?;
        Some(At { layer: self.blobs.number(&place.layer)?, offset })
    }

    /// Returns the list of the image. The numbers of its entries are those that the other functions take.
    pub fn list(&self) -> &Snapshot {
        &self.list
    }

    /// Returns the same list, to be kept.
    #[cfg(feature = "capi")]
    pub(crate) fn shared_list(&self) -> Arc<Snapshot> {
        Arc::clone(&self.list)
    }

    /// Returns the entry that a path leads to, symbolic links followed inside the image: absolute targets begin at its
    /// root, and `..` does not leave it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such entry; [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a component that is no directory and
    /// for too many links.
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Result<u32> {
        resolve(&self.list, path.as_ref(), true)
    }

    /// Does what [`resolve`](Self::resolve) does, but a symbolic link that the path ends with is the answer itself.
    pub fn resolve_link(&self, path: impl AsRef<[u8]>) -> Result<u32> {
        resolve(&self.list, path.as_ref(), false)
    }

    /// Opens the content of a file. Up to 8 MiB it is in memory; of a larger file each piece is verified before it is given.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for what is no file; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when the image does not have the content that its
    /// list promises.
    pub fn reader(&self, entry: u32, control: &Control) -> Result<Box<dyn Read + Send>> {
        let _lease = self.blobs.store.lease_for(control)?;
        let (at, size) = self.content(entry)?;
        let Some(at) = at else { return Ok(Box::new(io::empty())) };
        if size <= BUFFER {
            return Ok(Box::new(Cursor::new(self.small(entry, at, size, control)?)));
        }
        let named = |error: Error| self.named(entry, error);
        let known = self.blobs.known(at.layer, control).map_err(named)?;
        let mut file = LargeFile {
            blobs: Arc::clone(&self.blobs),
            at,
            size,
            known,
            reader: None,
            data: None,
            given: 0,
            path: self.list.path(entry),
            share: Share::new(control, size),
            control: control.clone(),
        };
        file.open()?;
        Ok(Box::new(file))
    }

    /// Reads a file of at most `cap` bytes.
    ///
    /// # Errors
    /// Those of [`reader`](Self::reader), and [`ErrorKind::Limit`](crate::ErrorKind::Limit) for a larger file.
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
        let _lease = self.blobs.store.lease_for(control)?;
        let mut some = Vec::new();
        for &entry in wanted {
            match self.content(entry)?.0 {
                None => sink(entry, &mut io::empty())?,
                Some(_) => some.push(entry),
            }
        }
        let large =
            self.each_small(&some, false, control, &mut |entry, (bytes, _)| sink(entry, &mut &bytes[..]))?;
        for entry in large {
            sink(entry, &mut *self.reader(entry, control)?)?;
        }
        Ok(())
    }

    /// Takes the digests of files with content. Gives those that are too large for it.
    pub(super) fn hash_each(
        &self,
        wanted: &[u32],
        control: &Control,
        take: &mut dyn FnMut(u32, [u8; 32]),
    ) -> Result<Vec<u32>> {
        let _lease = self.blobs.store.lease_for(control)?;
        self.each_small(wanted, true, control, &mut |entry, (bytes, digest)| {
            take(entry, digest.unwrap_or_else(|| Sha256::digest(&bytes).into()));
            Ok(())
        })
    }

    /// Reads those of many files with content that are small, layer by layer, and gives the others.
    fn each_small(
        &self,
        wanted: &[u32],
        hash: bool,
        control: &Control,
        sink: &mut dyn FnMut(u32, &Small) -> Result<()>,
    ) -> Result<Vec<u32>> {
        let mut large = Vec::new();
        // By layer, then by place: an entry may be asked for more than once.
        let mut by_layer: HashMap<usize, HashMap<u64, Vec<u32>>> = HashMap::new();
        for &entry in wanted {
            match self.content(entry)? {
                (Some(_), size) if size > BUFFER => large.push(entry),
                (Some(at), _) => {
                    by_layer.entry(at.layer).or_default().entry(at.offset).or_default().push(entry);
                }
                (None, _) => {}
            }
        }
        let mut layers: Vec<usize> = by_layer.keys().copied().collect();
        layers.sort_unstable();
        for layer in layers {
            let Some(mut places) = by_layer.remove(&layer) else { continue };
            self.each_of_layer(layer, &mut places, hash, control, sink)?;
            // What the index has wrong.
            let mut rest: Vec<u32> = places.into_values().flatten().collect();
            rest.sort_unstable();
            for entry in rest {
                let (at, size) = self.content(entry)?;
                let Some(at) = at else { continue };
                sink(entry, &(self.small(entry, at, size, control)?, None))?;
            }
        }
        Ok(large)
    }

    /// Gives to `sink` what one layer has of what is wanted, and takes that out.
    fn each_of_layer(
        &self,
        layer: usize,
        places: &mut HashMap<u64, Vec<u32>>,
        hash: bool,
        control: &Control,
        sink: &mut dyn FnMut(u32, &Small) -> Result<()>,
    ) -> Result<()> {
        let known = self.blobs.known(layer, control)?;
        let size_of = |entries: &[u32]| self.list.meta(entries[0]).size;
        let mut found: Vec<Wanted> = places
            .iter()
            .map(|(&place, entries)| Wanted {
                place,
                start: known.index.restarts.start(place),
                size: size_of(entries),
            })
            .collect();
        found.sort_unstable_by_key(|one| one.place);
        let diff_id = self.blobs.layers[layer].diff_id;
        let open = || self.blobs.store.open_blob(&self.blobs.layers[layer].digest);
        let read = |reader: &mut EntryReader<'_>, one: &Wanted| -> Option<(u64, Small)> {
            let (content, size) = reader.file_at(one.place).ok()?;
            let bytes = content.read_content(BUFFER as usize).ok().filter(|_| size == one.size)?;
            let digest = hash.then(|| Sha256::digest(&bytes).into());
            Some((one.place, (bytes, digest)))
        };
        let mut take = |(place, file): (u64, Small)| -> Result<()> {
            for entry in places.remove(&place).unwrap_or_default() {
                let size = file.0.len() as u64;
                Share::new(control, size).add(size);
                sink(entry, &file)?;
            }
            Ok(())
        };
        let work = batch::pieces(&found);
        if work.iter().any(|piece| piece.iter().map(|one| one.size).sum::<u64>() > AT_ONCE) {
            // Decoding can begin at few places, or at none: one pass, in which nothing is held.
            let mut reader = EntryReader::new(&open, &known.index, diff_id, &self.blobs.limits);
            for one in &found {
                control.check(READ)?;
                if let Some(file) = read(&mut reader, one) {
                    take(file)?;
                }
            }
            return Ok(());
        }
        let read_piece = |piece: &&[Wanted]| {
            let mut reader = EntryReader::new(&open, &known.index, diff_id, &self.blobs.limits);
            let mut out = Vec::new();
            for one in *piece {
                control.check(READ)?;
                out.extend(read(&mut reader, one));
            }
            Ok(out)
        };
        batch::each(&work, control, read_piece, |files| files.into_iter().try_for_each(&mut take))
    }

    /// Returns the place and size of a file's content; no place where it has no bytes.
    fn content(&self, entry: u32) -> Result<(Option<At>, u64)> {
        let path = || self.list.path(entry);
        let meta = self.list.meta(entry);
        if meta.kind != Kind::File {
            let message = format!("it is a {}, and has no content", meta.kind.name());
            return Err(Error::invalid(READ, message).with_path(path()));
        }
        match self.place(entry) {
            None if meta.size > 0 => {
                Err(missing(Error::corrupt(READ, "no layer of the image has the content of this file"))
                    .with_path(path()))
            }
            at => Ok((at, meta.size)),
        }
    }

    fn small(&self, entry: u32, at: At, size: u64, control: &Control) -> Result<Vec<u8>> {
        let read =
            self.blobs.with_file(at, size, control, &mut |reader| reader.read_content(BUFFER as usize));
        let bytes = read.map_err(|error| self.named(entry, error))?;
        Share::new(control, size).add(size);
        Ok(bytes)
    }

    /// Returns an error with the file in it, where it names nothing yet.
    fn named(&self, entry: u32, error: Error) -> Error {
        error.or_path(|| self.list.path(entry))
    }
}

/// Returns an error of a list that does not fit its layers.
fn missing(error: Error) -> Error {
    error.with_hint("prune makes lists anew once the image is gone: load it again")
}

impl std::fmt::Debug for ImageFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageFiles").field("entries", &self.list.len()).finish_non_exhaustive()
    }
}

/// The content of a large file, of which each piece is verified when it is read.
struct LargeFile {
    blobs: Arc<LayerBlobs>,
    at: At,
    size: u64,
    known: Known,
    reader: Option<LayerReader<Verified>>,
    /// The data at hand, and how much of it was given.
    data: Option<(Data, u64)>,
    /// The bytes that were given in all.
    given: u64,
    path: Vec<u8>,
    share: Share,
    control: Control,
}

impl LargeFile {
    /// Opens the file where it is read next: by the index as it is, or if that fails by one made from the layer.
    fn open(&mut self) -> Result<()> {
        let read = self.seek();
        self.or_anew(read)
    }

    fn seek(&mut self) -> Result<()> {
        let mut reader = self.blobs.open_file(self.at, self.size, &self.known)?;
        (self.data, self.reader) = (None, None);
        let mut skip = self.given;
        while skip > 0 {
            self.control.check(READ)?;
            let Some(data) = reader.next_data()? else {
                return Err(Error::corrupt(READ, "the file ends too early"));
            };
            let part = length_of(&data).min(skip);
            skip -= part;
            self.data = Some((data, part));
        }
        self.reader = Some(reader);
        Ok(())
    }

    /// Takes the outcome of reading, or tries again with an index that is made from the layer itself.
    fn or_anew(&mut self, read: Result<()>) -> Result<()> {
        match read {
            Err(error) if !self.known.made && may_be_the_index(&error) => {
                self.known = self.blobs.make(self.at.layer, &self.control)?;
                self.seek()
            }
            read => read,
        }
    }

    /// Has the next piece at hand, unless it is the end.
    fn advance(&mut self) -> Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        match reader.next_data() {
            Ok(data) => {
                self.data = data.map(|data| (data, 0));
                Ok(())
            }
            Err(error) => self.or_anew(Err(error)),
        }
    }
}

fn length_of(data: &Data) -> u64 {
    match data {
        Data::Bytes(slice) => slice.len() as u64,
        Data::Hole(length) => *length,
    }
}

impl Read for LargeFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.given < self.size {
            self.control.check(READ)?;
            let Some((data, given)) = &mut self.data else {
                let advanced = self.advance();
                advanced.map_err(|error| error.or_path(|| &self.path))?;
                if self.data.is_none() {
                    return Err(Error::corrupt(READ, "the file ends too early").with_path(&self.path).into());
                }
                continue;
            };
            let part = (length_of(data) - *given).min(out.len() as u64) as usize;
            if part == 0 {
                self.data = None;
                continue;
            }
            match data {
                Data::Bytes(slice) => out[..part].copy_from_slice(&slice[*given as usize..][..part]),
                Data::Hole(_) => out[..part].fill(0),
            }
            *given += part as u64;
            self.given += part as u64;
            self.share.add(part as u64);
            return Ok(part);
        }
        Ok(0)
    }
}
