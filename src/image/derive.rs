//! Making the configuration of a new image.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::changes::apply_changes;
use super::config::{History, ImageConfig};
use super::platform::Platform;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::store::json_to_bytes;

const WRITE: &str = "write image configuration";

/// Members of a base configuration that describe how the base itself was made, not the image: they do not go over.
const OF_THE_BASE: [&str; 8] =
    ["id", "parent", "author", "container", "container_config", "docker_version", "comment", "Size"];
/// BuildKit's records of the base's own build and cache.
const OF_BUILDKIT: &str = "moby.buildkit.";

/// The parts of a new configuration. Everything may be left out.
#[derive(Debug, Clone, Default)]
pub struct NewConfig<'a> {
    /// The image to start from.
    pub base: Option<&'a ImageConfig>,
    /// The platform; the base's, else the host's.
    pub platform: Option<Platform>,
    /// The execution parameters (`config` member) instead of the base's.
    pub run: Option<Map<String, Value>>,
    /// Dockerfile instructions, as `docker commit --change` takes them, applied to the execution parameters.
    pub changes: &'a [String],
    /// The author of the image.
    pub author: Option<String>,
    /// When. The caller decides about clocks and `SOURCE_DATE_EPOCH`; without it, no time is written.
    pub created: Option<Timestamp>,
    /// The rows to append to the history. As many of them have a layer as there are [`NewConfig::layers`].
    pub history: &'a [History],
    /// The DiffIDs of the layers on top of the base, lowest first.
    pub layers: &'a [Digest],
    /// Drop the layers and the history of the base: [`NewConfig::layers`] hold everything.
    pub squash: bool,
    /// DiffIDs and rows of history, as they are to be written, in place of those of the base.
    pub below: Option<(&'a [Digest], &'a [Value])>,
}

