//! Trees that files are copied from: a directory, a tar, or the layers of an image or a stage.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::place::Place;
use super::spool::Spool;
use crate::dockerfile::Ignore;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::dirents::Names;
use crate::fs::root::c_name;
use crate::fs::stat::{stat_at, stat_fd};
use crate::fs::{Kind, Root, Timestamp, clock, xattr};
use crate::image::{ImageFiles, Layer};
use crate::progress::Control;
use crate::store::Store;
use crate::threads::{self, lock};
use crate::tree::builder::{Builder, Inode, ROOT};
use crate::tree::scan::read_xattrs;
use crate::tree::{Meta, Snapshot, Xattrs};

const READ: &str = "read build context";
/// Most entries of a context that a build reads.
const MAX_ENTRIES: usize = 10_000_000;

/// A tree to copy from. Entries of a directory are read when they are asked for.
#[derive(Debug)]
pub(super) struct SourceTree {
    pub(super) tree: Builder,
    backing: Backing,
    /// For messages: a path, or a stage's or image's name.
    pub(super) name: String,
    /// The place of a directory that goes with the tree.
    place: Option<Place>,
}

#[derive(Debug)]
enum Backing {
    Directory(Directory),
    /// Offsets at which the content of each inode begins, in a file without a name.
    Spool {
        spool: Spool,
        places: HashMap<u32, u64>,
    },
    /// Likewise, once it is fetched out of the layers.
    Layers {
        #[cfg(feature = "sandbox")]
        layers: Vec<Layer>,
        files: ImageFiles,
        spool: Spool,
        places: HashMap<u32, u64>,
    },
}

#[derive(Debug)]
struct Directory {
    root: Arc<Root>,
    ignore: Ignore,
    /// The device and inode of the store, which may stand in its own context (`TREERING_ROOT=.treering`).
    leave_out: Option<(u64, u64)>,
    listed: HashSet<u32>,
    previous: Option<Snapshot>,
    began: Timestamp,
    hashed: bool,
    no_xattrs_on: Option<u64>,
}

/// The source of a file's content when a layer is written.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A file below a root; it has to be the one that was hashed.
    Below { root: Arc<Root>, path: Vec<u8>, meta: Meta },
    /// Part of a file.
    In { file: Arc<File>, offset: u64 },
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
}

impl SourceTree {
    /// Returns a directory, without what the ignore file leaves out, and without a directory in it that is the store. `previous` is the
    /// list of an earlier build: a file that has the same stat identity there is not hashed again.
    pub(super) fn directory(
        root: Arc<Root>,
        ignore: Ignore,
        leave_out: Option<(u64, u64)>,
        previous: Option<Snapshot>,
    ) -> Result<SourceTree> {
        let stat = stat_fd(&*root).at(READ, root.describe(b""))?;
        let began = clock::now(&*root).at(READ, root.describe(b""))?;
        let name = String::from_utf8_lossy(&root.describe(b"")).into_owned();
        let directory = Directory {
            root,
            ignore,
            leave_out,
            listed: HashSet::new(),
            previous,
            began,
            hashed: false,
            no_xattrs_on: None,
        };
        let tree = Builder::new(Inode::new(Meta::from_stat(&stat)));
        Ok(SourceTree { tree, backing: Backing::Directory(directory), name, place: None })
    }

    /// Returns a tree with its contents in a spool file, by the number of the inode.
    pub(super) fn spooled(
        tree: Builder,
        spool: Spool,
        places: HashMap<u32, u64>,
        name: String,
    ) -> SourceTree {
        SourceTree { tree, backing: Backing::Spool { spool, places }, name, place: None }
    }

    /// Returns the list of an image's or a stage's layers. Content is read out of the layers when it is fetched.
    pub(super) fn layers(
        list: Snapshot,
        layers: Vec<Layer>,
        store: &Store,
        name: String,
    ) -> Result<SourceTree> {
        let (spool, tree) = (Spool::new(store)?, Builder::from_snapshot(&list));
        let files = ImageFiles::of(store, &layers, list);
        let backing = Backing::Layers {
            #[cfg(feature = "sandbox")]
            layers,
            files,
            spool,
            places: HashMap::new(),
        };
        Ok(SourceTree { tree, backing, name, place: None })
    }

