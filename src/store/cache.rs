//! Records of builds: what a step made, found again by a key.
//!
//! ```text
//! cache/records/HEX     what is known about the step with this key: a line that says the format, one with the sha256 of the key and
//!                       of all that follows, one for each blob that the record needs, an empty line, the value
//! cache/claims/HEX      empty; locked by the process that carries the step out, see `claims`
//! ```
//!
//! A record keeps its blobs from prune, and goes when it was not used for longest and the cache is over its limit. The time of the
//! file says when it was used last, to an hour: a use that follows within one hour of the last is not written down, so that a build
//! that finds everything writes nothing. A record that cannot be read, or that misses a blob, is none.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};

use super::claims;
use super::layout::Store;
use super::mark::Marks;
use super::publish::{self, Durability, adopt, files, is_leftover, open_regular};
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Found, Result};
use crate::progress::Control;

const OP: &str = "build cache";
/// The first line of a record.
const MAGIC: &str = "treering record 1";
const RECORDS: &str = "records";
/// The room of uploads that are not finished; see `uploads`.
pub(super) const UPLOADS: &str = "uploads";
/// The largest value of a record, in bytes.
pub(crate) const MAX_VALUE: usize = 1 << 20;
/// How many blobs a record may need.
const MAX_BLOBS: usize = 1024;
const MAX_FILE: u64 = (MAX_VALUE + MAX_BLOBS * 72 + 256) as u64;
/// How old the time of the last use gets before another use is written down.
const STALE: Duration = Duration::from_secs(3600);
/// The space that a small file takes on a disk, in bytes.
const BLOCK: u64 = 4096;

/// The record of a build step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// The blobs that the record is worth nothing without; prune keeps them.
    pub blobs: Vec<Digest>,
    /// Bytes of the caller's.
    pub value: Vec<u8>,
}

impl CacheRecord {
    /// Returns the bytes of the file for a key.
    pub fn encode(&self, key: &Digest) -> Result<Vec<u8>> {
        if self.value.len() > MAX_VALUE || self.blobs.len() > MAX_BLOBS {
            return Err(Error::limit(OP, "a record is too large").with_path(key.to_string()));
        }
        let mut rest = Vec::with_capacity(self.value.len() + self.blobs.len() * 72 + 1);
        for blob in &self.blobs {
            rest.extend_from_slice(format!("{blob}\n").as_bytes());
        }
        rest.push(b'\n');
        rest.extend_from_slice(&self.value);
        Ok(CacheRecord::with_checksum(key, &rest))
    }

    /// Puts what a record begins with before the rest of it. Not part of the stable interface: for the fuzz targets of this
    /// repository.
    #[doc(hidden)]
    pub fn with_checksum(key: &Digest, rest: &[u8]) -> Vec<u8> {
        let head = format!("{MAGIC}\n{}\n", checksum(key, rest));
        [head.as_bytes(), rest].concat()
    }

    /// Reads the bytes of a file; `None` for what is no record of this key, or is damaged.
    pub fn decode(bytes: &[u8], key: &Digest) -> Option<CacheRecord> {
        let rest = bytes.strip_prefix(MAGIC.as_bytes())?.strip_prefix(b"\n")?;
        let (sum, mut rest) = (rest.get(..64)?, rest.get(64..)?.strip_prefix(b"\n")?);
        if checksum(key, rest).as_bytes() != sum {
            return None;
        }
        let mut blobs = Vec::new();
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if line.is_empty() {
                break;
            }
            if blobs.len() == MAX_BLOBS {
                return None;
            }
            blobs.push(std::str::from_utf8(line).ok()?.parse().ok()?);
        }
        (rest.len() <= MAX_VALUE).then(|| CacheRecord { blobs, value: rest.to_vec() })
    }
}

fn checksum(key: &Digest, rest: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(key.hex());
    hasher.update(rest);
    let digest: [u8; 32] = hasher.finalize().into();
    Digest::from_bytes(digest).hex()
}

/// Which records of builds [`Store::prune`] removes.
#[derive(Debug, Clone, Default)]
pub struct CachePruneOptions {
    /// Also records of steps with layers that images need anyway: these free next to nothing, and save as much time as
    /// others.
    pub all: bool,
    /// Keep what was used last, up to so many bytes: records, and the blobs that nothing but them needs.
    pub keep_bytes: u64,
    /// Only what was not used for so long.
    pub unused_for: Duration,
}

