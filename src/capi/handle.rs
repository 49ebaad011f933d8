//! Handles: what the opaque pointers of the header stand for.
//!
//! A handle is looked up, never followed: its pointer is the key of a table that owns the object. So a NULL, a handle of
//! another type, one that was freed and one that never was are all distinguished from a good one without touching memory
//! they might point to. A call takes its own share of the object, so that freeing a handle while another thread is in a
//! call with it ends the handle, not the object.
//!
//! The pointer is the address of a small allocation made for the handle, which stays allocated for a while after the handle
//! was freed: a stale handle meets a new one of the same address only after many others were freed.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use super::status::treering_status;
use crate::error::{Error, Result};
use crate::threads::lock;

/// A type of handle. Implemented by the opaque types of the header.
pub(super) trait Noun: 'static {
    /// The value that a handle of this type owns.
    type Value: Send + Sync + 'static;
    /// The type's name in the header.
    const NAME: &'static str;
}

/// Says which value an opaque type of the header owns.
macro_rules! noun {
    ($noun:ident, $value:ty) => {
        impl $crate::capi::handle::Noun for $noun {
            type Value = $value;
            const NAME: &'static str = stringify!($noun);
        }
    };
}
pub(super) use noun;

/// How many locks the handles share, so that threads seldom wait for each other.
const SHARDS: usize = 16;
/// How many addresses of freed handles each shard keeps from being used again.
const QUARANTINE: usize = 64;

/// Its address is the handle. The size is what an allocator hands out at least.
struct Key([u64; 2]);

struct Live {
    noun: TypeId,
    name: &'static str,
    value: Arc<dyn Any + Send + Sync>,
    key: Box<Key>,
}

/// The handles of one lock. A tree, because tools that look for leaks do not follow a hash table's pointers into the middle of its
/// memory.
#[derive(Default)]
struct Shard {
    live: BTreeMap<usize, Live>,
    freed: VecDeque<Box<Key>>,
}

static SHARDS_OF_HANDLES: LazyLock<[Mutex<Shard>; SHARDS]> = LazyLock::new(Default::default);

fn shard(address: usize) -> MutexGuard<'static, Shard> {
    let shard = &SHARDS_OF_HANDLES[(address >> 5) % SHARDS];
    // Nothing that can panic runs under the lock, save running out of memory.
    lock(shard)
}

/// Returns a new handle.
pub(super) fn make<N: Noun>(value: N::Value) -> *mut N {
    let key = Box::new(Key([0; 2]));
    let address = &raw const *key as usize;
    let live = Live { noun: TypeId::of::<N>(), name: N::NAME, value: Arc::new(value), key };
    let pointer = &raw const live.key.0 as *mut N;
    shard(address).live.insert(address, live);
    pointer
}

/// Returns the value behind a handle. `argument` is what errors call it.
pub(super) fn get<N: Noun>(handle: *const N, argument: &str) -> Result<Arc<N::Value>> {
    if handle.is_null() {
        return Err(super::arguments::bad(format!("{argument} is NULL, not a {}", N::NAME)));
    }
    let address = handle as usize;
    let shard = shard(address);
    let Some(live) = shard.live.get(&address) else {
        return Err(unknown::<N>(argument));
    };
    if live.noun != TypeId::of::<N>() {
        let message = format!("{argument} is a {}, not a {}", live.name, N::NAME);
        return Err(super::arguments::bad(message));
    }
    let value = live.value.clone();
    drop(shard);
    Ok(value.downcast::<N::Value>().expect("the noun says which type the value has"))
}

/// Does what [`get`] does, where NULL stands for nothing.
pub(super) fn maybe<N: Noun>(handle: *const N, argument: &str) -> Result<Option<Arc<N::Value>>> {
    if handle.is_null() { Ok(None) } else { get(handle, argument).map(Some) }
}

fn unknown<N: Noun>(argument: &str) -> Error {
    super::arguments::bad(format!("{argument} is not a {}: it was freed, or never was one", N::NAME))
}

/// Ends a handle. NULL is fine.
pub(super) fn free<N: Noun>(handle: *mut N) -> treering_status {
    if handle.is_null() {
        return treering_status::TREERING_OK;
    }
    let address = handle as usize;
    let value = {
        let mut shard = shard(address);
        match shard.live.get(&address) {
            Some(live) if live.noun == TypeId::of::<N>() => {}
            _ => return treering_status::TREERING_INVALID_ARGUMENT,
        }
        let Some(live) = shard.live.remove(&address) else {
            return treering_status::TREERING_INVALID_ARGUMENT;
        };
        shard.freed.push_back(live.key);
        if shard.freed.len() > QUARANTINE {
            shard.freed.pop_front();
        }
        live.value
    };
    match catch_unwind(AssertUnwindSafe(|| drop(value))) {
        Ok(()) => treering_status::TREERING_OK,
        Err(_) => treering_status::TREERING_INTERNAL,
    }
}

/// Returns how many handles there are.
pub(super) fn count() -> usize {
    SHARDS_OF_HANDLES.iter().map(|shard| lock(shard).live.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    struct One;
    struct Two;
    noun!(One, String);
    noun!(Two, String);

    #[test]
    fn bad_handles_are_refused() {
        let one = make::<One>("text".into());
        assert_eq!(*get(one, "x").unwrap(), "text");
        let kind = |result: Result<Arc<String>>| result.unwrap_err().kind();
        assert_eq!(kind(get(one.cast::<Two>(), "x")), ErrorKind::InvalidArgument);
        assert_eq!(kind(get(std::ptr::null::<One>(), "x")), ErrorKind::InvalidArgument);
        assert_eq!(kind(get(std::ptr::dangling::<One>(), "x")), ErrorKind::InvalidArgument);
        assert!(maybe(std::ptr::null::<One>(), "x").unwrap().is_none());
        let held = get(one, "x").unwrap();
        assert_eq!(free(one.cast::<Two>()), treering_status::TREERING_INVALID_ARGUMENT);
        assert_eq!(free(one), treering_status::TREERING_OK);
        assert_eq!(free(one), treering_status::TREERING_INVALID_ARGUMENT);
        assert_eq!(kind(get(one, "x")), ErrorKind::InvalidArgument);
        assert_eq!(*held, "text", "a call that has it keeps it");
        assert_eq!(free(std::ptr::null_mut::<One>()), treering_status::TREERING_OK);
    }

    #[test]
    fn addresses_are_not_used_again_at_once() {
        let first = make::<One>(String::new());
        free(first);
        for _ in 0..QUARANTINE {
            let next = make::<One>(String::new());
            assert_ne!(first, next);
            free(next);
        }
    }
}