    /// Returns the file that all contents are in, one after the other.
    pub(super) fn spool(&self) -> Option<Arc<File>> {
        match &self.backing {
            Backing::Spool { spool, .. } => Some(spool.file()),
            _ => None,
        }
    }

    /// Returns the same tree, with the place that its files are in.
    pub(super) fn within(self, place: Place) -> SourceTree {
        SourceTree { place: Some(place), ..self }
    }

    /// Returns whether the modes, owners and times in it are to be kept: those of a directory on the disk belong to its
    /// machine.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.backing, Backing::Directory(_))
    }

    /// Returns the layers that it is the whole of.
    #[cfg(feature = "sandbox")]
    pub(super) fn whole(&self) -> Option<&[Layer]> {
        match &self.backing {
            Backing::Layers { layers, .. } => Some(layers),
            _ => None,
        }
    }

    /// Returns the ignore file of a directory.
    pub(super) fn ignore(&self) -> Option<&Ignore> {
        match &self.backing {
            Backing::Directory(directory) => Some(&directory.ignore),
            _ => None,
        }
    }

    /// Takes out what an ignore file leaves out, of a tree that is there as a whole.
    pub(super) fn leave_out(&mut self, ignore: &Ignore) {
        let mut todo = vec![ROOT];
        let mut ignored = Vec::new();
        while let Some(node) = todo.pop() {
            let children: Vec<u32> = self.tree.children(node).map(|(_, child)| child).collect();
            for child in children {
                let path = self.tree.path(child);
                let is_ignored = ignore.is_ignored(&path);
                let is_directory = self.tree.kind(child) == Kind::Directory;
                match is_ignored {
                    true if is_directory && ignore.may_keep_below(&path) => {
                        ignored.push(child);
                        todo.push(child);
                    }
                    true => self.tree.remove(child),
                    false if is_directory => todo.push(child),
                    false => {}
                }
            }
        }
        // Deepest last: an ignored directory stays only for what is kept in it.
        while let Some(node) = ignored.pop() {
            if self.tree.children(node).next().is_none() {
                self.tree.remove(node);
            }
        }
    }

    /// Returns a path of it as messages show it.
    pub(super) fn describe(&self, node: u32) -> Vec<u8> {
        let path = self.tree.path(node);
        match &self.backing {
            Backing::Directory(directory) if self.place.is_none() => directory.root.describe(&path),
            _ => [self.name.as_bytes(), b":/", &path].concat(),
        }
    }

    /// Makes sure that the names in a directory are there.
    pub(super) fn list(&mut self, node: u32, control: &Control) -> Result<()> {
        let Backing::Directory(directory) = &mut self.backing else { return Ok(()) };
        if self.tree.kind(node) != Kind::Directory || !directory.listed.insert(node) {
            return Ok(());
        }
        control.check(READ)?;
        directory.read(&mut self.tree, node, control)
    }

    /// Makes sure that everything below a directory is there.
    pub(super) fn list_all(&mut self, node: u32, control: &Control) -> Result<()> {
        let mut todo = vec![node];
        while let Some(node) = todo.pop() {
            self.list(node, control)?;
            todo.extend(self.directories(node));
        }
        Ok(())
    }

    fn directories(&self, node: u32) -> Vec<u32> {
        let children = self.tree.children(node).map(|(_, child)| child);
        children.filter(|child| self.tree.kind(*child) == Kind::Directory).collect()
    }

    /// Follows a path in the tree, through symbolic links, with `..` held inside. `None` when it does not exist.
    pub(super) fn find(&mut self, path: &[u8], control: &Control) -> Result<Option<u32>> {
        let mut at = ROOT;
        let mut links = 0;
        let mut todo: Vec<Vec<u8>> = path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect();
        while let Some(name) = todo.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    at = self.tree.parent(at);
                    continue;
                }
                _ => {}
            }
            if self.tree.kind(at) != Kind::Directory {
                return Ok(None);
            }
            self.list(at, control)?;
            let Some(child) = self.tree.child(at, &name) else { return Ok(None) };
            if self.tree.kind(child) != Kind::Symlink {
                at = child;
                continue;
            }
            links += 1;
            if links > 40 || todo.len() > 4096 {
                return Err(Error::invalid("resolve path", "too many symbolic links").with_path(path));
            }
            let target = &self.tree.inode(child).target;
            if target.first() == Some(&b'/') {
                at = ROOT;
            }
            todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
        }
        Ok(Some(at))
    }

    /// Computes the sha256 of every file among the nodes that has none yet, with several threads.
    pub(super) fn hash(&mut self, nodes: &[u32], threads: usize, control: &Control) -> Result<()> {
        self.take_digests(nodes, control)?;
        let missing =
            |node: &&u32| self.tree.kind(**node) == Kind::File && self.tree.inode(**node).digest.is_none();
        let todo: Vec<u32> = nodes.iter().filter(missing).copied().collect();
        if todo.is_empty() {
            return Ok(());
        }
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(u32, [u8; 32])>> = Mutex::new(Vec::with_capacity(todo.len()));
        let work = || -> Result<()> {
            let mut reading = Reading { buffer: vec![0; 1 << 16], near: None };
            while let Some(node) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                control.check(READ)?;
                let digest = self.hash_one(*node, &mut reading, control)?;
                lock(&done).push((*node, digest));
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let wanted = threads::count(threads).min(todo.len());
            let started: Vec<_> =
                (1..wanted).map_while(|_| threads::spawn(scope, "treering-hash", work).ok()).collect();
            let own = work();
            started.into_iter().map(threads::join).fold(own, Result::and)
        })?;
        for (node, digest) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.tree.inode_mut(node).digest = Some(digest);
        }
        if let Backing::Directory(directory) = &mut self.backing {
            directory.hashed = true;
        }
        Ok(())
    }

    /// Takes the digests of files in layers that are known there, or are made there.
    fn take_digests(&mut self, nodes: &[u32], control: &Control) -> Result<()> {
        let Backing::Layers { files, .. } = &self.backing else { return Ok(()) };
        let wanted = nodes.iter().filter(|node| self.tree.inode(**node).digest.is_none());
        let listed = |node: &u32| Some((*node, files.list().lookup(&self.tree.path(*node))?));
        let wanted: Vec<(u32, u32)> = wanted.filter_map(listed).collect();
        let digests = files.digests(&wanted.iter().map(|(_, entry)| *entry).collect::<Vec<_>>(), control)?;
        for (node, entry) in wanted {
            let inode = self.tree.inode_mut(node);
            inode.digest = inode.digest.or_else(|| digests.get(&entry).copied());
        }
        Ok(())
    }

    fn hash_one(&self, node: u32, reading: &mut Reading, control: &Control) -> Result<[u8; 32]> {
        let Reading { buffer, near } = reading;
        let content = self.content(node)?;
        let meta = self.tree.inode(node).meta;
        let mut hasher = Sha256::new();
        let mut reader = content.open_near(near)?;
        let mut at = 0;
        while at < meta.size {
            control.check(READ)?;
            let n = (meta.size - at).min(buffer.len() as u64) as usize;
            reader.read(at, &mut buffer[..n])?;
            hasher.update(&buffer[..n]);
            at += n as u64;
        }
        reader.verify()?;
        Ok(hasher.finalize().into())
    }

    /// Returns where the content of a file is. For layers only after [`SourceTree::fetch`].
    pub(super) fn content(&self, node: u32) -> Result<Content> {
        let missing = || {
            Error::corrupt(READ, "the content of this file is nowhere in its layers")
                .with_path(self.describe(node))
        };
        let inode = self.tree.inode(node);
        Ok(match &self.backing {
            Backing::Directory(directory) => {
                Content::Below { root: directory.root.clone(), path: self.tree.path(node), meta: inode.meta }
            }
            _ if inode.meta.size == 0 => Content::Bytes(Arc::from(&b""[..])),
            Backing::Spool { spool, places } | Backing::Layers { spool, places, .. } => {
                let offset = *places.get(&self.tree.inode_number(node)).ok_or_else(missing)?;
                Content::In { file: spool.file(), offset }
            }
        })
    }

    /// Reads the content of files out of the layers, so that [`SourceTree::content`] finds it.
    pub(super) fn fetch(&mut self, nodes: &[u32], control: &Control) -> Result<()> {
        let Backing::Layers { files, spool, places, .. } = &mut self.backing else { return Ok(()) };
        // The numbers of inodes by those of entries.
        let mut wanted: HashMap<u32, u32> = HashMap::new();
        let mut seen = HashSet::new();
        for node in nodes {
            let (inode, number) = (self.tree.inode(*node), self.tree.inode_number(*node));
            let has_content = inode.meta.kind == Kind::File && inode.meta.size > 0;
            if has_content && !places.contains_key(&number) && seen.insert(number) {
                wanted.extend(files.list().lookup(&self.tree.path(*node)).map(|entry| (entry, number)));
            }
        }
        let entries: Vec<u32> = wanted.keys().copied().collect();
        files.read_each(&entries, control, &mut |entry, content| {
            places.insert(wanted[&entry], spool.append_all(content)?);
            Ok(())
        })
    }

    /// Returns the list to keep for the next build, when anything was hashed.
    pub(super) fn to_keep(&self) -> Result<Option<Snapshot>> {
        match &self.backing {
            Backing::Directory(directory) if directory.hashed => {
                self.tree.finish(Some(directory.began)).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl Directory {
    fn read(&mut self, tree: &mut Builder, node: u32, control: &Control) -> Result<()> {
        let path = tree.path(node);
        let root = self.root.clone();
        let shown = |path: &[u8]| root.describe(path);
        let dir = self.root.open_dir(&path).map_err(|error| changed(error, shown(&path)))?;
        let mut names = Names::default();
        names.read(&dir).at(READ, shown(&path))?;
        for i in 0..names.len() {
            let name = names.get(i);
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.to_bytes());
            let ignored = self.ignore.is_ignored(&below);
            if ignored && !self.ignore.may_keep_below(&below) {
                continue;
            }
            let stat = stat_at(&dir, name).map_err(|error| changed(error, shown(&below)))?;
            let is_store = self.leave_out == Some((stat.dev, stat.ino));
            if stat.kind == Kind::Socket || is_store || ignored && stat.kind != Kind::Directory {
                continue;
            }
            if tree.node_count() >= MAX_ENTRIES {
                return Err(
                    Error::limit(READ, format!("more than {MAX_ENTRIES} files")).with_path(shown(b""))
                );
            }
            let inode = self.inode(&dir, name, &below, Meta::from_stat(&stat))?;
            let child = tree.insert(node, name.to_bytes(), inode);
            if ignored {
                // It is there only for the sake of what a `!` pattern keeps in it.
                self.listed.insert(child);
                self.read_all(tree, child, control)?;
                if tree.children(child).next().is_none() {
                    tree.remove(child);
                }
            }
        }
        Ok(())
    }

    fn read_all(&mut self, tree: &mut Builder, node: u32, control: &Control) -> Result<()> {
        control.check(READ)?;
        self.read(tree, node, control)?;
        let children: Vec<u32> = tree.children(node).map(|(_, child)| child).collect();
        for child in children {
            if tree.kind(child) == Kind::Directory && self.listed.insert(child) {
                self.read_all(tree, child, control)?;
            }
        }
        Ok(())
    }

    fn inode(&mut self, dir: impl AsFd, name: &std::ffi::CStr, path: &[u8], meta: Meta) -> Result<Inode> {
        let shown = || self.root.describe(path);
        let known = self.previous.as_ref().and_then(|list| {
            let index = list.lookup(path)?;
            (list.meta(index).kind == meta.kind && list.meta(index).same_identity(&meta))
                .then_some((list, index))
        });
        if let Some((list, index)) = known {
            return Ok(Inode {
                target: list.link_target(index).to_vec(),
                xattrs: list.xattrs(index).packed().to_vec(),
                digest: list.digest(index),
                place: list.place(index),
                ..Inode::new(meta)
            });
        }
        let mut inode = Inode::new(meta);
        if meta.kind == Kind::Symlink {
            let target = rustix::fs::readlinkat(&dir, name, Vec::new())
                .map_err(|error| changed(error.into(), shown()))?;
            inode.target = target.into_bytes();
        }
        if self.no_xattrs_on != Some(meta.dev) {
            let mut list = Vec::new();
            match xattr::list_at(&dir, name, &mut list) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    self.no_xattrs_on = Some(meta.dev)
                }
                Err(error) => return Err(changed(error, shown())),
            }
            if !list.is_empty() {
                inode.xattrs = Xattrs::pack(&read_xattrs(&dir, name, &list, false, shown)?);
            }
        }
        Ok(inode)
    }
}

