//! The images of a store as lists show them: one row per name.

use std::collections::HashSet;

use jiff::Timestamp;
use treering::image::Image;
use treering::store::{Descriptor, DocumentKind, Entry, Reference, Store, descriptor_digest};
use treering::{Digest, ErrorKind, Result};

use crate::text;
use crate::ui::Ui;

/// An entry of the store's index.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name, when it is a usable one.
    pub name: Option<Reference>,
    /// Its name as it stands there, usable or not.
    pub text: Option<String>,
    /// The descriptor of a manifest or an index.
    pub descriptor: Descriptor,
    /// The digest of that.
    pub digest: Digest,
    /// The image for this machine, if the entry leads to one.
    pub image: Option<Image>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

impl Row {
    fn new(store: &Store, entry: Entry) -> Result<Row> {
        let digest = descriptor_digest(&entry.descriptor)?;
        let image = open(store, &entry.descriptor)?;
        let created = text::time(image.as_ref().and_then(|image| image.config().created()));
        Ok(Row { name: entry.name, text: entry.text, descriptor: entry.descriptor, digest, image, created })
    }

    /// Returns whether it has no name at all.
    pub fn is_untagged(&self) -> bool {
        self.text.is_none()
    }

    /// Returns the id people see: that of the configuration, or of the manifest when there is no configuration to see.
    pub fn id(&self) -> &Digest {
        self.image.as_ref().map_or(&self.digest, |image| image.id())
    }

    /// Returns the column REPOSITORY.
    pub fn repository(&self) -> String {
        match (&self.name, &self.text) {
            (Some(name), _) => name.familiar_name(),
            (None, Some(text)) => text.clone(),
            (None, None) => "<none>".into(),
        }
    }

    /// Returns the column TAG.
    pub fn tag(&self) -> String {
        self.name.as_ref().and_then(|name| name.tag()).unwrap_or("<none>").into()
    }

    /// Returns the column CREATED.
    pub fn age(&self, now: Timestamp) -> String {
        self.created.map_or_else(|| "N/A".into(), |time| text::ago(time, now))
    }
}

/// Returns the image for this machine; of an index without one, the first image there is.
fn open(store: &Store, descriptor: &Descriptor) -> Result<Option<Image>> {
    if let Some(image) = usable(Image::from_descriptor(store, descriptor, None))? {
        return Ok(Some(image));
    }
    let document = usable(store.read_document(descriptor))?;
    let Some(index) = document.filter(|it| it.kind() == DocumentKind::Index) else { return Ok(None) };
    for manifest in index.manifests() {
        if let Some(image) = usable(Image::from_descriptor(store, manifest, None))? {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

/// Returns `None` for what is damaged or of an unknown kind. It is listed all the same: it can be removed, and fsck says what is wrong with it. That
/// something could not be read says nothing of it, and is an error.
fn usable<T>(opened: Result<T>) -> Result<Option<T>> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) => match error.kind() {
            ErrorKind::Corrupt
            | ErrorKind::NotFound
            | ErrorKind::Unsupported
            | ErrorKind::Limit
            | ErrorKind::InvalidArgument => Ok(None),
            _ => Err(error),
        },
    }
}

/// Returns all images, newest first, then by name. What another tool put into the index and this one cannot name is left
/// out, and said to be.
pub fn rows(store: &Store, ui: &Ui) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in store.entries()? {
        let (text, digest) = (entry.text.clone(), entry.descriptor.digest().to_string());
        match Row::new(store, entry) {
            Ok(row) => rows.push(row),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                ui.warn(format!("left out: {}: {}", text.unwrap_or(digest), error.message()));
            }
            Err(error) => return Err(error),
        }
    }
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.text.cmp(&b.text)));
    Ok(rows)
}

/// Returns whether an image has all layers of another one and more on top.
pub fn derives(child: &Row, parent: &Row) -> bool {
    let (Some(child), Some(parent)) = (&child.image, &parent.image) else { return false };
    let (above, below) = (child.config().diff_ids(), parent.config().diff_ids());
    above.len() > below.len() && !below.is_empty() && above.starts_with(below)
}

/// Returns the digests of the untagged images that others are built on: Docker calls them intermediate, and lists them with
/// `-a` only.
pub fn intermediate(rows: &[Row]) -> HashSet<Digest> {
    let below = |row: &&Row| row.is_untagged() && rows.iter().any(|other| derives(other, row));
    rows.iter().filter(below).map(|row| row.digest).collect()
}
