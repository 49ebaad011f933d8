//! Image layouts (image-spec, image-layout.md), with or without Docker's `manifest.json` beside them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use serde_json::Value;

use super::load::{Check, LOAD, Ready, is_image_config};
use super::{INDEX_FILE, LAYOUT_FILE, MANIFEST_FILE, docker, names};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{OCI_INDEX, Platform};
use crate::store::{Descriptor, Document, DocumentKind, Reference, descriptor_digest, parse_json};

/// What a manifest or index leads to.
#[derive(Debug)]
struct Visited {
    /// Each once, in order.
    configs: Vec<(Digest, Platform)>,
    /// How many indexes lie inside one another here, itself included.
    height: usize,
}

/// What is checked about a blob that is referred to: another size or kind is another claim.
type Claim = (Digest, Option<DocumentKind>, u64);

struct Walk<'c, 'a> {
    check: &'c mut Check<'a>,
    /// `None` for what is not complete. An archive may refer to one document any number of times.
    done: HashMap<Claim, Option<Rc<Visited>>>,
    /// How many configurations stand in all of `done`.
    found: u64,
    /// The first blob that was missed, for the message.
    missing: Option<Digest>,
}

/// Checks all images of `index.json`.
pub(super) fn read(check: &mut Check<'_>) -> Result<Vec<Ready>> {
    check_layout(check)?;
    let bytes = check.document(check.intake.find(INDEX_FILE)?, INDEX_FILE)?;
    let index = Document::parse(&bytes, Some(OCI_INDEX), INDEX_FILE, check.store.limits())?;
    let mut walk = Walk { check, done: HashMap::new(), found: 0, missing: None };
    let host = Platform::host();
    let mut out: Vec<Ready> = Vec::new();
    let mut known: HashMap<Digest, usize> = HashMap::new();
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
        let name = names::of_entry(entry)?;
        if let Some(known) = known.get(&digest) {
            out[*known].names.extend(name);
            continue;
        }
        let mut configs = visited.configs.clone();
        // The host's platform first: its configuration is the image id.
        let accepts = host.accepts();
        configs.sort_by_key(|(_, have)| accepts.iter().position(|p| p == have).unwrap_or(usize::MAX));
        let configs: Vec<Digest> = configs.into_iter().map(|(digest, _)| digest).collect();
        if configs.is_empty() {
            let message = "an artifact, not an image";
            return Err(Error::new(ErrorKind::Unsupported, LOAD, message).with_path(digest.to_string()));
        }
        known.insert(digest, out.len());
        out.push(Ready { names: name.into_iter().collect(), descriptor: entry.clone(), configs });
    }
    if walk.check.intake.has(MANIFEST_FILE) {
        agree(walk.check, &mut out)?;
    }
    Ok(out)
}

fn check_layout(check: &mut Check<'_>) -> Result<()> {
    if !check.intake.has(LAYOUT_FILE) {
        return Err(Error::corrupt(LOAD, "there is an index.json but no oci-layout"));
    }
    let bytes = check.document(check.intake.find(LAYOUT_FILE)?, LAYOUT_FILE)?;
    let layout = parse_json(&bytes, LAYOUT_FILE, check.store.limits())?;
    match layout.get("imageLayoutVersion").and_then(Value::as_str) {
        Some(version) if version.starts_with("1.") => Ok(()),
        _ => Err(Error::new(ErrorKind::Unsupported, LOAD, "not a version of the image layout we know")
            .with_path(LAYOUT_FILE)),
    }
}

impl Walk<'_, '_> {
    /// Checks a document and all below it. `None` when a blob it needs is not in the archive.
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Option<Rc<Visited>>> {
        let digest = descriptor_digest(descriptor)?;
        let claim = claim(descriptor, digest);
        if let Some(done) = self.done.get(&claim) {
            let done = done.clone();
            self.check_depth(depth, done.as_ref().map_or(0, |visited| visited.height))?;
            return Ok(done);
        }
        let visited = match self.document(descriptor, &digest)? {
            None => None,
            Some(document) if document.kind() == DocumentKind::Index => self.index(&document, depth)?,
            Some(document) => self.manifest(&document, &digest)?,
        };
        let visited = visited.map(Rc::new);
        if let Some(visited) = &visited {
            self.found += visited.configs.len() as u64;
            let cap = self.check.max_entries();
            if self.found > cap {
                let message = format!("the indexes of the archive lead to more than {cap} images");
                return Err(Error::limit(LOAD, message).with_path(digest.to_string()));
            }
            let stored = self.check.intake.blob(&digest)?.expect("it was read");
            self.check.need(stored);
        }
        self.done.insert(claim, visited.clone());
        Ok(visited)
    }

