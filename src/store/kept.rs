//! Directories that builds keep in `cache/`: trees that commands run in, and cache mounts. Each has a file `lock`, which the build that uses
//! it has locked, and the time of which says when that was last.

use std::time::SystemTime;

use cap_std::fs::Dir;

use super::cache::CachePruneOptions;
use super::layout::Store;
use super::publish::open_regular;
use crate::error::{At, Result};
use crate::fs::Kind;
use crate::fs::dirents::Names;
use crate::fs::remove::remove_all;
use crate::fs::root::{c_name, open_dir_at};
use crate::fs::stat::stat_at;

const OP: &str = "build cache";
/// The trees that commands of builds run in.
pub(crate) const KEPT_TREES: &str = "trees";
/// The directories of cache mounts.
pub(crate) const KEPT_MOUNTS: &str = "mounts";

/// The file that says what a command did to a tree for its own time, see [`crate::tree::journal`].
#[cfg(feature = "sandbox")]
pub(crate) const KEPT_JOURNAL: &str = "journal";

/// How deep directories are looked into when their size is asked for: each level takes a descriptor.
const DEEPEST: usize = 200;

/// The result of a sweep.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Swept {
    /// Directories that could be used.
    pub kept: u64,
    /// Directories that were never finished.
    pub leftovers: u64,
    /// The size of all of them, in bytes.
    pub bytes: u64,
}

impl Store {
    /// Returns the size on the disk of the directories that builds keep, in bytes.
    pub(super) fn kept_bytes(&self) -> Result<u64> {
        let mut total = 0;
        for room in [KEPT_TREES, KEPT_MOUNTS] {
            if let Ok(dir) = self.0.cache.open_dir(room) {
                total += bytes_below(&dir).at(OP, self.path(&format!("cache/{room}")))?;
            }
        }
        Ok(total)
    }

