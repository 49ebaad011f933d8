//! Indexes (image-spec, image-index.md): choosing one manifest, and making a new index.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::config::ImageConfig;
use super::manifest::{DOCKER_CONFIG, OCI_CONFIG, OCI_INDEX};
use super::platform::Platform;
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::store::{Descriptor, Document, DocumentKind, Store, descriptor_digest, json_to_bytes};

/// Chooses the manifest for `platform` from an index, looking into nested indexes.
///
/// The first entry that matches wins; those for `unknown/unknown` are no images. When none matches exactly, the next platform that runs there is tried
/// ([`Platform::accepts`]). An entry that names no platform is judged by the configuration it leads to. Entries with a blob
/// that the store does not hold are passed over when another one matches. [`ErrorKind::NotFound`] when nothing does; the
/// hint lists what there is.
pub fn select(store: &Store, index: &Document, platform: &Platform) -> Result<Descriptor> {
    let mut found = Vec::new();
    flatten(store, index, 2, &mut HashSet::new(), &mut found)?;
    for wanted in platform.accepts() {
        if let Some((descriptor, _)) = found.iter().find(|(_, have)| *have == wanted) {
            return Ok(descriptor.clone());
        }
    }
    let mut have: Vec<String> = found.iter().map(|(_, platform)| platform.to_string()).collect();
    have.sort();
    have.dedup();
    let message = format!("the image has nothing for {platform}");
    let hint = match have.is_empty() {
        true => Hint::from("the store holds none of its manifests; pull or load it for this platform"),
        false => Hint::ChoosePlatform { have },
    };
    Err(Error::not_found("choose platform", message).with_hint(hint))
}

/// Collects every manifest that an index leads to and the store holds, in order, with its platform.
fn flatten(
    store: &Store,
    index: &Document,
    depth: usize,
    seen: &mut HashSet<String>,
    out: &mut Vec<(Descriptor, Platform)>,
) -> Result<()> {
    let cap = store.limits().index_depth;
    if depth > cap {
        return Err(Error::limit("read index", format!("indexes nested more than {cap} deep")));
    }
    for child in index.manifests() {
        let Some(kind) = DocumentKind::of_media_type(child.media_type().as_ref()) else { continue };
        if !store.has_blob(&descriptor_digest(child)?)? {
            continue;
        }
        match (kind, child.platform().as_ref().map(Platform::from)) {
            // An attestation, or something else that runs nowhere.
            (DocumentKind::Manifest, Some(platform)) if platform.is_unknown() => {}
            (DocumentKind::Manifest, Some(platform)) => out.push((child.clone(), platform)),
            (DocumentKind::Manifest, None) => {
                let document = store.read_document(child)?;
                if let Some(platform) = platform_of(store, &document)? {
                    out.push((child.clone(), platform));
                }
            }
            (DocumentKind::Index, _) => {
                // An index reached twice says nothing new, and may be a cycle made of colliding claims.
                if seen.insert(child.digest().to_string()) {
                    flatten(store, &store.read_document(child)?, depth + 1, seen, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Returns the platform in the configuration of a manifest; `None` for an artifact or when the store does not hold it.
fn platform_of(store: &Store, manifest: &Document) -> Result<Option<Platform>> {
    let Some(config) = manifest.config() else { return Ok(None) };
    if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type().as_ref()) {
        return Ok(None);
    }
    let digest = descriptor_digest(config)?;
    match store.read_blob(&digest, Some(config.size()), store.limits().json_bytes) {
        Ok(bytes) => Ok(Some(ImageConfig::parse(bytes, &digest.to_string(), store.limits())?.platform())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the bytes of an OCI index over these manifests, in this order. The same arguments always give the same bytes.
pub fn new_index(manifests: &[Descriptor], annotations: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut out = Map::new();
    out.insert("schemaVersion".into(), json!(2));
    out.insert("mediaType".into(), json!(OCI_INDEX));
    let list = manifests.iter().map(crate::store::descriptor_value).collect::<Result<Vec<Value>>>()?;
    out.insert("manifests".into(), list.into());
    if !annotations.is_empty() {
        out.insert("annotations".into(), json!(annotations));
    }
    json_to_bytes(&out)
}