    /// That `height` indexes inside one another may stand `depth` deep.
    fn check_depth(&self, depth: usize, height: usize) -> Result<()> {
        let cap = self.check.store.limits().index_depth;
        match depth + height > cap {
            true => Err(Error::limit(LOAD, format!("indexes nested more than {cap} deep"))),
            false => Ok(()),
        }
    }

    fn document(&mut self, descriptor: &Descriptor, digest: &Digest) -> Result<Option<Document>> {
        let shown = digest.to_string();
        let limits = self.check.store.limits();
        let Some(stored) = self.find(descriptor, digest)? else { return Ok(None) };
        let bytes = self.check.document(stored, &shown)?;
        Document::parse(&bytes, Some(descriptor.media_type().as_ref()), &shown, limits).map(Some)
    }

    /// An index is complete if one of its images is: the others may be left out (image-layout.md, "Blobs").
    fn index(&mut self, index: &Document, depth: usize) -> Result<Option<Visited>> {
        self.check_depth(depth, 1)?;
        let (mut complete, mut height) = (index.manifests().is_empty(), 1);
        let (mut configs, mut children, mut seen) = (Vec::new(), HashSet::new(), HashSet::new());
        for child in index.manifests() {
            let known = DocumentKind::of_media_type(child.media_type().as_ref()).is_some();
            // An index may name one child any number of times, and each of these as often again.
            if !known || !children.insert(claim(child, descriptor_digest(child)?)) {
                continue;
            }
            if let Some(visited) = self.visit(child, depth + 1)? {
                complete = true;
                height = height.max(visited.height + 1);
                configs.extend(visited.configs.iter().filter(|(config, _)| seen.insert(*config)).cloned());
            }
        }
        Ok(complete.then_some(Visited { configs, height }))
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
            let config = self.check.config(stored, &name)?;
            if config.diff_ids.len() != layers.len() {
                let count = config.diff_ids.len();
                return Err(corrupt(format!(
                    "the manifest has {} layers, the configuration {count}",
                    layers.len()
                )));
            }
            for (stored, diff_id) in layers.iter().zip(&config.diff_ids) {
                let shown = stored.info().digest.to_string();
                self.check.layer(stored, diff_id, &shown)?;
            }
            configs.push((config_digest, config.platform.clone()));
        } else {
            layers.iter().for_each(|stored| self.check.need(stored));
        }
        self.check.need(stored);
        Ok(Some(Visited { configs, height: 0 }))
    }
}

fn claim(descriptor: &Descriptor, digest: Digest) -> Claim {
    (digest, DocumentKind::of_media_type(descriptor.media_type().as_ref()), descriptor.size())
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
    let mut having: HashMap<Digest, BTreeSet<usize>> = HashMap::new();
    let mut named: HashMap<Reference, usize> = HashMap::new();
    for (number, image) in images.iter().enumerate() {
        for config in &image.configs {
            having.entry(*config).or_default().insert(number);
        }
        for name in &image.names {
            named.entry(name.clone()).or_insert(number);
        }
    }
    for item in docker::items(check)? {
        check.control.check(LOAD)?;
        let disagree = |path: &str| {
            let message = "manifest.json and index.json do not agree about this image";
            Err(Error::corrupt(LOAD, message).with_path(path))
        };
        let Some(having) = having.get(&item.config.info().digest) else { return disagree(&item.config_path) };
        let config = check.config(item.config, &item.config_path)?;
        if config.diff_ids.len() != item.layers.len() {
            return disagree(&item.config_path);
        }
        for ((path, stored), diff_id) in item.layers.iter().zip(&config.diff_ids) {
            if check.layer_info(stored, path)?.diff_id != *diff_id {
                return disagree(path);
            }
        }
        for name in item.names {
            match named.get(&name) {
                Some(number) if having.contains(number) => {}
                Some(_) => return disagree(&name.to_string()),
                None => {
                    let first = *having.first().expect("an image has it");
                    images[first].names.push(name.clone());
                    named.insert(name, first);
                }
            }
        }
    }
    Ok(())
}
