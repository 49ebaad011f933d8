//! Making a tree on disk into what a list says, by the writers that apply layers, touching only what differs.
//!
//! Removals come first; then directories are made, then files that can stay get their metadata and are compared, then the
//! others are made, with content that the caller provides, then hard links. Directories get their metadata at the end,
//! deepest first. Wherever this stops, comparing the tree with the list again finds what is left to do.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::AtFlags;

use super::apply::{ApplyOptions, Loss, WHOLE};
use super::create::{Made, Privileges, Wanted, finish_existing};
use super::on_disk::open_up;
use super::read::{Data, Slice};
use super::source::is_zero;
use super::writers::{Done, HOLE, Job, Piece, Writers, with_writers};
use crate::diff::transition::{COMPARED, FileStep, Stay, Transition};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::dirents::Names;
use crate::fs::make_dir::PrivateDirs;
use crate::fs::remove::{remove_all, unlink};
use crate::fs::root::{c_name, open_file_at, push_name, was_replaced};
use crate::fs::stat::{stat_at, stat_fd};
use crate::fs::{Kind, Root, Stat, Timestamp, clock};
use crate::progress::{Control, Counters};
use crate::threads;
use crate::tree::hash::hash_file;
use crate::tree::walk::Pair;
use crate::tree::way::Ways;
use crate::tree::{Flags, Ledger, Meta, NONE, Snapshot};

const RESHAPE: &str = "check out";
// Files that are compared with what is at hand are handed to their thread whole.
const _: () = assert!(COMPARED <= WHOLE);

/// The goal: the tree to be, and the tree that is.
pub(crate) struct Goal<'a> {
    /// The tree.
    pub root: &'a Root,
    /// The list that a scan just made of it.
    pub now: &'a Snapshot,
    /// The list that it is to have.
    pub wanted: &'a Snapshot,
    /// The digests of contents that are wanted, by the first names of the files: of those that may have to be looked at. Without
    /// one a file is made anew.
    pub digests: &'a HashMap<u32, [u8; 32]>,
    /// The transition from the one to the other.
    pub transition: &'a Transition,
    /// Entries of the tree that are in neither list: sockets, and the store.
    pub beside: &'a HashSet<Vec<u8>>,
    /// How files are put on the disk.
    pub options: &'a ApplyOptions,
}

/// A tree that has become what it was to be.
pub(crate) struct Reshaped {
    /// The wanted list, with the stat identities of what is there.
    pub snapshot: Snapshot,
    /// The moment from which on that holds. It may be up to a tick ahead, and has to be waited for: until then another change of a file
    /// could bear the same time.
    pub clock: Timestamp,
    /// The ledger: what the disk did not take.
    pub ledger: Ledger,
    /// Attributes that neither took.
    pub losses: Vec<Loss>,
    /// The files that were made, and those that only got their metadata, by the first of their names.
    pub made: Vec<u32>,
}

/// Takes the content of one file, by its number in the list.
pub(crate) type Give<'a> = &'a mut dyn FnMut(u32, &mut dyn Read) -> Result<()>;

