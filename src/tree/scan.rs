//! Walking a tree in parallel into a [`Snapshot`].
//!
//! Each directory is one task: read its names, `statx` each, list extended attributes. With a previous snapshot, a
//! directory whose stat identity is unchanged is not read again, and an entry whose identity is unchanged keeps what was
//! known of it, attributes included: the inode's ctime moves whenever any of it does, and cannot be set back.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::codec::{Record, Writer};
use super::entry::{Flags, Meta, NONE, Xattrs};
use super::hash::hash_file_at;
use super::ledger::Ledger;
use super::owner::OwnerPolicy;
use super::snapshot::Snapshot;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::dirents::Names;
use crate::fs::generation::generation;
use crate::fs::root::{c_name, open_dir_at};
use crate::fs::stat::{stat_at, stat_fd};
use crate::fs::{Kind, Root, Stat, Timestamp, clock, xattr};
use crate::progress::{Control, Counters};

const SCAN: &str = "scan tree";

/// How many directory descriptors one scan may keep open for the directories below them. A directory beyond that is
/// reached again from the nearest open one above it.
const OPEN_DIRECTORIES: usize = 256;

/// How a scan works.
#[derive(Debug, Clone, Copy)]
pub struct ScanOptions<'a> {
    /// Threads to use; 0 for one per processor.
    pub threads: usize,
    /// Whose the files are when the ledger does not say.
    pub owner: &'a OwnerPolicy,
    /// What the disk could not hold.
    pub ledger: Option<&'a Ledger>,
    /// A snapshot of the same tree from before, taken with the same policy and ledger: what has not changed since is
    /// taken from it.
    pub previous: Option<&'a Snapshot>,
    /// Leave out what is mounted below the root: a mount point stays, as an empty directory.
    pub one_file_system: bool,
    /// Leave out extended attributes that only the host's own security modules use, see [`kept_xattr`]. On for layers.
    pub all_xattrs: bool,
}

impl Default for ScanOptions<'_> {
    fn default() -> Self {
        ScanOptions {
            threads: 0,
            owner: &OwnerPolicy::Root,
            ledger: None,
            previous: None,
            one_file_system: false,
            all_xattrs: false,
        }
    }
}

/// Something in the tree that is not in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is.
    pub path: Vec<u8>,
    /// Why it was left out, in plain words.
    pub reason: &'static str,
}

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// Everything in the tree.
    pub snapshot: Snapshot,
    /// What cannot be part of a layer and was left out: sockets, and mount points when asked to stay on one filesystem.
    pub skipped: Vec<Skipped>,
    /// How many entries have owners other than the policy gave them.
    pub owners_replaced: u64,
    /// How many entries kept what the previous snapshot knew of them.
    pub unchanged: u64,
}

/// Whether a layer carries this attribute. SELinux labels, IMA and EVM signatures, NFS ACLs and overlayfs's own marks
/// belong to the machine and the mount a tree happens to be on, not to its content.
pub fn kept_xattr(name: &[u8]) -> bool {
    !matches!(name, b"security.selinux" | b"security.ima" | b"security.evm" | b"system.nfs4_acl")
        && !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
}

/// The number of threads that `0` stands for.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// A directory with subdirectories still to be read. Its descriptor stays open until the last of them has been opened,
/// budget permitting; after that, or without it, the way down is walked again by name.
#[derive(Debug)]
struct OpenDir {
    fd: Mutex<Option<Arc<OwnedFd>>>,
    waiting: AtomicUsize,
    parent: Option<Arc<OpenDir>>,
    name: CString,
    open: Arc<AtomicUsize>,
}

impl Drop for OpenDir {
    fn drop(&mut self) {
        self.close();
        // A chain of thousands would otherwise be dropped by as many nested calls.
        let mut next = self.parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.parent.take();
        }
    }
}

impl OpenDir {
    fn fd(&self) -> Option<Arc<OwnedFd>> {
        self.fd.lock().expect("no holder panics").clone()
    }