/// Returns the bytes of a new configuration: deterministic, the same arguments always give the same bytes.
///
/// Starts from the base, unknown members included (those that describe the making of the base itself are left out),
/// appends the layers and their history rows, and applies the changes. Where the base has fewer history rows with a layer
/// than layers, empty rows are put in first, so that the new image has as many of each (config.md, "history").
///
/// # Errors
/// [`crate::ErrorKind::InvalidArgument`] for an instruction that cannot be applied, or when the rows do not match the layers.
pub fn new_config(new: &NewConfig<'_>) -> Result<Vec<u8>> {
    let base = new.base;
    let with_layer = new.history.iter().filter(|row| !row.empty_layer).count();
    if with_layer != new.layers.len() {
        let message = format!("{} layers have {with_layer} rows of history", new.layers.len());
        return Err(Error::invalid(WRITE, message));
    }
    let platform = match (&new.platform, base) {
        (Some(platform), _) => platform.clone(),
        (None, Some(base)) => base.platform(),
        (None, None) => Platform::host(),
    };
    // Where the platform stays, its spelling stays too.
    let kept = base.filter(|base| base.platform() == platform);

    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.into(), value);
        }
    };
    let from_kept = |key: &str| kept.and_then(|base| base.value().get(key)).filter(|v| !v.is_null()).cloned();
    put("created", new.created.map(|time| time.to_string().into()));
    put("author", new.author.clone().map(Value::String));
    put("architecture", from_kept("architecture").or_else(|| Some(json!(platform.architecture))));
    put("variant", if kept.is_some() { from_kept("variant") } else { platform.variant.map(Value::String) });
    put("os", from_kept("os").or_else(|| Some(json!(platform.os))));
    put("os.version", from_kept("os.version"));
    put("os.features", from_kept("os.features"));
    put("config", Some(Value::Object(run_config(new)?)));
    put("rootfs", Some(rootfs(new)));
    put("history", Some(history(new)?));
    if let Some(base) = base {
        for (key, value) in base.value() {
            let own = OF_THE_BASE.contains(&key.as_str()) || key.starts_with(OF_BUILDKIT);
            let platform_key = ["variant", "os.version", "os.features"].contains(&key.as_str());
            if !own && !platform_key && key != "created" && !out.contains_key(key) {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    json_to_bytes(&out)
}

fn run_config(new: &NewConfig<'_>) -> Result<Map<String, Value>> {
    let inherited = || match new.base?.value().get("config")? {
        Value::Object(run) => Some(run.clone()),
        _ => None,
    };
    let mut run = new.run.clone().or_else(inherited).unwrap_or_default();
    // The image and the host name of the base's own container, in configurations written by old Docker versions.
    for key in ["Image", "Hostname", "Domainname"] {
        if new.run.is_none() {
            run.shift_remove(key);
        }
    }
    apply_changes(&mut run, new.changes)?;
    for key in ["ExposedPorts", "Volumes", "Labels"] {
        if let Some(Value::Object(members)) = run.get_mut(key) {
            members.sort_keys();
        }
    }
    Ok(run)
}

fn rootfs(new: &NewConfig<'_>) -> Value {
    let of_base = || new.base.filter(|_| !new.squash).map(|base| base.diff_ids());
    let below = new.below.map(|(diff_ids, _)| diff_ids).or_else(of_base).unwrap_or_default();
    let diff_ids: Vec<Digest> = below.iter().chain(new.layers).copied().collect();
    json!({ "type": "layers", "diff_ids": diff_ids })
}

fn history(new: &NewConfig<'_>) -> Result<Value> {
    let mut rows: Vec<Value> = match (new.below, new.base.filter(|_| !new.squash)) {
        (Some((_, rows)), _) => rows.to_vec(),
        (None, Some(base)) => rows_of(base),
        (None, None) => Vec::new(),
    };
    for row in new.history {
        rows.push(
            serde_json::to_value(row).map_err(|error| {
                Error::corrupt(WRITE, "a history row cannot be written").with_source(error)
            })?,
        );
    }
    Ok(Value::Array(rows))
}

/// Returns the rows of a configuration as they stand there, with empty ones in front where there are fewer with a layer
/// than layers.
pub(super) fn rows_of(config: &ImageConfig) -> Vec<Value> {
    let with_layer = config.history().iter().filter(|row| !row.empty_layer).count();
    let missing = config.diff_ids().len().saturating_sub(with_layer);
    let mut rows = vec![json!({}); missing];
    if let Some(Value::Array(old)) = config.value().get("history") {
        rows.extend(old.iter().cloned());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Limits;

    fn parse(bytes: Vec<u8>) -> ImageConfig {
        ImageConfig::parse(bytes, "config", &Limits::default()).unwrap()
    }

    #[test]
    fn a_first_image_and_one_on_top() {
        let changes = ["CMD [\"/app\"]".to_string(), "LABEL b=2 a=1".to_string()];
        let first = new_config(&NewConfig {
            platform: Some("linux/arm64".parse().unwrap()),
            changes: &changes,
            author: Some("me".into()),
            created: Some(Timestamp::UNIX_EPOCH),
            history: &[History {
                created: Some(Timestamp::UNIX_EPOCH.to_string()),
                created_by: Some("commit".into()),
                author: Some("me".into()),
                ..History::default()
            }],
            layers: &[Digest::of(b"one")],
            ..NewConfig::default()
        })
        .unwrap();
        let expected = format!(
            concat!(
                r#"{{"created":"1970-01-01T00:00:00Z","author":"me","architecture":"arm64","os":"linux","#,
                r#""config":{{"Cmd":["/app"],"Labels":{{"a":"1","b":"2"}}}},"#,
                r#""rootfs":{{"type":"layers","diff_ids":["{}"]}},"#,
                r#""history":[{{"created":"1970-01-01T00:00:00Z","created_by":"commit","author":"me"}}]}}"#
            ),
            Digest::of(b"one")
        );
        assert_eq!(String::from_utf8(first.clone()).unwrap(), expected);
        let base = parse(first);
        let hi = [History { comment: Some("hi".into()), empty_layer: true, ..History::default() }];
        let next = NewConfig { base: Some(&base), history: &hi, ..NewConfig::default() };
        let top = parse(new_config(&next).unwrap());
        assert_eq!(top.diff_ids(), base.diff_ids());
        assert_eq!((top.author(), top.created()), (None, None), "each image has its own author");
        assert_eq!(top.history().len(), 2);
        assert!(top.history()[1].empty_layer);
        let all = [Digest::of(b"all")];
        assert!(new_config(&NewConfig { layers: &all, ..next.clone() }).is_err(), "a layer without a row");
        let hi = [History { empty_layer: false, ..hi[0].clone() }];
        let flat = NewConfig { base: Some(&base), history: &hi, layers: &all, squash: true, ..next };
        let flat = parse(new_config(&flat).unwrap());
        assert_eq!((flat.diff_ids(), flat.history().len()), (&[Digest::of(b"all")][..], 1));
        assert_eq!(flat.run().cmd.as_deref(), Some(&["/app".to_string()][..]));
    }

    #[test]
    fn what_belongs_to_the_base_stays_there_and_the_unknown_goes_along() {
        let text = format!(
            r#"{{"architecture":"aarch64","os":"linux","variant":"v8","created":"2020-01-01T00:00:00Z",
            "container":"abc","container_config":{{}},"docker_version":"1","moby.buildkit.cache.v0":"x",
            "x-vendor":{{"b":1,"a":2}},"config":{{"Hostname":"h","Image":"i","X-Y":7}},
            "rootfs":{{"type":"layers","diff_ids":["{0}","{0}"]}},"history":[{{"empty_layer":true,"x":1}}]}}"#,
            Digest::of(b"")
        );
        let base = parse(text.into_bytes());
        let (rows, top) = ([History::default()], [Digest::of(b"top")]);
        let new = NewConfig { base: Some(&base), history: &rows, layers: &top, ..NewConfig::default() };
        let bytes = new_config(&new).unwrap();
        assert_eq!(bytes, new_config(&new).unwrap());
        let made = parse(bytes);
        let keys: Vec<&str> = made.value().keys().map(String::as_str).collect();
        assert_eq!(keys, ["architecture", "variant", "os", "config", "rootfs", "history", "x-vendor"]);
        assert_eq!(made.value()["architecture"], "aarch64", "the spelling stays");
        assert_eq!(made.value()["config"], json!({ "X-Y": 7 }));
        assert_eq!(made.value()["history"][2], json!({ "empty_layer": true, "x": 1 }));
        assert_eq!(made.history().iter().filter(|row| !row.empty_layer).count(), made.diff_ids().len());
        let other = NewConfig { platform: Some("linux/amd64".parse().unwrap()), ..new };
        let other = parse(new_config(&other).unwrap());
        assert_eq!(other.platform().to_string(), "linux/amd64");
        assert!(!other.value().contains_key("variant"));
    }
}
