//! The trees that RUN steps run in, kept from one build to the next below the store's `cache/trees/`.
//!
//! ```text
//! cache/trees/NAME/lock      locked by the build that uses the tree; its time is that of the last use
//! cache/trees/NAME/record    which layers the tree was made of, last
//! cache/trees/NAME/root      the tree
//! cache/trees/NAME/index     its list, and `ledger`, what the disk does not hold of it
//! cache/trees/NAME/dirty     there while a build uses the tree: what it is then, only a scan says
//! cache/trees/NAME/journal   what a command did to the tree for its own time
//! ```
//!
//! A step takes the tree that differs least from the state it starts from, and has it moved there: what is the same stays. Nothing that
//! is written here has to be right. A tree is scanned whenever it is taken, so one that a failed command left, a kill or anybody
//! else, is mended by being moved.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::layer::Tools;
use crate::diff::{CompareOptions, compare};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::fs::lock::Locked;
use crate::fs::make_dir::{PrivateDirs, make_dir, open_or_make};
use crate::fs::remove::remove_all;
use crate::fs::root::{c_name, open_dir_at};
use crate::fs::staged::{Staged, random_name};
use crate::fs::{Kind, Root};
use crate::image::{Found, ImageFiles, Layer, Plan, known_contents};
use crate::layer::ApplyOptions;
use crate::layer::reshape::{Goal, reshape};
use crate::store::{KEPT_JOURNAL, KEPT_TREES, Store, mend_kept, open_regular};
use crate::tree::{Ledger, NONE, OwnerSource, Owners, Scan, ScanOptions, Snapshot, scan};

const OP: &str = "take tree";
/// The most trees that are kept. Each takes what its files take.
const MOST: usize = 6;
/// The largest record and the largest ledger that are read, in bytes.
const RECORD_CAP: u64 = 1 << 20;
const LEDGER_CAP: u64 = 1 << 30;
/// Changes whenever a tree would be read differently.
const FORMAT: u32 = 1;

/// The record of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// The DiffIDs of the layers, and what their blobs take, in bytes.
    layers: Vec<(Digest, u64)>,
    /// Owner of the files on the disk.
    owner: String,
    /// The run of the machine: after another one, files may have lost what was not written back.
    boot: String,
    /// The size of its files, in bytes.
    #[serde(default)]
    bytes: u64,
}

/// A tree's place in the pool. The tree is locked as long as this value is there.
#[derive(Debug)]
pub(super) struct Slot {
    dir: Dir,
    name: String,
    shown: Vec<u8>,
    lock: Locked,
}

/// A tree that is at a state.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) slot: Slot,
    pub(super) root: Root,
    pub(super) owners: Owners,
    pub(super) index: Snapshot,
}

/// Takes the tree of the pool that differs least from these layers, moved to them. `None` where an empty one differs less, or none can be
/// used.
pub(super) fn take(layers: &[Layer], tools: Tools<'_>) -> Result<Option<Taken>> {
    let room = tools.store.cache_room(KEPT_TREES)?;
    mend_kept(tools.store, &room)?;
    let wanted: Vec<(Digest, u64)> = layers.iter().map(|layer| (layer.diff_id, layer.size)).collect();
    let mut found: Vec<(u64, Reverse<SystemTime>, String)> = Vec::new();
    for (name, record, used) in list(tools.store, &room)? {
        let distance = distance(&record.layers, &wanted);
        if distance < total(&wanted) || record.layers == wanted {
            found.push((distance, Reverse(used), name));
        }
    }
    found.sort();
    for (_, _, name) in found {
        tools.control.check(OP)?;
        let Some(slot) = Slot::open(tools.store, &room, &name, false)? else { continue };
        match slot.clone_for(layers, tools) {
            Ok(Some(taken)) => return Ok(Some(taken)),
            Ok(None) => {}
            Err(error) if error.kind() == crate::ErrorKind::Cancelled => return Err(error),
            // It can be made anew, whatever was wrong with it.
            Err(_) => {}
        }
        if let Some(slot) = Slot::open(tools.store, &room, &name, false)? {
            slot.discard(&room, &name)?;
        }
    }
    Ok(None)
}

/// Makes a place for a new tree, with an empty directory for it. Trees that were not used for longest go where there are too many.
pub(super) fn new(tools: Tools<'_>) -> Result<(Slot, Root)> {
    let room = tools.store.cache_room(KEPT_TREES)?;
    let mut there = list(tools.store, &room)?;
    there.sort_by_key(|(_, _, used)| *used);
    let surplus = (there.len() + 1).saturating_sub(MOST);
    for (name, _, _) in there.into_iter().take(surplus) {
        if let Some(slot) = Slot::open(tools.store, &room, &name, false)? {
            slot.discard(&room, &name)?;
        }
    }
    let slot = loop {
        tools.control.check(OP)?;
        // One that was not locked yet may be taken for what a dead build left.
        if let Some(slot) = Slot::open(tools.store, &room, &random_name(), true)? {
            break slot;
        }
    };
    slot.mark()?;
    PrivateDirs::default().make(&slot.dir, c"root").at(OP, &slot.shown)?;
    let root = slot.root(tools.store)?;
    // Users of the image are to enter it, whatever the umask is; what the layers say of it follows.
    rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).at(OP, root.describe(b""))?;
    Ok((slot, root))
}

