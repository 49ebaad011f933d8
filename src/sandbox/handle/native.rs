//! Owners on the disk, where the step's namespace has a range of ids: put there for the time of the step, and taken back at its end, so that
//! outside of it everything belongs to the user, and the ledger has its owners.
//!
//! While they are on the disk, the kernel does what concerns them: it makes files, gives them owners, refuses what a user may not do. The
//! ledger then has what the disk cannot hold: devices, `trusted.*`, ids beyond the range, and files with setuid and setgid bits, from which
//! a write takes them but where the writer is root of the first namespace (setattr_should_drop_suidgid() of the kernel).
//!
//! The journal says at every moment where the owners are ([`journal::Owners`]), so that after a kill they can be taken back as well.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::node::Node;
use super::path::UNMAPPED;
use super::xattr::LONGEST;
use super::{State, acl, xattr};
use crate::fs::dirents::Names;
use crate::fs::generation::generation_of;
use crate::fs::root::{open_dir_below, split};
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Stat};
use crate::sandbox::ids::Held;
use crate::tree::journal::{Note, Owners};
use crate::tree::ledger::Record;
use crate::tree::{Ledger, Xattrs};

/// Attributes that the disk takes while owners are on it.
const ATTRIBUTES: [&[u8]; 3] = [xattr::CAPABILITY, acl::ACCESS, acl::DEFAULT];

/// The state of owners that are on the disk.
#[derive(Debug)]
pub struct Native {
    /// The ids that the disk can have.
    held: Held,
    /// Whether they are on the disk now.
    lent: bool,
    /// Whether the filesystem has ACLs.
    acls: bool,
    /// Whether a file may have one of [`ATTRIBUTES`] on the disk.
    attributes: bool,
    /// The ledger before they were put there.
    former: Ledger,
}

/// A directory that has the owners of its files on the disk for a time: opened, and where it is below the root.
#[derive(Debug)]
pub struct Place {
    /// The directory, or a file.
    pub fd: OwnedFd,
    /// Its path in the tree.
    pub at: Vec<u8>,
}

impl Native {
    /// Begins with ids that the namespace has. `tree` is its root.
    pub fn new(held: Held, tree: &OwnedFd) -> Native {
        let through = format!("/proc/self/fd/{}", tree.as_raw_fd());
        let acls = !matches!(
            rustix::fs::getxattr(through.as_str(), "system.posix_acl_access", &mut [0u8; 64][..]),
            Err(Errno::OPNOTSUPP)
        );
        Native { held, lent: false, acls, attributes: false, former: Ledger::default() }
    }

    /// Returns whether an attribute can be on the disk.
    fn takes(&self, name: &[u8], value: &[u8]) -> bool {
        match name {
            xattr::CAPABILITY => true,
            acl::ACCESS | acl::DEFAULT => self.acls && acl::ids(value).all(|id| self.held.has(id, id)),
            _ => false,
        }
    }
}

impl State {
    /// Has owners on the disk while the step runs, see [`State::lend`].
    pub fn use_ids(&mut self, native: Native) {
        self.native = Some(native);
    }

    /// Returns whether owners are on the disk.
    pub fn is_native(&self) -> bool {
        self.native.as_ref().is_some_and(|native| native.lent)
    }

    /// Returns whether the kernel gives a file this owner and group by itself; -1 stands for the one that it has.
    pub fn kernel_chowns(&self, node: &Node, uid: u32, gid: u32) -> bool {
        let Some(native) = self.native.as_ref().filter(|native| native.lent) else { return false };
        let some = |id: u32| if id == u32::MAX { 0 } else { id };
        !node.recorded && node.stat.dev == self.device && native.held.has(some(uid), some(gid))
    }

    /// Returns whether the kernel gives a file this mode, and leaves it so.
    pub fn kernel_chmods(&self, node: &Node, mode: u32) -> bool {
        self.is_native() && !node.recorded && !(node.kind == Kind::File && mode & 0o6000 != 0)
    }

