//! Image configurations (image-spec, config.md): read strictly, kept whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::platform::Platform;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::store::{Limits, parse_json};

const OP: &str = "read image configuration";

/// An image configuration: the document as it was read, and typed views of what treering understands.
#[derive(Debug, Clone)]
pub struct ImageConfig {
    bytes: Vec<u8>,
    value: Map<String, Value>,
    diff_ids: Vec<Digest>,
    history: Vec<History>,
    run: RunConfig,
}

/// A row of a configuration's `history`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether this row made no layer.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

/// The execution parameters of an image: the `config` member, with Docker's additions. Null means absent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user`, `uid`, `user:group`, `uid:gid`…
    pub user: Option<String>,
    /// `PORT/PROTOCOL` to an empty object.
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// `NAME=VALUE`, in order.
    pub env: Option<Vec<String>>,
    /// The command that `cmd` is appended to.
    #[serde(deserialize_with = "one_or_many")]
    pub entrypoint: Option<Vec<String>>,
    /// The default arguments.
    #[serde(deserialize_with = "one_or_many")]
    pub cmd: Option<Vec<String>>,
    /// Paths that hold data.
    pub volumes: Option<BTreeMap<String, Value>>,
    /// The working directory of the command.
    pub working_dir: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that asks the command to stop.
    pub stop_signal: Option<String>,
    /// The shell of commands in shell form; `/bin/sh -c` when absent.
    #[serde(deserialize_with = "one_or_many")]
    pub shell: Option<Vec<String>>,
    /// Instructions for builds on top of this image.
    pub on_build: Option<Vec<String>>,
    /// Docker's health check, as it stands.
    pub healthcheck: Option<Value>,
}

impl ImageConfig {
    /// Parses a configuration; `name` is what errors call it.
    ///
    /// [`crate::ErrorKind::Corrupt`] unless it is an object with `layers` as `rootfs.type`, sha256 digests as DiffIDs and
    /// known members of the right types; [`crate::ErrorKind::Limit`] over the caps.
    pub fn parse(bytes: Vec<u8>, name: &str, limits: &Limits) -> Result<Self> {
        let corrupt = |message: String| Error::corrupt(OP, message).with_path(name);
        let Value::Object(value) = parse_json(&bytes, name, limits)? else {
            return Err(corrupt("not a JSON object".into()));
        };
        let member = |key: &str| value.get(key).filter(|value| !value.is_null());
        let rootfs = member("rootfs").ok_or_else(|| corrupt("rootfs is missing".into()))?;
        if rootfs.get("type").and_then(Value::as_str) != Some("layers") {
            return Err(corrupt("rootfs.type is not \"layers\"".into()));
        }
        let diff_ids: Option<Vec<Digest>> = match rootfs.get("diff_ids") {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|text| text.as_str()?.parse().ok()).collect(),
            Some(_) => None,
        };
        let diff_ids =
            diff_ids.ok_or_else(|| corrupt("rootfs.diff_ids is not a list of sha256 digests".into()))?;
        if diff_ids.len() > limits.layers {
            let message =
                format!("the image has {} layers, more than the cap of {}", diff_ids.len(), limits.layers);
            return Err(Error::limit(OP, message).with_path(name));
        }
        for key in ["created", "author", "architecture", "os", "variant", "os.version", "comment"] {
            if member(key).is_some_and(|value| !value.is_string()) {
                return Err(corrupt(format!("{key} is not a string")));
            }
        }
        let history = match member("history") {
            None => Vec::new(),
            // Serde would also take a list for an object.
            Some(Value::Array(rows)) if !rows.iter().all(Value::is_object) => {
                return Err(corrupt("a row of history is not an object".into()));
            }
            Some(list) => Vec::deserialize(list).map_err(|error| corrupt(format!("history: {error}")))?,
        };
        let run = match member("config") {
            None => RunConfig::default(),
            Some(run) if !run.is_object() => return Err(corrupt("config is not an object".into())),
            Some(run) => RunConfig::deserialize(run).map_err(|error| corrupt(format!("config: {error}")))?,
        };
        Ok(ImageConfig { bytes, value, diff_ids, history, run })
    }

    /// Returns the document as it was read: its sha256 is the image id.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the document, unknown members included.
    pub fn value(&self) -> &Map<String, Value> {
        &self.value
    }

    /// Returns the document as `oci-spec` reads it. Members that `oci-spec` does not have are not in it.
    pub fn to_spec(&self) -> Result<oci_spec::image::ImageConfiguration> {
        serde_json::from_slice(&self.bytes)
            .map_err(|error| Error::corrupt(OP, "oci-spec cannot read this configuration").with_source(error))
    }

    /// Returns the DiffIDs, base first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }

    /// Returns the history, oldest first; empty when the image has none.
    pub fn history(&self) -> &[History] {
        &self.history
    }

    /// Returns the execution parameters.
    pub fn run(&self) -> &RunConfig {
        &self.run
    }

    /// Returns the platform the image says it is for. An absent `os` or `architecture` is an empty string.
    pub fn platform(&self) -> Platform {
        Platform::new(
            self.text("os").unwrap_or(""),
            self.text("architecture").unwrap_or(""),
            self.text("variant"),
        )
    }

    /// Returns the time at which the image was made, as it stands there (RFC 3339).
    pub fn created(&self) -> Option<&str> {
        self.text("created")
    }

    /// Returns its author.
    pub fn author(&self) -> Option<&str> {
        self.text("author")
    }

    /// Returns a member at the top that is a string.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.value.get(key).and_then(Value::as_str)
    }
}

