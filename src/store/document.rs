//! Manifests and indexes as the store needs them: what kind of document, and which blobs it refers to.

use std::str::FromStr;

use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value};

use super::blob::BlobInfo;
use super::json;
use super::layout::Store;
use super::limits::Limits;
use super::pin::Need;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

/// The kind of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// An image manifest (manifest.md), or Docker's version 2, schema 2.
    Manifest,
    /// An image index (image-index.md), or Docker's manifest list.
    Index,
}

impl DocumentKind {
    /// Returns the kind of document that a media type promises; `None` for anything that is neither a manifest nor an index.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            OCI_MANIFEST | DOCKER_MANIFEST => Some(DocumentKind::Manifest),
            OCI_INDEX | DOCKER_INDEX => Some(DocumentKind::Index),
            _ => None,
        }
    }
}

/// A manifest or an index, parsed strictly.
#[derive(Debug, Clone)]
pub struct Document {
    kind: DocumentKind,
    value: Value,
    config: Option<Descriptor>,
    children: Vec<Descriptor>,
    subject: Option<Descriptor>,
}

impl Document {
    /// Parses a document. `media_type` is what its descriptor calls it; `name` is what errors call it.
    ///
    /// [`ErrorKind::Corrupt`] when the document is ambiguous (both `layers` and `manifests`), when its own `mediaType`
    /// contradicts the descriptor, when a required member is missing, when a digest is malformed or a size negative;
    /// [`ErrorKind::Limit`] over the caps; [`ErrorKind::Unsupported`] for Docker's schema 1.
    pub fn parse(bytes: &[u8], media_type: Option<&str>, name: &str, limits: &Limits) -> Result<Self> {
        let value = json::parse(bytes, name, limits)?;
        Document::from_value(value, media_type, name, limits)
    }

    pub(super) fn from_value(
        value: Value,
        media_type: Option<&str>,
        name: impl AsRef<[u8]>,
        limits: &Limits,
    ) -> Result<Self> {
        const OP: &str = "read manifest";
        let name = name.as_ref();
        let corrupt = |message: &str| Error::corrupt(OP, message).with_path(name);
        let Value::Object(object) = &value else { return Err(corrupt("not a JSON object")) };
        match present(object, "schemaVersion").and_then(Value::as_u64) {
            Some(2) => {}
            Some(1) => {
                let message = "Docker's manifest schema 1 is not supported";
                return Err(Error::new(ErrorKind::Unsupported, OP, message)
                    .with_path(name)
                    .with_hint("ask the registry or the tool that wrote it for schema 2 or OCI"));
            }
            _ => return Err(corrupt("schemaVersion is not 2")),
        }
        let layered = ["layers", "fsLayers", "config"].iter().any(|key| present(object, key).is_some());
        let listed = present(object, "manifests").is_some();
        let shape = match (layered, listed) {
            (true, true) => {
                return Err(corrupt(
                    "ambiguous: it has both the members of a manifest and those of an index",
                ));
            }
            (true, false) => Some(DocumentKind::Manifest),
            (false, true) => Some(DocumentKind::Index),
            (false, false) => None,
        };
        let own = match present(object, "mediaType") {
            None => None,
            Some(Value::String(own)) => Some(own.as_str()),
            Some(_) => return Err(corrupt("mediaType is not a string")),
        };
        let promised = media_type.and_then(DocumentKind::of_media_type);
        let claimed = own.and_then(DocumentKind::of_media_type);
        let kind =
            promised.or(claimed).or(shape).ok_or_else(|| corrupt("neither a manifest nor an index"))?;
        for other in [promised, claimed, shape].into_iter().flatten() {
            if other != kind {
                return Err(corrupt("its media type and its content contradict each other"));
            }
        }
        let list = |key: &str| -> Result<Vec<Descriptor>> {
            match present(object, key) {
                None => Ok(Vec::new()),
                Some(Value::Array(items)) => items.iter().map(|item| read_descriptor(item, name)).collect(),
                Some(_) => Err(corrupt("a list of descriptors is not a list")),
            }
        };
        let one = |key: &str| present(object, key).map(|item| read_descriptor(item, name)).transpose();
        let (config, children) = match kind {
            DocumentKind::Manifest => {
                (Some(one("config")?.ok_or_else(|| corrupt("the manifest has no config"))?), list("layers")?)
            }
            DocumentKind::Index => (None, list("manifests")?),
        };
        if kind == DocumentKind::Manifest && children.len() > limits.layers {
            let message =
                format!("the image has {} layers, more than the cap of {}", children.len(), limits.layers);
            return Err(Error::limit(OP, message).with_path(name));
        }
        let subject = one("subject")?;
        Ok(Document { kind, config, children, subject, value })
    }

