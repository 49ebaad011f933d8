//! A directory of the host for files of the step's root that the tree has not: /dev, /dev/shm, filesystems in memory. Gone
//! with the supervisor, or, where that was killed, when the next one begins.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::fs::stat::{stat_at, stat_fd};

/// Where it may be made; the first place that works. The first one is memory on nearly every machine.
const PLACES: [&str; 3] = ["/dev/shm", "/tmp", "/var/tmp"];
/// The prefix of its name; sixteen hexadecimal digits follow.
const PREFIX: &str = "treering-";
/// How often a new one is made where another supervisor took it for abandoned.
const TRIES: usize = 8;

/// The directory. Its lock says that it is in use.
#[derive(Debug)]
pub struct Scratch {
    above: OwnedFd,
    name: String,
    /// The directory, open and locked.
    pub fd: OwnedFd,
}

impl Scratch {
    /// Makes one, and removes those that killed supervisors of the same user left.
    pub fn new() -> io::Result<Scratch> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in PLACES {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(above) = rustix::fs::open(place, flags, Mode::empty()) else { continue };
            sweep(&above);
            match make(above) {
                Ok(scratch) => return Ok(scratch),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn make(above: OwnedFd) -> io::Result<Scratch> {
    for _ in 0..TRIES {
        let mut random = [0; 8];
        crate::sandbox::sys::random(&mut random)?;
        let name = format!("{PREFIX}{:016x}", u64::from_ne_bytes(random));
        rustix::fs::mkdirat(&above, name.as_str(), Mode::from_raw_mode(0o700))?;
        // Until it is locked it looks abandoned.
        let Ok(fd) = open(&above, &name) else { continue };
        if rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok()
            && is_there(&above, &name, &fd)
        {
            return Ok(Scratch { above, name, fd });
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn open(above: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

fn is_there(above: &OwnedFd, name: &str, fd: &OwnedFd) -> bool {
    let Ok(name) = crate::fs::root::c_name(name.as_bytes()) else { return false };
    let (Ok(there), Ok(here)) = (stat_at(above, &name), stat_fd(fd)) else { return false };
    (there.dev, there.ino) == (here.dev, here.ino)
}

/// Removes directories of this user that are not locked.
fn sweep(above: &OwnedFd) {
    let mut names = crate::fs::dirents::Names::default();
    let Ok(list) = open(above, ".") else { return };
    if names.read(&list).is_err() {
        return;
    }
    for at in 0..names.len() {
        let Ok(name) = names.get(at).to_str() else { continue };
        let Some(digits) = name.strip_prefix(PREFIX) else { continue };
        if digits.len() != 16 || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            continue;
        }
        let Ok(fd) = open(above, name) else { continue };
        let ours = stat_fd(&fd).is_ok_and(|stat| stat.uid == rustix::process::geteuid().as_raw());
        if ours && rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok() {
            empty(&fd, 0);
            let _ = rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR);
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        empty(&self.fd, 0);
        let _ = rustix::fs::unlinkat(&self.above, self.name.as_str(), AtFlags::REMOVEDIR);
    }
}

/// Removes what is in a directory that is ours. A step may have filled /dev/shm; what is too deep stays.
fn empty(directory: &OwnedFd, depth: usize) {
    let Ok(open) = open(directory, ".") else { return };
    let mut names = crate::fs::dirents::Names::default();
    if depth > 100 || names.read(&open).is_err() {
        return;
    }
    for at in 0..names.len() {
        let name = names.get(at);
        match rustix::fs::unlinkat(&open, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let Ok(below) = rustix::fs::openat(&open, name, flags, Mode::empty()) {
                    empty(&below, depth + 1);
                }
                let _ = rustix::fs::unlinkat(&open, name, AtFlags::REMOVEDIR);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_supervisor_left_goes_and_what_is_in_use_stays() {
        let temp = tempfile::tempdir().unwrap();
        let directory = || std::fs::File::open(temp.path()).map(OwnedFd::from).unwrap();
        let used = make(directory()).unwrap();
        let left = make(directory()).unwrap();
        std::fs::create_dir_all(temp.path().join(&left.name).join("dev/shm/a")).unwrap();
        // A kill runs no destructor, and closes the descriptors.
        let (name, fd) = (left.name.clone(), rustix::io::dup(&left.above).unwrap());
        let mut left = std::mem::ManuallyDrop::new(left);
        left.fd = fd;
        for other in ["treering-short", "treering-0123456789abcdeg", "other"] {
            std::fs::create_dir(temp.path().join(other)).unwrap();
        }
        sweep(&directory());
        assert!(!temp.path().join(&name).exists());
        assert!(temp.path().join(&used.name).exists());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 4);
        drop(used);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 3);
    }
}
