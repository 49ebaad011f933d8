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

    /// Makes a file what a node says that it is.
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
        for (name, value) in node.xattrs.iter().filter(|pair| !there.contains(pair)) {
            rustix::fs::setxattr(through.as_str(), &name[..], value, XattrFlags::empty())?;
        }
        if node.kind != Kind::Symlink && stat_fd(&node.fd)?.mode != node.mode {
            let mode = Mode::from_raw_mode(node.mode.into());
            rustix::fs::chmodat(self.tracees.proc(), through.as_str(), mode, AtFlags::empty())?;
        }
        let packed = Xattrs::pack(&node.xattrs);
        self.heed(node.kind, node.mode, Xattrs::checked(&packed).unwrap_or_default());
        Ok(())
    }
}
