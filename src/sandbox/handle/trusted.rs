//! `trusted.*` attributes for a step that is real root with the capabilities of a container: the kernel requires
//! CAP_SYS_ADMIN for them, which the step has not and its supervisor has. All else about attributes is left to the kernel.

use rustix::io::Errno;

use super::xattr::LONGEST;
use super::{Answer, Asked, Reply, State};
use crate::sandbox::syscalls::Call;

impl State {
    /// Makes one of the calls on attributes, if it is about a trusted one.
    pub fn trusted(&mut self, asked: &Asked) -> Reply {
        use Call::*;
        if matches!(asked.call, Listxattr | Llistxattr | Flistxattr | Listxattrat) {
            return self.list_trusted(asked);
        }
        let (named, name) = self.attribute(asked, |name| name.starts_with(b"trusted."))?;
        let fd = self.open_path(asked.tid, &named).map_err(|_| Answer::Continue)?;
        if !self.is_root(asked) {
            // xattr_permission() in fs/xattr.c. Where paths are the supervisor's, going on would be with its privileges.
            let reading = matches!(asked.call, Getxattr | Lgetxattr | Fgetxattr | Getxattrat);
            return Err(if reading { Errno::NODATA } else { Errno::PERM }.into());
        }
        self.make_xattr_call(asked, &fd, &name)
    }

    fn list_trusted(&mut self, asked: &Asked) -> Reply {
        let (named, address, size) = self.listed(asked)?;
        let fd = self.open_path(asked.tid, &named).map_err(|_| Answer::Continue)?;
        let through = State::through(&fd);
        let mut list = vec![0; LONGEST];
        let length = rustix::fs::listxattr(through.as_str(), &mut list[..])?;
        list.truncate(length);
        let trusted = |name: &[u8]| name.starts_with(b"trusted.");
        if !list.split(|&c| c == 0).any(trusted) {
            return Ok(Answer::Continue);
        }
        if !self.is_root(asked) {
            let kept = list.split_inclusive(|&c| c == 0).filter(|name| !trusted(name));
            list = kept.flatten().copied().collect();
        }
        self.give(asked, address, size, &list)
    }

    /// Returns whether a thread is root, as the kernel has it.
    fn is_root(&self, asked: &Asked) -> bool {
        let ids = self.tracees.status(asked.tid, "Uid:").unwrap_or_default();
        ids.split_whitespace().nth(1) == Some("0")
    }
}
