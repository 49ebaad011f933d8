//! Files of a tree with owners, devices and attributes on the disk: for a step of real root with paths that are resolved
//! here, as in a container that may not mount.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

use super::node::Node;
use super::xattr::LONGEST;
use super::{State, xattr};
use crate::fs::Kind;
use crate::fs::stat::stat_fd;
use crate::fs::xattr::is_refusal;
use crate::tree::Xattrs;

impl State {
    /// Reads the attributes that a step without privileges has in its ledger. The supervisor's working directory is its /proc.
    pub(super) fn attributes_on_disk(&self, fd: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let through = State::through(fd);
        let length = match rustix::fs::listxattr_query(through.as_str()) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Ok(length) => length,
            // It was made longer than any list can be read.
            Err(error) => return Err(error.into()),
        };
        let mut list = vec![0; length.max(LONGEST)];
        let length = rustix::fs::listxattr(through.as_str(), &mut list[..])?;
        let names = list[..length].split(|&c| c == 0).filter(|name| !name.is_empty() && xattr::kept(name));
        let mut out = Vec::new();
        for name in names {
            let mut value = vec![0; LONGEST];
            match rustix::fs::getxattr(through.as_str(), name, &mut value[..]) {
                Ok(length) => {
                    value.truncate(length);
                    out.push((name.to_vec(), value));
                }
                // Of a name that this process may not look at.
                Err(Errno::NODATA) => {}
                Err(error) => return Err(error.into()),
            }
        }
        out.sort();
        Ok(out)
    }

    /// Makes a file what a node says that it is. Of its attributes the ledger has those that the disk refuses.
    pub(super) fn save_on_disk(&mut self, node: &Node) -> io::Result<()> {
        let through = State::through(&node.fd);
        // Also to the same owner: the ctime moves, and capabilities go, as by the call that this stands for.
        let stat = stat_fd(&node.fd)?;
        if (stat.uid, stat.gid) != (node.uid, node.gid) {
            let owner = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
            rustix::fs::chownat(&node.fd, c"", Some(owner.0), Some(owner.1), AtFlags::EMPTY_PATH)?;
        }
        let there = self.attributes_on_disk(&node.fd)?;
        for (name, _) in there.iter().filter(|(name, _)| node.xattr(name).is_none()) {
            match rustix::fs::removexattr(through.as_str(), &name[..]) {
                Ok(()) | Err(Errno::NODATA) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut refused = Vec::new();
        for pair in node.xattrs.iter().filter(|pair| !there.contains(pair)) {
            let (name, value) = pair;
            match rustix::fs::setxattr(through.as_str(), &name[..], value, XattrFlags::empty()) {
                Ok(()) => {}
                // In a container root has no CAP_SYS_ADMIN, which these take (xattr(7)).
                Err(Errno::PERM) if name.starts_with(b"trusted.") => refused.push(pair.clone()),
                // It was in the ledger before.
                Err(error) if node.recorded && is_refusal(&error.into()) => refused.push(pair.clone()),
                Err(error) => return Err(error.into()),
            }
        }
        if node.kind != Kind::Symlink && stat_fd(&node.fd)?.mode != node.mode {
            let mode = Mode::from_raw_mode(node.mode.into());
            rustix::fs::chmodat(self.tracees.proc(), through.as_str(), mode, AtFlags::empty())?;
        }
        if !refused.is_empty() {
            // No change of the disk says so: the next scan of the tree asks the ledger again.
            self.touch(&node.fd)?;
            let disk_mode = stat_fd(&node.fd)?.mode;
            let record = node.record(self.path_of(&node.fd), disk_mode, &refused)?;
            self.journal.set(&record)?;
            self.ledger.insert(record);
        } else if node.recorded && self.ledger.take(node.stat.dev, node.stat.ino).is_some() {
            self.touch(&node.fd)?;
            self.journal.removed(node.stat.dev, node.stat.ino)?;
        }
        let packed = Xattrs::pack(&node.xattrs);
        self.heed(node.kind, node.mode, Xattrs::checked(&packed).unwrap_or_default());
        Ok(())
    }
}