    fn close(&self) {
        if self.fd.lock().expect("no holder panics").take().is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The path of this directory, for messages.
    fn path(&self) -> Vec<u8> {
        let mut names: Vec<&[u8]> = vec![self.name.to_bytes()];
        let mut at = self.parent.as_deref();
        while let Some(dir) = at {
            names.push(dir.name.to_bytes());
            at = dir.parent.as_deref();
        }
        names.pop();
        names.reverse();
        names.join(&b'/')
    }

    /// Opens `name` below this directory, by the descriptor in hand if there is one.
    fn open(&self, name: &CStr, in_hand: Option<Arc<OwnedFd>>) -> std::io::Result<OwnedFd> {
        let opened = match in_hand.or_else(|| self.fd()) {
            Some(fd) => open_dir_at(&*fd, name),
            None => self.walk(name),
        };
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
        opened
    }

    fn walk(&self, name: &CStr) -> std::io::Result<OwnedFd> {
        let mut way = vec![name, self.name.as_c_str()];
        let mut at = self.parent.as_deref();
        let above = loop {
            let dir = at.ok_or(std::io::ErrorKind::NotFound)?;
            match dir.fd() {
                Some(fd) => break fd,
                None => way.push(&dir.name),
            }
            at = dir.parent.as_deref();
        };
        let mut fd = open_dir_at(&*above, way.pop().expect("two names at least"))?;
        while let Some(name) = way.pop() {
            fd = open_dir_at(&fd, name)?;
        }
        Ok(fd)
    }
}

struct Task {
    /// The directory's number in the order directories were met; its entries are found under it.
    number: u32,
    parent: Option<Arc<OpenDir>>,
    name: CString,
    /// What the directory was when its parent was read.
    identity: (u64, u64),
    /// The same directory in the previous snapshot, and whether its list of names still holds.
    previous: u32,
    names_hold: bool,
}

/// One entry as a worker leaves it; offsets are into the worker's own bytes.
struct Raw {
    meta: Meta,
    name: (u32, u16),
    target: (u32, u32),
    xattrs: (u32, u32),
    digest: Option<[u8; 32]>,
    directory: u32,
}

/// The entries of one directory: `first..first + count` of a worker's entries.
struct Block {
    directory: u32,
    first: u32,
    count: u32,
}

#[derive(Default)]
struct Found {
    entries: Vec<Raw>,
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    skipped: Vec<Skipped>,
    owners_replaced: u64,
    unchanged: u64,
}

impl Found {
    fn store(&mut self, bytes: &[u8]) -> Result<u32> {
        let at = u32::try_from(self.bytes.len())
            .map_err(|_| Error::limit(SCAN, "names and attributes of one thread exceed 4 GiB"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(at)
    }
}

struct Queue {
    tasks: Vec<Task>,
    /// Tasks queued or being worked on; the walk ends at zero.
    pending: usize,
    failed: Option<Error>,
}

struct Shared<'a> {
    root: &'a Root,
    options: ScanOptions<'a>,
    control: &'a Control,
    queue: Mutex<Queue>,
    wake: Condvar,
    directories: AtomicUsize,
    open: Arc<AtomicUsize>,
    root_dev: u64,
}

/// Walks the tree below `root`.
///
/// # Errors
/// Anything that cannot be read is an error that names it; nothing is left out silently.
pub fn scan(root: &Root, options: &ScanOptions<'_>, control: &Control) -> Result<Scan> {
    let root_stat = stat_fd(root).at(SCAN, root.describe(b""))?;
    let options = ScanOptions {
        threads: if options.threads == 0 { default_threads() } else { options.threads },
        ..*options
    };
    let shared = Shared {
        root,
        options,
        control,
        queue: Mutex::new(Queue { tasks: Vec::new(), pending: 0, failed: None }),
        wake: Condvar::new(),
        directories: AtomicUsize::new(1),
        open: Arc::new(AtomicUsize::new(0)),
        root_dev: root_stat.dev,
    };
    let mut first = Worker::new(&shared);
    let root_raw = first.root_entry(&root_stat)?;
    let threads = options.threads.max(1);
    let mut found: Vec<Found> = std::thread::scope(|scope| {
        let handles: Vec<_> = (1..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut worker = Worker::new(&shared);
                    worker.run();
                    worker.found
                })
            })
            .collect();
        first.run();
        let mut found = vec![first.found];
        for handle in handles {
            match handle.join() {
                Ok(part) => found.push(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        found
    });
    if let Some(error) = shared.queue.into_inner().expect("no thread is left").failed {
        return Err(error);
    }
    let newest =
        found.iter().flat_map(|f| &f.entries).map(|e| e.meta.ctime).fold(root_raw.meta.ctime, Ord::max);
    let now = clock::now(root).at(SCAN, root.describe(b""))?;
    // Only what was stamped in the last tick is in doubt, and waiting a tick settles it: whatever changes the file
    // from here on gets a later stamp.
    let now = if newest >= now.minus_nanos(clock::TICK_NANOS) && newest <= now {
        clock::wait_past(root, newest).at(SCAN, root.describe(b""))?
    } else {
        now
    };
    let mut scan = assemble(root_raw, &found, now, root, control)?;
    for part in &mut found {
        scan.skipped.append(&mut part.skipped);
        scan.owners_replaced += part.owners_replaced;
        scan.unchanged += part.unchanged;
    }
    scan.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scan)
}

struct Worker<'s, 'a> {
    shared: &'s Shared<'a>,
    found: Found,
    names: Names,
    list: Vec<u8>,
    value: Vec<u8>,
    packed: Vec<u8>,
    no_xattrs_on: Option<u64>,
}

impl<'s, 'a> Worker<'s, 'a> {
    fn new(shared: &'s Shared<'a>) -> Self {
        Worker {
            shared,
            found: Found::default(),
            names: Names::default(),
            list: Vec::new(),
            value: Vec::new(),
            packed: Vec::new(),
            no_xattrs_on: None,
        }
    }

