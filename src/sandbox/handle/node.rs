//! One file with everything that the disk and the ledger say of it together.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, UTIME_OMIT};

use super::path::{Named, UNMAPPED};
use super::{Answer, State};
use crate::fs::generation::generation_of;
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Stat};
use crate::tree::Xattrs;
use crate::tree::ledger::Record;

/// A file with its emulated metadata.
#[derive(Debug)]
pub struct Node {
    /// The file, opened as a path.
    pub fd: OwnedFd,
    /// The stat on the disk.
    pub stat: Stat,
    /// The kind of the file.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u16,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// A device's numbers.
    pub rdev: (u32, u32),
    /// Attributes that are answered for, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the ledger has anything of it.
    pub recorded: bool,
    /// Whether the disk is to have what it takes of the metadata, and the ledger the rest.
    pub on_disk: bool,
}

impl Node {
    /// Returns an attribute that is answered for.
    pub fn xattr(&self, name: &[u8]) -> Option<&[u8]> {
        self.xattrs.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }

    /// Sets one of them, or takes it away.
    pub fn set_xattr(&mut self, name: &[u8], value: Option<Vec<u8>>) {
        self.xattrs.retain(|(known, _)| known != name);
        if let Some(value) = value {
            let at = self.xattrs.partition_point(|(known, _)| known[..] < *name);
            self.xattrs.insert(at, (name.to_vec(), value));
        }
    }

    /// Returns the permission bits that the disk gets: what `layer::create` gives to files of an unprivileged user.
    pub(super) fn disk_mode(&self) -> u16 {
        match self.kind {
            Kind::Symlink => 0o777,
            Kind::Directory => self.mode & 0o1777 | 0o700,
            _ => self.mode & 0o777 | 0o600,
        }
    }

    /// Returns whether the disk alone says all of a file, which belongs to root, once it has this mode there.
    pub(super) fn is_plain(&self, disk_mode: u16) -> bool {
        self.kind == self.stat.kind
            && (self.mode == disk_mode || self.kind == Kind::Symlink)
            && (self.uid, self.gid) == (0, 0)
            && self.xattrs.is_empty()
    }

    /// Returns the record of the file for the ledger: at a path below the root, with the mode and without the attributes that the disk has.
    pub(super) fn record(
        &self,
        path: Vec<u8>,
        disk_mode: u16,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> std::io::Result<Record> {
        Ok(Record {
            path,
            dev: self.stat.dev,
            ino: self.stat.ino,
            generation: generation_of(&self.fd, &self.stat)?,
            disk_mode,
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            xattrs: Xattrs::pack(xattrs),
        })
    }
}

impl State {
    /// Opens the file that a call names. Where that fails, the kernel is to make the call.
    pub fn node(&self, tid: u32, named: &Named) -> Result<Node, Answer> {
        let fd = match self.open_path(tid, named) {
            Err(error) if self.service.is_some() => return Err(error.into()),
            // A want of descriptors of this process is nothing that the kernel would find.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) =>
            {
                return Err(error.into());
            }
            other => other.map_err(|_| Answer::Continue)?,
        };
        Ok(self.node_of(fd)?)
    }

