//! Docker's `manifest.json` (Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format").

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_json::Value;

use super::intake::{Intake, Stored};
use super::{LOAD, MANIFEST_FILE, names};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Admission, ManifestOptions, OCI_CONFIG, OCI_MANIFEST, Ready, Source, new_manifest};
use crate::store::{BlobInfo, Descriptor, Reference, descriptor, descriptor_digest, parse_json};

/// An image of `manifest.json`, its paths found in the archive.
pub(super) struct Item<'a> {
    pub config_path: String,
    pub config: &'a Stored,
    pub names: Vec<Reference>,
    pub layers: Vec<(String, &'a Stored)>,
}

/// Reads `manifest.json`.
pub(super) fn items<'a>(intake: &'a Intake, admission: &mut Admission<'a, Stored>) -> Result<Vec<Item<'a>>> {
    let corrupt = |message: &str| Error::corrupt(LOAD, message).with_path(MANIFEST_FILE);
    let bytes = admission.document(intake.find(MANIFEST_FILE)?, MANIFEST_FILE)?;
    let Value::Array(list) = parse_json(&bytes, MANIFEST_FILE, admission.store.limits())? else {
        return Err(corrupt("not a list"));
    };
    let mut out = Vec::new();
    for item in &list {
        let Value::Object(object) = item else { return Err(corrupt("an image is not an object")) };
        for key in object.keys() {
            // Go takes names in any case, and of several the last.
            let known = ["Config", "RepoTags", "Layers"];
            if known.iter().any(|known| key.eq_ignore_ascii_case(known) && key != known) {
                return Err(corrupt("a member has an unusual spelling, which readers take differently"));
            }
        }
        let text = |value: &Value| value.as_str().map(str::to_string);
        let texts = |key: &str| match object.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|value| text(value).ok_or_else(|| corrupt("a list holds something else than strings")))
                .collect::<Result<Vec<String>>>(),
            Some(_) => Err(corrupt("RepoTags or Layers is not a list")),
        };
        let config_path =
            object.get("Config").and_then(text).ok_or_else(|| corrupt("an image has no Config"))?;
        let layers = texts("Layers")?;
        let cap = admission.store.limits().layers;
        if layers.len() > cap {
            let message = format!("an image has {} layers, more than the cap of {cap}", layers.len());
            return Err(Error::limit(LOAD, message).with_path(MANIFEST_FILE));
        }
        let config = intake.find(&config_path)?;
        check_config_name(&config_path, config)?;
        let layers = layers.into_iter().map(|path| intake.find(&path).map(|stored| (path, stored)));
        out.push(Item {
            config,
            names: texts("RepoTags")?.iter().map(|name| names::tagged(name)).collect::<Result<_>>()?,
            layers: layers.collect::<Result<_>>()?,
            config_path,
        });
    }
    Ok(out)
}

/// Refuses a configuration with another id in its name: Docker names it by the image id.
fn check_config_name(path: &str, config: &Stored) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".json").unwrap_or(name);
    let claimed: Option<Digest> = format!("sha256:{name}").parse().ok();
    let digest = config.info().digest;
    if claimed.is_some_and(|claimed| claimed != digest) {
        let message = format!("the configuration has another digest: {digest}");
        return Err(Error::corrupt(LOAD, message).with_path(path));
    }
    Ok(())
}

/// Checks all images of `manifest.json` and makes a manifest for each.
pub(super) fn read<'a>(intake: &'a Intake, admission: &mut Admission<'a, Stored>) -> Result<Vec<Ready>> {
    let mut out: Vec<Ready> = Vec::new();
    let mut known: HashMap<Digest, usize> = HashMap::new();
    for item in items(intake, admission)? {
        admission.control.check(LOAD)?;
        let config = admission.config(item.config, &item.config_path)?;
        if config.diff_ids.len() != item.layers.len() {
            let message = format!(
                "manifest.json lists {} layers, the configuration {}",
                item.layers.len(),
                config.diff_ids.len()
            );
            return Err(Error::corrupt(LOAD, message).with_path(&item.config_path));
        }
        let mut layers = Vec::new();
        for ((path, stored), diff_id) in item.layers.iter().zip(&config.diff_ids) {
            let info = admission.layer(stored, diff_id, path)?;
            layers.push(descriptor(&info.media_type, &BlobInfo { digest: info.digest, size: info.size }));
        }
        admission.need(item.config);
        let image = ready(admission, item.names, item.config.info(), &layers)?;
        match known.entry(descriptor_digest(&image.descriptor)?) {
            Entry::Occupied(same) => out[*same.get()].names.extend(image.names),
            Entry::Vacant(new) => {
                new.insert(out.len());
                out.push(image);
            }
        }
    }
    Ok(out)
}

/// Returns an image of this configuration and these layers, with a new manifest.
pub(super) fn ready(
    admission: &mut Admission<'_, Stored>,
    names: Vec<Reference>,
    config: BlobInfo,
    layers: &[Descriptor],
) -> Result<Ready> {
    let bytes = new_manifest(&descriptor(OCI_CONFIG, &config), layers, &ManifestOptions::default())?;
    let manifest = BlobInfo { size: bytes.len() as u64, digest: admission.make(bytes) };
    Ok(Ready { names, descriptor: descriptor(OCI_MANIFEST, &manifest), configs: vec![config.digest] })
}
