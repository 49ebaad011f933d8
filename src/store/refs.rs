//! Names of images: the entries of `oci/index.json` (image-spec, image-layout.md, "index.json file").

use oci_spec::image::Descriptor;
use serde_json::{Map, Value};

use super::document::{Document, DocumentKind, descriptor_digest, descriptor_value, read_descriptor};
use super::json;
use super::layout::Store;
use super::publish::{self, Durability};
use super::reference::Reference;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;

/// The annotation that holds an image's name (annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation of an image that lost its last name to another one: that name.
const LOST_NAME: &str = "io.github.treering.lost-name";
/// How many images without a name stay listed because theirs moved on. Docker lists all of them until a prune; but a
/// program that commits after every step would make `index.json`, which each commit reads and writes, grow without end.
const LOST_NAMES: usize = 100;
const INDEX: &str = "oci/index.json";
const TAG: &str = "tag image";

/// An entry of `index.json`, named or not.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The `org.opencontainers.image.ref.name` annotation as it stands there.
    pub text: Option<String>,
    /// The same, when it is a usable reference; `:latest` is added where it has neither tag nor digest.
    pub name: Option<Reference>,
    /// The descriptor of the entry.
    pub descriptor: Descriptor,
}

/// A name and what it stands for.
#[derive(Debug, Clone)]
pub struct Ref {
    /// The name, always with a tag.
    pub name: Reference,
    /// The manifest or index it points to.
    pub descriptor: Descriptor,
}

/// `index.json` in memory: unknown members and foreign entries travel through unchanged.
pub(super) struct IndexFile {
    /// The document; its `manifests` stand in `list` meanwhile.
    object: Map<String, Value>,
    /// Each entry as it stands there, and what it says.
    list: Vec<(Value, Entry)>,
    changed: bool,
    /// The document as it was read.
    bytes: Vec<u8>,
}

impl IndexFile {
    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        let before = self.list.len();
        self.list.retain(|(_, entry)| keep(entry));
        self.changed |= self.list.len() != before;
    }

    /// Returns the entry of a name: as it stands there, and what it points to.
    fn named(&self, name: &Reference) -> Option<(Value, Descriptor)> {
        let (value, entry) = self.list.iter().find(|(_, entry)| entry.name.as_ref() == Some(name))?;
        Some((value.clone(), entry.descriptor.clone()))
    }

    /// Keeps an image that lost `name` as an untagged one, unless something leads to it all the same. The oldest of too
    /// many such entries goes: as of any image that nothing leads to, its blobs stay until the next prune.
    fn displace(&mut self, mut value: Value, name: &Reference) -> Result<()> {
        let digest = value.get("digest").cloned();
        if self.list.iter().any(|(other, _)| other.get("digest") == digest.as_ref()) {
            return Ok(());
        }
        if let Some(annotations) = value.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(REF_NAME);
            annotations.insert(LOST_NAME.into(), Value::String(name.to_string()));
        }
        let displaced = |(value, _): &(Value, Entry)| lost_name(value);
        if self.list.iter().filter(|entry| displaced(entry)).count() >= LOST_NAMES {
            let oldest = self.list.iter().position(displaced).expect("there are some");
            self.list.remove(oldest);
        }
        self.push(value)
    }

    /// Adds an entry at the end.
    fn push(&mut self, value: Value) -> Result<()> {
        let entry = read_entry(read_descriptor(&value, INDEX)?);
        self.list.push((value, entry));
        self.changed = true;
        Ok(())
    }

    /// Adds an entry. A name is taken from what had it, which is returned, if `move_it` allows that; without a name
    /// nothing happens when an entry leads to the image already.
    fn give(&mut self, new: NewEntry, move_it: bool) -> Result<Option<Descriptor>> {
        let same = |entry: &Entry| descriptor_digest(&entry.descriptor).ok() == Some(new.digest);
        let Some(name) = &new.name else {
            // One that is listed because its name moved on would go when there are too many.
            let before = self.list.len();
            self.list.retain(|(value, entry)| !(same(entry) && lost_name(value)));
            self.changed |= self.list.len() != before;
            return match self.list.iter().any(|(_, entry)| same(entry)) {
                true => Ok(None),
                false => self.push(new.value).map(|()| None),
            };
        };
        let (raw, before) = self.named(name).unzip();
        self.retain(|entry| {
            // An untagged entry for the same image has done its work.
            entry.name.as_ref() != Some(name) && (entry.text.is_some() || !same(entry))
        });
        let moves = before.as_ref().is_some_and(|before| descriptor_digest(before).ok() != Some(new.digest));
        if moves && !move_it {
            let message = "the name already stands for another image";
            return Err(Error::new(ErrorKind::AlreadyExists, TAG, message)
                .with_path(name.to_string())
                .with_hint("choose another name, or remove this one first"));
        }
        let displaced = raw.filter(|_| moves).map(|raw| (raw, name.clone()));
        self.push(new.value)?;
        if let Some((raw, name)) = displaced {
            self.displace(raw, &name)?;
        }
        Ok(before)
    }

    fn into_bytes(mut self) -> Result<Vec<u8>> {
        let list = self.list.into_iter().map(|(value, _)| value).collect();
        self.object.insert("manifests".into(), Value::Array(list));
        json::to_bytes(&self.object)
    }
}

