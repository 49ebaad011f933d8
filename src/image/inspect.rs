//! `docker inspect` of an image, as JSON.

use serde_json::{Map, Value, json};

use super::open::Image;
use crate::error::Result;
use crate::store::{Reference, Store, descriptor_digest, descriptor_value};

/// The text that Docker prints for a time that is not known.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Returns the object `docker inspect` prints for an image, with the members that make sense without a daemon: no
/// `GraphDriver`, `Parent` or `DockerVersion`.
///
/// `Size` is what the image takes in the store (compressed), as `docker` shows it with the containerd image store.
/// `RepoTags` and `RepoDigests` come from the names in the store, sorted as they stand in `index.json`.
pub fn inspect(store: &Store, image: &Image) -> Result<Value> {
    let config = image.config();
    // Names stand for the manifest, or for the index it was chosen from.
    let wanted: Vec<_> = [Some(image.descriptor()), image.index()]
        .into_iter()
        .flatten()
        .filter_map(|descriptor| descriptor_digest(descriptor).ok())
        .collect();
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for entry in store.refs()? {
        let Ok(digest) = descriptor_digest(&entry.descriptor) else { continue };
        if !wanted.contains(&digest) {
            continue;
        }
        if entry.name.tag().is_some() {
            push_new(&mut tags, Reference::to_string(&entry.name));
        }
        push_new(&mut digests, entry.name.with_digest(digest).to_string());
    }
    let comment = match config.text("comment") {
        Some(comment) => comment,
        None => config.history().last().and_then(|last| last.comment.as_deref()).unwrap_or(""),
    };
    let mut out = Map::new();
    out.insert("Id".into(), json!(image.id()));
    out.insert("RepoTags".into(), json!(tags));
    out.insert("RepoDigests".into(), json!(digests));
    out.insert("Comment".into(), json!(comment));
    out.insert("Created".into(), json!(config.created().unwrap_or(NO_TIME)));
    out.insert("Author".into(), json!(config.author().unwrap_or("")));
    out.insert("Architecture".into(), json!(config.text("architecture").unwrap_or("")));
    if let Some(variant) = config.text("variant") {
        out.insert("Variant".into(), json!(variant));
    }
    out.insert("Os".into(), json!(config.text("os").unwrap_or("")));
    if let Some(version) = config.text("os.version") {
        out.insert("OsVersion".into(), json!(version));
    }
    out.insert("Size".into(), json!(image.size()));
    let run = config.value().get("config").filter(|run| run.is_object()).cloned();
    out.insert("Config".into(), run.unwrap_or_else(|| Value::Object(Map::new())));
    out.insert("RootFS".into(), json!({ "Type": "layers", "Layers": config.diff_ids() }));
    out.insert("Metadata".into(), json!({ "LastTagTime": NO_TIME }));
    out.insert("Descriptor".into(), descriptor_value(image.descriptor())?);
    let annotations: Map<String, Value> = image.annotations().map(|(k, v)| (k.into(), v.into())).collect();
    if !annotations.is_empty() {
        out.insert("Annotations".into(), annotations.into());
    }
    Ok(Value::Object(out))
}

fn push_new(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}
