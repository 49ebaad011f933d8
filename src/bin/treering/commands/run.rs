//! `treering run`: a command in a new container of an image, in a container, or in a directory.

use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use treering::container::{
    Container, Overrides, RunOptions, Sink, StartOptions, Tmpfs, WorkTree, step_options,
};
use treering::error::Error;
use treering::event::OutputStream;
use treering::sandbox::{BindMount, Network, Rung, Stream};

use crate::boxes::{Making, Pull, follow, note_ports, only_with_image};
use crate::context::Context;
use crate::terminal::{Terminal, terminal_size, write_all};
use crate::ui::Usage;
use crate::{interrupt, output};

const EXAMPLES: &str = "\
Examples:
  treering run --rm debian:12 cat /etc/os-release
  treering run -it --name box debian:12          an interactive shell
  treering run box -- apt-get install -y git      one more command in it
  treering run -d --name web debian:12 sleep 9    in the background
  treering run ./work -- make -C /src             in a directory

A directory of this name comes first, then a container, then an image.

Exit codes:
  125  treering itself failed
  126  the command cannot be executed
  127  the command is not there
  else the command's own; 128 and the signal's number when a signal ended it";

/// Run a command in a new container of an image, in a container, or in a directory
///
/// Owners, devices, capabilities and all else that the disk does not take without privileges are written down in the store, and every later
/// diff and commit of the container or directory has them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true)]
pub struct Run {
    #[command(flatten)]
    making: Making,

    /// Run in the background, and print the container's id
    #[arg(short, long)]
    detach: bool,

    /// The image, the container or the directory
    #[arg(value_name = "IMAGE|CONTAINER|DIR")]
    what: PathBuf,

    /// The command [default: the image's]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Run {
    pub fn run(mut self, context: &Context) -> anyhow::Result<ExitCode> {
        if self.making.tty && self.making.interactive && !self.detach && !std::io::stdin().is_terminal() {
            return Err(Usage::new(
                "--tty with --interactive needs a terminal, and standard input is not one",
            )
            .into());
        }
        let command = std::mem::take(&mut self.command);
        let shown = self.what.as_os_str().as_encoded_bytes();
        let is_path = [&b"/"[..], b"./", b"../"].iter().any(|start| shown.starts_with(start));
        if is_path || self.what.is_dir() {
            return self.in_directory(context, command);
        }
        let Some(name) = self.what.to_str() else {
            return Err(Error::not_found("run", "no such directory, and no name of an image")
                .with_path(shown)
                .into());
        };
        if let Some(container) = crate::boxes::named(context, Path::new(name))? {
            let making = &self.making;
            only_with_image(
                &[
                    ("--name", making.name.is_some()),
                    ("--rm", making.remove),
                    ("--volume", !making.volumes.is_empty()),
                    ("--tmpfs", !making.tmpfs.is_empty()),
                    ("--publish", !making.ports.is_empty()),
                    ("--link", !making.links.is_empty()),
                    ("--label", !making.labels.is_empty()),
                    ("--hostname", making.hostname.is_some()),
                    ("--network", making.network != "host"),
                    ("--entrypoint", making.entrypoint.is_some()),
                    ("--read-only", making.read_only),
                    ("--stop-signal", making.stop_signal.is_some()),
                    ("--pull", making.pull != Pull::default()),
                    ("--platform", making.platform.is_some()),
                ],
                "a container that is there",
            )?;
            let options = RunOptions {
                command,
                environment: making.variables()?,
                user: making.user.clone(),
                directory: making.workdir.clone(),
                terminal: making.tty.then_some(true),
                rung: making.rung,
                ..RunOptions::default()
            };
            return by_itself_or_not(context, container, options, &self.making, self.detach);
        }
        let container = self.making.create(context, name, command)?;
        by_itself_or_not(context, container, RunOptions::default(), &self.making, self.detach)
    }

