//! Volumes of a container: directories beside its tree, for what no commit takes.
//!
//! ```text
//! volumes/N        the files of a volume
//! volumes.json     where each is shown, and which directory it is
//! volumes.ledger   what the disk could not hold of their files, with paths as in the command's tree
//! ```
//!
//! While a command runs, the ledger of the volumes is part of that of the tree, and its changes go to the journal of the tree. After a
//! kill the journal is replayed over both, and each keeps what is its own.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};

use super::handle::Container;
use super::worktree::WorkTree;
use crate::archive::{TreeFiles, copy_directory};
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::make_dir::PrivateDirs;
use crate::fs::remove::remove_all;
use crate::fs::root::{below, is_below, join, open_dir_at, split};
use crate::fs::stat::stat_fd;
use crate::fs::{Kind, Root};
use crate::image::{LayerApplyOptions, RunConfig};
use crate::progress::Control;
use crate::sandbox::BindMount;
use crate::store::Slot;
use crate::tree::ledger::Record;
use crate::tree::{Ledger, journal};

const OP: &str = "open volumes";
const DIRECTORY: &str = "volumes";
const LIST: &str = "volumes.json";
const LEDGER: &str = "volumes.ledger";
/// The most volumes of a container.
const MOST: usize = 32;
/// The largest ledger that is read, in bytes.
const LEDGER_CAP: u64 = 1 << 30;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Own {
    /// The path in the command's tree, absolute.
    pub(super) target: String,
    /// The name of its directory.
    name: String,
    /// The device and inode of that directory. A rung that cannot mount puts it into the tree while a command runs.
    id: (u64, u64),
}

impl Own {
    /// Returns where its directory is.
    pub(super) fn source(&self, slot: &Slot) -> PathBuf {
        directory(slot, &self.name)
    }

    /// Returns whether its directory is in its place: it may be in the tree, and a command could have put something else
    /// there, such as a link.
    fn is_here(&self, volumes: &OwnedFd) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let here = rustix::fs::openat(volumes, &*self.name, flags, Mode::empty());
        here.map_err(std::io::Error::from)
            .and_then(|fd| stat_fd(&fd))
            .is_ok_and(|it| (it.dev, it.ino) == self.id)
    }
}

/// The volumes of a container.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    list: Vec<Own>,
    ledger: Ledger,
    /// Their paths in the tree, without symbolic links and a leading slash.
    at: Vec<Vec<u8>>,
    /// The records of the tree itself that lie below a volume, by device and inode: which life of that number.
    hidden: HashMap<(u64, u64), u64>,
}

impl Volumes {
    /// Reads what there is of volumes; `None` for a container without any.
    pub(super) fn read(slot: &Slot) -> Result<Option<Volumes>> {
        let Some(bytes) = slot.read(LIST)? else { return Ok(None) };
        let list: Vec<Own> = serde_json::from_slice(&bytes).map_err(|error| {
            Error::corrupt(OP, format!("the list of volumes is damaged: {error}")).with_path(slot.shown(LIST))
        })?;
        let ledger = match slot.open_file(LEDGER)? {
            None => Ledger::default(),
            Some(file) => {
                let mut bytes = Vec::new();
                file.take(LEDGER_CAP).read_to_end(&mut bytes).at(OP, slot.shown(LEDGER))?;
                Ledger::from_bytes(&bytes).map_err(|error| error.with_path(slot.shown(LEDGER)))?
            }
        };
        Ok(Some(Volumes { list, ledger, ..Volumes::default() }))
    }

    /// Returns the volumes in the list.
    pub(super) fn list(&self) -> &[Own] {
        &self.list
    }

    fn write(&self, slot: &Slot) -> Result<()> {
        slot.replace(LEDGER, &self.ledger.to_bytes())?;
        let bytes = serde_json::to_vec(&self.list)
            .map_err(|error| Error::new(ErrorKind::Internal, OP, error.to_string()))?;
        slot.replace(LIST, &bytes)
    }

