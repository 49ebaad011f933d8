//! `treering attach`.

use std::process::ExitCode;

use clap::Args;
use treering::container::Container;

use crate::boxes;
use crate::context::Context;

const EXAMPLES: &str = "\
Examples:
  treering attach --no-stdin web";

/// Attach to a running container
///
/// Shows its output from now on and passes keys and signals on. On a terminal Ctrl-P Ctrl-Q leaves it running.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Attach {
    /// The container: a name, an id, or the beginning of one
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
}

impl Attach {
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let container = Container::open(&context.store()?, &self.container)?;
        boxes::follow(&container, container.attach()?, !self.no_stdin)
    }
}