    /// The root's own entry, and the task that starts the walk.
    fn root_entry(&mut self, stat: &Stat) -> Result<Raw> {
        let shared = self.shared;
        let fd = shared.root.open_dir(b"").at(SCAN, shared.root.describe(b""))?;
        let previous = shared.options.previous.map(|p| (p, 0));
        let mut raw = self.raw(&fd, c".", stat, previous, None)?;
        raw.name = (0, 0);
        raw.directory = 0;
        let names_hold = self.names_hold(stat, previous);
        let mut queue = shared.queue.lock().expect("no holder panics");
        queue.pending = 1;
        queue.tasks.push(Task {
            number: 0,
            parent: None,
            name: c".".to_owned(),
            identity: (stat.dev, stat.ino),
            previous: if previous.is_some() { 0 } else { NONE },
            names_hold,
        });
        Ok(raw)
    }

    /// Whether a directory's list of names is still what the previous snapshot has.
    fn names_hold(&self, stat: &Stat, previous: Option<(&Snapshot, u32)>) -> bool {
        previous.is_some_and(|(snapshot, index)| {
            let meta = snapshot.meta(index);
            meta.kind == Kind::Directory && meta.same_identity(&Meta { ..disk_meta(stat, &meta) })
        })
    }

    fn run(&mut self) {
        // The first subdirectory of what was just read goes on right here, through the descriptor still in hand.
        let mut next: Option<(Task, Arc<OwnedFd>)> = None;
        loop {
            let (task, in_hand) = match next.take() {
                Some((task, fd)) => (task, Some(fd)),
                None => match self.take_task() {
                    Some(task) => (task, None),
                    None => return,
                },
            };
            let result = self.directory(task, in_hand);
            let mut queue = self.shared.queue.lock().expect("no holder panics");
            match result {
                Ok(None) => queue.pending -= 1,
                Ok(Some((mut tasks, fd))) => {
                    queue.pending += tasks.len() - 1;
                    // Last first, so that they are taken in order of names.
                    tasks.reverse();
                    next = tasks.pop().map(|task| (task, fd));
                    queue.tasks.append(&mut tasks);
                }
                Err(error) => {
                    queue.pending -= 1;
                    queue.failed.get_or_insert(error);
                }
            }
            let stop = queue.failed.is_some();
            drop(queue);
            self.shared.wake.notify_all();
            if stop {
                return;
            }
        }
    }

