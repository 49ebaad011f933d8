//! Image layouts (image-spec, image-layout.md), with or without Docker's `manifest.json` beside them.

use std::collections::HashMap;

use serde_json::Value;

use super::load::{Check, LOAD, Ready, is_image_config};
use super::{INDEX_FILE, LAYOUT_FILE, MANIFEST_FILE, docker, names};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{ImageConfig, OCI_INDEX, Platform};
use crate::store::{Descriptor, Document, DocumentKind, descriptor_digest, parse_json};

/// What a manifest or index leads to.
#[derive(Debug, Clone)]
struct Visited {
    configs: Vec<(Digest, Platform)>,
}

struct Walk<'c, 'a> {
    check: &'c mut Check<'a>,
    /// `None` for what is not complete. An archive may refer to one document any number of times.
    done: HashMap<Digest, Option<Visited>>,
    /// The first blob that was missed, for the message.
    missing: Option<Digest>,
}

/// Checks all images of `index.json`.
pub(super) fn read(check: &mut Check<'_>) -> Result<Vec<Ready>> {
    check_layout(check)?;
    let bytes = check.intake.find(INDEX_FILE)?.document(check.store, INDEX_FILE)?;
    let index = Document::parse(&bytes, Some(OCI_INDEX), INDEX_FILE, check.store.limits())?;
    let mut walk = Walk { check, done: HashMap::new(), missing: None };
    let host = Platform::host();
    let mut out: Vec<Ready> = Vec::new();
    for entry in index.manifests() {
        let digest = descriptor_digest(entry)?;
        if DocumentKind::of_media_type(entry.media_type().as_ref()).is_none() {
            let message = format!("{} is not a media type of an image", entry.media_type());
            return Err(Error::new(ErrorKind::Unsupported, LOAD, message).with_path(digest.to_string()));
        }
        walk.missing = None;
        let Some(visited) = walk.visit(entry, 1)? else {
            let missing = walk.missing.unwrap_or(digest);
            return Err(Error::corrupt(LOAD, "the archive does not hold a blob its image needs")
                .with_path(missing.to_string()));
        };
        let mut configs = visited.configs;
        // The host's platform first: its configuration is the image id.
        let accepts = host.accepts();
        configs.sort_by_key(|(_, have)| accepts.iter().position(|p| p == have).unwrap_or(usize::MAX));
        let configs: Vec<Digest> = configs.into_iter().map(|(digest, _)| digest).collect();
        if configs.is_empty() {
            let message = "an artifact, not an image";
            return Err(Error::new(ErrorKind::Unsupported, LOAD, message).with_path(digest.to_string()));
        }
        let name = names::of_entry(entry)?;
        match out.iter_mut().find(|ready| ready.descriptor.digest() == entry.digest()) {
            Some(known) => known.names.extend(name),
            None => out.push(Ready { names: name.into_iter().collect(), descriptor: entry.clone(), configs }),
        }
    }
    if walk.check.intake.has(MANIFEST_FILE) {
        agree(walk.check, &mut out)?;
    }
    Ok(out)
}

fn check_layout(check: &Check<'_>) -> Result<()> {
    if !check.intake.has(LAYOUT_FILE) {
        return Err(Error::corrupt(LOAD, "there is an index.json but no oci-layout"));
    }
    let bytes = check.intake.find(LAYOUT_FILE)?.document(check.store, LAYOUT_FILE)?;
    let layout = parse_json(&bytes, LAYOUT_FILE, check.store.limits())?;
    match layout.get("imageLayoutVersion").and_then(Value::as_str) {
        Some(version) if version.starts_with("1.") => Ok(()),
        _ => Err(Error::new(ErrorKind::Unsupported, LOAD, "not a version of the image layout we know")
            .with_path(LAYOUT_FILE)),
    }
}

impl Walk<'_, '_> {
    /// Checks a document and all below it. `None` when a blob it needs is not in the archive.
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Option<Visited>> {
        let digest = descriptor_digest(descriptor)?;
        if let Some(done) = self.done.get(&digest) {
            return Ok(done.clone());
        }
        let visited = match self.document(descriptor, &digest)? {
            None => None,
            Some(document) if document.kind() == DocumentKind::Index => self.index(&document, depth)?,
            Some(document) => self.manifest(&document, &digest)?,
        };
        if visited.is_some() {
            let stored = self.check.intake.blob(&digest)?.expect("it was read");
            self.check.need(stored);
        }
        self.done.insert(digest, visited.clone());
        Ok(visited)
    }

