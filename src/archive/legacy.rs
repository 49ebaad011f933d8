//! Archives of Docker before 1.10: `repositories`, and one directory per layer with `json` and `layer.tar`
//! (Docker image specification v1.1).

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::docker::ready;
use super::intake::{Intake, Stored};
use super::{LOAD, REPOSITORIES_FILE, names};
use crate::error::{Error, Result};
use crate::image::{Admission, ImageConfig, Ready};
use crate::store::{BlobInfo, Reference, descriptor, json_to_bytes, parse_json};

/// Members of an old configuration that are about its layer, not the image: they do not go over.
const OF_THE_LAYER: [&str; 8] =
    ["id", "parent", "Size", "parent_id", "layer_id", "throwaway", "rootfs", "history"];

/// Checks all images of `repositories`, and makes a configuration and a manifest for each.
pub(super) fn read<'a>(intake: &'a Intake, admission: &mut Admission<'a, Stored>) -> Result<Vec<Ready>> {
    let corrupt = |message: &str| Error::corrupt(LOAD, message).with_path(REPOSITORIES_FILE);
    let bytes = admission.document(intake.find(REPOSITORIES_FILE)?, REPOSITORIES_FILE)?;
    let Value::Object(repositories) = parse_json(&bytes, REPOSITORIES_FILE, admission.store.limits())? else {
        return Err(corrupt("not a JSON object"));
    };
    let mut order: Vec<String> = Vec::new();
    let mut named: HashMap<String, Vec<Reference>> = HashMap::new();
    for (repository, tags) in &repositories {
        let Value::Object(tags) = tags else { return Err(corrupt("a repository is not an object")) };
        for (tag, id) in tags {
            let id = id.as_str().ok_or_else(|| corrupt("an id is not a string"))?;
            check_id(id)?;
            let name = names::tagged(&format!("{repository}:{tag}"))?;
            if !named.contains_key(id) {
                order.push(id.to_string());
            }
            named.entry(id.to_string()).or_default().push(name);
        }
    }
    let mut out = Vec::new();
    for id in order {
        let names = named.remove(&id).unwrap_or_default();
        out.push(image(intake, admission, &id, names)?);
    }
    Ok(out)
}

/// Ids become parts of paths in the archive, so they must be ids.
fn check_id(id: &str) -> Result<()> {
    if id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(Error::corrupt(LOAD, "an id is not 64 hexadecimal digits").with_path(id))
}

fn image<'a>(
    intake: &'a Intake,
    admission: &mut Admission<'a, Stored>,
    id: &str,
    names: Vec<Reference>,
) -> Result<Ready> {
    let mut chain: Vec<(String, Map<String, Value>)> = Vec::new();
    let mut seen = HashSet::new();
    let mut next = Some(id.to_string());
    while let Some(id) = next.take() {
        check_id(&id)?;
        let path = format!("{id}/json");
        let cap = admission.store.limits().layers;
        if !seen.insert(id.clone()) || chain.len() == cap {
            let message = format!("the parents of an image form a loop, or more than {cap} layers");
            return Err(Error::limit(LOAD, message).with_path(path));
        }
        let bytes = admission.document(intake.find(&path)?, &path)?;
        let Value::Object(config) = parse_json(&bytes, &path, admission.store.limits())? else {
            return Err(Error::corrupt(LOAD, "not a JSON object").with_path(path));
        };
        next = match config.get("parent") {
            None | Some(Value::Null) => None,
            Some(Value::String(parent)) if parent.is_empty() => None,
            Some(Value::String(parent)) => Some(parent.clone()),
            Some(_) => return Err(Error::corrupt(LOAD, "parent is not a string").with_path(path)),
        };
        chain.push((id, config));
    }
    chain.reverse();
    let (mut layers, mut diff_ids, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for (id, config) in &chain {
        let path = format!("{id}/layer.tar");
        let stored = intake.find(&path)?;
        let info = admission.layer_info(stored, &path)?;
        admission.need(stored);
        layers.push(descriptor(&info.media_type, &BlobInfo { digest: info.digest, size: info.size }));
        diff_ids.push(info.diff_id);
        history.push(row(config));
    }
    let (_, mut config) = chain.pop().expect("it has at least the image itself");
    for key in OF_THE_LAYER {
        config.shift_remove(key);
    }
    config.entry("architecture").or_insert_with(|| json!("amd64"));
    config.entry("os").or_insert_with(|| json!("linux"));
    config.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
    config.insert("history".into(), history.into());
    let bytes = json_to_bytes(&config)?;
    // What was made of it must be readable again.
    let shown = format!("{id}/json");
    ImageConfig::parse(bytes.clone(), &shown, admission.store.limits())?;
    let config = BlobInfo { size: bytes.len() as u64, digest: admission.make(bytes) };
    ready(admission, names, config, &layers)
}

/// Returns the row of history an old configuration stands for.
fn row(config: &Map<String, Value>) -> Value {
    let mut row = Map::new();
    for key in ["created", "author", "comment"] {
        if let Some(Value::String(text)) = config.get(key).filter(|text| text.as_str() != Some("")) {
            row.insert(key.into(), json!(text));
        }
    }
    let command = config.get("container_config").and_then(|run| run.get("Cmd")).and_then(Value::as_array);
    if let Some(words) = command {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        row.insert("created_by".into(), json!(words.join(" ")));
    }
    Value::Object(row)
}
