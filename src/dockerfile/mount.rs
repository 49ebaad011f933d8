//! `RUN --mount`: its keys, and what they ask for.

use super::source::{Fault, nearest};

/// The text of a mount, cut into keys and values; variables are replaced when the step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountText(Vec<(String, Option<String>)>);

/// A mount of a RUN step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: MountKind,
    /// The path that it appears at; `None` for a secret that is only an environment variable, or has the default place.
    pub(crate) target: Option<String>,
    /// A path in what `from` names.
    pub(crate) source: Option<String>,
    /// A stage, an image or a context; the build's own context where a bind mount names none.
    pub(crate) from: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) id: Option<String>,
    pub(crate) sharing: CacheSharing,
    pub(crate) required: bool,
    /// Bytes, for tmpfs; 0 for no limit.
    pub(crate) size: u64,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// The environment variable that gets a secret: its name, or the secret's id where the key has no value.
    pub(crate) env: Option<String>,
}

/// The kinds of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// The sharing of a cache mount by steps that run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CacheSharing {
    /// All use one directory at once.
    #[default]
    Shared,
    /// Each step has a directory of its own.
    Private,
    /// A step waits for the other.
    Locked,
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
];

/// Cuts a mount into its keys, and checks all values that hold no variable.
pub(crate) fn parse_text(text: &str) -> Result<MountText, Fault> {
    let mut pairs = Vec::new();
    for field in fields(text)? {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(k, v)| (k, Some(v)));
        let key = key.to_ascii_lowercase();
        if !KEYS.contains(&key.as_str()) {
            let fault = Fault::new(format!("--mount has no key {key:?}"));
            return Err(match nearest(&key, KEYS) {
                Some(near) => fault.with_hint(format!("did you mean {near}?")),
                None => fault.with_hint(format!("one of: {}", KEYS.join(", "))),
            });
        }
        if key == "from" && value.is_some_and(|value| value.contains('$')) {
            return Err(Fault::new("the mount key from does not replace variables")
                .with_hint("name the image in a stage of its own: FROM …$VERSION AS name"));
        }
        pairs.push((key, value.map(String::from)));
    }
    let text = MountText(pairs);
    if !text.0.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.contains('$'))) {
        text.resolve(&|value| Ok(value.to_string()))?;
    }
    Ok(text)
}

/// Returns a line of comma-separated values: a field in double quotes may hold commas, and quotes that are doubled.
fn fields(text: &str) -> Result<Vec<String>, Fault> {
    let mut out = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let last = out.last_mut().expect("never empty");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                last.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if last.is_empty() => quoted = true,
            ',' if !quoted => out.push(String::new()),
            c => last.push(c),
        }
    }
    match quoted {
        true => Err(Fault::new("a quote in --mount is not closed")),
        false => Ok(out),
    }
}

impl MountText {
    /// Returns the values, in which variables are replaced.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(_, value)| value.as_deref())
    }

    /// Returns the stage, image or context that it names.
    pub(crate) fn from(&self) -> Option<String> {
        self.0.iter().rev().find(|(key, _)| key == "from").and_then(|(_, value)| value.clone())
    }

    /// Returns the mount, its values expanded.
    pub(crate) fn resolve(&self, expand: &dyn Fn(&str) -> Result<String, Fault>) -> Result<Mount, Fault> {
        let mut given = Vec::new();
        for (key, value) in &self.0 {
            given.push((key.as_str(), value.as_deref().map(expand).transpose()?));
        }
        let named = given.iter().find(|(key, _)| *key == "type");
        let named = named.map(|(_, value)| value.as_deref().unwrap_or_default().to_ascii_lowercase());
        let kind = match named.as_deref() {
            None | Some("bind") => MountKind::Bind,
            Some("cache") => MountKind::Cache,
            Some("tmpfs") => MountKind::Tmpfs,
            Some("secret") => MountKind::Secret,
            Some("ssh") => MountKind::Ssh,
            Some(other) => {
                return Err(Fault::new(format!("--mount has no type {other:?}"))
                    .with_hint("one of: bind, cache, tmpfs, secret, ssh"));
            }
        };
        let mut mount = Mount {
            kind,
            target: None,
            source: None,
            from: None,
            read_only: kind == MountKind::Bind,
            id: None,
            sharing: CacheSharing::default(),
            required: false,
            size: 0,
            mode: None,
            uid: None,
            gid: None,
            env: None,
        };
        for (key, value) in given {
            if !kind.takes(key) {
                return Err(Fault::new(format!("a {} mount has no key {key}", kind.name())));
            }
            mount.set(key, value)?;
        }
        mount.check()?;
        Ok(mount)
    }
}

