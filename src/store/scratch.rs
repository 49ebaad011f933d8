//! Directories outside the store that are filled and then given their place: what a killed process leaves of one is found
//! again and removed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions};

use super::layout::Store;
use super::publish::{claim, open_regular, random_name};
use crate::error::{At, Found, Result};
use crate::fs::Root;
use crate::fs::lock::Locked;
use crate::fs::make_dir::open_or_make;
use crate::fs::remove::remove_and_count;
use crate::fs::root::c_name;
use crate::fs::staged_dir::{Claims, MARK};

const OP: &str = "clear scratch directory";
/// The prefix of claims in `tmp/`.
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
        let (name, file) = self.write_claim(CLAIM, path.as_os_str().as_bytes()).at(OP, self.path("tmp"))?;
        Ok(Scratch { store: self.unpinned(), name, file })
    }

    /// Writes a file in `tmp/` that is locked as long as its writer lives, and returns its name, which begins with `prefix`.
    pub(super) fn write_claim(&self, prefix: &str, bytes: &[u8]) -> io::Result<(String, Locked)> {
        let tmp = &self.0.tmp;
        let (temp, name) = (random_name(), format!("{prefix}{}", random_name()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        // Until it is locked, prune would take it for a dead writer's.
        let _lease = self.lease()?;
        let mut file = open_or_make(tmp, &temp, &options)?;
        // Locked and written before it has a name that is looked for.
        let made = claim(&file, tmp)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| tmp.rename(&temp, tmp, &name));
        if let Err(error) = made {
            let _ = tmp.remove_file(&temp);
            return Err(error);
        }
        Ok((name, Locked::new(file)))
    }

    /// Removes the scratch directories of dead processes; with a `parent`, only those in that directory. Gives how many, and how
    /// many bytes they took.
    pub(crate) fn clear_scratch(&self, parent: Option<&Path>) -> Result<(u64, u64)> {
        let (tmp, shown) = (&self.0.tmp, self.path("tmp"));
        let (mut cleared, mut bytes) = (0, 0);
        for entry in tmp.entries().at(OP, &shown)? {
            let name = entry.at(OP, &shown)?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(CLAIM) {
                continue;
            }
            let Some(mut file) = open_regular(tmp, &name, &shown).found()? else { continue };
            let mut path = Vec::new();
            (&mut file).take(PATH_CAP).read_to_end(&mut path).at(OP, &shown)?;
            let path = Path::new(OsStr::from_bytes(&path));
            if parent.is_some_and(|parent| path.parent() != Some(parent)) {
                continue;
            }
            let Ok(Some(claim)) = Locked::try_new(file, true) else { continue };
            // Locked only now: another process may have cleared it since, and its path may be in use again.
            if !is_named(claim.file(), tmp, &name).at(OP, &shown)? {
                continue;
            }
            if let Some(removed) = remove(path)? {
                cleared += 1;
                bytes += removed;
            }
            tmp.remove_file(&name).found().at(OP, &shown)?;
        }
        Ok((cleared, bytes))
    }
}

/// Returns whether a name in a directory still stands for this open file.
pub(super) fn is_named(file: &File, dir: &Dir, name: &str) -> std::io::Result<bool> {
    let open = rustix::fs::fstat(file)?;
    match rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes one, if it is there; gives how many bytes it took.
fn remove(path: &Path) -> Result<Option<u64>> {
    let shown = path.as_os_str().as_bytes();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    if !name.as_bytes().starts_with(b".") || !String::from_utf8_lossy(name.as_bytes()).contains(MARK) {
        return Ok(None);
    }
    let parent = match Root::open(parent) {
        Ok(parent) => parent,
        // The directory above was moved or removed, or is not to be reached: nothing can be done from here.
        Err(_) => return Ok(None),
    };
    if rustix::fs::statat(&parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(None);
    }
    remove_and_count(&parent, &c_name(name.as_bytes()).at(OP, shown)?).at(OP, shown).map(Some)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A forked child has a copy of what its parent still uses. The next prune takes what cannot be removed here.
        if self.file.is_ours() {
            let _ = self.store.0.tmp.remove_file(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::fs::staged_dir::StagedDir;

    const ROUNDS: usize = 150;

    /// Puts down what a process leaves that is killed while it fills a directory.
    fn die(store: &Store, parent: &Path) -> PathBuf {
        let path = parent.join(format!(".dead{MARK}{}", random_name()));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("half"), "x").unwrap();
        let name = format!("{CLAIM}{}", random_name());
        std::fs::write(store.root_path().join("tmp").join(name), path.as_os_str().as_bytes()).unwrap();
        path
    }

    /// Writers begin, fill and finish at any moment of those that clear: none of them loses a file, and all that is dead goes.
    #[test]
    fn what_is_being_filled_is_never_cleared() {
        let temp = tempfile::tempdir().unwrap();
        let place = temp.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let open = || Store::open(temp.path().join("store")).unwrap();
        let store = open();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let clearing: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let (store, mut cleared) = (open(), 0);
                        while !ended.load(Ordering::Relaxed) {
                            cleared += store.clear_scratch(Some(&place)).unwrap().0;
                        }
                        cleared
                    })
                })
                .collect();
            let writing: Vec<_> = (0..3)
                .map(|writer| {
                    let (store, place) = (open(), place.clone());
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            let dir = place.join(format!("{writer}-{round}"));
                            let staged = StagedDir::prepare(&store, &dir, "fill").unwrap();
                            for name in ["a", "b"] {
                                rustix::fs::mkdirat(staged.root(), name, rustix::fs::Mode::RWXU).unwrap();
                                std::thread::yield_now();
                            }
                            match round % 3 {
                                0 => staged.discard(),
                                _ => {
                                    staged.publish().unwrap();
                                    assert!(dir.join("a").exists() && dir.join("b").exists(), "{dir:?}");
                                }
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..ROUNDS {
                die(&store, &place);
            }
            let wrote: Vec<_> = writing.into_iter().map(|thread| thread.join()).collect();
            ended.store(true, Ordering::Relaxed);
            let cleared: Vec<_> = clearing.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert!(wrote.into_iter().all(|wrote| wrote.is_ok()));
            assert!(cleared.iter().sum::<u64>() > 0, "nothing was cleared meanwhile");
        });
        store.clear_scratch(Some(&place)).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3 * ROUNDS * 2 / 3, "{left:?}");
        assert!(left.iter().all(|name| !name.as_bytes().starts_with(b".")), "{left:?}");
        assert_eq!(std::fs::read_dir(temp.path().join("store/tmp")).unwrap().count(), 0);
    }

    /// A claim that was seen and is somebody else's when its lock is had: what it named then may be in use again.
    #[test]
    fn a_claim_that_was_cleared_meanwhile_clears_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path().join("store")).unwrap();
        let path = die(&store, temp.path());
        let tmp = store.root_path().join("tmp");
        let name = std::fs::read_dir(&tmp).unwrap().next().unwrap().unwrap().file_name();
        let seen = File::open(tmp.join(&name)).unwrap();
        assert!(is_named(&seen, &store.0.tmp, name.to_str().unwrap()).unwrap());
        assert_eq!(store.clear_scratch(None).unwrap().0, 1);
        assert!(!path.exists());
        assert!(!is_named(&seen, &store.0.tmp, name.to_str().unwrap()).unwrap());
        // The same name once more: another file.
        std::fs::write(tmp.join(&name), path.as_os_str().as_bytes()).unwrap();
        assert!(!is_named(&seen, &store.0.tmp, name.to_str().unwrap()).unwrap());
    }
}
