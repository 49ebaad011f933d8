//! One thread of a scan: takes a directory, reads it, and leaves the directories in it to any free thread.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::open_dir::OpenDir;
use super::{MOUNT_POINT, OPEN_DIRECTORIES, SCAN, ScanOptions, Skipped, replaced, vanished, xattrs};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::dirents::Names;
use crate::fs::generation::generation;
use crate::fs::root::push_name;
use crate::fs::stat::{stat_at, stat_fd};
use crate::fs::{Kind, Root, Stat, xattr};
use crate::hint::Hint;
use crate::progress::{Control, Counters};
use crate::tree::entry::{Flags, Meta, NONE, Place, Xattrs};
use crate::tree::ledger::Record;
use crate::tree::ownership::Ownership;
use crate::tree::snapshot::Snapshot;

/// The hint for a directory that may not be read.
const UNREADABLE: &str =
    "every directory of a tree must be readable: leave it out, or what is mounted there, or chmod u+rx it";

/// Makes a path for a message out of a name in the directory at hand.
type Describe<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

pub(super) struct Task {
    /// The directory's number in the order directories were met; its entries are found under it.
    number: u32,
    parent: Option<Arc<OpenDir>>,
    name: CString,
    /// The identity of the directory when its parent was read.
    identity: (u64, u64),
    /// The same directory in the previous snapshot, and whether its list of names still holds.
    previous: u32,
    names_hold: bool,
}

impl Task {
    /// Returns the path of a name in the directory, below the root; of the directory itself for an empty one.
    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.parent.as_ref().map_or_else(Vec::new, |parent| parent.path());
        // The root is called `.` and has no name in a path.
        let own = self.parent.as_ref().map_or(&b""[..], |_| self.name.to_bytes());
        for part in [own, name].into_iter().filter(|part| !part.is_empty()) {
            push_name(&mut path, part);
        }
        path
    }
}

/// The result of reading a directory: the directories in it, if any, and its descriptor.
type Read = Option<(Vec<Task>, Arc<OwnedFd>)>;

/// An entry as a worker leaves it; offsets are into the worker's own bytes.
pub(super) struct Raw {
    pub meta: Meta,
    pub name: (u32, u16),
    pub target: (u32, u32),
    pub xattrs: (u32, u32),
    pub digest: Option<[u8; 32]>,
    pub place: Option<Place>,
    pub directory: u32,
}

/// The entries of one directory: `first..first + count` of a worker's entries.
pub(super) struct Block {
    pub directory: u32,
    pub first: u32,
    pub count: u32,
    /// Whether something in the directory was left out, and no entry stands for it.
    pub left_out: bool,
}

#[derive(Default)]
pub(super) struct Found {
    pub entries: Vec<Raw>,
    pub bytes: Vec<u8>,
    pub blocks: Vec<Block>,
    pub skipped: Vec<Skipped>,
    pub owners_replaced: u64,
    pub unchanged: u64,
    pub excluded: u64,
    pub learned: Vec<Record>,
}

impl Found {
    fn store(&mut self, bytes: &[u8]) -> Result<u32> {
        let at = u32::try_from(self.bytes.len())
            .map_err(|_| Error::limit(SCAN, "names and attributes of one thread exceed 4 GiB"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(at)
    }
}

pub(super) struct Queue {
    pub tasks: Vec<Task>,
    /// Tasks queued or being worked on; the walk ends at zero.
    pub pending: usize,
    pub failed: Option<Error>,
}

pub(super) struct Shared<'a> {
    pub root: &'a Root,
    pub options: ScanOptions<'a>,
    pub control: &'a Control,
    pub queue: Mutex<Queue>,
    pub wake: Condvar,
    pub directories: AtomicUsize,
    pub open: Arc<AtomicUsize>,
    pub root_dev: u64,
}

pub(super) struct Worker<'s, 'a> {
    pub shared: &'s Shared<'a>,
    pub found: Found,
    names: Names,
    /// A name out of the previous snapshot, as the kernel takes it.
    name: Vec<u8>,
    list: Vec<u8>,
    packed: Vec<u8>,
    no_xattrs_on: Option<u64>,
}

impl<'s, 'a> Worker<'s, 'a> {
    pub fn new(shared: &'s Shared<'a>) -> Self {
        Worker {
            shared,
            found: Found::default(),
            names: Names::default(),
            name: Vec::new(),
            list: Vec::new(),
            packed: Vec::new(),
            no_xattrs_on: None,
        }
    }

