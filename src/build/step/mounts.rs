//! `RUN --mount`: mounts of a command for the time it runs, and what is left of them.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::build::agent::Proxy;
use crate::build::cache_mount::{Birth, CacheMount};
use crate::build::key;
use crate::build::layer::Tools;
use crate::build::merge::Merge;
use crate::build::options::{BuildOptions, SecretSource};
use crate::build::pick::{Pick, exactly};
use crate::build::place::Place;
use crate::build::source::SourceTree;
use crate::build::state::State;
use crate::build::work_tree::{WorkTree, write_merge};
use crate::dockerfile::{CacheSharing, Fault, Mount, MountKind, Run, clean};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::root::{is_below, join};
use crate::fs::{Kind, Root, Timestamp};
use crate::hint::Hint;
use crate::progress::Control;
use crate::sandbox::{BindMount, FileMount, MemoryMount, Rung};
use crate::tree::Ledger;
use crate::tree::builder::{Builder, ROOT};
use crate::tree::ledger::Record;

const OP: &str = "mount";
/// The largest secret, in bytes: as in BuildKit.
const MAX_SECRET: u64 = 500 << 10;

/// A mount with its variables replaced.
#[derive(Debug, Clone)]
pub(in crate::build) struct Asked {
    mount: Mount,
    /// Its absolute path; `None` for a secret that is a variable only.
    target: Option<String>,
    /// Its part of the cache key.
    key: Value,
}

/// A function that gives the files of the mount with this number to what is to be done with them.
pub(in crate::build) type Files<'a> =
    dyn FnMut(usize, &mut dyn FnMut(&mut SourceTree, &Pick) -> Result<()>) -> Result<()> + 'a;

/// Returns the mounts of an instruction, in order.
pub(in crate::build) fn resolve(run: &Run, state: &State) -> Result<Vec<Asked>, Fault> {
    let mut agents = 0;
    let expand = |text: &str| state.scope.expand(text);
    run.mounts
        .iter()
        .map(|text| {
            let mount = text.resolve(&expand)?;
            let target = target(&mount, state, &mut agents);
            let key = describe(&mount, target.as_deref());
            Ok(Asked { mount, target, key })
        })
        .collect()
}

fn target(mount: &Mount, state: &State, agents: &mut u32) -> Option<String> {
    let id = mount.id.as_deref().unwrap_or_default();
    let given = match (mount.kind, &mount.target) {
        (_, Some(target)) => target.clone(),
        (MountKind::Secret, None) if mount.env.is_some() => return None,
        (MountKind::Secret, None) => format!("/run/secrets/{}", id.rsplit('/').next().unwrap_or(id)),
        (_, None) => format!("/run/buildkit/ssh_agent.{agents}"),
    };
    *agents += u32::from(mount.kind == MountKind::Ssh);
    let joined = if given.starts_with('/') { given } else { format!("{}/{given}", state.working_dir()) };
    Some(String::from_utf8_lossy(&clean(joined.as_bytes())).into_owned())
}

/// Returns the part of a cache key that depends on a mount by itself: no value of a secret, no content of a cache.
fn describe(mount: &Mount, target: Option<&str>) -> Value {
    let id = mount.id.as_deref().filter(|id| Some(*id) != target);
    let owner = [mount.mode, mount.uid, mount.gid];
    match mount.kind {
        MountKind::Bind => json!(["bind", target, mount.read_only]),
        MountKind::Cache => json!(["cache", target, id, mount.read_only, owner]),
        MountKind::Tmpfs if mount.read_only => json!(["tmpfs", target, mount.size, "read-only"]),
        MountKind::Tmpfs => json!(["tmpfs", target, mount.size]),
        MountKind::Secret => json!(["secret", target, id, mount.env, owner]),
        MountKind::Ssh => json!(["ssh", target, id, owner]),
    }
}