    /// Returns the document and the descriptors of its list, one for each member of the list.
    pub(super) fn into_parts(self) -> (Value, Vec<Descriptor>) {
        (self.value, self.children)
    }

    /// Returns whether it is a manifest or an index.
    pub fn kind(&self) -> DocumentKind {
        self.kind
    }

    /// Returns the whole document, unknown members included.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the configuration a manifest points to; `None` for an index.
    pub fn config(&self) -> Option<&Descriptor> {
        self.config.as_ref()
    }

    /// Returns the layers of a manifest, base first; empty for an index.
    pub fn layers(&self) -> &[Descriptor] {
        if self.kind == DocumentKind::Manifest { &self.children } else { &[] }
    }

    /// Returns the manifests of an index, in order; empty for a manifest.
    pub fn manifests(&self) -> &[Descriptor] {
        if self.kind == DocumentKind::Index { &self.children } else { &[] }
    }

    /// Returns the manifest this one is about (manifest.md, `subject`), when there is one.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// Returns the annotations, in document order. Members that are not strings are left out.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let map = self.value.get("annotations").and_then(Value::as_object);
        map.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }
}

impl Store {
    /// Reads the manifest or index a descriptor points to: size, then digest, then strict parsing.
    pub fn read_document(&self, descriptor: &Descriptor) -> Result<Document> {
        let digest = descriptor_digest(descriptor)?;
        let shown = digest.to_string();
        self.0.limits.check_json("read manifest", &shown, descriptor.size())?;
        self.need(Need::Image(digest))?;
        let bytes = self.read_blob(&digest, Some(descriptor.size()), self.0.limits.json_bytes)?;
        Document::parse(&bytes, Some(descriptor.media_type().as_ref()), &shown, &self.0.limits)
    }
}

/// Returns a member that is there and not null: in these documents null means absent.
pub(super) fn present<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

pub(super) fn read_descriptor(value: &Value, name: impl AsRef<[u8]>) -> Result<Descriptor> {
    let name = name.as_ref();
    let corrupt = |message: String| Error::corrupt("read descriptor", message).with_path(name);
    let Value::Object(object) = value else { return Err(corrupt("a descriptor is not an object".into())) };
    if object.get("size").and_then(Value::as_i64).is_some_and(|size| size < 0) {
        return Err(corrupt("a descriptor has a negative size".into()));
    }
    // Null means absent, also where oci-spec would refuse it.
    let kept: Map<String, Value> =
        object.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
    serde_json::from_value(Value::Object(kept))
        .map_err(|error| corrupt(format!("a descriptor is not usable: {error}")))
}

/// Returns a descriptor for a blob.
pub fn descriptor(media_type: &str, blob: &BlobInfo) -> Descriptor {
    let digest =
        oci_spec::image::Digest::from_str(&blob.digest.to_string()).expect("a digest in its grammar");
    Descriptor::new(MediaType::from(media_type), blob.size, digest)
}

/// Returns the digest of a descriptor as treering's own type. Other algorithms than sha256 are [`ErrorKind::Unsupported`].
pub fn descriptor_digest(descriptor: &Descriptor) -> Result<Digest> {
    let text = descriptor.digest().as_ref();
    text.parse().map_err(|_| {
        Error::new(ErrorKind::Unsupported, "read descriptor", "only sha256 digests are supported")
            .with_path(text)
    })
}

