//! Archives: save and load, import and export.
//!
//! [`save`] and [`load`] move whole images between stores, Docker and other tools; [`import`] and [`export`] move plain
//! filesystem trees. All four stream: nothing is unpacked, and nothing is kept in memory but small documents.
//!
//! # What an archive may look like
//!
//! | shape | written by | read | written |
//! | --- | --- | --- | --- |
//! | OCI image layout as a tar | skopeo, podman, buildx, crane, treering | yes | [`Format::OciArchive`] |
//! | the same with `manifest.json` beside it | Docker since 25, treering | yes | [`Format::DockerArchive`] |
//! | `manifest.json`, a configuration, `ID/layer.tar` | Docker 1.10 to 24, podman, skopeo, kaniko, Nix | yes | no |
//! | `repositories`, `ID/json`, `ID/layer.tar` | Docker before 1.10 | yes | no |
//!
//! Paths in an archive are names in a table, never paths on this machine; whatever an archive says about digests, sizes and
//! DiffIDs is compared with its bytes before any name is given.

mod copy;
mod copy_in;
mod directory;
mod docker;
mod export;
mod import;
mod intake;
mod legacy;
mod load;
mod members;
mod names;
mod oci;
mod save;
mod tarout;
mod tree_files;

pub use crate::image::{Loaded, NamePolicy};
pub use copy::{CopiedOut, copy_directory, copy_file, copy_out, copy_tar};
#[cfg(feature = "sandbox")]
pub(crate) use copy::{Entries, each_entry};
#[cfg(feature = "sandbox")]
pub(crate) use copy_in::no_whiteouts;
pub use copy_in::{CopyTarget, copy_in};
pub use directory::open_layout;
pub use export::{ExportOptions, ExportSource, export};
pub use import::{ImportOptions, import};
pub use load::{LoadOptions, load};
pub use save::{Format, SaveOptions, save};
pub use tree_files::{CopySource, Sink, TreeFiles};

/// The operation that errors of reading name.
const LOAD: &str = "load archive";
/// The operation that errors of writing name.
const SAVE: &str = "save image";
/// The annotation containerd and Docker keep an image's whole name in.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The marker file of an image layout (image-spec, image-layout.md, "oci-layout file").
const LAYOUT_FILE: &str = "oci-layout";
/// The entry point of an image layout.
const INDEX_FILE: &str = "index.json";
/// The entry point of Docker's archives.
const MANIFEST_FILE: &str = "manifest.json";
/// The entry point of Docker's archives before 1.10.
const REPOSITORIES_FILE: &str = "repositories";
/// The directory of blobs in an image layout.
const BLOBS: &str = "blobs/sha256";

/// Returns the path of a blob in an image layout.
fn blob_path(digest: &crate::digest::Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}