/// Makes the tree what it is to be. `ledger` is what the disk does not hold of it now. `contents` gives the content of files, by their
/// numbers in the list that is wanted, each of them once, and checks that it is what the list says.
///
/// # Errors
/// [`ErrorKind::Changed`] when another process is at work in the tree, and those of `contents`. The tree is then something in between.
pub(crate) fn reshape(
    goal: &Goal<'_>,
    ledger: Ledger,
    contents: impl FnOnce(&[u32], Give<'_>) -> Result<()>,
    control: &Control,
) -> Result<Reshaped> {
    let rights = Privileges::of_process(goal.options.owner_xattr);
    let mut work = Work {
        goal,
        rights,
        control,
        ways: Ways::of_copy(goal.root, goal.wanted, RESHAPE),
        dirty: HashSet::new(),
        open: HashSet::new(),
        found: vec![None; goal.wanted.len() as usize],
        ledger,
        losses: Vec::new(),
    };
    work.remove()?;
    work.make_directories()?;
    let checked = work.check_files()?;
    let mut made = Vec::new();
    with_writers(goal.options.threads, rights, control, |writers| {
        let mut with_content: Vec<u32> = Vec::new();
        for (step, right) in goal.transition.files.iter().zip(&checked) {
            if right.is_some() {
                continue;
            }
            if !matches!(step.stays, Some((_, Stay::Compare))) {
                made.push(step.leader);
            }
            let meta = goal.wanted.meta(step.leader);
            if meta.kind == Kind::File && meta.size > 0 {
                with_content.push(step.leader);
            } else {
                push(writers, work.job(step)?, Vec::new())?;
            }
        }
        let by_leader: HashMap<u32, &FileStep> =
            goal.transition.files.iter().map(|step| (step.leader, step)).collect();
        contents(&with_content, &mut |leader, content| {
            control.check(RESHAPE)?;
            let (job, size) = (work.job(by_leader[&leader])?, goal.wanted.meta(leader).size);
            write_content(writers, job, size, content)
        })?;
        for done in writers.drain()? {
            if !done.kept && matches!(by_leader[&done.node].stays, Some((_, Stay::Compare))) {
                made.push(done.node);
            }
            work.take(done)?;
        }
        Ok(())
    })?;
    work.link(&checked)?;
    work.finish_directories()?;
    work.settle()?;
    Ok(Reshaped { made, ..work.finish()? })
}

fn queue(writers: &Writers, entry: u32) -> usize {
    // Those of one directory go to several threads, too: comparing and writing take longer than the kernel holds its lock.
    writers.queue_of(entry / 8)
}

fn push(writers: &Writers, job: Box<Job>, data: Vec<Data>) -> Result<()> {
    let queue = queue(writers, job.node);
    writers.push(queue, Piece::Whole(job, data))
}

/// Hands the content of a file to the thread that writes it: a small one whole, others piece by piece.
fn write_content(writers: &Writers, job: Box<Job>, size: u64, content: &mut dyn Read) -> Result<()> {
    let path = job.path.clone();
    let mut piece = |most: u64| -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(most as usize);
        content.take(most).read_to_end(&mut bytes).at(RESHAPE, &path)?;
        Ok(bytes)
    };
    if size <= WHOLE {
        return push(writers, job, data_of(piece(size)?));
    }
    let queue = queue(writers, job.node);
    writers.push(queue, Piece::Begin(job))?;
    loop {
        let bytes = piece(WHOLE)?;
        if bytes.is_empty() {
            return writers.push(queue, Piece::End);
        }
        for data in data_of(bytes) {
            writers.push(queue, Piece::More(data))?;
        }
    }
}

/// Returns content as writers take it, with long runs of zeros as holes.
fn data_of(bytes: Vec<u8>) -> Vec<Data> {
    let chunk = Arc::new(bytes);
    let mut out: Vec<Data> = Vec::new();
    for begin in (0..chunk.len()).step_by(HOLE) {
        let range = begin..chunk.len().min(begin + HOLE);
        let zero = range.len() == HOLE && is_zero(&chunk[range.clone()]);
        match (zero, out.last_mut()) {
            (true, _) => out.push(Data::Hole(HOLE as u64)),
            (false, Some(Data::Bytes(slice))) => slice.range.end = range.end,
            (false, _) => out.push(Data::Bytes(Slice { chunk: Arc::clone(&chunk), range })),
        }
    }
    out
}

/// The file that stays, for one that is right.
type Right = Option<Pair>;

struct Work<'a> {
    goal: &'a Goal<'a>,
    rights: Privileges,
    control: &'a Control,
    ways: Ways<'a>,
    /// Directories that get their metadata at the end, by their numbers in the list that is wanted.
    dirty: HashSet<u32>,
    /// Those of them that are prepared for changes in them.
    open: HashSet<u32>,
    /// The metadata of wanted entries that are there, and were touched.
    found: Vec<Option<Meta>>,
    ledger: Ledger,
    losses: Vec<Loss>,
}

