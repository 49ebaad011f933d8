//! Images: configuration, manifest, index, platform, history.
//!
//! An image is read with [`Image::open`] and made from three pieces: [`new_config`], [`new_manifest`] and the blobs of
//! its layers. Documents are kept as they were read, unknown members included; what is made new is deterministic.

pub mod binding;
mod changes;
pub mod commit;
mod config;
pub mod contents;
mod derive;
pub mod difference;
mod history;
mod index;
mod info;
mod inspect;
mod manifest;
mod open;
mod platform;
mod tidy;
pub mod unpack;
mod whose;
mod words;

pub use changes::{Change, CommandLine, HealthTest, apply_changes, parse_changes};
pub use commit::{CommitOptions, Committed, commit};
pub use config::{History, ImageConfig, RunConfig, chain_id, chain_ids, image_id};
pub use derive::{NewConfig, new_config};
pub use difference::{
    Base, DiffOptions, TreeDiff, diff_image, diff_overlay, diff_snapshots, diff_tree, diff_trees,
};
pub use history::HistoryRow;
pub use index::{new_index, select};
pub use info::info;
pub use inspect::inspect;
pub use manifest::{
    DOCKER_CONFIG, DOCKER_FOREIGN_LAYER, DOCKER_INDEX, DOCKER_LAYER, DOCKER_MANIFEST, EMPTY_CONFIG,
    LayerCompression, ManifestOptions, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD,
    OCI_MANIFEST, is_distributable, layer_compression, layer_media_type, new_manifest, to_oci_layer,
};
pub use open::{Image, Layer};
pub use platform::Platform;
pub use tidy::{LostTree, TidyOptions, TidyReport, held_by_lost_trees, lost_trees, tidy, unused_names};
pub use unpack::{UnpackOptions, Unpacked, unpack};
pub use whose::Whose;
