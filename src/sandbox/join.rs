//! The network of another step: its namespace, as a descriptor that comes from there.
//!
//! To enter it takes rights in the user namespace that it belongs to. Real root has them; so has, outside of that namespace, the user
//! that made it (user_namespaces(7)). So this process enters that one as well, in place of making its own, and has the other
//! step's root as its own. All else that a step has of its own, its processes, mounts and host name, is made in it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::rung::Rung;
use super::{Network, sys};
use crate::fs::stat::stat_fd;

/// The network of a step, for others to join.
#[derive(Debug)]
pub struct Joined {
    /// Its namespace.
    pub namespace: OwnedFd,
    /// The kind that it has for that step: [`Network::Own`] or [`Network::None`].
    pub network: Network,
}

/// Returns the network namespace of this process.
pub fn own(proc: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(proc, "self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Moves this process into the network of another step. Gives whether it is in the user namespace of that step now, as its root.
pub fn enter(rung: Rung, namespace: &OwnedFd) -> io::Result<bool> {
    let user = sys::owner_of(namespace)?;
    let ours = rustix::fs::open("/proc/self/ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (theirs, ours) = (stat_fd(&user)?, stat_fd(&ours)?);
    let real = rustix::process::geteuid().is_root() && super::handle::has_all_ids();
    let has_one = rung.emulates() && rung.mounts();
    let enters = (theirs.dev, theirs.ino) != (ours.dev, ours.ino) && (has_one || !real);
    if enters {
        sys::join(&user, libc::CLONE_NEWUSER)?;
    }
    sys::join(namespace, libc::CLONE_NEWNET)?;
    Ok(enters)
}
