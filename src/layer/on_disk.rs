//! The directory that layers are applied to: what is open, what was made, and what waits to be made.
//!
//! The thread that reads the tar owns it. It makes and removes directories itself, and puts together what the writers
//! (see `layer/writers.rs`) are to create.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode};

use super::create::{Made, Privileges, Wanted};
use super::model::Disk;
use super::writers::{Done, Job, Writers};
use crate::error::{At, Error, Result};
use crate::fs::make_dir::PrivateDirs;
use crate::fs::remove::{remove_all, unlink};
use crate::fs::root::{c_name, open_dir_at};
use crate::fs::stat::{is_mount_point, stat_at, stat_fd};
use crate::fs::xattr::remove_default_acl;
use crate::fs::{Kind, Root};
use crate::progress::Control;
use crate::tree::Ledger;
use crate::tree::builder::{Builder, ROOT};

pub(super) const APPLY: &str = "apply layer";
/// How many directories the reading thread keeps open.
const OPEN_DIRECTORIES: usize = 64;

/// A directory on disk, as the model of a tree has it changed.
pub(super) struct OnDisk<'a> {
    pub(super) root: &'a Root,
    pub(super) writers: Arc<Writers>,
    pub(super) rights: Privileges,
    pub(super) open: HashMap<u32, (Arc<OwnedFd>, u64)>,
    age: u64,
    /// Nodes below this number were there before the first layer.
    before: u32,
    /// Paths that stay whatever a layer says.
    pub(super) protected: Vec<Vec<u8>>,
    /// For directories that were there before: whether something is mounted on them.
    mounted: HashMap<u32, bool>,
    pub(super) dirty: HashSet<u32>,
    directories: PrivateDirs,
    pub(super) done: Vec<Done>,
    /// Hard links to make once their targets surely are there: the new name, the existing one, and `replaces`.
    links: Vec<(u32, u32, bool)>,
    link_targets: HashSet<(u32, Arc<[u8]>)>,
    /// The entry just decided on, waiting for its content.
    pub(super) pending: Option<Box<Job>>,
    pub(super) ledger: Ledger,
}

impl<'a> OnDisk<'a> {
    /// Returns the directory `root`, of which `before` nodes were there before the first layer.
    pub(super) fn new(root: &'a Root, rights: Privileges, before: u32, ledger: Ledger) -> OnDisk<'a> {
        OnDisk {
            root,
            writers: Arc::new(Writers::new(1, rights, &Control::default())),
            rights,
            open: HashMap::new(),
            age: 0,
            before,
            protected: Vec::new(),
            mounted: HashMap::new(),
            dirty: HashSet::from([ROOT]),
            done: Vec::new(),
            links: Vec::new(),
            directories: PrivateDirs::default(),
            link_targets: HashSet::new(),
            pending: None,
            ledger,
        }
    }
}

impl OnDisk<'_> {
    pub(super) fn shown(&self, tree: &Builder, node: u32) -> Vec<u8> {
        self.root.describe(&tree.path(node))
    }

