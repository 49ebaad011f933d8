//! Descriptors of a tree's directories, by their numbers in a snapshot.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::snapshot::Snapshot;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Root;
use crate::fs::root::{c_name, open_dir_at, was_replaced};
use crate::fs::stat::stat_fd;

/// How many directories are kept open at once.
const OPEN: usize = 64;

/// Opens directories of a tree by way of the nearest open one above, one name at a time and never through a symbolic link.
pub(crate) struct Ways<'a> {
    root: &'a Root,
    tree: &'a Snapshot,
    /// The operation that errors name.
    operation: &'static str,
    /// Whether a directory has to be the one in the snapshot, by device and inode.
    same: bool,
    open: HashMap<u32, (Arc<OwnedFd>, u64)>,
    age: u64,
}

impl<'a> Ways<'a> {
    /// Returns the directories that a scan found below `root`: another one in the place of one is an error.
    pub fn of_scan(root: &'a Root, tree: &'a Snapshot, operation: &'static str) -> Self {
        Ways { root, tree, operation, same: true, open: HashMap::new(), age: 0 }
    }

    /// Returns directories of the same names below another root.
    pub fn of_copy(root: &'a Root, tree: &'a Snapshot, operation: &'static str) -> Self {
        Ways { same: false, ..Self::of_scan(root, tree, operation) }
    }

    /// Returns a path of the tree, for messages.
    pub fn shown(&self, index: u32) -> Vec<u8> {
        self.root.describe(&self.tree.path(index))
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] when it is gone, or not the one the scan found.
    pub fn open(&mut self, directory: u32) -> Result<Arc<OwnedFd>> {
        self.age += 1;
        let mut way = Vec::new();
        let mut at = directory;
        let mut fd = loop {
            if let Some((fd, used)) = self.open.get_mut(&at) {
                *used = self.age;
                break fd.clone();
            }
            if at == 0 {
                let opened = self.root.open_dir(b"").at_path(self.operation, || self.shown(0))?;
                break Arc::new(opened);
            }
            way.push(at);
            at = self.tree.parent(at);
        };
        for (below, &step) in way.iter().enumerate().rev() {
            let name = c_name(self.tree.name(step)).at_path(self.operation, || self.shown(step))?;
            let opened = open_dir_at(&*fd, &name).map_err(|error| match was_replaced(&error) {
                true => self.changed(step).with_source(error),
                false => Error::io(self.operation, self.shown(step), error),
            })?;
            if self.same {
                let (stat, meta) =
                    (stat_fd(&opened).at_path(self.operation, || self.shown(step))?, self.tree.meta(step));
                if (stat.dev, stat.ino) != (meta.dev, meta.ino) {
                    return Err(self.changed(step));
                }
            }
            fd = Arc::new(opened);
            // Going up from the end of a deep tree step by step finds a start nearby each time.
            if below.is_power_of_two() {
                self.keep(step, fd.clone());
            }
        }
        self.keep(directory, fd.clone());
        Ok(fd)
    }

    /// Closes a directory that is not needed again.
    pub fn close(&mut self, directory: u32) {
        self.open.remove(&directory);
    }

    fn changed(&self, index: u32) -> Error {
        let message = "the directory was moved, removed or replaced meanwhile";
        Error::new(ErrorKind::Changed, self.operation, message).with_path(self.shown(index))
    }

    fn keep(&mut self, directory: u32, fd: Arc<OwnedFd>) {
        if self.open.len() >= OPEN {
            let mut ages: Vec<u64> = self.open.values().map(|(_, used)| *used).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            self.open.retain(|_, (_, used)| *used > middle);
        }
        self.open.insert(directory, (fd, self.age));
    }
}
