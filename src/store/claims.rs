//! Claims of steps: one build at a time carries a step out, of this process or another one.

use std::sync::Arc;
use std::time::Duration;

use super::layout::{Rooms, Store};
use super::publish::{self, adopt};
use super::scratch::is_named;
use crate::digest::Digest;
use crate::error::{At, Result};
use crate::fs::lock::Locked;
use crate::progress::Control;

const OP: &str = "build cache";
/// The room of claims below `cache/`.
pub(super) const ROOM: &str = "claims";
/// How long a waiter sleeps between two looks at a claim, at most.
const PAUSE: Duration = Duration::from_millis(20);

/// The right to carry a step out. It ends when it is dropped, or with the process.
#[derive(Debug)]
#[must_use = "a claim ends when it is dropped"]
pub(crate) struct Claim(#[expect(dead_code, reason = "held until it is dropped")] Option<Held>);

struct Held {
    rooms: Arc<Rooms>,
    name: String,
    lock: Locked,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Held").field(&self.name).finish()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.lock.is_ours()
            && let Ok(claims) = self.rooms.cache.open_dir(ROOM)
        {
            // Before it is unlocked: another file gets the name then, and those that wait for this one see that.
            let _ = claims.remove_file(&self.name);
        }
    }
}

impl Store {
    /// Claims a step: while another build, of this process or another one, carries it out, this waits, and looks at the cancel token.
    /// Look for the record once more then. A holder that dies holds nothing any more. Where no claim can be written, there is none.
    pub(crate) fn claim_step(&self, key: &Digest, control: &Control) -> Result<Claim> {
        let name = key.hex();
        let shown = self.path(&format!("cache/{ROOM}/{name}"));
        let Ok(room) = self.cache_room(ROOM) else { return Ok(Claim(None)) };
        let mut pause = Duration::from_micros(500);
        loop {
            control.check(OP)?;
            let Ok(file) = publish::open_or_make(&room, &name) else { return Ok(Claim(None)) };
            let _ = adopt(&file, &room);
            if let Some(lock) = Locked::try_new(file, true).at(OP, &shown)? {
                if is_named(lock.file(), &room, &name).is_ok_and(|it| it) {
                    return Ok(Claim(Some(Held { rooms: Arc::clone(&self.0), name, lock })));
                }
                // Its holder has ended, and took the name away.
                continue;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::error::ErrorKind;
    use crate::store::PruneOptions;

    fn fresh() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        (temp, store)
    }

    #[test]
    fn a_step_is_claimed_by_one_at_a_time() {
        let (_temp, store) = fresh();
        let (key, control) = (Digest::of(b"step"), Control::default());
        let busy = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _claim = store.claim_step(&key, &control).unwrap();
                        assert!(!busy.swap(true, Ordering::SeqCst), "two hold it");
                        std::thread::sleep(Duration::from_micros(200));
                        busy.store(false, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(store.0.cache.read_dir(ROOM).unwrap().count(), 0);
        // Another step's claim is another matter, and a wait can be cancelled.
        let _held = store.claim_step(&key, &control).unwrap();
        drop(store.claim_step(&Digest::of(b"other"), &control).unwrap());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| store.claim_step(&key, &control).unwrap_err().kind());
            std::thread::sleep(Duration::from_millis(30));
            control.cancel.cancel();
            assert_eq!(waiting.join().unwrap(), ErrorKind::Cancelled);
        });
    }

    #[test]
    fn a_dead_holder_holds_nothing() {
        let (_temp, store) = fresh();
        let (key, control) = (Digest::of(b"step"), Control::default());
        store.cache_room(ROOM).unwrap().write(key.hex(), b"").unwrap();
        drop(store.claim_step(&key, &control).unwrap());
        assert_eq!(store.0.cache.read_dir(ROOM).unwrap().count(), 0);
        // What is left of one goes with the next prune; one that is held stays.
        store.cache_room(ROOM).unwrap().write(Digest::of(b"dead").hex(), b"").unwrap();
        let _held = store.claim_step(&key, &control).unwrap();
        store.0.cache.create_dir("steps").unwrap();
        assert_eq!(store.prune(&PruneOptions::default(), &control).unwrap().leftovers, 2);
        assert_eq!(store.0.cache.read_dir(ROOM).unwrap().count(), 1);
        assert!(!store.0.cache.exists("steps"));
    }
}
