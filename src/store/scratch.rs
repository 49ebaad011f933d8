//! Directories outside the store that somebody fills and then gives their place: what a killed process leaves of one is
//! found again and removed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions};

use super::layout::Store;
use super::lease::Locked;
use super::publish::{claim, open_regular, random_name};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Root;
use crate::fs::remove::remove_all;
use crate::fs::root::c_name;
use crate::fs::staged_dir::{Claims, MARK};

const OP: &str = "clear scratch directory";
/// What the names of claims in `tmp/` begin with.
const CLAIM: &str = "scratch-";
/// The longest path that is read from a claim, in bytes.
const PATH_CAP: u64 = 64 << 10;

/// A claim in `tmp/` on a scratch directory. The file is locked as long as the process lives, and goes with this value.
#[derive(Debug)]
pub struct Scratch {
    store: Store,
    name: String,
    file: Locked,
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
        let (tmp, shown) = (&self.0.tmp, self.path("tmp"));
        let (temp, name) = (random_name(), format!("{CLAIM}{}", random_name()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        // Until it is locked, prune would take it for a dead writer's.
        let _lease = self.lease()?;
        let mut file = tmp.open_with(&temp, &options).at(OP, &shown)?.into_std();
        // Locked and written before it has a name that is looked for.
        let claimed = claim(&file, tmp)
            .and_then(|()| file.write_all(path.as_os_str().as_bytes()))
            .and_then(|()| tmp.rename(&temp, tmp, &name));
        if let Err(error) = claimed {
            let _ = tmp.remove_file(&temp);
            return Err(Error::io(OP, &shown, error));
        }
        Ok(Scratch { store: self.unpinned(), name, file: Locked::new(file) })
    }

    /// Removes the scratch directories of dead processes; with a `parent`, only those in that directory. Gives how many.
    pub(crate) fn clear_scratch(&self, parent: Option<&Path>) -> Result<u64> {
        let (tmp, shown) = (&self.0.tmp, self.path("tmp"));
        let mut cleared = 0;
        for entry in tmp.entries().at(OP, &shown)? {
            let name = entry.at(OP, &shown)?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(CLAIM) {
                continue;
            }
            let mut file = match open_regular(tmp, &name, &shown) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut path = Vec::new();
            (&mut file).take(PATH_CAP).read_to_end(&mut path).at(OP, &shown)?;
            let path = Path::new(OsStr::from_bytes(&path));
            if parent.is_some_and(|parent| path.parent() != Some(parent)) || file.try_lock().is_err() {
                continue;
            }
            // Locked only now: another process may have cleared it since, and its path may be in use again.
            if !is_named(&file, tmp, &name).at(OP, &shown)? {
                continue;
            }
            cleared += u64::from(remove(path)?);
            match tmp.remove_file(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(OP, &shown, error));
                }
                _ => {}
            }
        }
        Ok(cleared)
    }
}

/// Whether a name in a directory still stands for this open file.
fn is_named(file: &File, dir: &Dir, name: &str) -> std::io::Result<bool> {
    let open = rustix::fs::fstat(file)?;
    match rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
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
        // A forked child has a copy of what its parent still uses. The next prune takes what cannot be removed here.
        if self.file.is_ours() {
            let _ = self.store.0.tmp.remove_file(&self.name);
        }
    }
}
