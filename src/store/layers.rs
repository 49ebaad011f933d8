//! Relations of layers: which blob holds which DiffID, and what a stack of layers contains.
//!
//! ```text
//! layers/blob-HEX        the LayerInfo of a blob
//! layers/index-HEX       the LayerIndex of a blob: where its files are and where decoding may begin
//! layers/HEX/list        the entry list of the stack of layers with this ChainID, opaque to the store
//! layers/HEX/HEX         empty; says that the blob (the second) holds this DiffID (the first)
//! ```
//!
//! The ChainID of a single layer is its DiffID (config.md, "Layer ChainID"), so both may share a directory. All of it can be
//! computed again: prune may take it, nothing waits until it is on the disk, and a file that does not parse, or has a wrong
//! checksum, counts as absent.

use std::fs::File;
use std::io::Read;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use super::layout::Store;
use super::publish::{self, Durability, files};
use crate::compress::LayerIndex;
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Found, Result};
use crate::fs::make_dir::open_or_make;

/// A layer's two identities: the blob as stored and the tar inside it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LayerInfo {
    /// The sha256 of the uncompressed tar (config.md, "Layer DiffID").
    pub diff_id: Digest,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob, in bytes.
    pub size: u64,
    /// The media type of the blob.
    pub media_type: String,
    /// The size of the uncompressed tar, in bytes, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_size: Option<u64>,
}

