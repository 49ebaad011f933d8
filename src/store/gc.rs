//! Prune: removes blobs nothing refers to, and what dead writers left.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_std::fs::Dir;

use super::cache::{self, CachePruneOptions};
use super::document::{DocumentKind, descriptor_digest};
use super::layers::{INDEX, INFO};
use super::layout::{Hold, Store};
use super::mark::Marks;
use super::pin::Pins;
use super::publish::{files, is_abandoned, is_leftover, remove_dir, sync_dir};
use super::reference::Reference;
use super::refs::Entry;
use crate::digest::Digest;
use crate::error::{At, Found, Result};
use crate::progress::{Control, Counters};

const OP: &str = "prune";

/// Options of [`Store::prune`].
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Only report what would go.
    pub dry_run: bool,
    /// Also drop images without a name, as `docker image prune` does. Default true.
    pub untagged: bool,
    /// Digests to keep besides everything that is named or that a tree was made from; what they refer to is kept too.
    pub keep: Vec<Digest>,
    /// Which records of builds go; `None` for none but those that are of no use. Default `None`.
    pub cache: Option<CachePruneOptions>,
    /// How long to wait for leases, which others hold for moments, before giving up with [`crate::ErrorKind::Busy`]. Default
    /// 10 seconds.
    pub wait: Duration,
}

impl Default for PruneOptions {
    fn default() -> Self {
        PruneOptions {
            dry_run: false,
            untagged: true,
            keep: Vec::new(),
            cache: None,
            wait: Duration::from_secs(10),
        }
    }
}

/// The result of [`Store::prune`]: what it removed, or would remove.
#[derive(Debug, Clone, Default, serde::Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// Manifests and indexes that lost their untagged entry in `index.json`.
    pub images: Vec<Digest>,
    /// Blobs that went, smallest digest first.
    pub blobs: Vec<Digest>,
    /// DiffIDs that lost their relations, and ChainIDs that lost their entry list.
    pub layers: Vec<Digest>,
    /// How many records, trees and cache mounts of builds went.
    pub records: u64,
    /// How many files dead writers had left.
    pub leftovers: u64,
    /// The bytes all of it took on disk.
    pub bytes: u64,
}

/// Names, trees and images that a prune removes besides unreferenced blobs.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// Names to take away.
    pub names: HashSet<Reference>,
    /// Keys of trees to forget.
    pub trees: Vec<String>,
}

impl Store {
    /// Removes what nothing needs: blobs not reachable from `index.json` (through nested indexes, `subject`, manifests),
    /// from the record of a tree or of a build step or from a running operation, layer lists that are of no use any more,
    /// temporary files of dead writers, and the hidden directories that an interrupted unpack left beside its target. What is
    /// about an image that stays (a signature, an SBOM: its `subject`) stays as well, and so does an entry that is no image.
    ///
    /// What a running operation needs is pinned ([`super::Pin`]) and stays; prune does not wait for it. It holds the
    /// store exclusively while it works, so it waits for the [`super::Lease`]s that others hold for moments,
    /// [`PruneOptions::wait`] at most; a dry run needs no such wait. When a manifest cannot be read, what it needs is
    /// unknown: the error names it and nothing is removed. A kill in between leaves a store with fewer unneeded blobs.
    pub fn prune(&self, options: &PruneOptions, control: &Control) -> Result<PruneReport> {
        self.prune_with(options, control, |_| Ok(Removals::default()))
    }

    /// Does what [`Store::prune`] does, and lets go of what `find` names. `find` is called once the store is held, so that
    /// what it reads is not about to change, and is given the store as it is held.
    pub(crate) fn prune_with(
        &self,
        options: &PruneOptions,
        control: &Control,
        find: impl FnOnce(&Held) -> Result<Removals>,
    ) -> Result<PruneReport> {
        let real = !options.dry_run;
        let mut report = PruneReport::default();
        let _lease = if real { None } else { Some(self.lease_for(control)?) };
        let _all = if real { Some(self.lock_all(options.wait, control)?) } else { None };
        // Nothing below takes a lock or a pin.
        let store = Store(Arc::clone(&self.0), Hold::Exclusive);
        let held = Held { pins: store.read_pins()?, store };
        let removals = find(&held)?;
        held.prune(options, control, &removals, &mut report)?;
        Ok(report)
    }
}

/// A store that is held for a prune, with what running operations need.
#[derive(Debug)]
pub(crate) struct Held {
    store: Store,
    pins: Pins,
}

