//! Undoing what a step did to its tree for its own time, where a kill left no time for that: mount points, and owners on the disk.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::order::{Lending, Mount, Order, Shown};
use super::points::Points;
use super::rung::Rung;
use super::{StepOptions, helper, helper_process, prepare};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::Root;
use crate::fs::stat::stat_fd;
use crate::tree::Ledger;
use crate::tree::journal::{self, Made, Note, Owners, Writer};

const OP: &str = "mend tree";

/// The part of a tree's journal that is to be undone.
#[derive(Debug, Default)]
pub(crate) struct Left {
    made: Vec<Made>,
    owners: Owners,
    beside: Vec<Vec<u8>>,
    helper: Option<PathBuf>,
}

impl Left {
    /// Reads it.
    pub(crate) fn read(journal: &File) -> Result<Left> {
        let mut file = journal;
        io::Seek::rewind(&mut file).at(OP, "read journal")?;
        let mut left = Left::default();
        for note in journal::notes(&mut file)? {
            match note {
                Note::Made(made) => left.made.push(made),
                Note::Unmade => left.made.clear(),
                Note::Owners(Owners::Ledger) => {
                    (left.owners, left.beside, left.helper) = (Owners::Ledger, Vec::new(), None);
                }
                Note::Owners(owners) => left.owners = owners,
                Note::Beside(path) => left.beside.push(path),
                Note::Helper(path) => left.helper = Some(std::ffi::OsStr::from_bytes(&path).into()),
            }
        }
        Ok(left)
    }

    /// Returns whether there is nothing.
    pub(crate) fn is_nothing(&self) -> bool {
        self.made.is_empty() && self.owners == Owners::Ledger
    }

    /// Returns whether owners of files are on the disk.
    pub(crate) fn is_lent(&self) -> bool {
        self.owners != Owners::Ledger
    }

    /// Undoes it. No command runs in the tree, and the ledger is the one with all of the journal, to which the changes go. The caller
    /// has the journal locked.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where owners are on the disk and the user has no range of ids any more.
    pub(crate) fn undo(self, root: &Root, ledger: &Ledger, journal: &File) -> Result<()> {
        if self.is_lent() {
            wait_for_commands(root)?;
            self.take_back(root, ledger, journal).map_err(|error| {
                let kind = error.kind();
                let what = "a command that was killed left files here that belong to subordinate ids";
                let error = Error::new(kind, OP, format!("{what}: {}", error.message()));
                error.with_path(root.describe(b"")).with_hint(
                    "give the user that made them its ranges in /etc/subuid and /etc/subgid again, and do the same once more",
                )
            })?;
        }
        if !self.made.is_empty() {
            Points::of(root, &self.made)?.remove(root)?;
            writer(journal)?.note(&Note::Unmade).at(OP, "write journal")?;
        }
        Ok(())
    }

    /// Has a helper read the owners from the disk, and clear it of them.
    fn take_back(&self, root: &Root, ledger: &Ledger, journal: &File) -> Result<()> {
        let there = |path: &&Path| rustix::fs::access(*path, rustix::fs::Access::EXEC_OK).is_ok();
        let given = self.helper.as_deref().filter(there);
        let program = helper::find(given)?;
        let (mut mounts, mut sources) = (Vec::new(), Vec::new());
        for path in &self.beside {
            let (target, source) = split(path);
            let opened = crate::fs::root::open_by_path(
                Path::new(std::ffi::OsStr::from_bytes(source)),
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            );
            match opened {
                Ok(fd) => sources.push(fd),
                // It went in the meantime, with all that was in it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).at(OP, source),
            }
            let private = Some(target.to_vec());
            let what = Shown::Host { source: source.to_vec(), read_only: false, private };
            mounts.push(Mount { target: target.to_vec(), what });
        }
        let options = StepOptions { arguments: vec![b"-".to_vec()], ..StepOptions::default() };
        let owners = Lending::TakeBack { all: self.owners == Owners::Disk };
        let order = Order { mounts, owners, ..prepare::bare_order(&options, Rung::Ids) };
        helper_process::without_command(root, ledger, &order, journal, &sources, &program)
    }
}

/// How long commands of a step that was killed are waited for: the kernel ends them, but not at once.
const MOMENT: Duration = Duration::from_secs(10);

/// Waits until no process has the tree for its root.
fn wait_for_commands(root: &Root) -> Result<()> {
    let shown = || root.describe(b"");
    let tree = stat_fd(root).at(OP, shown())?;
    let end = Instant::now() + MOMENT;
    while is_root_of_any((tree.dev, tree.ino)).at(OP, "/proc")? {
        if Instant::now() > end {
            return Err(in_use(root));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Returns whether a process that this user may look at has a directory for its root, and not for that of the whole machine.
fn is_root_of_any(tree: (u64, u64)) -> io::Result<bool> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = crate::fs::root::open_by_path(Path::new("/proc"), flags)?;
    let own = rustix::fs::stat("/proc/self/root")?;
    if (own.st_dev, own.st_ino) == tree {
        return Ok(false);
    }
    let mut names = crate::fs::dirents::Names::default();
    names.read(&proc)?;
    let numbers = (0..names.len()).map(|at| names.get(at).to_bytes());
    Ok(numbers.filter(|name| name.iter().all(u8::is_ascii_digit)).any(|name| {
        let root = rustix::fs::statat(&proc, [name, b"/root"].concat(), rustix::fs::AtFlags::empty());
        root.is_ok_and(|root| (root.st_dev, root.st_ino) == tree)
    }))
}

/// Writes down what is needed to take owners back that a killed step leaves on the disk.
pub(super) fn note_lending(order: &Order, journal: &File, program: &Path) -> Result<()> {
    let mut writer = writer(journal)?;
    let program = std::path::absolute(program).at(OP, program.as_os_str().as_bytes())?;
    let mut notes = vec![Note::Helper(program.into_os_string().into_encoded_bytes())];
    for mount in &order.mounts {
        if let Shown::Host { source, private: Some(at), .. } = &mount.what {
            notes.push(Note::Beside([&at[..], b"\0", source].concat()));
        }
    }
    notes.iter().try_for_each(|note| writer.note(note)).at(OP, "write journal")
}

/// Splits the note on a directory beside the tree: where commands see it, and where it is.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().position(|&c| c == 0).unwrap_or(path.len());
    (&path[..at], path.get(at + 1..).unwrap_or_default())
}

/// Appends to a journal.
pub(super) fn writer(journal: &File) -> Result<Writer> {
    Ok(Writer::new(journal.try_clone().at(OP, "write journal")?))
}

/// Returns the error that a tree is in use in a way that keeps its files from this user.
pub(crate) fn in_use(root: &Root) -> Error {
    let message =
        "a command runs in this tree by the rung ids: until it ends, files belong to subordinate ids";
    Error::new(ErrorKind::Busy, OP, message).with_path(root.describe(b""))
}
