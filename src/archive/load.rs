//! Loading images out of an archive.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::rc::Rc;

use super::intake::{Intake, Stored};
use super::{INDEX_FILE, MANIFEST_FILE, REPOSITORIES_FILE, docker, legacy, oci};
use crate::compress::{Compression, DecodeLimits, DecodeOptions, Decoder, detect_supported};
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::image::{DOCKER_CONFIG, ImageConfig, OCI_CONFIG, Platform};
use crate::layer::read::ReadLimits;
use crate::progress::Control;
use crate::store::{Descriptor, LayerInfo, Reference, Store, descriptor_digest};

pub(super) const LOAD: &str = "load archive";
/// How many bytes of documents one archive may make us parse. A few kilobytes of archive can otherwise name a large document
/// any number of times, or hold any number of them; a thousand images have some 20 MiB.
const PARSED: u64 = 256 << 20;

/// What happens to the names in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NamePolicy {
    /// Images get their names, but a name that stands for another image in the store is an error
    /// ([`ErrorKind::AlreadyExists`]) and nothing is loaded: whoever made the archive does not decide what a local name
    /// means.
    #[default]
    Keep,
    /// Images get their names, taken from whatever has them: what `docker load` does.
    Move,
    /// Images get no names.
    Ignore,
}

impl std::str::FromStr for NamePolicy {
    type Err = Error;

    /// `keep`, `move` or `ignore`.
    fn from_str(text: &str) -> Result<NamePolicy> {
        Ok(match text {
            "keep" => NamePolicy::Keep,
            "move" => NamePolicy::Move,
            "ignore" => NamePolicy::Ignore,
            _ => return Err(Error::invalid("read names", "expected keep, move or ignore").with_path(text)),
        })
    }
}

/// How an archive is loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// What happens to the names in the archive.
    pub names: NamePolicy,
    /// Caps on the archive's own structure.
    pub limits: ReadLimits,
    /// Caps on what is decompressed: the archive itself, and the layers in it.
    pub decode: DecodeLimits,
}

impl Default for LoadOptions {
    /// Names are kept; at most 100,000 entries.
    fn default() -> Self {
        let limits = ReadLimits { max_entries: 100_000, ..ReadLimits::default() };
        let decode = DecodeLimits { max_output: limits.max_bytes, ..DecodeLimits::default() };
        LoadOptions { names: NamePolicy::Keep, limits, decode }
    }
}

/// An image that was loaded, once for each of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The name it has in the store; `None` when it was loaded without one.
    pub name: Option<Reference>,
    /// The digest of its manifest, or of its index when it is for several platforms.
    pub manifest: Digest,
    /// The image id: the digest of its configuration (of several platforms, this machine's, else the first).
    pub image_id: Digest,
}

/// Loads every image of an archive, in any shape the [module](super) lists, compressed as a whole (gzip, zstd) or not.
///
/// The archive is read once, to its end; its entries may come in any order. Sizes, digests and DiffIDs of everything an
/// image consists of are checked before the first name is given. From Docker's shapes, where there is no manifest, one is
/// made; the configuration's bytes stay, and so the image id. Where `manifest.json` and `index.json` are both there, they
/// must agree.
///
/// # Errors
/// Nothing is visible in the store after an error; what was written until then goes with the next
/// [`Store::prune`]. [`ErrorKind::Corrupt`] for an archive that contradicts itself or refers to what it does not hold,
/// [`ErrorKind::Limit`] over the caps, [`ErrorKind::AlreadyExists`] as [`NamePolicy::Keep`] says.
pub fn load(
    store: &Store,
    input: Box<dyn Read + Send>,
    options: &LoadOptions,
    control: &Control,
) -> Result<Vec<Loaded>> {
    let _lease = store.lease_for(control)?;
    let intake = Intake::read(store, input, options, control)?;
    let mut check = Check::new(store, &intake, options, control);
    let mut images = if intake.has(INDEX_FILE) {
        oci::read(&mut check)?
    } else if intake.has(MANIFEST_FILE) {
        docker::read(&mut check)?
    } else if intake.has(REPOSITORIES_FILE) {
        legacy::read(&mut check)?
    } else {
        let message = "not an image archive: it has neither index.json nor manifest.json nor repositories";
        return Err(Error::invalid(LOAD, message)
            .with_hint("treering import makes an image of a tar of a filesystem"));
    };
    if images.is_empty() {
        return Err(Error::corrupt(LOAD, "the archive holds no image"));
    }
    if options.names == NamePolicy::Ignore {
        images.iter_mut().for_each(|image| image.names.clear());
    }
    check_names(store, &images, options.names)?;
    check.publish()?;
    name(store, &images, options.names)
}

