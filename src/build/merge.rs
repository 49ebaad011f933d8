//! Copying into a list: what COPY, ADD and WORKDIR do to the tree of a state, decided in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::chmod::Chmod;
use super::pick::Pick;
use super::source::{Content, SourceTree};
use crate::error::{Error, Result};
use crate::fs::{Kind, Timestamp};
use crate::layer::{LayerOptions, MtimePrecision};
use crate::tree::builder::{Builder, Inode, ROOT};
use crate::tree::{Flags, Meta, Snapshot};

const OP: &str = "copy";

/// A list that grows by what a step puts into it.
#[derive(Debug)]
pub(super) struct Merge {
    pub(super) tree: Builder,
    /// The owner of everything that is put in; `None` for the source's own, or 0:0 where that is a directory of the machine.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) chmod: Option<Chmod>,
    /// Whether an entry may replace one of another kind: an archive's may, a copied one may not.
    pub(super) replaces: bool,
    /// The time of directories that the step makes.
    pub(super) now: Timestamp,
    touched: HashSet<u32>,
    contents: HashMap<u32, Content>,
}

/// The place that a destination leads to.
struct Place {
    directory: u32,
    /// Components that do not exist, or the name of something that is no directory.
    rest: Vec<Vec<u8>>,
}

impl Merge {
    pub(super) fn new(tree: Builder, now: Timestamp) -> Merge {
        Merge {
            tree,
            owner: None,
            chmod: None,
            replaces: false,
            now,
            touched: HashSet::new(),
            contents: HashMap::new(),
        }
    }

    /// Follows a destination through the symbolic links of the tree.
    fn place(&self, path: &[u8]) -> Result<Place> {
        let mut path = path.to_vec();
        for _ in 0..40 {
            let trimmed = trim(&path).to_vec();
            let at = trimmed.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
            let (above, name) = (&trimmed[..at], &trimmed[at..]);
            let owned = |rest: Vec<&[u8]>| rest.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
            if matches!(name, b"" | b"." | b"..") {
                let (directory, rest) = self.tree.resolve(&path)?;
                return Ok(Place { directory, rest: owned(rest) });
            }
            let (directory, rest) = self.tree.resolve(above)?;
            if !rest.is_empty() {
                return Ok(Place {
                    directory,
                    rest: owned(rest).into_iter().chain([name.to_vec()]).collect(),
                });
            }
            let Some(node) = self.tree.child(directory, name) else {
                return Ok(Place { directory, rest: vec![name.to_vec()] });
            };
            match self.tree.kind(node) {
                Kind::Directory => return Ok(Place { directory: node, rest: Vec::new() }),
                Kind::Symlink => {
                    let target = &self.tree.inode(node).target;
                    path = match target.first() {
                        Some(b'/') => target.clone(),
                        _ => [&self.tree.path(directory)[..], b"/", target].concat(),
                    };
                }
                _ => return Ok(Place { directory, rest: vec![name.to_vec()] }),
            }
        }
        Err(Error::invalid(OP, "too many symbolic links").with_path(path))
    }

    /// Returns whether a destination is a directory that is there.
    pub(super) fn is_directory(&self, path: &[u8]) -> Result<bool> {
        let Place { directory, rest } = self.place(path)?;
        Ok(rest.is_empty() && self.tree.kind(directory) == Kind::Directory)
    }

    /// Makes a directory and those above it, 0755, with the owner of the step. Gives its node.
    pub(super) fn make_directories(&mut self, path: &[u8]) -> Result<u32> {
        let Place { mut directory, rest } = self.place(path)?;
        for name in rest {
            directory = self.directory_in(directory, &name, path)?;
        }
        Ok(directory)
    }

    /// Returns the directory of this name, made when it is missing.
    fn directory_in(&mut self, parent: u32, name: &[u8], path: &[u8]) -> Result<u32> {
        if let Some(node) = self.tree.child(parent, name) {
            return match self.tree.kind(node) {
                Kind::Directory => Ok(node),
                kind => {
                    let message = format!("{} is a {}, not a directory", shown(name), kind.name());
                    Err(Error::invalid(OP, message).with_path(path))
                }
            };
        }
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        let meta = Meta { uid, gid, mtime: self.now, ..Meta::directory() };
        let node = self.tree.insert(parent, name, Inode::new(meta));
        self.touched.insert(node);
        Ok(node)
    }

