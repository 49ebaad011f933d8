//! Applying layers to a directory.
//!
//! One thread reads the tar and decides (see `layer/model.rs`); several create the files (see `layer/writers.rs`). The
//! list of what is in the tree grows on the way, so that the next scan of the directory has something to compare with.
//! Directories get their permissions and times at the very end, deepest first: until then they must be writable, and
//! whatever is put into them would change their times.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode};

use super::create::{Made, Privileges, Wanted, finish_existing};
use super::model::{Disk, Model};
use super::read::{ChunkStream, LayerReader, ReadLimits};
use super::whiteout::Strictness;
use super::writers::{Done, Job, Piece, Writers, with_writers};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::make_dir::PrivateDirs;
use crate::fs::remove::remove_all;
use crate::fs::root::{c_name, open_dir_at};
use crate::fs::stat::{is_mount_point, stat_at, stat_fd};
use crate::fs::{Kind, Root, Stat, clock};
use crate::progress::{Control, Counters};
use crate::threads;
use crate::tree::builder::{Builder, Inode, ROOT};
use crate::tree::{Ledger, Meta, OwnerPolicy, OwnerXattr, Snapshot};

const APPLY: &str = "apply layer";
/// Files up to this size are handed over whole.
pub(super) const WHOLE: u64 = 256 * 1024;
/// How many directories the reading thread keeps open.
const OPEN_DIRECTORIES: usize = 64;
/// How many more wait, open, for the thread that gives them their metadata.
const READY_DIRECTORIES: usize = 16;

/// How layers are applied.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// Threads that create files; 0 for one per processor, at most four either way.
    pub threads: usize,
    /// Caps on what the tar may ask for.
    pub limits: ReadLimits,
    /// How to take whiteouts that the specification forbids.
    pub strictness: Strictness,
    /// Also write owners into this attribute, for other tools to read.
    pub owner_xattr: Option<OwnerXattr>,
    /// Make it an error when an attribute can be kept neither on disk nor in the ledger.
    pub deny_loss: bool,
}

/// An attribute that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The path it belongs to, one for all that is lost there.
    pub path: Arc<[u8]>,
    /// Its name: an extended attribute, or `mtime`.
    pub attribute: Vec<u8>,
    /// Why it was not kept.
    pub reason: &'static str,
}

/// What applying gave.
#[derive(Debug)]
pub struct Applied {
    /// Everything in the tree now, with stat identities: the base of the next comparison.
    pub snapshot: Snapshot,
    /// What the disk did not take.
    pub ledger: Ledger,
    /// What neither took.
    pub losses: Vec<Loss>,
    /// The policy to scan the tree with: the owners on disk for root, 0:0 for everyone else.
    pub owner: OwnerPolicy,
}

/// The policy to scan a tree with that this process made: the owners on disk for root, 0:0 for everyone else.
pub(crate) fn owner_on_disk() -> OwnerPolicy {
    if Privileges::of_process(None).root() { OwnerPolicy::Keep } else { OwnerPolicy::Root }
}

/// A directory that layers are being applied to.
pub struct Target<'a> {
    model: Model,
    disk: OnDisk<'a>,
    options: ApplyOptions,
    /// That of the last layer.
    control: Control,
}

impl<'a> Target<'a> {
    /// A target that is an empty directory.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when something is in it.
    pub fn empty(root: &'a Root, options: ApplyOptions) -> Result<Target<'a>> {
        let mut names = crate::fs::dirents::Names::default();
        names.read(root).at(APPLY, root.describe(b""))?;
        if !names.is_empty() {
            return Err(Error::new(ErrorKind::AlreadyExists, APPLY, "the directory is not empty")
                .with_path(root.describe(b"")));
        }
        let mut meta = Meta::directory();
        meta.flags = crate::tree::Flags::IMPLICIT;
        Ok(Self::over(root, Builder::new(Inode::new(meta)), Ledger::default(), options))
    }

    /// A target that is a tree already, with its snapshot and ledger.
    pub fn existing(
        root: &'a Root,
        snapshot: &Snapshot,
        ledger: Ledger,
        options: ApplyOptions,
    ) -> Target<'a> {
        Self::over(root, Builder::from_snapshot(snapshot), ledger, options)
    }

    /// Returns the names in the root that the layers have made so far, those of a layer that failed included.
    pub fn root_names(&self) -> Vec<Vec<u8>> {
        self.model.tree.children(ROOT).map(|(name, _)| name.to_vec()).collect()
    }

