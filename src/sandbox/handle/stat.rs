//! The stat family.

use std::os::fd::AsRawFd;

use super::node::Node;
use super::path::Named;
use super::{Answer, Asked, Reply, State};
use crate::sandbox::syscalls::Call;

impl State {
    /// Answers stat(2), lstat(2), fstat(2), newfstatat(2).
    pub fn stat(&mut self, asked: &Asked) -> Reply {
        let (named, address) = match asked.call {
            Call::Newfstatat => {
                let named = self.named_by(asked, asked.int(0), asked.arguments[1], asked.int(3))?;
                (named, asked.arguments[2])
            }
            _ => (self.first(asked, Call::Lstat, Call::Fstat)?, asked.arguments[1]),
        };
        let node = self.worth_an_answer(asked, &named)?;
        let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: the structure lives through the call, and is the one the kernel fills in on this machine.
        let result = unsafe { libc::fstat(node.fd.as_raw_fd(), stat.as_mut_ptr()) };
        if result != 0 {
            return Ok(Answer::Continue);
        }
        // SAFETY: all zero bits were valid, and the call filled it in.
        let mut stat = unsafe { stat.assume_init() };
        stat.st_mode = mode(&node);
        (stat.st_uid, stat.st_gid) = (node.uid, node.gid);
        stat.st_rdev = rustix::fs::makedev(node.rdev.0, node.rdev.1);
        // SAFETY: the structure is plain numbers without padding that was not zeroed.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const stat).cast::<u8>(), size_of_val(&stat)) };
        self.tracees.write(asked.tid, address, bytes)?;
        Ok(Answer::Value(0))
    }

    /// Answers statx(2).
    pub fn statx(&mut self, asked: &Asked) -> Reply {
        let named = self.named_by(asked, asked.int(0), asked.arguments[1], asked.int(2))?;
        let node = self.worth_an_answer(asked, &named)?;
        let mut out = [0u8; 256]; // struct statx of linux/stat.h
        let flags = libc::AT_EMPTY_PATH | (asked.int(2) & libc::AT_STATX_SYNC_TYPE);
        // SAFETY: the buffer has the size of the structure; the path is a constant.
        let result = unsafe {
            libc::syscall(
                libc::SYS_statx,
                node.fd.as_raw_fd(),
                c"".as_ptr(),
                flags,
                asked.word(3),
                out.as_mut_ptr(),
            )
        };
        if result != 0 {
            return Ok(Answer::Continue);
        }
        let mut put = |at: usize, value: u32| out[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        put(20, node.uid);
        put(24, node.gid);
        put(128, node.rdev.0);
        put(132, node.rdev.1);
        out[28..30].copy_from_slice(&(mode(&node) as u16).to_ne_bytes());
        self.tracees.write(asked.tid, asked.arguments[4], &out)?;
        Ok(Answer::Value(0))
    }

    /// Returns the file, where the kernel's answer would be wrong.
    fn worth_an_answer(&self, asked: &Asked, named: &Named) -> Result<Node, Answer> {
        if self.service.is_some() {
            return self.node(asked.tid, named);
        }
        let (dev, ino, unmapped) = self.glance(asked.tid, named).map_err(|_| Answer::Continue)?;
        if !unmapped && !self.ledger.has(dev, ino) {
            return Err(Answer::Continue);
        }
        self.node(asked.tid, named)
    }
}

/// Returns the mode with the file's type.
fn mode(node: &Node) -> libc::mode_t {
    let kind = crate::fs::Kind::to_mode(node.kind);
    kind | libc::mode_t::from(node.mode)
}