    /// Copies picked entries to a destination: `path` is absolute, and ends with `/` where it has to be a directory.
    pub(super) fn copy(&mut self, source: &SourceTree, picks: &[Pick], path: &[u8]) -> Result<()> {
        let into = path.ends_with(b"/") || picks.len() > 1;
        for pick in picks {
            let mut links = HashMap::new();
            if let Some(parents) = &pick.parents {
                let mut directory = self.make_directories(path)?;
                let mut above = pick.node;
                let names: Vec<&[u8]> =
                    parents.split(|b| *b == b'/').filter(|name| !name.is_empty()).collect();
                // The directories above are copied with their metadata, as far as they are new.
                let mut chain: Vec<u32> = Vec::new();
                for _ in &names {
                    above = source.tree.parent(above);
                    chain.push(above);
                }
                for (name, from) in names.iter().zip(chain.iter().rev()) {
                    directory = match self.tree.child(directory, name) {
                        Some(_) => self.directory_in(directory, name, path)?,
                        None => self.put(source, *from, directory, name, &mut links, path)?,
                    };
                }
                let named = !pick.name.is_empty();
                let target = match source.tree.kind(pick.node) {
                    Kind::Directory if named => {
                        self.put(source, pick.node, directory, &pick.name, &mut links, path)?
                    }
                    Kind::Directory => directory,
                    _ => {
                        self.put(source, pick.node, directory, &pick.name, &mut links, path)?;
                        continue;
                    }
                };
                self.fill(source, pick, target, &mut links, path)?;
                continue;
            }
            if source.tree.kind(pick.node) == Kind::Directory {
                let target = self.make_directories(path)?;
                self.fill(source, pick, target, &mut links, path)?;
                continue;
            }
            let place = if into {
                Place { directory: self.make_directories(path)?, rest: Vec::new() }
            } else {
                self.place(path)?
            };
            let Place { mut directory, mut rest } = place;
            let name = rest.pop().unwrap_or_else(|| pick.name.clone());
            for above in rest {
                directory = self.directory_in(directory, &above, path)?;
            }
            self.put(source, pick.node, directory, &name, &mut links, path)?;
        }
        Ok(())
    }

    /// Gives the root what a directory of a source has: mode, owner, times, attributes.
    #[cfg(feature = "sandbox")]
    pub(super) fn become_directory(&mut self, source: &SourceTree, from: u32) {
        let mut inode = source.tree.inode(from).clone();
        self.adjust(source, &mut inode.meta);
        *self.tree.inode_mut(ROOT) = inode;
        self.touched.insert(ROOT);
    }

    /// Copies everything below a picked directory.
    fn fill(
        &mut self,
        source: &SourceTree,
        pick: &Pick,
        target: u32,
        links: &mut HashMap<(u64, u64), u32>,
        path: &[u8],
    ) -> Result<()> {
        let mut directories: HashMap<&[u8], u32> = HashMap::from([(&b""[..], target)]);
        for (below, node) in &pick.below {
            let at = below.iter().rposition(|b| *b == b'/');
            let (above, name) = at.map_or((&b""[..], &below[..]), |at| (&below[..at], &below[at + 1..]));
            let Some(directory) = directories.get(above).copied() else { continue };
            let made = self.put(source, *node, directory, name, links, path)?;
            if source.tree.kind(*node) == Kind::Directory {
                directories.insert(below, made);
            }
        }
        Ok(())
    }

    /// Puts one entry into a directory. A directory that is there takes over the metadata; a file replaces what is no directory.
    fn put(
        &mut self,
        source: &SourceTree,
        from: u32,
        directory: u32,
        name: &[u8],
        links: &mut HashMap<(u64, u64), u32>,
        path: &[u8],
    ) -> Result<u32> {
        let mut inode = source.tree.inode(from).clone();
        let is_directory = inode.meta.kind == Kind::Directory;
        let mut there = self.tree.child(directory, name);
        let there_is_directory = there.map(|node| self.tree.kind(node) == Kind::Directory);
        let other_kind = there_is_directory.filter(|other| *other != is_directory);
        if other_kind.is_some() && self.replaces {
            there = None;
        } else if let Some(other) = other_kind {
            let (new, old) = if other { ("file", "directory") } else { ("directory", "file") };
            let message = format!("the {new} {} cannot replace a {old} of that name", shown(name));
            return Err(Error::invalid(OP, message).with_path(path));
        }
        self.adjust(source, &mut inode.meta);
        if let Some(node) = there.filter(|_| is_directory) {
            let meta = inode.meta;
            *self.tree.inode_mut(node) = Inode { meta, ..inode };
            self.touched.insert(node);
            return Ok(node);
        }
        let original = &source.tree.inode(from).meta;
        let identity = match source.is_local() {
            true => (original.dev, original.ino),
            false => (0, u64::from(source.tree.inode_number(from)) + 1),
        };
        let linked = original.nlink > 1 || source.tree.names(from) > 1;
        let earlier = links.get(&identity).copied().filter(|_| linked && !is_directory);
        let node = match earlier.filter(|node| self.touched.contains(node)) {
            Some(existing) => self.tree.link(directory, name, existing),
            None => self.tree.insert(directory, name, inode),
        };
        links.entry(identity).or_insert(node);
        if self.tree.kind(node) == Kind::File {
            self.contents.insert(node, source.content(from)?);
        }
        self.touched.insert(node);
        Ok(node)
    }