    /// Puts right what a kill left: directories that were in the tree at the time go back, and changes that are only in the journal of the
    /// tree come into the ledger.
    pub(super) fn mend(&mut self, slot: &Slot, root: &Root, mut journal: Option<&File>) -> Result<()> {
        // One in another was put into the tree after that, and goes back before.
        let mut list: Vec<&Own> = self.list.iter().collect();
        list.sort_by(|a, b| b.target.split('/').cmp(a.target.split('/')));
        list.into_iter().try_for_each(|own| put_back(slot, root, own))?;
        let Some(journal) = &mut journal else { return Ok(()) };
        if journal.metadata().at(OP, slot.shown(LEDGER))?.len() == 0 {
            return Ok(());
        }
        self.locate(root)?;
        journal.rewind().at(OP, slot.shown(LEDGER))?;
        journal::replay(journal, &mut self.ledger)?;
        let others: Vec<_> = self.ledger.records().filter(|it| !self.is_inside(&it.path)).cloned().collect();
        for record in others {
            self.ledger.take(record.dev, record.ino);
        }
        slot.replace(LEDGER, &self.ledger.to_bytes())
    }

    fn locate(&mut self, root: &Root) -> Result<()> {
        self.at = self.list.iter().map(|own| real(root, &own.target)).collect::<Result<_>>()?;
        Ok(())
    }

    fn is_inside(&self, path: &[u8]) -> bool {
        self.at.iter().any(|at| is_below(path, at))
    }

    /// Makes what is known of the files of volumes part of a tree's ledger, for the time of a command.
    pub(super) fn join(&mut self, root: &Root, ledger: &mut Ledger) -> Result<()> {
        self.locate(root)?;
        // After a kill the journal brought them there as well.
        for record in self.ledger.records() {
            ledger.take(record.dev, record.ino);
        }
        let own = ledger.records().filter(|record| self.is_inside(&record.path));
        self.hidden = own.map(|record| ((record.dev, record.ino), record.generation)).collect();
        for record in self.ledger.records().filter(|record| self.is_inside(&record.path)) {
            ledger.insert(record.clone());
        }
        Ok(())
    }

    /// Takes out of the tree's ledger what is not the tree's, and writes it down.
    pub(super) fn part(&mut self, slot: &Slot, ledger: &mut Ledger) -> Result<()> {
        let hidden = |it: &Record| self.hidden.get(&(it.dev, it.ino)) == Some(&it.generation);
        let found = ledger.records().filter(|record| self.is_inside(&record.path) && !hidden(record));
        let found: Vec<Record> = found.cloned().collect();
        // What is known of volumes that were not shown this time stays.
        let mut after = Ledger::default();
        let rest = self.ledger.records().filter(|record| !self.is_inside(&record.path));
        rest.for_each(|record| after.insert(record.clone()));
        for record in found {
            ledger.take(record.dev, record.ino);
            after.insert(record);
        }
        self.ledger = after;
        slot.replace(LEDGER, &self.ledger.to_bytes())
    }

    /// Takes out what is known of one volume; the paths are those in it.
    pub(super) fn taken_from(&mut self, root: &Root, at: &[u8]) -> Result<Ledger> {
        self.locate(root)?;
        let inner: Vec<_> = self.at.iter().filter(|it| it.len() > at.len() && is_below(it, at)).collect();
        let its = |path: &[u8]| is_below(path, at) && !inner.iter().any(|inner| is_below(path, inner));
        let found: Vec<Record> = self.ledger.records().filter(|it| its(&it.path)).cloned().collect();
        let mut out = Ledger::default();
        for record in found {
            self.ledger.take(record.dev, record.ino);
            let path = below(at, &record.path).unwrap_or_default().to_vec();
            out.insert(Record { path, ..record });
        }
        Ok(out)
    }

    /// Writes down what is known of one volume now.
    pub(super) fn given_back(&mut self, slot: &Slot, at: &[u8], ledger: &Ledger) -> Result<()> {
        for record in ledger.records() {
            self.ledger.insert(Record { path: join(at, &record.path), ..record.clone() });
        }
        slot.replace(LEDGER, &self.ledger.to_bytes())
    }

    /// Returns the mounts that show them to the command.
    pub(super) fn binds(&self, slot: &Slot) -> Vec<BindMount> {
        let one = |own: &Own| BindMount {
            source: own.source(slot),
            target: own.target.clone().into_bytes(),
            read_only: false,
            private: true,
        };
        self.list.iter().map(one).collect()
    }
}