    /// Returns whether the kernel keeps this attribute of a file; an empty value is for one that is taken away.
    pub fn kernel_keeps(&mut self, node: &Node, name: &[u8], value: &[u8]) -> bool {
        let Some(native) = self.native.as_mut().filter(|native| native.lent) else { return false };
        let takes = !node.recorded && node.stat.dev == self.device && native.takes(name, value);
        native.attributes |= takes;
        takes
    }

    /// Puts on the disk what the ledger has and the disk can hold. The command has not begun yet.
    pub fn lend(&mut self, places: &[Place]) -> io::Result<()> {
        let former = self.ledger.clone();
        let Some(native) = self.native.as_mut() else { return Ok(()) };
        native.former = former;
        self.journal.note(&Note::Owners(Owners::Both))?;
        let missing = match places.first() {
            Some(tree) => self.lend_by_path(tree)?,
            None => false,
        };
        if missing || places.len() > 1 {
            for place in places {
                each(place, &mut |_, fd, _| self.lend_one(fd).map(|()| true))?;
            }
        }
        self.journal.note(&Note::Owners(Owners::Disk))?;
        if let Some(native) = &mut self.native {
            native.lent = true;
        }
        Ok(())
    }

    /// Looks files of the ledger up where it has them; whether any is not there.
    fn lend_by_path(&mut self, tree: &Place) -> io::Result<bool> {
        let mut missing = false;
        let records: Vec<_> = self.ledger.records().map(|it| (it.path.clone(), it.dev, it.ino)).collect();
        for (path, dev, ino) in records {
            let (above, name) = split(&path);
            let found = open_dir_below(tree.fd.as_fd(), above).and_then(|directory| {
                let name = if path.is_empty() { &b"."[..] } else { name };
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Ok(rustix::fs::openat(&directory, name, flags, Mode::empty())?)
            });
            match found {
                Ok(fd) if stat_fd(&fd).is_ok_and(|stat| (stat.dev, stat.ino) == (dev, ino)) => {
                    self.lend_one(fd)?
                }
                _ => missing = true,
            }
        }
        Ok(missing)
    }

    fn lend_one(&mut self, fd: OwnedFd) -> io::Result<()> {
        let stat = stat_fd(&fd)?;
        if !self.ledger.has(stat.dev, stat.ino) {
            return Ok(());
        }
        let node = self.node_of(fd)?;
        let ours = node.recorded && !self.is_foreign(&node.fd, &node.stat)?;
        if ours { self.save_native(&node) } else { Ok(()) }
    }

    /// Writes down what a file is now: on the disk what that can hold, in the ledger and its journal the rest. As [`State::save`] does
    /// where owners are not on the disk.
    pub fn save_native(&mut self, node: &Node) -> io::Result<()> {
        let Some(native) = &mut self.native else { return Ok(()) };
        let through = State::through(&node.fd);
        let proc = self.tracees.proc();
        let held = |id: u32, most: u32| if id <= most { id } else { 0 };
        let owner = (held(node.uid, native.held.uid), held(node.gid, native.held.gid));
        if (node.stat.uid, node.stat.gid) != owner {
            chown(&node.fd, owner)?;
        }
        let mut rest = Vec::new();
        for (name, value) in &node.xattrs {
            let kind = node.kind == node.stat.kind;
            if kind && native.takes(name, value) {
                rustix::fs::setxattr(through.as_str(), &name[..], value, XattrFlags::empty())?;
                native.attributes = true;
            } else {
                rest.push((name.clone(), value.clone()));
            }
        }
        if node.stat.kind != Kind::Symlink && stat_fd(&node.fd)?.mode != node.mode {
            rustix::fs::chmodat(
                proc,
                through.as_str(),
                Mode::from_raw_mode(node.mode.into()),
                AtFlags::empty(),
            )?;
        }
        self.touch(&node.fd)?;
        let bits = node.kind == Kind::File && node.mode & 0o6000 != 0;
        if node.kind == node.stat.kind && owner == (node.uid, node.gid) && !bits && rest.is_empty() {
            if self.ledger.take(node.stat.dev, node.stat.ino).is_some() && self.is_native() {
                self.journal.removed(node.stat.dev, node.stat.ino)?;
            }
            return Ok(());
        }
        let record = node.record(self.path_of(&node.fd), node.mode, &rest)?;
        self.heed(node.kind, node.mode, Xattrs::checked(&record.xattrs).unwrap_or_default());
        // Before that, the journal need not have it: what it has is more.
        if self.is_native() {
            self.journal.set(&record)?;
        }
        self.ledger.insert(record);
        Ok(())
    }

