//! A directory that is filled before it has its place, so that half of it is never seen.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use super::Root;
use super::dirents::Names;
use super::lock::Locked;
use super::make_dir::{PrivateDirs, make_missing, remove_empty};
use super::remove::remove_all;
use super::root::{c_name, open_dir_at, parent_of};
use super::staged::random_name;
use super::stat::{Kind, is_mount_point, stat_at, stat_fd};
use crate::error::{At, Error, ErrorKind, Result};

/// A part of the name of every scratch directory: nothing else is ever removed.
pub const MARK: &str = ".unpacking-";

/// Keeps track of scratch directories, so that those of killed processes are found again.
pub trait Claims {
    /// A claim to one scratch directory: it belongs to a living process.
    type Claim;

    /// Removes the scratch directories of dead processes in the directory at this absolute path.
    fn clear(&self, parent: &Path) -> Result<()>;

    /// Claims a scratch directory that is about to be made at this absolute path.
    fn claim(&self, path: &Path) -> Result<Self::Claim>;
}

/// A directory being filled.
///
/// It grows beside its target, under a name of its own, and is renamed into place. Where that is not possible (a mount
/// point, a symbolic link to a directory, or no right to write beside it) the target itself is filled, locked with flock(2)
/// meanwhile, so that of two that fill it one fails.
pub struct StagedDir<C> {
    root: Root,
    operation: &'static str,
    way: Way<C>,
    /// Directories above that were made for it, the topmost first.
    parents: Vec<PathBuf>,
}

enum Way<C> {
    /// The directory above, the name it has there and the name it is to have, and the claim to the first.
    Beside { parent: Root, scratch: String, name: OsString, _claim: C },
    /// The names that were made in the target, which is locked meanwhile.
    InPlace { made: Vec<Vec<u8>>, _lock: Locked<OwnedFd> },
}

impl<C> StagedDir<C> {
    /// Prepares to fill `dir`, which must not exist or be an empty directory. Errors name `operation`.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when something is in it, [`ErrorKind::Busy`] when another process is filling it in place.
    pub fn prepare(
        claims: &impl Claims<Claim = C>,
        dir: &Path,
        operation: &'static str,
    ) -> Result<StagedDir<C>> {
        let root = match Root::open(dir) {
            Ok(root) => root,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parents = make_parents(dir, operation)?;
                let staged = place_of(dir, operation)
                    .and_then(|(parent, name)| Self::beside(claims, parent, name, dir, operation));
                return match staged {
                    Ok(staged) => Ok(StagedDir { parents, ..staged }),
                    Err(error) => {
                        remove_empty(&parents);
                        Err(error)
                    }
                };
            }
            Err(error) => return Err(error),
        };
        check_empty(&root, operation)?;
        if let Ok(Some((parent, name))) = replaceable(dir, &root, operation)
            && let Ok(staged) = Self::beside(claims, parent, name, dir, operation)
        {
            return Ok(staged);
        }
        let Some(lock) = root.lock(true).at(operation, root.describe(b""))? else {
            let message = "another process is filling the directory";
            return Err(Error::new(ErrorKind::Busy, operation, message).with_path(root.describe(b"")));
        };
        // It may have been filled before the lock was taken.
        check_empty(&root, operation)?;
        Ok(StagedDir {
            root,
            operation,
            way: Way::InPlace { made: Vec::new(), _lock: lock },
            parents: Vec::new(),
        })
    }

    fn beside(
        claims: &impl Claims<Claim = C>,
        parent: Root,
        name: OsString,
        dir: &Path,
        operation: &'static str,
    ) -> Result<StagedDir<C>> {
        let shown = dir.as_os_str().as_bytes();
        let above = std::path::absolute(parent.path()).at(operation, shown)?;
        // What a killed process left here. Where it cannot be removed, it stays for prune.
        let _ = claims.clear(&above);
        // A random name: process numbers repeat, and containers that share a directory have equal ones.
        let mut tail = name.as_bytes().to_vec();
        tail.truncate(200);
        let tail = crate::error::escape(&tail).replace('\\', "_");
        for _ in 0..1000 {
            let scratch = format!(".{tail}{MARK}{}", random_name());
            let claim = claims.claim(&above.join(&scratch))?;
            let at = c_name(scratch.as_bytes()).at(operation, shown)?;
            match PrivateDirs::default().make(&parent, &at) {
                Ok(()) => {
                    let opened = open_dir_at(&parent, &at).inspect_err(|_| {
                        // It is empty and needs no descriptor to go.
                        let _ = rustix::fs::unlinkat(&parent, &at, AtFlags::REMOVEDIR);
                    });
                    let root = Root::from_fd(opened.at(operation, shown)?, dir);
                    let way = Way::Beside { parent, scratch, name, _claim: claim };
                    return Ok(StagedDir { root, operation, way, parents: Vec::new() });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io(operation, shown, error)),
            }
        }
        let message = "no free name for a scratch directory";
        Err(Error::new(ErrorKind::AlreadyExists, operation, message).with_path(shown))
    }

    /// Returns the directory to fill.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Notes names that were made in the directory: [`StagedDir::discard`] removes them.
    pub fn made(&mut self, names: impl IntoIterator<Item = Vec<u8>>) {
        if let Way::InPlace { made, .. } = &mut self.way {
            made.extend(names);
        }
    }

    /// Removes what was made.
    pub fn discard(self) {
        // The error that led here matters more than one in cleaning up after it.
        match self.way {
            Way::Beside { parent, scratch, .. } => {
                // Where descriptors are what is missing, removing it needs this one.
                drop(self.root);
                if let Ok(name) = c_name(scratch.as_bytes()) {
                    let _ = remove_all(&parent, &name);
                }
                remove_empty(&self.parents);
            }
            Way::InPlace { made, .. } => {
                for name in made {
                    if let Ok(name) = c_name(&name) {
                        let _ = remove_all(&self.root, &name);
                    }
                }
            }
        }
    }

    /// Gives the directory its place. Returns the directory above if it has a new name in it.
    pub fn publish(self) -> Result<Option<Root>> {
        let Way::Beside { parent, scratch, name, .. } = &self.way else {
            return Ok(None);
        };
        if let Err(error) = rustix::fs::renameat(parent, scratch.as_str(), parent, name) {
            let error = Error::io(self.operation, self.root.describe(b""), error);
            self.discard();
            return Err(error.with_hint("the directory must not exist, or be empty and no mount point"));
        }
        match self.way {
            Way::Beside { parent, .. } => Ok(Some(parent)),
            Way::InPlace { .. } => Ok(None),
        }
    }
}