fn lost_name(entry: &Value) -> bool {
    entry.get("annotations").is_some_and(|annotations| annotations.get(LOST_NAME).is_some())
}

/// An entry that is about to be added.
struct NewEntry {
    name: Option<Reference>,
    digest: Digest,
    value: Value,
}

fn read_entry(descriptor: Descriptor) -> Entry {
    let text = descriptor.annotations().as_ref().and_then(|map| map.get(REF_NAME)).cloned();
    let name = text.as_deref().and_then(|text| Reference::parse(text).ok()).map(Reference::or_latest);
    Entry { text, name, descriptor }
}

impl Store {
    /// Returns every entry of `index.json`, in order: named images, untagged ones, and what other tools put there.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        Ok(self.read_index()?.list.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Returns the named images, in order. Entries with a name that is not a reference are only in [`Store::entries`].
    pub fn refs(&self) -> Result<Vec<Ref>> {
        let named = |entry: Entry| Some(Ref { name: entry.name?, descriptor: entry.descriptor });
        Ok(self.entries()?.into_iter().filter_map(named).collect())
    }

    /// Gives an image a name, moving the name when another image has it; returns what it named before.
    ///
    /// `name` gets the tag `latest` when it has none; a name with a digest is refused. `descriptor` must point to a
    /// manifest or an index that the store holds. When this returns, the name survives a power loss; any number of
    /// processes may tag at once and none loses a name. An image that loses its last name stays listed without a name until
    /// the next prune, as with Docker, but only the last hundred of them.
    pub fn tag(&self, name: &Reference, descriptor: &Descriptor) -> Result<Option<Descriptor>> {
        self.put_name(name, descriptor, true)
    }

    /// Does what [`Store::tag`] does, but gives [`ErrorKind::AlreadyExists`] when the name stands for another image: for
    /// names that come out of archives, not from the user.
    pub fn tag_new(&self, name: &Reference, descriptor: &Descriptor) -> Result<()> {
        self.put_name(name, descriptor, false).map(|_| ())
    }

    fn put_name(
        &self,
        name: &Reference,
        descriptor: &Descriptor,
        move_it: bool,
    ) -> Result<Option<Descriptor>> {
        let _lease = self.lease()?;
        let new = self.new_entry(Some(name), descriptor)?;
        self.change_index(|index| index.give(new, move_it))
    }

    /// Gives all these names, and keeps those images that have none, in one step: all of it happens or nothing. Unless
    /// names may move, one that stands for another image is [`ErrorKind::AlreadyExists`].
    pub(crate) fn put_all(&self, images: &[(Option<Reference>, Descriptor)], move_them: bool) -> Result<()> {
        let _lease = self.lease()?;
        let new = images.iter().map(|(name, descriptor)| self.new_entry(name.as_ref(), descriptor));
        let new = new.collect::<Result<Vec<_>>>()?;
        self.change_index(|index| new.into_iter().try_for_each(|one| index.give(one, move_them).map(drop)))
    }