/// Returns the difference of two stacks of layers, in bytes of their blobs.
fn distance(a: &[(Digest, u64)], b: &[(Digest, u64)]) -> u64 {
    let common = a.iter().zip(b).take_while(|(a, b)| a.0 == b.0).count();
    total(&a[common..]).saturating_add(total(&b[common..]))
}

fn total(layers: &[(Digest, u64)]) -> u64 {
    // A layer costs something, however small.
    layers.iter().fold(0, |sum: u64, (_, size)| sum.saturating_add(size + 512))
}

/// Returns the trees that this process could use, with the time of their last use.
fn list(store: &Store, room: &Dir) -> Result<Vec<(String, Record, SystemTime)>> {
    let ours = Record { format: FORMAT, layers: Vec::new(), owner: owner(), boot: boot(), bytes: 0 };
    let mut out = Vec::new();
    let shown = store.path(&format!("cache/{KEPT_TREES}"));
    for entry in room.entries().at(OP, &shown)? {
        let Ok(name) = entry.at(OP, &shown)?.file_name().into_string() else { continue };
        let Ok(dir) = room.open_dir(&name) else { continue };
        let record = read(&dir, "record", RECORD_CAP);
        let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        let used = dir.symlink_metadata("lock").and_then(|meta| meta.modified()).map(|time| time.into_std());
        let (Some(record), Ok(used)) = (record, used) else { continue };
        let Record { format, owner, boot, .. } = &record;
        if (*format, owner, boot) == (ours.format, &ours.owner, &ours.boot) {
            out.push((name, record, used));
        }
    }
    Ok(out)
}

/// Lets go of the trees that were not used for longest, as long as all of them take more than [`crate::store::Limits::cache_bytes`].
pub(super) fn trim(store: &Store) -> Result<()> {
    let room = store.cache_room(KEPT_TREES)?;
    let limit = store.limits().cache_bytes;
    let mut there = list(store, &room)?;
    there.sort_by_key(|(_, _, used)| Reverse(*used));
    let mut total: u64 = 0;
    for (name, record, _) in there {
        total = total.saturating_add(record.bytes);
        if total > limit
            && let Some(slot) = Slot::open(store, &room, &name, false)?
        {
            slot.discard(&room, &name)?;
            total -= record.bytes;
        }
    }
    Ok(())
}

/// Returns the disk space that the files of a tree take: whole blocks of 4 KiB, and one for each directory.
fn size_of_files(index: &Snapshot) -> u64 {
    index.walk().fold(0, |sum: u64, at| {
        let meta = index.meta(at);
        let own = match meta.kind {
            Kind::File if [at, NONE].contains(&index.leader(at)) => meta.size.next_multiple_of(4096),
            Kind::Directory => 4096,
            _ => 0,
        };
        sum.saturating_add(own)
    })
}

/// Returns the owner of the files on the disk: the user that a tree is of use to.
fn owner() -> String {
    format!("{} {}", crate::layer::apply::owner_on_disk(), rustix::process::geteuid().as_raw())
}

fn boot() -> String {
    let id = crate::fs::root::read_file("/proc/sys/kernel/random/boot_id".as_ref()).unwrap_or_default();
    String::from_utf8_lossy(&id).trim().to_string()
}

fn read(dir: &Dir, name: &str, cap: u64) -> Option<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let mut bytes = Vec::new();
    dir.open_with(name, &options).ok()?.take(cap + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= cap).then_some(bytes)
}

impl Slot {
    /// Locks a place; with `new`, makes it. `None` when another process uses it, or it is gone.
    fn open(store: &Store, room: &Dir, name: &str, new: bool) -> Result<Option<Slot>> {
        let shown = store.path(&format!("cache/{KEPT_TREES}/{name}"));
        if new {
            c_name(name.as_bytes()).and_then(|name| make_dir(room, &name)).at(OP, &shown)?;
        }
        let Ok(dir) = room.open_dir(name) else { return Ok(None) };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let lock = open_or_make(&dir, "lock", &options).at(OP, &shown)?;
        let Some(lock) = Locked::try_new(lock, true).at(OP, &shown)? else { return Ok(None) };
        // Taken away meanwhile, it would be a tree without a name.
        let same = room.open_dir(name).is_ok_and(|again| {
            let id = |dir: &Dir| crate::fs::stat::stat_fd(dir).map(|stat| (stat.dev, stat.ino)).ok();
            id(&again).is_some() && id(&again) == id(&dir)
        });
        if !same {
            return Ok(None);
        }
        lock.file().set_modified(SystemTime::now()).at(OP, &shown)?;
        Ok(Some(Slot { dir, name: name.into(), shown, lock }))
    }

