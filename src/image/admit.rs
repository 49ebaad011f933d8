//! Admits images that arrive, from an archive or a registry: whatever they say about digests, sizes and DiffIDs is compared
//! with their bytes before any name is given.

mod names;
mod walk;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::rc::Rc;

use super::config::ImageConfig;
use super::manifest::{DOCKER_CONFIG, OCI_CONFIG};
use super::notes::{Noted, Notes};
use super::platform::Platform;
use crate::compress::{Compression, DecodeLimits, DecodeOptions, Decoder, detect_supported};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::progress::{Control, Share};
use crate::store::{BlobInfo, Descriptor, LayerInfo, Reference, Store};

pub use names::{Loaded, NamePolicy};
pub(crate) use walk::Walk;

/// How many bytes of documents are parsed for one admission. A few kilobytes can otherwise name a large document any number
/// of times, or hold any number of them; a thousand images have some 20 MiB.
const PARSED: u64 = 256 << 20;

/// A file that arrived.
pub(crate) trait Source {
    /// Returns digest and size of the content, as they were seen.
    fn info(&self) -> BlobInfo;

    /// Returns the whole content, if it has no more bytes than a document may have.
    fn document(&self, store: &Store, operation: &'static str, shown: &str) -> Result<Cow<'_, [u8]>>;

    /// Returns a reader of the content.
    fn open(&self, store: &Store) -> Result<Box<dyn Read + Send>>;

    /// Puts the content into the store, unless it is there.
    fn keep(&self, store: &Store) -> Result<()>;
}

/// A blob that is in the store already, and that nothing refers to yet.
impl Source for BlobInfo {
    fn info(&self) -> BlobInfo {
        *self
    }

    fn document(&self, store: &Store, operation: &'static str, shown: &str) -> Result<Cow<'_, [u8]>> {
        let cap = store.limits().json_bytes;
        check_document(self.size, cap, operation, shown)?;
        store.read_blob(&self.digest, Some(self.size), cap).map(Cow::Owned)
    }

    fn open(&self, store: &Store) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(store.open_blob(&self.digest)?))
    }

    fn keep(&self, _: &Store) -> Result<()> {
        Ok(())
    }
}

/// Refuses a document over the cap.
pub(crate) fn check_document(size: u64, cap: u64, operation: &'static str, shown: &str) -> Result<()> {
    match size <= cap {
        true => Ok(()),
        false => {
            let message = format!("the document has {size} bytes, more than the cap of {cap}");
            Err(Error::limit(operation, message).with_path(shown))
        }
    }
}

/// The caps of an admission.
#[derive(Debug, Clone)]
pub(crate) struct AdmissionLimits {
    /// How many images may be counted one by one.
    pub max_entries: u64,
    /// Caps on the decompression of each layer.
    pub decode: DecodeLimits,
}

/// An image that was checked and has no name yet.
#[derive(Debug)]
pub(crate) struct Ready {
    pub names: Vec<Reference>,
    pub descriptor: Descriptor,
    /// The configurations it leads to, one per platform; the first one is the image id.
    pub configs: Vec<Digest>,
}

/// The members of a configuration that an image is checked by.
pub(crate) struct Facts {
    pub diff_ids: Vec<Digest>,
    pub platform: Platform,
}

/// Compares what documents say with what is there, and collects what has to be published.
pub(crate) struct Admission<'a, S> {
    pub store: &'a Store,
    pub control: &'a Control,
    /// The operation that errors name.
    pub operation: &'static str,
    limits: AdmissionLimits,
    /// Blobs with a known DiffID.
    layers: HashMap<Digest, LayerInfo>,
    /// Every file that an image needs.
    needed: BTreeMap<Digest, &'a S>,
    /// Documents made here.
    made: BTreeMap<Digest, Vec<u8>>,
    /// The facts of the configurations that were read.
    configs: HashMap<Digest, Rc<Facts>>,
    /// How many bytes of documents were asked for.
    parsed: u64,
    notes: Notes,
    /// Notes of layers, by the digests of their blobs.
    noted: HashMap<Digest, Noted>,
}

impl<'a, S: Source> Admission<'a, S> {
    /// Starts an admission. The caller holds what keeps the blobs from being pruned until [`Admission::finish`] has returned.
    pub fn new(
        store: &'a Store,
        operation: &'static str,
        limits: AdmissionLimits,
        control: &'a Control,
    ) -> Self {
        Admission {
            store,
            control,
            operation,
            limits,
            layers: HashMap::new(),
            needed: BTreeMap::new(),
            made: BTreeMap::new(),
            configs: HashMap::new(),
            parsed: 0,
            notes: Notes::default(),
            noted: HashMap::new(),
        }
    }

    /// Has notes of files at hand, by their digests.
    pub fn with_notes(self, (notes, noted): (Notes, HashMap<Digest, Noted>)) -> Self {
        Admission { notes, noted, ..self }
    }

