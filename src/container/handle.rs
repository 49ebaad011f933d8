//! A container: a tree with a name, a configuration and a state.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::names;
use super::settings::Settings;
use super::state::{State, Status, now};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::lock::Locked;
use crate::store::{Boxes, CONFIG, Slot, Store};

pub(super) const STATE: &str = "state.json";
const OPEN: &str = "open container";
/// The fewest digits of an id that stand for it.
const SHORTEST: usize = 4;

/// The record of a container: its `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The image it was made from, as it was named.
    pub image: String,
    /// The digest of that image's manifest.
    pub manifest: Digest,
    /// That image's id.
    pub image_id: Digest,
    /// Its settings.
    pub settings: Settings,
}

/// A container of a store. Cheap to open; holding one locks nothing.
#[derive(Debug)]
pub struct Container {
    pub(super) store: Store,
    pub(super) slot: Slot,
    pub(super) record: Record,
}

/// A container in which no command starts while this is there.
#[doc(hidden)]
#[derive(Debug)]
pub struct Held {
    _lock: Locked,
}

impl Container {
    /// Lists the containers of a store, the newest first.
    pub fn list(store: &Store) -> Result<Vec<Container>> {
        let Some(boxes) = store.boxes(false)? else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        for name in boxes.names()? {
            out.extend(Container::of_slot(store, &boxes, &name)?);
        }
        out.sort_by(|a, b| {
            b.record.created.cmp(&a.record.created).then_with(|| a.record.id.cmp(&b.record.id))
        });
        Ok(out)
    }

    /// Opens the container of a box; `None` for a box that is none.
    pub(super) fn of_slot(store: &Store, boxes: &Boxes, name: &str) -> Result<Option<Container>> {
        let Some(slot) = boxes.open(name)? else { return Ok(None) };
        let Some(bytes) = slot.read(CONFIG)? else { return Ok(None) };
        let record = serde_json::from_slice(&bytes).map_err(|error| {
            Error::corrupt(OPEN, format!("its configuration is damaged: {error}"))
                .with_path(slot.shown(CONFIG))
                .with_hint("restore a copy, or remove the directory that it is in")
        })?;
        Ok(Some(Container { store: store.clone(), slot, record }))
    }

    /// Opens a container: by its name, its id, or the first four or more digits of that.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::InvalidArgument`] for digits that fit several.
    pub fn open(store: &Store, name: &str) -> Result<Container> {
        let mut found = None;
        for container in Container::list(store)? {
            if container.is_called(name) {
                return Ok(container);
            }
            if name.len() >= SHORTEST && container.record.id.starts_with(name) {
                if found.is_some() {
                    let message = "the id of more than one container begins with this";
                    return Err(Error::invalid(OPEN, message).with_path(name).with_hint("name more digits"));
                }
                found = Some(container);
            }
        }
        found.ok_or_else(|| {
            Error::not_found(OPEN, "no such container")
                .with_path(name)
                .with_hint("list the containers of the store to find the right name")
        })
    }

    /// Finds a container by its whole name or id; for places where the same word may stand for something else.
    pub fn find(store: &Store, name: &str) -> Result<Option<Container>> {
        Ok(Container::list(store)?.into_iter().find(|container| container.is_called(name)))
    }

    fn is_called(&self, name: &str) -> bool {
        self.record.name == name || self.record.id == name
    }

