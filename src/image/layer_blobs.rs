//! The blobs of some layers with their indexes: any file in them is reached by its place in the tar.
//!
//! An index is not trusted. What is read by it is checked piece by piece on the way ([`Verified`]); where that fails the layer is read
//! from its start, which checks all of it and makes the index anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::open::Layer;
use super::pass::read_layer;
use crate::compress::{DecodeLimits, EntryReader, LayerIndex, Verified};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::EntryKind;
use crate::layer::read::{LayerReader, ReadLimits};
use crate::progress::{Control, Share};
use crate::store::Store;

const READ: &str = "read file of image";

/// The blobs of some layers.
pub(super) struct LayerBlobs {
    pub store: Store,
    pub layers: Vec<Layer>,
    /// By DiffID.
    numbers: HashMap<[u8; 32], usize>,
    pub limits: DecodeLimits,
    indexes: Mutex<Vec<Option<Known>>>,
}

/// The index of a layer as far as it is in memory.
#[derive(Clone)]
pub(super) struct Known {
    pub index: Arc<LayerIndex>,
    /// Whether it was made here, from the layer itself.
    pub made: bool,
}

/// The place of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct At {
    /// The number of the layer.
    pub layer: usize,
    /// The offset in its tar of the first header of the entry.
    pub offset: u64,
}

impl LayerBlobs {
    pub fn new(store: &Store, layers: &[Layer], limits: DecodeLimits) -> LayerBlobs {
        let numbers = layers.iter().enumerate().map(|(number, layer)| (*layer.diff_id.bytes(), number));
        LayerBlobs {
            store: store.clone(),
            numbers: numbers.collect(),
            layers: layers.to_vec(),
            limits,
            indexes: Mutex::new(vec![None; layers.len()]),
        }
    }

    /// Returns the number of the layer with a DiffID.
    pub fn number(&self, diff_id: &[u8; 32]) -> Option<usize> {
        self.numbers.get(diff_id).copied()
    }

    /// Has `work` read a file of a size: first by the index as it is, and if that fails by one that is made here and now.
    pub fn with_file<T>(
        &self,
        at: At,
        size: u64,
        control: &Control,
        work: &mut dyn FnMut(&mut LayerReader<Verified>) -> Result<T>,
    ) -> Result<T> {
        let mut known = self.known(at.layer, control)?;
        loop {
            control.check(READ)?;
            let layer = &self.layers[at.layer];
            let open = || self.store.open_blob(&layer.digest);
            let mut reader = EntryReader::new(&open, &known.index, layer.diff_id, &self.limits);
            let read = reader.file_at(at.offset).and_then(|(reader, length)| match length == size {
                true => work(reader),
                false => Err(Error::corrupt(READ, "the file in the layer has another size than in the list")),
            });
            match read {
                // Of a wrong index anything may come; making it says what is wrong with the layer itself.
                Err(error) if !known.made && may_be_the_index(&error) => {
                    known = self.make(at.layer, control)?;
                }
                read => return read,
            }
        }
    }

    /// Opens a file of a size, to be read later. Nothing is checked here of what follows its header.
    pub fn open_file(&self, at: At, size: u64, known: &Known) -> Result<LayerReader<Verified>> {
        let layer = &self.layers[at.layer];
        let blob = self.store.open_blob(&layer.digest)?;
        let (verified, begin) = Verified::open(blob, &known.index, layer.diff_id, at.offset, &self.limits)?;
        let limits = ReadLimits { max_bytes: u64::MAX, ..ReadLimits::default() };
        let mut reader = LayerReader::new(verified, limits);
        reader.skip_to(at.offset - begin)?;
        match reader.next_entry()? {
            Some(entry) if entry.kind == EntryKind::File && entry.size == size => Ok(reader),
            _ => Err(Error::corrupt(READ, "there is no such file at the place the list has")),
        }
    }

    /// Returns the index of a layer, from memory, from the store, or else made.
    pub fn known(&self, layer: usize, control: &Control) -> Result<Known> {
        if let Some(known) = &self.lock()[layer] {
            return Ok(known.clone());
        }
        match self.store.layer_index(&self.layers[layer].digest, self.layers[layer].size)? {
            Some(index) => {
                let known = Known { index: Arc::new(index), made: false };
                self.lock()[layer] = Some(known.clone());
                Ok(known)
            }
            None => self.make(layer, control),
        }
    }

    /// Makes the index of a layer by reading all of it, which verifies the layer.
    pub fn make(&self, layer: usize, control: &Control) -> Result<Known> {
        let _lease = self.store.lease_for(control)?;
        let quiet = Control { cancel: control.cancel.clone(), ..Control::default() };
        let limits = ReadLimits::default();
        let wanted = (true, Share::uncounted());
        let read = read_layer(&self.store, &self.layers[layer], &limits, wanted, &quiet, &mut |_, _| Ok(()));
        let index = read?.ok_or_else(|| Error::new(ErrorKind::Internal, READ, "no index was made"))?;
        // It only saves time: a store that cannot be written to is no reason to fail.
        let _ = self.store.put_layer_index(&self.layers[layer].digest, &index);
        let known = Known { index: Arc::new(index), made: true };
        self.lock()[layer] = Some(known.clone());
        Ok(known)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Known>>> {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether an error may come of a wrong index rather than of what the content is for.
pub(super) fn may_be_the_index(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::NotFound)
}