    /// Returns the root's own entry, and the task that starts the walk.
    pub fn root_entry(&mut self, stat: &Stat) -> Result<Raw> {
        let shared = self.shared;
        let fd = shared.root.open_dir(b"").at(SCAN, shared.root.describe(b""))?;
        let previous = shared.options.previous.map(|p| (p, 0));
        let raw = self.raw(&fd, c".", stat, previous, None)?;
        let mut raw = raw.expect("a directory is no socket");
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

    /// Returns whether a directory's list of names is still what the previous snapshot has.
    fn names_hold(&self, stat: &Stat, previous: Option<(&Snapshot, u32)>) -> bool {
        previous.is_some_and(|(snapshot, index)| {
            let meta = snapshot.meta(index);
            meta.kind == Kind::Directory
                && !meta.flags.intersects(Flags::LEFT_OUT | Flags::UNSEEN)
                && meta.same_identity(&disk_meta(stat, &meta))
        })
    }

    pub fn run(&mut self) {
        self.run_with(Self::directory);
    }

    fn run_with(&mut self, read: impl Fn(&mut Self, Task, Option<Arc<OwnedFd>>) -> Result<Read>) {
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
            let mounted = task.identity.0 != self.shared.root_dev;
            // A panic must not leave the others waiting for a task that never ends.
            let result = catch_unwind(AssertUnwindSafe(|| read(self, task, in_hand)))
                .unwrap_or_else(|panic| Err(Error::defect(SCAN, &*panic)));
            let mut queue = self.shared.queue.lock().expect("no holder panics");
            let mut news = false;
            match result {
                Ok(None) => queue.pending -= 1,
                Ok(Some((mut tasks, fd))) => {
                    queue.pending += tasks.len() - 1;
                    // Last first, so that they are taken in order of names.
                    tasks.reverse();
                    next = tasks.pop().map(|task| (task, fd));
                    news = !tasks.is_empty();
                    queue.tasks.append(&mut tasks);
                }
                Err(error) => {
                    queue.pending -= 1;
                    let leave_out = mounted && error.hint().is_none() && error.kind() != ErrorKind::Cancelled;
                    let error = if leave_out { error.with_hint(Hint::LeaveOutMounts) } else { error };
                    queue.failed.get_or_insert(error);
                }
            }
            let stop = queue.failed.is_some();
            // A wake-up costs more than reading a small directory: only when there is something to wake for.
            if news || stop || queue.pending == 0 {
                self.shared.wake.notify_all();
            }
            drop(queue);
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
    fn directory(&mut self, task: Task, in_hand: Option<Arc<OwnedFd>>) -> Result<Read> {
        let shared = self.shared;
        shared.control.check(SCAN)?;
        let describe = |name: &[u8]| shared.root.describe(&task.path_of(name));
        let fd = match &task.parent {
            Some(parent) => parent.open(&task.name, in_hand).map_err(|error| {
                vanished(error, "open directory", describe(b""))
                    .or_hint(ErrorKind::PermissionDenied, UNREADABLE)
            })?,
            None => shared.root.open_dir(b"").at_path("open directory", || describe(b""))?,
        };
        let stat = stat_fd(&fd).at_path(SCAN, || describe(b""))?;
        if (stat.dev, stat.ino) != task.identity {
            let message = "the directory was replaced while the tree was scanned";
            return Err(Error::new(ErrorKind::Changed, SCAN, message).with_path(describe(b"")));
        }
        let first = self.found.entries.len() as u32;
        let mut tasks = Vec::new();
        let left_out = self.entries(&task, &fd, &mut tasks, &describe)?;
        let count = self.found.entries.len() as u32 - first;
        self.found.blocks.push(Block { directory: task.number, first, count, left_out });
        Counters::add(&shared.control.counters.entries, count as u64);
        Ok((!tasks.is_empty()).then(|| self.hand_over(task, fd, tasks)))
    }

    /// Takes in the entries of a directory, by the names that the previous snapshot has where they still hold. Returns whether one
    /// was left out.
    fn entries(
        &mut self,
        task: &Task,
        fd: &OwnedFd,
        tasks: &mut Vec<Task>,
        describe: Describe<'_>,
    ) -> Result<bool> {
        let previous = self.shared.options.previous.filter(|_| task.previous != NONE);
        let mut left_out = false;
        if let (true, Some(snapshot)) = (task.names_hold, previous) {
            let mut name = std::mem::take(&mut self.name);
            for index in snapshot.children(task.previous) {
                name.clear();
                name.extend_from_slice(snapshot.name(index));
                name.push(0);
                let name = CStr::from_bytes_with_nul(&name)
                    .map_err(|_| Error::corrupt(SCAN, "a name in the snapshot has a zero in it"))?;
                left_out |= !self.entry(fd, name, Some((snapshot, index)), tasks, describe)?;
            }
            self.name = name;
        } else {
            let mut names = std::mem::take(&mut self.names);
            names
                .read(fd)
                .at_path("read directory", || describe(b""))
                .map_err(|error| error.or_hint(ErrorKind::PermissionDenied, UNREADABLE))?;
            for i in 0..names.len() {
                let name = names.get(i);
                let before = previous.and_then(|p| Some((p, p.child(task.previous, name.to_bytes())?)));
                left_out |= !self.entry(fd, name, before, tasks, describe)?;
            }
            self.names = names;
        }
        Ok(left_out)
    }

    /// Gives the directories that are in one their way to it, which stays open for them while the budget lasts.
    fn hand_over(&self, task: Task, fd: OwnedFd, mut tasks: Vec<Task>) -> (Vec<Task>, Arc<OwnedFd>) {
        let shared = self.shared;
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
        (tasks, fd)
    }

    /// Takes in one entry; `false` when it is left out.
    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        previous: Option<(&Snapshot, u32)>,
        tasks: &mut Vec<Task>,
        describe: Describe<'_>,
    ) -> Result<bool> {
        if let Some(exclude) = self.shared.options.exclude {
            let path = self.below_root(describe(name.to_bytes()));
            // A directory that is excluded but for something in it stays.
            if exclude.is_ignored(&path) && !exclude.may_keep_below(&path) {
                self.found.excluded += 1;
                return Ok(false);
            }
        }
        let stat = stat_at(dir, name).map_err(|error| {
            vanished(error, SCAN, describe(name.to_bytes())).or_hint(ErrorKind::PermissionDenied, UNREADABLE)
        })?;
        let left_out = Some((stat.dev, stat.ino)) == self.shared.options.leave_out;
        let mounted = self.is_mounted(&stat);
        let raw = match stat.kind {
            _ if left_out => None,
            _ if mounted && stat.kind != Kind::Directory => Some(self.placeholder(&stat)),
            Kind::Socket => None,
            _ => self.raw(dir, name, &stat, previous, Some(describe))?,
        };
        let Some(mut raw) = raw else {
            let path = self.below_root(describe(name.to_bytes()));
            let reason = if left_out { "the image store itself" } else { "socket" };
            self.found.skipped.push(Skipped { path, reason });
            return Ok(false);
        };
        raw.name = (self.found.store(name.to_bytes())?, name.to_bytes().len() as u16);
        if mounted {
            let path = self.below_root(describe(name.to_bytes()));
            self.found.skipped.push(Skipped { path, reason: MOUNT_POINT });
            raw.directory = NONE;
            raw.meta.flags |= Flags::UNSEEN;
        } else if stat.kind == Kind::Directory {
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
        self.found.entries.push(raw);
        Ok(true)
    }

    /// Returns whether something is mounted here that the scan is to leave out.
    fn is_mounted(&self, stat: &Stat) -> bool {
        // Where the kernel does not say it, another device does. A file's may be another one without a mount, on overlayfs.
        let other_device = || stat.kind == Kind::Directory && stat.dev != self.shared.root_dev;
        self.shared.options.one_file_system && stat.mounted.unwrap_or_else(other_device)
    }

    /// Returns what stands for a file that something is mounted on: an empty one, as a mount point is an empty directory.
    fn placeholder(&self, stat: &Stat) -> Raw {
        let (uid, gid) = self.shared.options.owner.apply(stat.uid, stat.gid).unwrap_or((0, 0));
        let meta = Meta { kind: Kind::File, mode: 0o644, uid, gid, nlink: 1, ..Meta::directory() };
        Raw { meta, name: (0, 0), target: (0, 0), xattrs: (0, 0), digest: None, place: None, directory: NONE }
    }

    fn below_root(&self, described: Vec<u8>) -> Vec<u8> {
        let root = self.shared.root.describe(b"");
        let rest = described.strip_prefix(&root[..]).unwrap_or(&described);
        rest.strip_prefix(b"/").unwrap_or(rest).to_vec()
    }

    /// Reads one entry as it is now: its metadata and packed attributes. Nothing when it is gone, or not what it was.
    pub fn look_again(&mut self, dir: &OwnedFd, name: &CStr, path: &[u8]) -> Result<Option<(Meta, &[u8])>> {
        let describe = |_: &[u8]| self.shared.root.describe(path);
        let found = stat_at(dir, name)
            .map_err(|error| vanished(error, SCAN, describe(b"")))
            .and_then(|stat| self.raw(dir, name, &stat, None, Some(&describe)));
        match found {
            Ok(raw) => Ok(raw.map(|Raw { meta, xattrs: (at, length), .. }| {
                (meta, &self.found.bytes[at as usize..][..length as usize])
            })),
            Err(error) if error.kind() == ErrorKind::Changed => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all of an entry but its name: from the previous snapshot where its identity is the same, else from the disk,
    /// the ledger and the source. `None` for what stands for a socket.
    fn raw(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        previous: Option<(&Snapshot, u32)>,
        describe: Option<Describe<'_>>,
    ) -> Result<Option<Raw>> {
        let options = &self.shared.options;
        if let Some((snapshot, index)) = previous {
            let mut meta = snapshot.meta(index);
            if meta.same_identity(&disk_meta(stat, &meta)) {
                meta.flags.remove(Flags::UNSEEN);
                self.found.unchanged += 1;
                let target = snapshot.link_target(index);
                let packed = snapshot.xattrs(index).packed();
                return Ok(Some(Raw {
                    meta,
                    name: (0, 0),
                    target: (self.found.store(target)?, target.len() as u32),
                    xattrs: (self.found.store(packed)?, packed.len() as u32),
                    digest: snapshot.digest(index),
                    place: snapshot.place(index),
                    directory: NONE,
                }));
            }
        }
        let shown = || match describe {
            Some(describe) => describe(name.to_bytes()),
            None => self.shared.root.describe(b""),
        };
        let mut meta = Meta::from_stat(stat);
        let target = if stat.kind == Kind::Symlink {
            let target =
                rustix::fs::readlinkat(dir, name, Vec::with_capacity(256)).map_err(|error| match error {
                    // It was a link when it was listed.
                    rustix::io::Errno::INVAL => replaced("read link", shown()),
                    error => vanished(error.into(), "read link", shown()),
                })?;
            (self.found.store(target.as_bytes())?, target.as_bytes().len() as u32)
        } else {
            (0, 0)
        };
        self.packed.clear();
        if self.no_xattrs_on != Some(stat.dev) {
            xattr::list_at(dir, name, &mut self.list)
                .map_err(|error| vanished(error, "list extended attributes", shown()))?;
            if !self.list.is_empty() {
                let pairs = xattrs::read(dir, name, &self.list, self.shared.options.all_xattrs, shown)?;
                self.packed = Xattrs::pack(&pairs);
            }
        }
        let ownership =
            Ownership { policy: options.owner, ledger: options.ledger, source: options.owner_from };
        let settled = ownership
            .settle(SCAN, stat, &mut meta, &mut self.packed, || generation(dir, name, stat))
            .map_err(|error| error.with_path(shown()))?;
        self.found.owners_replaced += u64::from(settled.replaced);
        if settled.socket {
            return Ok(None);
        }
        if let Some(mut record) = settled.learned {
            record.path = self.below_root(shown());
            self.found.learned.push(record);
        }
        let packed = std::mem::take(&mut self.packed);
        let xattrs =
            if packed.is_empty() { (0, 0) } else { (self.found.store(&packed)?, packed.len() as u32) };
        self.packed = packed;
        Ok(Some(Raw { meta, name: (0, 0), target, xattrs, digest: None, place: None, directory: NONE }))
    }
}

/// Returns a stat in the terms of a previous entry, for comparing identities: a ledger may have given the entry another
/// kind.
fn disk_meta(stat: &Stat, previous: &Meta) -> Meta {
    let mut meta = Meta::from_stat(stat);
    if previous.kind != Kind::File {
        meta.size = 0;
    }
    meta
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared<'a>(root: &'a Root, control: &'a Control, root_dev: u64) -> Shared<'a> {
        Shared {
            root,
            options: ScanOptions::default(),
            control,
            queue: Mutex::new(Queue { tasks: Vec::new(), pending: 0, failed: None }),
            wake: Condvar::new(),
            directories: AtomicUsize::new(1),
            open: Arc::new(AtomicUsize::new(0)),
            root_dev,
        }
    }

    fn failed(shared: Shared<'_>) -> Error {
        shared.queue.into_inner().unwrap().failed.unwrap()
    }

    /// Two threads, a task for each: the one panics while the other waits for what it might leave to be done.
    #[test]
    fn a_panic_ends_the_scan() {
        let root = Root::open("/").unwrap();
        let control = Control::default();
        let shared = shared(&root, &control, 0);
        let stat = stat_fd(&root).unwrap();
        Worker::new(&shared).root_entry(&stat).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| Worker::new(&shared).run_with(|_, _, _| panic!("on purpose")));
            }
        });
        assert_eq!(failed(shared).kind(), ErrorKind::Internal);
    }

    /// What cannot be read on another filesystem (in /proc, usually) can be left out with it.
    #[test]
    fn an_error_below_a_mount_point_says_how_to_leave_it_out() {
        let root = Root::open("/").unwrap();
        let control = Control::default();
        let stat = stat_fd(&root).unwrap();
        let advice = |root_dev: u64, read: fn() -> Error| {
            let shared = shared(&root, &control, root_dev);
            Worker::new(&shared).root_entry(&stat).unwrap();
            Worker::new(&shared).run_with(|_, _, _| Err(read()));
            failed(shared).hint().cloned()
        };
        let denied = || Error::io("read link", "/proc/1/cwd", rustix::io::Errno::ACCESS);
        assert_eq!(advice(stat.dev + 1, denied), Some(Hint::LeaveOutMounts));
        assert_eq!(advice(stat.dev, denied), None);
        let known = || Error::invalid("read link", "odd").with_hint("do so");
        assert_eq!(advice(stat.dev + 1, known), Some(Hint::from("do so")));
    }
}