    /// Returns the file behind a descriptor.
    pub fn node_of(&self, fd: OwnedFd) -> std::io::Result<Node> {
        let stat = stat_fd(&fd)?;
        let record = self.ledger.get(&stat, || generation_of(&fd, &stat))?;
        // What lies outside the tree is the host's: its root's as far as this namespace is concerned.
        let outside = |id: u32, owner: u32| match id {
            UNMAPPED if stat.dev != self.device => 0,
            // Without a namespace, the disk has another number for root.
            id if id == owner => 0,
            id => id,
        };
        let owner = self.service.as_ref().map_or((0, 0), |service| service.owner);
        // What could not be made as it is, or be given to its owner, stays in the ledger.
        let as_it_is =
            |record: &Record| (record.kind, record.uid, record.gid) == (stat.kind, stat.uid, stat.gid);
        let on_disk = self.on_disk && stat.dev == self.device && record.is_none_or(as_it_is);
        let mut node = match record {
            Some(record) => Node {
                kind: record.kind,
                // While owners are on the disk, every change of a mode that is recorded comes here.
                mode: if stat.mode == record.disk_mode || self.is_native() { record.mode } else { stat.mode },
                uid: record.uid,
                gid: record.gid,
                rdev: record.rdev,
                xattrs: Xattrs::checked(&record.xattrs)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(name, value)| (name.to_vec(), value.to_vec()))
                    .collect(),
                recorded: true,
                on_disk,
                stat,
                fd,
            },
            None => Node {
                kind: stat.kind,
                mode: stat.mode,
                uid: outside(stat.uid, owner.0),
                gid: outside(stat.gid, owner.1),
                rdev: stat.rdev,
                xattrs: Vec::new(),
                recorded: false,
                on_disk,
                stat,
                fd,
            },
        };
        if on_disk {
            for (name, value) in self.attributes_on_disk(&node.fd)? {
                if node.xattr(&name).is_none() {
                    node.set_xattr(&name, Some(value));
                }
            }
        }
        Ok(node)
    }

    /// Writes down what a file is now: on the disk what it takes, the rest in the ledger and its journal. The file's ctime moves, as by the
    /// call that this stands for; so the next scan of the tree asks the ledger again.
    ///
    /// # Errors
    /// EROFS for what the step was shown and may not write to.
    pub fn save(&mut self, node: &Node) -> std::io::Result<()> {
        if self.service.as_ref().is_some_and(|service| self.is_read_only(service, &node.fd)) {
            return Err(rustix::io::Errno::ROFS.into());
        }
        if node.on_disk {
            return self.save_on_disk(node);
        }
        let mut disk_mode = node.disk_mode();
        let proc = self.tracees.proc();
        let through = State::through(&node.fd);
        let outside = node.stat.dev != self.device;
        if self.is_native() && !outside {
            return self.save_native(node);
        }
        if node.stat.kind == Kind::Symlink || outside {
            disk_mode = node.stat.mode;
        } else if node.stat.mode != disk_mode {
            let mode = Mode::from_raw_mode(disk_mode.into());
            rustix::fs::chmodat(proc, through.as_str(), mode, AtFlags::empty())?;
        }
        if !outside {
            self.touch(&node.fd)?;
        }
        if node.is_plain(disk_mode) {
            if node.recorded && self.ledger.take(node.stat.dev, node.stat.ino).is_some() && !outside {
                self.journal.removed(node.stat.dev, node.stat.ino)?;
            }
            return Ok(());
        }
        let record = node.record(self.path_of(&node.fd), disk_mode, &node.xattrs)?;
        self.heed(node.kind, node.mode, Xattrs::checked(&record.xattrs).unwrap_or_default());
        // The host's files, and those of /dev and /proc, are forgotten with the step.
        if !outside {
            self.journal.set(&record)?;
        }
        self.ledger.insert(record);
        Ok(())
    }

    /// Moves a file's ctime: an access time that is set to what it was changes nothing else.
    pub(super) fn touch(&self, fd: &OwnedFd) -> std::io::Result<()> {
        let through = State::through(fd);
        let atime = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::ATIME)?.stx_atime;
        let times = Timestamps {
            last_access: Timespec { tv_sec: atime.tv_sec, tv_nsec: atime.tv_nsec.into() },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        };
        Ok(rustix::fs::utimensat(self.tracees.proc(), through.as_str(), &times, AtFlags::empty())?)
    }

    /// Returns where a file is, below the root; empty where it has no name.
    pub(super) fn path_of(&self, fd: &OwnedFd) -> Vec<u8> {
        let through = State::through(fd);
        let read = rustix::fs::readlinkat(self.tracees.proc(), through, Vec::with_capacity(256));
        if let Some(service) = &self.service {
            return read.ok().and_then(|path| service.path_of_host(path.as_bytes())).unwrap_or_default();
        }
        match read {
            Ok(path) => path.as_bytes().strip_prefix(b"/").unwrap_or_default().to_vec(),
            Err(_) => Vec::new(),
        }
    }
}