    fn root(&self, store: &Store) -> Result<Root> {
        let path: PathBuf = store.root_path().join("cache").join(KEPT_TREES).join(&self.name).join("root");
        Ok(Root::from_fd(open_dir_at(&self.dir, c"root").at(OP, &self.shown)?, path))
    }

    /// Opens an empty journal for a command.
    pub(super) fn journal(&self) -> Result<std::fs::File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let file = open_or_make(&self.dir, KEPT_JOURNAL, &options).at(OP, &self.shown)?;
        file.set_len(0).at(OP, &self.shown)?;
        Ok(file)
    }

    /// Says that what is written down is not to be relied on.
    fn mark(&self) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true);
        open_or_make(&self.dir, "dirty", &options).map(drop).at(OP, &self.shown)
    }

    /// Moves the tree to these layers. `None` when it cannot be read any more.
    fn clone_for(self, layers: &[Layer], tools: Tools<'_>) -> Result<Option<Taken>> {
        let Tools { store, packing, control } = tools;
        let record = read(&self.dir, "record", RECORD_CAP);
        let Some(record) = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok()) else {
            return Ok(None);
        };
        let ledger = read(&self.dir, "ledger", LEDGER_CAP).and_then(|it| Ledger::from_bytes(&it).ok());
        let index =
            open_regular(&self.dir, "index", &self.shown).ok().and_then(|file| Snapshot::map(file).ok());
        let (Some(ledger), Some(index)) = (ledger, index) else { return Ok(None) };
        let clean = self.dir.symlink_metadata("dirty").is_err();
        self.mark()?;
        let root = self.root(store)?;
        let policy = crate::layer::apply::owner_on_disk();
        let mut owners = Owners { policy, source: OwnerSource::Nothing, ledger };
        let threads = packing.threads;
        let options = ScanOptions { threads, previous: Some(&index), ..owners.scan_options() };
        let Scan { snapshot: now, skipped, .. } = scan(&root, &options, control)?;
        let at: Vec<Digest> = record.layers.iter().map(|(diff_id, _)| *diff_id).collect();
        let same = at.iter().eq(layers.iter().map(|layer| &layer.diff_id));
        if same
            && clean
            && skipped.is_empty()
            && compare(&index, &now, &CompareOptions::default()).changes.is_empty()
        {
            return Ok(Some(Taken { slot: self, root, owners, index: now }));
        }
        let files = ImageFiles::of(store, layers, super::state::list_of_layers(store, layers, control)?);
        let wanted = files.list();
        // The list that the index was made of, if it is at hand.
        let before =
            crate::image::chain_id(&at).and_then(|chain| store.open_chain_list(&chain).ok().flatten());
        let before = before.and_then(|file| Snapshot::map(file).ok());
        let known = known_contents(Some(&index), before.as_ref(), &now);
        let found = Found { root: &root, now: &now, list: before.as_ref(), known, threads };
        let Plan { transition, digests } = Plan::new(&found, &files, control)?;
        let beside: HashSet<Vec<u8>> = skipped.into_iter().map(|skipped| skipped.path).collect();
        let options = ApplyOptions { threads, ..ApplyOptions::default() };
        let goal = Goal {
            root: &root,
            now: &now,
            wanted,
            digests: &digests,
            transition: &transition,
            beside: &beside,
            options: &options,
        };
        let ledger = std::mem::take(&mut owners.ledger);
        let done = reshape(&goal, ledger, |wanted, give| files.read_each(wanted, control, give), control)?;
        owners.ledger = done.ledger;
        Ok(Some(Taken { slot: self, root, owners, index: done.snapshot }))
    }

    /// Writes down what the tree is, and lets go of it. Without `clean` it is only near to these layers.
    pub(super) fn release(
        self,
        layers: &[(Digest, u64)],
        ledger: &Ledger,
        index: &Snapshot,
        clean: bool,
    ) -> Result<()> {
        let bytes = size_of_files(index);
        let record = Record { format: FORMAT, layers: layers.to_vec(), owner: owner(), boot: boot(), bytes };
        let text = serde_json::to_vec(&record)
            .map_err(|error| Error::corrupt(OP, "a record cannot be written").with_source(error))?;
        for (name, bytes) in
            [("ledger", &ledger.to_bytes()[..]), ("index", index.as_bytes()), ("record", &text)]
        {
            let mut new = Staged::new(&self.dir, &self.dir, 0o600).at(OP, &self.shown)?;
            new.file().write_all(bytes).at(OP, &self.shown)?;
            new.replace(&self.dir, name).at(OP, &self.shown)?;
        }
        self.lock.file().set_modified(SystemTime::now()).at(OP, &self.shown)?;
        if clean {
            // What it says is in the ledger.
            match self.dir.remove_file(KEPT_JOURNAL) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).at(OP, &self.shown);
                }
                _ => {}
            }
            self.dir.remove_file("dirty").at(OP, &self.shown)?;
        }
        Ok(())
    }

    /// Removes the tree and its place.
    fn discard(self, room: &Dir, name: &str) -> Result<()> {
        remove_all(room, &c_name(name.as_bytes()).at(OP, &self.shown)?).at(OP, &self.shown)
    }
}
