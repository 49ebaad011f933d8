//! A record of a build step as registries and image layouts carry it: a manifest of its own.
//!
//! The record is an annotation, and its layer is the manifest's layer, so that one request finds a step, and what holds the manifest
//! keeps the layer as long as the record. Nothing that is read here is trusted: the build checks it.

use super::manifest::{ManifestOptions, new_manifest};
use crate::digest::Digest;
use crate::error::Result;
use crate::media_type::OCI_MANIFEST;
use crate::store::{BlobInfo, Descriptor, Document, descriptor, descriptor_digest};

/// The media type of a record.
pub(super) const MEDIA_TYPE: &str = "application/vnd.treering.build-cache.v1+json";
/// The annotation with the record.
const RECORD: &str = "io.github.treering.build-cache.record";
/// The annotation with the records of an image's steps.
pub(crate) const INLINE: &str = "io.github.treering.build-cache.inline";
/// The tag of a record without another prefix.
pub(crate) const DEFAULT_TAG: &str = "buildcache";
/// The largest manifest of a record that is read, in bytes.
pub(crate) const MAX_MANIFEST: u64 = 256 << 10;
/// The configuration of every record.
pub(crate) const CONFIG: &[u8] = b"{}";

/// A record as another machine wrote it: nothing in it is checked.
#[derive(Debug)]
pub(crate) struct StepRecord {
    /// The text of the annotation.
    pub text: String,
    /// The layers that are kept with it.
    pub layers: Vec<Digest>,
}

impl StepRecord {
    /// Finds the record in a manifest.
    pub fn of(manifest: &Document) -> Option<StepRecord> {
        manifest.config().filter(|config| config.media_type().as_ref() == MEDIA_TYPE)?;
        let (_, text) = manifest.annotations().find(|(name, _)| *name == RECORD)?;
        let layers = manifest.layers().iter().filter_map(|layer| descriptor_digest(layer).ok()).collect();
        Some(StepRecord { text: text.to_string(), layers })
    }
}

/// Returns the tag of a step's record: 40 digits of its key behind a prefix.
pub(crate) fn record_tag(prefix: &str, key: &Digest) -> String {
    format!("{prefix}-{}", &key.hex()[..40])
}

/// Makes the manifest of a record, and describes it.
pub(crate) fn record_manifest(record: String, layer: Option<Descriptor>) -> Result<(Descriptor, Vec<u8>)> {
    let layers: Vec<Descriptor> = layer.into_iter().collect();
    artifact(RECORD, &record, &layers)
}

/// Makes the manifest of an artifact that says something in an annotation, and describes it.
pub(super) fn artifact(annotation: &str, text: &str, layers: &[Descriptor]) -> Result<(Descriptor, Vec<u8>)> {
    let options = ManifestOptions {
        annotations: [(annotation.to_string(), text.to_string())].into(),
        artifact_type: Some(MEDIA_TYPE.into()),
        ..ManifestOptions::default()
    };
    let manifest = new_manifest(&descriptor(MEDIA_TYPE, &BlobInfo::of(CONFIG)), layers, &options)?;
    Ok((descriptor(OCI_MANIFEST, &BlobInfo::of(&manifest)), manifest))
}