    fn over(root: &'a Root, tree: Builder, ledger: Ledger, options: ApplyOptions) -> Target<'a> {
        let who = Privileges::of_process(options.owner_xattr);
        let disk = OnDisk {
            root,
            writers: Arc::new(Writers::new(1, who, &Control::default())),
            who,
            open: HashMap::new(),
            age: 0,
            before: tree.node_count() as u32,
            protected: Vec::new(),
            mounted: HashMap::new(),
            dirty: HashSet::from([ROOT]),
            done: Vec::new(),
            links: Vec::new(),
            directories: PrivateDirs::default(),
            link_targets: HashSet::new(),
            pending: None,
            ledger,
            losses: Vec::new(),
        };
        let model = Model::new(tree, options.strictness, &options.limits);
        Target { model, disk, options, control: Control::default() }
    }

    /// Keeps the layers from removing what is at this path, which the snapshot does not have, and the directories it is in.
    pub fn protect(&mut self, path: &[u8]) {
        self.disk.protected.push(path.to_vec());
    }

    /// Applies one layer: all of its tar entries, in order.
    ///
    /// After an error the directory is in no defined state; the caller applies to a scratch directory and publishes it
    /// by rename, or tells its own caller that the tree is damaged.
    pub fn apply<S: ChunkStream>(&mut self, stream: S, control: &Control) -> Result<S> {
        self.control = control.clone();
        self.model.next_layer();
        with_writers(self.options.threads, self.disk.who, control, |writers| {
            self.disk.writers = Arc::clone(writers);
            self.read(stream, control)
        })
    }

    fn read<S: ChunkStream>(&mut self, stream: S, control: &Control) -> Result<S> {
        let mut reader = LayerReader::new(stream, self.options.limits.clone());
        let mut since = 0;
        while let Some(entry) = reader.next_entry()? {
            control.check(APPLY)?;
            Counters::add(&control.counters.entries, 1);
            self.lose(&entry.path, entry.lost.clone())?;
            let file = self.model.entry(&entry, &mut self.disk)?;
            since += 1;
            if since >= 1024 {
                // What is done is taken in on the way: waiting for the end would hold it all in memory.
                since = 0;
                let done = self.disk.writers.collect();
                self.disk.done.extend(done);
                self.merge()?;
            }
            let Some(job) = self.disk.pending.take() else { continue };
            debug_assert!(file.is_none() || file == Some(job.node));
            let queue = self.disk.writers.queue_of(self.model.tree.parent(job.node));
            if file.is_none() || entry.size <= WHOLE {
                let mut data = Vec::new();
                while let Some(piece) = reader.next_data()? {
                    data.push(piece);
                }
                self.disk.writers.push(queue, Piece::Whole(job, data))?;
            } else {
                self.disk.writers.push(queue, Piece::Begin(job))?;
                while let Some(piece) = reader.next_data()? {
                    self.disk.writers.push(queue, Piece::More(piece))?;
                }
                self.disk.writers.push(queue, Piece::End)?;
            }
        }
        let stream = reader.finish()?;
        self.disk.barrier(&self.model.tree)?;
        self.merge()?;
        Ok(stream)
    }

    /// Takes the stat of what the threads made into the list.
    fn merge(&mut self) -> Result<()> {
        for done in std::mem::take(&mut self.disk.done) {
            let node = done.node;
            let lost = note(&mut self.model.tree, &mut self.disk.ledger, done);
            // A path is put together only where there is something to say.
            if !lost.is_empty() {
                self.lose(&self.model.tree.path(node), lost)?;
            }
        }
        match self.disk.losses.first() {
            Some(loss) if self.options.deny_loss => {
                let message =
                    format!("{} cannot be kept: {}", crate::error::escape(&loss.attribute), loss.reason);
                Err(Error::new(ErrorKind::Loss, APPLY, message).with_path(&loss.path))
            }
            _ => Ok(()),
        }
    }

    /// Adds to the list of what is lost. It is held in memory like the list of what is there, and counted with it.
    fn lose(&mut self, path: &[u8], lost: Vec<(Vec<u8>, &'static str)>) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        let each: usize = lost.iter().map(|(attribute, _)| attribute.len() + size_of::<Loss>()).sum();
        self.model.hold(path.len() + each, path)?;
        let path: Arc<[u8]> = path.into();
        let loss = |(attribute, reason)| Loss { path: Arc::clone(&path), attribute, reason };
        self.disk.losses.extend(lost.into_iter().map(loss));
        Ok(())
    }

    /// A name that came or went moved the ctime of the file's other names; their identity is asked once more.
    fn restat_links(&mut self, directories: &[u32]) -> Result<()> {
        for &directory in directories {
            self.control.check(APPLY)?;
            let tree = &self.model.tree;
            let shared: Vec<u32> = tree
                .children(directory)
                .map(|(_, node)| node)
                .filter(|&node| tree.kind(node) != Kind::Directory)
                .filter(|&node| tree.names(node) > 1 || tree.inode(node).meta.nlink != tree.names(node))
                .collect();
            for node in shared {
                let dir = self.disk.directory(&self.model.tree, directory)?;
                let shown = || self.disk.shown(&self.model.tree, node);
                let name = c_name(self.model.tree.name(node)).at_path(APPLY, shown)?;
                let stat = stat_at(&*dir, &name).at_path(APPLY, shown)?;
                set_identity(&mut self.model.tree.inode_mut(node).meta, &stat);
            }
        }
        Ok(())
    }

    /// The ledger without what is gone, and with paths that are there: a file's first name may have been removed or
    /// replaced since it was written down.
    fn tidy_ledger(&mut self, directories: &[u32]) -> Ledger {
        let mut old = std::mem::take(&mut self.disk.ledger);
        if old.is_empty() {
            return old;
        }
        let tree = &self.model.tree;
        let mut tidy = Ledger::default();
        let in_directory = |&directory: &u32| tree.children(directory).map(|(_, node)| node);
        for node in std::iter::once(ROOT).chain(directories.iter().flat_map(in_directory)) {
            let meta = &tree.inode(node).meta;
            if let Some(mut record) = old.take(meta.dev, meta.ino) {
                record.path = tree.path(node);
                tidy.insert(record);
            }
        }
        tidy
    }

    /// Gives the directories their metadata, deepest first: through one that is finished there may be no way any more. This
    /// thread opens them, and another one does the rest.
    fn finish_directories(&mut self, order: &[u32]) -> Result<()> {
        type Ready = (u32, Arc<OwnedFd>, Wanted);
        let (tree, disk) = (&self.model.tree, &mut self.disk);
        let (root, who) = (disk.root, disk.who);
        let finish = |(node, fd, wanted): Ready| {
            // By its own descriptor: the name in the parent is not needed again.
            let made = finish_existing(fd.as_fd(), c".", &fd, &wanted, who)
                .at_path("finish directory", || root.describe(&tree.path(node)))?;
            Ok(Done { node, made, linked: false })
        };
        let done = std::thread::scope(|scope| {
            let (give, take) = std::sync::mpsc::sync_channel::<Ready>(READY_DIRECTORIES);
            let work = move || take.into_iter().map(finish).collect::<Result<Vec<Done>>>();
            let other = match threads::count(self.options.threads) {
                1 => None,
                _ => threads::spawn(scope, "treering-apply", work).ok(),
            };
            let mut done = Vec::new();
            for &node in order.iter().rev() {
                if !disk.dirty.contains(&node) {
                    continue;
                }
                self.control.check(APPLY)?;
                let fd = disk.directory(tree, node)?;
                disk.open.remove(&node);
                let inode = tree.inode(node);
                let wanted = Wanted { meta: inode.meta, target: Vec::new(), xattrs: inode.xattrs.clone() };
                let ready = (node, fd, wanted);
                if other.is_none() {
                    done.push(finish(ready)?);
                } else if give.send(ready).is_err() {
                    // It ended with an error, which it tells.
                    break;
                }
            }
            drop(give);
            match other.map(threads::join) {
                Some(done) => done,
                None => Ok(done),
            }
        })?;
        self.disk.done.extend(done);
        Ok(())
    }

    /// Gives the directories their metadata and closes the list. The token that could cancel the last layer cancels this,
    /// too.
    pub fn finish(mut self) -> Result<Applied> {
        let mut order = vec![ROOT];
        let mut i = 0;
        while i < order.len() {
            let tree = &self.model.tree;
            order
                .extend(tree.children(order[i]).map(|(_, n)| n).filter(|&n| tree.kind(n) == Kind::Directory));
            i += 1;
        }
        // First, because it opens directories, and that may undo what follows.
        self.restat_links(&order)?;
        self.finish_directories(&order)?;
        self.merge()?;
        self.disk.ledger = self.tidy_ledger(&order);
        let root = self.disk.root;
        let newest = order
            .iter()
            .map(|&node| self.model.tree.inode(node).meta.ctime)
            .fold(crate::fs::Timestamp::default(), Ord::max);
        // A tick's wait, and nothing in the list is in doubt.
        let clock = clock::wait_past(root, newest).at(APPLY, root.describe(b""))?;
        let snapshot = self.model.tree.finish(Some(clock))?;
        let owner = owner_on_disk();
        Ok(Applied { snapshot, ledger: self.disk.ledger, losses: self.disk.losses, owner })
    }
}

fn set_identity(meta: &mut Meta, stat: &Stat) {
    (meta.dev, meta.ino, meta.ctime, meta.nlink) = (stat.dev, stat.ino, stat.ctime, stat.nlink);
    // What the filesystem could not hold exactly is listed as lost; the comparison has to know what is there.
    meta.mtime = stat.mtime;
}

fn note(tree: &mut Builder, ledger: &mut Ledger, done: Done) -> Vec<(Vec<u8>, &'static str)> {
    let Done { node, made, linked } = done;
    set_identity(&mut tree.inode_mut(node).meta, &made.stat);
    match made.ledger {
        Some(record) => ledger.insert(record),
        // What was written down is about another file that had the inode, or about a directory as it was.
        None if !linked => drop(ledger.take(made.stat.dev, made.stat.ino)),
        None => {}
    }
    made.lost
}

/// Makes a directory fit for being filled: what is put into it must not inherit its group or its default ACL, and must be
/// allowed. Whether anything had to change.
pub(super) fn open_up(fd: &OwnedFd, was_here: bool) -> std::io::Result<bool> {
    let stat = stat_fd(fd)?;
    let mode = (stat.mode | 0o700) & !0o2000;
    let mut changed = mode != stat.mode;
    if changed {
        rustix::io::retry_on_intr(|| rustix::fs::fchmod(fd, Mode::from_raw_mode(mode as u32)))?;
    }
    const DEFAULT_ACL: &str = "system.posix_acl_default";
    if was_here && rustix::fs::fgetxattr(fd, DEFAULT_ACL, &mut [0u8; 0]).is_ok() {
        rustix::fs::fremovexattr(fd, DEFAULT_ACL)?;
        changed = true;
    }
    Ok(changed)
}

struct OnDisk<'a> {
    root: &'a Root,
    writers: Arc<Writers>,
    who: Privileges,
    open: HashMap<u32, (Arc<OwnedFd>, u64)>,
    age: u64,
    /// Nodes below this number were there before the first layer.
    before: u32,
    /// Paths that stay whatever a layer says.
    protected: Vec<Vec<u8>>,
    /// For directories that were there before: whether something is mounted on them.
    mounted: HashMap<u32, bool>,
    dirty: HashSet<u32>,
    directories: PrivateDirs,
    done: Vec<Done>,
    /// Hard links to make once their targets surely are there: the new name, the existing one, and `replaces`.
    links: Vec<(u32, u32, bool)>,
    link_targets: HashSet<(u32, Arc<[u8]>)>,
    /// The entry just decided on, waiting for its content.
    pending: Option<Box<Job>>,
    ledger: Ledger,
    losses: Vec<Loss>,
}

impl OnDisk<'_> {
    fn shown(&self, tree: &Builder, node: u32) -> Vec<u8> {
        self.root.describe(&tree.path(node))
    }

