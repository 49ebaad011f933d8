//! The state that an instruction starts from and leaves: a stack of layers, a configuration, and the variables in force.

use std::io::Read;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::source::SourceTree;
use crate::dockerfile::{DEFAULT_PATH, Scope};
use crate::error::{Error, Result};
use crate::fs::Kind;
use crate::image::{Image, Layer, Parameters, Platform, Step, StepLayer, chain_id, tree_of};
use crate::progress::Control;
use crate::store::{Store, descriptor_digest};
use crate::tree::Meta;
#[cfg(feature = "sandbox")]
use crate::tree::Snapshot;
use crate::tree::builder::Builder;
use crate::{Digest, ErrorKind};

/// The largest /etc/passwd or /etc/group that names are looked up in, in bytes.
const MAX_NAMES: u64 = 1 << 20;

/// The state of a stage between two instructions.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) base: Option<Arc<Image>>,
    /// All layers, those of the base first.
    pub(super) layers: Vec<Layer>,
    /// The rows of history on top of the base, with the layers of this build.
    pub(super) steps: Vec<Step>,
    pub(super) config: Parameters,
    pub(super) author: Option<String>,
    pub(super) scope: Scope,
    /// The key of the tree so far: of what steps made layers from, whatever the configuration.
    pub(super) key: Digest,
    /// The key of the rows of history so far.
    pub(super) row: Digest,
    /// The keys of all records that it consists of.
    pub(super) records: Vec<Digest>,
    pub(super) platform: Platform,
}

impl State {
    /// Returns the state of `FROM scratch`, as BuildKit starts it.
    pub(super) fn scratch(platform: Platform, escape: char) -> State {
        let config = Map::from_iter([
            ("Env".to_string(), json!([format!("PATH={DEFAULT_PATH}")])),
            ("WorkingDir".to_string(), json!("/")),
        ]);
        State::of(None, Vec::new(), config, platform, escape)
    }

    /// Returns the state of an image.
    pub(super) fn image(image: Image, escape: char) -> State {
        let mut config = match image.config().value().get("config") {
            Some(Value::Object(config)) => config.clone(),
            _ => Map::new(),
        };
        for key in ["Image", "Hostname", "Domainname"] {
            config.shift_remove(key);
        }
        let has_path = |env: &Value| {
            env.as_array().is_some_and(|env| {
                env.iter().any(|item| item.as_str().is_some_and(|item| item.starts_with("PATH=")))
            })
        };
        if !config.get("Env").is_some_and(has_path) {
            let mut env = config.get("Env").and_then(Value::as_array).cloned().unwrap_or_default();
            env.push(json!(format!("PATH={DEFAULT_PATH}")));
            config.insert("Env".into(), Value::Array(env));
        }
        let (platform, layers) = (image.platform(), image.layers().to_vec());
        State::of(Some(Arc::new(image)), layers, config, platform, escape)
    }

    fn of(
        base: Option<Arc<Image>>,
        layers: Vec<Layer>,
        config: Map<String, Value>,
        platform: Platform,
        escape: char,
    ) -> State {
        let mut scope = Scope::new(escape);
        set_environment(&mut scope, config.get("Env"));
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let chain = chain_id(&diff_ids).map(|chain| chain.to_string());
        let key = super::key::of(&json!({ "base": chain, "platform": platform.to_string() }));
        let row = super::key::of(&json!({ "base": base.as_ref().map(|image| image.id().to_string()) }));
        let config = Parameters::new(config);
        let records = Vec::new();
        State { base, layers, steps: Vec::new(), config, author: None, scope, key, row, records, platform }
    }

    /// Returns the state that a stage begins with which is built on the one that ended in this state: as on the image that it would
    /// be. Arguments that were declared are those of the new stage as well (Dockerfile reference, "ARG", "Scope"), and stand behind
    /// the environment.
    pub(super) fn base(mut self) -> State {
        set_environment(&mut self.scope, self.config.get("Env"));
        self.config = Parameters::new(self.config.into_config());
        self
    }

    /// Returns the list of everything in the layers.
    #[cfg(feature = "sandbox")]
    pub(super) fn list(&self, store: &Store, control: &Control) -> Result<Snapshot> {
        list_of_layers(store, &self.layers, control)
    }

    /// Returns the same as a tree to put something into.
    pub(super) fn tree(&self, store: &Store, control: &Control) -> Result<Builder> {
        match self.layers.is_empty() {
            true => Ok(Builder::empty()),
            false => tree_of(store, &self.layers, control),
        }
    }

    /// Adds a row of history, and the layer that goes with it.
    pub(super) fn push(&mut self, step: Step) -> Result<()> {
        self.layers.extend(step.layer.as_ref().map(layer_of).transpose()?);
        self.steps.push(step);
        Ok(())
    }

