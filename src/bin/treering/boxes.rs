//! Containers as operands: where a verb takes a directory, the name of a container stands for its tree.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use treering::container::{
    Attached, Attachment, Container, CreateOptions, DetachKeys, Settings, Tmpfs, Volume,
};
use treering::image::{Image, Platform};
use treering::sandbox::{Rung, WindowSize};
use treering::store::Store;
use treering::{Control, ErrorKind, Result};

use crate::context::Context;
use crate::options::key_value;
use crate::terminal::{Raw, terminal_size};
use crate::{interrupt, ui};

/// Returns the container that an operand names, unless there is a directory of that name.
pub fn named(context: &Context, operand: &Path) -> Result<Option<Container>> {
    if operand.is_dir() {
        return Ok(None);
    }
    let (Some(text), Some(store)) = (operand.to_str(), context.store_if_any()?) else { return Ok(None) };
    Container::find(&store, text)
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pull {
    /// Whenever a container is made.
    Always,
    /// When the store does not have it.
    #[default]
    Missing,
    /// Never.
    Never,
}

/// The directory or volume that `-v` names.
#[derive(Debug, Clone)]
pub enum Shown {
    /// A file or directory of the host.
    Host(Volume),
    /// A directory of the container.
    Own(String),
}

impl Shown {
    fn of(text: &str) -> Result<Shown> {
        match text.starts_with('/') && !text.contains(':') {
            true => Ok(Shown::Own(text.into())),
            false => text.parse().map(Shown::Host),
        }
    }

    fn anonymous(&self) -> Option<String> {
        match self {
            Shown::Own(target) => Some(target.clone()),
            Shown::Host(_) => None,
        }
    }
}

/// The options of `create`, which `run` has too.
#[derive(Debug, Args)]
pub struct Making {
    /// The name of the container [default: made up]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// An environment variable; a name alone takes this process's value
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub environment: Vec<String>,

    /// A file of variables, one per line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Working directory of the command
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// User to run the command as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,

    /// Mount a file or directory of the host at PATH; PATH alone is a directory of the container that commits leave out
    #[arg(short, long = "volume", value_name = "HOST:PATH[:ro]|PATH", value_parser = Shown::of)]
    pub volumes: Vec<Shown>,

    /// A filesystem in memory in the command's tree
    #[arg(long, value_name = "PATH[:OPTION,...]")]
    pub tmpfs: Vec<Tmpfs>,

    /// The network: the host's, none, or one of its own by pasta
    #[arg(long, value_name = "host|none|own", value_parser = ["host", "none", "own"], default_value = "host", hide_default_value = true)]
    pub network: String,

    /// Publish a port from a network of the container's own; where there can be none, the container uses the host's network
    /// and ports
    #[arg(short, long = "publish", value_name = "[[IP:]HOST:]PORT[/udp]")]
    pub ports: Vec<String>,

    /// Share the network of another container, reachable by its name or ALIAS
    #[arg(long = "link", value_name = "NAME[:ALIAS]")]
    pub links: Vec<String>,

    /// The program in place of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,

    /// The host name [default: the container's id; treering in a directory]
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// A label of the container
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,

    /// The command cannot write to the tree
    #[arg(long)]
    pub read_only: bool,

    /// Accepted: the first process always is an init
    #[arg(long)]
    pub init: bool,

    /// Remove the container when its command ends
    #[arg(long = "rm")]
    pub remove: bool,

    /// The signal that asks the command to stop [default: the image's, or TERM]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,

    /// When to pull the image
    #[arg(long, value_name = "WHEN", value_enum, default_value = "missing", hide_default_value = true)]
    pub pull: Pull,

    /// Which platform of a multi-platform image, such as linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,

    /// Use only this way to run the command; `treering info` lists them
    #[arg(long, value_name = "RUNG")]
    pub rung: Option<Rung>,

    /// Print help; -h is the host name, as in Docker
    #[arg(id = "help", long = "help", action = clap::ArgAction::HelpLong)]
    _help: Option<bool>,
}

impl Making {
    /// Returns all that was given, for the library.
    pub fn options(&self, context: &Context, command: Vec<String>) -> anyhow::Result<CreateOptions> {
        let labels: BTreeMap<String, String> = self.labels.iter().cloned().collect();
        let settings = Settings {
            command,
            entrypoint: self.entrypoint.clone(),
            environment: self.variables()?,
            user: self.user.clone(),
            directory: self.workdir.clone(),
            hostname: self.hostname.clone(),
            terminal: self.tty,
            interactive: self.interactive,
            volumes: self.of_host(),
            anonymous: self.volumes.iter().filter_map(Shown::anonymous).collect(),
            tmpfs: self.tmpfs.clone(),
            no_network: self.network == "none",
            own_network: self.network == "own",
            links: self.links.clone(),
            ports: self.ports.clone(),
            labels,
            read_only: self.read_only,
            init: self.init,
            auto_remove: self.remove,
            stop_signal: self.stop_signal.clone(),
            rung: self.rung.map(|rung| rung.to_string()),
        };
        Ok(CreateOptions {
            name: self.name.clone(),
            settings,
            platform: self.platform.clone(),
            threads: context.threads,
        })
    }

    /// Returns what of the host is shown.
    pub fn of_host(&self) -> Vec<Volume> {
        let host = |shown: &Shown| match shown {
            Shown::Host(volume) => Some(volume.clone()),
            Shown::Own(_) => None,
        };
        self.volumes.iter().filter_map(host).collect()
    }

    /// Returns the variables of files, then those of the command line.
    pub fn variables(&self) -> anyhow::Result<Vec<String>> {
        variables(&self.environment, &self.env_file)
    }

    /// Makes the container.
    pub fn create(&self, context: &Context, image: &str, command: Vec<String>) -> anyhow::Result<Container> {
        let store = context.store()?;
        let options = self.options(context, command)?;
        self.fetch(context, &store, image)?;
        let control = interrupt::control();
        let _progress = context.progress("unpacking", &control);
        Ok(Container::create(&store, image, &options, &control)?)
    }

    /// Pulls the image where that is due.
    fn fetch(&self, context: &Context, store: &Store, image: &str) -> anyhow::Result<()> {
        let there = match Image::open(store, image, self.platform.as_ref()) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        match (self.pull, there) {
            (Pull::Never, _) | (Pull::Missing, true) => Ok(()),
            _ => pull(context, store, image, self.platform.as_ref()),
        }
    }
}

#[cfg(feature = "registry")]
fn pull(context: &Context, store: &Store, image: &str, platform: Option<&Platform>) -> anyhow::Result<()> {
    use treering::registry::{PullOptions, pull};
    // What cannot be the name of an image in a registry is an image that is not here.
    if treering::store::Reference::parse(image).is_err() {
        return Ok(());
    }
    let registries = crate::registries::from_env()?;
    let options = PullOptions { platform: platform.cloned(), ..PullOptions::default() };
    let (control, _progress) = context.transfers("pulling", interrupt::control());
    pull(store, &registries, image, &options, &control)?;
    Ok(())
}

#[cfg(not(feature = "registry"))]
fn pull(_: &Context, _: &Store, _: &str, _: Option<&Platform>) -> anyhow::Result<()> {
    Ok(())
}

/// Says that ports were to lead to the container and its network is the host's, if so.
pub fn note_ports(context: &Context, container: &Container) {
    let settings = &container.record().settings;
    let state = container.state().unwrap_or_default();
    if settings.ports.is_empty() || state.network.as_deref() == Some("own") {
        return;
    }
    let why = match (&state.network_refused, settings.links.is_empty()) {
        (Some(why), _) => format!(" ({why})"),
        (None, false) => " (it is linked to a container that has it)".into(),
        (None, true) => String::new(),
    };
    let ports = settings.ports.join(", ");
    context.ui.note(format!(
        "-p {ports}: the container uses the host's network, so a port that it opens is the host's{why}"
    ));
}

/// Returns the variables of files, then those of the command line.
pub fn variables(given: &[String], files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut out = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|error| {
            treering::Error::io("read variables", path.as_os_str().as_encoded_bytes(), error)
        })?;
        for line in text.lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            out.extend(variable(line.into()));
        }
    }
    out.extend(given.iter().cloned().filter_map(variable));
    Ok(out)
}

