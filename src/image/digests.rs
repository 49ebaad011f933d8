//! Digests of files' contents, made when they are asked for and kept by the layer they are in.

use std::collections::{BTreeMap, HashMap};

use libdeflater::Crc;

use super::layer_blobs::At;
use super::read::ImageFiles;
use crate::digest::Digest;
use crate::error::Result;
use crate::layer::hashing::{Budget, ContentHasher};
use crate::layer::header::BLOCK;
use crate::progress::{Control, Share};
use crate::store::Store;

/// The first bytes of kept digests; then their CRC-32, and for each the block of the tar (u64, little-endian) and the digest.
const MAGIC: &[u8; 8] = b"treesum1";
const HEAD: usize = 12;
const ROW: usize = 40;
/// More are not kept of one layer.
const MOST: usize = 2_000_000;

/// The digests of contents of one layer, by the block of the tar in which the file begins.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Kept(BTreeMap<u64, [u8; 32]>);

impl Kept {
    /// Loads those that the store has.
    fn load(store: &Store, diff_id: &Digest) -> Kept {
        let cap = (HEAD + MOST * ROW) as u64;
        // They only save time.
        let bytes = store.content_digests(diff_id, cap).ok().flatten();
        bytes.and_then(|bytes| Kept::decode(&bytes)).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Option<Kept> {
        let (sum, rows) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (rows, rest) = rows.as_chunks::<ROW>();
        let mut crc = Crc::new();
        crc.update(rows.as_flattened());
        if !rest.is_empty() || crc.sum() != u32::from_le_bytes(*sum) {
            return None;
        }
        let row = |row: &[u8; ROW]| {
            let (block, digest) = row.split_first_chunk()?;
            Some((u64::from_le_bytes(*block), digest.try_into().ok()?))
        };
        rows.iter().map(row).collect::<Option<_>>().map(Kept)
    }

    fn encode(&self) -> Vec<u8> {
        let mut rows = Vec::with_capacity(self.0.len() * ROW);
        for (block, digest) in self.0.iter().take(MOST) {
            rows.extend_from_slice(&block.to_le_bytes());
            rows.extend_from_slice(digest);
        }
        let mut crc = Crc::new();
        crc.update(&rows);
        [&MAGIC[..], &crc.sum().to_le_bytes(), &rows].concat()
    }
}

impl ImageFiles {
    /// Returns the digests of the content of some entries: files that have any. Those that are not known are made, by reading these files,
    /// and kept in the store. A sparse file with very large holes has none.
    ///
    /// # Errors
    /// Those of [`reader`](Self::reader).
    pub fn digests(&self, entries: &[u32], control: &Control) -> Result<HashMap<u32, [u8; 32]>> {
        let mut found = HashMap::new();
        let mut wanted: HashMap<At, Vec<u32>> = HashMap::new();
        for &entry in entries {
            match (self.list().digest(entry), self.place(entry)) {
                (Some(digest), _) => drop(found.insert(entry, digest)),
                (None, Some(at)) => wanted.entry(at).or_default().push(entry),
                (None, None) => {}
            }
        }
        let mut layers: Vec<usize> = wanted.keys().map(|at| at.layer).collect();
        layers.sort_unstable();
        layers.dedup();
        let mut kept: HashMap<usize, (Kept, bool)> = HashMap::new();
        for layer in layers {
            let diff_id = &self.blobs().layers[layer].diff_id;
            kept.insert(layer, (Kept::load(&self.blobs().store, diff_id), false));
        }
        let block = |at: &At| at.offset / BLOCK as u64;
        let mut todo = Vec::new();
        for (at, entries) in &wanted {
            match kept[&at.layer].0.0.get(&block(at)) {
                Some(digest) => found.extend(entries.iter().map(|&entry| (entry, *digest))),
                None => todo.push(entries[0]),
            }
        }
        if todo.is_empty() {
            return Ok(found);
        }
        todo.sort_unstable();
        let budget = Budget::default();
        let mut take = |entry: u32, digest: [u8; 32]| {
            let Some(at) = self.place(entry) else { return };
            found.extend(wanted[&at].iter().map(|&entry| (entry, digest)));
            if let Some((kept, new)) = kept.get_mut(&at.layer) {
                kept.0.insert(block(&at), digest);
                *new = true;
            }
        };
        let large = self.hash_each(&todo, control, &mut take)?;
        for entry in large {
            if let Some(digest) = self.hash_large(entry, &budget, control)? {
                take(entry, digest);
            }
        }
        for (layer, (kept, _)) in kept.iter().filter(|(_, (_, new))| *new) {
            // They only save time: a store that cannot be written to, or a full disk, is no reason to fail.
            let _ =
                self.blobs().store.put_content_digests(&self.blobs().layers[*layer].diff_id, &kept.encode());
        }
        Ok(found)
    }

    /// Takes the digest of a file of any size. None if its holes are larger than the budget.
    fn hash_large(&self, entry: u32, budget: &Budget, control: &Control) -> Result<Option<[u8; 32]>> {
        let Some(at) = self.place(entry) else { return Ok(None) };
        let size = self.list().meta(entry).size;
        let digest = self.blobs().with_file(at, size, control, &mut |reader| {
            let mut hasher = ContentHasher::new();
            while let Some(data) = reader.next_data()? {
                hasher.update(&data, budget, control)?;
            }
            Ok(hasher.finish())
        })?;
        Share::new(control, size).add(size);
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_damage_is_seen() {
        let kept = Kept((0..50).map(|n| (n * 7, [n as u8; 32])).collect());
        let bytes = kept.encode();
        assert_eq!(Kept::decode(&bytes).unwrap(), kept);
        assert_eq!(Kept::decode(&Kept::default().encode()).unwrap(), Kept::default());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert_eq!(Kept::decode(&wrong), None, "byte {at}");
            assert_eq!(Kept::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
