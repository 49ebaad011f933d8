//! What is reachable: from `index.json` and the records of trees to manifests, configurations and layers.

use std::collections::{HashMap, HashSet};

use oci_spec::image::Descriptor;
use serde_json::Value;

use super::document::{Document, DocumentKind, descriptor_digest};
use super::layout::Store;
use super::refs::Entry;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Control;

/// The outcome of a walk over everything that is referred to.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Every blob that is referred to, whether the store holds it or not, with the size its descriptor claims.
    pub live: HashMap<Digest, Option<u64>>,
    /// The DiffIDs named by the configurations among them.
    pub diff_ids: HashSet<Digest>,
    /// The layers among the live blobs.
    pub layers: HashSet<Digest>,
}

/// A blob to visit.
struct Visit {
    digest: Digest,
    /// What its descriptor says, when it was reached through one.
    described: Option<Descriptor>,
    /// How many indexes lead to it.
    depth: usize,
}

impl Store {
    /// Walks from `entries` and `keep`. A manifest that is missing leads nowhere (image-layout.md allows it); one that
    /// is damaged is an error, since what it needs cannot be known.
    pub(super) fn mark(&self, entries: &[Entry], keep: &[Digest], control: &Control) -> Result<Marks> {
        let mut marks = Marks::default();
        let mut queue: Vec<Visit> = Vec::new();
        for entry in entries {
            queue.extend(visit(&entry.descriptor, 1));
        }
        queue.extend(keep.iter().map(|digest| Visit { digest: *digest, described: None, depth: 1 }));
        let mut expanded = HashSet::new();
        while let Some(next) = queue.pop() {
            control.check("mark blobs")?;
            let known = marks.live.entry(next.digest).or_default();
            *known = known.or(next.described.as_ref().map(Descriptor::size));
            if !expanded.insert((next.digest, next.described.is_some())) {
                continue;
            }
            let Some(document) = self.expand(&next, &mut marks, &mut queue)? else { continue };
            if document.kind() == DocumentKind::Index && next.depth >= self.limits().index_depth {
                let message = format!("indexes nested more than {} deep", self.limits().index_depth);
                return Err(Error::limit("mark blobs", message).with_path(next.digest.to_string()));
            }
            queue.extend(document.manifests().iter().filter_map(|child| visit(child, next.depth + 1)));
            queue.extend(document.layers().iter().filter_map(|child| visit(child, next.depth)));
            marks.layers.extend(document.layers().iter().filter_map(|layer| descriptor_digest(layer).ok()));
            queue.extend(document.subject().and_then(|subject| visit(subject, 1)));
            if let Some(config) = document.config() {
                queue.extend(visit(config, next.depth));
                if let Some(found) =
                    descriptor_digest(config).ok().and_then(|digest| self.diff_ids_in(&digest))
                {
                    marks.diff_ids.extend(found);
                }
            }
        }
        Ok(marks)
    }

    /// The document a visited blob holds, when it is one.
    fn expand(&self, next: &Visit, marks: &mut Marks, queue: &mut Vec<Visit>) -> Result<Option<Document>> {
        let Some(descriptor) = &next.described else {
            return self.expand_unknown(&next.digest, marks, queue);
        };
        if DocumentKind::of_media_type(descriptor.media_type().as_ref()).is_none() {
            return Ok(None);
        }
        match self.read_document(descriptor) {
            Ok(document) => Ok(Some(document)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.with_hint(
                "treering fsck lists the damaged images; remove them with treering rmi, or load them again",
            )),
        }
    }

    /// A blob known by its digest only (from the record of a tree): a manifest, a configuration, or anything else.
    fn expand_unknown(
        &self,
        digest: &Digest,
        marks: &mut Marks,
        queue: &mut Vec<Visit>,
    ) -> Result<Option<Document>> {
        let cap = self.limits().json_bytes;
        match self.blob_size(digest) {
            Ok(size) if size <= cap => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Perhaps a DiffID rather than the digest of a blob.
                marks.diff_ids.insert(*digest);
                let blobs = self.blobs_for_diff_id(digest)?;
                queue.extend(blobs.iter().map(|info| Visit {
                    digest: info.digest,
                    described: None,
                    depth: 1,
                }));
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let bytes = self.read_blob(digest, None, cap)?;
        let Ok(value) = super::json::parse(&bytes, &digest.to_string(), self.limits()) else {
            return Ok(None);
        };
        if let Some(found) = diff_ids(&value) {
            // A configuration does not name blobs; keep those known to hold its layers.
            for diff_id in found {
                marks.diff_ids.insert(diff_id);
                let blobs = self.blobs_for_diff_id(&diff_id)?;
                queue.extend(blobs.iter().map(|info| Visit {
                    digest: info.digest,
                    described: None,
                    depth: 1,
                }));
            }
            return Ok(None);
        }
        Ok(Document::from_value(value, None, &digest.to_string(), self.limits()).ok())
    }

    fn diff_ids_in(&self, config: &Digest) -> Option<Vec<Digest>> {
        let bytes = self.read_blob(config, None, self.limits().json_bytes).ok()?;
        diff_ids(&super::json::parse(&bytes, "config", self.limits()).ok()?)
    }

    /// Every digest named in the `config.json` of a tree's record.
    pub(crate) fn digests_of_trees(&self) -> Result<Vec<Digest>> {
        self.digests_of(&self.trees()?)
    }

    /// Every digest named in the `config.json` of these trees' records.
    pub(super) fn digests_of(&self, trees: &[String]) -> Result<Vec<Digest>> {
        let mut out = Vec::new();
        for key in trees {
            let Some(binding) = self.find_tree(key)? else { continue };
            let Some(config) = binding.config()? else { continue };
            collect(&config, &mut out);
        }
        Ok(out)
    }
}

fn visit(descriptor: &Descriptor, depth: usize) -> Option<Visit> {
    // Other algorithms than sha256 name blobs this store cannot hold.
    let digest = descriptor_digest(descriptor).ok()?;
    Some(Visit { digest, described: Some(descriptor.clone()), depth })
}

fn diff_ids(config: &Value) -> Option<Vec<Digest>> {
    let list = config.get("rootfs")?.get("diff_ids")?.as_array()?;
    Some(list.iter().filter_map(|text| text.as_str()?.parse().ok()).collect())
}

/// Digests among the strings of a value. The depth was bounded when it was parsed.
fn collect(value: &Value, out: &mut Vec<Digest>) {
    match value {
        Value::String(text) => out.extend(text.parse::<Digest>().ok()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Object(members) => members.values().for_each(|item| collect(item, out)),
        _ => {}
    }
}
