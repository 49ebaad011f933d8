//! Blobs: written once under the name of their content, read with their size and digest checked.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use sha2::{Digest as _, Sha256};

use super::layout::Store;
use super::pin::Need;
use super::publish::{self, FILE_MODE, open_regular};
use super::verify::VerifiedReader;
use crate::digest::Digest;
use crate::error::{At, Error, ErrorKind, Found, Result};
use crate::fs::staged::Staged;
use crate::fs::writeback;

/// The identity of a blob: its digest and its size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct BlobInfo {
    /// The sha256 of the content.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
}

impl BlobInfo {
    /// Returns the digest and size of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        BlobInfo { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

/// A blob being written. Dropped without [`BlobWriter::finish`], it leaves nothing behind; so does a killed process
/// where the filesystem has unnamed files, and elsewhere the next prune takes what is left.
///
/// Once it is finished, the next prune removes a blob that nothing refers to: write the blobs of an image through one
/// [`super::Pin`], and keep that until the image is named.
pub struct BlobWriter {
    pub(super) store: Store,
    pub(super) staged: Staged,
    /// None when the caller hashes.
    pub(super) hasher: Option<Sha256>,
    pub(super) size: u64,
    /// How much of it the kernel was asked to write to the disk already.
    pub(super) started: u64,
}

impl Store {
    /// Starts a blob, computing its digest while it is written.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        self.start_blob(Some(Sha256::new()))
    }

    /// Starts a blob with a digest that the caller computes, to be given to [`BlobWriter::finish_with`].
    pub fn unhashed_blob_writer(&self) -> Result<BlobWriter> {
        self.start_blob(None)
    }

    fn start_blob(&self, hasher: Option<Sha256>) -> Result<BlobWriter> {
        const OP: &str = "create temporary file";
        // Where it has a name, prune must not see it before it is locked.
        let _lease = self.lease()?;
        let mut staged = Staged::new(&self.0.blobs, &self.0.tmp, FILE_MODE).at(OP, self.path("tmp"))?;
        publish::claim(staged.file(), &self.0.blobs).at(OP, self.path("tmp"))?;
        Ok(BlobWriter { store: self.clone(), staged, hasher, size: 0, started: 0 })
    }

    /// Writes a small blob: a manifest, a configuration. Writing what is there already is fine.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<BlobInfo> {
        let info = BlobInfo::of(bytes);
        let mut writer = self.unhashed_blob_writer()?;
        writer.write_all(bytes).at("write blob", info.digest.to_string())?;
        writer.finish_with(info.digest, info.size)
    }

    /// Returns whether the blob is there (with any size; [`Store::fsck`] checks that it is whole).
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.blob_size(digest).found()?.is_some())
    }

    /// Returns the size of the blob on disk, in bytes. [`ErrorKind::NotFound`] when it is not there.
    pub fn blob_size(&self, digest: &Digest) -> Result<u64> {
        // One that was seen must not go before it counts as needed.
        self.need(Need::Blob(*digest))?;
        let shown = digest.to_string();
        let meta = self.0.blobs.symlink_metadata(digest.hex()).map_err(|error| missing(&shown, error))?;
        if !meta.is_file() {
            return Err(Error::corrupt("open blob", "not a regular file").with_path(shown));
        }
        Ok(meta.len())
    }

    /// Opens a blob, unverified: use [`Store::verified_reader`] unless you check the digest yourself.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let shown = digest.to_string();
        open_regular(&self.0.blobs, &digest.hex(), &shown).map_err(|error| match error.kind() {
            ErrorKind::NotFound => missing(&shown, io::Error::from(io::ErrorKind::NotFound)),
            _ => error,
        })
    }

    /// Opens a blob for reading; reaching its end fails unless size and digest are right. The size is compared at once.
    pub fn verified_reader(&self, digest: &Digest, size: u64) -> Result<VerifiedReader<File>> {
        let file = self.open_blob(digest)?;
        check_size(&file, digest, size)?;
        Ok(VerifiedReader::new(file, *digest, size))
    }

    /// Reads a whole blob: first its size is compared with `size` (when known) and with `cap`, then its digest.
    ///
    /// Fails with [`ErrorKind::NotFound`], [`ErrorKind::Limit`] over the cap, [`ErrorKind::Corrupt`] on any mismatch.
    pub fn read_blob(&self, digest: &Digest, size: Option<u64>, cap: u64) -> Result<Vec<u8>> {
        const OP: &str = "read blob";
        let shown = digest.to_string();
        let file = self.open_blob(digest)?;
        let actual = file.metadata().at(OP, &shown)?.len();
        if let Some(size) = size {
            check_size(&file, digest, size)?;
        }
        if actual > cap {
            let message = format!("the blob has {actual} bytes, more than the cap of {cap}");
            return Err(Error::limit(OP, message).with_path(shown));
        }
        let mut bytes = Vec::with_capacity(actual as usize);
        VerifiedReader::new(file, *digest, actual).read_to_end(&mut bytes).at(OP, &shown)?;
        Ok(bytes)
    }
}

