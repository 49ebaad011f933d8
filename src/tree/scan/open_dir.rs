//! Directories that a scan keeps open, or finds again by name.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::OPEN_DIRECTORIES;
use crate::fs::root::open_dir_at;

/// How many more directories may be kept open of those that were reached again by name.
const WALKED_DIRECTORIES: usize = 64;

/// A directory with subdirectories still to be read. Its descriptor stays open until the last of them has been opened,
/// budget permitting; after that, or without it, the way down is walked again by name.
#[derive(Debug)]
pub(super) struct OpenDir {
    pub fd: Mutex<Option<Arc<OwnedFd>>>,
    pub waiting: AtomicUsize,
    pub parent: Option<Arc<OpenDir>>,
    pub name: CString,
    pub open: Arc<AtomicUsize>,
}

impl Drop for OpenDir {
    fn drop(&mut self) {
        self.close();
        // A chain of thousands would otherwise be dropped by as many nested calls.
        let mut next = self.parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.parent.take();
        }
    }
}

impl OpenDir {
    fn fd(&self) -> Option<Arc<OwnedFd>> {
        self.fd.lock().expect("no holder panics").clone()
    }

    fn close(&self) {
        if self.fd.lock().expect("no holder panics").take().is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns the path of this directory, for messages.
    pub fn path(&self) -> Vec<u8> {
        let mut names: Vec<&[u8]> = vec![self.name.to_bytes()];
        let mut at = self.parent.as_deref();
        while let Some(dir) = at {
            names.push(dir.name.to_bytes());
            at = dir.parent.as_deref();
        }
        names.pop();
        names.reverse();
        names.join(&b'/')
    }

    /// Opens `name` below this directory, by the descriptor in hand if there is one.
    pub fn open(&self, name: &CStr, in_hand: Option<Arc<OwnedFd>>) -> std::io::Result<OwnedFd> {
        let opened = match in_hand.or_else(|| self.fd()) {
            Some(fd) => open_dir_at(&*fd, name),
            None => self.walk(name),
        };
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
        opened
    }

    fn walk(&self, name: &CStr) -> std::io::Result<OwnedFd> {
        let mut way = vec![self];
        let mut at = self.parent.as_deref();
        let mut fd = loop {
            let dir = at.ok_or(std::io::ErrorKind::NotFound)?;
            match dir.fd() {
                Some(fd) => break fd,
                None => way.push(dir),
            }
            at = dir.parent.as_deref();
        };
        for (above, dir) in way.iter().enumerate().rev() {
            fd = Arc::new(open_dir_at(&*fd, &dir.name)?);
            // The next directory, from here or from a few steps up, finds a start nearby: without that, the way back up
            // from the end of a chain would take time by the square of its length.
            if above == 0 || above.is_power_of_two() {
                dir.keep(&fd);
            }
        }
        open_dir_at(&*fd, name)
    }

    fn keep(&self, fd: &Arc<OwnedFd>) {
        let mut slot = self.fd.lock().expect("no holder panics");
        if slot.is_some() {
            return;
        }
        if self.open.fetch_add(1, Ordering::Relaxed) < OPEN_DIRECTORIES + WALKED_DIRECTORIES {
            *slot = Some(fd.clone());
        } else {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
