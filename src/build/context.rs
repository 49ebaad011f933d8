//! What a build is given: the main context, named contexts, the Dockerfile and the ignore files.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Room;
use super::source::SourceTree;
use super::spool::{ContentReader, read_tar};
use crate::Digest;
use crate::dockerfile::Ignore;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::input::Input;
use crate::fs::root::open_given;
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Root};
use crate::progress::Control;
use crate::store::Store;
use crate::tree::Meta;
use crate::tree::Snapshot;
use crate::tree::builder::{Builder, Inode};

const OP: &str = "read build context";
/// Largest Dockerfile and ignore file that are read, in bytes. The parsers have caps of their own below it.
const MAX_FILE: u64 = (16 << 20) + 1;

/// Where the files to build from are.
#[derive(Debug, Clone, Default)]
pub enum ContextSource {
    /// No files at all: a Dockerfile alone.
    #[default]
    Empty,
    /// A directory.
    Directory(PathBuf),
    /// A tar, compressed or not, or a Dockerfile without a context, as it comes on standard input.
    Stream(Arc<File>),
}

/// Where the Dockerfile is.
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

/// The opened contexts of a build.
#[derive(Debug)]
pub(super) struct Contexts {
    store: Store,
    main: SourceTree,
    /// Under which key the list of hashed files is kept.
    main_key: Option<Digest>,
    named: Vec<(String, String)>,
    opened: HashMap<String, (SourceTree, Option<Digest>)>,
    pub(super) dockerfile_name: Vec<u8>,
    pub(super) dockerfile: Vec<u8>,
}

impl Contexts {
    pub(super) fn open(
        store: &Store,
        context: &ContextSource,
        dockerfile: &DockerfileSource,
        named: &[(String, String)],
        control: &Control,
    ) -> Result<Contexts> {
        let given = match dockerfile {
            DockerfileSource::Text(text) => Some((b"Dockerfile".to_vec(), text.clone(), None)),
            DockerfileSource::Stream(file) => {
                Some((b"Dockerfile".to_vec(), read_stream(file, b"Dockerfile", control)?, None))
            }
            DockerfileSource::Path(path) if !matches!(context, ContextSource::Stream(_)) => {
                Some((bytes(path), read_given(path)?, Some(path.clone())))
            }
            _ => None,
        };
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
                stream(store, file, given.map(|(n, t, _)| (n, t)), dockerfile, control)?
            }
        };
        Ok(Contexts {
            store: store.clone(),
            main,
            main_key,
            named: named.to_vec(),
            opened: HashMap::new(),
            dockerfile_name: name,
            dockerfile: text,
        })
    }

    pub(super) fn main(&mut self) -> &mut SourceTree {
        &mut self.main
    }

    pub(super) fn ignore(&self) -> Option<&Ignore> {
        self.main.ignore()
    }

    /// What a named context stands for.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self.named.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The image that a named context stands for: `docker-image://NAME`.
    pub(super) fn image(&self, name: &str) -> Result<Option<&str>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        if let Some(image) = value.strip_prefix("docker-image://") {
            return Ok(Some(image));
        }
        match value.contains("://") {
            true => Err(Error::new(
                ErrorKind::Unsupported,
                OP,
                format!("contexts such as {value} are not supported"),
            )
            .with_path(name)
            .with_hint("a directory, or docker-image://NAME")),
            false => Ok(None),
        }
    }

    /// A named context that is a directory.
    pub(super) fn directory(&mut self, name: &str) -> Result<Option<&mut SourceTree>> {
        if self.image(name)?.is_some() {
            return Ok(None);
        }
        let Some(path) = self.value(name).map(PathBuf::from) else { return Ok(None) };
        let key = name.to_ascii_lowercase();
        if !self.opened.contains_key(&key) {
            let ignore = ignore_file(&path, None)?;
            let (tree, at) = directory(&self.store, &path, ignore)?;
            self.opened.insert(key.clone(), (tree, Some(at)));
        }
        Ok(self.opened.get_mut(&key).map(|(tree, _)| tree))
    }

    /// Keeps the digests of files for the next build.
    pub(super) fn keep(&self) -> Result<()> {
        let room = Room::open(&self.store, "contexts")?;
        let main = (&self.main, self.main_key);
        for (tree, key) in std::iter::once(main).chain(self.opened.values().map(|(tree, key)| (tree, *key))) {
            if let (Some(key), Some(list)) = (key, tree.to_keep()?) {
                room.write(&key, list.as_bytes())?;
            }
        }
        Ok(())
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
    Ok((SourceTree::directory(Arc::new(root), ignore, previous)?, key))
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

/// `Dockerfile`, else `dockerfile`, in a directory.
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
    Err(missing.expect("both are missing").with_hint("name another file with -f"))
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile, else `.dockerignore` of the context.
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

/// A stream is a tar of the context, or a Dockerfile alone.
fn stream(
    store: &Store,
    file: &File,
    given: Option<(Vec<u8>, Vec<u8>)>,
    dockerfile: &DockerfileSource,
    control: &Control,
) -> Result<(SourceTree, Option<Digest>, (Vec<u8>, Vec<u8>))> {
    let fd: OwnedFd = file.try_clone().at(OP, "-")?.into();
    let mut input = Input::new(fd, control.cancel.clone());
    let mut head = Vec::new();
    input.by_ref().take(1024).read_to_end(&mut head).at(OP, "-")?;
    let is_tar = crate::compress::detect_supported(&head)? != crate::compress::Compression::None
        || head.get(257..262) == Some(b"ustar")
        || head.first_chunk().is_some_and(crate::layer::read::is_header);
    if !is_tar {
        if given.is_some() || matches!(dockerfile, DockerfileSource::Path(_)) {
            return Err(Error::invalid(OP, "standard input is no tar of a context").with_path("-"));
        }
        let mut text = head;
        input.take(MAX_FILE).read_to_end(&mut text).at(OP, "-")?;
        return Ok((empty(store)?, None, (b"Dockerfile".to_vec(), text)));
    }
    let whole = std::io::Cursor::new(head).chain(input);
    let mut tree = read_tar(store, Box::new(whole), "-", control)?;
    let (name, text) = match given {
        Some(given) => given,
        None => {
            let wanted = match dockerfile {
                DockerfileSource::Path(path) => bytes(path),
                _ => b"Dockerfile".to_vec(),
            };
            let text = file_in(&mut tree, &wanted, control)?.ok_or_else(|| {
                Error::not_found(OP, "not in the context")
                    .with_path(&wanted)
                    .with_hint("name another file with -f")
            })?;
            (wanted, text)
        }
    };
    let own = [&name[..], b".dockerignore"].concat();
    for path in [&own[..], b".dockerignore"] {
        if let Some(text) = file_in(&mut tree, path, control)? {
            tree.leave_out(&Ignore::parse(path, &text)?);
            break;
        }
    }
    Ok((tree, None, (name, text)))
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
