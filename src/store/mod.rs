//! The store: an OCI image layout on disk plus what treering keeps beside it.
//!
//! ```text
//! oci/         a valid image layout: skopeo, umoci, crane and podman read it as it is
//! layers/      entry lists by ChainID, and which blob holds which DiffID
//! containers/  KEY/{config.json, index, ledger}: what is known about trees made from images
//! boxes/       BOX/{config.json, state.json, log, rootfs/, ...}: containers and spare trees
//! cache/       records of builds, and what builds can make again
//! pins/        what running operations need
//! tmp/         blobs on their way from a registry, others where the filesystem has no unnamed files, claims of scratch directories
//! lock         held shared for moments by all others (leases), exclusively by prune
//! index.lock   held exclusively while `oci/index.json` is replaced
//! ```
//!
//! Everything is published the same way: written under another name (or none), fsynced, given its name in one step,
//! and the directory fsynced. A crash at any point leaves the old state or the new one. Any number of processes may
//! work in one store at once.

mod blob;
#[cfg(feature = "sandbox")]
mod boxes;
mod cache;
mod claims;
mod df;
mod document;
mod fsck;
mod gc;
mod json;
mod kept;
mod layers;
mod layout;
mod lease;
mod limits;
mod mark;
mod mend;
#[cfg(feature = "registry")]
mod partial;
mod pin;
mod publish;
mod reference;
mod refs;
mod resolve;
mod scratch;
mod trees;
#[cfg(feature = "registry")]
mod uploads;
mod verify;

pub use blob::{BlobInfo, BlobWriter};
#[cfg(feature = "sandbox")]
pub(crate) use boxes::{Boxes, CONFIG, POOLED, Slot};
pub use cache::CachePruneOptions;
#[doc(hidden)]
pub use cache::CacheRecord;
pub(crate) use claims::Claim;
pub use df::{ImageUsage, Usage};
pub(crate) use document::descriptor_value;
pub use document::{Document, DocumentKind, descriptor, descriptor_digest};
pub use fsck::{FsckLevel, FsckReport, Problem, ProblemKind};
pub(crate) use gc::Removals;
pub use gc::{PruneOptions, PruneReport};
pub use json::{parse as parse_json, to_bytes as json_to_bytes};
#[cfg(feature = "sandbox")]
pub(crate) use kept::{KEPT_JOURNAL, KEPT_MOUNTS, KEPT_TREES, mend_kept};
pub use layers::LayerInfo;
pub use layout::{Store, default_root};
pub use lease::Lease;
pub use limits::Limits;
pub use pin::Pin;
pub(crate) use publish::adopt;
#[cfg(feature = "sandbox")]
pub(crate) use publish::open_regular;
pub use reference::Reference;
#[cfg(feature = "registry")]
pub(crate) use reference::tag_ok;
pub(crate) use refs::check_new_name;
pub use refs::{Entry, REF_NAME, Ref};
pub use resolve::Resolved;
pub(crate) use scratch::Scratch;
pub(crate) use trees::StagedFile;
pub use trees::{Binding, BindingFile};
#[cfg(feature = "registry")]
pub(crate) use uploads::Upload;
pub use verify::VerifiedReader;

/// A descriptor (image-spec, descriptor.md) as `oci-spec` defines it.
pub use oci_spec::image::Descriptor;