/// A path in a volume.
pub(super) struct Inside {
    /// The directory of the host that the volume is.
    pub(super) directory: PathBuf,
    /// The path of the volume in the tree.
    pub(super) at: Vec<u8>,
    /// The path in it.
    pub(super) rest: Vec<u8>,
}

/// Returns the path of a volume's directory.
fn directory(slot: &Slot, name: &str) -> PathBuf {
    slot.rootfs().with_file_name(DIRECTORY).join(name)
}

/// Returns where a path of the command leads in the tree.
fn real(root: &Root, target: &str) -> Result<Vec<u8>> {
    let path = crate::fs::root::normalise(target.as_bytes())?;
    root.real_path(&path).at(OP, target)
}

fn room(slot: &Slot) -> Result<OwnedFd> {
    match PrivateDirs::default().make(slot.dir(), c"volumes") {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).at(OP, slot.shown(DIRECTORY));
        }
        _ => {}
    }
    open_dir_at(slot.dir(), c"volumes").at(OP, slot.shown(DIRECTORY))
}

/// Exchanges a directory that is in the tree, and what it was exchanged with, once more.
fn put_back(slot: &Slot, root: &Root, own: &Own) -> Result<()> {
    let shown = || slot.shown(&format!("{DIRECTORY}/{}", own.name));
    let id = |fd: &OwnedFd| stat_fd(fd).map(|stat| (stat.dev, stat.ino));
    let volumes = room(slot)?;
    if own.is_here(&volumes) {
        return Ok(());
    }
    let at = real(root, &own.target)?;
    let (above, name) = split(&at);
    if root.follow(&at).map_err(std::io::Error::from).and_then(|fd| id(&fd)).ok() != Some(own.id) {
        let message = "the directory of a volume is not where it was";
        return Err(Error::not_found(OP, message)
            .with_path(shown())
            .with_hint("restore it, or remove the container"));
    }
    let above = root.follow(above).at(OP, shown())?;
    rustix::fs::renameat_with(&above, name, &volumes, &*own.name, RenameFlags::EXCHANGE).at(OP, shown())
}

/// Removes all volumes of a container.
pub(super) fn remove(slot: &Slot) -> Result<()> {
    for file in [LIST, LEDGER] {
        slot.remove(file)?;
    }
    match remove_all(slot.dir(), c"volumes") {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).at("remove volumes", slot.shown(DIRECTORY))
        }
        _ => Ok(()),
    }
}

impl Container {
    /// Returns where the container is to have volumes: those of its image and those that were asked for, unless something
    /// else is shown there.
    fn volume_targets(&self, config: &RunConfig) -> Result<Vec<String>> {
        let settings = &self.record.settings;
        let image = config.volumes.iter().flatten().map(|(target, _)| target);
        let mut out: Vec<String> = Vec::new();
        let clean = |target: &str| -> Result<String> {
            let path = crate::fs::root::normalise(target.as_bytes())?;
            Ok(format!("/{}", String::from_utf8_lossy(&path)))
        };
        let shown =
            settings.volumes.iter().map(|it| &it.target).chain(settings.tmpfs.iter().map(|it| &it.target));
        let shown = shown.map(|target| clean(target)).collect::<Result<Vec<_>>>()?;
        for target in image.chain(&settings.anonymous) {
            let target = clean(target)?;
            if !shown.contains(&target) && !out.contains(&target) {
                out.push(target);
            }
        }
        match out.len() > MOST {
            true => Err(Error::limit(OP, format!("more than {MOST} volumes")).with_path(self.name())),
            false => Ok(out),
        }
    }

    /// Opens the volumes that a command is to see, and makes those that are missing: with what the tree has in their place.
    pub(super) fn open_volumes(&self, tree: &WorkTree) -> Result<Option<Volumes>> {
        let targets = self.volume_targets(tree.image().config().run())?;
        let mut volumes = match (Volumes::read(&self.slot)?, targets.is_empty()) {
            (None, true) => return Ok(None),
            (found, _) => found.unwrap_or_default(),
        };
        let mut files = None;
        for target in &targets {
            if volumes.list.iter().any(|own| own.target == *target) {
                continue;
            }
            let own = self.make_volume(tree, &mut volumes, target, &mut files)?;
            volumes.list.push(own);
            volumes.write(&self.slot)?;
        }
        // What is shown in place of a volume now does not take its files away.
        volumes.list.retain(|own| targets.contains(&own.target));
        Ok(Some(volumes))
    }