impl Work<'_> {
    fn shown(&self, wanted: u32) -> Vec<u8> {
        self.goal.root.describe(&self.goal.wanted.path(wanted))
    }

    fn changed(&self, path: &[u8]) -> Error {
        super::keep::changed(&self.goal.root.describe(path))
    }

    /// Opens a directory of the tree to be, prepared for changes in it.
    fn directory(&mut self, wanted: u32) -> Result<Arc<OwnedFd>> {
        let fd = self.ways.open(wanted)?;
        if self.open.insert(wanted) {
            self.dirty.insert(wanted);
            open_up(&fd, true).at_path("open directory", || self.shown(wanted))?;
        }
        Ok(fd)
    }

    fn remove(&mut self) -> Result<()> {
        let (now, wanted) = (self.goal.now, self.goal.wanted);
        for &gone in &self.goal.transition.removed {
            self.control.check(RESHAPE)?;
            let above =
                wanted.lookup(&now.path(now.parent(gone))).expect("what goes is in a directory that stays");
            let dir = self.directory(above)?;
            let shown = || self.goal.root.describe(&now.path(gone));
            let name = c_name(now.name(gone)).at_path("remove", shown)?;
            remove_all(&*dir, &name).at_path("remove", shown)?;
            Counters::add(&self.control.counters.entries, 1);
        }
        // A socket is in no list, and may be where something is to be made.
        for path in self.goal.beside {
            let Some(at) = wanted.lookup(path) else { continue };
            let dir = self.directory(wanted.parent(at))?;
            let name = c_name(wanted.name(at)).at_path("remove", || self.shown(at))?;
            remove_all(&*dir, &name).at_path("remove", || self.shown(at))?;
        }
        Ok(())
    }

    fn make_directories(&mut self) -> Result<()> {
        let mut made = PrivateDirs::default();
        for &at in &self.goal.transition.directories {
            self.control.check(RESHAPE)?;
            let dir = self.directory(self.goal.wanted.parent(at))?;
            let name = c_name(self.goal.wanted.name(at)).at_path("create directory", || self.shown(at))?;
            made.make(&*dir, &name).at_path("create directory", || self.shown(at))?;
            self.dirty.insert(at);
            Counters::add(&self.control.counters.entries, 1);
        }
        self.dirty.extend(self.goal.transition.touched.iter().map(|pair| pair.new));
        Ok(())
    }

    /// Gives files that stay their metadata and compares their content, with several threads. Returns where each file stays.
    fn check_files(&mut self) -> Result<Vec<Right>> {
        let steps = &self.goal.transition.files;
        let mut right: Vec<Right> = vec![None; steps.len()];
        let mut doubtful: Vec<usize> = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            match step.stays {
                Some((place, Stay::Right)) => {
                    right[number] = Some(place);
                    self.found[place.new as usize] = Some(self.goal.now.meta(place.old));
                }
                Some((_, Stay::Check { .. })) => doubtful.push(number),
                Some((_, Stay::Compare)) | None => {}
            }
        }
        let count = threads::count(self.goal.options.threads);
        let begin = || (Ways::of_scan(self.goal.root, self.goal.now, RESHAPE), Vec::new());
        let checked = threads::each(count, "treering-diff", &doubtful, begin, |(ways, buffer), &number| {
            Ok((number, self.check_file(&steps[number], ways, buffer)?))
        })?;
        for (number, done) in checked {
            let Some(done) = done else { continue };
            right[number] = steps[number].stays.map(|(place, _)| place);
            self.take(done)?;
        }
        Ok(right)
    }

    /// Gives a file its metadata, and compares its content with what is wanted. `None` when that is another one or cannot be read: the
    /// file is to be made anew then.
    fn check_file(&self, step: &FileStep, ways: &mut Ways<'_>, buffer: &mut Vec<u8>) -> Result<Option<Done>> {
        let (now, wanted) = (self.goal.now, self.goal.wanted);
        let Some((place, Stay::Check { metadata })) = step.stays else { return Ok(None) };
        self.control.check(RESHAPE)?;
        let path = || now.path(place.old);
        let dir = ways.open(now.parent(place.old))?;
        let name = c_name(now.name(place.old)).at_path(RESHAPE, || self.shown(place.new))?;
        let fd = match open_file_at(&*dir, &name) {
            Ok(fd) => fd,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) if was_replaced(&error) => return Err(self.changed(&path()).with_source(error)),
            Err(error) => return Err(Error::io(RESHAPE, self.shown(place.new), error)),
        };
        let stat = |fd: &OwnedFd| stat_fd(fd).at_path(RESHAPE, || self.shown(place.new));
        let (before, meta) = (stat(&fd)?, now.meta(place.old));
        // Of one with several names another may be gone by now.
        let moved = meta.nlink > 1 && meta.ctime != before.ctime;
        if !(Meta { ctime: if moved { before.ctime } else { meta.ctime }, ..meta }).is_as_in(&before) {
            return Err(self.changed(&path()));
        }
        let made = match metadata || moved {
            false => Made { stat: before, ledger: None, lost: Vec::new() },
            true => finish_existing(dir.as_fd(), &name, &fd, &wanted_of(wanted, step.leader), self.rights)
                .at_path("set metadata", || self.shown(place.new))?,
        };
        // After its time was set: what was written to it before that shows in its content alone.
        let digest = self.hash(&fd, buffer, place.new)?;
        let after = stat(&fd)?;
        if (after.mtime, after.ctime, after.size) != (made.stat.mtime, made.stat.ctime, made.stat.size) {
            return Err(self.changed(&path()));
        }
        if Some(&digest) != self.goal.digests.get(&step.leader) {
            return Ok(None);
        }
        // Where nothing was done to it, the record of it holds.
        Ok(Some(Done { node: place.new, made, linked: !(metadata || moved), kept: true }))
    }

    fn hash(&self, fd: &OwnedFd, buffer: &mut Vec<u8>, wanted: u32) -> Result<[u8; 32]> {
        let hashed = hash_file(fd, buffer, self.control);
        Ok(hashed.at_path("read file", || self.shown(wanted))?.0)
    }

    fn job(&mut self, step: &FileStep) -> Result<Box<Job>> {
        let (wanted, node) = (self.goal.wanted, step.leader);
        let dir = self.directory(wanted.parent(node))?;
        let name = c_name(wanted.name(node)).at_path("create file", || self.shown(node))?;
        let replaces = step.names.first().is_some_and(|name| name.old != NONE);
        Ok(Box::new(Job {
            node,
            dir,
            name,
            wanted: wanted_of(wanted, node),
            replaces,
            keeps: match step.stays {
                Some((place, Stay::Compare)) => Some(self.goal.now.meta(place.old)),
                _ => None,
            },
            path: self.shown(node),
        }))
    }

    /// Records the state of a file on disk.
    fn take(&mut self, done: Done) -> Result<()> {
        let Done { node, made, linked, .. } = done;
        self.found[node as usize] = Some(Meta::from_stat(&made.stat));
        match made.ledger {
            Some(record) => self.ledger.insert(record),
            None if !linked => drop(self.ledger.take(made.stat.dev, made.stat.ino)),
            None => {}
        }
        let path: Arc<[u8]> = match made.lost.is_empty() {
            true => return Ok(()),
            false => self.goal.wanted.path(node).into(),
        };
        if let (true, Some((attribute, reason))) = (self.goal.options.deny_loss, made.lost.first()) {
            let message = format!("{} cannot be kept: {reason}", crate::error::escape(attribute));
            return Err(Error::new(ErrorKind::Loss, RESHAPE, message).with_path(&path));
        }
        let loss = |(attribute, reason)| Loss { path: Arc::clone(&path), attribute, reason };
        self.losses.extend(made.lost.into_iter().map(loss));
        Ok(())
    }

    /// Gives files the names that they lack, and records their state after that: a name that comes or goes changes the ctime.
    fn link(&mut self, right: &[Right]) -> Result<()> {
        let (now, wanted) = (self.goal.now, self.goal.wanted);
        for (step, stays) in self.goal.transition.files.iter().zip(right) {
            let place = stays.unwrap_or(step.names[0]);
            for name in step.missing(now, *stays) {
                self.control.check(RESHAPE)?;
                let from = self.directory(wanted.parent(place.new))?;
                let to = self.directory(wanted.parent(name.new))?;
                let shown = || self.shown(name.new);
                let from_name = c_name(wanted.name(place.new)).at_path("create hard link", shown)?;
                let to_name = c_name(wanted.name(name.new)).at_path("create hard link", shown)?;
                if name.old != NONE {
                    unlink(&*to, &to_name).at_path("replace file", shown)?;
                }
                rustix::fs::linkat(&*from, &from_name, &*to, &to_name, AtFlags::empty())
                    .at_path("create hard link", shown)?;
            }
        }
        let mut buffer = Vec::new();
        for (step, stays) in self.goal.transition.files.iter().zip(right) {
            let place = stays.unwrap_or(step.names[0]);
            let found = self.found[place.new as usize].expect("it was made, or stays");
            let alone = step.names.len() == 1 && stays.is_none_or(|place| now.meta(place.old).nlink == 1);
            let found = if alone { found } else { self.look_again(place.new, found, &mut buffer)? };
            for name in &step.names {
                self.found[name.new as usize] = Some(found);
            }
        }
        Ok(())
    }

    /// Reads once more the stat of a file that may have got or lost names. Where its ctime moved, the content shows whether that was all.
    fn look_again(&mut self, at: u32, found: Meta, buffer: &mut Vec<u8>) -> Result<Meta> {
        let wanted = self.goal.wanted;
        let dir = self.ways.open(wanted.parent(at))?;
        let shown = || self.shown(at);
        let name = c_name(wanted.name(at)).at_path(RESHAPE, shown)?;
        let look = || -> Result<Stat> {
            stat_at(&*dir, &name).map_err(|error| match was_replaced(&error) {
                true => self.changed(&wanted.path(at)).with_source(error),
                false => Error::io(RESHAPE, shown(), error),
            })
        };
        let stat = look()?;
        let seen = Meta::from_stat(&stat);
        if (seen.dev, seen.ino, seen.mtime, seen.size) != (found.dev, found.ino, found.mtime, found.size) {
            return Err(self.changed(&wanted.path(at)));
        }
        if stat.ctime != found.ctime && stat.kind == Kind::File && stat.size > 0 {
            let fd = match open_file_at(&*dir, &name) {
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
                other => Some(other.at_path(RESHAPE, shown)?),
            };
            let same = match fd {
                // Nothing can have written to it either, but through a descriptor that was open before.
                None => stat.size == wanted.meta(at).size,
                Some(fd) => match self.goal.digests.get(&wanted.leader(at)) {
                    Some(digest) => self.hash(&fd, buffer, at)? == *digest,
                    None => stat.size == wanted.meta(at).size,
                },
            };
            if !same || look()? != stat {
                return Err(self.changed(&wanted.path(at)));
            }
        }
        Ok(seen)
    }

    fn finish_directories(&mut self) -> Result<()> {
        let wanted = self.goal.wanted;
        let mut order: Vec<u32> = self.dirty.iter().copied().collect();
        order.sort_unstable();
        let mut names = Names::default();
        for &at in order.iter().rev() {
            self.control.check(RESHAPE)?;
            let fd = self.ways.open(at)?;
            self.ways.close(at);
            let made = finish_existing(fd.as_fd(), c".", &fd, &wanted_of(wanted, at), self.rights)
                .at_path("finish directory", || self.shown(at))?;
            let stat = made.stat;
            self.take(Done { node: at, made, linked: false, kept: true })?;
            self.compare_names(at, &fd, &stat, &mut names)?;
        }
        Ok(())
    }

    /// Compares the names in a directory with those that are wanted. From now on they count as these, so whatever another process
    /// put there meanwhile would never be seen.
    fn compare_names(&mut self, at: u32, fd: &OwnedFd, stat: &Stat, names: &mut Names) -> Result<()> {
        let wanted = self.goal.wanted;
        names.read(fd).at_path("read directory", || self.shown(at))?;
        let mut children = wanted.children(at);
        let mut left_out = false;
        for i in 0..names.len() {
            let name = names.get(i).to_bytes();
            if children.clone().next().is_some_and(|child| wanted.name(child) == name) {
                children.next();
                continue;
            }
            let mut path = wanted.path(at);
            push_name(&mut path, name);
            if !self.goal.beside.contains(&path) {
                return Err(self.changed(&path));
            }
            left_out = true;
        }
        if let Some(child) = children.next() {
            return Err(self.changed(&wanted.path(child)));
        }
        if stat_fd(fd).at_path(RESHAPE, || self.shown(at))?.ctime != stat.ctime {
            return Err(self.changed(&wanted.path(at)));
        }
        if let Some(found) = &mut self.found[at as usize] {
            found.flags.set(Flags::LEFT_OUT, left_out);
        }
        Ok(())
    }

    /// Looks again at what stayed untouched and was stamped so shortly before the scan that a later change could bear the same
    /// time. That is over by now: what is as it was then will show any change.
    fn settle(&mut self) -> Result<()> {
        let (now, wanted) = (self.goal.now, self.goal.wanted);
        let mut names = Names::default();
        for at in 0..wanted.len() {
            let kept = self.goal.transition.kept[at as usize];
            if self.found[at as usize].is_some() || kept == NONE {
                continue;
            }
            let meta = now.meta(kept);
            // A file with content was compared, if it was in doubt.
            if !meta.flags.contains(Flags::RACY) {
                continue;
            }
            self.control.check(RESHAPE)?;
            let shown = || self.goal.root.describe(&wanted.path(at));
            let changed = self.changed(&wanted.path(at));
            let directory = meta.kind == Kind::Directory;
            let fd = self.ways.open(if directory { at } else { wanted.parent(at) })?;
            let stat = match directory {
                true => stat_fd(&fd),
                false => c_name(wanted.name(at)).and_then(|name| stat_at(&*fd, &name)),
            };
            let stat = stat.at_path(RESHAPE, shown)?;
            if (stat.dev, stat.ino, stat.mtime, stat.ctime) != (meta.dev, meta.ino, meta.mtime, meta.ctime) {
                return Err(changed);
            }
            self.found[at as usize] = Some(Meta { flags: meta.flags - Flags::RACY, ..meta });
            if directory {
                self.compare_names(at, &fd, &stat, &mut names)?;
            }
        }
        Ok(())
    }

    /// Returns the list of what is there now, and what the disk does not hold of it.
    fn finish(mut self) -> Result<Reshaped> {
        let (now, wanted) = (self.goal.now, self.goal.wanted);
        for (found, &kept) in self.found.iter_mut().zip(&self.goal.transition.kept) {
            if found.is_none() && kept != NONE {
                *found = Some(now.meta(kept));
            }
        }
        let mut ledger = Ledger::default();
        if !self.ledger.is_empty() {
            for at in 0..wanted.len() {
                let Some(found) = &self.found[at as usize] else { continue };
                if let Some(mut record) = self.ledger.take(found.dev, found.ino) {
                    record.path = wanted.path(wanted.leader(at));
                    ledger.insert(record);
                }
            }
        }
        let newest =
            self.found.iter().flatten().map(|found| found.ctime).fold(Timestamp::default(), Ord::max);
        let root = self.goal.root;
        let clock = clock::past(root, newest).at(RESHAPE, root.describe(b""))?;
        // What was in doubt when the tree was scanned still is.
        let sure = |found: &Meta| !found.flags.contains(Flags::RACY);
        let snapshot = wanted.identified(clock, |at| self.found[at as usize].filter(sure));
        Ok(Reshaped { snapshot, clock, ledger, losses: self.losses, made: Vec::new() })
    }
}

fn wanted_of(list: &Snapshot, at: u32) -> Wanted {
    Wanted {
        meta: list.meta(at),
        target: list.link_target(at).to_vec(),
        xattrs: list.xattrs(at).packed().to_vec(),
    }
}
