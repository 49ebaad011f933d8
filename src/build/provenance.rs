//! How an image was built, in the words of SLSA (provenance, version 0.2) that BuildKit's attestations have.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::address::Fact;
use super::context::ContextSource;
use crate::error::{Error, Result};
use crate::image::{Image, Platform};

/// The type of the predicate.
pub(super) const TYPE: &str = "https://slsa.dev/provenance/v0.2";
/// The URI that defines the members of `invocation`.
const BUILD_TYPE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/build@v1");

/// Options of provenance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// How much it says.
    pub mode: ProvenanceMode,
    /// The URI of the builder, which those that verify provenance trust or do not. Nothing by default.
    pub builder_id: String,
    /// Whether it says that the build can be repeated with the same result. Nothing checks that.
    pub reproducible: bool,
}

/// The level of detail of provenance. The value of a secret is never in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProvenanceMode {
    /// The materials, the platform and the target of the image.
    #[default]
    Min,
    /// Also build arguments, labels, the ids of secrets and agents, and the steps. An argument may hold what is not for everybody.
    Max,
}

impl Provenance {
    /// Reads what `--provenance` takes: `true`, `false`, or fields with commas between them, `mode=min|max`, `builder-id=URI` and
    /// `reproducible=true|false`. `version=v0.2` and `inline-only=true` are so in any case.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for anything else.
    pub fn parse(text: &str) -> Result<Option<Provenance>> {
        let mut out = Provenance::default();
        match text {
            "" | "true" | "1" => return Ok(Some(out)),
            "false" | "0" => return Ok(None),
            _ => {}
        }
        let refuse = |message: String, hint: &'static str| {
            Error::invalid("read provenance option", message).with_path(text).with_hint(hint)
        };
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("mode", "min")) => out.mode = ProvenanceMode::Min,
                Some(("mode", "max")) => out.mode = ProvenanceMode::Max,
                Some(("builder-id", uri)) => out.builder_id = uri.into(),
                Some(("reproducible", "true" | "1")) => out.reproducible = true,
                Some(("reproducible", "false" | "0")) => out.reproducible = false,
                Some(("version", "v0.2") | ("inline-only", "true" | "1")) => {}
                Some(("version", other)) => {
                    let message = format!("there is no provenance of version {other:?}");
                    return Err(refuse(message, "version=v0.2 is the one that is written"));
                }
                Some(("inline-only" | "filename", _)) => {
                    let message = format!("no file of provenance is written: {field:?}");
                    return Err(refuse(message, "it goes into the index of an image; leave the field out"));
                }
                _ => {
                    let message = format!("provenance has no field {field:?}");
                    let hint = "true, false, mode=min, mode=max, builder-id=URI, reproducible=true";
                    return Err(refuse(message, hint));
                }
            }
        }
        Ok(Some(out))
    }
}

/// A source that the build fetched from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Material {
    uri: String,
    algorithm: String,
    digest: String,
}

impl Material {
    /// Returns an image. Its digest has an algorithm in front.
    pub(super) fn image(uri: String, digest: &str) -> Material {
        let (algorithm, digest) = digest.split_once(':').unwrap_or(("sha256", digest));
        Material { uri, algorithm: algorithm.into(), digest: digest.into() }
    }

    /// Returns a file or a repository. Names, passwords and queries stay out of its address: the digest says what it is.
    pub(super) fn address(address: &str, algorithm: &str, digest: &str) -> Material {
        Material { uri: bare(address), algorithm: algorithm.into(), digest: digest.into() }
    }
}

/// Returns an address without credentials.
fn bare(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or_default())
        }
        None => address.into(),
    }
}

/// The facts that provenance states.
pub(super) struct Facts<'a> {
    pub(super) asked: &'a Provenance,
    pub(super) image: &'a Image,
    /// The machine that builds.
    pub(super) platform: Platform,
    pub(super) context: &'a ContextSource,
    /// The digest of what the address of the context gave.
    pub(super) source: Option<&'a Fact>,
    pub(super) dockerfile: &'a [u8],
    pub(super) materials: Vec<Material>,
    pub(super) arguments: BTreeMap<String, String>,
    /// By id: whether the build goes on without it.
    pub(super) secrets: BTreeMap<String, bool>,
    pub(super) agents: BTreeMap<String, bool>,
}