    /// Returns a descriptor of a directory, by way of the nearest one above that is open. No component is followed if it is
    /// a symbolic link, so a tree that changes in the meantime leads nowhere else.
    pub(super) fn directory(&mut self, tree: &Builder, node: u32) -> Result<Arc<OwnedFd>> {
        self.age += 1;
        if let Some((fd, used)) = self.open.get_mut(&node) {
            *used = self.age;
            return Ok(fd.clone());
        }
        let mut way = Vec::new();
        let mut at = node;
        let mut fd = loop {
            if let Some((fd, used)) = self.open.get_mut(&at) {
                *used = self.age;
                break fd.clone();
            }
            if at == ROOT {
                let fd = self.root.open_dir(b"").at("open directory", self.root.describe(b""))?;
                self.prepare(ROOT, &fd).at("open directory", self.root.describe(b""))?;
                break Arc::new(fd);
            }
            way.push(at);
            at = tree.parent(at);
        };
        for (below, &step) in way.iter().enumerate().rev() {
            let shown = || self.root.describe(&tree.path(step));
            let name = c_name(tree.name(step)).at_path("open directory", shown)?;
            let opened = match open_dir_at(&*fd, &name) {
                Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
                    // A directory of this user's without permissions, which are restored at the end.
                    let stat = stat_at(&*fd, &name).at_path("open directory", shown)?;
                    crate::fs::chmod::chmod_at(&*fd, &name, stat.mode as u32 | 0o700)
                        .at_path("open directory", shown)?;
                    self.dirty.insert(step);
                    open_dir_at(&*fd, &name)
                }
                other => other,
            };
            let opened = opened.at_path("open directory", shown)?;
            let prepared = self.prepare(step, &opened);
            prepared.at_path("open directory", || self.shown(tree, step))?;
            fd = Arc::new(opened);
            // A way up from here step by step, as at the end of a deep tree, finds a start nearby each time.
            if below.is_power_of_two() {
                self.keep_open(step, fd.clone());
            }
        }
        self.keep_open(node, fd.clone());
        Ok(fd)
    }

    /// Prepares a directory to be filled, see [`open_up`]; its own metadata returns at the end.
    fn prepare(&mut self, node: u32, fd: &OwnedFd) -> std::io::Result<()> {
        let was_here = node < self.before;
        if self.rights.root() && !was_here {
            return Ok(());
        }
        if open_up(fd, was_here)? {
            self.dirty.insert(node);
        }
        Ok(())
    }

    /// Refuses to remove what was there before where that would reach through a mount point, or take what is protected: a layer
    /// does not say what else this machine has in the tree.
    fn spare(&mut self, tree: &Builder, node: u32) -> Result<()> {
        if node >= self.before {
            return Ok(());
        }
        let path = tree.path(node);
        let kept = self.protected.iter().any(|kept| {
            kept.strip_prefix(&path[..]).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        });
        if kept {
            return Err(Error::invalid(APPLY, "the layer removes a directory that the store is in")
                .with_path(self.shown(tree, node))
                .with_hint("move the store, or apply the layer to a copy of the tree"));
        }
        let above =
            std::iter::successors(Some(tree.parent(node)), |&at| (at != ROOT).then(|| tree.parent(at)));
        let mut suspects: Vec<u32> = above.filter(|&at| at != ROOT).collect();
        let mut todo = vec![node];
        while let Some(at) = todo.pop() {
            if tree.kind(at) == Kind::Directory && at < self.before {
                suspects.push(at);
                todo.extend(tree.children(at).map(|(_, child)| child));
            }
        }
        for at in suspects {
            let known = self.mounted.get(&at).copied();
            let mounted = match known {
                Some(mounted) => mounted,
                None => {
                    let fd = self.directory(tree, at)?;
                    is_mount_point(&fd).at_path(APPLY, || self.shown(tree, at))?
                }
            };
            self.mounted.insert(at, mounted);
            if mounted {
                let message = "the layer removes something from where another filesystem is mounted";
                return Err(Error::invalid(APPLY, message)
                    .with_path(self.shown(tree, at))
                    .with_hint("unmount it, or apply the layer to a copy of the tree"));
            }
        }
        Ok(())
    }

    fn keep_open(&mut self, node: u32, fd: Arc<OwnedFd>) {
        if self.open.len() >= OPEN_DIRECTORIES {
            let mut ages: Vec<u64> = self.open.values().map(|(_, used)| *used).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            self.open.retain(|_, (_, used)| *used > middle);
        }
        self.open.insert(node, (fd, self.age));
    }

    /// Waits for the threads and makes the links that were put off.
    pub(super) fn barrier(&mut self, tree: &Builder) -> Result<()> {
        debug_assert!(self.pending.is_none());
        let done = self.writers.drain()?;
        self.done.extend(done);
        self.link_targets.clear();
        for (node, existing, replaces) in std::mem::take(&mut self.links) {
            let from = self.directory(tree, tree.parent(existing))?;
            let to = self.directory(tree, tree.parent(node))?;
            let shown = || self.shown(tree, node);
            let from_name = c_name(tree.name(existing)).at_path("create hard link", shown)?;
            let to_name = c_name(tree.name(node)).at_path("create hard link", shown)?;
            if replaces {
                unlink(&*to, &to_name).at_path("replace file", shown)?;
            }
            rustix::fs::linkat(&*from, &from_name, &*to, &to_name, AtFlags::empty())
                .at_path("create hard link", shown)?;
            // The link moved the inode's ctime; its last name's stat is the one that holds.
            let stat = stat_at(&*to, &to_name).at_path("create hard link", shown)?;
            let made = Made { stat, ledger: None, lost: Vec::new() };
            self.done.push(Done { node, made, linked: true, kept: true });
        }
        Ok(())
    }

    fn job(&mut self, tree: &Builder, node: u32, replaces: bool) -> Result<Box<Job>> {
        let parent = tree.parent(node);
        let dir = self.directory(tree, parent)?;
        let name = c_name(tree.name(node)).at_path("create file", || self.shown(tree, node))?;
        let inode = tree.inode(node);
        let wanted = Wanted { meta: inode.meta, target: inode.target.clone(), xattrs: inode.xattrs.clone() };
        Ok(Box::new(Job { node, dir, name, wanted, replaces, keeps: None, path: tree.path(node) }))
    }
}

