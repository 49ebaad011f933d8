//! How an image is built, and what comes out.

use super::context::{ContextSource, DockerfileSource};
use crate::compress::Profile;
use crate::digest::Digest;
use crate::dockerfile::Warning;
use crate::image::Platform;
use crate::layer::MtimePrecision;

/// How an image is built.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Where the files are.
    pub context: ContextSource,
    /// Where the Dockerfile is.
    pub dockerfile: DockerfileSource,
    /// Further contexts, by name: a directory, or `docker-image://NAME`. They stand before stages and images of that name.
    pub named_contexts: Vec<(String, String)>,
    /// The names of the image.
    pub tags: Vec<String>,
    /// The stage to build, by name or number; the last one by default.
    pub target: Option<String>,
    /// Values of arguments.
    pub build_args: Vec<(String, String)>,
    /// Labels to add.
    pub labels: Vec<(String, String)>,
    /// Annotations of the manifest.
    pub annotations: Vec<(String, String)>,
    /// Carry out every step, whatever the cache has.
    pub no_cache: bool,
    /// Stages whose steps are carried out whatever the cache has.
    pub no_cache_filter: Vec<String>,
    /// The platform to build for; this machine's by default.
    pub platform: Option<Platform>,
    /// How layers are compressed.
    pub profile: Profile,
    /// The time of everything that the build dates, in seconds since 1970, and the latest time in a layer
    /// (`SOURCE_DATE_EPOCH`). `None` for now, and for times as they are.
    pub source_date_epoch: Option<i64>,
    /// Whole seconds (the default, as most tools write) or nanoseconds in layers.
    pub precision: MtimePrecision,
    /// Where base images come from that are not in the store. `None`: nowhere, no socket is opened.
    #[cfg(feature = "registry")]
    pub registries: Option<crate::registry::Registries>,
    /// Ask the registries for newer versions of base images.
    #[cfg(feature = "registry")]
    pub pull: bool,
    /// The helper program of commands; `None` to look for it.
    #[cfg(feature = "sandbox")]
    pub helper: Option<std::path::PathBuf>,
    /// Which checks are skipped, as in the directive `check`; it stands before the directive.
    pub checks: Option<String>,
    /// Threads to use; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct Built {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The size of the manifest, in bytes.
    pub manifest_size: u64,
    /// The image id: the digest of the configuration.
    pub image_id: Digest,
    /// The names the image got, in full.
    pub names: Vec<String>,
    /// How many steps came out of the cache.
    pub cached: u64,
    /// How many steps were carried out.
    pub carried_out: u64,
    /// What the checks found.
    pub warnings: Vec<Warning>,
}

/// A stage that can be built, for `--call=targets`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Target {
    /// Its name; its number where it has none.
    pub name: String,
    /// The comment above it: `# NAME DESCRIPTION`.
    pub description: String,
    /// What it is built from.
    pub base: String,
    /// Whether it is built when none is named.
    pub default: bool,
}

/// What a target takes, for `--call=outline`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outline {
    /// The target's name; its number where it has none.
    pub name: String,
    /// The comment above it: `# NAME DESCRIPTION`.
    pub description: String,
    /// The arguments of the stages it needs.
    pub args: Vec<OutlineArg>,
    /// The ids of the secrets its commands mount.
    pub secrets: Vec<String>,
    /// The ids of the agents its commands mount.
    pub ssh: Vec<String>,
}

/// An argument that a build takes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// The comment above it: `# NAME DESCRIPTION`.
    pub description: String,
    /// Its value in this build; `None` for none.
    pub value: Option<String>,
}
