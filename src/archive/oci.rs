//! Image layouts (image-spec, image-layout.md), with or without Docker's `manifest.json` beside them.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::intake::{Intake, Stored};
use super::{INDEX_FILE, LAYOUT_FILE, LOAD, MANIFEST_FILE, docker, names};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::image::{Admission, OCI_INDEX, Ready, Source, Walk, is_image_config};
use crate::store::{Document, DocumentKind, Reference, descriptor_digest, parse_json};

/// Checks all images of `index.json`.
pub(super) fn read<'a>(intake: &'a Intake, admission: &mut Admission<'a, Stored>) -> Result<Vec<Ready>> {
    check_layout(intake, admission)?;
    let bytes = admission.document(intake.find(INDEX_FILE)?, INDEX_FILE)?;
    let index = Document::parse(&bytes, Some(OCI_INDEX), INDEX_FILE, admission.store.limits())?;
    let mut walk = Walk::new(admission, |digest| intake.blob(digest));
    let mut out: Vec<Ready> = Vec::new();
    let mut known: HashMap<Digest, usize> = HashMap::new();
    let mut others: Vec<(Digest, String)> = Vec::new();
    for entry in index.manifests() {
        // An unknown type is no error (image-index.md, "manifests"), nor is another algorithm where it names no image.
        if DocumentKind::of_media_type(entry.media_type().as_ref()).is_none() {
            let what = format!("of type {}", entry.media_type());
            others.extend(descriptor_digest(entry).ok().map(|digest| (digest, what)));
            continue;
        }
        let digest = descriptor_digest(entry)?;
        let configs = walk.image(entry)?;
        let name = names::of_entry(entry)?;
        if let Some(known) = known.get(&digest) {
            out[*known].names.extend(name);
            continue;
        }
        if configs.is_empty() {
            others.push((digest, "an artifact".into()));
            continue;
        }
        known.insert(digest, out.len());
        out.push(Ready { names: name.into_iter().collect(), descriptor: entry.clone(), configs });
    }
    if let (true, Some((digest, what))) = (out.is_empty(), others.first()) {
        let message = format!("the archive holds no image, only what is {what}");
        return Err(Error::new(ErrorKind::Unsupported, LOAD, message).with_path(digest.to_string()));
    }
    for (digest, what) in others {
        let message = format!("not loaded: {digest} is {what}, not an image");
        admission.control.events.send(Event::Warning { rule: String::new(), message, location: None });
    }
    if intake.has(MANIFEST_FILE) {
        agree(intake, admission, &mut out)?;
    }
    Ok(out)
}

/// Returns whether `index.json` says nothing of any image: it has no entries, or manifests without layers for configurations
/// with some. Docker 25.0.0 wrote such beside a good `manifest.json`.
pub(super) fn is_hollow<'a>(intake: &'a Intake, admission: &mut Admission<'a, Stored>) -> Result<bool> {
    let limits = admission.store.limits();
    let bytes = admission.document(intake.find(INDEX_FILE)?, INDEX_FILE)?;
    let index = Document::parse(&bytes, Some(OCI_INDEX), INDEX_FILE, limits)?;
    for entry in index.manifests() {
        if DocumentKind::of_media_type(entry.media_type().as_ref()) != Some(DocumentKind::Manifest) {
            return Ok(false);
        }
        let digest = descriptor_digest(entry)?;
        let Some(stored) = intake.blob(&digest)? else { return Ok(false) };
        let shown = digest.to_string();
        let bytes = admission.document(stored, &shown)?;
        let manifest = Document::parse(&bytes, Some(entry.media_type().as_ref()), &shown, limits)?;
        let Some(config) = manifest.config().filter(|_| manifest.layers().is_empty()) else {
            return Ok(false);
        };
        if !is_image_config(config.media_type().as_ref()) {
            return Ok(false);
        }
        let config = descriptor_digest(config)?;
        let Some(stored) = intake.blob(&config)? else { return Ok(false) };
        if admission.config(stored, &config.to_string())?.diff_ids.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check_layout<'a>(intake: &'a Intake, admission: &mut Admission<'a, Stored>) -> Result<()> {
    if !intake.has(LAYOUT_FILE) {
        return Err(Error::corrupt(LOAD, "there is an index.json but no oci-layout"));
    }
    let bytes = admission.document(intake.find(LAYOUT_FILE)?, LAYOUT_FILE)?;
    let layout = parse_json(&bytes, LAYOUT_FILE, admission.store.limits())?;
    match layout.get("imageLayoutVersion").and_then(Value::as_str) {
        Some(version) if version.starts_with("1.") => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            LOAD,
            "not a version of the image layout that can be read",
        )
        .with_path(LAYOUT_FILE)),
    }
}

/// Checks that `manifest.json`, which older readers go by, has the same images as `index.json`.
fn agree<'a>(intake: &'a Intake, admission: &mut Admission<'a, Stored>, images: &mut [Ready]) -> Result<()> {
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
    for item in docker::items(intake, admission)? {
        admission.control.check(LOAD)?;
        let disagree = |path: &str| {
            let message = "manifest.json and index.json do not agree about this image";
            Err(Error::corrupt(LOAD, message).with_path(path))
        };
        let Some(having) = having.get(&item.config.info().digest) else { return disagree(&item.config_path) };
        let config = admission.config(item.config, &item.config_path)?;
        if config.diff_ids.len() != item.layers.len() {
            return disagree(&item.config_path);
        }
        for ((path, stored), diff_id) in item.layers.iter().zip(&config.diff_ids) {
            if admission.layer_info(stored, path)?.diff_id != *diff_id {
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