impl Deref for Held {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Held {
    /// Returns whether a running operation needs the record of this tree.
    pub fn needs_tree(&self, key: &str) -> bool {
        self.pins.trees.contains(key)
    }

    /// Returns whether a running operation needs this image.
    pub fn needs_image(&self, manifest: &Digest) -> bool {
        self.pins.images.contains(manifest)
    }

    fn prune(
        &self,
        options: &PruneOptions,
        control: &Control,
        removals: &Removals,
        report: &mut PruneReport,
    ) -> Result<()> {
        let real = !options.dry_run;
        let goes = |entry: &Entry| match &entry.name {
            Some(name) => removals.names.contains(name),
            None => options.untagged && entry.text.is_none() && self.is_unneeded_image(entry),
        };
        let (go, stay): (Vec<Entry>, Vec<Entry>) = self.entries()?.into_iter().partition(goes);
        let mut roots = self.digests_of_trees(|key| !removals.trees.iter().any(|gone| gone == key))?;
        roots.extend(&options.keep);
        roots.extend(&self.pins.images);
        // Before anything goes: a manifest that cannot be read ends the prune here.
        let mut marks = self.mark(&stay, &roots, control)?;
        for blob in &self.pins.blobs {
            marks.live.entry(*blob).or_default();
        }
        let go = self.without_referrers(go, &mut marks, control)?;
        let records = self.choose_records(options, &mut marks, report)?;
        let untagged = go.iter().filter(|entry| entry.text.is_none());
        report.images = untagged.filter_map(|it| descriptor_digest(&it.descriptor).ok()).collect();
        if real {
            for key in &removals.trees {
                self.forget(key)?;
            }
            if !go.is_empty() {
                let gone = |entry: &Entry| {
                    go.iter().any(|it| {
                        (&it.text, it.descriptor.digest()) == (&entry.text, entry.descriptor.digest())
                    })
                };
                self.change_index(|index| {
                    index.retain(|entry| !gone(entry));
                    Ok(())
                })?;
            }
            self.remove_records(records)?;
            for name in &self.pins.dead {
                // One that ended after it was opened here took its file along.
                self.0.pins.remove_file(name).found().at(OP, self.path(&format!("pins/{name}")))?;
            }
        }
        self.sweep((&marks, &self.pins), options, report, control)
    }

    /// Marks what the records of builds need that stay, and lists those that go.
    fn choose_records(
        &self,
        options: &PruneOptions,
        marks: &mut Marks,
        report: &mut PruneReport,
    ) -> Result<Vec<String>> {
        let cached = self.cached()?;
        let (stay, go) = match &options.cache {
            None => (cached.records, Vec::new()),
            Some(chosen) => {
                let sizes = self.blob_sizes()?;
                cache::choose(cached.records, chosen, marks, &sizes, SystemTime::now())
            }
        };
        for blob in stay.iter().flat_map(|record| &record.blobs) {
            marks.live.entry(*blob).or_default();
        }
        report.records = go.len() as u64;
        report.bytes += go.iter().map(|record| record.size).sum::<u64>();
        let mut names: Vec<String> = go.iter().map(|record| record.key.hex()).collect();
        if !options.dry_run {
            report.leftovers += cached.useless.len() as u64;
            report.bytes += cached.useless.iter().map(|(_, size)| size).sum::<u64>();
            names.extend(cached.useless.into_iter().map(|(name, _)| name));
        }
        Ok(names)
    }

    /// Returns whether an entry without a name is an image that no running operation needs. What is no image may be there
    /// for a reason that only its owner can see (image-spec, image-index.md: unknown types are no error).
    fn is_unneeded_image(&self, entry: &Entry) -> bool {
        let is_image = DocumentKind::of_media_type(entry.descriptor.media_type().as_ref()).is_some();
        is_image && descriptor_digest(&entry.descriptor).is_ok_and(|digest| !self.needs_image(&digest))
    }