/// A record as it lies in the store.
#[derive(Debug)]
pub(super) struct Kept {
    pub key: Digest,
    pub blobs: Vec<Digest>,
    /// The size of the file, in bytes.
    pub size: u64,
    pub used: SystemTime,
}

/// The content of the rooms of the cache.
#[derive(Debug, Default)]
pub(super) struct Cached {
    /// Last used first.
    pub records: Vec<Kept>,
    /// Names and sizes of files that are no records, or need blobs that are gone.
    pub useless: Vec<(String, u64)>,
}

impl Store {
    /// Finds a record. `None` when there is none, when it is damaged, and when the store misses a blob of it.
    pub(crate) fn cache_record(&self, key: &Digest) -> Result<Option<CacheRecord>> {
        let Some((record, file)) = self.read_record(key) else { return Ok(None) };
        for blob in &record.blobs {
            if !self.has_blob(blob)? {
                return Ok(None);
            }
        }
        // A store that cannot be written to is no reason not to use it.
        let _ = touch(&file);
        Ok(Some(record))
    }

    fn read_record(&self, key: &Digest) -> Option<(CacheRecord, File)> {
        let name = format!("{RECORDS}/{}", key.hex());
        let file = open_regular(&self.0.cache, &name, &name).ok()?;
        let mut bytes = Vec::new();
        (&file).take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
        Some((CacheRecord::decode(&bytes, key)?, file))
    }

    /// Writes a record, replacing the one that is there. The caller's pin has its blobs. It is not synced: it only saves time, and
    /// one that a power loss damages is none.
    pub(crate) fn put_cache_record(&self, key: &Digest, record: &CacheRecord) -> Result<()> {
        let bytes = record.encode(key)?;
        let shown = self.path(&format!("cache/{RECORDS}/{}", key.hex()));
        let _lease = self.lease()?;
        publish::replace(&self.cache_room(RECORDS)?, &key.hex(), shown, &bytes, Durability::None)
    }