    /// Returns an entry to be, of an image that the store holds. The caller holds a lease.
    fn new_entry(&self, name: Option<&Reference>, descriptor: &Descriptor) -> Result<NewEntry> {
        let name = name.map(check_new_name).transpose()?;
        let digest = descriptor_digest(descriptor)?;
        let shown = name.as_ref().map_or_else(|| digest.to_string(), Reference::to_string);
        self.check_target(TAG, descriptor, &shown)?;
        let mut value = descriptor_value(descriptor)?;
        let object = value.as_object_mut().expect("a descriptor is an object");
        let annotations = object.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        let annotations = annotations.as_object_mut().expect("they were read from a descriptor");
        annotations.remove(LOST_NAME);
        match &name {
            Some(_) => annotations.insert(REF_NAME.into(), Value::String(shown)),
            None => annotations.remove(REF_NAME),
        };
        if annotations.is_empty() {
            object.remove("annotations");
        }
        Ok(NewEntry { name, digest, value })
    }

    /// Keeps an image without a name, as `docker commit` without a repository does. Nothing happens when `index.json`
    /// already leads to it.
    pub fn add_untagged(&self, descriptor: &Descriptor) -> Result<()> {
        let _lease = self.lease()?;
        let new = self.new_entry(None, descriptor)?;
        self.change_index(|index| index.give(new, true)).map(drop)
    }

    /// Takes a name away; returns what it stood for. [`ErrorKind::NotFound`] when nothing has it. The blobs stay until
    /// the next prune, but only digests in other documents lead to them when that was the last name.
    pub fn untag(&self, name: &Reference) -> Result<Descriptor> {
        const OP: &str = "untag image";
        let name = taggable(OP, name)?;
        let _lease = self.lease()?;
        self.change_index(|index| {
            let Some((_, before)) = index.named(&name) else {
                return Err(Error::not_found(OP, "no image has this name")
                    .with_path(name.to_string())
                    .with_hint(Hint::ListImages));
            };
            index.retain(|entry| entry.name.as_ref() != Some(&name));
            Ok(before)
        })
    }

    /// Takes a name away and keeps the image without one, in one step; returns what the name stood for.
    pub fn untag_and_keep(&self, name: &Reference) -> Result<Descriptor> {
        const OP: &str = "untag image";
        let name = taggable(OP, name)?;
        let _lease = self.lease()?;
        let found = self.read_index()?.named(&name).map(|(_, descriptor)| descriptor);
        let new = found.map(|descriptor| self.new_entry(None, &descriptor)).transpose()?;
        self.change_index(|index| {
            let (Some((_, before)), Some(new)) = (index.named(&name), new) else {
                return Err(Error::not_found(OP, "no image has this name")
                    .with_path(name.to_string())
                    .with_hint(Hint::ListImages));
            };
            index.retain(|entry| entry.name.as_ref() != Some(&name));
            index.give(new, true)?;
            Ok(before)
        })
    }

    /// Removes every entry for this manifest or index, named or not; returns the names it had.
    pub fn remove(&self, digest: &Digest) -> Result<Vec<Reference>> {
        let _lease = self.lease()?;
        self.change_index(|index| {
            let (mut names, mut found) = (Vec::new(), false);
            index.retain(|entry| {
                let same = descriptor_digest(&entry.descriptor).ok() == Some(*digest);
                if same {
                    found = true;
                    names.extend(entry.name.clone());
                }
                !same
            });
            if !found {
                let error = Error::not_found("remove image", "no image in the store has this digest");
                return Err(error.with_path(digest.to_string()));
            }
            Ok(names)
        })
    }

