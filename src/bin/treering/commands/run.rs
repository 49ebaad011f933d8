//! `treering run`: a command in a tree.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use treering::container::{Overrides, WorkTree, step_options};
use treering::sandbox::{BindMount, Network, Rung, Stream};

use crate::context::Context;
use crate::interrupt;
use crate::terminal::Terminal;
use crate::ui::Usage;

const EXAMPLES: &str = "\
Examples:
  treering run work -- apt-get install -y git    as root of the tree, whoever you are
  treering run -e DEBUG=1 -w /srv -v $PWD:/src:ro work -- make -C /src

Exit codes:
  125  treering itself failed
  126  the command cannot be executed
  127  the command is not there
  else the command's own; 128 and the signal's number when a signal ended it";

/// Run a command in a directory that was unpacked or committed
///
/// Owners, devices, capabilities and all else that the disk does not take without privileges are written down in the store, and every later
/// diff and commit of the directory knows them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    /// The directory
    #[arg(value_name = "DIR")]
    tree: PathBuf,

    /// The command [default: the image's]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,

    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,

    /// Give the command a terminal of its own, joined with this one
    #[arg(short, long)]
    tty: bool,

    /// An environment variable; a name alone takes this process's value
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    environment: Vec<String>,

    /// Where the command starts
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Whom it runs as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// A file or directory of the host that the command sees, and nothing else does it see of the host
    #[arg(short, long = "volume", value_name = "HOST:PATH[:ro]", value_parser = volume)]
    volumes: Vec<BindMount>,

    /// The network: the host's, or none
    #[arg(long, value_name = "host|none", value_parser = network, default_value = "host", hide_default_value = true)]
    network: Network,

    /// The program in place of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,

    /// The host name
    #[arg(long, value_name = "NAME", default_value = "treering", hide_default_value = true)]
    hostname: String,

    /// The command cannot write to the directory
    #[arg(long)]
    read_only: bool,

    /// Run it in this way only; `treering info` lists them
    #[arg(long, value_name = "root|chroot|notify")]
    rung: Option<Rung>,
}

impl Run {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let store = context.store()?;
        let mut tree = WorkTree::open(&store, &self.tree)?;
        let overrides = Overrides {
            command: self.command,
            entrypoint: self.entrypoint,
            environment: self.environment.into_iter().filter_map(variable).collect(),
            user: self.user,
            directory: self.workdir,
            terminal: self.tty,
            hostname: self.hostname,
        };
        let mut options = step_options(tree.root(), tree.image().config().run(), &overrides)?;
        options.binds = self.volumes;
        options.network = self.network;
        options.read_only = self.read_only;
        options.rung = self.rung;
        options.helper = interrupt::own_program();
        options.stdin = if self.interactive { Stream::Inherit } else { Stream::Null };
        (options.stdout, options.stderr) = (Stream::Inherit, Stream::Inherit);
        if self.tty && !std::io::stdin().is_terminal() {
            return Err(
                Usage::new("--tty joins the command with a terminal, and standard input is none").into()
            );
        }
        let mut step = tree.start(options)?;
        context.ui.note(choice(step.rung(), step.refused()));
        let terminal = step.terminal().map(|other| Terminal::join(other, self.interactive)).transpose()?;
        let resized = terminal.as_ref().map(Terminal::resizer).transpose()?;
        let control = interrupt::forward(step.signals(), move || {
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

/// The one line that says how a command is run, and why not better.
pub fn choice(rung: Rung, refused: &[(Rung, String)]) -> String {
    let mut line = format!("run: {}", rung.describe());
    if !refused.is_empty() {
        let reasons: Vec<String> = refused.iter().map(|(rung, why)| format!("{rung}: {why}")).collect();
        line.push_str(&format!(" ({})", reasons.join("; ")));
    }
    line
}

/// A variable with its value; one of this process that is not set is none.
fn variable(text: String) -> Option<String> {
    match text.contains('=') {
        true => Some(text),
        false => std::env::var(&text).ok().map(|value| format!("{text}={value}")),
    }
}

fn network(text: &str) -> Result<Network, String> {
    match text {
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        _ => Err("expected host or none".into()),
    }
}

/// `HOST:PATH[:ro|:rw]`.
fn volume(text: &str) -> Result<BindMount, String> {
    let mut parts = text.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        return Err("expected HOST:PATH[:ro]".into());
    };
    let read_only = match (parts.next(), parts.next()) {
        (None | Some("rw"), None) => false,
        (Some("ro"), None) => true,
        _ => return Err("expected HOST:PATH[:ro]".into()),
    };
    if source.is_empty() || !target.starts_with('/') {
        return Err("the second path begins with a slash, and the first is not empty".into());
    }
    Ok(BindMount { source: source.into(), target: target.into(), read_only })
}
