//! Loading images out of an archive.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;

use super::intake::{Intake, Stored};
use super::{INDEX_FILE, MANIFEST_FILE, REPOSITORIES_FILE, docker, legacy, oci};
use crate::compress::{Compression, DecodeLimits, DecodeOptions, Decoder, detect_supported};
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::image::{DOCKER_CONFIG, LayerCompression, OCI_CONFIG, layer_media_type};
use crate::layer::read::ReadLimits;
use crate::progress::Control;
use crate::store::{Descriptor, LayerInfo, Reference, Store, descriptor_digest};

pub(super) const LOAD: &str = "load archive";

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
    let _lease = store.lease()?;
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
    control: &'a Control,
    /// Blobs whose DiffID is known.
    layers: HashMap<Digest, LayerInfo>,
    /// Every file of the archive an image needs.
    needed: BTreeMap<Digest, &'a Stored>,
    /// Documents made here.
    made: BTreeMap<Digest, Vec<u8>>,
}

impl<'a> Check<'a> {
    fn new(store: &'a Store, intake: &'a Intake, options: &'a LoadOptions, control: &'a Control) -> Self {
        let (layers, needed, made) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        Check { store, intake, options, control, layers, needed, made }
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
        let media_type = layer_media_type(match compression {
            Compression::None => LayerCompression::None,
            Compression::Gzip => LayerCompression::Gzip,
            Compression::Zstd => LayerCompression::Zstd,
        });
        let mut info = LayerInfo {
            diff_id: blob.digest,
            digest: blob.digest,
            size: blob.size,
            media_type: media_type.to_string(),
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

/// Gives the names. When one cannot be given, those given before are taken back.
fn name(store: &Store, images: &[Ready], policy: NamePolicy) -> Result<Vec<Loaded>> {
    let mut given: Vec<(&Reference, Option<Descriptor>)> = Vec::new();
    let mut added: Vec<Digest> = Vec::new();
    let mut out = Vec::new();
    let result = name_all(store, images, policy, &mut given, &mut added, &mut out);
    if let Err(error) = result {
        // The first error matters more than one in cleaning up after it.
        for (name, before) in given.into_iter().rev() {
            let _ = match before {
                Some(before) => store.tag(name, &before).map(|_| ()),
                None => store.untag(name).map(|_| ()),
            };
        }
        for digest in added {
            let _ = store.remove(&digest);
        }
        return Err(error);
    }
    Ok(out)
}

fn name_all<'a>(
    store: &Store,
    images: &'a [Ready],
    policy: NamePolicy,
    given: &mut Vec<(&'a Reference, Option<Descriptor>)>,
    added: &mut Vec<Digest>,
    out: &mut Vec<Loaded>,
) -> Result<()> {
    let mut seen = HashSet::new();
    for image in images {
        let manifest = descriptor_digest(&image.descriptor)?;
        let mut descriptor = image.descriptor.clone();
        // Other annotations of an index entry are about the archive, and embedded data is never copied.
        descriptor.set_annotations(None);
        descriptor.set_data(None);
        let loaded = |name| Loaded { name, manifest, image_id: image.configs[0] };
        for name in &image.names {
            if !seen.insert((Some(name), manifest)) {
                continue;
            }
            let refs = store.refs()?;
            let before = refs.into_iter().find(|known| known.name == *name).map(|known| known.descriptor);
            let same = before.as_ref().is_some_and(|before| descriptor_digest(before).ok() == Some(manifest));
            match policy {
                NamePolicy::Move => {
                    store.tag(name, &descriptor)?;
                }
                _ => store.tag_new(name, &descriptor)?,
            }
            if !same {
                given.push((name, before));
            }
            out.push(loaded(Some(name.clone())));
        }
        if image.names.is_empty() && seen.insert((None, manifest)) {
            let known = store.entries()?;
            let known = known.iter().any(|entry| descriptor_digest(&entry.descriptor).ok() == Some(manifest));
            store.add_nameless(&descriptor)?;
            if !known {
                added.push(manifest);
            }
            out.push(loaded(None));
        }
    }
    Ok(())
}
