//! `treering build`: a Dockerfile becomes an image.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::json;
use treering::build::{
    self, BuildOptions, Built, CacheFrom, CacheTo, ContextSource, DockerfileSource, Provenance,
};
use treering::error::At;
use treering::image::Platform;
use treering::store::descriptor_digest;
use treering::{Control, Error};

use crate::context::Context;
use crate::destination::Destination;
#[cfg(feature = "sandbox")]
use crate::grants;
use crate::options::{Packing, Times, key_value};
use crate::steps::{self, Style};
use crate::ui::Usage;
use crate::{json as print_json, look, output};

const EXAMPLES: &str = "\
Examples:
  treering build -t app:v1 .
  treering build -f docker/Dockerfile --target test --build-arg VERSION=2 .
  treering build -t app:v1 -o type=docker,dest=app.tar .     for docker load
  treering build -o ./out .                                  the files of the last stage
  treering build --check .                                   warnings only
  treering build --cache-to type=local,dest=cache --cache-from type=local,src=cache .
  treering build --provenance=mode=max --sbom -t app:v1 .     with attestations
  treering build --secret id=npm,src=.npmrc .                 for RUN --mount=type=secret,id=npm

Steps that nothing changed for come out of the cache. SOURCE_DATE_EPOCH or --reproducible make two builds equal, wherever they
run. PATH may be the address of a tar, a Dockerfile or a git repository (URL#REF:DIR).";

/// The use that is made of the Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Call {
    /// Build it
    Build,
    /// Check it
    Check,
    /// Show what the target takes
    Outline,
    /// Show the stages
    Targets,
}

/// The value of `--provenance`; `false` is nothing.
#[derive(Debug, Clone)]
struct Asked(Option<Provenance>);

fn asked(text: &str) -> Result<Asked, Error> {
    Provenance::parse(text).map(Asked)
}

/// Build an image from a Dockerfile
///
/// Prints the image id. COPY, ADD and what changes the configuration need no unpacked tree; nothing needs privileges.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Build {
    /// The directory with the files; - for a tar or a Dockerfile on standard input; the address of a git repository
    /// (URL#REF:DIR), a tar or a Dockerfile
    #[arg(value_name = "PATH", default_value = ".", hide_default_value = true)]
    context: PathBuf,

    /// A name for the image; may be repeated
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    tags: Vec<String>,

    /// The Dockerfile [default: PATH/Dockerfile]; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// The stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// The value of an ARG; without =VALUE that of the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,

    /// A further context: a directory, docker-image://NAME, oci-layout://DIR or an address
    #[arg(long = "build-context", value_name = "NAME=VALUE", value_parser = key_value)]
    build_contexts: Vec<(String, String)>,

    /// A label of the image
    #[arg(long = "label", value_name = "KEY[=VALUE]")]
    labels: Vec<String>,

    /// An annotation of the manifest
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_value)]
    annotations: Vec<(String, String)>,

    /// Carry out every step, whatever the cache has
    #[arg(long)]
    no_cache: bool,

    /// Carry out the steps of this stage, whatever the cache has
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,

    /// Also look up steps that were carried out elsewhere: NAME[:TAG], or type=registry,ref=NAME[:TAG] or
    /// type=local,src=DIR; may be repeated
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<CacheFrom>,

    /// Write records of steps: type=registry,ref=NAME[:TAG][,mode=max], type=local,dest=DIR[,mode=max] or type=inline
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<CacheTo>,

    /// The platforms to build for, with commas between them: one image for all of them [default: this machine's]
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    platforms: Vec<Platform>,

    /// Make one layer of those of the build
    #[arg(long)]
    squash: bool,

    /// Attest how the image was built: true, false, or mode=min|max and builder-id=URI with a comma between them
    #[arg(long, value_name = "MODE", value_parser = asked, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    provenance: Option<Asked>,

    /// Attest what is in the image
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sbom: Option<bool>,

    /// The most commands that run at once, of stages that do not need each other [default: one per processor]
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    jobs: usize,

    /// Write the result here instead of into the store: DIR, - for a tar, or type=local|tar|oci|docker|image,dest=PATH
    #[arg(short, long, value_name = "DEST")]
    output: Option<String>,

    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,

    /// Write digests and names to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,

    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Style::Auto, hide_default_value = true)]
    progress: Style,

    /// Ask the registries for newer versions of base images
    #[cfg(feature = "registry")]
    #[arg(long, conflicts_with = "offline")]
    pull: bool,

    /// Use the base images of the store only
    #[cfg(feature = "registry")]
    #[arg(long)]
    offline: bool,

    /// A secret for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=NAME
    #[cfg(feature = "sandbox")]
    #[arg(long = "secret", value_name = "SECRET", value_parser = grants::secret)]
    secrets: Vec<treering::build::Secret>,

    /// An agent for RUN --mount=type=ssh: default, or ID=SOCKET
    #[cfg(feature = "sandbox")]
    #[arg(long = "ssh", value_name = "ID[=SOCKET]", value_parser = grants::agent)]
    agents: Vec<treering::build::Agent>,

    /// A line for the /etc/hosts of commands
    #[cfg(feature = "sandbox")]
    #[arg(long = "add-host", value_name = "NAME:ADDRESS", value_parser = grants::host)]
    hosts: Vec<(String, String)>,

    /// The size of /dev/shm [default: 64m]
    #[cfg(feature = "sandbox")]
    #[arg(long, value_name = "BYTES", value_parser = grants::size)]
    shm_size: Option<u64>,

    /// A limit for commands, such as nofile=1024:4096
    #[cfg(feature = "sandbox")]
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    limits: Vec<treering::sandbox::Limit>,

    /// The only way to run commands [default: the best that works]
    #[cfg(feature = "sandbox")]
    #[arg(long, value_name = "RUNG")]
    rung: Option<treering::sandbox::Rung>,

    /// Check the Dockerfile, and build nothing
    #[arg(long, conflicts_with = "call")]
    check: bool,

    /// Action
    #[arg(long, value_enum, default_value_t = Call::Build, hide_default_value = true)]
    call: Call,

    #[command(flatten)]
    packing: Packing,

    #[command(flatten)]
    times: Times,

    /// Accepted: images always go into the store
    #[arg(long, hide = true)]
    load: bool,

    /// Accepted: there are no containers to remove
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    rm: Option<bool>,

    /// Accepted: there are no containers to remove
    #[arg(long, hide = true)]
    force_rm: bool,
}