    /// Returns whether there is no record at all.
    pub(crate) fn has_no_cache_records(&self) -> bool {
        match self.0.cache.open_dir(RECORDS) {
            Ok(room) => room.entries().is_ok_and(|mut entries| entries.next().is_none()),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }

    /// Opens a directory below `cache/`, making it where it is missing.
    pub(crate) fn cache_room(&self, name: &str) -> Result<Dir> {
        let shown = self.path(&format!("cache/{name}"));
        if let Some(room) = self.0.cache.open_dir(name).found().at(OP, &shown)? {
            return Ok(room);
        }
        publish::make_dir(&self.0.cache, name).at(OP, &shown)?;
        self.0.cache.open_dir(name).at(OP, shown)
    }

    /// Lists the records. The caller holds a lease, or the store exclusively.
    pub(super) fn cached(&self) -> Result<Cached> {
        let mut out = Cached::default();
        let room = self.0.cache.open_dir(RECORDS).found().at(OP, self.path("cache/records"))?;
        let Some(room) = room else { return Ok(out) };
        // Not those of the operation that asks: looking at a record pins nothing.
        let store = self.unpinned();
        for (name, size) in files(&room, self.path("cache/records"))? {
            if is_leftover(&name) {
                continue;
            }
            let key = format!("sha256:{name}").parse::<Digest>().ok();
            let found = key.and_then(|key| Some((key, store.read_record(&key)?)));
            let whole = |record: &CacheRecord| {
                record.blobs.iter().all(|blob| store.has_blob(blob).is_ok_and(|it| it))
            };
            match found {
                Some((key, (record, file))) if whole(&record) => {
                    let used =
                        file.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                    out.records.push(Kept { key, blobs: record.blobs, size: size.max(BLOCK), used });
                }
                _ => out.useless.push((name, size)),
            }
        }
        out.records.sort_by_key(|record| std::cmp::Reverse((record.used, record.key)));
        Ok(out)
    }

    /// Removes records; the caller holds the store exclusively.
    pub(super) fn remove_records(&self, names: impl IntoIterator<Item = String>) -> Result<()> {
        let Ok(room) = self.0.cache.open_dir(RECORDS) else { return Ok(()) };
        for name in names {
            room.remove_file(&name).found().at("prune", self.path(&format!("cache/{RECORDS}/{name}")))?;
        }
        Ok(())
    }

    /// Removes what dead builds left in the rooms of the cache, and what earlier versions kept there; returns how many files. The
    /// caller holds the store exclusively.
    pub(super) fn sweep_cache(&self) -> Result<u64> {
        let mut leftovers = 0;
        for room in [RECORDS, claims::ROOM, UPLOADS] {
            let Ok(dir) = self.0.cache.open_dir(room) else { continue };
            for (name, _) in files(&dir, room)? {
                // A process locks the file that it works with; one that is not locked was left.
                let left = room != RECORDS || is_leftover(&name);
                if left && publish::is_abandoned(&dir, &name, name.as_bytes()).is_ok_and(|it| it) {
                    let _ = dir.remove_file(&name);
                    leftovers += 1;
                }
            }
        }
        if self.0.cache.symlink_metadata("steps").is_ok_and(|meta| meta.is_dir()) {
            publish::remove_dir(&self.0.cache, "steps", self.path("cache/steps"))?;
            leftovers += 1;
        }
        Ok(leftovers)
    }

    /// Lets go of the records that were not used for longest, and of blobs that nothing else needs, while the cache is over
    /// [`super::Limits::cache_bytes`]. A build does this when it has ended; at most once an hour it looks whether that is so, and it
    /// does not wait.
    pub(crate) fn trim_cache(&self, control: &Control) -> Result<()> {
        let room = self.cache_room(RECORDS)?;
        let shown = self.path("cache/trimmed");
        let stamp = publish::open_or_make(&self.0.cache, "trimmed").at(OP, &shown)?;
        let meta = stamp.metadata().at(OP, &shown)?;
        let looked = meta.modified().at(OP, &shown)?;
        // An empty one was just made.
        if meta.len() > 0 && apart(looked, SystemTime::now()) < STALE {
            return Ok(());
        }
        drop(room);
        adopt(&stamp, &self.0.cache).at(OP, &shown)?;
        (&stamp).write_all(b"1").at(OP, &shown)?;
        let limit = self.limits().cache_bytes;
        {
            let _lease = self.lease_for(control)?;
            let (mut seen, mut total) = (HashSet::new(), 0u64);
            for record in self.cached()?.records {
                total += record.size;
                for blob in record.blobs.into_iter().filter(|blob| seen.insert(*blob)) {
                    total = total.saturating_add(self.unpinned().blob_size(&blob).unwrap_or_default());
                }
            }
            if total <= limit {
                return Ok(());
            }
        }
        let options = CachePruneOptions { all: true, keep_bytes: limit, unused_for: Duration::ZERO };
        match self.evict(&options, control) {
            // Another process works in the store: the next build tries again.
            Err(error) if error.kind() == ErrorKind::Busy => Ok(()),
            result => result,
        }
    }

    /// Returns what is wrong with records: their names in the store.
    pub(super) fn bad_records(&self) -> Result<Vec<String>> {
        let Ok(room) = self.0.cache.open_dir(RECORDS) else { return Ok(Vec::new()) };
        let names = files(&room, self.path("cache/records"))?.into_iter().map(|(name, _)| name);
        let bad = names.filter(|name| {
            let key = format!("sha256:{name}").parse::<Digest>().ok();
            !is_leftover(name) && key.and_then(|key| self.read_record(&key)).is_none()
        });
        Ok(bad.map(|name| format!("cache/{RECORDS}/{name}")).collect())
    }

    /// Returns the bytes of all that lies in `cache/` besides records and claims, one directory deep: lists and files that
    /// can be made again.
    pub(super) fn cache_rest(&self) -> Result<u64> {
        let mut total = 0;
        for entry in self.0.cache.entries().at(OP, self.path("cache"))? {
            let name = entry.at(OP, self.path("cache"))?.file_name();
            if [RECORDS, claims::ROOM, UPLOADS].iter().any(|room| name == *room) {
                continue;
            }
            if let Ok(dir) = self.0.cache.open_dir(&name) {
                total += files(&dir, self.path("cache"))?.iter().map(|(_, size)| size).sum::<u64>();
            }
        }
        Ok(total)
    }
}

/// Divides records into those that stay and those that go. `marks` is what everything but records needs, `sizes` says what a blob
/// takes.
pub(super) fn choose(
    cached: Vec<Kept>,
    options: &CachePruneOptions,
    marks: &Marks,
    sizes: &HashMap<Digest, u64>,
    now: SystemTime,
) -> (Vec<Kept>, Vec<Kept>) {
    let mut counted: HashSet<Digest> = HashSet::new();
    let (mut kept_bytes, mut full) = (0u64, false);
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for record in cached {
        let own: Vec<Digest> =
            record.blobs.iter().filter(|blob| !marks.live.contains_key(blob)).copied().collect();
        let fresh = now.duration_since(record.used).map_or(true, |age| age < options.unused_for);
        // What frees no blob stays, unless all are to go: rows of history among them, which hold the times of images.
        let bound = !options.all && own.is_empty();
        let new =
            own.iter().filter(|blob| !counted.contains(blob)).filter_map(|blob| sizes.get(blob)).sum::<u64>();
        let bytes = kept_bytes.saturating_add(record.size).saturating_add(new);
        full |= bytes > options.keep_bytes;
        if fresh || bound || !full {
            kept_bytes = bytes;
            counted.extend(own);
            stay.push(record);
        } else {
            go.push(record);
        }
    }
    (stay, go)
}

/// Returns how far two times lie apart, whichever is first: clocks are set back, too.
fn apart(one: SystemTime, other: SystemTime) -> Duration {
    other.duration_since(one).unwrap_or_else(|before| before.duration())
}

/// Writes down that a record was used, unless that was written within the last hour.
fn touch(file: &File) -> std::io::Result<()> {
    let used = file.metadata()?.modified()?;
    if apart(used, SystemTime::now()) < STALE {
        return Ok(());
    }
    file.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FsckLevel, Limits, PruneOptions, PruneReport};