    fn make_volume(
        &self,
        tree: &WorkTree,
        volumes: &mut Volumes,
        target: &str,
        files: &mut Option<TreeFiles>,
    ) -> Result<Own> {
        let root = tree.root();
        let at = real(root, target)?;
        if at.is_empty() {
            return Err(Error::invalid(OP, "the root of a container cannot be a volume").with_path(target));
        }
        let name =
            (0..).map(|n: u32| n.to_string()).find(|name| volumes.list.iter().all(|own| own.name != *name));
        let name = name.unwrap_or_default();
        let shown = self.slot.shown(&format!("{DIRECTORY}/{name}"));
        let room = room(&self.slot)?;
        let c_name = CString::new(&*name).map_err(|_| Error::invalid(OP, "a name with NUL"))?;
        // One that a kill left half made.
        match remove_all(&room, &c_name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).at(OP, &shown),
            _ => {}
        }
        PrivateDirs::default().make(&room, &c_name).at(OP, &shown)?;
        let path = directory(&self.slot, &name);
        let directory = Root::from_fd(open_dir_at(&room, &c_name).at(OP, &shown)?, &path);
        let (mut mode, mut owner) = (0o755, (0, 0));
        match root.real(&at).at(OP, target)?.map(|stat| stat.kind) {
            None => {}
            Some(Kind::Directory) => {
                let control = Control::default();
                let files = match files {
                    Some(files) => files,
                    None => files.insert(TreeFiles::open(Some(&self.store), root.path(), &control)?),
                };
                let entry = files.resolve(&at)?;
                let meta = crate::archive::CopySource::list(files).meta(entry);
                (mode, owner) = (u32::from(meta.mode), (meta.uid, meta.gid));
                let copied = copy_directory(files, entry, &path, &LayerApplyOptions::default(), &control)?;
                for record in copied.applied.ledger.records().filter(|record| !record.path.is_empty()) {
                    volumes.ledger.insert(Record { path: join(&at, &record.path), ..record.clone() });
                }
            }
            Some(_) => {
                return Err(Error::invalid(OP, "a volume is to be where no directory is").with_path(target));
            }
        }
        let id = volumes.ledger.give(&directory, at, mode, owner).at(OP, &shown)?;
        Ok(Own { target: target.into(), name, id })
    }

    /// Puts right what a killed command left of volumes, so that the tree is the tree alone. The caller holds the lock.
    pub(super) fn mend_volumes(&self) -> Result<()> {
        match Volumes::read(&self.slot)? {
            Some(mut volumes) => volumes.mend(&self.slot, &Root::open(self.tree())?, None),
            None => Ok(()),
        }
    }

    /// Returns the directory of the host in which a path of the container is, where that is in a volume of its own.
    /// One that is in the tree, as a rung that cannot mount puts it there, is found in the tree.
    pub(super) fn in_volume(&self, path: &[u8]) -> Result<Option<Inside>> {
        let Some(volumes) = Volumes::read(&self.slot)? else { return Ok(None) };
        let (root, room) = (Root::open(self.tree())?, room(&self.slot)?);
        let path = crate::fs::root::normalise(path)?;
        // A link of the tree may lead to a volume.
        let real_path = root.real_path(&path).ok();
        let mut found: Option<(usize, &Own, Vec<u8>)> = None;
        for own in &volumes.list {
            let target = crate::fs::root::normalise(own.target.as_bytes())?;
            let places =
                [(Some(&path), Some(target.clone())), (real_path.as_ref(), root.real_path(&target).ok())];
            let found_below = places.into_iter().find_map(|(path, target)| {
                let (path, target) = path.zip(target).filter(|(path, target)| is_below(path, target))?;
                Some((target.len(), below(&target, path)?.to_vec()))
            });
            // Of volumes in one another the innermost one.
            if let Some((length, rest)) =
                found_below.filter(|(at, _)| found.as_ref().is_none_or(|it| it.0 < *at))
            {
                found = Some((length, own, rest));
            }
        }
        let Some((_, own, rest)) = found.filter(|(_, own, _)| own.is_here(&room)) else { return Ok(None) };
        Ok(Some(Inside { directory: own.source(&self.slot), at: real(&root, &own.target)?, rest }))
    }
}