    fn in_directory(self, context: &Context, command: Vec<String>) -> anyhow::Result<ExitCode> {
        let making = self.making;
        only_with_image(
            &[
                ("--name", making.name.is_some()),
                ("--rm", making.remove),
                ("--publish", !making.ports.is_empty()),
                ("--link", !making.links.is_empty()),
                ("--label", !making.labels.is_empty()),
                ("--detach", self.detach),
                ("--stop-signal", making.stop_signal.is_some()),
                ("--pull", making.pull != Pull::default()),
                ("--platform", making.platform.is_some()),
                ("--volume PATH", making.volumes.len() != making.of_host().len()),
            ],
            "a directory",
        )?;
        let store = context.store()?;
        let mut tree = WorkTree::open(&store, &self.what)?;
        let volumes = making.of_host();
        let overrides = Overrides {
            command,
            environment: making.variables()?,
            entrypoint: making.entrypoint,
            user: making.user,
            directory: making.workdir,
            terminal: making.tty,
            hostname: making.hostname.unwrap_or_else(|| "treering".into()),
        };
        let mut options = step_options(tree.root(), tree.image().config().run(), &overrides)?;
        options.binds = volumes
            .iter()
            .map(|volume| BindMount {
                source: volume.source.clone(),
                target: volume.target.clone().into_bytes(),
                read_only: volume.read_only,
                private: false,
            })
            .collect();
        options.network = match making.network.as_str() {
            "none" => Network::None,
            "own" => Network::Own,
            _ => Network::Host,
        };
        options.memory = making.tmpfs.iter().map(Tmpfs::mount).collect();
        options.read_only = making.read_only;
        options.rung = making.rung;
        options.window = terminal_size();
        options.helper = interrupt::own_program();
        options.stdin = if making.interactive { Stream::Inherit } else { Stream::Null };
        (options.stdout, options.stderr) = (Stream::Inherit, Stream::Inherit);
        // A signal that comes while the command is started is for the command, see `forward`.
        drop(interrupt::control());
        let mut step = tree.start(options)?;
        context.ui.note(choice(step.rung(), step.refused(), step.network() == Network::None));
        let terminal = step.terminal().map(|other| Terminal::join(other, making.interactive)).transpose()?;
        let resized = terminal.as_ref().map(Terminal::resizer).transpose()?;
        let signals = step.signals();
        let send = move |signal| signals.send(signal);
        let control = interrupt::forward(send, move || {
            if let Some(resize) = &resized {
                resize();
            }
        });
        let outcome = tree.wait(step, &control);
        if let Some(terminal) = terminal {
            terminal.part();
        }
        let outcome = outcome?;
        Ok(ExitCode::from(u8::try_from(outcome.code).unwrap_or(125)))
    }
}

/// Runs a container's command: with a supervisor of its own where that is wanted, or where one may leave it with Ctrl-P Ctrl-Q; else in this
/// process.
fn by_itself_or_not(
    context: &Context,
    container: Container,
    options: RunOptions,
    making: &Making,
    detach: bool,
) -> anyhow::Result<ExitCode> {
    let both = making.interactive && options.terminal.unwrap_or(container.record().settings.terminal);
    if !detach && !both {
        return foreground(context, container, options, making.interactive);
    }
    let start = StartOptions {
        command: options.command,
        environment: options.environment,
        user: options.user,
        directory: options.directory,
        terminal: options.terminal,
        window: terminal_size(),
        interactive: making.interactive,
        attach: !detach,
        together: !detach,
        rung: options.rung,
        helper: interrupt::own_program(),
    };
    let offline = container.record().settings.no_network;
    let started = container.start(&start)?;
    if let Some(rung) = started.rung {
        context.ui.note(choice(rung, &started.refused, offline));
    }
    note_ports(context, &container);
    match started.attached {
        Some(attached) => follow(&container, attached, true),
        None => {
            output::lines([container.id()])?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs a container's command, joined with the streams of this process, and waits for its end.
pub fn foreground(
    context: &Context,
    container: Container,
    mut options: RunOptions,
    interactive: bool,
) -> anyhow::Result<ExitCode> {
    options.window = terminal_size();
    options.helper = interrupt::own_program();
    options.stdin = if interactive { Stream::Inherit } else { Stream::Null };
    options.output = Some(stdio());
    let offline = container.record().settings.no_network;
    // A signal that comes while the command is started is for the command, see `forward`.
    drop(interrupt::control());
    let mut running = container.launch(options)?;
    context.ui.note(choice(running.rung(), running.refused(), offline));
    if let Some(container) = running.container() {
        note_ports(context, container);
    }
    let terminal: Option<OwnedFd> = running.terminal();
    let terminal = terminal.map(|other| Terminal::keys(other, interactive)).transpose()?;
    let resized = terminal.as_ref().map(Terminal::resizer).transpose()?;
    let signals = running.signals();
    let send = move |signal| signals.send(signal);
    let control = interrupt::forward(send, move || {
        if let Some(resize) = &resized {
            resize();
        }
    });
    let outcome = running.wait(&control);
    if let Some(terminal) = terminal {
        terminal.part();
    }
    Ok(ExitCode::from(u8::try_from(outcome?.code).unwrap_or(125)))
}

/// Returns a sink that passes output on to the streams of this process.
pub fn stdio() -> Box<Sink> {
    Box::new(|stream, bytes| match stream {
        OutputStream::Stderr => write_all(std::io::stderr(), bytes),
        _ => {
            // Nothing of this process may be left in the buffer.
            std::io::stdout().flush()?;
            write_all(std::io::stdout(), bytes)
        }
    })
}

/// Returns the one line that says how a command is run, and why not better. `offline`: without a network.
pub fn choice(rung: Rung, refused: &[(Rung, String)], offline: bool) -> String {
    let mut line = format!("run: {}", rung.describe());
    if offline && rung.serves() {
        line.push_str("; without a network is a filter here: only sockets of the domain unix can be made");
    }
    if !refused.is_empty() {
        let reasons: Vec<String> = refused.iter().map(|(rung, why)| format!("{rung}: {why}")).collect();
        line.push_str(&format!(" ({})", reasons.join("; ")));
    }
    line
}
