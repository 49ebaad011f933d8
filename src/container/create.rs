//! Making a container, and taking it away.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::handle::{Container, Record, STATE, free_name};
use super::settings::Settings;
use super::state::now;
use super::{log, names};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::lock::Locked;
use crate::image::{CheckoutOptions, Image, Platform, Tree, checkout};
use crate::layer::ApplyOptions;
use crate::progress::Control;
use crate::store::{Boxes, POOLED, Slot, Store};

const CREATE: &str = "create container";
const REMOVE: &str = "remove container";

/// How many spare trees a store keeps, of one image and in all.
const SPARE: (usize, usize) = (2, 4);

/// Options of a new container.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// Its name; `None` for one that is made up.
    pub name: Option<String>,
    /// Its settings.
    pub settings: Settings,
    /// Which platform of a multi-platform image; `None` for this machine's.
    pub platform: Option<Platform>,
    /// Threads for unpacking; 0 for one per processor.
    pub threads: usize,
}

/// A spare tree: the image that it was last.
#[derive(Debug, Serialize, Deserialize)]
struct Spare {
    manifest: Digest,
    since: String,
}

impl Container {
    /// Makes a container of an image of the store: its tree, by moving a spare one where there is one, and its configuration. Until it is
    /// whole it is not found.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when another container has the name; what reading the image and writing the tree can meet.
    pub fn create(
        store: &Store,
        image: &str,
        options: &CreateOptions,
        control: &Control,
    ) -> Result<Container> {
        Ok(Container::create_locked(store, image, options, control)?.0)
    }

    /// Makes a container that no other process may work in until the lock is dropped.
    pub(super) fn create_locked(
        store: &Store,
        reference: &str,
        options: &CreateOptions,
        control: &Control,
    ) -> Result<(Container, Locked)> {
        options.settings.check()?;
        options.name.as_deref().map(names::check).transpose()?;
        let pin = store.pin(control)?;
        let image = Image::open(&pin, reference, options.platform.as_ref())?;
        let missing = || Error::not_found(CREATE, "the store has no room for containers");
        let boxes = store.boxes(true)?.ok_or_else(missing)?;
        let (slot, lock, abandoned) = {
            let room = boxes.lock()?;
            if let Some(name) = &options.name {
                free_name(store, name, CREATE)?;
            }
            let abandoned = boxes.abandoned(&room)?;
            match spares(&boxes)?.into_iter().rev().find_map(|(spare, slot)| {
                let lock = (spare.manifest == *image.digest()).then(|| slot.try_lock().ok().flatten());
                Some((slot, lock??))
            }) {
                Some((slot, lock)) => (slot, lock, abandoned),
                None => {
                    let (slot, lock) = boxes.make(&room)?;
                    (slot, lock, abandoned)
                }
            }
        };
        for (slot, lock) in abandoned {
            discard(store, &boxes, &slot, lock)?;
        }
        match fill((store, &pin), (&boxes, &slot), reference, &image, options, control) {
            Ok(container) => Ok((Container { store: store.clone(), slot, record: container }, lock)),
            Err(error) => {
                // What cannot be removed now goes when the next container is made.
                let _ = discard(store, &boxes, &slot, lock);
                Err(error)
            }
        }
    }

    /// Removes a container that does not run, with its tree.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when it runs.
    pub fn remove(self) -> Result<()> {
        let lock = self.lock_any(REMOVE)?;
        self.remove_locked(lock)
    }

    pub(super) fn remove_locked(self, lock: Locked) -> Result<()> {
        let boxes = self.boxes(REMOVE)?;
        discard(&self.store, &boxes, &self.slot, lock)
    }

    fn boxes(&self, operation: &'static str) -> Result<Boxes> {
        let gone = || Error::not_found(operation, "the container was removed");
        self.store.boxes(false)?.ok_or_else(gone)
    }

    /// Lets go of a container; its tree may serve the next one of its image.
    pub(super) fn release(self, lock: Locked) -> Result<()> {
        let boxes = self.boxes(REMOVE)?;
        let spare = Spare { manifest: self.record.manifest, since: now() };
        let bytes = serde_json::to_vec(&spare)
            .map_err(|error| Error::new(ErrorKind::Internal, REMOVE, error.to_string()))?;
        self.slot.replace_cached(POOLED, &bytes)?;
        // From here on it is no container.
        self.slot.remove(crate::store::CONFIG)?;
        clear(&self.slot)?;
        drop(lock);
        let mut over = Vec::new();
        {
            let _room = boxes.lock()?;
            let mut spares = spares(&boxes)?;
            // The newest come last.
            let mut kept: Vec<Digest> = Vec::new();
            while let Some((spare, slot)) = spares.pop() {
                let same = kept.iter().filter(|manifest| **manifest == spare.manifest).count();
                match same < SPARE.0 && kept.len() < SPARE.1 {
                    true => kept.push(spare.manifest),
                    false => over.extend(slot.try_lock()?.map(|lock| (slot, lock))),
                }
            }
        }
        for (slot, lock) in over {
            discard(&self.store, &boxes, &slot, lock)?;
        }
        Ok(())
    }
}

