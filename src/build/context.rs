//! The inputs of a build: the main context, named contexts, the Dockerfile and the ignore files.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::address::{Elsewhere, Fact};
use super::cache::Room;
use super::options::BuildOptions;
use super::source::SourceTree;
use super::spool::{ContentReader, read_tar};
use crate::Digest;
use crate::archive::{LoadOptions, load, open_layout};
use crate::dockerfile::{GitSource, Ignore, is_address};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::input::Input;
use crate::fs::root::open_given;
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Root};
use crate::hint::Hint;
use crate::image::{Loaded, NamePolicy};
use crate::progress::Control;
use crate::store::{Reference, Store};
use crate::threads::lock;
use crate::tree::Meta;
use crate::tree::Snapshot;
use crate::tree::builder::{Builder, Inode, ROOT};

const OP: &str = "read build context";
/// Largest Dockerfile and ignore file that are read, in bytes. The parsers have caps of their own below it.
const MAX_FILE: u64 = (16 << 20) + 1;

/// The source of the files to build from.
#[derive(Debug, Clone, Default)]
pub enum ContextSource {
    /// No files at all: a Dockerfile alone.
    #[default]
    Empty,
    /// A directory.
    Directory(PathBuf),
    /// A tar, compressed or not, or a Dockerfile without a context, as it comes on standard input.
    Stream(Arc<File>),
    /// A git repository, as `https://host.example/project.git#REF:DIR`, or a tar or a Dockerfile at an address.
    Address(String),
}

/// The source of the Dockerfile.
#[derive(Debug, Clone, Default)]
pub enum DockerfileSource {
    /// `Dockerfile` in the context.
    #[default]
    Default,
    /// A file at a path of the machine; of a tar, a path within it.
    Path(PathBuf),
    /// A text.
    Text(Vec<u8>),
    /// A stream, such as standard input.
    Stream(Arc<File>),
}

/// A tree that stages copy from, one at a time.
pub(super) type Shared = Arc<Mutex<SourceTree>>;

/// The opened contexts of a build. All of its stages use them.
#[derive(Debug)]
pub(super) struct Contexts {
    store: Store,
    main: Shared,
    /// Under which key the list of hashed files is kept.
    main_key: Option<Digest>,
    /// The named contexts, by what [`known_as`] says of their names.
    named: Vec<(String, String)>,
    opened: Mutex<HashMap<String, (Shared, Option<Digest>)>>,
    /// The digests of images that were taken out of layouts, by what names them.
    layouts: Mutex<HashMap<String, String>>,
    /// The digest of what the address of the main one gave, and those of all addresses.
    fact: Option<Fact>,
    facts: Mutex<BTreeSet<Fact>>,
    pub(super) dockerfile_name: Vec<u8>,
    pub(super) dockerfile: Vec<u8>,
}

impl Contexts {
    pub(super) fn open(elsewhere: Elsewhere<'_>) -> Result<Contexts> {
        let Elsewhere { store, options, control } = elsewhere;
        let BuildOptions { context, dockerfile, named_contexts: named, .. } = options;
        let given = match dockerfile {
            DockerfileSource::Text(text) => Some((b"Dockerfile".to_vec(), text.clone(), None)),
            DockerfileSource::Stream(file) => {
                Some((b"Dockerfile".to_vec(), read_stream(file, b"Dockerfile", control)?, None))
            }
            DockerfileSource::Path(path)
                if !matches!(context, ContextSource::Stream(_) | ContextSource::Address(_)) =>
            {
                Some((bytes(path), read_given(path)?, Some(path.clone())))
            }
            _ => None,
        };
        let mut fact = None;
        let (main, main_key, (name, text)) = match context {
            ContextSource::Empty => {
                let (name, text, _) =
                    given.ok_or_else(|| Error::invalid(OP, "neither a context nor a Dockerfile"))?;
                (empty(store)?, None, (name, text))
            }
            ContextSource::Directory(path) => {
                let (name, text, at) = match given {
                    Some(given) => given,
                    None => default_dockerfile(path)?,
                };
                let ignore = ignore_file(path, at.as_deref())?;
                let (tree, key) = directory(store, path, ignore)?;
                (tree, Some(key), (name, text))
            }
            ContextSource::Stream(file) => {
                stream(store, file, "-", given.map(|(n, t, _)| (n, t)), dockerfile, control)?
            }
            ContextSource::Address(address) => {
                let given = given.map(|(name, text, _)| (name, text));
                match GitSource::parse(address, true)
                    .map_err(|fault| fault.argument(OP).with_path(address))?
                {
                    Some(source) => {
                        let (mut tree, found) = elsewhere.tree(&source)?;
                        fact = Some(found);
                        tree.list_all(ROOT, control)?;
                        let file = inside(&mut tree, given, dockerfile, control)?;
                        (tree, None, file)
                    }
                    None => {
                        let (file, found) = elsewhere.stream(address)?;
                        fact = Some(found);
                        stream(store, &file, address, given, dockerfile, control)?
                    }
                }
            }
        };
        Ok(Contexts {
            store: store.clone(),
            main: Arc::new(Mutex::new(main)),
            main_key,
            named: named.iter().map(|(name, value)| (known_as(name), value.clone())).collect(),
            opened: Mutex::default(),
            layouts: Mutex::default(),
            facts: Mutex::new(fact.iter().cloned().collect()),
            fact,
            dockerfile_name: name,
            dockerfile: text,
        })
    }

