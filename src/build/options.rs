//! How an image is built, and what comes out.

use std::ffi::OsString;
use std::sync::Arc;

use super::context::{ContextSource, DockerfileSource};
use super::provenance::Provenance;
use super::share::{CacheFrom, CacheTo};
use crate::compress::Profile;
use crate::digest::Digest;
use crate::dockerfile::Warning;
use crate::error::{Location, Result};
use crate::image::Platform;
use crate::layer::MtimePrecision;
use crate::progress::Cancel;

/// Options of a build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The source of the files.
    pub context: ContextSource,
    /// The source of the Dockerfile.
    pub dockerfile: DockerfileSource,
    /// Further contexts, by name: a directory, an address, `docker-image://NAME` or `oci-layout://DIR`. They stand before stages and images of that name.
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
    /// Whether every step is carried out, whatever the cache has.
    pub no_cache: bool,
    /// Stages that are carried out whatever the cache has.
    pub no_cache_filter: Vec<String>,
    /// Other places where records of steps are looked up, in this order.
    pub cache_from: Vec<CacheFrom>,
    /// Places that records of steps are written to once the image has its names.
    pub cache_to: Vec<CacheTo>,
    /// The platforms to build for; this machine's by default. Several make one image for all of them.
    pub platforms: Vec<Platform>,
    /// Whether one layer is made of those of the build.
    pub squash: bool,
    /// How to attest the way the image was built (SLSA provenance); `None` for nothing. The name stands for an index then, of the image and what is attested of it.
    pub provenance: Option<Provenance>,
    /// Whether to attest what is in the image (SPDX).
    pub sbom: bool,
    /// How layers are compressed.
    pub profile: Profile,
    /// The time of everything that the build dates, in seconds since 1970, and the latest time in a layer
    /// (`SOURCE_DATE_EPOCH`). `None` for now, and for times as they are.
    pub source_date_epoch: Option<i64>,
    /// Whole seconds (the default, as most tools write) or nanoseconds in layers.
    pub precision: MtimePrecision,
    /// The registries of base images that are not in the store. `None`: nowhere, no socket is opened.
    #[cfg(feature = "registry")]
    pub registries: Option<crate::registry::Registries>,
    /// Whether to ask the registries for newer versions of base images.
    #[cfg(feature = "registry")]
    pub pull: bool,
    /// The function that runs git, for repositories as contexts and in ADD. `None`: they are refused.
    pub git: Option<Git>,
    /// The helper program of commands; `None` to look for it.
    #[cfg(feature = "sandbox")]
    pub helper: Option<std::path::PathBuf>,
    /// The secrets that `RUN --mount=type=secret` may show.
    #[cfg(feature = "sandbox")]
    pub secrets: Vec<Secret>,
    /// The agents that `RUN --mount=type=ssh` may reach.
    #[cfg(feature = "sandbox")]
    pub agents: Vec<Agent>,
    /// More lines for the `/etc/hosts` of commands: name and address.
    #[cfg(feature = "sandbox")]
    pub hosts: Vec<(String, String)>,
    /// The most bytes in `/dev/shm` of commands; 0 for 64 MiB.
    #[cfg(feature = "sandbox")]
    pub shm_size: u64,
    /// Limits of what a command may use.
    #[cfg(feature = "sandbox")]
    pub limits: Vec<crate::sandbox::Limit>,
    /// Whether commands have no network, unless `RUN --network=host` asks for that of the host.
    #[cfg(feature = "sandbox")]
    pub no_network: bool,
    /// The only way to run commands; `None` for the best that works.
    #[cfg(feature = "sandbox")]
    pub rung: Option<crate::sandbox::Rung>,
    /// Which checks are skipped, as in the directive `check`; it stands before the build argument `BUILDKIT_DOCKERFILE_CHECK`, and
    /// that before the directive.
    pub checks: Option<String>,
    /// The most commands that run at once, each in a stage of its own; 0 for one per processor.
    pub jobs: usize,
    /// Threads to use; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
}

impl BuildOptions {
    /// Returns the value that was given for a build argument: the last one.
    pub(super) fn build_arg(&self, name: &str) -> Option<String> {
        let found = self.build_args.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }

    /// Returns whether a build argument switches something on.
    pub(super) fn switch(&self, name: &str) -> bool {
        self.build_arg(name).and_then(|value| switched(&value)) == Some(true)
    }
}

