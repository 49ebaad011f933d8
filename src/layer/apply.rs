//! Applying layers to a directory.
//!
//! One thread reads the tar and decides (see `layer/model.rs`); several create the files (see `layer/writers.rs`). The
//! list of what is in the tree grows on the way, so that the next scan of the directory has something to compare with.
//! Directories get their permissions and times at the very end, deepest first: until then they must be writable, and
//! whatever is put into them would change their times.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::create::{Privileges, Wanted, finish_existing};
use super::header::BLOCK;
use super::model::Model;
use super::on_disk::{APPLY, OnDisk};
use super::read::{ChunkStream, LayerReader, ReadLimits};
use super::whiteout::Strictness;
use super::writers::{Done, Piece, with_writers};
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::root::c_name;
use crate::fs::stat::stat_at;
use crate::fs::{Kind, Root, Stat, Timestamp, clock};
use crate::progress::{Control, Counters};
use crate::threads;
use crate::tree::builder::{Builder, Inode, ROOT};
use crate::tree::{Ledger, Meta, OwnerPolicy, OwnerXattr, Place, Snapshot};

/// Files up to this size are handed over whole.
pub(super) const WHOLE: u64 = 256 * 1024;
/// How many more wait, open, for the thread that gives them their metadata.
const READY_DIRECTORIES: usize = 16;

/// Options of applying layers.
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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Loss {
    /// The path it belongs to, one for all that is lost there.
    #[serde(serialize_with = "crate::error::as_text")]
    pub path: Arc<[u8]>,
    /// Its name: an extended attribute, or `mtime`.
    #[serde(serialize_with = "crate::error::as_text")]
    pub attribute: Vec<u8>,
    /// Why it was not kept.
    pub reason: &'static str,
}

/// The result of applying layers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Applied {
    /// The tree now, with stat identities: the base of the next comparison.
    pub snapshot: Snapshot,
    /// The ledger: what the disk did not take.
    pub ledger: Ledger,
    /// Attributes that neither took.
    pub losses: Vec<Loss>,
    /// The policy to scan the tree with: the owners on disk for root, 0:0 for everyone else.
    pub owner: OwnerPolicy,
}

/// Returns the policy to scan a tree with that this process made: the owners on disk for root, 0:0 for everyone else.
pub(crate) fn owner_on_disk() -> OwnerPolicy {
    if Privileges::of_process(None).root() { OwnerPolicy::Keep } else { OwnerPolicy::Root }
}

/// A directory that layers are being applied to.
pub struct Target<'a> {
    model: Model,
    disk: OnDisk<'a>,
    options: ApplyOptions,
    /// The control of the last layer.
    control: Control,
    /// The DiffID of the layer that is applied, where there is one.
    layer: Option<[u8; 32]>,
    noting: Option<Noting>,
    losses: Vec<Loss>,
}

/// Notes of the layers, taken while they are applied, so that they need not be read for it another time.
#[derive(Debug, Default)]
struct Noting {
    /// Times that the disk has otherwise than the layers.
    dated: HashMap<u32, Timestamp>,
}

impl<'a> Target<'a> {
    /// Returns a target that is an empty directory.
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

    /// Returns a target that is a tree already, with its snapshot and ledger.
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
        let rights = Privileges::of_process(options.owner_xattr);
        let disk = OnDisk::new(root, rights, tree.node_count() as u32, ledger);
        let model = Model::new(tree, options.strictness, &options.limits);
        Target {
            model,
            disk,
            options,
            control: Control::default(),
            layer: None,
            noting: None,
            losses: Vec::new(),
        }
    }

    /// Has the list of what the layers contain made as well, see [`finish_noted`](Self::finish_noted).
    pub(crate) fn take_notes(&mut self) {
        self.noting = Some(Noting::default());
    }

    /// Sets the layer that is applied next, so that its files have their places in it.
    pub(crate) fn begin_layer(&mut self, diff_id: &Digest) {
        self.layer = Some(*diff_id.bytes());
    }

    /// Keeps the layers from removing what is at this path, which the snapshot does not have, and the directories it is in.
    pub fn protect(&mut self, path: &[u8]) {
        self.disk.protected.push(path.to_vec());
    }

    /// Applies one layer: all of its tar entries, in order.
    ///
    /// After an error the directory is in no defined state; the caller applies to a scratch directory and publishes it
    /// by rename, or reports to its own caller that the tree is damaged.
    pub fn apply<S: ChunkStream>(&mut self, stream: S, control: &Control) -> Result<S> {
        self.control = control.clone();
        self.model.next_layer();
        with_writers(self.options.threads, self.disk.rights, control, |writers| {
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
            if let (Some(layer), Some(node)) = (self.layer, file.filter(|_| entry.size > 0)) {
                let block = reader.entry_offset() / BLOCK as u64;
                self.model.tree.inode_mut(node).place = Some(Place { layer, block });
            }
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
            let lost = note(&mut self.model.tree, &mut self.disk.ledger, self.noting.as_mut(), done);
            // A path is put together only where there is something to say.
            if !lost.is_empty() {
                self.lose(&self.model.tree.path(node), lost)?;
            }
        }
        match self.losses.first() {
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
        self.losses.extend(lost.into_iter().map(loss));
        Ok(())
    }

    /// Reads once more the stat of files of which a name came or went: that moved the ctime of their other names.
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

    /// Returns the ledger without what is gone, and with paths that are there: a file's first name may have been removed or
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
        let (root, rights) = (disk.root, disk.rights);
        let finish = |(node, fd, wanted): Ready| {
            // By its own descriptor: the name in the parent is not needed again.
            let made = finish_existing(fd.as_fd(), c".", &fd, &wanted, rights)
                .at_path("finish directory", || root.describe(&tree.path(node)))?;
            Ok(Done { node, made, linked: false, kept: false })
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
                    // It ended with an error, which it reports.
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
    pub fn finish(self) -> Result<Applied> {
        Ok(self.finish_noted()?.0)
    }

    /// Does what [`finish`](Self::finish) does, and gives what the layers contain, as it would be without a disk, if notes
    /// were taken.
    pub(crate) fn finish_noted(mut self) -> Result<(Applied, Option<Snapshot>)> {
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
        let list = self.noting.map(|noting| {
            for (node, time) in noting.dated {
                self.model.tree.inode_mut(node).meta.mtime = time;
            }
            self.model.tree.finish(None)
        });
        let owner = owner_on_disk();
        Ok((Applied { snapshot, ledger: self.disk.ledger, losses: self.losses, owner }, list.transpose()?))
    }
}

fn set_identity(meta: &mut Meta, stat: &Stat) {
    (meta.dev, meta.ino, meta.ctime, meta.nlink) = (stat.dev, stat.ino, stat.ctime, stat.nlink);
    // What the filesystem could not hold exactly is listed as lost; the comparison goes by what is there.
    meta.mtime = stat.mtime;
}

fn note(
    tree: &mut Builder,
    ledger: &mut Ledger,
    noting: Option<&mut Noting>,
    done: Done,
) -> Vec<(Vec<u8>, &'static str)> {
    let Done { node, made, linked, .. } = done;
    let inode = tree.inode_mut(node);
    if let (Some(noting), true) = (noting, inode.meta.mtime != made.stat.mtime) {
        noting.dated.entry(node).or_insert(inode.meta.mtime);
    }
    set_identity(&mut inode.meta, &made.stat);
    match made.ledger {
        Some(record) => ledger.insert(record),
        // What was written down is about another file that had the inode, or about a directory as it was.
        None if !linked => drop(ledger.take(made.stat.dev, made.stat.ino)),
        None => {}
    }
    made.lost
}