    /// A descriptor of a directory, by way of the nearest one above that is open. No component is followed if it is a
    /// symbolic link, so a tree that is changed under our hands leads nowhere else.
    fn directory(&mut self, tree: &Builder, node: u32) -> Result<Arc<OwnedFd>> {
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
                    // Ours, and without permissions; they are restored at the end.
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
            // Whoever goes up from here step by step, as at the end of a deep tree, finds a start nearby each time.
            if below.is_power_of_two() {
                self.keep_open(step, fd.clone());
            }
        }
        self.keep_open(node, fd.clone());
        Ok(fd)
    }

    /// Makes a directory fit for being filled; its own metadata returns at the end. What is put into it must not inherit
    /// its group or its default ACL, and without root it may lack permissions that we need.
    fn prepare(&mut self, node: u32, fd: &OwnedFd) -> std::io::Result<()> {
        let was_here = node < self.before;
        if self.who.root() && !was_here {
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
    fn barrier(&mut self, tree: &Builder) -> Result<()> {
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
                match rustix::fs::unlinkat(&*to, &to_name, AtFlags::empty()) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(Error::io("replace file", shown(), error)),
                }
            }
            rustix::fs::linkat(&*from, &from_name, &*to, &to_name, AtFlags::empty())
                .at_path("create hard link", shown)?;
            // The link moved the inode's ctime; its last name's stat is the one that holds.
            let stat = stat_at(&*to, &to_name).at_path("create hard link", shown)?;
            let made = Made { stat, ledger: None, lost: Vec::new() };
            self.done.push(Done { node, made, linked: true });
        }
        Ok(())
    }

    fn job(&mut self, tree: &Builder, node: u32, replaces: bool) -> Result<Box<Job>> {
        let parent = tree.parent(node);
        let dir = self.directory(tree, parent)?;
        let name = c_name(tree.name(node)).at_path("create file", || self.shown(tree, node))?;
        let inode = tree.inode(node);
        let wanted = Wanted { meta: inode.meta, target: inode.target.clone(), xattrs: inode.xattrs.clone() };
        Ok(Box::new(Job { node, dir, name, wanted, replaces, path: tree.path(node) }))
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