    /// Returns its record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns its id.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// Returns the first twelve digits of its id, as lists show them.
    pub fn short_id(&self) -> &str {
        &self.record.id[..self.record.id.len().min(12)]
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Returns the directory of its tree: what [`image::commit`](crate::image::commit()) and all else that takes a tree
    /// take.
    pub fn tree(&self) -> PathBuf {
        self.slot.rootfs()
    }

    /// Returns the host name that its command finds itself on.
    pub fn hostname(&self) -> &str {
        self.record.settings.hostname.as_deref().unwrap_or_else(|| self.short_id())
    }

    /// Returns how it is. A supervisor that was killed is found out by its lock.
    pub fn state(&self) -> Result<State> {
        let state = self.last_state()?;
        if state.status != Status::Running {
            return Ok(state);
        }
        let Some(lock) = self.slot.try_lock()? else { return Ok(state) };
        // It may have ended between the two looks.
        let state = self.mend()?;
        drop(lock);
        Ok(state)
    }

    /// Returns whether a command runs in it.
    pub fn is_running(&self) -> Result<bool> {
        Ok(self.state()?.status == Status::Running)
    }

    /// Returns the state as it was written last.
    pub(super) fn last_state(&self) -> Result<State> {
        let Some(bytes) = self.slot.read(STATE)? else { return Ok(State::default()) };
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::corrupt(OPEN, format!("its state is damaged: {error}")).with_path(self.slot.shown(STATE))
        })
    }

    /// Writes down that a supervisor was killed, if so. The caller holds the lock. What cannot be written down is true all the same.
    pub(super) fn mend(&self) -> Result<State> {
        let mut state = self.last_state()?;
        if state.status == Status::Running {
            state.status = Status::Exited;
            state.exit_code = 128 + libc::SIGKILL;
            state.finished = Some(now());
            state.error = Some("its supervisor was killed".into());
            state.pid = 0;
            let _ = self.set_state(&state);
        }
        Ok(state)
    }

    pub(super) fn set_state(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec(state)
            .map_err(|error| Error::new(ErrorKind::Internal, "write state", error.to_string()))?;
        self.slot.replace_cached(STATE, &bytes)
    }

    /// Locks it for work in it, which no command may do meanwhile. A tree that was locked by a killed process is mended.
    pub(super) fn lock(&self, operation: &'static str) -> Result<Locked> {
        let lock = self.lock_any(operation)?;
        self.mend_volumes()?;
        Ok(lock)
    }

    /// Locks it, whatever its tree is like.
    pub(super) fn lock_any(&self, operation: &'static str) -> Result<Locked> {
        let state = self.last_state()?;
        let lock = match state.status {
            Status::Running => self.slot.try_lock()?,
            _ => Some(self.slot.lock(operation)?),
        };
        let Some(lock) = lock else {
            return Err(Error::new(ErrorKind::Busy, operation, "the container runs")
                .with_path(self.name())
                .with_hint("stop it first"));
        };
        if !self.slot.has(CONFIG)? {
            return Err(Error::not_found(operation, "the container was removed").with_path(self.name()));
        }
        self.mend()?;
        Ok(lock)
    }

    /// Keeps commands out of the container until what is returned is dropped. For the bindings, which commit it
    /// with options of their own.
    #[doc(hidden)]
    pub fn hold(&self, operation: &'static str) -> Result<Held> {
        Ok(Held { _lock: self.lock(operation)? })
    }

    /// Returns the instructions that give an image what was said of this container. For the bindings.
    #[doc(hidden)]
    pub fn instructions(&self) -> Vec<String> {
        self.record.settings.instructions()
    }

    pub(super) fn write_record(&self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.record)
            .map_err(|error| Error::new(ErrorKind::Internal, "write container", error.to_string()))?;
        self.slot.replace(CONFIG, &bytes)
    }

    /// Gives it another name. It may run.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what can be no name, [`ErrorKind::AlreadyExists`] when another container has it.
    pub fn rename(&mut self, name: &str) -> Result<()> {
        const OP: &str = "rename container";
        names::check(name)?;
        let boxes = self.store.boxes(true)?.ok_or_else(|| Error::not_found(OP, "no such container"))?;
        let _room = boxes.lock()?;
        let again = Container::of_slot(&self.store, &boxes, self.slot.name())?;
        let Some(again) = again.filter(|again| again.record.id == self.record.id) else {
            return Err(Error::not_found(OP, "the container was removed").with_path(self.name()));
        };
        free_name(&self.store, name, OP)?;
        self.record = Record { name: name.into(), ..again.record };
        self.write_record()
    }
}

/// Refuses a name that a container has. The caller holds the room.
pub(super) fn free_name(store: &Store, name: &str, operation: &'static str) -> Result<()> {
    match Container::find(store, name)? {
        None => Ok(()),
        Some(other) => {
            let message = format!("the name is that of the container {}", other.short_id());
            let hint = "remove or rename that one, or take another name";
            Err(Error::new(ErrorKind::AlreadyExists, operation, message).with_path(name).with_hint(hint))
        }
    }
}
