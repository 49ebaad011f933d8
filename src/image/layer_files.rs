//! A layer of an image as a stream: its blob, its tar, or its entries one after the other with their content.

use std::fs::File;
use std::io::{self, Read};

use super::open::Layer;
use crate::compress::{DecodeOptions, Decoder};
use crate::error::{Error, Result};
use crate::layer::ListOptions;
use crate::layer::read::{Data, LayerReader, ReadLimits, Slice, TarEntry};
use crate::progress::{Control, Counters};
use crate::store::{Store, VerifiedReader};

const READ: &str = "read layer";

impl Layer {
    /// Opens the blob as it is stored. Reaching its end is an error unless it has the size and the digest that the manifest
    /// says.
    pub fn open(&self, store: &Store) -> Result<VerifiedReader<File>> {
        store.verified_reader(&self.digest, self.size)
    }

    /// Opens the tar in the blob, decompressed. Reaching its end is an error unless blob and tar are what manifest and
    /// configuration say. Cancelling the control ends what is read later as well.
    pub fn open_tar(&self, store: &Store, control: &Control) -> Result<LayerTarReader> {
        let decoder = self.decoder(store, control)?;
        Ok(LayerTarReader { decoder: Some(decoder), layer: self.clone() })
    }

    /// Opens the layer to read its entries and their content. See [`LayerFiles`].
    pub fn files(&self, store: &Store, limits: ReadLimits, control: &Control) -> Result<LayerFiles> {
        let reader = LayerReader::new(self.decoder(store, control)?, limits);
        Ok(LayerFiles::over(reader, Some(self.clone()), control))
    }

    fn decoder(&self, store: &Store, control: &Control) -> Result<Decoder> {
        let blob = Box::new(store.open_blob(&self.digest)?);
        Decoder::new(blob, self.decode_options(store)?, control.clone()).map_err(|error| self.named(error))
    }

    /// Returns an error with the layer in it, where it names nothing yet.
    fn named(&self, error: Error) -> Error {
        error.or_path(|| self.digest.to_string())
    }
}

/// The tar of a layer, from [`Layer::open_tar`].
pub struct LayerTarReader {
    /// Nothing once it was read to its end.
    decoder: Option<Decoder>,
    layer: Layer,
}

impl Read for LayerTarReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = self.decoder.as_mut().filter(|_| !buffer.is_empty()) else { return Ok(0) };
        let count = decoder.read(buffer)?;
        if count == 0 {
            let decoded = self.decoder.take().expect("looked at above").finish()?;
            self.layer.check(&decoded)?;
        }
        Ok(count)
    }
}

/// The entries of a layer with their content, one after the other: of any length, without gathering them. [`Read`] gives the
/// content of the entry that [`next_entry`](Self::next_entry) gave last; what is not read of it is passed over.
///
/// A layer of an image is compared with what manifest and configuration say when the end is reached, not before.
///
/// ```no_run
/// use std::io::Read;
/// # use treering::{image::Image, layer::read::ReadLimits, store::Store, Control};
/// # let (store, control) = (Store::open_default()?, Control::default());
/// let image = Image::open(&store, "debian:12", None)?;
/// let mut files = image.layers()[0].files(&store, ReadLimits::default(), &control)?;
/// while let Some(entry) = files.next_entry()? {
///     let mut content = Vec::new();
///     files.read_to_end(&mut content)?;
///     println!("{} has {} bytes", String::from_utf8_lossy(&entry.path), content.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LayerFiles {
    /// Nothing once it was read to its end, or failed.
    reader: Option<LayerReader<Decoder>>,
    /// The layer that it has to be.
    layer: Option<Layer>,
    left: Left,
    control: Control,
}

/// The rest of the piece of content at hand.
enum Left {
    Nothing,
    Bytes(Slice, usize),
    Hole(u64),
}

impl LayerFiles {
    /// Returns the entries of a layer that comes from anywhere, compressed or not. It has to say where it ends, since no
    /// digest says so. The cap on memory is not looked at: nothing is kept.
    pub fn new(
        input: Box<dyn Read + Send>,
        options: &ListOptions,
        decode: DecodeOptions,
        control: &Control,
    ) -> Result<LayerFiles> {
        let limits = ReadLimits { require_end: true, ..options.limits.clone() };
        let reader = LayerReader::new(Decoder::new(input, decode, control.clone())?, limits);
        Ok(LayerFiles::over(reader, None, control))
    }

    fn over(reader: LayerReader<Decoder>, layer: Option<Layer>, control: &Control) -> LayerFiles {
        LayerFiles { reader: Some(reader), layer, left: Left::Nothing, control: control.clone() }
    }

    /// Returns an error with the layer in it, where it is one of an image.
    fn named(&self, error: Error) -> Error {
        match &self.layer {
            Some(layer) => layer.named(error),
            None => error,
        }
    }

    /// Returns the next entry, whiteouts as they stand there; `None` at the end, when everything was verified.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>> {
        self.control.check(READ)?;
        self.left = Left::Nothing;
        let Some(reader) = &mut self.reader else { return Ok(None) };
        match reader.next_entry() {
            Ok(Some(entry)) => {
                Counters::add(&self.control.counters.entries, 1);
                Ok(Some(entry))
            }
            Ok(None) => {
                let reader = self.reader.take().expect("looked at above");
                let decoded = reader.finish().and_then(Decoder::finish).map_err(|error| self.named(error))?;
                if let Some(layer) = &self.layer {
                    layer.check(&decoded)?;
                }
                Ok(None)
            }
            Err(error) => Err(self.named(error)),
        }
    }
}

impl Read for LayerFiles {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.control.check(READ)?;
        loop {
            match &mut self.left {
                Left::Bytes(slice, at) if *at < slice.len() => {
                    let count = buffer.len().min(slice.len() - *at);
                    buffer[..count].copy_from_slice(&slice[*at..*at + count]);
                    *at += count;
                    return Ok(count);
                }
                Left::Hole(length) if *length > 0 => {
                    let count = usize::try_from(*length).unwrap_or(usize::MAX).min(buffer.len());
                    buffer[..count].fill(0);
                    *length -= count as u64;
                    return Ok(count);
                }
                _ => {}
            }
            let Some(reader) = &mut self.reader else { return Ok(0) };
            self.left = match reader.next_data()? {
                None => return Ok(0),
                Some(Data::Bytes(slice)) => Left::Bytes(slice, 0),
                Some(Data::Hole(length)) => Left::Hole(length),
            };
        }
    }
}

impl std::fmt::Debug for LayerFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerFiles").field("layer", &self.layer).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LayerTarReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerTarReader").field("layer", &self.layer).finish_non_exhaustive()
    }
}
