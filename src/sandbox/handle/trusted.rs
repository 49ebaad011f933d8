//! `trusted.*` attributes for a step that is real root with the capabilities of a container: the kernel requires
//! CAP_SYS_ADMIN for them, which the step has not and its supervisor has. All else about attributes is left to the kernel.

use std::os::fd::AsRawFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::xattr::Value;
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
        // The supervisor's working directory is its /proc.
        let through = format!("self/fd/{}", fd.as_raw_fd());
        match asked.call {
            Setxattr | Lsetxattr | Fsetxattr | Setxattrat => {
                let value = self.value_to_set(asked)?;
                let flags = XattrFlags::from_bits_retain(value.1 as u32);
                rustix::fs::setxattr(through.as_str(), &name[..], &value.0, flags)?;
                Ok(Answer::Value(0))
            }
            Getxattr | Lgetxattr | Fgetxattr | Getxattrat => {
                let Value { address, size, .. } = self.value(asked)?;
                let mut bytes = vec![0; 65_536];
                let length = rustix::fs::getxattr(through.as_str(), &name[..], &mut bytes[..])?;
                self.give(asked, address, size, &bytes[..length])
            }
            _ => {
                rustix::fs::removexattr(through.as_str(), &name[..])?;
                Ok(Answer::Value(0))
            }
        }
    }

    fn list_trusted(&mut self, asked: &Asked) -> Reply {
        let (named, address, size) = self.listed(asked)?;
        let fd = self.open_path(asked.tid, &named).map_err(|_| Answer::Continue)?;
        let through = format!("self/fd/{}", fd.as_raw_fd());
        let mut list = vec![0; 65_536];
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

    fn value_to_set(&mut self, asked: &Asked) -> Result<(Vec<u8>, i32), Answer> {
        let Value { address, size, flags } = self.value(asked)?;
        if size > 65_536 {
            return Err(Errno::TOOBIG.into());
        }
        let mut value = vec![0; size as usize];
        self.tracees.read(asked.tid, address, &mut value)?;
        Ok((value, flags))
    }
}