impl Asked {
    /// Returns the stage, image or context that files come from; the main context where that is `Some(None)`.
    pub(in crate::build) fn from(&self) -> Option<Option<&str>> {
        match self.mount.kind {
            MountKind::Bind => Some(self.mount.from.as_deref()),
            MountKind::Cache => self.mount.from.as_deref().map(Some),
            _ => None,
        }
    }

    /// Returns the part of a cache key that depends on the mount.
    pub(in crate::build) fn key(&self) -> &Value {
        &self.key
    }

    /// Returns what the content of a bind mount depends on besides its source; `None` for others, the content of which is
    /// in no key.
    pub(in crate::build) fn definition(&self) -> Option<Value> {
        (self.mount.kind == MountKind::Bind).then(|| json!(self.mount.source))
    }

    /// Puts the content into the key.
    pub(in crate::build) fn set_content(&mut self, content: Value) {
        if let Value::Array(key) = &mut self.key {
            key.push(content);
        }
    }

    /// Finds the files that it shows, and for a bind mount the digest of them all.
    pub(in crate::build) fn find(
        &self,
        source: &mut SourceTree,
        threads: usize,
        control: &Control,
    ) -> Result<(Pick, Option<Value>)> {
        let pick = exactly(source, self.mount.source.as_deref().unwrap_or("/"), control)?;
        if self.mount.kind != MountKind::Bind {
            return Ok((pick, None));
        }
        source.hash(&nodes(&pick), threads, control)?;
        let content = json!(key::of_picks(source, std::slice::from_ref(&pick))?);
        Ok((pick, Some(content)))
    }

    /// Returns the name of a cache.
    fn cache_id(&self, namespace: &str) -> String {
        let id = self.mount.id.as_deref().or(self.target.as_deref()).unwrap_or_default();
        format!("{namespace}\0{id}")
    }
}

/// A place in the tree where something else is shown.
struct Shown {
    /// Its path below the root, without symbolic links.
    at: Vec<u8>,
    cache: Option<CacheMount>,
}

/// The mounts of a command, and what has to be there as long as it runs.
#[derive(Default)]
pub(in crate::build) struct Prepared {
    pub(in crate::build) binds: Vec<BindMount>,
    pub(in crate::build) memory: Vec<MemoryMount>,
    pub(in crate::build) files: Vec<FileMount>,
    /// Variables: secrets, and where an agent is.
    pub(in crate::build) environment: Vec<(String, Vec<u8>)>,
    shown: Vec<Shown>,
    /// The records of the tree itself, by device and inode: which life of that number.
    own: HashMap<(u64, u64), u64>,
    trees: Vec<WorkTree>,
    places: Vec<Place>,
    proxies: Vec<Proxy>,
}

/// The store and the options that mounts are made with.
#[derive(Clone, Copy)]
pub(in crate::build) struct With<'a> {
    pub(in crate::build) options: &'a BuildOptions,
    pub(in crate::build) tools: Tools<'a>,
    /// The namespace that separates the caches of this build from those of others with the same ids.
    pub(in crate::build) namespace: &'a str,
    /// The time of directories that are made.
    pub(in crate::build) now: Timestamp,
}