    /// Reads `index.json`. It is replaced in one step, so no lock is needed to read it.
    pub(super) fn read_index(&self) -> Result<IndexFile> {
        let shown = self.path(INDEX);
        let bytes = publish::read_capped(&self.0.oci, "index.json", &shown, self.0.limits.json_bytes);
        let bytes = bytes.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Error::corrupt("read index", "the list of images is missing").with_path(&shown).with_hint(
                    "restore a copy; to do without the names in it, write \
                     {\"schemaVersion\":2,\"manifests\":[]} there: prune then removes all that no tree needs",
                )
            }
            _ => error,
        })?;
        let value = json::parse_file(&bytes, &shown, &self.0.limits)?;
        // Checks the shape and every descriptor, so that nothing is rewritten that is not understood.
        let document =
            Document::from_value(value, Some(crate::media_type::OCI_INDEX), &shown, &self.0.limits)?;
        let (Value::Object(mut object), descriptors) = document.into_parts() else {
            return Err(Error::corrupt("read index", "not a JSON object").with_path(shown));
        };
        let raw = match object.get_mut("manifests").map(Value::take) {
            Some(Value::Array(raw)) => raw,
            _ => Vec::new(),
        };
        let list = raw.into_iter().zip(descriptors.into_iter().map(read_entry)).collect();
        Ok(IndexFile { object, list, changed: false, bytes })
    }

    /// Reads, changes and replaces `index.json` under its lock. On any error it stays as it was. The caller holds a
    /// lease, or the store exclusively.
    pub(super) fn change_index<T>(&self, change: impl FnOnce(&mut IndexFile) -> Result<T>) -> Result<T> {
        let _lock = self.lock_index()?;
        let mut index = self.read_index()?;
        let before = std::mem::take(&mut index.bytes);
        let out = change(&mut index)?;
        if index.changed {
            let bytes = index.into_bytes()?;
            self.0
                .limits
                .check_json("write index", self.path(INDEX), bytes.len() as u64)
                .map_err(|error| error.with_hint("remove images that are no longer needed"))?;
            if let Err(error) =
                publish::replace(&self.0.oci, "index.json", self.path(INDEX), &bytes, Durability::Full)
            {
                return Err(self.take_back(&before, &bytes, error));
            }
        }
        Ok(out)
    }

    /// Puts the list of images back as it was when an error came after it had changed: an error means that nothing
    /// happened. Where that fails as well, the error says so. The caller holds the lock.
    fn take_back(&self, before: &[u8], new: &[u8], error: Error) -> Error {
        let read =
            || publish::read_capped(&self.0.oci, "index.json", self.path(INDEX), self.0.limits.json_bytes);
        let write =
            || publish::replace(&self.0.oci, "index.json", self.path(INDEX), before, Durability::Full);
        match read() {
            Ok(now) if now != new => error,
            // The name counts, whether or not the disk says that it is safe.
            Ok(_) if write().is_ok() => error,
            _ => match read() {
                Ok(now) if now == before => error,
                _ => error.with_hint("the list of images may have changed all the same"),
            },
        }
    }

    /// Checks that a descriptor about to be named points to a manifest or index in this store.
    fn check_target(&self, operation: &'static str, descriptor: &Descriptor, shown: &str) -> Result<()> {
        if DocumentKind::of_media_type(descriptor.media_type().as_ref()).is_none() {
            let message = format!("{} is not a media type of an image", descriptor.media_type());
            return Err(Error::invalid(operation, message).with_path(shown));
        }
        let size = self.blob_size(&descriptor_digest(descriptor)?)?;
        if size != descriptor.size() {
            let message = format!("its manifest has {size} bytes where {} are expected", descriptor.size());
            return Err(Error::corrupt(operation, message).with_path(shown));
        }
        Ok(())
    }
}

/// Returns a name that an image may get, with a tag. `sha256:abc` would read as the beginning of a digest; Docker refuses
/// it too.
pub(crate) fn check_new_name(name: &Reference) -> Result<Reference> {
    if name.familiar_name() == "sha256" {
        let message = "a name that is a digest algorithm would be taken for a digest";
        return Err(Error::invalid(TAG, message).with_path(name.to_string()));
    }
    // As a base they mean something else.
    if ["auto", "scratch"].contains(&name.familiar_name().as_str()) {
        let message = "the name is reserved: as a base it stands for no image";
        return Err(Error::invalid(TAG, message)
            .with_path(name.to_string())
            .with_hint("put a directory before it: my/scratch"));
    }
    taggable(TAG, name)
}

fn taggable(operation: &'static str, name: &Reference) -> Result<Reference> {
    if name.digest().is_some() {
        let message = "a name to give must not have a digest";
        return Err(Error::invalid(operation, message).with_path(name.to_string()));
    }
    Ok(name.clone().or_latest())
}
