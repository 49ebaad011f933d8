//! A tree on disk and its snapshot.
//!
//! [`scan()`] walks a tree and gives a [`Snapshot`]: the sorted list of everything in it at one moment. A
//! [`Builder`] grows the same kind of list from a layer's entries. A [`Ledger`] holds what an unprivileged process could
//! not put on disk, and is merged into every scan.

pub(crate) mod clone;
mod codec;
pub(crate) mod entry;
#[cfg(feature = "sandbox")]
mod given;
pub(crate) mod hash;
pub(crate) mod interchange;
pub mod journal;
pub(crate) mod ledger;
pub(crate) mod owner;
mod owners;
pub(crate) mod ownership;
pub mod scan;
pub(crate) mod snapshot;
pub(crate) mod walk;
pub(crate) mod way;

// Not part of the stable interface: for the tests of this repository.
#[doc(hidden)]
pub mod builder;

pub use builder::Builder;
pub use entry::{Flags, Meta, NONE, Place, Xattrs};
pub use interchange::{OwnerSource, OwnerXattr};
pub use ledger::Ledger;
pub use owner::OwnerPolicy;
pub use owners::{Owners, OwnersWanted};
pub use scan::{Scan, ScanOptions, Skipped, scan};
pub use snapshot::Snapshot;