/// An image that was checked and has no name yet.
#[derive(Debug)]
pub(super) struct Ready {
    pub names: Vec<Reference>,
    pub descriptor: Descriptor,
    /// The configurations it leads to, one per platform; the first one is the image id.
    pub configs: Vec<Digest>,
}

/// Compares what documents say with what is there, and collects what has to be published.
pub(super) struct Check<'a> {
    pub store: &'a Store,
    pub intake: &'a Intake,
    options: &'a LoadOptions,
    pub control: &'a Control,
    /// Blobs whose DiffID is known.
    layers: HashMap<Digest, LayerInfo>,
    /// Every file of the archive an image needs.
    needed: BTreeMap<Digest, &'a Stored>,
    /// Documents made here.
    made: BTreeMap<Digest, Vec<u8>>,
    /// What the configurations said that were read.
    configs: HashMap<Digest, Rc<Facts>>,
    /// How many bytes of documents were asked for.
    parsed: u64,
}

/// What has to be known of a configuration to check an image.
pub(super) struct Facts {
    pub diff_ids: Vec<Digest>,
    pub platform: Platform,
}

impl<'a> Check<'a> {
    fn new(store: &'a Store, intake: &'a Intake, options: &'a LoadOptions, control: &'a Control) -> Self {
        let (layers, needed, made) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        let (configs, parsed) = (HashMap::new(), 0);
        Check { store, intake, options, control, layers, needed, made, configs, parsed }
    }

