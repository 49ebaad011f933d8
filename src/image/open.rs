//! Opening an image: from what a user typed to one manifest, its configuration and its layers.

use super::config::ImageConfig;
use super::index::select;
use super::manifest::{DOCKER_CONFIG, OCI_CONFIG};
use super::platform::Platform;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Descriptor, Document, DocumentKind, Reference, Store, descriptor_digest};

/// A layer of an [`Image`].
#[derive(Debug, Clone)]
pub struct Layer {
    /// The blob, as the manifest describes it.
    pub descriptor: Descriptor,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob, in bytes.
    pub size: u64,
    /// The digest of the tar inside it.
    pub diff_id: Digest,
}

/// An image for one platform: manifest and configuration read and checked, layers named (not read).
#[derive(Debug, Clone)]
pub struct Image {
    store: Store,
    name: Option<Reference>,
    index: Option<Descriptor>,
    descriptor: Descriptor,
    digest: Digest,
    manifest_bytes: Vec<u8>,
    manifest: Document,
    config: ImageConfig,
    config_digest: Digest,
    layers: Vec<Layer>,
}

impl Image {
    /// Opens an image by name, digest, id or id prefix (see [`Store::resolve`]).
    ///
    /// From a multi-platform index the manifest for `platform` is taken, the host's when it is `None`. A plain manifest
    /// is taken as it is, unless `platform` asks for another one.
    ///
    /// [`ErrorKind::NotFound`] when there is no such image or nothing for that platform; [`ErrorKind::Corrupt`] when a
    /// document is damaged or contradicts itself; [`ErrorKind::Unsupported`] for an artifact that is not an image.
    pub fn open(store: &Store, reference: &str, platform: Option<&Platform>) -> Result<Self> {
        let resolved = store.resolve(reference)?;
        let named = |error: Error| error.or_path(|| reference);
        let image = Image::from_descriptor(store, &resolved.descriptor, platform).map_err(named)?;
        Ok(Image { name: resolved.name, ..image })
    }

    /// Opens the image a descriptor of a manifest or index points to. See [`Image::open`].
    pub fn from_descriptor(
        store: &Store,
        descriptor: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Self> {
        let document = store.read_document(descriptor)?;
        if document.kind() == DocumentKind::Index {
            let host;
            let platform = match platform {
                Some(platform) => platform,
                None => {
                    host = Platform::host();
                    &host
                }
            };
            let chosen = select(store, &document, platform)?;
            let image = Image::from_manifest(store, &chosen, None)?;
            return Ok(Image { index: Some(descriptor.clone()), ..image });
        }
        Image::from_manifest(store, descriptor, platform)
    }

    fn from_manifest(store: &Store, descriptor: &Descriptor, platform: Option<&Platform>) -> Result<Self> {
        const OP: &str = "open image";
        let digest = descriptor_digest(descriptor)?;
        let shown = digest.to_string();
        let limits = store.limits();
        let manifest_bytes = store.read_blob(&digest, Some(descriptor.size()), limits.json_bytes)?;
        let manifest =
            Document::parse(&manifest_bytes, Some(descriptor.media_type().as_ref()), &shown, limits)?;
        let config =
            manifest.config().ok_or_else(|| Error::corrupt(OP, "not a manifest").with_path(&shown))?;
        if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type().as_ref()) {
            let message =
                format!("an artifact with a configuration of type {}, not an image", config.media_type());
            return Err(Error::new(ErrorKind::Unsupported, OP, message).with_path(&shown));
        }
        let config_digest = descriptor_digest(config)?;
        let bytes = store.read_blob(&config_digest, Some(config.size()), limits.json_bytes)?;
        let config = ImageConfig::parse(bytes, &config_digest.to_string(), limits)?;
        if config.diff_ids().len() != manifest.layers().len() {
            let message = format!(
                "the manifest has {} layers, the configuration {}",
                manifest.layers().len(),
                config.diff_ids().len()
            );
            return Err(Error::corrupt(OP, message).with_path(&shown));
        }
        let layers = manifest.layers().iter().zip(config.diff_ids());
        let layers = layers.map(|(descriptor, diff_id)| {
            let digest = descriptor_digest(descriptor)?;
            Ok(Layer { descriptor: descriptor.clone(), digest, size: descriptor.size(), diff_id: *diff_id })
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        if let Some(wanted) = platform {
            let have = config.platform();
            if !wanted.accepts().contains(&have) {
                let message = format!("the image is for {have}, not for {wanted}");
                return Err(Error::not_found(OP, message).with_path(&shown));
            }
        }
        Ok(Image {
            store: store.clone(),
            name: None,
            index: None,
            descriptor: descriptor.clone(),
            digest,
            manifest_bytes,
            manifest,
            config,
            config_digest,
            layers,
        })
    }

    /// Returns the store it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the name it was opened by; `None` when it was found by digest or id.
    pub fn name(&self) -> Option<&Reference> {
        self.name.as_ref()
    }

    /// Returns the index it was chosen from, when there was one.
    pub fn index(&self) -> Option<&Descriptor> {
        self.index.as_ref()
    }

    /// Returns the descriptor of its manifest.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Returns the digest of its manifest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the manifest's bytes, exactly as stored.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Document {
        &self.manifest
    }

    /// Returns the configuration.
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// Returns the image id: the digest of the configuration (config.md, "ImageID").
    pub fn id(&self) -> &Digest {
        &self.config_digest
    }

    /// Returns the layers, base first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Returns the platform in the configuration.
    pub fn platform(&self) -> Platform {
        self.config.platform()
    }

    /// Returns the annotations of the manifest.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.manifest.annotations()
    }

    /// Returns the size of manifest, configuration and layers as stored (compressed), in bytes.
    pub fn size(&self) -> u64 {
        let documents = self.manifest_bytes.len() as u64 + self.config.bytes().len() as u64;
        self.layers.iter().fold(documents, |sum, layer| sum.saturating_add(layer.size))
    }
}
