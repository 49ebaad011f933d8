//! Looking a name up in stacked lower directories, by the rules of the kernel (fs/overlayfs/namei.c).
//!
//! The topmost layer that has the name decides what it is. A directory goes on being looked for further down, by the name
//! its redirect gives, until a layer says stop: by a whiteout, by an opaque directory, or by a file of that name.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::marks::{Counted, Marks, Pairs};
use super::{DECODE, OverlayOptions};
use crate::error::{At, Error, Result};
use crate::fs::dirents::Names;
use crate::fs::generation::generation;
use crate::fs::root::{c_name, open_dir_at, push_name, split};
use crate::fs::stat::stat_at;
use crate::fs::{Kind, Root, Stat, xattr};
use crate::tree::builder::Inode;
use crate::tree::ledger::Record;
use crate::tree::ownership::Ownership;
use crate::tree::scan::{read_xattrs, vanished};
use crate::tree::{Meta, Xattrs};

/// A place: a layer (0 is the upper directory, 1 the topmost lower one) and the path below its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub layer: u32,
    pub path: Vec<u8>,
}

/// A name found in one lower layer.
pub(super) struct Found {
    pub place: Place,
    pub stat: Stat,
    pub marks: Marks,
    attributes: Pairs,
    parent: Arc<OwnedFd>,
}

/// A name in the merged view of some layers, topmost part first.
pub(super) struct View(Vec<Found>);

impl View {
    pub fn top(&self) -> &Found {
        &self.0[0]
    }

    pub fn kind(&self) -> Kind {
        self.top().stat.kind
    }

    /// Returns the parts of a merged directory; of a file, nothing.
    pub fn stack(&self) -> Vec<Place> {
        let directories = self.0.iter().filter(|found| found.stat.kind == Kind::Directory);
        directories.map(|found| found.place.clone()).collect()
    }

    /// Returns where a file's content is. `None` when all there is of it is metadata.
    pub fn content(&self) -> Option<&Place> {
        self.0.last().filter(|found| !found.marks.metacopy).map(|found| &found.place)
    }
}

/// The lower parts of a merged directory, opened when they are first needed.
pub(super) struct Stack {
    pub places: Vec<Place>,
    fds: Vec<OnceCell<Arc<OwnedFd>>>,
}

impl Stack {
    pub fn new(places: Vec<Place>) -> Stack {
        let fds = places.iter().map(|_| OnceCell::new()).collect();
        Stack { places, fds }
    }
}

/// A search, in the state that the layers so far left it in.
pub(super) struct Search {
    /// A name, or a path from the root that begins with `/`.
    name: Vec<u8>,
    directory: bool,
    metacopy: bool,
    stop: bool,
}

impl Search {
    /// Returns a search for anything of this name.
    pub fn any(name: &[u8]) -> Search {
        Search { name: name.to_vec(), directory: false, metacopy: false, stop: false }
    }

    /// Returns a search for the directories that show through an upper one.
    pub fn below_directory(name: &[u8]) -> Search {
        Search { directory: true, ..Search::any(name) }
    }

    /// Returns a search for the content of an upper file that has only metadata.
    pub fn content(name: &[u8]) -> Search {
        Search { metacopy: true, ..Search::any(name) }
    }
}

/// The layers, and how their entries are read.
pub(super) struct Layers<'a> {
    /// The upper directory, then the lower ones from the top.
    pub roots: &'a [Root],
    pub counted: Counted,
    pub options: &'a OverlayOptions<'a>,
}