impl Disk for OnDisk<'_> {
    fn make_directory(&mut self, tree: &Builder, node: u32) -> Result<()> {
        let parent = self.directory(tree, tree.parent(node))?;
        let name = c_name(tree.name(node)).at_path("create directory", || self.shown(tree, node))?;
        let made = self.directories.make(&*parent, &name);
        made.at_path("create directory", || self.shown(tree, node))?;
        self.dirty.insert(node);
        Ok(())
    }

    fn touch_directory(&mut self, _: &Builder, node: u32) -> Result<()> {
        self.dirty.insert(node);
        Ok(())
    }

    fn remove(&mut self, tree: &Builder, node: u32, fresh: bool) -> Result<()> {
        self.spare(tree, node)?;
        let directory = tree.kind(node) == Kind::Directory;
        let linked = self.link_targets.contains(&(tree.parent(node), tree.name(node).clone()));
        if fresh || linked || (directory && !self.links.is_empty()) {
            self.barrier(tree)?;
        }
        let parent = self.directory(tree, tree.parent(node))?;
        let name = c_name(tree.name(node)).at_path("remove", || self.shown(tree, node))?;
        // What is kept open below it is not asked for again, numbers of nodes being given once, and is closed in time.
        self.open.remove(&node);
        remove_all(&*parent, &name).at_path("remove", || self.shown(tree, node))
    }

    fn make(&mut self, tree: &Builder, node: u32, replaces: bool) -> Result<()> {
        if replaces && self.link_targets.contains(&(tree.parent(node), tree.name(node).clone())) {
            // The model has the new file in its place already; what the links join is found by path, which is the same.
            self.barrier(tree)?;
        }
        self.pending = Some(self.job(tree, node, replaces)?);
        Ok(())
    }

    fn link(&mut self, tree: &Builder, node: u32, existing: u32, replaces: bool) -> Result<()> {
        self.links.push((node, existing, replaces));
        self.link_targets.insert((tree.parent(existing), tree.name(existing).clone()));
        Ok(())
    }
}

/// Prepares a directory to be filled: its user gets all permissions, and what is put into it must not inherit its group or its default
/// ACL. Returns whether anything had to change. `was_here` is for a directory that was not made by this process.
pub(super) fn open_up(fd: &OwnedFd, was_here: bool) -> std::io::Result<bool> {
    let stat = stat_fd(fd)?;
    let mode = (stat.mode | 0o700) & !0o2000;
    let mut changed = mode != stat.mode;
    if changed {
        rustix::io::retry_on_intr(|| rustix::fs::fchmod(fd, Mode::from_raw_mode(mode as u32)))?;
    }
    if was_here {
        changed |= remove_default_acl(fd)?;
    }
    Ok(changed)
}