    fn take_task(&self) -> Option<Task> {
        let mut queue = self.shared.queue.lock().expect("no holder panics");
        loop {
            if queue.failed.is_some() || queue.pending == 0 {
                self.shared.wake.notify_all();
                return None;
            }
            if let Some(task) = queue.tasks.pop() {
                return Some(task);
            }
            queue = self.shared.wake.wait(queue).expect("no holder panics");
        }
    }

    /// Reads one directory; gives the directories in it, if any, and its descriptor.
    #[allow(clippy::type_complexity)]
    fn directory(
        &mut self,
        task: Task,
        in_hand: Option<Arc<OwnedFd>>,
    ) -> Result<Option<(Vec<Task>, Arc<OwnedFd>)>> {
        let shared = self.shared;
        shared.control.check(SCAN)?;
        let shown = |name: &[u8]| {
            let mut path = match &task.parent {
                Some(parent) => {
                    let mut path = parent.path();
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(task.name.to_bytes());
                    path
                }
                None => Vec::new(),
            };
            if !name.is_empty() {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
            }
            path
        };
        let describe = |name: &[u8]| shared.root.describe(&shown(name));
        let fd = match &task.parent {
            Some(parent) => parent
                .open(&task.name, in_hand)
                .map_err(|error| vanished(error, "open directory", describe(b"")))?,
            None => shared.root.open_dir(b"").at("open directory", describe(b""))?,
        };
        let stat = stat_fd(&fd).at(SCAN, describe(b""))?;
        if (stat.dev, stat.ino) != task.identity {
            let message = "the directory was replaced while the tree was scanned";
            return Err(Error::new(ErrorKind::Changed, SCAN, message).with_path(describe(b"")));
        }
        let previous = shared.options.previous.filter(|_| task.previous != NONE);
        let first = self.found.entries.len() as u32;
        let mut tasks = Vec::new();
        if let (true, Some(snapshot)) = (task.names_hold, previous) {
            for index in snapshot.children(task.previous) {
                let name = c_name(snapshot.name(index)).at(SCAN, describe(snapshot.name(index)))?;
                self.entry(&fd, &name, Some((snapshot, index)), &mut tasks, &describe)?;
            }
        } else {
            let mut names = std::mem::take(&mut self.names);
            names.read(&fd).at("read directory", describe(b""))?;
            for i in 0..names.len() {
                let name = names.get(i);
                let before = previous.and_then(|p| Some((p, p.child(task.previous, name.to_bytes())?)));
                self.entry(&fd, name, before, &mut tasks, &describe)?;
            }
            self.names = names;
        }
        let count = self.found.entries.len() as u32 - first;
        self.found.blocks.push(Block { directory: task.number, first, count });
        Counters::add(&shared.control.counters.entries, count as u64);
        if tasks.is_empty() {
            return Ok(None);
        }
        let fd = Arc::new(fd);
        let keep = shared.open.fetch_add(1, Ordering::Relaxed) < OPEN_DIRECTORIES || task.parent.is_none();
        if !keep {
            shared.open.fetch_sub(1, Ordering::Relaxed);
        }
        let here = Arc::new(OpenDir {
            fd: Mutex::new(keep.then(|| fd.clone())),
            // The root stays open: it is where every walk by name begins.
            waiting: AtomicUsize::new(tasks.len() + usize::from(task.parent.is_none())),
            parent: task.parent,
            name: task.name,
            open: shared.open.clone(),
        });
        for task in &mut tasks {
            task.parent = Some(here.clone());
        }
        Ok(Some((tasks, fd)))
    }

    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        previous: Option<(&Snapshot, u32)>,
        tasks: &mut Vec<Task>,
        describe: &dyn Fn(&[u8]) -> Vec<u8>,
    ) -> Result<()> {
        let stat = stat_at(dir, name).map_err(|error| vanished(error, SCAN, describe(name.to_bytes())))?;
        if stat.kind == Kind::Socket {
            self.found
                .skipped
                .push(Skipped { path: self.below_root(describe(name.to_bytes())), reason: "socket" });
            return Ok(());
        }
        let mut raw = self.raw(dir, name, &stat, previous, Some(describe))?;
        raw.name = (self.found.store(name.to_bytes())?, name.to_bytes().len() as u16);
        if stat.kind == Kind::Directory {
            if self.shared.options.one_file_system && stat.dev != self.shared.root_dev {
                let path = self.below_root(describe(name.to_bytes()));
                self.found.skipped.push(Skipped { path, reason: "contents of a mount point" });
                raw.directory = NONE;
            } else {
                let number = self.shared.directories.fetch_add(1, Ordering::Relaxed) as u32;
                raw.directory = number;
                tasks.push(Task {
                    number,
                    parent: None,
                    name: name.to_owned(),
                    identity: (stat.dev, stat.ino),
                    previous: previous.map_or(NONE, |(_, index)| index),
                    names_hold: self.names_hold(&stat, previous),
                });
            }
        }
        self.found.entries.push(raw);
        Ok(())
    }