    /// Returns the layers with one more on top.
    #[cfg(feature = "sandbox")]
    pub(super) fn layers_with(&self, new: &StepLayer) -> Result<Vec<Layer>> {
        let mut layers = self.layers.clone();
        layers.push(layer_of(new)?);
        Ok(layers)
    }

    /// Returns the working directory, absolute.
    pub(super) fn working_dir(&self) -> String {
        match self.config.get("WorkingDir").and_then(Value::as_str) {
            Some(path) if path.starts_with('/') => path.to_string(),
            Some(path) => format!("/{path}"),
            None => "/".into(),
        }
    }

    /// Returns the user that steps run as, if one was named.
    pub(super) fn user(&self) -> Option<&str> {
        self.config.get("User").and_then(Value::as_str).filter(|user| !user.is_empty())
    }

    /// Returns the shell of commands in shell form.
    #[cfg(feature = "sandbox")]
    pub(super) fn shell(&self) -> Vec<String> {
        let shell = self.config.get("Shell").map(list_of).unwrap_or_default();
        if shell.is_empty() { vec!["/bin/sh".into(), "-c".into()] } else { shell }
    }

    /// Resolves `USER[:GROUP]`, numbers or names of the image's own /etc/passwd and /etc/group. Without a group, it is the
    /// number of the user, as Docker has it.
    pub(super) fn owner(&self, text: &str, store: &Store, control: &Control) -> Result<(u32, u32)> {
        const OP: &str = "resolve owner";
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number != u32::MAX);
        let mut files: Option<SourceTree> = None;
        let mut named = |path: &str, name: &str, what: &str| -> Result<(u32, Option<u32>)> {
            if files.is_none() {
                let list = self.tree(store, control)?.finish(None)?;
                files = Some(SourceTree::layers(list, self.layers.clone(), store, "the image".into())?);
            }
            let tree = files.as_mut().expect("made above");
            let text = small_file(tree, path, store, control)?;
            let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let found = lines.find(|fields| fields.first() == Some(&name) && fields.len() > 2);
            let found =
                found.and_then(|fields| Some((number(fields[2])?, fields.get(3).and_then(|g| number(g)))));
            found.ok_or_else(|| {
                Error::not_found(OP, format!("no {what} {name:?} in the image's {path}"))
                    .with_hint("use a number, or add the name in an earlier step")
            })
        };
        let (uid, own) = match number(user) {
            Some(uid) => (uid, None),
            None => named("/etc/passwd", user, "user")?,
        };
        let gid = match group {
            Some(group) => match number(group) {
                Some(gid) => gid,
                None => named("/etc/group", group, "group")?.0,
            },
            None => own.filter(|_| number(user).is_none()).unwrap_or(uid),
        };
        Ok((uid, gid))
    }
}

fn layer_of(StepLayer { diff_id, descriptor }: &StepLayer) -> Result<Layer> {
    let digest = descriptor_digest(descriptor)?;
    Ok(Layer { descriptor: descriptor.clone(), digest, size: descriptor.size(), diff_id: *diff_id })
}

/// Returns the list of everything in some layers.
#[cfg(feature = "sandbox")]
pub(super) fn list_of_layers(store: &Store, layers: &[Layer], control: &Control) -> Result<Snapshot> {
    match layers.is_empty() {
        true => Builder::empty().finish(None),
        false => crate::image::contents_of(store, layers, control),
    }
}

/// Returns the text of a small file of an image; empty when there is none. It is kept in the store by its digest.
fn small_file(tree: &mut SourceTree, path: &str, store: &Store, control: &Control) -> Result<String> {
    let Some(node) = tree.find(path.as_bytes(), control)? else { return Ok(String::new()) };
    let Meta { kind, size, .. } = tree.tree.inode(node).meta;
    if kind != Kind::File {
        return Ok(String::new());
    }
    if size > MAX_NAMES {
        let message = format!("larger than {MAX_NAMES} bytes");
        return Err(Error::new(ErrorKind::Limit, "resolve owner", message).with_path(path));
    }
    tree.hash(&[node], 1, control)?;
    let digest = tree.tree.inode(node).digest;
    let room = super::cache::Room::open(store, "files")?;
    let key = digest.map(Digest::from_bytes);
    let kept = key.and_then(|key| room.read(&key, MAX_NAMES));
    if let Some(bytes) = kept.filter(|bytes| Some(<[u8; 32]>::from(Sha256::digest(bytes))) == digest) {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    tree.fetch(&[node], control)?;
    let mut bytes = Vec::new();
    super::spool::ContentReader::new(tree.content(node)?, size)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io("resolve owner", path, error))?;
    if let Some(key) = key {
        room.write(&key, &bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn set_environment(scope: &mut Scope, env: Option<&Value>) {
    for item in env.map(list_of).unwrap_or_default() {
        if let Some((name, value)) = item.split_once('=') {
            scope.set_env(name, value);
        }
    }
}

fn list_of(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|item| item.as_str().map(String::from)).collect()
}