impl Prepared {
    /// Makes everything ready for a command in this tree.
    pub(in crate::build) fn new(
        asked: &[Asked],
        files: &mut Files<'_>,
        tree: &mut WorkTree,
        with: With<'_>,
    ) -> Result<Prepared> {
        let own = tree.owners.ledger.records().map(|it| ((it.dev, it.ino), it.generation)).collect();
        let mut out = Prepared { own, ..Prepared::default() };
        // Where nothing can be mounted, directories are put into the tree, and no other step can use them in that time.
        let put = with.options.rung == Some(Rung::Chroot) || crate::sandbox::cannot_mount();
        // Nor where owners are on the disk for the time of one command.
        let alone = put || with.options.rung == Some(Rung::Ids);
        // In the order of their ids, so that no two commands wait for each other.
        let mut order: Vec<usize> = (0..asked.len()).collect();
        order.sort_by_key(|at| (asked[*at].mount.kind == MountKind::Cache, asked[*at].cache_id("")));
        // The second one would wait for the first one, which is let go at the end of the command.
        for pair in order.windows(2) {
            let [one, other] = [&asked[pair[0]], &asked[pair[1]]];
            let both = one.mount.kind == MountKind::Cache && other.mount.kind == MountKind::Cache;
            let locked = |it: &Asked| it.mount.sharing == CacheSharing::Locked;
            let waits = match alone {
                true => {
                    one.mount.sharing != CacheSharing::Private || other.mount.sharing != CacheSharing::Private
                }
                false => locked(one) || locked(other),
            };
            if both && waits && one.cache_id("") == other.cache_id("") {
                let message = "one command cannot have this cache in two places: it is locked";
                let target = other.target.as_deref().unwrap_or_default();
                return Err(Error::invalid(OP, message)
                    .with_path(target)
                    .with_hint("give one of them another id"));
            }
        }
        for at in order {
            let Asked { mount, target, .. } = &asked[at];
            let mut files = |work: &mut dyn FnMut(&mut SourceTree, &Pick) -> Result<()>| files(at, work);
            match (mount.kind, target) {
                (MountKind::Bind, Some(target)) => out.bind(mount, target, &mut files, tree, with)?,
                (MountKind::Cache, Some(target)) => {
                    let id = asked[at].cache_id(with.namespace);
                    out.cache(mount, target, &id, alone, &mut files, tree, with)?;
                }
                (MountKind::Tmpfs, Some(target)) => out.memory(mount, target, put, tree, with)?,
                (MountKind::Ssh, Some(target)) => out.agent(mount, target, tree, with)?,
                (MountKind::Secret, target) => out.secret(mount, target.as_deref(), with.options)?,
                _ => {}
            }
        }
        Ok(out)
    }

    /// Takes out of the tree's ledger what is not the tree's, and keeps what caches have of it.
    pub(in crate::build) fn leave(self, tree: &mut WorkTree) -> Result<()> {
        let ledger = &mut tree.owners.ledger;
        let mut found: Vec<Vec<Record>> = self.shown.iter().map(|_| Vec::new()).collect();
        for record in ledger.records() {
            // What a mount hides is at the same path, and stays.
            if self.own.get(&(record.dev, record.ino)) == Some(&record.generation) {
                continue;
            }
            let inside = self.shown.iter().enumerate().filter(|(_, shown)| is_below(&record.path, &shown.at));
            if let Some((number, _)) = inside.max_by_key(|(_, shown)| shown.at.len()) {
                found[number].push(record.clone());
            }
        }
        for record in found.iter().flatten() {
            ledger.take(record.dev, record.ino);
        }
        let mut result = Ok(());
        for (Shown { at, cache }, found) in self.shown.into_iter().zip(found) {
            if let Some(cache) = cache {
                result = result.and(cache.leave(found, &at));
            }
        }
        result
    }

    /// Shows something at a place of the tree; what is known of its files is part of the tree's ledger then.
    fn show(
        &mut self,
        bind: BindMount,
        records: &Ledger,
        cache: Option<CacheMount>,
        tree: &mut WorkTree,
    ) -> Result<()> {
        let target = bind.target.strip_prefix(b"/").unwrap_or(&bind.target);
        let at = tree.root.real_path(target).map_err(|error| Error::io(OP, &*bind.target, error))?;
        for record in records.records() {
            tree.owners.ledger.insert(Record { path: join(&at, &record.path), ..record.clone() });
        }
        self.shown.push(Shown { at, cache });
        self.binds.push(bind);
        Ok(())
    }