impl Build {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let destination = self.output.as_deref().map(Destination::parse).transpose()?;
        let mut options = self.options(context)?;
        let store = context.store()?;
        let control = crate::interrupt::control();
        match if self.check { Call::Check } else { self.call } {
            Call::Build => {}
            Call::Check => return look::check(context, &store, &options, &control),
            Call::Outline => return look::outline(context, &store, &options, &control),
            Call::Targets => return look::targets(context, &store, &options, &control),
        }
        let kept = destination.is_none() || !options.tags.is_empty();
        let before: Vec<_> = store.entries()?.iter().map(|entry| entry.descriptor.clone()).collect();
        let names = std::mem::take(&mut options.tags);
        if kept {
            options.tags.clone_from(&names);
        }
        let control = Control { events: steps::events(self.progress, context.quiet), ..control };
        let built = build::build(&store, &options, &control)?;
        if let Some(destination) = &destination {
            let written = destination.write(&store, &built, &control);
            let was_there = before.iter().any(|known| descriptor_digest(known).ok() == Some(built.manifest));
            if !kept && !was_there {
                store.remove(&built.manifest)?;
            }
            written?;
        }
        if let Some(path) = &self.iidfile {
            write_file(path, built.image_id.to_string().as_bytes())?;
        }
        if let Some(path) = &self.metadata_file {
            let media_type = match built.images.iter().any(|image| image.manifest == built.manifest) {
                true => "application/vnd.oci.image.manifest.v1+json",
                false => "application/vnd.oci.image.index.v1+json",
            };
            let metadata = json!({
                "containerimage.config.digest": built.image_id.to_string(),
                "containerimage.descriptor": {
                    "mediaType": media_type,
                    "digest": built.manifest.to_string(), "size": built.manifest_size,
                },
                "containerimage.digest": built.manifest.to_string(),
                "image.name": built.names.join(","),
            });
            write_file(path, serde_json::to_string_pretty(&metadata)?.as_bytes())?;
        }
        self.report(context, destination.as_ref(), &built)
    }

    fn report(
        &self,
        context: &Context,
        destination: Option<&Destination>,
        built: &Built,
    ) -> anyhow::Result<ExitCode> {
        // Data on standard output is not to be mixed with the id.
        if destination.is_some_and(|destination| destination.path.as_deref() == Some(Path::new("-"))) {
            return Ok(ExitCode::SUCCESS);
        }
        if context.json {
            output::data(|out| {
                print_json::document(
                    out,
                    &json!({
                        "image_id": built.image_id.to_string(), "manifest": built.manifest.to_string(),
                        "names": built.names, "cached": built.cached, "carried_out": built.carried_out,
                        "warnings": built.warnings.len(),
                    }),
                )
            })?;
        } else {
            output::lines([built.image_id.to_string()])?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self, context: &Context) -> anyhow::Result<BuildOptions> {
        let stdin = || -> Result<Arc<File>, Error> {
            let fd = std::io::stdin().as_fd().try_clone_to_owned().at("read file", "standard input")?;
            Ok(Arc::new(File::from(fd)))
        };
        let dash = Path::new("-");
        let from_stdin = self.context == dash;
        if from_stdin && self.file.as_deref() == Some(dash) {
            return Err(Usage::new("standard input is either the context or the Dockerfile").into());
        }
        let address = self.context.to_str().filter(|text| {
            ["http://", "https://", "git://", "ssh://", "git@", "github.com/"]
                .iter()
                .any(|begin| text.starts_with(begin))
                && !self.context.is_dir()
        });
        let pairs = |texts: &[String]| -> Vec<(String, String)> {
            let pair = |text: &String| {
                text.split_once('=').map_or((text.clone(), String::new()), |(k, v)| (k.into(), v.into()))
            };
            texts.iter().map(pair).collect()
        };
        let build_args = self.build_args.iter().filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some((name.to_string(), value.to_string())),
            None => std::env::var(text).ok().map(|value| (text.clone(), value)),
        });
        Ok(BuildOptions {
            context: match address {
                Some(address) => ContextSource::Address(address.into()),
                None if from_stdin => ContextSource::Stream(stdin()?),
                None => ContextSource::Directory(self.context.clone()),
            },
            dockerfile: match &self.file {
                Some(file) if file == dash => DockerfileSource::Stream(stdin()?),
                Some(file) => DockerfileSource::Path(file.clone()),
                None => DockerfileSource::Default,
            },
            named_contexts: self.build_contexts.clone(),
            tags: self.tags.clone(),
            target: self.target.clone(),
            build_args: build_args.collect(),
            labels: pairs(&self.labels),
            annotations: self.annotations.clone(),
            no_cache: self.no_cache,
            no_cache_filter: self.no_cache_filter.clone(),
            cache_from: self.cache_from.clone(),
            cache_to: self.cache_to.clone(),
            platforms: self.platforms.clone(),
            squash: self.squash,
            provenance: self.provenance.clone().and_then(|asked| asked.0),
            sbom: self.sbom.unwrap_or(false),
            profile: self.packing.profile()?,
            source_date_epoch: self.times.fixed()?,
            precision: self.times.layer()?.precision,
            #[cfg(feature = "registry")]
            registries: if self.offline { None } else { Some(crate::registries::from_env()?) },
            #[cfg(feature = "registry")]
            pull: self.pull,
            #[cfg(feature = "sandbox")]
            helper: crate::interrupt::own_program(),
            #[cfg(feature = "sandbox")]
            secrets: self.secrets.clone(),
            #[cfg(feature = "sandbox")]
            agents: self.agents.clone(),
            #[cfg(feature = "sandbox")]
            hosts: self.hosts.clone(),
            #[cfg(feature = "sandbox")]
            shm_size: self.shm_size.unwrap_or(0),
            #[cfg(feature = "sandbox")]
            limits: self.limits.clone(),
            #[cfg(feature = "sandbox")]
            rung: self.rung,
            #[cfg(feature = "cli")]
            git: Some(crate::git::runner()),
            #[cfg(not(feature = "cli"))]
            git: None,
            checks: None,
            jobs: self.jobs,
            threads: context.threads,
        })
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    output::stream(Some(path), |out| {
        Ok(out.write_all(bytes).at("write file", path.as_os_str().as_encoded_bytes())?)
    })
}