/// Returns what the value of a switch says, as BuildKit reads it; `None` where it says neither.
pub(super) fn switched(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A call of git.
#[derive(Debug, Clone, Copy)]
pub struct GitCall<'a> {
    /// The working directory.
    pub directory: &'a std::path::Path,
    /// Its arguments.
    pub arguments: &'a [OsString],
    /// Its environment, besides `PATH`, proxies and certificates: nothing else of the caller's. May hold a secret.
    pub environment: &'a [(OsString, OsString)],
    /// Ends it.
    pub cancel: &'a Cancel,
}

/// The answer of git.
#[derive(Debug, Clone, Default)]
pub struct GitAnswer {
    /// Whether it exited with 0.
    pub success: bool,
    /// Bytes that git wrote to standard output.
    pub output: Vec<u8>,
    /// Bytes that git wrote to standard error.
    pub errors: Vec<u8>,
}

/// A function that runs git and waits for it. The library itself starts no git: the command has such a function, and a caller of the library may give
/// one.
pub type GitRunner = Arc<dyn Fn(&GitCall<'_>) -> Result<GitAnswer> + Send + Sync>;

/// A function that runs git.
#[derive(Clone)]
pub struct Git(pub GitRunner);

impl std::fmt::Debug for Git {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Git(…)")
    }
}

/// A secret that commands may be shown. Its value is in no cache, layer, event or message.
#[cfg(feature = "sandbox")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The id that mounts refer to it by.
    pub id: String,
    /// The source of its value.
    pub source: SecretSource,
}

/// The source of the value of a secret, of at most 500 KiB. It is read when a command needs it.
#[cfg(feature = "sandbox")]
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(std::path::PathBuf),
    /// In a variable of this process's environment.
    Variable(String),
    /// Here.
    Value(Vec<u8>),
}

#[cfg(feature = "sandbox")]
impl std::fmt::Debug for SecretSource {
    /// Shows where it is, and never the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretSource::File(path) => f.debug_tuple("File").field(path).finish(),
            SecretSource::Variable(name) => f.debug_tuple("Variable").field(name).finish(),
            SecretSource::Value(value) => write!(f, "Value({} bytes)", value.len()),
        }
    }
}

/// An agent that commands may reach.
#[cfg(feature = "sandbox")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The id that mounts refer to it by; `default` is the one of those that name none.
    pub id: String,
    /// The socket it listens on.
    pub socket: std::path::PathBuf,
}

/// The result of a build.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Built {
    /// The digest of the manifest; of the index where the image is for several platforms.
    pub manifest: Digest,
    /// The size of the manifest or index, in bytes.
    pub manifest_size: u64,
    /// The image id: the digest of the configuration (of several platforms, this machine's, else the first's).
    pub image_id: Digest,
    /// The image for each platform, in the order that was asked for.
    pub images: Vec<BuiltImage>,
    /// The names the image got, in full.
    pub names: Vec<String>,
    /// How many steps came out of the cache.
    pub cached: u64,
    /// How many steps were carried out.
    pub carried_out: u64,
    /// The findings of the checks.
    pub warnings: Vec<Warning>,
}

/// The image that a build made for one platform.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct BuiltImage {
    /// The platform that it is for.
    pub platform: Platform,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The digest of its configuration.
    pub image_id: Digest,
}

/// A stage that can be built, for `--call=targets`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Target {
    /// Its name; its number where it has none.
    pub name: String,
    /// The comment above it: `# NAME DESCRIPTION`.
    pub description: String,
    /// The base that it is built from.
    pub base: String,
    /// Whether it is built when none is named.
    pub default: bool,
}

/// The arguments, secrets and sockets that a target takes, for `--call=outline`. Each list is in the order of lines.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outline {
    /// The target's name; its number where it has none.
    pub name: String,
    /// The comment above it: `# NAME DESCRIPTION`.
    pub description: String,
    /// The arguments of the stages it needs. One before the first stage is among them if such a stage uses it.
    pub args: Vec<OutlineArg>,
    /// The secrets its commands mount.
    pub secrets: Vec<OutlineMount>,
    /// The agents its commands mount.
    pub ssh: Vec<OutlineMount>,
}

/// An argument that a build takes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// The comment above it: `# NAME DESCRIPTION`.
    pub description: String,
    /// Its value in this build, with variables replaced; `None` for none.
    pub value: Option<String>,
    /// The place of its ARG.
    pub location: Location,
}

/// A secret or an agent that commands of a build mount.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OutlineMount {
    /// The id that it is given by, with variables replaced.
    pub id: String,
    /// Whether a command fails without it.
    pub required: bool,
    /// The place of the first command that mounts it.
    pub location: Location,
}