/// Returns a descriptor as JSON with its annotations sorted: the same descriptor always gives the same bytes.
pub(crate) fn descriptor_value(descriptor: &Descriptor) -> Result<Value> {
    let mut value = serde_json::to_value(descriptor)
        .map_err(|error| Error::corrupt("write descriptor", "not writable as JSON").with_source(error))?;
    if let Some(Value::Object(annotations)) = value.get_mut("annotations") {
        annotations.sort_keys();
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn d(extra: &str) -> String {
        format!(r#"{{"mediaType":"application/x","digest":"{SHA}","size":0{extra}}}"#)
    }

    fn parse(text: &str, media_type: Option<&str>) -> Result<Document> {
        Document::parse(text.as_bytes(), media_type, "doc", &Limits::default())
    }

    #[test]
    fn manifests_and_indexes_are_distinguished() {
        let manifest =
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}],"manifests":null}}"#, d(""), d(""));
        let index =
            format!(r#"{{"schemaVersion":2,"manifests":[{}],"subject":{}}}"#, d(""), d(r#","urls":null"#));
        for media_type in [None, Some(OCI_MANIFEST), Some(DOCKER_MANIFEST)] {
            let parsed = parse(&manifest, media_type).unwrap();
            assert_eq!(
                (parsed.kind(), parsed.layers().len(), parsed.manifests().len()),
                (DocumentKind::Manifest, 1, 0)
            );
        }
        for media_type in [None, Some(OCI_INDEX), Some(DOCKER_INDEX)] {
            let parsed = parse(&index, media_type).unwrap();
            assert_eq!((parsed.kind(), parsed.manifests().len()), (DocumentKind::Index, 1));
            assert!(parsed.subject().is_some());
        }
        assert!(parse(r#"{"schemaVersion":2,"manifests":[]}"#, None).unwrap().manifests().is_empty());
        assert!(parse(r#"{"schemaVersion":2}"#, Some(OCI_INDEX)).unwrap().manifests().is_empty());
        assert_eq!(parse(&manifest, Some(OCI_INDEX)).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(parse(&index, Some(OCI_MANIFEST)).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn hostile_documents_are_refused() {
        use ErrorKind::*;
        let ok = d("");
        let many = vec![ok.clone(); 513].join(",");
        let negative = ok.replace(r#""size":0"#, r#""size":-1"#);
        let fraction = ok.replace(r#""size":0"#, r#""size":1.5"#);
        let huge = ok.replace(r#""size":0"#, r#""size":99999999999999999999"#);
        let path = ok.replace(SHA, "sha256:../../etc/passwd");
        let bash = ok.replace(SHA, "/usr/bin/bash");
        let upper = ok.replace(SHA, &SHA.to_uppercase().replace("SHA256", "sha256"));
        let with = |config: &str| format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let cases = [
            ("[]".to_string(), Corrupt),
            ("{}".to_string(), Corrupt),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_string(), Unsupported),
            (r#"{"schemaVersion":"2","manifests":[]}"#.to_string(), Corrupt),
            (r#"{"schemaVersion":2}"#.to_string(), Corrupt),
            (r#"{"schemaVersion":2,"layers":[]}"#.to_string(), Corrupt),
            (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#.to_string(), Corrupt),
            (format!(r#"{{"schemaVersion":2,"config":{ok},"manifests":[]}}"#), Corrupt),
            (r#"{"schemaVersion":2,"manifests":{}}"#.to_string(), Corrupt),
            (r#"{"schemaVersion":2,"manifests":[1]}"#.to_string(), Corrupt),
            (r#"{"schemaVersion":2,"manifests":[],"mediaType":7}"#.to_string(), Corrupt),
            (format!(r#"{{"schemaVersion":2,"manifests":[],"mediaType":"{OCI_MANIFEST}"}}"#), Corrupt),
            (format!(r#"{{"schemaVersion":2,"config":{ok},"layers":[{many}]}}"#), Limit),
            (with(&negative), Corrupt),
            (with(&fraction), Corrupt),
            (with(&huge), Corrupt),
            (with(&path), Corrupt),
            (with(&bash), Corrupt),
            (with(&upper), Corrupt),
            (with("{}"), Corrupt),
        ];
        for (text, kind) in cases {
            let shown = &text[..text.len().min(200)];
            assert_eq!(parse(&text, None).map(|_| ()).map_err(|e| e.kind()), Err(kind), "{shown}");
        }
    }

    #[test]
    fn other_algorithms_are_kept_but_not_used() {
        let text =
            format!(r#"{{"mediaType":"application/x","digest":"sha512:{}","size":0}}"#, "a".repeat(128));
        let parsed = read_descriptor(&serde_json::from_str(&text).unwrap(), "x").unwrap();
        assert_eq!(descriptor_digest(&parsed).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