/// Returns the image id: the digest of the configuration (config.md, "ImageID").
pub fn image_id(config: &[u8]) -> Digest {
    Digest::of(config)
}

fn is_false(value: &bool) -> bool {
    !value
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// Reads a list of words, or a single one: Docker once wrote a command of one word as a plain string.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::deserialize(deserializer)?.map(|value| match value {
        OneOrMany::One(word) => vec![word],
        OneOrMany::Many(words) => words,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn parse(text: &str) -> Result<ImageConfig> {
        ImageConfig::parse(text.as_bytes().to_vec(), "config", &Limits::default())
    }

    #[test]
    fn null_means_absent_and_unknown_members_stay() {
        let config = parse(
            r#"{"architecture":"arm","os":"linux","variant":null,"created":null,"x-unknown":{"z":1},
                "config":{"Env":null,"Cmd":"sh","Entrypoint":null,"Labels":null,"Volumes":{"/d":{}},"Weird":[1]},
                "rootfs":{"type":"layers","diff_ids":null},"history":[{"created":null,"empty_layer":null}]}"#,
        )
        .unwrap();
        assert_eq!(config.run().cmd.as_deref(), Some(&["sh".to_string()][..]));
        assert_eq!((config.run().env.as_ref(), config.created()), (None, None));
        assert_eq!(config.platform().to_string(), "linux/arm/v7");
        assert_eq!(config.value()["x-unknown"]["z"], 1);
        assert_eq!(config.history(), [History::default()]);
        config.to_spec().unwrap_err();
        let plain = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert_eq!(parse(plain).unwrap().to_spec().unwrap().os().to_string(), "linux");
    }

    #[test]
    fn hostile_configurations_are_refused() {
        let many = vec![format!("\"{}\"", Digest::of(b"")); 513].join(",");
        let cases = [
            ("[]".to_string(), ErrorKind::Corrupt),
            ("{}".to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":null}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"type":"layer","diff_ids":[]}}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"diff_ids":[]}}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"type":"layers","diff_ids":["../x"]}}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"type":"layers","diff_ids":[null]}}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"type":"layers"},"config":[]}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"type":"layers"},"config":{"Env":[1]}}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"type":"layers"},"history":[["2020"]]}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"type":"layers"},"history":{}}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"type":"layers"},"os":7}"#.to_string(), ErrorKind::Corrupt),
            (r#"{"rootfs":{"type":"layers"},"os":"a","os":"b"}"#.to_string(), ErrorKind::Corrupt),
            (format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[{many}]}}}}"#), ErrorKind::Limit),
        ];
        for (text, kind) in cases {
            let shown = &text[..text.len().min(100)];
            assert_eq!(parse(&text).map(|_| ()).map_err(|e| e.kind()), Err(kind), "{shown}");
        }
    }
}