    /// Returns the bytes of a document that is going to be parsed; they count.
    pub fn document(&mut self, source: &'a S, shown: &str) -> Result<Cow<'a, [u8]>> {
        self.control.check(self.operation)?;
        self.parsed = self.parsed.saturating_add(source.info().size);
        if self.parsed > PARSED {
            let message = format!("more than {PARSED} bytes of documents would have to be read");
            return Err(Error::limit(self.operation, message).with_path(shown));
        }
        source.document(self.store, self.operation, shown)
    }

    /// Returns what a configuration says. Each is parsed once, however many images have it.
    pub fn config(&mut self, source: &'a S, shown: &str) -> Result<Rc<Facts>> {
        let digest = source.info().digest;
        if let Some(facts) = self.configs.get(&digest) {
            return Ok(facts.clone());
        }
        let bytes = self.document(source, shown)?.into_owned();
        let config = ImageConfig::parse(bytes, shown, self.store.limits())?;
        let facts = Facts { diff_ids: config.diff_ids().to_vec(), platform: config.platform() };
        Ok(self.configs.entry(digest).or_insert(Rc::new(facts)).clone())
    }

    /// Notes that an image needs a file.
    pub fn need(&mut self, source: &'a S) {
        self.needed.insert(source.info().digest, source);
    }

    /// Notes a document to put into the store.
    pub fn make(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.made.insert(digest, bytes);
        digest
    }

    /// Makes sure that a layer has the DiffID its configuration says, decoding it if need be.
    pub fn layer(&mut self, source: &'a S, diff_id: &Digest, shown: &str) -> Result<LayerInfo> {
        let info = self.layer_info(source, shown)?;
        if info.diff_id != *diff_id {
            let message = format!("the layer's DiffID is {}, and should be {diff_id}", info.diff_id);
            return Err(Error::corrupt(self.operation, message).with_path(shown));
        }
        self.need(source);
        Ok(info)
    }

    /// Returns both digests of a layer.
    pub fn layer_info(&mut self, source: &'a S, shown: &str) -> Result<LayerInfo> {
        let blob = source.info();
        if let Some(info) = self.layers.get(&blob.digest) {
            return Ok(info.clone());
        }
        // Only what was seen decoding to this DiffID is in the store's records.
        let known = self.store.layer_info(&blob.digest)?.filter(|info| info.size == blob.size);
        let info = match known {
            Some(info) => info,
            None => {
                let (info, noted) = self.decode(source, shown)?;
                self.noted.extend(noted.map(|noted| (blob.digest, noted)));
                info
            }
        };
        self.layers.insert(blob.digest, info.clone());
        Ok(info)
    }

    fn decode(&self, source: &S, shown: &str) -> Result<(LayerInfo, Option<Noted>)> {
        let blob = source.info();
        let mut head = Vec::new();
        source.open(self.store)?.take(512).read_to_end(&mut head).at(self.operation, shown)?;
        let compression = detect_supported(&head).map_err(|error| error.with_path(shown))?;
        let mut info = LayerInfo {
            diff_id: blob.digest,
            digest: blob.digest,
            size: blob.size,
            media_type: compression.media_type().to_string(),
            diff_size: Some(blob.size),
        };
        let mut noted = None;
        if compression != Compression::None {
            let decode = DecodeOptions {
                hash_input: false,
                hash_output: true,
                restarts: self.store.limits().layer_indexes,
                limits: self.limits.decode.clone(),
                ..DecodeOptions::default()
            };
            let share = Share::new(self.control, blob.size);
            let input = source.open(self.store)?;
            let decoder = Decoder::counting(input, decode, self.control.clone(), share)?;
            let decoded = self.notes.decode(decoder, self.control);
            let (decoded, found) = decoded.map_err(|error| error.or_path(|| shown))?;
            noted = found;
            info.diff_id = decoded.diff_id.expect("asked for");
            info.diff_size = Some(decoded.diff_size);
        }
        Ok((info, noted))
    }

    /// Puts all that the images need into the store and gives them their names in one step.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) as [`NamePolicy::Keep`] says; [`Corrupt`](crate::ErrorKind::Corrupt) for a name given to two images. No
    /// name is given then.
    pub fn finish(mut self, mut images: Vec<Ready>, policy: NamePolicy) -> Result<Vec<Loaded>> {
        if policy == NamePolicy::Ignore {
            images.iter_mut().for_each(|image| image.names.clear());
        }
        names::check(self.store, self.operation, &images, policy)?;
        self.publish()?;
        let loaded = names::give(self.store, &images, policy)?;
        for (blob, noted) in std::mem::take(&mut self.noted) {
            if self.layers.contains_key(&blob) && self.needed.contains_key(&blob) {
                self.notes.keep(self.store, &blob, noted);
            }
        }
        self.notes.list_images(self.store, images.iter().map(|image| &image.descriptor), self.control);
        Ok(loaded)
    }

    /// Puts everything the images need into the store. No name leads to it yet.
    fn publish(&mut self) -> Result<()> {
        for source in self.needed.values() {
            self.control.check(self.operation)?;
            source.keep(self.store)?;
        }
        for bytes in self.made.values() {
            self.store.put_blob(bytes)?;
        }
        for info in self.layers.values().filter(|info| self.needed.contains_key(&info.digest)) {
            self.store.put_layer_info(info)?;
        }
        Ok(())
    }
}

/// Returns whether a configuration's media type is that of an image.
pub(crate) fn is_image_config(media_type: &str) -> bool {
    [OCI_CONFIG, DOCKER_CONFIG].contains(&media_type)
}