    /// Takes out, and marks, the untagged entries that are about something which stays; that may be one of them.
    fn without_referrers(
        &self,
        mut go: Vec<Entry>,
        marks: &mut Marks,
        control: &Control,
    ) -> Result<Vec<Entry>> {
        let subjects: Vec<Option<Digest>> = go.iter().map(|entry| self.subject_of(entry)).collect();
        let mut rest: Vec<_> = go.drain(..).zip(subjects).collect();
        loop {
            let stays = |subject: &Option<Digest>| subject.is_some_and(|it| marks.live.contains_key(&it));
            let (stay, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(entry, subject)| entry.name.is_none() && stays(subject));
            rest = others;
            if stay.is_empty() {
                return Ok(rest.into_iter().map(|(entry, _)| entry).collect());
            }
            let stay: Vec<Entry> = stay.into_iter().map(|(entry, _)| entry).collect();
            self.mark_more(marks, &stay, &[], control)?;
        }
    }
}

impl Store {
    /// Lets go of records of builds, and of those of their blobs that nothing else needs; of nothing else.
    pub(super) fn evict(&self, options: &CachePruneOptions, control: &Control) -> Result<()> {
        const OP: &str = "trim build cache";
        let _all = self.lock_all(Duration::ZERO, control)?;
        let store = Store(Arc::clone(&self.0), Hold::Exclusive);
        let pins = store.read_pins()?;
        let mut roots = store.digests_of_trees(|_| true)?;
        roots.extend(&pins.images);
        let mut marks = store.mark(&store.entries()?, &roots, control)?;
        for blob in &pins.blobs {
            marks.live.entry(*blob).or_default();
        }
        let sizes = store.blob_sizes()?;
        let (stay, go) = cache::choose(store.cached()?.records, options, &marks, &sizes, SystemTime::now());
        let kept: HashSet<Digest> = stay.into_iter().flat_map(|record| record.blobs).collect();
        store.remove_records(go.iter().map(|record| record.key.hex()))?;
        for blob in go.into_iter().flat_map(|record| record.blobs) {
            if !marks.live.contains_key(&blob) && !kept.contains(&blob) {
                store.0.blobs.remove_file(blob.hex()).found().at(OP, blob.to_string())?;
            }
        }
        sync_dir(&store.0.blobs, store.path("oci/blobs/sha256"))
    }

    /// Returns what every blob takes, in bytes.
    pub(super) fn blob_sizes(&self) -> Result<HashMap<Digest, u64>> {
        let files = files(&self.0.blobs, self.path("oci/blobs/sha256"))?.into_iter();
        Ok(files.filter_map(|(name, size)| Some((format!("sha256:{name}").parse().ok()?, size))).collect())
    }

    fn sweep(
        &self,
        (marks, pins): (&Marks, &Pins),
        options: &PruneOptions,
        report: &mut PruneReport,
        control: &Control,
    ) -> Result<()> {
        let rooms = &*self.0;
        let kept = self.sweep_blobs(marks, options, report, control)?;
        self.sweep_layers(&marks.stacks, &kept, options, report)?;
        for (name, size) in files(&rooms.oci, self.path("oci"))? {
            let shown = self.path(&format!("oci/{name}"));
            self.drop_leftover(&rooms.oci, &name, &shown, size, options, report)?;
        }
        self.sweep_trees(pins, options, report)?;
        let swept = self.sweep_kept(options.cache.as_ref(), options.dry_run)?;
        report.records += swept.kept;
        report.leftovers += swept.leftovers;
        report.bytes += swept.bytes;
        if !options.dry_run {
            self.mend()?;
            let (cleared, bytes) = self.clear_scratch(None)?;
            report.leftovers += cleared;
            report.bytes += bytes;
            report.leftovers += self.sweep_cache()?;
            self.sweep_tmp(report)?;
            sync_dir(&rooms.blobs, self.path("oci/blobs/sha256"))?;
        }
        Ok(())
    }

    /// Removes blobs that nothing refers to, and returns those that stay.
    fn sweep_blobs(
        &self,
        marks: &Marks,
        options: &PruneOptions,
        report: &mut PruneReport,
        control: &Control,
    ) -> Result<HashSet<Digest>> {
        let blobs = &self.0.blobs;
        let mut kept = HashSet::new();
        for (name, size) in files(blobs, self.path("oci/blobs/sha256"))? {
            control.check(OP)?;
            Counters::add(&control.counters.entries, 1);
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else {
                let shown = self.path(&format!("oci/blobs/sha256/{name}"));
                self.drop_leftover(blobs, &name, &shown, size, options, report)?;
                continue;
            };
            if marks.live.contains_key(&digest) {
                kept.insert(digest);
                continue;
            }
            if !options.dry_run {
                blobs.remove_file(&name).at(OP, digest.to_string())?;
            }
            report.blobs.push(digest);
            report.bytes += size;
        }
        report.blobs.sort();
        Ok(kept)
    }