    fn document(&mut self, descriptor: &Descriptor, digest: &Digest) -> Result<Option<Document>> {
        let shown = digest.to_string();
        let limits = self.check.store.limits();
        let Some(stored) = self.find(descriptor, digest)? else { return Ok(None) };
        let bytes = stored.document(self.check.store, &shown)?;
        Document::parse(&bytes, Some(descriptor.media_type().as_ref()), &shown, limits).map(Some)
    }

    /// An index is complete if one of its images is: the others may be left out (image-layout.md, "Blobs").
    fn index(&mut self, index: &Document, depth: usize) -> Result<Option<Visited>> {
        let cap = self.check.store.limits().index_depth;
        if depth >= cap {
            return Err(Error::limit(LOAD, format!("indexes nested more than {cap} deep")));
        }
        let (mut complete, mut configs) = (index.manifests().is_empty(), Vec::new());
        for child in index.manifests() {
            if DocumentKind::of_media_type(child.media_type().as_ref()).is_none() {
                continue;
            }
            if let Some(visited) = self.visit(child, depth + 1)? {
                complete = true;
                configs.extend(visited.configs);
            }
        }
        Ok(complete.then_some(Visited { configs }))
    }

    fn manifest(&mut self, manifest: &Document, digest: &Digest) -> Result<Option<Visited>> {
        let shown = digest.to_string();
        let corrupt = |message: String| Error::corrupt(LOAD, message).with_path(&shown);
        let config = manifest.config().ok_or_else(|| corrupt("the manifest has no config".into()))?;
        let config_digest = descriptor_digest(config)?;
        let Some(stored) = self.find(config, &config_digest)? else { return Ok(None) };
        let mut layers = Vec::new();
        for layer in manifest.layers() {
            let Some(stored) = self.find(layer, &descriptor_digest(layer)?)? else { return Ok(None) };
            layers.push(stored);
        }
        let mut configs = Vec::new();
        if is_image_config(config.media_type().as_ref()) {
            let name = config_digest.to_string();
            let bytes = stored.document(self.check.store, &name)?.into_owned();
            let parsed = ImageConfig::parse(bytes, &name, self.check.store.limits())?;
            if parsed.diff_ids().len() != layers.len() {
                let count = parsed.diff_ids().len();
                return Err(corrupt(format!(
                    "the manifest has {} layers, the configuration {count}",
                    layers.len()
                )));
            }
            for (stored, diff_id) in layers.iter().zip(parsed.diff_ids()) {
                let shown = stored.info().digest.to_string();
                self.check.layer(stored, diff_id, &shown)?;
            }
            configs.push((config_digest, parsed.platform()));
        } else {
            layers.iter().for_each(|stored| self.check.need(stored));
        }
        self.check.need(stored);
        Ok(Some(Visited { configs }))
    }
}

impl<'a> Walk<'_, 'a> {
    /// The blob a descriptor names, if the archive holds it; then its size must be right too.
    fn find(
        &mut self,
        descriptor: &Descriptor,
        digest: &Digest,
    ) -> Result<Option<&'a super::intake::Stored>> {
        let intake = self.check.intake;
        let Some(stored) = intake.blob(digest)? else {
            self.missing.get_or_insert(*digest);
            return Ok(None);
        };
        let size = stored.info().size;
        if size != descriptor.size() {
            let message = format!("the blob has {size} bytes where {} are expected", descriptor.size());
            return Err(Error::corrupt(LOAD, message).with_path(digest.to_string()));
        }
        Ok(Some(stored))
    }
}

/// Older readers go by `manifest.json`, newer ones by `index.json`: both must see the same images.
fn agree(check: &mut Check<'_>, images: &mut [Ready]) -> Result<()> {
    for item in docker::items(check)? {
        let config = item.config.info().digest;
        let disagree = |path: &str| {
            let message = "manifest.json and index.json do not agree about this image";
            Err(Error::corrupt(LOAD, message).with_path(path))
        };
        if !images.iter().any(|image| image.configs.contains(&config)) {
            return disagree(&item.config_path);
        }
        let bytes = item.config.document(check.store, &item.config_path)?.into_owned();
        let parsed = ImageConfig::parse(bytes, &item.config_path, check.store.limits())?;
        if parsed.diff_ids().len() != item.layers.len() {
            return disagree(&item.config_path);
        }
        for ((path, stored), diff_id) in item.layers.iter().zip(parsed.diff_ids()) {
            if check.layer_info(stored, path)?.diff_id != *diff_id {
                return disagree(path);
            }
        }
        for name in item.names {
            let named = images.iter().find(|image| image.names.contains(&name));
            if named.is_some_and(|image| !image.configs.contains(&config)) {
                return disagree(&name.to_string());
            }
            if named.is_none() {
                let image = images.iter_mut().find(|image| image.configs.contains(&config));
                image.expect("found above").names.push(name);
            }
        }
    }
    Ok(())
}
