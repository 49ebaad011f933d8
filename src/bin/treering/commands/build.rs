//! `treering build`: a Dockerfile becomes an image.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use treering::build::{
    self, BuildOptions, Built, CacheFrom, CacheTo, ContextSource, DockerfileSource, Provenance,
};
use treering::error::At;
use treering::image::Platform;
#[cfg(feature = "registry")]
use treering::store::Store;
use treering::store::descriptor_digest;
use treering::{Control, Error};

use crate::context::Context;
use crate::destination::Destination;
use crate::docker::Docker;
#[cfg(feature = "sandbox")]
use crate::grants;
use crate::look::Call;
use crate::options::{Packing, Times, boolean, key_value};
use crate::steps::{self, Style};
use crate::ui::Usage;
use crate::{json as print_json, output, text};

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

/// Reads a platform; `local` is this machine's.
fn platform(text: &str) -> Result<Platform, Error> {
    if text == "local" { Ok(Platform::host()) } else { text.parse() }
}

/// The value of `--provenance`; `false` is nothing.
#[derive(Debug, Clone)]
struct Asked(Option<Provenance>);

fn asked(text: &str) -> Result<Asked, Error> {
    Provenance::parse(text).map(Asked)
}

/// An attestation that `--attest` asks for, or says is not to be.
#[derive(Debug, Clone)]
enum Attestation {
    Provenance(Asked),
    Sbom(bool),
}

/// Reads `type=provenance` or `type=sbom`, with fields behind it.
fn attestation(text: &str) -> Result<Attestation, Error> {
    let (mut kind, mut disabled, mut rest) = ("", false, Vec::new());
    for field in text.split(',') {
        match field.split_once('=').unwrap_or((field, "")) {
            ("type", value) => kind = value,
            ("disabled", "" | "true" | "1") => disabled = true,
            ("disabled", "false" | "0") => {}
            _ => rest.push(field),
        }
    }
    let rest = rest.join(",");
    match (kind, rest.as_str()) {
        ("provenance", _) if disabled => Ok(Attestation::Provenance(Asked(None))),
        ("provenance", rest) => asked(rest).map(Attestation::Provenance),
        ("sbom", "") => Ok(Attestation::Sbom(!disabled)),
        ("sbom", _) => Err(Error::invalid(
            "read attestation",
            format!("sbom has no field {rest:?}: no generator is run"),
        )),
        _ => Err(Error::invalid("read attestation", "the type is provenance or sbom")),
    }
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

    /// An annotation of the manifest, or of the documents before a colon, as in index,manifest:KEY=VALUE
    #[arg(long = "annotation", value_name = "[DOCUMENT:]KEY=VALUE", value_parser = key_value)]
    annotations: Vec<(String, String)>,

    /// Carry out every step, whatever the cache has
    #[arg(long, value_name = "BOOL", value_parser = boolean, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    no_cache: Option<bool>,

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

    /// The platforms to build for, with commas between them: one image for all of them [default: local, this machine's]
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',', value_parser = platform)]
    platforms: Vec<Platform>,

    /// Make one layer of those of the build
    #[arg(long, value_name = "BOOL", value_parser = boolean, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    squash: Option<bool>,

    /// Attest how the image was built: true, false, or mode=min|max and builder-id=URI with a comma between them
    #[arg(long, value_name = "MODE", value_parser = asked, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    provenance: Option<Asked>,

    /// Attest what is in the image
    #[arg(long, value_name = "BOOL", value_parser = boolean, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sbom: Option<bool>,

    /// The same, as type=provenance[,mode=min|max] or type=sbom
    #[arg(long = "attest", value_name = "ATTESTATION", value_parser = attestation)]
    attestations: Vec<Attestation>,

    /// The most commands that run at once, of stages that do not need each other [default: one per processor]
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    jobs: usize,

    /// Write the result here instead of into the store: DIR, - for a tar, or type=local|tar|oci|docker|image|registry,dest=PATH;
    /// with tar=false, oci and docker are an image layout in a directory; type=cacheonly for nothing; may be repeated
    #[arg(short, long = "output", value_name = "DEST")]
    outputs: Vec<String>,

    /// Send the image to the registry of its names
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "BOOL", value_parser = boolean, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    push: Option<bool>,

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
    #[arg(long, value_name = "BOOL", value_parser = boolean, num_args = 0..=1, default_missing_value = "true", require_equals = true, conflicts_with = "offline")]
    pull: Option<bool>,

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

    /// The network of commands that ask for none in particular: default, host or none
    #[cfg(feature = "sandbox")]
    #[arg(long, value_name = "NETWORK", value_parser = grants::no_network)]
    network: Option<bool>,

    /// The only way to run commands [default: the best that works]
    #[cfg(feature = "sandbox")]
    #[arg(long, value_name = "RUNG")]
    rung: Option<treering::sandbox::Rung>,

    /// Check the Dockerfile, and build nothing
    #[arg(long, value_name = "BOOL", value_parser = boolean, num_args = 0..=1, default_missing_value = "true", require_equals = true, conflicts_with = "call")]
    check: Option<bool>,

    /// The use of the Dockerfile: build (the default), check, outline (what the target takes) or targets; with ,format=json as JSON
    #[arg(long, value_name = "METHOD", value_parser = Call::parse)]
    call: Option<Call>,

    #[command(flatten)]
    packing: Packing,

    #[command(flatten)]
    times: Times,

    #[command(flatten)]
    docker: Docker,
}