    fn adjust(&self, source: &SourceTree, meta: &mut Meta) {
        let own = if source.is_local() { (0, 0) } else { (meta.uid, meta.gid) };
        (meta.uid, meta.gid) = self.owner.unwrap_or(own);
        meta.flags = Flags::empty();
        if let Some(chmod) = self.chmod.as_ref().filter(|_| meta.kind != Kind::Symlink) {
            meta.mode = chmod.apply(meta.mode, meta.kind);
        }
    }

    /// Puts a file with this content in, as [`Merge::copy`] does.
    pub(super) fn write(&mut self, name: &str, content: &[u8], digest: [u8; 32], path: &[u8]) -> Result<()> {
        let place = match path.ends_with(b"/") {
            true => Place { directory: self.make_directories(path)?, rest: Vec::new() },
            false => self.place(path)?,
        };
        let Place { mut directory, mut rest } = place;
        let name = rest.pop().unwrap_or_else(|| name.as_bytes().to_vec());
        for above in rest {
            directory = self.directory_in(directory, &above, path)?;
        }
        if self.tree.child(directory, &name).is_some_and(|node| self.tree.kind(node) == Kind::Directory) {
            let message = format!("{} is a directory", shown(&name));
            return Err(Error::invalid(OP, message).with_path(path));
        }
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        let mut meta = Meta {
            kind: Kind::File,
            mode: 0o644,
            uid,
            gid,
            size: content.len() as u64,
            mtime: self.now,
            ..Meta::directory()
        };
        if let Some(chmod) = &self.chmod {
            meta.mode = chmod.apply(meta.mode, meta.kind);
        }
        let node = self.tree.insert(directory, &name, Inode { digest: Some(digest), ..Inode::new(meta) });
        self.contents.insert(node, Content::Bytes(Arc::from(content)));
        self.touched.insert(node);
        Ok(())
    }

    /// Gives everything that was put in the times it has in a layer written with these options.
    pub(super) fn round_times(&mut self, options: LayerOptions) {
        for node in &self.touched {
            let mtime = &mut self.tree.inode_mut(*node).meta.mtime;
            match options.clamp_mtime {
                Some(clamp) if mtime.secs >= clamp => *mtime = Timestamp::new(clamp, 0),
                _ if options.precision == MtimePrecision::Seconds => mtime.nanos = 0,
                _ => {}
            }
        }
    }

    /// Returns whether nothing was put in.
    pub(super) fn is_unchanged(&self) -> bool {
        self.touched.is_empty()
    }

    /// Returns the new list, the numbers in it of what was put in, in the order of paths, and where their contents are.
    pub(super) fn finish(self) -> Result<(Snapshot, Vec<u32>, HashMap<u32, Content>)> {
        let list = self.tree.finish(None)?;
        let index_of = |node: &u32| list.lookup(&self.tree.path(*node));
        let mut numbers: HashSet<u32> = self.touched.iter().filter_map(index_of).collect();
        let mut contents: HashMap<u32, Content> = HashMap::new();
        for (node, content) in &self.contents {
            // A node that something replaced is no longer the one of its path.
            let parent = self.tree.parent(*node);
            if self.tree.child(parent, self.tree.name(*node)) == Some(*node) {
                contents.extend(index_of(node).map(|index| (index, content.clone())));
            }
        }
        let walked = std::iter::once(ROOT).filter(|root| numbers.remove(root)).collect::<Vec<_>>();
        let order = walked.into_iter().chain(list.walk().filter(|index| numbers.contains(index))).collect();
        Ok((list, order, contents))
    }
}

fn trim(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    &path[..end]
}

fn shown(name: &[u8]) -> String {
    crate::error::escape(name)
}