/// Returns the predicate. Only what the image depends on is in it, so that a build of what was built before writes the same
/// bytes: the time is that of the last step, and no run has a number.
pub(super) fn document(facts: &Facts<'_>) -> Value {
    let max = facts.asked.mode == ProvenanceMode::Max;
    let materials: Vec<Value> = facts
        .materials
        .iter()
        .map(|one| json!({ "uri": one.uri, "digest": { one.algorithm.as_str(): one.digest } }))
        .collect();
    // Of a path of this machine, the name alone.
    let file = String::from_utf8_lossy(facts.dockerfile);
    let mut source = json!({ "entryPoint": file.rsplit('/').next().unwrap_or_default() });
    let mut locals = Vec::new();
    match facts.context {
        ContextSource::Address(address) => {
            source["uri"] = json!(bare(address));
            if let Some(Fact { algorithm, digest, .. }) = facts.source {
                source["digest"] = json!({ *algorithm: digest });
            }
        }
        ContextSource::Empty => locals.push("dockerfile"),
        _ => locals.extend(["context", "dockerfile"]),
    }
    let locals: Vec<Value> = locals.into_iter().map(|name| json!({ "name": name })).collect();
    let mut parameters = json!({ "frontend": "dockerfile.v0", "args": facts.arguments, "locals": locals });
    if max {
        let ids = |list: &BTreeMap<String, bool>| -> Vec<Value> {
            list.iter().map(|(id, optional)| json!({ "id": id, "optional": optional })).collect()
        };
        parameters["secrets"] = ids(&facts.secrets).into();
        parameters["ssh"] = ids(&facts.agents).into();
    }
    let mut out = json!({
        "builder": { "id": facts.asked.builder_id },
        "buildType": BUILD_TYPE,
        "materials": materials,
        "invocation": {
            "configSource": source,
            "parameters": parameters,
            "environment": { "platform": facts.platform.to_string() },
        },
    });
    if max {
        let mut layers = facts.image.layers().iter();
        let steps: Vec<Value> = facts
            .image
            .config()
            .history()
            .iter()
            .map(|row| {
                let layer = if row.empty_layer { None } else { layers.next() };
                json!({ "instruction": row.created_by, "layer": layer.map(|layer| layer.digest.to_string()) })
            })
            .collect();
        out["buildConfig"] = json!({ "steps": steps });
    }
    let mut metadata = json!({
        "completeness": { "parameters": max, "environment": true, "materials": false },
        "reproducible": facts.asked.reproducible,
    });
    if let Some(time) = time_of(facts.image) {
        metadata["buildFinishedOn"] = json!(time);
    }
    out["metadata"] = metadata;
    out
}

/// Returns the creation time of the image, in whole seconds.
pub(super) fn time_of(image: &Image) -> Option<String> {
    let time: Timestamp = image.config().created()?.parse().ok()?;
    Some(Timestamp::from_second(time.as_second()).ok()?.to_string())
}

/// Percent-encodes a part of a package URL (purl-spec: unreserved characters and colons stay).
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_docker_build_takes_them() {
        let max = Provenance { mode: ProvenanceMode::Max, ..Provenance::default() };
        assert_eq!(Provenance::parse("true").unwrap(), Some(Provenance::default()));
        assert_eq!(Provenance::parse("false").unwrap(), None);
        assert_eq!(Provenance::parse("mode=max").unwrap(), Some(max.clone()));
        let id = Provenance { builder_id: "https://ci.example/7".into(), ..max };
        assert_eq!(Provenance::parse("mode=max,builder-id=https://ci.example/7").unwrap(), Some(id));
        for text in ["version=v0.2", "inline-only=true", "reproducible=false", "mode=min,version=v0.2"] {
            assert_eq!(Provenance::parse(text).unwrap(), Some(Provenance::default()), "{text}");
        }
        assert!(Provenance::parse("mode=max,reproducible=true").unwrap().unwrap().reproducible);
        for text in [
            "version=v1",
            "inline-only=false",
            "filename=x",
            "reproducible=maybe",
            "yes",
            "mode=mid",
            "mode",
            "mode=max,",
            "max",
        ] {
            assert!(Provenance::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_lose_what_proves_an_identity() {
        for (address, expected) in [
            ("https://me:secret@files.example/a/b@c?token=1#x", "https://files.example/a/b@c"),
            ("https://files.example", "https://files.example"),
            ("git@git.example:a/b.git#main", "git@git.example:a/b.git"),
        ] {
            assert_eq!(Material::address(address, "sha256", "").uri, expected);
        }
    }
}
