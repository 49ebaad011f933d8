//! Blobs that arrive from elsewhere, perhaps in several attempts.
//!
//! Such a blob lies in `tmp/` under its digest while it arrives, locked by the process that writes it. When that ends too early, by an
//! error or by a signal, the next one goes on with the file; prune takes one that nobody has locked. Nothing says that the bytes
//! in it are right until all are there: then the digest decides.

use std::fs::File;
use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::blob::BlobWriter;
use super::layout::Store;
use super::publish;
use super::scratch::is_named;
use crate::digest::Digest;
use crate::error::{At, Result};
use crate::fs::staged::Staged;
use crate::progress::Control;

/// How much of a blob is worth keeping, in bytes.
const WORTH_KEEPING: u64 = 1 << 20;
/// How often it is tried to get the file under its name.
const ATTEMPTS: usize = 3;

/// Returns the name of a blob that arrives.
fn partial(digest: &Digest) -> String {
    format!("partial-{}", digest.hex())
}

impl Store {
    /// Goes on with a blob of this digest that broke off, else starts one. What is there of it is read again for its digest. While
    /// another writer is at it, this one has a file of its own, and so has a blob so small that there is nothing to keep.
    pub(crate) fn resume_blob(&self, digest: &Digest, size: u64, control: &Control) -> Result<BlobWriter> {
        const OP: &str = "go on with blob";
        if size < WORTH_KEEPING {
            return self.blob_writer();
        }
        let shown = self.path("tmp");
        let Some(mut staged) = self.claim_partial(digest).at(OP, &shown)? else { return self.blob_writer() };
        let (mut hasher, mut there) = (Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 17];
        loop {
            control.check(OP)?;
            match staged.file().read(&mut buffer).at(OP, &shown)? {
                0 => break,
                n => {
                    hasher.update(&buffer[..n]);
                    there += n as u64;
                }
            }
        }
        if there > size {
            return self.blob_writer();
        }
        Ok(BlobWriter { store: self.clone(), staged, hasher: Some(hasher), size: there, started: there })
    }

    /// Opens the file of a blob that arrives, locked; `None` while another writer has it.
    fn claim_partial(&self, digest: &Digest) -> std::io::Result<Option<Staged>> {
        let (name, tmp) = (partial(digest), &self.0.tmp);
        // Prune must not see it before it is locked.
        let _lease = self.lease().map_err(std::io::Error::from)?;
        for _ in 0..ATTEMPTS {
            let Ok(file) = publish::open_or_make(tmp, &name) else { return Ok(None) };
            if !file.metadata()?.is_file() || publish::claim(&file, tmp).is_err() {
                return Ok(None);
            }
            // Its writer may have published it, or given it up, before it was locked here.
            if !is_named(&file, tmp, &name)? {
                continue;
            }
            // A writer that was killed in the midst of publishing: what is written here would be written to the blob as well.
            if rustix::fs::fstat(&file)?.st_nlink > 1 {
                tmp.remove_file(&name)?;
                continue;
            }
            return Staged::adopt(file, tmp, name).map(Some);
        }
        Ok(None)
    }
}

impl BlobWriter {
    /// Returns a second descriptor of the file, for reading by offset what was written so far.
    pub(crate) fn share(&mut self) -> Result<File> {
        self.staged.file().try_clone().at("write blob", self.store.path("tmp"))
    }

    /// Leaves what was written to the next [`Store::resume_blob`] of this digest; little is not worth it. With `sync` it survives a
    /// power loss; else a part of it may not.
    pub(crate) fn keep_partial(mut self, digest: &Digest, sync: bool) -> std::io::Result<()> {
        if self.size < WORTH_KEEPING || !self.staged.is_called(&partial(digest)) {
            return Ok(());
        }
        if sync {
            self.staged.file().sync_data()?;
        }
        // What reads along has copies of the descriptor, which would keep the lock.
        self.staged.file().unlock()?;
        self.staged.leave();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::store::PruneOptions;

    fn fresh() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        (temp, store)
    }

    const HALF: usize = WORTH_KEEPING as usize;

    /// Two pulls of one blob: the second one breaks off while the first one is at it.
    #[test]
    fn what_another_one_leaves_of_a_blob_is_not_published_in_place_of_what_was_checked() {
        let (_temp, store) = fresh();
        let whole = vec![7; 2 * HALF];
        let (digest, control) = (Digest::of(&whole), Control::default());
        let resume = || store.resume_blob(&digest, whole.len() as u64, &control).unwrap();
        let break_off = |mut writer: BlobWriter, byte: u8| {
            writer.write_all(&vec![byte; HALF]).unwrap();
            writer.keep_partial(&digest, false).unwrap();
        };
        break_off(resume(), 7);
        let mut first = resume();
        assert_eq!(first.size(), HALF as u64);
        let second = resume();
        assert_eq!(second.size(), 0, "the other one has it");
        break_off(second, 8);
        first.write_all(&whole[HALF..]).unwrap();
        first.finish(Some(digest)).unwrap();
        assert!(store.read_blob(&digest, Some(whole.len() as u64), u64::MAX).unwrap() == whole);
        assert_eq!(store.0.tmp.entries().unwrap().count(), 0);
    }

    #[test]
    fn what_is_there_is_gone_on_with_unless_it_cannot_be_a_part_of_the_blob() {
        let (_temp, store) = fresh();
        let whole = vec![7; 2 * HALF];
        let (digest, control) = (Digest::of(&whole), Control::default());
        let (name, size) = (partial(&digest), whole.len() as u64);
        let resume = || store.resume_blob(&digest, size, &control).unwrap();
        // As a killed process leaves it: no more than a name and bytes.
        store.0.tmp.write(&name, [7; 10]).unwrap();
        assert_eq!(resume().size(), 10);
        assert!(!store.0.tmp.exists(&name), "a writer that is dropped leaves nothing");
        // Too large, no file, and one that is a blob of the store at the same time.
        store.0.tmp.write(&name, vec![7; 2 * HALF + 1]).unwrap();
        assert_eq!((resume().size(), store.0.tmp.exists(&name)), (0, false));
        store.0.tmp.create_dir(&name).unwrap();
        resume().write_all(&whole).unwrap();
        store.0.tmp.remove_dir(&name).unwrap();
        store.0.tmp.symlink("../lock", &name).unwrap();
        resume().write_all(&whole).unwrap();
        assert_eq!(std::fs::metadata(store.root_path().join("lock")).unwrap().len(), 0);
        store.0.tmp.remove_file(&name).unwrap();
        let other = store.put_blob(b"short").unwrap().digest;
        store.0.blobs.hard_link(other.hex(), &store.0.tmp, &name).unwrap();
        let mut writer = resume();
        assert_eq!(writer.size(), 0);
        writer.write_all(&whole).unwrap();
        writer.finish(Some(digest)).unwrap();
        assert_eq!(store.read_blob(&other, Some(5), 5).unwrap(), b"short");
        assert_eq!(store.0.tmp.entries().unwrap().count(), 0);
        // While it arrives, a prune leaves it alone.
        let mut writer = resume();
        writer.write_all(&whole).unwrap();
        store.prune(&PruneOptions::default(), &control).unwrap();
        assert!(store.0.tmp.exists(&name));
        writer.finish(Some(digest)).unwrap();
    }
}