/// Shows what an attached container writes and passes keys and signals on, until its command ends or Ctrl-P Ctrl-Q.
pub fn follow(container: &Container, mut attached: Attached, input: bool) -> anyhow::Result<ExitCode> {
    let mut sink = crate::commands::run::stdio();
    let sender = Arc::new(attached.input()?);
    let left = Arc::new(AtomicBool::new(false));
    let has_terminal = attached.has_terminal() && std::io::stdin().is_terminal();
    // Without a thread that passes keys on, Ctrl-C has to stay a signal.
    let raw = (has_terminal && input).then(Raw::enter).transpose()?;
    let resize = {
        let sender = sender.clone();
        move || {
            if let Some(WindowSize { rows, columns }) = terminal_size() {
                let _ = sender.resize(rows, columns);
            }
        }
    };
    if has_terminal {
        resize();
    }
    let signals = sender.clone();
    let control = interrupt::forward(move |signal| signals.signal(signal), resize);
    if input {
        let (left, cancel) = (left.clone(), control.cancel.clone());
        // It ends with the program: nothing can interrupt a read from a terminal.
        std::thread::Builder::new().name("attached-input".into()).spawn(move || {
            let mut keys = has_terminal.then(DetachKeys::default);
            let mut bytes = [0; 16 << 10];
            loop {
                let n = match std::io::Read::read(&mut std::io::stdin(), &mut bytes) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => n,
                };
                let (pass, leave) = match &mut keys {
                    Some(keys) => keys.take(&bytes[..n]),
                    None => (bytes[..n].to_vec(), false),
                };
                if sender.write(&pass).is_err() {
                    return;
                }
                if leave {
                    left.store(true, Ordering::Release);
                    let _ = sender.detach();
                    cancel.cancel();
                    return;
                }
            }
            let _ = sender.close();
        })?;
    }
    let ended = loop {
        match attached.next(&control) {
            Ok(Attachment::Output(stream, bytes)) => {
                sink(stream, &bytes).map_err(crate::output::stdout_error)?
            }
            Ok(Attachment::Exited(code)) => {
                // What comes next may start or remove it.
                let ended = container.await_state(&Control::default()).map_err(Into::into);
                break ended.map(|()| ExitCode::from(u8::try_from(code).unwrap_or(125)));
            }
            Ok(_) => {}
            Err(_) if left.load(Ordering::Acquire) => break Ok(ExitCode::SUCCESS),
            Err(error) => break Err(error.into()),
        }
    };
    drop(raw);
    if left.load(Ordering::Acquire) {
        eprintln!("\ndetached; the container goes on");
    }
    ended
}

/// Returns a variable with its value; one of this process that is not set is none.
fn variable(text: String) -> Option<String> {
    match text.contains('=') {
        true => Some(text),
        false => std::env::var(&text).ok().map(|value| format!("{text}={value}")),
    }
}

/// Does the same with several containers: prints each name as it is done, as Docker does, and goes on after an error.
pub fn each(
    context: &Context,
    names: &[String],
    mut act: impl FnMut(Container) -> treering::Result<()>,
) -> anyhow::Result<ExitCode> {
    let store = context.store()?;
    let (mut done, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for name in names {
        match Container::open(&store, name).and_then(&mut act) {
            Ok(()) => done.push(name.clone()),
            Err(error) => {
                context.ui.error(&error.into());
                code = ExitCode::FAILURE;
            }
        }
    }
    if context.json {
        crate::output::data(|out| crate::json::list(out, done.iter()))?;
    } else {
        crate::output::lines(&done)?;
    }
    Ok(code)
}

/// Refuses a flag with an operand that does not take it.
pub fn only_with_image(flags: &[(&str, bool)], what: &str) -> anyhow::Result<()> {
    match flags.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            Err(ui::Usage::new(format!("{flag} is for a new container of an image, and this is {what}"))
                .into())
        }
    }
}