    /// Removes directories that are not in use: those that were never finished, and with `chosen` those that were not used
    /// for long enough, the last used first up to the bytes that are to be kept.
    pub(super) fn sweep_kept(&self, chosen: Option<&CachePruneOptions>, dry_run: bool) -> Result<Swept> {
        let mut swept = Swept::default();
        #[cfg(feature = "sandbox")]
        if let (Ok(room), false) = (self.0.cache.open_dir(KEPT_TREES), dry_run) {
            mend_kept(self, &room)?;
        }
        let mut found = Vec::new();
        for (room, whole) in [(KEPT_TREES, "record"), (KEPT_MOUNTS, "ledger")] {
            let Ok(dir) = self.0.cache.open_dir(room) else { continue };
            let shown = self.path(&format!("cache/{room}"));
            for entry in dir.entries().at(OP, &shown)? {
                let Ok(name) = entry.at(OP, &shown)?.file_name().into_string() else { continue };
                let Ok(inner) = dir.open_dir(&name) else { continue };
                let used = inner.symlink_metadata("lock").and_then(|meta| meta.modified());
                let used = used.map_or(SystemTime::UNIX_EPOCH, |time| time.into_std());
                let whole = inner.symlink_metadata(whole).is_ok();
                // A plain prune does not look into what stays.
                let bytes = match whole && chosen.is_none() {
                    true => 0,
                    false => bytes_below(&inner).at(OP, &shown)?,
                };
                found.push((used, room, name, whole, bytes));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        let mut kept = 0u64;
        for (used, room, name, whole, bytes) in found {
            let goes = match chosen {
                _ if !whole => true,
                None => false,
                Some(options) => {
                    kept = kept.saturating_add(bytes);
                    let fresh =
                        SystemTime::now().duration_since(used).map_or(true, |age| age < options.unused_for);
                    !fresh && kept > options.keep_bytes
                }
            };
            let Ok(dir) = self.0.cache.open_dir(room) else { continue };
            if !goes
                || !(dry_run && whole
                    || !dry_run && remove(&dir, &name, &self.path(&format!("cache/{room}/{name}")))?)
            {
                continue;
            }
            *(if whole { &mut swept.kept } else { &mut swept.leftovers }) += 1;
            swept.bytes += bytes;
        }
        Ok(swept)
    }
}

/// Undoes what commands that were killed left in trees that are not in use: without that those may be neither read nor removed, nor the
/// cache mounts that were shown in them.
#[cfg(feature = "sandbox")]
pub(crate) fn mend_kept(store: &Store, room: &Dir) -> Result<()> {
    use crate::fs::Root;
    use crate::fs::lock::Locked;
    use crate::sandbox::Left;
    use crate::tree::{Ledger, journal};
    let trees = store.path(&format!("cache/{KEPT_TREES}"));
    for entry in room.entries().at(OP, &trees)? {
        let Ok(name) = entry.at(OP, &trees)?.file_name().into_string() else { continue };
        let shown = store.path(&format!("cache/{KEPT_TREES}/{name}"));
        let Ok(dir) = room.open_dir(&name) else { continue };
        if !dir.symlink_metadata(KEPT_JOURNAL).is_ok_and(|meta| meta.is_file() && meta.len() != 0) {
            continue;
        }
        let Ok(lock) = open_regular(&dir, "lock", &shown) else { continue };
        let Some(_lock) = Locked::try_new(lock, true).at(OP, &shown)? else { continue };
        let mut options = cap_std::fs::OpenOptions::new();
        options.read(true).append(true);
        cap_std::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let mut file = dir.open_with(KEPT_JOURNAL, &options).at(OP, &shown)?.into_std();
        if !file.metadata().at(OP, &shown)?.is_file() {
            continue;
        }
        let left = Left::read(&file)?;
        if left.is_nothing() {
            continue;
        }
        // What it says of files that later steps made does not matter: a tree is scanned when it is taken.
        let ledger = super::publish::read_capped(&dir, "ledger", &shown, 1 << 30);
        let mut ledger = ledger.ok().and_then(|it| Ledger::from_bytes(&it).ok()).unwrap_or_default();
        std::io::Seek::rewind(&mut file).at(OP, &shown)?;
        journal::replay(&mut file, &mut ledger)?;
        let path = store.root_path().join("cache").join(KEPT_TREES).join(&name).join("root");
        let root = Root::from_fd(open_dir_at(&dir, c"root").at(OP, &shown)?, path);
        left.undo(&root, &ledger, &file)?;
    }
    Ok(())
}

/// Removes a directory unless another process has it locked; returns whether it did.
fn remove(room: &Dir, name: &str, shown: &[u8]) -> Result<bool> {
    let inner = room.open_dir(name).at(OP, shown)?;
    let lock = open_regular(&inner, "lock", shown).ok();
    if lock.as_ref().is_some_and(|lock| lock.try_lock().is_err()) {
        return Ok(false);
    }
    match remove_all(room, &c_name(name.as_bytes()).at(OP, shown)?) {
        // What root keeps in the store of a user is root's to remove, for its files are.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && !is_ours(&inner) => Ok(false),
        removed => removed.at(OP, shown).map(|()| true),
    }
}

fn is_ours(dir: &Dir) -> bool {
    rustix::fs::fstat(dir).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw())
}

/// Returns how many bytes the entries below a directory take on the disk. What cannot be looked at, or goes meanwhile, counts nothing.
fn bytes_below(dir: &Dir) -> std::io::Result<u64> {
    let mut total = 0;
    let mut todo = vec![rustix::fs::openat(
        dir,
        c".",
        rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?];
    let mut waiting: Vec<Vec<std::ffi::CString>> = Vec::new();
    let mut here: Vec<std::ffi::CString> = look(&todo[0], &mut total)?;
    loop {
        match here.pop() {
            Some(name) => {
                let Some(above) = todo.last() else { return Ok(total) };
                if todo.len() >= DEEPEST {
                    continue;
                }
                let Ok(next) = open_dir_at(above, &name) else { continue };
                let names = look(&next, &mut total).unwrap_or_default();
                waiting.push(std::mem::replace(&mut here, names));
                todo.push(next);
            }
            None => {
                todo.pop();
                match waiting.pop() {
                    Some(names) => here = names,
                    None => return Ok(total),
                }
            }
        }
    }
}

/// Adds up the entries of a directory, and lists the directories among them.
fn look(dir: &std::os::fd::OwnedFd, total: &mut u64) -> std::io::Result<Vec<std::ffi::CString>> {
    let mut names = Names::default();
    names.read(dir)?;
    let mut directories = Vec::new();
    for at in 0..names.len() {
        let name = names.get(at);
        let Ok(stat) = stat_at(dir, name) else { continue };
        // Several names of one file share what it takes.
        let names = if stat.kind == Kind::Directory { 1 } else { u64::from(stat.nlink.max(1)) };
        *total += stat.blocks * 512 / names;
        if stat.kind == Kind::Directory {
            directories.push(name.to_owned());
        }
    }
    Ok(directories)
}