impl MountKind {
    fn name(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Cache => "cache",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Secret => "secret",
            MountKind::Ssh => "ssh",
        }
    }

    fn takes(self, key: &str) -> bool {
        let known: &[&str] = match self {
            MountKind::Bind => &["from", "source", "src"],
            MountKind::Cache => &["from", "source", "src", "sharing", "mode", "uid", "gid"],
            MountKind::Tmpfs => &["size"],
            MountKind::Secret => &["source", "src", "required", "mode", "uid", "gid", "env"],
            MountKind::Ssh => &["source", "src", "required", "mode", "uid", "gid"],
        };
        // As BuildKit has it, where some of these change nothing.
        let always = ["type", "target", "dst", "destination", "readonly", "ro", "readwrite", "rw", "id"];
        always.contains(&key) || known.contains(&key)
    }
}

impl Mount {
    fn set(&mut self, key: &str, value: Option<String>) -> Result<(), Fault> {
        let switch = |value: &Option<String>| match value.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "1" | "t") => Ok(true),
            Some("false" | "0" | "f") => Ok(false),
            Some(other) => Err(Fault::new(format!("{key} takes true or false, not {other:?}"))),
        };
        let text = |value: Option<String>| {
            let missing = || Fault::new(format!("the mount key {key} needs a value"));
            value.filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        match key {
            "type" => {}
            "from" => self.from = Some(text(value)?),
            // A secret or a socket is named by its id.
            "source" | "src" if matches!(self.kind, MountKind::Secret | MountKind::Ssh) => {
                self.id = Some(text(value)?)
            }
            "source" | "src" => self.source = Some(text(value)?),
            "target" | "dst" | "destination" => self.target = Some(text(value)?),
            "readonly" | "ro" => self.read_only = switch(&value)?,
            "readwrite" | "rw" => self.read_only = !switch(&value)?,
            "required" => self.required = switch(&value)?,
            "size" => self.size = size(&text(value)?)?,
            "id" if matches!(self.kind, MountKind::Bind | MountKind::Tmpfs) => drop(text(value)?),
            "id" => self.id = Some(text(value)?),
            "sharing" => {
                self.sharing = match text(value)?.to_ascii_lowercase().as_str() {
                    "shared" => CacheSharing::Shared,
                    "private" => CacheSharing::Private,
                    "locked" => CacheSharing::Locked,
                    other => {
                        let message = format!("sharing takes shared, private or locked, not {other:?}");
                        return Err(Fault::new(message));
                    }
                }
            }
            "mode" => {
                let text = text(value)?;
                let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
                self.mode = Some(
                    mode.ok_or_else(|| Fault::new(format!("mode takes an octal number, not {text:?}")))?,
                );
            }
            "uid" => self.uid = Some(number(key, &text(value)?)?),
            "gid" => self.gid = Some(number(key, &text(value)?)?),
            "env" => self.env = Some(text(value)?),
            _ => return Err(Fault::new(format!("--mount has no key {key:?}"))),
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Fault> {
        let needs_target = matches!(self.kind, MountKind::Bind | MountKind::Cache | MountKind::Tmpfs);
        if needs_target && self.target.is_none() {
            return Err(Fault::new(format!("a {} mount needs a target", self.kind.name())));
        }
        if self.target.as_deref().is_some_and(|target| !target.is_empty() && clean_is_root(target)) {
            return Err(Fault::new("a mount cannot have / as its target"));
        }
        if self.kind == MountKind::Secret && self.id.is_none() {
            let target = self.target.as_deref().and_then(|target| target.rsplit('/').next());
            let name = target.map(String::from).or_else(|| self.env.clone());
            self.id = Some(name.ok_or_else(|| Fault::new("a secret mount needs an id or a target"))?);
        }
        Ok(())
    }
}

fn clean_is_root(target: &str) -> bool {
    target.starts_with('/') && super::clean(target.as_bytes()) == b"/"
}

fn number(key: &str, text: &str) -> Result<u32, Fault> {
    let number = text.parse::<u32>().ok().filter(|number| *number != u32::MAX);
    number.ok_or_else(|| Fault::new(format!("{key} takes a number, not {text:?}")))
}

/// Returns a number of bytes with an optional unit of 1024: `64m`, `1GiB`.
fn size(text: &str) -> Result<u64, Fault> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        "t" | "tb" | "tib" => Some(40),
        _ => None,
    };
    let bytes = shift.and_then(|shift| text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift));
    bytes.ok_or_else(|| Fault::new(format!("{text:?} is not a size such as 64m or 1g")))
}
