//! Images: configuration, manifest, index, platform, history.
//!
//! An image is read with [`Image::open`] and made from three pieces: [`new_config`], [`new_manifest`] and the blobs of
//! its layers. Documents are kept as they were read, unknown members included; what is made new is deterministic.

mod admit;
mod append;
mod batch;
mod blobs;
mod changes;
mod checkout;
mod clone;
mod commit;
mod compose;
mod config;
mod contents;
mod derive;
mod diff;
mod digests;
mod edit;
mod exclude;
mod history;
mod index;
mod inspect;
mod layer;
mod layer_blobs;
mod layer_files;
mod local_changes;
mod manifest;
mod notes;
mod open;
mod packages;
mod pass;
mod plan;
mod platform;
mod read;
mod rebase;
mod record;
#[cfg(feature = "registry")]
mod record_list;
mod report;
mod resolve;
mod rows;
mod spool;
mod step_record;
mod tidy;
mod tree;
mod tree_id;
mod unpack;

pub use crate::digest::{chain_id, chain_ids};
pub(crate) use admit::{Admission, AdmissionLimits, Ready, Source, Walk, check_document, is_image_config};
pub use admit::{Loaded, NamePolicy};
pub(crate) use append::Tee;
pub(crate) use blobs::Blobs;
pub(crate) use changes::Parameters;
#[cfg(feature = "sandbox")]
pub(crate) use checkout::known_contents;
pub use checkout::{CheckedOut, CheckoutOptions, checkout};
pub use clone::{CloneOptions, Cloned, clone};
pub use commit::{CommitOptions, Committed, commit};
pub(crate) use compose::{
    Made, Recipe, Step, StepLayer, compose, creation_time, enter, put_document, record_layer, warn_of_layers,
};
pub use config::{History, ImageConfig, RunConfig, image_id};
pub use contents::{contents, entries};
pub(crate) use contents::{contents_of, keep_list_of_new, tree_of};
pub use derive::{NewConfig, new_config};
pub use diff::{
    Base, DiffOptions, OverlayDiff, TreeDiff, diff_image, diff_overlay, diff_root, diff_roots,
    diff_snapshots, diff_tree, diff_trees, let_in,
};
pub(crate) use edit::squash_layers;
pub use edit::{EditOptions, Edited, Squash, edit};
pub use exclude::excludes;
pub use history::HistoryRow;
pub use index::{new_index, select};
pub use inspect::inspect;
pub use layer::{AppliedLayer, LayerApplyOptions, LayerSource, apply_layer, write_layer};
pub use layer_files::{LayerFiles, LayerTarReader};
pub use manifest::{
    DOCKER_CONFIG, DOCKER_FOREIGN_LAYER, DOCKER_INDEX, DOCKER_LAYER, DOCKER_MANIFEST, EMPTY_CONFIG,
    ManifestOptions, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST,
    is_distributable, layer_compression, new_manifest, to_oci_layer,
};
pub(crate) use notes::{Beside, Noted, Notes, Reading};
pub use open::{Image, Layer};
pub(crate) use packages::{Databases, MAX_DATABASE, MAX_PACKAGES, Package, is_database};
#[cfg(feature = "sandbox")]
pub(crate) use plan::{Found, Plan};
pub use platform::Platform;
pub use read::ImageFiles;
#[cfg(feature = "registry")]
pub(crate) use record_list::{MAX_LIST_MANIFEST, RecordList, list_tag};
pub use report::{
    Count, Report, ReportAdvice, ReportFile, ReportLayer, ReportNode, ReportPackage, ReportStep, WastedFile,
};
pub(crate) use resolve::resolve as resolve_path;
pub(crate) use step_record::{
    CONFIG, DEFAULT_TAG, INLINE, MAX_MANIFEST, StepRecord, record_manifest, record_tag,
};
pub use tidy::{LostTree, TidyOptions, TidyReport, held_by_lost_trees, lost_trees, tidy, unused_names};
pub use tree::{SealedTree, StagedTree, Tree, owners_of, scan_options};
#[cfg(feature = "registry")]
pub(crate) use unpack::{Layers, unpack_from};
pub use unpack::{UnpackOptions, Unpacked, unpack};
