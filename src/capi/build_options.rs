//! Options of a build.

use std::ffi::c_char;
use std::path::PathBuf;
use std::str::FromStr;

use super::arguments::{Bytes, Text, bad, number, pairs, texts};
use super::git::{runner, treering_git};
use super::layer_options::profile_or_gzip;
use super::registries::{registries_of, treering_registries};
use super::status::{treering_pair, treering_slice};
use super::structures::Options;
use crate::build::{Agent, BuildOptions, ContextSource, DockerfileSource, Provenance, Secret, SecretSource};
use crate::error::{Error, Result};
use crate::image::Platform;
use crate::layer::MtimePrecision;

/// Options of a build from a Dockerfile.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct treering_build_options {
    /// Directory with the files. Empty for none: the Dockerfile alone.
    pub context: treering_slice,
    /// Path of the Dockerfile. Empty for `Dockerfile` in the context. Not with `dockerfile_text`.
    pub dockerfile: treering_slice,
    /// Text of the Dockerfile. Empty for a file.
    pub dockerfile_text: treering_slice,
    /// Further contexts by name: a directory, or `docker-image://NAME`.
    pub build_contexts: *const treering_pair,
    /// Number of `build_contexts`.
    pub build_contexts_len: usize,
    /// Names of the image.
    pub tags: *const *const c_char,
    /// Number of `tags`.
    pub tags_len: usize,
    /// Stage to build, by name or number. NULL for the last one.
    pub target: *const c_char,
    /// Values of arguments (ARG).
    pub build_args: *const treering_pair,
    /// Number of `build_args`.
    pub build_args_len: usize,
    /// Labels to add.
    pub labels: *const treering_pair,
    /// Number of `labels`.
    pub labels_len: usize,
    /// Annotations of the manifest.
    pub annotations: *const treering_pair,
    /// Number of `annotations`.
    pub annotations_len: usize,
    /// Carry out every step, whatever the cache has.
    pub no_cache: bool,
    /// Stages that are carried out whatever the cache has.
    pub no_cache_filter: *const *const c_char,
    /// Number of `no_cache_filter`.
    pub no_cache_filter_len: usize,
    /// Other places where records of steps are looked up, in this order: `REFERENCE` of a registry,
    /// `type=registry,ref=REFERENCE` or `type=local,src=DIRECTORY`.
    pub cache_from: *const *const c_char,
    /// Number of `cache_from`.
    pub cache_from_len: usize,
    /// Places that records of steps are written to once the image has its names: `REFERENCE`,
    /// `type=registry,ref=REFERENCE[,mode=min|max]`, `type=local,dest=DIRECTORY[,mode=min|max]` or `type=inline`.
    pub cache_to: *const *const c_char,
    /// Number of `cache_to`.
    pub cache_to_len: usize,
    /// Platform to build for: `os/arch[/variant]`, several with commas between them. NULL for this machine's.
    pub platform: *const c_char,
    /// Compression of the layers: `none`, `gzip` (also NULL) or `zstd`.
    pub compression: *const c_char,
    /// Level of the compression; 0 for the default one.
    pub level: i32,
    /// Write time stamps with nanoseconds, instead of whole seconds as most tools write.
    pub nanoseconds: bool,
    /// Time of everything that the build dates, and the latest time in a layer: seconds since 1970. NULL for now, and for times
    /// as they are.
    pub source_date_epoch: *const i64,
    /// The registries of base images that are not in the store. NULL for nowhere: no socket is opened then.
    pub registries: *const treering_registries,
    /// Ask the registries for newer versions of base images.
    pub pull: bool,
    /// Program that commands are started with, `treering-init` or `treering`. Empty to look for it in `$TREERING_INIT`, beside the
    /// library, and on PATH.
    pub helper: treering_slice,
    /// Which checks are skipped, as in the directive `# check=`: `skip=RULE,...;error=true`. NULL for what the Dockerfile says.
    pub checks: *const c_char,
    /// Number of threads; 0 for one per processor. The result does not depend on it.
    pub threads: usize,
    /// Address of the files instead of `context`: a tar or a Dockerfile. NULL for none.
    pub context_address: *const c_char,
    /// Make one layer of those of the build.
    pub squash: bool,
    /// The most commands that run at once; 0 for one per processor.
    pub jobs: usize,
    /// Secrets that commands may be shown: id and value. They are in no cache, layer, event or message.
    pub secrets: *const treering_pair,
    /// Number of `secrets`.
    pub secrets_len: usize,
    /// Secrets in files, read when a command needs them: id and path.
    pub secret_files: *const treering_pair,
    /// Number of `secret_files`.
    pub secret_files_len: usize,
    /// Agents that commands may reach: id (`default` for mounts that name none) and the path of the socket.
    pub agents: *const treering_pair,
    /// Number of `agents`.
    pub agents_len: usize,
    /// More lines for the `/etc/hosts` of commands: name and address.
    pub hosts: *const treering_pair,
    /// Number of `hosts`.
    pub hosts_len: usize,
    /// Limits of commands, such as `nofile=1024:4096`.
    pub limits: *const *const c_char,
    /// Number of `limits`.
    pub limits_len: usize,
    /// The most bytes in `/dev/shm` of commands; 0 for 64 MiB.
    pub shm_size: u64,
    /// Attest how the image was built (SLSA provenance): `true`, or fields with commas between them, `mode=min|max`,
    /// `builder-id=URI` and `reproducible=true`. The name stands for an index then. NULL or `false` for not.
    pub provenance: *const c_char,
    /// Attest what is in the image (SPDX).
    pub sbom: bool,
    /// The function that runs git, for repositories as contexts and in ADD.
    pub git: treering_git,
    /// Give commands no network, unless `RUN --network=host` asks for that of the host.
    pub no_network: bool,
}

