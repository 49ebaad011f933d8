//! `treering start`.

use std::process::ExitCode;

use clap::Args;
use treering::container::{Container, StartOptions};

use crate::boxes;
use crate::context::Context;
use crate::interrupt;
use crate::terminal::terminal_size;
use crate::ui::Usage;

const EXAMPLES: &str = "\
Examples:
  treering start box
  treering start -a box";

/// Start containers that do not run
///
/// Each has a supervisor of its own, which goes on when this command ends.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Start {
    /// The containers: names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,

    /// Show its output, pass signals on, and exit with its code
    #[arg(short, long)]
    attach: bool,

    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
}

impl Start {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let (attach, interactive) = (self.attach || self.interactive, self.interactive);
        let options = || StartOptions {
            attach,
            interactive,
            window: terminal_size(),
            helper: interrupt::own_program(),
            ..StartOptions::default()
        };
        if !attach {
            return boxes::each(context, &self.containers, |container| container.start(&options()).map(drop));
        }
        let [name] = &self.containers[..] else {
            return Err(Usage::new("only one container can be attached to").into());
        };
        let container = Container::open(&context.store()?, name)?;
        let started = container.start(&options())?;
        match started.attached {
            Some(attached) => boxes::follow(&container, attached, interactive),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}
