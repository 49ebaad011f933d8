//! Manifests (image-spec, manifest.md) and the media types of what they point to.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::compress::Compression;
use crate::error::Result;
use crate::store::{Descriptor, json_to_bytes};

pub use crate::media_type::*;

/// Returns what a layer's media type says about its packing; `None` for a media type that is not a layer's.
pub fn layer_compression(media_type: &str) -> Option<Compression> {
    Some(match media_type {
        OCI_LAYER
        | "application/vnd.oci.image.layer.nondistributable.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Compression::None,
        OCI_LAYER_GZIP
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | DOCKER_LAYER
        | DOCKER_FOREIGN_LAYER => Compression::Gzip,
        OCI_LAYER_ZSTD
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Compression::Zstd,
        _ => return None,
    })
}

/// Returns whether a layer may be uploaded (layer.md, "Non-Distributable Layers"): its media type decides, never its `urls`.
pub fn is_distributable(media_type: &str) -> bool {
    !media_type.contains("nondistributable") && !media_type.contains("rootfs.foreign.")
}

/// Returns a layer's descriptor for an OCI manifest: Docker's media types become their OCI counterparts (same bytes, same
/// digest), and embedded `data` goes (descriptor.md, "Embedded Content": never by copying).
pub fn to_oci_layer(layer: &Descriptor) -> Descriptor {
    let mut out = layer.clone();
    out.set_data(None);
    let counterpart = match layer.media_type().as_ref() {
        DOCKER_LAYER => OCI_LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar" => OCI_LAYER,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => OCI_LAYER_ZSTD,
        DOCKER_FOREIGN_LAYER => "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        _ => return out,
    };
    out.set_media_type(counterpart.into());
    out
}

/// The optional members of a new manifest.
#[derive(Debug, Clone, Default)]
pub struct ManifestOptions {
    /// Annotations (annotations.md); written sorted.
    pub annotations: BTreeMap<String, String>,
    /// The manifest this one is about.
    pub subject: Option<Descriptor>,
    /// The type of the artifact; images have none.
    pub artifact_type: Option<String>,
}

/// Returns the bytes of an OCI manifest. The same arguments always give the same bytes.
pub fn new_manifest(
    config: &Descriptor,
    layers: &[Descriptor],
    options: &ManifestOptions,
) -> Result<Vec<u8>> {
    let value = crate::store::descriptor_value;
    let mut out = Map::new();
    out.insert("schemaVersion".into(), json!(2));
    out.insert("mediaType".into(), json!(OCI_MANIFEST));
    if let Some(artifact_type) = &options.artifact_type {
        out.insert("artifactType".into(), json!(artifact_type));
    }
    out.insert("config".into(), value(config)?);
    let layers = layers.iter().map(|layer| value(&to_oci_layer(layer))).collect::<Result<Vec<Value>>>()?;
    out.insert("layers".into(), layers.into());
    if let Some(subject) = &options.subject {
        out.insert("subject".into(), value(subject)?);
    }
    if !options.annotations.is_empty() {
        out.insert("annotations".into(), json!(options.annotations));
    }
    json_to_bytes(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{BlobInfo, descriptor};

    #[test]
    fn a_manifest_is_deterministic_and_speaks_oci() {
        let config = descriptor(OCI_CONFIG, &BlobInfo::of(b"{}"));
        let mut layer = descriptor(DOCKER_LAYER, &BlobInfo::of(b"layer"));
        layer.set_data(Some("bGF5ZXI=".into()));
        let notes = [("b", "2"), ("a", "1"), ("c", "3")].map(|(k, v)| (k.to_string(), v.to_string()));
        layer.set_annotations(Some(notes.clone().into()));
        let options = ManifestOptions { annotations: notes.into(), ..ManifestOptions::default() };
        let bytes = new_manifest(&config, &[layer], &options).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let digest = |data: &[u8]| BlobInfo::of(data).digest;
        let expected = format!(
            concat!(
                r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":2}},"#,
                r#""layers":[{{"mediaType":"{}","digest":"{}","size":5,"annotations":{{"a":"1","b":"2","c":"3"}}}}],"#,
                r#""annotations":{{"a":"1","b":"2","c":"3"}}}}"#
            ),
            OCI_MANIFEST,
            OCI_CONFIG,
            digest(b"{}"),
            OCI_LAYER_GZIP,
            digest(b"layer"),
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn media_types_say_how_layers_are_packed() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(layer_compression(compression.media_type()), Some(compression));
        }
        assert_eq!(layer_compression(DOCKER_LAYER), Some(Compression::Gzip));
        assert_eq!(layer_compression("text/plain"), None);
        assert!(is_distributable(OCI_LAYER_GZIP) && !is_distributable(DOCKER_FOREIGN_LAYER));
        assert!(!is_distributable("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"));
    }
}