impl Store {
    /// Writes down which DiffID a blob holds. Only call it after having seen both digests of the same bytes.
    pub fn put_layer_info(&self, info: &LayerInfo) -> Result<()> {
        let _lease = self.lease()?;
        let dir = self.layer_dir(&info.diff_id, true)?.expect("made when missing");
        let bytes = super::json::to_bytes(info)?;
        let name = format!("{INFO}{}", info.digest.hex());
        let shown = self.path(&format!("layers/{name}"));
        publish::replace(&self.0.layers, &name, &shown, &bytes, Durability::None)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(publish::FILE_MODE);
        match open_or_make(&dir, &info.digest.hex(), &options) {
            Ok(file) => publish::adopt(&file, &dir).at("write layer info", shown),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Error::io("write layer info", shown, error)),
        }
    }

    /// Returns what is known about a blob; `None` when nothing is.
    pub fn layer_info(&self, blob: &Digest) -> Result<Option<LayerInfo>> {
        let name = format!("{INFO}{}", blob.hex());
        let shown = self.path(&format!("layers/{name}"));
        let bytes = publish::read_capped(&self.0.layers, &name, shown, INFO_CAP).found()?;
        let info = bytes.and_then(|bytes| serde_json::from_slice::<LayerInfo>(&bytes).ok());
        Ok(info.filter(|info| info.digest == *blob))
    }

    /// Returns the DiffID inside a blob; `None` when it is not known.
    pub fn diff_id_for_blob(&self, blob: &Digest) -> Result<Option<Digest>> {
        Ok(self.layer_info(blob)?.map(|info| info.diff_id))
    }

    /// Returns the blobs of the store known to hold this DiffID, smallest digest first.
    pub fn blobs_for_diff_id(&self, diff_id: &Digest) -> Result<Vec<LayerInfo>> {
        let Some(dir) = self.layer_dir(diff_id, false)? else { return Ok(Vec::new()) };
        let shown = self.path(&format!("layers/{}", diff_id.hex()));
        let mut out = Vec::new();
        // Prune may have taken it meanwhile.
        let entries = dir.entries().found().at("list layers", &shown)?;
        for entry in entries.into_iter().flatten() {
            let name = entry.at("list layers", &shown)?.file_name();
            let Ok(blob) = format!("sha256:{}", name.to_string_lossy()).parse::<Digest>() else { continue };
            if self.has_blob(&blob)? {
                out.extend(self.layer_info(&blob)?.filter(|info| info.diff_id == *diff_id));
            }
        }
        out.sort_by_key(|info| info.digest);
        Ok(out)
    }

    /// Opens the entry list of the stack of layers with this ChainID; `None` when there is none. The bytes are the
    /// caller's: check them.
    pub fn open_chain_list(&self, chain_id: &Digest) -> Result<Option<File>> {
        let Some(dir) = self.layer_dir(chain_id, false)? else { return Ok(None) };
        publish::open_regular(&dir, "list", self.path(&format!("layers/{}/list", chain_id.hex()))).found()
    }

    /// Stores the entry list of the stack of layers with this ChainID, replacing the one that is there. Prune keeps it
    /// as long as an image it keeps has this stack, or one on top of it.
    pub fn put_chain_list(&self, chain_id: &Digest, bytes: &[u8]) -> Result<()> {
        let _lease = self.lease()?;
        let dir = self.layer_dir(chain_id, true)?.expect("made when missing");
        let shown = self.path(&format!("layers/{}/list", chain_id.hex()));
        publish::replace(&dir, "list", shown, bytes, Durability::None)
    }

    /// Returns the index of a blob of this size; `None` when there is none that can be used.
    pub fn layer_index(&self, blob: &Digest, size: u64) -> Result<Option<LayerIndex>> {
        let (name, cap) = (index_name(blob), LayerIndex::cap(size));
        match publish::read_capped(&self.0.layers, &name, self.path(&format!("layers/{name}")), cap) {
            Ok(bytes) => Ok(LayerIndex::decode(&bytes, size).ok().filter(LayerIndex::is_usable)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Limit) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether an index of a blob is worth making: the store keeps them, and has none that this version made.
    pub(crate) fn wants_layer_index(&self, blob: &Digest) -> bool {
        let has = || {
            let mut begin = [0; LayerIndex::MAGIC.len()];
            let file = publish::open_regular(&self.0.layers, &index_name(blob), "");
            file.is_ok_and(|mut file| file.read_exact(&mut begin).is_ok() && begin == *LayerIndex::MAGIC)
        };
        self.limits().layer_indexes && !has()
    }

    /// Returns the digests of contents of the tar with this DiffID, as [`put_content_digests`](Self::put_content_digests) stored them. The
    /// bytes are the caller's: check them.
    pub(crate) fn content_digests(&self, diff_id: &Digest, cap: u64) -> Result<Option<Vec<u8>>> {
        let Some(dir) = self.layer_dir(diff_id, false)? else { return Ok(None) };
        let shown = self.path(&format!("layers/{}/{DIGESTS}", diff_id.hex()));
        match publish::read_capped(&dir, DIGESTS, shown, cap) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Limit) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores the digests of contents of a tar, replacing those that are there. Prune keeps them as it does the list.
    pub(crate) fn put_content_digests(&self, diff_id: &Digest, bytes: &[u8]) -> Result<()> {
        let _lease = self.lease()?;
        let Some(dir) = self.layer_dir(diff_id, true)? else { return Ok(()) };
        let shown = self.path(&format!("layers/{}/{DIGESTS}", diff_id.hex()));
        publish::replace(&dir, DIGESTS, &shown, bytes, Durability::Content)
    }

    /// Stores the index of a blob, as much of it as [`LayerIndex::cap`] has room for, replacing the one that is there. Prune keeps it
    /// as long as the blob. Nothing is stored without [`Limits::layer_indexes`](super::Limits::layer_indexes).
    pub fn put_layer_index(&self, blob: &Digest, index: &LayerIndex) -> Result<()> {
        if !self.limits().layer_indexes {
            return Ok(());
        }
        let _lease = self.lease()?;
        let name = index_name(blob);
        let shown = self.path(&format!("layers/{name}"));
        let bytes = index.encode(LayerIndex::cap(index.size));
        publish::replace(&self.0.layers, &name, &shown, &bytes, Durability::None)
    }

    /// Returns what is wrong with the indexes of blobs: their names in the store, and a message for each.
    pub(super) fn bad_layer_indexes(&self) -> Result<Vec<(String, String)>> {
        let mut bad = Vec::new();
        for (name, _) in files(&self.0.layers, self.path("layers"))? {
            let Some(hex) = name.strip_prefix(INDEX) else { continue };
            let shown = format!("layers/{name}");
            let checked = format!("sha256:{hex}").parse::<Digest>().and_then(|blob| {
                let size = self.blob_size(&blob)?;
                let bytes = publish::read_capped(&self.0.layers, &name, &shown, LayerIndex::cap(size))?;
                match LayerIndex::is_of_another_version(&bytes) {
                    true => Ok(()),
                    false => LayerIndex::decode(&bytes, size).map(drop),
                }
            });
            if let Err(error) = checked {
                bad.push((shown, error.message().to_string()));
            }
        }
        Ok(bad)
    }

    /// Returns the room of a DiffID or ChainID.
    fn layer_dir(&self, id: &Digest, make: bool) -> Result<Option<Dir>> {
        const OP: &str = "open layer";
        let name = id.hex();
        let shown = self.path(&format!("layers/{name}"));
        loop {
            let dir = self.0.layers.open_dir(&name).found().at(OP, &shown)?;
            if dir.is_some() || !make {
                return Ok(dir);
            }
            publish::make_dir(&self.0.layers, &name).at(OP, &shown)?;
        }
    }
}

/// The largest [`LayerInfo`] that is read, in bytes.
const INFO_CAP: u64 = 64 << 10;
/// The name of the digests of contents in the room of their DiffID.
const DIGESTS: &str = "digests";
/// The prefix of the name of a blob's [`LayerInfo`].
pub(super) const INFO: &str = "blob-";
/// The prefix of the name of a blob's index.
pub(super) const INDEX: &str = "index-";

fn index_name(blob: &Digest) -> String {
    format!("{INDEX}{}", blob.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn relations_and_lists_come_back() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let diff_id = Digest::of(b"tar");
        assert!(store.blobs_for_diff_id(&diff_id).unwrap().is_empty());
        assert!(store.open_chain_list(&diff_id).unwrap().is_none());
        let mut infos = Vec::new();
        for content in [&b"gzip"[..], b"zstd"] {
            let blob = store.put_blob(content).unwrap();
            let info = LayerInfo {
                diff_id,
                digest: blob.digest,
                size: blob.size,
                media_type: "application/x".into(),
                diff_size: Some(3),
            };
            store.put_layer_info(&info).unwrap();
            store.put_layer_info(&info).unwrap();
            assert_eq!(store.diff_id_for_blob(&blob.digest).unwrap(), Some(diff_id));
            infos.push(info);
        }
        infos.sort_by_key(|info| info.digest);
        assert_eq!(store.blobs_for_diff_id(&diff_id).unwrap(), infos);
        store.put_chain_list(&diff_id, b"entries").unwrap();
        assert_eq!(store.blobs_for_diff_id(&diff_id).unwrap().len(), 2);
        let mut text = String::new();
        store.open_chain_list(&diff_id).unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "entries");
        // A torn file counts as absent.
        store.0.layers.write(format!("blob-{}", infos[0].digest.hex()), "{").unwrap();
        assert_eq!(store.diff_id_for_blob(&infos[0].digest).unwrap(), None);
        assert_eq!(store.blobs_for_diff_id(&diff_id).unwrap(), infos[1..]);
    }
}
