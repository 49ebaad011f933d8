//! The space that a store takes: `treering df`.

use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer};

use super::layers::INDEX;
use super::layout::Store;
use super::publish::files;
use super::reference::Reference;
use super::refs::Entry;
use crate::digest::Digest;
use crate::error::{At, Result};
use crate::progress::Control;

/// The blobs of one image: one entry of `index.json`, all its platforms together.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ImageUsage {
    /// Its names; empty for an untagged image.
    #[serde(serialize_with = "as_texts")]
    pub names: Vec<Reference>,
    /// The digest of its manifest or index.
    pub digest: Digest,
    /// The bytes of all its blobs that the store holds.
    pub size: u64,
    /// Of these, the bytes other images need too.
    pub shared: u64,
    /// Of these, the bytes that go when only this image is removed.
    pub unique: u64,
    /// How many distinct layers it has.
    pub layers: usize,
}

/// The result of [`Store::usage`]. All sizes in bytes. Serialised, it is what `treering df --json` prints.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Per image, in the order of `index.json`.
    pub images: Vec<ImageUsage>,
    /// How many blobs there are.
    pub blobs: u64,
    /// The size of all blobs.
    pub blob_bytes: u64,
    /// The bytes that a prune would free: blobs that nothing or only untagged images need. Those of trees are not in it.
    pub reclaimable: u64,
    /// How many trees have a record.
    pub trees: u64,
    /// The size of what is known about layers: lists of their entries, indexes of their blobs, relations.
    pub layer_bytes: u64,
    /// Of these, the size of the indexes of blobs: where files are in them and where decoding may begin.
    pub index_bytes: u64,
    /// How many records of build steps there are.
    pub cache_records: u64,
    /// The bytes that builds keep: records, blobs that only these need, and what can be made again. A prune of the build
    /// cache frees it.
    pub cache_bytes: u64,
    /// The size of files being written, or left by dead writers.
    pub tmp_bytes: u64,
}

fn as_texts<S: Serializer>(names: &[Reference], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(names.iter().map(ToString::to_string))
}

impl Store {
    /// Adds up what the store holds.
    pub fn usage(&self, control: &Control) -> Result<Usage> {
        let _lease = self.lease_for(control)?;
        let sizes = self.blob_sizes()?;
        let entries = self.entries()?;
        let mut usage = Usage {
            images: self.usage_of_images(&entries, &sizes, control)?,
            blobs: sizes.len() as u64,
            blob_bytes: sizes.values().sum(),
            ..Usage::default()
        };
        let named: Vec<_> = entries.into_iter().filter(|entry| entry.text.is_some()).collect();
        let mut marks = self.mark(&named, &self.digests_of_trees(|_| true)?, control)?;
        let records = self.cached()?.records;
        usage.cache_records = records.len() as u64;
        usage.cache_bytes =
            self.cache_rest()? + self.kept_bytes()? + records.iter().map(|record| record.size).sum::<u64>();
        for blob in records.iter().flat_map(|record| &record.blobs) {
            if marks.live.insert(*blob, None).is_none() {
                usage.cache_bytes += sizes.get(blob).copied().unwrap_or_default();
            }
        }
        usage.reclaimable =
            sizes.iter().filter(|(blob, _)| !marks.live.contains_key(blob)).map(|(_, size)| size).sum();
        usage.trees = self.trees()?.len() as u64;
        usage.tmp_bytes = files(&self.0.tmp, self.path("tmp"))?.iter().map(|(_, size)| size).sum();
        (usage.layer_bytes, usage.index_bytes) = self.layer_room()?;
        Ok(usage)
    }

    /// Adds up what each image has, and what of it others have as well.
    fn usage_of_images(
        &self,
        entries: &[Entry],
        sizes: &HashMap<Digest, u64>,
        control: &Control,
    ) -> Result<Vec<ImageUsage>> {
        // Entries for the same digest are one image with several names.
        let mut images: Vec<(ImageUsage, HashSet<Digest>)> = Vec::new();
        let mut users: HashMap<Digest, u32> = HashMap::new();
        for entry in entries {
            let Ok(digest) = super::descriptor_digest(&entry.descriptor) else { continue };
            if let Some((image, _)) = images.iter_mut().find(|(image, _)| image.digest == digest) {
                image.names.extend(entry.name.clone());
                continue;
            }
            let marks = self.mark(std::slice::from_ref(entry), &[], control)?;
            let blobs: HashSet<Digest> =
                marks.live.into_keys().filter(|blob| sizes.contains_key(blob)).collect();
            for blob in &blobs {
                *users.entry(*blob).or_default() += 1;
            }
            let layers = marks.layers.len();
            let names = entry.name.clone().into_iter().collect();
            images.push((ImageUsage { names, digest, size: 0, shared: 0, unique: 0, layers }, blobs));
        }
        for (image, blobs) in &mut images {
            for blob in blobs.iter() {
                image.size += sizes[blob];
                *(if users[blob] > 1 { &mut image.shared } else { &mut image.unique }) += sizes[blob];
            }
        }
        Ok(images.into_iter().map(|(image, _)| image).collect())
    }

    /// Returns the bytes of blobs that only the records of these trees keep from being pruned.
    pub(crate) fn held_by(&self, trees: &[String], control: &Control) -> Result<u64> {
        if trees.is_empty() {
            return Ok(0);
        }
        let _lease = self.lease_for(control)?;
        let named: Vec<_> = self.entries()?.into_iter().filter(|entry| entry.text.is_some()).collect();
        let among = |key: &str| trees.iter().any(|tree| tree == key);
        let mut needed = self.mark(&named, &self.digests_of_trees(|key| !among(key))?, control)?.live;
        needed.extend(self.cached()?.records.into_iter().flat_map(|it| it.blobs).map(|blob| (blob, None)));
        let held = self.mark(&[], &self.digests_of_trees(among)?, control)?.live;
        let held = held.keys().filter(|blob| !needed.contains_key(blob));
        Ok(held.filter_map(|blob| self.blob_size(blob).ok()).sum())
    }

    /// Returns the bytes of what is known about layers, and how many of them are indexes.
    fn layer_room(&self) -> Result<(u64, u64)> {
        let all = files(&self.0.layers, self.path("layers"))?;
        let mut total: u64 = all.iter().map(|(_, size)| size).sum();
        let indexes = all.iter().filter(|(name, _)| name.starts_with(INDEX)).map(|(_, size)| size).sum();
        let shown = self.path("layers");
        for entry in self.0.layers.entries().at("list layers", &shown)? {
            let entry = entry.at("list layers", &shown)?;
            if let Ok(dir) = self.0.layers.open_dir(entry.file_name()) {
                total += files(&dir, self.path("layers"))?.iter().map(|(_, size)| size).sum::<u64>();
            }
        }
        Ok((total, indexes))
    }
}