    /// Reads from the disk what a killed step left there. The ledger is the one before it with all of its journal.
    pub fn find_lent(&mut self) {
        let Some(native) = &mut self.native else { return };
        native.former = std::mem::take(&mut self.ledger);
        (native.lent, native.attributes) = (true, true);
        for record in native.former.records() {
            let known = Xattrs::checked(&record.xattrs).unwrap_or_default();
            let rest: Vec<(Vec<u8>, Vec<u8>)> = known
                .into_iter()
                .filter(|(name, value)| !native.takes(name, value))
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect();
            let device = matches!(record.kind, Kind::CharDevice | Kind::BlockDevice);
            let bits = record.kind == Kind::File && record.mode & 0o6000 != 0;
            if device || bits || !native.held.has(record.uid, record.gid) || !rest.is_empty() {
                self.ledger.insert(Record { xattrs: Xattrs::pack(&rest), ..record.clone() });
            }
        }
    }

    /// Takes the owners back: into the ledger and its journal first, then from the disk. No process of the step is left.
    pub fn take_back(&mut self, places: &[Place]) -> io::Result<()> {
        if self.is_native() {
            let mut seen = HashSet::new();
            for place in places {
                each(place, &mut |path, fd, stat| {
                    if self.is_foreign(&fd, &stat)? {
                        return Ok(false);
                    }
                    // Names of one file have one record.
                    if stat.kind == Kind::Directory || stat.nlink == 1 || seen.insert((stat.dev, stat.ino)) {
                        self.write_down(path, fd)?;
                    }
                    Ok(true)
                })?;
            }
            self.journal.note(&Note::Owners(Owners::Both))?;
            if let Some(native) = &mut self.native {
                native.lent = false;
            }
        }
        for place in places {
            each(place, &mut |_, fd, stat| {
                let ours = !self.is_foreign(&fd, &stat)?;
                if ours {
                    self.clear(&fd, &stat)?;
                }
                Ok(ours)
            })?;
        }
        self.journal.note(&Note::Owners(Owners::Ledger))
    }