fn changed(error: std::io::Error, path: Vec<u8>) -> Error {
    crate::tree::scan::vanished(error, READ, path)
}

/// A buffer and the directory of the last file, for a thread that reads many files.
struct Reading {
    buffer: Vec<u8>,
    near: Near,
}

/// An open directory, and its path below the root.
type Near = Option<(Vec<u8>, OwnedFd)>;

/// An open content.
pub(super) struct Reader<'a> {
    content: &'a Content,
    file: Option<File>,
}

impl Content {
    pub(super) fn open(&self) -> Result<Reader<'_>> {
        self.open_near(&mut None)
    }

    /// Opens the content. Where it is a file of the directory that is open, that one is not opened again.
    fn open_near(&self, near: &mut Near) -> Result<Reader<'_>> {
        let file = match self {
            Content::Below { root, path, .. } => {
                let opened = open_near(root, path, near);
                Some(File::from(opened.map_err(|error| explain(error, root.describe(path)))?))
            }
            _ => None,
        };
        Ok(Reader { content: self, file })
    }
}

fn open_near(root: &Root, path: &[u8], near: &mut Near) -> std::io::Result<OwnedFd> {
    let end = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = end.map_or((&b""[..], path), |end| (&path[..end], &path[end + 1..]));
    let dir = match near {
        Some((known, dir)) if *known == parent => dir,
        _ => &near.insert((parent.to_vec(), root.open_dir(parent)?)).1,
    };
    root.open_file_in(dir, &c_name(name)?, path)
}