    fn fresh() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        (temp, store)
    }

    /// Returns a record with one blob of so many bytes, last used so many seconds ago.
    fn record(store: &Store, name: &str, size: usize, ago: u64) -> (Digest, Digest) {
        let blob = store.put_blob(name.repeat(size.div_ceil(name.len())).as_bytes()).unwrap().digest;
        let key = Digest::of(name.as_bytes());
        store.put_cache_record(&key, &CacheRecord { blobs: vec![blob], value: name.into() }).unwrap();
        used(store, &key, ago);
        (key, blob)
    }

    fn file(store: &Store, key: &Digest) -> File {
        store.0.cache.open(format!("{RECORDS}/{}", key.hex())).unwrap().into_std()
    }

    fn used(store: &Store, key: &Digest, ago: u64) {
        let time = SystemTime::now() - Duration::from_secs(ago);
        file(store, key).set_modified(time).unwrap();
    }

    fn prune(store: &Store, cache: CachePruneOptions) -> PruneReport {
        let options = PruneOptions { cache: Some(cache), wait: Duration::ZERO, ..PruneOptions::default() };
        store.prune(&options, &Control::default()).unwrap()
    }

    #[test]
    fn a_record_comes_back_and_keeps_its_blobs() {
        let (_temp, store) = fresh();
        let (key, blob) = record(&store, "one", 100, 0);
        let nothing = CacheRecord { blobs: Vec::new(), value: b"a\n\nb".to_vec() };
        store.put_cache_record(&Digest::of(b"empty"), &nothing).unwrap();
        store.prune(&PruneOptions::default(), &Control::default()).unwrap();
        assert_eq!(
            store.cache_record(&key).unwrap().unwrap(),
            CacheRecord { blobs: vec![blob], value: b"one".to_vec() }
        );
        assert_eq!(store.cache_record(&Digest::of(b"empty")).unwrap(), Some(nothing));
        assert_eq!(store.cache_record(&Digest::of(b"other")).unwrap(), None);
        let usage = store.usage(&Control::default()).unwrap();
        assert_eq!((usage.cache_records, usage.cache_bytes, usage.reclaimable), (2, 2 * BLOCK + 102, 0));
        // Without its blob it is none, and goes.
        store.0.blobs.remove_file(blob.hex()).unwrap();
        assert_eq!(store.cache_record(&key).unwrap(), None);
        assert_eq!(store.prune(&PruneOptions::default(), &Control::default()).unwrap().leftovers, 1);
        assert_eq!(store.usage(&Control::default()).unwrap().cache_records, 1);
        let large = CacheRecord { blobs: Vec::new(), value: vec![0; MAX_VALUE + 1] };
        assert_eq!(store.put_cache_record(&key, &large).unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn a_damaged_record_is_none() {
        let (temp, store) = fresh();
        let (key, _) = record(&store, "one", 100, 0);
        let name = format!("{RECORDS}/{}", key.hex());
        let good = store.0.cache.read(&name).unwrap();
        let other = Digest::of(b"other");
        assert!(CacheRecord::decode(&good, &key).is_some() && CacheRecord::decode(&good, &other).is_none());
        for at in 0..good.len() {
            assert_eq!(CacheRecord::decode(&good[..at], &key), None, "cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(CacheRecord::decode(&bad, &key), None, "byte {at}");
        }
        for bad in [&b""[..], b"{}", &good[..good.len() - 1], &vec![0; MAX_FILE as usize + 10]] {
            store.0.cache.write(&name, bad).unwrap();
            assert_eq!(store.cache_record(&key).unwrap(), None);
        }
        let report = store.fsck(FsckLevel::Reachability, &Control::default()).unwrap();
        assert_eq!(report.problems.len(), 1, "{report:?}");
        assert_eq!(report.problems[0].subject, format!("cache/{name}"));
        store.0.cache.remove_file(&name).unwrap();
        std::os::unix::fs::symlink("/dev/zero", temp.path().join("cache").join(&name)).unwrap();
        assert_eq!(store.cache_record(&key).unwrap(), None);
        store.prune(&PruneOptions::default(), &Control::default()).unwrap();
    }

    #[test]
    fn a_use_is_written_down_when_the_last_one_is_an_hour_old() {
        let (_temp, store) = fresh();
        let (key, _) = record(&store, "one", 100, 0);
        let modified = || file(&store, &key).metadata().unwrap().modified().unwrap();
        for (ago, written) in [(1800, false), (3700, true), (1_000_000, true)] {
            used(&store, &key, ago);
            let before = modified();
            assert!(store.cache_record(&key).unwrap().is_some());
            assert_eq!(modified() != before, written, "{ago}");
            assert_eq!(modified().elapsed().unwrap() < Duration::from_secs(60), written, "{ago}");
        }
        // A clock that was set back.
        file(&store, &key).set_modified(SystemTime::now() + Duration::from_secs(100_000)).unwrap();
        store.cache_record(&key).unwrap().unwrap();
        assert!(modified() <= SystemTime::now());
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let (_temp, store) = fresh();
        let (a, _) = record(&store, "a", 10_000, 100);
        let (b, old) = record(&store, "b", 10_000, 200);
        let (c, oldest) = record(&store, "c", 1, 300);
        let there = || [a, b, c].map(|key| store.cache_record(&key).unwrap().is_some());
        let keep = |bytes, ago| CachePruneOptions {
            all: false,
            keep_bytes: bytes,
            unused_for: Duration::from_secs(ago),
        };
        assert_eq!(prune(&store, keep(3 * BLOCK + 20_001, 0)).records, 0);
        assert_eq!(prune(&store, keep(0, 400)).records, 0);
        // The smallest would fit, and is older than one that does not.
        let dry = PruneOptions {
            dry_run: true,
            cache: Some(keep(2 * BLOCK + 10_001, 0)),
            ..PruneOptions::default()
        };
        let report = store.prune(&dry, &Control::default()).unwrap();
        assert_eq!((report.records, report.bytes, there()), (2, 2 * BLOCK + 10_001, [true; 3]));
        let pin = store.pin(&Control::default()).unwrap();
        assert!(pin.has_blob(&oldest).unwrap());
        let report = prune(&store, keep(2 * BLOCK + 10_001, 0));
        // What a running operation needs stays.
        assert_eq!((report.records, report.blobs, there()), (1, vec![old], [true, false, true]));
        drop(pin);
        assert_eq!(prune(&store, keep(0, 0)).records, 2);
        assert_eq!(store.usage(&Control::default()).unwrap().blobs, 0);
    }

    #[test]
    fn the_cache_is_trimmed_to_its_limit_once_an_hour() {
        let temp = tempfile::tempdir().unwrap();
        let limits = Limits { cache_bytes: 2 * BLOCK + 15_000, ..Limits::default() };
        let store = Store::open_with(temp.path(), limits).unwrap();
        let control = Control::default();
        let unneeded = store.put_blob(b"nothing refers to this").unwrap().digest;
        let (a, _) = record(&store, "a", 10_000, 200);
        store.trim_cache(&control).unwrap();
        let (b, _) = record(&store, "b", 10_000, 100);
        store.trim_cache(&control).unwrap();
        assert!(store.cache_record(&a).unwrap().is_some(), "it looked a moment ago");
        store.0.cache.open("trimmed").unwrap().into_std().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        store.trim_cache(&control).unwrap();
        assert!(store.cache_record(&a).unwrap().is_none());
        assert!(store.cache_record(&b).unwrap().is_some() && store.has_blob(&unneeded).unwrap());
        assert_eq!(store.usage(&control).unwrap().blobs, 2);
    }
}