/// Removes the spare trees that containers left, and what killed processes left; gives how many went.
pub fn clear_spares(store: &Store) -> Result<u64> {
    let Some(boxes) = store.boxes(false)? else { return Ok(0) };
    let mut gone = Vec::new();
    {
        let room = boxes.lock()?;
        gone.extend(boxes.abandoned(&room)?);
        for (_, slot) in spares(&boxes)? {
            gone.extend(slot.try_lock()?.map(|lock| (slot, lock)));
        }
    }
    let count = gone.len() as u64;
    for (slot, lock) in gone {
        discard(store, &boxes, &slot, lock)?;
    }
    Ok(count)
}

/// Returns the containers that came from an image; Docker keeps an image that one came from.
pub fn made_from(store: &Store, image_id: &Digest) -> Result<Vec<Container>> {
    let all = Container::list(store)?;
    Ok(all.into_iter().filter(|container| container.record.image_id == *image_id).collect())
}

/// Returns the spare trees, oldest first.
fn spares(boxes: &Boxes) -> Result<Vec<(Spare, Slot)>> {
    let mut out = Vec::new();
    for name in boxes.names()? {
        let Some(slot) = boxes.open(&name)? else { continue };
        let Some(bytes) = slot.read(POOLED)? else { continue };
        if slot.has(crate::store::CONFIG)? {
            continue;
        }
        match serde_json::from_slice::<Spare>(&bytes) {
            Ok(spare) => out.push((spare, slot)),
            // Of no use, and no loss: what it is missing makes it one of those that go.
            Err(_) => slot.remove(POOLED)?,
        }
    }
    out.sort_by(|(a, _), (b, _)| a.since.cmp(&b.since));
    Ok(out)
}

/// Removes the files of a container but for its tree.
fn clear(slot: &Slot) -> Result<()> {
    for file in [STATE, log::FILE, log::OLD, super::control::SOCKET] {
        slot.remove(file)?;
    }
    super::volumes::remove(slot)
}

/// Removes a box and what the store has of its tree.
fn discard(store: &Store, boxes: &Boxes, slot: &Slot, lock: Locked) -> Result<()> {
    slot.remove(crate::store::CONFIG)?;
    slot.remove(POOLED)?;
    Tree::forget(store, &slot.rootfs())?;
    boxes.remove(slot, lock)
}

/// Makes the tree, then the configuration, which makes a container of the box.
fn fill(
    (store, pin): (&Store, &Store),
    (boxes, slot): (&Boxes, &Slot),
    reference: &str,
    image: &Image,
    options: &CreateOptions,
    control: &Control,
) -> Result<Record> {
    let rootfs = slot.rootfs();
    let how = CheckoutOptions {
        discard: true,
        platform: options.platform.clone(),
        apply: ApplyOptions { threads: options.threads, ..ApplyOptions::default() },
        ..CheckoutOptions::default()
    };
    let made = match checkout(pin, reference, &rootfs, &how, control) {
        // A spare tree that cannot be moved, whatever was done to it, is made anew.
        Err(error) if slot.has(POOLED)? && error.kind() != ErrorKind::Cancelled => {
            Tree::forget(store, &rootfs)?;
            remove_tree(slot, &rootfs)?;
            checkout(pin, reference, &rootfs, &how, control)?
        }
        other => other?,
    };
    let image_id = match made.manifest == *image.digest() {
        true => *image.id(),
        false => *Image::open(pin, &made.manifest.to_string(), None)?.id(),
    };
    clear(slot)?;
    let id = new_id();
    let _room = boxes.lock()?;
    let name = match &options.name {
        Some(name) => {
            free_name(store, name, CREATE)?;
            name.clone()
        }
        None => {
            let all = Container::list(store)?;
            names::generate(|name| all.iter().any(|other| other.name() == name))
        }
    };
    let record = Record {
        id,
        name,
        created: now(),
        image: reference.into(),
        manifest: made.manifest,
        image_id,
        settings: options.settings.clone(),
    };
    let bytes = serde_json::to_vec(&record)
        .map_err(|error| Error::new(ErrorKind::Internal, CREATE, error.to_string()))?;
    slot.replace(crate::store::CONFIG, &bytes)?;
    slot.remove(POOLED)?;
    Ok(record)
}

fn remove_tree(slot: &Slot, rootfs: &Path) -> Result<()> {
    use crate::error::At;
    use std::os::unix::ffi::OsStrExt;
    let shown = rootfs.as_os_str().as_bytes();
    match crate::fs::remove::remove_all(slot.dir(), c"rootfs") {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at(CREATE, shown),
        _ => Ok(()),
    }
}

/// Returns an id that no other container has, in the shape of Docker's.
fn new_id() -> String {
    let random = [crate::fs::staged::random_name(), crate::fs::staged::random_name()].concat();
    Digest::of(random.as_bytes()).hex()
}