    fn bind(
        &mut self,
        mount: &Mount,
        target: &str,
        files: &mut OneOf<'_>,
        tree: &mut WorkTree,
        with: With<'_>,
    ) -> Result<()> {
        let mut made = None;
        files(&mut |source, pick| {
            made = Some(materialise(source, pick, with)?);
            Ok(())
        })?;
        let Some((shown, name)) = made else {
            return Err(Error::new(ErrorKind::Internal, OP, "a mount without files").with_path(target));
        };
        let source = match name {
            None => shown.root.path().to_path_buf(),
            Some(name) => shown.root.path().join(name),
        };
        let (target, read_only) = (target.as_bytes().to_vec(), mount.read_only);
        let bind = BindMount { source, target, read_only, private: true };
        self.show(bind, &shown.owners.ledger, None, tree)?;
        self.trees.push(shown);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn cache(
        &mut self,
        mount: &Mount,
        target: &str,
        id: &str,
        alone: bool,
        files: &mut OneOf<'_>,
        tree: &mut WorkTree,
        with: With<'_>,
    ) -> Result<()> {
        let birth = Birth {
            mode: mount.mode.unwrap_or(0o755),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        };
        let mut fill = |root: &Root| -> Result<Ledger> {
            let mut ledger = Ledger::default();
            if mount.from.is_some() {
                files(&mut |source, pick| {
                    let (merge, _) = merged(source, pick, with)?;
                    ledger = write_merge(merge, root, with.tools)?.ledger;
                    Ok(())
                })?;
            }
            Ok(ledger)
        };
        let Tools { store, control, .. } = with.tools;
        let cache = CacheMount::open(store, id, mount.sharing, alone, birth, control, &mut fill)?;
        let bind = BindMount {
            source: cache.path().clone(),
            target: target.as_bytes().to_vec(),
            read_only: mount.read_only,
            private: alone,
        };
        let records = cache.records().clone();
        self.show(bind, &records, Some(cache), tree)
    }

    fn memory(
        &mut self,
        mount: &Mount,
        target: &str,
        put: bool,
        tree: &mut WorkTree,
        with: With<'_>,
    ) -> Result<()> {
        let (target, size) = (target.as_bytes().to_vec(), mount.size);
        let read_only = mount.read_only;
        if (put || with.options.rung.is_some_and(Rung::serves)) && size == 0 || read_only {
            // A directory that goes with the step says the same, and nothing is written to one that is read-only.
            let (place, root) = Place::new(with.tools.store)?;
            rustix::fs::fchmod(&root, rustix::fs::Mode::from_raw_mode(0o1777))
                .map_err(|error| Error::io(OP, root.describe(b""), error))?;
            let source = place.path().to_path_buf();
            let bind = BindMount { source, target, read_only, private: true };
            self.show(bind, &Ledger::default(), None, tree)?;
            self.places.push(place);
            return Ok(());
        }
        self.memory.push(MemoryMount { target, size, mode: None, no_programs: false });
        Ok(())
    }

    fn secret(&mut self, mount: &Mount, target: Option<&str>, options: &BuildOptions) -> Result<()> {
        let id = mount.id.as_deref().unwrap_or_default();
        let Some(secret) = options.secrets.iter().rev().find(|secret| secret.id == id) else {
            if mount.required {
                return Err(Error::not_found(OP, format!("the secret {id} is required, and was not given"))
                    .with_hint(Hint::GiveSecret { id: id.into() }));
            }
            return Ok(());
        };
        let content = read_secret(id, &secret.source)?;
        if let Some(name) = &mount.env {
            if content.contains(&0) {
                let message = format!("the secret {id} has a NUL, which no variable can hold");
                return Err(Error::invalid(OP, message));
            }
            self.environment.push((name.clone(), content.clone()));
        }
        let Some(target) = target else { return Ok(()) };
        self.files.push(FileMount {
            target: target.as_bytes().to_vec(),
            content,
            mode: mount.mode.unwrap_or(0o400),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            program: false,
            secret: true,
        });
        Ok(())
    }

    fn agent(&mut self, mount: &Mount, target: &str, tree: &mut WorkTree, with: With<'_>) -> Result<()> {
        let id = mount.id.as_deref().unwrap_or("default");
        let Some(agent) = with.options.agents.iter().rev().find(|agent| agent.id == id) else {
            if mount.required {
                return Err(Error::not_found(OP, format!("the agent {id} is required, and was not given"))
                    .with_hint(Hint::GiveAgent { id: id.into() }));
            }
            return Ok(());
        };
        let owner = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        let proxy = Proxy::new(with.tools.store, &agent.socket, mount.mode.unwrap_or(0o600), owner)?;
        let target = target.as_bytes().to_vec();
        if !self.environment.iter().any(|(name, _)| name == "SSH_AUTH_SOCK") {
            self.environment.push(("SSH_AUTH_SOCK".into(), target.clone()));
        }
        let mut records = Ledger::default();
        proxy.record.iter().for_each(|record| records.insert(record.clone()));
        let bind = BindMount { source: proxy.path(), target, read_only: false, private: true };
        self.show(bind, &records, None, tree)?;
        self.proxies.push(proxy);
        Ok(())
    }
}

/// A function that gives the files of one mount to what is to be done with them.
type OneOf<'a> = dyn FnMut(&mut dyn FnMut(&mut SourceTree, &Pick) -> Result<()>) -> Result<()> + 'a;

fn nodes(pick: &Pick) -> Vec<u32> {
    std::iter::once(pick.node).chain(pick.below.iter().map(|(_, node)| *node)).collect()
}

/// The name of a file that is shown alone, in its directory.
const NAME: &str = "file";

/// Writes the files of a mount to a directory of its own. Gives the name in it where the mount is of one file.
fn materialise(
    source: &mut SourceTree,
    pick: &Pick,
    with: With<'_>,
) -> Result<(WorkTree, Option<&'static str>)> {
    if let (ROOT, Some(layers)) = (pick.node, source.whole()) {
        return Ok((WorkTree::make(layers, with.tools)?, None));
    }
    let (merge, name) = merged(source, pick, with)?;
    let mut tree = WorkTree::of_merge(merge, with.tools)?;
    if let Some(name) = name {
        // Their paths are those of what is shown.
        let mut ledger = Ledger::default();
        for record in tree.owners.ledger.records().filter(|record| record.path == name.as_bytes()) {
            ledger.insert(Record { path: Vec::new(), ..record.clone() });
        }
        tree.owners.ledger = ledger;
    }
    Ok((tree, name))
}

/// Returns the list of the files of a mount. Gives the name where it is of one file.
fn merged(source: &mut SourceTree, pick: &Pick, with: With<'_>) -> Result<(Merge, Option<&'static str>)> {
    let control = with.tools.control;
    source.fetch(&nodes(pick), control)?;
    let mut merge = Merge::new(Builder::empty(), with.now);
    if source.tree.kind(pick.node) == Kind::Directory {
        merge.become_directory(source, pick.node);
        merge.copy(source, std::slice::from_ref(pick), b"/")?;
        return Ok((merge, None));
    }
    let pick = Pick { name: NAME.into(), ..pick.clone() };
    merge.copy(source, &[pick], b"/")?;
    Ok((merge, Some(NAME)))
}

/// Returns the value of a secret. No message has it.
pub(in crate::build) fn read_secret(id: &str, source: &SecretSource) -> Result<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    let content = match source {
        SecretSource::File(path) => crate::fs::root::read_small_file(path, MAX_SECRET)
            .map_err(|error| Error::io("read secret", path.as_os_str().as_encoded_bytes(), error))?,
        SecretSource::Variable(name) => {
            std::env::var_os(name).map(OsStringExt::into_vec).ok_or_else(|| {
                Error::not_found("read secret", format!("the variable {name} of the secret {id} is not set"))
            })?
        }
        SecretSource::Value(value) => value.clone(),
    };
    match content.len() as u64 > MAX_SECRET {
        true => {
            Err(Error::limit("read secret", format!("the secret {id} is larger than {MAX_SECRET} bytes")))
        }
        false => Ok(content),
    }
}