fn explain(error: std::io::Error, path: Vec<u8>) -> Error {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => Error::io(READ, path, error)
            .with_hint("files that are copied must be readable; list others in .dockerignore"),
        _ => changed(error, path),
    }
}

impl Reader<'_> {
    /// Fills the buffer from an offset of the content.
    pub(super) fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match (self.content, &self.file) {
            (Content::Below { root, path, .. }, Some(file)) => {
                file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => other_file(root.describe(path)),
                    _ => explain(error, root.describe(path)),
                })
            }
            (Content::In { file, offset: start }, _) => {
                file.read_exact_at(buffer, start + offset).at(READ, "spool file")
            }
            (Content::Bytes(bytes), _) => {
                let start = offset as usize;
                buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Internal, READ, "a file that was not opened")),
        }
    }

    /// Checks after reading that the file still is the one that was listed.
    pub(super) fn verify(&self) -> Result<()> {
        let (Content::Below { root, path, meta }, Some(file)) = (self.content, &self.file) else {
            return Ok(());
        };
        let stat = stat_fd(file).at(READ, root.describe(path))?;
        if meta.is_as_in(&stat) { Ok(()) } else { Err(other_file(root.describe(path))) }
    }
}

fn other_file(path: Vec<u8>) -> Error {
    Error::new(ErrorKind::Changed, READ, "the file changed, shrank, grew or vanished while it was read")
        .with_path(path)
        .with_hint("build again when nothing writes to the context")
}

/// Refuses a name that the kernel does not take: one with a NUL.
pub(super) fn check_name(path: &[u8], operation: &'static str) -> Result<()> {
    c_name(path).map(drop).map_err(|_| Error::invalid(operation, "a path cannot contain NUL").with_path(path))
}
