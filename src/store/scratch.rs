//! Directories outside the store that somebody fills and then gives their place: what a killed process leaves of one is
//! found again and removed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::OpenOptions;

use super::layout::Store;
use super::publish::{open_regular, random_name};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Root;
use crate::fs::remove::remove_all;
use crate::fs::root::c_name;
use crate::fs::staged_dir::{Claims, MARK};

const OP: &str = "clear scratch directory";
/// What the names of claims in `tmp/` begin with.
const CLAIM: &str = "scratch-";
/// Says in `tmp/` that a scratch directory is somebody's. The file is locked as long as its maker lives, and goes with
/// this value.
#[derive(Debug)]
pub struct Scratch {
    store: Store,
    name: String,
    _file: File,
}

impl Claims for Store {
    type Claim = Scratch;

    fn clear(&self, parent: &Path) -> Result<()> {
        self.clear_scratch(Some(parent)).map(drop)
    }

    fn claim(&self, path: &Path) -> Result<Scratch> {
        self.claim_scratch(path)
    }
}

impl Store {
    /// Claims a scratch directory about to be made at this absolute path. Its name contains [`MARK`].
    pub(crate) fn claim_scratch(&self, path: &Path) -> Result<Scratch> {
        const OP: &str = "claim scratch directory";
        let tmp = &self.0.tmp;
        let (temp, name) = (random_name(), format!("{CLAIM}{}", random_name()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let mut file = tmp.open_with(&temp, &options).at(OP, "tmp")?.into_std();
        // Locked and written before it has a name that anybody looks at.
        file.lock().at(OP, "tmp")?;
        file.write_all(path.as_os_str().as_bytes()).at(OP, "tmp")?;
        tmp.rename(&temp, tmp, &name).at(OP, "tmp")?;
        Ok(Scratch { store: self.clone(), name, _file: file })
    }

    /// Removes the scratch directories of dead processes; with a `parent`, only those in that directory. Gives how many.
    pub(crate) fn clear_scratch(&self, parent: Option<&Path>) -> Result<u64> {
        let tmp = &self.0.tmp;
        let mut cleared = 0;
        for entry in tmp.entries().at(OP, "tmp")? {
            let name = entry.at(OP, "tmp")?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(CLAIM) {
                continue;
            }
            let mut file = match open_regular(tmp, &name, "tmp") {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut path = Vec::new();
            file.read_to_end(&mut path).at(OP, "tmp")?;
            let path = Path::new(OsStr::from_bytes(&path));
            if parent.is_some_and(|parent| path.parent() != Some(parent)) || file.try_lock().is_err() {
                continue;
            }
            cleared += u64::from(remove(path)?);
            match tmp.remove_file(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(OP, "tmp", error));
                }
                _ => {}
            }
        }
        Ok(cleared)
    }
}

/// Removes one, if it is there.
fn remove(path: &Path) -> Result<bool> {
    let shown = path.as_os_str().as_bytes();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
    if !name.as_bytes().starts_with(b".") || !String::from_utf8_lossy(name.as_bytes()).contains(MARK) {
        return Ok(false);
    }
    let parent = match Root::open(parent) {
        Ok(parent) => parent,
        // The directory above was moved or removed, or is not to be reached: nothing can be done from here.
        Err(_) => return Ok(false),
    };
    if rustix::fs::statat(&parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(false);
    }
    remove_all(&parent, &c_name(name.as_bytes()).at(OP, shown)?).at(OP, shown)?;
    Ok(true)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whoever prunes next takes what cannot be removed here.
        let _ = self.store.0.tmp.remove_file(&self.name);
    }
}