    /// The bytes of a document that is going to be parsed; they count.
    pub fn document(&mut self, stored: &'a Stored, shown: &str) -> Result<Cow<'a, [u8]>> {
        self.control.check(LOAD)?;
        self.parsed = self.parsed.saturating_add(stored.info().size);
        if self.parsed > PARSED {
            let message = format!("the archive has us read more than {PARSED} bytes of documents");
            return Err(Error::limit(LOAD, message).with_path(shown));
        }
        stored.document(self.store, shown)
    }

    /// What a configuration says. Each is parsed once, however many images have it.
    pub fn config(&mut self, stored: &'a Stored, shown: &str) -> Result<Rc<Facts>> {
        let digest = stored.info().digest;
        if let Some(facts) = self.configs.get(&digest) {
            return Ok(facts.clone());
        }
        let bytes = self.document(stored, shown)?.into_owned();
        let config = ImageConfig::parse(bytes, shown, self.store.limits())?;
        let facts = Facts { diff_ids: config.diff_ids().to_vec(), platform: config.platform() };
        Ok(self.configs.entry(digest).or_insert(Rc::new(facts)).clone())
    }

    /// The cap on what is counted one by one while an archive is read.
    pub fn max_entries(&self) -> u64 {
        self.options.limits.max_entries
    }

    /// Remembers that an image needs a file.
    pub fn need(&mut self, stored: &'a Stored) {
        self.needed.insert(stored.info().digest, stored);
    }

    /// Remembers a document to put into the store.
    pub fn make(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.made.insert(digest, bytes);
        digest
    }

    /// Makes sure that a layer has the DiffID its configuration says, decoding it if need be.
    pub fn layer(&mut self, stored: &'a Stored, diff_id: &Digest, shown: &str) -> Result<LayerInfo> {
        let info = self.layer_info(stored, shown)?;
        if info.diff_id != *diff_id {
            let message = format!("the layer's DiffID is {}, and should be {diff_id}", info.diff_id);
            return Err(Error::corrupt(LOAD, message).with_path(shown));
        }
        self.need(stored);
        Ok(info)
    }

    /// Both digests of a layer.
    pub fn layer_info(&mut self, stored: &'a Stored, shown: &str) -> Result<LayerInfo> {
        let blob = stored.info();
        if let Some(info) = self.layers.get(&blob.digest) {
            return Ok(info.clone());
        }
        // Only what was seen decoding to this DiffID is in the store's records.
        let known = self.store.layer_info(&blob.digest)?.filter(|info| info.size == blob.size);
        let info = match known {
            Some(info) => info,
            None => self.decode(stored, shown)?,
        };
        self.layers.insert(blob.digest, info.clone());
        Ok(info)
    }

    fn decode(&self, stored: &Stored, shown: &str) -> Result<LayerInfo> {
        let blob = stored.info();
        let mut head = Vec::new();
        stored.open(self.store)?.take(512).read_to_end(&mut head).at(LOAD, shown)?;
        let compression = detect_supported(&head).map_err(|error| error.with_path(shown))?;
        let mut info = LayerInfo {
            diff_id: blob.digest,
            digest: blob.digest,
            size: blob.size,
            media_type: compression.media_type().to_string(),
            diff_size: Some(blob.size),
        };
        if compression != Compression::None {
            let decode = DecodeOptions {
                hash_input: false,
                hash_output: true,
                limits: self.options.decode.clone(),
                ..DecodeOptions::default()
            };
            let decoder = Decoder::new(stored.open(self.store)?, decode, self.control.clone())?;
            let decoded = decoder.finish().map_err(|error| match error.path() {
                None => error.with_path(shown),
                Some(_) => error,
            })?;
            info.diff_id = decoded.diff_id.expect("asked for");
            info.diff_size = Some(decoded.diff_size);
        }
        Ok(info)
    }

    /// Puts everything the images need into the store. No name leads to it yet.
    fn publish(&mut self) -> Result<()> {
        for stored in self.needed.values() {
            self.control.check(LOAD)?;
            stored.keep(self.store)?;
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

/// Whether a configuration's media type is that of an image.
pub(super) fn is_image_config(media_type: &str) -> bool {
    [OCI_CONFIG, DOCKER_CONFIG].contains(&media_type)
}

/// That no name stands for two images, nor, unless names move, for another image in the store.
fn check_names(store: &Store, images: &[Ready], policy: NamePolicy) -> Result<()> {
    let mut meaning: HashMap<&Reference, Digest> = HashMap::new();
    let refs = store.refs()?;
    for image in images {
        let digest = descriptor_digest(&image.descriptor)?;
        for name in &image.names {
            if meaning.insert(name, digest).is_some_and(|other| other != digest) {
                let message = "the archive gives this name to two images";
                return Err(Error::corrupt(LOAD, message).with_path(name.to_string()));
            }
            let other = refs.iter().find(|known| known.name == *name);
            let moves = other.is_some_and(|known| descriptor_digest(&known.descriptor).ok() != Some(digest));
            if moves && policy == NamePolicy::Keep {
                return Err(taken(name));
            }
        }
    }
    Ok(())
}

fn taken(name: &Reference) -> Error {
    Error::new(ErrorKind::AlreadyExists, LOAD, "the name already stands for another image")
        .with_path(name.to_string())
        .with_hint("allow names to move, or rename or remove the image that has it")
}

/// Gives all names in one step. One that was taken meanwhile is an error, and none is given.
fn name(store: &Store, images: &[Ready], policy: NamePolicy) -> Result<Vec<Loaded>> {
    let (mut seen, mut entries, mut out) = (HashSet::new(), Vec::new(), Vec::new());
    for image in images {
        let manifest = descriptor_digest(&image.descriptor)?;
        let mut descriptor = image.descriptor.clone();
        // Other annotations of an index entry are about the archive, and embedded data is never copied.
        descriptor.set_annotations(None);
        descriptor.set_data(None);
        let names = image.names.iter().cloned().map(Some);
        for name in names.chain(image.names.is_empty().then_some(None)) {
            if seen.insert((name.clone(), manifest)) {
                entries.push((name.clone(), descriptor.clone()));
                out.push(Loaded { name, manifest, image_id: image.configs[0] });
            }
        }
    }
    store.put_all(&entries, policy == NamePolicy::Move)?;
    Ok(out)
}
