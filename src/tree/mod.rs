//! A tree on disk and its snapshot.
//!
//! [`scan`](scan::scan) walks a tree and gives a [`Snapshot`]: the sorted list of everything in it at one moment. A
//! [`Builder`] grows the same kind of list from a layer's entries. A [`Ledger`] holds what an unprivileged process could
//! not put on disk, and is merged into every scan.

pub mod builder;
mod codec;
pub mod entry;
pub mod hash;
pub mod interchange;
pub mod ledger;
pub mod owner;
pub(crate) mod ownership;
pub mod scan;
pub mod snapshot;
pub mod walk;

pub use builder::Builder;
pub use entry::{Flags, Meta, NONE, Xattrs};
pub use interchange::{OwnerSource, OwnerXattr};
pub use ledger::Ledger;
pub use owner::OwnerPolicy;
pub use scan::{Scan, ScanOptions, Skipped, scan};
pub use snapshot::Snapshot;
