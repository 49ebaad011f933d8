//! Copying a tree that was just scanned into an empty directory, with all that the disk can hold of it.
//!
//! Everything on the disk is copied as it is: owners, permissions, attributes, times. Where the copy would be scanned as
//! something else than the original, because the process may not give files away or because the original is in a ledger, the
//! copy gets an entry in a ledger of its own.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Gid, Uid};

use super::entry::{Meta, Xattrs};
use super::ledger::{Ledger, Record};
use super::ownership::Ownership;
use super::scan::{kept_xattr, read_xattrs};
use super::snapshot::Snapshot;
use super::way::Ways;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::copy::Copier;
use crate::fs::generation::generation;
use crate::fs::make_dir::PrivateDirs;
use crate::fs::root::{c_name, open_file_at, was_replaced};
use crate::fs::stat::{stat_at, stat_fd};
use crate::fs::{Kind, Root, Stat, Timestamp, chmod, clock, xattr};
use crate::progress::{Control, Counters};
use crate::threads;

const CLONE: &str = "clone tree";
/// More threads than this only wait for each other in the filesystem.
const MOST_THREADS: usize = 4;
const NO_MTIME: &str = "the filesystem cannot hold this time stamp";

/// A copy of a tree.
#[derive(Debug)]
pub(crate) struct Copy {
    /// The stat of each entry of the copy, in the order of the scan.
    pub stats: Vec<Stat>,
    /// The ledger of the copy.
    pub ledger: Ledger,
    /// Attributes that neither holds: the entry, the attribute, and why.
    pub lost: Vec<(u32, Vec<u8>, &'static str)>,
    /// The time up to which the stats can be trusted: nothing was stamped within the tick before.
    pub clock: Timestamp,
}

/// Copies the tree below `from`, of which `scan` is the list, into the empty directory `to`. `ownership` is what the copy will be
/// scanned by; the ledger in it is not used.
///
/// # Errors
/// [`ErrorKind::Changed`] when something is not as the scan found it. What was copied until an error stays.
pub(crate) fn clone_tree(
    scan: &Snapshot,
    from: &Root,
    to: &Root,
    ownership: &Ownership<'_>,
    threads: usize,
    control: &Control,
) -> Result<Copy> {
    let ownership = Ownership { ledger: None, ..*ownership };
    let work = Cloning { scan, from, to, ownership, copier: Copier::default(), control };
    let directories: Vec<u32> = (0..scan.len()).filter(|&at| scan.meta(at).kind == Kind::Directory).collect();
    work.make_directories(&directories)?;
    let mut done = work.fill(&directories, threads::count(threads).min(MOST_THREADS))?;
    work.link(&mut done)?;
    work.finish_directories(&directories, &mut done)?;
    done.sort_unstable_by_key(|entry| entry.index);
    let mut copy =
        Copy { stats: Vec::new(), ledger: Ledger::default(), lost: Vec::new(), clock: Timestamp::default() };
    copy.stats.reserve_exact(done.len());
    for Done { index, stat, record, lost } in done {
        debug_assert_eq!(index as usize, copy.stats.len(), "every entry once");
        copy.stats.push(stat);
        if let Some(mut record) = record {
            record.path = scan.path(index);
            copy.ledger.insert(*record);
        }
        copy.lost.extend(lost.into_iter().map(|(attribute, why)| (index, attribute, why)));
    }
    let newest = copy.stats.iter().map(|stat| stat.ctime).fold(Timestamp::default(), Ord::max);
    copy.clock = clock::wait_past(to, newest).at(CLONE, to.describe(b""))?;
    Ok(copy)
}

/// An entry that is in its place.
struct Done {
    index: u32,
    stat: Stat,
    record: Option<Box<Record>>,
    lost: Vec<(Vec<u8>, &'static str)>,
}

struct Cloning<'a> {
    scan: &'a Snapshot,
    from: &'a Root,
    to: &'a Root,
    ownership: Ownership<'a>,
    copier: Copier,
    control: &'a Control,
}

/// A directory and a name in it.
type Named<'a> = (BorrowedFd<'a>, &'a CStr);

impl<'a> Cloning<'a> {
    fn sources(&self) -> Ways<'a> {
        Ways::of_scan(self.from, self.scan, CLONE)
    }

