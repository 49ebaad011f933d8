//! Marking what is reachable: from `index.json` and the records of trees to manifests, configurations and layers.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use oci_spec::image::Descriptor;
use serde_json::Value;

use super::document::{Document, DocumentKind, descriptor_digest};
use super::layout::Store;
use super::refs::Entry;
use crate::digest::{Digest, chain_ids};
use crate::error::{At, Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::progress::Control;

/// The outcome of a walk over everything that is referred to.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Every blob that is referred to, whether the store holds it or not, with the size its descriptor claims.
    pub live: HashMap<Digest, Option<u64>>,
    /// The DiffIDs named by the configurations among them, and the ChainIDs of the stacks these make (config.md, "Layer
    /// ChainID").
    pub stacks: HashSet<Digest>,
    /// The layers among the live blobs.
    pub layers: HashSet<Digest>,
}

/// The role of a blob, by its referrer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Document(DocumentKind),
    /// It leads nowhere.
    Leaf,
    /// Only its digest is known.
    Unknown,
}

/// A blob to visit.
struct Visit {
    digest: Digest,
    role: Role,
    /// The descriptor that it was reached through, if it was.
    described: Option<Descriptor>,
    /// How many indexes lead to it.
    depth: usize,
}

impl Visit {
    fn described(descriptor: &Descriptor, depth: usize) -> Option<Visit> {
        // Other algorithms than sha256 name blobs this store cannot hold.
        let digest = descriptor_digest(descriptor).ok()?;
        let kind = DocumentKind::of_media_type(descriptor.media_type().as_ref());
        let role = kind.map_or(Role::Leaf, Role::Document);
        Some(Visit { digest, role, described: Some(descriptor.clone()), depth })
    }

    fn bare(digest: Digest, role: Role) -> Visit {
        Visit { digest, role, described: None, depth: 1 }
    }
}

impl Marks {
    /// Remembers the layers of an image, base first.
    fn stack(&mut self, diff_ids: &[Digest]) {
        self.stacks.extend(diff_ids);
        self.stacks.extend(chain_ids(diff_ids));
    }
}

impl Store {
    /// Walks from `entries` and `keep`. A manifest that is missing leads nowhere (image-layout.md allows it); one that
    /// is damaged is an error, since what it needs cannot be known.
    pub(super) fn mark(&self, entries: &[Entry], keep: &[Digest], control: &Control) -> Result<Marks> {
        let mut marks = Marks::default();
        self.mark_more(&mut marks, entries, keep, control)?;
        Ok(marks)
    }