    pub(super) fn main(&self) -> &Shared {
        &self.main
    }

    /// Returns the digest of what the address of the main context gave.
    pub(super) fn fact(&self) -> Option<&Fact> {
        self.fact.as_ref()
    }

    /// Returns the time of a main context from an address, in seconds since 1970: that of the commit, which all files of a repository
    /// have, or of the newest file of a tar.
    pub(super) fn time(&self) -> Option<i64> {
        self.fact.as_ref()?;
        let main = lock(&self.main);
        let mut todo: Vec<u32> = vec![ROOT];
        let mut newest = None;
        while let Some(node) = todo.pop() {
            for (_, child) in main.tree.children(node) {
                newest = newest.max(Some(main.tree.inode(child).meta.mtime.secs));
                todo.push(child);
            }
        }
        newest
    }

    /// Returns the digests of what addresses gave.
    pub(super) fn facts(&self) -> BTreeSet<Fact> {
        lock(&self.facts).clone()
    }

    /// Returns the text that a named context stands for. `scratch` is never one.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        if self.named.is_empty() || name.eq_ignore_ascii_case("scratch") {
            return None;
        }
        let name = known_as(name);
        let found = self.named.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the image that a named context stands for: `docker-image://NAME` or `oci-layout://DIR`.
    pub(super) fn image(&self, name: &str, control: &Control) -> Result<Option<String>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        if let Some(image) = value.strip_prefix("docker-image://") {
            return Ok(Some(image.into()));
        }
        if let Some(layout) = value.strip_prefix("oci-layout://") {
            let mut layouts = lock(&self.layouts);
            if let Some(digest) = layouts.get(layout) {
                return Ok(Some(digest.clone()));
            }
            let digest = from_layout(&self.store, layout, control)?;
            layouts.insert(layout.into(), digest.clone());
            return Ok(Some(digest));
        }
        match value.contains("://") && !is_address(value) {
            true => Err(Error::new(
                ErrorKind::Unsupported,
                OP,
                format!("contexts such as {value} are not supported"),
            )
            .with_path(name)
            .with_hint("a directory, docker-image://NAME, oci-layout://DIR, or an address")),
            false => Ok(None),
        }
    }

    /// Returns whether a name stands for a context with files.
    pub(super) fn has_files(&self, name: &str, control: &Control) -> Result<bool> {
        Ok(self.image(name, control)?.is_none() && self.value(name).is_some())
    }

    /// Returns a named context that has files.
    pub(super) fn files(&self, name: &str, elsewhere: Elsewhere<'_>) -> Result<Option<Shared>> {
        let control = elsewhere.control;
        if self.image(name, control)?.is_some() {
            return Ok(None);
        }
        let Some(value) = self.value(name) else { return Ok(None) };
        let mut opened = lock(&self.opened);
        let key = known_as(name);
        if let Some((tree, _)) = opened.get(&key) {
            return Ok(Some(tree.clone()));
        }
        let source = GitSource::parse(value, true).map_err(|fault| fault.argument(OP).with_path(value))?;
        let (mut tree, at) = match source {
            Some(source) => {
                let (tree, fact) = elsewhere.tree(&source)?;
                self.note(fact);
                (tree, None)
            }
            None if is_address(value) => {
                let (file, fact) = elsewhere.stream(value)?;
                self.note(fact);
                let file = file.try_clone().at(OP, value)?;
                (read_tar(&self.store, Box::new(file), value, control)?, None)
            }
            None => {
                let path = PathBuf::from(value);
                let (tree, at) = directory(&self.store, &path, ignore_file(&path, None)?)?;
                (tree, Some(at))
            }
        };
        if at.is_none() {
            tree.list_all(ROOT, control)?;
            ignored_inside(&mut tree, b"", control)?;
        }
        let tree = Arc::new(Mutex::new(tree));
        opened.insert(key, (tree.clone(), at));
        Ok(Some(tree))
    }

    fn note(&self, fact: Fact) {
        lock(&self.facts).insert(fact);
    }

    /// Keeps the digests of files for the next build.
    pub(super) fn keep(&self) -> Result<()> {
        let room = Room::open(&self.store, "contexts")?;
        let main = (self.main.clone(), self.main_key);
        let opened = lock(&self.opened);
        for (tree, key) in std::iter::once(main).chain(opened.values().cloned()) {
            if let (Some(key), Some(list)) = (key, lock(&tree).to_keep()?) {
                room.write(&key, list.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Returns what a name of a context is compared by: an image's name without what goes without saying (`alpine` for
/// `docker.io/library/alpine:latest`), as BuildKit has it; of another text the lower case.
fn known_as(name: &str) -> String {
    match Reference::parse(name) {
        Ok(reference) => {
            let familiar = reference.to_string();
            familiar.strip_suffix(":latest").unwrap_or(&familiar).into()
        }
        Err(_) => name.to_ascii_lowercase(),
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn directory(store: &Store, path: &Path, ignore: Ignore) -> Result<(SourceTree, Digest)> {
    let root = Root::open(path)?;
    let stat = stat_fd(&root).at(OP, bytes(path))?;
    let key = Digest::of(format!("context {} {} {:?}", stat.dev, stat.ino, stat.btime).as_bytes());
    let previous = Room::open(store, "contexts")?.open_file(&key).and_then(|file| Snapshot::map(file).ok());
    let own = stat_fd(store.dir()).at(OP, bytes(store.root_path()))?;
    let tree = SourceTree::directory(Arc::new(root), ignore, Some((own.dev, own.ino)), previous)?;
    Ok((tree, key))
}

fn empty(store: &Store) -> Result<SourceTree> {
    let spool = super::spool::Spool::new(store)?;
    let tree = Builder::new(Inode::new(Meta::directory()));
    Ok(SourceTree::spooled(tree, spool, HashMap::new(), "the empty context".into()))
}

fn read_given(path: &Path) -> Result<Vec<u8>> {
    let file = open_given(path).at("read file", bytes(path))?;
    if stat_fd(&file).at("read file", bytes(path))?.kind == Kind::Directory {
        return Err(Error::invalid("read file", "this is a directory").with_path(bytes(path)));
    }
    let mut out = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut out).at("read file", bytes(path))?;
    Ok(out)
}

fn read_stream(file: &File, name: &[u8], control: &Control) -> Result<Vec<u8>> {
    let fd: OwnedFd = file.try_clone().at("read file", name)?.into();
    let mut out = Vec::new();
    Input::new(fd, control.cancel.clone()).take(MAX_FILE).read_to_end(&mut out).at("read file", name)?;
    Ok(out)
}

/// Reads `Dockerfile`, else `dockerfile`, in a directory.
fn default_dockerfile(context: &Path) -> Result<(Vec<u8>, Vec<u8>, Option<PathBuf>)> {
    let mut missing = None;
    for name in ["Dockerfile", "dockerfile"] {
        let path = context.join(name);
        match read_given(&path) {
            Ok(text) => return Ok((name.as_bytes().to_vec(), text, Some(path))),
            Err(error) if error.kind() == ErrorKind::NotFound => drop(missing.get_or_insert(error)),
            Err(error) => return Err(error),
        }
    }
    Err(missing.expect("both are missing").with_hint(Hint::NameDockerfile))
}

/// Reads `<Dockerfile>.dockerignore` beside the Dockerfile, else `.dockerignore` of the context.
fn ignore_file(context: &Path, dockerfile: Option<&Path>) -> Result<Ignore> {
    let beside = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_os_string();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in beside.into_iter().chain([context.join(".dockerignore")]) {
        match read_given(&path) {
            Ok(text) => return Ignore::parse(&bytes(&path), &text),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Ignore::default())
}

/// Reads a stream: a tar of the context, or a Dockerfile alone.
fn stream(
    store: &Store,
    file: &File,
    shown: &str,
    given: Option<(Vec<u8>, Vec<u8>)>,
    dockerfile: &DockerfileSource,
    control: &Control,
) -> Result<(SourceTree, Option<Digest>, (Vec<u8>, Vec<u8>))> {
    let fd: OwnedFd = file.try_clone().at(OP, shown)?.into();
    let mut input = Input::new(fd, control.cancel.clone());
    let mut head = Vec::new();
    input.by_ref().take(1024).read_to_end(&mut head).at(OP, shown)?;
    let is_tar = crate::compress::foreign_name(&head).is_some()
        || crate::compress::detect_supported(&head)? != crate::compress::Compression::None
        || head.get(257..262) == Some(b"ustar")
        || head.first_chunk().is_some_and(crate::layer::read::is_header);
    if !is_tar {
        if given.is_some() || matches!(dockerfile, DockerfileSource::Path(_)) {
            return Err(Error::invalid(OP, "this is not a tar of a context").with_path(shown));
        }
        let mut text = head;
        input.take(MAX_FILE).read_to_end(&mut text).at(OP, shown)?;
        return Ok((empty(store)?, None, (b"Dockerfile".to_vec(), text)));
    }
    let whole = std::io::Cursor::new(head).chain(input);
    let mut tree = read_tar(store, Box::new(whole), shown, control)?;
    let file = inside(&mut tree, given, dockerfile, control)?;
    Ok((tree, None, file))
}

/// Returns the Dockerfile of a tree that is there as a whole, where none was given. What the tree's ignore file leaves out
/// goes.
fn inside(
    tree: &mut SourceTree,
    given: Option<(Vec<u8>, Vec<u8>)>,
    dockerfile: &DockerfileSource,
    control: &Control,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let (name, text) = match given {
        Some(given) => given,
        None => {
            let wanted = match dockerfile {
                DockerfileSource::Path(path) => bytes(path),
                _ => b"Dockerfile".to_vec(),
            };
            let text = file_in(tree, &wanted, control)?.ok_or_else(|| {
                Error::not_found(OP, "not in the context").with_path(&wanted).with_hint(Hint::NameDockerfile)
            })?;
            (wanted, text)
        }
    };
    ignored_inside(tree, &name, control)?;
    Ok((name, text))
}

/// Takes out what the ignore file of a tree leaves out: that of a Dockerfile with this name, else that of all.
fn ignored_inside(tree: &mut SourceTree, dockerfile: &[u8], control: &Control) -> Result<()> {
    let own = [dockerfile, b".dockerignore"].concat();
    for path in [&own[..], b".dockerignore"] {
        if let Some(text) = file_in(tree, path, control)? {
            tree.leave_out(&Ignore::parse(path, &text)?);
            break;
        }
    }
    Ok(())
}

/// Takes an image out of a layout, `DIR[:TAG][@DIGEST]`: it is in the store without a name then. Gives its digest.
fn from_layout(store: &Store, text: &str, control: &Control) -> Result<String> {
    let (path, digest) = text.split_once('@').map_or((text, None), |(path, digest)| (path, Some(digest)));
    let (path, tag) = match path.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((path, tag)) => (path, Some(tag)),
        None => (path, None),
    };
    let options = LoadOptions { names: NamePolicy::Ignore, ..LoadOptions::default() };
    let loaded = load(store, open_layout(path)?, &options, control)?;
    let tagged = tag.map(|tag| digests_of(path, tag)).transpose()?;
    let fits = |image: &&Loaded| {
        let own = image.manifest.to_string();
        digest.is_none_or(|digest| own == digest)
            && tagged.as_ref().is_none_or(|tagged| tagged.contains(&own))
    };
    let mut found = loaded.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(image.manifest.to_string()),
        (None, _) => Err(Error::not_found(OP, "the layout has no such image").with_path(text)),
        _ => {
            Err(Error::invalid(OP, "the layout has several images").with_path(text).with_hint("add @DIGEST"))
        }
    }
}

fn file_in(tree: &mut SourceTree, path: &[u8], control: &Control) -> Result<Option<Vec<u8>>> {
    let Some(node) = tree.find(path, control)? else { return Ok(None) };
    if tree.tree.kind(node) != Kind::File {
        return Ok(None);
    }
    let size = tree.tree.inode(node).meta.size.min(MAX_FILE);
    let mut text = Vec::new();
    ContentReader::new(tree.content(node)?, size).read_to_end(&mut text).at(OP, path)?;
    Ok(Some(text))
}

/// Returns the digests that a layout has a name for: the tag itself, or a name that ends with it.
fn digests_of(layout: &str, tag: &str) -> Result<Vec<String>> {
    let path = Path::new(layout).join("index.json");
    let text = crate::fs::root::read_small_file(&path, MAX_FILE).at(OP, bytes(&path))?;
    let index: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|error| Error::corrupt(OP, "this is not JSON").with_path(bytes(&path)).with_source(error))?;
    let entries = index["manifests"].as_array().into_iter().flatten();
    let named = entries.filter(|entry| {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or_default();
        name == tag || name.strip_suffix(tag).is_some_and(|rest| rest.ends_with(':'))
    });
    Ok(named.filter_map(|entry| entry["digest"].as_str().map(String::from)).collect())
}