impl Build {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        self.docker.check(&context.ui)?;
        let destinations: Vec<Destination> =
            self.outputs.iter().map(|text| Destination::parse(text)).collect::<Result<_, _>>()?;
        if destinations.iter().filter(|it| it.is_standard_output()).count() > 1 {
            return Err(Usage::new("standard output takes one result")
                .with_hint("give the others a dest")
                .into());
        }
        let mut options = self.options(context, &destinations)?;
        let pushes = self.pushes(&destinations);
        if pushes && cfg!(not(feature = "registry")) {
            return Err(Usage::new("this build of treering reaches no registries").into());
        }
        if pushes && options.tags.is_empty() {
            return Err(Usage::new("what is pushed needs a name")
                .with_hint("as in -t registry.example/app:v1")
                .into());
        }
        let store = context.store()?;
        let events = steps::events(self.progress, context.quiet);
        let control = Control { events, ..crate::interrupt::control() };
        let call = if self.check == Some(true) { Call::check() } else { self.call.unwrap_or_default() };
        if let Some(done) = call.look(context, &store, &options, &control) {
            return done;
        }
        let stays = destinations.is_empty() || destinations.iter().any(Destination::is_store);
        let kept = stays || !options.tags.is_empty();
        let before: Vec<_> = store.entries()?.iter().map(|entry| entry.descriptor.clone()).collect();
        options.tags.dedup();
        let built = build::build(&store, &options, &control)?;
        let written: anyhow::Result<Vec<u64>> =
            destinations.iter().map(|destination| destination.write(&store, &built, &control)).collect();
        let was_there = before.iter().any(|known| descriptor_digest(known).ok() == Some(built.manifest));
        if !kept && !was_there {
            store.remove(&built.manifest)?;
        }
        let unkept: u64 = written?.iter().sum();
        if unkept > 0 {
            let entries = text::plural(unkept, "entry", "entries");
            context
                .ui
                .warn(format!("owners or attributes of {entries} are lost: the disk does not take them"));
        }
        #[cfg(feature = "registry")]
        if pushes {
            self.push_names(context, &store, &built)?;
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
        // Data on standard output is not to be mixed with the id.
        match destinations.iter().any(Destination::is_standard_output) {
            true => Ok(ExitCode::SUCCESS),
            false => self.report(context, &built),
        }
    }

    /// Returns whether the image goes to a registry.
    fn pushes(&self, destinations: &[Destination]) -> bool {
        #[cfg(feature = "registry")]
        let asked = self.push == Some(true);
        #[cfg(not(feature = "registry"))]
        let asked = false;
        asked || destinations.iter().any(|destination| destination.push)
    }

    /// Sends the image to the registry of each of its names. What that says goes to standard error, as progress does.
    #[cfg(feature = "registry")]
    fn push_names(&self, context: &Context, store: &Store, built: &Built) -> anyhow::Result<()> {
        use treering::registry::{PushOptions, push};
        let registries = crate::registries::from_env()?;
        for name in &built.names {
            let (control, _progress) = context.transfers("pushing", crate::interrupt::control());
            let pushed = push(store, &registries, name, name, &PushOptions::default(), &control)?;
            drop(_progress);
            context.ui.note(format!("pushed {}@{}", pushed.name, pushed.digest));
        }
        Ok(())
    }

    fn report(&self, context: &Context, built: &Built) -> anyhow::Result<ExitCode> {
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

    fn options(&self, context: &Context, destinations: &[Destination]) -> anyhow::Result<BuildOptions> {
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
        let (mut provenance, mut sbom) = (None, false);
        for attestation in &self.attestations {
            match attestation {
                Attestation::Provenance(asked) => provenance.clone_from(&asked.0),
                Attestation::Sbom(asked) => sbom = *asked,
            }
        }
        let mut platforms: Vec<Platform> = Vec::new();
        for platform in &self.platforms {
            if !platforms.contains(platform) {
                platforms.push(platform.clone());
            }
        }
        let compression = destinations.iter().rev().find_map(|it| it.compression.as_deref());
        let level = destinations.iter().rev().find_map(|it| it.level);
        let names = destinations.iter().flat_map(|it| it.names.iter().cloned());
        let annotations = destinations.iter().flat_map(|it| it.annotations.iter().cloned());
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
            tags: self.tags.iter().cloned().chain(names).collect(),
            target: self.target.clone(),
            build_args: build_args.collect(),
            labels: pairs(&self.labels),
            annotations: self.annotations.iter().cloned().chain(annotations).collect(),
            no_cache: self.no_cache == Some(true),
            no_cache_filter: self.no_cache_filter.clone(),
            cache_from: self.cache_from.clone(),
            cache_to: self.cache_to.clone(),
            platforms,
            squash: self.squash == Some(true),
            provenance: self.provenance.clone().map_or(provenance, |asked| asked.0),
            sbom: self.sbom.unwrap_or(sbom),
            profile: self.packing.profile_or(compression, level)?,
            source_date_epoch: self.times.fixed()?,
            precision: self.times.layer()?.precision,
            #[cfg(feature = "registry")]
            registries: if self.offline { None } else { Some(crate::registries::from_env()?) },
            #[cfg(feature = "registry")]
            pull: self.pull == Some(true),
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
            no_network: self.network == Some(true),
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
