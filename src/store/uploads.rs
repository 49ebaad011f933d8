//! Uploads to registries that were begun and not finished, so that the next push can go on with them.
//!
//! ```text
//! cache/uploads/HEX     where an upload goes on, as its writer put it; HEX is the digest of what says which upload it is
//! ```
//!
//! A file is locked while a push works on its upload, and goes when that is done. It only saves time: nothing is synced, what cannot be
//! read is none, and prune takes all that nobody has locked.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cache::UPLOADS;
use super::layout::{Rooms, Store};
use super::publish;
use super::scratch::is_named;
use crate::digest::Digest;
use crate::fs::lock::Locked;

/// The largest file that is read.
const CAP: u64 = 64 << 10;
/// After which time no registry is asked any more: those that are in use forget uploads within a day or a week.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600);

/// A note of one upload, held by the only push that works on it.
pub(crate) struct Upload {
    rooms: Arc<Rooms>,
    name: String,
    file: Locked,
}

impl Store {
    /// Claims what is kept of an upload, or makes room for it. `None` while another push is at it, and where nothing can be written.
    pub(crate) fn claim_upload(&self, key: &Digest) -> Option<Upload> {
        let name = key.hex();
        // Prune must not see it before it is locked.
        let _lease = self.lease().ok()?;
        let room = self.cache_room(UPLOADS).ok()?;
        let file = publish::open_or_make(&room, &name).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        publish::claim(&file, &room).ok()?;
        let file = Locked::new(file);
        // Its holder may have ended, and taken the name away.
        let named = is_named(file.file(), &room, &name).ok()?;
        named.then(|| Upload { rooms: Arc::clone(&self.0), name, file })
    }
}

impl Upload {
    /// Returns what was written down, unless that is too long ago.
    pub fn read(&self) -> Option<Vec<u8>> {
        let mut file: &File = self.file.file();
        let written = file.metadata().ok()?.modified().ok()?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).ok()?;
        file.take(CAP + 1).read_to_end(&mut bytes).ok()?;
        let age = SystemTime::now().duration_since(written).unwrap_or_default();
        (age < OLD && !bytes.is_empty() && bytes.len() as u64 <= CAP).then_some(bytes)
    }

    /// Writes down where the upload stands. Without that, the next push begins anew: no error is worth more than the upload.
    pub fn write(&self, bytes: &[u8]) {
        let mut file: &File = self.file.file();
        let written =
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(bytes));
        if written.is_err() {
            let _ = file.set_len(0);
        }
    }

    /// Forgets the upload: it is done, or the registry has forgotten it.
    pub fn forget(self) {
        if self.file.is_ours()
            && let Ok(room) = self.rooms.cache.open_dir(UPLOADS)
        {
            // Before it is unlocked. Prune takes what cannot be removed here.
            let _ = room.remove_file(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Control;
    use crate::store::PruneOptions;

    #[test]
    fn what_is_kept_of_an_upload_is_for_one_push_at_a_time_and_not_for_ever() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let key = Digest::of(b"an upload");
        let path = temp.path().join("cache/uploads").join(key.hex());
        let prune = || store.prune(&PruneOptions::default(), &Control::default()).unwrap();
        let first = store.claim_upload(&key).unwrap();
        assert_eq!(first.read(), None);
        first.write(b"a longer place");
        first.write(b"a place");
        assert!(store.claim_upload(&key).is_none() && store.claim_upload(&Digest::of(b"x")).is_some());
        prune();
        drop(first);
        // The push ended too early: the next one reads what it wrote.
        let second = store.claim_upload(&key).unwrap();
        assert_eq!(second.read().unwrap(), b"a place");
        second.file.file().set_modified(SystemTime::now() - OLD).unwrap();
        assert_eq!(second.read(), None, "too old");
        second.write(&vec![b'x'; CAP as usize + 1]);
        assert_eq!(second.read(), None, "too large");
        second.forget();
        assert!(!path.exists());
        drop(store.claim_upload(&key).unwrap());
        assert!(path.exists());
        prune();
        assert!(!path.exists());
        std::os::unix::fs::symlink("../../lock", &path).unwrap();
        assert!(store.claim_upload(&key).is_none());
    }
}