    fn below_root(&self, described: Vec<u8>) -> Vec<u8> {
        let root = self.shared.root.describe(b"");
        let rest = described.strip_prefix(&root[..]).unwrap_or(&described);
        rest.strip_prefix(b"/").unwrap_or(rest).to_vec()
    }

    /// Everything about one entry but its name: from the previous snapshot where its identity is the same, else from
    /// the disk and the ledger.
    fn raw(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        previous: Option<(&Snapshot, u32)>,
        describe: Option<&dyn Fn(&[u8]) -> Vec<u8>>,
    ) -> Result<Raw> {
        let options = &self.shared.options;
        if let Some((snapshot, index)) = previous {
            let meta = snapshot.meta(index);
            if meta.same_identity(&disk_meta(stat, &meta)) {
                self.found.unchanged += 1;
                let target = snapshot.link_target(index);
                let packed = snapshot.xattrs(index).packed();
                return Ok(Raw {
                    meta,
                    name: (0, 0),
                    target: (self.found.store(target)?, target.len() as u32),
                    xattrs: (self.found.store(packed)?, packed.len() as u32),
                    digest: snapshot.digest(index),
                    directory: NONE,
                });
            }
        }
        let shown = || match describe {
            Some(describe) => describe(name.to_bytes()),
            None => self.shared.root.describe(b""),
        };
        let mut meta = Meta::from_stat(stat);
        let target = if stat.kind == Kind::Symlink {
            let target = rustix::fs::readlinkat(dir, name, Vec::with_capacity(256))
                .map_err(|error| vanished(error.into(), "read link", shown()))?;
            (self.found.store(target.as_bytes())?, target.as_bytes().len() as u32)
        } else {
            (0, 0)
        };
        self.packed.clear();
        if self.no_xattrs_on != Some(stat.dev) {
            xattr::list_at(dir, name, &mut self.list)
                .map_err(|error| vanished(error, "list extended attributes", shown()))?;
            if !self.list.is_empty() {
                self.packed = self.read_xattrs(dir, name, &shown)?;
            }
        }
        let record = options.ledger.and_then(|ledger| ledger.get(stat, || generation(dir, name, stat)));
        match record {
            Some(record) => {
                meta.kind = record.kind;
                if stat.mode == record.disk_mode {
                    meta.mode = record.mode;
                }
                (meta.uid, meta.gid) = (record.uid, record.gid);
                meta.rdev = record.rdev;
                if !record.xattrs.is_empty() {
                    self.packed = merge_xattrs(Xattrs(&self.packed), Xattrs(&record.xattrs));
                }
            }
            None => {
                let owner = options.owner.apply(stat.uid, stat.gid).ok_or_else(|| {
                    let message = format!("owner {}:{} is outside the id map", stat.uid, stat.gid);
                    Error::invalid(SCAN, message).with_path(shown())
                })?;
                if owner != (stat.uid, stat.gid) {
                    self.found.owners_replaced += 1;
                }
                (meta.uid, meta.gid) = owner;
            }
        }
        let packed = std::mem::take(&mut self.packed);
        let xattrs =
            if packed.is_empty() { (0, 0) } else { (self.found.store(&packed)?, packed.len() as u32) };
        self.packed = packed;
        Ok(Raw { meta, name: (0, 0), target, xattrs, digest: None, directory: NONE })
    }