    fn targets(&self) -> Ways<'a> {
        Ways::of_copy(self.to, self.scan, CLONE)
    }

    /// Returns the path of an entry of the copy, for messages.
    fn shown(&self, index: u32) -> Vec<u8> {
        self.to.describe(&self.scan.path(index))
    }

    fn changed(&self, index: u32) -> Error {
        let message = "it changed, vanished or was replaced while the tree was cloned";
        Error::new(ErrorKind::Changed, CLONE, message).with_path(self.from.describe(&self.scan.path(index)))
    }

    fn gone(&self, index: u32, error: std::io::Error) -> Error {
        match was_replaced(&error) {
            true => self.changed(index).with_source(error),
            false => Error::io(CLONE, self.from.describe(&self.scan.path(index)), error),
        }
    }

    /// Makes the directories, from the top, for this process alone. What is put into them must not inherit a group or an ACL
    /// from the directory that the copy is made in.
    fn make_directories(&self, directories: &[u32]) -> Result<()> {
        let top = self.to.open_dir(b"").at(CLONE, self.shown(0))?;
        xattr::remove_default_acl(&top).at(CLONE, self.shown(0))?;
        retry_on_intr(|| rustix::fs::fchmod(&top, Mode::RWXU)).at(CLONE, self.shown(0))?;
        let (mut targets, mut made) = (self.targets(), PrivateDirs::default());
        for &index in &directories[1..] {
            self.control.check(CLONE)?;
            let parent = targets.open(self.scan.parent(index))?;
            let name = c_name(self.scan.name(index)).at_path(CLONE, || self.shown(index))?;
            made.make(&*parent, &name).at_path("create directory", || self.shown(index))?;
        }
        Ok(())
    }

    /// Copies what is no directory and no further name of a file, each directory on one thread.
    fn fill(&self, directories: &[u32], threads: usize) -> Result<Vec<Done>> {
        let ways = || (self.sources(), self.targets());
        let filled = threads::each(threads, "treering-clone", directories, ways, |ways, &directory| {
            self.fill_one(directory, ways)
        })?;
        Ok(filled.into_iter().flatten().collect())
    }

    fn fill_one(&self, directory: u32, (sources, targets): &mut (Ways<'_>, Ways<'_>)) -> Result<Vec<Done>> {
        let (mut open, mut done) = (None, Vec::new());
        for index in self.scan.children(directory) {
            if self.scan.meta(index).kind == Kind::Directory || self.scan.leader(index) != index {
                continue;
            }
            self.control.check(CLONE)?;
            let (source, target) = match &open {
                Some(open) => open,
                None => open.insert((sources.open(directory)?, targets.open(directory)?)),
            };
            let name = c_name(self.scan.name(index)).at_path(CLONE, || self.shown(index))?;
            done.push(self.entry(index, (source.as_fd(), &name), (target.as_fd(), &name))?);
            Counters::add(&self.control.counters.entries, 1);
        }
        Ok(done)
    }

    /// Copies one file, link, pipe or device.
    fn entry(&self, index: u32, from: Named<'_>, to: Named<'_>) -> Result<Done> {
        let before = stat_at(from.0, from.1).map_err(|error| self.gone(index, error))?;
        if !self.is_as_scanned(index, &before) {
            return Err(self.changed(index));
        }
        if before.kind == Kind::File {
            return self.file(index, &before, from, to);
        }
        let create = || self.shown(index);
        let mode = Mode::RUSR | Mode::WUSR;
        match before.kind {
            Kind::Symlink => rustix::fs::symlinkat(
                &c_name(self.scan.link_target(index)).at_path(CLONE, create)?,
                to.0,
                to.1,
            )
            .at_path("create symbolic link", create)?,
            Kind::Fifo => {
                rustix::fs::mknodat(to.0, to.1, FileType::Fifo, mode, 0).at_path("create fifo", create)?
            }
            Kind::CharDevice | Kind::BlockDevice => {
                let kind = match before.kind {
                    Kind::CharDevice => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                let device = rustix::fs::makedev(before.rdev.0, before.rdev.1);
                match rustix::fs::mknodat(to.0, to.1, kind, mode, device) {
                    // An empty file stands for the device, and the ledger says what it is.
                    Err(Errno::PERM) => drop(self.create(index, to)?),
                    other => other.at_path("create device", create)?,
                }
            }
            Kind::File | Kind::Directory | Kind::Socket => return Err(self.changed(index)),
        }
        self.finish(index, &before, from, to, None)
    }

    fn create(&self, index: u32, (dir, name): Named<'_>) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
            .at_path("create file", || self.shown(index))
    }

    fn file(&self, index: u32, before: &Stat, from: Named<'_>, to: Named<'_>) -> Result<Done> {
        let source = match before.size {
            // An empty file need not be readable.
            0 => None,
            _ => Some(open_file_at(from.0, from.1).map_err(|error| self.gone(index, error))?),
        };
        let target = self.create(index, to)?;
        if let Some(source) = &source {
            let opened = stat_fd(source).at_path(CLONE, || self.from.describe(&self.scan.path(index)))?;
            if !self.is_as_scanned(index, &opened) {
                return Err(self.changed(index));
            }
            match self.copier.copy(source, &target, (opened.size, opened.blocks), self.control) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(self.changed(index));
                }
                Err(error) => return Err(Error::io("copy file", self.shown(index), error)),
            }
            let after = stat_fd(source).at_path(CLONE, || self.from.describe(&self.scan.path(index)))?;
            if !self.is_as_scanned(index, &after) {
                return Err(self.changed(index));
            }
        }
        self.finish(index, before, from, to, Some(&target))
    }

    /// Returns whether an entry is the one that was scanned, untouched since.
    fn is_as_scanned(&self, index: u32, stat: &Stat) -> bool {
        let meta = self.scan.meta(index);
        (stat.dev, stat.ino, stat.ctime, stat.mtime) == (meta.dev, meta.ino, meta.ctime, meta.mtime)
            && (meta.kind != Kind::File || meta.size == stat.size)
    }

    /// Gives an entry of the copy all that the original has on disk, in the order in which nothing undoes what came before:
    /// owner, attributes, permissions, time. Then compares what a scan will make of it with what it made of the original.
    fn finish(
        &self,
        index: u32,
        before: &Stat,
        from: Named<'_>,
        to: Named<'_>,
        open: Option<&OwnedFd>,
    ) -> Result<Done> {
        let shown = || self.shown(index);
        let (dir, name) = to;
        let look = || {
            match open {
                Some(fd) => stat_fd(fd),
                None => stat_at(dir, name),
            }
            .at_path(CLONE, shown)
        };
        let stat = look()?;
        let mut owned = (stat.uid, stat.gid) == (before.uid, before.gid);
        if !owned {
            let (uid, gid) = (Some(Uid::from_raw(before.uid)), Some(Gid::from_raw(before.gid)));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            owned = match retry_on_intr(|| rustix::fs::chownat(dir, name, uid, gid, flags)) {
                Ok(()) => true,
                Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => false,
                Err(error) => return Err(Error::io("set owner", shown(), error)),
            };
        }
        self.copy_xattrs(index, from, to)?;
        // Setuid to another owner would be worse than not setuid at all.
        let mode = if owned { before.mode } else { before.mode & 0o1777 };
        if stat.kind != Kind::Symlink {
            match open {
                Some(fd) => retry_on_intr(|| rustix::fs::fchmod(fd, Mode::from_raw_mode(mode.into())))
                    .map_err(Into::into),
                None => chmod::chmod_at(dir, name, mode.into()),
            }
            .at_path("set permissions", shown)?;
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
            last_modification: Timespec { tv_sec: before.mtime.secs, tv_nsec: before.mtime.nanos as _ },
        };
        match open {
            Some(fd) => retry_on_intr(|| rustix::fs::futimens(fd, &times)),
            None => retry_on_intr(|| rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)),
        }
        .at_path("set times", shown)?;
        let stat = look()?;
        let mut lost = Vec::new();
        if stat.mtime != before.mtime {
            lost.push((b"mtime".to_vec(), NO_MTIME));
        }
        let record = self.record(index, &stat, to)?.map(Box::new);
        Ok(Done { index, stat, record, lost })
    }

    /// Copies the attributes that belong to the file and not to its machine or mount. What the disk does not take is found
    /// missing afterwards.
    fn copy_xattrs(&self, index: u32, from: Named<'_>, to: Named<'_>) -> Result<()> {
        let mut list = Vec::new();
        xattr::list_at(from.0, from.1, &mut list).map_err(|error| self.gone(index, error))?;
        let mut value = Vec::new();
        for attribute in list.split(|&c| c == 0).filter(|name| !name.is_empty() && kept_xattr(name)) {
            let attribute = c_name(attribute).at_path(CLONE, || self.shown(index))?;
            match xattr::get_at(from.0, from.1, &attribute, &mut value) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENODATA) => return Err(self.changed(index)),
                Err(error) => return Err(self.gone(index, error)),
            }
            match xattr::set_at(to.0, to.1, &attribute, &value) {
                Ok(()) => {}
                Err(error) if xattr::is_refusal(&error) => {}
                Err(error) => return Err(Error::io("set extended attribute", self.shown(index), error)),
            }
        }
        Ok(())
    }

    /// Returns the record that an entry of the copy needs in the ledger to be scanned as the original was; `None` if it needs none.
    fn record(&self, index: u32, stat: &Stat, (dir, name): Named<'_>) -> Result<Option<Record>> {
        let shown = || self.shown(index);
        let wanted = self.scan.meta(index);
        let mut meta = Meta::from_stat(stat);
        let mut list = Vec::new();
        xattr::list_at(dir, name, &mut list).at_path(CLONE, shown)?;
        let on_disk = read_xattrs(dir, name, &list, false, shown)?;
        let mut packed = Xattrs::pack(&on_disk);
        let life = || generation(dir, name, stat);
        // An owner outside of the id map is an error there, and a reason to write the right one down here.
        let settled = self.ownership.settle(CLONE, stat, &mut meta, &mut packed, life).is_ok();
        let same = settled
            && (meta.kind, meta.uid, meta.gid, meta.rdev)
                == (wanted.kind, wanted.uid, wanted.gid, wanted.rdev)
            && (meta.mode == wanted.mode || wanted.kind == Kind::Symlink)
            && packed == self.scan.xattrs(index).packed();
        if same {
            return Ok(None);
        }
        let disk = Xattrs::checked(&packed).unwrap_or_default();
        let missing: Vec<(&[u8], &[u8])> = self
            .scan
            .xattrs(index)
            .into_iter()
            .filter(|(name, value)| disk.get(name) != Some(*value))
            .collect();
        Ok(Some(Record {
            path: Vec::new(),
            dev: stat.dev,
            ino: stat.ino,
            generation: life().at_path("identify file", shown)?,
            disk_mode: stat.mode,
            kind: wanted.kind,
            mode: wanted.mode,
            uid: wanted.uid,
            gid: wanted.gid,
            rdev: wanted.rdev,
            xattrs: Xattrs::pack(&missing),
        }))
    }

    /// Gives files their further names, and all names of one the stat that it has in the end.
    fn link(&self, done: &mut Vec<Done>) -> Result<()> {
        let mut groups: std::collections::BTreeMap<u32, Vec<u32>> = Default::default();
        for index in 1..self.scan.len() {
            let leader = self.scan.leader(index);
            if leader != index {
                groups.entry(leader).or_default().push(index);
            }
        }
        if groups.is_empty() {
            return Ok(());
        }
        let name = |index: u32| c_name(self.scan.name(index)).at_path(CLONE, || self.shown(index));
        let mut targets = self.targets();
        let mut stats = std::collections::HashMap::new();
        for (leader, others) in groups {
            let (from, from_name) = (targets.open(self.scan.parent(leader))?, name(leader)?);
            for &index in &others {
                self.control.check(CLONE)?;
                let (to, to_name) = (targets.open(self.scan.parent(index))?, name(index)?);
                rustix::fs::linkat(&*from, &from_name, &*to, &to_name, AtFlags::empty())
                    .at_path("create hard link", || self.shown(index))?;
            }
            let stat = stat_at(&*from, &from_name).at_path(CLONE, || self.shown(leader))?;
            stats.insert(leader, stat);
            done.extend(others.into_iter().map(|index| Done { index, stat, record: None, lost: Vec::new() }));
        }
        for entry in done.iter_mut() {
            if let Some(stat) = stats.get(&entry.index) {
                entry.stat = *stat;
            }
        }
        Ok(())
    }

    /// Gives the directories their metadata, deepest first: through one that is finished there may be no way any more.
    fn finish_directories(&self, directories: &[u32], done: &mut Vec<Done>) -> Result<()> {
        let (mut sources, mut targets) = (self.sources(), self.targets());
        for &index in directories.iter().rev() {
            self.control.check(CLONE)?;
            let (source, target) = (sources.open(index)?, targets.open(index)?);
            let parent = self.scan.parent(index);
            let (above, above_copy) = (sources.open(parent)?, targets.open(parent)?);
            if index != 0 {
                sources.close(index);
                targets.close(index);
            }
            let name = match self.scan.name(index) {
                b"" => c".".to_owned(),
                name => c_name(name).at_path(CLONE, || self.shown(index))?,
            };
            let before = stat_fd(&source).at_path(CLONE, || self.from.describe(&self.scan.path(index)))?;
            let meta = self.scan.meta(index);
            // Entries added or removed since are not in the copy; the metadata of the directory has to be what was scanned.
            if (before.dev, before.ino) != (meta.dev, meta.ino) || before.ctime != meta.ctime {
                return Err(self.changed(index));
            }
            // By its name in the one above: nothing is found from a directory that may not be searched, not even itself.
            let (from, to) = ((above.as_fd(), &*name), (above_copy.as_fd(), &*name));
            done.push(self.finish(index, &before, from, to, Some(&target))?);
            Counters::add(&self.control.counters.entries, 1);
        }
        Ok(())
    }
}
