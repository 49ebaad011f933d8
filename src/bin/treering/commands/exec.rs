//! `treering exec`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use treering::container::{Container, ExecOptions};
use treering::sandbox::Stream;

use crate::boxes::variables;
use crate::context::Context;
use crate::interrupt;
use crate::terminal::{Terminal, terminal_size};
use crate::ui::Usage;

const EXAMPLES: &str = "\
Examples:
  treering exec web cat /etc/os-release
  treering exec -it web sh
  treering exec -d -u 1000 web touch /tmp/x";

/// Run one more command in a container that runs
///
/// It has the container's files and processes, and ends with it. Exit codes are those of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Exec {
    /// The container: a name, an id, or the beginning of one
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// The command
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,

    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,

    /// Give the command a terminal of its own, joined with this one
    #[arg(short, long)]
    tty: bool,

    /// Return at once
    #[arg(short, long)]
    detach: bool,

    /// An environment variable; a name alone takes this process's value
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    environment: Vec<String>,

    /// A file of variables, one per line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Working directory of the command
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// User to run the command as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
}

impl Exec {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        if self.tty && self.interactive && !self.detach && !std::io::stdin().is_terminal() {
            let what = "--tty with --interactive needs a terminal, and standard input is not one";
            return Err(Usage::new(what).into());
        }
        let container = Container::open(&context.store()?, &self.container)?;
        let stream = |wanted: bool| if wanted && !self.detach { Stream::Inherit } else { Stream::Null };
        if !self.detach {
            // A signal that comes while the command is started is for the command, see `forward`.
            drop(interrupt::control());
        }
        let mut exec = container.exec(ExecOptions {
            command: self.command,
            environment: variables(&self.environment, &self.env_file)?,
            user: self.user,
            directory: self.workdir,
            terminal: self.tty,
            window: terminal_size(),
            stdin: stream(self.interactive),
            stdout: stream(true),
            stderr: stream(true),
        })?;
        if self.detach {
            exec.detach()?;
            return Ok(ExitCode::SUCCESS);
        }
        let terminal = exec.terminal().map(|other| Terminal::join(other, self.interactive)).transpose()?;
        let resized = terminal.as_ref().map(Terminal::resizer).transpose()?;
        let input = exec.input()?;
        let send = move |signal| input.signal(signal);
        let control = interrupt::forward(send, move || {
            if let Some(resize) = &resized {
                resize();
            }
        });
        let code = exec.wait(&control);
        if let Some(terminal) = terminal {
            terminal.part();
        }
        Ok(ExitCode::from(u8::try_from(code?).unwrap_or(125)))
    }
}
