//! Names of images that arrive: checked against the store, then given in one step.

use std::collections::{HashMap, HashSet};

use super::Ready;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::store::{Reference, Store, descriptor_digest};

/// A policy for the names that images come with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NamePolicy {
    /// Images get their names, but a name that stands for another image in the store is an error
    /// ([`ErrorKind::AlreadyExists`]) and nothing is loaded: the maker of an archive does not decide what a local name means.
    #[default]
    Keep,
    /// Images get their names, taken from whatever has them: what `docker load` does.
    Move,
    /// Images get no names.
    Ignore,
}

impl std::str::FromStr for NamePolicy {
    type Err = Error;

    /// Reads `keep`, `move` or `ignore`.
    fn from_str(text: &str) -> Result<NamePolicy> {
        Ok(match text {
            "keep" => NamePolicy::Keep,
            "move" => NamePolicy::Move,
            "ignore" => NamePolicy::Ignore,
            _ => return Err(Error::invalid("read names", "expected keep, move or ignore").with_path(text)),
        })
    }
}

/// An image that was loaded, once for each of its names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Loaded {
    /// The name it has in the store; `None` when it was loaded without one.
    pub name: Option<Reference>,
    /// The digest of its manifest, or of its index when it is for several platforms.
    pub manifest: Digest,
    /// The image id: the digest of its configuration (of several platforms, this machine's, else the first).
    pub image_id: Digest,
}

/// Refuses a name given to two images or, unless names may move, already used for another image of the store.
pub(super) fn check(
    store: &Store,
    operation: &'static str,
    images: &[Ready],
    policy: NamePolicy,
) -> Result<()> {
    let mut meaning: HashMap<&Reference, Digest> = HashMap::new();
    let refs = store.refs()?;
    for image in images {
        let digest = descriptor_digest(&image.descriptor)?;
        for name in &image.names {
            if meaning.insert(name, digest).is_some_and(|other| other != digest) {
                let message = "the name is given to two images";
                return Err(Error::corrupt(operation, message).with_path(name.to_string()));
            }
            let other = refs.iter().find(|known| known.name == *name);
            let moves = other.is_some_and(|known| descriptor_digest(&known.descriptor).ok() != Some(digest));
            if moves && policy == NamePolicy::Keep {
                let message = "the name already stands for another image";
                return Err(Error::new(ErrorKind::AlreadyExists, operation, message)
                    .with_path(name.to_string())
                    .with_hint(Hint::MoveNames));
            }
        }
    }
    Ok(())
}

/// Gives all names in one step. One that was taken meanwhile is an error, and none is given.
pub(super) fn give(store: &Store, images: &[Ready], policy: NamePolicy) -> Result<Vec<Loaded>> {
    let (mut seen, mut entries, mut out) = (HashSet::new(), Vec::new(), Vec::new());
    for image in images {
        let manifest = descriptor_digest(&image.descriptor)?;
        let mut descriptor = image.descriptor.clone();
        // Other annotations of an index entry are about what the image came in, and embedded data is never copied.
        descriptor.set_annotations(None);
        descriptor.set_data(None);
        let names = image.names.iter().cloned().map(Some);
        for name in names.chain(image.names.is_empty().then_some(None)) {
            if seen.insert((name.clone(), manifest)) {
                entries.push((name.clone(), descriptor.clone()));
                out.push(Loaded { name, manifest, image_id: image.configs[0] });
            }
        }
    }
    store.put_all(&entries, policy == NamePolicy::Move)?;
    Ok(out)
}
