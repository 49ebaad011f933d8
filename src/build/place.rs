//! Directories of a build in the store's `tmp/`: gone with the value, and after a kill with the next prune.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use rustix::fs::Mode;

use crate::error::{At, Error, Result};
use crate::fs::Root;
use crate::fs::make_dir::PrivateDirs;
use crate::fs::remove::remove_all;
use crate::fs::root::open_dir_at;
use crate::fs::staged::random_name;
use crate::fs::staged_dir::MARK;
use crate::store::{Scratch, Store};

const OP: &str = "make directory";

/// A directory, removed with all that is in it when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    tmp: Dir,
    name: CString,
    path: PathBuf,
    _claim: Scratch,
}

impl Place {
    /// Makes an empty directory that every user may enter.
    pub(super) fn new(store: &Store) -> Result<(Place, Root)> {
        let tmp = store.dir().open_dir("tmp").at(OP, store.path("tmp"))?;
        let name = format!(".build{MARK}{}", random_name());
        let path = store.root_path().join("tmp").join(&name);
        let claim = store.claim_scratch(&path)?;
        let name = CString::new(name).map_err(|_| Error::invalid(OP, "a name with NUL"))?;
        let place = Place { tmp, name, path: path.clone(), _claim: claim };
        let shown = place.path.as_os_str().as_bytes();
        PrivateDirs::default().make(&place.tmp, &place.name).at(OP, shown)?;
        let root = Root::from_fd(open_dir_at(&place.tmp, &place.name).at(OP, shown)?, path);
        // Users of the image are to enter it, whatever the umask is.
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).at(OP, root.describe(b""))?;
        Ok((place, root))
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = remove_all(&self.tmp, &self.name);
    }
}