    /// Does what [`Store::mark`] does, adding to what was marked before.
    pub(super) fn mark_more(
        &self,
        marks: &mut Marks,
        entries: &[Entry],
        keep: &[Digest],
        control: &Control,
    ) -> Result<()> {
        let mut queue: Vec<Visit> = Vec::new();
        for entry in entries {
            queue.extend(Visit::described(&entry.descriptor, 1));
        }
        queue.extend(keep.iter().map(|digest| Visit::bare(*digest, Role::Unknown)));
        let mut expanded = HashSet::new();
        while let Some(next) = queue.pop() {
            control.check("mark blobs")?;
            let known = marks.live.entry(next.digest).or_default();
            *known = known.or(next.described.as_ref().map(Descriptor::size));
            // Once for each role: a descriptor that calls a manifest a layer must not hide what it is to others.
            if !expanded.insert((next.digest, next.role)) {
                continue;
            }
            let Some(document) = self.expand(&next, marks, &mut queue)? else { continue };
            if document.kind() == DocumentKind::Index && next.depth >= self.limits().index_depth {
                let message = format!("indexes nested more than {} deep", self.limits().index_depth);
                return Err(Error::limit("mark blobs", message).with_path(next.digest.to_string()));
            }
            queue.extend(document.manifests().iter().filter_map(|it| Visit::described(it, next.depth + 1)));
            queue.extend(document.layers().iter().filter_map(|it| Visit::described(it, next.depth)));
            marks.layers.extend(document.layers().iter().filter_map(|layer| descriptor_digest(layer).ok()));
            queue.extend(document.subject().and_then(|it| Visit::described(it, 1)));
            if let Some(config) = document.config() {
                queue.extend(Visit::described(config, next.depth));
                let found = descriptor_digest(config).ok().and_then(|digest| self.diff_ids_in(&digest));
                marks.stack(&found.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Returns what an entry of `index.json` is about rather than what it holds: a signature or an SBOM names its image as its
    /// subject (image-spec, manifest.md). `None` for an image by itself, and where nothing can be read.
    pub(super) fn subject_of(&self, entry: &Entry) -> Option<Digest> {
        let document = self.read_document(&entry.descriptor).ok()?;
        descriptor_digest(document.subject()?).ok()
    }

    /// Returns the document a visited blob holds, when it is one.
    fn expand(&self, next: &Visit, marks: &mut Marks, queue: &mut Vec<Visit>) -> Result<Option<Document>> {
        let descriptor = match (next.role, &next.described) {
            (Role::Unknown, _) => return self.expand_unknown(&next.digest, marks, queue),
            (Role::Document(_), Some(descriptor)) => descriptor,
            _ => return Ok(None),
        };
        let hint = |error: Error| match error.kind() {
            ErrorKind::Limit => too_small(error),
            _ => error.with_hint(Hint::RemoveDamaged),
        };
        match self.read_document(descriptor) {
            Ok(document) => Ok(Some(document)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            // The reference may be what is wrong: anyone can write down another size or type for a blob. What the blob
            // holds decides then; if it is damaged, this is an error as well.
            Err(error)
                if error.kind() == ErrorKind::Corrupt || self.another_size(descriptor, &next.digest) =>
            {
                self.expand_unknown(&next.digest, marks, queue).map_err(hint)
            }
            Err(error) => Err(hint(error)),
        }
    }

    fn another_size(&self, descriptor: &Descriptor, digest: &Digest) -> bool {
        self.blob_size(digest).is_ok_and(|size| size != descriptor.size())
    }

    /// Returns a blob known by its digest only (from the record of a tree): a manifest, a configuration, or anything else.
    /// A blob that is not a document leads nowhere; one that is over the caps is an error, since what it needs cannot be
    /// known.
    fn expand_unknown(
        &self,
        digest: &Digest,
        marks: &mut Marks,
        queue: &mut Vec<Visit>,
    ) -> Result<Option<Document>> {
        let shown = digest.to_string();
        if !self.has_blob(digest)? {
            // Perhaps a DiffID rather than the digest of a blob.
            return self.keep_layers(&[*digest], marks, queue).map(|()| None);
        }
        // A layer, known or seen not to be a document: it may have any size.
        if self.layer_info(digest)?.is_some() || !self.starts_as_object(digest)? {
            return Ok(None);
        }
        let bytes = self.read_blob(digest, None, self.limits().json_bytes).map_err(too_small)?;
        let value = match super::json::parse(&bytes, &shown, self.limits()) {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
            parsed => parsed.map_err(too_small)?,
        };
        if let Some(found) = diff_ids(&value) {
            // A configuration does not name blobs; keep those known to hold its layers.
            self.keep_layers(&found, marks, queue)?;
        }
        // Not one or the other: a manifest may have a member `rootfs`, too.
        match Document::from_value(value, None, &shown, self.limits()) {
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => Ok(None),
            document => document.map(Some).map_err(too_small),
        }
    }

    /// Keeps the blobs known to hold these layers.
    fn keep_layers(&self, diff_ids: &[Digest], marks: &mut Marks, queue: &mut Vec<Visit>) -> Result<()> {
        marks.stack(diff_ids);
        for diff_id in diff_ids {
            let blobs = self.blobs_for_diff_id(diff_id)?;
            queue.extend(blobs.iter().map(|info| Visit::bare(info.digest, Role::Leaf)));
        }
        Ok(())
    }

    /// Returns whether a blob begins as a JSON object does.
    fn starts_as_object(&self, digest: &Digest) -> Result<bool> {
        let mut head = Vec::new();
        self.open_blob(digest)?.take(64).read_to_end(&mut head).at("read blob", digest.to_string())?;
        Ok(head.trim_ascii_start().first().is_none_or(|first| *first == b'{'))
    }

    fn diff_ids_in(&self, config: &Digest) -> Option<Vec<Digest>> {
        let bytes = self.read_blob(config, None, self.limits().json_bytes).ok()?;
        diff_ids(&super::json::parse(&bytes, "config", self.limits()).ok()?)
    }

    /// Returns every digest named in the `config.json` of the records of trees, those that `which` is true of.
    pub(crate) fn digests_of_trees(&self, which: impl Fn(&str) -> bool) -> Result<Vec<Digest>> {
        let mut out = Vec::new();
        for key in self.trees()?.into_iter().filter(|key| which(key)) {
            let Some(binding) = self.find_tree(&key)? else { continue };
            let Some(config) = binding.config()? else { continue };
            collect(&config, &mut out);
        }
        Ok(out)
    }
}

fn too_small(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Limit => error.with_hint(Hint::RaiseStoreLimits),
        _ => error,
    }
}

fn diff_ids(config: &Value) -> Option<Vec<Digest>> {
    let list = config.get("rootfs")?.get("diff_ids")?.as_array()?;
    Some(list.iter().filter_map(|text| text.as_str()?.parse().ok()).collect())
}

/// Adds the digests among the strings of a value. The depth was bounded when it was parsed.
fn collect(value: &Value, out: &mut Vec<Digest>) {
    match value {
        Value::String(text) => out.extend(text.parse::<Digest>().ok()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Object(members) => members.values().for_each(|item| collect(item, out)),
        _ => {}
    }
}