fn missing(shown: &str, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::NotFound {
        return Error::io("open blob", shown, error);
    }
    Error::not_found("open blob", "the store does not hold this blob")
        .with_path(shown)
        .with_hint("pull or load the image again")
        .with_source(error)
}

fn check_size(file: &File, digest: &Digest, size: u64) -> Result<()> {
    let actual = file.metadata().at("read blob", digest.to_string())?.len();
    if actual != size {
        let message = format!("the blob has {actual} bytes where {size} are expected");
        return Err(Error::corrupt("read blob", message).with_path(digest.to_string()));
    }
    Ok(())
}

impl BlobWriter {
    /// Returns how many bytes were written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Publishes the blob under the digest of what was written, durably: when this returns, it survives a power loss.
    ///
    /// With `expected`, another digest is [`ErrorKind::Corrupt`] and nothing is published. A writer from
    /// [`Store::unhashed_blob_writer`] reads the file back to hash it.
    pub fn finish(mut self, expected: Option<Digest>) -> Result<BlobInfo> {
        let digest = self.digest()?;
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            let message = format!("the content has another digest: {digest}");
            return Err(Error::corrupt("write blob", message).with_path(expected.to_string()));
        }
        self.publish(digest)
    }

    /// Publishes the blob under a digest the caller computed over the same bytes. [`ErrorKind::Corrupt`] when the size
    /// is not what was written, or when the writer hashed too and found another digest.
    pub fn finish_with(self, digest: Digest, size: u64) -> Result<BlobInfo> {
        if size != self.size {
            let message = format!("{} bytes were written where {size} are expected", self.size);
            return Err(Error::corrupt("write blob", message).with_path(digest.to_string()));
        }
        if self.hasher.is_some() {
            return self.finish(Some(digest));
        }
        self.publish(digest)
    }

    fn digest(&mut self) -> Result<Digest> {
        if let Some(hasher) = self.hasher.take() {
            return Ok(Digest::from_bytes(hasher.finalize().into()));
        }
        let shown = self.store.path("tmp");
        let file = self.staged.file();
        file.rewind().at("read blob back", &shown)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 17];
        loop {
            match file.read(&mut buffer).at("read blob back", &shown)? {
                0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
                n => hasher.update(&buffer[..n]),
            }
        }
    }

    fn publish(self, digest: Digest) -> Result<BlobInfo> {
        let (name, shown) = (digest.hex(), digest.to_string());
        let (store, blobs) = (&self.store, &self.store.0.blobs);
        let named = publish::Whole::new(self.staged, &shown)?;
        // Needed and named in one step, for prune. What is there already gives way, so that writing a blob again also
        // repairs it.
        store.need_while(Need::Blob(digest), || {
            let exists = blobs.symlink_metadata(&name).is_ok();
            named.name(blobs, &name, &shown, exists)
        })?;
        // Also when the file was there already: its writer may not have come to this line yet.
        publish::sync_dir(blobs, &shown)?;
        Ok(BlobInfo { digest, size: self.size })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let cap = self.store.0.limits.blob_bytes;
        if self.size.saturating_add(bytes.len() as u64) > cap {
            let message = format!("the blob is larger than the cap of {cap} bytes");
            return Err(Error::limit("write blob", message).into());
        }
        let n = self.staged.file().write(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            // The caller cannot name the file.
            _ => Error::io("write blob", self.store.path("tmp"), error).into(),
        })?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..n]);
        }
        self.size += n as u64;
        // Publishing waits for the disk; what is already on it then costs no time.
        if self.size - self.started >= writeback::STRIDE {
            writeback::start(self.staged.file(), self.started, self.size - self.started);
            self.started = self.size;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.staged.file().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Limits;

    #[test]
    fn blobs_come_back_whole_or_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let info = store.put_blob(b"hello").unwrap();
        assert_eq!(info, store.put_blob(b"hello").unwrap());
        assert_eq!(store.read_blob(&info.digest, Some(5), 5).unwrap(), b"hello");
        assert_eq!(store.read_blob(&info.digest, Some(4), 5).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.read_blob(&info.digest, Some(5), 4).unwrap_err().kind(), ErrorKind::Limit);
        assert!(store.has_blob(&info.digest).unwrap());
        assert!(!store.has_blob(&Digest::of(b"other")).unwrap());
        let error = store.read_blob(&Digest::of(b"other"), None, 5).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint().is_some());

        // Damaged on disk: refused, then repaired by writing it again.
        store.0.blobs.write(info.digest.hex(), "hellO").unwrap();
        assert_eq!(store.read_blob(&info.digest, None, 5).unwrap_err().kind(), ErrorKind::Corrupt);
        store.put_blob(b"hello").unwrap();
        assert_eq!(store.read_blob(&info.digest, Some(5), 5).unwrap(), b"hello");
        store.0.blobs.write(info.digest.hex(), "hell").unwrap();
        assert_eq!(store.verified_reader(&info.digest, 5).err().unwrap().kind(), ErrorKind::Corrupt);
        store.put_blob(b"hello").unwrap();
        assert_eq!(store.read_blob(&info.digest, Some(5), 5).unwrap(), b"hello");
    }

    #[test]
    fn a_blob_that_is_not_what_was_promised_is_not_published() {
        let temp = tempfile::tempdir().unwrap();
        let limits = Limits { blob_bytes: 10, ..Limits::default() };
        let store = Store::open_with(temp.path(), limits).unwrap();
        let write = |writer: Result<BlobWriter>| {
            let mut writer = writer.unwrap();
            writer.write_all(b"hello").unwrap();
            writer
        };
        let other = Digest::of(b"other");
        assert!(write(store.blob_writer()).finish(Some(other)).is_err());
        assert!(write(store.blob_writer()).finish_with(other, 5).is_err());
        assert!(write(store.unhashed_blob_writer()).finish(Some(other)).is_err());
        assert!(write(store.unhashed_blob_writer()).finish_with(other, 4).is_err());
        let error = write(store.blob_writer()).write_all(b"world!").unwrap_err();
        assert_eq!(Error::io("x", "y", error).kind(), ErrorKind::Limit);
        assert_eq!(store.0.blobs.entries().unwrap().count(), 0);
        assert_eq!(store.0.tmp.entries().unwrap().count(), 0);
        let info = write(store.unhashed_blob_writer()).finish(None).unwrap();
        assert_eq!(info, BlobInfo::of(b"hello"));
        assert_eq!(write(store.blob_writer()).finish(Some(info.digest)).unwrap(), info);
    }
}