    fn read_xattrs(&mut self, dir: &OwnedFd, name: &CStr, shown: &dyn Fn() -> Vec<u8>) -> Result<Vec<u8>> {
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for attribute in self.list.split(|&c| c == 0).filter(|a| !a.is_empty()) {
            if !self.shared.options.all_xattrs && !kept_xattr(attribute) {
                continue;
            }
            let c_attribute = c_name(attribute).at("read extended attribute", shown())?;
            match xattr::get_at(dir, name, &c_attribute, &mut self.value) {
                Ok(()) => {
                    let mut value = self.value.clone();
                    if attribute == b"security.capability" {
                        normalise_capability(&mut value);
                    }
                    pairs.push((attribute.to_vec(), value));
                }
                // Gone between the listing and the reading.
                Err(error) if error.raw_os_error() == Some(libc::ENODATA) => {}
                Err(error) => return Err(Error::io("read extended attribute", shown(), error)),
            }
        }
        pairs.sort();
        Ok(Xattrs::pack(&pairs))
    }
}

/// A stat in the terms of a previous entry, for comparing identities: a ledger may have given the entry another kind.
fn disk_meta(stat: &Stat, previous: &Meta) -> Meta {
    let mut meta = Meta::from_stat(stat);
    if previous.kind != Kind::File {
        meta.size = 0;
    }
    meta
}

/// The disk's attributes with the ledger's over them.
pub(crate) fn merge_xattrs(disk: Xattrs<'_>, ledger: Xattrs<'_>) -> Vec<u8> {
    let mut pairs: Vec<(&[u8], &[u8])> =
        disk.into_iter().filter(|(name, _)| ledger.get(name).is_none()).collect();
    pairs.extend(ledger);
    pairs.sort();
    Xattrs::pack(&pairs)
}

/// A capability set inside a user namespace carries the namespace's root id (revision 3, linux/capability.h); images
/// carry revision 2, which means the same for the root of whoever unpacks it.
pub(crate) fn normalise_capability(value: &mut Vec<u8>) {
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;
    if value.len() == 24 {
        let magic = u32::from_le_bytes([value[0], value[1], value[2], value[3]]);
        if magic & 0xff00_0000 == REVISION_3 {
            let magic = REVISION_2 | (magic & 0x00ff_ffff);
            value[..4].copy_from_slice(&magic.to_le_bytes());
            value.truncate(20);
        }
    }
}

/// A name that was just listed and is gone is a change under our hands, not a missing file.
pub(crate) fn vanished(error: std::io::Error, operation: &'static str, path: Vec<u8>) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Error::new(
            ErrorKind::Changed,
            operation,
            "it vanished or was replaced while the tree was scanned",
        )
        .with_path(path)
        .with_source(error),
        _ => Error::io(operation, path, error),
    }
}