fn check_empty(root: &Root, operation: &'static str) -> Result<()> {
    let mut names = Names::default();
    names.read(root).at(operation, root.describe(b""))?;
    match names.is_empty() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::AlreadyExists, operation, "the directory is not empty")
            .with_path(root.describe(b""))
            .with_hint("name a new directory, or remove this one first")),
    }
}

/// Makes the directories above a path that are missing, and returns them, the topmost first.
fn make_parents(dir: &Path, operation: &'static str) -> Result<Vec<PathBuf>> {
    let Some(above) = dir.parent() else { return Ok(Vec::new()) };
    make_missing(above).map_err(|(path, error)| Error::io(operation, path.as_os_str().as_bytes(), error))
}

/// Opens the directory above a path and returns it with the last name of the path.
fn place_of(dir: &Path, operation: &'static str) -> Result<(Root, OsString)> {
    let shown = dir.as_os_str().as_bytes();
    let name = dir
        .file_name()
        .ok_or_else(|| Error::invalid(operation, "this is not the name of a directory").with_path(shown))?;
    Ok((Root::open(parent_of(dir))?, name.to_os_string()))
}

/// Returns the place of a directory, if a rename can replace it: it is one by this very name, no link to it, and nothing is
/// mounted there.
fn replaceable(dir: &Path, root: &Root, operation: &'static str) -> Result<Option<(Root, OsString)>> {
    let (parent, name) = place_of(dir, operation)?;
    let look = || -> std::io::Result<bool> {
        let (above, there) = (stat_fd(&parent)?, stat_fd(root)?);
        let named = stat_at(&parent, &c_name(name.as_bytes())?)?;
        Ok(named.kind == Kind::Directory
            && (named.dev, named.ino) == (there.dev, there.ino)
            && there.dev == above.dev
            && !is_mount_point(root)?)
    };
    let replaceable = look().at(operation, root.describe(b""))?;
    Ok(replaceable.then_some((parent, name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, read_dir, write};

    struct Unclaimed;

    impl Claims for Unclaimed {
        type Claim = ();

        fn clear(&self, _: &Path) -> Result<()> {
            Ok(())
        }

        fn claim(&self, _: &Path) -> Result<()> {
            Ok(())
        }
    }

    fn prepare(dir: &Path) -> Result<StagedDir<()>> {
        StagedDir::prepare(&Unclaimed, dir, "fill")
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_beside_its_place_comes_whole_or_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("dir");
        for empty in [false, true] {
            if empty {
                create_dir(&dir).unwrap();
            }
            let fill = || {
                let staged = prepare(&dir).unwrap();
                rustix::fs::mkdirat(staged.root(), "new", rustix::fs::Mode::RWXU).unwrap();
                staged
            };
            fill().discard();
            assert_eq!(names(temp.path()).len(), usize::from(empty));
            assert!(fill().publish().unwrap().is_some());
            assert_eq!(names(&dir), ["new"]);
            assert_eq!(prepare(&dir).err().unwrap().kind(), ErrorKind::AlreadyExists);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }

    /// By a link, which a rename would replace instead of what it leads to.
    #[test]
    fn a_directory_filled_in_place_loses_what_was_made_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, link) = (temp.path().join("dir"), temp.path().join("link"));
        create_dir(&dir).unwrap();
        std::os::unix::fs::symlink("dir", &link).unwrap();
        let mut staged = prepare(&link).unwrap();
        assert_eq!(prepare(&link).err().unwrap().kind(), ErrorKind::Busy, "one at a time");
        create_dir(dir.join("ours")).unwrap();
        write(dir.join("ours/file"), "x").unwrap();
        write(dir.join("other"), "of somebody else").unwrap();
        staged.made([b"ours".to_vec(), b"never made".to_vec()]);
        staged.discard();
        assert_eq!(names(&dir), ["other"]);
        assert_eq!(prepare(&link).err().unwrap().kind(), ErrorKind::AlreadyExists);
        std::fs::remove_file(dir.join("other")).unwrap();
        let staged = prepare(&link).unwrap();
        write(dir.join("ours"), "").unwrap();
        assert!(staged.publish().unwrap().is_none());
        assert_eq!(names(&dir), ["ours"]);
        assert!(link.is_symlink());
    }
}
