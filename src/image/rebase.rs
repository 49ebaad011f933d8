//! The execution parameters of an image that gets another base: a merge of three.
//!
//! A member that the image has as its old base has it was inherited, and is inherited from the new one; what is different
//! is the image's own and stays. Variables, labels, ports and volumes are merged one by one, everything else as a whole.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Merges the parameters of an image with those of its old and its new base.
pub(super) fn merge(
    own: &Map<String, Value>,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for key in keys(own, new) {
        let (own, old, new) = (member(own, key), member(old, key), member(new, key));
        let merged = match key.as_str() {
            "Env" => merge_env(own, old, new),
            "Labels" | "ExposedPorts" | "Volumes" => merge_members(own, old, new),
            _ => if own == old { new } else { own }.cloned(),
        };
        if let Some(value) = merged {
            out.insert(key.clone(), value);
        }
    }
    out
}

/// Returns the keys of both, those of the first one first.
fn keys<'a>(
    first: &'a Map<String, Value>,
    second: &'a Map<String, Value>,
) -> impl Iterator<Item = &'a String> {
    first.keys().chain(second.keys().filter(|key| !first.contains_key(*key)))
}

/// Returns a member; null means absent.
fn member<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    map.get(key).filter(|value| !value.is_null())
}

fn merge_members(own: Option<&Value>, old: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    let none = Map::new();
    let members = |value: Option<&Value>| value.and_then(Value::as_object).unwrap_or(&none).clone();
    let (own, old, new) = (members(own), members(old), members(new));
    let mut out = Map::new();
    for key in keys(&own, &new) {
        let (own, old, new) = (own.get(key), old.get(key), new.get(key));
        if let Some(value) = if own == old { new } else { own } {
            out.insert(key.clone(), value.clone());
        }
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

/// Variables in the order of the new base, then those of the image.
fn merge_env(own: Option<&Value>, old: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    let list = |value: Option<&Value>| -> Vec<(String, String)> {
        let texts = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let pair = |text: &str| (text.split('=').next().unwrap_or(text).to_string(), text.to_string());
        texts.map(pair).collect()
    };
    let (own, old, new) = (list(own), list(old), list(new));
    let find = |of: &[(String, String)]| of.iter().cloned().collect::<HashMap<String, String>>();
    let (own_of, old_of, new_of) = (find(&own), find(&old), find(&new));
    let names = new.iter().chain(own.iter().filter(|(name, _)| !new_of.contains_key(name)));
    let merged = names.filter_map(|(name, _)| {
        let (own, old, new) = (own_of.get(name), old_of.get(name), new_of.get(name));
        if own == old { new } else { own }.cloned().map(Value::String)
    });
    let merged: Vec<Value> = merged.collect();
    (!merged.is_empty()).then_some(Value::Array(merged))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_inherited_follows_the_base_and_what_is_own_stays() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let old = object(json!({
            "Env": ["PATH=/bin", "JAVA=11.0.5", "GONE=1", "DROPPED=1"], "Cmd": ["sh"], "User": "old",
            "Labels": {"version": "1", "kept": "x", "gone": "1"}, "WorkingDir": "/", "StopSignal": null,
        }));
        let own = object(json!({
            "Env": ["PATH=/bin", "JAVA=11.0.5", "GONE=1", "APP=mine"], "Cmd": ["app"], "User": "old",
            "Labels": {"version": "1", "kept": "mine", "gone": "1", "app": "1"}, "WorkingDir": "/",
            "Volumes": {"/data": {}},
        }));
        let new = object(json!({
            "Env": ["PATH=/usr/bin", "NEW=1", "JAVA=11.0.6", "DROPPED=2"], "Cmd": ["bash"], "User": "new",
            "Labels": {"version": "2", "kept": "y"}, "StopSignal": "SIGINT", "Volumes": {"/base": {}},
        }));
        let expected = object(json!({
            "Env": ["PATH=/usr/bin", "NEW=1", "JAVA=11.0.6", "APP=mine"], "Cmd": ["app"], "User": "new",
            "Labels": {"version": "2", "kept": "mine", "app": "1"}, "StopSignal": "SIGINT",
            "Volumes": {"/data": {}, "/base": {}},
        }));
        assert_eq!(merge(&own, &old, &new), expected);
        assert_eq!(
            merge(&old, &old, &new),
            merge(&new, &new, &new),
            "without anything of its own: the new base's"
        );
    }
}