/// Puts the workers' blocks together: directory by directory from the root on, children sorted by name.
fn assemble(root_raw: Raw, found: &[Found], now: Timestamp, root: &Root, control: &Control) -> Result<Scan> {
    let directories = found.iter().map(|f| f.blocks.len()).sum::<usize>();
    let mut blocks: Vec<(usize, u32, u32)> = vec![(0, 0, 0); directories];
    for (worker, part) in found.iter().enumerate() {
        for block in &part.blocks {
            blocks[block.directory as usize] = (worker, block.first, block.count);
        }
    }
    let total = 1 + found.iter().map(|f| f.entries.len()).sum::<usize>();
    let mut writer = Writer::with_capacity(total);
    let limit = now.minus_nanos(clock::TICK_NANOS);
    let mut order: Vec<u32> = Vec::with_capacity(total);
    let mut shared: HashMap<(u64, u64), Vec<u32>> = HashMap::new();
    let mut racy = Vec::new();
    let mut push = |writer: &mut Writer, raw: &Raw, bytes: &[u8], parent: u32| -> Result<u32> {
        let slice = |(at, len): (u32, u32)| &bytes[at as usize..at as usize + len as usize];
        let name = slice((raw.name.0, raw.name.1 as u32));
        let mut meta = raw.meta;
        meta.flags.set(Flags::RACY, meta.ctime >= limit);
        let target = slice(raw.target);
        let record = Record {
            name: (writer.store(name)?, raw.name.1),
            parent,
            meta,
            leader: writer.len(),
            target: if target.is_empty() { (0, 0) } else { (writer.store(target)?, target.len() as u32) },
            children: (0, 0),
            xattrs: writer.store_xattrs(slice(raw.xattrs))?,
            digest: writer.store_digest(raw.digest),
        };
        let index = writer.push(&record)?;
        if meta.nlink > 1 && meta.kind != Kind::Directory {
            shared.entry((meta.dev, meta.ino)).or_default().push(index);
        }
        if meta.flags.contains(Flags::RACY) && meta.kind == Kind::File && raw.digest.is_none() {
            racy.push(index);
        }
        Ok(index)
    };
    let root_bytes = found.first().map_or(&[][..], |f| &f.bytes);
    push(&mut writer, &root_raw, root_bytes, 0)?;
    order.push(root_raw.directory);
    let mut index = 0;
    while index < order.len() {
        let directory = order[index];
        if directory != NONE {
            let (worker, first, count) = blocks[directory as usize];
            let start = writer.len();
            let part = &found[worker];
            for raw in &part.entries[first as usize..(first + count) as usize] {
                push(&mut writer, raw, &part.bytes, index as u32)?;
                order.push(if raw.meta.kind == Kind::Directory { raw.directory } else { NONE });
            }
            if count > 0 {
                writer.set_children(index as u32, start, count);
            }
        }
        index += 1;
    }
    drop(push);
    let mut snapshot = Snapshot::from_writer(writer, now);
    let groups: Vec<Vec<u32>> = shared.into_values().filter(|group| group.len() > 1).collect();
    if !groups.is_empty() || !racy.is_empty() {
        snapshot = snapshot.with_leaders_and_digests(&groups, &hash_racy(&snapshot, &racy, root, control)?);
    }
    Ok(Scan { snapshot, skipped: Vec::new(), owners_replaced: 0, unchanged: 0 })
}

/// The content digests of entries whose time stamps prove nothing, so that the next comparison can tell.
fn hash_racy(
    snapshot: &Snapshot,
    racy: &[u32],
    root: &Root,
    control: &Control,
) -> Result<Vec<(u32, [u8; 32])>> {
    let mut out = Vec::with_capacity(racy.len());
    let mut buffer = Vec::new();
    for &index in racy {
        control.check(SCAN)?;
        let path = snapshot.path(index);
        let (parent, name) = crate::fs::root::split(&path);
        let dir = root.open_dir(parent).map_err(|error| vanished(error, SCAN, root.describe(parent)))?;
        let name = c_name(name).at(SCAN, root.describe(&path))?;
        match hash_file_at(&dir, &name, &mut buffer) {
            Ok((digest, _)) => out.push((index, digest)),
            // What we may not read cannot be committed either; the comparison then takes it for changed.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(vanished(error, SCAN, root.describe(&path))),
        }
    }
    Ok(out)
}