    /// Returns whether a file belongs to a user of the host that the namespace has no number for. It looks like one of the user 65,534, but its
    /// times cannot be set.
    fn is_foreign(&self, fd: &OwnedFd, stat: &Stat) -> io::Result<bool> {
        if ![stat.uid, stat.gid].contains(&UNMAPPED) {
            return Ok(false);
        }
        match self.touch(fd) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(true),
            other => other.map(|()| false),
        }
    }

    /// Puts into the ledger what a file is.
    fn write_down(&mut self, path: &[u8], fd: OwnedFd) -> io::Result<()> {
        let mut node = self.node_of(fd)?;
        let Some(native) = &mut self.native else { return Ok(()) };
        if native.attributes {
            for name in ATTRIBUTES {
                if node.xattr(name).is_none()
                    && let Some(value) = attribute(&node.fd, name)?
                {
                    node.set_xattr(name, Some(value));
                }
            }
        }
        let key = (node.stat.dev, node.stat.ino);
        let mode = node.disk_mode();
        if node.is_plain(mode) {
            self.ledger.take(key.0, key.1);
            if native.former.take(key.0, key.1).is_some() {
                self.journal.removed(key.0, key.1)?;
            }
            return Ok(());
        }
        let disk_mode = if node.stat.kind == Kind::Symlink { node.stat.mode } else { mode };
        let record = node.record(path.to_vec(), disk_mode, &node.xattrs)?;
        let same = native.former.get(&node.stat, || Ok(record.generation))? == Some(&record);
        // What the step wrote of it may be in the journal by now.
        if !same || node.recorded {
            self.journal.set(&record)?;
        }
        self.ledger.insert(record);
        Ok(())
    }

    /// Makes a file on the disk what it is without a range: the user's, with a mode that lets the user work on it.
    fn clear(&mut self, fd: &OwnedFd, stat: &Stat) -> io::Result<()> {
        let record = self.ledger.get(stat, || generation_of(fd, stat))?;
        let mode = match record {
            Some(record) => record.disk_mode,
            // Of a ledger that is behind: closed to the user, it could not be removed.
            None if stat.kind == Kind::Directory => stat.mode | 0o700,
            None => stat.mode | 0o600,
        };
        if self.native.as_ref().is_some_and(|native| native.attributes) {
            let through = State::through(fd);
            for name in ATTRIBUTES {
                if attribute(fd, name)?.is_some() {
                    rustix::fs::removexattr(through.as_str(), name)?;
                }
            }
        }
        if (stat.uid, stat.gid) != (0, 0) {
            chown(fd, (0, 0))?;
        }
        if stat.kind != Kind::Symlink && stat_fd(fd)?.mode != mode {
            let through = State::through(fd);
            let proc = self.tracees.proc();
            rustix::fs::chmodat(proc, through.as_str(), Mode::from_raw_mode(mode.into()), AtFlags::empty())?;
        }
        Ok(())
    }

    /// Takes files of before a kill for what they may have: an attribute on the disk.
    pub fn suspect_attributes(&mut self) {
        if let Some(native) = &mut self.native {
            native.attributes = true;
        }
    }
}

fn chown(fd: &OwnedFd, (uid, gid): (u32, u32)) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(rustix::fs::chownat(fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
}

/// Reads one of the attributes on the disk.
fn attribute(fd: &OwnedFd, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let through = State::through(fd);
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::getxattr(through.as_str(), name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) if value.len() < LONGEST => value.resize(LONGEST, 0),
            // It is of another namespace's root, and nothing of this tree.
            Err(Errno::OVERFLOW) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A step of a walk: the names that are left in a directory, the directory, and the length of its path.
struct Level {
    names: Vec<CString>,
    id: (u64, u64),
    length: usize,
}

/// Gives a directory and everything below it, but for what is mounted there: path, the file opened as a path, and what it is. A directory
/// comes before what is in it, which is left out where the function gives `false` for it.
fn each(place: &Place, visit: &mut dyn FnMut(&[u8], OwnedFd, Stat) -> io::Result<bool>) -> io::Result<()> {
    let top = stat_fd(&place.fd)?;
    let mut path = place.at.clone();
    let goes_on = visit(&path, place.fd.try_clone()?, top)?;
    if !goes_on || top.kind != Kind::Directory {
        return Ok(());
    }
    let mut names = Names::default();
    let mut list = |directory: &OwnedFd| -> io::Result<Vec<CString>> {
        names.read(directory)?;
        Ok((0..names.len()).map(|at| names.get(at).to_owned()).collect())
    };
    let mut open = enter(&place.fd, c".")?;
    let mut way = vec![Level { names: list(&open)?, id: (top.dev, top.ino), length: path.len() }];
    while let Some(level) = way.last_mut() {
        path.truncate(level.length);
        let Some(name) = level.names.pop() else {
            way.pop();
            if let Some(level) = way.last() {
                open = enter(&open, c"..")?;
                let stat = stat_fd(&open)?;
                if (stat.dev, stat.ino) != level.id {
                    return Err(io::Error::other("a directory was moved meanwhile"));
                }
            }
            continue;
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&open, &name, flags, Mode::empty()) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        let stat = stat_fd(&fd)?;
        if stat.dev != top.dev || stat.mounted == Some(true) {
            continue;
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        if visit(&path, fd, stat)? && stat.kind == Kind::Directory {
            open = enter(&open, &name)?;
            way.push(Level { names: list(&open)?, id: (stat.dev, stat.ino), length: path.len() });
        }
    }
    Ok(())
}

fn enter(directory: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}