fn parsed<T: FromStr<Err = Error>>(list: Vec<String>) -> Result<Vec<T>> {
    list.iter().map(|text| text.parse()).collect()
}

fn platforms(text: Option<String>) -> Result<Vec<Platform>> {
    text.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()).map(str::parse).collect()
}

// SAFETY: `repr(C)`, of pointers, numbers, bools and functions that may be NULL.
unsafe impl Options for treering_build_options {
    type Value = BuildOptions;

    unsafe fn read(&self) -> Result<BuildOptions> {
        // SAFETY: the caller's contract.
        unsafe {
            let bytes = |slice: treering_slice| Bytes::new(slice.data, slice.len);
            let path = |slice, argument| Ok(bytes(slice).optional_path(argument)?.map(PathBuf::from));
            let text = bytes(self.dockerfile_text).bytes("dockerfile_text")?;
            let dockerfile = match (path(self.dockerfile, "dockerfile")?, text) {
                (None, []) => DockerfileSource::Default,
                (Some(path), []) => DockerfileSource::Path(path),
                (None, text) => DockerfileSource::Text(text.to_vec()),
                (Some(_), _) => return Err(bad("dockerfile and dockerfile_text exclude each other")),
            };
            let registries =
                (!self.registries.is_null()).then(|| registries_of(self.registries)).transpose()?;
            let directory = path(self.context, "context")?;
            let address = Text::new(self.context_address).owned("context_address")?;
            let context = match (directory, address) {
                (None, None) => ContextSource::Empty,
                (Some(directory), None) => ContextSource::Directory(directory),
                (None, Some(address)) => ContextSource::Address(address),
                (Some(_), Some(_)) => return Err(bad("context and context_address exclude each other")),
            };
            let secret = |(id, source)| Secret { id, source };
            let values = pairs(self.secrets, self.secrets_len, "secrets")?.into_iter();
            let values = values.map(|(id, value)| secret((id, SecretSource::Value(value.into_bytes()))));
            let files = pairs(self.secret_files, self.secret_files_len, "secret_files")?.into_iter();
            let files = files.map(|(id, path)| secret((id, SecretSource::File(path.into()))));
            let agents = pairs(self.agents, self.agents_len, "agents")?.into_iter();
            Ok(BuildOptions {
                context,
                squash: self.squash,
                provenance: match Text::new(self.provenance).owned("provenance")? {
                    Some(text) => Provenance::parse(&text)?,
                    None => None,
                },
                sbom: self.sbom,
                jobs: self.jobs,
                secrets: values.chain(files).collect(),
                agents: agents.map(|(id, socket)| Agent { id, socket: socket.into() }).collect(),
                hosts: pairs(self.hosts, self.hosts_len, "hosts")?,
                limits: parsed(texts(self.limits, self.limits_len, "limits")?)?,
                shm_size: self.shm_size,
                no_network: self.no_network,
                dockerfile,
                named_contexts: pairs(self.build_contexts, self.build_contexts_len, "build_contexts")?,
                tags: texts(self.tags, self.tags_len, "tags")?,
                target: Text::new(self.target).owned("target")?,
                build_args: pairs(self.build_args, self.build_args_len, "build_args")?,
                labels: pairs(self.labels, self.labels_len, "labels")?,
                annotations: pairs(self.annotations, self.annotations_len, "annotations")?,
                no_cache: self.no_cache,
                no_cache_filter: texts(self.no_cache_filter, self.no_cache_filter_len, "no_cache_filter")?,
                cache_from: parsed(texts(self.cache_from, self.cache_from_len, "cache_from")?)?,
                cache_to: parsed(texts(self.cache_to, self.cache_to_len, "cache_to")?)?,
                platforms: platforms(Text::new(self.platform).owned("platform")?)?,
                profile: profile_or_gzip(Text::new(self.compression), self.level)?,
                source_date_epoch: number(self.source_date_epoch, "source_date_epoch")?,
                precision: MtimePrecision::nanoseconds(self.nanoseconds),
                registries,
                git: runner(self.git),
                pull: self.pull,
                helper: path(self.helper, "helper")?,
                checks: Text::new(self.checks).owned("checks")?,
                threads: self.threads,
                ..BuildOptions::default()
            })
        }
    }
}