    /// Removes records of trees that were never finished, and what dead writers left in the others.
    fn sweep_trees(&self, pins: &Pins, options: &PruneOptions, report: &mut PruneReport) -> Result<()> {
        for key in self.trees()? {
            let Some(binding) = self.find_tree(&key)? else { continue };
            // What has no configuration was never finished, and is a record of nothing.
            if !pins.trees.contains(&key) && binding.config()?.is_none() {
                if !options.dry_run {
                    self.forget(&key)?;
                    report.leftovers += 1;
                }
                continue;
            }
            let room = format!("containers/{key}");
            for (name, size) in files(binding.dir(), self.path(&room))? {
                let shown = self.path(&format!("{room}/{name}"));
                self.drop_leftover(binding.dir(), &name, &shown, size, options, report)?;
            }
        }
        Ok(())
    }

    /// Removes what dead writers left in `tmp/`.
    fn sweep_tmp(&self, report: &mut PruneReport) -> Result<()> {
        let (tmp, shown) = (&self.0.tmp, self.path("tmp"));
        for entry in tmp.entries().at(OP, &shown)? {
            let name = entry.at(OP, &shown)?.file_name();
            // A writer may have finished with it.
            let Some(meta) = tmp.symlink_metadata(&name).found().at(OP, &shown)? else { continue };
            // Directories are made and removed under a lease, so this one was left; files are locked by their writers.
            if meta.is_dir() {
                remove_dir(tmp, &name, &shown)?;
            } else if name.to_str().is_some_and(|name| is_abandoned(tmp, name, &shown).is_ok_and(|it| it)) {
                report.bytes += meta.len();
                tmp.remove_file(&name).found().at(OP, &shown)?;
            } else {
                continue;
            }
            report.leftovers += 1;
        }
        Ok(())
    }

    /// Removes layer relations of blobs that went, and the rooms of DiffIDs and ChainIDs that no live image has and no blob
    /// holds.
    fn sweep_layers(
        &self,
        stacks: &HashSet<Digest>,
        kept: &HashSet<Digest>,
        options: &PruneOptions,
        report: &mut PruneReport,
    ) -> Result<()> {
        const OP: &str = "prune layers";
        let layers = &self.0.layers;
        for entry in layers.entries().at(OP, self.path("layers"))? {
            let name = entry.at(OP, self.path("layers"))?.file_name().to_string_lossy().into_owned();
            let shown = self.path(&format!("layers/{name}"));
            if let Some(hex) = name.strip_prefix(INFO).or_else(|| name.strip_prefix(INDEX)) {
                let gone = format!("sha256:{hex}").parse().is_ok_and(|digest| !kept.contains(&digest));
                if gone {
                    report.bytes += layers.symlink_metadata(&name).at(OP, &shown)?.len();
                }
                if gone && !options.dry_run {
                    layers.remove_file(&name).at(OP, &shown)?;
                }
                continue;
            }
            let Ok(id) = format!("sha256:{name}").parse::<Digest>() else {
                let size = layers.symlink_metadata(&name).at(OP, &shown)?.len();
                self.drop_leftover(layers, &name, &shown, size, options, report)?;
                continue;
            };
            let dir = layers.open_dir(&name).at(OP, &shown)?;
            let below = |file: &str| [&shown[..], b"/", file.as_bytes()].concat();
            let mut held = stacks.contains(&id);
            let mut bytes = 0;
            for (file, size) in files(&dir, &shown)? {
                bytes += size;
                match format!("sha256:{file}").parse::<Digest>() {
                    Ok(blob) if kept.contains(&blob) => held = true,
                    Ok(_) if !options.dry_run => dir.remove_file(&file).at(OP, below(&file))?,
                    Ok(_) => {}
                    Err(_) => self.drop_leftover(&dir, &file, &below(&file), size, options, report)?,
                }
            }
            if !held {
                if !options.dry_run {
                    remove_dir(layers, &name, &shown)?;
                }
                report.layers.push(id);
                report.bytes += bytes;
            }
        }
        report.layers.sort();
        Ok(())
    }

    /// Removes a file with the name of an unfinished replacement; leaves everything else to its owner.
    fn drop_leftover(
        &self,
        dir: &Dir,
        name: &str,
        shown: &[u8],
        size: u64,
        options: &PruneOptions,
        report: &mut PruneReport,
    ) -> Result<()> {
        if !is_leftover(name) || options.dry_run || !is_abandoned(dir, name, shown)? {
            return Ok(());
        }
        dir.remove_file(name).at(OP, shown)?;
        report.leftovers += 1;
        report.bytes += size;
        Ok(())
    }
}