impl Layers<'_> {
    /// Returns the lower layers' roots; merged, they are the tree before.
    pub fn root_stack(&self) -> Vec<Place> {
        (1..self.roots.len() as u32).map(|layer| Place { layer, path: Vec::new() }).collect()
    }

    pub fn describe(&self, place: &Place) -> Vec<u8> {
        self.roots[place.layer as usize].describe(&place.path)
    }

    fn open(&self, place: &Place) -> Result<Arc<OwnedFd>> {
        let root = &self.roots[place.layer as usize];
        let opened = root.open_dir(&place.path);
        Ok(Arc::new(opened.map_err(|error| vanished(error, DECODE, root.describe(&place.path)))?))
    }

    fn part(&self, stack: &Stack, i: usize) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = stack.fds[i].get() {
            return Ok(fd.clone());
        }
        let fd = self.open(&stack.places[i])?;
        Ok(stack.fds[i].get_or_init(|| fd).clone())
    }

    /// Collects all names in any part of a directory, whiteouts included.
    pub fn names(&self, stack: &Stack, into: &mut BTreeSet<Vec<u8>>) -> Result<()> {
        let mut names = Names::default();
        for i in 0..stack.places.len() {
            let fd = self.part(stack, i)?;
            names.read(&fd).at("read directory", self.describe(&stack.places[i]))?;
            into.extend((0..names.len()).map(|i| names.get(i).to_bytes().to_vec()));
        }
        Ok(())
    }

    /// Looks a name up in the parts of a directory. `None` where the merged view has nothing.
    pub fn lookup(&self, parent: &Stack, mut search: Search) -> Result<Option<View>> {
        let mut found = Vec::new();
        let mut from_root = search.name.first() == Some(&b'/');
        // In the root's stack, a layer's number is one more than its place.
        let mut i = 0;
        let lowers = self.roots.len() - 1;
        while !search.stop && i < if from_root { lowers } else { parent.places.len() } {
            let (base, fd) = match from_root {
                true => {
                    let base = Place { layer: i as u32 + 1, path: Vec::new() };
                    let fd = self.open(&base)?;
                    (base, fd)
                }
                false => (parent.places[i].clone(), self.part(parent, i)?),
            };
            let layer = base.layer;
            i += 1;
            let Some(part) = self.in_layer(base, fd, &mut search)? else { continue };
            found.push(part);
            if !from_root && search.name.first() == Some(&b'/') {
                from_root = true;
                i = layer as usize;
            }
        }
        Ok((!found.is_empty()).then_some(View(found)))
    }

    fn in_layer(&self, base: Place, fd: Arc<OwnedFd>, search: &mut Search) -> Result<Option<Found>> {
        if search.name.first() != Some(&b'/') {
            let name = search.name.clone();
            return self.component(&base, &fd, &name, b"", search);
        }
        // A redirect met on the way changes what the layers below are asked for, not what this one is.
        let path = search.name[1..].to_vec();
        let (mut rest, mut base, mut fd) = (&path[..], base, fd);
        loop {
            let end = rest.iter().position(|&c| c == b'/').unwrap_or(rest.len());
            let (name, post) = rest.split_at(end);
            let Some(found) = self.component(&base, &fd, name, post, search)? else { return Ok(None) };
            if post.is_empty() {
                return Ok(Some(found));
            }
            let name = c_name(name).at(DECODE, self.describe(&found.place))?;
            let next = open_dir_at(&*fd, &name)
                .map_err(|error| vanished(error, DECODE, self.describe(&found.place)))?;
            (fd, base, rest) = (Arc::new(next), found.place, &post[1..]);
        }
    }

    /// Looks for one name in one layer; `post` is what comes after it in the path that is being looked up.
    fn component(
        &self,
        base: &Place,
        fd: &Arc<OwnedFd>,
        name: &[u8],
        post: &[u8],
        search: &mut Search,
    ) -> Result<Option<Found>> {
        let last_name = post.is_empty();
        let Some(found) = self.examine(base, fd, name)? else { return Ok(None) };
        let kind = found.stat.kind;
        if is_whiteout(kind, found.stat.rdev, found.stat.size, &found.marks)
            || (last_name && search.metacopy && kind != Kind::File)
        {
            search.stop = true;
            return Ok(None);
        }
        if kind != Kind::Directory {
            if search.directory || !last_name {
                search.stop = true;
                return Ok(None);
            }
            search.metacopy = kind == Kind::File && found.marks.metacopy;
            search.stop = !search.metacopy;
            if search.stop {
                return Ok(Some(found));
            }
        } else {
            if last_name {
                search.directory = true;
            }
            if found.marks.opaque {
                search.stop = true;
                return Ok(Some(found));
            }
        }
        if (base.layer as usize) + 1 < self.roots.len()
            && let Some(to) = found.marks.checked_redirect(|| self.describe(&found.place))?
        {
            let before = search.name.len() - post.len() - name.len();
            let mut next = match to[0] {
                b'/' => {
                    // A directory on the way may have been opaque; an absolute redirect leads past it.
                    search.stop = false;
                    to.to_vec()
                }
                _ => [&search.name[..before], to].concat(),
            };
            next.extend_from_slice(post);
            search.name = next;
        }
        Ok(Some(found))
    }

    fn examine(&self, base: &Place, fd: &Arc<OwnedFd>, name: &[u8]) -> Result<Option<Found>> {
        let mut path = base.path.clone();
        push_name(&mut path, name);
        let place = Place { layer: base.layer, path };
        let c_name = c_name(name).at(DECODE, self.describe(&place))?;
        let stat = match stat_at(&**fd, &c_name) {
            Ok(stat) => stat,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENAMETOOLONG)) => {
                return Ok(None);
            }
            Err(error) => return Err(Error::io(DECODE, self.describe(&place), error)),
        };
        let attributes = attributes(&**fd, &c_name, || self.describe(&place))?;
        let pairs = attributes.iter().map(|(name, value)| (&name[..], &value[..]));
        let (marks, attributes) = Marks::take(pairs, self.counted, self.options.all_xattrs);
        Ok(Some(Found { place, stat, marks, attributes, parent: fd.clone() }))
    }

    /// Returns the entry of a lower layer as a snapshot has it.
    pub fn inode(&self, found: &Found) -> Result<Inode> {
        let shown = || self.describe(&found.place);
        let (_, name) = split(&found.place.path);
        let name = match found.place.path.is_empty() {
            true => c".".to_owned(),
            false => c_name(name).at(DECODE, shown())?,
        };
        let dir = &*found.parent;
        let mut inode = Inode::new(Meta::from_stat(&found.stat));
        if found.stat.kind == Kind::Symlink {
            let target = rustix::fs::readlinkat(dir, &name, Vec::with_capacity(256))
                .map_err(|error| vanished(error.into(), "read link", shown()))?;
            inode.target = target.into_bytes();
        }
        inode.xattrs = Xattrs::pack(&found.attributes);
        let stat = &found.stat;
        let OverlayOptions { owner: policy, ledger, owner_from: source, .. } = *self.options;
        Ownership { policy, ledger, source }
            .settle(DECODE, stat, &mut inode.meta, &mut inode.xattrs, || generation(dir, &name, stat))
            .map_err(|error| error.with_path(shown()))?;
        Ok(inode)
    }

    /// Returns the generation of a lower file, by which an upper one may name it as its origin.
    pub fn generation(&self, found: &Found) -> Result<u64> {
        let (_, name) = split(&found.place.path);
        let name = c_name(name).at(DECODE, self.describe(&found.place))?;
        generation(&*found.parent, &name, &found.stat).at("identify file", self.describe(&found.place))
    }

    /// Returns what the ledger has of a lower file.
    pub fn record(&self, found: &Found) -> Result<Option<&Record>> {
        let Some(ledger) = self.options.ledger else { return Ok(None) };
        let record = ledger.get(&found.stat, || self.generation(found).map_err(io::Error::other));
        record.at("identify file", self.describe(&found.place))
    }

    /// Returns the root of the topmost lower layer.
    pub fn lower_root(&self) -> Result<Found> {
        let place = Place { layer: 1, path: Vec::new() };
        let parent = self.open(&place)?;
        let stat = stat_at(&*parent, c".").at(DECODE, self.describe(&place))?;
        let attributes = attributes(&*parent, c".", || self.describe(&place))?;
        let pairs = attributes.iter().map(|(name, value)| (&name[..], &value[..]));
        let (marks, attributes) = Marks::take(pairs, self.counted, self.options.all_xattrs);
        Ok(Found { place, stat, marks, attributes, parent })
    }
}

/// Returns whether an entry says that there is none of its name.
pub(super) fn is_whiteout(kind: Kind, rdev: (u32, u32), size: u64, marks: &Marks) -> bool {
    match kind {
        Kind::CharDevice => rdev == (0, 0),
        Kind::File => size == 0 && marks.whiteout,
        _ => false,
    }
}

/// Returns all attributes: the marks among them are sorted out later.
pub(super) fn attributes(
    dir: impl AsFd,
    name: &std::ffi::CStr,
    shown: impl Fn() -> Vec<u8>,
) -> Result<Pairs> {
    let mut list = Vec::new();
    xattr::list_at(&dir, name, &mut list)
        .map_err(|error| vanished(error, "list extended attributes", shown()))?;
    read_xattrs(dir, name, &list, true, shown)
}
